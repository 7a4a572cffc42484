"""Every network of the zoo fits its name, and names as many images right as its entry says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from fashion_mnist import CLASSES, DatasetUnavailable, fashion_mnist

import lilliput
from lilliput import zoo
from lilliput.cli.app import main
from lilliput.execution import answers
from lilliput.format import read
from lilliput.labelled import Labelled
from lilliput.search.dataset import resized

NAMES = [each.name for each in zoo.entries()]
MOST_BYTES = 450_000  # of all networks together
IS_WHOLE = os.environ.get("LILLIPUT_TEST_PROFILE") == "all"
FEW = 1000  # images, of which as many are right within three points


def test_the_zoo_is_small() -> None:
    assert 0 < sum(len(each.read()) for each in zoo.entries()) < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_as_accurate_as_its_entry_says(name: str) -> None:
    try:
        _, _, images, labels = fashion_mnist()
    except DatasetUnavailable as error:
        pytest.skip(str(error))
    entry = zoo.entry(name)
    arena = int(re.fullmatch(r"fashion-mnist-(\d+)k", name)[1]) << 10  # type: ignore[index]
    assert read(entry.read()).arena_bytes <= arena
    assert entry.command.startswith("python bench/search.py")
    count = len(labels) if IS_WHOLE else FEW
    with zoo.load(name) as model:
        assert tuple(model.labels) == CLASSES
        some = Labelled(images[:count], labels[:count].astype(np.int64))
        test = resized(some, model.input.shape[1])
    found = answers(entry.read(), test.samples)
    assert np.mean(found == test.classes) == pytest.approx(
        entry.accuracy, abs=1e-6 if IS_WHOLE else 0.03
    )


def test_the_command_lists_shows_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zoo"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in NAMES)
    written = tmp_path / "network.lil"
    assert main(["zoo", NAMES[0], "-o", str(written)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert zoo.entry(NAMES[0]).command in shown
    with lilliput.load(written.read_bytes()) as model:
        assert len(model.labels) == len(CLASSES)
    assert main(["zoo", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == NAMES


def test_wrong_names_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["zoo", NAMES[0][:-1]]) == 1
    assert f"did you mean {NAMES[0]}" in capsys.readouterr().err
    assert main(["zoo", "-o", str(tmp_path / "a.lil")]) == 1
    assert "lilliput zoo" in capsys.readouterr().err
