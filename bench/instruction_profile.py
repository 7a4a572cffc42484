"""Where an inference's instructions go, on an emulated processor.

python bench/instruction_profile.py MODEL [--core cortex-m7] [--annotate FUNCTION]

MODEL is a `.lil` or `.tflite` file, or a name from the table of kernels (`--list`). Functions that
the compiler has inlined count as their callers.
"""

from __future__ import annotations

import argparse
import bisect
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from emulation import CORES, HOST, Build, BuildError, EmulationError, Result, build, run
from emulation.building import CORE_SOURCES
from emulation.models import SHAPES, job_of_model, macs_of, model_of_shape
from emulation.tools import EmulatorsMissing
from rich.console import Console
from rich.table import Table

from lilliput.planner import Schedule


def by_function(built: Build, result: Result) -> Counter[str]:
    """Instructions of each function."""
    names = [
        (address, name)
        for name, address in built.symbols.items()
        if not name.startswith(("$", "."))
    ]
    names.sort()
    starts = [address for address, _ in names]
    counts: Counter[str] = Counter()
    for block in result.blocks:
        place = bisect.bisect_right(starts, block.address) - 1
        counts[names[place][1]] += block.instructions * block.executions
    return counts


def annotated(built: Build, result: Result, function: str) -> str:
    """The disassembly of a function, each line with how often it was executed."""
    listing = built.ask("objdump", "-d", f"--disassemble={function}", str(built.program))
    blocks = result.blocks
    lines = []
    for line in listing.splitlines():
        match = re.match(r"\s*([0-9a-f]+):\t", line)
        if match is None:
            lines.append(line)
            continue
        address = int(match[1], 16)
        times = sum(
            block.executions
            for block in blocks
            if block.address <= address < block.address + block.size
        )
        lines.append(f"{times:>12,} {line}" if times else f"{'':>12} {line}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the profile."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a .lil or .tflite file, or a shape's name")
    parser.add_argument("--list", action="store_true", help="list the names of shapes")
    parser.add_argument("--core", action="append", choices=CORES, help="default: cortex-m7")
    parser.add_argument("--core-sources", type=Path, default=CORE_SOURCES, metavar="DIR",
                        help="folder that holds core/, default: native_modules")  # fmt: skip
    parser.add_argument("--optimize", default="-O2", help="default: -O2 (write --optimize=-Os)")
    parser.add_argument("--by-operator", action="store_true", help="run operator by operator")
    parser.add_argument("--annotate", metavar="FUNCTION", help="show its instructions with counts")
    parser.add_argument("--misalign", type=int, default=0, help="bytes, of the model's address")
    options = parser.parse_args(arguments)
    if options.list or options.model is None:
        print("\n".join(shape.name for shape in SHAPES))
        return
    try:
        for core in options.core or ["cortex-m7"]:
            profile(core, options)
    except (BuildError, EmulationError, EmulatorsMissing, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def profile(core: str, options: argparse.Namespace) -> None:
    """Runs the model on one core, compares it with the portable kernels, prints the table."""
    schedule = Schedule.OPERATORS if options.by_operator else Schedule.STREAMED
    shapes = {shape.name: shape for shape in SHAPES}
    shape = shapes.get(options.model)
    model = Path(options.model) if shape is None else model_of_shape(shape)
    job = job_of_model(model, schedule=schedule, misalignment=options.misalign)
    macs = macs_of(job)
    built = build(CORES[core], options.core_sources, options.optimize)
    [result] = run(built, [job], with_blocks=True)
    [expected] = run(build(HOST, options.core_sources), [job])
    text, constants = built.module_bytes
    verdict = verdict_on(result, expected)
    print(
        f"{options.model} on {core} ({options.optimize}): {result.instructions:,} instructions, "
        f"{result.instructions / max(macs, 1):.3f} per MAC of {macs:,}; "
        f"stack {result.stack_bytes:,} bytes; core {text:,} + {constants:,} bytes; {verdict}"
    )
    table = Table(box=None)
    table.add_column("function")
    for heading in ("instructions", "share", "per MAC"):
        table.add_column(heading, justify="right")
    for name, count in by_function(built, result).most_common(24):
        share = count / result.instructions
        table.add_row(name, f"{count:,}", f"{share:.1%}", f"{count / max(macs, 1):.3f}")
    Console(width=100).print(table)
    if options.annotate:
        print(annotated(built, result, options.annotate))


def verdict_on(result: Result, expected: Result) -> str:
    """Whether a core's outputs are those of the portable kernels on this machine."""
    if result.status != 0 or expected.status != 0:
        return f"FAILED with status {result.status} (host {expected.status}), see lilliput.h"
    pairs = zip(result.outputs, expected.outputs, strict=True)
    wrong = sum(int(np.count_nonzero(found != wanted)) for found, wanted in pairs)
    total = sum(output.size for output in expected.outputs)
    return f"bit-exact ({total:,} values)" if wrong == 0 else f"WRONG in {wrong:,} of {total:,}"


if __name__ == "__main__":
    main()
