"""Saving what was learned: small, tied to its model, and never lost to a power cut."""

from __future__ import annotations

import builtins
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from lilliput.runtime import train as device
from lilliput.runtime.model import Model
from lilliput.runtime.train import Trainer
from small_trainable import small_program, small_samples

from lilliput.format.writer import write
from lilliput.training.planning import plan_training
from lilliput.training.scheme import Scheme

SCHEME = Scheme(frozenset({"deep", "thin", "tail"}), {"next_wide": 0.5, "scores": 1.0})


@pytest.fixture(scope="module")
def data() -> bytes:
    made = plan_training(small_program(), SCHEME)
    return write(made.plan.program, made.plan)


def trained(data: bytes, steps: int, seed: int = 1) -> Trainer:
    trainer = Trainer(Model(data), lr=0.01, seed=seed)
    for sample, label in small_samples(steps, seed=seed):
        trainer.step(sample, label)
    return trainer


def state(model: Model) -> bytes:
    """What a delta keeps: seed and step, and the trained constants."""
    size = device._lilliput.field(model._file, 26, 0)
    start = device._lilliput.field(model._file, 29, 0)
    return bytes(model._arena[:8]) + bytes(model._arena[start:size])


def test_what_was_saved_comes_back(data: bytes, tmp_path: Path) -> None:
    trainer = trained(data, 20)
    path = str(tmp_path / "learned")
    before = state(trainer.model)
    trainer.save(path)
    assert state(trainer.model) == before
    assert len((tmp_path / "learned").read_bytes()) < len(before) * 1.02 + 40
    other = Model(data)
    other.apply(path)
    assert state(other) == before
    # both go on alike
    follower = Trainer(other, lr=0.01, seed=99)
    other.apply(path)
    sample, label = next(iter(small_samples(1, seed=7)))
    assert trainer.step(sample, label) == follower.step(sample, label)
    assert state(other) == state(trainer.model)


def test_little_change_makes_a_small_file(data: bytes, tmp_path: Path) -> None:
    trainer = Trainer(Model(data))
    path = tmp_path / "learned"
    trainer.save(str(path))
    assert path.stat().st_size <= 32
    trainer.lr = 1e-6
    trainer.step(*next(iter(small_samples(1))))
    trainer.save(str(path))
    assert path.stat().st_size < 400


def test_unsound_files_are_refused_and_change_nothing(data: bytes, tmp_path: Path) -> None:
    trainer = trained(data, 5)
    path = tmp_path / "learned"
    trainer.save(str(path))
    sound = path.read_bytes()
    model = trained(data, 3, seed=2).model
    before = state(model)
    for end in range(0, len(sound), 7):
        path.write_bytes(sound[:end])
        with pytest.raises(ValueError, match="learned"):
            model.apply(str(path))
    for place in range(0, len(sound), 5):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        with pytest.raises(ValueError, match="learned"):
            model.apply(str(path))
    path.write_bytes(sound + b"\0")
    with pytest.raises(ValueError, match="damaged"):
        model.apply(str(path))
    with pytest.raises(OSError, match="nowhere"):
        model.apply(str(tmp_path / "nowhere"))
    assert state(model) == before


def test_another_models_file_is_refused(data: bytes, tmp_path: Path) -> None:
    made = plan_training(small_program(seed=8), SCHEME)
    other = Model(write(made.plan.program, made.plan))
    path = str(tmp_path / "learned")
    trained(data, 3).save(path)
    with pytest.raises(ValueError, match="another model"):
        other.apply(path)


class PowerCut(BaseException):
    """The board has lost power: nothing runs any more, not even a handler."""


