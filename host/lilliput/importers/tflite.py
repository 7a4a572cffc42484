"""TFLite files to graphs: float32, float16 weights, dynamic range (float with int8 weights), int8.

Operators that only move or rename data become one kind each (RESHAPE, SQUEEZE and EXPAND_DIMS are
RESHAPE; the outputs of a SPLIT are SLICEs), operands that only carry attributes become attributes,
and constants behind DEQUANTIZE become float32 constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lilliput.graph import (
    Activation,
    Attributes,
    Convolution,
    Graph,
    LeakyRelu,
    NoAttributes,
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
from lilliput.importers.flatbuffer import buffer_bytes, parse_model
from lilliput.importers.strided_slice import StridedSliceMasks, resolve_strided_slice
from lilliput.passes.ports import require_uniform_type, strip_float_ports
from lilliput.passes.shapes import output_shape, window_size

FLOAT32 = np.dtype(np.float32)
INT8 = np.dtype(np.int8)
UINT8 = np.dtype(np.uint8)
INT32 = np.dtype(np.int32)

_MAX_RANK = 6
_MAX_ELEMENTS = 2**31 - 1


def read_tflite(data: bytes, name: str = "model") -> Graph:
    """The graph of a `.tflite` file.

    The graph is float32 throughout, or int8 throughout: QUANTIZE at the inputs and DEQUANTIZE at
    the outputs of an int8 model are stripped, so that the ports are int8 (uint8 ports too, whose
    numbers are 128 higher). An unknown batch size is taken as 1.

    Raises ValueError for a file that is no TFLite model or is damaged, UnsupportedModel (also a
    ValueError) naming the operator, its output tensor and what to do when the model holds
    something that Lilliput does not run.
    """
    data = bytes(data)
    model = parse_model(data)
    reader = _Reader(model, data)
    graph = strip_float_ports(reader.read(name))
    require_uniform_type(graph)
    return graph


def _names(enumeration: type) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


_KINDS: Mapping[int, str] = _names(schema.BuiltinOperator)
_TYPES: Mapping[int, str] = _names(schema.TensorType)
_ACTIVATIONS: Mapping[int, str] = {
    schema.ActivationFunctionType.NONE: "none",
    schema.ActivationFunctionType.RELU: "relu",
    schema.ActivationFunctionType.RELU6: "relu6",
    schema.ActivationFunctionType.RELU_N1_TO_1: "relu_n1_to_1",
}
_STORED: Mapping[int, np.dtype] = {
    schema.TensorType.FLOAT32: FLOAT32,
    schema.TensorType.FLOAT16: np.dtype(np.float16),
    schema.TensorType.INT32: INT32,
    schema.TensorType.INT64: np.dtype(np.int64),
    schema.TensorType.INT8: INT8,
    schema.TensorType.UINT8: UINT8,
}
_TYPE_ADVICE: Mapping[str, str] = {
    "UINT8": "it uses the old uint8 scheme; export it again as int8, or give the float model and "
    "let lilliput quantise it",
    "INT16": "16-bit activations do not run; export it as int8, or give the float model and let "
    "lilliput quantise it",
    "INT4": "4-bit weights do not run; export it as int8 or float",
    "FLOAT16": "only weights may be float16; export activations as float32",
    "INT64": "export it with int32 or int8 data",
}

_REPLACE = (
    "replace it in the model by supported ones (README lists them), or end the model before it"
)
_ADVICE: Mapping[str, str] = {
    "DENSIFY": "it unpacks sparse weights: export the model with dense weights",
    "IF": "export the model without control flow",
    "WHILE": "export the model without control flow",
    "CALL_ONCE": "export the model without state and initialisation",
    "VAR_HANDLE": "export the model without state",
}


class _Unsupported(Exception):
    """Why an operator cannot be imported and what to do; the reader adds which operator it is."""


@dataclass
class _Reader:
    """Turns the object tree into a graph, one operator after the other."""

    model: schema.ModelT
    data: bytes
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    # Index in the file -> index in `tensors`.
    known: dict[int, int] = field(default_factory=dict)
    # Tensors of the file that are graph inputs or results of the operators read so far.
    computed: set[int] = field(default_factory=set)

    def read(self, name: str) -> Graph:
        inputs = self._indices(self.subgraph.inputs, "graph input")
        outputs = self._indices(self.subgraph.outputs, "graph output")
        if not inputs or not outputs:
            raise ValueError("damaged TFLite model: it has no input or no output; export it again")
        graph_inputs = tuple(self._graph_input(index) for index in inputs)
        for operator in self.subgraph.operators or []:
            self._operator(operator)
        if not self.operators:
            raise UnsupportedModel(
                "the model has no operators that depend on its input; give one that computes"
            )
        for index in outputs:
            if index not in self.computed:
                raise UnsupportedModel(
                    f"output tensor {self._name(index)!r} is computed by no operator; "
                    "remove it from the model's outputs and export again"
                )
        graph_outputs = tuple(self.known[index] for index in outputs)
        for index in (*graph_inputs, *graph_outputs):
            if self.tensors[index].is_constant:
                raise UnsupportedModel(
                    f"port tensor {self.tensors[index].name!r} is a constant; "
                    "remove it from the model's outputs and export again"
                )
        return Graph(tuple(self.tensors), tuple(self.operators), graph_inputs, graph_outputs, name)

    @property
    def subgraph(self) -> schema.SubGraphT:
        return self.model.subgraphs[0]

    # --- tensors ---

    def _indices(self, values: Any, what: str) -> list[int]:
        indices = [] if values is None else [int(v) for v in values]
        count = len(self.subgraph.tensors or [])
        for index in indices:
            if not -1 <= index < count or (index == -1 and what != "operand"):
                raise ValueError(
                    f"damaged TFLite model: a {what} is tensor {index} of {count}; "
                    "fetch or export it again"
                )
        return indices

    def _name(self, index: int) -> str:
        raw = self.subgraph.tensors[index].name
        text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
        return text or f"tensor {index}"

    def _graph_input(self, index: int) -> int:
        name = self._name(index)
        try:
            position = self.tensor(index)
        except _Unsupported as reason:
            raise UnsupportedModel(f"input tensor {name!r}: {reason}") from None
        shape = self.tensors[position].shape
        if len(shape) > 1 and shape[0] != 1:
            raise UnsupportedModel(
                f"input tensor {name!r}: batch size {shape[0]}, shape {list(shape)}; "
                "export the model with batch size 1"
            )
        self.computed.add(index)
        return position

    def _shape(self, index: int) -> tuple[int, ...]:
        tensor = self.subgraph.tensors[index]
        shape = [] if tensor.shape is None else [int(v) for v in tensor.shape]
        if tensor.shapeSignature is not None and len(tensor.shapeSignature) == len(shape):
            signature = [int(v) for v in tensor.shapeSignature]
        else:
            signature = shape
        for axis, size in enumerate(signature):
            if size < 0 and axis == 0:
                # A model exported with an unknown batch may store a placeholder there.
                shape[0] = 1
            elif size < 0:
                raise _Unsupported(
                    f"tensor {self._name(index)!r} has the dynamic shape {signature}; "
                    "export the model with fixed sizes"
                )
        if any(size < 1 for size in shape):
            raise _Unsupported(
                f"tensor {self._name(index)!r} has the shape {shape}; "
                "export the model with fixed sizes above 0"
            )
        if math.prod(shape) > _MAX_ELEMENTS:
            raise _Unsupported(
                f"tensor {self._name(index)!r} has the shape {shape}, too large for any device; "
                "export a smaller model"
            )
        if len(shape) > _MAX_RANK:
            raise _Unsupported(
                f"tensor {self._name(index)!r} has {len(shape)} dimensions; use at most {_MAX_RANK}"
            )
        return tuple(shape)

    def _raw_constant(self, index: int) -> np.ndarray | None:
        """The stored data of a constant, of the stored type; None for a computed tensor."""
        tensor = self.subgraph.tensors[index]
        content = buffer_bytes(self.model, self.data, tensor.buffer)
        if not content:
            return None
        if tensor.sparsity is not None:
            raise _Unsupported(
                f"tensor {self._name(index)!r} holds sparse weights; "
                "export the model with dense weights"
            )
        dtype = self._stored_type(index)
        shape = () if tensor.shape is None else tuple(int(v) for v in tensor.shape)
        elements = int(np.prod(shape, dtype=np.int64))
        if len(content) != elements * dtype.itemsize:
            raise ValueError(
                f"damaged TFLite model: tensor {self._name(index)!r} of shape {list(shape)} and "
                f"type {dtype} holds {len(content)} bytes; fetch or export it again"
            )
        return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(shape)

    def _stored_type(self, index: int) -> np.dtype:
        code = self.subgraph.tensors[index].type
        if code not in _STORED:
            name = _TYPES.get(code, str(code))
            advice = _TYPE_ADVICE.get(name, "export it as float32 or int8")
            raise _Unsupported(f"tensor {self._name(index)!r} is of type {name}: {advice}")
        return _STORED[code]

    def _quantization(self, index: int, shape: tuple[int, ...]) -> Quantization | None:
        stored = self.subgraph.tensors[index].quantization
        if stored is None or stored.scale is None or len(stored.scale) == 0:
            return None
        scale = np.array(stored.scale, np.float32)
        zero_point = np.zeros(scale.size, np.int64)
        if stored.zeroPoint is not None and len(stored.zeroPoint):
            zero_point = np.array(stored.zeroPoint, np.int64)
            if zero_point.size == 1:
                zero_point = np.repeat(zero_point, scale.size)
        axis = int(stored.quantizedDimension)
        damaged = (
            zero_point.size != scale.size
            or not np.all(np.isfinite(scale) & (scale > 0))
            or np.any(np.abs(zero_point) > 255)
            or (scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size))
        )
        if damaged:
            raise ValueError(
                f"damaged TFLite model: tensor {self._name(index)!r} of shape {list(shape)} has "
                f"{scale.size} scales (axis {axis}) and {zero_point.size} zero points that do not "
                "fit it; fetch or export it again"
            )
        return Quantization(scale, zero_point.astype(np.int32), axis if scale.size > 1 else 0)

    def tensor(self, index: int) -> int:
        """The position in the graph of the file's tensor `index`; -1 stays -1."""
        if index < 0:
            return -1
        if index not in self.known:
            self.known[index] = self.add(self._tensor(index))
        return self.known[index]

    def add(self, tensor: Tensor) -> int:
        """Appends a tensor to the graph's; its position."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _tensor(self, index: int) -> Tensor:
        name = self._name(index)
        data = self._raw_constant(index)
        dtype = self._stored_type(index)
        shape = self._shape(index) if data is None else data.shape
        quantization = self._quantization(index, shape)
        if data is None:
            self._check_activation(index, name, dtype, quantization)
            if dtype == np.int64:
                dtype = INT32
        elif dtype == np.float16:
            data, dtype = data.astype(np.float32), FLOAT32
        if dtype == INT8 and quantization is None:
            raise _Unsupported(
                f"tensor {name!r} is int8 without a scale; export the model with full integer "
                "quantisation"
            )
        if dtype == FLOAT32:
            quantization = None
        return Tensor(name, shape, dtype, data, quantization)

    def _check_activation(
        self, index: int, name: str, dtype: np.dtype, quantization: Quantization | None
    ) -> None:
        if self.subgraph.tensors[index].isVariable:
            raise _Unsupported(
                f"tensor {name!r} is a variable (state kept between inferences); "
                "export the model without state"
            )
        if dtype == np.float16:
            raise _Unsupported(f"tensor {name!r} is of type FLOAT16: {_TYPE_ADVICE['FLOAT16']}")
        if dtype in (INT8, UINT8):
            if quantization is None:
                raise _Unsupported(
                    f"tensor {name!r} is {dtype} without a scale; export the model with full "
                    "integer quantisation"
                )
            if not quantization.is_per_tensor:
                raise _Unsupported(
                    f"tensor {name!r} is an activation quantised per channel; "
                    "only weights may be; export it with per-tensor activations"
                )
            limits = np.iinfo(dtype)
            if not limits.min <= int(quantization.zero_point[0]) <= limits.max:
                raise ValueError(
                    f"damaged TFLite model: tensor {name!r} has zero point "
                    f"{int(quantization.zero_point[0])} outside of {dtype}; export it again"
                )

    # --- operators ---

    def _kind(self, operator: schema.OperatorT) -> str:
        codes = self.model.operatorCodes
        if not 0 <= operator.opcodeIndex < len(codes):
            raise ValueError(
                f"damaged TFLite model: an operator has code {operator.opcodeIndex} of "
                f"{len(codes)}; fetch or export it again"
            )
        entry = codes[operator.opcodeIndex]
        # Codes that fit a byte may stand in either field, by the age of the converter.
        code = max(entry.builtinCode, entry.deprecatedBuiltinCode)
        if code == schema.BuiltinOperator.CUSTOM:
            custom = entry.customCode or b""
            text = custom.decode("utf-8", "replace") if isinstance(custom, bytes) else custom
            return f"CUSTOM ({text})"
        return _KINDS.get(code, f"operator code {code}")

    def _operator(self, operator: schema.OperatorT) -> None:
        inputs = self._indices(operator.inputs, "operand")
        outputs = self._indices(operator.outputs, "result")
        kind = self._kind(operator)
        where = f"{kind} {self._name(outputs[0])!r}" if outputs else kind
        for index in outputs:
            if index in self.computed:
                raise ValueError(
                    f"damaged TFLite model: {where} computes tensor {self._name(index)!r} a second "
                    "time; export it again"
                )
        try:
            read = _READERS.get(kind)
            if read is None:
                raise _Unsupported(f"this operator is not supported; {_ADVICE.get(kind, _REPLACE)}")
            if not outputs:
                raise ValueError(f"damaged TFLite model: {where} has no output; export it again")
            for index in inputs:
                if index >= 0 and index not in self.computed and not self._has_data(index):
                    raise _Unsupported(
                        f"operand {self._name(index)!r} is neither computed before nor a constant; "
                        "export the model again"
                    )
            read(self, _Site(kind, operator.builtinOptions, tuple(inputs), tuple(outputs)))
        except _Unsupported as reason:
            raise UnsupportedModel(f"{where}: {reason}") from None
        self.computed.update(outputs)

    def _has_data(self, index: int) -> bool:
        tensor = self.subgraph.tensors[index]
        return bool(buffer_bytes(self.model, self.data, tensor.buffer)) or (
            tensor.shape is not None and 0 in [int(v) for v in tensor.shape]
        )

    def emit(
        self,
        kind: str,
        inputs: tuple[int, ...],
        output: int,
        attributes: Attributes | None = None,
    ) -> None:
        """Adds one operator on graph positions, after checking the output's declared shape."""
        attributes = NoAttributes() if attributes is None else attributes
        shapes = [self.tensors[index].shape for index in inputs if index >= 0]
        declared = self.tensors[output].shape
        try:
            expected = output_shape(kind, attributes, shapes)
        except ValueError as error:
            raise _Unsupported(f"{error}; export the model again") from None
        if expected is not None and expected != declared:
            raise _Unsupported(
                f"its output is declared as {list(declared)}, its inputs "
                f"{[list(s) for s in shapes]} give {list(expected)}; export the model again with "
                "fixed sizes"
            )
        self.operators.append(Operator(kind, inputs, (output,), attributes))

    def operand(self, index: int) -> int:
        """Position of an operand that must be there."""
        if index < 0:
            raise _Unsupported("an operand is missing; export the model again")
        return self.tensor(index)

    def integers(self, index: int, what: str) -> list[int]:
        """The values of a constant integer operand, such as axes."""
        values = self._raw_constant(index) if index >= 0 else None
        if values is None and index >= 0:
            shape = self.subgraph.tensors[index].shape
            if shape is not None and 0 in [int(v) for v in shape]:
                return []
        if values is None:
            raise _Unsupported(
                f"its {what} is computed while the model runs; export the model with a constant"
            )
        if values.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
            raise _Unsupported(f"its {what} is of type {values.dtype}; export it as int32")
        return [int(v) for v in values.ravel()]

    def weights(self, index: int, what: str) -> int:
        """Position of constant weights; int8 weights of a float operator become float32."""
        position = self.tensor(index)
        if not self.tensors[position].is_constant:
            raise _Unsupported(
                f"its {what} are computed while the model runs; only constant {what} run; "
                "export the model with constants"
            )
        return position

    def as_float(self, position: int) -> int:
        """Position of the float32 values of a constant: itself, or a dequantised copy."""
        if position < 0 or self.tensors[position].dtype == FLOAT32:
            return position
        return self.add(_dequantized(self.tensors[position]))

    def fold_constant(self, index: int, value: Tensor) -> None:
        """Makes the result `index` of an operator the constant `value`."""
        self.known[index] = self.add(value)


