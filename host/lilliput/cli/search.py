"""`lilliput search`: the network for a board, from labelled images."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..conversion import write_atomically
from .console import plain_table, progress_bars, quiet_libraries, size_text, wide_console

if TYPE_CHECKING:
    from ..search.pipeline import Options, Outcome


def run(options: argparse.Namespace) -> None:
    """Searches, writes the file, the Pareto set and the report, and says what was found."""
    _check(options)
    with quiet_libraries(), progress_bars(not options.json, with_time_left=True) as progress:
        from ..search.budget import board_budget
        from ..search.dataset import read_dataset
        from ..search.parallel import workers
        from ..search.pipeline import search
        from ..search.report import report
        from ..search.space import space_for

        data = read_dataset(
            options.data, most=options.images, seed=options.seed,
            progress=lambda done, total: progress("read images", done, total),
        )  # fmt: skip
        budget = board_budget(
            options.board, sram=options.sram, flash=options.flash, latency_ms=options.latency
        )
        base = space_for(data.size, data.channels, len(data.names))
        folder = options.folder or options.output.with_suffix(".search")
        with workers(options.processes, options.cluster) as over:
            outcome = search(
                data, base, budget, _settings(options), folder, over=over, progress=progress,
                room=options.board.room if options.board else None,
            )  # fmt: skip
    write_atomically(options.output, outcome.conversion.data)
    found = _as_json(outcome, options)
    pareto = options.output.with_suffix(".pareto.json")
    write_atomically(pareto, json.dumps(found, indent=1).encode())
    page = options.output.with_suffix(".html")
    write_atomically(page, report(outcome, budget, data.names).encode())
    if options.json:
        print(json.dumps(found))
        return
    _print(outcome, options)


def _check(options: argparse.Namespace) -> None:
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output.parent}: no such folder; make it first")
    for name in ("effort", "augment", "spaces", "processes"):
        if not getattr(options, name) > 0:
            raise ValueError(f"--{name} must be more than 0")


def _settings(options: argparse.Namespace) -> Options:
    from ..search.evolution import Settings
    from ..search.pipeline import Options

    return replace(
        Options().with_effort(options.effort),
        spaces=options.spaces,
        evolution=Settings(
            population=options.population, generations=options.generations, seed=options.seed
        ),
        augment=options.augment,
        seed=options.seed,
    )


def _as_json(outcome: Outcome, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "file": str(options.output),
        "resolution": outcome.space.image,
        "multiplier": outcome.space.multiplier,
        "architecture": outcome.chosen.architecture.as_json(),
        "test_accuracy": outcome.accuracy,
        "float_test_accuracy": outcome.float_accuracy,
        "arena_bytes": outcome.conversion.summary["arena_bytes"],
        "flash_bytes": outcome.conversion.summary["flash_bytes"],
        "macs": outcome.conversion.summary["macs"],
        "instructions": outcome.chosen.cost.instructions,
        "milliseconds": _milliseconds(outcome, options),
        "pareto": [
            {
                "space": space.name,
                "architecture": candidate.architecture.as_json(),
                "validation_accuracy": candidate.accuracy,
                **asdict(candidate.cost),
            }
            for space, candidate in outcome.pareto()
        ],
    }


def _milliseconds(outcome: Outcome, options: argparse.Namespace) -> float | None:
    instructions = outcome.chosen.cost.instructions
    if instructions is None or options.board is None:
        return None
    return float(instructions / options.board.clock_hz * 1000)


def _print(outcome: Outcome, options: argparse.Namespace) -> None:
    summary = outcome.conversion.summary
    table = plain_table(title=str(options.output))
    table.add_row("test accuracy", f"{outcome.accuracy:.2%} in int8")
    table.add_row("", f"{outcome.float_accuracy:.2%} in float")
    table.add_row("input", f"{outcome.space.image}x{outcome.space.image} pixels")
    table.add_row("arena", size_text(summary["arena_bytes"]))
    table.add_row("model file", size_text(summary["flash_bytes"]))
    table.add_row("multiply-accumulates", f"{summary['macs']:,}")
    milliseconds = _milliseconds(outcome, options)
    if milliseconds is not None:
        table.add_row("predicted time", f"{milliseconds:.1f} ms, one instruction a cycle")
    console = wide_console()
    console.print(table)
    for suffix in (".pareto.json", ".html"):
        console.print(str(options.output.with_suffix(suffix)), markup=False)