class _Disk:
    """Files of which only what was synced survives, and that lose power after so many bytes or
    operations. `replaces`: a rename takes the place of a file (littlefs), or fails (FAT)."""

    def __init__(self, replaces: bool, kept: dict[str, bytes], budget: int) -> None:
        self.replaces = replaces
        self.kept = dict(kept)  # what a restart finds
        self.files = {name: bytearray(content) for name, content in kept.items()}
        self.budget = budget

    def spend(self) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise PowerCut

    def open(self, path: str, mode: str) -> io.BytesIO | _File:
        if mode == "rb":
            if path not in self.files:
                raise OSError(2, path)
            return io.BytesIO(bytes(self.files[path]))
        self.spend()
        self.files[path] = bytearray()
        self.kept.pop(path, None)  # the worst that truncating a file may leave
        return _File(self, path)

    def sync(self) -> None:
        self.spend()
        self.kept = {name: bytes(content) for name, content in self.files.items()}

    def rename(self, old: str, new: str) -> None:
        self.spend()
        if new in self.files and not self.replaces:
            raise OSError(17, new)
        self.files[new] = self.files.pop(old)
        # a rename of what was synced is atomic
        if old in self.kept:
            self.kept[new] = self.kept.pop(old)

    def remove(self, path: str) -> None:
        self.spend()
        del self.files[path]
        self.kept.pop(path, None)


class _File:
    def __init__(self, disk: _Disk, path: str) -> None:
        self.disk, self.path = disk, path

    def write(self, content: bytes) -> int:
        for byte in bytes(content):
            self.disk.spend()
            self.disk.files[self.path].append(byte)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def as_device(monkeypatch: pytest.MonkeyPatch, disk: _Disk) -> None:
    """Lets the device's module see the disk, with the functions that MicroPython's `os` has."""
    functions = SimpleNamespace(sync=disk.sync, rename=disk.rename, remove=disk.remove)
    monkeypatch.setattr(device, "os", functions)
    monkeypatch.setattr(device, "open", disk.open, raising=False)


def cuts(replaces: bool, kept: dict[str, bytes]) -> Iterator[_Disk]:
    budget = 0
    while True:
        disk = _Disk(replaces, kept, budget)
        yield disk
        if disk.budget >= 0:
            return
        budget += 1


@pytest.mark.parametrize("replaces", [True, False], ids=["littlefs", "FAT"])
def test_a_power_cut_at_every_byte_leaves_the_last_save_or_the_new(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    first, second = trained(data, 2), trained(data, 3, seed=2)
    first.lr = second.lr = 2e-3  # small files: a cut at each byte of them
    for trainer in (first, second):
        trainer.reset()
        trainer.step(*next(iter(small_samples(1, seed=trainer.steps))))
    second.step(*next(iter(small_samples(1, seed=5))))
    first.save(str(tmp_path / "delta"))
    kept = {"delta": (tmp_path / "delta").read_bytes()}
    states = {state(first.model): "last", state(second.model): "new"}
    assert len(states) == 2
    seen = []
    reader = Model(data)
    for disk in cuts(replaces, kept):
        as_device(monkeypatch, disk)
        try:
            second.save("delta")
        except PowerCut:
            pass
        else:
            assert "delta.new" not in disk.files
        after = _Disk(replaces, disk.kept, 1 << 30)
        as_device(monkeypatch, after)
        reader.apply("delta")
        seen.append(states[state(reader)])
    assert seen == sorted(seen)  # the last ones, then the new ones
    assert set(seen) == {"last", "new"}
    assert len(seen) > 100
    monkeypatch.setattr(device, "open", builtins.open, raising=False)


def test_no_room_is_reported_and_the_last_save_kept(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(data, 4)
    trainer.save(str(tmp_path / "delta"))
    kept = {"delta": (tmp_path / "delta").read_bytes()}
    disk = _Disk(True, kept, 1 << 30)

    def write(self: _File, content: bytes) -> int:
        return len(content) - 1

    monkeypatch.setattr(_File, "write", write)
    as_device(monkeypatch, disk)
    before = state(trainer.model)
    with pytest.raises(OSError, match="no room"):
        trainer.save("delta")
    assert disk.kept["delta"] == kept["delta"]
    assert state(trainer.model) == before
