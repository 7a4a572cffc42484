"""Board profiles: what the stock firmware of known boards leaves for a model.

A profile is a TOML file in this folder, or one that `lilliput probe` measured on a real board.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from .memory import Room, room_beside_lilliput


@dataclasses.dataclass(frozen=True)
class Profile:
    """A board with MicroPython's stock firmware; sizes in bytes.

    key: what --board takes. core: such as "cortex-m7". mpy_arch: architecture of its native
    modules. heap_bytes: free after boot; largest_block_bytes: of it in one piece.
    flash_bytes: of the file system. romfs_bytes: of the ROMFS partition, 0 for none.
    micropython: the version that the figures are of. sources: where each figure is from.
    """

    key: str
    name: str
    core: str
    mpy_arch: str
    clock_hz: int
    heap_bytes: int
    largest_block_bytes: int
    flash_bytes: int
    romfs_bytes: int
    micropython: str
    sources: Mapping[str, str]

    @property
    def room(self) -> Room:
        """What it has for a model beside Lilliput."""
        return room_beside_lilliput(self.heap_bytes, self.largest_block_bytes, self.romfs_bytes)


def profile(name: str) -> Profile:
    """A known profile by its key, or one in a .toml file by its path.

    Raises ValueError naming the known ones, or what is wrong in the file; OSError when it is
    missing.
    """
    if name.endswith(".toml"):
        path = Path(name)
        return read_profile(path.stem, path.read_text(encoding="utf-8"))
    known = {each.key: each for each in profiles()}
    if name not in known:
        raise ValueError(
            f"there is no board {name!r}: choose one of {', '.join(known)}, or name a .toml file "
            "that `lilliput probe` wrote"
        )
    return known[name]


def profiles() -> list[Profile]:
    """All known profiles, by their keys."""
    files = [file for file in resources.files(__package__).iterdir() if file.name.endswith(".toml")]
    return [
        read_profile(file.name.removesuffix(".toml"), file.read_text(encoding="utf-8"))
        for file in sorted(files, key=lambda file: file.name)
    ]


def read_profile(key: str, text: str) -> Profile:
    """The profile in a TOML text. Raises ValueError naming what is missing, unknown or no number"""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"board profile {key}: {error}") from error
    values.setdefault("largest_block_bytes", values.get("heap_bytes"))
    expected = {field.name: field.type for field in dataclasses.fields(Profile)}
    del expected["key"]
    if missing := sorted(expected.keys() - values.keys()):
        raise ValueError(f"board profile {key} has no {', '.join(missing)}")
    if unknown := sorted(values.keys() - expected.keys()):
        raise ValueError(f"board profile {key} has {', '.join(unknown)}, which no profile has")
    for name, kind in expected.items():
        _check_value(key, name, values[name], str(kind))
    return Profile(key=key, **values)


def profile_text(board: Profile) -> str:
    """The TOML text that `read_profile` reads the profile from."""
    values = dataclasses.asdict(board)
    sources = values.pop("sources")
    del values["key"]
    lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
    lines += ["", "[sources]", *(f"{name} = {_toml(text)}" for name, text in sources.items())]
    return "\n".join(lines) + "\n"


def _check_value(key: str, name: str, value: Any, kind: str) -> None:
    if kind == "int" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"board profile {key}: {name} must be a whole number, not {value!r}")
    if kind == "str" and not isinstance(value, str):
        raise ValueError(f"board profile {key}: {name} must be a text, not {value!r}")
    if name == "sources" and not isinstance(value, dict):
        raise ValueError(f"board profile {key}: sources must be a table of texts")


def _toml(value: int | str) -> str:
    if isinstance(value, int):
        return f"{value:_}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
