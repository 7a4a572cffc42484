"""Writes a graph, float or int8, as a `.tflite` that LiteRT runs.

Attributes that the importer resolved (axes, paddings, shapes, slice bounds, permutations) become
constant operands again. Operator versions follow `op_version.cc` of LiteRT, so that a runtime too
old for an operator says so instead of computing something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..graph import (
    Activation,
    Attributes,
    Convolution,
    Graph,
    LeakyRelu,
    Operator,
    Pad,
    Pool,
    Quantization,
    Reduce,
    Resize,
    Slice,
    Softmax,
    Tensor,
    Transpose,
    UnsupportedModel,
)

_A = TypeVar("_A", bound=Attributes)

_SCHEMA_VERSION = 3
_FILE_IDENTIFIER = b"TFL3"
_BUFFER_ALIGNMENT = 16  # that the schema demands of constants

_TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}
_ACTIVATIONS = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "relu_n1_to_1": schema.ActivationFunctionType.RELU_N1_TO_1,
}
_PADDINGS = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}


def write_tflite(graph: Graph) -> bytes:
    """The graph as a TFLite flatbuffer; its inputs and outputs keep their order.

    Tensors keep their indices; operands that only carry attributes, and what an explicit padding
    needs (TFLite's convolutions have none: a PAD goes before them), come after them.

    Raises UnsupportedModel when TFLite cannot say what an operator means.
    """
    writer = _Writer(graph, list(graph.tensors))
    operators = list(graph.operators)
    while operators:
        count = _split_length(graph, operators)
        if count > 1:
            _write_split(writer, operators[:count])
        else:
            count = 1
            _write_operator(writer, operators[0])
        del operators[:count]
    return writer.finish()


class _AlignedBuffer(schema.BufferT):
    """A buffer whose bytes lie at a multiple of 16, which the generated writer does not see to."""

    def Pack(self, builder: flatbuffers.Builder) -> int:
        vector = None
        if self.data is not None:
            content = self.data.tobytes()
            builder.StartVector(1, len(content), _BUFFER_ALIGNMENT)
            builder.head = builder.head - len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


@dataclass
class _Writer:
    """Collects the tables of one file."""

    graph: Graph
    tensors: list[Tensor]
    codes: dict[tuple[int, int], int] = field(default_factory=dict)
    operators: list[schema.OperatorT] = field(default_factory=list)

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(
        self, name: str, data: np.ndarray, quantization: Quantization | None = None
    ) -> int:
        return self.add(Tensor(name, data.shape, data.dtype, data, quantization))

    def integers(self, name: str, values: Sequence[int] | Sequence[Sequence[int]] | int) -> int:
        """A constant int32 operand that carries an attribute."""
        return self.constant(name, np.array(values, np.int32))

    def operator(
        self,
        kind: str,
        version: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: object | None = None,
    ) -> None:
        code = (getattr(schema.BuiltinOperator, kind), version)
        entry = schema.OperatorT(
            opcodeIndex=self.codes.setdefault(code, len(self.codes)),
            inputs=list(inputs),
            outputs=list(outputs),
        )
        if options is not None:
            entry.builtinOptions = options
            # `Conv2DOptionsT` is the union member `Conv2DOptions`.
            entry.builtinOptionsType = getattr(
                schema.BuiltinOptions, type(options).__name__.removesuffix("T")
            )
        self.operators.append(entry)

    def finish(self) -> bytes:
        buffers = [_AlignedBuffer()]
        tensors = []
        for tensor in self.tensors:
            index = 0
            if tensor.data is not None:
                index = len(buffers)
                buffers.append(_AlignedBuffer(data=_stored(tensor)))
            tensors.append(_tensor_table(tensor, index))
        model = schema.ModelT(
            version=_SCHEMA_VERSION,
            description="Written by lilliput",
            operatorCodes=[
                schema.OperatorCodeT(
                    builtinCode=builtin,
                    # Readers from before 2020 know only this field, of eight bits.
                    deprecatedBuiltinCode=min(builtin, 127),
                    version=version,
                )
                for builtin, version in self.codes
            ],
            subgraphs=[
                schema.SubGraphT(
                    name=self.graph.name,
                    tensors=tensors,
                    inputs=list(self.graph.inputs),
                    outputs=list(self.graph.outputs),
                    operators=self.operators,
                )
            ],
            buffers=buffers,
        )
        builder = flatbuffers.Builder(1024 + 2 * sum(b.data.nbytes for b in buffers[1:]))
        builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
        return bytes(builder.Output())


def _stored(tensor: Tensor) -> np.ndarray:
    """A constant's data, checked, in the byte order of the file."""
    data = np.asarray(tensor.data)
    if data.dtype != tensor.dtype or data.size != tensor.elements:
        raise UnsupportedModel(
            f"constant {tensor.name!r} says {tensor.dtype} of shape {tensor.shape} but holds "
            f"{data.dtype} of shape {data.shape}; make its data agree"
        )
    return np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False)


