"""Fashion-MNIST (Xiao et al., 2017) from Debian's package, fetched but never installed."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

PACKAGE = "dataset-fashion-mnist"
INSIDE = Path("usr/share/datasets/fashion-mnist")
CLASSES = 10


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
