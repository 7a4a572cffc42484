"""`lilliput bench`: what an inference costs, in instructions or in milliseconds."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from ..conversion import convert
from ..counting import Count, count_instructions
from ..deployment import Deployment, Options, deploy
from ..deployment.ports import only_port
from ..execution import read_model
from ..format.reader import read
from .console import (
    plain_table,
    progress_bars,
    quiet_libraries,
    shape_text,
    size_text,
    wide_console,
)


def run(options: argparse.Namespace) -> None:
    """Counts instructions on an emulated core, or takes the time on a connected board."""
    if options.on is not None:
        with quiet_libraries():
            count = count_instructions(
                _model(options.model), options.on, by_operator=options.per_op
            )
        if options.json:
            print(json.dumps(_count_json(count, options.per_op)))
        else:
            _print_count(count, options.model.name)
        return
    if options.per_op:
        raise ValueError("operators are told apart on an emulated core only: use --on qemu:CORE")
    port = options.port or only_port()
    with quiet_libraries(), progress_bars(not options.json) as progress:
        done = deploy(options.model, port, Options(repeats=options.repeats), progress)
    if options.json:
        print(json.dumps(_time_json(done)))
    else:
        _print_time(done)


def _model(path: Path) -> bytes:
    return read_model(path) if path.suffix.lower() == ".lil" else convert(path).data


def _count_json(count: Count, with_operators: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "core": count.core,
        "instructions": count.instructions,
        "macs": count.macs,
        "instructions_per_mac": count.per_mac,
        "arena_bytes": count.arena_bytes,
        "stack_bytes": count.stack_bytes,
    }
    if with_operators:
        result["operators"] = [dataclasses.asdict(each) for each in count.operators]
    return result


def _print_count(count: Count, name: str) -> None:
    console = wide_console()
    table = plain_table(title=f"{name} on {count.core}")
    table.add_row("instructions", f"{count.instructions:,}")
    table.add_row("multiply-accumulates", f"{count.macs:,}")
    table.add_row("instructions a MAC", f"{count.per_mac:.3f}")
    table.add_row("arena", size_text(count.arena_bytes))
    table.add_row("stack", size_text(count.stack_bytes))
    console.print(table)
    if not count.operators:
        return
    table = plain_table("", "operator", "output")
    for heading in ("instructions", "share"):
        table.add_column(heading, justify="right")
    rows = [(each.index, each.kind, each.shape, each.instructions) for each in count.operators]
    for index, kind, shape, instructions in rows:
        share = f"{instructions / count.instructions:.1%}"
        table.add_row(str(index), kind, shape_text(shape), f"{instructions:,}", share)
    rest = count.instructions - sum(instructions for *_, instructions in rows)
    share = f"{rest / count.instructions:.1%}"
    table.add_row("", "between the operators", "", f"{rest:,}", share)
    console.print(table)


def _time_json(done: Deployment) -> dict[str, Any]:
    macs = read(done.data).macs
    median = statistics.median(done.trial.milliseconds)
    return {
        "core": done.facts.machine,
        "milliseconds": median,
        "milliseconds_all": list(done.trial.milliseconds),
        "macs": macs,
        "cycles_per_mac": done.facts.clock_hz * median / 1e3 / max(macs, 1) or None,
        "arena_bytes": done.trial.arena_bytes,
        "heap_free_bytes": done.trial.heap_free,
    }


def _print_time(done: Deployment) -> None:
    figures = _time_json(done)
    times = figures["milliseconds_all"]
    table = plain_table(title=f"{done.model} on {done.facts.machine}")
    table.add_row("median", f"{figures['milliseconds']:.2f} ms of {len(times)} inferences")
    table.add_row("fastest, slowest", f"{min(times):.2f} ms, {max(times):.2f} ms")
    table.add_row("multiply-accumulates", f"{figures['macs']:,}")
    if figures["cycles_per_mac"]:
        table.add_row("cycles a MAC", f"{figures['cycles_per_mac']:.2f}")
    table.add_row("arena", size_text(figures["arena_bytes"]))
    table.add_row("heap left with the model", size_text(figures["heap_free_bytes"]))
    wide_console().print(table)