def _tensor_table(tensor: Tensor, buffer: int) -> schema.TensorT:
    if tensor.dtype not in _TENSOR_TYPES:
        raise UnsupportedModel(
            f"tensor {tensor.name!r} is {tensor.dtype}, which TFLite has no type for; "
            "use float32, int8 or int32"
        )
    table = schema.TensorT(
        name=tensor.name,
        shape=[int(n) for n in tensor.shape],
        type=_TENSOR_TYPES[tensor.dtype],
        buffer=buffer,
    )
    if tensor.quantization is not None:
        table.quantization = schema.QuantizationParametersT(
            scale=[float(s) for s in tensor.quantization.scale],
            zeroPoint=[int(z) for z in tensor.quantization.zero_point],
            quantizedDimension=tensor.quantization.axis,
        )
    return table


def _is_int8(writer: _Writer, operator: Operator) -> bool:
    return writer.graph.tensors[operator.inputs[0]].dtype == np.int8


def _write_operator(writer: _Writer, operator: Operator) -> None:
    write = _WRITERS.get(operator.kind)
    if write is None:
        output = writer.graph.tensors[operator.outputs[0]].name
        raise UnsupportedModel(
            f"{operator.kind} (output {output!r}) cannot be written to a .tflite; "
            f"the kinds that can are {', '.join(sorted(_WRITERS))}"
        )
    write(writer, operator)


def _attributes(writer: _Writer, operator: Operator, expected: type[_A]) -> _A:
    """The operator's attributes, of the type that its kind has."""
    if not isinstance(operator.attributes, expected):
        output = writer.graph.tensors[operator.outputs[0]].name
        raise UnsupportedModel(
            f"{operator.kind} (output {output!r}) has attributes of type "
            f"{type(operator.attributes).__name__}; it needs {expected.__name__}"
        )
    return operator.attributes


def _write_padding(
    writer: _Writer, source: int, padding: tuple[int, int, int, int], lowest: bool
) -> int:
    """The tensor `source` with rows and columns around it: of zero, or of the lowest number."""
    tensor = writer.graph.tensors[source]
    top, bottom, left, right = padding
    _, height, width, _ = tensor.shape
    shape = (tensor.shape[0], top + height + bottom, left + width + right, tensor.shape[3])
    padded = writer.add(replace(tensor, name=f"{tensor.name}/padded", shape=shape, data=None))
    amounts = writer.integers("paddings", ((0, 0), (top, bottom), (left, right), (0, 0)))
    version = 2 if tensor.dtype == np.int8 else 1
    if lowest:
        limits = np.iinfo(np.int8) if tensor.dtype == np.int8 else np.finfo(np.float32)
        value = writer.constant(
            "pad_value", np.array([limits.min], tensor.dtype), tensor.quantization
        )
        writer.operator(
            "PADV2", version, [source, amounts, value], [padded], schema.PadV2OptionsT()
        )
    else:
        writer.operator("PAD", version, [source, amounts], [padded], schema.PadOptionsT())
    return padded


