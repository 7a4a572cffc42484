"""A MicroPython board behind a serial port: runs scripts on it, through mpremote's transport."""

from __future__ import annotations

import ast
import contextlib
import errno
import io
import os
import re
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

_READ_TIMEOUT = 3.0  # seconds that a board may take to accept a piece of a script
_ANSWER_TIMEOUT = 6.0  # and to restart; boot.py is interrupted by the next attempt
_ATTEMPTS = 3  # a program that swallows one Ctrl-C ends at the next
ACKNOWLEDGED = "!"  # not in base64, and not in MicroPython's prompts
_END_OF_OUTPUT = b"\x04"
_PROMPT = b">>> "  # of a board that was reset
_FRIENDLY_PROMPT = b"\r\x03\r\x02"
_LOST = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF)


class BoardError(RuntimeError):
    """What is wrong with a board or on it, and how to mend it, in one sentence."""


class ScriptError(BoardError):
    """A script raised an exception on the board.

    name: the exception's class. number: the errno of an OSError, else None.
    text: what the board printed for it, without the traceback.
    """

    def __init__(self, message: str, name: str, number: int | None, text: str) -> None:
        super().__init__(message)
        self.name = name
        self.number = number
        self.text = text


class Board:
    """A board whose raw REPL runs scripts. Use it in a `with` statement.

    Raises BoardError, from every method, when the board cannot be reached or does not answer.
    """

    def __init__(self, port: str) -> None:
        self.port = port
        self._task = "connecting to it"
        self._transport = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the board at its friendly prompt, if it still answers, and closes the port."""
        with contextlib.suppress(OSError, TransportError):
            self._transport.serial.write(_FRIENDLY_PROMPT)
        with contextlib.suppress(OSError, TransportError):
            self._transport.close()

    @contextlib.contextmanager
    def task(self, description: str) -> Iterator[None]:
        """Names what is going on, for the errors of the calls inside."""
        outer = self._task
        self._task = description
        yield
        self._task = outer

    def restart(self) -> None:
        """Resets MicroPython without its main.py, whatever it is doing; its heap is empty then."""
        for attempt in range(_ATTEMPTS):
            try:
                with self._failures(), contextlib.redirect_stdout(io.StringIO()):
                    self._transport.enter_raw_repl(True, timeout_overall=_ANSWER_TIMEOUT)
            except BoardError:
                if attempt == _ATTEMPTS - 1 or not self._is_there():
                    raise
            else:
                return

    def execute(self, script: str, *, timeout: float = 30.0) -> str:
        """Runs a script; returns what it printed.

        timeout: seconds without a sign of the board after which it counts as hung.
        Raises ScriptError when the script raises an exception.
        """
        with self._failures(), contextlib.redirect_stdout(io.StringIO()):
            printed, raised = self._transport.exec_raw(script, timeout=timeout)
            if raised:
                raise TransportExecError(printed, raised.decode("utf-8", "replace"))
        return printed.decode("utf-8", "replace")

    def start(self, script: str) -> None:
        """Starts a script and does not wait for its end."""
        with self._failures(), contextlib.redirect_stdout(io.StringIO()):
            self._transport.exec_raw_no_follow(script)

    def lines(self, script: str, *, timeout: float = 30.0) -> Iterator[str]:
        """Runs a script; gives each line that it prints as soon as it is there.

        timeout: seconds without a sign of the board after which it counts as hung.
        Raises ScriptError when the script raises an exception.
        """
        self.start(script)
        with self._failures():
            serial = self._transport.serial
            text = end = raised = b""
            last = time.monotonic()
            while not end:
                piece = serial.read(max(1, serial.inWaiting()))
                if piece:
                    last = time.monotonic()
                printed, end, raised = (text + piece).partition(_END_OF_OUTPUT)
                *whole, text = printed.split(b"\n")
                for line in whole:
                    yield line.decode("utf-8", "replace").rstrip("\r")
                if text == _PROMPT or time.monotonic() > last + timeout:
                    raise TransportError("no end of the script")
            if _END_OF_OUTPUT not in raised:
                raised += self._transport.read_until(1, _END_OF_OUTPUT)
            raised = raised.partition(_END_OF_OUTPUT)[0]
            if raised:
                raise TransportExecError(b"", raised.decode("utf-8", "replace"))

    def stream(self, script: str, lines: Iterable[bytes], *, timeout: float = 60.0) -> None:
        """Runs a script that reads lines from its stdin and writes `ACKNOWLEDGED` for each.

        The next line is sent when the board has said so: it needs no buffer for more than one.
        lines: text without control characters, among which Ctrl-C would end the script.
        Raises ScriptError when the script raises an exception.
        """
        self.start(script)
        with self._failures():
            for line in lines:
                self._transport.serial.write(line + b"\n")
                self._await_acknowledgement(timeout)
            self._transport.serial.write(b"\n")
            printed, raised = self._transport.follow(timeout)
            if raised:
                raise TransportExecError(printed, raised.decode("utf-8", "replace"))

    def _await_acknowledgement(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        said = b""
        while time.monotonic() < deadline and not said.endswith(_PROMPT):
            byte = self._transport.serial.read(1)
            said = said[-len(_PROMPT) :] + byte
            if byte == ACKNOWLEDGED.encode():
                return
            if byte == _END_OF_OUTPUT:
                raised = self._transport.read_until(1, _END_OF_OUTPUT)[:-1]
                raise TransportExecError(b"", raised.decode("utf-8", "replace"))
        raise TransportError("no acknowledgement")

    def query(self, script: str, *, timeout: float = 30.0) -> Any:
        """Runs a script whose last line of output is a Python literal; returns its value."""
        lines = self.execute(script, timeout=timeout).strip().splitlines()
        try:
            return ast.literal_eval(lines[-1])
        except (IndexError, SyntaxError, ValueError) as error:
            raise BoardError(self._stopped()) from error

    def _open(self) -> SerialTransport:
        try:
            return SerialTransport(self.port, timeout=_READ_TIMEOUT)
        except (TransportError, OSError, ValueError) as error:
            raise BoardError(self._unopened()) from error

    def _unopened(self) -> str:
        path = Path(self.port)
        if path.is_absolute() and not path.exists():
            return f"there is no port {self.port}: `lilliput boards` lists what is connected"
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            return f"no permission to use {self.port}: add yourself to the group that owns it"
        return f"cannot open {self.port}: close the other program that uses it, and try again"

    def _is_there(self) -> bool:
        path = Path(self.port)
        return path.exists() or not path.is_absolute()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turns what mpremote and the serial layer raise into a BoardError."""
        try:
            yield
        except TransportExecError as error:
            raise self._script_error(error.error_output) from error
        except OSError as error:
            lost = error.errno in _LOST or not self._is_there() or error.errno is None
            raise BoardError(self._lost() if lost else self._stopped()) from error
        except (TransportError, struct.error, UnicodeError) as error:
            raise BoardError(self._stopped() if self._is_there() else self._lost()) from error

    def _lost(self) -> str:
        return (
            f"the board at {self.port} was unplugged while {self._task}: plug it in and repeat "
            "the command, which goes on where it stopped"
        )

    def _stopped(self) -> str:
        return (
            f"the board at {self.port} did not answer while {self._task}: it was reset, or runs "
            "a program that does not stop at Ctrl-C; press its reset button and repeat the command"
        )

    def _script_error(self, trace: str) -> BoardError:
        last = trace.strip().splitlines()[-1] if trace.strip() else "an unknown error"
        name, _, text = last.partition(":")
        text = text.strip()
        if name == "NameError":  # what was defined before is gone, so that the board was reset
            return BoardError(self._stopped())
        found = re.match(r"\[Errno (\d+)\]|(\d+)\b", text)
        number = int(found[1] or found[2]) if name == "OSError" and found else None
        sentence = f"the board at {self.port} failed while {self._task}: {last}"
        return ScriptError(sentence, name, number, text)
