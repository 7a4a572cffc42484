"""Frames from a board that may be unplugged and come back, into a page."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..deployment.connection import Board, BoardError, ScriptError
from .frames import frames
from .server import LiveServer

_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Source:
    """Where frames come from: see `frames`. port: the board's serial port."""

    port: str
    model: str
    pictures: str
    width: int


def live_view(source: Source, server: LiveServer, tell: Callable[[str], None]) -> None:
    """Shows a board's frames until its source of pictures ends, or until Ctrl-C.

    The board is left at its REPL, with an empty heap. One that is unplugged or reset is
    waited for; `tell` gets a sentence about it.
    Raises ScriptError when the model or its source fails on the board, BoardError when the board
    cannot be reached in the first place.
    """
    is_known = is_lost = False
    while True:
        try:
            with Board(source.port) as board:
                try:
                    for frame in frames(board, source.model, source.pictures, source.width):
                        is_known, is_lost = True, False
                        server.show(frame)
                    server.say("there are no more pictures")
                except (ScriptError, KeyboardInterrupt):
                    _leave(board)
                    raise
                _leave(board)
                return
        except ScriptError as error:
            server.say(str(error))
            raise
        except BoardError:
            if not is_known:
                raise
            message = (
                f"the board at {source.port} was unplugged or reset: plug it in, and this goes on"
            )
            server.say(message)
            if not is_lost:
                tell(message)
            is_lost = True
            time.sleep(_RETRY_SECONDS)


def _leave(board: Board) -> None:
    """Empties the heap of a board, if it still answers; to close it then leads to its REPL."""
    with contextlib.suppress(BoardError):
        board.restart()
