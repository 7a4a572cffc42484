"""Small networks that were searched and trained here: each a `.lil`, and a `.json` that says how.

from lilliput import zoo
model = zoo.load("fashion-mnist-16k")
"""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ..conversion import write_atomically

if TYPE_CHECKING:
    from ..runtime import Model


@dataclass(frozen=True)
class Entry:
    """A network of the zoo. task: what it names, and from what. accuracy: in int8, on all test
    images of `data`. command: what searched, trained and converted it, in this repository."""

    name: str
    task: str
    data: str
    accuracy: float
    command: str

    def read(self) -> bytes:
        """The `.lil` file."""
        return _folder().joinpath(f"{self.name}.lil").read_bytes()


def entries() -> list[Entry]:
    """All networks, by name."""
    files = sorted(file.name for file in _folder().iterdir() if file.name.endswith(".json"))
    return [_entry(name.removesuffix(".json")) for name in files]


def entry(name: str) -> Entry:
    """The network of this name. Raises ValueError naming those that there are."""
    named = {each.name: each for each in entries()}
    if name not in named:
        alike = difflib.get_close_matches(name, named, 1)
        meant = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(named)}"
        raise ValueError(f"the zoo has no network {name!r}: {meant}")
    return named[name]


def load(name: str) -> Model:
    """The network of this name, to run. Raises ValueError naming those that there are."""
    from ..runtime import load as load_model

    return load_model(entry(name).read())


def add(made: Entry, model: bytes) -> None:
    """Puts a network into the source tree's zoo, in the place of one of the same name."""
    folder = Path(str(_folder()))
    values = asdict(made)
    del values["name"]
    write_atomically(folder / f"{made.name}.lil", model)
    write_atomically(folder / f"{made.name}.json", (json.dumps(values, indent=1) + "\n").encode())


def _entry(name: str) -> Entry:
    values = json.loads(_folder().joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return Entry(name, **values)


def _folder() -> resources.abc.Traversable:
    return resources.files(__name__)
