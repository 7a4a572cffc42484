"""Transfer from the published ImageNet MCUNet to Fashion-MNIST: accuracy and memory by scheme.

    python examples/mcunet_transfer/accuracy.py PUBLISHED FASHION [--train 4000] [--test 10000]

PUBLISHED is the folder of the published network (see network.py), FASHION that of the data set.
Each row is trained with each seed as float32 SGD of the same layers, int8 without scaling by the
squared weight scales, and int8 with it (QAS). Results are noted as they come, in
build/mcunet_transfer/results.jsonl, so that an interrupted run takes up where it ended; the table
goes into docs/training.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from fashion import read_fashion
from network import Published, build_graph, read_published

from lilliput.labelled import Labelled
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.program import Program
from lilliput.training.classifier import replace_classifier
from lilliput.training.experiment import Notebook, Outcome, Recipe, train_scheme
from lilliput.training.planning import plan_training
from lilliput.training.scheme import Scheme, full, last_biases, last_layer, layers

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mcunet_transfer"
PAGE = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- accuracy.py: begin -->", "<!-- accuracy.py: end -->"
WAYS = ("float32", "int8", "int8 QAS")
RATES: Mapping[str, float] = {"float32": 0.01, "int8": 1000.0, "int8 QAS": 0.01}
"""Without quantisation-aware scaling gradients are those of integers: the rate that does best is
some 1 / (weight scale)^2 larger."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not noted yet, and writes the table."""
    options = _options(arguments)
    published = read_published(options.published)
    program = lower(simplify(replace_classifier(build_graph(published), 10)))
    train, test = read_fashion(options.fashion, options.train, options.test)
    BUILD.mkdir(parents=True, exist_ok=True)
    schemes = {k: v for k, v in rows(program, published).items() if k in options.rows}
    lines = []
    for name, scheme in schemes.items():
        cells = [
            _cell(program, scheme, train, test, way, options) if way in options.ways else "-"
            for way in WAYS
        ]
        arena = plan_training(program, scheme).arena_bytes if options.arenas else 0
        lines.append(f"| {name} | {arena:,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    _write_table(lines, options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("published", type=Path)
    parser.add_argument("fashion", type=Path)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=10000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--no-arenas", dest="arenas", action="store_false")
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args(arguments)


ROWS = (
    "classifier",
    "biases",
    "sparse 50 KB",
    "sparse, as published",
    "sparse 100 KB",
    "sparse 150 KB",
    "full",
)


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


def _cell(
    program: Program,
    scheme: Scheme,
    train: Labelled,
    test: Labelled,
    way: str,
    options: argparse.Namespace,
) -> str:
    """Mean accuracy over the seeds, and their standard deviation, in percent."""
    notebook = Notebook(BUILD / "results.jsonl", f"{way} {len(train)} {len(test)}")
    found = []
    for seed in range(options.seeds):
        recipe = Recipe(options.epochs, RATES[way], seed, quantization_aware=way == "int8 QAS")
        found.append(
            notebook.measure(
                scheme, recipe, lambda r=recipe: _run(program, scheme, train, test, way, r)
            ).accuracy
        )
    spread = f" ± {100 * stdev(found):.1f}" if len(found) > 1 else ""
    return f"{100 * mean(found):.1f}{spread}"


def _run(
    program: Program, scheme: Scheme, train: Labelled, test: Labelled, way: str, recipe: Recipe
) -> Outcome:
    if way == "float32":
        from float_training import train_in_float

        return train_in_float(program, scheme, train, test, replace(recipe))

    def progress(stage: str, done: int, total: int) -> None:
        if sys.stderr.isatty() and done % 50 == 0:
            print(f"\r{way}: {stage} {done} of {total}", end="", file=sys.stderr, flush=True)

    return train_scheme(program, scheme, train, test, recipe, progress)


def _write_table(lines: Sequence[str], options: argparse.Namespace) -> None:
    """Puts the table between the page's markers."""
    head = (
        f"{options.train:,} samples to train, {options.epochs} epochs, {options.test:,} to test, "
        f"{options.seeds} seeds; accuracy in percent.\n\n"
        f"| trained | arena, bytes | {' | '.join(WAYS)} |\n|---|---:|{'---:|' * len(WAYS)}\n"
    )
    text = options.page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = head + "\n".join(lines)
    options.page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
