"""Fits the search's cost models to instructions that random networks take on emulated cores.

python bench/latency.py [--core cortex-m7 ...] [--networks 28] [--held-out 12]

Writes host/lilliput/search/latency_models/CORE.json, with the error on the networks held out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from emulation import CORES, BuildError, EmulationError, build, run
from emulation.building import build_by_operator
from emulation.models import job_of_lil
from emulation.operators import instructions_by_tensor
from emulation.tools import EmulatorsMissing
from scipy.optimize import nnls

from lilliput.format import write
from lilliput.planner import Plan, Schedule
from lilliput.planner.dataflow import dataflow
from lilliput.planner.flash import kernel_calls
from lilliput.program import Program, Step
from lilliput.search.latency import (
    EXECUTOR,
    LatencyModel,
    executor_features,
    step_features,
    step_group,
)
from lilliput.search.memory import MemoryModel
from lilliput.search.network import Network
from lilliput.search.space import resolutions, space_for

FOLDER = Path(__file__).resolve().parent.parent / "host/lilliput/search/latency_models"


@dataclass(frozen=True)
class Row:
    """One step as it was measured."""

    group: str
    features: np.ndarray
    instructions: int


@dataclass(frozen=True)
class Measured:
    """One network as it was measured: its steps, the executor, and all together."""

    plan: Plan
    rows: tuple[Row, ...]
    instructions: int


def networks(count: int, seed: int) -> Iterator[Network]:
    """Random networks of both spaces, of all resolutions and widths that run in a second."""
    dice = random.Random(seed)
    spaces = [
        space_for(28, 1, 10, redistribute=False),
        space_for(28, 3, 10, redistribute=False),
        space_for(96, 3, 2, redistribute=False),
    ]
    made = 0
    while made < count:
        space = spaces[made % len(spaces)]
        space = space.at(dice.choice(resolutions(space.image)), dice.randrange(2, 11) / 10)
        network = space.network(space.sample(dice))
        if network.macs <= 6_000_000:
            made += 1
            yield network


def with_weights(program: Program, dice: np.random.Generator) -> Program:
    """The program with random weights, and the requantisation that trained ones have."""
    return replace(program, steps=tuple(_weighted(program, step, dice) for step in program.steps))


def _weighted(program: Program, step: Step, dice: np.random.Generator) -> Step:
    if not step.constants:
        return step
    channels = program.tensors[step.output].channels
    taps = step.macs // program.tensors[step.output].elements
    bias = dice.integers(-500, 500, channels)
    multipliers = dice.integers(2**30, 2**31 - 1, channels) | 1
    shifts = np.full(channels, -round(np.log2(60 * taps**0.5)))
    header = bias.astype("<i4").tobytes() + multipliers.astype("<i4").tobytes()
    header += shifts.astype("i1").tobytes()
    header += bytes(-len(header) % 4)
    weights = dice.integers(-127, 128, len(step.constants) - len(header), np.int8)
    return replace(step, constants=header + weights.tobytes())


def measure(core: str, network: Network, schedule: Schedule, seed: int) -> Measured:
    """Counts the instructions of a network with random weights in its best plan."""
    plan = MemoryModel(schedule).placed(network)
    assert plan is not None  # there is no limit
    plan = replace(plan, program=with_weights(plan.program, np.random.default_rng(seed)))
    job = job_of_lil(write(plan.program, plan))
    [result] = run(build(CORES[core]), [job])
    if result.status != 0:
        raise EmulationError(f"{core}: an inference of {network} failed, status {result.status}")
    by_tensor = instructions_by_tensor(build_by_operator(CORES[core]), job)
    calls = kernel_calls(dataflow(plan.program), plan)
    rows = [
        Row(step_group(step), step_features(plan, step, count), by_tensor[step.output])
        for step, count in zip(plan.program.steps, calls, strict=True)
        if step.kind != "INPUT"
    ]
    rest = result.instructions - sum(row.instructions for row in rows)
    rows.append(Row(EXECUTOR, executor_features(plan, calls), rest))
    return Measured(plan, tuple(rows), result.instructions)


def fit(measured: Sequence[Measured]) -> dict[str, tuple[float, ...]]:
    """Coefficients of each group: least squares of relative errors, each step weighted by the
    root of its share, so that what costs much is right."""
    groups: dict[str, list[Row]] = {}
    for each in measured:
        for row in each.rows:
            groups.setdefault(row.group, []).append(row)
    fitted: dict[str, tuple[float, ...]] = {}
    for group, rows in sorted(groups.items()):
        features = np.stack([row.features for row in rows])
        counts = np.array([row.instructions for row in rows], np.float64)
        weights = 1 / np.sqrt(np.maximum(counts, 1.0) * counts.max())
        scales = np.maximum(np.abs(features).max(axis=0), 1e-9)
        found, _ = nnls(features / scales * weights[:, None], counts * weights)
        fitted[group] = tuple(float(f"{value:.6g}") for value in found / scales)
    return fitted


def errors(model: LatencyModel, measured: Sequence[Measured]) -> np.ndarray:
    """Relative error of each network."""
    return np.array([model.instructions(m.plan) / m.instructions - 1 for m in measured])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, fits, writes and prints the errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--core", action="append", choices=CORES, help="default: all")
    parser.add_argument("--networks", type=int, default=28, help="to fit to (default: 28)")
    parser.add_argument("--held-out", type=int, default=12, help="to judge by (default: 12)")
    parser.add_argument("--show", action="store_true", help="print the error of each group")
    options = parser.parse_args(arguments)
    try:
        for core in options.core or CORES:
            _fit_core(core, options)
    except (BuildError, EmulationError, EmulatorsMissing, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _fit_core(core: str, options: argparse.Namespace) -> None:
    def all_of(count: int, seed: int) -> list[Measured]:
        found = []
        for index, network in enumerate(networks(count, seed)):
            schedule = Schedule.OPERATORS if index % 4 == 3 else Schedule.STREAMED
            found.append(measure(core, network, schedule, index))
        return found

    training, held_out = all_of(options.networks, 1), all_of(options.held_out, 2)
    coefficients = fit(training)
    command = f"bench/latency.py --networks {options.networks} --held-out {options.held_out}"
    model = LatencyModel(core, coefficients, 0.0, 0.0, command)
    found = errors(model, held_out)
    size = np.abs(found)
    model = replace(model, mean_error=round(float(size.mean()), 4),
                    largest_error=round(float(size.max()), 4))  # fmt: skip
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(model.as_json(), indent=1) + "\n"
    (FOLDER / f"{core}.json").write_text(text, encoding="utf-8")
    fitted = np.abs(errors(model, training)).mean()
    print(
        f"{core}: {len(training)} networks fitted with error {fitted:.1%}; "
        f"{len(held_out)} held out: mean error {size.mean():.1%}, largest {size.max():.1%}, "
        f"bias {found.mean():+.1%}"
    )
    if options.show:
        _show(model, held_out)


def _show(model: LatencyModel, measured: Sequence[Measured]) -> None:
    groups: dict[str, list[tuple[float, int]]] = {}
    for each in measured:
        for row in each.rows:
            guess = float(np.dot(model.coefficients[row.group], row.features))
            groups.setdefault(row.group, []).append((guess, row.instructions))
    total = sum(count for pairs in groups.values() for _, count in pairs)
    for group, pairs in sorted(groups.items(), key=lambda item: -sum(c for _, c in item[1])):
        guesses, counts = np.array(pairs).T
        print(
            f"  {group}: {counts.sum() / total:.1%} of all, "
            f"{guesses.sum() / counts.sum() - 1:+.1%}, mean error "
            f"{np.abs(guesses - counts).sum() / counts.sum():.1%} in {len(pairs)}"
        )


if __name__ == "__main__":
    main()