@dataclass(frozen=True)
class _Site:
    """One operator of the file: `inputs` and `outputs` are indices into the file's tensors."""

    kind: str
    options: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def operand(self, number: int) -> int:
        """The operand, or -1 when it is absent."""
        return self.inputs[number] if number < len(self.inputs) else -1

    def option(self, name: str, default: Any = 0) -> Any:
        return default if self.options is None else getattr(self.options, name, default)

    @property
    def activation(self) -> str:
        code = self.option("fusedActivationFunction")
        if code not in _ACTIVATIONS:
            names = _names(schema.ActivationFunctionType)
            raise _Unsupported(
                f"its fused activation {names.get(code, code)} is not supported; "
                "use ReLU, ReLU6 or a separate operator"
            )
        return _ACTIVATIONS[code]

    @property
    def padding(self) -> str:
        code = self.option("padding")
        if code not in (schema.Padding.SAME, schema.Padding.VALID):
            raise _Unsupported(f"padding scheme {code} is unknown; use SAME or VALID")
        return "same" if code == schema.Padding.SAME else "valid"

    def pair(self, height: str, width: str, default: int = 0) -> tuple[int, int]:
        values = (int(self.option(height, default)), int(self.option(width, default)))
        if min(values) < 1:
            raise _Unsupported(f"{height}, {width} are {values}; they must be at least 1")
        return values


