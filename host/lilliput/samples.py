"""Reading what a model is fed: photographs, and arrays in `.npy` and `.npz` files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

Sample = list[np.ndarray]


@dataclass(frozen=True)
class Calibration:
    """Samples, one list of float32 arrays each, and whether they were made of uint8 pixels.

    labels: the class of each sample, where they are known.
    """

    samples: list[Sample]
    took_pixels: bool
    labels: tuple[int, ...] | None = None


def pixels(path: Path, shape: Sequence[int]) -> np.ndarray:
    """A photograph at a model's input size, uint8[height, width, channels].

    shape: the input's, batch included: [1, height, width, 1 or 3]. One channel is grey (Rec. 601
    luma), three are RGB; the photograph is scaled bilinearly, without keeping its proportions.
    Raises OSError when the file is missing, ValueError when it or the input is no image.
    """
    if not takes_images(shape):
        raise ValueError(
            f"the model's input has the shape {list(shape)}, which is no image "
            "[1, height, width, 1 or 3]: give the input as a .npy file"
        )
    height, width, channels = shape[1:]
    try:
        with Image.open(path) as image:
            upright = image.convert("RGB" if channels == 3 else "L")
            small = upright.resize((width, height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no image that Pillow can read") from error
    return np.asarray(small, np.uint8).reshape(height, width, channels)


def list_images(folder: Path) -> list[Path]:
    """The images in a folder and those in it, sorted. Raises ValueError when there are none."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file. Raises OSError when nothing is there, ValueError when it is no
    such file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is no .npz file of plain arrays: write one with numpy.savez"
        ) from error


def takes_images(shape: Sequence[int]) -> bool:
    """Whether an input of this shape, batch included, is a grey or RGB image."""
    return len(shape) == 4 and shape[0] == 1 and shape[3] in (1, 3)


def scaled(image: np.ndarray, pixel_range: tuple[float, float]) -> np.ndarray:
    """uint8 pixels as float32, 0 and 255 becoming the two ends of `pixel_range`."""
    low, high = pixel_range
    return (low + image.astype(np.float32) * np.float32((high - low) / 255.0)).astype(np.float32)


