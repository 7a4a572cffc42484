"""Running a `.lil` on this machine: in this Python, or in MicroPython's Unix port."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .format import read

_TYPECODES = {np.dtype(np.int8): "b", np.dtype(np.uint8): "B", np.dtype(np.float32): "f"}


@dataclass(frozen=True)
class Port:
    """An input or output: `shape` with the batch; real = scale * (value - zero_point)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int

    def reals(self, values: np.ndarray) -> np.ndarray:
        """Raw values as float64; those of an int32 output are integers already."""
        if self.dtype == np.int32:
            return values.astype(np.float64)
        return self.scale * (values.astype(np.float64) - self.zero_point)

    def as_json(self) -> dict[str, Any]:
        """Plain types: shape, dtype, scale, zero_point."""
        return {
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "scale": self.scale,
            "zero_point": self.zero_point,
        }


@dataclass(frozen=True)
class Ports:
    """What goes in and comes out of a model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    input_names: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Inference:
    """Raw output tensors in their shapes, and what it took."""

    outputs: list[np.ndarray]
    milliseconds: float
    arena_bytes: int


def read_model(path: Path) -> bytes:
    """The bytes of a sound `.lil` file.

    Raises OSError when it is missing, ValueError with the verifier's finding when it is not sound.
    """
    data = path.read_bytes()
    try:
        read(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return data


def ports_of(data: bytes) -> Ports:
    """The inputs, outputs and labels of a model. Raises ValueError when it is not sound."""
    file = read(data)
    inputs, outputs = (
        tuple(Port(p.shape, np.dtype(p.dtype), p.scale, p.zero_point) for p in side)
        for side in (file.inputs, file.outputs)
    )
    names = file.provenance.get("inputs")
    if not isinstance(names, list) or len(names) != len(inputs):
        names = [f"input_{index}" for index in range(len(inputs))]
    return Ports(inputs, outputs, tuple(map(str, names)), file.labels)


def run_on_host(data: bytes, inputs: Sequence[np.ndarray]) -> Inference:
    """One inference in this process. Inputs are int8, uint8 or float32, see `Model.infer`."""
    from . import runtime

    with runtime.load(data) as model:
        started = time.perf_counter()
        values = model.infer([np.ascontiguousarray(array) for array in inputs])
        milliseconds = (time.perf_counter() - started) * 1e3
        several = values if len(model.outputs) > 1 else [values]
        outputs = [
            np.array(value, np.dtype(port.dtype)).reshape(port.shape)
            for value, port in zip(several, model.outputs, strict=True)
        ]
        return Inference(outputs, milliseconds, model.arena_bytes)


def run_on_unix(data: bytes, inputs: Sequence[np.ndarray]) -> Inference:
    """One inference in MicroPython's Unix port, through the native module.

    Raises RuntimeError when MicroPython is not built, or with what it says when it fails.
    """
    from . import unixport

    ports = ports_of(data)
    script = resources.files(__package__).joinpath("run_in_micropython.py").read_text()
    with tempfile.TemporaryDirectory(prefix="lilliput-") as name:
        folder = Path(name)
        (folder / "model.lil").write_bytes(data)
        request = []
        for index, array in enumerate(inputs):
            (folder / f"input{index}.bin").write_bytes(array.tobytes())
            request.append([f"input{index}.bin", _TYPECODES[array.dtype]])
        (folder / "request.json").write_text(json.dumps({"inputs": request}))
        (folder / "main.py").write_text(script)
        told = json.loads(unixport.run(folder / "main.py", cwd=folder))
        outputs = [
            np.frombuffer((folder / f"output{index}.bin").read_bytes(), port.dtype)
            for index, port in enumerate(ports.outputs)
        ]
    shaped = [array.reshape(port.shape) for array, port in zip(outputs, ports.outputs, strict=True)]
    return Inference(shaped, told["microseconds"] / 1e3, told["arena_bytes"])


def best_classes(output: np.ndarray, ports: Ports, count: int) -> list[tuple[str, float]]:
    """The best classes as (label or index, score), best first; empty unless a lone vector.

    Of an arg max (int32) the value itself is the class.
    """
    port = ports.outputs[0]
    if len(ports.outputs) != 1 or math.prod(port.shape) != max(port.shape, default=1):
        return []
    if port.dtype == np.int32:
        classes = [(int(value), 1.0) for value in output.ravel()[:count]]
    else:
        reals = port.reals(output.ravel())
        if reals.size < 2:
            return []
        classes = [(int(i), float(reals[i])) for i in np.argsort(-reals, kind="stable")[:count]]
    names = ports.labels
    return [(names[i] if 0 <= i < len(names) else str(i), score) for i, score in classes]
