"""The EfficientNet-Lite0 example: its reader of PyTorch's checkpoints, and what it promises."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import re
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "efficientnet_lite0"


def load(name: str) -> ModuleType:
    """A script of the example, under a name that no other folder's script has."""
    full_name = f"efficientnet_lite0_{name}"
    spec = importlib.util.spec_from_file_location(full_name, EXAMPLE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


torch_checkpoint = load("torch_checkpoint")
contact_sheet = load("contact_sheet")


class Storage:
    """A storage of float32, by its key and what it claims to hold."""

    def __init__(self, key: str, values: np.ndarray, elements: int | None = None) -> None:
        self.key = key
        self.values = values
        self.elements = values.size if elements is None else elements


@dataclass
class View:
    """A tensor as a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class CheckpointPickler(pickle.Pickler):
    """Writes views the way PyTorch writes tensors; `torch` must be importable."""

    def persistent_id(self, item: Any) -> Any:
        if isinstance(item, Storage):
            kind = sys.modules["torch"].FloatStorage
            return ("storage", kind, item.key, "cpu", item.elements, None)
        return None

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, View):
            rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
            arguments = (item.storage, item.offset, item.shape, item.strides)
            return rebuild, (*arguments, False, OrderedDict())
        return NotImplemented


@pytest.fixture(autouse=True)
def torch_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules with the names that checkpoints refer to, as no PyTorch is installed."""
    torch, inner = ModuleType("torch"), ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})  # type: ignore[attr-defined]

    def _rebuild_tensor_v2() -> None:
        raise AssertionError("only named, never called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    inner._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)


def checkpoint(content: Any, storages: list[Storage], facts: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    facts = {"protocol_version": 1001, "little_endian": True} if facts is None else facts
    for item in (0x1950A86A20F9469CFC6C, 1001, facts):
        pickle.dump(item, file, 2)
    CheckpointPickler(file, 2).dump(content)
    pickle.dump([storage.key for storage in storages], file, 2)
    for storage in storages:
        file.write(storage.values.size.to_bytes(8, "little"))
        file.write(storage.values.astype("<f4").tobytes())
    return file.getvalue()


def read(data: bytes) -> dict[str, np.ndarray]:
    return torch_checkpoint.read_checkpoint(io.BytesIO(data))


def sample() -> tuple[OrderedDict[str, View], list[Storage]]:
    first = Storage("7", np.arange(24, dtype=np.float32))
    second = Storage("8", np.array([0.5], np.float32))
    tensors = OrderedDict(
        whole=View(first, 0, (2, 3, 4), (12, 4, 1)),
        transposed=View(first, 4, (4, 2), (1, 12)),
        scalar=View(second, 0, (), ()),
    )
    return tensors, [second, first]


def test_reads_views_of_storages() -> None:
    tensors = read(checkpoint(*sample()))
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert list(tensors) == ["whole", "transposed", "scalar"]
    assert np.array_equal(tensors["whole"], values)
    assert np.array_equal(tensors["transposed"], values[:, 1].T)
    assert tensors["scalar"].shape == () and tensors["scalar"] == 0.5


def test_every_cut_is_refused() -> None:
    data = checkpoint(*sample())
    for length in range(len(data)):
        with pytest.raises(torch_checkpoint.CheckpointError):
            read(data[:length])


def test_nothing_is_imported(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harmed"),)

    with pytest.raises(torch_checkpoint.CheckpointError, match=r"mkdir: refused"):
        read(checkpoint({"weights": Harmful()}, []))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(Storage("0", np.zeros(4)), 1, (2, 2), (2, 1)), "reaches past its storage"),
        (View(Storage("0", np.zeros(4)), -1, (2,), (1,)), "impossible extents"),
        (View(Storage("0", np.zeros(4)), 3, (2,), (-1,)), "impossible extents"),
        (View(Storage("0", np.zeros(4)), 0, (2, 2), (1,)), "impossible extents"),
        (View(Storage("0", np.zeros(4), elements=5), 0, (2,), (1,)), "its tensor says 5"),
    ],
)
def test_impossible_tensors_are_refused(view: View, message: str) -> None:
    with pytest.raises(torch_checkpoint.CheckpointError, match=message):
        read(checkpoint({"weights": view}, [view.storage]))


def test_other_files_are_refused() -> None:
    tensors, storages = sample()
    for data, message in (
        (b"PK\3\4", "cannot be read"),
        (pickle.dumps(1, 2), "no PyTorch checkpoint"),
        (checkpoint(tensors, storages, {"little_endian": False}), "big-endian"),
        (checkpoint([1], []), "no dictionary of tensors"),
        (checkpoint({"epoch": 3}, []), "'epoch' is no tensor"),
        (checkpoint(tensors, storages[:1]), "is missing"),
    ):
        with pytest.raises(torch_checkpoint.CheckpointError, match=message):
            read(data)


def test_contact_sheet_marks_what_differs() -> None:
    grey = np.full((224, 224, 3), 128, np.uint8)
    same = contact_sheet.Entry(grey, "tiger cat", "tiger cat")
    other = contact_sheet.Entry(grey, "tiger cat", "an owl with a name too long for its column")

    def colours(entries: list[Any]) -> set[tuple[int, ...]]:
        pixels = np.asarray(contact_sheet.contact_sheet(entries).convert("RGB"))
        return {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()}

    def reddish(entries: list[Any]) -> bool:
        return any(red > 150 and green < 90 for red, green, _ in colours(entries))

    assert reddish([same, other])
    assert not reddish([same, same])


def test_picture_is_small() -> None:
    assert (EXAMPLE / "contact_sheet.png").stat().st_size < 300_000


@pytest.mark.skipif(
    os.environ.get("LILLIPUT_TEST_PROFILE") != "all",
    reason="takes a minute and fetches packages: run by `make test-all`",
)
def test_agrees_with_the_float_model_in_a_quarter_of_a_megabyte() -> None:
    """Runs the example in MicroPython; its exit code says whether it keeps its promises."""
    command = [sys.executable, str(EXAMPLE / "classify.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [agreements] = re.findall(r"same top-1 +(\d+) of 23", done.stdout)
    [arena] = re.findall(r"arena +([\d,]+) bytes", done.stdout)
    assert int(agreements) >= 21
    assert int(arena.replace(",", "")) <= 256_000
    assert len(re.findall(r"^  imagenet_", done.stdout, re.MULTILINE)) == 20
