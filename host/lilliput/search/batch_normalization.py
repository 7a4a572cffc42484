"""Batch normalisation with the batch's own averages, in one operation where the backend has one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

EPSILON = 1e-3


def normalized_by_batch(x: Any, scale: Any, offset: Any) -> tuple[Any, Any, Any]:
    """float32[batch, height, width, channels] with mean `offset` and deviation `scale` in each
    channel (Ioffe and Szegedy, 2015); and the mean and variance that it had.
    """
    if keras.backend.backend() == "tensorflow":
        # Its fused operation passes over the maps a third as often; most of a training step on a
        # CPU is such passes.
        from tensorflow import raw_ops

        made = raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=EPSILON,
            is_training=True,
        )  # fmt: skip
        count = ops.cast(ops.prod(ops.shape(x)[:3]), "float32")
        return made[0], made[1], made[2] * ((count - 1) / count)  # it divides by count - 1
    mean, variance = ops.moments(x, axes=(0, 1, 2))
    scale = scale * ops.rsqrt(variance + EPSILON)
    return x * scale + (offset - mean * scale), mean, variance