def _dequantized(tensor: Tensor) -> Tensor:
    """The float32 constant that a quantised constant stands for."""
    if tensor.data is None:
        raise _Unsupported(f"tensor {tensor.name!r} is not a constant")
    if tensor.dtype == FLOAT32:
        return tensor
    if tensor.quantization is None:
        raise _Unsupported(f"constant {tensor.name!r} is {tensor.dtype} without a scale")
    scale, zero_point = tensor.quantization.scale, tensor.quantization.zero_point
    if not tensor.quantization.is_per_tensor:
        along = [1] * len(tensor.shape)
        along[tensor.quantization.axis] = scale.size
        scale, zero_point = scale.reshape(along), zero_point.reshape(along)
    values = (tensor.data.astype(np.int32) - zero_point).astype(np.float32) * scale
    return Tensor(tensor.name, tensor.shape, FLOAT32, values.astype(np.float32))


def _require_map(reader: _Reader, position: int) -> tuple[int, int, int, int]:
    """The shape of an image-like operand: rank 4 and batch 1."""
    shape = reader.tensors[position].shape
    if len(shape) != 4:
        raise _Unsupported(
            f"its input has the shape {list(shape)}; it must have 4 dimensions (1, H, W, C)"
        )
    if shape[0] != 1:
        raise _Unsupported(
            f"its input has the shape {list(shape)}: batch size {shape[0]}; "
            "export the model with batch size 1"
        )
    return shape[0], shape[1], shape[2], shape[3]


