"""Frames: what a model on a board saw, and what it said of it."""

from __future__ import annotations

import ast
import base64
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from ..deployment.connection import Board, BoardError

BEST = 5
_QUIET_SECONDS = 120.0  # a large network on a Cortex-M0+ computes for minutes


@dataclass(frozen=True)
class Frame:
    """One inference.

    pixels: uint8 [height, width, channels] of what the model saw, thinned to the width asked for.
    scores: the best classes, best first. milliseconds: of the inference, without the picture's
    making. arena_bytes: the model's working memory.
    """

    height: int
    width: int
    channels: int
    pixels: bytes
    scores: tuple[tuple[str, float], ...]
    milliseconds: float
    arena_bytes: int


def frames(board: Board, model: str, source: str, width: int) -> Iterator[Frame]:
    """Runs a model on a board, which is restarted, on one picture after the other.

    model: its path on the board. source: "module:function" there; function(shape) yields pictures
    for an input of this shape, each a buffer, or an iterator of buffers with whole rows. width:
    pixels across of what is shown, at most.
    Raises BoardError when the board is lost, ScriptError when the source or the model fails on it.
    """
    module, _, function = source.partition(":")
    tools = resources.files(__package__).joinpath("on_board/show_frames.py").read_text()
    with board.task("showing what its model sees"):
        board.restart()
        board.execute(tools)
        script = f"import {module}\nshow_({model!r}, {module}.{function}, {width}, {BEST})"
        yield from _parsed(board.lines(script, timeout=_QUIET_SECONDS), board.port)


def _parsed(lines: Iterator[str], port: str) -> Iterator[Frame]:
    """The frames that the board's lines tell of."""
    height = width = channels = arena_bytes = 0
    rows: list[bytes] = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        try:
            if kind == "M":
                height, width, channels, arena_bytes = ast.literal_eval(rest)
            elif kind == "P":
                rows.append(base64.b64decode(rest, validate=True))
            elif kind == "F":
                microseconds, _, best = rest.partition(" ")
                scores = tuple(
                    (str(label), float(score)) for label, score in ast.literal_eval(best)
                )
                yield Frame(
                    height=height,
                    width=width,
                    channels=channels,
                    pixels=b"".join(rows),
                    scores=scores,
                    milliseconds=int(microseconds) / 1e3,
                    arena_bytes=arena_bytes,
                )
                rows.clear()
        except (ValueError, SyntaxError) as error:
            raise BoardError(
                f"the board at {port} printed something else between the frames: {line[:60]!r}"
            ) from error
