"""Board profiles, planning for a board's memory, and ROMFS images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import int8_tflite

from lilliput import convert, unixport
from lilliput.boards import profile, profile_text, profiles, read_profile
from lilliput.boards.memory import Room
from lilliput.cli.app import main
from lilliput.deployment.romfs import (
    ALIGNMENT,
    RomfsError,
    data_offset,
    read_image,
    write_image,
)
from lilliput.format import read
from lilliput.planner import BudgetError

KNOWN = {
    "ae3",
    "esp32c3",
    "esp32s3",
    "esp32s3_psram",
    "nano33_ble_sense",
    "nicla_vision",
    "nucleo_f746zg",
    "nucleo_h743zi2",
    "openmv_h7_plus",
    "pico",
    "pico2",
    "portenta_h7",
    "teensy41",
}
FIGURES = {"core", "mpy_arch", "clock_hz", "heap_bytes", "flash_bytes", "romfs_bytes"}


def test_every_figure_of_every_profile_has_a_source() -> None:
    assert {each.key for each in profiles()} == KNOWN
    for each in profiles():
        missing = FIGURES - each.sources.keys()
        assert not missing, f"{each.key}: no source of {missing}"
        if each.largest_block_bytes != each.heap_bytes:
            assert "largest_block_bytes" in each.sources
        assert 0 < each.largest_block_bytes <= each.heap_bytes
        assert each.room.arena_limit > 0


def test_a_profile_survives_being_written() -> None:
    for each in profiles():
        assert read_profile(each.key, profile_text(each)) == each


def test_a_profile_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(profile_text(profile("pico")))
    assert profile(str(path)) == dataclasses.replace(profile("pico"), key="mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("heap_bytes = 204_800", ""), "has no heap_bytes"),
        (("heap_bytes = 204_800", "heap_bytes = -1"), "heap_bytes must be a whole number"),
        (("heap_bytes = 204_800", 'heap_bytes = "much"'), "heap_bytes must be a whole number"),
        (("[sources]", "ram = 1\n[sources]"), "has ram, which no profile has"),
        (("[sources]", "[sources"), "board profile mine: "),
    ],
)
def test_a_profile_that_is_wrong(change: tuple[str, str], message: str) -> None:
    text = profile_text(profile("pico")).replace("largest_block_bytes = 204_800\n", "")
    with pytest.raises(ValueError, match=message):
        read_profile("mine", text.replace(*change))


def test_an_unknown_board(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"no board 'pico3': choose one of .*pico2"):
        profile("pico3")
    with pytest.raises(SystemExit) as ended:
        main(["convert", "model.tflite", "-o", "model.lil", "--board", "pico3"])
    assert ended.value.code == 2
    assert "no board 'pico3'" in capsys.readouterr().err


def test_the_boards_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["key"] for each in told["profiles"]} == KNOWN
    assert main(["boards"]) == 0
    assert "Raspberry Pi Pico 2" in capsys.readouterr().out


def test_a_file_that_ram_does_not_hold_is_paged(models: Path) -> None:
    model = models / "mcunet_vww.tflite"
    assert read(convert(model, room=Room(200_000, 200_000, 0)).data).is_paged
    assert not read(convert(model, room=Room(200_000, 200_000, 1 << 20)).data).is_paged
    assert not read(convert(int8_tflite(), room=Room(200_000, 200_000, 0)).data).is_paged


def test_a_front_that_ram_does_not_hold() -> None:
    with pytest.raises(ValueError, match=r"takes .* bytes of the board's heap"):
        convert(int8_tflite(), room=Room(3_000, 3_000, 0))


def test_half_of_the_heap_is_left_where_it_can_be(models: Path) -> None:
    room = profile("portenta_h7").room
    made = convert(models / "mcunet_vww.tflite", room=room)
    assert made.summary["arena_bytes"] <= room.arena_limit // 2
    assert not made.summary["paged"]


def test_a_model_that_does_not_fit_names_what_is_in_the_way(models: Path) -> None:
    with pytest.raises(BudgetError, match="most is in use at operator"):
        convert(models / "mlperf_kws_ref_model.tflite", room=Room(2_000, 2_000, 1 << 20))


def test_plan_for_a_board(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", str(models / "mlperf_kws_ref_model.tflite"), "--board", "pico", "--json"]
    assert main(arguments) == 0
    chosen = json.loads(capsys.readouterr().out)["chosen"]
    assert chosen["arena_bytes"] <= profile("pico").room.arena_limit


names = st.text("abcdefgh._-0", min_size=1, max_size=140).filter(lambda name: name not in "..")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=300), max_size=8), st.sampled_from([4, 16, 64]))
@settings(max_examples=200)
def test_files_of_an_image_are_aligned(files: dict[str, bytes], alignment: int) -> None:
    folders = {path.rsplit("/", depth)[0] for path in files for depth in (1, 2) if "/" in path}
    if folders & files.keys():
        with pytest.raises(RomfsError):
            write_image(files, alignment)
        return
    image = write_image(files, alignment)
    assert len(image) % 2 == 0
    assert read_image(image) == files
    for path in files:
        assert data_offset(image, path) % alignment == 0


def test_micropython_reads_an_image(tmp_path: Path) -> None:
    files = {"model.lil": bytes(range(256)) * 20, "lib/a.py": b"x = 1\n", "lib/b/c": b""}
    (tmp_path / "image").write_bytes(write_image(files))
    script = """
import os, sys, vfs
with open("image", "rb") as file:
    image = file.read()
vfs.mount(vfs.VfsRom(memoryview(image)), "/rom")
with open("/rom/model.lil", "rb") as file:
    data = bytes(memoryview(file))
sys.path.append("/rom/lib")
import a
print(repr((sum(data), len(data), a.x, sorted(e[0] for e in os.ilistdir("/rom/lib")))))
"""
    interpreter = unixport.find_interpreter("debian")
    result = unixport.run_script(script, interpreter=interpreter, cwd=tmp_path)
    assert result.stdout.strip() == repr((652_800, 5120, 1, ["a.py", "b"])), result.stderr


def test_mpremotes_own_images_are_read(tmp_path: Path) -> None:
    romfs = pytest.importorskip("mpremote.romfs")
    writer = romfs.VfsRomWriter()
    writer.opendir("lib")
    writer.mkfile("a", b"12")
    writer.closedir()
    shared = writer.mkdata(b"345")
    writer.mkfile("b", (3, shared))
    assert read_image(bytes(writer.finalise())) == {"lib/a": b"12", "b": b"345"}


@pytest.mark.parametrize("image", [b"", b"no image", b"\xd2\xcd\x31\x7f"])
def test_an_image_that_is_none(image: bytes) -> None:
    with pytest.raises(RomfsError):
        read_image(image)


def test_a_large_file_is_aligned() -> None:
    image = write_image({"large": bytes(1 << 20)})
    assert data_offset(image, "large") % ALIGNMENT == 0
