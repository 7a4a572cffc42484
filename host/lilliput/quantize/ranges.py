"""Ranges of activations, and the int8 numbers that cover them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lilliput.graph import Quantization

INT8_MIN, INT8_MAX = -128, 127

# Below this a scale would make bias scales (products of two) leave float32's normal range.
SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class Range:
    """The reals that an activation takes, from `low` to `high`; both finite, low <= high."""

    low: float
    high: float

    def union(self, other: Range) -> Range:
        """The range that covers both."""
        return Range(min(self.low, other.low), max(self.high, other.high))

    def with_zero(self) -> Range:
        """The range widened until it includes zero (TFLite's specification asks for it)."""
        return Range(min(self.low, 0.0), max(self.high, 0.0))

    def inside(self, other: Range, slack: float) -> bool:
        """Whether `other`, widened by `slack` on both sides, covers this range."""
        return other.low - slack <= self.low and self.high <= other.high + slack


def activation_quantization(values: Range) -> Quantization:
    """The asymmetric int8 quantisation of a range; zero is one of its numbers exactly."""
    values = values.with_zero()
    scale = (values.high - values.low) / (INT8_MAX - INT8_MIN)
    if scale < SMALLEST_SCALE:
        # All zeros: any scale tells the truth.
        return Quantization.per_tensor(1.0, 0)
    zero_point = round(INT8_MIN - values.low / scale)
    return Quantization.per_tensor(scale, min(max(zero_point, INT8_MIN), INT8_MAX))


def covered_range(quantization: Quantization) -> Range:
    """The reals of -128 and 127 under a per-tensor quantisation."""
    scale, zero_point = float(quantization.scale[0]), int(quantization.zero_point[0])
    return Range(scale * (INT8_MIN - zero_point), scale * (INT8_MAX - zero_point))


def quantize_values(values: np.ndarray, quantization: Quantization) -> np.ndarray:
    """int8 numbers of reals: nearest (halves away from zero, as LiteRT's QUANTIZE), saturated."""
    scaled = values.astype(np.float32) / quantization.scale[0]
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    shifted = rounded + quantization.zero_point[0]
    return np.clip(shifted, INT8_MIN, INT8_MAX).astype(np.int8)


def dequantize_values(values: np.ndarray, quantization: Quantization) -> np.ndarray:
    """float32 reals of int8 numbers under a per-tensor quantisation."""
    shifted = values.astype(np.int32) - quantization.zero_point[0]
    return (shifted.astype(np.float32) * quantization.scale[0]).astype(np.float32)
