"""Stage one: which resolution and which width a search should be at.

Of the networks of a space, those that fit the board are what a search can find. The more a network
computes, the better it tends to be; so the space whose fitting networks compute the most is the one
to search (MCUNet, Lin et al., 2020). Whether a network fits is the planner's word.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .budget import Accountant, Budget
from .parallel import Map
from .space import Space

TAILS = (0.5, 0.8, 0.9)
"""Quantiles of the fitting networks' multiply-accumulates."""
_LEAST_FITTING = 0.02
"""Of the samples: a space of which fewer fit is no ground to search."""


@dataclass(frozen=True)
class SpaceScore:
    """What samples of a space say. macs: of each that fits, in order; samples: all that were
    drawn, of which some were too large."""

    space: Space
    macs: tuple[int, ...]
    samples: int

    @property
    def fitting(self) -> float:
        """The share of networks that fit."""
        return len(self.macs) / self.samples

    @property
    def mean(self) -> float:
        """Multiply-accumulates of a network that fits; 0 when none does."""
        return float(np.mean(self.macs)) if self.macs else 0.0

    @property
    def tails(self) -> tuple[float, ...]:
        """The multiply-accumulates that half, a fifth and a tenth of the fitting networks reach."""
        return tuple(float(np.quantile(self.macs, q)) if self.macs else 0.0 for q in TAILS)

    @property
    def rank_key(self) -> tuple[bool, float]:
        """Larger is better: the mean of what the better half of the fitting networks computes,
        where enough of them fit."""
        better = sorted(self.macs)[len(self.macs) // 2 :]
        return self.fitting >= _LEAST_FITTING, float(np.mean(better)) if better else 0.0


def score(space: Space, budget: Budget, samples: int, seed: int) -> SpaceScore:
    """Samples a space. The smallest network is planned first: where it does not fit, none does,
    and no time is lost."""
    accountant = Accountant(budget)
    if accountant.cost(space.network(space.smallest())) is None:
        return SpaceScore(space, (), samples)
    dice = random.Random(f"{seed} {space.name}")
    networks = [space.network(space.sample(dice)) for _ in range(samples)]
    found = [network.macs for network in networks if accountant.cost(network) is not None]
    return SpaceScore(space, tuple(sorted(found)), samples)


def rank_spaces(
    spaces: Sequence[Space],
    budget: Budget,
    *,
    samples: int,
    seed: int,
    over: Map = map,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SpaceScore]:
    """The spaces, best first. Raises ValueError when no network of any of them fits."""
    scores: list[SpaceScore] = []
    for each in over(partial(score, budget=budget, samples=samples, seed=seed), spaces):
        scores.append(each)
        progress(len(scores), len(spaces))
    scores.sort(key=lambda each: each.rank_key, reverse=True)
    if not scores or not scores[0].macs:
        raise ValueError(
            f"no network of {len(spaces)} spaces fits {budget}: allow more memory, or search at "
            "lower resolutions"
        )
    return scores
