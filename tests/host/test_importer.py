"""The `.tflite` importer: what it reads computes the same, what it cannot read it names."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import build_graph, recipe_of
from small_models import float_classifier
from tflite_editing import Step, Value, constant, edited, model

from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph, Slice, UnsupportedModel
from lilliput.importers.strided_slice import StridedSliceMasks, resolve_strided_slice
from lilliput.importers.tflite import read_tflite

# Operators after import, which strips QUANTIZE and DEQUANTIZE at the ports.
PUBLISHED = {
    "mcunet_vww.tflite": (61, (1, 80, 80, 3), (1, 2)),
    "mcunetv2_large.tflite": (161, (1, 224, 224, 3), (1, 1000)),
    "mlperf_ad01_int8.tflite": (10, (1, 640), (1, 640)),
    "mlperf_kws_ref_model.tflite": (13, (1, 49, 10, 1), (1, 12)),
    "mlperf_pretrainedResnet_quant.tflite": (16, (1, 32, 32, 3), (1, 10)),
    "mlperf_vww_96_int8.tflite": (31, (1, 96, 96, 3), (1, 2)),
}


def shapes(graph: Graph, indices: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [graph.tensors[index].shape for index in indices]


def run_int8(data: bytes, graph: Graph, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of a file and of the graph read from it, for the same int8 input, as reals.

    The graph's ports are int8; the file's may be float or uint8.
    """
    session, imported = litert.Session(data), litert.Session(write_tflite(graph))
    port, inner = session.inputs[0], imported.inputs[0]
    given = values
    if port.dtype == np.float32:
        shifted = values.astype(np.float32) - inner.zero_point
        given = (shifted * np.float32(inner.scale)).astype(np.float32)
    elif port.dtype == np.uint8:
        given = (values.astype(np.int16) + 128).astype(np.uint8)
    [expected], [actual] = session.run([given]), imported.run([values])
    return _reals(expected, session.outputs[0]), _reals(actual, imported.outputs[0])


def _reals(values: np.ndarray, port: litert.Port) -> np.ndarray:
    if values.dtype == np.float32:
        return values
    return (values.astype(np.float32) - port.zero_point) * np.float32(port.scale)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_read_with_int8_ports(models: Path, name: str) -> None:
    graph = read_tflite((models / name).read_bytes(), name)
    operators, input_shape, output_shape = PUBLISHED[name]
    assert len(graph.operators) == operators
    assert shapes(graph, graph.inputs) == [input_shape]
    assert shapes(graph, graph.outputs) == [output_shape]
    for index in (*graph.inputs, *graph.outputs):
        assert graph.tensors[index].dtype == np.int8


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "large" not in name])
def test_published_models_compute_the_same_after_import(models: Path, name: str) -> None:
    data = (models / name).read_bytes()
    graph = read_tflite(data)
    dice = np.random.default_rng(1)
    values = dice.integers(-128, 128, graph.tensors[graph.inputs[0]].shape).astype(np.int8)
    expected, actual = run_int8(data, graph, values)
    assert np.array_equal(expected, actual)


@pytest.mark.parametrize("seed", range(60))
def test_random_int8_graphs_read_back(seed: int) -> None:
    recipe = replace(recipe_of(seed), float_ports=False)
    graph = build_graph(recipe)
    data = write_tflite(graph)
    dice = np.random.default_rng(seed)
    inputs = [
        dice.integers(-128, 128, graph.tensors[i].shape).astype(np.int8) for i in graph.inputs
    ]
    expected = litert.run(data, inputs)
    actual = litert.run(write_tflite(read_tflite(data)), inputs)
    assert all(np.array_equal(a, b) for a, b in zip(expected, actual, strict=True))


def test_port_names_survive_the_stripping() -> None:
    data = float_ports_model("float32")
    graph = read_tflite(data)
    assert [graph.tensors[i].name for i in (*graph.inputs, *graph.outputs)] == ["image", "result"]
    assert [op.kind for op in graph.operators] == ["RELU"]


