"""The passes: what each rewrites, that int8 keeps its bits, and that float stays close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_graphs import build_graph, random_inputs, recipe_of

from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import (
    Activation,
    Attributes,
    Convolution,
    Graph,
    NoAttributes,
    Operator,
    Pad,
    Pool,
    Quantization,
    Reduce,
    Slice,
    Tensor,
    Transpose,
)
from lilliput.importers.tflite import read_tflite
from lilliput.passes.shapes import output_shape
from lilliput.passes.simplify import simplify

FLOAT, INT8, INT32 = np.dtype(np.float32), np.dtype(np.int8), np.dtype(np.int32)
Shape = tuple[int, ...]


class Chain:
    """Builds a graph of one path, float or int8 (where all activations share a quantisation)."""

    def __init__(self, shape: Shape, quantization: Quantization | None = None):
        self.dice = np.random.default_rng(0)
        self.quantization = quantization
        self.dtype = FLOAT if quantization is None else INT8
        self.tensors = [Tensor("x", shape, self.dtype, None, quantization)]
        self.operators: list[Operator] = []
        self.last = 0

    @property
    def shape(self) -> Shape:
        return self.tensors[self.last].shape

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def then(
        self,
        kind: str,
        attributes: Attributes | None = None,
        operands: Sequence[int] = (),
        shape: Shape | None = None,
        quantization: Quantization | None = None,
        first: bool = True,
    ) -> Chain:
        attributes = attributes or NoAttributes()
        inputs = (self.last, *operands) if first else (*operands, self.last)
        found = output_shape(kind, attributes, [self.tensors[i].shape for i in inputs])
        result = shape or found
        assert result is not None
        name = f"t{len(self.operators)}"
        output = Tensor(name, result, self.dtype, None, quantization or self.quantization)
        index = self.add(output)
        self.operators.append(Operator(kind, inputs, (index,), attributes))
        self.last = index
        return self

    def weights(self, *shape: int) -> int:
        if self.quantization is None:
            data = self.dice.normal(0, 1, shape).astype(np.float32)
            return self.add(Tensor("w", shape, FLOAT, data))
        data = self.dice.integers(-127, 128, shape).astype(np.int8)
        return self.add(Tensor("w", shape, INT8, data, Quantization.per_tensor(0.004, 0)))

    def bias(self, count: int) -> int:
        if self.quantization is None:
            data = self.dice.normal(0, 1, count).astype(np.float32)
            return self.add(Tensor("b", (count,), FLOAT, data))
        data = self.dice.integers(-1000, 1000, count).astype(np.int32)
        scale = float(self.quantization.scale[0] * np.float32(0.004))
        return self.add(Tensor("b", (count,), INT32, data, Quantization.per_tensor(scale, 0)))

    def convolution(self, channels: int, kernel: int, attributes: Convolution) -> Chain:
        operands = (
            self.weights(channels, kernel, kernel, self.shape[3]),
            self.bias(channels),
        )
        return self.then("CONV_2D", attributes, operands)

    def pad(self, *amounts: tuple[int, int], value: float | None = None) -> Chain:
        zero = 0.0 if self.quantization is None else float(self.quantization.zero_point[0])
        before, after = tuple(a for a, _ in amounts), tuple(a for _, a in amounts)
        return self.then("PAD", Pad(before, after, zero if value is None else value))

    def constant(self, *shape: int) -> int:
        data = self.dice.normal(0, 1, shape).astype(np.float32)
        return self.add(Tensor("c", shape, FLOAT, data))

    def graph(self) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.operators), (0,), (self.last,))


def quantized(zero_point: int = 5) -> Quantization:
    return Quantization.per_tensor(0.05, zero_point)


def run_both(before: Graph, after: Graph, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of LiteRT's reference kernels for the same random input."""
    dice = np.random.default_rng(seed)
    inputs = []
    for index in before.inputs:
        tensor = before.tensors[index]
        if tensor.dtype == INT8:
            inputs.append(dice.integers(-128, 128, tensor.shape).astype(np.int8))
        else:
            inputs.append(dice.normal(0, 1, tensor.shape).astype(np.float32))
    expected = litert.run(write_tflite(before), inputs)
    actual = litert.run(write_tflite(after), inputs)
    return expected[0], actual[0]


def check(graph: Graph, kinds: list[str]) -> Graph:
    """Simplifies, and checks the operators left, the ports and the outputs."""
    simple = simplify(graph)
    assert [op.kind for op in simple.operators] == kinds
    for before, after in ((graph.inputs, simple.inputs), (graph.outputs, simple.outputs)):
        for old, new in zip(before, after, strict=True):
            assert graph.tensors[old].name == simple.tensors[new].name
            assert graph.tensors[old].shape == simple.tensors[new].shape
    for seed in range(3):
        expected, actual = run_both(graph, simple, seed)
        if actual.dtype == FLOAT:
            assert np.allclose(expected, actual, rtol=1e-4, atol=1e-4)
        else:
            assert np.array_equal(expected, actual)
    return simple


