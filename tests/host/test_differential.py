"""Random graphs through the whole path, bit for bit against LiteRT's reference kernels.

A graph is written as `.tflite`, converted (import, simplify, lower, plan, write) and run by the C
core in this Python. A failure prints the recipe that makes its graph.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, note, settings
from random_graphs import STEPS, Recipe, build_graph, random_inputs, recipes

import lilliput
from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph

GRAPHS = settings().max_examples  # 500 in `make test`
GRAPHS_OF_A_KIND = max(GRAPHS // 50, 1)
INFERENCES = 3
GUARD = 64  # bytes behind the arena that nothing may touch
KINDS = {
    "ADD",
    "ARG_MAX",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DEQUANTIZE",
    "FULLY_CONNECTED",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LOGISTIC",
    "MAX_POOL_2D",
    "MEAN",
    "MUL",
    "PAD",
    "PADV2",
    "PRELU",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SOFTMAX",
    "SPLIT",
    "STRIDED_SLICE",
    "SUB",
    "TANH",
    "TRANSPOSE",
    "TRANSPOSE_CONV",
}


def assert_same_bits(graph: Graph) -> None:
    """Converts and runs a graph on several inputs, in an arena full of leftovers."""
    written = write_tflite(graph)
    session = litert.Session(written)
    data = lilliput.convert(written).data
    block = bytearray(b"\xa5" * (lilliput.load(data).arena_bytes + GUARD))
    model = lilliput.load(data, memoryview(block)[:-GUARD])
    for seed in range(INFERENCES):
        inputs = random_inputs(graph, seed)
        expected = session.run(inputs)
        found = model.infer([np.ascontiguousarray(value) for value in inputs])
        several = found if len(model.outputs) > 1 else [found]
        for port, value, wanted in zip(model.outputs, several, expected, strict=True):
            raw = np.array(value).reshape(port.shape)
            if wanted.dtype == np.float32:
                # LiteRT's DEQUANTIZE multiplies in double precision, then rounds.
                raw = (port.scale * (raw.astype(np.float64) - port.zero_point)).astype(np.float32)
            np.testing.assert_array_equal(raw, wanted, strict=True)
    assert block[-GUARD:] == b"\xa5" * GUARD


def test_random_graphs() -> None:
    """Graphs of up to eight operators; every kind of operator occurs in many of them."""
    steps: Counter[str] = Counter()
    kinds: Counter[str] = Counter()

    @given(recipes())
    def check(recipe: Recipe) -> None:
        note(repr(recipe))
        graph = build_graph(recipe)
        assert_same_bits(graph)
        steps.update({step.kind for step in recipe.steps})
        kinds.update({operator.kind for operator in graph.operators})

    check()
    print(f"graphs with each kind of operator, of {GRAPHS}:", dict(kinds.most_common()))
    assert set(steps) == set(STEPS)
    assert set(kinds) == KINDS
    assert min(kinds.values()) >= GRAPHS // 50, kinds


@pytest.mark.parametrize("kind", STEPS)
def test_graphs_of_one_kind(kind: str) -> None:
    """One or two operators of a kind, so that none hides behind what comes after it."""

    @given(recipes([kind], largest_operators=2))
    @settings(max_examples=GRAPHS_OF_A_KIND)
    def check(recipe: Recipe) -> None:
        note(repr(recipe))
        assert_same_bits(build_graph(recipe))

    check()
