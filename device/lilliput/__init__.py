"""Runs .lil models made by `lilliput convert`: `load(path).infer(x)`."""

from .model import Model, load

__version__ = "0.1.0"
__all__ = ("Model", "load")
