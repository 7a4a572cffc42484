"""What all commands share: how they report progress and fail."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID
    from rich.table import Table

    from ..boards import Profile

Progress = Callable[[str, int, int], None]

_TABLE_WIDTH = 100
_UNITS = {"": 1, "K": 1024, "M": 1024**2}


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one sentence, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def byte_count(text: str) -> int:
    """The number of bytes that "65536", "64K" or "64 KB" stands for; 1 K is 1024 bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KM]?)I?B?", text.strip().upper())
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write bytes, or 64K, or 1M")
    return int(float(match[1]) * _UNITS[match[2]])


def macs_ratio(text: str) -> float:
    """What "1.1" says of multiply-accumulates allowed: at least 1."""
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 1 <= ratio < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no ratio: write 1, or 1.1 for 10% more")
    return ratio


def board_profile(text: str) -> Profile:
    """The board profile of this name, or in this .toml file."""
    from ..boards import profile

    try:
        return profile(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def emulated_core(text: str) -> str:
    """The core that "qemu:cortex-m7" names."""
    core = text.removeprefix("qemu:")
    if core == text or not core:
        raise argparse.ArgumentTypeError(f"{text!r} is no place to run: write qemu:cortex-m7")
    return core


def board_function(text: str) -> str:
    """A function on a board, "module:function"; its module may lie in a package."""
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no function: write module:function, such as camera_rows:pictures"
        )
    return text


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def run_place(text: str) -> str:
    """Where `lilliput run` runs: "host", "unix" or "qemu:" and a core."""
    if text not in ("host", "unix") and not text.startswith("qemu:"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no place to run: choose host, unix, or qemu:cortex-m7 and the like"
        )
    return text


def size_text(count: int) -> str:
    """A number of bytes for people, exact: "4,096 bytes"."""
    return f"{count:,} bytes"


def port_text(port: dict[str, Any]) -> str:
    """A port in one line: shape, type and what its numbers mean."""
    text = f"{port['dtype']} {shape_text(port['shape'])}"
    if port["dtype"] == "int8":
        text += f", real = {port['scale']:.6g} * (value - {port['zero_point']})"
    return text


def wide_console() -> Console:
    """A console on stdout that is wide enough for the tables, also where there is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, _TABLE_WIDTH)
    return console


def plain_table(*columns: str, title: str | None = None) -> Table:
    """A table without rules between its columns; without columns, one of names and values."""
    from rich import box
    from rich.table import Table

    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if columns else None,
        show_header=bool(columns),
        pad_edge=False,
    )


def shape_text(shape: Sequence[int]) -> str:
    """A shape in one word: 1x96x96x3."""
    return "x".join(map(str, shape))


def fail(message: str) -> int:
    """Prints an error in one line on stderr; returns the exit code."""
    print(f"lilliput: {' '.join(message.split())}", file=sys.stderr)
    return 1


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps what LiteRT and TensorFlow log, of which Python knows nothing, off standard error.

    Python's own `sys.stderr` still reaches it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    python_stderr = sys.stderr
    if _descriptor(python_stderr) == 2:
        sys.stderr = os.fdopen(os.dup(kept), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        if sys.stderr is not python_stderr:
            sys.stderr.close()
            sys.stderr = python_stderr
        os.dup2(kept, 2)
        os.close(kept)


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return -1


@contextmanager
def until_stopped() -> Iterator[None]:
    """Ends the `with` statement quietly at Ctrl-C, and at a signal to end (SIGTERM)."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress_bars(shown: bool, *, with_time_left: bool = False) -> Iterator[Progress]:
    """A function that draws one progress bar a stage: (stage, done, total).

    On stderr, if that is a terminal. `with_time_left` tells how long each stage will still take.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if with_time_left else []),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report
