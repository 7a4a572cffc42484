"""int8 weights and int32 biases of convolutions and fully connected operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lilliput.graph import Quantization, Tensor

# The dimension of the weights that counts output channels.
CHANNEL_AXES: Mapping[str, int] = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "TRANSPOSE_CONV": 0,
    "FULLY_CONNECTED": 0,
}

# TFLite's specification leaves -128 out, so that weights are symmetric.
WEIGHT_LIMIT = 127

# Largest magnitude of a stored bias: half of int32, which leaves room for the sum of products.
BIAS_LIMIT = 2.0**30

_INT8 = np.dtype(np.int8)
_INT32 = np.dtype(np.int32)


def quantize_weights(
    weights: Tensor, bias: Tensor | None, axis: int, input_scale: float, per_channel: bool
) -> Tensor:
    """Symmetric int8 weights, one scale for each output channel (`axis`) or for all.

    A channel's scale maps its largest magnitude to 127; it is larger where the bias, which is
    stored in units of `input_scale` times it, would not fit otherwise. A channel of zeros whose
    scale could be anything gets the largest one of the others.
    """
    data = _data(weights).astype(np.float64)
    others = tuple(i for i in range(data.ndim) if i != axis)
    largest = np.abs(data).max(axis=others) if others else np.abs(data)
    scale = largest / WEIGHT_LIMIT
    if bias is not None:
        scale = np.maximum(scale, np.abs(_data(bias)).ravel() / (BIAS_LIMIT * input_scale))
    if not per_channel:
        scale = np.full_like(scale, scale.max())
    scale = np.where(scale > 0, scale, scale.max() if scale.max() > 0 else 1.0)
    scale32 = scale.astype(np.float32)
    along = [1] * data.ndim
    along[axis] = scale32.size
    numbers = np.round(data / scale32.astype(np.float64).reshape(along))
    stored = np.clip(numbers, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    if per_channel and scale32.size > 1:
        quantization = Quantization(scale32, np.zeros(scale32.size, np.int32), axis)
    else:
        quantization = Quantization(scale32[:1], np.zeros(1, np.int32))
    return replace(weights, dtype=_INT8, data=stored, quantization=quantization)


def quantize_bias(
    name: str, values: np.ndarray, input_quantization: Quantization, weights: Tensor
) -> Tensor:
    """An int32 bias in units of the input's scale times the weights' scale, saturated.

    values: the bias in reals, one for each output channel.
    """
    if weights.quantization is None:
        raise TypeError(f"weights {weights.name!r} are not quantised")
    # LiteRT checks this product, computed in float32, against the stored scale.
    scale = (input_quantization.scale[0] * weights.quantization.scale).astype(np.float32)
    limits = np.iinfo(np.int32)
    numbers = np.round(values.astype(np.float64) / scale.astype(np.float64))
    stored = np.clip(numbers, limits.min, limits.max).astype(np.int32)
    quantization = Quantization(scale, np.zeros(scale.size, np.int32))
    return Tensor(name, stored.shape, _INT32, stored, quantization)


def dequantize_weights(weights: Tensor) -> np.ndarray:
    """The float32 reals of symmetric int8 weights."""
    data, quantization = _data(weights), weights.quantization
    if quantization is None:
        raise TypeError(f"weights {weights.name!r} are not quantised")
    along = [1] * data.ndim
    if not quantization.is_per_tensor:
        along[quantization.axis] = quantization.scale.size
    return (data.astype(np.float32) * quantization.scale.reshape(along)).astype(np.float32)


def _data(tensor: Tensor) -> np.ndarray:
    if tensor.data is None:
        raise TypeError(f"tensor {tensor.name!r} is not a constant")
    return tensor.data
