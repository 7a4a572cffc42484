"""Boards that QEMU emulates: MicroPython behind a serial port, as on a desk.

The firmware is built from boards/emulated in Lilliput's source tree, with `make firmware`, which
also keeps a copy where an installed Lilliput finds it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import __version__
from .boards import Profile
from .unixport import find_device_package, find_natmod

SOURCE_TREE = Path(__file__).parents[2]
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_PORT = re.compile(r"char device redirected to (\S+)")


class EmulationError(RuntimeError):
    """A board cannot be emulated; the message says what is missing or what QEMU said."""


@dataclass(frozen=True)
class Machine:
    """What stands in for a board.

    natmod: the architecture of its native modules. emulator: QEMU's program. machine: its name of
    the board. storage_address: of the memory that holds the files and, behind them, the ROMFS.
    """

    natmod: str
    emulator: str
    machine: str
    storage_address: int
    arguments: tuple[str, ...] = ()


# boards/emulated/NAME/board.mk and memory.ld build for the same machines.
BOARDS = {
    "cortex-m3": Machine("armv7m", "qemu-system-arm", "mps2-an385", 0x21000000),
    "cortex-m4": Machine("armv7emsp", "qemu-system-arm", "mps2-an386", 0x21000000),
    "cortex-m7": Machine("armv7emdp", "qemu-system-arm", "mps2-an500", 0x60000000),
    "cortex-m33": Machine("armv7emsp", "qemu-system-arm", "mps2-an505", 0x80000000),
    "cortex-m55": Machine("armv7emdp", "qemu-system-arm", "mps3-an547", 0x70000000),
    "rv32": Machine("rv32imc", "qemu-system-riscv32", "virt", 0x81000000, ("-bios", "none")),
}
STORAGE_BYTES = 16 << 20
_FILES_BYTES = 6 << 20
_ROMFS_BYTES = 6 << 20
_BLOCK_BYTES = 4096  # of the file system: boards/emulated/modules/_boot.py


@contextlib.contextmanager
def emulated_board(
    name: str,
    profile: Profile | None = None,
    *,
    heap_bytes: int | None = None,
    native_module_built_in: bool = False,
    files: bytes = b"",
    romfs: bytes = b"",
    arguments: Sequence[str] = (),
) -> Iterator[str]:
    """Runs a board for as long as the `with` statement; gives its serial port.

    name: one of BOARDS. profile: a board whose free heap, file system and ROMFS it shall have;
    without one there is as much as the machine has. heap_bytes: free heap after boot, instead of
    the profile's. native_module_built_in: firmware with `_lilliput` as a user C module. files,
    romfs: images of the file system (littlefs, blocks of 4096 bytes) and of the ROMFS to start
    with. arguments: more of them for QEMU.
    Raises EmulationError when the firmware or QEMU is missing or does not start, ValueError for an
    unknown name, or when an image does not fit.
    """
    if name not in BOARDS:
        raise ValueError(f"there is no emulated board {name!r}: choose one of {', '.join(BOARDS)}")
    firmware = find_firmware(name, native_module_built_in)
    files_bytes, romfs_bytes = _storage(profile)
    for image, room, place in ((files, files_bytes, "file system"), (romfs, romfs_bytes, "ROMFS")):
        if len(image) > room:
            raise ValueError(f"the image has {len(image)} bytes, the board's {place} {room}")
    if heap_bytes is None:
        heap_bytes = profile.heap_bytes if profile else 0  # all there is
    settings = [f"heap={heap_bytes}", f"files={files_bytes}", f"romfs={romfs_bytes}"]
    board = BOARDS[name]
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        command = [_program(board.emulator), "-machine", board.machine, *board.arguments]
        command += ["-kernel", str(firmware), "-display", "none", "-monitor", "none"]
        command += ["-serial", "pty", "-semihosting-config", _semihosting(settings)]
        images = {"files": (files, 0), "romfs": (romfs, files_bytes)}
        for image_name, (image, offset) in images.items():
            if image:
                path = Path(folder) / image_name
                path.write_bytes(image)
                address = board.storage_address + offset
                command += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal ends this process, which ends QEMU
        )
        try:
            yield _port(process)
        finally:
            _stop(process)


def find_firmware(name: str, native_module_built_in: bool = False) -> Path:
    """The firmware of an emulated board: built in the source tree; when installed, the copy in the
    cache.

    Raises EmulationError, saying how to get it, when there is none.
    """
    stem = f"{name}-usermod" if native_module_built_in else name
    cache = os.environ.get("LILLIPUT_CACHE") or Path.home() / ".cache" / "lilliput"
    copy = Path(cache) / f"firmware-{__version__}" / f"{stem}.elf"
    is_installed = not (SOURCE_TREE / "boards").is_dir()
    built = SOURCE_TREE / "build" / "firmware" / stem / "firmware.elf"
    path = copy if is_installed else built
    if path.is_file():
        return path
    raise EmulationError(
        f"there is no firmware for the emulated {name}: run `make firmware BOARD={name}` in "
        f"Lilliput's source tree, which also puts a copy at {copy}"
    )


def package_files(
    name: str, native_module_built_in: bool = False, architecture: str | None = None
) -> dict[str, bytes]:
    """The device package and its native module, by their paths in the ROMFS of an emulated board.

    name, native_module_built_in: see `emulated_board`. architecture: of the native module, by
    default the board's own. Raises UnixPortError where there is no native module for it.
    """
    sources = find_device_package().glob("*.py")
    files = {f"lib/lilliput/{path.name}": path.read_bytes() for path in sources}
    if not native_module_built_in:
        module = find_natmod(architecture or BOARDS[name].natmod)
        files["lib/_lilliput.mpy"] = module.read_bytes()
    return files


def _storage(profile: Profile | None) -> tuple[int, int]:
    """Bytes for the file system, in whole blocks, and for the ROMFS behind it."""
    if profile is None:
        return _FILES_BYTES, _ROMFS_BYTES
    files = min(profile.flash_bytes, STORAGE_BYTES) // _BLOCK_BYTES * _BLOCK_BYTES
    return files, min(profile.romfs_bytes, STORAGE_BYTES - files)


def _semihosting(settings: Sequence[str]) -> str:
    words = ["lilliput", *settings]
    return ",".join(["enable=on", "target=native", *(f"arg={word}" for word in words)])


def _program(name: str) -> str:
    """QEMU's program: on PATH, or where `make emulators` put it."""
    fetched = SOURCE_TREE / "build" / "emulators" / name
    found = shutil.which(name) or (str(fetched) if fetched.is_file() else None)
    if found is None:
        raise EmulationError(
            f"{name} is not on PATH: install QEMU's system emulators (apt-get install "
            "qemu-system-arm qemu-system-misc), or run `make emulators` in Lilliput's source tree"
        )
    return found


def _port(process: subprocess.Popen[bytes]) -> str:
    """The port that QEMU says it has opened."""
    assert process.stdout is not None
    said = ""
    deadline = time.monotonic() + _START_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if select.select([process.stdout], [], [], left)[0]:
            piece = os.read(process.stdout.fileno(), 4096)
            said += piece.decode("utf-8", "replace")
            if found := _PORT.search(said):
                return found[1]
            if not piece:
                break
    raise EmulationError(f"QEMU did not start the board: {said.strip() or 'it said nothing'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()
