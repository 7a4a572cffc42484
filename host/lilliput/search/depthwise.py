"""Depthwise convolution that trains fast on CPUs, also where its window is as large as its map."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from ..lower.geometry import same_padding

_MOST_PRODUCTS = 10_000  # of an input's pixels with the output's
_WIDE = 5


def depthwise(x: Any, kernel: Any, stride: int) -> Any:
    """x float32[batch, height, width, channels] convolved with kernel float32[size, size,
    channels, 1], padded as "same".

    TensorFlow's gradient of the kernel takes two thirds of a super-network's training step on a
    CPU. On small maps it is computed here as products of all pixels of the input with all of the
    output, by one matrix product a channel.
    """
    size, pixels = kernel.shape[0], x.shape[1] * x.shape[2]
    is_small = size >= _WIDE and (pixels / stride) ** 2 <= _MOST_PRODUCTS
    if keras.backend.backend() != "tensorflow" or not is_small:
        return ops.depthwise_conv(x, kernel, stride, "same", "channels_last")
    import tensorflow as tf

    strides, (height, width) = [1, stride, stride, 1], x.shape[1:3]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolved(x: Any, kernel: Any) -> Any:
        def gradients(upstream: Any) -> tuple[Any, Any]:
            inputs = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(x), kernel, upstream, strides, "SAME"
            )
            products = tf.matmul(_by_channel(x), _by_channel(upstream), transpose_b=True)
            taps = _taps(height, width, size, stride)
            summed = tf.matmul(taps, tf.reshape(products, (-1, taps.shape[1])), transpose_b=True)
            return inputs, tf.reshape(summed, tf.shape(kernel))

        return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME"), gradients

    return convolved(x, tf.convert_to_tensor(kernel))


def _by_channel(x: Any) -> Any:
    """[channels, pixels, batch]"""
    return ops.transpose(ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])), (2, 1, 0))


def _taps(height: int, width: int, size: int, stride: int) -> np.ndarray:
    """1 where a tap of the window takes an input pixel to an output pixel: float32[size * size,
    input pixels * output pixels]."""
    tops, lefts = (_along(length, size, stride) for length in (height, width))
    made = np.einsum("iab,jcd->ijacbd", tops, lefts)
    return made.reshape(size * size, -1)


def _along(length: int, size: int, stride: int) -> np.ndarray:
    """The same of one dimension: float32[size, length, outputs]."""
    outputs = -(-length // stride)
    padding = same_padding(length, size, stride, 1)
    taps, pixels, places = np.ogrid[:size, :length, :outputs]
    return (pixels == places * stride - padding + taps).astype(np.float32)
