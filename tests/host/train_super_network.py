"""Trains a small super-network for an epoch, on the backend of Keras that the environment names.

python train_super_network.py FROM.npz TO.npz [all-devices]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from lilliput.labelled import Labelled
from lilliput.search.space import Space, Stage
from lilliput.search.supernet import SuperNetwork, code_of, frame_of
from lilliput.search.training import Schedule, prepare_backend, train, use_all_devices

SPACE = Space(12, 1, 4, 1.0, 8, 2, 8, (Stage(8, 2, (5,), expansions=(3,), depths=(2,)),))


def images() -> Labelled:
    dice = np.random.default_rng(0)
    pictures = dice.integers(0, 256, (64, 12, 12, 1)).astype(np.uint8)
    return Labelled(pictures, dice.integers(0, 4, 64))


def trained(start: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The weights after two steps, with the smallest architecture beside the largest."""
    folder.mkdir()
    model = SuperNetwork(frame_of(SPACE))
    model.assign(start)
    codes = [code_of(SPACE, each) for each in (SPACE.largest(), SPACE.smallest())]
    schedule = Schedule(epochs=1, batch=32)
    return train(model, images(), schedule, lambda dice: codes, folder / "kept.npz", seed=1)


if __name__ == "__main__":
    prepare_backend(1)
    if "all-devices" in sys.argv:
        use_all_devices()
    target = Path(sys.argv[2])
    with np.load(sys.argv[1]) as start:
        np.savez(target, **trained(dict(start), target.with_suffix("")))