def _weighted_operands(
    reader: _Reader, x: int, weights: int, bias: int
) -> tuple[int, int, int]:
    """Weights and bias as constants of the type that the operator's input asks for."""
    weights_at = reader.weights(weights, "weights")
    bias_at = reader.weights(bias, "bias values") if bias >= 0 else -1
    dtype = reader.tensors[x].dtype
    if dtype == FLOAT32:
        return x, reader.as_float(weights_at), reader.as_float(bias_at)
    if reader.tensors[weights_at].dtype != INT8:
        raise _Unsupported(
            f"its input is {dtype} and its weights are {reader.tensors[weights_at].dtype}; "
            "export the model with full integer quantisation"
        )
    zero_points = reader.tensors[weights_at].quantization
    if zero_points is not None and np.any(zero_points.zero_point):
        raise _Unsupported(
            "its weights have a zero point other than 0; export them symmetric "
            "(TFLite's int8 specification asks for it)"
        )
    if bias_at >= 0 and reader.tensors[bias_at].dtype != INT32:
        raise _Unsupported(
            f"its bias is {reader.tensors[bias_at].dtype}; export it as int32"
        )
    return x, weights_at, bias_at


def _check_bias(reader: _Reader, bias: int, channels: int) -> None:
    if bias >= 0 and reader.tensors[bias].elements != channels:
        raise _Unsupported(
            f"its bias has {reader.tensors[bias].elements} values for {channels} output channels; "
            "export the model again"
        )


