"""Lowers the operators with weights: convolutions and fully connected layers."""

from __future__ import annotations

import numpy as np

from ..graph import Activation, Convolution, Operator, UnsupportedModel
from ..program import Edge
from .builder import Builder
from .channels import Channels
from .geometry import same_padding
from .packing import fits_int4, pack_pairs, pack_pairs_int4
from .requantization import activation_range, quantize_multiplier, single_rounding_multiplier

_MAX_SUM = 2**31 - 1


def _requantization(
    builder: Builder, op: Operator, channels: int, rounds_once: bool
) -> list[tuple[int, int]]:
    """A multiplier and shift for each output channel."""
    input_scale = builder.scale(op.inputs[0])
    output_scale = builder.scale(op.outputs[0])
    weight_scales = builder.quantization(op.inputs[1]).scale
    quantize = single_rounding_multiplier if rounds_once else quantize_multiplier
    pairs = [quantize(input_scale * float(scale) / output_scale) for scale in weight_scales]
    return pairs if len(pairs) == channels else pairs * channels


def _channels(
    builder: Builder, op: Operator, weights: np.ndarray, rounds_once: bool = False
) -> Channels:
    """The operator's output channels. weights: int8, shape (C, ...)."""
    flat = weights.reshape(weights.shape[0], -1)
    bias = np.zeros(flat.shape[0], np.int64)
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        stored = builder.graph.tensors[op.inputs[2]]
        if stored.data is None:
            raise UnsupportedModel(
                f"{op.kind} {builder.graph.tensors[op.outputs[0]].name}: its bias {stored.name} is "
                "computed; a constant int32 bias is needed"
            )
        bias = stored.data.astype(np.int64).reshape(-1)
    bias = bias - builder.zero_point(op.inputs[0]) * flat.sum(axis=1, dtype=np.int64)
    inputs = flat.shape[1]
    if inputs > 65536 or np.abs(bias).max(initial=0) > _MAX_SUM - (inputs << 14):
        name = builder.graph.tensors[op.outputs[0]].name
        raise UnsupportedModel(
            f"{op.kind} {name}: {inputs} weights an output with this bias can overflow 32-bit sums;"
            " split the layer or reduce its bias"
        )
    scales = np.array(_requantization(builder, op, flat.shape[0], rounds_once), np.int64)
    channels = Channels(flat, bias, scales[:, 0], scales[:, 1])
    if rounds_once:
        return channels
    return channels.with_constants_folded(builder.zero_point(op.outputs[0]))


def _pack(channels: Channels, weights: np.ndarray) -> bytes:
    """Bias, multipliers, shifts and weights as `lil_format.h` lays them out. `weights` are the
    channels' in the file's order."""
    header = b"".join(
        values.astype(dtype).tobytes()
        for values, dtype in (
            (channels.bias, "<i4"),
            (channels.multiplier, "<i4"),
            (channels.shift, "i1"),
        )
    )
    return header + bytes(-len(header) % 4) + np.ascontiguousarray(weights, np.int8).tobytes()


def _pairs(channels: Channels, is_int4: bool, groups: int = 1) -> np.ndarray:
    pack = pack_pairs_int4 if is_int4 else pack_pairs
    return pack(channels.weights, groups)


def _weights(builder: Builder, op: Operator) -> np.ndarray:
    tensor = builder.graph.tensors[op.inputs[1]]
    if tensor.data is None or tensor.dtype != np.int8:
        raise UnsupportedModel(
            f"{op.kind} {builder.graph.tensors[op.outputs[0]].name}: its weights {tensor.name} are "
            f"{tensor.dtype}{'' if tensor.is_constant else ' and computed'}; constant int8 weights "
            "are needed: quantise the model fully to int8"
        )
    if builder.quantization(op.inputs[1]).zero_point.any():
        raise UnsupportedModel(
            f"{op.kind} {builder.graph.tensors[op.outputs[0]].name}: weights {tensor.name} are not "
            "symmetric (their zero point is not 0); quantise them symmetrically"
        )
    return tensor.data


def _activation(builder: Builder, op: Operator, activation: str) -> tuple[int, int]:
    return activation_range(
        activation, builder.scale(op.outputs[0]), builder.zero_point(op.outputs[0])
    )


def _window(
    attributes: Convolution,
    kernel: tuple[int, int],
    pad_top: int,
    pad_left: int,
    groups: int = 1,
) -> dict[str, object]:
    return {
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": attributes.stride[0],
        "stride_width": attributes.stride[1],
        "dilation_height": attributes.dilation[0],
        "dilation_width": attributes.dilation[1],
        "pad_top": pad_top,
        "pad_left": pad_left,
        "groups": groups,
    }


def _padding(
    attributes: Convolution, size: tuple[int, int], kernel: tuple[int, int]
) -> tuple[int, int]:
    """Rows above and columns left of the map."""
    if attributes.explicit_padding is not None:
        return attributes.explicit_padding[0], attributes.explicit_padding[2]
    if attributes.padding == "valid":
        return 0, 0
    top, left = (
        same_padding(size[i], kernel[i], attributes.stride[i], attributes.dilation[i])
        for i in range(2)
    )
    return top, left


