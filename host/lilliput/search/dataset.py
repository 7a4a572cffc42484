"""What a search learns from and is judged by: labelled square images, in three parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..labelled import Labelled, list_class_folders, read_arrays
from ..samples import pixels

_MOST_PIXELS = 224


@dataclass(frozen=True)
class Dataset:
    """What a search learns from, chooses by, and is judged by in the end: images
    uint8[n, size, size, 1 or 3]. `validation` is no part of `training`; the search never looks at
    `test`. `names` of the classes."""

    training: Labelled
    validation: Labelled
    test: Labelled
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return int(self.training.samples.shape[1])

    @property
    def channels(self) -> int:
        return int(self.training.samples.shape[3])

    def at(self, size: int) -> Dataset:
        """The same images at another size, scaled bilinearly."""
        parts = [resized(each, size) for each in (self.training, self.validation, self.test)]
        return Dataset(parts[0], parts[1], parts[2], self.names)


def resized(labelled: Labelled, size: int) -> Labelled:
    """The images scaled bilinearly, as `lilliput run` scales photographs."""
    images = labelled.samples
    if images.shape[1] == size:
        return labelled
    grey = images.shape[3] == 1
    made = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for index, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if grey else image)
        small = picture.resize((size, size), Image.Resampling.BILINEAR)
        made[index] = np.asarray(small, np.uint8).reshape(made.shape[1:])
    return Labelled(made, labelled.classes, labelled.names)


def read_dataset(
    source: Path,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    most: int | None = None,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """A dataset from a folder or a `.npz` file, as `lilliput.labelled` describes them.

    A folder may also have two such folders in it, named "train" and "test". Arrays are
    uint8[n, size, size, 1 or 3] (or [n, size, size]). Without a test part, a share of the data is
    kept for it. validation, test: shares kept from training. most: of the images to train with, a
    fixed subset.

    Raises OSError when nothing is there, ValueError when it is no such data.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such data")
    if source.is_dir():
        known, tested = _read_folders(source, progress)
    else:
        known, tested = _read_file(source)
    order = np.random.default_rng(seed).permutation(len(known))
    kept = [round(share * len(known)) for share in (0.0 if tested else test, validation)]
    if min(len(known) - sum(kept), kept[1]) < len(known.names):
        raise ValueError(f"{source} has {len(known)} images of {len(known.names)} classes: too few")
    parts = np.split(order, np.cumsum(kept))
    training = parts[2] if most is None else parts[2][:most]
    return Dataset(
        known.part(training), known.part(parts[1]), tested or known.part(parts[0]), known.names
    )


def _read_file(path: Path) -> tuple[Labelled, Labelled | None]:
    parts = read_arrays(path)
    known = _square(path, parts[0])
    tested = None if parts[1] is None else _square(path, parts[1])
    if tested is not None and tested.samples.shape[1:] != known.samples.shape[1:]:
        raise ValueError(f"{path}: x_test has images of another shape than x")
    count = 1 + max(int(each.classes.max(initial=0)) for each in (known, tested) if each)
    names = known.names or tuple(str(number) for number in range(count))
    return replace(known, names=names), tested and replace(tested, names=names)


def _square(path: Path, found: Labelled) -> Labelled:
    images = found.samples[..., None] if found.samples.ndim == 3 else found.samples
    is_square = images.ndim == 4 and images.shape[1] == images.shape[2]
    if images.dtype != np.uint8 or not is_square or images.shape[3] not in (1, 3):
        raise ValueError(
            f"{path}: x and x_test are {images.dtype}{list(images.shape)}; square uint8 images "
            "[n, size, size, 1 or 3] are needed"
        )
    return replace(found, samples=images)


def _read_folders(
    folder: Path, progress: Callable[[int, int], None]
) -> tuple[Labelled, Labelled | None]:
    splits = folder / "train", folder / "test"
    is_split = all(split.is_dir() for split in splits)
    listed = [list_class_folders(root) for root in (splits if is_split else (folder,))]
    if is_split and listed[0][0] != listed[1][0]:
        raise ValueError(f"{folder}: the folders in train and test have different names")
    size, channels = _common_shape([path for path, _ in listed[0][1]])
    total, done = sum(len(files) for _, files in listed), 0
    parts: list[Labelled] = []
    for names, files in listed:
        images = np.empty((len(files), size, size, channels), np.uint8)
        for index, (path, _) in enumerate(files):
            images[index] = pixels(path, (1, size, size, channels))
            done += 1
            progress(done, total)
        parts.append(Labelled(images, np.array([n for _, n in files], np.int64), names))
    return parts[0], parts[1] if is_split else None


def _common_shape(paths: list[Path]) -> tuple[int, int]:
    """The size that half of the images have at least, and 3 channels if one of them has colours;
    told by at most a hundred."""
    sizes, colours = [], False
    for path in paths[:: max(1, len(paths) // 100)]:
        with Image.open(path) as image:
            sizes.append(min(image.size))
            colours |= image.mode not in ("1", "L", "LA", "I", "I;16")
    return min(int(np.median(sizes)), _MOST_PIXELS), 3 if colours else 1
