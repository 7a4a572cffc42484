"""Writes the table of docs/training.md: memory and instructions of training steps, by scheme.

python bench/training.py [--models FOLDER]

The schemes are those of examples/mcunet_transfer, of the published MCUNet with a classifier of ten.
Arenas are planned with the input fed row by row, and resident; instructions are counted on the
emulated Cortex-M7, of a step that is fed, and of the same network's inference.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark import insert_between, table
from emulation import CORES, HOST, BuildError, EmulationError, EmulatorsMissing, Job, build, run
from emulation.models import job_of_lil
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lilliput.format import write
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import Plan, plan
from lilliput.program import Program
from lilliput.training.classifier import replace_classifier
from lilliput.training.planning import plan_training
from lilliput.training.scheme import Scheme

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "mcunet_transfer"
PAGE = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- bench/training.py: begin -->", "<!-- bench/training.py: end -->"
CORE = "cortex-m7"
RATE = (1374389535, -6)  # 0.01
TARGET = (3).to_bytes(4, "little")


@dataclass(frozen=True)
class Row:
    """What a scheme takes: bytes of arena, fed and resident, of which trained constants; and the
    step itself."""

    fed: int
    resident: int
    constants: int
    macs: int
    job: Job


def row_of(program: Program, scheme: Scheme) -> Row:
    """Plans a scheme both ways."""
    fed = plan_training(program, scheme)
    resident = plan_training(program, scheme, streams_input=False)
    training = fed.plan.program.training
    assert training is not None
    job = replace(job_of(fed.plan), target=TARGET, rate=RATE)
    macs = sum(step.macs for step in fed.plan.program.steps)
    return Row(fed.arena_bytes, resident.arena_bytes, training.bytes, macs, job)


def job_of(placed: Plan) -> Job:
    return job_of_lil(write(placed.program, placed))


def instructions_of(step: Job) -> int:
    """Instructions of a training step. Raises ValueError when it leaves other bits behind than the
    portable kernels do on this machine."""
    here, there = (run(build(core, training=True), [step])[0] for core in (HOST, CORES[CORE]))
    if (here.status, there.status) != (0, 0) or here.trained != there.trained:
        raise ValueError(f"{CORE} trains other constants: status {here.status}, {there.status}")
    return there.instructions


def measured(program: Program, schemes: Mapping[str, Scheme], progress: Progress) -> list[str]:
    """Lines of text: the inference, and the table."""
    task = progress.add_task("training steps: plan", total=len(schemes) + 1)
    rows: dict[str, Row] = {}
    for name, scheme in schemes.items():
        rows[name] = row_of(program, scheme)
        progress.advance(task)
    progress.update(task, description="training steps: count")
    inference = plan(program)
    least = run(build(CORES[CORE]), [job_of(inference)])[0].instructions
    found = {name: instructions_of(row.job) for name, row in rows.items()}
    progress.advance(task)
    head = (
        f"An inference: {inference.arena_bytes:,} bytes of arena, {program.macs:,} "
        f"multiply-accumulates, {least / 1e6:.1f} M instructions on the {CORES[CORE].title}."
    )
    columns = [
        "trained", "arena, fed", "input resident", "of which state and trained constants",
        "multiply-accumulates", "instructions", "of an inference",
    ]  # fmt: skip
    cells = []
    for name, row in rows.items():
        count = found[name]
        cells.append(
            [
                name,
                f"{row.fed:,}",
                f"{row.resident:,}",
                f"{row.constants:,}",
                f"{row.macs / 1e6:.1f} M",
                f"{count / 1e6:.1f} M",
                f"{count / least:.2f}",
            ]
        )
    return [head, "", table(columns, cells)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Plans, measures, and puts the table between the page's markers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    models = os.environ.get("LILLIPUT_MODELS") or ROOT.parent / "shared" / "models"
    parser.add_argument("--models", type=Path, default=Path(models))
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(EXAMPLE))
    from accuracy import rows  # type: ignore[import-not-found]
    from network import (  # type: ignore[import-not-found]
        build_graph,
        read_published,
    )

    try:
        published = read_published(options.models / "training")
    except OSError as error:
        sys.exit(f"the published network is missing: {error}; give its folder with --models")
    program = lower(simplify(replace_classifier(build_graph(published), 10)))
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*shown, transient=True) as progress:
            lines = measured(program, rows(program, published), progress)
    except (EmulatorsMissing, BuildError, EmulationError, ValueError) as error:
        sys.exit(str(error))
    insert_between(options.page, BEGIN, END, "\n".join(lines).rstrip("\n"))


if __name__ == "__main__":
    main()
