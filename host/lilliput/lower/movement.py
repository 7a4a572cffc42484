"""Lowers operators that move elements or pool them: they leave the quantisation as it is."""

from __future__ import annotations

import math

import numpy as np

from ..graph import Activation, Operator, Pad, Pool, Resize, Slice, Transpose, UnsupportedModel
from ..program import Edge
from .builder import Builder
from .geometry import AXIS_BITS, HEIGHT, map_axis, map_values, same_padding
from .requantization import activation_range

_RESIZE_ONE = 1024  # TFLite's integer bilinear resize counts in 1/1024


def _require_same_quantization(builder: Builder, op: Operator) -> None:
    """TFLite's kernels for these operators copy integers, whatever their scales say."""
    output = builder.graph.tensors[op.outputs[0]]
    for index in op.inputs:
        if not builder.quantization(index).same_as(output.quantization):
            raise UnsupportedModel(
                f"{op.kind} {output.name}: input {builder.graph.tensors[index].name} and output "
                "have different scales; TFLite's int8 specification wants the same: quantise the "
                "model again, or insert a QUANTIZE"
            )


def lower_pool(builder: Builder, op: Operator) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D; what lies outside of the map does not count."""
    attributes = op.attributes
    assert isinstance(attributes, Pool)
    _require_same_quantization(builder, op)
    source = builder.map_of(op.inputs[0])
    in_map = builder.tensors[source]
    pads = [0, 0]
    if attributes.explicit_padding is not None:
        pads = [attributes.explicit_padding[0], attributes.explicit_padding[2]]
    elif attributes.padding == "same":
        pads = [
            same_padding(in_map.shape[i], attributes.kernel[i], attributes.stride[i], 1)
            for i in range(2)
        ]
    output = builder.map_of(op.outputs[0])
    spans_height = attributes.kernel[0] - pads[0] >= in_map.height
    builder.add(
        "AVERAGE_POOL" if op.kind == "AVERAGE_POOL_2D" else "MAX_POOL",
        output,
        (Edge(source, attributes.stride[0], -pads[0], attributes.kernel[0] - 1 - pads[0]),),
        is_sink=spans_height and builder.tensors[output].height == 1,
        activation=activation_range(
            attributes.activation, builder.scale(op.outputs[0]), builder.zero_point(op.outputs[0])
        ),
        parameters={
            "window": {
                "kernel_height": attributes.kernel[0],
                "kernel_width": attributes.kernel[1],
                "stride_height": attributes.stride[0],
                "stride_width": attributes.stride[1],
                "dilation_height": 1,
                "dilation_width": 1,
                "pad_top": pads[0],
                "pad_left": pads[1],
                "groups": 1,
            }
        },
    )


def lower_pad(builder: Builder, op: Operator) -> None:
    """PAD, PADV2 with any constant value."""
    attributes = op.attributes
    assert isinstance(attributes, Pad)
    _require_same_quantization(builder, op)
    source = builder.map_of(op.inputs[0])
    top, left, channels = map_values(attributes.before, 0)
    value = attributes.value if op.kind == "PADV2" else builder.zero_point(op.outputs[0])
    builder.add(
        "PAD",
        builder.map_of(op.outputs[0]),
        (Edge(source, 1, -top, -top),),
        parameters={
            "region": {
                "begin_height": top,
                "begin_width": left,
                "begin_channels": channels,
                "stride_height": 1,
                "stride_width": 1,
                "stride_channels": 1,
                "value": int(value),
            }
        },
    )


def lower_concatenation(builder: Builder, op: Operator) -> None:
    """CONCATENATION of at most 16 inputs along any axis."""
    attributes = op.attributes
    assert isinstance(attributes, Activation)
    _require_same_quantization(builder, op)
    output = builder.graph.tensors[op.outputs[0]]
    if len(op.inputs) > 16:
        raise UnsupportedModel(
            f"CONCATENATION {output.name} of {len(op.inputs)} inputs: at most 16 are supported; "
            "concatenate in two stages"
        )
    axis = map_axis(attributes.axis, len(output.shape))
    sources = [builder.map_of(i) for i in op.inputs]
    edges = []
    first_row = 0
    for source in sources:
        if axis == HEIGHT:
            edges.append(Edge(source, 1, -first_row, -first_row))
            first_row += builder.tensors[source].height
        else:
            edges.append(builder.straight_edge(source))
    builder.add(
        "CONCATENATE",
        builder.map_of(op.outputs[0]),
        tuple(edges),
        parameters={"axes": {"axis": AXIS_BITS[axis]}},
    )


def lower_slice(builder: Builder, op: Operator) -> None:
    """STRIDED_SLICE, SLICE, and the outputs of SPLIT."""
    attributes = op.attributes
    assert isinstance(attributes, Slice)
    source = builder.map_of(op.inputs[0])
    rank = len(builder.graph.tensors[op.inputs[0]].shape)
    begin = map_values(attributes.begin, 0)
    stride = map_values(attributes.stride, 1)
    in_shape = builder.tensors[source].shape
    sizes = _slice_sizes(builder, op, rank)
    shape = map_values(sizes, 1)
    if any(abs(s) > 16384 for s in stride) or shape[0] * shape[1] * shape[2] == 0:
        raise UnsupportedModel(
            f"{op.kind} {builder.graph.tensors[op.outputs[0]].name} of {list(in_shape)}: empty "
            "results and strides over 16384 are not supported"
        )
    builder.add(
        "SLICE",
        builder.output_map(op.outputs[0], shape),
        (Edge(source, stride[0], begin[0], begin[0]),),
        parameters={
            "region": {
                "begin_height": begin[0],
                "begin_width": begin[1],
                "begin_channels": begin[2],
                "stride_height": stride[0],
                "stride_width": stride[1],
                "stride_channels": stride[2],
                "value": 0,
            }
        },
    )


def _slice_sizes(builder: Builder, op: Operator, rank: int) -> tuple[int, ...]:
    """Elements that a slice keeps of each input dimension; the output may have dropped some."""
    output = builder.graph.tensors[op.outputs[0]].shape
    if len(output) == rank:
        return output
    raise UnsupportedModel(
        f"{op.kind} {builder.graph.tensors[op.outputs[0]].name}: the slice changes the rank from "
        f"{rank} to {len(output)}; keep the dimension and reshape after it"
    )


def lower_transpose(builder: Builder, op: Operator) -> None:
    """TRANSPOSE; a view where only dimensions of one move."""
    attributes = op.attributes
    assert isinstance(attributes, Transpose)
    tensor = builder.graph.tensors[op.inputs[0]]
    source = builder.map_of(op.inputs[0])
    moved = [axis for axis in attributes.permutation if tensor.shape[axis] != 1]
    if moved == sorted(moved):
        builder.bind_view(op.outputs[0], source)
        return
    axes = _map_permutation(len(tensor.shape), attributes.permutation)
    in_shape = builder.tensors[source].shape
    builder.add(
        "TRANSPOSE",
        builder.output_map(
            op.outputs[0], (in_shape[axes[0]], in_shape[axes[1]], in_shape[axes[2]])
        ),
        (Edge(source, 0, 0, in_shape[0] - 1),),
        parameters={"permutation": {"axis": axes}},
    )


def _map_permutation(rank: int, permutation: tuple[int, ...]) -> list[int]:
    """A permutation of dimensions as one of height, width and channels; the batch is of one."""
    axes = [map_axis(axis, rank) for axis in permutation]
    added = [axis for axis in range(3) if axis not in axes]
    return added + [axis for axis in axes if axis >= 0]


def lower_reshape(builder: Builder, op: Operator) -> None:
    """RESHAPE: the same bytes under another shape."""
    builder.bind_view(op.outputs[0], builder.map_of(op.inputs[0]))


def _nearest(output: int, source: int, attributes: Resize) -> np.ndarray:
    """The input coordinate of each output coordinate, in single precision as TFLite computes it."""
    one = np.float32(1)
    if attributes.align_corners and output > 1:
        scale = np.float32(source - 1) / np.float32(output - 1)
    else:
        scale = np.float32(source) / np.float32(output)
    offset = one / 2 if attributes.half_pixel_centers else np.float32(0)
    position = (np.arange(output, dtype=np.float32) + offset) * scale
    if attributes.align_corners:
        position = np.floor(position + one / 2)
    return np.clip(np.floor(position), 0, source - 1).astype(np.int64)


def _covering_edge(tensor: int, rows_first: list[int], rows_last: list[int]) -> Edge:
    """An edge with slope input height / output height that covers every row an operator reads."""
    output = len(rows_first)
    source = rows_last[-1] + 1
    divisor = math.gcd(source, output)
    step, divisor = source // divisor, output // divisor
    if step > 16384 or divisor > 65535:
        return Edge(tensor, 0, 0, source - 1)
    first = min(row * divisor - y * step for y, row in enumerate(rows_first))
    last = max(row * divisor - y * step for y, row in enumerate(rows_last))
    return Edge(tensor, step, first, last, divisor)


def lower_resize_nearest(builder: Builder, op: Operator) -> None:
    """RESIZE_NEAREST_NEIGHBOR: the rows and columns to copy are tables in the file."""
    attributes = op.attributes
    assert isinstance(attributes, Resize)
    _require_same_quantization(builder, op)
    source, output = builder.map_of(op.inputs[0]), builder.map_of(op.outputs[0])
    in_map, out_map = builder.tensors[source], builder.tensors[output]
    rows = _nearest(out_map.height, in_map.height, attributes)
    columns = _nearest(out_map.width, in_map.width, attributes)
    builder.add(
        "RESIZE_NEAREST",
        output,
        (_covering_edge(source, rows.tolist(), rows.tolist()),),
        constants=rows.astype("<u2").tobytes() + columns.astype("<u2").tobytes(),
    )


def _bilinear_scale(output: int, source: int, attributes: Resize) -> tuple[int, int]:
    """Input step of one output step, and offset of the first, in 1/1024."""
    if attributes.align_corners and output > 1:
        scale = (_RESIZE_ONE * (source - 1) + (output - 1) // 2) // (output - 1)
    else:
        scale = (_RESIZE_ONE * source + output // 2) // output
    return scale, scale // 2 - _RESIZE_ONE // 2 if attributes.half_pixel_centers else 0


def lower_resize_bilinear(builder: Builder, op: Operator) -> None:
    """RESIZE_BILINEAR in 1/1024 steps."""
    attributes = op.attributes
    assert isinstance(attributes, Resize)
    _require_same_quantization(builder, op)
    source, output = builder.map_of(op.inputs[0]), builder.map_of(op.outputs[0])
    in_map, out_map = builder.tensors[source], builder.tensors[output]
    scale_height, offset_height = _bilinear_scale(out_map.height, in_map.height, attributes)
    scale_width, offset_width = _bilinear_scale(out_map.width, in_map.width, attributes)
    positions = [y * scale_height + offset_height for y in range(out_map.height)]
    limit = in_map.height - 1
    lower = [min(max(int(p / _RESIZE_ONE), 0), limit) for p in positions]
    upper = [min(max(int((p + _RESIZE_ONE - 1) / _RESIZE_ONE), 0), limit) for p in positions]
    builder.add(
        "RESIZE_BILINEAR",
        output,
        (_covering_edge(source, lower, upper),),
        parameters={
            "resize": {
                "scale_height": scale_height,
                "scale_width": scale_width,
                "offset_height": offset_height,
                "offset_width": offset_width,
            }
        },
        macs=4 * out_map.elements,
    )
