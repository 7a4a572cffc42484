"""Stage one, budgets and predicted instructions."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from lilliput.boards import profile
from lilliput.search.budget import Accountant, Budget, board_budget
from lilliput.search.latency import latency_model
from lilliput.search.memory import MemoryModel
from lilliput.search.parallel import Map
from lilliput.search.space import Space, Stage
from lilliput.search.spaces import SpaceScore, rank_spaces

BASE = Space(12, 1, 4, 1.0, 8, 2, 8, (Stage(8, 2, depths=(1, 2)), Stage(16, 1, depths=(1, 2))))
SPACES = [BASE.at(image, width) for image in (12, 24) for width in (0.5, 1.0, 4.0)]


def ranked(budget: Budget, over: Map = map, seed: int = 1) -> list[SpaceScore]:
    return rank_spaces(SPACES, budget, samples=6, seed=seed, over=over)


def test_spaces_are_ranked_by_what_their_fitting_networks_compute() -> None:
    budget = Budget(sram=4000, flash=20_000)
    scores = ranked(budget)
    assert [score.rank_key for score in scores] == sorted(
        (score.rank_key for score in scores), reverse=True
    )
    by_name = {score.space.name: score for score in scores}
    # Images of twice the size, at the same width, are more work; four times the width is too large.
    assert by_name["24 px x 1"].mean > by_name["12 px x 1"].mean
    assert by_name["24 px x 4"].fitting < by_name["24 px x 0.5"].fitting
    assert scores[0].tails == tuple(sorted(scores[0].tails))
    accountant = Accountant(budget)
    for score in scores:
        dice = random.Random(f"1 {score.space.name}")
        drawn = [score.space.network(score.space.sample(dice)) for _ in range(6)]
        fitting = [network.macs for network in drawn if accountant.cost(network) is not None]
        assert tuple(sorted(fitting)) == score.macs


def test_the_order_of_the_work_does_not_matter() -> None:
    def backwards(function: Any, items: Sequence[Any]) -> Iterator[Any]:
        return reversed([function(item) for item in reversed(items)])

    budget = Budget(sram=4000, flash=20_000)
    assert ranked(budget, backwards) == ranked(budget)


def test_nothing_fits_is_said() -> None:
    with pytest.raises(ValueError, match="no network of 6 spaces fits 90 bytes of arena"):
        ranked(Budget(sram=90))


def test_what_is_beyond_a_budget_has_no_cost() -> None:
    network = BASE.network(BASE.largest())
    cost = Accountant(Budget(core="cortex-m7")).cost(network)
    assert cost is not None and cost.instructions is not None
    assert (cost.arena_bytes, cost.flash_bytes) == tuple(
        vars(MemoryModel().memory(network)).values()
    )
    exactly = Budget(cost.arena_bytes, cost.flash_bytes, cost.instructions, "cortex-m7")
    assert Accountant(exactly).cost(network) == cost
    for tighter in (
        Budget(sram=cost.arena_bytes - 4),
        Budget(flash=cost.flash_bytes - 1),
        Budget(flash=network.parameters - 1),
        Budget(instructions=cost.instructions - 1, core="cortex-m7"),
    ):
        assert Accountant(tighter).cost(network) is None


def test_a_board_gives_the_budget() -> None:
    board = profile("pico2")
    budget = board_budget(board, sram=10_000, latency_ms=20)
    assert budget == Budget(10_000, board.flash_bytes, 3_000_000, "cortex-m33")
    assert board_budget(board).sram == board.room.arena_limit
    assert board_budget(profile("esp32s3")).core is None  # an Xtensa, which is not emulated
    with pytest.raises(ValueError, match="needs a board"):
        board_budget(None, latency_ms=5)
    with pytest.raises(ValueError, match="no instructions were measured on 'xtensa"):
        Accountant(board_budget(profile("esp32s3"), latency_ms=5))


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m33",
                                  "cortex-m7", "cortex-m55", "rv32imc"])  # fmt: skip
def test_every_core_has_a_model_that_is_right_within_five_percent(core: str) -> None:
    model = latency_model(core)
    assert model.mean_error < model.largest_error < 0.05
    plans = [MemoryModel().placed(BASE.network(a)) for a in (BASE.smallest(), BASE.largest())]
    assert all(plan is not None for plan in plans)
    small, large = (model.instructions(plan) for plan in plans if plan is not None)
    assert 10_000 < small < large
