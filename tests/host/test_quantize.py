"""The quantiser: scales by TFLite's rules, numbers that LiteRT runs, errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import build_graph, recipe_of
from small_models import float_classifier, with_two_inputs
from test_passes import FLOAT, Chain

from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import (
    Activation,
    Convolution,
    Graph,
    LeakyRelu,
    Pad,
    Pool,
    Quantization,
    Reduce,
    Resize,
    Slice,
    Softmax,
    Tensor,
    Transpose,
)
from lilliput.importers.tflite import read_tflite
from lilliput.passes.simplify import simplify
from lilliput.quantize import METHODS, Options, quantize
from lilliput.quantize.equalization import equalize
from lilliput.quantize.observers import ErrorObserver, ExtremesObserver, HistogramObserver
from lilliput.quantize.ranges import (
    Range,
    activation_quantization,
    covered_range,
    dequantize_values,
    quantize_values,
)
from lilliput.quantize.weights import dequantize_weights, quantize_bias, quantize_weights

QUICK = Options(method="minmax", equalize=False, bias_correction=False, report_samples=0)


def normal_samples(graph: Graph, count: int = 8, seed: int = 0) -> list[list[np.ndarray]]:
    dice = np.random.default_rng(seed)
    return [
        [dice.normal(0, 1, graph.tensors[i].shape).astype(np.float32) for i in graph.inputs]
        for _ in range(count)
    ]


def run_quantized(graph: Graph, sample: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The int8 graph's outputs as reals, by LiteRT's reference kernels."""
    session = litert.Session(write_tflite(graph))
    numbers = []
    for index, value in zip(graph.inputs, sample, strict=True):
        numbers.append(quantize_values(value, quantization_of(graph, index)))
    results = session.run(numbers)
    return [
        dequantize_values(value, quantization_of(graph, index)) if value.dtype == np.int8 else value
        for index, value in zip(graph.outputs, results, strict=True)
    ]


def quantization_of(graph: Graph, index: int) -> Quantization:
    found = graph.tensors[index].quantization
    assert found is not None
    return found


def sqnr(expected: np.ndarray, actual: np.ndarray) -> float:
    noise = np.sum((expected.astype(np.float64) - actual) ** 2)
    return float(10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / max(noise, 1e-30)))


# --- numbers ---


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_activation_quantisation_covers_its_range_and_zero(first: float, second: float) -> None:
    values = Range(min(first, second), max(first, second))
    quantization = activation_quantization(values)
    covered, step = covered_range(quantization), float(quantization.scale[0])
    assert -128 <= int(quantization.zero_point[0]) <= 127
    assert covered.low - step / 2 <= min(values.low, 0.0) * (1 + 1e-6)
    assert covered.high + step / 2 >= max(values.high, 0.0) * (1 - 1e-6)
    zero = quantize_values(np.zeros(1, np.float32), quantization)
    assert dequantize_values(zero, quantization)[0] == 0.0


def test_values_are_rounded_as_litert_rounds_them() -> None:
    quantization = Quantization.per_tensor(0.1, 7)
    dice = np.random.default_rng(0)
    values = np.concatenate([np.arange(-150, 150) * 0.05, dice.normal(0, 10, 700)])
    reals = values.astype(np.float32).reshape(1, -1)
    chain = Chain(reals.shape)
    graph = chain.then("QUANTIZE").graph()
    stored = replace(graph.tensors[1], dtype=np.dtype(np.int8), quantization=quantization)
    data = write_tflite(replace(graph, tensors=(graph.tensors[0], stored)))
    assert np.array_equal(litert.run(data, [reals])[0], quantize_values(reals, quantization))


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_symmetric_and_close(per_channel: bool) -> None:
    dice = np.random.default_rng(0)
    data = dice.normal(0, [[0.1], [1.0], [10.0]], (3, 20)).astype(np.float32)
    data[2, 0] = 0.0
    stored = quantize_weights(Tensor("w", (3, 20), FLOAT, data), None, 0, 0.1, per_channel)
    assert stored.data is not None and stored.quantization is not None
    assert stored.data.dtype == np.int8 and np.abs(stored.data).max() == 127
    assert stored.data.min() >= -127 and not stored.quantization.zero_point.any()
    assert stored.quantization.scale.size == (3 if per_channel else 1)
    error = np.abs(dequantize_weights(stored) - data)
    assert np.all(error <= stored.quantization.scale.reshape(-1, 1) * 0.5001)


