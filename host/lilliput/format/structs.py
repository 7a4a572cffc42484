"""The structs of `lil_format.h` through cffi: the header is the format's only definition."""

from __future__ import annotations

import functools
import re
from typing import Any

import cffi

from .header_path import header_path


@functools.cache
def definitions() -> cffi.FFI:
    """A cffi instance that knows every struct and enum of the format."""
    text = header_path().read_text(encoding="utf-8")
    without_comments = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    declarations = "\n".join(
        line
        for line in without_comments.splitlines()
        if not line.startswith("#") or re.match(r"#define LIL_\w+ [0-9x]", line)
    )
    ffi = cffi.FFI()
    ffi.cdef(declarations)
    return ffi


@functools.cache
def constants() -> dict[str, int]:
    """Every enumerator of the format, by its C name."""
    ffi = definitions()
    enums = ("lil_kind", "lil_dtype", "lil_storage", "lil_operator_flags", "lil_axis")
    return {
        name: value
        for enum in enums
        for name, value in ffi.typeof(f"enum {enum}").relements.items()
    }


@functools.cache
def macros() -> dict[str, int]:
    """Every numeric macro of the format, by its C name."""
    text = header_path().read_text(encoding="utf-8")
    found = re.findall(r"^#define (LIL_\w+) (0x[0-9A-Fa-f]+|\d+)", text, flags=re.MULTILINE)
    return {name: int(value, 0) for name, value in found}


def pack(struct: str, values: dict[str, Any]) -> bytes:
    """One record of the file from its fields."""
    ffi = definitions()
    return bytes(ffi.buffer(ffi.new(f"{struct} *", values)))


def unpack(struct: str, data: bytes, offset: int, count: int) -> list[Any]:
    """`count` records at `offset`, each a cffi struct that owns its copy."""
    ffi = definitions()
    size = ffi.sizeof(struct)
    records = [ffi.new(f"{struct} *") for _ in range(count)]
    for index, record in enumerate(records):
        begin = offset + index * size
        ffi.memmove(record, data[begin : begin + size], size)
    return records


def size_of(struct: str) -> int:
    """Bytes of one record."""
    return int(definitions().sizeof(struct))
