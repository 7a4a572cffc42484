"""Runs plans of graphs in the C core, with the input in whole or in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import _lilliput
import numpy as np
from random_graphs import random_inputs

from lilliput.exporters.tflite import write_tflite
from lilliput.format import write
from lilliput.graph import Graph
from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import Plan
from lilliput.planner.schedule import order_inputs
from lilliput.program import Program

GUARD = 64  # bytes behind the arena that nothing may touch
DONE = 0x7FFF
CONTEXT_BYTES = 1  # lil_field_id


def lowered(graph: Graph) -> Program:
    return order_inputs(lower(simplify(read_tflite(write_tflite(graph)))))


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
    wanted = _lilliput.run(data, context, arena, None)  # nothing may be lost by asking early
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
