"""Running a `.lil`: in this Python, in MicroPython's Unix port, or on an emulated board."""

from __future__ import annotations

import base64
import json
import math
import tempfile
import time
from collections.abc import Iterable, Sequence
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
    """Raw output tensors in their shapes, and what it took; instructions where they are counted."""

    outputs: list[np.ndarray]
    milliseconds: float
    arena_bytes: int
    instructions: int | None = None


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


def answers(data: bytes, images: Iterable[np.ndarray]) -> np.ndarray:
    """The class with the highest int8 score for each image, int64[n], in this process."""
    from . import runtime

    found = []
    with runtime.load(data) as model:
        scores = model.output.buffer()
        for image in images:
            model.infer(image, out=scores)
            found.append(int(np.frombuffer(scores, np.int8).argmax()))
    return np.array(found, np.int64)


def run_on_unix(data: bytes, inputs: Sequence[np.ndarray]) -> Inference:
    """One inference in MicroPython's Unix port, through the native module.

    Raises RuntimeError when MicroPython is not built, or with what it says when it fails.
    """
    from . import unixport

    with tempfile.TemporaryDirectory(prefix="lilliput-") as name:
        folder = Path(name)
        for path, content in _request(data, inputs).items():
            (folder / path).write_bytes(content)
        (folder / "main.py").write_text(_script())
        printed = unixport.run(folder / "main.py", cwd=folder)
    return _inference(data, json.loads(printed))


def run_on_emulated_board(
    name: str,
    data: bytes,
    inputs: Sequence[np.ndarray],
    *,
    heap_bytes: int | None = None,
    native_module_built_in: bool = False,
    architecture: str | None = None,
) -> Inference:
    """One inference on an emulated board, its files in the board's ROMFS.

    name, heap_bytes, native_module_built_in: see `emulation.emulated_board`. architecture: of the
    native module, by default the board's own. The emulator counts one nanosecond for an
    instruction, so the inference's instructions are known too, to 1000.
    Raises RuntimeError when firmware, QEMU or the native module is missing, or with what the board
    says when it fails; ValueError for an unknown name, or when the model does not fit.
    """
    from .deployment.connection import Board
    from .deployment.romfs import write_image
    from .emulation import BOARDS, emulated_board, package_files

    files = _request(data, inputs)
    if name in BOARDS:
        files |= package_files(name, native_module_built_in, architecture)
    with (
        emulated_board(
            name,
            heap_bytes=heap_bytes,
            native_module_built_in=native_module_built_in,
            romfs=write_image(files),
            arguments=("-icount", "shift=0"),
        ) as port,
        Board(port) as board,
    ):
        board.restart()
        printed = board.execute(f'import os\nos.chdir("/rom")\n{_script()}', timeout=600.0)
    told = json.loads(printed)
    return _inference(data, told, instructions=1000 * told["microseconds"])


def _script() -> str:
    return resources.files(__package__).joinpath("run_in_micropython.py").read_text()


def _request(data: bytes, inputs: Sequence[np.ndarray]) -> dict[str, bytes]:
    """What the script finds in its folder."""
    files = {"model.lil": data}
    request = []
    for index, array in enumerate(inputs):
        files[f"input{index}.bin"] = array.tobytes()
        request.append([f"input{index}.bin", _TYPECODES[array.dtype]])
    files["request.json"] = json.dumps({"inputs": request}).encode()
    return files


def _inference(data: bytes, told: dict[str, Any], instructions: int | None = None) -> Inference:
    """What the script printed, as the arrays that it stands for."""
    outputs = [
        np.frombuffer(base64.b64decode(text), port.dtype).reshape(port.shape)
        for text, port in zip(told["outputs"], ports_of(data).outputs, strict=True)
    ]
    return Inference(outputs, told["microseconds"] / 1e3, told["arena_bytes"], instructions)


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
