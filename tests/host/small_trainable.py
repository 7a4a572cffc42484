"""A small int8 network with a residual, and samples that it can learn to tell apart."""

from __future__ import annotations

import numpy as np

from lilliput.graph import (
    Activation,
    Attributes,
    Convolution,
    Graph,
    NoAttributes,
    Operator,
    Pad,
    Pool,
    Quantization,
    Reduce,
    Resize,
    Slice,
    Tensor,
)
from lilliput.labelled import Labelled
from lilliput.lower import lower
from lilliput.program import Program
from lilliput.training.backward import Options
from lilliput.training.exponents import calibrate
from lilliput.training.planning import TrainingPlan, plan_training
from lilliput.training.scheme import Scheme

SIDE, CLASSES = 12, 3


class _Network:
    def __init__(self, seed: int) -> None:
        self.dice = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []

    def activation(self, name: str, shape: tuple[int, ...], scale: float, zero: int) -> int:
        quantization = Quantization.per_tensor(scale, zero)
        self.tensors.append(Tensor(name, shape, np.dtype(np.int8), quantization=quantization))
        return len(self.tensors) - 1

    def constant(self, name: str, data: np.ndarray, scales: np.ndarray, axis: int = 0) -> int:
        quantization = Quantization(
            scales.astype(np.float32), np.zeros(scales.size, np.int32), axis
        )
        self.tensors.append(Tensor(name, data.shape, data.dtype, data, quantization))
        return len(self.tensors) - 1

    def operator(
        self,
        kind: str,
        name: str,
        sources: tuple[int, ...],
        shape: tuple[int, ...],
        scale: float,
        zero: int,
        attributes: Attributes | None = None,
    ) -> int:
        output = self.activation(name, shape, scale, zero)
        self.operators.append(Operator(kind, sources, (output,), attributes or NoAttributes()))
        return output

    def mean(
        self,
        name: str,
        source: int,
        shape: tuple[int, ...],
        scale: float,
        zero: int,
        axes: tuple[int, ...] = (1, 2),
    ) -> int:
        return self.operator("MEAN", name, (source,), shape, scale, zero, Reduce(axes, True))

    def layer(
        self,
        name: str,
        source: int,
        weights: tuple[int, ...],
        shape: tuple[int, ...],
        *,
        kind: str = "CONV_2D",
        stride: int = 1,
        relu: bool = True,
    ) -> int:
        is_depthwise = kind == "DEPTHWISE_CONV_2D"
        channels = weights[-1] if is_depthwise else weights[0]
        values = self.dice.integers(-127, 128, weights, np.int8)
        inputs = int(np.prod(weights)) // channels
        # real weights of a standard deviation that keeps activations as large as they are
        spread = self.dice.uniform(0.5, 2.0, channels) / np.sqrt(inputs) * 1.4 / 73
        given = self.tensors[source].quantization
        assert given is not None
        bias_scales = spread * float(given.scale[0])
        bias = np.rint(self.dice.normal(0, 0.2, channels) / bias_scales).astype(np.int32)
        output = (
            self.activation(name, shape, 0.02, -128)
            if relu
            else self.activation(name, shape, 0.04, 3)
        )
        operands = (
            source,
            self.constant(f"{name}_weight", values, spread, 3 if is_depthwise else 0),
            self.constant(f"{name}_bias", bias, bias_scales),
        )
        attributes: Activation | Convolution = Activation()
        if kind != "FULLY_CONNECTED":
            activation = "relu6" if relu else "none"
            attributes = Convolution("same", (stride, stride), activation=activation)
        self.operators.append(Operator(kind, operands, (output,), attributes))
        return output


def small_graph(seed: int = 0, pool: str = "mean") -> Graph:
    """Convolution, an inverted residual block, one with a stride, a mean, an average pool with
    padding or ("flatten") nothing, and a classifier of 3."""
    net = _Network(seed)
    image = net.activation("image", (1, SIDE, SIDE, 3), 1 / 64, 0)
    stem = net.layer("stem", image, (8, 3, 3, 3), (1, 6, 6, 8), stride=2, relu=False)
    wide = net.layer("wide", stem, (16, 1, 1, 8), (1, 6, 6, 16))
    deep = net.layer("deep", wide, (1, 3, 3, 16), (1, 6, 6, 16), kind="DEPTHWISE_CONV_2D")
    thin = net.layer("thin", deep, (8, 1, 1, 16), (1, 6, 6, 8), relu=False)
    total = net.activation("sum", (1, 6, 6, 8), 0.05, -2)
    net.operators.append(Operator("ADD", (stem, thin), (total,), Activation()))
    next_wide = net.layer("next_wide", total, (20, 1, 1, 8), (1, 6, 6, 20))
    next_deep = net.layer(
        "next_deep", next_wide, (1, 3, 3, 20), (1, 3, 3, 20), kind="DEPTHWISE_CONV_2D", stride=2
    )
    tail = net.layer("tail", next_deep, (12, 3, 3, 20), (1, 3, 3, 12), relu=False)
    mean = tail if pool == "flatten" else net.activation("mean", (1, 1, 1, 12), 0.04, 3)
    if pool == "mean":
        net.operators.append(Operator("MEAN", (tail,), (mean,), Reduce((1, 2), True)))
    elif pool == "average":
        small = net.activation("pooled", (1, 2, 2, 12), 0.04, 3)
        attributes = Pool("same", (2, 2), (2, 2))
        net.operators.append(Operator("AVERAGE_POOL_2D", (tail,), (small,), attributes))
        net.operators.append(Operator("MEAN", (small,), (mean,), Reduce((1, 2), True)))
    features = 108 if pool == "flatten" else 12
    scores = net.layer(
        "scores", mean, (CLASSES, features), (1, CLASSES), kind="FULLY_CONNECTED", relu=False
    )
    return Graph(tuple(net.tensors), tuple(net.operators), (image,), (scores,), "small")


