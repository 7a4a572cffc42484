"""Fashion-MNIST as MCUNet takes it: enlarged to 128 x 128 x 3, int8."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from lilliput.labelled import Labelled

NAMES = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot",
)  # fmt: skip
SIDE = 128


def read_fashion(folder: Path, train: int, test: int) -> tuple[Labelled, Labelled]:
    """The first `train` samples of the training set, and `test` of the test set. `folder` holds
    the four `.gz` files of the data set (Debian: dataset-fashion-mnist, in
    /usr/share/datasets/fashion-mnist)."""
    return _part(folder, "train", train), _part(folder, "t10k", test)


def _part(folder: Path, part: str, count: int) -> Labelled:
    images = _idx(folder / f"{part}-images-idx3-ubyte.gz")[:count]
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz")[:count]
    enlarged = np.stack([_enlarged(image) for image in images])
    return Labelled(enlarged, labels.astype(np.int64), NAMES)


def _enlarged(image: np.ndarray) -> np.ndarray:
    large = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(large, np.uint8).astype(np.int16) - 128
    return np.repeat(grey.astype(np.int8)[:, :, None], 3, axis=2)


def _idx(path: Path) -> np.ndarray:
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