def attributes_of(graph: Graph, kind: str) -> Attributes:
    [found] = [op.attributes for op in graph.operators if op.kind == kind]
    return found


# --- padding ---

BORDER = ((0, 0), (1, 2), (0, 1), (0, 0))


@pytest.mark.parametrize("quantization", [None, quantized(5), quantized(-128)])
def test_pad_before_a_valid_convolution_becomes_explicit(
    quantization: Quantization | None,
) -> None:
    graph = Chain((1, 5, 6, 3), quantization).pad(*BORDER).convolution(4, 3, Convolution()).graph()
    attributes = attributes_of(check(graph, ["CONV_2D"]), "CONV_2D")
    assert isinstance(attributes, Convolution) and attributes.explicit_padding == (1, 2, 0, 1)


def test_pad_that_equals_same_padding_becomes_same() -> None:
    border = ((0, 0), (1, 1), (1, 1), (0, 0))
    graph = Chain((1, 5, 5, 3), quantized()).pad(*border).convolution(4, 3, Convolution()).graph()
    attributes = attributes_of(check(graph, ["CONV_2D"]), "CONV_2D")
    assert isinstance(attributes, Convolution)
    assert (attributes.padding, attributes.explicit_padding) == ("same", None)


def test_pad_adds_to_the_convolutions_own_padding() -> None:
    attributes = Convolution("same", (2, 2), (1, 2))
    graph = Chain((1, 6, 7, 3), quantized()).pad(*BORDER).convolution(4, 3, attributes).graph()
    check(graph, ["CONV_2D"])


@pytest.mark.parametrize("amounts", [((0, 0), (1, 1), (0, 0), (0, 2)), BORDER])
def test_pads_of_channels_or_of_other_values_stay(amounts: tuple[tuple[int, int], ...]) -> None:
    value = 7.0 if amounts == BORDER else None
    chain = Chain((1, 5, 6, 3), quantized()).pad(*amounts, value=value)
    check(chain.convolution(4, 3, Convolution()).graph(), ["PAD", "CONV_2D"])


def test_pad_that_something_else_reads_stays() -> None:
    chain = Chain((1, 5, 6, 3)).pad(*BORDER)
    padded = chain.last
    chain.then("AVERAGE_POOL_2D", Pool("valid", (1, 1), (3, 3)))
    pooled = chain.last
    chain.last = padded
    chain.convolution(3, 3, Convolution()).then("ADD", Activation(), (pooled,))
    check(chain.graph(), ["PAD", "AVERAGE_POOL_2D", "CONV_2D", "ADD"])


def test_pad_before_a_max_pool_goes_where_it_cannot_win() -> None:
    pool = Pool("valid", (1, 1), (3, 3))
    lowest = Chain((1, 5, 6, 3), quantized()).pad(*BORDER, value=-128.0).then("MAX_POOL_2D", pool)
    attributes = attributes_of(check(lowest.graph(), ["MAX_POOL_2D"]), "MAX_POOL_2D")
    assert isinstance(attributes, Pool) and attributes.explicit_padding == (1, 2, 0, 1)
    behind_relu = Chain((1, 5, 6, 3)).convolution(3, 1, Convolution(activation="relu"))
    check(behind_relu.pad(*BORDER).then("MAX_POOL_2D", pool).graph(), ["CONV_2D", "MAX_POOL_2D"])


@pytest.mark.parametrize("quantization", [None, quantized()])
def test_pad_that_could_win_a_max_pool_stays(quantization: Quantization | None) -> None:
    chain = Chain((1, 5, 6, 3), quantization).pad(*BORDER)
    chain.then("MAX_POOL_2D", Pool("valid", (1, 1), (3, 3)))
    check(chain.graph(), ["PAD", "MAX_POOL_2D"])


def test_pad_as_wide_as_the_max_pools_window_stays() -> None:
    border = ((0, 0), (3, 0), (0, 0), (0, 0))
    chain = Chain((1, 5, 6, 3), quantized()).pad(*border, value=-128.0)
    chain.then("MAX_POOL_2D", Pool("valid", (1, 1), (3, 3)))
    check(chain.graph(), ["PAD", "MAX_POOL_2D"])


def test_pad_before_an_average_pool_stays() -> None:
    chain = Chain((1, 5, 6, 3), quantized()).pad(*BORDER)
    chain.then("AVERAGE_POOL_2D", Pool("valid", (1, 1), (3, 3)))
    check(chain.graph(), ["PAD", "AVERAGE_POOL_2D"])


# --- activations ---