def float_ports_model(port: str, input_zero_point: int = 3) -> bytes:
    """QUANTIZE, RELU, DEQUANTIZE (or QUANTIZE to uint8 ports)."""
    unsigned = port == "uint8"
    outer_in = ([0.5], [input_zero_point + 128]) if unsigned else ([], [])
    outer_out = ([0.25], [-100 + 128]) if unsigned else ([], [])
    return model(
        [
            Value("image", (1, 2, 3, 4), port, None, *outer_in),
            Value("quantised", (1, 2, 3, 4), "int8", None, [0.5], [3]),
            Value("inner", (1, 2, 3, 4), "int8", None, [0.25], [-100]),
            Value("result", (1, 2, 3, 4), port, None, *outer_out),
        ],
        [
            Step("QUANTIZE", [0], [1], schema.QuantizeOptionsT()),
            Step("RELU", [1], [2]),
            Step("QUANTIZE" if unsigned else "DEQUANTIZE", [2], [3]),
        ],
        [0],
        [3],
    )


@pytest.mark.parametrize("port", ["float32", "uint8"])
def test_float_and_uint8_ports_become_int8(port: str) -> None:
    data = float_ports_model(port)
    graph = read_tflite(data)
    assert graph.tensors[graph.inputs[0]].dtype == graph.tensors[graph.outputs[0]].dtype == np.int8
    values = np.arange(-12, 12, dtype=np.int8).reshape(1, 2, 3, 4)
    expected, actual = run_int8(data, graph, values)
    assert np.array_equal(expected, actual)


def test_uint8_port_of_another_scale_is_an_error() -> None:
    with pytest.raises(UnsupportedModel, match="input tensor 'image' is uint8"):
        read_tflite(float_ports_model("uint8", input_zero_point=4))


def fully_connected(weights: Value, bias: Value | None = None, *extra: Step) -> bytes:
    values = [Value("x", (1, 3)), weights, Value("y", (1, 2))]
    inputs = [0, 1, -1]
    if bias is not None:
        values.append(bias)
        inputs[2] = 3
    options = schema.FullyConnectedOptionsT()
    return model(values, [*extra, Step("FULLY_CONNECTED", inputs, [2], options)], [0], [2])


def test_int8_weights_of_a_float_operator_become_float() -> None:
    numbers = np.array([[1, -2, 3], [4, 5, -6]], np.int8)
    weights = Value("w", (2, 3), "int8", numbers, [0.5, 0.25], [], 0)
    graph = read_tflite(fully_connected(weights))
    [op] = graph.operators
    constant_weights = graph.tensors[op.inputs[1]]
    assert constant_weights.dtype == np.float32 and constant_weights.quantization is None
    assert constant_weights.data is not None
    assert constant_weights.data.tolist() == [[0.5, -1.0, 1.5], [1.0, 1.25, -1.5]]


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_weights_behind_dequantize_become_float_constants(dtype: str) -> None:
    stored = np.array([[1, -2, 3], [4, 5, -6]], dtype)
    quantization = ([0.5], [1]) if dtype == "int8" else ([], [])
    data = model(
        [
            Value("x", (1, 3)),
            Value("stored", (2, 3), dtype, stored, *quantization),
            Value("w", (2, 3)),
            Value("y", (1, 2)),
        ],
        [
            Step("DEQUANTIZE", [1], [2]),
            Step("FULLY_CONNECTED", [0, 2, -1], [3], schema.FullyConnectedOptionsT()),
        ],
        [0],
        [3],
    )
    graph = read_tflite(data)
    assert [op.kind for op in graph.operators] == ["FULLY_CONNECTED"]
    x = np.array([[1.0, 2.0, 4.0]], np.float32)
    [expected], [actual] = litert.run(data, [x]), litert.run(write_tflite(graph), [x])
    assert np.array_equal(expected, actual)
    assert graph.tensors[graph.operators[0].inputs[1]].name == "stored"


def test_grouped_convolution_keeps_its_groups() -> None:
    dice = np.random.default_rng(0)
    weights = dice.normal(size=(6, 3, 3, 2)).astype(np.float32)
    data = model(
        [
            Value("x", (1, 5, 5, 4)),
            Value("w", weights.shape, "float32", weights),
            Value("b", (6,), "float32", dice.normal(size=6).astype(np.float32)),
            Value("y", (1, 5, 5, 6)),
        ],
        [Step("CONV_2D", [0, 1, 2], [3], schema.Conv2DOptionsT(strideW=1, strideH=1))],
        [0],
        [3],
    )
    graph = read_tflite(data)
    assert graph.tensors[graph.operators[0].inputs[1]].shape == (6, 3, 3, 2)
    x = dice.normal(size=(1, 5, 5, 4)).astype(np.float32)
    [expected], [actual] = litert.run(data, [x]), litert.run(write_tflite(graph), [x])
    assert np.array_equal(expected, actual)