def _require_rank(reader: _Reader, position: int, rank: int, what: str) -> tuple[int, ...]:
    shape = reader.tensors[position].shape
    if len(shape) != rank:
        raise _Unsupported(f"its {what} have the shape {list(shape)}; {rank} dimensions are needed")
    return shape


def _convolution(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    channels = _require_map(reader, x)[3]
    operands = _weighted_operands(reader, x, site.operand(1), site.operand(2))
    weights = _require_rank(reader, operands[1], 4, "weights")
    if site.kind == "CONV_2D":
        if channels % weights[3] or weights[0] % (channels // weights[3]):
            raise _Unsupported(
                f"{channels} input channels do not divide into groups of {weights[3]} for "
                f"{weights[0]} output channels; export the model again"
            )
        outputs = weights[0]
    else:
        outputs = weights[3]
        if weights[0] != 1 or outputs % channels:
            raise _Unsupported(
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


def _transposed_convolution(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(2))
    _, height, width, channels = _require_map(reader, x)
    operands = _weighted_operands(reader, x, site.operand(1), site.operand(3))
    weights = _require_rank(reader, operands[1], 4, "weights")
    if weights[3] != channels:
        raise _Unsupported(
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
        raise _Unsupported(
            f"output {list(shape)} (asked for: {size}) cannot come from input "
            f"{[1, height, width, channels]} with weights {list(weights)}, stride {stride} and "
            f"{padding} padding; export the model again"
        )
    attributes = Convolution(padding=padding, stride=stride, activation=site.activation)
    reader.emit(site.kind, operands, output, attributes)


def _fully_connected(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    if site.option("weightsFormat") != schema.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise _Unsupported("its weights are shuffled; export them in the default format")
    operands = _weighted_operands(reader, x, site.operand(1), site.operand(2))
    weights = _require_rank(reader, operands[1], 2, "weights")
    _check_bias(reader, operands[2], weights[0])
    attributes = Activation(
        activation=site.activation, keep_num_dims=bool(site.option("keepNumDims", False))
    )
    reader.emit(site.kind, operands, reader.tensor(site.outputs[0]), attributes)


def _elementwise(reader: _Reader, site: _Site) -> None:
    operands = [reader.operand(site.operand(n)) for n in (0, 1)]
    if any(reader.tensors[p].dtype == FLOAT32 and not reader.tensors[p].is_constant
           for p in operands):
        operands = [reader.as_float(p) if reader.tensors[p].is_constant else p for p in operands]
    output = reader.tensor(site.outputs[0])
    reader.emit(site.kind, tuple(operands), output, Activation(site.activation))


def _prelu(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    slopes = reader.weights(site.operand(1), "slopes")
    if reader.tensors[x].dtype == FLOAT32:
        slopes = reader.as_float(slopes)
    reader.emit(site.kind, (x, slopes), reader.tensor(site.outputs[0]))


def _pool(reader: _Reader, site: _Site) -> None:
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
            raise _Unsupported(f"axis {value} does not exist in {rank} dimensions; export it again")
    return tuple(sorted({value % rank for value in values}))


def _reduce(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    axes = reader.integers(site.operand(1), "axis")
    attributes = Reduce(
        _resolved_axes(axes, len(reader.tensors[x].shape)), bool(site.option("keepDims", False))
    )
    if site.kind == "ARG_MAX" and len(attributes.axes) != 1:
        raise _Unsupported(f"it needs one axis and has {axes}; export the model again")
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), attributes)


def _pad(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    tensor = reader.tensors[x]
    amounts = reader.integers(site.operand(1), "padding")
    if len(amounts) != 2 * len(tensor.shape) or min(amounts, default=0) < 0:
        raise _Unsupported(
            f"paddings {amounts} do not fit an input of shape {list(tensor.shape)}; "
            "export the model again"
        )
    value = 0.0
    if tensor.dtype != FLOAT32 and tensor.quantization is not None:
        value = float(tensor.quantization.zero_point[0])
    if site.operand(2) >= 0:
        filler = reader.tensors[reader.weights(site.operand(2), "padding value")]
        if filler.data is None or filler.elements != 1:
            raise _Unsupported("its padding value is not one number; export the model again")
        if filler.dtype != tensor.dtype:
            raise _Unsupported(
                f"its padding value is {filler.dtype}, its input {tensor.dtype}; export it again"
            )
        if tensor.dtype != FLOAT32 and not _same(filler.quantization, tensor.quantization):
            raise _Unsupported(
                "its padding value is scaled otherwise than its input; export the model again"
            )
        value = float(filler.data.ravel()[0])
    attributes = Pad(tuple(amounts[0::2]), tuple(amounts[1::2]), value)
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), attributes)


def _same(first: Quantization | None, second: Quantization | None) -> bool:
    return first is not None and first.same_as(second)


def _concatenation(reader: _Reader, site: _Site) -> None:
    operands = [reader.operand(index) for index in site.inputs]
    if not operands:
        raise _Unsupported("it has no inputs; export the model again")
    if any(reader.tensors[p].dtype == FLOAT32 for p in operands):
        operands = [reader.as_float(p) if reader.tensors[p].is_constant else p for p in operands]
    rank = len(reader.tensors[operands[0]].shape)
    axis = _resolved_axes([int(site.option("axis"))], rank)[0]
    output = reader.tensor(site.outputs[0])
    reader.emit(site.kind, tuple(operands), output, Activation(site.activation, axis))


def _reshape(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    output = reader.tensor(site.outputs[0])
    before, after = reader.tensors[x], reader.tensors[output]
    if before.elements != after.elements:
        raise _Unsupported(
            f"it turns {list(before.shape)} into {list(after.shape)}, which holds another number "
            "of elements; export the model again with fixed sizes"
        )
    reader.emit("RESHAPE", (x,), output)


def _transpose(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    rank = len(reader.tensors[x].shape)
    permutation = [value % rank for value in reader.integers(site.operand(1), "permutation")]
    if sorted(permutation) != list(range(rank)):
        raise _Unsupported(
            f"permutation {permutation} does not fit {rank} dimensions; export the model again"
        )
    reader.emit(
        site.kind, (x,), reader.tensor(site.outputs[0]), Transpose(tuple(permutation))
    )


def _resize(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    _require_map(reader, x)
    size = reader.integers(site.operand(1), "size")
    output = reader.tensor(site.outputs[0])
    shape = reader.tensors[output].shape
    if len(shape) != 4 or list(shape[1:3]) != size or shape[3] != reader.tensors[x].shape[3]:
        raise _Unsupported(
            f"its output is declared as {list(shape)} and its size operand says {size}; "
            "export the model again with fixed sizes"
        )
    attributes = Resize(
        align_corners=bool(site.option("alignCorners", False)),
        half_pixel_centers=bool(site.option("halfPixelCenters", False)),
    )
    if attributes.align_corners and attributes.half_pixel_centers:
        raise _Unsupported("align_corners and half_pixel_centers are both set; use one of them")
    reader.emit(site.kind, (x,), output, attributes)


def _simple(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    attributes: Attributes = NoAttributes()
    if site.kind == "SOFTMAX":
        attributes = Softmax(float(site.option("beta", 1.0)))
    elif site.kind == "LEAKY_RELU":
        attributes = LeakyRelu(float(site.option("alpha", 0.0)))
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]), attributes)


def _slice_operator(
    reader: _Reader, x: int, output: int, begin: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    kind = "SLICE" if all(step == 1 for step in stride) else "STRIDED_SLICE"
    reader.emit(kind, (x,), output, Slice(begin, stride))


def _slice(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    shape = reader.tensors[x].shape
    begin = reader.integers(site.operand(1), "begin")
    size = reader.integers(site.operand(2), "size")
    output = reader.tensor(site.outputs[0])
    if not len(begin) == len(size) == len(shape):
        raise _Unsupported(f"begin {begin} and size {size} do not fit shape {list(shape)}")
    taken = tuple(
        extent - first if count == -1 else count
        for extent, first, count in zip(shape, begin, size, strict=True)
    )
    inside = all(
        0 <= first and count >= 1 and first + count <= extent
        for extent, first, count in zip(shape, begin, taken, strict=True)
    )
    if not inside or taken != reader.tensors[output].shape:
        raise _Unsupported(
            f"begin {begin} and size {size} of an input of shape {list(shape)} do not give "
            f"{list(reader.tensors[output].shape)}; export the model again"
        )
    _slice_operator(reader, x, output, tuple(begin), (1,) * len(shape))


def _strided_slice(reader: _Reader, site: _Site) -> None:
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
        raise _Unsupported(f"{error} (input shape {list(source.shape)}); export it again") from None
    output = reader.tensor(site.outputs[0])
    declared = reader.tensors[output].shape
    if resolved.output_shape != declared or 0 in resolved.shape:
        raise _Unsupported(
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


def _split(reader: _Reader, site: _Site) -> None:
    by_size = site.kind == "SPLIT_V"
    x = reader.operand(site.operand(0 if by_size else 1))
    shape = reader.tensors[x].shape
    axis_values = reader.integers(site.operand(2 if by_size else 0), "axis")
    axes = _resolved_axes(axis_values, len(shape))
    if len(axes) != 1:
        raise _Unsupported(f"it needs one axis and has {axis_values}; export the model again")
    axis = axes[0]
    parts = [reader.tensor(index) for index in site.outputs]
    sizes = [reader.tensors[p].shape[axis : axis + 1] for p in parts]
    expected = [shape[:axis] + size + shape[axis + 1 :] for size in sizes]
    if any(reader.tensors[p].shape != e for p, e in zip(parts, expected, strict=True)) or (
        sum(size[0] for size in sizes if size) != shape[axis]
    ):
        raise _Unsupported(
            f"its outputs {[list(reader.tensors[p].shape) for p in parts]} do not make up its "
            f"input {list(shape)} along axis {axis}; export the model again"
        )
    begin = 0
    for position, size in zip(parts, sizes, strict=True):
        offsets = tuple(begin if a == axis else 0 for a in range(len(shape)))
        _slice_operator(reader, x, position, offsets, (1,) * len(shape))
        begin += size[0]


def _dequantize(reader: _Reader, site: _Site) -> None:
    x = reader.operand(site.operand(0))
    if reader.tensors[x].is_constant:
        reader.fold_constant(site.outputs[0], _dequantized(reader.tensors[x]))
        return
    reader.emit(site.kind, (x,), reader.tensor(site.outputs[0]))


_READERS: Mapping[str, Callable[[_Reader, _Site], None]] = {
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
