"""`lilliput emulate`: an emulated board behind a serial port, until it is stopped."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ..boards import profile
from ..emulation import BOARDS, EmulationError, emulated_board
from .console import until_stopped

_LOOK_SECONDS = 0.2


def run(options: argparse.Namespace) -> None:
    """Starts the board, prints its port, and runs it until Ctrl-C or a signal to end.

    Raises EmulationError when it cannot be started, or ends by itself.
    """
    if options.board is None:
        for name, machine in BOARDS.items():
            print(f"{name:12}{machine.machine}, native modules for {machine.natmod}")
        return
    stands_for = profile(options.profile) if options.profile else None
    with (
        until_stopped(),
        emulated_board(
            options.board, stands_for, native_module_built_in=options.user_module
        ) as port,
    ):
        print(port, flush=True)
        while Path(port).exists():
            time.sleep(_LOOK_SECONDS)
        raise EmulationError(f"QEMU ended the emulation of {options.board}")
