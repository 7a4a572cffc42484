"""The super-network: one set of weights, of which every architecture of a space uses a part.

An architecture uses the first channels of each layer and the centre of each depthwise kernel, and
skips the blocks that its stages do not have (Once-for-All, Cai et al., 2020). While it is trained,
all channels are computed and those that an architecture lacks are set to zero: so one compiled
function serves all architectures, on any backend of Keras.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from .batch_normalization import normalized_by_batch
from .depthwise import depthwise
from .named_weights import NamedWeights, Weights, cross_entropy
from .network import BlockShape, Network
from .space import Architecture, Space

_PER_BLOCK = 5  # numbers of a code: see `encode`


def frame_of(space: Space) -> Network:
    """The network with the most of everything: all others are parts of it."""
    return space.network(space.largest())


def code_of(space: Space, architecture: Architecture) -> np.ndarray:
    """What the super-network needs to know of an architecture, float32[blocks of the frame, 5]:
    kernel, expanded channels, output channels, 1 if the block is there, 1 if it adds its input."""
    network = space.network(architecture)
    rows = [_code(network.blocks[0])]
    blocks = iter(network.blocks[1:])
    for stage, chosen in zip(space.stages, architecture.stages, strict=True):
        rows += [_code(next(blocks)) for _ in chosen]
        rows += [[0.0] * _PER_BLOCK] * (max(stage.depths) - len(chosen))
    return np.array(rows, np.float32)


def code_of_network(network: Network) -> np.ndarray:
    """The code of a network that has all blocks of its frame."""
    return np.array([_code(block) for block in network.blocks], np.float32)


def _code(block: BlockShape) -> list[float]:
    return [block.kernel, block.expanded, block.outputs, 1.0, float(block.adds_input)]


class SuperNetwork(NamedWeights):
    """Logits of several architectures at once.

    Takes {"image": float32[batch, image, image, channels], "codes": float32[batch, n, blocks, 5]},
    the same codes for each image, and returns float32[batch, n, classes]. Batch normalisation uses
    the batch's own averages always: an architecture's are computed when it is judged.

    The first code is the teacher: its loss is the labels', and the others learn its answers
    (in-place distillation). With `augments` all learn the labels, the first with weight 1 and the
    others together with that weight (NetAug, Cai et al., 2022).
    """

    def __init__(self, frame: Network, *, augments: float | None = None) -> None:
        super().__init__(name="super_network")
        self.frame = frame
        self.augments = augments
        for name, shape, kind in _variables(frame):
            initial: Any = {"kernel": "he_normal", "gamma": "ones"}.get(kind, "zeros")
            if kind == "depthwise":
                initial = keras.initializers.RandomNormal(stddev=(2.0 / shape[0] ** 2) ** 0.5)
            self.add_named(name, shape, initial)

    def call(self, inputs: Any) -> Any:
        codes = inputs["codes"][0]
        return ops.stack(
            [self._logits(inputs["image"], codes[index]) for index in range(codes.shape[0])], axis=1
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Cross entropy of the first code with the labels, and of the others with the first's
        answers or, augmenting, with the labels too."""
        del x, sample_weight, training
        first = y_pred[:, 0]
        labels = ops.one_hot(y, self.frame.classes)
        total = cross_entropy(labels, first)
        others = y_pred.shape[1] - 1
        if self.augments is None:
            labels = ops.stop_gradient(ops.softmax(first))
        share = (1.0 if self.augments is None else self.augments) / max(others, 1)
        for index in range(others):
            total = total + share * cross_entropy(labels, y_pred[:, index + 1])
        return total

    def _logits(self, image: Any, code: Any) -> Any:
        frame, named = self.frame, self.named
        x = ops.conv(image, named["stem"], frame.stem_stride, "same", "channels_last")
        x = ops.relu6(self._normed(x, "stem"))
        for index, block in enumerate(frame.blocks):
            x = self._block(x, f"block{index}", block, code[index])
        mean = ops.mean(x, axis=(1, 2))
        return ops.matmul(mean, named["scores"]) + named["scores_bias"]

    def _block(self, x: Any, name: str, block: BlockShape, code: Any) -> Any:
        named = self.named
        expanded = _first(block.expanded, code[1])
        y = x
        if block.expands:
            y = ops.conv(y, named[f"{name}_expand"], 1, "same", "channels_last")
            y = ops.relu6(self._normed(y, f"{name}_expand", expanded))
        kernel = named[f"{name}_depthwise"] * _centre(block.kernel, code[0])
        y = depthwise(y, kernel, block.stride)
        y = ops.relu6(self._normed(y, f"{name}_depthwise", expanded))
        y = ops.conv(y, named[f"{name}_project"], 1, "same", "channels_last")
        if not block.adds_input:
            return self._normed(y, f"{name}_project", _first(block.outputs, code[2]))
        y = self._normed(y, f"{name}_project", _first(block.outputs, code[2]) * code[3])
        return y + (1.0 - code[3] + code[3] * code[4]) * x

    def _normed(self, x: Any, name: str, kept: Any = 1.0) -> Any:
        """Batch-normalised with the batch's averages; channels that are not kept become zero."""
        scale, offset = self.named[f"{name}_gamma"] * kept, self.named[f"{name}_beta"] * kept
        return normalized_by_batch(x, scale, offset)[0]


