"""Training steps leave the same bits behind on every emulated processor as on this machine."""

from __future__ import annotations

import numpy as np
from emulation import Build, Job, run
from trainable_cases import outlines
from training_steps import (
    LIMIT,
    RATE_ONE,
    Outline,
    Window,
    depthwise_constants,
    factors,
    layer_constants,
)

from lilliput.format import write
from lilliput.lower.packing import pack_pairs
from lilliput.planner import plan
from lilliput.program import Edge

BATCH = 40


def backward(dice: np.random.Generator) -> Outline:
    """The gradients of a 1x1 convolution and of a depthwise one, behind the clamp of a convolution,
    both convolutions with some of their weights in the arena; and of a table, a part, copies and a
    product."""
    height, width, channels, inputs = (int(n) for n in dice.integers(1, (5, 8, 41, 34)))
    kernel, stride = (int(n) for n in dice.integers(1, (6, 3)))
    pad = (kernel - 1) // 2
    window = Window((kernel, kernel), (stride, stride), pad=(pad, pad))
    shape = (height, width, channels)
    wide = ((height - 1) * stride + kernel - 2 * pad, width * stride + kernel % 2, inputs)
    outline = Outline()
    gradient = outline.gradient(shape)
    y = split_layer(outline, dice, shape)
    limits = (int(dice.integers(-128, 0)), int(dice.integers(0, 128)))
    row = -(-width * channels // 8)
    mask = outline.add("MASK", (height, row, 1), (Edge(y),), {}, dtype="bits", activation=limits)
    scales = factors(2.0 ** dice.uniform(-3, 1, channels), clamps=True)
    by_bits, by_map = (
        outline.add(
            "CLAMP_GRADIENT",
            shape,
            (Edge(gradient), Edge(gate)),
            {"limit": {"limit": LIMIT}},
            constants=scales,
            activation=limits,
        )
        for gate in (mask, y)
    )
    total = outline.add(
        "SUM_GRADIENTS",
        shape,
        (Edge(by_bits), Edge(by_map)),
        {"sum": {"limit": LIMIT, "shift": [0, -2]}},
        is_pointwise=True,
    )
    weights = dice.integers(-127, 128, (channels, inputs), np.int8)
    in_arena = 2 * int(dice.integers(inputs // 2)) + 2 if inputs > 2 else inputs
    trained = outline.train(np.zeros(channels), pack_pairs(weights[:, :in_arena]).tobytes())
    through = outline.add(
        "CONVOLUTION_GRADIENT",
        (height, width, inputs),
        (Edge(total),),
        {"gradient": {"window": Window().fields(), "limit": 1 << 14, "shift": 8}},
        constants=layer_constants(weights),
        is_pointwise=True,
        trained=trained,
        arena_inputs=in_arena,
    )
    below = outline.add(
        "DEPTHWISE_GRADIENT",
        wide,
        (window.backward_edge(through),),
        {"gradient": {"window": window.fields(), "limit": LIMIT, "shift": 6}},
        constants=depthwise_constants(dice.integers(-127, 128, (kernel, kernel, inputs), np.int8)),
    )
    slope = {"slope": {"limit": LIMIT, "shift": 14}}
    table = dice.integers(-32768, 32768, 256).astype("<i2").tobytes()
    curved = outline.add(
        "TABLE_GRADIENT",
        shape,
        (Edge(total), Edge(y)),
        slope,
        constants=table,
        is_pointwise=True,
    )
    begin = [int(n) for n in dice.integers(-2, 3, 3)]
    names = ("begin_height", "begin_width", "begin_channels")
    part = outline.add(
        "REGION_GRADIENT",
        (height + 1, width + 1, channels),
        (Edge(curved, 1, begin[0], begin[0]),),
        {"region": dict(zip(names, begin, strict=True))},
    )
    copies = Window((2, 3), (2, 3))
    summed = outline.add(
        "RESIZE_GRADIENT",
        (-(-height // 2), -(-width // 3), channels),
        (Edge(curved, 2, 0, 1),),
        {"gradient": {"window": copies.fields(), "limit": LIMIT, "shift": 1}},
    )
    product = {"product": {"multiplier": 1 << 30, "shift": -9, "limit": LIMIT}}
    factor = outline.add(
        "MULTIPLY_GRADIENT", (1, 1, channels), (Edge(curved), Edge(y)), product, is_sink=True
    )
    for observed in (total, through, below, curved, part, summed, factor):
        count = outline.tensors[observed].channels
        outline.add(
            "UPDATE_BIAS",
            (1, 1, 1),
            (Edge(observed),),
            {},
            dtype="int8",
            constants=factors([2.0**10] * count),
            is_sink=True,
            trained=outline.train(np.zeros(count, np.int32)),
        )
    return outline


def split_layer(outline: Outline, dice: np.random.Generator, shape: tuple[int, ...]) -> int:
    """A 1x1 or 3x2 convolution with some of its weights in the arena."""
    window = Window() if dice.integers(2) else Window((3, 2), pad=(1, 0))
    height, width, channels = shape
    inputs = int(dice.integers(3, 50))
    source = outline.input((height, width, inputs))
    weights = dice.integers(-127, 128, (channels, *window.kernel, inputs), np.int8)
    in_arena = 2 * int(dice.integers(1, inputs // 2 + 1))
    bias = dice.integers(-(2**12), 2**12, channels)
    return outline.layer(
        "CONVOLUTION",
        source,
        shape,
        layer_constants(weights, bias, shift=-int(dice.integers(6, 9))),
        window,
        trained=outline.train(bias, pack_pairs(weights[..., :in_arena]).tobytes()),
        arena_inputs=in_arena,
    )


def job_of(outline: Outline, classes: int, dice: np.random.Generator) -> Job:
    planned = plan(outline.program(classes))
    inputs = [
        dice.integers(-128, 128, planned.program.tensors[port.tensor].shape, np.int8)
        for port in planned.program.inputs
    ]
    target = np.int32(0) if classes else dice.integers(-128, 128, outline.target_bytes, np.int8)
    data = write(planned.program, planned)
    return Job(data, tuple(inputs), int(dice.integers(4)), target.tobytes(), RATE_ONE)


def test_steps_are_those_of_this_machine(builds: list[Build], host: Build) -> None:
    dice = np.random.default_rng(7)
    jobs = [job_of(backward(dice), 0, dice) for _ in range(BATCH)]
    jobs += [job_of(outline, classes, dice) for outline, classes in outlines().values()]
    expected = run(host, jobs)
    for built in builds:
        for index, (here, there) in enumerate(zip(expected, run(built, jobs), strict=True)):
            assert (here.status, there.status) == (0, 0), (built.core.name, index)
            assert here.trained == there.trained, (built.core.name, index)
    moved = [np.unique(np.frombuffer(result.trained[64:], np.int8)).size for result in expected]
    assert np.median(moved) > 20
