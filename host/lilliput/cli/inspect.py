"""`lilliput inspect`: what is in a `.lil` file."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from ..execution import read_model
from ..inspection import Description, Moment, describe
from .console import plain_table, port_text, shape_text, size_text, wide_console

if TYPE_CHECKING:
    from rich.table import Table

_MAP_WIDTH = 40
_OTHER_COLUMNS = 84  # characters that the table takes beside the map


def run(options: argparse.Namespace) -> None:
    """Prints operators, arena map, sizes and origin."""
    description = describe(read_model(options.model))
    if options.json:
        print(json.dumps({"file": str(options.model), **description.as_json()}))
    else:
        _print(description, str(options.model))


def _print(description: Description, title: str) -> None:
    console = wide_console()
    console.print(_facts(description, title))
    console.print(_operators(description, min(console.width - _OTHER_COLUMNS, _MAP_WIDTH)))
    console.print("arena: # written, = read or kept, . free", markup=False)


def _facts(description: Description, title: str) -> Table:
    from rich.text import Text

    rows = [("arena", size_text(description.arena_bytes))]
    rows.append(("model file", size_text(description.flash_bytes)))
    rows += [(f"  {name}", size_text(count)) for name, count in description.sections.items()]
    rows.append(("multiply-accumulates", f"{description.macs:,}"))
    for side, ports in (("input", description.inputs), ("output", description.outputs)):
        rows += [(side, f"{port['name']}: {port_text(port)}") for port in ports]
    if description.labels:
        rows.append(("labels", _shortened(description.labels)))
    paged = ", weights are read in pages" if description.is_paged else ""
    rows.append(("format", f"version {description.version}{paged}"))
    for name, value in description.provenance.items():
        if name not in {"inputs", "outputs"}:
            rows.append((name, value if isinstance(value, str) else json.dumps(value)))
    table = plain_table(title=title)
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _operators(description: Description, map_width: int) -> Table:
    table = plain_table("", "operator", "output", "window")
    table.add_column("constants", justify="right")
    table.add_column("in use", justify="right")
    table.add_column("arena", no_wrap=True)
    for moment in description.arena_map:
        for index in range(moment.first, moment.last + 1):
            op = description.operators[index]
            is_first = index == moment.first
            table.add_row(
                str(index),
                op.kind,
                shape_text(op.output),
                ", ".join(filter(None, [op.window, "int4" if op.weight_bits == 4 else ""])),
                f"{op.constants_bytes:,}" if op.constants_bytes else "",
                f"{moment.live_bytes:,}" if is_first else "",
                _arena_bar(description, moment, map_width) if is_first else "",
            )
    return table


def _arena_bar(description: Description, moment: Moment, width: int) -> str:
    """The arena as a row of `width` characters, each an equal part of it."""
    total = max(description.arena_bytes, 1)
    cells = ["."] * width
    for sign in "=#":
        for item in moment.held:
            is_written = item.tensor is None or item.tensor in moment.written
            if item.bytes and is_written == (sign == "#"):
                begin = item.offset * width // total
                end = -(-(item.offset + item.bytes) * width // total)
                cells[begin:end] = sign * (end - begin)
    return "".join(cells)


def _shortened(labels: tuple[str, ...]) -> str:
    return f"{len(labels)}: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}"
