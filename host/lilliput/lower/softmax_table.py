"""The exponentials of an int8 softmax, in the fixed point of gemmlowp.

TFLite's reference softmax computes exp(beta * scale * (x - max)) with integers only; its result
depends on the difference x - max alone, so 256 entries hold all of it.
"""

from __future__ import annotations

import numpy as np

from .requantization import quantize_multiplier

_INT32_MAX = 2**31 - 1
_INTEGER_BITS = 5
_FRACTION_BITS = 31 - _INTEGER_BITS


def _multiply(a: int, b: int) -> int:
    """Product of two Q0.31 numbers, rounded to nearest with ties upwards."""
    return (a * b + (1 << 30)) >> 31


def _shift_right(value: int, bits: int) -> int:
    """value / 2^bits, rounded to nearest with ties away from zero."""
    half = 1 << (bits - 1)
    return (value + half) >> bits if value >= 0 else -((-value + half) >> bits)


def _exponential_of_small(a: int) -> int:
    """exp(a) in Q0.31 for -1/4 <= a < 0: a Taylor series around -1/8."""
    x = a + (1 << 28)
    x2 = _multiply(x, x)
    x3 = _multiply(x2, x)
    x4 = _multiply(x2, x2)
    third = 715827883
    tail = _shift_right(_multiply(_shift_right(x4, 2) + x3, third) + x2, 1)
    exp_of_eighth = 1895147668
    return exp_of_eighth + _multiply(exp_of_eighth, x + tail)


def _exponential(a: int) -> int:
    """exp(a) in Q0.31 for a <= 0 in Q5.26."""
    if a == 0:
        return _INT32_MAX
    quarter = 1 << (_FRACTION_BITS - 2)
    rest = (a & (quarter - 1)) - quarter
    result = _exponential_of_small(rest << _INTEGER_BITS)
    remainder = rest - a
    # exp(-2^k) in Q0.31 for k = -2 … 4
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for power, factor in enumerate(factors, start=-2):
        if remainder & (1 << (_FRACTION_BITS + power)):
            result = _multiply(result, factor)
    return result


def softmax_table(scale: float, beta: float) -> np.ndarray:
    """int32[256]: exp(-beta * scale * i) in Q0.31, zero where TFLite drops the term."""
    real = min(beta * scale * 2**_FRACTION_BITS, 2**31 - 1.0)
    multiplier, left_shift = quantize_multiplier(real)
    limit = int(((2**_INTEGER_BITS - 1) * 2**_FRACTION_BITS) / 2.0**left_shift)
    table = np.zeros(256, np.int32)
    for difference in range(256):
        if difference <= limit:
            table[difference] = _exponential(_multiply(-difference << left_shift, multiplier))
    return table
