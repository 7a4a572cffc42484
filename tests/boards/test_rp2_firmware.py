"""Firmware for Pico and Pico 2 with Lilliput in it, and what is said where it cannot be built."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from get_pico_sdk import SUBMODULES

FLASH = 0x10000000
FAMILIES = {"RPI_PICO": 0xE48BFF56, "RPI_PICO2": 0xE48BFF59}
# Where the ROMFS begins: the files are where stock firmware has them, and it lies before them.
ROMFS_AT = {"RPI_PICO": (640 - 256) << 10, "RPI_PICO2": (1024 - 576) << 10}
UF2_BLOCK = struct.Struct("<8I476sI")
UF2_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)


@dataclass(frozen=True)
class Block:
    """One block of a UF2 file."""

    address: int
    family: int
    data: bytes


def read_uf2(path: Path) -> list[Block]:
    blocks = []
    content = path.read_bytes()
    for fields in UF2_BLOCK.iter_unpack(content):
        *magic, _, address, size, _, _, family, data, last = fields
        assert (*magic, last) == UF2_MAGIC
        blocks.append(Block(address, family, data[:size]))
    return blocks


@pytest.mark.parametrize("board", FAMILIES)
def test_firmware_leaves_room_for_the_romfs(board: str, repository: Path) -> None:
    path = repository / "build" / "firmware" / board / "firmware.uf2"
    if not path.is_file():
        pytest.skip(f"not built: make firmware BOARD={board}")
    blocks = [block for block in read_uf2(path) if block.family == FAMILIES[board]]
    addresses = [block.address for block in blocks]
    assert addresses == list(range(FLASH, FLASH + 256 * len(blocks), 256))
    image = b"".join(block.data for block in blocks)
    assert len(image) <= ROMFS_AT[board]
    assert b"VfsRom" in image and b"_lilliput" in image


def get_tree(
    repository: Path, tmp_path: Path, programs: tuple[str, ...], submodules: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs get_pico_sdk.py where these programs and submodules of MicroPython are, no others."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in programs:
        (folder / name).symlink_to("/bin/true")
    library = tmp_path / "micropython" / "lib"
    library.mkdir(parents=True)
    for name in submodules:
        (library / name).mkdir()
        (library / name / "README.md").touch()
    command = [sys.executable, str(repository / "toolchain" / "get_pico_sdk.py")]
    command += ["--micropython", str(tmp_path / "micropython"), "--tree", str(tmp_path / "tree")]
    environment = {"PATH": str(folder), "LILLIPUT_CACHE": str(tmp_path / "cache")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_missing_packages_are_named(repository: Path, tmp_path: Path) -> None:
    done = get_tree(repository, tmp_path, ("cmake",))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "apt-get install cmake pico-sdk-source tinyusb-source picotool" in done.stderr
    assert "MPY_DIR=" in done.stderr
    assert not (tmp_path / "tree").exists()


def test_missing_cmake_is_named(repository: Path, tmp_path: Path) -> None:
    done = get_tree(repository, tmp_path, ())
    assert done.returncode == 1
    assert "apt-get install cmake" in done.stderr


def test_a_checkout_with_its_submodules_is_used(repository: Path, tmp_path: Path) -> None:
    done = get_tree(repository, tmp_path, ("cmake",), SUBMODULES)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tree").resolve() == (tmp_path / "micropython").resolve()


def test_an_unknown_board_is_told_what_there_is(repository: Path, tmp_path: Path) -> None:
    board = tmp_path / "ports" / "rp2" / "boards" / "RPI_PICO"
    board.mkdir(parents=True)
    (board / "mpconfigboard.cmake").touch()
    command = ["make", "-C", str(repository / "boards" / "rp2"), "BOARD=RPI_PICO9"]
    done = subprocess.run(
        [*command, f"TREE={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no board 'RPI_PICO9'" in done.stderr and "RPI_PICO" in done.stderr
