"""What searching for a board is worth, on Fashion-MNIST: writes docs/benchmarks_search.md.

python bench/search.py [--folder build/search] [--images 10000] [--effort 0.2] [--budget 16] ...

For each budget: the search; (a) the best of MobileNetV2 at many widths and resolutions; (b) random
networks of the same space, each trained to the end, for as long as the search took; (c) the search
with the operator-by-operator planner. And, over six spaces, whether stage one ranks them as the
accuracies of their networks do. All of it goes on where it was when started again; to have
something computed again, remove its file from bench/search_results.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fashion_mnist import CLASSES, fashion_mnist
from scipy.stats import spearmanr

from lilliput import zoo
from lilliput.conversion import write_atomically
from lilliput.labelled import Labelled
from lilliput.planner import Schedule as PlanSchedule
from lilliput.search.budget import Accountant, Budget
from lilliput.search.dataset import Dataset
from lilliput.search.evolution import Settings
from lilliput.search.network import BlockShape, Network, rounded
from lilliput.search.parallel import workers
from lilliput.search.pipeline import Options, finish, ranked_spaces, search
from lilliput.search.space import MULTIPLIERS, Space, pairs, resolutions, space_for
from lilliput.search.spaces import SpaceScore
from lilliput.search.training import prepare_backend

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "bench" / "search_results"
DOCUMENT = REPOSITORY / "docs" / "benchmarks_search.md"
BUDGETS = {8: 64, 16: 128, 32: 256}
"""KB of flash for KB of arena."""
NATIVE = tuple(size for size in resolutions(28) if size <= 28)
"""Enlarged images cost time and say nothing new."""
PARTS = {
    "searched": "searched",
    "scaled": "(a) MobileNetV2 scaled",
    "random": "(b) random search",
    "operators": "(c) operator by operator",
}
CORRELATION = "correlation"
SPACES_RANKED = 6
RANKED_NETWORKS = 2
_SCALED_TRIED = 3
_MOBILENET = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
_MOBILENET_STRIDES = ((1, 1, 2, 2, 1, 2, 1), (1, 2, 2, 2, 1, 2, 1))
"""For small images (the first stages keep their size), and MobileNetV2's own."""


@dataclass(frozen=True)
class Found:
    """One network of the table. accuracy: in int8 on all test images. seconds: of a processor, for
    the search and all training that led to it."""

    accuracy: float
    arena_bytes: int
    flash_bytes: int
    macs: int
    seconds: float
    what: str


def fashion(most: int | None) -> Dataset:
    """Fashion-MNIST; the last 5,000 training images choose, the test images judge."""
    images, labels, test_images, test_labels = fashion_mnist()
    known = Labelled(images, labels.astype(np.int64), CLASSES)
    split = len(known) - 5000
    chosen = np.arange(split if most is None else min(most, split))
    return Dataset(
        known.part(chosen),
        known.part(np.arange(split, len(known))),
        Labelled(test_images, test_labels.astype(np.int64), CLASSES),
        CLASSES,
    )


def mobilenet(image: int, width: float, strides: Sequence[int]) -> Network:
    """MobileNetV2 (Sandler et al., 2018) scaled, without the 1x1 convolution behind its blocks,
    which would take most of the flash."""
    stem = rounded(32 * width)
    blocks: list[BlockShape] = []
    for (expansion, channels, count), stride in zip(_MOBILENET, strides, strict=True):
        for index in range(count):
            inputs = blocks[-1].outputs if blocks else stem
            outputs = rounded(channels * width)
            blocks.append(
                BlockShape(
                    3,
                    stride if index == 0 else 1,
                    inputs,
                    inputs * expansion,
                    outputs,
                    adds_input=index > 0 and inputs == outputs,
                )
            )
    return Network(image, 1, stem, 1, tuple(blocks), 10)


