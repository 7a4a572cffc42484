"""Runs a model on a board on a test vector, and compares what comes out with the host's bits."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from importlib import resources
from typing import Any

import _lilliput
import numpy as np

from ..format.reader import ModelFile, read
from .connection import Board, BoardError, ScriptError
from .on_board import test_vector

_TIMEOUT = 600.0  # a large network on a Cortex-M0+ computes for minutes
_PLACES = 256


@dataclass(frozen=True)
class Trial:
    """An inference on a board that gave the host's bits.

    milliseconds: one a repetition. arena_bytes: the model's. package_heap, model_heap: bytes of
    heap that importing Lilliput and loading the model took; heap_free: what is left with both.
    """

    milliseconds: tuple[float, ...]
    arena_bytes: int
    package_heap: int
    model_heap: int
    heap_free: int


def run_trial(board: Board, path: str, data: bytes, repeats: int = 1) -> Trial:
    """Runs the model at `path` on the board, of which `data` is the content, after a restart.

    Raises BoardError when there is no memory for it, or when its output is not the host's.
    """
    model = read(data)
    inference = "\n".join(
        [
            _source("test_vector.py"),
            f"PATTERN = {_pattern(model)!r}\nWHOLE = {needs_whole_input(model)}",
            f"REPEATS = {repeats}",
            _source("report_inference.py"),
        ]
    )
    with board.task("running the model"):
        try:
            # The model comes first: a heap in which much has been compiled is in pieces.
            board.execute(f"MODEL = {path!r}\n{_source('load_model.py')}", timeout=_TIMEOUT)
            told = board.query(inference, timeout=_TIMEOUT)
        except ScriptError as error:
            if error.name == "MemoryError":
                raise BoardError(
                    f"the board at {board.port} has not enough memory to run the model: "
                    f"{error.text}"
                ) from error
            raise
    if told["checksums"] != expected_checksums(data):
        raise BoardError(
            f"the board at {board.port} computes other numbers than this computer: its native "
            "module is damaged or of another version; deploy again, and report it if it stays so"
        )
    return Trial(
        milliseconds=tuple(time / 1e3 for time in told["microseconds"]),
        arena_bytes=told["arena_bytes"],
        package_heap=told["package_heap"],
        model_heap=told["model_heap"],
        heap_free=told["heap_free"],
    )


def expected_checksums(data: bytes) -> list[int]:
    """CRC-32 (signed) of each output of the model on the test vector, computed on this machine."""
    from .. import runtime

    file = read(data)
    with runtime.load(data) as model:
        pattern = array("b", _pattern(file))
        infer: Any = test_vector.infer  # MicroPython's, without annotations
        outputs, _ = infer(model, pattern, needs_whole_input(file))
        return [_lilliput.checksum(values, 0) for values in outputs]


def needs_whole_input(model: ModelFile) -> bool:
    """Whether the model reads its input where the caller holds it, and takes no single rows."""
    return any(tensor.storage == "source" for tensor in model.tensors)


def _pattern(model: ModelFile) -> bytes:
    widest = max(_row_length(port.shape) for port in model.inputs)
    return np.random.default_rng(0).integers(0, 256, widest + _PLACES, np.uint8).tobytes()


def _row_length(shape: tuple[int, ...]) -> int:
    width, channels = (1, 1, *shape)[-2:]
    return int(width * channels)


def _source(name: str) -> str:
    return resources.files(__package__).joinpath("on_board", name).read_text()
