"""Lowers operators on elements and over channels: add, multiply, tables, PReLU, softmax, means."""

from __future__ import annotations

import numpy as np

from ..graph import Activation, Operator, Reduce, Softmax, UnsupportedModel
from ..program import Edge
from ..tables import is_unary, unary_slopes, unary_table
from .builder import Builder
from .geometry import AXIS_BITS, CHANNELS, HEIGHT, WIDTH, map_axis
from .requantization import activation_range, quantize_multiplier
from .softmax_table import softmax_table

_BINARY = {"ADD": "ADD", "SUB": "SUBTRACT", "MUL": "MULTIPLY"}
_ADD_SHIFT = 20  # bits of the common scale, as in TFLite's 8-bit add


def lower_table(builder: Builder, op: Operator) -> None:
    """Any operator whose output is a function of one int8."""
    variable = next(i for i in op.inputs if not builder.graph.tensors[i].is_constant)
    source = builder.map_of(variable)
    output = builder.output_map(op.outputs[0], builder.tensors[source].shape)
    builder.add(
        "TABLE",
        output,
        (builder.straight_edge(source),),
        is_pointwise=True,
        constants=unary_table(op, builder.graph.tensors).astype(np.int8).tobytes(),
        slopes=tuple(unary_slopes(op, builder.graph.tensors).tolist()),
    )


def lower_binary(builder: Builder, op: Operator) -> None:
    """ADD, SUB, MUL with broadcasting; a table where only one operand varies."""
    if is_unary(op, builder.graph.tensors):
        lower_table(builder, op)
        return
    attributes = op.attributes
    assert isinstance(attributes, Activation)
    sources = [builder.map_of(i) for i in op.inputs]
    output = builder.map_of(op.outputs[0])
    out_map = builder.tensors[output]
    in_shapes = [builder.tensors[s].shape for s in sources]
    scales = [np.float32(builder.scale(i)) for i in (*op.inputs, op.outputs[0])]
    if op.kind == "MUL":
        factors = [(0, 0), (0, 0), quantize_multiplier(float(scales[0] * scales[1] / scales[2]))]
    else:
        common = 2.0 * float(max(scales[0], scales[1]))
        factors = [
            quantize_multiplier(float(scales[0]) / common),
            quantize_multiplier(float(scales[1]) / common),
            quantize_multiplier(common / (2**_ADD_SHIFT * float(scales[2]))),
        ]
    builder.add(
        _BINARY[op.kind],
        output,
        tuple(builder.straight_edge(s) for s in sources),
        is_pointwise=all(
            shape[:2] == out_map.shape[:2] or shape[:2] == (1, 1) for shape in in_shapes
        ),
        activation=activation_range(
            attributes.activation, float(scales[2]), builder.zero_point(op.outputs[0])
        ),
        parameters={
            "rescale": {"multiplier": [m for m, _ in factors], "shift": [s for _, s in factors]}
        },
    )


def lower_prelu(builder: Builder, op: Operator) -> None:
    """PRELU with a slope a channel."""
    if is_unary(op, builder.graph.tensors):
        lower_table(builder, op)
        return
    source = builder.map_of(op.inputs[0])
    slopes = builder.graph.tensors[op.inputs[1]]
    channels = builder.tensors[source].channels
    if slopes.data is None or slopes.elements != slopes.shape[-1] or slopes.elements != channels:
        raise UnsupportedModel(
            f"PRELU {builder.graph.tensors[op.outputs[0]].name}: slopes {slopes.name} of shape "
            f"{list(slopes.shape)}; one constant slope a channel ({channels}) is supported: share "
            "the slopes over height and width (Keras: PReLU(shared_axes=[1, 2]))"
        )
    input_scale, slope_scale, output_scale = (
        np.float32(builder.scale(i)) for i in (*op.inputs, op.outputs[0])
    )
    factors = [
        quantize_multiplier(float(input_scale / output_scale)),
        quantize_multiplier(float(input_scale * slope_scale / output_scale)),
        (0, 0),
    ]
    alpha = slopes.data.astype(np.int16).reshape(-1) - np.int16(builder.zero_point(op.inputs[1]))
    builder.add(
        "PRELU",
        builder.map_of(op.outputs[0]),
        (builder.straight_edge(source),),
        is_pointwise=True,
        parameters={
            "rescale": {"multiplier": [m for m, _ in factors], "shift": [s for _, s in factors]}
        },
        constants=alpha.astype("<i2").tobytes(),
    )