def test_transposed_convolution_takes_its_operands_in_tflites_order() -> None:
    dice = np.random.default_rng(0)
    weights = dice.normal(size=(5, 3, 2, 4)).astype(np.float32)
    data = model(
        [
            constant("size", [1, 6, 6, 5]),
            Value("w", weights.shape, "float32", weights),
            Value("x", (1, 3, 3, 4)),
            Value("b", (5,), "float32", dice.normal(size=5).astype(np.float32)),
            Value("y", (1, 6, 6, 5)),
        ],
        [Step("TRANSPOSE_CONV", [0, 1, 2, 3], [4], schema.TransposeConvOptionsT(0, 2, 2))],
        [2],
        [4],
    )
    graph = read_tflite(data)
    [op] = graph.operators
    assert [graph.tensors[i].name for i in op.inputs] == ["x", "w", "b"]
    x = dice.normal(size=(1, 3, 3, 4)).astype(np.float32)
    [expected], [actual] = litert.run(data, [x]), litert.run(write_tflite(graph), [x])
    assert np.array_equal(expected, actual)


@pytest.mark.parametrize("kind", ["SPLIT", "SPLIT_V"])
def test_split_becomes_one_slice_for_each_output(kind: str) -> None:
    even = kind == "SPLIT"
    sizes = [2, 2, 2] if even else [1, 2, 3]
    parts = [Value(f"part{n}", (1, 3, size)) for n, size in enumerate(sizes)]
    values = [Value("x", (1, 3, 6)), constant("axis", -1), constant("sizes", sizes), *parts]
    operands = [1, 0] if even else [0, 2, 1]
    options = schema.SplitOptionsT(3) if even else schema.SplitVOptionsT(3)
    data = model(values, [Step(kind, operands, [3, 4, 5], options)], [0], [3, 4, 5])
    graph = read_tflite(data)
    assert [op.kind for op in graph.operators] == ["SLICE"] * 3
    x = np.arange(18, dtype=np.float32).reshape(1, 3, 6)
    expected, actual = litert.run(data, [x]), litert.run(write_tflite(graph), [x])
    assert all(np.array_equal(a, b) for a, b in zip(expected, actual, strict=True))


@pytest.mark.parametrize("kind", ["RESHAPE", "SQUEEZE", "EXPAND_DIMS"])
def test_renamings_of_dimensions_become_reshape(kind: str) -> None:
    before, after = ((1, 1, 6), (1, 6)) if kind == "SQUEEZE" else ((1, 6), (1, 1, 6))
    operand = {"RESHAPE": constant("o", after), "EXPAND_DIMS": constant("o", 1)}.get(kind)
    values = [Value("x", before), Value("y", after), *([operand] if operand else [])]
    options = schema.SqueezeOptionsT([1]) if kind == "SQUEEZE" else None
    data = model(values, [Step(kind, [0, *([2] if operand else [])], [1], options)], [0], [1])
    graph = read_tflite(data)
    assert [op.kind for op in graph.operators] == ["RESHAPE"]
    assert shapes(graph, graph.outputs) == [after]


