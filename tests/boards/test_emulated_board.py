"""mpremote takes an emulated board for a board; its memory is that of the one it stands for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_models import int8_tflite

from lilliput import convert
from lilliput.boards import profile
from lilliput.deployment.connection import Board, ScriptError
from lilliput.emulation import BOARDS, EmulationError, emulated_board, find_firmware
from lilliput.execution import ports_of, run_on_host
from lilliput.unixport import find_natmod

CORE = "cortex-m4"
KILOBYTE = 1000


@pytest.fixture(scope="module", autouse=True)
def firmware() -> Path:
    try:
        return find_firmware(CORE)
    except EmulationError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with emulated_board(CORE) as name:
        yield name


def mpremote(port: str, *arguments: str | Path) -> str:
    """Runs one mpremote command on the board; returns what it printed."""
    command = [sys.executable, "-m", "mpremote", "connect", port, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.replace("\r", "")


def test_files(port: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"a file\n")
    mpremote(port, "mkdir", ":folder", "+", "cp", tmp_path / "text.txt", ":folder/text.txt")
    assert mpremote(port, "cat", ":folder/text.txt") == "a file\n"
    assert "folder" in mpremote(port, "ls")


def test_files_and_romfs_outlive_a_reset(port: str, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_bytes(b"kept")
    mpremote(port, "cp", tmp_path / "kept.txt", ":kept.txt", "+", "romfs", "deploy", tmp_path)
    mpremote(port, "reset")
    assert mpremote(port, "exec", "print(open('/kept.txt').read())").split() == ["kept"]
    assert mpremote(port, "exec", "print(open('/rom/kept.txt').read())").split() == ["kept"]


def test_mounted_folder(port: str, tmp_path: Path) -> None:
    (tmp_path / "here.py").write_text("print('from this computer')\n")
    assert "from this computer" in mpremote(port, "mount", tmp_path, "exec", "import here")


def test_a_busy_board_stops_at_control_c(port: str) -> None:
    command = [sys.executable, "-m", "mpremote", "connect", port, "exec", "while True: pass"]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, timeout=3, check=False)
    assert mpremote(port, "exec", "print('free')").split() == ["free"]


def test_time_passes(port: str) -> None:
    script = "import time; a = time.ticks_us(); time.sleep_ms(30); print(time.ticks_us() - a)"
    assert 30_000 <= int(mpremote(port, "exec", script)) < 1_000_000


def test_package_from_mip_runs_a_paged_model_from_a_file(port: str, tmp_path: Path) -> None:
    """What a user types, from installing to the right answer."""
    package = find_natmod(BOARDS[CORE].natmod).with_name("package.json")
    data = convert(int8_tflite(), paged=True).data
    (tmp_path / "model.lil").write_bytes(data)
    pixels = np.random.default_rng(3).integers(0, 256, ports_of(data).inputs[0].shape, np.uint8)
    (tmp_path / "pixels").write_bytes(pixels.tobytes())
    mpremote(port, "mip", "install", package)
    mpremote(port, "cp", tmp_path / "model.lil", tmp_path / "pixels", ":")
    printed = mpremote(
        port,
        "exec",
        "import lilliput; model = lilliput.load('model.lil'); "
        "print([list(model.infer(open('pixels', 'rb').read())), len(model._file)])",
    )
    values, front = json.loads(printed)
    assert values == run_on_host(data, [pixels]).outputs[0].ravel().tolist()
    assert front < len(data)


@pytest.mark.parametrize("key", ["pico", "pico2"])
def test_memory_is_that_of_the_board_it_stands_for(key: str) -> None:
    stands_for = profile(key)
    with emulated_board(CORE, stands_for) as port, Board(port) as board:
        board.restart()
        free = board.query("import gc; gc.collect(); print(gc.mem_free())")
        assert abs(free - stands_for.heap_bytes) < 2 * KILOBYTE
        board.execute(f"x = bytearray({stands_for.heap_bytes - 8 * KILOBYTE}); del x")
        with pytest.raises(ScriptError, match="MemoryError"):
            board.execute(f"bytearray({stands_for.heap_bytes})")
        block, _, blocks = board.query("import os; print(os.statvfs('/')[:3])")
        assert 0 <= stands_for.flash_bytes - block * blocks < block
        segments = board.query("import vfs; print(vfs.rom_ioctl(1))")
        assert segments == (stands_for.romfs_bytes > 0)


def test_images_that_do_not_fit() -> None:
    with (
        pytest.raises(ValueError, match="the board's ROMFS"),
        emulated_board(CORE, profile("pico"), romfs=bytes(100)),
    ):
        pass


def test_unknown_board() -> None:
    with pytest.raises(ValueError, match="cortex-m55"), emulated_board("z80"):
        pass


def test_missing_firmware(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lilliput.emulation.SOURCE_TREE", tmp_path)
    monkeypatch.setenv("LILLIPUT_CACHE", str(tmp_path))
    with pytest.raises(EmulationError, match="make firmware BOARD=cortex-m4"):
        find_firmware(CORE)


def test_missing_emulator(monkeypatch: pytest.MonkeyPatch, firmware: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lilliput.emulation.find_firmware", lambda *_: firmware)
    monkeypatch.setattr("lilliput.emulation.SOURCE_TREE", tmp_path)
    with pytest.raises(EmulationError, match="make emulators"), emulated_board(CORE):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_runs_a_board_until_it_is_stopped(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "lilliput.cli.app", "emulate", CORE, "--as", "pico"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        with Board(port) as board:
            board.restart()
            assert board.query("import sys; print(repr(sys.platform))") == "emulated"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        assert process.wait(20) == 0
        assert children and not any(Path(f"/proc/{child}").exists() for child in children)
        assert not Path(port).exists()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_command_lists_boards() -> None:
    command = [sys.executable, "-m", "lilliput.cli.app", "emulate"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in told.splitlines()] == list(BOARDS)


def test_run_on_an_emulated_board(tmp_path: Path) -> None:
    model = tmp_path / "model.lil"
    data = convert(int8_tflite(), model).data
    pixels = np.random.default_rng(5).integers(0, 256, ports_of(data).inputs[0].shape, np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    command = [sys.executable, "-m", "lilliput.cli.app", "run", str(model), "--json"]
    command += ["--input", str(tmp_path / "pixels.npy"), "--on", f"qemu:{CORE}", "--as", "pico2"]
    command += ["--output", str(tmp_path / "scores.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["on"] == f"qemu:{CORE}" and told["instructions"] > 0
    wanted = run_on_host(data, [pixels]).outputs[0]
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), wanted)
