"""Runs .lil models made by `lilliput convert`: `load(path).infer(x)`."""

import sys

try:
    from .model import Model, load
except (ImportError, ValueError):  # ValueError: of a native module where none can be loaded
    if sys.implementation.name != "circuitpython":
        raise
    raise ImportError(
        "CircuitPython loads no native modules: build its firmware with _lilliput in it, as "
        "boards/circuitpython/README.md in Lilliput's source tree says"
    )

__version__ = "0.1.0"
__all__ = ("Model", "load")
