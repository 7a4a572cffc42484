"""Every kernel of the backward pass against TensorFlow's gradients of the dequantised layer, in
float64, on random shapes; losses against NumPy; updates and their stochastic rounding."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_steps import (
    LIMIT,
    RATE_ONE,
    Outline,
    Stepped,
    Window,
    depthwise_constants,
    factors,
    grouped_constants,
    layer_constants,
    train_step,
    train_steps,
)

from lilliput.lower.packing import pack_pairs, unpack_pairs
from lilliput.lower.softmax_table import softmax_table
from lilliput.planner import Schedule
from lilliput.program import Edge

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")

SOME = settings(max_examples=settings().max_examples // 20)
seeds = st.integers(0, 2**32 - 1)


def gradient_of(function, at: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    """The gradient of sum(function(at) * upstream) with respect to `at`, in float64."""
    variable = tf.Variable(at.astype(np.float64))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(function(variable) * upstream.astype(np.float64))
    return tape.gradient(value, variable).numpy()


@dataclass(frozen=True)
class Layer:
    """Shapes of a windowed layer: `x` (height, width, channels), `z` the same of its output."""

    window: Window
    x: tuple[int, int, int]
    z: tuple[int, int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]


@st.composite
def layers(draw, depthwise: bool = False, pool: bool = False) -> Layer:
    """A convolution, with TensorFlow's SAME or VALID padding or any other."""
    kernel, stride = (
        draw(st.tuples(st.integers(1, most), st.integers(1, most))) for most in (4, 3)
    )
    dilation = (1, 1) if pool else draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
    groups = 1 if depthwise or pool else draw(st.sampled_from([1, 1, 1, 2, 3]))
    outputs = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    sizes, pads = [], []
    for axis in range(2):
        span = (kernel[axis] - 1) * dilation[axis]
        before = draw(st.integers(0, min(span, kernel[axis] - 1)))
        after = draw(st.integers(0, min(span, kernel[axis] - 1)))
        spare = draw(st.integers(0, stride[axis] - 1))  # rows that no window reaches
        size = (outputs[axis] - 1) * stride[axis] + span + 1 + spare - before - after
        if size < 1:
            before, after, size = 0, 0, size + before + after
        sizes.append(size)
        pads.append((before, after))
    inputs = groups * draw(st.integers(1, 6))
    channels = inputs * draw(st.integers(1, 2)) if depthwise else groups * draw(st.integers(1, 6))
    channels = inputs if pool else channels
    window = Window(kernel, stride, dilation, (pads[0][0], pads[1][0]), groups)
    return Layer(window, (*sizes, inputs), (*outputs, channels), tuple(pads))


def padded(x, layer: Layer, value: float = 0.0):
    return tf.pad(x[None], [[0, 0], *layer.pads, [0, 0]], constant_values=value)


def convolve(x, weights, layer: Layer):
    """weights: (outputs, height, width, inputs of a group)."""
    groups, window = layer.window.groups, layer.window
    kernels = tf.split(tf.transpose(weights, (1, 2, 3, 0)), groups, axis=3)
    maps = tf.split(padded(x, layer), groups, axis=3)
    parts = [
        _strided(tf.nn.convolution, part, kernel, window)
        for part, kernel in zip(maps, kernels, strict=True)
    ]
    return tf.concat(parts, axis=3)[0]


def _strided(function, x, kernel, window: Window):
    """Without stride, and then every stride-th: TensorFlow takes no dilation with a stride."""
    value = function(x, kernel, strides=1, padding="VALID", dilations=window.dilation)
    return value[:, :: window.stride[0], :: window.stride[1]]