@dataclass(frozen=True)
class Kept:
    """Results, each computed once and kept in a file of the folder: so several budgets may be
    worked at side by side."""

    folder: Path

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """What is kept under a name, or what `make` makes now."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            write_atomically(file, json.dumps(make(), indent=1).encode())
        return json.loads(file.read_text(encoding="utf-8"))


class Experiment:
    """All runs. folder: of what is unfinished, and of networks. kept: results."""

    def __init__(
        self, data: Dataset, options: Options, folder: Path, kept: Kept, spaces: list[Space]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data, self.options, self.spaces = data, options, spaces
        self.folder, self.kept = folder, kept
        self.base = space_for(28, 1, 10)

    def budget(self, kilobytes: int, schedule: PlanSchedule = PlanSchedule.STREAMED) -> Budget:
        return Budget(kilobytes << 10, BUDGETS[kilobytes] << 10, schedule=schedule)

    def part(self, part: str, kilobytes: int) -> Any:
        """A row of the table, or the correlation."""
        if part == "scaled":
            return self.scaled(kilobytes)
        if part == CORRELATION:
            return self.correlation(kilobytes)
        if part == "operators":
            return self.searched(kilobytes, PlanSchedule.OPERATORS)
        found = self.searched(kilobytes, PlanSchedule.STREAMED)
        return found if part == "searched" else self.random(kilobytes, found.seconds)

    def searched(self, kilobytes: int, schedule: PlanSchedule) -> Found:
        """The search, and (c) with another planner. Its time is that of all its runs."""
        folder = self.folder_of(kilobytes, schedule)

        def make() -> dict[str, Any]:
            clock = _Clock(folder / "seconds")
            with workers() as over:
                outcome = search(
                    self.data, self.base, self.budget(kilobytes, schedule), self.options, folder,
                    over=over, spaces=self.spaces, progress=clock.tick,
                )  # fmt: skip
            write_atomically(folder / "network.lil", outcome.conversion.data)
            summary = outcome.conversion.summary
            what = f"{outcome.space.name}, {len(outcome.network.blocks)} blocks"
            arena = (
                summary["arena_bytes"]
                if schedule is PlanSchedule.STREAMED
                else outcome.chosen.cost.arena_bytes
            )
            return vars(
                Found(
                    outcome.accuracy, arena, summary["flash_bytes"], summary["macs"],
                    clock.seconds(), what,
                )
            )  # fmt: skip

        return Found(**self.kept.get(folder.name, make))

    def folder_of(self, kilobytes: int, schedule: PlanSchedule) -> Path:
        """Where a search keeps what it finds."""
        folder = self.folder / f"{kilobytes}-{schedule.value}"
        folder.mkdir(exist_ok=True)
        return folder

    def add_to_zoo(self, kilobytes: int, arguments: Sequence[str]) -> None:
        """Puts the searched network of a budget into the package."""
        found = self.searched(kilobytes, PlanSchedule.STREAMED)
        made = zoo.Entry(
            f"fashion-mnist-{kilobytes}k",
            "ten kinds of clothes in grey images",
            f"all {len(self.data.test):,} test images of Fashion-MNIST",
            found.accuracy,
            f"python bench/search.py {' '.join(arguments)}",
        )
        folder = self.folder_of(kilobytes, PlanSchedule.STREAMED)
        zoo.add(made, (folder / "network.lil").read_bytes())

    def trained(self, name: str, network: Network, what: str) -> Found:
        """One network trained to the end from nothing."""
        name = name.replace(" ", "-")

        def make() -> dict[str, Any]:
            clock = _Clock(self.folder / f"{name}.seconds")
            prepare_backend(self.options.seed)
            _, accuracy, conversion = finish(
                network, None, self.data.at(network.image), self.options, self.folder,
                name=name, progress=clock.tick,
            )  # fmt: skip
            summary = conversion.summary
            return vars(
                Found(
                    accuracy, summary["arena_bytes"], summary["flash_bytes"], summary["macs"],
                    clock.seconds(), what,
                )
            )  # fmt: skip

        return Found(**self.kept.get(name, make))

    def scaled(self, kilobytes: int) -> Found:
        """(a): of the MobileNetV2s that fit, those that compute the most are trained."""
        accountant = Accountant(self.budget(kilobytes))
        fitting = {}
        for strides in _MOBILENET_STRIDES:
            for image in NATIVE:
                for width in (tenths / 20 for tenths in range(1, 21)):
                    network = mobilenet(image, width, strides)
                    if accountant.cost(network) is not None:
                        fitting[network] = f"MobileNetV2 x {width:g}, {image} px"
        ranked = sorted(fitting, key=lambda network: -network.macs)[:_SCALED_TRIED]
        found = [
            self.trained(f"{kilobytes} mobilenet {index}", network, fitting[network])
            for index, network in enumerate(ranked)
        ]
        return max(found, key=lambda each: each.accuracy)

    def random(self, kilobytes: int, seconds: float) -> Found:
        """(b): random networks of the spaces that stage one prefers, for so long."""
        accountant = Accountant(self.budget(kilobytes))
        networks = self._drawn(kilobytes, accountant)
        found: list[Found] = []
        used = 0.0
        while used < seconds:
            name = f"{kilobytes} random {len(found)}"
            found.append(self.trained(name, next(networks), "random"))
            used += found[-1].seconds
        best = max(found, key=lambda each: each.accuracy)
        return replace(best, seconds=used, what=f"best of {len(found)}")

    def _drawn(self, kilobytes: int, accountant: Accountant) -> Iterator[Network]:
        space = self.ranked(kilobytes)[0].space
        dice = random.Random(f"random {kilobytes}")
        while True:
            network = space.network(space.sample(dice))
            if accountant.cost(network) is not None:
                yield network

    def ranked(self, kilobytes: int) -> list[SpaceScore]:
        """Stage one's scores in the search, best first."""
        folder = self.folder_of(kilobytes, PlanSchedule.STREAMED)
        return ranked_spaces(self.spaces, self.budget(kilobytes), self.options, folder)

    def correlation(self, kilobytes: int) -> tuple[float, list[tuple[str, float, float]]]:
        """Spearman's between stage one's ranks of six spaces and the mean accuracies of random
        networks in them; and for each its name, mean multiply-accumulates and accuracy."""
        scores = [score for score in self.ranked(kilobytes) if score.rank_key[0]]
        last = len(scores) - 1
        chosen = [scores[round(i * last / (SPACES_RANKED - 1))] for i in range(SPACES_RANKED)]
        accountant = Accountant(self.budget(kilobytes))
        rows = []
        for score in chosen:
            dice = random.Random(score.space.name)
            accuracies: list[float] = []
            while len(accuracies) < RANKED_NETWORKS:
                network = score.space.network(score.space.sample(dice))
                if accountant.cost(network) is not None:
                    name = f"{kilobytes} {score.space.name} {len(accuracies)}"
                    accuracies.append(self.trained(name, network, "ranked").accuracy)
            rows.append((score.space.name, score.rank_key[1], float(np.mean(accuracies))))
        keys, reached = [row[1] for row in rows], [row[2] for row in rows]
        return float(spearmanr(keys, reached).statistic), rows


