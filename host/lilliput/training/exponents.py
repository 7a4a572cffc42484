"""How large gradients become: measured by training steps of the C core over some samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..program import Program
from .backward import Options, training_program
from .running import Probe
from .scheme import Scheme

_MOST_ROUNDS = 4
_SETTLED = 1.5  # times by which no range changes any more


def calibrate(
    program: Program,
    scheme: Scheme,
    options: Options,
    samples: Sequence[np.ndarray],
    targets: Sequence[int | np.ndarray],
) -> Mapping[str, float]:
    """The largest magnitude of each gradient map over the samples, in reals times 2^e0, by name.

    Each round measures with the units of the one before: estimates that are too small saturate,
    those that are too large leave few bits, and both settle within a few rounds. Raises ValueError
    when there are no samples.
    """
    if not len(samples):
        raise ValueError("no samples to measure gradients with")
    ranges: dict[str, float] = {}
    for _ in range(_MOST_ROUNDS):
        made = training_program(program, scheme, options, ranges)
        probe = Probe(made.program)
        seen = dict.fromkeys(made.gradients, 0)
        for sample, target in zip(samples, targets, strict=True):
            probe.step(sample, target)
            for name, gradient in made.gradients.items():
                values = probe.read(gradient.tensor)
                seen[name] = max(seen[name], int(np.abs(values.astype(np.int32)).max()))
        settled = True
        for name, gradient in made.gradients.items():
            # 0 tells only that the true range is below half of a unit
            measured = gradient.unit * max(seen[name], 0.5)
            before = gradient.range
            settled &= before / _SETTLED <= measured <= before * _SETTLED
            ranges[name] = measured
        if settled:
            break
    return ranges
