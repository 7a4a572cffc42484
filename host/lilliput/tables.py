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
    limits = np.iinfo(tensors[variable].dtype)
    values = np.arange(limits.min, limits.max + 1).astype(tensors[variable].dtype)
    shape = (1, values.size)
    local = {
        variable: replace(tensors[variable], shape=shape),
        operator.outputs[0]: replace(output, shape=shape),
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
