"""Labelled samples as a model's input takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..format.preprocessing import quantize, uint8_table
from ..labelled import Labelled, list_class_folders, read_arrays
from ..program import Port
from ..samples import pixels


def read_labelled(
    source: Path, port: Port, classes: int, input_range: tuple[float, float]
) -> Labelled:
    """Reads samples for an input, int8[n, *shape without batch].

    source: as in `lilliput.labelled`. Arrays of uint8 are pixels, of which 0 and 255 stand for the
    reals in `input_range`; int8 the raw input; anything else its reals.

    Raises OSError when nothing is there, ValueError when it does not fit the input or the classes.
    """
    if source.is_dir():
        names, images = list_class_folders(source)
        if len(names) != classes:
            raise ValueError(
                f"{source} holds {len(names)} folders: one of images for each of {classes} "
                "classes is needed"
            )
        samples = np.stack([pixels(path, port.shape) for path, _ in images])
        found = Labelled(samples, np.array([label for _, label in images], np.int64), names)
    else:
        found, _ = read_arrays(source)
    return _fitted(found, port, classes, input_range, str(source))


def _fitted(
    found: Labelled, port: Port, classes: int, input_range: tuple[float, float], place: str
) -> Labelled:
    one = tuple(port.shape[1:])
    if found.samples.shape[1:] not in {one, tuple(port.shape)}:
        raise ValueError(
            f"{place}: x has shape {list(found.samples.shape)}; the model takes "
            f"[samples, {', '.join(map(str, one))}]"
        )
    if len(found) < 2 or found.classes.max() >= classes:
        raise ValueError(
            f"{place}: {len(found)} samples of classes {found.classes.min(initial=0)} to "
            f"{found.classes.max(initial=0)}; at least 2 of classes 0 to {classes - 1} are needed"
        )
    samples = as_int8(found.samples.reshape(-1, *one), port, input_range)
    return Labelled(samples, found.classes, found.names)


def as_int8(samples: np.ndarray, port: Port, input_range: tuple[float, float]) -> np.ndarray:
    """Pixels (uint8), reals, or raw input (int8) as the input's int8."""
    if samples.dtype == np.int8:
        return samples
    if samples.dtype == np.uint8:
        table = uint8_table(port.scale, port.zero_point, input_range)
        return np.asarray(table.reshape(-1)[samples], np.int8)
    return quantize(samples, port.scale, port.zero_point)
