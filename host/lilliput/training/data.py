"""Labelled samples to train with: a folder of images a class, or arrays in a `.npz` file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..format.preprocessing import quantize, uint8_table
from ..program import Port
from ..samples import IMAGE_SUFFIXES, pixels


@dataclass(frozen=True)
class Labelled:
    """Samples as the model's input has them, int8[n, *shape without batch], and their classes,
    int64[n]. `names` of the classes; empty where the data has none."""

    samples: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        for sample, label in zip(self.samples, self.classes, strict=True):
            yield sample, int(label)

    def split(self, held_out: float, seed: int) -> tuple[Labelled, Labelled]:
        """Two parts, shuffled by the seed: to train with, and so large a part to test with."""
        order = np.random.default_rng(seed).permutation(len(self))
        count = min(max(round(held_out * len(self)), 1), len(self) - 1)
        test, train = order[:count], order[count:]
        return (
            Labelled(self.samples[train], self.classes[train], self.names),
            Labelled(self.samples[test], self.classes[test], self.names),
        )


def read_labelled(
    source: Path, port: Port, classes: int, input_range: tuple[float, float]
) -> Labelled:
    """Reads samples for an input.

    source: a folder with a folder of images for each class, in alphabetical order, or a `.npz`
    file of x, [n, *shape], and y, [n]: uint8 are pixels, of which 0 and 255 stand for the reals in
    `input_range`; int8 the raw input; anything else its reals.

    Raises OSError when nothing is there, ValueError when it does not fit the input or the classes.
    """
    if source.is_dir():
        return _read_folder(source, port, classes, input_range)
    try:
        with np.load(source, allow_pickle=False) as archive:
            if not {"x", "y"} <= set(archive.files):
                raise ValueError(f"{source} holds {archive.files}: x and y are needed")
            samples, labels = archive["x"], archive["y"]
    except (EOFError, BadZipFile) as error:
        raise ValueError(f"{source} is no .npz file: {error}") from error
    return _checked(samples, labels, port, classes, input_range, str(source))


def _read_folder(
    folder: Path, port: Port, classes: int, input_range: tuple[float, float]
) -> Labelled:
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(folders) != classes:
        raise ValueError(
            f"{folder} holds {len(folders)} folders: one of images for each of {classes} classes "
            "is needed"
        )
    samples, labels = [], []
    for label, of_class in enumerate(folders):
        paths = sorted(p for p in of_class.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise ValueError(f"{of_class} holds no images")
        samples += [pixels(path, port.shape) for path in paths]
        labels += [label] * len(paths)
    names = tuple(path.name for path in folders)
    made = _checked(np.stack(samples), np.array(labels), port, classes, input_range, str(folder))
    return Labelled(made.samples, made.classes, names)


def _checked(
    samples: np.ndarray,
    labels: np.ndarray,
    port: Port,
    classes: int,
    input_range: tuple[float, float],
    place: str,
) -> Labelled:
    one = tuple(port.shape[1:])
    if samples.shape[1:] not in {one, tuple(port.shape)} or labels.shape != samples.shape[:1]:
        raise ValueError(
            f"{place}: x has shape {list(samples.shape)} and y {list(labels.shape)}; the model "
            f"takes [samples, {', '.join(map(str, one))}], with a class for each"
        )
    if len(labels) < 2 or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{place}: {len(labels)} samples of classes {labels.min(initial=0)} to "
            f"{labels.max(initial=0)}; at least 2 of classes 0 to {classes - 1} are needed"
        )
    return Labelled(as_int8(samples.reshape(-1, *one), port, input_range), labels.astype(np.int64))


def as_int8(samples: np.ndarray, port: Port, input_range: tuple[float, float]) -> np.ndarray:
    """Pixels (uint8), reals, or raw input (int8) as the input's int8."""
    if samples.dtype == np.int8:
        return samples
    if samples.dtype == np.uint8:
        table = uint8_table(port.scale, port.zero_point, input_range)
        return np.asarray(table.reshape(-1)[samples], np.int8)
    return quantize(samples, port.scale, port.zero_point)
