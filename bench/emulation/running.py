"""Runs jobs on an emulated processor, or with the portable kernels on this machine."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .building import Build, build_plugin
from .cores import ARM, RISCV
from .jobs import Job, image
from .tools import tool

_RESULT = struct.Struct("<iI")
_FIRST_FAULT = 100  # exit codes of runner/start_*.c
_EXIT_CODES = {2: "the image of jobs is not where the runner looks", 3: "it cannot write"}


class EmulationError(RuntimeError):
    """The emulated machine faulted, hung or could not be started."""


@dataclass(frozen=True)
class Block:
    """Instructions that lie one behind the other, and how often they were executed together."""

    address: int
    size: int
    instructions: int
    executions: int


@dataclass(frozen=True)
class Result:
    """One inference. status: a lil_status, 0 when it succeeded. instructions: executed from the
    call of lil_begin to the return of lil_read_output; 0 on the host. stack_bytes: used by it.
    trained: of a training step, what persists of the arena.
    """

    status: int
    outputs: tuple[np.ndarray, ...]
    instructions: int = 0
    stack_bytes: int = 0
    trained: bytes = b""
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Region:
    """What was executed between two markers."""

    instructions: int
    blocks: tuple[Block, ...]


def run(
    built: Build, jobs: Sequence[Job], *, with_blocks: bool = False, timeout: float = 600
) -> list[Result]:
    """Runs all jobs in one process. `with_blocks` tells where the instructions go.

    Raises EmulationError when the machine faults, with the job at which it did, or does not end
    within `timeout` seconds; ValueError when the jobs do not fit the machine's memory.
    """
    data = image(jobs)
    free = max((job.free_bytes for job in jobs), default=0)
    if len(data) + free > built.core.free:
        raise ValueError(
            f"the jobs take {len(data) + free:,} bytes, {built.core.name} has "
            f"{built.core.free:,}: run fewer at a time"
        )
    if not built.core.target:
        return _results(jobs, _run_here(built, data, free, timeout), [])
    written, regions = emulate(built, data, jobs, with_blocks=with_blocks, timeout=timeout)
    return _results(jobs, written, regions)


def _run_here(built: Build, data: bytes, free: int, timeout: float) -> bytes:
    with tempfile.TemporaryDirectory(prefix="lilliput-") as name:
        source, target = Path(name) / "image", Path(name) / "output"
        source.write_bytes(data)
        command = [str(built.program), str(source), str(target), str(free)]
        done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise EmulationError(f"host: exit code {done.returncode}")
        return target.read_bytes()


def emulate(
    built: Build,
    data: bytes,
    jobs: Sequence[Job] = (),
    *,
    with_blocks: bool = False,
    counts_time: bool = False,
    timeout: float = 600,
) -> tuple[bytes, list[Region]]:
    """Starts a program with `data` at its image_start; returns what it wrote, and its regions.

    With `counts_time` a nanosecond passes with each instruction, as its timers see it. `jobs` are
    what the data holds, for the message of an error. Raises EmulationError as `run` does.
    """
    core = built.core
    emulator = tool("qemu-system-arm" if core.target == ARM else "qemu-system-riscv32")
    symbols = built.symbols
    with tempfile.TemporaryDirectory(prefix="lilliput-") as name:
        loaded, counts = Path(name) / "image", Path(name) / "counts"
        loaded.write_bytes(data or bytes(16))
        markers = f"begin={symbols['region_begin']},end={symbols['region_end']}"
        plugin = f"{build_plugin(emulator)},{markers},out={counts}"
        command = [emulator, "-machine", core.machine, "-kernel", str(built.program)]
        command += ["-display", "none", "-serial", "none", "-monitor", "none"]
        command += ["-semihosting-config", "enable=on,target=native"]
        command += ["-plugin", plugin + (",blocks=on" if with_blocks else "")]
        command += ["-device", f"loader,file={loaded},addr={core.image:#x},force-raw=on"]
        command += ["-bios", "none"] if core.target == RISCV else []
        command += ["-icount", "shift=0"] if counts_time else []
        try:
            done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise EmulationError(
                f"{core.name}: {len(jobs)} jobs have not ended after {timeout:g} seconds"
            ) from error
        if done.returncode != 0:
            raise _failure(built, jobs, done)
        return done.stdout, read_regions(counts)


def _failure(
    built: Build, jobs: Sequence[Job], done: subprocess.CompletedProcess[bytes]
) -> EmulationError:
    code = done.returncode
    reason = _EXIT_CODES.get(code, f"exit code {code}")
    if code >= _FIRST_FAULT:
        reason = f"exception {code - _FIRST_FAULT}"
    said = done.stdout
    finished = 0
    for job in jobs:
        size = _RESULT.size + sum(job.output_sizes()) + job.training_bytes
        if len(said) < size:
            break
        said = said[size:]
        finished += 1
    return EmulationError(
        f"{built.core.name}: {reason} in job {finished} of {len(jobs)}. "
        f"{done.stderr.decode(errors='replace').strip()}"
    )


def read_regions(path: Path) -> list[Region]:
    """Instructions and blocks of each region, from what the plugin has written."""
    regions: list[tuple[int, list[Block]]] = []
    with path.open() as lines:
        for line in lines:
            fields = line.split()
            if fields[0] == "region":
                regions.append((int(fields[1]), []))
            else:
                address, size = int(fields[0], 16), int(fields[1], 16)
                regions[-1][1].append(Block(address, size, int(fields[2]), int(fields[3])))
    return [Region(count, tuple(blocks)) for count, blocks in regions]


def _results(jobs: Sequence[Job], said: bytes, regions: list[Region]) -> list[Result]:
    results = []
    position = 0
    counted = iter(regions)
    none = Region(0, ())
    for job in jobs:
        status, stack_bytes = _RESULT.unpack_from(said, position)
        position += _RESULT.size
        outputs = []
        for (shape, dtype), size in zip(job.outputs, job.output_sizes(), strict=True):
            values = np.frombuffer(said, dtype, size // dtype.itemsize, position)
            outputs.append(values.reshape(shape))
            position += size
        trained = said[position : position + job.training_bytes]
        position += job.training_bytes
        # The runner does not enter the region with a model that the verifier refuses.
        region = next(counted, none) if stack_bytes else none
        results.append(
            Result(status, tuple(outputs), region.instructions, stack_bytes, trained, region.blocks)
        )
    return results
