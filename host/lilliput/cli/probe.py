"""`lilliput probe`: measures a connected board, and writes a profile of it."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..boards import profile_text
from ..conversion import write_atomically
from ..deployment import Board, read_facts
from ..deployment.ports import only_port
from ..deployment.profiling import measured_profile
from .console import plain_table, size_text, wide_console


def run(options: argparse.Namespace) -> None:
    """Prints what the board has, and writes it as a profile where asked to."""
    port = options.port or only_port()
    with Board(port) as board:
        board.restart()
        facts = read_facts(board)
    measured = measured_profile(facts, options.output.stem if options.output else "measured")
    if options.output is not None:
        write_atomically(options.output, profile_text(measured).encode())
    if options.json:
        print(json.dumps(dataclasses.asdict(measured)))
        return
    table = plain_table(title=f"{measured.name}, MicroPython {measured.micropython}, at {port}")
    table.add_row("core", measured.core)
    table.add_row("native modules", measured.mpy_arch or "none")
    table.add_row("clock", f"{measured.clock_hz / 1e6:g} MHz" if measured.clock_hz else "unknown")
    table.add_row("heap free", size_text(measured.heap_bytes))
    table.add_row("  in one piece", size_text(measured.largest_block_bytes))
    table.add_row("files, free now", size_text(facts.free_bytes))
    table.add_row("ROMFS", size_text(measured.romfs_bytes) if measured.romfs_bytes else "none")
    console = wide_console()
    console.print(table)
    if options.output is not None:
        console.print(f"{options.output}: use it with --board {options.output}", markup=False)