def test_scales_of_weights_leave_room_for_the_bias() -> None:
    weights = Tensor("w", (2, 1), FLOAT, np.array([[1e-9], [0.0]], np.float32))
    bias = Tensor("b", (2,), FLOAT, np.array([100.0, -100.0], np.float32))
    source = Quantization.per_tensor(0.01, 0)
    stored = quantize_weights(weights, bias, 0, 0.01, True)
    assert bias.data is not None
    biases = quantize_bias("b", bias.data, source, stored)
    assert biases.data is not None and biases.quantization is not None
    assert np.abs(biases.data.astype(np.int64)).max() <= 2**30
    reals = biases.data * biases.quantization.scale.astype(np.float64)
    assert np.allclose(reals, [100.0, -100.0], rtol=1e-6)


# --- ranges ---


def test_minmax_and_average_and_usual_extremes() -> None:
    observer = ExtremesObserver()
    for high in (1.0, 2.0, 3.0, 500.0):
        observer.observe(np.array([-1.0, 0.0, high], np.float32))
    assert observer.extremes == Range(-1.0, 500.0)
    assert observer.average(0.5) == Range(-1.0, 0.5 * (0.5 * (0.5 * 1.0 + 1.0) + 1.5) + 250.0)
    assert observer.usual_extremes == Range(-1.0, 3.0)


def test_percentile_range_leaves_that_share_outside() -> None:
    values = np.arange(10_000, dtype=np.float32)
    observer = HistogramObserver(Range(0.0, 9_999.0))
    observer.observe(values)
    chosen = observer.percentile_range(99.0)
    assert abs(np.mean(values < chosen.low) - 0.01) < 0.001
    assert abs(np.mean(values > chosen.high) - 0.01) < 0.001
    assert observer.percentile_range(100.0) == Range(0.0, 9_999.0)


def test_least_squares_range_is_the_best_of_a_search_by_brute_force() -> None:
    dice = np.random.default_rng(0)
    values = np.maximum(dice.laplace(0, 1, 500_000), 0).astype(np.float32)

    def error(high: float) -> float:
        quantization = activation_quantization(Range(0.0, high))
        back = dequantize_values(quantize_values(values, quantization), quantization)
        return float(np.sum((back - values) ** 2))

    observer = ErrorObserver()
    observer.observe(values)
    chosen = observer.least_squares_range()
    best = min(error(high) for high in np.linspace(5.0, float(values.max()), 40))
    assert chosen.low == 0.0
    assert error(chosen.high) <= 1.02 * best < 0.9 * error(float(values.max()))


def test_one_outlier_sample_does_not_spoil_the_least_squares_range() -> None:
    dice = np.random.default_rng(0)
    observer = ErrorObserver()
    for number in range(20):
        observer.observe(dice.normal(0, 100.0 if number == 7 else 1.0, 4_000).astype(np.float32))
    chosen = observer.least_squares_range()
    assert -6.0 < chosen.low < -2.5 and 2.5 < chosen.high < 6.0


# --- whole graphs ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_every_method_keeps_a_classifier_close(method: str, per_channel: bool) -> None:
    graph = float_classifier()
    samples = normal_samples(graph, 16)
    quantized, _ = quantize(graph, samples, Options(method=method, per_channel=per_channel))
    session = litert.Session(write_tflite(graph))
    for sample in normal_samples(graph, 5, seed=1):
        assert sqnr(session.run(sample)[0], run_quantized(quantized, sample)[0]) > 22.0


def test_quantised_graph_obeys_the_int8_specification() -> None:
    graph, _ = quantize(float_classifier(), normal_samples(float_classifier()))
    for index in (*graph.inputs, *graph.outputs):
        assert graph.tensors[index].dtype == np.int8
    assert [graph.tensors[i].name for i in graph.inputs] == ["image"]
    assert [graph.tensors[i].name for i in graph.outputs] == ["probabilities"]
    assert quantization_of(graph, graph.outputs[0]).same_as(
        Quantization.per_tensor(1.0 / 256.0, -128)
    )
    weighted = [op for op in graph.operators if len(op.inputs) == 3]
    assert len(weighted) == 3
    for op in weighted:
        weights, bias = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[2]]
        assert weights.dtype == np.int8 and bias.dtype == np.int32
        assert weights.quantization is not None and bias.quantization is not None
        source = quantization_of(graph, op.inputs[0]).scale[0]
        assert np.array_equal(bias.quantization.scale, source * weights.quantization.scale)
        assert weights.quantization.scale.size == bias.shape[0]


