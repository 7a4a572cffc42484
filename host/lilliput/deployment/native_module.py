"""Which native module a board needs, if any."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import _lilliput

from ..format.structs import macros
from ..unixport import UnixPortError, find_natmod
from .connection import BoardError

_HEADER_BYTES = 128


def model_header() -> bytes:
    """The start of a model of this format and layout, and nothing behind it.

    A `_lilliput` of the same format says that it is cut short; any other names the format.
    """
    names = macros()
    start = struct.pack("<4sHH", b"LIL\x1a", names["LIL_VERSION"], names["LIL_LAYOUT"])
    return start.ljust(_HEADER_BYTES, b"\0")


def is_of_this_version(said: str) -> bool:
    """Whether a `_lilliput` that says this of `model_header()` reads the files written here."""
    try:
        _lilliput.verify(model_header())
    except ValueError as error:
        return said == str(error)
    return False


def native_module(port: str, machine: str, loadable: Sequence[str]) -> Path:
    """The native module's file, for the first of the architectures that there is one for.

    Raises BoardError when there is none, or when the firmware loads no native modules.
    """
    if not loadable:
        raise BoardError(
            f"the firmware of the board at {port} ({machine}) loads no native modules of "
            "MicroPython 1.24 and later: use firmware with Lilliput in it (docs/boards.md)"
        )
    for architecture in loadable:
        try:
            return find_natmod(architecture)
        except UnixPortError:
            continue
    raise BoardError(
        f"the board at {port} ({machine}) needs the native module for {loadable[0]}, which is not "
        f"built: run `make natmod ARCH={loadable[0]}`, or use firmware with Lilliput in it"
    )
