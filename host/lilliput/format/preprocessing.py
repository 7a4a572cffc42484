"""Tables with which the integer-only core takes uint8 and float32 inputs."""

from __future__ import annotations

import functools

import numpy as np


def quantize(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """int8 of real values, as LiteRT's reference QUANTIZE computes it: a float32 quotient, rounded
    half away from zero, plus the zero point, clamped."""
    with np.errstate(over="ignore", invalid="ignore"):
        quotient = values.astype(np.float32) / np.float32(scale)
        rounded = np.copysign(np.floor(np.abs(quotient.astype(np.float64)) + 0.5), quotient)
    return np.clip(rounded + zero_point, -128, 127).astype(np.int8)


def uint8_table(scale: float, zero_point: int, input_range: tuple[float, float]) -> np.ndarray:
    """int8[256] from pixel values, 0 and 255 standing for the two reals of `input_range`."""
    low, high = input_range
    reals = low + (high - low) * np.arange(256) / 255.0
    return quantize(reals, scale, zero_point)


def _keys_to_floats(keys: np.ndarray) -> np.ndarray:
    """The float32 whose sortable key each int32 is."""
    keys = keys.astype(np.int32)
    return np.where(keys < 0, keys ^ np.int32(0x7FFFFFFF), keys).view(np.float32)


@functools.lru_cache(maxsize=64)
def float_thresholds(scale: float, zero_point: int) -> np.ndarray:
    """int32[255], read-only: the sortable key of the least float32 that becomes each of -127 … 127.

    The key of a float32 is its bits, with all but the sign inverted when negative, so that keys
    compare as the numbers do. Found by bisection over all finite floats, so the core needs no
    float arithmetic to agree with `quantize` on every input.
    """
    codes = np.arange(-127, 128)
    infinity = int(np.float32(np.inf).view(np.int32))
    low = np.full(255, -infinity - 2, np.int64)  # key below that of minus infinity
    high = np.full(255, infinity, np.int64)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        reached = quantize(_keys_to_floats(middle), scale, zero_point) >= codes
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle)
    thresholds = high.astype(np.int32)
    thresholds.flags.writeable = False
    return thresholds
