"""Evolution of architectures within a budget, with every step kept on disk.

A generation's children come from its best: half by mutation, half by crossover, each within the
budget (regularity and sizes as in Once-for-All, Cai et al., 2020). After each generation the state
is written, with that of the random numbers, and each judgement as it is made: a search that is
killed goes on where it was, and ends with the result that it would have had.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..conversion import write_atomically
from .budget import Accountant, Cost
from .parallel import Map
from .space import Architecture, Space

Judge = Callable[[Architecture], float]
_TRIES = 200  # at a child within the budget, before something simpler is taken


@dataclass(frozen=True)
class Settings:
    """population: architectures of a generation. generations: after the first, which is random;
    with none, the search is a random one. parents: share of a generation that has children.
    mutation: rate at which each choice of a mutated child is drawn anew."""

    population: int = 100
    generations: int = 30
    parents: float = 0.25
    mutation: float = 0.1
    seed: int = 1

    def __post_init__(self) -> None:
        if self.population < 2 or self.generations < 0:
            raise ValueError(
                f"a population of {self.population} over {self.generations} generations is no "
                "search: at least 2 and 0 are needed"
            )


@dataclass(frozen=True)
class Candidate:
    """An architecture that was judged, and what it costs."""

    architecture: Architecture
    accuracy: float
    cost: Cost

    def dominates(self, other: Candidate) -> bool:
        """Whether this is as good in accuracy, arena, flash and instructions, and better in one."""
        ours, theirs = self._measures(), other._measures()
        return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))

    def _measures(self) -> tuple[float, ...]:
        cost = self.cost
        return -self.accuracy, cost.arena_bytes, cost.flash_bytes, cost.instructions or cost.macs


@dataclass(frozen=True)
class Evolved:
    """All candidates, best first: by accuracy, then by fewer bytes of arena. best_by_generation:
    the best accuracy after each."""

    candidates: tuple[Candidate, ...]
    best_by_generation: tuple[float, ...]

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    def pareto(self) -> list[Candidate]:
        """Those that no other dominates, most accurate first."""
        kept: list[Candidate] = []
        for candidate in self.candidates:
            if not any(other.dominates(candidate) for other in kept):
                kept.append(candidate)
        return kept


def evolve(
    space: Space,
    accountant: Accountant,
    judge: Judge,
    settings: Settings,
    folder: Path,
    *,
    over: Map = map,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evolved:
    """Searches a space, or goes on with the search in `folder`.

    judge: accuracy of an architecture; called over `over`, so it must be one that can be pickled
    where that spreads work. Raises ValueError when nothing in the space is within the budget, or
    when the folder holds another search.
    """
    run = _Run(space, accountant, judge, settings, folder, over, progress)
    run.restore()
    while run.generation <= settings.generations:
        run.step()
    return run.result()


class _Run:
    """A search in progress. `generation` is the next to judge."""

    def __init__(
        self,
        space: Space,
        accountant: Accountant,
        judge: Judge,
        settings: Settings,
        folder: Path,
        over: Map,
        progress: Callable[[int, int], None],
    ) -> None:
        self.space, self.accountant, self.judge = space, accountant, judge
        self.settings, self.over, self.progress = settings, over, progress
        self.state_file = folder / "evolution.json"
        self.judged_file = folder / "judged.jsonl"
        self.dice = random.Random(f"{settings.seed} {space.name}")
        self.generation = 0
        self.population: list[Architecture] = []
        self.accuracy: dict[Architecture, float] = {}
        self.best: list[float] = []

    def restore(self) -> None:
        """Takes up what the folder has."""
        if self.judged_file.is_file():
            text = self.judged_file.read_text(encoding="utf-8")
            whole, _, torn = text.rpartition("\n")
            if torn:  # the last line was being written when the search was killed
                write_atomically(self.judged_file, (whole + "\n").encode() if whole else b"")
            for line in whole.splitlines():
                blocks, accuracy = json.loads(line)
                self.accuracy[Architecture.from_json(blocks)] = accuracy
        if not self.state_file.is_file():
            write_atomically(self.state_file, self._state())
            return
        state = json.loads(self.state_file.read_text(encoding="utf-8"))
        if state["identity"] != self._identity():
            raise ValueError(
                f"{self.state_file.parent} holds another search (its space, budget or settings "
                "differ): name another folder, or remove it"
            )
        version, internal, gauss = state["dice"]
        self.dice.setstate((version, tuple(internal), gauss))
        self.generation = state["generation"]
        self.population = [Architecture.from_json(blocks) for blocks in state["population"]]
        self.best = state["best"]

    def step(self) -> None:
        """Judges one generation and writes the state behind it."""
        children = self._children() if self.generation else self._first()
        self._judge(children)
        ranked = sorted({*self.population, *children}, key=self._rank)
        self.population = ranked[: self.settings.population]
        self.best.append(self.accuracy[ranked[0]])
        self.generation += 1
        write_atomically(self.state_file, self._state())

    def result(self) -> Evolved:
        """The candidates so far."""
        found = []
        for architecture in sorted(self.accuracy, key=self._rank):
            cost = self._cost(architecture)
            if cost is not None:
                found.append(Candidate(architecture, self.accuracy[architecture], cost))
        return Evolved(tuple(found), tuple(self.best))

    def _first(self) -> list[Architecture]:
        if self._cost(self.space.smallest()) is None:
            raise ValueError(
                f"not even the smallest network of {self.space.name} is within "
                f"{self.accountant.budget}: search a smaller space"
            )
        drawn: dict[Architecture, None] = {}
        for _ in range(self.settings.population):
            drawn[self._within(lambda: self.space.sample(self.dice))] = None
        return list(drawn)

    def _children(self) -> list[Architecture]:
        settings, dice = self.settings, self.dice
        count = max(2, round(settings.parents * settings.population))
        parents = self.population[:count]
        children: dict[Architecture, None] = {}
        for number in range(settings.population - min(count, settings.population)):
            if number % 2 == 0:
                child = self._within(
                    lambda: self.space.mutate(dice.choice(parents), dice, settings.mutation)
                )
            else:
                child = self._within(
                    lambda: self.space.cross(dice.choice(parents), dice.choice(parents), dice)
                )
            children[child] = None
        return list(children)

    def _within(self, draw: Callable[[], Architecture]) -> Architecture:
        """What `draw` makes, within the budget; where it seldom is, a smaller relative."""
        for _ in range(_TRIES):
            drawn = draw()
            if self._cost(drawn) is not None:
                return drawn
        smallest = self.space.smallest()
        for _ in range(_TRIES):
            drawn = self.space.mutate(smallest, self.dice, 0.2)
            if self._cost(drawn) is not None:
                return drawn
        return smallest

    def _judge(self, architectures: Sequence[Architecture]) -> None:
        new = [each for each in architectures if each not in self.accuracy]
        size = self.settings.population
        done = self.generation * size + len(architectures) - len(new)
        total = (self.settings.generations + 1) * size
        with self.judged_file.open("a", encoding="utf-8") as file:
            for architecture, accuracy in zip(new, self.over(self.judge, new), strict=True):
                self.accuracy[architecture] = accuracy
                file.write(json.dumps([architecture.as_json(), accuracy]) + "\n")
                file.flush()
                done += 1
                self.progress(done, total)

    def _cost(self, architecture: Architecture) -> Cost | None:
        return self.accountant.cost(self.space.network(architecture))

    def _rank(self, architecture: Architecture) -> tuple[float, int, str]:
        cost = self._cost(architecture)
        arena = cost.arena_bytes if cost is not None else 0
        return -self.accuracy[architecture], arena, architecture.key

    def _identity(self) -> dict[str, Any]:
        return {
            "space": json.loads(json.dumps(self.space.as_json())),
            "budget": str(self.accountant.budget),
            "schedule": self.accountant.budget.schedule.value,
            "settings": vars(self.settings),
        }

    def _state(self) -> bytes:
        state = {
            "identity": self._identity(),
            "generation": self.generation,
            "population": [architecture.as_json() for architecture in self.population],
            "best": self.best,
            "dice": self.dice.getstate(),
        }
        return json.dumps(state).encode()
