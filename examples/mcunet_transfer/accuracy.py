"""Transfer from the published ImageNet MCUNet to Fashion-MNIST: accuracy and memory by scheme.

    python examples/mcunet_transfer/accuracy.py PUBLISHED FASHION [--rows ...] [--ways ...]
    python examples/mcunet_transfer/accuracy.py PUBLISHED

PUBLISHED is the folder of the published network (see network.py), FASHION that of the data set.
Each row is trained in three ways: as float32 SGD of the same layers, in int8 without scaling by the
squared weight scales, and in int8 with it (QAS). The learning rate of each way and row is the best
of a grid, by one short training that is judged on training images held out; only the final
trainings see the test images. Results are noted as they come, in results.jsonl beside this script:
what is noted is not run again, and without FASHION the table in docs/training.md is written from
the notes alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log10
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
from fashion import read_fashion
from network import Published, build_graph, read_published

from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.program import Program
from lilliput.training.classifier import replace_classifier
from lilliput.training.experiment import Experiment, Notebook, Outcome, Recipe
from lilliput.training.planning import plan_training
from lilliput.training.region import weight_scales
from lilliput.training.scheme import Scheme, full, last_biases, last_layer, layers

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mcunet_transfer"
NOTES = Path(__file__).with_name("results.jsonl")
PAGE = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- accuracy.py: begin -->", "<!-- accuracy.py: end -->"
WAYS = ("float32", "int8", "int8 QAS")
ROWS = (
    "classifier",
    "biases",
    "sparse 50 KB",
    "sparse, as published",
    "sparse 100 KB",
    "sparse 150 KB",
    "full",
)

TRAINED, TESTED = 4000, 10_000
EPOCHS, SEEDS = 1, 3
RATE_TRAINED, HELD_OUT = 2000, 1000
"""To choose a rate: so many of the first samples, and those after all that are trained with."""


@dataclass(frozen=True)
class Grid:
    """Learning rates to try: `first`, and while the best is the least or the largest tried, the
    next beyond it."""

    first: tuple[float, ...]
    per_decade: int

    def beyond(self, rate: float, is_up: bool) -> float:
        """The rate next to one, to one digit."""
        place = round(log10(rate) * self.per_decade) + (1 if is_up else -1)
        return float(f"{10 ** (place / self.per_decade):.1g}")


REAL_RATES = Grid((0.003, 0.01, 0.03), 2)
INTEGER_RATES = Grid((100.0, 1000.0, 10_000.0), 1)
"""Without quantisation-aware scaling gradients are those of integers: the rate that does best is
some 1 / (weight scale)^2 larger, and not the same for all layers."""


@dataclass(frozen=True)
class Cell:
    """A row trained in one way: the rate chosen (None: not yet), and the accuracy by seed."""

    rate: float | None
    accuracies: tuple[float, ...]


class Laboratory:
    """Trains what is not noted yet. Without data nothing is: then notes are all there is."""

    def __init__(self, program: Program, fashion: Path | None) -> None:
        self.program = program
        self.final: Experiment | None = None
        self.trial: Experiment | None = None
        if fashion is not None:
            BUILD.mkdir(parents=True, exist_ok=True)
            train, test = read_fashion(fashion, TRAINED + HELD_OUT, TESTED)
            held_out = train.part(np.arange(TRAINED, TRAINED + HELD_OUT))
            self.final = Experiment(program, train.part(np.arange(TRAINED)), test, BUILD)
            self.trial = Experiment(program, train.part(np.arange(RATE_TRAINED)), held_out, BUILD)

    def cell(self, scheme: Scheme, way: str) -> Cell:
        """Chooses the rate, then trains with each seed."""
        best = self._best_rate(scheme, way, INTEGER_RATES if way == "int8" else REAL_RATES)
        if best is None:
            return Cell(None, ())
        outcomes = [
            self._measure(self.final, way, scheme, way, Recipe(EPOCHS, best, seed))
            for seed in range(SEEDS)
        ]
        return Cell(best, tuple(o.accuracy for o in outcomes if o is not None))

    def _best_rate(self, scheme: Scheme, way: str, grid: Grid) -> float | None:
        """The rate that does best in a short training; None where one to try is not noted."""
        wanted, tried = list(grid.first), dict[float, float]()
        while wanted:
            rate = wanted.pop()
            found = self._measure(self.trial, f"{way}, rates", scheme, way, Recipe(1, rate))
            if found is None:
                return None
            tried[rate] = found.accuracy
            best = max(tried, key=lambda rate: tried[rate])
            if not wanted and best in (min(tried), max(tried)) and tried[best] > 0:
                wanted = [grid.beyond(best, is_up=best == max(tried))]
        return max(tried, key=lambda rate: tried[rate])

    def _measure(
        self, experiment: Experiment | None, about: str, scheme: Scheme, way: str, recipe: Recipe
    ) -> Outcome | None:
        """The outcome, as noted or run; None where it is neither."""
        recipe = replace(recipe, quantization_aware=way == "int8 QAS")
        notebook = Notebook(NOTES, about)
        if experiment is None:
            return notebook.find(scheme, recipe)

        def run() -> Outcome:
            if way == "float32":
                from float_training import train_in_float

                return train_in_float(experiment.tail(scheme, _progress), scheme, recipe)
            return experiment.train(scheme, recipe, _progress)

        outcome = notebook.measure(scheme, recipe, run)
        print(f"  {about}, rate {recipe.rate:g}, seed {recipe.seed}: {outcome}", flush=True)
        return outcome


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not noted yet, and writes the table."""
    options = _options(arguments)
    published = read_published(options.published)
    program = lower(simplify(replace_classifier(build_graph(published), 10)))
    if options.fashion is not None and "float32" in options.ways:
        from float_training import use_one_thread

        use_one_thread()
    laboratory = Laboratory(program, options.fashion)
    notes = Laboratory(program, None)
    lines = []
    for name, scheme in rows(program, published).items():
        print(name, flush=True)
        cells = [
            (laboratory if name in options.rows and way in options.ways else notes).cell(
                scheme, way
            )
            for way in WAYS
        ]
        if options.fashion is None:
            arena = f"{plan_training(program, scheme).arena_bytes:,}" if options.arenas else "-"
            lines.append(_line(name, cells, arena))
            print(lines[-1], flush=True)
    if options.fashion is None:
        schemes = rows(program, published)
        _write_table(lines, speeds(program, schemes["sparse, as published"]), options.page)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("published", type=Path)
    parser.add_argument("fashion", type=Path, nargs="?", help="without it: the table of the notes")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--no-arenas", dest="arenas", action="store_false", help="plan nothing")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(arguments)


