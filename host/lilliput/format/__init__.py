"""The `.lil` model file: writing, reading, and its structs from the C header."""

from .reader import ModelFile, read
from .writer import write

__all__ = ["ModelFile", "read", "write"]