def test_several_inputs_and_outputs() -> None:
    graph = with_two_inputs(float_classifier())
    samples = normal_samples(graph)
    quantized, _ = quantize(graph, samples, QUICK)
    assert len(quantized.inputs) == 2 and len(quantized.outputs) == len(graph.outputs)
    expected = litert.run(write_tflite(graph), samples[0])
    for real, number in zip(expected, run_quantized(quantized, samples[0]), strict=True):
        assert sqnr(real, number) > 20.0


ALL_KINDS = [
    lambda c: c.convolution(4, 3, Convolution("same", (2, 2), activation="relu6")),
    lambda c: c.convolution(4, 3, Convolution(explicit_padding=(1, 0, 2, 1))),
    lambda c: c.then("DEPTHWISE_CONV_2D", Convolution(), [c.weights(1, 3, 3, 12), c.bias(12)]),
    lambda c: c.then("DEPTHWISE_CONV_2D", Convolution(), [c.weights(1, 3, 3, 6), -1]),
    lambda c: c.then(
        "TRANSPOSE_CONV",
        Convolution("same", (2, 2)),
        [c.weights(4, 3, 3, 6), c.bias(4)],
        (1, 12, 14, 4),
    ),
    lambda c: c.then("FULLY_CONNECTED", Activation("relu"), [c.weights(5, 252), c.bias(5)]),
    lambda c: c.then("ADD", Activation(), [c.last]),
    lambda c: c.then("SUB", Activation("relu"), [c.constant(6)]),
    lambda c: c.then("MUL", Activation(), [c.constant(1, 1, 1, 6)]),
    lambda c: c.then("AVERAGE_POOL_2D", Pool("same", (2, 2), (3, 3))),
    lambda c: c.then("MAX_POOL_2D", Pool("same", (2, 2), (3, 3))),
    lambda c: c.then("MEAN", Reduce((1, 2), True)),
    lambda c: c.then("PAD", Pad((0, 1, 2, 3), (0, 0, 1, 0))),
    lambda c: c.then("PADV2", Pad((0, 1, 2, 0), (0, 0, 1, 0), 0.7)),
    lambda c: c.then("CONCATENATION", Activation(axis=3), [c.last, c.constant(1, 6, 7, 2)]),
    lambda c: c.then("RESHAPE", shape=(1, 42, 6)),
    lambda c: c.then("TRANSPOSE", Transpose((0, 2, 3, 1))),
    lambda c: c.then("SLICE", Slice((0, 1, 2, 1), (1, 1, 1, 1)), shape=(1, 3, 4, 5)),
    lambda c: c.then("STRIDED_SLICE", Slice((0, 5, 0, 0), (1, -2, 3, 1)), shape=(1, 3, 3, 6)),
    lambda c: c.then("RESIZE_NEAREST_NEIGHBOR", Resize(), shape=(1, 9, 14, 6)),
    lambda c: c.then("RESIZE_BILINEAR", Resize(half_pixel_centers=True), shape=(1, 9, 14, 6)),
    lambda c: c.then("SOFTMAX", Softmax(1.0)),
    lambda c: c.then("LOGISTIC"),
    lambda c: c.then("TANH"),
    lambda c: c.then("RELU"),
    lambda c: c.then("RELU6"),
    lambda c: c.then("RELU_N1_TO_1"),
    lambda c: c.then("LEAKY_RELU", LeakyRelu(0.1)),
    lambda c: c.then("PRELU", None, [c.constant(1, 1, 6)]),
    lambda c: c.then("HARD_SWISH"),
]


@pytest.mark.parametrize("number", range(len(ALL_KINDS)))
def test_every_kind_of_operator_is_quantised_for_litert(number: int) -> None:
    graph = ALL_KINDS[number](Chain((1, 6, 7, 6))).graph()
    samples = normal_samples(graph)
    quantized, report = quantize(graph, samples, Options(method="minmax"))
    expected = litert.run(write_tflite(graph), samples[0])[0]
    assert sqnr(expected, run_quantized(quantized, samples[0])[0]) > 28.0
    assert report.outputs["t0"] > 28.0


