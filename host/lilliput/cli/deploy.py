"""`lilliput deploy`: a model onto a board, and one inference there."""

from __future__ import annotations

import argparse
import json
import statistics
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..deployment import Deployment, Options, deploy
from ..deployment.ports import only_port
from ..emulation import emulated_board
from .console import plain_table, progress_bars, quiet_libraries, size_text, wide_console


def run(options: argparse.Namespace) -> None:
    """Copies what is missing, runs the model once, says what it took."""
    with _port(options) as port:
        with quiet_libraries(), progress_bars(not options.json) as progress:
            done = deploy(options.model, port, Options(name=options.name), progress)
        if options.json:
            print(json.dumps(as_json(done, port)))
        else:
            _print(done, port)


def _port(options: argparse.Namespace) -> AbstractContextManager[str]:
    """The port of the board that is meant; an emulated one runs as long as it is used."""
    if options.on is None:
        return nullcontext(options.port or only_port())
    return emulated_board(options.on, options.profile)


def as_json(done: Deployment, port: str) -> dict[str, Any]:
    """Plain types: board, what was copied, time and memory of the inference."""
    return {
        "port": port,
        "machine": done.facts.machine,
        "micropython": done.facts.version,
        "architecture": done.facts.architecture,
        "model": done.model,
        "copied": list(done.copied),
        "kept": list(done.kept),
        "milliseconds": statistics.median(done.trial.milliseconds),
        "arena_bytes": done.trial.arena_bytes,
        "model_heap_bytes": done.trial.model_heap,
        "heap_free_bytes": done.trial.heap_free,
        "same_bits": True,
    }


def _print(done: Deployment, port: str) -> None:
    facts = done.facts
    table = plain_table(title=f"{facts.machine}, MicroPython {facts.version}, at {port}")
    table.add_row("copied", ", ".join(done.copied) or "nothing: all of it was there")
    if done.copied and done.kept:
        table.add_row("already there", ", ".join(done.kept))
    table.add_row("one inference", f"{statistics.median(done.trial.milliseconds):.1f} ms")
    table.add_row("its output", "the same bits as on this computer")
    table.add_row("arena", size_text(done.trial.arena_bytes))
    table.add_row("heap left with the model", size_text(done.trial.heap_free))
    console = wide_console()
    console.print(table)
    console.print(f'import lilliput; model = lilliput.load("{done.model}")', markup=False)
