"""Copies files to a board: only what changed, each under a temporary name that is then renamed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

from .connection import Board, BoardError, ScriptError
from .facts import BoardFacts
from .romfs import write_image

Progress = Callable[[str, int, int], None]

# What one line of base64 carries: a few times this in the board's heap, and a round trip each.
CHUNK_BYTES = 3072
ROMFS_MOUNT = "/rom"
_TEMPORARY = ".lilliput-part"
_NO_SPACE = 28  # ENOSPC
_HASH_TIMEOUT = 120.0
_ERASE_TIMEOUT = 120.0


def load_tools(board: Board) -> None:
    """Defines on the board what the functions here call, after each restart."""
    script = resources.files(__package__).joinpath("on_board/file_tools.py").read_text()
    try:
        board.execute(script)
    except ScriptError as error:
        raise BoardError(
            f"the firmware of the board at {board.port} lacks what copying needs ({error.text}): "
            "install a full MicroPython"
        ) from error


def changed_files(
    board: Board, files: Mapping[str, bytes], tell: Progress | None = None
) -> dict[str, bytes]:
    """Those of the files, by their paths on the board, that it does not hold with this content."""
    changed = {}
    for index, (path, data) in enumerate(files.items()):
        digest = hashlib.sha256(data).hexdigest()
        with board.task(f"reading {path}"):
            is_same = board.query(
                f"print(is_same_({path!r}, {len(data)}, {digest!r}))", timeout=_HASH_TIMEOUT
            )
        if not is_same:
            changed[path] = data
        if tell is not None:
            tell("compare", index + 1, len(files))
    return changed


def copy_files(board: Board, files: Mapping[str, bytes], tell: Progress) -> None:
    """Writes files by their paths on the board; a file is there whole, or as it was.

    Raises BoardError when the file system is full, or what it holds is not what was sent.
    """
    for path, data in files.items():
        with board.task(f"copying {path}"):
            _copy(board, path, data, tell)


def remove_files(board: Board, paths: Sequence[str]) -> None:
    """Removes files; those that are not there do not matter."""
    board.execute(f"for path_ in {list(paths)!r}:\n remove_(path_)")


def discard_unfinished(board: Board, folders: Sequence[str]) -> None:
    """Removes what interrupted copies have left in these folders."""
    board.execute(f"for folder_ in {list(folders)!r}:\n discard_(folder_, {_TEMPORARY!r})")


def check_space(board: Board, facts: BoardFacts, files: Mapping[str, bytes]) -> None:
    """Raises BoardError when the files do not fit beside what is on the board.

    A model that is replaced makes room for itself: it is removed first where there is no room for
    both.
    """
    with board.task("reading its file system"):
        block, blocks_free = board.query(f"print(space_({facts.root or '/'!r}))")
        held = board.query(f"print({{p: size_(p) for p in {list(files)!r}}})")
    if not block:
        raise BoardError(
            f"the board at {board.port} has no file system: format one, "
            "or put Lilliput and the model into its firmware"
        )
    free = block * blocks_free
    # One block more a file for its directory entry and the file system's own records.
    wanted = sum((-(-len(data) // block) + 1) * block for data in files.values())
    replaced = [path for path in files if path.endswith(".lil") and held[path] > 0]
    released = sum(held[path] // block * block for path in replaced)
    if wanted - released > free:
        raise BoardError(
            f"the file system of the board at {board.port} has {free:,} bytes free, "
            f"{wanted:,} are needed: remove files from it"
        )
    if wanted > free:
        remove_files(board, replaced)


def romfs_files(board: Board) -> dict[str, int]:
    """Paths (inside the mounted ROMFS) and sizes of the files there."""
    with board.task("reading its ROMFS"):
        tree = board.query(f"print(repr(tree_({ROMFS_MOUNT!r})))")
    return {path.removeprefix(f"{ROMFS_MOUNT}/"): size for path, size in tree}


def read_files(board: Board, paths: Sequence[str], tell: Progress) -> dict[str, bytes]:
    """Contents of files on the board."""
    contents = {}
    for path in paths:
        with board.task(f"reading {path}"):
            size = board.query(f"print(size_({path!r}))")
            data = b""
            board.execute(f"f_ = open({path!r}, 'rb')")
            while len(data) < size:
                piece = board.query(f"print(repr(f_.read({CHUNK_BYTES // 4})))")
                if not piece:
                    raise BoardError(f"cannot read {path} of the board at {board.port} whole")
                data += piece
                tell(f"read {path}", len(data), size)
            board.execute("f_.close()")
        contents[path] = data
    return contents


def write_romfs(
    board: Board, facts: BoardFacts, files: Mapping[str, bytes], tell: Progress
) -> None:
    """Puts files into the ROMFS, beside those that are there and have other names.

    The board must be restarted for MicroPython to mount it. The image is valid only when its first
    block has been written, which is last.
    """
    kept = [path for path in romfs_files(board) if path not in files]
    held = read_files(board, [f"{ROMFS_MOUNT}/{path}" for path in kept], tell)
    merged = {path.removeprefix(f"{ROMFS_MOUNT}/"): data for path, data in held.items()}
    image = write_image({**merged, **files})
    if len(image) > facts.romfs_bytes:
        raise BoardError(
            f"the ROMFS of the board at {board.port} holds {facts.romfs_bytes:,} bytes, "
            f"{len(image):,} are needed"
        )
    with board.task("writing its ROMFS"), _kept_copy(image if kept else b""):
        _write_partition(board, image, tell)


@contextlib.contextmanager
def _kept_copy(image: bytes) -> Iterator[None]:
    """Keeps an image, if there is any, on this computer until it is on the board: the files of the
    user that are in it are nowhere else."""
    if not image:
        yield
        return
    handle, name = tempfile.mkstemp(prefix="lilliput-", suffix=".romfs")
    with os.fdopen(handle, "wb") as file:
        file.write(image)
    try:
        yield
    except BoardError as error:
        raise BoardError(
            f"{error}; the files of its ROMFS are kept in {name}, which `mpremote romfs deploy` "
            "writes back"
        ) from error
    Path(name).unlink()


def _copy(board: Board, path: str, data: bytes, tell: Progress) -> None:
    temporary = path + _TEMPORARY
    try:
        board.execute(f"make_folders_({path!r})\nf_ = open({temporary!r}, 'wb')")
        pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        board.stream("receive_(f_.write)\nf_.close()", _lines(pieces, f"copy {path}", tell))
        if changed_files(board, {temporary: data}):
            raise BoardError(
                f"{path} did not reach the board at {board.port} as it was sent: try again"
            )
        board.execute(f"os.rename({temporary!r}, {path!r})")
    except ScriptError as error:
        _discard(board, temporary)
        if error.number == _NO_SPACE:
            raise BoardError(
                f"the file system of the board at {board.port} is full: remove files from it to "
                f"make room for {path} ({len(data):,} bytes)"
            ) from error
        raise


def _discard(board: Board, path: str) -> None:
    board.execute(f"try:\n f_.close()\nexcept Exception:\n pass\nremove_({path!r})")


def _lines(pieces: Sequence[bytes], stage: str, tell: Progress) -> Iterator[bytes]:
    for done, piece in enumerate(pieces, 1):
        yield base64.b64encode(piece)
        tell(stage, done, len(pieces))


def _write_partition(board: Board, image: bytes, tell: Progress) -> None:
    """Erases as much of the first ROMFS partition as is needed, and writes an image there."""
    board.execute(
        "import vfs\ntry:\n vfs.umount('/rom')\nexcept OSError:\n pass\ndev_ = vfs.rom_ioctl(2, 0)"
    )
    if board.query("print(hasattr(dev_, 'ioctl'))"):
        size = unit = board.query("print(dev_.ioctl(5, 0))")
        for start in range(0, len(image), unit):
            board.execute(f"dev_.ioctl(6, {start // unit})", timeout=_ERASE_TIMEOUT)
        write = f"lambda start, data: dev_.writeblocks(start // {unit}, data)"
        finish = ""
    else:
        unit = board.query(f"print(vfs.rom_ioctl(3, 0, {len(image)}))", timeout=_ERASE_TIMEOUT)
        if unit < 0:
            raise BoardError(
                f"the board at {board.port} cannot erase its ROMFS (errno {-unit}): reset it and "
                "try again"
            )
        size = -(-CHUNK_BYTES // unit) * unit
        write = "lambda start, data: vfs.rom_ioctl(4, 0, start, data)"
        finish = "vfs.rom_ioctl(5, 0)"
    image += bytes(-len(image) % unit)
    # The image is valid only with its first bytes, which are written last.
    pieces = [image[start : start + size] for start in (*range(size, len(image), size), 0)]
    offsets = f"list(range({size}, {len(image)}, {size})) + [0]"
    script = f"receive_(writer_at_({offsets}, {write}))\n{finish}"
    board.stream(script, _lines(pieces, "write ROMFS", tell))
    board.execute("del dev_")
