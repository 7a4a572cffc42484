"""A board that is MicroPython's Unix port behind a pseudo-terminal: real MicroPython, no emulator.

It has a file system in a file, survives soft resets, and can say that it is something else.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
import tty
from pathlib import Path
from types import TracebackType
from typing import Self

from lilliput import unixport

BLOCK_BYTES = 4096
_RAW_RESET, _FRIENDLY_RESET = 42, 43  # exit codes of raw_repl_board.py
_SCRIPT = Path(__file__).with_name("raw_repl_board.py")


class UnixBoard:
    """Use it in a `with` statement; `port` is what mpremote connects to.

    flash_bytes: of its file system. romfs_bytes: 0 for none. heap_bytes: MicroPython's heap.
    implementation: (name, version, _mpy) that it claims to be, None for the truth.
    """

    def __init__(
        self,
        folder: Path,
        *,
        interpreter: unixport.InterpreterKind = "debian",
        flash_bytes: int = 1 << 20,
        romfs_bytes: int = 0,
        heap_bytes: int = 2 << 20,
        implementation: tuple[str, tuple[int, ...], int] | None = None,
    ) -> None:
        self._interpreter = unixport.find_interpreter(interpreter)
        self._flash = folder / "flash.img"
        self._rom = folder / "rom.img"
        self._options = folder / "options.json"
        self._heap_bytes = heap_bytes
        self._implementation = implementation
        self._romfs_bytes = romfs_bytes
        if not self._flash.exists():
            self._flash.write_bytes(bytes(flash_bytes))
            self._rom.write_bytes(bytes(romfs_bytes))
        self._is_closing = False
        self._switch = threading.Lock()  # held while MicroPython is started or killed
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._start(is_raw=False)
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unplug()
        os.close(self._slave)

    def unplug(self) -> None:
        """Pulls the cable: the board goes off, and its port fails. A new board has its files."""
        if self._is_closing:
            return
        with self._switch:
            self._is_closing = True
            self._kill()
        self._thread.join()
        os.close(self._master)

    def reset(self) -> None:
        """Presses the reset button: MicroPython starts anew, at its friendly prompt."""
        with self._switch:
            self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _start(self, *, is_raw: bool) -> None:
        options = {
            "flash": str(self._flash),
            "rom": str(self._rom) if self._romfs_bytes else "",
            "block_bytes": BLOCK_BYTES,
            "implementation": self._implementation,
            "is_raw": is_raw,
        }
        heap = self._heap_bytes + self._romfs_bytes  # the ROMFS is in the heap here
        command = [str(self._interpreter), "-X", f"heapsize={heap}", str(_SCRIPT)]
        # In a file, because MicroPython takes no argument of more than 255 bytes.
        self._options.write_text(json.dumps(options))
        self._process = subprocess.Popen(
            [*command, str(self._options)], stdin=self._master, stdout=self._master
        )

    def _supervise(self) -> None:
        """Starts MicroPython again after each reset, soft or hard."""
        while self._process is not None:
            code = self._process.wait()
            with self._switch:
                if self._is_closing or code not in (_RAW_RESET, _FRIENDLY_RESET, -signal.SIGKILL):
                    return
                self._start(is_raw=code == _RAW_RESET)
