"""Searches the scheme that brings the most within a memory budget, by evolution.

A scheme's worth is what its parts contributed (see `contribution.py`); its memory is the arena that
the planner really places: forward, saved activations, masks, gradients and trained constants.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ..program import Program
from .contribution import Contributions
from .scheme import Scheme, last_biases, last_layer

_PARENTS = 12


@dataclass(frozen=True)
class Genome:
    """The biases of the last `biases` layers, and the fraction of each layer's weights."""

    biases: int
    weights: tuple[tuple[str, float], ...] = ()

    def scheme(self, program: Program) -> Scheme:
        base = last_biases(program, self.biases) if self.biases else last_layer(program)
        return Scheme(base.biases, {**base.weights, **dict(self.weights)})


@dataclass(frozen=True)
class Found:
    """A scheme, the accuracy that its contributions promise, and its arena."""

    genome: Genome
    promise: float
    arena_bytes: int


def evolve(
    program: Program,
    contributions: Contributions,
    sram: int,
    arena_of: Callable[[Scheme], int],
    *,
    generations: int = 20,
    population: int = 24,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[Found]:
    """Every scheme of at most `sram` bytes of arena that no other found beats in both promise and
    memory, the best promise first. Raises ValueError when not even the last layer fits."""
    search = _Evolution(program, contributions, sram, arena_of, random.Random(seed))
    first = (search.found(Genome(count)) for count in contributions.biases)
    alive = [one for one in first if one is not None]
    if not alive:
        least = arena_of(Genome(0).scheme(program))
        raise ValueError(
            f"training the last layer alone takes {least:,} bytes, {least - sram:,} more than "
            "--sram allows"
        )
    for generation in range(generations):
        progress("evolution", generation, generations)
        alive = sorted(set(alive), key=lambda one: (-one.promise, one.arena_bytes))[:_PARENTS]
        children = (search.found(search.child(alive)) for _ in range(population))
        alive += [child for child in children if child is not None]
    progress("evolution", generations, generations)
    return search.front()


class _Evolution:
    def __init__(
        self,
        program: Program,
        contributions: Contributions,
        sram: int,
        arena_of: Callable[[Scheme], int],
        dice: random.Random,
    ) -> None:
        self.program = program
        self.contributions = contributions
        self.sram = sram
        self.arena_of = arena_of
        self.dice = dice
        self.known: dict[Genome, Found] = {}

    def found(self, genome: Genome) -> Found | None:
        """A genome's worth; None when it does not fit."""
        if genome not in self.known:
            arena = self.arena_of(genome.scheme(self.program))
            self.known[genome] = Found(genome, self._promise(genome), arena)
        one = self.known[genome]
        return one if one.arena_bytes <= self.sram else None

    def _promise(self, genome: Genome) -> float:
        parts = self.contributions
        gains = sum(parts.weights[choice] for choice in genome.weights)
        return parts.base + parts.biases[genome.biases] + gains

    def child(self, alive: list[Found]) -> Genome:
        """A crossing of two parents, with one change."""
        first, second = (self.dice.choice(alive[:_PARENTS]).genome for _ in range(2))
        biases = self.dice.choice((first.biases, second.biases))
        weights = dict(first.weights)
        for layer, fraction in second.weights:
            if self.dice.random() < 0.5:
                weights[layer] = fraction
        if self.dice.random() < 0.4:
            biases = self.dice.choice(list(self.contributions.biases))
        else:
            layer, fraction = self.dice.choice(list(self.contributions.weights))
            if weights.get(layer) == fraction:
                del weights[layer]
            else:
                weights[layer] = fraction
        return Genome(biases, tuple(sorted(weights.items())))

    def front(self) -> list[Found]:
        """The fitting schemes that none beats in promise and memory."""
        kept: list[Found] = []
        fitting = [one for one in self.known.values() if one.arena_bytes <= self.sram]
        for one in sorted(fitting, key=lambda f: (-f.promise, f.arena_bytes)):
            if not kept or one.arena_bytes < kept[-1].arena_bytes:
                kept.append(one)
        return kept
