"""The LiteRT runner's own errors; what it computes is the reference of all other tests."""

from __future__ import annotations

import numpy as np
import pytest
from random_graphs import Recipe, Step, build_graph

from lilliput import litert
from lilliput.exporters.tflite import write_tflite


@pytest.fixture(scope="module")
def model() -> bytes:
    return write_tflite(build_graph(Recipe((1,), (Step("pointwise convolution", 2),))))


def test_all_tensors_hold_inputs_constants_and_outputs(model: bytes) -> None:
    session = litert.Session(model, keep_tensors=True)
    x = np.arange(np.prod(session.inputs[0].shape), dtype=np.int8).reshape(session.inputs[0].shape)
    [y] = session.run([x])
    tensors = session.tensors()
    np.testing.assert_array_equal(tensors[session.inputs[0].index], x)
    np.testing.assert_array_equal(tensors[session.outputs[0].index], y)
    assert set(tensors) <= set(session.tensor_names())
    np.testing.assert_array_equal(litert.run_all_tensors(model, [x])[session.outputs[0].index], y)


def test_tensors_need_a_session_that_keeps_them(model: bytes) -> None:
    with pytest.raises(ValueError, match="keep_tensors=True"):
        litert.Session(model).tensors()


def test_inputs_are_checked(model: bytes) -> None:
    session = litert.Session(model)
    with pytest.raises(ValueError, match="1 inputs, 2 were given"):
        session.run([np.zeros(1, np.int8)] * 2)
    with pytest.raises(ValueError, match=r"'input_0' wants int8 of shape"):
        session.run([np.zeros(session.inputs[0].shape, np.float32)])


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="LiteRT does not take the model"):
        litert.run(b"no model at all", [])