@st.composite
def slices(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int], list[int], list[int], dict]:
    """A shape and a STRIDED_SLICE specification over it, masks included."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    entries = draw(st.integers(1, len(shape)))
    index = st.integers(-7, 7)
    begin = draw(st.lists(index, min_size=entries, max_size=entries))
    end = draw(st.lists(index, min_size=entries, max_size=entries))
    step = st.integers(-3, 3).filter(bool)
    stride = draw(st.lists(step, min_size=entries, max_size=entries))
    bits = st.integers(0, 2**entries - 1)
    masks = {"beginMask": draw(bits), "endMask": draw(bits), "shrinkAxisMask": 0}
    masks["ellipsisMask"] = draw(st.sampled_from([0, 0, *(1 << n for n in range(entries))]))
    masks["newAxisMask"] = draw(st.sampled_from([0, 0, *(1 << n for n in range(entries))]))
    for entry in range(entries):
        inside = entry < len(shape) and -shape[entry] <= begin[entry] < shape[entry]
        plain = not masks["ellipsisMask"] and not masks["newAxisMask"]
        if plain and inside and stride[entry] == 1 and draw(st.booleans()):
            masks["shrinkAxisMask"] |= 1 << entry
            masks["beginMask"] &= ~(1 << entry)
    return shape, begin, end, stride, masks


@given(slices())
@settings(max_examples=200)
def test_strided_slices_mean_what_litert_means(
    case: tuple[tuple[int, ...], list[int], list[int], list[int], dict[str, int]],
) -> None:
    shape, begin, end, stride, options = case
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(1, -1)
    try:
        [expected] = litert.run(slice_model(shape, shape, begin, end, stride, options), [x])
    except ValueError:
        return  # LiteRT does not take it: there is nothing to compare with
    masks = StridedSliceMasks(
        options["beginMask"],
        options["endMask"],
        options["ellipsisMask"],
        options["newAxisMask"],
        options["shrinkAxisMask"],
    )
    resolved = resolve_strided_slice(shape, begin, end, stride, masks)
    assert resolved.output_shape == expected.shape
    if expected.size == 0 or expected.ndim == 0:
        return
    data = slice_model(shape, expected.shape, begin, end, stride, options)
    graph = read_tflite(data)
    assert isinstance(graph.operators[1].attributes, Slice)
    [actual] = litert.run(write_tflite(graph), [x])
    assert np.array_equal(expected, actual)


def slice_model(
    shape: tuple[int, ...],
    output: tuple[int, ...],
    begin: list[int],
    end: list[int],
    stride: list[int],
    masks: dict[str, int],
) -> bytes:
    """A STRIDED_SLICE of a reshaped input, which has a batch of 1."""
    return model(
        [
            Value("flat", (1, math.prod(shape))),
            constant("shape", shape),
            Value("x", shape),
            constant("begin", begin),
            constant("end", end),
            constant("strides", stride),
            Value("y", output),
        ],
        [
            Step("RESHAPE", [0, 1], [2]),
            Step("STRIDED_SLICE", [2, 3, 4, 5], [6], schema.StridedSliceOptionsT(**masks)),
        ],
        [0],
        [6],
    )


# --- what is not supported ---

Change = Callable[[schema.ModelT], None]


def classifier() -> bytes:
    return write_tflite(float_classifier())


def tensor_named(tree: schema.ModelT, name: str) -> schema.TensorT:
    [found] = [t for t in tree.subgraphs[0].tensors if t.name in (name, name.encode())]
    return found


def kind_of_first(tree: schema.ModelT, kind: int) -> None:
    tree.operatorCodes[0].builtinCode = kind
    tree.operatorCodes[0].deprecatedBuiltinCode = min(kind, 127)


def batch_of_two(tree: schema.ModelT) -> None:
    tensor_named(tree, "image").shape = [2, 12, 12, 3]


def dynamic_height(tree: schema.ModelT) -> None:
    tensor_named(tree, "image").shapeSignature = [1, -1, 12, 3]


def uint8_activation(tree: schema.ModelT) -> None:
    tensor_named(tree, "stem").type = schema.TensorType.UINT8


def int16_activation(tree: schema.ModelT) -> None:
    tensor_named(tree, "stem").type = schema.TensorType.INT16


def per_channel_activation(tree: schema.ModelT) -> None:
    tensor = tensor_named(tree, "stem")
    tensor.type = schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT(
        scale=[0.5] * 8, zeroPoint=[0] * 8, quantizedDimension=3
    )


def sparse_weights(tree: schema.ModelT) -> None:
    tensor_named(tree, "stem/weights").sparsity = schema.SparsityParametersT(
        traversalOrder=[0], dimMetadata=[]
    )


def state(tree: schema.ModelT) -> None:
    tensor_named(tree, "stem").isVariable = True


def fused_tanh(tree: schema.ModelT) -> None:
    options = tree.subgraphs[0].operators[0].builtinOptions
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH


def wrong_shape(tree: schema.ModelT) -> None:
    tensor_named(tree, "stem").shape = [1, 7, 6, 8]


def computed_axis(tree: schema.ModelT) -> None:
    tree.subgraphs[0].operators[2].inputs = [6, 0]


def no_producer(tree: schema.ModelT) -> None:
    del tree.subgraphs[0].operators[0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: kind_of_first(t, schema.BuiltinOperator.CUMSUM), ["CUMSUM 'stem'", "replace"]),
        (lambda t: kind_of_first(t, schema.BuiltinOperator.IF), ["IF 'stem'", "control flow"]),
        (lambda t: kind_of_first(t, schema.BuiltinOperator.CUSTOM), ["CUSTOM", "'stem'"]),
        (batch_of_two, ["input tensor 'image'", "batch size 2", "batch size 1"]),
        (dynamic_height, ["input tensor 'image'", "dynamic", "fixed"]),
        (uint8_activation, ["CONV_2D 'stem'", "uint8", "int8"]),
        (int16_activation, ["CONV_2D 'stem'", "INT16", "int8"]),
        (per_channel_activation, ["CONV_2D 'stem'", "per channel"]),
        (sparse_weights, ["CONV_2D 'stem'", "'stem/weights'", "dense"]),
        (state, ["CONV_2D 'stem'", "variable", "without state"]),
        (fused_tanh, ["CONV_2D 'stem'", "TANH"]),
        (wrong_shape, ["CONV_2D 'stem'", "[1, 7, 6, 8]", "[1, 6, 6, 8]"]),
        (computed_axis, ["MEAN 'features'", "axis", "constant"]),
        (no_producer, ["DEPTHWISE_CONV_2D 'depthwise'", "'stem'"]),
    ],
)
def test_unsupported_models_are_named(change: Change, expected: list[str]) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        read_tflite(edited(classifier(), change))
    message = str(caught.value)
    assert all(part in message for part in expected), message


def test_an_activation_fused_into_a_concatenation_is_an_error() -> None:
    options = schema.ConcatenationOptionsT(1, schema.ActivationFunctionType.RELU)
    step = Step("CONCATENATION", [0, 0], [1], options)
    with pytest.raises(UnsupportedModel, match=r"CONCATENATION 'y'.*relu"):
        read_tflite(model([Value("x", (1, 4)), Value("y", (1, 8))], [step], [0], [1]))


def test_float_in_the_middle_of_int8_is_an_error_that_names_the_place() -> None:
    quantized = ("int8", None, [0.5], [0])
    data = model(
        [
            Value("x", (1, 4), *quantized),
            Value("real", (1, 4)),
            Value("activated", (1, 4)),
            Value("y", (1, 4), *quantized),
        ],
        [Step("DEQUANTIZE", [0], [1]), Step("RELU", [1], [2]), Step("QUANTIZE", [2], [3])],
        [0],
        [3],
    )
    with pytest.raises(UnsupportedModel, match="DEQUANTIZE 'real' converts between"):
        read_tflite(data)


def test_unknown_batch_is_taken_as_one() -> None:
    def unknown(tree: schema.ModelT) -> None:
        for tensor in tree.subgraphs[0].tensors:
            if tensor.name in ("image", b"image"):
                tensor.shapeSignature = [-1, 12, 12, 3]

    graph = read_tflite(edited(classifier(), unknown))
    assert shapes(graph, graph.inputs) == [(1, 12, 12, 3)]


# --- files that are damaged ---


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too short"),
        (b"not a model", "bytes 4 to 8"),
        (struct.pack("<I", 1 << 30) + b"TFL3" + bytes(64), "root lies at"),
        (b"\x08\0\0\0TFL3" + bytes(40), "schema version 0"),
    ],
)
def test_what_is_no_tflite_file_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_tflite(data)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated_files_raise_value_error(share: float) -> None:
    data = classifier()
    with pytest.raises(ValueError, match=r"\w"):
        read_tflite(data[: int(len(data) * share)])


def test_constants_of_the_wrong_size_are_damage() -> None:
    def shorter(tree: schema.ModelT) -> None:
        index = tensor_named(tree, "stem/weights").buffer
        tree.buffers[index].data = tree.buffers[index].data[:-4]

    with pytest.raises(ValueError, match=r"'stem/weights'.*holds"):
        read_tflite(edited(classifier(), shorter))


@given(st.integers(0, 2**32))
@settings(max_examples=300)
def test_bit_flips_raise_value_error_or_nothing(seed: int) -> None:
    dice = np.random.default_rng(seed)
    data = bytearray(classifier())
    # Mostly the tables: flips in weights change nothing that can be seen.
    for position in dice.integers(0, len(data), dice.integers(1, 5)):
        data[position] ^= 1 << int(dice.integers(8))
    try:
        graph = read_tflite(bytes(data))
    except ValueError as error:
        assert str(error)
    else:
        assert graph.operators
