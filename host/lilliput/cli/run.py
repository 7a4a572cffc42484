"""`lilliput run`: one inference on this machine, or on a board that it emulates."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from .. import execution
from ..boards import profile
from ..samples import read_input
from .console import plain_table, shape_text, size_text, wide_console


def run(options: argparse.Namespace) -> None:
    """Runs the model and prints its classes or outputs, its time and its arena."""
    data = execution.read_model(options.model)
    ports = execution.ports_of(data)
    inputs = read_input(options.input, [port.shape for port in ports.inputs], ports.input_names)
    inference = _infer(options, data, inputs)
    if options.output is not None:
        write_outputs(options.output, inference.outputs)
    best = execution.best_classes(inference.outputs[0], ports, options.top)
    if options.json:
        print(json.dumps(_summary(options, inference, ports, best)))
    else:
        _print(options, inference, ports, best)


def _infer(
    options: argparse.Namespace, data: bytes, inputs: list[np.ndarray]
) -> execution.Inference:
    """Runs it where --on says. Raises ValueError for --as without an emulated board."""
    place, _, core = options.on.partition(":")
    if options.profile and place != "qemu":
        raise ValueError("--as is for emulated boards: use it with --on qemu:cortex-m7")
    if place == "qemu":
        heap_bytes = profile(options.profile).heap_bytes if options.profile else None
        return execution.run_on_emulated_board(core, data, inputs, heap_bytes=heap_bytes)
    engine = execution.run_on_unix if place == "unix" else execution.run_on_host
    return engine(data, inputs)


def write_outputs(path: Path, outputs: list[np.ndarray]) -> None:
    """Writes the raw output tensors: a `.npy` file, or a `.npz` when there are several.

    Raises ValueError when there are several and the path does not end in `.npz`.
    """
    if path.suffix.lower() == ".npz":
        with path.open("wb") as file:
            arrays: dict[str, Any] = {f"output_{i}": array for i, array in enumerate(outputs)}
            np.savez(file, **arrays)
        return
    if len(outputs) > 1:
        raise ValueError(f"the model has {len(outputs)} outputs: write them to a .npz file")
    with path.open("wb") as file:
        np.save(file, outputs[0])


def _summary(
    options: argparse.Namespace,
    inference: execution.Inference,
    ports: execution.Ports,
    best: list[tuple[str, float]],
) -> dict[str, Any]:
    return {
        "on": options.on,
        "milliseconds": inference.milliseconds,
        "instructions": inference.instructions,
        "arena_bytes": inference.arena_bytes,
        "outputs": [
            {"shape": list(array.shape), "dtype": str(array.dtype)} | port.as_json()
            for array, port in zip(inference.outputs, ports.outputs, strict=True)
        ],
        "top": [{"label": label, "score": score} for label, score in best],
    }


def _print(
    options: argparse.Namespace,
    inference: execution.Inference,
    ports: execution.Ports,
    best: list[tuple[str, float]],
) -> None:
    console = wide_console()
    if best:
        table = plain_table("class", "score")
        for label, score in best:
            table.add_row(label, f"{score:.4f}")
        console.print(table)
    else:
        table = plain_table("output", "shape", "lowest", "highest", "mean")
        for index, (array, port) in enumerate(zip(inference.outputs, ports.outputs, strict=True)):
            reals = port.reals(array)
            figures = (f"{value:.4g}" for value in (reals.min(), reals.max(), reals.mean()))
            table.add_row(str(index), shape_text(port.shape), *figures)
        console.print(table)
    arena = size_text(inference.arena_bytes)
    if inference.instructions is not None:
        count = f"{inference.instructions / 1e6:.1f} M instructions"
        console.print(f"{count} on the emulated {options.on.partition(':')[2]}, arena {arena}")
        return
    where = "MicroPython's Unix port" if options.on == "unix" else "this Python"
    console.print(f"{inference.milliseconds:.1f} ms in {where}, arena {arena}")