def rows(program: Program, published: Published) -> dict[str, Scheme]:
    """What each row trains. The published scheme has 49 KB of updates, in a larger arena; 50, 100
    and 150 KB are whole arenas, and their schemes parts of the published one or more of it."""
    biases = frozenset(n[:-5] for n in published.updates if n.endswith("_bias"))
    weights = {
        name.removesuffix("_weight"): shape[1] / published.parameters[name].shape[1]
        for name, shape in published.updates.items()
        if name.endswith("_weight")
    }
    names = [step.name for step in layers(program)]
    late = frozenset(names[names.index("v12_conv_2") :])
    widened = {"v9_conv_0": 1.0, "v10_conv_0": 1.0, "v11_conv_0": 1.0}
    return {
        "classifier": last_layer(program),
        "biases": last_biases(program, len(biases) - 1),
        "sparse 50 KB": Scheme(late, {"v13_conv_0": 0.125, "v15": 1.0}),
        "sparse, as published": Scheme(biases, weights),
        "sparse 100 KB": Scheme(biases, {**weights, "v12_conv_0": 0.25, "v13_conv_0": 0.25}),
        "sparse 150 KB": Scheme(
            biases, {**weights, **widened, "v12_conv_0": 0.5, "v13_conv_0": 0.5}
        ),
        "full": full(program),
    }


def _progress(stage: str, done: int, total: int) -> None:
    if sys.stderr.isatty() and done % 50 == 0:
        print(f"\r{stage} {done} of {total}", end="", file=sys.stderr, flush=True)


def _line(name: str, cells: Sequence[Cell], arena: str) -> str:
    rates = ", ".join("-" if cell.rate is None else f"{cell.rate:g}" for cell in cells)
    texts = [_text(cell) for cell in cells]
    return f"| {name} | {arena} | {' | '.join(texts)} | {rates} |"


def _text(cell: Cell) -> str:
    """Mean accuracy over the seeds, and their standard deviation, in percent."""
    if not cell.accuracies:
        return "-"
    spread = f" ± {100 * stdev(cell.accuracies):.1f}" if len(cell.accuracies) > 1 else ""
    count = "" if len(cell.accuracies) == SEEDS else f" ({len(cell.accuracies)} of {SEEDS})"
    return f"{100 * mean(cell.accuracies):.1f}{spread}{count}"


def speeds(program: Program, scheme: Scheme) -> dict[str, float]:
    """How far a gradient of 1 moves the reals that integers stand for at a learning rate of 1,
    without quantisation-aware scaling: the squares of their scales, a median for each group."""
    groups: dict[str, list[float]] = {}
    for step in layers(program):
        place = "the classifier" if step is layers(program)[-1] else "other layers"
        of_weights = weight_scales(program, step)
        of_bias = of_weights * program.tensors[step.edges[0].tensor].scale
        if step.name in scheme.weights:
            groups.setdefault(f"weights of {place}", []).extend(of_weights**2)
        if step.name in scheme.trained:
            groups.setdefault(f"biases of {place}", []).extend(of_bias**2)
    return {name: median(values) for name, values in groups.items()}


def _write_table(lines: Sequence[str], moved: Mapping[str, float], page: Path) -> None:
    """Puts the tables between the page's markers."""
    fastest = max(moved.values())
    parts = "\n".join(f"| {name} | 1/{fastest / speed:,.0f} |" for name, speed in moved.items())
    head = (
        f"{TRAINED:,} samples to train, {EPOCHS} epoch, {TESTED:,} to test, {SEEDS} seeds where "
        "none are given; accuracy in percent, mean and standard deviation.\n\n"
        f"| trained | arena, bytes | {' | '.join(WAYS)} | rates |\n"
        f"|---|---:|{'---:|' * len(WAYS)}---|\n"
    )
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = head + "\n".join(lines)
    table += (
        "\n\nHow far one rate moves the reals without quantisation-aware scaling, in the published "
        "scheme (median):\n\n| part | relative to the fastest |\n|---|---:|\n" + parts
    )
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
