"""What a connected board is: its MicroPython, its native code, its memory and its file systems."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from .connection import Board, BoardError
from .native_module import model_header

OLDEST_MICROPYTHON = (1, 24)
MPY_VERSION = (6, 3)

# MP_NATIVE_ARCH_* of MicroPython's py/persistentcode.h; `sys.implementation._mpy` holds the number.
_ARCHITECTURES = (
    "",
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)
# A Thumb core loads the native code of the ones before it (MPY_FEATURE_ARCH_TEST).
_THUMB = ("armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp")


@dataclass(frozen=True)
class BoardFacts:
    """A board after a soft reset, before anything is imported.

    machine: MicroPython's name of it. architecture: of native modules, "" when the firmware loads
    none. heap_free, largest_block: bytes, the latter in one piece. root: where files go.
    library: a folder that modules are imported from. block_bytes, free_blocks, blocks: of the file
    system at root. romfs_bytes: size of the ROMFS partition, 0 for none. clock_hz: 0 if unknown.
    built_in: what the `_lilliput` inside the firmware says of a model's header; None without one.
    """

    machine: str
    micropython: tuple[int, ...]
    architecture: str
    heap_free: int
    largest_block: int
    root: str
    library: str
    block_bytes: int
    free_blocks: int
    blocks: int
    romfs_bytes: int
    clock_hz: int
    built_in: str | None

    @property
    def loadable(self) -> tuple[str, ...]:
        """Architectures of native modules that it loads, the best first."""
        if self.architecture in _THUMB:
            return tuple(reversed(_THUMB[: _THUMB.index(self.architecture) + 1]))
        return (self.architecture,) if self.architecture else ()

    @property
    def free_bytes(self) -> int:
        """Bytes free in the file system."""
        return self.free_blocks * self.block_bytes

    @property
    def version(self) -> str:
        return ".".join(map(str, self.micropython))


def read_facts(board: Board) -> BoardFacts:
    """Asks a board, which is in a raw REPL after `Board.restart`.

    Raises BoardError when it does not answer, or when it runs something else than a MicroPython
    that Lilliput knows.
    """
    scripts = resources.files(__package__).joinpath("on_board")
    script = "\n".join(scripts.joinpath(name).read_text() for name in ("heap.py", "read_facts.py"))
    with board.task("reading what it is"):
        # What has no `_mpy`, or too old a MicroPython, may lack what the script calls.
        name, version = board.query("import sys\nprint(repr(tuple(sys.implementation)[:2]))")
        _check_interpreter(board.port, name, tuple(version[:3]))
        told = board.query(f"HEADER = {model_header()!r}\n{script}")
    number = (told["mpy"] >> 10) & 15
    native = told["mpy"] & 0xFF == MPY_VERSION[0] and (told["mpy"] >> 8) & 3 == MPY_VERSION[1]
    root = told["root"].rstrip("/")
    block_bytes, free_blocks, blocks = told["file_system"]
    return BoardFacts(
        machine=told["machine"],
        micropython=told["version"],
        architecture=_ARCHITECTURES[number] if native and number < len(_ARCHITECTURES) else "",
        heap_free=told["heap_free"],
        largest_block=told["largest_block"],
        root=root,
        library=_library(root, told["path"]),
        block_bytes=block_bytes,
        free_blocks=free_blocks,
        blocks=blocks,
        romfs_bytes=told["romfs_bytes"],
        clock_hz=told["clock_hz"],
        built_in=told["built_in"],
    )


def _check_interpreter(port: str, name: str, version: tuple[int, ...]) -> None:
    if name == "circuitpython":
        raise BoardError(
            f"the board at {port} runs CircuitPython, which loads no native module: build its "
            "firmware with Lilliput in it (docs/boards.md)"
        )
    if name != "micropython":
        raise BoardError(f"the board at {port} runs {name}, not MicroPython: install MicroPython")
    if version[:2] < OLDEST_MICROPYTHON:
        raise BoardError(
            f"the board at {port} runs MicroPython {version[0]}.{version[1]}: Lilliput needs "
            f"{OLDEST_MICROPYTHON[0]}.{OLDEST_MICROPYTHON[1]} or newer; update its firmware"
        )


def _library(root: str, path: tuple[str, ...]) -> str:
    """The folder for modules: the one for them on `sys.path` below root, or root itself."""
    own = [entry for entry in path if entry.endswith("/lib") and entry.startswith(f"{root}/")]
    writable = [entry for entry in own if not entry.startswith("/rom/")]
    return writable[0] if writable else root