def depthwise(x, weights, layer: Layer):
    """weights: (height, width, outputs)."""
    height, width, outputs = weights.shape
    shape = (height, width, layer.x[2], outputs // layer.x[2])
    value = tf.nn.depthwise_conv2d(
        padded(x, layer),
        tf.reshape(weights, shape),
        strides=[1, 1, 1, 1],
        padding="VALID",
        dilations=layer.window.dilation,
    )
    return value[0, :: layer.window.stride[0], :: layer.window.stride[1]]


def random_map(dice: np.random.Generator, shape) -> np.ndarray:
    return dice.integers(-128, 128, shape, np.int8)


def reals(stepped, gradient: int) -> np.ndarray:
    """A map of gradients that the loss's kernel made, as what the test put in."""
    return stepped.maps[gradient].astype(np.float64)


def assert_close(actual: np.ndarray, expected: np.ndarray, steps: float = 0.51) -> None:
    """Equal to `steps` of int16, where it is inside of its range."""
    clipped = np.clip(expected, -LIMIT, LIMIT)
    assert np.abs(actual - clipped).max() <= steps


@given(layer=layers(), seed=seeds, shift=st.integers(0, 14))
@SOME
def test_convolution(layer: Layer, seed: int, shift: int) -> None:
    dice = np.random.default_rng(seed)
    weights = dice.integers(
        -127, 128, (layer.z[2], *layer.window.kernel, layer.x[2] // layer.window.groups), np.int8
    )
    constants = grouped_constants(weights, layer.window.groups)
    check_gradient("CONVOLUTION_GRADIENT", convolve, layer, weights, constants, dice, shift)


@given(layer=layers(depthwise=True), seed=seeds, shift=st.integers(0, 12))
@SOME
def test_depthwise(layer: Layer, seed: int, shift: int) -> None:
    dice = np.random.default_rng(seed)
    weights = dice.integers(-127, 128, (*layer.window.kernel, layer.z[2]), np.int8)
    constants = depthwise_constants(weights)
    check_gradient("DEPTHWISE_GRADIENT", depthwise, layer, weights, constants, dice, shift)


def check_gradient(kind, function, layer, weights, constants, dice, shift) -> None:
    outline = Outline()
    gradient = outline.gradient(layer.z)
    parameters = {"gradient": {"window": layer.window.fields(), "limit": LIMIT, "shift": shift}}
    edge = layer.window.backward_edge(gradient)
    result = outline.add(kind, layer.x, (edge,), parameters, constants=constants)
    stepped = train_step(
        outline,
        [random_map(dice, layer.z)],
        random_map(dice, layer.z),
        read=[gradient, result],
    )
    expected = gradient_of(
        lambda x: function(x, weights.astype(np.float64), layer),
        np.zeros(layer.x),
        reals(stepped, gradient),
    )
    assert_close(stepped.maps[result], expected / 2**shift)
    assert stepped.saturated == np.sum(np.abs(np.floor(expected / 2**shift + 0.5)) > LIMIT)


@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=seeds,
    streamed=st.booleans(),
)
@SOME
def test_pointwise_convolution(size, channels, seed: int, streamed: bool) -> None:
    dice = np.random.default_rng(seed)
    inputs, outputs = channels
    weights = dice.integers(-127, 128, (outputs, inputs), np.int8)
    outline = Outline()
    gradient = outline.gradient((*size, outputs))
    result = outline.add(
        "CONVOLUTION_GRADIENT",
        (*size, inputs),
        (Edge(gradient),),
        {"gradient": {"window": Window().fields(), "limit": 20000, "shift": 7}},
        constants=layer_constants(weights),
        is_pointwise=True,
    )
    offset = outline.train(np.zeros(inputs, np.int32))
    outline.add(
        "UPDATE_BIAS",
        (1, 1, 1),
        (Edge(result),),
        {},
        dtype="int8",
        constants=factors([0.25] * inputs),
        is_sink=True,
        trained=offset,
    )
    image, target = random_map(dice, (*size, outputs)), random_map(dice, (*size, outputs))
    stepped = train_step(outline, [image], target, read=[gradient, result])
    expected = reals(stepped, gradient) @ weights.astype(np.float64) / 2**7
    assert_close(stepped.maps[result], np.clip(expected, -20000, 20000))
    if streamed:
        again = train_step(outline, [image], target, schedule=Schedule.STREAMED)
        assert np.array_equal(_biases(again, inputs), _biases(stepped, inputs))


def _biases(stepped: Stepped, count: int) -> np.ndarray:
    return np.frombuffer(stepped.trained, "<i4", count)


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 12)),
    seed=seeds,
    limits=st.tuples(st.integers(-128, 127), st.integers(-128, 127)).map(sorted).map(tuple),
    how=st.sampled_from(["bits", "map", "none"]),
)
@SOME
def test_clamp(shape, seed: int, limits, how: str) -> None:
    dice = np.random.default_rng(seed)
    scales = 2.0 ** dice.uniform(-8, 3, shape[2]) * dice.choice([-1, 1], shape[2])
    outline = Outline()
    gradient = outline.gradient(shape)
    output = outline.input(shape)
    edges = [Edge(gradient)]
    if how == "bits":
        row = -(-shape[1] * shape[2] // 8)
        mask = outline.add(
            "MASK", (shape[0], row, 1), (Edge(output),), {}, dtype="bits", activation=limits
        )
        edges.append(Edge(mask))
    elif how == "map":
        edges.append(Edge(output))
    result = outline.add(
        "CLAMP_GRADIENT",
        shape,
        edges,
        {"limit": {"limit": LIMIT}},
        constants=factors(scales, clamps=True),
        activation=limits,
        is_pointwise=how != "bits" or shape[1] * shape[2] % 8 == 0,
    )
    y = random_map(dice, shape)
    stepped = train_step(
        outline, [random_map(dice, shape), y], random_map(dice, shape), read=[gradient, result]
    )
    passes = np.ones(shape) if how == "none" else (y > limits[0]) & (y < limits[1])
    expected = reals(stepped, gradient) * scales * passes
    assert_close(stepped.maps[result], expected, steps=1.01)  # a floor at 2^-shift, then a rounding


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9)),
    shifts=st.tuples(st.integers(-14, 14), st.integers(-14, 14)).filter(
        lambda shifts: abs(shifts[0] - shifts[1]) <= 14
    ),
    seed=seeds,
)
@SOME
def test_sum(shape, shifts, seed: int) -> None:
    dice = np.random.default_rng(seed)
    outline = Outline()
    gradient = outline.gradient(shape)
    other = outline.add(
        "CLAMP_GRADIENT",
        shape,
        (Edge(gradient),),
        {"limit": {"limit": LIMIT}},
        constants=factors(2.0 ** dice.uniform(-4, 1, shape[2]), clamps=True),
    )
    result = outline.add(
        "SUM_GRADIENTS",
        shape,
        (Edge(gradient), Edge(other)),
        {"sum": {"limit": LIMIT, "shift": list(shifts)}},
        is_pointwise=True,
    )
    stepped = train_step(
        outline, [random_map(dice, shape)], random_map(dice, shape), read=[gradient, other, result]
    )
    expected = (
        reals(stepped, gradient) * 2.0 ** shifts[0] + reals(stepped, other) * 2.0 ** shifts[1]
    )
    assert_close(stepped.maps[result], expected)


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9)),
    how=st.sampled_from(["same", "pixel", "one", "sum"]),
    zero_point=st.integers(-128, 127),
    scale=st.floats(2**-12, 0.5),
    seed=seeds,
)
@SOME
def test_multiply(shape, how: str, zero_point: int, scale: float, seed: int) -> None:
    dice = np.random.default_rng(seed)
    of_other = {"pixel": (1, 1, shape[2]), "one": (1, 1, 1)}.get(how, shape)
    multiplier, shift = np.frexp(scale)
    outline = Outline()
    gradient = outline.gradient(shape)
    other = outline.input(of_other, zero_point)
    straight = Edge(other) if how in ("same", "sum") else Edge(other, 0, 0, 0)
    result = outline.add(
        "MULTIPLY_GRADIENT",
        (1, 1, shape[2]) if how == "sum" else shape,
        (Edge(gradient), straight),
        {"product": {"multiplier": int(multiplier * 2**31), "shift": int(shift), "limit": LIMIT}},
        is_sink=how == "sum",
        is_pointwise=how != "sum",
    )
    b = random_map(dice, of_other)
    stepped = train_step(
        outline, [random_map(dice, shape), b], random_map(dice, shape), read=[gradient, result]
    )
    factor = (b.astype(np.float64) - zero_point) * scale
    at = np.zeros((1, 1, shape[2]) if how == "sum" else shape)
    expected = gradient_of(lambda a: a * factor, at, reals(stepped, gradient))
    assert_close(stepped.maps[result], expected, steps=0.52)


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9)),
    shift=st.integers(0, 20),
    streamed=st.booleans(),
    seed=seeds,
)
@SOME
def test_table(shape, shift: int, streamed: bool, seed: int) -> None:
    dice = np.random.default_rng(seed)
    slopes = dice.integers(-32767, 32768, 256).astype(np.int16)
    outline = Outline()
    gradient = outline.gradient(shape)
    source = outline.input(shape)
    result = outline.add(
        "TABLE_GRADIENT",
        shape,
        (Edge(gradient), Edge(source)),
        {"slope": {"limit": LIMIT, "shift": shift}},
        constants=slopes.astype("<i2").tobytes(),
        is_pointwise=True,
    )
    x = random_map(dice, shape)
    stepped = train_step(
        outline, [random_map(dice, shape), x], random_map(dice, shape), read=[gradient, result]
    )
    slope = slopes[x.astype(int) + 128].astype(np.float64)
    expected = reals(stepped, gradient) * slope / 2**shift
    assert_close(stepped.maps[result], expected)
    assert stepped.saturated == np.sum(np.abs(np.floor(expected + 0.5)) > LIMIT)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9)),
    part=st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 12)),
    begin=st.tuples(*[st.integers(-4, 6)] * 3),
    seed=seeds,
)
@SOME
def test_region(shape, part, begin, seed: int) -> None:
    """Of what was copied into a part of a map, or out of one."""
    dice = np.random.default_rng(seed)
    outline = Outline()
    gradient = outline.gradient(shape)
    names = ("begin_height", "begin_width", "begin_channels")
    result = outline.add(
        "REGION_GRADIENT",
        part,
        (Edge(gradient, 1, begin[0], begin[0]),),
        {"region": dict(zip(names, begin, strict=True))},
    )
    stepped = train_step(
        outline, [random_map(dice, shape)], random_map(dice, shape), read=[gradient, result]
    )

    def placed(x):
        """y, on whose elements from `begin` on those of x lie, where y has them."""
        sides = [(max(b, 0), max(s - b - p, 0)) for b, s, p in zip(begin, shape, part, strict=True)]
        starts = [max(-b, 0) for b in begin]
        return tf.slice(tf.pad(x, sides), starts, shape)

    expected = gradient_of(placed, np.zeros(part), reals(stepped, gradient))
    assert np.array_equal(stepped.maps[result], expected)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(1, 6),
    factors_=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shift=st.integers(0, 5),
    seed=seeds,
)
@SOME
def test_resize(size, channels: int, factors_, shift: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    height, width = factors_
    small = (-(-size[0] // height), -(-size[1] // width), channels)
    outline = Outline()
    gradient = outline.gradient((*size, channels))
    window = Window(factors_, factors_).fields()
    result = outline.add(
        "RESIZE_GRADIENT",
        small,
        (Edge(gradient, height, 0, height - 1),),
        {"gradient": {"window": window, "limit": LIMIT, "shift": shift}},
    )
    image, target = (random_map(dice, (*size, channels)) for _ in range(2))
    stepped = train_step(outline, [image], target, read=[gradient, result])

    def enlarged(x):
        return tf.repeat(tf.repeat(x, height, 0), width, 1)[: size[0], : size[1]]

    expected = gradient_of(enlarged, np.zeros(small), reals(stepped, gradient))
    assert_close(stepped.maps[result], expected / 2**shift)


@given(layer=layers(pool=True), seed=seeds)
@SOME
def test_average_pool(layer: Layer, seed: int) -> None:
    dice = np.random.default_rng(seed)
    size = int(np.prod(layer.window.kernel))

    def average(x):
        sums = depthwise(x, np.ones((*layer.window.kernel, layer.x[2])), layer)
        counts = depthwise(tf.ones_like(x), np.ones((*layer.window.kernel, layer.x[2])), layer)
        return sums / counts

    gradient, result, stepped = pool_step("POOL_GRADIENT", layer, dice, None)
    expected = gradient_of(average, np.zeros(layer.x), reals(stepped, gradient))
    # The share of a window at a border is rounded to 1/256 of a whole one's.
    assert_close(stepped.maps[result], expected, steps=0.51 + np.abs(expected).max() / 256 * size)


@given(layer=layers(pool=True), seed=seeds)
@SOME
def test_max_pool(layer: Layer, seed: int) -> None:
    dice = np.random.default_rng(seed)
    window = layer.window
    # No two alike, where there are few enough: TensorFlow splits a tie, or not, as it likes.
    x = np.full(layer.x, -128, np.int64)
    for c in range(layer.x[2]):
        count = layer.x[0] * layer.x[1]
        x[..., c] = (dice.permutation(count) - count // 2).reshape(layer.x[:2])
    if np.abs(x).max() > 127:
        return

    def maximum(values):
        return tf.nn.max_pool2d(
            padded(values, layer, -1000.0), window.kernel, window.stride, "VALID"
        )[0]

    gradient, result, stepped = pool_step("MAX_POOL_GRADIENT", layer, dice, x.astype(np.int8))
    expected = gradient_of(maximum, x, reals(stepped, gradient))
    assert_close(stepped.maps[result], expected / 2)


def pool_step(kind: str, layer: Layer, dice: np.random.Generator, x: np.ndarray | None):
    """A step with the gradient of a pool; its result is half of it for a maximum."""
    outline = Outline()
    gradient = outline.gradient(layer.z)
    window = layer.window
    edges = [window.backward_edge(gradient)]
    inputs = [random_map(dice, layer.z)]
    shift = 1
    if x is None:
        # 256 times the kernel's size is more than its gradient: powers of two of it go, the rest
        # is in the gradients' own scale.
        shift = 8
    else:
        source = outline.input(layer.x)
        edges.append(Edge(source, 1, 1 - window.kernel[0], window.kernel[0] - 1))
        inputs.append(x)
    parameters = {"gradient": {"window": window.fields(), "limit": LIMIT, "shift": shift}}
    if x is None:
        scales = np.full(layer.z[2], 1 / np.prod(window.kernel))
        scaled = outline.add(
            "CLAMP_GRADIENT",
            layer.z,
            (Edge(gradient),),
            {"limit": {"limit": LIMIT}},
            constants=factors(scales, clamps=True),
        )
        edges[0] = window.backward_edge(scaled)
        result = outline.add(kind, layer.x, edges, parameters)
        stepped = train_step(
            outline, inputs, random_map(dice, layer.z), read=[gradient, scaled, result]
        )
        # What the pool's kernel was given, rounded: so that only its own error is left.
        exact = stepped.maps[scaled].astype(np.float64) * np.prod(window.kernel)
        stepped.maps[gradient] = exact
        return gradient, result, stepped
    result = outline.add(kind, layer.x, edges, parameters)
    stepped = train_step(outline, inputs, random_map(dice, layer.z), read=[gradient, result])
    return gradient, result, stepped


@given(
    layer=layers(),
    seed=seeds,
    sink=st.booleans(),
    zero_point=st.integers(-128, 127),
    streamed=st.booleans(),
)
@SOME
def test_update_of_convolution(layer, seed, sink, zero_point, streamed) -> None:
    dice = np.random.default_rng(seed)
    groups = layer.window.groups
    group_inputs = layer.x[2] // groups
    trained = int(dice.integers(1, group_inputs + 1))
    weights = dice.integers(-127, 128, (layer.z[2], *layer.window.kernel, group_inputs), np.int8)
    keeps_first = groups == 1 and bool(dice.integers(2))
    saved = trained if keeps_first else layer.x[2]
    is_split = groups == 1 and bool(dice.integers(2))
    in_arena = min(trained + trained % 2, group_inputs) if is_split else group_inputs

    def read(packed: bytes) -> np.ndarray:
        pairs = np.frombuffer(packed, np.int8).reshape(groups, -1)
        taps = int(np.prod(layer.window.kernel)) * in_arena
        rows = [unpack_pairs(part, layer.z[2] // groups)[:, :taps] for part in pairs]
        result = weights.copy()
        result[..., :in_arena] = np.concatenate(rows).reshape(*weights.shape[:3], in_arena)
        return result

    check_update(
        "UPDATE_CONVOLUTION",
        lambda w, x: convolve(x, w, layer),
        layer,
        weights,
        pack_pairs(weights[..., :in_arena], groups).tobytes(),
        read,
        dice,
        sink=sink,
        zero_point=zero_point,
        in_arena=in_arena,
        trained=trained,
        saved=saved,
        mask=np.arange(group_inputs) < trained,
        streamed=streamed,
    )


@given(
    layer=layers(depthwise=True), seed=seeds, sink=st.booleans(), zero_point=st.integers(-128, 127)
)
@SOME
def test_update_of_depthwise(layer, seed, sink, zero_point) -> None:
    dice = np.random.default_rng(seed)
    weights = dice.integers(-127, 128, (*layer.window.kernel, layer.z[2]), np.int8)
    check_update(
        "UPDATE_DEPTHWISE",
        lambda w, x: depthwise(x, w, layer),
        layer,
        weights,
        weights.tobytes(),
        lambda packed: np.frombuffer(packed, np.int8)[: weights.size].reshape(weights.shape),
        dice,
        sink=sink,
        zero_point=zero_point,
        in_arena=layer.x[2],
        trained=layer.x[2],
        saved=layer.x[2],
        mask=np.ones(layer.z[2], bool),
        streamed=False,
    )


MOMENTA = st.sampled_from([(0.9, 1), (0.0, 3), (0.5, 2), (1.0, 1)])  # and samples to a change


@given(layer=layers(), seed=seeds, sink=st.booleans(), rule=MOMENTA)
@SOME
def test_velocities_of_convolution(layer, seed, sink, rule) -> None:
    dice = np.random.default_rng(seed)
    groups = layer.window.groups
    inputs = layer.x[2] // groups
    trained = int(dice.integers(1, inputs + 1))
    weights = dice.integers(-30, 31, (layer.z[2], *layer.window.kernel, inputs), np.int8)

    def read(packed: bytes) -> np.ndarray:
        pairs = np.frombuffer(packed, np.int8).reshape(groups, -1)
        taps = int(np.prod(layer.window.kernel)) * inputs
        rows = [unpack_pairs(part, layer.z[2] // groups)[:, :taps] for part in pairs]
        return np.concatenate(rows).reshape(weights.shape)[..., :trained]

    check_velocities(
        "UPDATE_CONVOLUTION", lambda w, x: convolve(x, w, layer), layer, weights,
        pack_pairs(weights, groups).tobytes(), read, lambda array: array[..., :trained], dice,
        sink=sink, rule=rule, trained=trained,
    )  # fmt: skip


@given(layer=layers(depthwise=True), seed=seeds, sink=st.booleans(), rule=MOMENTA)
@SOME
def test_velocities_of_depthwise(layer, seed, sink, rule) -> None:
    dice = np.random.default_rng(seed)
    weights = dice.integers(-30, 31, (*layer.window.kernel, layer.z[2]), np.int8)

    def by_channel(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array, -1, 0)

    check_velocities(
        "UPDATE_DEPTHWISE", lambda w, x: depthwise(x, w, layer), layer, weights,
        weights.tobytes(),
        lambda packed: by_channel(
            np.frombuffer(packed, np.int8)[: weights.size].reshape(weights.shape)
        ),
        by_channel, dice, sink=sink, rule=rule, trained=layer.x[2],
    )  # fmt: skip


def check_velocities(
    kind, function, layer, weights, packed, read, order, dice, *, sink, rule, trained
) -> None:
    """Some steps with momentum or accumulation against the same rule in float64.

    `read` and `order` put packed weights, and real ones, in the order of their velocities.
    """
    momentum, accumulated = rule
    outline = Outline(momentum=momentum, accumulated=accumulated)
    gradient = outline.gradient(layer.z)
    source = outline.input(layer.x, 3)
    wanted = order(np.zeros(weights.shape))
    of_weights = outline.add_velocities(2 * wanted.size)
    of_biases = outline.add_velocities(4 * layer.z[2])
    offset = outline.train(np.zeros(layer.z[2], np.int32), packed)
    samples = [
        ((random_map(dice, layer.z), random_map(dice, layer.x)), random_map(dice, layer.z))
        for _ in range(7)
    ]
    raw = [
        gradient_of(
            lambda w, x=x: function(w, x.astype(np.float64) - 3),
            weights,
            image.astype(np.float64) - target,
        )
        for (image, x), target in samples
    ]
    scale = 8 / max(float(np.abs(raw).max()), 1.0)  # so that a step is some integers, not hundreds
    edges = (Edge(gradient), layer.window.forward_edge(source))
    if not sink:
        edges = tuple(Edge(e.tensor, 0, 0, outline.tensors[e.tensor].height - 1) for e in edges)
    update = {
        "window": layer.window.fields(), "trained_inputs": trained, "input_channels": layer.x[2],
    }  # fmt: skip
    common = {"dtype": "int8", "trained": offset, "constants": factors([scale] * layer.z[2])}
    outline.add(
        kind, (1, 1, 1), edges, {"update": update}, is_sink=sink,
        arena_inputs=layer.x[2] // layer.window.groups,
        velocity=of_weights, **common,
    )  # fmt: skip
    stepped = train_steps(outline, samples, seed=int(dice.integers(1000)))
    velocity, value = wanted, order(weights).astype(np.float64)
    for number, sums in enumerate(raw):
        kept = momentum if number % accumulated == 0 else 1.0
        velocity = velocity * kept + order(sums) * scale
        if (number + 1) % accumulated == 0:
            value = np.clip(value - velocity, -127, 127)
    count = 2 * wanted.size
    actual = np.frombuffer(stepped.velocities[:count], "<i2").reshape(wanted.shape) / 256
    slack = 2 * len(samples) / 256  # two roundings a step, each by less than one
    assert np.abs(actual - velocity).max() < slack
    after = read(stepped.trained[4 * layer.z[2] :])
    assert np.abs(after - value).max() < len(samples) // accumulated * (1 + slack)
    assert of_biases - of_weights == -(-count // 4) * 4


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9)),
    seed=seeds,
    rule=MOMENTA,
)
@SOME
def test_velocities_of_biases(shape, seed: int, rule) -> None:
    dice = np.random.default_rng(seed)
    momentum, accumulated = rule
    outline = Outline(momentum=momentum, accumulated=accumulated)
    gradient = outline.gradient(shape)
    velocities = outline.add_velocities(4 * shape[2])
    bias = dice.integers(-(2**20), 2**20, shape[2])
    scales = 2.0 ** dice.uniform(-6, 6, shape[2])
    outline.add(
        "UPDATE_BIAS", (1, 1, 1), (Edge(gradient),), {}, dtype="int8",
        constants=factors(scales), is_sink=True, trained=outline.train(bias), velocity=velocities,
    )  # fmt: skip
    samples = [((random_map(dice, shape),), random_map(dice, shape)) for _ in range(7)]
    stepped = train_steps(outline, samples, seed=int(dice.integers(1000)))
    velocity, value = np.zeros(shape[2]), bias.astype(np.float64)
    for number, ((image,), target) in enumerate(samples):
        kept = momentum if number % accumulated == 0 else 1.0
        sums = (image.astype(np.float64) - target).sum(axis=(0, 1))
        velocity = velocity * kept + sums * scales
        if (number + 1) % accumulated == 0:
            value = value - velocity
    actual = np.frombuffer(stepped.velocities, "<i4") / 256
    slack = 2 * len(samples) / 256 + 1e-4 * np.abs(velocity).max()  # momentum has 15 bits
    assert np.abs(actual - velocity).max() < slack
    changes = len(samples) // accumulated
    assert np.abs(np.frombuffer(stepped.trained, "<i4") - value).max() < changes * (1 + slack)


@pytest.mark.parametrize("scale", [0.3 / 256, 2**-20, 0.0])
def test_velocities_lose_nothing_on_average(scale: float) -> None:
    """Steps of much less than a velocity's unit, whose sum is known."""
    count, steps = 4096, 24
    outline = Outline(accumulated=steps)
    gradient = outline.gradient((1, 1, count))
    velocities = outline.add_velocities(4 * count)
    outline.add(
        "UPDATE_BIAS", (1, 1, 1), (Edge(gradient),), {}, dtype="int8",
        constants=factors([scale] * count), is_sink=True,
        trained=outline.train(np.zeros(count, np.int32)), velocity=velocities,
    )  # fmt: skip
    sample = ((np.ones((1, 1, count), np.int8),), np.zeros((1, 1, count), np.int8))
    stepped = train_steps(outline, [sample] * steps, seed=3)
    velocity = np.frombuffer(stepped.velocities, "<i4")
    part = scale * 256
    deviation = np.sqrt(steps * part * (1 - part) / count)
    assert abs(velocity.mean() - steps * part) <= 5 * deviation
    assert (velocity.std() > 0) == (part > 0)


def test_velocities_saturate() -> None:
    layer = Layer(Window(), (1, 1, 2), (1, 1, 2), ((0, 0), (0, 0)))
    outline = Outline(momentum=1.0)
    gradient = outline.gradient(layer.z)
    source = outline.input(layer.x)
    velocity = outline.add_velocities(8)
    weights = np.array([[0, 1], [2, 3]], np.int8)
    offset = outline.train(np.zeros(2, np.int32), pack_pairs(weights).tobytes())
    outline.add(
        "UPDATE_CONVOLUTION", (1, 1, 1), (Edge(gradient, 0, 0, 0), Edge(source, 0, 0, 0)),
        {"update": {"window": Window().fields(), "trained_inputs": 2, "input_channels": 2}},
        dtype="int8", constants=factors([1.0, 1.0]), trained=offset, arena_inputs=2,
        velocity=velocity,
    )  # fmt: skip
    image, x = np.array([[[10, -10]]], np.int8), np.array([[[-5, 5]]], np.int8)
    samples = [((image, x), np.zeros_like(image))] * 5
    stepped = train_steps(outline, samples)
    after = unpack_pairs(np.frombuffer(stepped.trained[8:], np.int8), 2)[:, :2]
    assert np.array_equal(after, [[127, -127], [-127, 127]])
    assert np.array_equal(
        np.frombuffer(stepped.velocities, "<i2"), np.array([-1, 1, 1, -1]) * 32767
    )
    assert stepped.saturated >= 4


def check_update(
    kind, function, layer, weights, packed, read, dice, *, sink, zero_point, in_arena, trained,
    saved, mask, streamed,
) -> None:  # fmt: skip
    """The weights after a step, to one of their steps; and the bias, into which the input's zero
    point is folded."""
    outline = Outline()
    gradient = outline.gradient(layer.z)
    source = outline.input((*layer.x[:2], saved), zero_point)
    bias = dice.integers(-1000, 1000, layer.z[2])
    offset = outline.train(bias, packed)
    x = random_map(dice, layer.x)
    scales = 2.0 ** dice.uniform(-12, -8, layer.z[2])
    edges = (Edge(gradient), layer.window.forward_edge(source))
    if not sink:
        edges = tuple(
            Edge(edge.tensor, 0, 0, outline.tensors[edge.tensor].height - 1) for edge in edges
        )
    outline.add(
        kind,
        (1, 1, 1),
        edges,
        {
            "update": {
                "window": layer.window.fields(),
                "trained_inputs": trained,
                "input_channels": layer.x[2],
            }
        },
        dtype="int8",
        constants=factors(scales),
        is_sink=sink,
        trained=offset,
        arena_inputs=in_arena,
    )
    image, target = random_map(dice, layer.z), random_map(dice, layer.z)
    stepped = train_step(
        outline, [image, x[..., :saved]], target, read=[gradient], seed=int(dice.integers(1000))
    )
    centred = x.astype(np.float64) - zero_point
    upstream = (image.astype(np.float64) - target) * scales  # what the exponent stands for
    expected = weights - gradient_of(lambda w: function(w, centred), weights, upstream) * mask
    after = read(stepped.trained[4 * layer.z[2] :])
    assert np.abs(after - np.clip(expected, -127, 127)).max() < 1.01
    assert np.array_equal(after[..., ~mask], weights[..., ~mask])
    moved = after.astype(np.int64) - weights
    per_channel = moved.sum(axis=(0, 1)) if kind == "UPDATE_DEPTHWISE" else moved.sum((1, 2, 3))
    assert np.array_equal(
        np.frombuffer(stepped.trained, "<i4", layer.z[2]), bias - zero_point * per_channel
    )
    if streamed:
        again = train_step(
            outline, [image, x[..., :saved]], target, schedule=Schedule.STREAMED,
            seed=0, steps_before=0,
        )  # fmt: skip
        held = train_step(outline, [image, x[..., :saved]], target, seed=0, steps_before=0)
        assert again.trained == held.trained


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9)),
    seed=seeds,
    exponent=st.integers(-30, 20),
)
@SOME
def test_update_of_bias_and_learning_rates(shape, seed: int, exponent: int) -> None:
    dice = np.random.default_rng(seed)
    outline = Outline()
    gradient = outline.gradient(shape)
    bias = dice.integers(-(2**20), 2**20, shape[2])
    offset = outline.train(bias)
    scales = 2.0 ** dice.uniform(-10, 10, shape[2])
    outline.add(
        "UPDATE_BIAS",
        (1, 1, 1),
        (Edge(gradient),),
        {},
        dtype="int8",
        constants=factors(scales),
        is_sink=True,
        trained=offset,
    )
    mantissa = int(dice.integers(2**30, 2**31))
    image, target = random_map(dice, shape), random_map(dice, shape)
    stepped = train_step(outline, [image], target, rate=(mantissa, exponent))
    difference = (image.astype(np.float64) - target).sum((0, 1))
    expected = bias - difference * scales * mantissa * 2.0 ** (exponent - 31)
    clipped = np.clip(expected, -(2**28), 2**28)
    after = np.frombuffer(stepped.trained, "<i4")
    assert np.all(np.abs(after - clipped) <= 1 + np.abs(expected - bias) * 2.0**-29)


def updated_bias(scale: float, steps: int, seed: int) -> np.ndarray:
    """256 biases, which should all lose `scale`, after one step; as many again for each step."""
    shape = (1, 1, 256)
    outline = Outline()
    gradient = outline.gradient(shape)
    offset = outline.train(np.zeros(256, np.int32))
    outline.add(
        "UPDATE_BIAS",
        (1, 1, 1),
        (Edge(gradient),),
        {},
        dtype="int8",
        constants=factors([scale] * 256),
        is_sink=True,
        trained=offset,
    )
    one, zero = np.ones(shape, np.int8), np.zeros(shape, np.int8)
    return np.stack(
        [
            np.frombuffer(
                train_step(outline, [one], zero, seed=seed, steps_before=before).trained, "<i4"
            )
            for before in range(steps)
        ]
    )


@pytest.mark.parametrize("scale", [0.5, 0.125, 0.9, 1.3, 0.01])
def test_rounding_is_unbiased(scale: float) -> None:
    changes = -updated_bias(scale, steps=40, seed=3)
    assert set(np.unique(changes)) <= {int(np.floor(scale)), int(np.floor(scale)) + 1}
    part = scale % 1
    deviation = np.sqrt(part * (1 - part) / changes.size)
    assert abs(changes.mean() - scale) < 5 * deviation
    # Neither places nor steps go together.
    for axis in (0, 1):
        spread = changes.mean(axis).std() / np.sqrt(part * (1 - part) / changes.shape[axis])
        assert 0.6 < spread < 1.5


def test_rounding_is_seeded() -> None:
    first = updated_bias(0.5, steps=2, seed=1)
    assert np.array_equal(first, updated_bias(0.5, steps=2, seed=1))
    other = updated_bias(0.5, steps=2, seed=2)
    for a, b in ((first[0], first[1]), (first[0], other[0]), (first[1], other[1])):
        assert 80 < np.sum(a != b) < 176


@pytest.mark.parametrize("rate", [(2**31 - 1, 40), RATE_ONE])
def test_weights_saturate(rate: tuple[int, int]) -> None:
    layer = Layer(Window(), (1, 1, 2), (1, 1, 2), ((0, 0), (0, 0)))
    outline = Outline()
    gradient = outline.gradient(layer.z)
    source = outline.input(layer.x)
    weights = np.array([[-127, 127], [100, -100]], np.int8)
    offset = outline.train(np.zeros(2, np.int32), pack_pairs(weights).tobytes())
    outline.add(
        "UPDATE_CONVOLUTION",
        (1, 1, 1),
        (Edge(gradient, 0, 0, 0), Edge(source, 0, 0, 0)),
        {"update": {"window": Window().fields(), "trained_inputs": 2, "input_channels": 2}},
        dtype="int8",
        constants=factors([1.0, 1.0]),
        trained=offset,
        arena_inputs=2,
    )
    image, x = np.array([[[50, -50]]], np.int8), np.array([[[-60, 60]]], np.int8)
    stepped = train_step(outline, [image, x], np.zeros_like(image), rate=rate)
    after = unpack_pairs(np.frombuffer(stepped.trained[8:], np.int8), 2)[:, :2]
    assert np.array_equal(after, [[127, -127], [-127, 127]])


@given(
    classes=st.integers(2, 200),
    scale=st.floats(2**-8, 0.5),
    seed=seeds,
)
@SOME
def test_cross_entropy(classes: int, scale: float, seed: int) -> None:
    dice = np.random.default_rng(seed)
    logits = random_map(dice, (1, 1, classes))
    target = int(dice.integers(classes))
    outline = Outline()
    source = outline.input(logits.shape)
    outline.target_bytes = 4
    result = outline.add(
        "CROSS_ENTROPY",
        logits.shape,
        (Edge(source),),
        {},
        constants=softmax_table(scale, 1.0).astype("<i4").tobytes(),
    )
    stepped = train_step(
        outline, [logits], np.array([target], np.int32), read=[result], class_count=classes
    )
    values = logits.ravel() * scale
    exponentials = np.exp(values - values.max())
    probabilities = exponentials / exponentials.sum()
    gradient = probabilities - (np.arange(classes) == target)
    largest = np.abs(gradient).max()
    actual = stepped.maps[result].ravel()
    if largest > 2**-20:
        assert 2**13 <= np.abs(actual).max() <= 2**14
        error = np.abs(actual * 2.0**-stepped.gradient_exponent - gradient).max()
        assert error < 2**-13 * largest + 2**-24
    loss = -np.log(max(probabilities[target], 1e-30))
    if loss < 18:
        assert abs(stepped.loss - loss) < 1e-4 + 1e-6 * np.exp(loss)
    else:
        assert stepped.loss > 17


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    seed=seeds,
    spread=st.integers(0, 127),
)
@SOME
def test_squared_error(shape, seed: int, spread: int) -> None:
    dice = np.random.default_rng(seed)
    y, target = (dice.integers(-spread, spread + 1, shape).astype(np.int8) for _ in range(2))
    outline = Outline()
    gradient = outline.gradient(shape)
    stepped = train_step(outline, [y], target, read=[gradient])
    difference = y.astype(np.int64) - target
    assert np.array_equal(stepped.maps[gradient], difference * 2**stepped.gradient_exponent)
    if difference.any():
        assert 2**13 <= np.abs(stepped.maps[gradient]).max() < 2**14
    # The multiplier of `Outline.gradient` is 1, the loss counts in 1/65536.
    assert stepped.loss == min((difference**2).sum(), 2**31 - 1) / 65536
