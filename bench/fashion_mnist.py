"""Fashion-MNIST (Xiao et al., 2017) from Debian's package, fetched but never installed, and a small
network for it."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

PACKAGE = "dataset-fashion-mnist"
INSIDE = Path("usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip
BATCH = 64


class DatasetUnavailable(Exception):
    """The package can be neither found nor fetched here."""


def fashion_mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels (60,000), test images and labels (10,000).

    Images are uint8[n, 28, 28, 1], labels uint8[n]. Raises DatasetUnavailable where this machine
    cannot get the package.
    """
    folder = _folder()
    arrays = []
    for part in ("train", "t10k"):
        arrays.append(_idx(folder / f"{part}-images-idx3-ubyte.gz")[..., None])
        arrays.append(_idx(folder / f"{part}-labels-idx1-ubyte.gz"))
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _folder() -> Path:
    """Where the files lie: installed, in the cache, or fetched into the cache now."""
    cache = Path(os.environ.get("LILLIPUT_CACHE") or Path.home() / ".cache" / "lilliput")
    unpacked = cache / "datasets" / PACKAGE
    for root in (Path("/"), unpacked):
        if _holds_data(root / INSIDE):
            return root / INSIDE
    _fetch(unpacked)
    if not _holds_data(unpacked / INSIDE):
        raise DatasetUnavailable(f"{PACKAGE} does not hold {INSIDE}")
    return unpacked / INSIDE


def _holds_data(folder: Path) -> bool:
    return (folder / "t10k-labels-idx1-ubyte.gz").is_file()


def _fetch(target: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise DatasetUnavailable(f"{PACKAGE} is a Debian package, and this is no Debian system")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            _run(["apt-get", "download", PACKAGE], folder)
            [package] = Path(folder).glob("*.deb")
            _run(["dpkg-deb", "-x", package.name, "unpacked"], folder)
        except (subprocess.CalledProcessError, ValueError) as error:
            raise DatasetUnavailable(f"cannot fetch {PACKAGE}: {error}") from error
        shutil.rmtree(target, ignore_errors=True)
        (Path(folder) / "unpacked").rename(target)


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)


def _idx(path: Path) -> np.ndarray:
    """An array of bytes in IDX format: two zeros, the type 8, the rank, big-endian sizes, data."""
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is no IDX file of bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def scaled(images: np.ndarray) -> np.ndarray:
    """Pixels as the network is fed them, 0 to 1."""
    return images.astype(np.float32) / 255.0


def small_network() -> keras.Model:
    """Three convolutions, one of them depthwise separable: 0.9 M multiply-accumulates."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(48, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(len(CLASSES), activation="softmax"),
        ]
    )


def trained_network(images: np.ndarray, labels: np.ndarray, epochs: int) -> keras.Model:
    """`small_network`, trained for so many epochs."""
    import keras

    keras.utils.set_random_seed(1)
    network = small_network()
    # A rate that ends near zero settles the averages of the batch normalisation.
    rate = keras.optimizers.schedules.CosineDecay(3e-3, epochs * len(images) // BATCH)
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    network.fit(scaled(images), labels, BATCH, epochs, verbose=0)
    return network
