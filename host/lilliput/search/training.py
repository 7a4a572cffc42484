"""Training that can stop at any moment, on any backend of Keras.

Every epoch's images, their order and what is drawn for them depend on the seed and the epoch alone,
and weights and optimizer are written after each: a training that is killed repeats an epoch at
most, and ends with the same weights.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from ..conversion import write_atomically
from ..labelled import Labelled
from .named_weights import NamedWeights, Weights
from .network import Network
from .space import Space
from .supernet import (
    SuperNetwork,
    code_of,
    code_of_network,
    codes_for,
    frame_of,
    sorted_by_importance,
)

Progress = Callable[[int, int], None]
_WARM_UP = 0.05  # of the steps
_MOMENTUM = 0.9
_WEIGHT_DECAY = 4e-5
_LARGEST_GRADIENT = 5.0


@dataclass(frozen=True)
class Schedule:
    """epochs, batch, and the learning rate at its highest; it rises at first and then falls along a
    cosine. shift: pixels that training images are moved by at most; flip: mirror half of them."""

    epochs: int
    batch: int = 64
    rate: float = 0.1
    shift: int = 1
    flip: bool = True


Draw = Callable[[random.Random], Sequence[np.ndarray]]
"""Draws the codes of a batch."""


def floats(images: np.ndarray) -> np.ndarray:
    """Pixels as the networks take them: 0 to 255 become 0 to 1, float32."""
    return images.astype(np.float32) / np.float32(255)


def prepare_backend(seed: int) -> None:
    """Seeds Keras, and has TensorFlow compute the same bits each time."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
        # Rewriting the graph of a step takes seconds, and none of its steps gets faster.
        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def use_all_devices() -> None:
    """Spreads batches over the accelerators of this machine, where there are several and the
    backend can (JAX)."""
    devices = keras.distribution.list_devices()
    if len(devices) > 1 and keras.backend.backend() == "jax":
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))


