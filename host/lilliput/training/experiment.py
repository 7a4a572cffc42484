"""What a scheme brings: trains it in the C core on the host, and remembers the results."""

from __future__ import annotations

import hashlib
import json
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
from .targets import Paired, TrainingData, loss_of

_CALIBRATION_SAMPLES = 8

Progress = Callable[[str, int, int], None]


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


def train_scheme(
    program: Program,
    scheme: Scheme,
    train: TrainingData,
    test: TrainingData,
    recipe: Recipe,
    progress: Progress = lambda stage, done, total: None,
    options: Options | None = None,
) -> Outcome:
    """Trains a scheme and tests it. Raises OverflowError when the training explodes.

    options: how its training step is built, but for its loss and the recipe's `quantization_aware`.
    """
    options = replace(
        options or Options(), loss=loss_of(train), quantization_aware=recipe.quantization_aware
    )
    ranges = calibrate(program, scheme, options, *calibration_pairs(train, _CALIBRATION_SAMPLES))
    made = training_program(program, scheme, options, ranges).program
    placed = plan(made, schedule=Schedule.OPERATORS)  # the same numbers as any plan, made at once
    with Model(write(placed.program, placed)) as model:
        trainer = Trainer(model, recipe.rate, recipe.seed)
        return run_recipe(trainer, train, test, recipe, progress)


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
                entry = {"key": key, **asdict(outcome), "scheme": json.loads(scheme.as_json())}
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry) + "\n")
        return self._known[key]

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