def read_calibration(
    source: Path | np.ndarray | Sequence[np.ndarray] | Iterable[Sequence[np.ndarray]],
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    pixel_range: tuple[float, float],
    *,
    limit: int = 256,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Samples for calibration, of the inputs' shapes with the batch.

    source: a folder of images, or a `.npz` (arrays named as the inputs, or in their order; one more
    named `y` holds classes, and `x` is then the input of a model that has one) or `.npy` file, or
    such arrays: [samples, *shape of the input] each, uint8 being pixels that go through
    `pixel_range`, anything else the input's reals. An iterable of samples is taken too.
    Of more than `limit` samples, `limit` evenly spaced ones are read.

    Raises OSError when nothing is there, ValueError when it does not fit the model's inputs.
    """
    labels = None
    if isinstance(source, Path):
        if source.is_dir():
            return Calibration(_read_folder(source, shapes, pixel_range, limit, progress), True)
        arrays = _read_arrays(source, names)
        labels = _read_labels(source, names)
    elif isinstance(source, np.ndarray):
        arrays = [source]
    else:
        given: list[Sample] = [
            [item] if isinstance(item, np.ndarray) else list(item) for item in source
        ]
        _check_counts(given, len(shapes))
        arrays = [np.stack(column) for column in zip(*given, strict=True)]
    took_pixels = any(array.dtype == np.uint8 for array in arrays)
    samples = _split(arrays, names, shapes, pixel_range, limit)
    if labels is not None:
        if len(labels) != len(arrays[0]):
            raise ValueError(
                f"{source} holds {len(labels)} labels for {len(arrays[0])} samples; give one each"
            )
        labels = labels[_spread(len(labels), limit)]
        return Calibration(samples, took_pixels, tuple(int(label) for label in labels))
    return Calibration(samples, took_pixels)


def read_input(path: Path, shapes: Sequence[Sequence[int]], names: Sequence[str]) -> Sample:
    """The inputs of one inference from an image, a `.npy` or a `.npz` file.

    Returns one array an input, of the input's shape: int8 (the raw tensor), uint8 (pixels) or
    float32 (reals). Arrays may leave out the batch. Raises OSError when the file is missing,
    ValueError when it does not fit.
    """
    if path.suffix.lower() not in {".npy", ".npz"}:
        if len(shapes) != 1:
            raise ValueError(f"the model has {len(shapes)} inputs: give them in one .npz file")
        return [pixels(path, shapes[0])[None]]
    arrays = _read_arrays(path, names)
    if len(arrays) != len(shapes):
        raise ValueError(f"{path} holds {len(arrays)} arrays, the model has {len(shapes)} inputs")
    return [
        _fitted(array, shape, f"{path}: input {index}")
        for index, (array, shape) in enumerate(zip(arrays, shapes, strict=True))
    ]


def _fitted(array: np.ndarray, shape: Sequence[int], place: str) -> np.ndarray:
    expected = tuple(shape)
    if array.shape not in {expected, expected[1:]}:
        raise ValueError(
            f"{place} has the shape {list(array.shape)}, the model takes {list(expected)} "
            "(the batch may be left out)"
        )
    if array.dtype in (np.float64, np.float16):
        array = array.astype(np.float32)
    if array.dtype not in (np.int8, np.uint8, np.float32):
        raise ValueError(
            f"{place} is {array.dtype}; it must be int8 (the raw tensor), float32 (reals) "
            "or uint8 (pixels)"
        )
    return np.ascontiguousarray(array).reshape(expected)


def _read_folder(
    folder: Path,
    shapes: Sequence[Sequence[int]],
    pixel_range: tuple[float, float],
    limit: int,
    progress: Callable[[int, int], None],
) -> list[Sample]:
    if len(shapes) != 1:
        raise ValueError(
            f"the model has {len(shapes)} inputs: calibrate it with a .npz file, not with images"
        )
    paths = list_images(folder)
    chosen = [paths[index] for index in _spread(len(paths), limit)]
    samples = []
    for index, path in enumerate(chosen):
        progress(index, len(chosen))
        samples.append([scaled(pixels(path, shapes[0]), pixel_range)[None]])
    progress(len(chosen), len(chosen))
    return samples


def _read_arrays(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    arrays = _load(path)
    if set(names) <= set(arrays):
        return [arrays[name] for name in names]
    if {"x", "y"} <= set(arrays):
        return [arrays["x"]]
    return [array for name, array in arrays.items() if name != "y"]


def _read_labels(path: Path, names: Sequence[str]) -> np.ndarray | None:
    labels = None if "y" in names else _load(path).get("y")
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
        raise ValueError(
            f"{path}: y is {labels.dtype} of the shape {list(labels.shape)}; it must hold "
            "integers, the class of each sample"
        )
    return labels


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name; a `.npy` file's has none."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is no .npy or .npz file of plain arrays: {error}") from error


def _check_counts(samples: Sequence[Sample], count: int) -> None:
    for index, sample in enumerate(samples):
        if len(sample) != count:
            raise ValueError(
                f"calibration sample {index} has {len(sample)} arrays, the model has {count} inputs"
            )


def _split(
    arrays: Sequence[np.ndarray],
    names: Sequence[str],
    shapes: Sequence[Sequence[int]],
    pixel_range: tuple[float, float],
    limit: int,
) -> list[Sample]:
    if len(arrays) != len(shapes):
        raise ValueError(
            f"the calibration data holds {len(arrays)} arrays, the model has {len(shapes)} inputs"
        )
    for name, array, shape in zip(names, arrays, shapes, strict=True):
        one = tuple(shape[1:])
        if array.ndim == 0 or array.shape[1:] not in {one, tuple(shape)}:
            raise ValueError(
                f"the calibration data for input {name!r} has the shape {list(array.shape)}, "
                f"the model takes [samples, {', '.join(map(str, one))}]"
            )
    counts = {array.shape[0] for array in arrays}
    if len(counts) != 1 or counts == {0}:
        raise ValueError("the calibration arrays must hold the same number of samples, at least 1")
    return [
        [
            (scaled(array[i], pixel_range) if array.dtype == np.uint8 else array[i])
            .astype(np.float32)
            .reshape(tuple(shape))
            for array, shape in zip(arrays, shapes, strict=True)
        ]
        for i in _spread(counts.pop(), limit)
    ]


def _spread(count: int, limit: int) -> list[int]:
    if count <= limit:
        return list(range(count))
    return [round(i * (count - 1) / max(limit - 1, 1)) for i in range(limit)]
