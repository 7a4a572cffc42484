"""Gradient maps: what their numbers stand for, and the integers that go from one to another.

A gradient map holds int16 values g; the real gradient of the loss is g * unit * 2^-e0, where e0 is
the step's own exponent (the loss chooses it) and `unit` is known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..program import FeatureMap

INT16_MAX = 2**15 - 1
_INT32_MAX = 2**31 - 1
_HEADROOM_BITS = 3
_MOST_SHIFT = 30


@dataclass(frozen=True)
class GradientMap:
    """A gradient: its tensor, the real value of 1 in it (times 2^-e0), and an estimate of its
    largest magnitude in reals (times 2^e0)."""

    tensor: int
    unit: float
    range: float


def limit_of(terms: int) -> int:
    """The largest gradient of which so many, in units of the smallest factor, fit 32 bits."""
    most = min(_INT32_MAX // terms, INT16_MAX)
    return int(2 ** (most + 1).bit_length() // 2 - 1)


def whole_window(source: FeatureMap) -> dict[str, object]:
    """The window of an operator that sees all of its input at once."""
    return {
        "kernel_height": source.height,
        "kernel_width": source.width,
        "stride_height": 1,
        "stride_width": 1,
        "dilation_height": 1,
        "dilation_width": 1,
        "pad_top": 0,
        "pad_left": 0,
        "groups": 1,
    }


def unit_for(range_: float, limit: int) -> float:
    """The power of two in which a range leaves the headroom below a limit."""
    return float(2.0 ** math.ceil(math.log2(range_ * 2**_HEADROOM_BITS / limit)))


def shift_for(range_: float, unit: float) -> int:
    """By how many bits sums in a unit are shifted right, for a range to leave the headroom."""
    return min(max(round(math.log2(unit_for(range_ / unit, INT16_MAX))), 0), _MOST_SHIFT)


def multiplier_of(real: float) -> tuple[int, int]:
    """(m, shift) with real = m * 2^(shift - 31), 2^30 <= m < 2^31."""
    fraction, shift = math.frexp(real)
    multiplier = round(fraction * 2**31)
    return (multiplier // 2, shift + 1) if multiplier == 2**31 else (multiplier, shift)


def rescale_constants(factors: np.ndarray) -> bytes:
    """Multipliers and shifts of CLAMP_GRADIENT: factor = m * 2^-(16 + shift), 1 <= shift <= 30."""
    exponents = np.frexp(factors)[1]
    shifts = np.clip(15 - exponents, 1, 30)
    multipliers = np.minimum(np.rint(np.ldexp(factors, 16 + shifts)), _INT32_MAX)
    return multipliers.astype("<i4").tobytes() + shifts.astype("i1").tobytes()


def update_constants(factors: np.ndarray) -> bytes:
    """Multipliers and shifts of an update: factor = m * 2^(shift - 31)."""
    pairs = np.array([multiplier_of(float(factor)) for factor in factors], np.int64)
    shifts = np.clip(pairs[:, 1], -128, 127)
    return pairs[:, 0].astype("<i4").tobytes() + shifts.astype("i1").tobytes()
