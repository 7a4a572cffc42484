"""Real multipliers as the fixed-point numbers of the TFLite int8 specification."""

from __future__ import annotations

import math

import numpy as np


def quantize_multiplier(real: float) -> tuple[int, int]:
    """A real multiplier >= 0 as (m, shift) with real = m * 2^(shift - 31), 2^30 <= m < 2^31."""
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return multiplier, shift


def _least_reaching(value: int, real: float) -> int:
    """The least integer a > 0 for which round(a * real), in double precision, reaches `value`."""
    candidate = max(math.ceil((value - 0.5) / real) - 1, 1)
    while candidate * real < value - 0.5:
        candidate += 1
    return candidate


def single_rounding_multiplier(real: float) -> tuple[int, int]:
    """(m, shift) with which one rounding gives round(a * real), as LiteRT's reference fully
    connected kernel computes it in double precision, for every sum a with a result below 256.

    Each result value bounds m from both sides, at the least sum that reaches it. Where no 31-bit m
    meets all bounds (real below about 2^-16), the nearest is taken: one step off, rarely.
    Among those that do, an odd one is taken where there is one: its products are never ties.
    """
    ideal, shift = quantize_multiplier(real)
    if ideal == 0:
        return 0, 0
    low, high = 0, 2**31 - 1
    for value in range(1, 256):
        sum_ = _least_reaching(value, real)
        if sum_ >= 2**31:
            break
        target = (2 * value - 1) << (30 - shift)
        low = max(low, -(-target // sum_))
        if sum_ > 1:
            high = min(high, -(-target // (sum_ - 1)) - 1)
    nearest = min(max(ideal, low), max(high, low))
    odd = nearest | 1 if nearest | 1 <= max(high, low) else nearest - 1
    return odd if odd % 2 == 1 and odd >= low else nearest, shift


def quantize_real(real: float, scale: float, zero_point: int) -> int:
    """A real number on a tensor's integer scale, in single precision, half away from zero."""
    quotient = np.float32(real) / np.float32(scale)
    return zero_point + int(math.copysign(math.floor(abs(float(quotient)) + 0.5), quotient))


def activation_range(activation: str, scale: float, zero_point: int) -> tuple[int, int]:
    """The int8 range that a fused activation leaves."""
    bounds = {
        "none": (None, None),
        "relu": (0.0, None),
        "relu6": (0.0, 6.0),
        "relu_n1_to_1": (-1.0, 1.0),
    }[activation]
    low = -128 if bounds[0] is None else quantize_real(bounds[0], scale, zero_point)
    high = 127 if bounds[1] is None else quantize_real(bounds[1], scale, zero_point)
    return max(-128, low), min(127, high)