def lower_convolution(builder: Builder, op: Operator) -> None:
    """CONV_2D and DEPTHWISE_CONV_2D."""
    attributes = op.attributes
    assert isinstance(attributes, Convolution)
    weights = _weights(builder, op)
    source, output = builder.map_of(op.inputs[0]), builder.map_of(op.outputs[0])
    in_map, out_map = builder.tensors[source], builder.tensors[output]
    kernel = (weights.shape[1], weights.shape[2])
    top, left = _padding(attributes, (in_map.height, in_map.width), kernel)
    is_depthwise = op.kind == "DEPTHWISE_CONV_2D"
    groups = 1 if is_depthwise else in_map.channels // weights.shape[3]
    channels = _channels(builder, op, weights[0].transpose(2, 0, 1) if is_depthwise else weights)
    is_int4 = not is_depthwise and fits_int4(channels.weights)
    packed = channels.weights.T if is_depthwise else _pairs(channels, is_int4, groups)
    is_pointwise = (
        not is_depthwise
        and kernel == (1, 1)
        and groups == 1
        and attributes.stride == (1, 1)
        and (top, left) == (0, 0)
        and in_map.shape[:2] == out_map.shape[:2]
    )
    span = (kernel[0] - 1) * attributes.dilation[0]
    builder.add(
        "DEPTHWISE_CONVOLUTION" if is_depthwise else "CONVOLUTION",
        output,
        (Edge(source, attributes.stride[0], -top, span - top),),
        is_pointwise=is_pointwise,
        activation=_activation(builder, op, attributes.activation),
        parameters={"window": _window(attributes, kernel, top, left, groups)},
        shifts_right=channels.shifts_right(),
        is_int4=is_int4,
        constants=_pack(channels, packed),
        macs=out_map.elements * channels.weights.shape[1],
    )


def lower_transposed_convolution(builder: Builder, op: Operator) -> None:
    """TRANSPOSE_CONV. Output row y reads the input rows i with 0 <= y + top - i * stride < k."""
    attributes = op.attributes
    assert isinstance(attributes, Convolution)
    weights = _weights(builder, op)
    source, output = builder.map_of(op.inputs[0]), builder.map_of(op.outputs[0])
    in_map, out_map = builder.tensors[source], builder.tensors[output]
    kernel = (weights.shape[1], weights.shape[2])
    stride = attributes.stride
    top, left = 0, 0
    if attributes.padding == "same":
        top = same_padding(out_map.height, kernel[0], stride[0], 1)
        left = same_padding(out_map.width, kernel[1], stride[1], 1)
    edge = Edge(source, 1, top - kernel[0] + stride[0], top, stride[0])
    channels = _channels(builder, op, weights)
    builder.add(
        "TRANSPOSED_CONVOLUTION",
        output,
        (edge,),
        activation=_activation(builder, op, attributes.activation),
        parameters={"window": _window(attributes, kernel, top, left)},
        shifts_right=channels.shifts_right(),
        constants=_pack(channels, channels.weights),
        macs=in_map.elements * kernel[0] * kernel[1] * out_map.channels,
    )


def lower_fully_connected(builder: Builder, op: Operator) -> None:
    """FULLY_CONNECTED: a sink over the whole map, or a 1x1 convolution over a batch of rows."""
    attributes = op.attributes
    assert isinstance(attributes, Activation)
    weights = _weights(builder, op)
    outputs, inputs = weights.shape
    source = builder.map_of(op.inputs[0])
    batch = builder.tensors[source].elements // inputs
    channels = _channels(builder, op, weights, rounds_once=True)
    shifts_right = channels.shifts_right(rounds_once=True)
    activation = _activation(builder, op, attributes.activation)
    if batch == 1:
        root = builder.root(source)
        consumed = builder.tensors[root]
        has_whole_words = consumed.height == 1 or consumed.row_bytes % 4 == 0
        is_int4 = has_whole_words and fits_int4(channels.weights)
        builder.add(
            "FULLY_CONNECTED",
            builder.output_map(op.outputs[0], (1, 1, outputs)),
            (Edge(root),),
            is_sink=True,
            rounds_once=True,
            shifts_right=shifts_right,
            is_int4=is_int4,
            activation=activation,
            constants=_pack(channels, _pairs(channels, is_int4)),
            macs=outputs * inputs,
        )
        return
    is_int4 = fits_int4(channels.weights)
    builder.add(
        "CONVOLUTION",
        builder.output_map(op.outputs[0], (1, batch, outputs)),
        (Edge(builder.view(source, (1, batch, inputs))),),
        is_pointwise=True,
        rounds_once=True,
        shifts_right=shifts_right,
        is_int4=is_int4,
        activation=activation,
        parameters={"window": _window(Convolution(), (1, 1), 0, 0)},
        constants=_pack(channels, _pairs(channels, is_int4)),
        macs=batch * outputs * inputs,
    )
