"""Finding the range of an activation from the values it takes on the calibration samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from lilliput.quantize.ranges import INT8_MAX, INT8_MIN, Range

HISTOGRAM_BINS = 4096

# A sample that reaches so many times further than the median one is left out of output ranges.
OUTLIER_FACTOR = 4.0

# Bins for each sample's own range, where the error of rounding is known without counting.
SAMPLE_BINS = 512

# The search for the least squared error divides a range into so many ends, so many times.
_SEARCH_POINTS = 12
_SEARCH_DEPTH = 3
_SEARCH_ROUNDS = 3


class Observer(Protocol):
    """Takes in the values of one activation, sample by sample."""

    def observe(self, values: np.ndarray) -> None: ...


@dataclass
class ExtremesObserver:
    """Least and greatest value of each sample."""

    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)

    def observe(self, values: np.ndarray) -> None:
        """Takes in one sample's values, any shape."""
        self.lows.append(float(values.min()))
        self.highs.append(float(values.max()))

    @property
    def extremes(self) -> Range:
        """The range of all samples' values."""
        return Range(min(self.lows), max(self.highs))

    def average(self, momentum: float) -> Range:
        """Moving averages of the samples' extremes; `momentum` is the weight of the past."""
        low, high = self.lows[0], self.highs[0]
        for next_low, next_high in zip(self.lows[1:], self.highs[1:], strict=True):
            low = momentum * low + (1.0 - momentum) * next_low
            high = momentum * high + (1.0 - momentum) * next_high
        return Range(low, high)

    @property
    def usual_extremes(self) -> Range:
        """The range of all samples but those that reach far further than most.

        Either end is that of the samples which reach at most `OUTLIER_FACTOR` times as far from
        zero as the median sample.
        """
        return Range(-_usual_reach([-low for low in self.lows]), _usual_reach(self.highs))


def _usual_reach(reaches: list[float]) -> float:
    fence = OUTLIER_FACTOR * float(np.median(np.maximum(reaches, 0.0)))
    return max((reach for reach in reaches if reach <= fence), default=max(reaches))


@dataclass
class HistogramObserver:
    """Counts of values in equal bins over a range known before (the extremes)."""

    extremes: Range
    counts: np.ndarray = field(default_factory=lambda: np.zeros(HISTOGRAM_BINS, np.int64))

    def observe(self, values: np.ndarray) -> None:
        """Takes in one sample's values, any shape."""
        if self.extremes.high > self.extremes.low:
            counts, _ = np.histogram(
                values, HISTOGRAM_BINS, (self.extremes.low, self.extremes.high)
            )
            self.counts += counts

    @property
    def _width(self) -> float:
        return (self.extremes.high - self.extremes.low) / HISTOGRAM_BINS

    def percentile_range(self, percentile: float) -> Range:
        """The range that leaves 100 - `percentile` percent of the values out at either end."""
        total = int(self.counts.sum())
        if total == 0:
            return self.extremes
        outside = total * (100.0 - percentile) / 100.0
        from_below, from_above = np.cumsum(self.counts), np.cumsum(self.counts[::-1])
        first = int(np.searchsorted(from_below, outside, side="right"))
        last = HISTOGRAM_BINS - int(np.searchsorted(from_above, outside, side="right"))
        low = self.extremes.low + first * self._width
        high = self.extremes.low + last * self._width
        return Range(low, max(low, high))


@dataclass
class ErrorObserver:
    """The distribution of each sample's values, to weigh rounding against saturation."""

    distributions: list[_Distribution] = field(default_factory=list)

    def observe(self, values: np.ndarray) -> None:
        """Takes in one sample's values, any shape."""
        if np.any(values):
            self.distributions.append(_Distribution.of(values))

    def least_squares_range(self) -> Range:
        """The range, zero included, with the least mean squared error.

        A value inside of the range is rounded (an error of step^2 / 12), one outside saturates.
        Samples are joined by the geometric mean of their errors (the mean in decibels), so that a
        sample far larger than the others does not take their resolution away.
        """
        if not self.distributions:
            return Range(0.0, 0.0)
        samples = _Distributions.of(self.distributions)
        widest = samples.extremes.with_zero()
        low, high = widest.low, widest.high
        for _ in range(_SEARCH_ROUNDS):
            high = _best_end(widest.high, partial(samples.error, low))
            low = _best_end(widest.low, partial(samples.error, high=high))
        return Range(low, high)


