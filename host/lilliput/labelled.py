"""Labelled samples: a folder of images for each class, or arrays in a `.npz` file.

A file has x [n, ...] and y [n], the number of each sample's class; where there are, x_test and
y_test, and the classes' names in `classes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .samples import list_images, read_npz


@dataclass(frozen=True)
class Labelled:
    """Samples [n, ...], and their classes, int64[n]. `names` of the classes; empty where the data
    has none."""

    samples: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        for sample, label in zip(self.samples, self.classes, strict=True):
            yield sample, int(label)

    def part(self, chosen: np.ndarray) -> Labelled:
        """The samples with these numbers."""
        return Labelled(self.samples[chosen], self.classes[chosen], self.names)

    def split(self, held_out: float, seed: int) -> tuple[Labelled, Labelled]:
        """Two parts, shuffled by the seed: to train with, and so large a part to test with."""
        train, test = split_numbers(len(self), held_out, seed)
        return self.part(train), self.part(test)


def split_numbers(count: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of so many samples, shuffled by the seed, in two parts, the second of them
    `held_out` of all; neither is empty."""
    order = np.random.default_rng(seed).permutation(count)
    tests = min(max(round(held_out * count), 1), count - 1)
    return order[tests:], order[:tests]


def list_class_folders(folder: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """The names of the folders in a folder, in alphabetical order, and the images in them, each
    with the number of its folder. Raises ValueError for fewer than two, or one without images."""
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    if len(names) < 2:
        raise ValueError(
            f"{folder} has {len(names)} folders in it: a folder of images for each class is needed"
        )
    images: list[tuple[Path, int]] = []
    for number, name in enumerate(names):
        images += [(path, number) for path in list_images(folder / name)]
    return names, images


def read_arrays(path: Path) -> tuple[Labelled, Labelled | None]:
    """The samples of a `.npz` file as they are, and those to test with, if it has some.

    Raises OSError when nothing is there, ValueError when it is no such file.
    """
    arrays = read_npz(path)
    names = tuple(str(name) for name in arrays.get("classes", []))
    known = _labelled(path, arrays, "", names)
    tested = _labelled(path, arrays, "_test", names) if "x_test" in arrays else None
    count = 1 + max(int(each.classes.max(initial=0)) for each in (known, tested) if each)
    if names and len(names) < count:
        raise ValueError(f"{path}: {len(names)} names in classes, but {count} classes in y")
    return known, tested


def _labelled(
    path: Path, arrays: dict[str, np.ndarray], suffix: str, names: tuple[str, ...]
) -> Labelled:
    x, y = "x" + suffix, "y" + suffix
    if x not in arrays or y not in arrays:
        raise ValueError(
            f"{path} holds {', '.join(arrays) or 'no arrays'}: {x}, the samples, and {y}, the "
            "number of each one's class, are needed"
        )
    samples, classes = arrays[x], arrays[y]
    if samples.ndim == 0 or classes.size != len(samples) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: {y} is {classes.dtype}{list(classes.shape)} and {x} has the shape "
            f"{list(samples.shape)}; {y} must hold a whole number for each sample, its class"
        )
    if classes.min(initial=0) < 0:
        raise ValueError(f"{path}: {y} must not be negative")
    return Labelled(samples, classes.reshape(-1).astype(np.int64), names)
