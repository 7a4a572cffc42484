"""The output channels of an operator with weights, in the form that kernels requantise fastest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MAX_SUM = 2**31 - 1
_LEAST_MULTIPLIER = 2**30
_MOST_SHIFT = 23


@dataclass(frozen=True)
class Channels:
    """What is computed for each of C output channels: (sum of input * weight + bias), times
    multiplier * 2^(shift - 31), plus the zero point.

    weights: int8, shape (C, taps). bias: int64, shape (C,), with the input's zero point folded in:
    the inputs are raw int8. multiplier, shift: int64, shape (C,).
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray

    def sum_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest sum of each channel over all inputs."""
        wide = self.weights.astype(np.int64)
        positive, negative = np.maximum(wide, 0).sum(axis=1), np.minimum(wide, 0).sum(axis=1)
        least = self.bias - 128 * positive + 127 * negative
        return least, self.bias + 127 * positive - 128 * negative

    def shifts_right(self, rounds_once: bool = False) -> bool:
        """Whether the operator may have LIL_SHIFTS_RIGHT: see `lil_format.h`."""
        return bool(np.all(self._shift_right(rounds_once)))

    def _shift_right(self, rounds_once: bool) -> np.ndarray:
        largest = np.abs(self.bias) + (self.weights.shape[1] << 14)
        right = np.clip(-self.shift, 1, _MOST_SHIFT)
        is_short = (right == -self.shift) & (self.multiplier >= _LEAST_MULTIPLIER)
        if rounds_once:
            is_short &= self.multiplier % 2 == 1
        return np.asarray(is_short & (largest + (1 << (right + 7)) <= _MAX_SUM))

    def with_constants_folded(self, zero_point: int) -> Channels:
        """The same outputs, with no weights and a small bias where a channel that does not shift
        right has one output for all inputs. Training leaves such channels: batch normalisation
        drives their scales to almost nothing."""
        least, greatest = (_rescale(end, self.multiplier, self.shift) for end in self.sum_ends())
        outputs = [np.clip(end + zero_point, -128, 127) for end in (least, greatest)]
        folded = (
            ~self._shift_right(rounds_once=False)
            & (outputs[0] == outputs[1])
            & (self.shift <= 0)
            & (np.maximum(np.abs(least), np.abs(greatest)) < 2**30)
        )
        return Channels(
            weights=np.where(folded[:, None], 0, self.weights).astype(np.int8),
            bias=np.where(folded, 4 * (outputs[0] - zero_point), self.bias),
            multiplier=np.where(folded, _LEAST_MULTIPLIER, self.multiplier),
            shift=np.where(folded, -1, self.shift),
        )


def _rescale(value: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """value * multiplier * 2^(shift - 31) with gemmlowp's two roundings, for shift <= 0: what
    `lil_rescale_value` computes, in int64."""
    high = (value * multiplier + 2**30) >> 31
    right = np.maximum(-shift, 0)
    half = (1 << right) >> 1
    return np.asarray(np.where(right > 0, (high - (high < 0) + half) >> right, high))
