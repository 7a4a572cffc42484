"""Quantisation-aware fine-tuning of a network whose batch normalisation is folded away.

Weights and maps are rounded as the int8 network's will be (per-channel symmetric weights, one range
a map), while gradients pass the rounding unchanged (straight-through, Jacob et al., 2018). Ranges
are fixed before: those of the float network over calibration images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from .forward import Seen, convolved, logits
from .named_weights import NamedWeights, Weights, cross_entropy
from .network import Network

Ranges = dict[str, tuple[float, float]]
_TAIL = 0.01  # percent of a map's values that may lie outside its range, at each end
_LEVELS = 255


class QuantizedNetwork(NamedWeights):
    """A network with folded weights that computes in float32 what it will in int8, nearly.

    Takes images float32[batch, image, image, channels] of values from 0 to 1, returns logits.
    `ranges`, where set, are those that maps are rounded in.
    """

    def __init__(self, network: Network, weights: Weights) -> None:
        super().__init__(name="quantized_network")
        self.network = network
        self.ranges: Ranges | None = None
        for name, value in weights.items():
            self.add_named(name, value.shape, "zeros")
        self.assign(weights)

    def calibrate(self, images: np.ndarray) -> None:
        """Sets the ranges from what the float network computes of these images."""
        self.ranges = None
        seen: Ranges = {}

        def look(x: Any, name: str) -> Any:
            values = ops.convert_to_numpy(x)
            low, high = np.percentile(values, [_TAIL, 100 - _TAIL])
            seen[name] = min(float(low), 0.0), max(float(high), 1e-6)
            return x

        self._logits(images, look)
        self.ranges = seen

    def call(self, images: Any) -> Any:
        return self._logits(images, self._rounded_map)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Cross entropy with the labels."""
        del x, sample_weight, training
        return cross_entropy(ops.one_hot(y, self.network.classes), y_pred)

    def _rounded_map(self, x: Any, name: str) -> Any:
        if self.ranges is None:
            return x
        low, high = self.ranges[name]
        scale = (high - low) / _LEVELS
        zero = round(-low / scale)
        codes = ops.clip(ops.round(x / scale) + zero, 0, _LEVELS)
        rounded = (codes - zero) * scale
        # The gradient is that of the clipping alone.
        clipped = ops.clip(x, -zero * scale, (_LEVELS - zero) * scale)
        return clipped + ops.stop_gradient(rounded - clipped)

    def _kernel(self, name: str) -> Any:
        kernel = self.named[name]
        if self.ranges is None:
            return kernel
        axes = (0, 1, 3) if name.endswith("_depthwise") else tuple(range(len(kernel.shape) - 1))
        if name == "scores":
            axes = (0,)
        largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
        scale = ops.stop_gradient(ops.maximum(largest, 1e-9) / 127.0)
        rounded = ops.clip(ops.round(kernel / scale), -127, 127) * scale
        return kernel + ops.stop_gradient(rounded - kernel)

    def _logits(self, image: Any, seen: Seen) -> Any:
        def layer(x: Any, name: str, stride: int) -> Any:
            return convolved(x, self._kernel(name), name, stride) + self.named[f"{name}_bias"]

        scores = self._kernel("scores"), self.named["scores_bias"]
        return logits(self.network, image, layer, scores, seen)
