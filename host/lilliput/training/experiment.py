"""What a scheme brings: trains it in the C core on the host, and remembers the results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..format.writer import write
from ..planner import Plan, Schedule, plan
from ..program import Program
from ..runtime.model import Model
from ..runtime.train import Trainer, cosine
from .backward import Options, training_program
from .exponents import calibrate, calibration_pairs
from .scheme import Scheme
from .tail import Progress, cut, outputs, tail_position
from .targets import Paired, TrainingData, loss_of

_CALIBRATION_SAMPLES = 8


def _silent(stage: str, done: int, total: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast: `epochs` over the samples in an order by the seed, one at a time, the
    learning rate falling from `rate` to 0 along half a cosine."""

    epochs: int = 3
    rate: float = 0.005
    seed: int = 0
    quantization_aware: bool = True


@dataclass(frozen=True)
class Outcome:
    """The fraction of the test samples that the trained model gets right (of the variance of the
    outputs wanted, that it explains), and the mean loss of the last epoch."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class Tail:
    """The program from before the first trained layer on, and what it takes for each sample."""

    program: Program
    train: TrainingData
    test: TrainingData

    @property
    def bytes(self) -> int:
        """Memory of the samples."""
        return int(self.train.samples.nbytes + self.test.samples.nbytes)


class Experiment:
    """Trains schemes of one program on the same samples.

    The layers before the first trained one are computed once for all schemes that train none of
    them, and kept for as many places in the network as take no more memory than the samples; in
    files of `folder` also for the next run.
    """

    def __init__(
        self,
        program: Program,
        train: TrainingData,
        test: TrainingData,
        folder: Path | None = None,
    ) -> None:
        self.whole = Tail(program, train, test)
        self.folder = folder
        self._tails: dict[int, Tail] = {}  # by position, the last used last

    def train(
        self,
        scheme: Scheme,
        recipe: Recipe,
        progress: Progress = _silent,
        options: Options | None = None,
    ) -> Outcome:
        """Trains a scheme in the C core and tests it. Raises OverflowError when it explodes.

        options: how its training step is built, but for its loss and the recipe's
        `quantization_aware`.
        """
        tail = self.tail(scheme, progress)
        options = replace(
            options or Options(),
            loss=loss_of(tail.train),
            quantization_aware=recipe.quantization_aware,
        )
        pairs = calibration_pairs(tail.train, _CALIBRATION_SAMPLES)
        ranges = calibrate(tail.program, scheme, options, *pairs)
        made = training_program(tail.program, scheme, options, ranges).program
        placed = plan(made, schedule=Schedule.OPERATORS)  # numbers of any plan, made at once
        with Model(write(placed.program, placed)) as model:
            trainer = Trainer(model, recipe.rate, recipe.seed)
            return run_recipe(trainer, tail.train, tail.test, recipe, progress)

    def tail(self, scheme: Scheme, progress: Progress = _silent) -> Tail:
        """What of the program has to run in each step of a scheme."""
        position = tail_position(self.whole.program, scheme)
        if position == 0:
            return self.whole
        found = self._tails.pop(position, None) or self._computed(position, progress)
        self._tails[position] = found
        while sum(t.bytes for t in self._tails.values()) > self.whole.bytes:
            del self._tails[next(iter(self._tails))]
        return found

    def _computed(self, position: int, progress: Progress) -> Tail:
        """Begins from the nearest place before it that is kept."""
        start = max((kept for kept in self._tails if kept < position), default=0)
        base = self._tails.get(start, self.whole)
        # a tail has its input's step in place of those before it
        between, program = cut(base.program, position - start + 1 if start else position)
        train, test = (
            replace(
                part,
                samples=self._outputs(position, whole.samples, between, part.samples, progress),
            )
            for part, whole in ((base.train, self.whole.train), (base.test, self.whole.test))
        )
        return Tail(program, train, test)

    def _outputs(
        self,
        position: int,
        inputs: np.ndarray,
        between: Program,
        samples: np.ndarray,
        progress: Progress,
    ) -> np.ndarray:
        """What `between` makes of `samples`, which the program makes of `inputs` at a position."""
        if self.folder is None:
            return outputs(between, samples, progress)
        head, _ = cut(self.whole.program, position)
        placed = plan(head, schedule=Schedule.OPERATORS)
        digest = hashlib.sha256(write(placed.program, placed))
        digest.update(np.ascontiguousarray(inputs).data)
        path = self.folder / f"{digest.hexdigest()[:16]}.npy"
        if not path.exists():
            unfinished = path.with_name(f"unfinished_{os.getpid()}_{path.name}")
            np.save(unfinished, outputs(between, samples, progress))
            unfinished.replace(path)
        return np.asarray(np.load(path))


def run_recipe(
    trainer: Trainer, train: TrainingData, test: TrainingData, recipe: Recipe, progress: Progress
) -> Outcome:
    """Trains and tests with a trainer that is ready."""
    dice = np.random.default_rng(recipe.seed)
    total = recipe.epochs * len(train)
    done = 0
    losses: list[float] = []
    pairs = list(train)
    for _ in range(recipe.epochs):
        losses.clear()
        for index in dice.permutation(len(train)):
            trainer.lr = cosine(recipe.rate, done, total)
            loss, _ = trainer.step(*pairs[index])
            losses.append(loss)
            done += 1
            progress("train", done, total)
    return Outcome(_score(trainer, test), float(np.mean(losses)))


def _score(trainer: Trainer, test: TrainingData) -> float:
    """1 for a perfect model: the fraction of classes that is right, or of the targets' variance
    that is explained (0: no better than always their mean)."""
    measured = float(trainer.evaluate(test))
    if not isinstance(test, Paired):
        return measured
    return 1 - measured / (max(test.variance, 1e-9) * trainer.model.output.scale**2)


class Notebook:
    """Results by scheme and recipe, in a file with a line of JSON for each: what was measured once
    is not measured again, also after an interruption."""

    def __init__(self, path: Path | None, about: str = "") -> None:
        """about: what the results depend on besides scheme and recipe (the model, the data)."""
        self.path = path
        self.about = about
        self._known: dict[str, Outcome] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._remember(line)

    def _remember(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._known[entry["key"]] = Outcome(entry["accuracy"], entry["loss"])
        except (json.JSONDecodeError, KeyError, TypeError):
            return  # the last line of an interrupted run

    def measure(self, scheme: Scheme, recipe: Recipe, run: Callable[[], Outcome]) -> Outcome:
        """The outcome of a scheme: as noted, or run and noted. An explosion counts as chance."""
        key = self._key(scheme, recipe)
        if key not in self._known:
            try:
                outcome = run()
            except OverflowError:
                outcome = Outcome(0.0, float("inf"))
            self._known[key] = outcome
            if self.path is not None:
                entry = {
                    "key": key,
                    "about": self.about,
                    **asdict(outcome),
                    "recipe": asdict(recipe),
                    "scheme": json.loads(scheme.as_json()),
                }
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
        return self._known[key]

    def find(self, scheme: Scheme, recipe: Recipe) -> Outcome | None:
        """The outcome of a scheme that is noted; else None."""
        return self._known.get(self._key(scheme, recipe))

    def _key(self, scheme: Scheme, recipe: Recipe) -> str:
        text = json.dumps([self.about, scheme.as_json(), asdict(recipe)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def quick_plan(program: Program, scheme: Scheme, options: Options | None = None) -> Plan:
    """A plan of a training step that is made at once, operator by operator: what fits it fits the
    final one, which is smaller."""
    options = options or Options()
    rows = training_program(program, scheme, options)
    whole = training_program(
        program, scheme, replace(options, whole_updates=frozenset(scheme.weights))
    )
    plans = [plan(made.program, schedule=Schedule.OPERATORS) for made in (rows, whole)]
    return min(plans, key=lambda placed: placed.arena_bytes)
