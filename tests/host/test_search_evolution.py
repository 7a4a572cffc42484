"""Evolution: within the budget, better than chance, and the same when killed and resumed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lilliput.search.budget import Accountant, Budget
from lilliput.search.evolution import Evolved, Settings, evolve
from lilliput.search.space import Architecture, Space, Stage

# Few blocks on small maps: planned in milliseconds.
SPACE = Space(12, 1, 4, 1.0, 8, 2, 8, (Stage(8, 2, depths=(1, 2)), Stage(16, 1, depths=(1, 2))))
BUDGET = Budget(sram=2000, flash=9000)
SETTINGS = Settings(population=8, generations=3, seed=3)


def capacity(architecture: Architecture) -> float:
    """Stands for an accuracy: large networks are good, and kernels of 5 are best."""
    network = SPACE.network(architecture)
    bonus = sum(block.kernel == 5 for stage in architecture.stages for block in stage)
    return round(0.5 + network.macs / 1e7 + 0.01 * bonus, 6)


def slow_capacity(architecture: Architecture) -> float:
    time.sleep(0.02)
    return capacity(architecture)


@pytest.fixture(scope="module")
def accountant() -> Accountant:
    """Shared, as what a network costs is always the same."""
    return Accountant(BUDGET)


@pytest.fixture(scope="module")
def undisturbed(accountant: Accountant, tmp_path_factory: pytest.TempPathFactory) -> Evolved:
    folder = tmp_path_factory.mktemp("undisturbed")
    return evolve(SPACE, accountant, capacity, SETTINGS, folder)


def test_all_candidates_are_within_the_budget(undisturbed: Evolved) -> None:
    assert len(undisturbed.candidates) > SETTINGS.population
    for candidate in undisturbed.candidates:
        assert candidate.cost.arena_bytes <= 2000
        assert candidate.cost.flash_bytes <= 9000
        assert candidate.accuracy == capacity(candidate.architecture)


def test_generations_improve_on_their_random_first(undisturbed: Evolved) -> None:
    by_generation = undisturbed.best_by_generation
    assert len(by_generation) == SETTINGS.generations + 1
    assert list(by_generation) == sorted(by_generation)
    assert by_generation[-1] > by_generation[0]
    assert undisturbed.best.accuracy == by_generation[-1]


def test_nothing_dominates_the_pareto_set(undisturbed: Evolved) -> None:
    front = undisturbed.pareto()
    assert front[0] == undisturbed.best
    assert not any(
        other.dominates(candidate) for candidate in front for other in undisturbed.candidates
    )
    left_out = [c for c in undisturbed.candidates if c not in front]
    assert all(any(kept.dominates(c) for kept in front) for c in left_out)


class Killed(Exception):
    """Stands for the end of the process."""


def test_killed_after_any_judgement_and_resumed_it_ends_the_same(
    undisturbed: Evolved, accountant: Accountant, tmp_path: Path
) -> None:
    dice = random.Random(5)
    while True:
        left = dice.randrange(1, 9)

        def judge(architecture: Architecture) -> float:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return capacity(architecture)

        try:
            resumed = evolve(SPACE, accountant, judge, SETTINGS, tmp_path)
            break
        except Killed:
            judged = tmp_path / "judged.jsonl"  # and the line that was being written
            judged.write_text(judged.read_text() + "[[[[3, 4")
    assert resumed == undisturbed


def test_another_search_in_the_folder_is_refused(accountant: Accountant, tmp_path: Path) -> None:
    short = Settings(population=3, generations=0)
    evolve(SPACE, accountant, capacity, short, tmp_path)
    with pytest.raises(ValueError, match="another search"):
        evolve(SPACE, Accountant(Budget(sram=1900)), capacity, short, tmp_path)


def test_nothing_fits_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not even the smallest"):
        evolve(SPACE, Accountant(Budget(sram=100)), capacity, SETTINGS, tmp_path)


_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_search_evolution import *
evolve(SPACE, Accountant(BUDGET), slow_capacity, SETTINGS, Path(sys.argv[1]))
"""


def test_a_killed_process_loses_nothing(
    undisturbed: Evolved, accountant: Accountant, tmp_path: Path
) -> None:
    script = _PROCESS.format(tests=str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        judged = tmp_path / "judged.jsonl"
        while process.poll() is None and not (judged.is_file() and judged.stat().st_size > 300):
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
    assert judged.stat().st_size > 300
    assert evolve(SPACE, accountant, capacity, SETTINGS, tmp_path) == undisturbed
