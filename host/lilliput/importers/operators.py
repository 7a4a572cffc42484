"""How each TFLite operator becomes operators of the graph.

Every function takes the reader and one operator of the file, checks it, and adds what it means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lilliput.graph import (
    INT4_STEP,
    Activation,
    Attributes,
    Convolution,
    LeakyRelu,
    NoAttributes,
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
from lilliput.importers.reader import (
    FLOAT32,
    INT8,
    INT32,
    OperatorError,
    Reader,
    Site,
    dequantized,
)
from lilliput.importers.strided_slice import StridedSliceMasks, resolve_strided_slice
from lilliput.passes.shapes import window_size


def _require_map(reader: Reader, position: int) -> tuple[int, int, int, int]:
    """The shape of an image-like operand: rank 4 and batch 1."""
    shape = reader.tensors[position].shape
    if len(shape) != 4:
        raise OperatorError(
            f"its input has the shape {list(shape)}; it must have 4 dimensions (1, H, W, C)"
        )
    if shape[0] != 1:
        raise OperatorError(
            f"its input has the shape {list(shape)}: batch size {shape[0]}; "
            "export the model with batch size 1"
        )
    return shape[0], shape[1], shape[2], shape[3]


def _weighted_operands(reader: Reader, x: int, weights: int, bias: int) -> tuple[int, int, int]:
    """Weights and bias as constants of the type that the operator's input asks for."""
    weights_at = reader.weights(weights, "weights")
    bias_at = reader.weights(bias, "bias values") if bias >= 0 else -1
    dtype = reader.tensors[x].dtype
    if dtype == FLOAT32:
        return x, reader.as_float(weights_at), reader.as_float(bias_at)
    if reader.tensors[weights_at].dtype != INT8:
        raise OperatorError(
            f"its input is {dtype} and its weights are {reader.tensors[weights_at].dtype}; "
            "export the model with full integer quantisation"
        )
    zero_points = reader.tensors[weights_at].quantization
    if zero_points is not None and np.any(zero_points.zero_point):
        raise OperatorError(
            "its weights have a zero point other than 0; export them symmetric "
            "(TFLite's int8 specification asks for it)"
        )
    if bias_at >= 0 and reader.tensors[bias_at].dtype != INT32:
        raise OperatorError(f"its bias is {reader.tensors[bias_at].dtype}; export it as int32")
    if bias_at >= 0 and reader.is_int4(weights):
        bias_at = reader.add(_sixteenfold(reader.tensors[bias_at]))
    return x, weights_at, bias_at


def _sixteenfold(bias: Tensor) -> Tensor:
    """The same bias for weights of four bits, which are read sixteenfold."""
    values = np.asarray(bias.data, np.int64) * INT4_STEP
    if np.abs(values).max(initial=0) >= 2**31:
        raise OperatorError(
            f"its bias {bias.name!r} is too large for weights of four bits; export it with int8 "
            "weights"
        )
    quantization = bias.quantization
    if quantization is not None:
        quantization = replace(quantization, scale=quantization.scale / np.float32(INT4_STEP))
    return replace(bias, data=values.astype(np.int32), quantization=quantization)


def _check_bias(reader: Reader, bias: int, channels: int) -> None:
    if bias >= 0 and reader.tensors[bias].elements != channels:
        raise OperatorError(
            f"its bias has {reader.tensors[bias].elements} values for {channels} output channels; "
            "export the model again"
        )


def _require_rank(reader: Reader, position: int, rank: int, what: str) -> tuple[int, ...]:
    shape = reader.tensors[position].shape
    if len(shape) != rank:
        raise OperatorError(f"its {what} have the shape {list(shape)}; they need rank {rank}")
    return shape