def _convolution_operands(writer: _Writer, operator: Operator) -> tuple[int, int, int]:
    """Input, weights and bias: LiteRT's convolutions demand a bias."""
    source, weights, *rest = operator.inputs
    bias = rest[0] if rest else -1
    if bias < 0:
        bias = writer.constant("bias", *_zero_bias(writer, operator))
    return source, weights, bias


def _zero_bias(writer: _Writer, operator: Operator) -> tuple[np.ndarray, Quantization | None]:
    source = writer.graph.tensors[operator.inputs[0]]
    weights = writer.graph.tensors[operator.inputs[1]]
    channels = writer.graph.tensors[operator.outputs[0]].shape[-1]
    if source.quantization is None or weights.quantization is None:
        return np.zeros(channels, np.float32), None
    scale = source.quantization.scale * weights.quantization.scale
    return np.zeros(channels, np.int32), Quantization(
        scale.astype(np.float32), np.zeros(scale.size, np.int32)
    )


def _window(writer: _Writer, source: int, attributes: Convolution | Pool) -> tuple[int, int]:
    """The input and the TFLite padding, with explicit padding turned into an operator."""
    if attributes.explicit_padding is None:
        return source, _PADDINGS[attributes.padding]
    if any(attributes.explicit_padding):
        lowest = isinstance(attributes, Pool)
        source = _write_padding(writer, source, attributes.explicit_padding, lowest)
    return source, _PADDINGS["valid"]


def _write_convolution(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Convolution)
    source, weights, bias = _convolution_operands(writer, operator)
    channels = writer.graph.tensors[source].shape[3]
    grouped = writer.graph.tensors[weights].shape[3] != channels
    version = 6 if grouped else 3 if _is_int8(writer, operator) else 1
    source, padding = _window(writer, source, attributes)
    options = schema.Conv2DOptionsT(
        padding=padding,
        strideH=attributes.stride[0],
        strideW=attributes.stride[1],
        dilationHFactor=attributes.dilation[0],
        dilationWFactor=attributes.dilation[1],
        fusedActivationFunction=_ACTIVATIONS[attributes.activation],
    )
    writer.operator("CONV_2D", version, [source, weights, bias], operator.outputs, options)


def _write_depthwise(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Convolution)
    source, weights, bias = _convolution_operands(writer, operator)
    channels = writer.graph.tensors[source].shape[3]
    version = 1 if attributes.dilation == (1, 1) else 2
    version = 3 if _is_int8(writer, operator) else version
    source, padding = _window(writer, source, attributes)
    options = schema.DepthwiseConv2DOptionsT(
        padding=padding,
        strideH=attributes.stride[0],
        strideW=attributes.stride[1],
        dilationHFactor=attributes.dilation[0],
        dilationWFactor=attributes.dilation[1],
        depthMultiplier=writer.graph.tensors[weights].shape[3] // channels,
        fusedActivationFunction=_ACTIVATIONS[attributes.activation],
    )
    writer.operator(
        "DEPTHWISE_CONV_2D", version, [source, weights, bias], operator.outputs, options
    )


def _write_transposed_convolution(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Convolution)
    if attributes.explicit_padding is not None or attributes.dilation != (1, 1):
        raise UnsupportedModel(
            "TRANSPOSE_CONV has neither explicit padding nor dilation in TFLite; "
            "slice its output, or spread its weights, instead"
        )
    source, weights, *rest = operator.inputs
    shape = writer.graph.tensors[operator.outputs[0]].shape
    inputs = [writer.integers("output_shape", shape), weights, source]
    inputs += [bias for bias in rest if bias >= 0]
    if attributes.activation != "none":
        version = 4
    elif len(inputs) == 4:
        version = 3
    else:
        version = 2 if _is_int8(writer, operator) else 1
    options = schema.TransposeConvOptionsT(
        padding=_PADDINGS[attributes.padding],
        strideH=attributes.stride[0],
        strideW=attributes.stride[1],
        fusedActivationFunction=_ACTIVATIONS[attributes.activation],
    )
    writer.operator("TRANSPOSE_CONV", version, inputs, operator.outputs, options)