def _first(size: int, count: Any) -> Any:
    """1 for the first `count` channels of `size`, else 0."""
    return ops.cast(ops.arange(size, dtype="float32") < count, "float32")


def _centre(size: int, kernel: Any) -> Any:
    """1 in the centre `kernel` x `kernel` of a window, else 0: float32[size, size, 1, 1]."""
    away = ops.abs(ops.arange(size, dtype="float32") - (size - 1) / 2)
    inside = ops.cast(away < kernel / 2, "float32")
    return ops.reshape(inside, (size, 1, 1, 1)) * ops.reshape(inside, (1, size, 1, 1))


def _variables(frame: Network) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and kind of every weight: a layer's kernel has the layer's name, its batch
    normalisation's have "_gamma" and "_beta" behind."""
    layers = [("stem", (3, 3, frame.channels, frame.stem), "kernel")]
    for index, block in enumerate(frame.blocks):
        name = f"block{index}"
        if block.expands:
            layers.append((f"{name}_expand", (1, 1, block.inputs, block.expanded), "kernel"))
        window = (block.kernel, block.kernel, block.expanded, 1)
        layers.append((f"{name}_depthwise", window, "depthwise"))
        layers.append((f"{name}_project", (1, 1, block.expanded, block.outputs), "kernel"))
    for name, shape, kind in layers:
        channels = shape[2] if kind == "depthwise" else shape[3]
        yield name, shape, kind
        yield f"{name}_gamma", (channels,), "gamma"
        yield f"{name}_beta", (channels,), "beta"
    yield "scores", (frame.blocks[-1].outputs, frame.classes), "kernel"
    yield "scores_bias", (frame.classes,), "bias"


def sorted_by_importance(weights: Weights, space: Space) -> dict[str, np.ndarray]:
    """The same function with the channels that matter most first in every layer.

    An expanded channel matters as much as the weights that read it (L1), one of a stage's maps as
    much as all weights that read it in the stage and behind it.
    """
    made = {name: value.copy() for name, value in weights.items()}
    frame = frame_of(space)
    for index, block in enumerate(frame.blocks):
        if block.expands:
            name = f"block{index}"
            order = _order(made[f"{name}_project"], axis=2)
            _permute(made, f"{name}_expand", 3, order)
            _permute(made, f"{name}_depthwise", 2, order)
            made[f"{name}_project"] = made[f"{name}_project"][:, :, order]
    first = 1
    for stage in space.stages:
        end = first + max(stage.depths)
        readers = [f"block{i}_expand" for i in range(first + 1, min(end + 1, len(frame.blocks)))]
        if end == len(frame.blocks):
            readers.append("scores")
        axes = [made[name].ndim - 2 for name in readers]
        norms = [_norms(made[name], axis) for name, axis in zip(readers, axes, strict=True)]
        order = np.argsort(-np.sum(norms, axis=0), kind="stable")
        for index in range(first, end):
            _permute(made, f"block{index}_project", 3, order)
        for name, axis in zip(readers, axes, strict=True):
            made[name] = np.take(made[name], order, axis)
        first = end
    return made


def _norms(kernel: np.ndarray, axis: int) -> np.ndarray:
    others = tuple(other for other in range(kernel.ndim) if other != axis)
    return np.asarray(np.abs(kernel).sum(axis=others))


def _order(kernel: np.ndarray, axis: int) -> np.ndarray:
    return np.argsort(-_norms(kernel, axis), kind="stable")


def _permute(weights: dict[str, np.ndarray], name: str, axis: int, order: np.ndarray) -> None:
    """Reorders the output channels of a layer and of its batch normalisation."""
    weights[name] = np.take(weights[name], order, axis)
    for part in ("gamma", "beta"):
        weights[f"{name}_{part}"] = weights[f"{name}_{part}"][order]


def codes_for(batch: int, codes: Sequence[np.ndarray]) -> np.ndarray:
    """Codes as the super-network takes them, without copies: float32[batch, n, blocks, 5]."""
    stacked = np.stack(codes)
    return np.broadcast_to(stacked, (batch, *stacked.shape))