@dataclass(frozen=True)
class _Distribution:
    """A sample's values in equal bins: `moments[p, i]` sums the p-th powers in the first i bins."""

    low: float
    width: float
    moments: np.ndarray

    @staticmethod
    def of(values: np.ndarray) -> _Distribution:
        """Those of a sample that has other values than zero."""
        flat = values.ravel()
        low, high = min(float(flat.min()), 0.0), max(float(flat.max()), 0.0)
        width = (high - low) / SAMPLE_BINS
        bins = ((flat - np.float32(low)) * np.float32(1.0 / width)).astype(np.int32)
        counts = np.bincount(np.minimum(bins, SAMPLE_BINS - 1), minlength=SAMPLE_BINS)
        # Zero is a number of every quantisation: it has no error.
        counts[min(int(-low / width), SAMPLE_BINS - 1)] -= flat.size - np.count_nonzero(flat)
        counts = np.maximum(counts, 0)
        centres = low + (np.arange(SAMPLE_BINS) + 0.5) * width
        powers = np.stack([counts, counts * centres, counts * centres**2])
        moments = np.concatenate([np.zeros((3, 1)), np.cumsum(powers, axis=1)], axis=1)
        return _Distribution(low, width, moments)


@dataclass(frozen=True)
class _Distributions:
    """Those of all samples, stacked."""

    low: np.ndarray
    width: np.ndarray
    moments: np.ndarray

    @staticmethod
    def of(samples: list[_Distribution]) -> _Distributions:
        return _Distributions(
            np.array([sample.low for sample in samples]),
            np.array([sample.width for sample in samples]),
            np.stack([sample.moments for sample in samples]),
        )

    @property
    def extremes(self) -> Range:
        """What all samples' bins cover."""
        highs = self.low + SAMPLE_BINS * self.width
        return Range(float(self.low.min()), float(highs.max()))

    def error(self, low: float, high: float) -> float:
        """Logarithm of the squared error when values are rounded between the ends, or saturate."""
        if high <= low:
            return float("inf")
        below, above = self._up_to(low), self._up_to(high)
        whole = self.moments[:, :, -1]
        step = (high - low) / (INT8_MAX - INT8_MIN)
        errors = (above - below)[:, 0] * step**2 / 12.0
        for end, (count, total, squares) in ((low, below.T), (high, (whole - above).T)):
            # Bins have a width: what rounds to the end itself must not come out below zero.
            errors += np.maximum(squares - 2.0 * end * total + end**2 * count, 0.0)
        return float(np.mean(np.log(np.maximum(errors, np.finfo(np.float64).tiny))))

    def _up_to(self, end: float) -> np.ndarray:
        """Sums of the powers of all values below `end`, [samples, 3]."""
        bins = np.clip(np.round((end - self.low) / self.width), 0, SAMPLE_BINS).astype(np.int64)
        return self.moments[np.arange(len(bins)), :, bins]


def _best_end(extreme: float, error: Callable[[float], float]) -> float:
    """The end between 0 and `extreme` with the least error; a search that narrows down."""
    start, stop = 0.0, extreme
    best = extreme
    for _ in range(_SEARCH_DEPTH):
        ends = np.linspace(start, stop, _SEARCH_POINTS + 1)
        errors = [error(float(end)) for end in ends]
        place = int(np.argmin(errors))
        best = float(ends[place])
        start, stop = float(ends[max(place - 1, 0)]), float(ends[min(place + 1, len(ends) - 1)])
    return best
