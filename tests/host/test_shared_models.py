"""Published models, bit for bit against LiteRT's reference kernels."""

from __future__ import annotations

from array import array
from pathlib import Path

import _lilliput
import numpy as np
import pytest
from photographs import photographs

import lilliput
from lilliput import litert
from lilliput.format import write
from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import plan

INPUTS = 50
INFERENCE_DONE = 0x7FFF
CONTEXT_BYTES, TENSOR_BYTES = 1, 17  # lil_field_id
NAMES = (
    "mcunet_vww",
    "mcunetv2_large",
    "mlperf_ad01_int8",
    "mlperf_kws_ref_model",
    "mlperf_pretrainedResnet_quant",
    "mlperf_vww_96_int8",
)


def int8_inputs(shape: tuple[int, ...], count: int) -> np.ndarray:
    """int8 [count, *shape]: photographs for an image, smooth features for a map, else noise."""
    if len(shape) == 4 and shape[3] == 3:
        pixels = photographs(count, shape[1], shape[2]).astype(np.int16)
        return (pixels - 128).astype(np.int8).reshape(count, *shape)
    dice = np.random.default_rng(5)
    if len(shape) == 4:
        # Like the MFCC frames of speech: each close to the one before.
        walk = np.cumsum(dice.normal(0, 12, (count, *shape)), axis=2)
        return np.clip(walk + dice.normal(40, 25, (count, *shape)), -128, 127).astype(np.int8)
    return dice.integers(-128, 128, (count, *shape), np.int8)


def reals(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    return (scale * (values.astype(np.float64) - zero_point)).astype(np.float32)


@pytest.mark.parametrize("model_name", NAMES)
def test_outputs_equal_those_of_litert(model_name: str, models: Path) -> None:
    tflite = (models / f"{model_name}.tflite").read_bytes()
    session = litert.Session(tflite)
    [theirs] = session.inputs
    with lilliput.load(lilliput.convert(tflite).data) as model:
        assert model.input.shape == theirs.shape
        dice = np.random.default_rng(1)
        outputs = set()
        for values in int8_inputs(theirs.shape, INPUTS):
            x = values
            if theirs.dtype == np.float32:
                # Reals between the steps too: QUANTIZE is part of what is compared.
                x = reals(values, model.input.scale, model.input.zero_point)
                x += dice.uniform(-0.5, 0.5, x.shape).astype(np.float32) * model.input.scale
            [expected] = session.run([x])
            found = np.array(model.infer(x)).reshape(model.output.shape)
            if expected.dtype == np.float32:
                found = reals(found, model.output.scale, model.output.zero_point)
            np.testing.assert_array_equal(found, expected)
            outputs.add(found.tobytes())
    # This one has weights without meaning; every tensor of it is compared below.
    is_fixture = model_name == "mcunetv2_large"
    assert len(outputs) > 1 or is_fixture


@pytest.mark.parametrize("name", ["mcunetv2_large", "mlperf_vww_96_int8"])
def test_every_tensor_equals_that_of_litert(name: str, models: Path) -> None:
    """A plan that keeps all tensors; compared by the names that TFLite gives them."""
    tflite = (models / f"{name}.tflite").read_bytes()
    program = lower(simplify(read_tflite(tflite)))
    held = plan(program, keep_all=True)
    program = held.program
    data = write(program, held)
    _lilliput.verify(data)
    [port] = program.inputs
    computed = {step.output for step in program.steps} - {port.tensor}
    session = litert.Session(tflite, keep_tensors=True)
    [theirs] = session.inputs
    for x in int8_inputs(theirs.shape, 2):
        arena = run(data, held.arena_bytes, x)
        session.run([reals(x, port.scale, port.zero_point) if theirs.dtype == np.float32 else x])
        names = session.tensor_names()
        expected = {names[i]: value for i, value in session.tensors().items()}
        compared = 0
        for index in computed:
            tensor = program.tensors[index]
            if tensor.name not in expected:
                continue
            found = array("b", bytes(_lilliput.field(data, TENSOR_BYTES, index)))
            _lilliput.read_tensor(data, arena, index, found)
            wanted = expected[tensor.name]
            values = np.array(found)
            if wanted.dtype == np.float32:
                # Ports keep their names where DEQUANTIZE was stripped.
                [output] = (port for port in program.outputs if port.tensor == index)
                values = reals(values, output.scale, output.zero_point)
            np.testing.assert_array_equal(values, wanted.ravel(), err_msg=tensor.name)
            compared += 1
        # All but what folding and fusing took away.
        assert compared >= 0.9 * len(program.steps)


def run(data: bytes, arena_bytes: int, x: np.ndarray) -> bytearray:
    """One inference; the arena after it."""
    arena = bytearray(arena_bytes)
    context = bytearray(_lilliput.field(data, CONTEXT_BYTES, 0))
    _lilliput.begin(data, context)
    assert _lilliput.run(data, context, arena, array("b", x.tobytes())) == INFERENCE_DONE
    return arena