def test_arg_max_gives_int32() -> None:
    chain = Chain((1, 6, 7, 6)).then("ARG_MAX", Reduce((3,)))
    chain.tensors[-1] = replace(chain.tensors[-1], dtype=np.dtype(np.int32))
    graph = chain.graph()
    samples = normal_samples(graph)
    quantized, _ = quantize(graph, samples, QUICK)
    result = run_quantized(quantized, samples[0])[0]
    assert result.dtype == np.int32
    assert np.mean(result == samples[0][0].argmax(axis=3)) > 0.9


def shares(graph: Graph, first: int, second: int) -> bool:
    return quantization_of(graph, first).same_as(quantization_of(graph, second))


def test_shared_scales_cover_the_union_of_all_that_they_join() -> None:
    """conv a and conv b (ten times larger) into a concatenation, then a pad, then a pool."""
    chain = Chain((1, 6, 7, 3)).convolution(4, 1, Convolution())
    small = chain.last
    chain.last = 0
    chain.convolution(4, 1, Convolution())
    large = chain.tensors[chain.operators[-1].inputs[1]]
    assert large.data is not None
    chain.tensors[chain.operators[-1].inputs[1]] = replace(large, data=large.data * 10)
    chain.then("CONCATENATION", Activation(axis=3), [small])
    chain.then("PAD", Pad((0, 1, 1, 2), (0, 1, 1, 0)))
    chain.then("MAX_POOL_2D", Pool("valid", (1, 1), (2, 2)))
    graph = chain.graph()
    quantized, _ = quantize(graph, normal_samples(graph), QUICK)
    [concatenation] = [op for op in quantized.operators if op.kind == "CONCATENATION"]
    first, second = concatenation.inputs
    for index in (second, concatenation.outputs[0], quantized.outputs[0]):
        assert shares(quantized, first, index)


def test_prescribed_scales_pass_through_movement() -> None:
    chain = Chain((1, 6, 7, 3)).then("LOGISTIC").then("RESHAPE", shape=(1, 126))
    quantized, _ = quantize(chain.graph(), normal_samples(chain.graph()), QUICK)
    assert [op.kind for op in quantized.operators] == ["LOGISTIC", "RESHAPE"]
    assert quantization_of(quantized, quantized.outputs[0]).scale[0] == 1.0 / 256.0


def test_prescribed_scale_that_does_not_fit_a_concatenation_is_requantised() -> None:
    chain = Chain((1, 6, 7, 3)).then("LOGISTIC")
    scores = chain.last
    chain.last = 0
    chain.convolution(2, 1, Convolution()).then("CONCATENATION", Activation(axis=3), [scores])
    graph = chain.graph()
    samples = normal_samples(graph)
    quantized, report = quantize(graph, samples, Options(method="minmax"))
    assert [op.kind for op in quantized.operators].count("QUANTIZE") == 1
    assert [layer.kind for layer in report.layers].count("QUANTIZE") == 1
    expected = litert.run(write_tflite(graph), samples[0])[0]
    assert sqnr(expected, run_quantized(quantized, samples[0])[0]) > 28.0


def as_float(graph: Graph) -> Graph:
    """A random int8 graph as a float one: the same operators on other numbers."""

    def real(tensor: Tensor) -> Tensor:
        if tensor.quantization is None:
            return tensor
        if tensor.data is None:
            return replace(tensor, dtype=FLOAT, quantization=None)
        limit = np.abs(tensor.data.astype(np.float64)).max() or 1.0
        data = (tensor.data / limit).astype(np.float32)
        return replace(tensor, dtype=FLOAT, data=data, quantization=None)

    operators = []
    for op in graph.operators:
        attributes = op.attributes
        if isinstance(attributes, Pad):
            attributes = replace(attributes, value=0.0)
        operators.append(replace(op, attributes=attributes))
    return replace(graph, tensors=tuple(real(t) for t in graph.tensors), operators=tuple(operators))


@given(st.integers(0, 2**20))
@settings(max_examples=60)
def test_random_float_graphs_are_quantised_into_what_litert_takes(seed: int) -> None:
    recipe = replace(recipe_of(seed), float_ports=False)
    graph = simplify(as_float(build_graph(recipe)))
    graph = graph.with_operators([op for op in graph.operators if op.kind != "QUANTIZE"])
    if set(graph.inputs) & set(graph.outputs) or not _is_whole(graph):
        return
    samples = normal_samples(graph, 4, seed)
    quantized, _ = quantize(graph, samples, Options(method="minmax", report_samples=1))
    read = simplify(read_tflite(write_tflite(quantized)))
    for first, second in zip(
        run_quantized(quantized, samples[0]), run_quantized(read, samples[0]), strict=True
    ):
        assert np.array_equal(first, second)


