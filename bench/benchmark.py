"""Measures all models and kernels; writes docs/benchmarks.md and bench/instructions.json.

python bench/benchmark.py [--models FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import anchors
from emulation import CORES, Build, BuildError, EmulationError, EmulatorsMissing, Result, build
from emulation.building import CORE_SOURCES
from emulation.cycles import PROCESSORS, estimated_cycles, is_available
from instruction_profile import by_function
from measuring import (
    OPTIMIZATION,
    Figures,
    Subject,
    by_name,
    compilers,
    kernels,
    measure,
    published,
    published_with_pixels,
)
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lilliput.planner import Schedule

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
M7 = "cortex-m7"
M55 = "cortex-m55"
FUNCTIONS = 6
LINE = 100

Results = dict[str, dict[str, Result]]

INTRODUCTION = """\
# Instructions per inference

Written by `make bench`. Executed instructions of one inference with the whole int8 input at hand,
from the start of `begin` to the end of `read_output`, on processors that QEMU emulates; the models
are planned with fed input and run streamed, at 1.00x MACs. Every output was equal to that of the
portable kernels on the machine that measured, which the tests compare with LiteRT's reference
kernels. The counter (`bench/emulation/plugin/`) is exact to one instruction: tests prove it on
loops of known length and on a timer. Compiled with `{optimization}`, by {compilers}; `memcpy`
copies words where both sides are aligned, as in MicroPython's ports.

QEMU models neither caches nor flash wait states nor dual issue: an instruction is not a cycle. M0
stands for ARMv6-M code (Cortex-M0+), which is run on an emulated M3. KB = 1000 bytes.

The other engines' figures are quoted. {method}
"""


NARROW_MAPS = """\
## Where the instructions go on the M55

The aim is 70% of CMSIS-NN's. It is met with least to spare where rows are narrow, in keyword
spotting, whose maps are five pixels wide: a row is one call, so what is done once a call is spread
over five pixels. CMSIS-NN has the whole map of 125 at once, and 16,512 bytes in place of 5,412.

A depthwise 3x3 row takes about 195 instructions for four channels and five pixels: 17 to lay the
weights out and load them, 25 for the columns, 62 for the products (of each pixel, four loads, four
`VMLADAV` of 16 lanes of which nine count, two stores), 72 to narrow the sums, 16 around them. A 1x1
row keeps the 64 taps of a pixel in four vectors while the weights of all channels pass: a pair of
channels takes 19 instructions, eight loads, eight `VMLADAVA` of 16 products, and three to store the
sums and to go on. Wider rows keep the weights of 48 taps and two channels in six vectors: a pixel
takes 12 or 13, of which six are `VMLADAVA`.
"""

MEASURING = """\
## Measuring

