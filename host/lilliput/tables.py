"""Operators of one 8-bit variable as tables of 256 entries, computed by LiteRT itself.

An int8 function of one int8 has 256 values: running the reference kernel on all of them makes a
table that is exact by construction, whatever arithmetic the kernel uses inside (float for
LOGISTIC and TANH, saturating shifts for HARD_SWISH).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from . import litert
from .exporters.tflite import write_tflite
from .graph import Graph, Operator, Tensor

UNARY_KINDS = frozenset(
    {
        "ADD",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOGISTIC",
        "MUL",
        "PRELU",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "RELU_0_TO_1",
        "RELU_N1_TO_1",
        "SUB",
        "TANH",
    }
)
"""Operators whose output element depends on one element of each input."""


def is_unary(operator: Operator, tensors: Sequence[Tensor]) -> bool:
    """Whether `unary_table` takes the operator: 8-bit in, int8 out, all else scalar constants.

    `tensors` are those of the operator's graph. An operator on twice the same tensor (x * x) is
    one too.
    """
    if operator.kind not in UNARY_KINDS or tensors[operator.outputs[0]].dtype != np.int8:
        return False
    variables = {i for i in operator.inputs if not tensors[i].is_constant}
    if len(variables) != 1 or tensors[next(iter(variables))].dtype not in (np.int8, np.uint8):
        return False
    return all(tensors[i].elements == 1 for i in operator.inputs if tensors[i].is_constant)


def unary_table(operator: Operator, tensors: Sequence[Tensor]) -> np.ndarray:
    """The operator's output, int8[256], for every value of its variable input in ascending order.

    The index is value + 128 for an int8 input, the value for a uint8 one. `tensors` are those of
    the operator's graph; quantisation, fused activation and scalar constants on either side count.

    Raises ValueError when `is_unary` is false, or when LiteRT refuses the operator.
    """
    output = tensors[operator.outputs[0]]
    if not is_unary(operator, tensors):
        raise ValueError(
            f"{operator.kind} (output {output.name!r}) is not a function of one 8-bit number "
            "and scalar constants; it has no table of 256 entries"
        )
    variable = next(i for i in operator.inputs if not tensors[i].is_constant)
    values = _inputs(tensors[variable])
    return _run(operator, tensors, values)


def unary_slopes(operator: Operator, tensors: Sequence[Tensor]) -> np.ndarray:
    """The slope of the operator's real function, float64[256], at every value of its variable
    input in the order of `unary_table`: how much the real output changes from half a step of the
    input below to half a step above, where it is clipped to what the output's numbers can say.

    LiteRT's float kernel computes the function. Raises ValueError as `unary_table`.
    """
    if not is_unary(operator, tensors):
        raise ValueError(f"{operator.kind} is not a function of one 8-bit number")
    variable = next(i for i in operator.inputs if not tensors[i].is_constant)
    output = tensors[operator.outputs[0]]
    scale, zero_point = _numbers(tensors[variable])
    steps = _inputs(tensors[variable]).astype(np.float64) - zero_point
    ends = (scale * (steps + side) for side in (-0.5, 0.5))
    reals = [_float(tensor) for tensor in tensors]
    if operator.kind == "QUANTIZE":
        below, above = ends
    else:
        below, above = (
            _run(operator, reals, end.astype(np.float32)).astype(np.float64) for end in ends
        )
    scale_of_output, zero_point = _numbers(output)
    low, high = (scale_of_output * (limit - zero_point) for limit in (-128, 127))
    return np.asarray((np.clip(above, low, high) - np.clip(below, low, high)) / scale)


def _inputs(variable: Tensor) -> np.ndarray:
    """All values of an 8-bit tensor, in ascending order."""
    limits = np.iinfo(variable.dtype)
    return np.arange(limits.min, limits.max + 1).astype(variable.dtype)


def _numbers(tensor: Tensor) -> tuple[float, int]:
    """Scale and zero point."""
    quantization = tensor.quantization
    if quantization is None:
        raise ValueError(f"tensor {tensor.name!r} is not quantised")
    return float(quantization.scale[0]), int(quantization.zero_point[0])


def _float(tensor: Tensor) -> Tensor:
    """The tensor in reals, without quantisation."""
    data = tensor.data
    if data is not None and tensor.quantization is not None:
        scale, zero_point = _numbers(tensor)
        data = (scale * (data.astype(np.float64) - zero_point)).astype(np.float32)
    return replace(tensor, dtype=np.dtype(np.float32), data=data, quantization=None)


def _run(operator: Operator, tensors: Sequence[Tensor], values: np.ndarray) -> np.ndarray:
    """The operator's output for each value of its variable input, alone in a graph."""
    variable = next(i for i in operator.inputs if not tensors[i].is_constant)
    shape = (1, values.size)
    local = {
        variable: replace(tensors[variable], shape=shape),
        operator.outputs[0]: replace(tensors[operator.outputs[0]], shape=shape),
    }
    for index in operator.inputs:
        data = tensors[index].data
        if data is not None:
            local[index] = replace(tensors[index], shape=(1,), data=np.reshape(data, 1))
    number = {index: position for position, index in enumerate(local)}
    graph = Graph(
        tensors=tuple(local.values()),
        operators=(
            replace(
                operator,
                inputs=tuple(number[i] for i in operator.inputs),
                outputs=(number[operator.outputs[0]],),
            ),
        ),
        inputs=(number[variable],),
        outputs=(number[operator.outputs[0]],),
        name=operator.kind,
    )
    [table] = litert.run(write_tflite(graph), [values.reshape(shape)])
    return table.reshape(values.size)
