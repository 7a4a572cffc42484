"""One network with its part of the super-network's weights: cut out, folded, and judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from .batch_normalization import EPSILON, normalized_by_batch
from .forward import convolved, logits
from .named_weights import Weights
from .network import Network

Averages = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Mean and variance of each channel before a batch normalisation, by its layer's name."""
_BATCH = 500  # images; with fewer, the overhead of each operation shows


def part_of(weights: Weights, frame: Network, code: np.ndarray, network: Network) -> Weights:
    """The weights of one network, named as its own layers are; copies.

    code: of the network in the frame. Its blocks are those of the frame that the code has.
    """
    made = {name: weights[name] for name in ("stem", "stem_gamma", "stem_beta", "scores_bias")}
    used = [index for index in range(len(frame.blocks)) if code[index][3] > 0]
    for number, (index, block) in enumerate(zip(used, network.blocks, strict=True)):
        source, target = f"block{index}", f"block{number}"
        inputs, expanded, outputs = block.inputs, block.expanded, block.outputs
        if f"{source}_expand" in weights:
            made[f"{target}_expand"] = weights[f"{source}_expand"][:, :, :inputs, :expanded]
        rim = (frame.blocks[index].kernel - block.kernel) // 2
        inside = slice(rim, rim + block.kernel)
        made[f"{target}_depthwise"] = weights[f"{source}_depthwise"][inside, inside, :expanded]
        made[f"{target}_project"] = weights[f"{source}_project"][:, :, :expanded, :outputs]
        for part in ("gamma", "beta"):
            for layer, count in (("expand", expanded), ("depthwise", expanded)):
                if f"{source}_{layer}_{part}" in weights:
                    full = weights[f"{source}_{layer}_{part}"]
                    made[f"{target}_{layer}_{part}"] = full[:count]
            made[f"{target}_project_{part}"] = weights[f"{source}_project_{part}"][:outputs]
    made["scores"] = weights["scores"][: network.blocks[-1].outputs]
    return {name: np.ascontiguousarray(value) for name, value in made.items()}


def averages_of(part: Weights, network: Network, images: np.ndarray) -> tuple[Averages, np.ndarray]:
    """What a network's batch normalisations have to normalise when they see all these images at
    once, and the logits float32[n, classes] that it computes so. images: float32."""
    used: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    tensors = _as_tensors(part)

    def layer(x: Any, name: str, stride: int) -> Any:
        x = convolved(x, tensors[name], name, stride)
        scale, offset = tensors[f"{name}_gamma"], tensors[f"{name}_beta"]
        x, mean, variance = normalized_by_batch(x, scale, offset)
        used[name] = ops.convert_to_numpy(mean), ops.convert_to_numpy(variance)
        return x

    found = logits(network, images, layer, (tensors["scores"], tensors["scores_bias"]))
    return used, ops.convert_to_numpy(found)


def folded(part: Weights, averages: Averages) -> dict[str, np.ndarray]:
    """Kernels and biases ("_bias" behind the layer's name) that compute what a network's layers
    and batch normalisations do."""
    made = {"scores": part["scores"], "scores_bias": part["scores_bias"]}
    for name, (mean, variance) in averages.items():
        scale = part[f"{name}_gamma"] / np.sqrt(variance + EPSILON)
        along = scale[:, None] if name.endswith("_depthwise") else scale
        made[name] = (part[name] * along).astype(np.float32)
        made[f"{name}_bias"] = (part[f"{name}_beta"] - mean * scale).astype(np.float32)
    return made


def logits_of(weights: Weights, network: Network, images: np.ndarray) -> np.ndarray:
    """Logits float32[n, classes] of a network with folded weights. images: float32."""

    tensors = _as_tensors(weights)
    scores = tensors["scores"], tensors["scores_bias"]

    def layer(x: Any, name: str, stride: int) -> Any:
        return convolved(x, tensors[name], name, stride) + tensors[f"{name}_bias"]

    batches = [images[begin : begin + _BATCH] for begin in range(0, len(images), _BATCH)]
    found = [logits(network, batch, layer, scores) for batch in batches]
    return np.concatenate([ops.convert_to_numpy(each) for each in found])


def accuracy_of(
    part: Weights, network: Network, calibration: np.ndarray, images: np.ndarray, labels: np.ndarray
) -> float:
    """The share of images that a network with these weights names right, when its batch
    normalisations have the averages of the calibration images. All images float32."""
    averages, _ = averages_of(part, network, calibration)
    found = logits_of(folded(part, averages), network, images)
    return float(np.mean(found.argmax(axis=1) == labels))


def _as_tensors(weights: Weights) -> dict[str, Any]:
    return {name: ops.convert_to_tensor(value) for name, value in weights.items()}
