"""Hand-made and edited `.tflite` files, for what the exporter never writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}


@dataclass
class Value:
    """A tensor: its shape, type and quantisation; `data` makes it a constant."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: np.ndarray | None = None
    scale: Sequence[float] = ()
    zero_point: Sequence[int] = ()
    axis: int = 0


@dataclass
class Step:
    """An operator on indices of values (-1: left out)."""

    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: object | None = None


def constant(name: str, values: object, dtype: str = "int32") -> Value:
    """An operand such as axes."""
    data = np.array(values, dtype)
    return Value(name, data.shape, dtype, data)


def model(
    values: Sequence[Value], steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int]
) -> bytes:
    """A `.tflite` of these tensors and operators."""
    buffers = [schema.BufferT()]
    tensors = []
    for value in values:
        table = schema.TensorT(
            name=value.name, shape=list(value.shape), type=TYPES[value.dtype], buffer=0
        )
        if value.data is not None:
            table.buffer = len(buffers)
            buffers.append(schema.BufferT(data=np.frombuffer(value.data.tobytes(), np.uint8)))
        if value.scale:
            table.quantization = schema.QuantizationParametersT(
                scale=list(value.scale),
                zeroPoint=list(value.zero_point or [0] * len(value.scale)),
                quantizedDimension=value.axis,
            )
        tensors.append(table)
    kinds = list(dict.fromkeys(step.kind for step in steps))
    operators = []
    for step in steps:
        table = schema.OperatorT(
            opcodeIndex=kinds.index(step.kind),
            inputs=list(step.inputs),
            outputs=list(step.outputs),
        )
        if step.options is not None:
            name = type(step.options).__name__.removesuffix("T")
            table.builtinOptions = step.options
            table.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operators.append(table)
    codes = [_code(kind) for kind in kinds]
    graph = schema.SubGraphT(
        tensors=tensors, inputs=list(inputs), outputs=list(outputs), operators=operators
    )
    return packed(schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=buffers))


def _code(kind: str) -> schema.OperatorCodeT:
    builtin = getattr(schema.BuiltinOperator, kind)
    return schema.OperatorCodeT(
        builtinCode=builtin, deprecatedBuiltinCode=min(builtin, 127), version=1
    )


def packed(tree: schema.ModelT) -> bytes:
    """The file of an object tree."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def edited(data: bytes, change: Callable[[schema.ModelT], None]) -> bytes:
    """The file with a change to its object tree."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    change(tree)
    return packed(tree)
