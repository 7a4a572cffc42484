"""Small networks made on the spot, for tests of the tools around the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import (
    Activation,
    Convolution,
    Graph,
    Operator,
    Reduce,
    Softmax,
    Tensor,
)
from lilliput.quantize import Options, quantize

FLOAT = np.dtype(np.float32)
CLASSES = 4


def float_classifier(size: int = 12, channels: int = 3, seed: int = 0) -> Graph:
    """Two convolutions, a mean, a fully connected layer and softmax; pixels in 0..1 expected."""
    generator = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> Tensor:
        spread = (2.0 / np.prod(shape[1:])) ** 0.5
        return Tensor(name, shape, FLOAT, generator.normal(0, spread, shape).astype(np.float32))

    def bias(name: str, count: int) -> Tensor:
        return Tensor(name, (count,), FLOAT, generator.normal(0, 0.1, count).astype(np.float32))

    half = (size + 1) // 2
    tensors = (
        Tensor("image", (1, size, size, channels), FLOAT),
        weights("stem/weights", 8, 3, 3, channels),
        bias("stem/bias", 8),
        Tensor("stem", (1, half, half, 8), FLOAT),
        weights("depthwise/weights", 1, 3, 3, 8),
        bias("depthwise/bias", 8),
        Tensor("depthwise", (1, half, half, 8), FLOAT),
        Tensor("features", (1, 8), FLOAT),
        weights("classes/weights", CLASSES, 8),
        bias("classes/bias", CLASSES),
        Tensor("logits", (1, CLASSES), FLOAT),
        Tensor("probabilities", (1, CLASSES), FLOAT),
    )
    operators = (
        Operator("CONV_2D", (0, 1, 2), (3,), Convolution("same", (2, 2), activation="relu")),
        Operator("DEPTHWISE_CONV_2D", (3, 4, 5), (6,), Convolution("same", activation="relu6")),
        Operator("MEAN", (6,), (7,), Reduce((1, 2))),
        Operator("FULLY_CONNECTED", (7, 8, 9), (10,), Activation()),
        Operator("SOFTMAX", (10,), (11,), Softmax()),
    )
    return Graph(tensors, operators, (0,), (11,), "classifier")


def with_two_inputs(graph: Graph) -> Graph:
    """The graph with its first operator's output doubled by a second input."""
    first = graph.operators[0]
    old = first.outputs[0]
    count = len(graph.tensors)
    tensors = (
        *graph.tensors,
        replace(graph.tensors[old], name="extra"),
        replace(graph.tensors[old], name="sum"),
    )
    rest = [
        replace(op, inputs=tuple(count + 1 if i == old else i for i in op.inputs))
        for op in graph.operators[1:]
    ]
    added = Operator("ADD", (old, count), (count + 1,), Activation())
    return replace(
        graph,
        tensors=tensors,
        operators=(first, added, *rest),
        inputs=(*graph.inputs, count),
        outputs=(*graph.outputs, count + 1),
    )


def calibration(graph: Graph, count: int = 8, seed: int = 1) -> list[list[np.ndarray]]:
    """Random samples in 0..1 for each input."""
    generator = np.random.default_rng(seed)
    shapes = [graph.tensors[index].shape for index in graph.inputs]
    return [[generator.random(shape, dtype=np.float32) for shape in shapes] for _ in range(count)]


def float_tflite(graph: Graph | None = None) -> bytes:
    """A float32 `.tflite`."""
    return write_tflite(graph or float_classifier())


def int8_tflite(graph: Graph | None = None) -> bytes:
    """An int8 `.tflite`."""
    graph = graph or float_classifier()
    options = Options(report_samples=0)
    return write_tflite(quantize(graph, calibration(graph), options)[0])
