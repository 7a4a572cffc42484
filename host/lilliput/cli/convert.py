"""`lilliput convert`: a `.lil` file of a model."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
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
    from ..quantize import Int4Options, Int4Report, Report


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
            int4=_int4_options(options),
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
        if conversion.int4 is not None:
            _print_int4(conversion.int4)


def _int4_options(options: argparse.Namespace) -> Int4Options | None:
    from ..quantize import Int4Options

    if not options.int4:
        if options.max_accuracy_loss is not None or options.min_sqnr is not None:
            raise ValueError(
                "--max-accuracy-loss and --min-sqnr say how far --int4 may go: add --int4"
            )
        return None
    limits = Int4Options()
    if options.max_accuracy_loss is not None:
        limits = replace(limits, max_loss=options.max_accuracy_loss / 100.0)
    if options.min_sqnr is not None:
        limits = replace(limits, min_sqnr_db=options.min_sqnr)
    return limits


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
    if conversion.int4 is not None:
        result["int4"] = asdict(conversion.int4)
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
    if conversion.int4 is not None:
        table.add_row("int4 weights", _int4_text(conversion.int4))
    wide_console().print(table)


def _int4_text(report: Int4Report) -> str:
    chosen = [layer for layer in report.layers if layer.bits == 4]
    text = (
        f"{len(chosen)} of {len(report.layers)} layers, "
        f"{sum(layer.saved_bytes for layer in chosen):,} bytes saved; "
    )
    if report.measure == "sqnr_db":
        return text + f"{report.int4:.1f} dB SQNR against int8 on {report.samples} samples"
    what = "accuracy" if report.measure == "accuracy" else "same class as int8"
    return text + f"{what} {report.int8:.2%} -> {report.int4:.2%} on {report.samples} samples"


def _print_int4(report: Int4Report) -> None:
    table = plain_table("operator", "output tensor", title="Weights of four bits")
    for heading in ("bits", "bytes saved", "alone, dB"):
        table.add_column(heading, justify="right")
    for layer in report.layers:
        saved = f"{layer.saved_bytes:,}" if layer.bits == 4 else ""
        table.add_row(layer.kind, layer.name, str(layer.bits), saved, f"{layer.alone_db:.1f}")
    console = wide_console()
    console.print(table)
    console.print(
        "Alone: signal to noise at the network's output against the int8 network, when this layer "
        "alone has weights of four bits."
    )


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
