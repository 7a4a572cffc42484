"""Labelled images for a search: a folder for each class, or arrays in a `.npz` file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..samples import IMAGE_SUFFIXES, pixels

_MOST_PIXELS = 224


@dataclass(frozen=True)
class Labelled:
    """Images uint8[n, size, size, 1 or 3] and their classes int32[n]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: np.ndarray) -> Labelled:
        """Those with these numbers."""
        return Labelled(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Dataset:
    """What a search learns from, chooses by, and is judged by in the end. `validation` is no part
    of `training`; the search never looks at `test`."""

    training: Labelled
    validation: Labelled
    test: Labelled
    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return int(self.training.images.shape[1])

    @property
    def channels(self) -> int:
        return int(self.training.images.shape[3])

    def at(self, size: int) -> Dataset:
        """The same images at another size, scaled bilinearly."""
        parts = [resized(each, size) for each in (self.training, self.validation, self.test)]
        return Dataset(parts[0], parts[1], parts[2], self.classes)


def resized(labelled: Labelled, size: int) -> Labelled:
    """The images scaled bilinearly, as `lilliput run` scales photographs."""
    images = labelled.images
    if images.shape[1] == size:
        return labelled
    grey = images.shape[3] == 1
    made = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for index, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if grey else image)
        small = picture.resize((size, size), Image.Resampling.BILINEAR)
        made[index] = np.asarray(small, np.uint8).reshape(made.shape[1:])
    return Labelled(made, labelled.labels)


def read_dataset(
    source: Path,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    most: int | None = None,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """A dataset from a folder or a `.npz` file.

    A folder has one folder of images for each class, or two such folders named "train" and "test".
    A file has "images" uint8[n, size, size, 1 or 3] (or [n, size, size]) and "labels" [n], and,
    where there are, "test_images", "test_labels" and "classes". Without a test part, a share of the
    data is kept for it. validation, test: shares kept from training. most: of the images to train
    with, a fixed subset.

    Raises OSError when nothing is there, ValueError when it is no such data.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such data")
    if source.is_dir():
        known, tested, classes = _read_folder(source, progress)
    else:
        known, tested, classes = _read_file(source)
    order = np.random.default_rng(seed).permutation(len(known))
    kept = [round(share * len(known)) for share in (0.0 if tested else test, validation)]
    if min(len(known) - sum(kept), kept[1]) < len(classes):
        raise ValueError(f"{source} has {len(known)} images of {len(classes)} classes: too few")
    parts = np.split(order, np.cumsum(kept))
    training = parts[2] if most is None else parts[2][:most]
    return Dataset(
        known.part(training), known.part(parts[1]), tested or known.part(parts[0]), classes
    )


def _read_file(path: Path) -> tuple[Labelled, Labelled | None, tuple[str, ...]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is no .npz file of plain arrays: {error}") from error
    known = _labelled(path, arrays, "")
    tested = _labelled(path, arrays, "test_") if "test_images" in arrays else None
    if tested is not None and tested.images.shape[1:] != known.images.shape[1:]:
        raise ValueError(f"{path}: test_images have another shape than images")
    count = 1 + max(int(each.labels.max(initial=0)) for each in (known, tested) if each)
    names = [str(name) for name in arrays.get("classes", [])]
    if names and len(names) < count:
        raise ValueError(f"{path}: {len(names)} names in classes, but {count} labels")
    classes = tuple(names) or tuple(str(number) for number in range(count))
    return known, tested, classes


def _labelled(path: Path, arrays: dict[str, np.ndarray], prefix: str) -> Labelled:
    missing = [name for name in ("images", "labels") if prefix + name not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no array {prefix + missing[0]!r} (it has {', '.join(arrays) or 'none'}): "
            "name the arrays images and labels"
        )
    images, labels = arrays[prefix + "images"], arrays[prefix + "labels"].reshape(-1)
    images = images[..., None] if images.ndim == 3 else images
    square = images.ndim == 4 and images.shape[1] == images.shape[2]
    if images.dtype != np.uint8 or not square or images.shape[3] not in (1, 3):
        raise ValueError(
            f"{path}: {prefix}images are {images.dtype}{list(images.shape)}; square uint8 images "
            "[n, size, size, 1 or 3] are needed"
        )
    if not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(images):
        raise ValueError(f"{path}: {prefix}labels must be {len(images)} whole numbers")
    if labels.min(initial=0) < 0:
        raise ValueError(f"{path}: {prefix}labels must not be negative")
    return Labelled(images, labels.astype(np.int32))


def _read_folder(
    folder: Path, progress: Callable[[int, int], None]
) -> tuple[Labelled, Labelled | None, tuple[str, ...]]:
    splits = folder / "train", folder / "test"
    is_split = all(split.is_dir() for split in splits)
    roots = splits if is_split else (folder,)
    classes = sorted(path.name for path in roots[0].iterdir() if path.is_dir())
    files = [
        [
            (path, number)
            for number, name in enumerate(classes)
            for path in sorted((root / name).rglob("*"))
            if path.suffix.lower() in IMAGE_SUFFIXES
        ]
        for root in roots
    ]
    if len(classes) < 2 or not all(files):
        raise ValueError(
            f"{folder} has no images in folders, one for each of at least two classes "
            f"({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    size, channels = _common_shape([path for path, _ in files[0]])
    total, done = sum(map(len, files)), 0
    parts: list[Labelled] = []
    for each in files:
        images = np.empty((len(each), size, size, channels), np.uint8)
        for index, (path, _) in enumerate(each):
            images[index] = pixels(path, (1, size, size, channels))
            done += 1
            progress(done, total)
        parts.append(Labelled(images, np.array([number for _, number in each], np.int32)))
    return parts[0], parts[1] if is_split else None, tuple(classes)


def _common_shape(paths: list[Path]) -> tuple[int, int]:
    """The size that half of the images have at least, and 3 channels if one of them has colours;
    told by at most a hundred."""
    sizes, colours = [], False
    for path in paths[:: max(1, len(paths) // 100)]:
        with Image.open(path) as image:
            sizes.append(min(image.size))
            colours |= image.mode not in ("1", "L", "LA", "I", "I;16")
    return min(int(np.median(sizes)), _MOST_PIXELS), 3 if colours else 1
