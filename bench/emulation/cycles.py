"""Estimates cycles with llvm-mca, which knows how long an instruction's result takes to arrive."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence

from .building import Build
from .running import Block
from .tools import EmulatorsMissing

PROCESSORS = ("cortex-m4", "cortex-m7")  # of which LLVM has a model of the pipeline
ITERATIONS = 20
_NAMES = ("{}", *(f"{{}}-{version}" for version in range(21, 13, -1)))
# Their destination is of no matter to a block, and a call would count as a hundred cycles.
_BRANCH = re.compile(r"^(b|bl|bx|blx|b[a-z]{2}|cbn?z|tb[bh])(\.[nw])?\s")
_IT = re.compile(r"^it([te]{0,3})\s")
_CONDITION = re.compile(
    r"^([a-z0-9]+?)(eq|ne|hs|cs|lo|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)((?:\.\w+)*\s)"
)
_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(?:[0-9a-f]{2,8}\s)+\s*(\S.*)$")


def _llvm(program: str) -> str:
    for name in _NAMES:
        found = shutil.which(name.format(program))
        if found:
            return found
    raise EmulatorsMissing(f"{program} is missing: install it with `apt-get install llvm`")


def is_available() -> bool:
    """Whether cycles can be estimated on this machine."""
    return all(
        any(shutil.which(name.format(program)) for name in _NAMES)
        for program in ("llvm-mca", "llvm-objdump")
    )


def estimated_cycles(
    built: Build, blocks: Sequence[Block], processor: str, share: float = 0.99
) -> float:
    """Cycles of the blocks that hold a `share` of the instructions, scaled to all of them.

    Each block is taken as a loop of itself. Memory answers at once and branches are predicted.
    """
    total = sum(block.instructions * block.executions for block in blocks)
    hottest = sorted(blocks, key=lambda block: -block.instructions * block.executions)
    chosen: list[Block] = []
    covered = 0
    for block in hottest:
        if covered >= share * total:
            break
        chosen.append(block)
        covered += block.instructions * block.executions
    instructions = _disassembly(built)
    source = []
    for number, block in enumerate(chosen):
        inside = range(block.address, block.address + block.size, 2)
        body = [instructions[address] for address in inside if address in instructions]
        source += [f"@ LLVM-MCA-BEGIN {number}", *body, f"@ LLVM-MCA-END {number}"]
    command = [_llvm("llvm-mca"), "-mtriple=thumbv7em-none-eabihf", f"-mcpu={processor}"]
    command += [f"-iterations={ITERATIONS}", "-json"]
    text = ".syntax unified\n.thumb\n" + "\n".join(source) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"llvm-mca: {done.stderr[:2000]}")
    regions = json.loads(done.stdout)["CodeRegions"]
    cycles = {int(region["Name"]): _cycles(region) for region in regions}
    return (
        sum(cycles.get(number, 0.0) * block.executions for number, block in enumerate(chosen))
        * total
        / max(covered, 1)
    )


def _cycles(region: dict[str, object]) -> float:
    summary = region["SummaryView"]
    assert isinstance(summary, dict)
    return float(summary["TotalCycles"]) / ITERATIONS


def _disassembly(built: Build) -> dict[int, str]:
    """Each instruction by its address, in LLVM's syntax."""
    command = [_llvm("llvm-objdump"), "-d", "--mcpu=cortex-m7", "--triple=thumbv7em"]
    listing = subprocess.run(
        [*command, str(built.program)], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    conditional = 0
    for line in listing.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        text = re.sub(r"\s*[@<;].*$", "", match[2]).replace("\t", " ")
        if _BRANCH.match(text + " "):
            text = "b #0"
        elif conditional:
            text = _CONDITION.sub(r"\1\3", text)
        conditional = max(0, conditional - 1)
        block = _IT.match(text)
        if block:
            # llvm-mca knows no IT: what follows is taken as executed in any case.
            conditional = 1 + len(block[1])
            text = "nop"
        found[int(match[1], 16)] = text
    return found
