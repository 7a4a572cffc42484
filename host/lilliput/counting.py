"""Instructions of an inference on a processor that QEMU emulates: the same on every computer.

The core is compiled from Lilliput's source tree, in which the emulation (bench/emulation) lies too.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from .execution import run_on_host
from .format.reader import read
from .unixport import SOURCE_TREE


class CountingError(RuntimeError):
    """Instructions cannot be counted; the message says what is missing, or what went wrong."""


@dataclass(frozen=True)
class OperatorCount:
    """Instructions in the kernels of one operator. shape: of its output."""

    index: int
    kind: str
    shape: tuple[int, ...]
    instructions: int


@dataclass(frozen=True)
class Count:
    """Instructions of one inference, and of its operators where these were asked for; what
    `instructions` has beyond their sum is the executor between kernels."""

    core: str
    instructions: int
    macs: int
    arena_bytes: int
    stack_bytes: int
    operators: tuple[OperatorCount, ...] = ()

    @property
    def per_mac(self) -> float:
        return self.instructions / max(self.macs, 1)


def count_instructions(data: bytes, core: str, *, by_operator: bool = False) -> Count:
    """Runs a `.lil` once on random int8 inputs on an emulated core.

    Raises ValueError for a core that is not emulated, CountingError when the source tree, the
    emulator or the compiler is missing, or when the core's output is not this computer's.
    """
    emulation = _emulation("emulation")
    if core not in emulation.CORES:
        raise ValueError(f"{core!r} is not emulated: choose one of {', '.join(emulation.CORES)}")
    job = _emulation("emulation.models").job_of_lil(data)
    failures = (emulation.BuildError, emulation.EmulationError, emulation.EmulatorsMissing)
    try:
        [result] = emulation.run(emulation.build(emulation.CORES[core]), [job])
        counts = _by_tensor(emulation.CORES[core], job) if by_operator else {}
    except failures as error:
        raise CountingError(str(error)) from error
    _check(core, result, data, job)
    file = read(data)
    return Count(
        core=core,
        instructions=result.instructions,
        macs=file.macs,
        arena_bytes=file.arena_bytes,
        stack_bytes=result.stack_bytes,
        operators=tuple(
            OperatorCount(op.index, op.kind, file.tensors[op.output].shape, counts[op.output])
            for op in file.operators
            if op.output in counts
        ),
    )


def _by_tensor(core: Any, job: Any) -> dict[int, int]:
    built = _emulation("emulation.building").build_by_operator(core)
    counts: dict[int, int] = _emulation("emulation.operators").instructions_by_tensor(built, job)
    return counts


def _check(core: str, result: Any, data: bytes, job: Any) -> None:
    if result.status != 0:
        raise CountingError(f"the inference on {core} failed with status {result.status}")
    expected = run_on_host(data, job.inputs).outputs
    for index, (found, wanted) in enumerate(zip(result.outputs, expected, strict=True)):
        wrong = int(np.count_nonzero(found != wanted))
        if wrong:
            raise CountingError(
                f"{core} computes other numbers than this computer in {wrong} of {wanted.size} "
                f"values of output {index}: run `make setup`, and report it if it stays so"
            )


def _emulation(name: str) -> Any:
    folder = SOURCE_TREE / "bench"
    if not (folder / "emulation").is_dir():
        raise CountingError(
            "instructions are counted in Lilliput's source tree only: clone it and run "
            "`make setup emulators` there"
        )
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return importlib.import_module(name)
