"""MicroPython's ROMFS images, with the data of every file aligned: a core uses it in place.

An image is a record: a kind, a length (both numbers of 7 bits a byte, the first byte highest, and
any number of leading 0x80 bytes) and a payload. The outermost record holds directories and files,
these hold their name's length and name and then records, of which readers skip the padding. The
format is described in MicroPython's extmod/vfs_rom.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ALIGNMENT = 16
HEADER = b"\xd2\xcd\x31"

_PADDING = 1
_DATA = 2
_POINTER = 3
_DIRECTORY = 4
_FILE = 5
_FILE_SYSTEM = 0x14A6B1
# Lengths have so many bytes, leading zeros included: offsets do not depend on what follows them.
_LENGTH_BYTES = 5
_RECORD_BYTES = 1 + _LENGTH_BYTES


class RomfsError(ValueError):
    """Bytes that are no ROMFS image, or a name that cannot be in one."""


@dataclass
class _Folder:
    folders: dict[str, _Folder] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def write_image(files: Mapping[str, bytes], alignment: int = ALIGNMENT) -> bytes:
    """An image of files by their paths ("a/b.txt").

    Every file's data begins at a multiple of `alignment` from the start of the image.
    Raises RomfsError for an empty name, or where a file and a folder have the same.
    """
    top = _Folder()
    for path, data in files.items():
        _insert(top, path, data)
    start = len(HEADER) + _LENGTH_BYTES
    payload = _folder_payload(top, start, alignment)
    if (start + len(payload)) % 2:  # the whole image has an even length
        payload += _record(_PADDING, b"\0")
    return HEADER + _number(len(payload), _LENGTH_BYTES) + payload


def read_image(image: bytes) -> dict[str, bytes]:
    """The files of an image by their paths. Raises RomfsError when it is none, or damaged."""
    kind, start, end = _read_record(image, 0, len(image))
    if kind != _FILE_SYSTEM:
        raise RomfsError("this is no ROMFS image")
    return dict(_files(image, start, start, end, ""))


def data_offset(image: bytes, path: str) -> int:
    """Where the data of a file begins. Raises RomfsError when there is no such file."""
    kind, top, top_end = _read_record(image, 0, len(image))
    if kind != _FILE_SYSTEM:
        raise RomfsError("this is no ROMFS image")
    start, end = top, top_end
    for name in path.split("/"):
        inside = [entry for entry in _entries(image, start, end) if entry[1] == name]
        if not inside:
            raise RomfsError(f"there is no {path} in the image")
        _, _, start, end = inside[0]
    return _data(image, top, start, end)[0]


def _insert(top: _Folder, path: str, data: bytes) -> None:
    *parents, name = path.split("/")
    folder = top
    for parent in parents:
        if not parent or parent in folder.files:
            raise RomfsError(f"{path!r} is no path for a file in a ROMFS")
        folder = folder.folders.setdefault(parent, _Folder())
    if not name or name in folder.folders:
        raise RomfsError(f"{path!r} is no path for a file in a ROMFS")
    folder.files[name] = data


def _folder_payload(folder: _Folder, start: int, alignment: int) -> bytes:
    """The records in a folder, of which the first lies at `start` in the image."""
    payload = b""
    for name in sorted((*folder.files, *folder.folders)):
        named = _named(name)
        inside = start + len(payload) + _RECORD_BYTES + len(named)
        if name in folder.folders:
            content = _folder_payload(folder.folders[name], inside, alignment)
            payload += _record(_DIRECTORY, named + content)
        else:
            content = _aligned_data(folder.files[name], inside, alignment)
            payload += _record(_FILE, named + content)
    return payload


def _aligned_data(data: bytes, start: int, alignment: int) -> bytes:
    gap = -(start + _RECORD_BYTES) % alignment
    while 0 < gap < _RECORD_BYTES:  # a padding record is not smaller
        gap += alignment
    padding = _record(_PADDING, bytes(gap - _RECORD_BYTES)) if gap else b""
    return padding + _record(_DATA, data)


def _named(name: str) -> bytes:
    encoded = name.encode()
    return _number(len(encoded), 1 if len(encoded) < 128 else 2) + encoded


def _record(kind: int, payload: bytes) -> bytes:
    return _number(kind, 1) + _number(len(payload), _LENGTH_BYTES) + payload


def _number(value: int, width: int) -> bytes:
    groups = [(value >> (7 * place)) & 0x7F for place in reversed(range(width))]
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def _read_number(image: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    while at < end:
        byte = image[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    raise RomfsError("the ROMFS image is damaged: a number runs over its end")


def _read_record(image: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The record's kind, and where its payload begins and ends."""
    kind, at = _read_number(image, at, end)
    length, at = _read_number(image, at, end)
    if kind == 0 or at + length > end:
        raise RomfsError("the ROMFS image is damaged: a record runs over its end")
    return kind, at, at + length


def _entries(image: bytes, start: int, end: int) -> Iterator[tuple[int, str, int, int]]:
    """Kind, name, and where the records inside begin and end, of each folder and file."""
    while start < end:
        kind, at, start = _read_record(image, start, end)
        if kind in (_DIRECTORY, _FILE):
            length, at = _read_number(image, at, start)
            yield kind, image[at : at + length].decode(), at + length, start


def _files(
    image: bytes, top: int, start: int, end: int, folder: str
) -> Iterator[tuple[str, bytes]]:
    for kind, name, first, last in _entries(image, start, end):
        if kind == _DIRECTORY:
            yield from _files(image, top, first, last, f"{folder}{name}/")
        else:
            begin, size = _data(image, top, first, last)
            yield folder + name, image[begin : begin + size]


def _data(image: bytes, top: int, start: int, end: int) -> tuple[int, int]:
    """Offset and size of the data of the file whose records lie from `start` to `end`."""
    while start < end:
        kind, at, start = _read_record(image, start, end)
        if kind == _DATA:
            return at, start - at
        if kind == _POINTER:
            size, at = _read_number(image, at, start)
            return top + _read_number(image, at, start)[0], size
    raise RomfsError("the ROMFS image is damaged: a file has no data")
