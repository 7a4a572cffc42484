"""TFLite files to graphs: float32, float16 weights, dynamic range (float with int8 weights), int8.

Operators that only move or rename data become one kind each (RESHAPE, SQUEEZE and EXPAND_DIMS are
RESHAPE; the outputs of a SPLIT are SLICEs), operands that only carry attributes become attributes,
and constants behind DEQUANTIZE become float32 constants.
"""

from __future__ import annotations

from lilliput.graph import Graph
from lilliput.importers.flatbuffer import parse_model
from lilliput.importers.operators import READERS
from lilliput.importers.reader import Reader
from lilliput.passes.ports import require_uniform_type, strip_float_ports


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
    reader = Reader(model, data, READERS)
    graph = strip_float_ports(reader.read(name))
    require_uniform_type(graph)
    return graph
