"""Random graphs through the whole path, bit for bit against LiteRT's reference kernels.

A graph is written as `.tflite`, converted (import, simplify, lower, plan, write) and run by the C
core in this Python. A failure prints the recipe that makes its graph.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, note, seed, settings
from hypothesis import strategies as st
from random_graphs import STEPS, Recipe, build_graph, random_inputs, recipe_of, recipes

import lilliput
from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph

GRAPHS = settings().max_examples  # 500 in `make test`
GRAPHS_WITH_A_KIND = math.ceil(GRAPHS / len(STEPS))
GRAPHS_OF_A_KIND = math.ceil(GRAPHS / 60)
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
    "RELU_0_TO_1",
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
    for number in range(INFERENCES):
        inputs = random_inputs(graph, number)
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


def check_graphs(drawn: st.SearchStrategy[Recipe], count: int, name: str) -> None:
    @given(drawn)
    @settings(max_examples=count)
    def check(recipe: Recipe) -> None:
        note(repr(recipe))
        assert_same_bits(build_graph(recipe))

    if settings().derandomize:
        # Else the same numbers would be drawn for each kind.
        check = seed(zlib.crc32(name.encode()))(check)
    check()


@pytest.mark.parametrize("kind", STEPS)
def test_random_graphs(kind: str) -> None:
    """Graphs of up to seven steps, one of them of this kind."""
    check_graphs(recipes(largest_operators=7, including=kind), GRAPHS_WITH_A_KIND, f"with {kind}")


@pytest.mark.parametrize("kind", STEPS)
def test_graphs_of_one_kind(kind: str) -> None:
    """One or two steps of a kind, so that none hides behind what comes after it."""
    check_graphs(recipes([kind], largest_operators=2), GRAPHS_OF_A_KIND, f"only {kind}")


def test_steps_make_every_kind_of_operator() -> None:
    kinds: Counter[str] = Counter()
    for number in range(GRAPHS):
        graph = build_graph(recipe_of(number))
        kinds.update({operator.kind for operator in graph.operators})
    print(f"graphs with each kind of operator, of {GRAPHS}:", dict(kinds.most_common()))
    assert set(kinds) == KINDS
    assert min(kinds.values()) >= GRAPHS // 20, kinds
