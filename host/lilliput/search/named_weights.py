"""Keras models whose weights have names: they are cut out, sorted, stored and set by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

Weights = Mapping[str, np.ndarray]


class NamedWeights(keras.Model):
    """A model that computes with `named` variables."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.named: dict[str, Any] = {}
        self.built = True

    def add_named(self, name: str, shape: tuple[int, ...], initializer: Any) -> None:
        """Makes a variable, float32."""
        self.named[name] = self.add_weight(shape, initializer, name=name)

    def numpy_weights(self) -> dict[str, np.ndarray]:
        """A copy of all weights, by name."""
        return {name: np.array(ops.convert_to_numpy(v)) for name, v in self.named.items()}

    def assign(self, weights: Weights) -> None:
        """Sets all weights."""
        for name, variable in self.named.items():
            variable.assign(weights[name])


def cross_entropy(targets: Any, logits: Any) -> Any:
    """Mean over the batch; targets: probabilities [batch, classes]."""
    return -ops.mean(ops.sum(targets * ops.log_softmax(logits), axis=-1))