def _write_fully_connected(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Activation)
    source, weights, *rest = operator.inputs
    bias = rest[0] if rest else -1
    quantization = writer.graph.tensors[weights].quantization
    if quantization is not None and not quantization.is_per_tensor:
        version = 12
    elif bias < 0:
        version = 6
    elif attributes.keep_num_dims:
        version = 5
    else:
        version = 4 if _is_int8(writer, operator) else 1
    options = schema.FullyConnectedOptionsT(
        fusedActivationFunction=_ACTIVATIONS[attributes.activation],
        keepNumDims=attributes.keep_num_dims,
    )
    writer.operator("FULLY_CONNECTED", version, [source, weights, bias], operator.outputs, options)


def _write_binary(options_type: type) -> Callable[[_Writer, Operator], None]:
    def write(writer: _Writer, operator: Operator) -> None:
        attributes = _attributes(writer, operator, Activation)
        options = options_type(fusedActivationFunction=_ACTIVATIONS[attributes.activation])
        version = 2 if _is_int8(writer, operator) else 1
        writer.operator(operator.kind, version, operator.inputs, operator.outputs, options)

    return write


def _write_pool(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Pool)
    if operator.kind == "AVERAGE_POOL_2D" and any(attributes.explicit_padding or ()):
        raise UnsupportedModel(
            "AVERAGE_POOL_2D has no explicit padding in TFLite, whose average leaves out what "
            'lies outside of the map; use "same" or a PAD before it'
        )
    source, padding = _window(writer, operator.inputs[0], attributes)
    options = schema.Pool2DOptionsT(
        padding=padding,
        strideH=attributes.stride[0],
        strideW=attributes.stride[1],
        filterHeight=attributes.kernel[0],
        filterWidth=attributes.kernel[1],
        fusedActivationFunction=_ACTIVATIONS[attributes.activation],
    )
    version = 2 if _is_int8(writer, operator) else 1
    writer.operator(operator.kind, version, [source], operator.outputs, options)


def _write_mean(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Reduce)
    inputs = [operator.inputs[0], writer.integers("axes", attributes.axes)]
    options = schema.ReducerOptionsT(keepDims=attributes.keep_dims)
    version = 2 if _is_int8(writer, operator) else 1
    writer.operator("MEAN", version, inputs, operator.outputs, options)


def _write_arg_max(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Reduce)
    if len(attributes.axes) != 1 or attributes.keep_dims:
        raise UnsupportedModel(
            "ARG_MAX takes one axis and drops it in TFLite; add a RESHAPE to keep it"
        )
    output = writer.graph.tensors[operator.outputs[0]]
    inputs = [operator.inputs[0], writer.integers("axis", attributes.axes[0])]
    options = schema.ArgMaxOptionsT(outputType=_TENSOR_TYPES[output.dtype])
    version = 2 if _is_int8(writer, operator) else 1
    writer.operator("ARG_MAX", version, inputs, operator.outputs, options)


def _write_pad(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Pad)
    source = operator.inputs[0]
    tensor = writer.graph.tensors[source]
    amounts = writer.integers(
        "paddings", tuple(zip(attributes.before, attributes.after, strict=True))
    )
    version = 2 if tensor.dtype == np.int8 else 1
    zero = tensor.quantization.zero_point[0] if tensor.quantization is not None else 0
    if operator.kind == "PAD" and attributes.value == zero:
        writer.operator("PAD", version, [source, amounts], operator.outputs, schema.PadOptionsT())
        return
    value = writer.constant(
        "pad_value", np.array([attributes.value], tensor.dtype), tensor.quantization
    )
    writer.operator(
        "PADV2", version, [source, amounts, value], operator.outputs, schema.PadV2OptionsT()
    )