`make bench` writes this page and `bench/instructions.json`; `make bench-check` fails when something
needs over 2% more instructions than that file says. `python bench/instruction_profile.py MODEL`
tells where the instructions of a model go, function by function or, with `--annotate FUNCTION`,
instruction by instruction; `--core` chooses the processor, `--core-sources` another copy of the C
core. Compilers and emulators come from `make emulators`.
"""


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are numbers."""
    rule = ["---", *["---:"] * (len(heading) - 1)]
    lines = [heading, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def insert_between(page: Path, begin: str, end: str, text: str) -> None:
    """Puts text between two markers of a page, in place of what is there."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def wrapped(text: str) -> str:
    """Markdown with its paragraphs filled to lines of 100 characters; tables stay as they are."""
    paragraphs = text.split("\n\n")
    filled = [p if p.startswith("|") else textwrap.fill(p, LINE) for p in paragraphs]
    return "\n\n".join(filled).rstrip("\n") + "\n"


def _millions(count: float) -> str:
    return f"{count / 1e6:,.2f} M" if count >= 1e5 else f"{count:,.0f}"


def against_others(subjects: Sequence[Subject], results: Results, code_bytes: int) -> str:
    """Our figures on the Cortex-M7 beside the others'."""
    rows = []
    for subject in subjects:
        ours = results[M7][subject.name].instructions
        bound = anchors.BOUNDS[subject.name]
        told = "reached" if ours <= bound else f"missed by {ours / bound - 1:.0%}"
        rows.append(
            [
                f"`{subject.name}` ({_millions(subject.macs)} MACs)", "**Lilliput**",
                f"**{ours:,}**", f"{ours / subject.macs:.2f}", "1.00",
                f"{subject.arena_bytes:,}", f"{subject.file_bytes + code_bytes:,}",
                f"{_millions(bound)}: {told}",
            ]
        )  # fmt: skip
        for anchor in anchors.MODELS:
            count = anchor.instructions.get(M7)
            if anchor.model == subject.name and count is not None:
                rows.append(
                    [
                        "", anchor.engine, f"{count:,}", f"{count / subject.macs:.2f}",
                        f"{count / ours:.2f}", f"{anchor.sram or 0:,}",
                        f"{anchor.flash:,}" if anchor.flash else "", "",
                    ]
                )  # fmt: skip
    heading = ["model", "engine", "instructions", "per MAC", "times ours", "RAM bytes"]
    return table([*heading, "flash bytes", "aim"], rows)


def on_every_core(subjects: Sequence[Subject], results: Results) -> str:
    """Instructions and instructions per MAC of each model on each core."""
    rows = []
    for subject in subjects:
        cells = []
        for core in results:
            count = results[core][subject.name].instructions
            cells.append(f"{_millions(count)} ({count / subject.macs:.2f})")
        rows.append([f"`{subject.name}`", *cells])
    return table(["model", *(CORES[core].title for core in results)], rows)


def against_anchors(subjects: Sequence[Subject], results: Results) -> str:
    """Ratios to TF-Lite Micro with CMSIS-NN on the cores other than the M7."""
    rows = []
    for anchor in anchors.MODELS:
        for core in ("cortex-m4", "cortex-m55"):
            count = anchor.instructions.get(core)
            if count is not None and anchor.model in results[core]:
                ours = results[core][anchor.model].instructions
                rows.append(
                    [
                        f"`{anchor.model}`", CORES[core].title, anchor.engine,
                        f"{count:,}", f"{ours:,}", f"{ours / count:.0%}",
                    ]
                )  # fmt: skip
    return table(["model", "core", "engine", "theirs", "ours", "ours of theirs"], rows)


def pixels_and_size(
    subjects: Sequence[Subject], found: Results, pixels: Results, small: Results
) -> str:
    """What uint8 input and `-Os` cost on the Cortex-M7."""
    rows = []
    for subject in subjects:
        plain = found[M7][subject.name].instructions
        cells = [f"{plain:,}"]
        for other in (pixels, small):
            count = other[M7][subject.name].instructions if subject.name in other[M7] else 0
            cells.append(f"{count:,} ({count / plain - 1:+.1%})" if count else "")
        rows.append([f"`{subject.name}`", *cells])
    return table(["model", f"int8, {OPTIMIZATION}", f"uint8, {OPTIMIZATION}", "int8, -Os"], rows)


def streaming(
    streamed: Sequence[Subject], whole: Sequence[Subject], ours: Results, other: Results
) -> str:
    """What streaming costs against operator by operator."""
    rows = []
    for subject, held in zip(streamed, whole, strict=True):
        name = subject.name
        ratios = [
            ours[core][name].instructions / found[name].instructions
            for core, found in other.items()
        ]
        changes = [f"{ratio - 1:+.1%}" for ratio in ratios]
        rows.append([f"`{name}`", f"{subject.arena_bytes:,}", f"{held.arena_bytes:,}", *changes])
    titles = [f"instructions, {CORES[core].title}" for core in other]
    return table(["model", "arena streamed", "arena whole", *titles], rows)


def per_kernel(subjects: Sequence[Subject], results: Results, cycles: dict[str, list[str]]) -> str:
    """Instructions per MAC (per output value where there are none) of each kernel."""
    rows = []
    for subject in subjects:
        units = subject.macs or results[M7][subject.name].outputs[0].size
        cells = [f"{found[subject.name].instructions / units:.2f}" for found in results.values()]
        theirs = anchors.KERNELS.get(subject.name, ("", ""))
        rows.append([subject.name, *cells, *cycles.get(subject.name, ["", ""]), *theirs])
    heading = ["kernel", *(CORES[core].title for core in results)]
    heading += ["M4 cycles", "M7 cycles", "CMSIS-NN, M7", "TinyEngine, M7"]
    return table(heading, rows)


def where_they_go(subjects: Sequence[Subject], results: dict[str, Result], built: Build) -> str:
    """The functions of the program `built` with the most instructions."""
    rows = []
    for subject in subjects:
        result = results[subject.name]
        shares = [
            f"{name} {count / result.instructions:.0%} ({count / subject.macs:.2f})"
            for name, count in by_function(built, result).most_common(FUNCTIONS)
        ]
        rows.append([f"`{subject.name}`", f"{result.stack_bytes:,}", "; ".join(shares)])
    return table(["model", "stack bytes", "share of the instructions (per MAC)"], rows)


def sizes(sources: Path) -> str:
    """Text and constants of the core for each target."""
    rows = []
    for name, core in CORES.items():
        cells = []
        for optimization in ("-O2", "-Os"):
            text, constants = build(core, sources, optimization).module_bytes
            cells += [f"{text:,}", f"{constants:,}", f"{text + constants:,}"]
        rows.append([CORES[name].title, *cells])
    heading = [
        "core",
        *(f"{o} {what}" for o in ("-O2", "-Os") for what in ("text", "constants", "sum")),
    ]
    return table(heading, rows)


def estimates(subjects: Sequence[Subject], results: Results, sources: Path) -> dict[str, list[str]]:
    """Estimated cycles per MAC (or output value) of each kernel on the M4 and the M7."""
    if not is_available():
        return {}
    found: dict[str, list[str]] = {}
    for subject in subjects:
        found[subject.name] = []
        for core in PROCESSORS:
            built = build(CORES[core], sources, OPTIMIZATION)
            result = results[core][subject.name]
            units = subject.macs or result.outputs[0].size
            cycles = estimated_cycles(built, result.blocks, core)
            found[subject.name].append(f"{cycles / units:.2f}")
    return found


def write_all(models: Path, sources: Path) -> None:
    """Measures everything, writes the page and the figures."""
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("planning", total=2 * len(CORES) + 8)

        def measured_of(
            subjects: Sequence[Subject],
            what: str,
            cores: Iterable[str],
            with_blocks: bool = False,
            optimization: str = OPTIMIZATION,
        ) -> Results:
            def step(core: str) -> None:
                progress.update(task, advance=1, description=f"{what}: {core}")

            return measure(
                subjects, cores, with_blocks=with_blocks, sources=sources,
                optimization=optimization, step=step,
            )  # fmt: skip

        streamed = published(models)
        whole = published(models, Schedule.OPERATORS)
        shapes = kernels()
        found = measured_of(streamed, "models, streamed", CORES)
        by_operator = measured_of(whole, "operator by operator", [M7, "cortex-m0"])
        pixels = measured_of(published_with_pixels(models), "uint8 input", [M7])
        small = measured_of(streamed, "-Os", [M7], optimization="-Os")
        measured = measured_of(shapes, "kernels", CORES)
        blocks = measured_of(shapes, "cycles", PROCESSORS, with_blocks=True)
        profiled = measured_of(streamed, "profile", [M7, M55], with_blocks=True)
        cycles = estimates(shapes, blocks, sources)
        m7 = build(CORES[M7], sources, OPTIMIZATION)
        m55 = build(CORES[M55], sources, OPTIMIZATION)
    used = compilers()
    quoted = (anchors.__doc__ or "").split("\n\n")[1].strip()
    parts = [
        INTRODUCTION.format(
            compilers=" and ".join(f"{name}-gcc {used[name]}" for name in sorted(used)),
            optimization=OPTIMIZATION,
            method=quoted,
        )
    ]
    if streamed:
        parts += [
            "## Models on the Cortex-M7\n\nRAM: the arena, for us; theirs holds the whole input"
            " and their tensors. Flash: model and engine, without firmware or C library.\n",
            against_others(streamed, found, sum(m7.module_bytes)),
            "## Models on every core\n\nInstructions, and per MAC in brackets.\n",
            on_every_core(streamed, found),
            "## Other engines on the M4 and M55\n",
            against_anchors(streamed, found),
            "## Streamed against operator by operator\n\nMore instructions (+) or fewer (-) than"
            " the same model run operator by operator.\n",
            streaming(streamed, whole, found, by_operator),
            "## Pixels, and code compiled for size\n\nOn the M7: uint8 input goes through the"
            " file's table; `-Os` makes the code smaller, see below.\n",
            pixels_and_size(streamed, found, pixels, small),
            "## Where the instructions go on the M7\n",
            where_they_go(streamed, profiled[M7], m7),
            NARROW_MAPS,
            where_they_go(streamed, profiled[M55], m55),
        ]
    parts += [
        "## Kernels\n\nInstructions per MAC, requantisation and executor included; per output"
        " value for operators without MACs. Cycles per MAC are llvm-mca's estimate from its models"
        " of the pipelines: every block of instructions as a loop of itself, memory that answers at"
        " once, branches predicted.\n",
        per_kernel(shapes, measured, cycles),
        "## Size of the core\n\nBytes of all kernels and the executor together, before linking; a"
        " build may leave kernels out.\n",
        sizes(sources),
        MEASURING,
    ]
    PAGE.write_text("\n".join(map(wrapped, parts)), encoding="utf-8")
    Figures(used, by_name(found), by_name(measured)).write()
    print(PAGE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("LILLIPUT_MODELS", "../shared/models"))
    parser.add_argument("--models", type=Path, default=default)
    parser.add_argument("--core-sources", type=Path, default=CORE_SOURCES)
    options = parser.parse_args(arguments)
    try:
        write_all(options.models, options.core_sources)
    except (BuildError, EmulationError, EmulatorsMissing, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
