"""Tables of unary operators: LiteRT's own numbers, in the right order, for the right operand."""

from __future__ import annotations

import numpy as np
import pytest
from random_graphs import Recipe, Step, build_graph

from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Activation, Graph, NoAttributes, Operator, Quantization, Tensor
from lilliput.tables import is_unary, unary_slopes, unary_table

UNARY_STEPS = (
    "quantize",
    "relu",
    "relu6",
    "relu 0 to 1",
    "relu n1 to 1",
    "logistic",
    "tanh",
    "hard swish",
    "leaky relu",
    "prelu",
    "add constant",
    "sub constant",
    "mul constant",
)


def tensor(name: str, scale: float, zero_point: int, data: np.ndarray | None = None) -> Tensor:
    """An int8 tensor: a scalar constant, or a map of 4x4."""
    shape = (1, 4, 4, 1) if data is None else data.shape
    return Tensor(name, shape, np.dtype(np.int8), data, Quantization.per_tensor(scale, zero_point))


@pytest.mark.parametrize("kind", UNARY_STEPS)
def test_table_is_what_litert_computes(kind: str) -> None:
    """Looked up in the table, every element of a graph's input becomes that of its output."""
    tables = 0
    for seed in range(60):
        graph = build_graph(Recipe((7,), (Step(kind, seed),)))
        operator = graph.operators[-1]
        if len(graph.operators) > 1 or not is_unary(operator, graph.tensors):
            continue
        table = unary_table(operator, graph.tensors)
        assert (table.shape, table.dtype) == ((256,), np.int8)
        x = np.random.default_rng(seed).integers(-128, 128, graph.tensors[0].shape, np.int8)
        [y] = litert.run(write_tflite(graph), [x])
        np.testing.assert_array_equal(table[x.astype(int) + 128].reshape(y.shape), y)
        tables += 1
    assert tables >= 10


def test_index_is_the_value_in_ascending_order() -> None:
    tensors = [tensor("x", 0.25, 0), tensor("y", 0.5, 0)]
    table = unary_table(Operator("RELU", (0,), (1,)), tensors)
    assert table[:129].tolist() == [0] * 129
    assert table[128 + 10] == 5


def test_uint8_input_counts_from_zero() -> None:
    x = Tensor("x", (1, 4), np.dtype(np.uint8), None, Quantization.per_tensor(1.0, 128))
    table = unary_table(Operator("QUANTIZE", (0,), (1,)), [x, tensor("y", 1.0, 0)])
    assert table.tolist() == list(range(-128, 128))


@pytest.mark.parametrize("constant_first", [False, True])
def test_side_of_the_constant_counts(constant_first: bool) -> None:
    tensors = [
        tensor("x", 1.0, 0),
        tensor("c", 1.0, 0, np.array([10], np.int8)),
        tensor("y", 1.0, 0),
    ]
    inputs = (1, 0) if constant_first else (0, 1)
    table = unary_table(Operator("SUB", inputs, (2,), Activation()), tensors)
    assert table[128 + 3] == (7 if constant_first else -7)


def test_square_has_one_variable() -> None:
    tensors = [tensor("x", 1.0, 0), tensor("y", 1.0, 0)]
    table = unary_table(Operator("MUL", (0, 0), (1,), Activation()), tensors)
    assert table[128 + 9] == 81


@pytest.mark.parametrize(
    ("operator", "tensors"),
    [
        (Operator("SOFTMAX", (0,), (1,), NoAttributes()), ("x", "y")),
        (Operator("ADD", (0, 1), (2,), Activation()), ("x", "x2", "y")),
    ],
)
def test_operators_of_more_than_one_number_are_refused(
    operator: Operator, tensors: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="not a function of one 8-bit number"):
        unary_table(operator, [tensor(name, 1.0, 0) for name in tensors])


def test_constant_for_each_channel_is_refused() -> None:
    slopes = tensor("slopes", 1.0, 0, np.array([1, 2], np.int8))
    operator = Operator("PRELU", (0, 1), (2,))
    tensors = [tensor("x", 1.0, 0), slopes, tensor("y", 1.0, 0)]
    assert not is_unary(operator, tensors)
    with pytest.raises(ValueError, match=r"PRELU \(output 'y'\)"):
        unary_table(operator, tensors)


def test_graph_of_the_operator_is_not_changed() -> None:
    graph = Graph((tensor("x", 1.0, 0), tensor("y", 1.0, 0)), (), (0,), (1,))
    unary_table(Operator("RELU6", (0,), (1,)), graph.tensors)
    assert graph.tensors[0].shape == (1, 4, 4, 1)


@pytest.mark.parametrize("kind", UNARY_STEPS)
def test_slopes_are_those_of_the_table(kind: str) -> None:
    """Over a stretch of inputs, the slopes add up to what the table rises, but for its rounding."""
    tables = 0
    for seed in range(20):
        graph = build_graph(Recipe((7,), (Step(kind, seed),)))
        operator = graph.operators[-1]
        if len(graph.operators) > 1 or not is_unary(operator, graph.tensors):
            continue
        table = unary_table(operator, graph.tensors).astype(np.float64)
        slopes = unary_slopes(operator, graph.tensors)
        assert (slopes.shape, slopes.dtype) == ((256,), np.float64)
        scales = [float(graph.quantization(i).scale[0]) for i in (0, operator.outputs[0])]
        slopes *= scales[0] / scales[1]
        rises = np.cumsum((slopes[:-1] + slopes[1:]) / 2)
        # a step of rounding at either end, and a slope that changes between two inputs
        slack = 2 + np.abs(np.diff(slopes)).max()
        assert np.abs(table[1:] - table[0] - rises).max() <= slack
        tables += 1
    assert tables >= 5


def test_slopes_are_derivatives() -> None:
    tensors = [tensor("x", 1 / 32, 4), tensor("y", 1 / 256, -128)]
    x = (np.arange(-128, 128) - 4) / 32
    y = 1 / (1 + np.exp(-x))
    slopes = unary_slopes(Operator("LOGISTIC", (0,), (1,)), tensors)
    np.testing.assert_allclose(slopes, y * (1 - y), atol=1e-4)
    relu = unary_slopes(
        Operator("RELU", (0,), (1,)), [tensor("x", 0.5, 0), tensor("y", 0.25, -128)]
    )
    # 0 below 0 and above 63.75, the largest output; half of a step on either side of a kink
    assert relu[[0, 127, 128, 129, 254, 255]].tolist() == [0, 0, 0.5, 1, 1, 1]
    clipped = unary_slopes(
        Operator("RELU", (0,), (1,)), [tensor("x", 1, 0), tensor("y", 0.25, -128)]
    )
    assert clipped[[128 + 63, 128 + 64, 128 + 65]].tolist() == [1, 0.25, 0]