def branched_graph(seed: int = 0) -> Graph:
    """What a backward pass meets besides layers and residuals: tables, a squeeze-and-excite block,
    a maximum pool, a concatenation, padding, a slice, a difference, an enlarged map, and sums with
    one pixel; the classifier of 3 behind them."""
    net = _Network(seed)
    image = net.activation("image", (1, SIDE, SIDE, 3), 1 / 64, 0)
    stem = net.layer("stem", image, (8, 3, 3, 3), (1, 6, 6, 8), stride=2, relu=False)
    swish = net.operator("HARD_SWISH", "swish", (stem,), (1, 6, 6, 8), 0.03, -110)
    squeezed = net.mean("squeezed", swish, (1, 1, 1, 8), 0.03, -110)
    reduced = net.layer("reduced", squeezed, (4, 1, 1, 8), (1, 1, 1, 4))
    expanded = net.layer("expanded", reduced, (8, 1, 1, 4), (1, 1, 1, 8), relu=False)
    gate = net.operator("LOGISTIC", "gate", (expanded,), (1, 1, 1, 8), 1 / 256, -128)
    scaled = net.operator("MUL", "scaled", (swish, gate), (1, 6, 6, 8), 0.04, 3, Activation())
    pooled = net.operator(
        "MAX_POOL_2D", "pooled", (scaled,), (1, 3, 3, 8), 0.04, 3, Pool("same", (2, 2), (3, 3))
    )
    side = net.layer("side", scaled, (8, 1, 1, 8), (1, 3, 3, 8), stride=2, relu=False)
    joined = net.operator(
        "CONCATENATION", "joined", (pooled, side), (1, 3, 3, 16), 0.04, 3, Activation(axis=3)
    )
    edges = Pad((0, 1, 1, 0), (0, 1, 1, 0))
    padded = net.operator("PAD", "padded", (joined,), (1, 5, 5, 16), 0.04, 3, edges)
    deep = net.layer("deep", padded, (1, 3, 3, 16), (1, 5, 5, 16), kind="DEPTHWISE_CONV_2D")
    middle = Slice((0, 1, 1, 0), (1, 1, 1, 1))
    cut = net.operator("STRIDED_SLICE", "cut", (deep,), (1, 3, 3, 16), 0.02, -128, middle)
    differ = net.operator("SUB", "differ", (cut, joined), (1, 3, 3, 16), 0.06, -2, Activation())
    large = net.operator(
        "RESIZE_NEAREST_NEIGHBOR", "large", (differ,), (1, 6, 6, 16), 0.06, -2, Resize()
    )
    level = net.mean("level", differ, (1, 1, 1, 16), 0.06, -2)
    total = net.operator("ADD", "total", (large, level), (1, 6, 6, 16), 0.08, 0, Activation())
    tail = net.layer("tail", total, (12, 3, 3, 16), (1, 3, 3, 12), stride=2, relu=False)
    columns = net.mean("columns", tail, (1, 3, 1, 12), 0.04, 3, (2,))
    mean = net.mean("mean", columns, (1, 1, 1, 12), 0.04, 3)
    scores = net.layer(
        "scores", mean, (CLASSES, 12), (1, CLASSES), kind="FULLY_CONNECTED", relu=False
    )
    return Graph(tuple(net.tensors), tuple(net.operators), (image,), (scores,), "branched")


def autoencoder_graph(seed: int = 0) -> Graph:
    """An image at half its size, enlarged again: its output is an image like its input."""
    net = _Network(seed)
    image = net.activation("image", (1, SIDE, SIDE, 3), 1 / 64, 0)
    small = net.layer("small", image, (8, 3, 3, 3), (1, 6, 6, 8), stride=2)
    large = net.operator(
        "RESIZE_NEAREST_NEIGHBOR", "large", (small,), (1, SIDE, SIDE, 8), 0.02, -128, Resize()
    )
    again = net.layer("again", large, (3, 3, 3, 8), (1, SIDE, SIDE, 3), relu=False)
    return Graph(tuple(net.tensors), tuple(net.operators), (image,), (again,), "autoencoder")


def small_program(seed: int = 0, pool: str = "mean") -> Program:
    return lower(small_graph(seed, pool))


def small_samples(count: int, seed: int = 0) -> Labelled:
    """Stripes of three directions, in noise."""
    dice = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    patterns = [np.sin(v * 1.3) for v in (x, y, x + y)]
    classes = dice.integers(0, CLASSES, count)
    samples = [
        50 * patterns[c][..., None] * dice.uniform(0.5, 1.5, 3)
        + dice.normal(0, 15, (SIDE, SIDE, 3))
        for c in classes
    ]
    return Labelled(np.clip(samples, -128, 127).astype(np.int8), classes.astype(np.int64))


def planned_for(
    program: Program, scheme: Scheme, data: Labelled, options: Options | None = None
) -> TrainingPlan:
    """The training step of a scheme, its gradients measured with the first eight samples."""
    options = options or Options()
    targets = [int(c) for c in data.classes[:8]]
    ranges = calibrate(program, scheme, options, list(data.samples[:8]), targets)
    return plan_training(program, scheme, options, ranges)
