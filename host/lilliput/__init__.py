"""Lilliput: convolutional networks on microcontrollers, from MicroPython.

`convert` makes a `.lil` file of a model, `load` runs one, with the same code and the same bits as
on a board. Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conversion import Conversion, convert
    from .graph import UnsupportedModel
    from .runtime import Model, load

__version__ = "0.1.0"
__all__ = ["Conversion", "Model", "UnsupportedModel", "convert", "load"]


def __getattr__(name: str) -> Any:
    modules = {
        "Conversion": "conversion",
        "Model": "runtime",
        "UnsupportedModel": "graph",
        "convert": "conversion",
        "load": "runtime",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{modules[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