@pytest.mark.parametrize("quantization", [None, quantized()])
@pytest.mark.parametrize(
    ("fused", "kind", "expected"),
    [
        ("none", "RELU", "relu"),
        ("none", "RELU6", "relu6"),
        ("none", "RELU_N1_TO_1", "relu_n1_to_1"),
        ("relu", "RELU6", "relu6"),
        ("relu6", "RELU", "relu6"),
    ],
)
def test_activations_are_fused(
    quantization: Quantization | None, fused: str, kind: str, expected: str
) -> None:
    chain = Chain((1, 5, 6, 3), quantization)
    graph = chain.convolution(4, 3, Convolution(activation=fused)).then(kind).graph()
    attributes = attributes_of(check(graph, ["CONV_2D"]), "CONV_2D")
    assert isinstance(attributes, Convolution) and attributes.activation == expected


def test_activations_that_rescale_or_clash_stay() -> None:
    rescaling = Chain((1, 5, 6, 3), quantized()).convolution(4, 3, Convolution())
    rescaling.then("RELU", quantization=Quantization.per_tensor(0.03, -128))
    check(rescaling.graph(), ["CONV_2D", "RELU"])
    clashing = Chain((1, 5, 6, 3)).convolution(4, 3, Convolution(activation="relu"))
    check(clashing.then("RELU_N1_TO_1").graph(), ["CONV_2D", "RELU_N1_TO_1"])


def test_activation_of_a_tensor_that_others_read_stays() -> None:
    chain = Chain((1, 5, 6, 3)).convolution(3, 1, Convolution())
    computed = chain.last
    chain.then("RELU").then("ADD", Activation(), (computed,))
    check(chain.graph(), ["CONV_2D", "RELU", "ADD"])


# --- batch normalisation ---


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
@pytest.mark.parametrize("bias", ["given", "-1", "left out"])
def test_batch_normalisation_is_folded(kind: str, bias: str) -> None:
    chain = Chain((1, 10) if kind == "FULLY_CONNECTED" else (1, 5, 6, 3))
    if kind == "CONV_2D":
        operands, attributes, channels = [chain.weights(4, 3, 3, 3)], Convolution(), 4
    elif kind == "DEPTHWISE_CONV_2D":
        operands, attributes, channels = [chain.weights(1, 3, 3, 6)], Convolution(), 6
    else:
        operands, attributes, channels = [chain.weights(4, 10)], Activation(), 4
    chain.then(kind, attributes, [*operands, chain.bias(channels)])
    if bias != "given":
        last = chain.operators[-1]
        absent = (-1,) if bias == "-1" else ()
        chain.operators[-1] = replace(last, inputs=(*last.inputs[:2], *absent))
    chain.then("MUL", Activation(), [chain.constant(channels)])
    chain.then("ADD", Activation(), [chain.constant(1, channels)])
    chain.then("SUB", Activation(), [chain.constant(channels)])
    chain.then("SUB", Activation("relu"), [chain.constant(1)], first=False)
    simple = check(chain.graph(), [kind])
    assert getattr(simple.operators[0].attributes, "activation", None) == "relu"


def test_arithmetic_that_is_not_per_channel_stays() -> None:
    chain = Chain((1, 5, 6, 3)).convolution(4, 1, Convolution())
    chain.then("MUL", Activation(), [chain.constant(1, 5, 6, 4)])
    check(chain.graph(), ["CONV_2D", "MUL"])


def test_int8_arithmetic_is_not_folded() -> None:
    chain = Chain((1, 5, 6, 3), quantized()).convolution(4, 1, Convolution())
    data = np.array([100], np.int8)
    factor = chain.add(Tensor("c", (1,), INT8, data, Quantization.per_tensor(0.01, 0)))
    check(chain.then("MUL", Activation(), [factor]).graph(), ["CONV_2D", "MUL"])


# --- means and transposes ---


def published_head(quantization: Quantization | None) -> Chain:
    """How `mcunet_vww` ends: to NCHW, mean over W, mean over H."""
    chain = Chain((1, 3, 4, 8), quantization).then("TRANSPOSE", Transpose((0, 3, 1, 2)))
    return chain.then("MEAN", Reduce((3,))).then("MEAN", Reduce((2,)))


def test_transposes_before_means_vanish_and_int8_keeps_two_roundings() -> None:
    simple = check(published_head(quantized()).graph(), ["MEAN", "MEAN"])
    assert [op.attributes for op in simple.operators] == [Reduce((2,)), Reduce((1,))]


def test_float_means_merge() -> None:
    simple = check(published_head(None).graph(), ["MEAN"])
    assert simple.operators[0].attributes == Reduce((1, 2))