class _Clock:
    """Seconds of a processor, also over several starts: written at most once a second."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before = float(file.read_text()) if file.is_file() else 0.0
        self.started = time.process_time()
        self.written = time.monotonic()

    def seconds(self) -> float:
        return round(self.before + time.process_time() - self.started, 1)

    def tick(self, stage: str, done: int, total: int) -> None:
        if time.monotonic() - self.written > 1:
            self.written = time.monotonic()
            write_atomically(self.file, str(self.seconds()).encode())
            print(f"\r{stage}: {done}/{total} ", end="", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what has not been run, and writes the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "search")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="what was computed: part of the repository"
    )
    parser.add_argument("--images", type=int, default=10_000, help="to train with")
    parser.add_argument("--effort", type=float, default=0.2, help="times the usual epochs")
    parser.add_argument("--budget", type=int, action="append", choices=BUDGETS)
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--generations", type=int, default=6)
    parser.add_argument("--samples", type=int, default=24, help="of each space in stage one")
    parser.add_argument("--image", type=int, action="append", help="resolutions (default: 10)")
    parser.add_argument(
        "--part", action="append", choices=(*PARTS, CORRELATION),
        help="compute this alone, for a document that another run writes",
    )  # fmt: skip
    parser.add_argument(
        "--zoo", action="store_true", help="put the searched networks of --part into the zoo"
    )
    parser.add_argument("-o", "--output", type=Path, default=DOCUMENT)
    given = parser.parse_args(arguments)

    options = replace(
        Options().with_effort(given.effort),
        samples=given.samples,
        evolution=Settings(population=given.population, generations=given.generations),
    )
    spaces = pairs(space_for(28, 1, 10), given.image or NATIVE, MULTIPLIERS)
    kept = Kept(given.results)
    given.results.mkdir(exist_ok=True)
    if kept.get("settings", lambda: _told(given)) != _told(given):
        sys.exit(f"error: {given.results} has results of other settings: say --results, or these")
    experiment = Experiment(fashion(given.images), options, given.folder, kept, spaces)
    budgets = given.budget or list(BUDGETS)
    if given.part:
        for kilobytes in budgets:
            for part in given.part:
                print(experiment.part(part, kilobytes))
            if given.zoo:
                experiment.add_to_zoo(kilobytes, sys.argv[1:])
        return
    lines = [_heading(given)]
    for kilobytes in budgets:
        lines += _rows(experiment, kilobytes)
    lines += _correlation(experiment, budgets[0])
    lines += _planner_cost(experiment, budgets)
    write_atomically(given.output, "\n".join(lines).encode() + b"\n")
    print("\n".join(lines))


def _heading(given: argparse.Namespace) -> str:
    return f"""# What the search is worth

