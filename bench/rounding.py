"""How changes of int8 weights are best rounded: accuracy by rule and by bytes; docs/training.md.

    python bench/rounding.py [--samples 1500] [--epochs 2] [--test 2000] [--seeds 3]

A network trained on five classes of Fashion-MNIST learns all ten. The rules: rounding
stochastically, as the core does; to nearest, with an int8 a weight that feeds the error back (in
1/256 of a weight's unit); and to nearest alone. The core computes every step. For the rules that
are not its own it only gathers the step's changes, as velocities, and NumPy takes them from the
weights; biases are rounded stochastically by all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from benchmark import insert_between
from lilliput.runtime.model import Model
from lilliput.runtime.train import Trainer, cosine

from lilliput.cli.console import progress_bars
from lilliput.conversion import Progress, import_int8
from lilliput.format.writer import write
from lilliput.labelled import Labelled
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import Schedule, plan
from lilliput.program import Program, Step
from lilliput.training.backward import Options, training_program
from lilliput.training.classifier import replace_classifier
from lilliput.training.exponents import calibrate
from lilliput.training.scheme import Scheme, layers

ROOT = Path(__file__).resolve().parents[1]
NOTES = ROOT / "build" / "rounding.jsonl"
PAGE = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- rounding.py: begin -->", "<!-- rounding.py: end -->"
KNOWN = 5  # classes that the network has seen before
CLASSES = 10
UNIT = 256  # a velocity of so much is a change of 1
RATES = (0.002, 0.01)
ALL, HALF = 1.0, 0.5  # of the input channels of the layers whose weights are trained

Rule = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From changes, in 1/UNIT, and what was fed back, to whole changes and what is to be fed back."""