class Batches:
    """One epoch's batches: {"image", "codes"} and labels; without `draw`, images and labels."""

    def __init__(self, data: Labelled, schedule: Schedule, draw: Draw | None, seed: str) -> None:
        self.data, self.schedule, self.draw, self.seed = data, schedule, draw, seed
        self.order = self._generator("order").permutation(len(data))

    def __getitem__(self, index: int) -> Any:
        batch = self.schedule.batch
        chosen = np.resize(self.order, max(batch, len(self.order)))[index * batch :][:batch]
        images = self._augmented(self.data.samples[chosen], self._generator(str(index)))
        labels = self.data.classes[chosen]
        if self.draw is None:
            return floats(images), labels
        codes = self.draw(random.Random(f"{self.seed} {index}"))
        return {"image": floats(images), "codes": codes_for(batch, codes)}, labels

    def _generator(self, what: str) -> np.random.Generator:
        return np.random.default_rng(random.Random(f"{self.seed} {what}").getrandbits(64))

    def _augmented(self, images: np.ndarray, dice: np.random.Generator) -> np.ndarray:
        shift = self.schedule.shift
        made = images.copy()
        if self.schedule.flip:
            mirrored = dice.random(len(made)) < 0.5
            made[mirrored] = made[mirrored, :, ::-1]
        if shift:
            size = made.shape[1]
            padded = np.pad(made, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
            corners = dice.integers(0, 2 * shift + 1, (len(made), 2))
            for index, (top, left) in enumerate(corners):
                made[index] = padded[index, top : top + size, left : left + size]
        return made


def train(
    model: NamedWeights,
    data: Labelled,
    schedule: Schedule,
    draw: Draw | None,
    file: Path,
    *,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Trains a model from its weights, or from those in `file`, which is written after each epoch;
    returns the weights. progress: called with batches done and in all."""
    steps = max(1, len(data) // schedule.batch)
    total = schedule.epochs * steps
    rate_at = _rates(schedule, total)
    _compile(model, schedule)
    done = _restore(model, file)
    for epoch in range(done, schedule.epochs):
        batches = Batches(data, schedule, draw, f"{seed} {file.stem} {epoch}")
        # Not `fit`: TensorFlow's datasets may wait five seconds at the end of each.
        for index in range(steps):
            step = epoch * steps + index
            model.optimizer.learning_rate = rate_at(step)
            model.train_on_batch(*batches[index])
            progress(step + 1, total)
        _save(model, file, epoch + 1)
    return model.numpy_weights()


def _rates(schedule: Schedule, steps: int) -> Callable[[int], float]:
    """The learning rate at each step. The optimizer is given numbers: a schedule of its own would
    be traced again for every weight."""
    warm_up = max(1, round(_WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        schedule.rate / 10, max(1, steps - warm_up), warmup_target=schedule.rate,
        warmup_steps=warm_up,
    )  # fmt: skip
    return lambda step: float(ops.convert_to_numpy(rate(step)))


def _compile(model: NamedWeights, schedule: Schedule) -> None:
    optimizer = keras.optimizers.SGD(
        schedule.rate,
        momentum=_MOMENTUM,
        nesterov=True,
        weight_decay=_WEIGHT_DECAY,
        global_clipnorm=_LARGEST_GRADIENT,
    )
    # XLA's depthwise convolutions are slow on CPUs.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    model.compile(optimizer, jit_compile=jit)
    optimizer.build(model.trainable_variables)


def _save(model: NamedWeights, file: Path, epochs: int) -> None:
    arrays: dict[str, Any] = {
        f"weight {name}": value for name, value in model.numpy_weights().items()
    }
    for index, variable in enumerate(model.optimizer.variables):
        arrays[f"optimizer {index}"] = ops.convert_to_numpy(variable)
    content = io.BytesIO()
    np.savez(content, **arrays, epochs=np.array(epochs))
    write_atomically(file, content.getvalue())


def _restore(model: NamedWeights, file: Path) -> int:
    """Takes up what the file has; returns the epochs done."""
    if not file.is_file():
        return 0
    with np.load(file, allow_pickle=False) as stored:
        model.assign({name: stored[f"weight {name}"] for name in model.named})
        for index, variable in enumerate(model.optimizer.variables):
            variable.assign(stored[f"optimizer {index}"])
        return int(stored["epochs"])


def train_supernet(
    space: Space,
    data: Labelled,
    largest: Schedule,
    together: Schedule,
    folder: Path,
    *,
    seed: int,
    drawn: int = 2,
    progress: Progress = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Trains the largest network, sorts its channels, then trains all architectures together: with
    each batch the largest, the smallest or a random one in turn, and `drawn` - 1 random ones.

    data: at the space's resolution. Returns the weights.
    """
    model = SuperNetwork(frame_of(space))
    teacher = code_of(space, space.largest())
    steps = max(1, len(data) // largest.batch) * largest.epochs
    more = max(1, len(data) // together.batch) * together.epochs
    weights = train(
        model, data, largest, lambda dice: [teacher], folder / "largest.npz", seed=seed,
        progress=lambda done, total: progress(done, steps + more),
    )  # fmt: skip

    def draw(dice: random.Random) -> list[np.ndarray]:
        others = [space.sample(dice) for _ in range(drawn)]
        if dice.random() < 0.5:
            others[0] = space.smallest()
        return [teacher, *(code_of(space, other) for other in others)]

    model.assign(sorted_by_importance(weights, space))
    return train(
        model, data, together, draw, folder / "together.npz", seed=seed,
        progress=lambda done, total: progress(steps + done, steps + more),
    )  # fmt: skip


def train_network(
    network: Network,
    start: Weights | None,
    data: Labelled,
    schedule: Schedule,
    file: Path,
    *,
    seed: int,
    augment: float = 1.0,
    progress: Progress = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Trains one network, from `start` or from nothing; returns its weights.

    With `augment` above 1 it is trained as a part of networks with up to so many times its expanded
    channels, which learn beside it and are thrown away (NetAug, Cai et al., 2022).
    """
    frame = augmented(network, augment)
    model = SuperNetwork(frame, augments=1.0 if augment > 1 else None)
    if start is not None:
        model.assign(_filled(model.numpy_weights(), start))
    own = code_of_network(network)

    def draw(dice: random.Random) -> list[np.ndarray]:
        if augment <= 1:
            return [own]
        wider = own.copy()
        for index, block in enumerate(frame.blocks):
            wider[index, 1] = dice.randint(int(own[index, 1]), block.expanded)
        return [own, wider]

    weights = train(model, data, schedule, draw, file, seed=seed, progress=progress)
    return {
        name: value[tuple(map(slice, shape))]
        for name, value in weights.items()
        for shape in [_shape_in(name, network, value.shape)]
    }


def augmented(network: Network, factor: float) -> Network:
    """The network with so many times the expanded channels."""
    blocks = tuple(
        replace(block, expanded=round(block.expanded * factor)) if block.expands else block
        for block in network.blocks
    )
    return replace(network, blocks=blocks)


def _filled(wide: Weights, start: Weights) -> dict[str, np.ndarray]:
    """The wide weights with the others in their first channels."""
    made = {name: value.copy() for name, value in wide.items()}
    for name, value in start.items():
        made[name][tuple(map(slice, value.shape))] = value
    return made


def _shape_in(name: str, network: Network, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a weight of the augmented network has in the network itself."""
    if not name.startswith("block"):
        return shape
    number, layer = name.removeprefix("block").split("_", 1)
    expanded = network.blocks[int(number)].expanded
    if layer.startswith(("expand_", "depthwise_")):
        return (expanded,)
    if layer == "expand":
        return (*shape[:3], expanded)
    if layer in ("depthwise", "project"):
        return (*shape[:2], expanded, shape[3])
    return shape
