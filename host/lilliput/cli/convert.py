"""`lilliput convert`: a `.lil` file of a model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..conversion import Conversion, convert, read_labels
from .console import (
    plain_table,
    port_text,
    progress_bars,
    quiet_libraries,
    shape_text,
    size_text,
    wide_console,
)

if TYPE_CHECKING:
    from ..quantize import Report


def run(options: argparse.Namespace) -> None:
    """Converts a model, writes the file and says what came out."""
    labels = read_labels(options.labels) if options.labels else []
    with quiet_libraries(), progress_bars(not options.json) as progress:
        conversion = convert(
            options.model,
            options.output,
            calibrate=options.calibrate,
            sram=options.sram,
            labels=labels,
            input_range=tuple(options.input_range) if options.input_range else None,
            method=options.method,
            equalize=not options.no_equalization,
            bias_correction=not options.no_bias_correction,
            max_samples=options.samples,
            paged=options.paged,
            room=options.board.room if options.board else None,
            max_macs=options.max_macs,
            progress=progress,
        )
    for warning in conversion.warnings:
        print(f"lilliput: {warning}", file=sys.stderr)
    if options.json:
        print(json.dumps(_as_json(conversion, options)))
        return
    _print(conversion, options.output)
    if options.report:
        _print_report(conversion.report)


def _as_json(conversion: Conversion, options: argparse.Namespace) -> dict[str, Any]:
    result = {"file": str(options.output), **conversion.summary}
    report = conversion.report
    if report is not None:
        worst = report.worst
        result["sqnr_db"] = report.outputs
        result["worst_layer"] = None if worst is None else worst.name
        if options.report:
            result["layers"] = [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "shape": list(layer.shape),
                    "sqnr_db": layer.sqnr_db,
                    "alone_db": layer.alone_db,
                }
                for layer in report.layers
            ]
    return result


def _print(conversion: Conversion, path: Path) -> None:
    summary = conversion.summary
    table = plain_table(title=str(path))
    table.add_row("arena", size_text(summary["arena_bytes"]))
    table.add_row("model file", size_text(summary["flash_bytes"]))
    table.add_row("multiply-accumulates", f"{summary['macs']:,}")
    table.add_row("operators", str(summary["operators"]))
    for name in ("inputs", "outputs"):
        for port in summary[name]:
            table.add_row(name[:-1], port_text(port))
    if conversion.report is not None:
        for name, decibels in conversion.report.outputs.items():
            table.add_row("quantisation", f"{decibels:.1f} dB SQNR at {name}")
    wide_console().print(table)


def _print_report(report: Report | None) -> None:
    console = wide_console()
    if report is None or report.worst is None:
        console.print("The model was int8 already: nothing was quantised, there is no report.")
        return
    table = plain_table("operator", "output tensor", "shape", title="Quantisation error by layer")
    table.add_column("SQNR, dB", justify="right")
    table.add_column("alone, dB", justify="right")
    for layer in report.layers:
        table.add_row(
            layer.kind,
            layer.name,
            shape_text(layer.shape),
            f"{layer.sqnr_db:.1f}",
            f"{layer.alone_db:.1f}",
            style="bold red" if layer == report.worst else None,
        )
    console.print(table)
    console.print(
        "SQNR: signal to quantisation noise at the layer's output, in the int8 network. "
        "Alone: at the network's output, when this layer alone is int8."
    )
    console.print(
        f"The layer that hurts most is {report.worst.kind} {report.worst.name!r} "
        f"({report.worst.alone_db:.1f} dB alone).",
        markup=False,
    )