def _write_concatenation(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Activation)
    options = schema.ConcatenationOptionsT(
        axis=attributes.axis, fusedActivationFunction=_ACTIVATIONS[attributes.activation]
    )
    version = 2 if _is_int8(writer, operator) else 1
    writer.operator("CONCATENATION", version, operator.inputs, operator.outputs, options)


def _write_slice(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Slice)
    source = operator.inputs[0]
    size = writer.graph.tensors[operator.outputs[0]].shape
    if len(size) != len(attributes.begin):
        raise UnsupportedModel(
            f"{operator.kind} drops dimensions of {writer.graph.tensors[source].name!r}; "
            "keep them and add a RESHAPE"
        )
    version = 2 if _is_int8(writer, operator) else 1
    if operator.kind != "STRIDED_SLICE" and all(s == 1 for s in attributes.stride):
        inputs = [
            source,
            writer.integers("begin", attributes.begin),
            writer.integers("size", size),
        ]
        writer.operator("SLICE", version, inputs, operator.outputs, schema.SliceOptionsT())
        return
    ends = [
        begin + stride * count
        for begin, stride, count in zip(attributes.begin, attributes.stride, size, strict=True)
    ]
    # An end before the first element would count from the end of the dimension; a mask says it.
    end_mask = sum(1 << axis for axis, end in enumerate(ends) if end < 0)
    inputs = [
        source,
        writer.integers("begin", attributes.begin),
        writer.integers("end", ends),
        writer.integers("strides", attributes.stride),
    ]
    options = schema.StridedSliceOptionsT(endMask=end_mask)
    writer.operator("STRIDED_SLICE", version, inputs, operator.outputs, options)


def _write_transpose(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Transpose)
    inputs = [operator.inputs[0], writer.integers("permutation", attributes.permutation)]
    version = 2 if _is_int8(writer, operator) else 1
    writer.operator("TRANSPOSE", version, inputs, operator.outputs, schema.TransposeOptionsT())


def _write_reshape(writer: _Writer, operator: Operator) -> None:
    shape = writer.graph.tensors[operator.outputs[0]].shape
    inputs = [operator.inputs[0], writer.integers("shape", shape)]
    options = schema.ReshapeOptionsT(newShape=[int(n) for n in shape])
    writer.operator("RESHAPE", 1, inputs, operator.outputs, options)


def _write_softmax(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, Softmax)
    version = 2 if _is_int8(writer, operator) else 1
    options = schema.SoftmaxOptionsT(beta=attributes.beta)
    writer.operator("SOFTMAX", version, operator.inputs, operator.outputs, options)


def _write_leaky_relu(writer: _Writer, operator: Operator) -> None:
    attributes = _attributes(writer, operator, LeakyRelu)
    version = 2 if _is_int8(writer, operator) else 1
    options = schema.LeakyReluOptionsT(alpha=attributes.alpha)
    writer.operator("LEAKY_RELU", version, operator.inputs, operator.outputs, options)


def _write_resize(options_type: type) -> Callable[[_Writer, Operator], None]:
    def write(writer: _Writer, operator: Operator) -> None:
        attributes = _attributes(writer, operator, Resize)
        _, height, width, _ = writer.graph.tensors[operator.outputs[0]].shape
        inputs = [operator.inputs[0], writer.integers("size", (height, width))]
        options = options_type(
            alignCorners=attributes.align_corners,
            halfPixelCenters=attributes.half_pixel_centers,
        )
        if attributes.half_pixel_centers or attributes.align_corners:
            version = 3
        else:
            version = 2 if _is_int8(writer, operator) else 1
        writer.operator(operator.kind, version, inputs, operator.outputs, options)

    return write


def _write_unary(
    int8_version: int, options_type: type | None = None
) -> Callable[[_Writer, Operator], None]:
    """An operator without attributes."""

    def write(writer: _Writer, operator: Operator) -> None:
        version = int8_version if _is_int8(writer, operator) else 1
        options = options_type() if options_type is not None else None
        writer.operator(operator.kind, version, operator.inputs, operator.outputs, options)

    return write