def lower_softmax(builder: Builder, op: Operator) -> None:
    """SOFTMAX over the channels."""
    attributes = op.attributes
    assert isinstance(attributes, Softmax)
    source = builder.map_of(op.inputs[0])
    if builder.tensors[source].channels > 4095:
        raise UnsupportedModel(
            f"SOFTMAX {builder.graph.tensors[op.outputs[0]].name} over "
            f"{builder.tensors[source].channels} channels: at most 4095 are supported; take the "
            "logits before it"
        )
    builder.add(
        "SOFTMAX",
        builder.map_of(op.outputs[0]),
        (builder.straight_edge(source),),
        is_pointwise=True,
        constants=softmax_table(builder.scale(op.inputs[0]), attributes.beta)
        .astype("<i4")
        .tobytes(),
    )


def lower_mean(builder: Builder, op: Operator) -> None:
    """MEAN over any of height, width and channels. The multiplier includes 1 / elements."""
    attributes = op.attributes
    assert isinstance(attributes, Reduce)
    source, axes = _reduction(builder, op, attributes.axes)
    shape = builder.tensors[source].shape
    count = int(np.prod([shape[a] for a in axes], dtype=np.int64))
    multiplier, shift = quantize_multiplier(
        builder.scale(op.inputs[0]) / builder.scale(op.outputs[0])
    )
    headroom = min(count.bit_length() - 1, 32, 31 + shift)
    reduced = [1 if axis in axes else size for axis, size in enumerate(shape)]
    builder.add(
        "MEAN",
        builder.output_map(op.outputs[0], (reduced[0], reduced[1], reduced[2])),
        (Edge(source) if HEIGHT in axes else builder.straight_edge(source),),
        is_sink=HEIGHT in axes,
        parameters={
            "mean": {
                "multiplier": (multiplier << headroom) // count,
                "shift": shift - headroom,
                "axes": sum(AXIS_BITS[axis] for axis in axes),
            }
        },
    )


def _reduction(builder: Builder, op: Operator, axes: tuple[int, ...]) -> tuple[int, set[int]]:
    """The map to reduce and its axes. A view is looked through where its dimensions other than 1
    are those of the map it shows, so that the map's rows can be consumed as they come."""
    source = builder.map_of(op.inputs[0])
    rank = len(builder.graph.tensors[op.inputs[0]].shape)
    positions = {map_axis(axis, rank) for axis in axes} - {-1}
    view = builder.tensors[source]
    if view.view_of is None:
        return source, positions
    original = builder.tensors[view.view_of]
    seen = [axis for axis in (HEIGHT, WIDTH, CHANNELS) if view.shape[axis] != 1]
    real = [axis for axis in (HEIGHT, WIDTH, CHANNELS) if original.shape[axis] != 1]
    if [view.shape[a] for a in seen] != [original.shape[a] for a in real]:
        return source, positions
    return view.view_of, {real[seen.index(axis)] for axis in positions if axis in seen}


def lower_argmax(builder: Builder, op: Operator) -> None:
    """ARG_MAX over the last dimension; its result is int32."""
    attributes = op.attributes
    assert isinstance(attributes, Reduce)
    tensor = builder.graph.tensors[op.inputs[0]]
    source = builder.map_of(op.inputs[0])
    in_map = builder.tensors[source]
    axis = attributes.axes[0]
    if any(size != 1 for size in tensor.shape[axis + 1 :]):
        raise UnsupportedModel(
            f"ARG_MAX {builder.graph.tensors[op.outputs[0]].name} over dimension {axis} of "
            f"{list(tensor.shape)}: only the last dimension is supported; transpose before it"
        )
    height, width, channels = in_map.shape
    with_axis_last = {
        HEIGHT: (1, 1, height),
        WIDTH: (1, height, width),
        CHANNELS: (height, width, channels),
    }
    rows = builder.view(source, with_axis_last[map_axis(axis, len(tensor.shape))])
    row_map = builder.tensors[rows]
    builder.add(
        "ARGMAX",
        builder.output_map(op.outputs[0], (row_map.height, row_map.width, 1)),
        (builder.straight_edge(rows),),
        is_pointwise=True,
        parameters={"axes": {"axis": AXIS_BITS[CHANNELS]}},
    )
