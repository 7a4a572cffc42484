"""`lilliput bench`: instructions on an emulated core, milliseconds on a board."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_models import int8_tflite
from unix_board import UnixBoard

from lilliput import convert
from lilliput.cli.app import main
from lilliput.counting import Count, CountingError, count_instructions

CORE = "cortex-m4"


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "person.lil"
    convert(int8_tflite(), path)
    return path


@pytest.fixture(scope="module")
def count(person: Path) -> Count:
    try:
        return count_instructions(person.read_bytes(), CORE, by_operator=True)
    except CountingError as error:
        if "computes other numbers" in str(error):
            raise
        pytest.skip(str(error))


def test_operators_add_up(count: Count) -> None:
    assert [each.kind for each in count.operators] == [
        "CONVOLUTION",
        "DEPTHWISE_CONVOLUTION",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    kernels = sum(each.instructions for each in count.operators)
    assert all(each.instructions > 0 for each in count.operators)
    assert kernels < count.instructions < 2 * kernels


def test_the_count_is_the_same_each_time(person: Path, count: Count) -> None:
    again = count_instructions(person.read_bytes(), CORE)
    assert again.instructions == count.instructions
    assert again.per_mac == again.instructions / again.macs


def test_the_command_on_an_emulated_core(
    person: Path, count: Count, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", str(person), "--on", f"qemu:{CORE}"]
    assert main([*arguments, "--json", "--per-op"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["core"] == CORE and told["instructions"] == count.instructions
    assert told["instructions_per_mac"] == count.per_mac
    assert told["macs"] == count.macs and told["arena_bytes"] == count.arena_bytes
    assert len(told["operators"]) == len(count.operators)
    assert main([*arguments, "--per-op"]) == 0
    printed = capsys.readouterr().out
    assert f"{count.instructions:,}" in printed and "between the operators" in printed


def test_the_command_on_a_board(
    person: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with UnixBoard(tmp_path) as board:
        arguments = ["bench", str(person), "--port", board.port, "--repeats", "3"]
        assert main([*arguments, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert len(told["milliseconds_all"]) == 3
        assert min(told["milliseconds_all"]) <= told["milliseconds"]
        assert main(arguments) == 0
        assert "of 3 inferences" in capsys.readouterr().out
        assert main([*arguments, "--per-op"]) == 1
        assert "use --on qemu:CORE" in capsys.readouterr().err


def test_a_core_that_is_not_emulated(person: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(person), "--on", "qemu:z80"]) == 1
    assert "'z80' is not emulated: choose one of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["bench", str(person), "--on", "the-moon"])
    assert "is no place to run" in capsys.readouterr().err
