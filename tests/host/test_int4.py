"""Weights of four bits: how they are rounded, which layers get them, what files hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st
from small_models import calibration, float_classifier, float_tflite, int8_tflite
from tflite_editing import edited

import lilliput
from lilliput import litert
from lilliput.cli.app import main
from lilliput.conversion import read_graph
from lilliput.exporters.tflite import write_tflite
from lilliput.format import write
from lilliput.graph import Activation, Convolution, Graph, Operator, Quantization, Tensor
from lilliput.inspection import describe
from lilliput.lower import lower
from lilliput.lower.channel_slices import channel_slice
from lilliput.lower.packing import pack_pairs_int4
from lilliput.planner import plan
from lilliput.program import Step
from lilliput.quantize import Int4Options, choose_int4_layers
from lilliput.quantize.int4_weights import int4_operands, with_operands
from lilliput.quantize.patches import patch_statistics, quantized_inputs
from lilliput.quantize.ranges import dequantize_values
from lilliput.quantize.weights import dequantize_weights

SAMPLES = calibration(float_classifier(), count=24)


def convolution(groups: int = 1) -> Graph:
    """An int8 graph of one convolution with random weights, 6 inputs to 8 outputs a pixel."""
    dice = np.random.default_rng(3)
    scales = (2.0 ** dice.uniform(-8, -5, 8)).astype(np.float32)
    weights = dice.integers(-127, 128, (8, 3, 3, 6 // groups), np.int8)
    bias = dice.integers(-3000, 3000, 8).astype(np.int32)
    zeros = np.zeros(8, np.int32)
    source, result = Quantization.per_tensor(0.05, -20), Quantization.per_tensor(0.4, 3)
    tensors = (
        Tensor("image", (1, 9, 8, 6), np.dtype(np.int8), None, source),
        Tensor("weights", weights.shape, np.dtype(np.int8), weights, Quantization(scales, zeros)),
        Tensor("bias", (8,), np.dtype(np.int32), bias, Quantization(scales * source.scale, zeros)),
        Tensor("map", (1, 5, 4, 8), np.dtype(np.int8), None, result),
    )
    operator = Operator("CONV_2D", (0, 1, 2), (3,), Convolution("same", (2, 2)))
    return Graph(tensors, (operator,), (0,), (3,))


def inputs_of(graph: Graph, count: int) -> list[list[np.ndarray]]:
    """Random inputs whose channels differ in size, and whose neighbours are alike."""
    dice = np.random.default_rng(5)
    size = np.array([4.0, 2.0, 1.0, 1.0, 0.5, 0.2])
    common = dice.normal(0, 1, (count, 1, 9, 8, 1))
    reals = (dice.normal(0.3, 1, (count, 1, 9, 8, 6)) + common) * size
    return [[sample.astype(np.float32)] for sample in reals]


def outputs_of(graph: Graph, samples: list[list[np.ndarray]]) -> np.ndarray:
    """Reals, with the reference kernels."""
    session = litert.Session(write_tflite(graph))
    results = [session.run(quantized_inputs(graph, sample))[0] for sample in samples]
    return dequantize_values(np.stack(results), graph.quantization(graph.outputs[0]))


def rounded_plainly(graph: Graph) -> Graph:
    """Weights of four bits as anyone would make them: the nearest of what the largest spans."""
    op = graph.operators[0]
    stored = graph.tensors[op.inputs[1]]
    reals = dequantize_weights(stored)
    scales = np.abs(reals).max(axis=(1, 2, 3)) / 7
    numbers = np.clip(np.round(reals / scales[:, None, None, None]), -8, 7)
    quantization = Quantization((scales / 16).astype(np.float32), np.zeros(8, np.int32))
    bias = graph.tensors[op.inputs[2]]
    unit = quantization.scale * graph.quantization(0).scale
    assert bias.data is not None and bias.quantization is not None
    values = np.round(bias.data * bias.quantization.scale / unit).astype(np.int32)
    tensors = list(graph.tensors)
    tensors[1] = replace(stored, data=(16 * numbers).astype(np.int8), quantization=quantization)
    tensors[2] = replace(bias, data=values, quantization=Quantization(unit, np.zeros(8, np.int32)))
    return replace(graph, tensors=tuple(tensors))


@pytest.mark.parametrize("groups", [1, 2])
def test_rounding_costs_less_than_rounding_to_the_nearest(groups: int) -> None:
    graph = convolution(groups)
    seen, unseen = inputs_of(graph, 96)[:64], inputs_of(graph, 96)[64:]
    op = graph.operators[0]
    [statistics] = patch_statistics(graph, [op], seen)
    assert statistics.products.shape == (groups, 54 // groups, 54 // groups)
    small = with_operands(graph, op, int4_operands(graph, op, statistics))
    weights = small.tensors[small.operators[0].inputs[1]].data
    assert weights is not None and not np.any(weights % 16)
    expected = outputs_of(graph, unseen)
    noise = np.mean((outputs_of(small, unseen) - expected) ** 2)
    plain = np.mean((outputs_of(rounded_plainly(graph), unseen) - expected) ** 2)
    assert noise < 0.7 * plain
    bias = np.abs(np.mean(outputs_of(small, unseen) - expected, axis=(0, 1, 2, 3)))
    assert bias.max() < 0.25, "the mean stays within a fraction of an output's step"


def test_patches_are_what_the_weights_meet() -> None:
    graph = convolution()
    samples = inputs_of(graph, 4)
    [statistics] = patch_statistics(graph, [graph.operators[0]], samples)
    weights = dequantize_weights(graph.tensors[1]).reshape(8, -1)
    bias = graph.tensors[2]
    assert bias.data is not None and bias.quantization is not None
    wide = replace(
        graph,
        tensors=(
            *graph.tensors[:3],
            replace(graph.tensors[3], quantization=Quantization.per_tensor(2.0, 0)),
        ),
    )
    means = outputs_of(wide, samples).mean(axis=(0, 1, 2, 3))
    expected = weights @ statistics.mean[0] + bias.data * bias.quantization.scale
    # Rounding to steps of 2 is even, so a mean of 80 outputs is within a fraction of a step.
    np.testing.assert_allclose(means, expected, atol=0.6)


def small_layers(data: bytes) -> list[int]:
    """Bits of the weights of each operator with weights."""
    return [op.weight_bits for op in describe(data).operators if op.weight_bits]


def test_a_float_model_gets_as_many_layers_as_the_loss_allows() -> None:
    graph = float_classifier()
    model = float_tflite(graph)
    plain = lilliput.convert(model, calibrate=SAMPLES)
    all_ = lilliput.convert(model, calibrate=SAMPLES, int4=Int4Options(max_loss=1.0))
    assert plain.int4 is None and all_.int4 is not None
    assert small_layers(plain.data) == [8, 8, 8]
    assert small_layers(all_.data) == [4, 8, 4], "depthwise layers keep int8"
    assert [layer.bits for layer in all_.int4.layers] == [4, 4]
    assert all_.int4.measure == "agreement" and all_.int4.int8 == 1.0
    assert len(all_.data) < len(plain.data)
    none = lilliput.convert(model, calibrate=SAMPLES, int4=Int4Options(max_loss=0.0))
    assert none.int4 is not None and none.int4.int4 == 1.0


def test_an_int8_model_is_requantised_and_keeps_its_answers() -> None:
    model = int8_tflite()
    conversion = lilliput.convert(model, calibrate=SAMPLES, int4=Int4Options(max_loss=1.0))
    assert small_layers(conversion.data) == [4, 8, 4]
    graph, report = choose_int4_layers(read_graph(model), SAMPLES, Int4Options(max_loss=1.0))
    session = litert.Session(write_tflite(graph))
    with lilliput.load(conversion.data) as small:
        for sample in SAMPLES:
            numbers = quantized_inputs(graph, sample)
            [expected] = session.run(numbers)
            np.testing.assert_array_equal(np.array(small.infer(numbers[0])), expected.ravel())
    assert report.int4 >= 0.8


def test_labels_are_what_accuracy_is_measured_on(tmp_path: Path) -> None:
    classes = tuple(
        int(np.argmax(value)) for value in outputs_of(read_graph(int8_tflite()), SAMPLES)
    )
    wrong = tuple((label + 1) % 4 for label in classes[:6]) + classes[6:]
    path = tmp_path / "samples.npz"
    np.savez(path, image=np.concatenate([sample[0] for sample in SAMPLES]), y=np.array(wrong))
    conversion = lilliput.convert(int8_tflite(), calibrate=path, int4=Int4Options())
    assert conversion.int4 is not None
    assert conversion.int4.measure == "accuracy"
    assert conversion.int4.int8 == pytest.approx(0.75)
    np.savez(path, image=np.concatenate([sample[0] for sample in SAMPLES]), y=np.zeros(3, int))
    with pytest.raises(ValueError, match="3 labels for 24 samples"):
        lilliput.convert(int8_tflite(), calibrate=path, int4=Int4Options())


def test_what_is_no_classifier_keeps_its_outputs_near() -> None:
    graph = convolution()
    samples = inputs_of(graph, 16)
    _, loose = choose_int4_layers(graph, samples, Int4Options(min_sqnr_db=5.0))
    _, strict = choose_int4_layers(graph, samples, Int4Options(min_sqnr_db=90.0))
    assert (loose.measure, [layer.bits for layer in loose.layers]) == ("sqnr_db", [4])
    assert 5.0 < loose.int4 < 90.0
    assert [layer.bits for layer in strict.layers] == [8]
    with pytest.raises(ValueError, match="leave the labels out"):
        choose_int4_layers(graph, samples, Int4Options(labels=(0,) * 16))


def test_layers_are_chosen_on_samples_only() -> None:
    with pytest.raises(ValueError, match=r"layers for four-bit weights .* --calibrate"):
        lilliput.convert(int8_tflite(), int4=Int4Options())


def test_the_command_says_what_four_bits_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, samples = tmp_path / "net.tflite", tmp_path / "samples.npy"
    model.write_bytes(int8_tflite())
    np.save(samples, np.concatenate([sample[0] for sample in SAMPLES]))
    arguments = ["convert", str(model), "-o", str(tmp_path / "net.lil")]
    arguments += ["--calibrate", str(samples), "--max-accuracy-loss", "100"]
    assert main([*arguments, "--report"]) == 1
    assert "add --int4" in capsys.readouterr().err
    assert main([*arguments, "--int4", "--report"]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 layers" in said and "Weights of four bits" in said
    assert main([*arguments, "--int4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [layer["bits"] for layer in told["int4"]["layers"]] == [4, 4]
    assert main(["inspect", "--json", str(tmp_path / "net.lil")]) == 0
    operators = json.loads(capsys.readouterr().out)["operators"]
    assert [op["weight_bits"] for op in operators if op["weight_bits"]] == [4, 8, 4]
    assert main(["inspect", str(tmp_path / "net.lil")]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "CONNECTED" in line]
    assert len(rows) == 1 and "int4" in rows[0]


def with_stored_int4(data: bytes) -> bytes:
    """A `.tflite` whose int8 weights, all from -8 to 7, become four bits each."""

    def change(tree: schema.ModelT) -> None:
        graph = tree.subgraphs[0]
        tensor = graph.tensors[graph.operators[0].inputs[1]]
        numbers = np.frombuffer(bytes(bytearray(tree.buffers[tensor.buffer].data)), np.uint8) & 15
        numbers = np.append(numbers, np.zeros(len(numbers) % 2, np.uint8))
        tree.buffers[tensor.buffer].data = numbers[0::2] | numbers[1::2] << 4
        tensor.type = schema.TensorType.INT4

    return edited(data, change)


@pytest.mark.parametrize("groups", [1, 2])
def test_files_with_four_bit_weights_are_read(groups: int) -> None:
    graph = convolution(groups)
    stored = graph.tensors[1]
    assert stored.data is not None
    tensors = list(graph.tensors)
    tensors[1] = replace(stored, data=(stored.data >> 4).astype(np.int8))
    int8 = write_tflite(replace(graph, tensors=tuple(tensors)))
    conversion = lilliput.convert(with_stored_int4(int8))
    assert small_layers(conversion.data) == [4]
    session = litert.Session(int8)
    with lilliput.load(conversion.data) as model:
        for sample in inputs_of(graph, 8):
            numbers = quantized_inputs(graph, sample)
            found = np.array(model.infer(numbers[0])).astype(int)
            difference = found - session.run(numbers)[0].ravel()
            # Sums sixteen times as large are rounded in the same two steps, the first one finer.
            assert np.abs(difference).max() <= 1
            assert np.mean(difference != 0) < 0.02


def file_of(graph: Graph, change: Callable[[Step], Step], *, paged: bool = False) -> bytes:
    """The file of a graph whose steps are changed."""
    program = lower(graph)
    made = plan(replace(program, steps=tuple(map(change, program.steps))), paged=paged)
    return write(made.program, made)


def fully_connected(size: tuple[int, int, int]) -> Graph:
    """An int8 graph of a fully connected layer with five outputs and four-bit weights."""
    dice = np.random.default_rng(7)
    count = int(np.prod(size))
    weights = (16 * dice.integers(-8, 8, (5, count))).astype(np.int8)
    scale = Quantization.per_tensor(0.01, 0)
    tensors = (
        Tensor("image", (1, *size), np.dtype(np.int8), None, Quantization.per_tensor(0.5, -3)),
        Tensor("weights", weights.shape, np.dtype(np.int8), weights, scale),
        Tensor("scores", (1, 5), np.dtype(np.int8), None, Quantization.per_tensor(4.0, 1)),
    )
    return Graph(
        tensors, (Operator("FULLY_CONNECTED", (0, 1, -1), (2,), Activation()),), (0,), (2,)
    )


@pytest.mark.parametrize(
    ("size", "is_int4"),
    [((1, 1, 33), True), ((1, 3, 3), True), ((3, 2, 2), True), ((3, 1, 3), False)],
)
def test_rows_of_fully_connected_layers_fill_words(
    size: tuple[int, int, int], is_int4: bool
) -> None:
    graph = fully_connected(size)
    [layer] = [step for step in lower(graph).steps if step.kind == "FULLY_CONNECTED"]
    assert layer.is_int4 == is_int4
    session = litert.Session(write_tflite(graph))
    for paged in (False, True):
        data = file_of(graph, lambda step: step, paged=paged)
        with lilliput.load(data) as model:
            numbers = np.random.default_rng(1).integers(-128, 128, (1, *size), np.int8)
            expected = session.run([numbers])[0].ravel()
            np.testing.assert_array_equal(np.array(model.infer(numbers)), expected)


def test_files_that_say_four_bits_wrongly_are_refused() -> None:
    def without_flag(step: Step) -> Step:
        return replace(step, is_int4=False)

    def with_flag(step: Step) -> Step:
        return replace(step, is_int4=step.kind != "INPUT")

    small = fully_connected((1, 1, 33))
    assert describe(file_of(small, lambda step: step)).operators[1].weight_bits == 4
    with pytest.raises(ValueError, match="constants"):
        describe(file_of(small, without_flag))
    with pytest.raises(ValueError, match="operator"):
        describe(file_of(fully_connected((3, 1, 3)), with_flag))
    depthwise = read_graph(int8_tflite())
    with pytest.raises(ValueError, match="operator"):
        describe(file_of(depthwise, with_flag))


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_slices_of_channels_stay_packed(taps: int, begin: int, seed: int) -> None:
    weights = (16 * np.random.default_rng(seed).integers(-8, 8, (7, taps))).astype(np.int8)
    tables = [np.arange(7, dtype=dtype).tobytes() for dtype in (np.int32, np.int32, np.int8)]
    head = b"".join(tables)
    constants = head + bytes(-len(head) % 4) + pack_pairs_int4(weights).tobytes()
    step = Step("CONVOLUTION", "", 0, constants=constants, is_int4=True)
    sliced = channel_slice(step, 7, 2 * begin, 7)
    assert sliced.endswith(pack_pairs_int4(weights[2 * begin :]).tobytes())
    assert np.frombuffer(sliced, np.int32, 7 - 2 * begin).tolist() == list(range(2 * begin, 7))


def test_a_large_bias_keeps_its_scale() -> None:
    """A channel of almost no weight and a large bias, as batch normalisation leaves them."""
    graph = convolution()
    tensors = list(graph.tensors)
    stored, bias = tensors[1], tensors[2]
    assert stored.quantization is not None and bias.data is not None
    scale = stored.quantization.scale.copy()
    scale[3] = 1e-9
    tensors[1] = replace(stored, quantization=replace(stored.quantization, scale=scale))
    values = bias.data.copy()
    values[3] = 2**30 - 1
    unit = Quantization((scale * np.float32(0.05)).astype(np.float32), np.zeros(8, np.int32))
    tensors[2] = replace(bias, data=values, quantization=unit)
    graph = replace(graph, tensors=tuple(tensors))
    samples = inputs_of(graph, 8)
    small, _ = choose_int4_layers(graph, samples, Int4Options(min_sqnr_db=5.0))
    lower(small)
    difference = outputs_of(small, samples) - outputs_of(graph, samples)
    assert np.abs(difference[..., 3]).max() <= 0.41, "a step of the output"
