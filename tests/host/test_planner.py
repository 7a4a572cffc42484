"""The planner: streamed schedules give the same bits, and nothing overflows or overlaps.

Random graphs are cut into random legal segments, which is harsher than what the search chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import _lilliput
import numpy as np
import pytest
from arena_simulation import simulate
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from random_graphs import STEPS, Recipe, build_graph, random_inputs, recipes

from lilliput.exporters.tflite import write_tflite
from lilliput.format import write
from lilliput.graph import Graph
from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import Plan, Schedule, Segment, place, plan
from lilliput.planner.packing import Item, lower_bound, overlap_saving, pack
from lilliput.planner.dataflow import dataflow
from lilliput.planner.schedule import order_inputs
from lilliput.planner.scratch import scratch_bytes
from lilliput.planner.search import needs_whole
from lilliput.planner.timing import segment_timing
from lilliput.program import Program

GRAPHS = 60
SIMULATED = 60
GUARD = 64  # bytes behind the arena that nothing may touch
DONE = 0x7FFF
CONTEXT_BYTES, INPUT_COUNT = 1, 2  # lil_field_id
STREAMING = [
    kind
    for kind in STEPS
    if kind not in {"reshape", "transpose", "fully connected", "arg max", "mean"}
]
"""Kinds that lead to long segments; `recipes()` itself has them all."""

drawn_recipes = st.one_of(
    recipes(largest_operators=10),
    recipes(STREAMING, largest_operators=14),
    recipes(
        ["resize nearest", "resize bilinear", "transposed convolution", "convolution", "add", "mean"]
    ),
)
drawn_cuts = st.frozensets(st.integers(1, 40), max_size=12)


def lowered(graph: Graph) -> Program:
    return order_inputs(lower(simplify(read_tflite(write_tflite(graph)))))


def cut(program: Program, cuts: frozenset[int]) -> tuple[Segment, ...]:
    """Segments that begin at `cuts`, and wherever a rule demands a cut."""
    firsts, flow = [0], dataflow(program)
    for index in range(1, len(program.steps)):
        is_forced = program.steps[index].kind == "INPUT" or needs_whole(flow, index, firsts[-1])
        if is_forced or index in cuts:
            firsts.append(index)
    ends = [*firsts[1:], len(program.steps)]
    return tuple(Segment(first, end - first) for first, end in zip(firsts, ends, strict=True))


Feed = Callable[[np.ndarray], Sequence[np.ndarray]]


def execute(plan: Plan, inputs: Sequence[np.ndarray], feed: Feed) -> list[np.ndarray]:
    """Runs a plan in the C core. `feed` cuts an input [rows, ...] into what each call is given."""
    data = write(plan.program, plan)
    _lilliput.verify(data)
    context = np.zeros(_lilliput.field(data, CONTEXT_BYTES, 0) // 4, np.int32)
    block = np.full(plan.arena_bytes + GUARD, 0xA5, np.uint8)
    arena = block[: plan.arena_bytes]
    maps = [plan.program.tensors[port.tensor] for port in plan.program.inputs]
    pieces = [
        list(feed(np.ascontiguousarray(value).reshape(fmap.shape)))
        for fmap, value in zip(maps, inputs, strict=True)
    ]
    _lilliput.begin(data, context)
    wanted = _lilliput.run(data, context, arena, None)
    while wanted != DONE:
        wanted = _lilliput.run(data, context, arena, pieces[wanted].pop(0))
    assert not any(piece.size for rest in pieces for piece in rest)
    assert np.all(block[plan.arena_bytes :] == 0xA5)
    outputs = []
    for index, port in enumerate(plan.program.outputs):
        fmap = plan.program.tensors[port.tensor]
        value = np.empty(fmap.shape, np.int32 if fmap.dtype == "int32" else np.int8)
        _lilliput.read_output(data, arena, index, value)
        outputs.append(value)
    return outputs


def whole(value: np.ndarray) -> Sequence[np.ndarray]:
    return [value]


def in_pieces(seed: int) -> Feed:
    """A few rows at a time, any number of them, and sometimes none."""

    def feed(value: np.ndarray) -> Sequence[np.ndarray]:
        dice = np.random.default_rng(seed)
        cuts = np.sort(dice.integers(0, len(value) + 1, dice.integers(0, 6)))
        return [np.ascontiguousarray(piece) for piece in np.split(value, cuts)]

    return feed


def int8_inputs(graph: Graph, program: Program, seed: int) -> list[np.ndarray]:
    """Inputs of a graph, as int8 also where the graph takes reals."""
    dice = np.random.default_rng(seed)
    return [
        value
        if value.dtype == np.int8
        else dice.integers(-128, 128, program.tensors[port.tensor].shape, np.int8)
        for value, port in zip(random_inputs(graph, seed), program.inputs, strict=True)
    ]


def test_streamed_equals_operator_by_operator() -> None:
    """Bit for bit, whatever the segments, and however the input arrives."""
    seen = {"several outputs": 0, "several inputs": 0, "several rows a sweep": 0, "rings": 0}

    @given(drawn_recipes, drawn_cuts, st.integers(0, 2**20))
    @settings(max_examples=GRAPHS,phases=[Phase.generate])
    def check(recipe: Recipe, cuts: frozenset[int], seed: int) -> None:
        graph = build_graph(recipe)
        program = lowered(graph)
        scratch = scratch_bytes(program)
        segments = cut(program, cuts)
        note(repr(segments))
        inputs = int8_inputs(graph, program, seed)
        expected = execute(plan(program, keep_all=True), inputs, whole)
        streamed = place(program, segments, scratch)
        chosen = plan(program)
        for candidate, feed in (
            (streamed, whole),
            (streamed, in_pieces(seed)),
            (chosen, whole),
            (chosen, in_pieces(seed)),
            (plan(program, streams_input=False), in_pieces(seed)),
        ):
            for found, wanted in zip(execute(candidate, inputs, feed), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
        seen["several outputs"] += len(program.outputs) > 1
        seen["several inputs"] += len(program.inputs) > 1
        seen["several rows a sweep"] += max(streamed.rows_per_sweep) > 1
        seen["rings"] += streamed.ring_rows != chosen.ring_rows

    check()
    assert min(seen.values()) >= GRAPHS // 25, seen


def test_simulated_sweeps() -> None:
    """An independent simulation of the sweeps finds the planner's times and its rings' sizes, and
    every byte where and when it is read."""
    rings = 0

    @given(drawn_recipes, drawn_cuts)
    @settings(max_examples=SIMULATED,phases=[Phase.generate])
    def check(recipe: Recipe, cuts: frozenset[int]) -> None:
        nonlocal rings
        program = lowered(build_graph(recipe))
        streamed = place(program, cut(program, cuts), scratch_bytes(program))
        trace = simulate(streamed)
        readers = {edge.tensor for step in program.steps for edge in step.edges}
        for segment in streamed.segments:
            timing = segment_timing(dataflow(program), segment.first, segment.first + segment.count)
            for index in segment.steps if segment.count > 1 else ():
                times = timing.calls[index - segment.first].tolist()
                assert trace.calls[index] == times, program.steps[index]
        for tensor, rows in enumerate(streamed.ring_rows):
            height = program.tensors[tensor].height
            if rows < height:
                assert trace.most_rows.get(tensor, 1) == rows, program.tensors[tensor]
                rings += tensor in readers
        simulate(plan(program))
        simulate(plan(program, schedule=Schedule.OPERATORS))

    check()
    assert rings >= SIMULATED
