"""Fully connected layers in slices: the same bits, and pages of a slice each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from arena_simulation import simulate
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plan_execution import execute, int8_inputs, lowered, whole
from random_graphs import Recipe, build_graph, recipes

from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import plan
from lilliput.planner.output_slices import Slicing, can_slice, slice_outputs

EXAMPLES = max(settings().max_examples // 10, 1)


@given(recipes(["fully connected", "convolution"], largest_operators=4), st.integers(2, 9))
@settings(max_examples=EXAMPLES)
def test_slices_change_no_bit(recipe: Recipe, parts: int) -> None:
    graph = build_graph(recipe)
    program = lowered(graph)
    possible = [i for i, step in enumerate(program.steps) if can_slice(program, step)]
    assume(possible)
    sliced = slice_outputs(program, Slicing(possible[0], parts))
    inputs = int8_inputs(graph, program, 1)
    expected = execute(plan(program, keep_all=True), inputs, whole)
    made = plan(sliced)
    simulate(made)
    assert sliced.macs == program.macs
    for found, wanted in zip(execute(made, inputs, whole), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_large_model_in_pages(models: Path) -> None:
    """Its last layer alone has 393 KB of weights; the arena with the page is far below that."""
    model = (models / "mcunetv2_large.tflite").read_bytes()
    made = plan(lower(simplify(read_tflite(model, "large"))), paged=True)
    assert made.is_paged
    assert made.arena_bytes < 260_000
    layer = max(len(step.constants) for step in made.program.steps)
    assert layer < 260_000
