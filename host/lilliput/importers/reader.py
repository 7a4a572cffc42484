"""Walking a TFLite model's object tree: tensors, and operators handed to their readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from lilliput.graph import (
    INT4_STEP,
    Attributes,
    Graph,
    NoAttributes,
    Operator,
    Quantization,
    Tensor,
    UnsupportedModel,
)
from lilliput.importers.flatbuffer import buffer_bytes
from lilliput.passes.shapes import output_shape

FLOAT32 = np.dtype(np.float32)
INT8 = np.dtype(np.int8)
UINT8 = np.dtype(np.uint8)
INT32 = np.dtype(np.int32)

_MAX_RANK = 6
_MAX_ELEMENTS = 2**31 - 1


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
    schema.TensorType.INT4: INT8,  # sixteenfold, with a sixteenth of the scale
    schema.TensorType.UINT8: UINT8,
}
_TYPE_ADVICE: Mapping[str, str] = {
    "UINT8": "it uses the old uint8 scheme; export it again as int8, or give the float model and "
    "let lilliput quantise it",
    "INT16": "16-bit activations do not run; export it as int8, or give the float model and let "
    "lilliput quantise it",
    "INT4": "only weights may have four bits; export activations as int8",
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


class OperatorError(Exception):
    """Why an operator cannot be imported and what to do; the reader adds which operator it is."""


@dataclass
class Reader:
    """Turns the object tree of `data` into a graph, one operator after the other.

    readers: by operator kind, what adds such an operator to the graph.
    """

    model: schema.ModelT
    data: bytes
    readers: Mapping[str, Callable[[Reader, Site], None]]
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
        except OperatorError as reason:
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
                raise OperatorError(
                    f"tensor {self._name(index)!r} has the dynamic shape {signature}; "
                    "export the model with fixed sizes"
                )
        if any(size < 1 for size in shape):
            raise OperatorError(
                f"tensor {self._name(index)!r} has the shape {shape}; "
                "export the model with fixed sizes above 0"
            )
        if math.prod(shape) > _MAX_ELEMENTS:
            raise OperatorError(
                f"tensor {self._name(index)!r} has the shape {shape}, too large for any device; "
                "export a smaller model"
            )
        if len(shape) > _MAX_RANK:
            raise OperatorError(
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
            raise OperatorError(
                f"tensor {self._name(index)!r} holds sparse weights; "
                "export the model with dense weights"
            )
        dtype = self._stored_type(index)
        shape = () if tensor.shape is None else tuple(int(v) for v in tensor.shape)
        elements = int(np.prod(shape, dtype=np.int64))
        expected_bytes = (elements + 1) // 2 if self.is_int4(index) else elements * dtype.itemsize
        if len(content) != expected_bytes:
            raise ValueError(
                f"damaged TFLite model: tensor {self._name(index)!r} of shape {list(shape)} and "
                f"type {dtype} holds {len(content)} bytes; fetch or export it again"
            )
        if self.is_int4(index):
            return _unpacked_int4(content)[:elements].reshape(shape)
        return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(shape)

    def is_int4(self, index: int) -> bool:
        """Whether the file's tensor has four bits an element."""
        return index >= 0 and self.subgraph.tensors[index].type == schema.TensorType.INT4

    def _stored_type(self, index: int) -> np.dtype:
        code = self.subgraph.tensors[index].type
        if code not in _STORED:
            name = _TYPES.get(code, str(code))
            advice = _TYPE_ADVICE.get(name, "export it as float32 or int8")
            raise OperatorError(f"tensor {self._name(index)!r} is of type {name}: {advice}")
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
        if self.is_int4(index):
            scale, zero_point = scale / np.float32(INT4_STEP), zero_point * INT4_STEP
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
            raise OperatorError(
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
            raise OperatorError(
                f"tensor {name!r} is a variable (state kept between inferences); "
                "export the model without state"
            )
        if dtype == np.float16:
            raise OperatorError(f"tensor {name!r} is of type FLOAT16: {_TYPE_ADVICE['FLOAT16']}")
        if self.is_int4(index):
            raise OperatorError(f"tensor {name!r} is of type INT4: {_TYPE_ADVICE['INT4']}")
        if dtype in (INT8, UINT8):
            if quantization is None:
                raise OperatorError(
                    f"tensor {name!r} is {dtype} without a scale; export the model with full "
                    "integer quantisation"
                )
            if not quantization.is_per_tensor:
                raise OperatorError(
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
            read = self.readers.get(kind)
            if read is None:
                advice = _ADVICE.get(kind, _REPLACE)
                raise OperatorError(f"this operator is not supported; {advice}")
            if not outputs:
                raise ValueError(f"damaged TFLite model: {where} has no output; export it again")
            for index in inputs:
                if index >= 0 and index not in self.computed and not self._has_data(index):
                    raise OperatorError(
                        f"operand {self._name(index)!r} is neither computed before nor a constant; "
                        "export the model again"
                    )
            read(self, Site(kind, operator.builtinOptions, tuple(inputs), tuple(outputs)))
        except OperatorError as reason:
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
            raise OperatorError(f"{error}; export the model again") from None
        if expected is not None and expected != declared:
            raise OperatorError(
                f"its output is declared as {list(declared)}, its inputs "
                f"{[list(s) for s in shapes]} give {list(expected)}; export the model again with "
                "fixed sizes"
            )
        self.operators.append(Operator(kind, inputs, (output,), attributes))

    def operand(self, index: int) -> int:
        """Position of an operand that must be there."""
        if index < 0:
            raise OperatorError("an operand is missing; export the model again")
        return self.tensor(index)

    def integers(self, index: int, what: str) -> list[int]:
        """The values of a constant integer operand, such as axes."""
        values = self._raw_constant(index) if index >= 0 else None
        if values is None and index >= 0:
            shape = self.subgraph.tensors[index].shape
            if shape is not None and 0 in [int(v) for v in shape]:
                return []
        if values is None:
            raise OperatorError(
                f"its {what} is computed while the model runs; export the model with a constant"
            )
        if values.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
            raise OperatorError(f"its {what} is of type {values.dtype}; export it as int32")
        return [int(v) for v in values.ravel()]

    def weights(self, index: int, what: str) -> int:
        """Position of constant weights; int8 weights of a float operator become float32."""
        position = self.tensor(index)
        if not self.tensors[position].is_constant:
            raise OperatorError(
                f"its {what} are computed while the model runs; only constant {what} run; "
                "export the model with constants"
            )
        return position

    def as_float(self, position: int) -> int:
        """Position of the float32 values of a constant: itself, or a dequantised copy."""
        if position < 0 or self.tensors[position].dtype == FLOAT32:
            return position
        return self.add(dequantized(self.tensors[position]))

    def fold_constant(self, index: int, value: Tensor) -> None:
        """Makes the result `index` of an operator the constant `value`."""
        self.known[index] = self.add(value)


@dataclass(frozen=True)
class Site:
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
            raise OperatorError(
                f"its fused activation {names.get(code, code)} is not supported; "
                "use ReLU, ReLU6 or a separate operator"
            )
        return _ACTIVATIONS[code]

    @property
    def padding(self) -> str:
        code = self.option("padding")
        if code not in (schema.Padding.SAME, schema.Padding.VALID):
            raise OperatorError(f"padding scheme {code} is unknown; use SAME or VALID")
        return "same" if code == schema.Padding.SAME else "valid"

    def pair(self, height: str, width: str, default: int = 0) -> tuple[int, int]:
        values = (int(self.option(height, default)), int(self.option(width, default)))
        if min(values) < 1:
            raise OperatorError(f"{height}, {width} are {values}; they must be at least 1")
        return values


def _unpacked_int4(content: bytes) -> np.ndarray:
    """Numbers of four bits, the first of two in the lower half of a byte, times 16: int8."""
    both = np.frombuffer(content, np.uint8)
    return np.stack([both << 4, both & 0xF0], axis=1).reshape(-1).view(np.int8)


def dequantized(tensor: Tensor) -> Tensor:
    """The float32 constant that a quantised constant stands for."""
    if tensor.data is None:
        raise OperatorError(f"tensor {tensor.name!r} is not a constant")
    if tensor.dtype == FLOAT32:
        return tensor
    if tensor.quantization is None:
        raise OperatorError(f"constant {tensor.name!r} is {tensor.dtype} without a scale")
    scale, zero_point = tensor.quantization.scale, tensor.quantization.zero_point
    if not tensor.quantization.is_per_tensor:
        along = [1] * len(tensor.shape)
        along[tensor.quantization.axis] = scale.size
        scale, zero_point = scale.reshape(along), zero_point.reshape(along)
    values = (tensor.data.astype(np.int32) - zero_point).astype(np.float32) * scale
    return Tensor(tensor.name, tensor.shape, FLOAT32, values.astype(np.float32))
