"""Random int8 graphs for differential tests: every operator, odd shapes, extreme numbers.

A graph is built from a recipe: a few inputs, then one step after the other, each a kind of
operator and the seed of its parameters. Hypothesis draws recipes, so that a failure shrinks to
few operators, and a recipe that a failure printed rebuilds its graph:
`build_graph(Recipe(...))`. TFLite's rules on shared and fixed scales are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

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
)

Shape = tuple[int, ...]
INT8_MIN, INT8_MAX = -128, 127
SCALE_MIN, SCALE_MAX = 2.0**-20, 2.0**20


@dataclass(frozen=True)
class Step:
    """One operator (or a few: a split, a concatenation with its requantisations)."""

    kind: str
    seed: int


@dataclass(frozen=True)
class Recipe:
    """All that a graph is made from. `largest` bounds heights and widths of the inputs."""

    inputs: tuple[int, ...]
    steps: tuple[Step, ...]
    largest: int = 8
    float_ports: bool = False


def recipes(
    kinds: Sequence[str] | None = None,
    largest_operators: int = 8,
    *,
    including: str | None = None,
) -> st.SearchStrategy[Recipe]:
    """Recipes with one to `largest_operators` steps of the given kinds (of all of them).

    One step, at any place, is of the kind `including`.
    """
    seeds = st.integers(0, 2**20)
    chosen = st.builds(Step, st.sampled_from(list(kinds or STEPS)), seeds)
    if including is None:
        steps = st.lists(chosen, min_size=1, max_size=largest_operators).map(tuple)
    else:
        some = st.lists(chosen, max_size=(largest_operators - 1) // 2)
        this = st.builds(Step, st.just(including), seeds)
        steps = st.tuples(some, this, some).map(lambda parts: (*parts[0], parts[1], *parts[2]))
    return st.builds(
        Recipe,
        inputs=st.lists(seeds, min_size=1, max_size=3).map(tuple),
        steps=steps,
        largest=st.integers(1, 14),
        float_ports=st.sampled_from([False] * 7 + [True]),
    )


def recipe_of(seed: int) -> Recipe:
    """Any recipe, without hypothesis."""
    dice = np.random.default_rng(seed)
    kinds = dice.choice(list(STEPS), dice.integers(1, 9))
    return Recipe(
        inputs=tuple(int(n) for n in dice.integers(0, 2**20, dice.integers(1, 4))),
        steps=tuple(Step(str(kind), int(dice.integers(2**20))) for kind in kinds),
        largest=int(dice.integers(1, 15)),
        float_ports=_chance(dice, 0.12),
    )


def build_graph(recipe: Recipe) -> Graph:
    """The graph of a recipe. All results that nothing reads are its outputs (at most 4)."""
    builder = _Builder(largest=recipe.largest)
    for position, seed in enumerate(recipe.inputs):
        dice = np.random.default_rng(seed)
        shape = _input_shape(dice, recipe.largest)
        builder.add_input(f"input_{position}", shape, _quantization(dice), recipe.float_ports, dice)
    for step in recipe.steps:
        STEPS[step.kind](builder, np.random.default_rng(step.seed))
    return builder.finish(recipe.float_ports)


def random_inputs(graph: Graph, seed: int) -> list[np.ndarray]:
    """One array for each graph input: uniform, or only the ends of the range."""
    dice = np.random.default_rng(seed)
    return [_random_input(graph, index, dice) for index in graph.inputs]


def _random_input(graph: Graph, index: int, dice: np.random.Generator) -> np.ndarray:
    tensor = graph.tensors[index]
    style = dice.integers(0, 16)
    if style == 0:
        value = np.full(tensor.shape, INT8_MIN, np.int8)
    elif style == 1:
        value = np.full(tensor.shape, INT8_MAX, np.int8)
    elif style == 2:
        value = dice.choice(np.array([INT8_MIN, INT8_MAX], np.int8), tensor.shape)
    else:
        value = dice.integers(INT8_MIN, INT8_MAX + 1, tensor.shape, np.int8)
    if tensor.dtype != np.float32:
        return value
    [reader] = (operator for operator in graph.operators if index in operator.inputs)
    quantization = graph.tensors[reader.outputs[0]].quantization
    assert quantization is not None
    return _reals(value, quantization, dice)


def _reals(value: np.ndarray, quantization: Quantization, dice: np.random.Generator) -> np.ndarray:
    """float32 that quantise to about `value`: many lie next to where rounding changes."""
    steps = value.astype(np.float64) - int(quantization.zero_point[0])
    beside = [0.0, 0.5, -0.5, 0.25, 300.0]
    steps += dice.choice(beside, value.shape, p=[0.2, 0.35, 0.35, 0.08, 0.02])
    reals = (steps * float(quantization.scale[0])).astype(np.float32)
    towards = dice.choice(np.array([-np.inf, np.inf], np.float32), value.shape)
    return np.where(dice.random(value.shape) < 0.5, reals, np.nextafter(reals, towards))


def _chance(dice: np.random.Generator, probability: float) -> bool:
    return bool(dice.random() < probability)


def _pick(dice: np.random.Generator, options: Sequence):
    return options[int(dice.integers(len(options)))]


def _between(dice: np.random.Generator, low: int, high: int) -> int:
    """An integer from `low` to `high`, both included."""
    return int(dice.integers(low, high + 1))


def _zero_point(dice: np.random.Generator) -> int:
    if _chance(dice, 0.4):
        return _pick(dice, (INT8_MIN, INT8_MAX, 0, -1))
    return _between(dice, INT8_MIN, INT8_MAX)


def _quantization(dice: np.random.Generator, scale: float | None = None) -> Quantization:
    if scale is None:
        scale = 2.0 ** dice.uniform(-8, 0)
    return Quantization.per_tensor(float(np.float32(scale)), _zero_point(dice))


def _input_shape(dice: np.random.Generator, largest: int) -> Shape:
    height, width = _between(dice, 1, largest), _between(dice, 1, largest)
    if _chance(dice, 0.15):
        width = 1
    if _chance(dice, 0.1):
        height = 1
    channels = _pick(dice, (1, 2, 3, 4, 5, 7, 8, 9, 16, 17))
    if _chance(dice, 0.1):
        return (1, channels * height)
    return (1, height, width, channels)


def _activation(dice: np.random.Generator) -> str:
    return _pick(dice, ("none", "none", "none", "relu", "relu6", "relu_n1_to_1"))


@dataclass
class _Builder:
    """A graph under construction."""

    largest: int
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)  # int8 results that a step may read
    results: list[int] = field(default_factory=list)  # that no step can read: arg max

    def tensor(self, shape: Shape, quantization: Quantization | None, dtype: type = np.int8) -> int:
        index = len(self.tensors)
        shape = tuple(int(n) for n in shape)
        self.tensors.append(Tensor(f"t{index}", shape, np.dtype(dtype), quantization=quantization))
        return index

    def constant(self, data: np.ndarray, quantization: Quantization) -> int:
        index = len(self.tensors)
        self.tensors.append(Tensor(f"c{index}", data.shape, data.dtype, data, quantization))
        return index

    def add_input(
        self,
        name: str,
        shape: Shape,
        quantization: Quantization,
        is_float: bool,
        dice: np.random.Generator,
    ) -> None:
        if is_float:
            source = self.tensor(shape, None, np.float32)
            self.inputs.append(source)
            self.apply("QUANTIZE", [source], shape, quantization)
        else:
            source = self.tensor(shape, quantization)
            self.inputs.append(source)
            self.values.append(source)
        self.tensors[source] = replace(self.tensors[source], name=name)

    def apply(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Shape,
        quantization: Quantization,
        attributes: Attributes | None = None,
    ) -> int:
        """Adds an operator; returns its int8 output."""
        if isinstance(attributes, Convolution | Activation | Pool) and quantization.scale[0] < (
            SCALE_MIN / 16
        ):
            # LiteRT refuses bounds that overflow 32 bits.
            attributes = replace(attributes, activation="none")
        output = self.tensor(shape, quantization)
        self.operators.append(
            Operator(kind, tuple(inputs), (output,), attributes or NoAttributes())
        )
        self.values.append(output)
        return output

    def shape(self, index: int) -> Shape:
        return self.tensors[index].shape

    def quantization(self, index: int) -> Quantization:
        quantization = self.tensors[index].quantization
        assert quantization is not None
        return quantization

    def scale(self, index: int) -> float:
        return float(self.quantization(index).scale[0])

    def source(self, dice: np.random.Generator, map_only: bool = False) -> int:
        """A value to read: the newest ones most often, reshaped to four dimensions if need be.

        LiteRT aborts on scales that real models do not have; such values are not read again.
        """
        sane = [i for i in self.values if SCALE_MIN <= self.scale(i) <= SCALE_MAX]
        recent = sane[-1 - min(len(sane) - 1, int(dice.exponential(0.8)))]
        index = recent if _chance(dice, 0.8) else _pick(dice, sane)
        if map_only and len(self.shape(index)) != 4:
            index = self.reshape(index, _map_shape(dice, self.tensors[index].elements))
        return index

    def reshape(self, index: int, shape: Shape) -> int:
        return self.apply("RESHAPE", [index], shape, self.quantization(index))

    def finish(self, float_ports: bool) -> Graph:
        read = {i for operator in self.operators for i in operator.inputs}
        outputs = [i for i in [*self.values, *self.results] if i not in read]
        outputs = outputs[-4:]
        if not outputs:
            outputs = [self.values[-1]]
        if float_ports:
            outputs = [self._dequantized(index) for index in outputs]
        return Graph(
            tuple(self.tensors), tuple(self.operators), tuple(self.inputs), tuple(outputs), "random"
        )

    def _dequantized(self, index: int) -> int:
        if self.tensors[index].dtype != np.int8:
            return index
        output = self.tensor(self.shape(index), None, np.float32)
        self.operators.append(Operator("DEQUANTIZE", (index,), (output,)))
        return output


def _map_shape(dice: np.random.Generator, elements: int) -> Shape:
    """Four dimensions of a given number of elements."""
    height = _pick(dice, _divisors(elements, 16))
    width = _pick(dice, _divisors(elements // height, 16))
    return (1, height, width, elements // height // width)


def _divisors(number: int, largest: int) -> list[int]:
    return [n for n in range(1, min(number, largest) + 1) if number % n == 0]


def _window_length(size: int, kernel: int, stride: int, padding: str) -> int:
    return -(-size // stride) if padding == "same" else (size - kernel) // stride + 1


# Convolutions. The output's scale is chosen by the multiplier of the accumulator that it leads to:
# most often one that fills the int8 range, else anything that does not overflow 32 bits.


def _weights(dice: np.random.Generator, shape: Shape, axis: int) -> tuple[np.ndarray, Quantization]:
    if _chance(dice, 0.1):
        data = dice.choice(np.array([INT8_MIN, INT8_MAX], np.int8), shape)
    else:
        data = dice.integers(-127, 128, shape, np.int8)
    if _chance(dice, 0.3):
        data &= np.int8(-16)  # as four bits hold them
    channels = shape[axis]
    base = 2.0 ** dice.uniform(-9, -3)
    if _chance(dice, 0.2):
        scale = np.array([base])
    else:
        scale = base * 2.0 ** dice.uniform(-3, 0, channels)
        if _chance(dice, 0.1):
            scale[dice.integers(channels)] = base * 2.0 ** dice.uniform(-40, -20)
    return data, Quantization(
        scale.astype(np.float32), np.zeros(scale.size, np.int32), axis if scale.size > 1 else 0
    )


def _bias(
    dice: np.random.Generator, source: Quantization, weights: Quantization, channels: int, taps: int
) -> tuple[np.ndarray, Quantization]:
    spread = 60.0 * 60.0 * math.sqrt(taps) * 2.0 ** dice.uniform(-3, 2)
    data = np.clip(dice.normal(0, spread, channels), -(2**24), 2**24).astype(np.int32)
    scale = (source.scale * weights.scale).astype(np.float32)
    return data, Quantization(scale, np.zeros(scale.size, np.int32))


def _accumulated(
    dice: np.random.Generator, source: Quantization, weights: Quantization, taps: int
) -> Quantization:
    """The quantisation of what a sum of `taps` products is rescaled to."""
    largest = 2.0**30 / (taps * 255 * 128 + 2**24)
    if _chance(dice, 0.85):
        multiplier = 2.0 ** dice.uniform(-2.5, 2) / (60 * math.sqrt(taps))
    else:
        multiplier = 2.0 ** dice.uniform(-24, 8)
    multiplier = min(multiplier, largest)
    product = float(source.scale[0]) * float(weights.scale.max())
    return _quantization(dice, product / multiplier)


def _window(
    dice: np.random.Generator, height: int, width: int, dilated: bool
) -> tuple[tuple[int, int], Convolution]:
    """A kernel and how it slides, such that at least one output exists."""
    kernel = (_pick(dice, (1, 2, 3, 3, 4, 5, 7)), _pick(dice, (1, 2, 3, 3, 4, 5, 7)))
    stride = (_pick(dice, (1, 1, 2, 3, 5)), _pick(dice, (1, 1, 2, 3, 5)))
    if _chance(dice, 0.5):
        kernel, stride = (kernel[0], kernel[0]), (stride[0], stride[0])
    dilation = (1, 1)
    if dilated and _chance(dice, 0.2):
        dilation = (_between(dice, 1, 3), _between(dice, 1, 3))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    padding = _pick(dice, ("same", "valid", "explicit"))
    explicit = None
    if padding == "explicit":
        top, left = _between(dice, 0, reach[0]), _between(dice, 0, reach[1])
        bottom, right = _between(dice, 0, reach[0]), _between(dice, 0, reach[1])
        bottom = max(bottom, reach[0] - height - top)
        right = max(right, reach[1] - width - left)
        explicit = (top, bottom, left, right)
        padding = "valid"
    elif padding == "valid" and (reach[0] > height or reach[1] > width):
        padding = "same"
    return kernel, Convolution(padding, stride, dilation, _activation(dice), explicit)


def _slid(height: int, width: int, kernel: tuple[int, int], how: Convolution) -> tuple[int, int]:
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, how.dilation, strict=True)]
    top, bottom, left, right = how.explicit_padding or (0, 0, 0, 0)
    return (
        _window_length(height + top + bottom, reach[0], how.stride[0], how.padding),
        _window_length(width + left + right, reach[1], how.stride[1], how.padding),
    )


def _add_convolution(
    builder: _Builder,
    dice: np.random.Generator,
    source: int,
    kind: str,
    weights_shape: Shape,
    shape: Shape,
    taps: int,
    attributes: Convolution,
) -> None:
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    data, quantization = _weights(dice, weights_shape, axis)
    weights = builder.constant(data, quantization)
    operands = [source, weights]
    if _chance(dice, 0.9):
        operands.append(
            builder.constant(
                *_bias(dice, builder.quantization(source), quantization, weights_shape[axis], taps)
            )
        )
    output = _accumulated(dice, builder.quantization(source), quantization, taps)
    builder.apply(kind, operands, shape, output, attributes)


def _convolution(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice, map_only=True)
    _, height, width, channels = builder.shape(source)
    outputs = _pick(dice, (1, 2, 3, 4, 5, 8, 11, 16))
    kernel, how = _window(dice, height, width, dilated=True)
    size = _slid(height, width, kernel, how)
    _add_convolution(
        builder,
        dice,
        source,
        "CONV_2D",
        (outputs, *kernel, channels),
        (1, *size, outputs),
        kernel[0] * kernel[1] * channels,
        how,
    )


def _pointwise_convolution(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice, map_only=True)
    _, height, width, channels = builder.shape(source)
    outputs = _pick(dice, (1, 3, 4, 8, 13, 16, 32))
    how = Convolution(_pick(dice, ("same", "valid")), activation=_activation(dice))
    _add_convolution(
        builder,
        dice,
        source,
        "CONV_2D",
        (outputs, 1, 1, channels),
        (1, height, width, outputs),
        channels,
        how,
    )


def _grouped_convolution(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice, map_only=True)
    _, height, width, channels = builder.shape(source)
    groups = _pick(dice, _divisors(channels, 16))
    outputs = groups * _between(dice, 1, 3)
    kernel, how = _window(dice, height, width, dilated=True)
    size = _slid(height, width, kernel, how)
    depth = channels // groups
    _add_convolution(
        builder,
        dice,
        source,
        "CONV_2D",
        (outputs, *kernel, depth),
        (1, *size, outputs),
        kernel[0] * kernel[1] * depth,
        how,
    )


def _depthwise_convolution(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice, map_only=True)
    _, height, width, channels = builder.shape(source)
    outputs = channels * _pick(dice, (1, 1, 1, 2, 3))
    kernel, how = _window(dice, height, width, dilated=True)
    size = _slid(height, width, kernel, how)
    _add_convolution(
        builder,
        dice,
        source,
        "DEPTHWISE_CONV_2D",
        (1, *kernel, outputs),
        (1, *size, outputs),
        kernel[0] * kernel[1],
        how,
    )


def _transposed_convolution(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice, map_only=True)
    _, height, width, channels = builder.shape(source)
    kernel = (_between(dice, 1, 4), _between(dice, 1, 4))
    stride = (_between(dice, 1, 3), _between(dice, 1, 3))
    padding = _pick(dice, ("same", "valid"))

    # All output sizes for which a convolution of the same window would give the input's size.
    def size(length: int, taps: int, step: int) -> int:
        least = (length - 1) * step + (taps if padding == "valid" else 1)
        return least + _between(dice, 0, step - 1)

    outputs = _pick(dice, (1, 2, 3, 5, 8))
    shape = (1, size(height, kernel[0], stride[0]), size(width, kernel[1], stride[1]), outputs)
    how = Convolution(padding, stride, activation=_activation(dice))
    _add_convolution(
        builder,
        dice,
        source,
        "TRANSPOSE_CONV",
        (outputs, *kernel, channels),
        shape,
        kernel[0] * kernel[1] * channels,
        how,
    )


def _fully_connected(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    shape = builder.shape(source)
    units = _pick(dice, (1, 2, 3, 5, 8, 10, 17))
    keep = _chance(dice, 0.25)
    depth = shape[-1] if keep else builder.tensors[source].elements
    data, quantization = _weights(dice, (units, depth), 0)
    operands = [source, builder.constant(data, quantization)]
    if _chance(dice, 0.8):
        operands.append(
            builder.constant(*_bias(dice, builder.quantization(source), quantization, units, depth))
        )
    else:
        operands.append(-1)
    output = _accumulated(dice, builder.quantization(source), quantization, depth)
    result = (*shape[:-1], units) if keep else (1, units)
    attributes = Activation(_activation(dice), keep_num_dims=keep)
    builder.apply("FULLY_CONNECTED", operands, result, output, attributes)


# Two operands.


def _binary_output(
    dice: np.random.Generator, kind: str, first: float, second: float
) -> Quantization:
    if kind == "MUL":
        scale = first * second * 128 * 2.0 ** dice.uniform(-4, 4)
        if _chance(dice, 0.1):
            scale = first * second * 2.0 ** dice.uniform(-12, 24)
    else:
        scale = max(first, second) * 2.0 ** dice.uniform(-2, 3)
        if _chance(dice, 0.1):
            scale = max(first, second) * 2.0 ** dice.uniform(-18, 20)
    return _quantization(dice, scale)


def _add_binary(
    builder: _Builder, dice: np.random.Generator, kind: str, first: int, second: int
) -> None:
    if _chance(dice, 0.5):
        first, second = second, first
    shape = np.broadcast_shapes(builder.shape(first), builder.shape(second))
    output = _binary_output(dice, kind, builder.scale(first), builder.scale(second))
    builder.apply(kind, [first, second], shape, output, Activation(_activation(dice)))


def _binary(kind: str) -> Callable[[_Builder, np.random.Generator], None]:
    """Of two values of one shape; a side branch when there is no second one."""

    def add(builder: _Builder, dice: np.random.Generator) -> None:
        first = builder.source(dice)
        others = [
            i
            for i in builder.values
            if builder.shape(i) == builder.shape(first)
            and SCALE_MIN <= builder.scale(i) <= SCALE_MAX
        ]
        if len(others) > 1 and _chance(dice, 0.9):
            others.remove(first)
        second = _pick(dice, others)
        if second == first and _chance(dice, 0.8):
            second = builder.apply(
                "QUANTIZE", [first], builder.shape(first), _requantized(builder, dice, first)
            )
        _add_binary(builder, dice, kind, first, second)

    return add


def _broadcast_binary(kind: str) -> Callable[[_Builder, np.random.Generator], None]:
    """Of a map and its mean over some axes, as in squeeze and excite, or two such means."""

    def add(builder: _Builder, dice: np.random.Generator) -> None:
        first = builder.source(dice, map_only=True)
        axes = _pick(dice, ((1, 2), (1, 2), (1, 2), (3,), (1,), (2,), (1, 2, 3)))
        second = _add_mean(builder, dice, first, axes, keep_dims=True)
        _add_binary(builder, dice, kind, first, second)

    return add


def _constant_binary(kind: str) -> Callable[[_Builder, np.random.Generator], None]:
    """Of a value and a constant: a scalar, one a channel, or a whole map."""

    def add(builder: _Builder, dice: np.random.Generator) -> None:
        first = builder.source(dice)
        shape = builder.shape(first)
        style = _between(dice, 0, 5)
        if style <= 1:
            other: Shape = (1,) * _pick(dice, (0, 1, len(shape)))
        elif style <= 3:
            other = _pick(dice, (shape[-1:], (1,) * (len(shape) - 1) + shape[-1:]))
        elif style == 4:
            other = tuple(n if _chance(dice, 0.5) else 1 for n in shape)
        else:
            other = shape
        data = np.asarray(dice.integers(INT8_MIN, INT8_MAX + 1, other, np.int8), np.int8)
        second = builder.constant(data, _quantization(dice))
        _add_binary(builder, dice, kind, first, second)

    return add


# Windows, reductions, movement.


def _pool(kind: str) -> Callable[[_Builder, np.random.Generator], None]:
    def add(builder: _Builder, dice: np.random.Generator) -> None:
        source = builder.source(dice, map_only=True)
        _, height, width, channels = builder.shape(source)
        kernel, how = _window(dice, height, width, dilated=False)
        explicit = how.explicit_padding
        padding = how.padding
        if kind == "AVERAGE_POOL_2D" and explicit is not None:
            explicit, padding = None, "same"
        if explicit is not None:
            # A window that lies outside of the map would have nothing to take the maximum of.
            explicit = _inside(explicit, kernel, how.stride, height, width)
        how = replace(how, padding=padding, explicit_padding=explicit)
        size = _slid(height, width, kernel, how)
        attributes = Pool(padding, how.stride, kernel, how.activation, explicit)
        builder.apply(
            kind, [source], (1, *size, channels), builder.quantization(source), attributes
        )

    return add


def _inside(
    padding: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    height: int,
    width: int,
) -> tuple[int, int, int, int]:
    top, bottom, left, right = padding
    top, bottom = min(top, kernel[0] - 1), min(bottom, kernel[0] - 1)
    left, right = min(left, kernel[1] - 1), min(right, kernel[1] - 1)
    bottom = max(bottom, kernel[0] - height - top)
    right = max(right, kernel[1] - width - left)
    return top, bottom, left, right


def _add_mean(
    builder: _Builder,
    dice: np.random.Generator,
    source: int,
    axes: tuple[int, ...],
    keep_dims: bool,
) -> int:
    shape = tuple(
        1 if axis in axes else n
        for axis, n in enumerate(builder.shape(source))
        if keep_dims or axis not in axes
    )
    output = builder.quantization(source)
    if _chance(dice, 0.6):
        scale = builder.scale(source)
        output = _quantization(dice, scale * 2.0 ** dice.uniform(-3, 2))
    return builder.apply("MEAN", [source], shape, output, Reduce(axes, keep_dims))


def _mean(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    rank = len(builder.shape(source))
    if rank == 4:
        axes = _pick(dice, ((1, 2), (1, 2), (1, 2), (1,), (2,), (3,), (1, 2, 3), (2, 3)))
    else:
        axes = (_between(dice, 1, rank - 1),)
    keep_dims = _chance(dice, 0.5) or rank - len(axes) < 2
    _add_mean(builder, dice, source, axes, keep_dims)


def _pad_amounts(dice: np.random.Generator, rank: int) -> tuple[Shape, Shape]:
    amounts = [
        (0, 0) if axis == 0 or _chance(dice, 0.3) else (_between(dice, 0, 3), _between(dice, 0, 3))
        for axis in range(rank)
    ]
    return tuple(a for a, _ in amounts), tuple(b for _, b in amounts)


def _pad(kind: str) -> Callable[[_Builder, np.random.Generator], None]:
    def add(builder: _Builder, dice: np.random.Generator) -> None:
        source = builder.source(dice)
        shape = builder.shape(source)
        before, after = _pad_amounts(dice, len(shape))
        quantization = builder.quantization(source)
        value = int(quantization.zero_point[0])
        if kind == "PADV2":
            value = _between(dice, INT8_MIN, INT8_MAX)
        result = tuple(b + n + a for b, n, a in zip(before, shape, after, strict=True))
        builder.apply(kind, [source], result, quantization, Pad(before, after, float(value)))

    return add


def _requantized(builder: _Builder, dice: np.random.Generator, source: int) -> Quantization:
    spread = 2.0 ** (dice.uniform(-2, 2) if _chance(dice, 0.85) else dice.uniform(-18, 30))
    return _quantization(dice, builder.scale(source) * spread)


def _concatenation(builder: _Builder, dice: np.random.Generator) -> None:
    first = builder.source(dice)
    shape = builder.shape(first)
    axis = _between(dice, 1, len(shape) - 1)
    fitting = [
        i
        for i in builder.values
        if len(builder.shape(i)) == len(shape)
        and builder.shape(i)[:axis] == shape[:axis]
        and builder.shape(i)[axis + 1 :] == shape[axis + 1 :]
        and SCALE_MIN <= builder.scale(i) <= SCALE_MAX
    ]
    parts = [first, *(_pick(dice, fitting) for _ in range(_between(dice, 1, 3)))]
    quantization = builder.quantization(first)
    for position, part in enumerate(parts):
        if not quantization.same_as(builder.quantization(part)):
            parts[position] = builder.apply("QUANTIZE", [part], builder.shape(part), quantization)
    if _chance(dice, 0.2):
        length = _between(dice, 1, 3)
        data = dice.integers(
            INT8_MIN, INT8_MAX + 1, (*shape[:axis], length, *shape[axis + 1 :]), np.int8
        )
        parts.append(builder.constant(data, quantization))
    total = sum(builder.shape(part)[axis] for part in parts)
    builder.apply(
        "CONCATENATION",
        parts,
        (*shape[:axis], total, *shape[axis + 1 :]),
        quantization,
        Activation(axis=axis),
    )


def _reshape(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    elements = builder.tensors[source].elements
    style = _between(dice, 0, 4)
    height = _pick(dice, _divisors(elements, 16))
    if style == 0:
        shape: Shape = (1, elements)
    elif style == 1:
        shape = (1, height, elements // height)
    else:
        shape = _map_shape(dice, elements)
    builder.reshape(source, shape)


def _transpose(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    shape = builder.shape(source)
    permutation = (0, *(int(i) + 1 for i in dice.permutation(len(shape) - 1)))
    builder.apply(
        "TRANSPOSE",
        [source],
        tuple(shape[i] for i in permutation),
        builder.quantization(source),
        Transpose(permutation),
    )


def _strided_slice(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    begins, strides, sizes = [], [], []
    for axis, length in enumerate(builder.shape(source)):
        stride = 1 if axis == 0 else _pick(dice, (1, 1, 2, 3, -1, -2))
        begin = 0 if axis == 0 else _between(dice, 0, length - 1)
        room = -(-(length - begin) // stride) if stride > 0 else begin // -stride + 1
        begins.append(begin)
        strides.append(stride)
        sizes.append(_between(dice, 1, room))
    builder.apply(
        "STRIDED_SLICE",
        [source],
        tuple(sizes),
        builder.quantization(source),
        Slice(tuple(begins), tuple(strides)),
    )


def _slice(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    shape = builder.shape(source)
    begins = tuple(0 if axis == 0 else _between(dice, 0, n - 1) for axis, n in enumerate(shape))
    sizes = tuple(_between(dice, 1, n - b) for b, n in zip(begins, shape, strict=True))
    builder.apply(
        "SLICE",
        [source],
        sizes,
        builder.quantization(source),
        Slice(begins, (1,) * len(shape)),
    )


def _split(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    shape = builder.shape(source)
    axes = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
    if not axes:
        source = builder.apply(
            "CONCATENATION",
            [source, source],
            (*shape[:-1], 2 * shape[-1]),
            builder.quantization(source),
            Activation(axis=len(shape) - 1),
        )
        shape = builder.shape(source)
        axes = [len(shape) - 1]
    axis = _pick(dice, axes)
    count = _pick(dice, [n for n in range(2, shape[axis] + 1) if shape[axis] % n == 0])
    if count > 4:
        _strided_slice(builder, dice)
        return
    length = shape[axis] // count
    part = (*shape[:axis], length, *shape[axis + 1 :])
    for position in range(count):
        begin = tuple(position * length if a == axis else 0 for a in range(len(shape)))
        builder.apply(
            "SPLIT", [source], part, builder.quantization(source), Slice(begin, (1,) * len(shape))
        )


def _resize(kind: str) -> Callable[[_Builder, np.random.Generator], None]:
    def add(builder: _Builder, dice: np.random.Generator) -> None:
        source = builder.source(dice, map_only=True)
        _, height, width, channels = builder.shape(source)
        size = (_between(dice, 1, 2 * height + 1), _between(dice, 1, 2 * width + 1))
        if _chance(dice, 0.4):
            size = (2 * height, 2 * width)
        corners = _pick(dice, ((False, False), (True, False), (False, True)))
        builder.apply(
            kind, [source], (1, *size, channels), builder.quantization(source), Resize(*corners)
        )

    return add


# Functions of one element.


def _unary(
    kind: str, fixed: tuple[float, int] | None = None
) -> Callable[[_Builder, np.random.Generator], None]:
    def add(builder: _Builder, dice: np.random.Generator) -> None:
        source = builder.source(dice)
        if fixed is not None:
            output = Quantization.per_tensor(*fixed)
        elif _chance(dice, 0.3):
            output = builder.quantization(source)
        else:
            output = _requantized(builder, dice, source)
        builder.apply(kind, [source], builder.shape(source), output)

    return add


def _hard_swish(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    # The reference kernel refuses an output scale below 1/128 of the input's.
    output = _quantization(dice, builder.scale(source) * 2.0 ** dice.uniform(-5, 3))
    builder.apply("HARD_SWISH", [source], builder.shape(source), output)


def _leaky_relu(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    alpha = float(np.float32(_pick(dice, (0.0, 0.01, 0.1, 0.2, 0.3, 1.0, 1.7))))
    output = _quantization(dice, builder.scale(source) * 2.0 ** dice.uniform(-3, 3))
    builder.apply("LEAKY_RELU", [source], builder.shape(source), output, LeakyRelu(alpha))


def _prelu(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice, map_only=True)
    channels = builder.shape(source)[3]
    shape = _pick(dice, ((1, 1, channels), (channels,), (1, 1, 1), (1,)))
    slopes = builder.constant(
        dice.integers(INT8_MIN, INT8_MAX + 1, shape, np.int8),
        _quantization(dice, 2.0 ** dice.uniform(-10, -5)),
    )
    output = _quantization(dice, builder.scale(source) * 2.0 ** dice.uniform(-3, 3))
    builder.apply("PRELU", [source, slopes], builder.shape(source), output)


def _softmax(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    output = Quantization.per_tensor(1 / 256, -128)
    beta = _pick(dice, (1.0, 1.0, 0.5, 2.5))
    builder.apply("SOFTMAX", [source], builder.shape(source), output, Softmax(beta))


def _arg_max(builder: _Builder, dice: np.random.Generator) -> None:
    source = builder.source(dice)
    shape = builder.shape(source)
    output = builder.tensor(shape[:-1], None, np.int32)
    builder.operators.append(Operator("ARG_MAX", (source,), (output,), Reduce((len(shape) - 1,))))
    builder.results.append(output)


STEPS: dict[str, Callable[[_Builder, np.random.Generator], None]] = {
    "convolution": _convolution,
    "pointwise convolution": _pointwise_convolution,
    "grouped convolution": _grouped_convolution,
    "depthwise convolution": _depthwise_convolution,
    "transposed convolution": _transposed_convolution,
    "fully connected": _fully_connected,
    "add": _binary("ADD"),
    "sub": _binary("SUB"),
    "mul": _binary("MUL"),
    "add broadcast": _broadcast_binary("ADD"),
    "sub broadcast": _broadcast_binary("SUB"),
    "mul broadcast": _broadcast_binary("MUL"),
    "add constant": _constant_binary("ADD"),
    "sub constant": _constant_binary("SUB"),
    "mul constant": _constant_binary("MUL"),
    "average pool": _pool("AVERAGE_POOL_2D"),
    "max pool": _pool("MAX_POOL_2D"),
    "mean": _mean,
    "pad": _pad("PAD"),
    "pad with a value": _pad("PADV2"),
    "concatenation": _concatenation,
    "reshape": _reshape,
    "transpose": _transpose,
    "strided slice": _strided_slice,
    "slice": _slice,
    "split": _split,
    "resize nearest": _resize("RESIZE_NEAREST_NEIGHBOR"),
    "resize bilinear": _resize("RESIZE_BILINEAR"),
    "quantize": _unary("QUANTIZE"),
    "relu": _unary("RELU"),
    "relu6": _unary("RELU6"),
    "relu n1 to 1": _unary("RELU_N1_TO_1"),
    "relu 0 to 1": _unary("RELU_0_TO_1"),
    "logistic": _unary("LOGISTIC", (1 / 256, -128)),
    "tanh": _unary("TANH", (1 / 128, 0)),
    "hard swish": _hard_swish,
    "leaky relu": _leaky_relu,
    "prelu": _prelu,
    "softmax": _softmax,
    "arg max": _arg_max,
}
"""Every kind of step by name."""
