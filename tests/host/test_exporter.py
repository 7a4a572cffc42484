"""The exporter against the importer and LiteRT: what is written reads back as the same graph."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from random_graphs import STEPS, Recipe, Step, build_graph, random_inputs, recipe_of, recipes

from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import (
    Convolution,
    Graph,
    Operator,
    Pad,
    Pool,
    Quantization,
    Slice,
    Tensor,
    UnsupportedModel,
)
from lilliput.importers.tflite import read_tflite
from lilliput.passes.simplify import simplify


def as_float(graph: Graph) -> Graph:
    """The graph with float32 in place of int8: as large, not as meaningful."""

    def tensor(old: Tensor) -> Tensor:
        if old.dtype not in (np.int8, np.int32) or old.quantization is None:
            return old
        data = None if old.data is None else old.data.astype(np.float32) / 64
        return replace(old, dtype=np.dtype(np.float32), data=data, quantization=None)

    return replace(graph, tensors=tuple(tensor(old) for old in graph.tensors))


def operators_of(graph: Graph) -> list[tuple]:
    """What can be compared of a graph: kinds, attributes, shapes and constants, in order."""
    return [
        (
            operator.kind,
            operator.attributes,
            [None if i < 0 else graph.tensors[i].shape for i in operator.inputs],
            [graph.tensors[i].shape for i in operator.outputs],
            [graph.tensors[i].data.tolist() for i in operator.inputs[:2] if _constant(graph, i)],
        )
        for operator in graph.operators
    ]


def _constant(graph: Graph, index: int) -> bool:
    return index >= 0 and graph.tensors[index].is_constant


def convolution_graph(attributes: Convolution, dtype: type = np.int8) -> Graph:
    """One convolution, 3x3, of a 5x5 map with 2 channels."""
    is_int8 = dtype == np.int8
    scale = Quantization.per_tensor(0.5, 7 if is_int8 else 0) if is_int8 else None
    weight_scale = Quantization.per_tensor(0.25, 0) if is_int8 else None
    top, bottom, left, right = attributes.explicit_padding or (0, 0, 0, 0)
    size = (5 + top + bottom - 2, 5 + left + right - 2)
    weights = np.arange(-9, 9).reshape(1, 3, 3, 2).astype(dtype)
    return Graph(
        (
            Tensor("x", (1, 5, 5, 2), np.dtype(dtype), None, scale),
            Tensor("w", (1, 3, 3, 2), np.dtype(dtype), weights, weight_scale),
            Tensor("y", (1, *size, 1), np.dtype(dtype), None, scale),
        ),
        (Operator("CONV_2D", (0, 1), (2,), attributes),),
        (0,),
        (2,),
    )


@given(recipes())
@settings(max_examples=200)
def test_int8_graph_reads_back_with_the_same_numbers(recipe: Recipe) -> None:
    graph = build_graph(replace(recipe, float_ports=False))
    written = write_tflite(graph)
    inputs = random_inputs(graph, 1)
    expected = litert.run(written, inputs)
    again = read_tflite(written)
    for computed in (write_tflite(again), write_tflite(simplify(again))):
        for value, wanted in zip(litert.run(computed, inputs), expected, strict=True):
            np.testing.assert_array_equal(value.ravel(), wanted.ravel())


@pytest.mark.parametrize("kind", [k for k in STEPS if k not in ("quantize", "concatenation")])
def test_float_graph_reads_back_alike(kind: str) -> None:
    for seed in range(10):
        recipe = Recipe((seed,), (Step(kind, seed),))
        original = as_float(build_graph(recipe))
        if any(operator.kind == "QUANTIZE" for operator in original.operators):
            continue
        written = write_tflite(original)
        litert.Session(written)
        again = read_tflite(written)
        assert operators_of(read_tflite(write_tflite(again))) == operators_of(again)
        [operator, *_] = again.operators
        assert again.tensors[operator.inputs[0]].dtype == np.float32


def test_attributes_survive() -> None:
    """On graphs that hold nothing that the importer rewrites, operators come back as they were."""
    compared: Counter[str] = Counter()
    for seed in range(300):
        graph = build_graph(replace(recipe_of(seed), float_ports=False))
        if any(
            operator.kind == "SPLIT" or getattr(operator.attributes, "explicit_padding", None)
            for operator in graph.operators
        ):
            continue
        again = read_tflite(write_tflite(graph))
        expected = operators_of(graph)
        for (kind, attributes, inputs, outputs, constants), found in zip(
            expected, operators_of(again), strict=True
        ):
            if kind in ("STRIDED_SLICE", "PADV2"):  # written and read by what they need
                assert attributes == found[1]
            else:
                # The writer gives convolutions the bias that LiteRT wants.
                inputs_found = found[2][: len(inputs)] if kind.endswith("CONV_2D") else found[2]
                assert (kind, attributes) == (found[0], found[1])
                assert [i for i in inputs if i] == [i for i in inputs_found if i]
                assert constants == found[4]
            assert outputs == found[3]
            compared[kind] += 1
    assert min(compared.values()) >= 5, compared
    assert len(compared) >= 28, sorted(compared)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
def test_explicit_padding_pads_with_zero(dtype: type) -> None:
    padding = (1, 0, 2, 3)
    graph = convolution_graph(Convolution(explicit_padding=padding), dtype)
    dice = np.random.default_rng(1)
    x = dice.integers(-128, 128, (1, 5, 5, 2)).astype(dtype)
    [y] = litert.run(write_tflite(graph), [x])
    zero = 7 if dtype == np.int8 else 0
    padded = np.pad(x.astype(np.int64) - zero, ((0, 0), (1, 0), (2, 3), (0, 0)))
    weights = graph.tensors[1].data.astype(np.int64)[0]
    sums = np.array(
        [
            [(padded[0, i : i + 3, j : j + 3] * weights).sum() for j in range(y.shape[2])]
            for i in range(y.shape[1])
        ]
    )
    if dtype == np.int8:
        # Scales of 0.5 * 0.25 to 0.5: a quarter, ties away from zero.
        rounded = np.sign(sums) * ((np.abs(sums) + 2) // 4)
        np.testing.assert_array_equal(y[0, :, :, 0], np.clip(rounded + 7, -128, 127))
    else:
        np.testing.assert_array_equal(y[0, :, :, 0], sums)


def test_explicit_padding_of_a_maximum_is_the_lowest_number() -> None:
    scale = Quantization.per_tensor(1.0, 0)
    graph = Graph(
        (
            Tensor("x", (1, 2, 2, 1), np.dtype(np.int8), None, scale),
            Tensor("y", (1, 3, 3, 1), np.dtype(np.int8), None, scale),
        ),
        (Operator("MAX_POOL_2D", (0,), (1,), Pool(kernel=(2, 2), explicit_padding=(1, 1, 1, 1))),),
        (0,),
        (1,),
    )
    x = np.array([-100, -50, -90, -120], np.int8).reshape(1, 2, 2, 1)
    [y] = litert.run(write_tflite(graph), [x])
    assert y.reshape(3, 3).tolist() == [[-100, -50, -50], [-90, -50, -50], [-90, -90, -120]]


def test_pad_value_other_than_zero_is_kept() -> None:
    scale = Quantization.per_tensor(1.0, 3)
    graph = Graph(
        (
            Tensor("x", (1, 2), np.dtype(np.int8), None, scale),
            Tensor("y", (1, 4), np.dtype(np.int8), None, scale),
        ),
        (Operator("PAD", (0,), (1,), Pad((0, 1), (0, 1), -20.0)),),
        (0,),
        (1,),
    )
    [y] = litert.run(write_tflite(graph), [np.array([[5, 6]], np.int8)])
    assert y.tolist() == [[-20, 5, 6, -20]]


def test_slice_towards_the_start_reaches_the_first_element() -> None:
    scale = Quantization.per_tensor(1.0, 0)
    graph = Graph(
        (
            Tensor("x", (1, 5), np.dtype(np.int8), None, scale),
            Tensor("y", (1, 3), np.dtype(np.int8), None, scale),
        ),
        (Operator("STRIDED_SLICE", (0,), (1,), Slice((0, 4), (1, -2))),),
        (0,),
        (1,),
    )
    [y] = litert.run(write_tflite(graph), [np.arange(5, dtype=np.int8).reshape(1, 5)])
    assert y.tolist() == [[4, 2, 0]]


def test_equal_slices_become_one_split() -> None:
    scale = Quantization.per_tensor(1.0, 0)
    part = Tensor("part", (1, 2), np.dtype(np.int8), None, scale)
    graph = Graph(
        (Tensor("x", (1, 6), np.dtype(np.int8), None, scale), part, part, part),
        tuple(Operator("SPLIT", (0,), (n + 1,), Slice((0, 2 * n), (1, 1))) for n in range(3)),
        (0,),
        (1, 2, 3),
    )
    written = write_tflite(graph)
    model = schema.ModelT.InitFromPackedBuf(written)
    assert [code.builtinCode for code in model.operatorCodes] == [schema.BuiltinOperator.SPLIT]
    y = litert.run(written, [np.arange(6, dtype=np.int8).reshape(1, 6)])
    assert [part.tolist() for part in y] == [[[0, 1]], [[2, 3]], [[4, 5]]]


def test_constants_are_aligned() -> None:
    graph = build_graph(recipe_of(12))
    written = write_tflite(graph)
    model = schema.Model.GetRootAs(written)
    addresses = []
    for index in range(1, model.BuffersLength()):
        vector = model.Buffers(index)._tab
        offset = vector.Offset(4)
        addresses.append(vector.Vector(offset))
    assert addresses
    assert all(address % 16 == 0 for address in addresses)


def test_unknown_kind_is_named() -> None:
    graph = convolution_graph(Convolution())
    broken = graph.with_operators([replace(graph.operators[0], kind="WARP")])
    with pytest.raises(UnsupportedModel, match=r"WARP \(output 'y'\)"):
        write_tflite(broken)


def test_wrong_attributes_are_named() -> None:
    graph = convolution_graph(Convolution())
    broken = graph.with_operators([replace(graph.operators[0], attributes=Pool())])
    with pytest.raises(UnsupportedModel, match="Pool; it needs Convolution"):
        write_tflite(broken)


def test_constant_of_another_size_is_named() -> None:
    graph = convolution_graph(Convolution())
    tensors = list(graph.tensors)
    tensors[1] = replace(tensors[1], shape=(1, 3, 3, 3))
    with pytest.raises(UnsupportedModel, match="constant 'w'"):
        write_tflite(replace(graph, tensors=tuple(tensors)))


def test_types_that_tflite_lacks_are_named() -> None:
    graph = convolution_graph(Convolution())
    tensors = list(graph.tensors)
    tensors[0] = replace(tensors[0], dtype=np.dtype(np.complex128))
    with pytest.raises(UnsupportedModel, match="'x' is complex128"):
        write_tflite(replace(graph, tensors=tuple(tensors)))


def test_average_pool_has_no_explicit_padding() -> None:
    scale = Quantization.per_tensor(1.0, 0)
    graph = Graph(
        (
            Tensor("x", (1, 2, 2, 1), np.dtype(np.int8), None, scale),
            Tensor("y", (1, 3, 3, 1), np.dtype(np.int8), None, scale),
        ),
        (
            Operator(
                "AVERAGE_POOL_2D", (0,), (1,), Pool(kernel=(2, 2), explicit_padding=(1, 1, 1, 1))
            ),
        ),
        (0,),
        (1,),
    )
    with pytest.raises(UnsupportedModel, match="AVERAGE_POOL_2D has no explicit padding"):
        write_tflite(graph)
