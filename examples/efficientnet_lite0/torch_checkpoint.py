"""Reads PyTorch checkpoints of the format before 1.6, without PyTorch.

Such a file is five pickles (magic number, protocol version, system facts, the object, the keys of
its storages) and then, for each key, the number of elements (int64) and the elements themselves,
little-endian. Tensors in the object are views (offset, shape, strides) of storages.

A pickle may call anything it can import. The unpickler here imports nothing: it knows the four
names that a dictionary of tensors needs, and refuses every other.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES: dict[tuple[str, str], np.dtype[Any]] = {
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "DoubleStorage"): np.dtype("<f8"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class CheckpointError(ValueError):
    """The file is no checkpoint of this format, or holds more than a dictionary of tensors."""


@dataclass(frozen=True)
class _StorageKind:
    """What a class such as `torch.FloatStorage` becomes; it cannot be called."""

    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    elements: int


@dataclass(frozen=True)
class _View:
    """A tensor before the storages have been read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_checkpoint(file: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint that is a dictionary of tensors (a `state_dict`), by name.

    file: open for reading, binary, at the start of the checkpoint.
    Raises CheckpointError saying what is wrong when it is anything else.
    """
    try:
        if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
            raise CheckpointError("this is no PyTorch checkpoint of the format before 1.6")
        if _Unpickler(file).load().get("little_endian") is not True:
            raise CheckpointError("the checkpoint is big-endian, which this reader does not take")
        views = _Unpickler(file).load()
        keys = _Unpickler(file).load()
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise CheckpointError(f"the checkpoint cannot be read: {error}") from error
    if not isinstance(views, dict) or not isinstance(keys, list):
        raise CheckpointError("the checkpoint holds no dictionary of tensors")
    wanted = {}
    for name, view in views.items():
        if not isinstance(name, str) or not isinstance(view, _View):
            raise CheckpointError(f"the checkpoint's entry {name!r} is no tensor")
        wanted[view.storage.key] = view.storage
    storages = {key: _read_storage(file, key, wanted) for key in keys}
    return {name: _tensor(name, view, storages) for name, view in views.items()}


class _Unpickler(pickle.Unpickler):
    """Knows what a dictionary of tensors is made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) in _STORAGES:
            return _StorageKind(_STORAGES[module, name])
        raise CheckpointError(f"the checkpoint wants to import {module}.{name}: refused")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageKind(dtype), str(key), str(), int(elements), None):
                return _Storage(key, dtype, elements)
        raise CheckpointError(f"the checkpoint refers to {pid!r}, which is no plain storage")


def _rebuild(
    storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
) -> _View:
    return _View(storage, offset, tuple(shape), tuple(strides))


def _read_storage(file: BinaryIO, key: Any, wanted: dict[str, _Storage]) -> np.ndarray:
    if key not in wanted:
        raise CheckpointError(f"the checkpoint lists a storage {key!r} that no tensor uses")
    storage = wanted[key]
    count = int.from_bytes(file.read(8), "little", signed=True)
    if count != storage.elements:
        raise CheckpointError(
            f"storage {key!r} has {count} elements, its tensor says {storage.elements}"
        )
    data = file.read(count * storage.dtype.itemsize)
    if len(data) != count * storage.dtype.itemsize:
        raise CheckpointError("the checkpoint is cut short")
    return np.frombuffer(data, storage.dtype)


def _tensor(name: str, view: _View, storages: dict[str, np.ndarray]) -> np.ndarray:
    if view.storage.key not in storages:
        raise CheckpointError(f"the storage of tensor {name!r} is missing")
    data = storages[view.storage.key]
    if len(view.shape) != len(view.strides) or min((view.offset, *view.shape, *view.strides)) < 0:
        raise CheckpointError(f"tensor {name!r} has impossible extents")
    reach = sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    if 0 not in view.shape and view.offset + reach >= data.size:
        raise CheckpointError(f"tensor {name!r} reaches past its storage")
    strides = tuple(stride * data.itemsize for stride in view.strides)
    window = np.lib.stride_tricks.as_strided(
        data[view.offset :], view.shape, strides, writeable=False
    )
    return np.array(window)