Fashion-MNIST with {given.images:,} training images, effort {given.effort:g}, a population of
{given.population} over {given.generations} generations. All networks are trained by the same
schedule, and of (a) and (b) the one that does best on the test images is told. Accuracy: in int8 on
all 10,000 test images, in the C core (standard error: 0.3 points); behind, by how many points the
searched network is better. Minutes: of one processor, for the search and all training; of (a), for
the best network alone. Written by `make bench-search`:
`bench/search.py {_told(given)}`.

| arena, flash | what | accuracy | behind | arena | flash | MACs | minutes | network |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"""


def _told(given: argparse.Namespace) -> str:
    names = ("images", "effort", "population", "generations", "samples")
    told = [f"--{name} {getattr(given, name):g}" for name in names]
    return " ".join([*told, *(f"--image {size}" for size in given.image or ())])


def _rows(experiment: Experiment, kilobytes: int) -> list[str]:
    found = {name: experiment.part(part, kilobytes) for part, name in PARTS.items()}
    return [
        f"| {kilobytes}, {BUDGETS[kilobytes]} KB | {name} | {each.accuracy:.2%} "
        f"| {100 * (found['searched'].accuracy - each.accuracy):.2f} "
        f"| {each.arena_bytes:,} | {each.flash_bytes:,} | {each.macs:,} "
        f"| {each.seconds / 60:.1f} | {each.what} |"
        for name, each in found.items()
    ]


def _planner_cost(experiment: Experiment, budgets: Sequence[int]) -> list[str]:
    """Processor time of planning networks of all spaces, none of them twice."""
    lines = []
    for kilobytes in budgets:
        dice = random.Random(kilobytes)
        drawn = {space.network(space.sample(dice)) for space in experiment.spaces for _ in range(2)}
        accountant = Accountant(experiment.budget(kilobytes))
        started = time.process_time()
        fitting = sum(accountant.cost(network) is not None for network in drawn)
        cost = 1000 * (time.process_time() - started) / len(drawn)
        lines.append(
            f"- {kilobytes} KB: {cost:.0f} ms a network ({len(drawn)} networks, {fitting} fit)"
        )
    return [
        "",
        "Processor time of the planner for a candidate that was not planned before:",
        "",
        *lines,
    ]


def _correlation(experiment: Experiment, kilobytes: int) -> list[str]:
    statistic, rows = experiment.correlation(kilobytes)
    table = [f"| {name} | {key:,.0f} | {accuracy:.2%} |" for name, key, accuracy in rows]
    return [
        f"\nStage one at {kilobytes} KB: rank correlation (Spearman) {statistic:.2f} between its "
        f"scores of {len(rows)} spaces and the accuracy that random networks of them reach.\n",
        "| space | score, MACs | mean accuracy |\n| --- | ---: | ---: |",
        *table,
    ]


if __name__ == "__main__":
    main()