def to_nearest(changes: np.ndarray, fed_back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds; what is lost is lost."""
    return np.rint(changes / UNIT), fed_back


def with_int8(changes: np.ndarray, fed_back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds to nearest, and keeps the error in an int8."""
    wanted = changes + fed_back
    whole = np.floor((wanted + UNIT // 2) / UNIT)
    return whole, wanted - UNIT * whole


@dataclass(frozen=True)
class Way:
    """A row of the table. rule: None for the core's own. bytes: of a trained weight, all in all."""

    name: str
    rule: Rule | None
    bytes: int


STOCHASTIC = Way("stochastic", None, 1)
FED_BACK = Way("nearest, int8 error fed back", with_int8, 2)
NEAREST = Way("nearest", to_nearest, 1)
ROWS = ((STOCHASTIC, ALL), (FED_BACK, HALF), (FED_BACK, ALL), (STOCHASTIC, HALF), (NEAREST, ALL))


@dataclass(frozen=True)
class Lesson:
    """What is trained with what."""

    program: Program
    train: Labelled
    test: Labelled


def main() -> None:
    """Measures what is not noted yet, and writes the table."""
    options = _options()
    notes = _read_notes()
    with progress_bars(sys.stderr.isatty()) as progress:
        lesson = _lesson(options.samples, options.test)
        lines = [_row(lesson, way, share, options, notes, progress) for way, share in ROWS]
    _write_table(lines, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


def _lesson(samples: int, tests: int) -> Lesson:
    """A network that knows five classes, with a new classifier; and images of all ten."""
    from fashion_mnist import fashion_mnist, scaled, trained_network

    images, labels, test_images, test_labels = fashion_mnist()
    known = np.flatnonzero(labels < KNOWN)[:12000]
    network = trained_network(images[known], labels[known], 2)
    imported = import_int8(network, calibrate=scaled(images[known[:200]]), input_range=(0.0, 1.0))
    program = lower(simplify(replace_classifier(imported.graph, CLASSES)))
    first = 40000  # of images that the network has not seen
    return Lesson(
        program,
        _labelled(images[first : first + samples], labels[first : first + samples]),
        _labelled(test_images[:tests], test_labels[:tests]),
    )


def _labelled(images: np.ndarray, labels: np.ndarray) -> Labelled:
    return Labelled((images.astype(np.int16) - 128).astype(np.int8), labels.astype(np.int64))


def scheme_of(program: Program, share: float) -> Scheme:
    """All biases, and the weights of a share of the input channels of the last three layers."""
    names = [step.name for step in layers(program)]
    return Scheme(frozenset(names[:-3]), dict.fromkeys(names[-3:], share))


def _row(
    lesson: Lesson,
    way: Way,
    share: float,
    options: argparse.Namespace,
    notes: dict[str, float],
    progress: Progress,
) -> str:
    """The best of all rates: mean accuracy over the seeds, and its standard deviation."""
    weights = sum(place.count for place in places_of(_made(lesson, share, True)))
    cells = []
    for rate in RATES:
        found = []
        for seed in range(options.seeds):
            about = (way.name, share, rate, seed, options.samples, options.epochs, options.test)
            key = json.dumps(about)
            if key not in notes:
                notes[key] = _run(lesson, way, share, rate, seed, options.epochs, progress)
                with NOTES.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": key, "accuracy": notes[key]}) + "\n")
            found.append(notes[key])
        spread = f" ± {100 * stdev(found):.1f}" if len(found) > 1 else ""
        cells.append(f"{100 * mean(found):.1f}{spread}")
    line = f"| {way.name} | {weights:,} | {weights * way.bytes:,} | {' | '.join(cells)} |"
    print(line, flush=True)
    return line


def _run(
    lesson: Lesson, way: Way, share: float, rate: float, seed: int, epochs: int, progress: Progress
) -> float:
    """The accuracy after training; 0 when it explodes."""
    program = _made(lesson, share, way.rule is not None)
    placed = plan(program, schedule=Schedule.OPERATORS)
    total = epochs * len(lesson.train)
    with Model(write(placed.program, placed)) as model:
        trainer = Trainer(model, rate, seed)
        applied = None if way.rule is None else Applied(program, model, way.rule, seed)
        dice = np.random.default_rng(seed)
        try:
            for done in range(total):
                if done % len(lesson.train) == 0:
                    order = dice.permutation(len(lesson.train))
                index = order[done % len(lesson.train)]
                trainer.lr = cosine(rate, done, total)
                trainer.step(lesson.train.samples[index], int(lesson.train.classes[index]))
                if applied is not None:
                    applied.apply()
                progress(f"{way.name} {share:g} {rate:g} {seed}", done + 1, total)
        except OverflowError:
            return 0.0
        return float(trainer.evaluate(lesson.test))


def _made(lesson: Lesson, share: float, gathers: bool) -> Program:
    """The training step; with `gathers` one that only gathers changes."""
    scheme = scheme_of(lesson.program, share)
    options = Options(accumulate=65535 if gathers else 1)
    few = slice(0, 8)
    targets = [int(c) for c in lesson.train.classes[few]]
    ranges = calibrate(lesson.program, scheme, options, list(lesson.train.samples[few]), targets)
    return training_program(lesson.program, scheme, options, ranges).program


@dataclass(frozen=True)
class Place:
    """Where in the arena an update's velocities lie, and the weights that they are of.

    bias, weights: offsets. index: of each velocity's weight among the packed ones. channel: of each
    velocity. zero_point: of the layer's input.
    """

    velocity: int
    bias: int
    weights: int
    index: np.ndarray
    channel: np.ndarray
    zero_point: int

    @property
    def count(self) -> int:
        return self.index.size


def places_of(program: Program) -> list[Place]:
    """Those of the updates of weights; none of them is depthwise or in groups."""
    updates = [step for step in program.steps if step.kind == "UPDATE_CONVOLUTION"]
    return [_place(program, step) for step in updates]


def _place(program: Program, step: Step) -> Place:
    update = step.parameters["update"]
    window = update["window"]
    assert isinstance(window, dict) and step.trained_offset is not None
    channels = program.tensors[step.edges[0].tensor].channels
    kernel = window["kernel_height"] * window["kernel_width"]
    inputs, trained = int(update["input_channels"]), int(update["trained_inputs"])  # type: ignore[call-overload]
    shape = (channels, kernel, trained)
    channel, tap, source = np.indices(shape).reshape(3, -1)
    taps = kernel * inputs
    index = channel // 2 * 2 * (taps + taps % 2) + 2 * (tap * inputs + source) + channel % 2
    velocity = int.from_bytes(step.constants[-4:], "little")
    zero_point = program.tensors[step.edges[1].tensor].zero_point
    bias = step.trained_offset
    return Place(velocity, bias, bias + 4 * channels, index, channel, zero_point)


class Applied:
    """Applies a rule to what a training step has gathered, and clears that."""

    def __init__(self, program: Program, model: Model, rule: Rule, seed: int) -> None:
        assert program.training is not None
        self._arena = np.frombuffer(model._arena, np.uint8)
        self._rule = rule
        self._places = places_of(program)
        self._fed_back = [np.zeros(place.count) for place in self._places]
        self._biases = [
            (int.from_bytes(step.constants[-4:], "little"), step.trained_offset or 0,
             program.tensors[step.edges[0].tensor].channels)
            for step in program.steps if step.kind == "UPDATE_BIAS"
        ]  # fmt: skip
        self._dice = np.random.default_rng(seed)

    def apply(self) -> None:
        """After each training step."""
        for velocity, bias, count in self._biases:
            gathered = self._view(velocity, count, "<i4")
            values = self._view(bias, count, "<i4")
            values -= np.floor(gathered / UNIT + self._dice.random(count)).astype(np.int32)
            gathered[:] = 0
        for number, place in enumerate(self._places):
            gathered = self._view(place.velocity, place.count, "<i2")
            changes, self._fed_back[number] = self._rule(
                gathered.astype(np.float64), self._fed_back[number]
            )
            gathered[:] = 0
            self._change(place, changes)

    def _change(self, place: Place, changes: np.ndarray) -> None:
        count = int(place.index.max()) + 1
        weights = self._view(place.weights, count, "i1")
        before = weights[place.index].astype(np.int32)
        after = np.clip(before - changes, -127, 127).astype(np.int32)
        weights[place.index] = after
        channels = int(place.channel.max()) + 1
        moved = np.bincount(place.channel, after - before, channels).astype(np.int32)
        self._view(place.bias, channels, "<i4")[:] -= place.zero_point * moved

    def _view(self, offset: int, count: int, dtype: str) -> np.ndarray:
        size = np.dtype(dtype).itemsize
        return self._arena[offset : offset + size * count].view(dtype)


def _read_notes() -> dict[str, float]:
    NOTES.parent.mkdir(exist_ok=True)
    if not NOTES.exists():
        return {}
    lines = map(json.loads, NOTES.read_text(encoding="utf-8").splitlines())
    return {line["key"]: line["accuracy"] for line in lines}


def _write_table(lines: list[str], options: argparse.Namespace) -> None:
    """Puts the table between the page's markers."""
    rates = " | ".join(f"rate {rate:g}" for rate in RATES)
    head = (
        f"{options.samples:,} samples, {options.epochs} epochs, {options.test:,} to test, "
        f"{options.seeds} seeds; accuracy in percent.\n\n"
        f"| rounding | trained weights | bytes | {rates} |\n|---|---:|---:|{'---:|' * len(RATES)}\n"
    )
    insert_between(options.page, BEGIN, END, head + "\n".join(lines))


if __name__ == "__main__":
    main()
