"""`lilliput boards`: the board profiles, and what is connected."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..boards import Profile, profiles
from ..deployment.ports import Port, connected_ports
from .console import plain_table, wide_console


def run(options: argparse.Namespace) -> None:
    """Prints both lists, or the sources of one board's figures."""
    known = profiles()
    found = connected_ports()
    if options.json:
        told = {
            "profiles": [dataclasses.asdict(each) for each in known],
            "connected": [dataclasses.asdict(each) for each in found],
        }
        print(json.dumps(told))
    else:
        _print_profiles(known)
        _print_ports(found)


def _print_profiles(known: list[Profile]) -> None:
    table = plain_table()
    table.show_header = True
    for column in ("--board", "board", "core"):
        table.add_column(column, no_wrap=True)
    for column in ("heap free, KB", "files, KB", "ROMFS, KB"):
        table.add_column(column, justify="right")
    for each in known:
        sizes = (each.heap_bytes, each.flash_bytes, each.romfs_bytes)
        texts = [f"{size / 1024:,.0f}" if size else "" for size in sizes]
        table.add_row(each.key, each.name, each.core, *texts)
    console = wide_console()
    console.print(table)
    console.print("With the boards' stock firmware; `lilliput probe` measures a connected board.")


def _print_ports(found: list[Port]) -> None:
    console = wide_console()
    if not found:
        console.print("No board is connected.")
        return
    table = plain_table("port", "connected", "USB")
    for port in found:
        table.add_row(port.device, port.product, port.usb_id)
    console.print(table)
