"""`lilliput zoo`: the networks that come with Lilliput."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from .. import zoo
from ..conversion import write_atomically
from ..inspection import describe
from .console import plain_table, shape_text, size_text, wide_console


def run(options: argparse.Namespace) -> None:
    """Lists the networks, or shows one and writes it to a file."""
    if options.output and not options.name:
        raise ValueError("-o needs the name of a network: lilliput zoo lists them")
    chosen = [zoo.entry(options.name)] if options.name else zoo.entries()
    if options.output:
        write_atomically(options.output, chosen[0].read())
    told = [_as_json(each) for each in chosen]
    if options.json:
        print(json.dumps(told[0] if options.name else told))
    elif options.name:
        _print_one(told[0], options)
    else:
        _print_all(told)


def _as_json(entry: zoo.Entry) -> dict[str, Any]:
    description = describe(entry.read())
    return {
        **asdict(entry),
        "arena_bytes": description.arena_bytes,
        "flash_bytes": description.flash_bytes,
        "macs": description.macs,
        "input": description.inputs[0]["shape"],
        "labels": list(description.labels),
    }


def _print_all(entries: list[dict[str, Any]]) -> None:
    table = plain_table("network", "task", title="lilliput zoo")
    for column in ("accuracy", "arena", "model file", "MACs"):
        table.add_column(column, justify="right")
    for entry in sorted(entries, key=lambda each: (each["task"], each["flash_bytes"])):
        table.add_row(
            entry["name"],
            entry["task"],
            f"{entry['accuracy']:.2%}",
            f"{entry['arena_bytes']:,}",
            f"{entry['flash_bytes']:,}",
            f"{entry['macs']:,}",
        )
    console = wide_console()
    console.print(table)
    console.print("lilliput zoo NAME -o FILE.lil writes one; arena and model file in bytes")


def _print_one(entry: dict[str, Any], options: argparse.Namespace) -> None:
    table = plain_table(title=entry["name"])
    table.add_row("task", entry["task"])
    table.add_row("accuracy", f"{entry['accuracy']:.2%} in int8, {entry['data']}")
    table.add_row("input", shape_text(entry["input"]))
    table.add_row("labels", ", ".join(entry["labels"]))
    table.add_row("arena", size_text(entry["arena_bytes"]))
    table.add_row("model file", size_text(entry["flash_bytes"]))
    table.add_row("multiply-accumulates", f"{entry['macs']:,}")
    table.add_row("made by", entry["command"])
    if options.output:
        table.add_row("written to", str(options.output))
    wide_console().print(table)