def _convolution(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    channels = _require_map(reader, x)[3]
    operands = _weighted_operands(reader, x, site.operand(1), site.operand(2))
    weights = _require_rank(reader, operands[1], 4, "weights")
    if site.kind == "CONV_2D":
        if channels % weights[3] or weights[0] % (channels // weights[3]):
            raise OperatorError(
                f"{channels} input channels do not divide into groups of {weights[3]} for "
                f"{weights[0]} output channels; export the model again"
            )
        outputs = weights[0]
    else:
        outputs = weights[3]
        if weights[0] != 1 or outputs % channels:
            raise OperatorError(
                f"weights {list(weights)} do not fit {channels} input channels; "
                "export the model again"
            )
    _check_bias(reader, operands[2], outputs)
    attributes = Convolution(
        padding=site.padding,
        stride=site.pair("strideH", "strideW"),
        dilation=site.pair("dilationHFactor", "dilationWFactor", 1),
        activation=site.activation,
    )
    reader.emit(site.kind, operands, reader.tensor(site.outputs[0]), attributes)


def _transposed_convolution(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(2))
    _, height, width, channels = _require_map(reader, x)
    operands = _weighted_operands(reader, x, site.operand(1), site.operand(3))
    weights = _require_rank(reader, operands[1], 4, "weights")
    if weights[3] != channels:
        raise OperatorError(
            f"weights {list(weights)} do not fit {channels} input channels; export the model again"
        )
    _check_bias(reader, operands[2], weights[0])
    size = reader.integers(site.operand(0), "output shape")
    output = reader.tensor(site.outputs[0])
    shape = reader.tensors[output].shape
    stride = site.pair("strideH", "strideW")
    padding = site.padding
    fits = len(size) == 4 and tuple(size[1:]) == shape[1:] and shape[3] == weights[0]
    for axis, extent in ((1, height), (2, width)):
        fits = fits and extent == window_size(
            shape[axis], weights[axis], stride[axis - 1], 1, padding, 0, 0
        )
    if not fits:
        raise OperatorError(
            f"output {list(shape)} (asked for: {size}) cannot come from input "
            f"{[1, height, width, channels]} with weights {list(weights)}, stride {stride} and "
            f"{padding} padding; export the model again"
        )
    attributes = Convolution(padding=padding, stride=stride, activation=site.activation)
    reader.emit(site.kind, operands, output, attributes)


def _fully_connected(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    if site.option("weightsFormat") != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise OperatorError("its weights are shuffled; export them in the default format")
    operands = _weighted_operands(reader, x, site.operand(1), site.operand(2))
    weights = _require_rank(reader, operands[1], 2, "weights")
    _check_bias(reader, operands[2], weights[0])
    attributes = Activation(
        activation=site.activation, keep_num_dims=bool(site.option("keepNumDims", False))
    )
    reader.emit(site.kind, operands, reader.tensor(site.outputs[0]), attributes)


def _elementwise(reader: Reader, site: Site) -> None:
    operands = [reader.operand(site.operand(n)) for n in (0, 1)]
    if any(
        reader.tensors[p].dtype == FLOAT32 and not reader.tensors[p].is_constant for p in operands
    ):
        operands = [reader.as_float(p) if reader.tensors[p].is_constant else p for p in operands]
    output = reader.tensor(site.outputs[0])
    reader.emit(site.kind, tuple(operands), output, Activation(site.activation))


def _prelu(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    slopes = reader.weights(site.operand(1), "slopes")
    if reader.tensors[x].dtype == FLOAT32:
        slopes = reader.as_float(slopes)
    reader.emit(site.kind, (x, slopes), reader.tensor(site.outputs[0]))


def _pool(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    _require_map(reader, x)
    attributes = Pool(
        padding=site.padding,
        stride=site.pair("strideH", "strideW"),
        kernel=site.pair("filterHeight", "filterWidth"),
        activation=site.activation,
    )
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), attributes)


def _resolved_axes(values: list[int], rank: int) -> tuple[int, ...]:
    for value in values:
        if not -rank <= value < rank:
            raise OperatorError(f"axis {value} is none of {rank} dimensions; export it again")
    return tuple(sorted({value % rank for value in values}))


def _reduce(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    axes = reader.integers(site.operand(1), "axis")
    attributes = Reduce(
        _resolved_axes(axes, len(reader.tensors[x].shape)), bool(site.option("keepDims", False))
    )
    if site.kind == "ARG_MAX" and len(attributes.axes) != 1:
        raise OperatorError(f"it needs one axis and has {axes}; export the model again")
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), attributes)


def _pad(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    tensor = reader.tensors[x]
    amounts = reader.integers(site.operand(1), "padding")
    if len(amounts) != 2 * len(tensor.shape) or min(amounts, default=0) < 0:
        raise OperatorError(
            f"paddings {amounts} do not fit an input of shape {list(tensor.shape)}; "
            "export the model again"
        )
    value = 0.0
    if tensor.dtype != FLOAT32 and tensor.quantization is not None:
        value = float(tensor.quantization.zero_point[0])
    if site.operand(2) >= 0:
        filler = reader.tensors[reader.weights(site.operand(2), "padding value")]
        if filler.data is None or filler.elements != 1:
            raise OperatorError("its padding value is not one number; export the model again")
        if filler.dtype != tensor.dtype:
            raise OperatorError(
                f"its padding value is {filler.dtype}, its input {tensor.dtype}; export it again"
            )
        if tensor.dtype != FLOAT32 and not _same(filler.quantization, tensor.quantization):
            raise OperatorError(
                "its padding value is scaled otherwise than its input; export the model again"
            )
        value = float(filler.data.ravel()[0])
    attributes = Pad(tuple(amounts[0::2]), tuple(amounts[1::2]), value)
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), attributes)


def _same(first: Quantization | None, second: Quantization | None) -> bool:
    return first is not None and first.same_as(second)


def _concatenation(reader: Reader, site: Site) -> None:
    operands = [reader.operand(index) for index in site.inputs]
    if not operands:
        raise OperatorError("it has no inputs; export the model again")
    if any(reader.tensors[p].dtype == FLOAT32 for p in operands):
        operands = [reader.as_float(p) if reader.tensors[p].is_constant else p for p in operands]
    if site.activation != "none":
        raise OperatorError(
            f"its fused activation {site.activation} runs nowhere in TFLite; "
            "make it an operator of its own behind the concatenation"
        )
    rank = len(reader.tensors[operands[0]].shape)
    axis = _resolved_axes([int(site.option("axis"))], rank)[0]
    output = reader.tensor(site.outputs[0])
    reader.emit(site.kind, tuple(operands), output, Activation(axis=axis))


def _reshape(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    output = reader.tensor(site.outputs[0])
    before, after = reader.tensors[x], reader.tensors[output]
    if before.elements != after.elements:
        raise OperatorError(
            f"it turns {list(before.shape)} into {list(after.shape)}, which holds another number "
            "of elements; export the model again with fixed sizes"
        )
    reader.emit("RESHAPE", (x,), output)


def _transpose(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    rank = len(reader.tensors[x].shape)
    permutation = [value % rank for value in reader.integers(site.operand(1), "permutation")]
    if sorted(permutation) != list(range(rank)):
        raise OperatorError(
            f"permutation {permutation} does not fit {rank} dimensions; export the model again"
        )
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), Transpose(tuple(permutation)))


def _resize(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    _require_map(reader, x)
    size = reader.integers(site.operand(1), "size")
    output = reader.tensor(site.outputs[0])
    shape = reader.tensors[output].shape
    if len(shape) != 4 or list(shape[1:3]) != size or shape[3] != reader.tensors[x].shape[3]:
        raise OperatorError(
            f"its output is declared as {list(shape)} and its size operand says {size}; "
            "export the model again with fixed sizes"
        )
    attributes = Resize(
        align_corners=bool(site.option("alignCorners", False)),
        half_pixel_centers=bool(site.option("halfPixelCenters", False)),
    )
    if attributes.align_corners and attributes.half_pixel_centers:
        raise OperatorError("align_corners and half_pixel_centers are both set; use one of them")
    reader.emit(site.kind, (x,), output, attributes)


def _simple(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    attributes: Attributes = NoAttributes()
    if site.kind == "SOFTMAX":
        attributes = Softmax(float(site.option("beta", 1.0)))
    elif site.kind == "LEAKY_RELU":
        attributes = LeakyRelu(float(site.option("alpha", 0.0)))
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), attributes)


def _slice_operator(
    reader: Reader, x: int, output: int, begin: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    kind = "SLICE" if all(step == 1 for step in stride) else "STRIDED_SLICE"
    reader.emit(kind, (x,), output, Slice(begin, stride))


def _slice(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    shape = reader.tensors[x].shape
    begin = reader.integers(site.operand(1), "begin")
    size = reader.integers(site.operand(2), "size")
    output = reader.tensor(site.outputs[0])
    if not len(begin) == len(size) == len(shape):
        raise OperatorError(f"begin {begin} and size {size} do not fit shape {list(shape)}")
    taken = tuple(
        extent - first if count == -1 else count
        for extent, first, count in zip(shape, begin, size, strict=True)
    )
    inside = all(
        first >= 0 and count >= 1 and first + count <= extent
        for extent, first, count in zip(shape, begin, taken, strict=True)
    )
    if not inside or taken != reader.tensors[output].shape:
        raise OperatorError(
            f"begin {begin} and size {size} of an input of shape {list(shape)} do not give "
            f"{list(reader.tensors[output].shape)}; export the model again"
        )
    _slice_operator(reader, x, output, tuple(begin), (1,) * len(shape))


def _strided_slice(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    source = reader.tensors[x]
    masks = StridedSliceMasks(
        begin=site.option("beginMask"),
        end=site.option("endMask"),
        ellipsis=site.option("ellipsisMask"),
        new_axis=site.option("newAxisMask"),
        shrink_axis=site.option("shrinkAxisMask"),
        end_is_offset=bool(site.option("offset", False)),
    )
    try:
        resolved = resolve_strided_slice(
            source.shape,
            reader.integers(site.operand(1), "begin"),
            reader.integers(site.operand(2), "end"),
            reader.integers(site.operand(3), "strides"),
            masks,
        )
    except ValueError as error:
        raise OperatorError(f"{error} (input {list(source.shape)}); export it again") from None
    output = reader.tensor(site.outputs[0])
    declared = reader.tensors[output].shape
    if resolved.output_shape != declared or 0 in resolved.shape:
        raise OperatorError(
            f"it takes {list(resolved.output_shape)} of {list(source.shape)}, its output is "
            f"declared as {list(declared)}; export the model again with fixed sizes"
        )
    if resolved.shape == declared:
        _slice_operator(reader, x, output, resolved.begin, resolved.stride)
        return
    inner = reader.add(
        Tensor(
            f"{reader.tensors[output].name}/slice",
            resolved.shape,
            source.dtype,
            None,
            source.quantization,
        )
    )
    _slice_operator(reader, x, inner, resolved.begin, resolved.stride)
    reader.emit("RESHAPE", (inner,), output)


def _split(reader: Reader, site: Site) -> None:
    by_size = site.kind == "SPLIT_V"
    x = reader.operand(site.operand(0 if by_size else 1))
    shape = reader.tensors[x].shape
    axis_values = reader.integers(site.operand(2 if by_size else 0), "axis")
    axes = _resolved_axes(axis_values, len(shape))
    if len(axes) != 1:
        raise OperatorError(f"it needs one axis and has {axis_values}; export the model again")
    axis = axes[0]
    parts = [reader.tensor(index) for index in site.outputs]
    sizes = [reader.tensors[p].shape[axis : axis + 1] for p in parts]
    expected = [shape[:axis] + size + shape[axis + 1 :] for size in sizes]
    if any(reader.tensors[p].shape != e for p, e in zip(parts, expected, strict=True)) or (
        sum(size[0] for size in sizes if size) != shape[axis]
    ):
        raise OperatorError(
            f"its outputs {[list(reader.tensors[p].shape) for p in parts]} do not make up its "
            f"input {list(shape)} along axis {axis}; export the model again"
        )
    begin = 0
    for position, size in zip(parts, sizes, strict=True):
        offsets = tuple(begin if a == axis else 0 for a in range(len(shape)))
        _slice_operator(reader, x, position, offsets, (1,) * len(shape))
        begin += size[0]


def _dequantize(reader: Reader, site: Site) -> None:
    x = reader.operand(site.operand(0))
    if reader.tensors[x].is_constant:
        reader.fold_constant(site.outputs[0], dequantized(reader.tensors[x]))
        return
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]))


READERS: Mapping[str, Callable[[Reader, Site], None]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _elementwise,
    "SUB": _elementwise,
    "MUL": _elementwise,
    "PRELU": _prelu,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _reduce,
    "ARG_MAX": _reduce,
    "PAD": _pad,
    "PADV2": _pad,
    "CONCATENATION": _concatenation,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "RESIZE_BILINEAR": _resize,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "DEQUANTIZE": _dequantize,
    "QUANTIZE": _simple,
    "SOFTMAX": _simple,
    "LOGISTIC": _simple,
    "TANH": _simple,
    "RELU": _simple,
    "RELU6": _simple,
    "RELU_N1_TO_1": _simple,
    "RELU_0_TO_1": _simple,
    "LEAKY_RELU": _simple,
    "HARD_SWISH": _simple,
}