def _write_dequantize(writer: _Writer, operator: Operator) -> None:
    dtype = writer.graph.tensors[operator.inputs[0]].dtype
    version = {np.dtype(np.int8): 2, np.dtype(np.float16): 3}.get(dtype, 1)
    writer.operator(
        "DEQUANTIZE", version, operator.inputs, operator.outputs, schema.DequantizeOptionsT()
    )


def _split_length(graph: Graph, operators: Sequence[Operator]) -> int:
    """How many operators from the first one on are the outputs of one SPLIT: 0 or at least 2."""
    first = operators[0]
    if first.kind != "SPLIT":
        return 0
    source = graph.tensors[first.inputs[0]].shape
    part = graph.tensors[first.outputs[0]].shape
    axes = [axis for axis, (n, m) in enumerate(zip(source, part, strict=True)) if n != m]
    if len(axes) != 1:
        return 0
    axis = axes[0]
    count = source[axis] // part[axis]
    for index, operator in enumerate(operators[:count]):
        begin = tuple(index * part[axis] if a == axis else 0 for a in range(len(source)))
        if (
            operator.kind != "SPLIT"
            or operator.inputs != first.inputs
            or graph.tensors[operator.outputs[0]].shape != part
            or operator.attributes != Slice(begin, (1,) * len(source))
        ):
            return 0
    return count if count * part[axis] == source[axis] and count <= len(operators) else 0


def _write_split(writer: _Writer, operators: Sequence[Operator]) -> None:
    """One SPLIT for the slices that tile a tensor along one axis in equal parts."""
    first = operators[0]
    source = writer.graph.tensors[first.inputs[0]].shape
    part = writer.graph.tensors[first.outputs[0]].shape
    axis = next(axis for axis, (n, m) in enumerate(zip(source, part, strict=True)) if n != m)
    writer.operator(
        "SPLIT",
        2 if _is_int8(writer, first) else 1,
        [writer.integers("axis", axis), first.inputs[0]],
        [operator.outputs[0] for operator in operators],
        schema.SplitOptionsT(numSplits=len(operators)),
    )


_WRITERS: dict[str, Callable[[_Writer, Operator], None]] = {
    "ADD": _write_binary(schema.AddOptionsT),
    "ARG_MAX": _write_arg_max,
    "AVERAGE_POOL_2D": _write_pool,
    "CONCATENATION": _write_concatenation,
    "CONV_2D": _write_convolution,
    "DEPTHWISE_CONV_2D": _write_depthwise,
    "DEQUANTIZE": _write_dequantize,
    "FULLY_CONNECTED": _write_fully_connected,
    "HARD_SWISH": _write_unary(1, schema.HardSwishOptionsT),
    "LEAKY_RELU": _write_leaky_relu,
    "LOGISTIC": _write_unary(2),
    "MAX_POOL_2D": _write_pool,
    "MEAN": _write_mean,
    "MUL": _write_binary(schema.MulOptionsT),
    "PAD": _write_pad,
    "PADV2": _write_pad,
    "PRELU": _write_unary(1),
    "QUANTIZE": _write_unary(2, schema.QuantizeOptionsT),
    "RELU": _write_unary(2),
    "RELU6": _write_unary(2),
    "RELU_0_TO_1": _write_unary(1),
    "RELU_N1_TO_1": _write_unary(1),
    "RESHAPE": _write_reshape,
    "RESIZE_BILINEAR": _write_resize(schema.ResizeBilinearOptionsT),
    "RESIZE_NEAREST_NEIGHBOR": _write_resize(schema.ResizeNearestNeighborOptionsT),
    "SLICE": _write_slice,
    "SOFTMAX": _write_softmax,
    "SPLIT": _write_slice,
    "STRIDED_SLICE": _write_slice,
    "SUB": _write_binary(schema.SubOptionsT),
    "TANH": _write_unary(2),
    "TRANSPOSE": _write_transpose,
    "TRANSPOSE_CONV": _write_transposed_convolution,
}