@pytest.mark.parametrize("keep_dims", [True, False])
@pytest.mark.parametrize("permutation", [(0, 3, 1, 2), (0, 2, 1, 3), (0, 2, 3, 1)])
def test_any_reduction_of_a_transpose_keeps_its_bits(
    permutation: tuple[int, ...], keep_dims: bool
) -> None:
    chain = Chain((1, 3, 4, 5), quantized()).then("TRANSPOSE", Transpose(permutation))
    graph = chain.then("MEAN", Reduce((1,), keep_dims)).graph()
    simple = simplify(graph)
    assert simple.operators[0].kind == "MEAN"
    expected, actual = run_both(graph, simple)
    assert np.array_equal(expected, actual)


# --- identities ---


def test_operators_that_do_nothing_are_dropped() -> None:
    chain = Chain((1, 3, 4, 5), quantized()).convolution(5, 1, Convolution())
    chain.then("RESHAPE", shape=(1, 3, 4, 5)).then("TRANSPOSE", Transpose((0, 1, 2, 3)))
    chain.then("SLICE", Slice((0, 0, 0, 0), (1, 1, 1, 1)), shape=(1, 3, 4, 5))
    chain.then("QUANTIZE").pad((0, 0), (0, 0), (0, 0), (0, 0))
    chain.then("CONCATENATION", Activation(axis=3))
    check(chain.graph(), ["CONV_2D"])


def test_reshapes_and_transposes_merge() -> None:
    chain = Chain((1, 3, 4, 5), quantized()).convolution(6, 1, Convolution())
    chain.then("RESHAPE", shape=(1, 12, 6)).then("RESHAPE", shape=(1, 6, 12))
    check(chain.graph(), ["CONV_2D", "RESHAPE"])
    chain = Chain((1, 3, 4, 5), quantized()).convolution(6, 1, Convolution())
    chain.then("TRANSPOSE", Transpose((0, 3, 1, 2))).then("TRANSPOSE", Transpose((0, 2, 3, 1)))
    check(chain.graph(), ["CONV_2D"])


def test_transpose_that_moves_nothing_is_a_reshape() -> None:
    chain = Chain((1, 1, 4, 5), quantized()).convolution(6, 1, Convolution())
    check(chain.then("TRANSPOSE", Transpose((0, 2, 1, 3))).graph(), ["CONV_2D", "RESHAPE"])


def test_requantisation_to_another_scale_stays() -> None:
    chain = Chain((1, 3, 4, 5), quantized()).convolution(5, 1, Convolution())
    chain.then("QUANTIZE", quantization=Quantization.per_tensor(0.1, 3))
    check(chain.graph(), ["CONV_2D", "QUANTIZE"])


def test_an_identity_between_ports_stays() -> None:
    graph = Chain((1, 3, 4, 5), quantized()).then("QUANTIZE").graph()
    check(graph, ["QUANTIZE"])


def test_dead_operators_and_their_tensors_are_removed() -> None:
    chain = Chain((1, 3, 4, 5), quantized()).convolution(5, 1, Convolution())
    used = chain.last
    chain.convolution(7, 1, Convolution())
    chain.last = used
    simple = check(chain.graph(), ["CONV_2D"])
    assert len(simple.tensors) == 4


# --- constants ---


def test_operators_on_constants_are_computed() -> None:
    chain = Chain((1, 3, 4, 5))
    factor = chain.constant(1, 5)
    start = chain.last
    chain.last = factor
    chain.then("RESHAPE", shape=(1, 1, 1, 5)).then("RELU")
    folded = chain.last
    chain.last = start
    chain.then("MUL", Activation(), [folded])
    simple = check(chain.graph(), ["MUL"])
    assert sum(tensor.is_constant for tensor in simple.tensors) == 1


# --- all together ---


@pytest.mark.parametrize("seed", range(200))
def test_random_int8_graphs_keep_their_bits(seed: int) -> None:
    graph = build_graph(replace(recipe_of(seed), float_ports=False))
    simple = simplify(graph)
    assert len(simple.operators) <= len(graph.operators)
    inputs = random_inputs(graph, seed)
    expected = litert.run(write_tflite(graph), inputs)
    actual = litert.run(write_tflite(simple), inputs)
    for before, after in zip(expected, actual, strict=True):
        assert before.shape == after.shape and np.array_equal(before, after)


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("mcunet_vww.tflite", 56),
        ("mlperf_ad01_int8.tflite", 10),
        ("mlperf_kws_ref_model.tflite", 13),
        ("mlperf_pretrainedResnet_quant.tflite", 16),
        ("mlperf_vww_96_int8.tflite", 31),
    ],
)
def test_published_models_keep_their_bits(models: Path, name: str, operators: int) -> None:
    graph = read_tflite((models / name).read_bytes())
    simple = simplify(graph)
    assert len(simple.operators) == operators
    assert not any(op.kind in ("PAD", "TRANSPOSE") for op in simple.operators)
    expected, actual = run_both(graph, simple)
    assert np.array_equal(expected, actual)
