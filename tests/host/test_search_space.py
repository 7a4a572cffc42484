"""The space of architectures, and what the planner says of a candidate before it is trained."""

from __future__ import annotations

import json
import random
import time

import numpy as np
import pytest

import lilliput
from lilliput.conversion import read_graph
from lilliput.graph import Graph
from lilliput.lower import lower
from lilliput.planner import Schedule, plan
from lilliput.program import Program
from lilliput.search.memory import PROVENANCE_BYTES, MemoryModel
from lilliput.search.program import program_of
from lilliput.search.space import Architecture, Block, Space, pairs, resolutions, space_for

SMALL = space_for(28, 1, 10).at(20, 0.4)
PHOTOGRAPHS = space_for(96, 3, 2).at(48, 0.3)


@pytest.mark.parametrize("space", [SMALL, PHOTOGRAPHS])
def test_what_is_drawn_mutated_and_crossed_is_in_the_space(space: Space) -> None:
    dice = random.Random(0)
    one, other = space.sample(dice), space.sample(dice)
    for _ in range(200):
        one, other = space.mutate(one, dice, 0.3), space.cross(one, other, dice)
        space.check(one)
        space.check(other)
        text = json.dumps(one.as_json())
        assert Architecture.from_json(json.loads(text)) == one
    assert Space.from_json(json.loads(json.dumps(space.as_json()))) == space


def test_mutation_at_rate_zero_changes_nothing_and_at_one_draws_anew() -> None:
    dice = random.Random(0)
    parent = SMALL.largest()
    assert SMALL.mutate(parent, dice, 0.0) == parent
    assert SMALL.mutate(parent, dice, 1.0) != parent


def test_a_choice_outside_the_space_is_named() -> None:
    blocks = (Block(9, 3, 1.0),) * 2
    wrong = Architecture((blocks, *SMALL.smallest().stages[1:]))
    with pytest.raises(ValueError, match="stage 0: kernel 9"):
        SMALL.check(wrong)
    with pytest.raises(ValueError, match="stage 1 has 1 blocks"):
        first, second, *rest = SMALL.smallest().stages
        SMALL.check(Architecture((first, second[:1], *rest)))


def test_twelve_resolutions_and_nine_widths() -> None:
    spaces = pairs(space_for(96, 3, 2))
    assert len(spaces) == len({space.name for space in spaces}) == 12 * 9
    assert resolutions(28) == tuple(range(10, 33, 2))


def test_stages_that_stream_have_small_kernels() -> None:
    space = space_for(96, 3, 2)
    assert space.stages[0].kernels == (3,) and 7 in space.stages[-1].kernels
    assert 7 in space_for(96, 3, 2, redistribute=False).stages[0].kernels


def test_keys_are_distinct_and_the_same_in_every_process() -> None:
    dice = random.Random(0)
    drawn = {SMALL.sample(dice) for _ in range(300)}
    assert len({architecture.key for architecture in drawn}) == len(drawn)
    assert SMALL.smallest().key == "59d4a6d02c3c59fb"


def test_the_program_is_the_converted_networks() -> None:
    pytest.importorskip("keras", reason="needs the extra `tensorflow`")
    from lilliput.search.float_graph import float_graph
    from lilliput.search.subnetwork import averages_of, folded
    from lilliput.search.supernet import SuperNetwork

    space = SMALL
    network = space.network(space.sample(random.Random(3)))
    images = np.random.default_rng(0).random((16, 20, 20, 1), np.float32)
    weights = SuperNetwork(network).numpy_weights()
    model = float_graph(network, folded(weights, averages_of(weights, network, images)[0]))
    labels = [f"class {number}" for number in range(network.classes)]
    converted = lilliput.convert(model, calibrate=images[:4], input_range=(0.0, 1.0), labels=labels)
    estimate = MemoryModel().memory(network)
    assert estimate is not None
    assert converted.summary["arena_bytes"] <= estimate.arena_bytes
    assert converted.summary["macs"] == network.macs
    spare = estimate.flash_bytes - converted.summary["flash_bytes"]
    assert 0 <= spare <= PROVENANCE_BYTES
    _require_same(lower(_int8(model, images)), program_of(network))


def _int8(model: Graph, images: np.ndarray) -> Graph:
    from lilliput.quantize import Options, quantize

    options = Options(method="minmax", equalize=False, bias_correction=False)
    return quantize(read_graph(model), [[images[:1]]], options)[0]


def _require_same(found: Program, wanted: Program) -> None:
    assert len(found.steps) == len(wanted.steps)
    for ours, theirs in zip(found.steps, wanted.steps, strict=True):
        for what in ("kind", "output", "edges", "is_pointwise", "is_sink", "rounds_once", "macs"):
            assert getattr(ours, what) == getattr(theirs, what), (ours.name, what)
        assert len(ours.constants) == len(theirs.constants)
        assert ours.parameters.get("window") == theirs.parameters.get("window")
        assert found.tensors[ours.output].shape == wanted.tensors[theirs.output].shape


@pytest.mark.parametrize("space", [SMALL, PHOTOGRAPHS])
def test_arenas_are_those_of_the_full_planner_or_a_little_more(space: Space) -> None:
    dice = random.Random(1)
    streamed, by_operator = MemoryModel(), MemoryModel(Schedule.OPERATORS)
    equal = 0
    for _ in range(2):
        network = space.network(space.sample(dice))
        program = program_of(network)
        found = streamed.memory(network).arena_bytes
        full = plan(program).arena_bytes
        assert full <= found <= 1.25 * full  # channel groups may save more
        equal += found == full
        exact = plan(program, schedule=Schedule.OPERATORS).arena_bytes
        assert by_operator.memory(network).arena_bytes == pytest.approx(exact, rel=0.02)
        assert found < by_operator.memory(network).arena_bytes
    assert equal > 0


def test_a_candidate_is_planned_quickly_and_never_twice() -> None:
    model = MemoryModel()
    dice = random.Random(2)
    networks = [SMALL.network(SMALL.sample(dice)) for _ in range(12)]
    model.memory(networks[0])  # asks the core for the first scratch sizes
    started = time.process_time()
    found = [model.memory(network) for network in networks]
    seconds = time.process_time() - started
    assert seconds < 12 * 0.25  # 50 ms on a machine that does nothing else
    started = time.process_time()
    assert [model.memory(network) for network in networks] == found
    assert time.process_time() - started < 0.01