def _is_whole(graph: Graph) -> bool:
    known = {*graph.inputs, *(i for op in graph.operators for i in op.outputs)}
    needed = {i for op in graph.operators for i in op.inputs if i >= 0}
    unknown = [i for i in needed | set(graph.outputs) if i not in known]
    return all(graph.tensors[i].is_constant for i in unknown)


# --- equalisation and bias correction ---


def uneven(seed: int = 0) -> Graph:
    """A depthwise and a 1x1 convolution with channels a hundred times apart in between."""
    chain = Chain((1, 8, 8, 8))
    chain.dice = np.random.default_rng(seed)
    weights = chain.weights(1, 3, 3, 8)
    spread = np.geomspace(0.03, 3.0, 8).astype(np.float32)
    data = chain.tensors[weights].data
    assert data is not None
    chain.tensors[weights] = replace(chain.tensors[weights], data=data * spread)
    chain.then("DEPTHWISE_CONV_2D", Convolution("same", activation="relu"), [weights, -1])
    chain.then("MAX_POOL_2D", Pool("valid", (2, 2), (2, 2)))
    weights = chain.weights(6, 1, 1, 8)
    data = chain.tensors[weights].data
    assert data is not None
    chain.tensors[weights] = replace(chain.tensors[weights], data=data / spread)
    return chain.then("CONV_2D", Convolution(), [weights, chain.bias(6)]).graph()


def test_equalisation_changes_nothing_in_float_and_much_in_int8() -> None:
    graph = uneven()
    samples = normal_samples(graph, 16)
    changed = equalize(graph, samples)
    assert changed.operators != graph.operators
    before = litert.run(write_tflite(graph), samples[0])[0]
    after = litert.run(write_tflite(changed), samples[0])[0]
    assert np.allclose(before, after, rtol=1e-4, atol=1e-4)
    plain, _ = quantize(graph, samples, QUICK)
    equalised, _ = quantize(graph, samples, replace(QUICK, equalize=True))
    gain = sqnr(before, run_quantized(equalised, samples[0])[0]) - sqnr(
        before, run_quantized(plain, samples[0])[0]
    )
    assert gain > 10.0


def test_equalisation_through_mean_and_flattening() -> None:
    chain = Chain((1, 4, 4, 3)).convolution(6, 3, Convolution("same", activation="relu"))
    chain.then("RESHAPE", shape=(1, 96))
    graph = chain.then("FULLY_CONNECTED", Activation(), [chain.weights(5, 96), -1]).graph()
    samples = normal_samples(graph)
    changed = equalize(graph, samples)
    before = litert.run(write_tflite(graph), samples[0])[0]
    after = litert.run(write_tflite(changed), samples[0])[0]
    assert changed.operators != graph.operators
    assert np.allclose(before, after, rtol=1e-4, atol=1e-4)


def test_bias_correction_removes_the_shift_of_the_mean() -> None:
    """Coarse weights (one scale for rows of very different size) shift the means of the small."""
    chain = Chain((1, 8, 8, 8)).convolution(8, 1, Convolution(activation="relu"))
    weights = chain.tensors[chain.operators[0].inputs[1]]
    assert weights.data is not None
    rows = np.geomspace(0.02, 1.0, 8).astype(np.float32).reshape(8, 1, 1, 1)
    chain.tensors[chain.operators[0].inputs[1]] = replace(weights, data=weights.data * rows)
    graph = chain.graph()
    dice = np.random.default_rng(3)
    samples = [[dice.uniform(0.5, 1.5, (1, 8, 8, 8)).astype(np.float32)] for _ in range(16)]
    options = replace(QUICK, per_channel=False)
    session = litert.Session(write_tflite(graph))

    def shift(corrected: bool) -> float:
        quantized, _ = quantize(graph, samples, replace(options, bias_correction=corrected))
        shifts = []
        for sample in samples:
            difference = run_quantized(quantized, sample)[0] - session.run(sample)[0]
            shifts.append(difference.mean(axis=(0, 1, 2)))
        return float(np.abs(np.mean(shifts, axis=0)).max())

    assert shift(True) < 0.35 * shift(False)


