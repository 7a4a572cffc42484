"""How large gradients become: measured by training steps of the C core over some samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..program import Program
from .backward import Options, TrainingProgram, training_program
from .running import Probe
from .scheme import Scheme
from .targets import TrainingData

_MOST_ROUNDS = 16
_SETTLED = 1.5  # times by which no range changes any more
_RELIABLE = 16  # the least maximum of a map whose range it tells well


def calibrate(
    program: Program,
    scheme: Scheme,
    options: Options,
    samples: Sequence[np.ndarray],
    targets: Sequence[int | np.ndarray],
) -> Mapping[str, float]:
    """The largest magnitude of each gradient map over the samples, in reals times 2^e0, by name.

    Each round measures with the units of the one before. Where estimates were so large that
    nothing is left of a gradient, all behind it is estimated anew, from what is known by then; one
    sample is enough for that. Then all samples are run until the ranges settle. Raises ValueError
    when there are no samples.
    """
    if not len(samples):
        raise ValueError("no samples to measure gradients with")
    ranges: dict[str, float] = {}
    count = 1
    for _ in range(_MOST_ROUNDS):
        made = training_program(program, scheme, options, ranges)
        seen = _largest(made, samples[:count], targets[:count])
        measured = {
            name: gradient.unit * max(seen[name], 0.5) for name, gradient in made.gradients.items()
        }
        lost = [name for name in measured if seen[name] < _RELIABLE]
        known = list(measured)[: list(measured).index(lost[0]) + 1] if lost else list(measured)
        is_settled = not lost and all(
            made.gradients[name].range / _SETTLED <= value <= made.gradients[name].range * _SETTLED
            for name, value in measured.items()
        )
        ranges = {name: measured[name] for name in known}
        if is_settled and count == len(samples):
            break
        count = 1 if lost else len(samples)
    return ranges


def calibration_pairs(
    data: TrainingData, most: int
) -> tuple[list[np.ndarray], list[int | np.ndarray]]:
    """So many samples, spread over the data, and their targets."""
    pairs = list(data)
    few = np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int)
    return [pairs[i][0] for i in few], [pairs[i][1] for i in few]


def _largest(
    made: TrainingProgram, samples: Sequence[np.ndarray], targets: Sequence[int | np.ndarray]
) -> dict[str, int]:
    """The largest magnitude in each gradient map over the samples."""
    probe = Probe(made.program)
    seen = dict.fromkeys(made.gradients, 0)
    for sample, target in zip(samples, targets, strict=True):
        probe.step(sample, target)
        for name, gradient in made.gradients.items():
            values = probe.read(gradient.tensor)
            seen[name] = max(seen[name], int(np.abs(values.astype(np.int32)).max()))
    return seen
