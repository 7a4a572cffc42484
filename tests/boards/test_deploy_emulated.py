"""`lilliput deploy` on emulated boards with the memory of real ones: stock firmware, natmod."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_models import int8_tflite
from unix_board import UnixBoard

from lilliput import convert, load
from lilliput.boards import profile
from lilliput.cli.app import main
from lilliput.deployment import Board, deploy
from lilliput.emulation import EmulationError, emulated_board

# What stands in for a core: the M3 executes the code of the M0+, the M4 that of the M33, whose
# native modules are the same.
STAND_INS = {"pico": "cortex-m3", "pico2": "cortex-m4", "portenta_h7": "cortex-m7"}
# A picture that the board computes instead of receiving it: the same expression on both sides.
PICTURE = "bytes((i * 31 + i // 7) & 255 for i in range({size}))"


@contextmanager
def board_like(key: str, **options: Any) -> Iterator[str]:
    """The port of an emulated board with the memory of a profile; skips where there is none."""
    try:
        with emulated_board(STAND_INS[key], profile(key), **options) as port:
            yield port
    except EmulationError as error:
        pytest.skip(str(error))


def answer_on_board(port: str, path: str, size: int) -> list[int]:
    """What a user's lines in the REPL give, after a soft reset."""
    with Board(port) as board:
        board.restart()
        script = (
            f"import lilliput\nmodel = lilliput.load({path!r})\n"
            f"picture = {PICTURE.format(size=size)}\n"
            "print(list(model.infer(picture, raw=True)))"
        )
        answer: list[int] = board.query(script, timeout=600)
        return answer


def answer_here(model: Path, size: int) -> list[int]:
    picture = array("b", eval(PICTURE.format(size=size)))
    return list(load(model).infer(picture))


def test_a_stock_pico_runs_visual_wake_words(models: Path, tmp_path: Path) -> None:
    model = tmp_path / "mcunet_vww.lil"
    source = models / "mcunet_vww.tflite"
    assert main(["convert", str(source), "-o", str(model), "--board", "pico"]) == 0
    with board_like("pico") as port:
        done = deploy(model, port)
        assert done.facts.romfs_bytes == 0 and done.model == "/mcunet_vww.lil"
        assert done.trial.heap_free > 64_000
        size = 80 * 80 * 3
        assert answer_on_board(port, done.model, size) == answer_here(model, size)


def test_a_stock_pico_2_runs_mcunetv2_from_a_paged_file(models: Path, tmp_path: Path) -> None:
    """Its 2 MB come in an image of the file system: the emulated serial port is slow."""
    model = tmp_path / "mcunetv2_large.lil"
    source = models / "mcunetv2_large.tflite"
    assert main(["convert", str(source), "-o", str(model), "--board", "pico2"]) == 0
    with UnixBoard(tmp_path, flash_bytes=profile("pico2").flash_bytes) as other:
        deploy(model, other.port)
    with board_like("pico2", files=(tmp_path / "flash.img").read_bytes()) as port:
        # Compared with the host's bits on the board's own test vector, fed row by row.
        done = deploy(model, port)
        assert done.copied == ("/lib/_lilliput.mpy",)  # the other one's was for x64
        assert done.facts.romfs_bytes == 0 and done.model == "/mcunetv2_large.lil"
        assert done.trial.arena_bytes < done.facts.heap_free < 500_000
        assert done.trial.model_heap < done.trial.arena_bytes + 80_000


def test_a_model_in_a_romfs_is_used_where_it_lies(models: Path) -> None:
    with board_like("portenta_h7") as port:
        done = deploy(models / "mlperf_kws_ref_model.tflite", port)
        assert done.model == "/rom/mlperf_kws_ref_model.lil"
        assert done.trial.model_heap < done.trial.arena_bytes + 4096
        with Board(port) as board:
            board.restart()
            script = (
                "import lilliput, uctypes\nm = lilliput.load('/rom/mlperf_kws_ref_model.lil')\n"
            )
            address = board.query(script + "print(uctypes.addressof(m._file))")
        assert address % 16 == 0
        assert deploy(models / "mlperf_kws_ref_model.tflite", port).copied == ()


def test_firmware_with_lilliput_in_it_needs_no_native_module(tmp_path: Path) -> None:
    model = tmp_path / "person.lil"
    convert(int8_tflite(), model)
    with board_like("portenta_h7", native_module_built_in=True) as port:
        done = deploy(model, port)
        assert not [path for path in done.copied if path.endswith("_lilliput.mpy")]