# --- the report ---


def test_report_lists_the_layers_and_the_one_that_hurts_most() -> None:
    graph = float_classifier()
    weights = graph.tensors[4]
    assert weights.data is not None
    # One huge weight in one of the depthwise channels' kernels takes the resolution of the rest.
    data = weights.data.copy()
    data[0, 0, 0, :] *= 60.0
    graph = replace(
        graph, tensors=(*graph.tensors[:4], replace(weights, data=data), *graph.tensors[5:])
    )
    options = Options(method="minmax", report_samples=3)
    _, report = quantize(graph, normal_samples(graph, 16), options)
    assert [layer.kind for layer in report.layers] == [op.kind for op in graph.operators]
    assert [layer.name for layer in report.layers][:2] == ["stem", "depthwise"]
    assert set(report.outputs) == {"probabilities"}
    assert report.layers[-1].sqnr_db == pytest.approx(report.outputs["probabilities"])
    assert report.worst is not None
    assert report.worst.alone_db == min(layer.alone_db for layer in report.layers)
    assert all(layer.alone_db >= layer.sqnr_db - 25.0 for layer in report.layers)


def test_report_can_be_left_out() -> None:
    graph = float_classifier()
    _, report = quantize(graph, normal_samples(graph), QUICK)
    assert report.layers == () and report.worst is None and report.outputs == {}


def test_progress_is_told_in_stages() -> None:
    calls: list[tuple[str, int, int]] = []
    graph = float_classifier()
    quantize(graph, normal_samples(graph, 3), None, lambda *call: calls.append(call))
    stages = list(dict.fromkeys(stage for stage, _, _ in calls))
    assert stages[0] == "equalise" and "correct biases" in stages and "measure layers" in stages
    for stage in stages:
        steps = [(done, total) for name, done, total in calls if name == stage]
        assert steps[-1][0] == steps[-1][1]
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)


# --- errors ---


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], r"no calibration samples.*'image' float32 \[1, 12, 12, 3\]"),
        ([np.zeros((1, 12, 12, 3), np.float32)], "one bare array"),
        ([[np.zeros((1, 12, 12, 3))] * 2], "sample 0 is 2 arrays"),
        ([[np.zeros((1, 10, 12, 3))]], r"\[1, 10, 12, 3\]; it must be \[1, 12, 12, 3\]"),
        ([[np.full((12, 12, 3), np.nan)]], "infinite, huge or undefined"),
        ([[np.full((12, 12, 3), 1e33)]], "infinite, huge or undefined"),
        ([[np.full((12, 12, 3), "a")]], "of type <U1"),
    ],
)
def test_samples_that_do_not_fit_are_named(samples: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(float_classifier(), samples, QUICK)


def test_samples_may_leave_out_the_batch_and_be_of_other_number_types() -> None:
    graph = float_classifier()
    quantized, _ = quantize(graph, [[np.ones((12, 12, 3), np.uint8)]], QUICK)
    assert quantized.tensors[quantized.inputs[0]].shape == (1, 12, 12, 3)


def test_an_int8_graph_is_not_quantised_again() -> None:
    graph = float_classifier()
    quantized, _ = quantize(graph, normal_samples(graph), QUICK)
    with pytest.raises(ValueError, match="'image' is int8: the model is quantised already"):
        quantize(quantized, normal_samples(graph), QUICK)


def test_a_network_that_overflows_on_a_sample_is_named() -> None:
    graph = Chain((1, 4)).then("MUL", Activation(), [0]).graph()
    with pytest.raises(ValueError, match="'t0' becomes infinite"):
        quantize(graph, [[np.full((1, 4), 1e25, np.float32)]], QUICK)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "best"),
        ("percentile", 20.0),
        ("momentum", 1.0),
        ("correction_samples", 0),
        ("report_samples", -1),
    ],
)
def test_options_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Options(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
def test_constants_shared_by_operators_are_quantised_for_each(kind: str) -> None:
    chain = Chain((1, 4, 4, 3))
    shared = chain.constant(3)
    chain.then(kind, Activation(), [shared]).then(kind, Activation(), [shared])
    graph = chain.graph()
    samples = normal_samples(graph)
    quantized, _ = quantize(graph, samples, QUICK)
    expected = litert.run(write_tflite(graph), samples[0])[0]
    assert sqnr(expected, run_quantized(quantized, samples[0])[0]) > 28.0
