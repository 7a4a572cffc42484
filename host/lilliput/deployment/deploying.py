"""From a model on this computer to a model that has run, with the host's bits, on a board."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from ..boards.memory import Need, Room, room_beside_lilliput
from ..conversion import convert
from ..execution import read_model
from ..format.reader import read
from ..unixport import find_device_package
from .connection import Board, BoardError, ScriptError
from .facts import BoardFacts, read_facts
from .native_module import is_of_this_version, native_module
from .transfer import (
    ROMFS_MOUNT,
    Progress,
    changed_files,
    check_space,
    copy_files,
    discard_unfinished,
    load_tools,
    remove_files,
    write_romfs,
)
from .trial import Trial, run_trial

_MAGIC = b"LIL\x1a"


@dataclass(frozen=True)
class Options:
    """How to deploy.

    name: of the model's file on the board; by default that of the file here, with .lil.
    repeats: inferences to time. convert: arguments of `lilliput.convert` for a model that is not
    a .lil yet.
    """

    name: str | None = None
    repeats: int = 1
    convert: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """What was done. copied, kept: paths on the board; model: that to give to `lilliput.load`."""

    facts: BoardFacts
    model: str
    data: bytes
    copied: tuple[str, ...]
    kept: tuple[str, ...]
    trial: Trial


@dataclass(frozen=True)
class _Model:
    """A model for one board: its bytes, where they go, and the heap that it takes there."""

    data: bytes
    path: str
    is_mapped: bool
    need: Need


def deploy(
    model: Path, port: str, options: Options | None = None, tell: Progress | None = None
) -> Deployment:
    """Puts Lilliput and a model on the board at a serial port, and runs it there once.

    model: a .lil file, or a model to convert for this board. tell: (stage, done, total).
    Copies only what is not there yet. Raises BoardError, OSError and ValueError; after any of them,
    and after an interruption, the same call finishes the job.
    """
    options = options or Options()
    report = tell or (lambda stage, done, total: None)
    with Board(port) as board:
        board.restart()
        facts = read_facts(board)
        module = _module(port, facts)
        room = room_beside_lilliput(
            facts.heap_free,
            facts.largest_block,
            facts.romfs_bytes,
            module.stat().st_size if module else 0,
        )
        placed = _place(model, port, facts, room, options)
        files = _library_files(facts, module)
        load_tools(board)
        discard_unfinished(board, (facts.root, facts.library, f"{facts.library}/lilliput"))
        _check_ownership(board, placed)
        wanted = {**files, placed.path: placed.data}
        changed = changed_files(board, wanted, report)
        on_files = {
            path: data
            for path, data in changed.items()
            if not (placed.is_mapped and path == placed.path)
        }
        if on_files:
            check_space(board, facts, on_files)
        library = {path: data for path, data in changed.items() if path in files}
        copy_files(board, library, report)
        remove_files(board, _superseded(files))
        if placed.path in changed:
            _check_memory(board, placed)
            load_tools(board)
            if placed.is_mapped:
                name = placed.path.removeprefix(f"{ROMFS_MOUNT}/")
                write_romfs(board, facts, {name: placed.data}, report)
            else:
                copy_files(board, {placed.path: placed.data}, report)
        board.restart()
        report("run", 0, 1)
        trial = run_trial(board, placed.path, placed.data, options.repeats)
        report("run", 1, 1)
    kept = tuple(path for path in wanted if path not in changed)
    return Deployment(facts, placed.path, placed.data, tuple(changed), kept, trial)


def _module(port: str, facts: BoardFacts) -> Path | None:
    """The native module to copy; None when the firmware has it."""
    if facts.built_in is None:
        return native_module(port, facts.machine, facts.loadable)
    if not is_of_this_version(facts.built_in):
        raise BoardError(
            f"the firmware of the board at {port} has a Lilliput of another version in it: build "
            "it again with this one, or use firmware without it"
        )
    return None


def _library_files(facts: BoardFacts, module: Path | None) -> dict[str, bytes]:
    """The package and the native module, by their paths on the board.

    The package is compiled (.mpy) where it lies so beside the native module: it takes less heap.
    """
    compiled = sorted(module.with_name("lilliput").glob("*.mpy")) if module else []
    sources = compiled or sorted(find_device_package().glob("*.py"))
    files = {f"{facts.library}/lilliput/{path.name}": path.read_bytes() for path in sources}
    if module is not None:
        files[f"{facts.library}/_lilliput.mpy"] = module.read_bytes()
    return files


def _superseded(files: Iterable[str]) -> list[str]:
    """Files of the package in the other form, source or compiled, which MicroPython may prefer."""
    other = {".py": ".mpy", ".mpy": ".py"}
    return [
        str(PurePosixPath(path).with_suffix(other[PurePosixPath(path).suffix]))
        for path in files
        if PurePosixPath(path).parent.name == "lilliput"
    ]


def _place(model: Path, port: str, facts: BoardFacts, room: Room, options: Options) -> _Model:
    """Decides where the model lies, and converts it for the board if it is no .lil yet."""
    name = options.name or f"{model.stem}.lil"
    if not name.endswith(".lil") or "/" in name:
        raise ValueError(f"{name!r} is no name for a model on a board: use one such as person.lil")
    is_ready = model.suffix.lower() == ".lil"
    data = read_model(model) if is_ready else convert(model, room=room, **options.convert).data
    file = read(data)
    is_mapped = room.maps(len(data))
    need = room.need_of(file)
    if room.holds(need):
        folder = ROMFS_MOUNT if is_mapped else facts.root
        return _Model(data, f"{folder}/{name}", is_mapped, need)
    if not is_mapped and not file.is_paged:
        source = file.provenance.get("source", "MODEL.tflite")
        raise BoardError(
            f"the model's file takes {len(data):,} bytes of RAM on a board without ROMFS, and the "
            f"board at {port} has {room.heap_bytes:,} for it: deploy {source} itself, or make a "
            "file whose weights are read as they are needed, with "
            f"`lilliput convert {source} -o {name} --paged`"
        )
    raise BoardError(_too_little(port, need, room.heap_bytes, room.largest_block))


def _check_ownership(board: Board, placed: _Model) -> None:
    """Raises BoardError when a file that is no model has the model's name on the board."""
    head = board.query(f"print(repr(head_({placed.path!r}, 4)))")
    if head not in (None, b"", _MAGIC):
        raise BoardError(
            f"{placed.path} on the board at {board.port} is not a model of Lilliput's: move it "
            "away, or name the model differently with --name"
        )


def _check_memory(board: Board, placed: _Model) -> None:
    """Raises BoardError when the heap, with the package imported, does not hold the model."""
    board.restart()
    heap = resources.files(__package__).joinpath("on_board/heap.py").read_text()
    with board.task("importing lilliput"):
        free, block = board.query(
            f"import lilliput\n{heap}\ngc.collect()\nprint((gc.mem_free(), largest_block()))"
        )
        need = placed.need
        try:
            # In the order of `lilliput.load`: the arena takes the larger piece of the heap.
            board.execute(f"a = bytearray({need.arena_bytes})\nb = bytearray({need.held_bytes})")
        except ScriptError as error:
            raise BoardError(_too_little(board.port, need, free, block)) from error
    board.restart()


def _too_little(port: str, need: Need, free: int, block: int) -> str:
    return (
        f"the model needs {need.total:,} bytes of heap beside Lilliput itself, {need.largest:,} of "
        f"them in one piece, and the board at {port} has {free:,} for it, {block:,} in one piece: "
        "plan it smaller with `lilliput convert --sram`, or use firmware with a ROMFS"
    )
