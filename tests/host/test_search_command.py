"""`lilliput search` from images to a file that fits, killed in every stage and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytest.importorskip("keras", reason="a search needs the extra `tensorflow`")

from test_search_training import quadrants

from lilliput.cli.app import main
from lilliput.format.reader import read

ARENA, FLASH = 3000, 20_000


def write_data(path: Path) -> None:
    training, test = quadrants(1400, 0), quadrants(80, 1)
    np.savez(
        path, x=training.samples, y=training.classes, x_test=test.samples, y_test=test.classes,
        classes=np.array(["top left", "top right", "bottom left", "bottom right"]),
    )  # fmt: skip


def arguments(folder: Path, name: str) -> list[str]:
    given = f"search --data {folder}/data.npz --board pico2 --sram {ARENA} --flash {FLASH}"
    given += f" -o {folder}/{name}.lil --effort 0.4 --population 4 --generations 1 --json"
    return given.split()


def test_wrong_use_is_said_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra, message in (
        (["--effort", "0"], "--effort"),
        (["--latency", "5"], "--board"),
        ([], "no such data"),
    ):
        given = ["search", "--data", str(tmp_path / "none.npz"), "-o", str(tmp_path / "a.lil")]
        if message == "--board":
            write_data(tmp_path / "data.npz")
            given[2] = str(tmp_path / "data.npz")
        assert main([*given, *extra]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.skipif(
    os.environ.get("LILLIPUT_TEST_PROFILE") != "all", reason="minutes: run by make test-all"
)
def test_from_images_to_a_file_that_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path / "data.npz")
    assert main(arguments(tmp_path, "best")) == 0
    found = json.loads(capsys.readouterr().out)
    data = (tmp_path / "best.lil").read_bytes()
    assert read(data).arena_bytes == found["arena_bytes"] <= ARENA
    assert len(data) == found["flash_bytes"] <= FLASH
    assert found["test_accuracy"] > 0.5 and found["milliseconds"] > 0
    assert all(each["arena_bytes"] <= ARENA for each in found["pareto"])
    assert json.loads((tmp_path / "best.pareto.json").read_text()) == found
    page = (tmp_path / "best.html").read_text()
    assert page.count("<svg") == 4 and "http" not in page
    for stage in STAGES:
        kill_after(stage, tmp_path)
    assert main(arguments(tmp_path, "killed")) == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "file": found["file"]} == found
    assert (tmp_path / "killed.lil").read_bytes() == data


STAGES = ("spaces.json", "*/largest.npz", "*/together.npz", "*/judged.jsonl", "*/final-*.npz",
          "*/tuned-*.npz")  # fmt: skip
"""What a search leaves in its folder, in order."""


def kill_after(stage: str, folder: Path) -> None:
    """Starts the search, or goes on with it, and kills it once it has written a stage's file."""
    command = [sys.executable, "-m", "lilliput.cli.app", *arguments(folder, "killed")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list((folder / "killed.search").glob(stage)):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
