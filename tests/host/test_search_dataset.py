"""Labelled images: folders of classes, and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lilliput.search.dataset import read_dataset


def write_npz(path: Path, **changed: np.ndarray) -> Path:
    dice = np.random.default_rng(0)
    arrays = {
        "x": dice.integers(0, 256, (100, 8, 8), np.uint8),
        "y": np.arange(100) % 2,
        **changed,
    }
    np.savez(path, **arrays)
    return path


def test_the_parts_of_a_file_are_distinct_and_always_the_same(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "data.npz", x=np.arange(6400).reshape(100, 8, 8) // 64)
    with pytest.raises(ValueError, match="uint8"):
        read_dataset(path)
    numbers = np.repeat(np.arange(100, dtype=np.uint8), 64).reshape(100, 8, 8)
    path = write_npz(tmp_path / "data.npz", x=numbers, classes=np.array(["a", "b"]))
    data = read_dataset(path, most=50)
    parts = [data.training, data.validation, data.test]
    assert [len(part) for part in parts] == [50, 10, 10]
    seen = [set(part.samples[:, 0, 0, 0].tolist()) for part in parts]
    assert len(set.union(*seen)) == 70
    for part in parts:
        assert np.array_equal(part.samples[:, 0, 0, 0] % 2, part.classes)
    again = read_dataset(path, most=50)
    assert np.array_equal(again.training.samples, data.training.samples)
    assert data.names == ("a", "b")


def test_a_test_part_of_its_own_is_kept_whole(tmp_path: Path) -> None:
    own = np.full((7, 8, 8, 1), 9, np.uint8)
    path = write_npz(tmp_path / "data.npz", x_test=own, y_test=np.zeros(7, np.int64))
    data = read_dataset(path)
    assert np.array_equal(data.test.samples, own)
    assert len(data.training) == 90 and len(data.validation) == 10


def test_folders_of_classes_and_other_sizes(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for index in range(20):
            image = Image.new("RGB", (20 + index, 24), (100 * number, index, 7))
            image.save(tmp_path / name / f"{index}.png")
    data = read_dataset(tmp_path)
    assert data.names == ("cat", "dog") and data.channels == 3
    assert data.size == 24  # at least half of the images have it
    assert np.array_equal(data.training.samples[:, 3, 3, 0], 100 * data.training.classes)
    small = data.at(12)
    assert small.size == small.test.samples.shape[2] == 12


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": np.zeros(3, np.int64)}, "a whole number for each"),
        ({"x": np.zeros((100, 8, 9), np.uint8)}, "square"),
        ({"classes": np.array(["one"])}, "1 names"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, changed: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_dataset(write_npz(tmp_path / "data.npz", **changed))


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a folder of images for each class"):
        read_dataset(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_dataset(tmp_path / "nowhere")
