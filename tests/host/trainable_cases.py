"""Trainable files with every kind of step of a training step, as seeds of the fuzzer's mutants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from training_steps import (
    LIMIT,
    Outline,
    Window,
    depthwise_constants,
    factors,
    layer_constants,
)

from lilliput.format import write
from lilliput.lower.packing import pack_pairs
from lilliput.lower.softmax_table import softmax_table
from lilliput.planner import plan
from lilliput.program import Edge


def write_trainable_cases(folder: Path) -> list[Path]:
    """A file each for losses, layers with weights, and the rest, mapped and paged. Returns their
    paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, (outline, classes) in outlines().items():
        for paged in (False, True):
            planned = plan(outline.program(classes), paged=paged)
            path = folder / f"{name}{'_paged' * paged}.lil"
            path.write_bytes(write(planned.program, planned))
            paths.append(path)
    return paths


def outlines() -> dict[str, tuple[Outline, int]]:
    """The steps, and the number of their classes (0: a map is their target)."""
    return {
        "classifier": (_classifier(), 7),
        "dense": (_classifier("FULLY_CONNECTED"), 7),
        "momentum": (_classifier(momentum=0.9), 7),
        "layers": (_layers(), 0),
        "accumulated": (_layers(accumulated=2), 0),
        "elementwise": (_elementwise(), 0),
    }


def _gradient(window: Window, shift: int = 6) -> dict[str, dict[str, object]]:
    return {"gradient": {"window": window.fields(), "limit": LIMIT, "shift": shift}}


def _classifier(kind: str = "CONVOLUTION", momentum: float = 0.0) -> Outline:
    """A layer of which the weights of 4 in 10 inputs are trained, its cross-entropy and its
    update."""
    is_dense = kind == "FULLY_CONNECTED"
    outline = Outline(momentum=momentum)
    x = outline.input((1, 1, 10), 3)
    outline.target_bytes = 4
    weights = (np.arange(70) % 23 - 11).astype(np.int8).reshape(7, 10)
    constants = layer_constants(weights)
    of_bias, of_weights = (outline.add_velocities(n) if momentum else None for n in (28, 56))
    offset = outline.train(np.zeros(7, np.int32), pack_pairs(weights[:, :4]).tobytes())
    logits = outline.layer(
        kind,
        x,
        (1, 1, 7),
        constants,
        None if is_dense else Window(),
        trained=offset,
        arena_inputs=4,
    )
    table = softmax_table(0.1, 1.0).astype("<i4").tobytes()
    loss = outline.add("CROSS_ENTROPY", (1, 1, 7), (Edge(logits),), {}, constants=table)
    scaled = outline.add(
        "CLAMP_GRADIENT",
        (1, 1, 7),
        (Edge(loss), Edge(logits)),
        {"limit": {"limit": LIMIT}},
        constants=factors([0.7] * 7, clamps=True),
        is_pointwise=True,
    )
    outline.add(
        "CONVOLUTION_GRADIENT",
        (1, 1, 10),
        (Edge(scaled),),
        _gradient(Window()),
        constants=constants,
        is_pointwise=True,
        trained=offset,
        arena_inputs=4,
    )
    _update(
        outline, "UPDATE_CONVOLUTION", Window(), scaled, x, 10, offset, 4, sink=False,
        velocity=of_weights,
    )  # fmt: skip
    _update_bias(outline, scaled, offset, of_bias)
    return outline


def _layers(accumulated: int = 1) -> Outline:
    """Gradients and updates of a convolution and of a depthwise one."""
    window = Window((3, 2), (2, 1), pad=(1, 0))
    outline = Outline(accumulated=accumulated)
    gradient = outline.gradient((4, 5, 6))
    x = outline.input((7, 6, 6), -5)
    dice = np.random.default_rng(1)
    weights = dice.integers(-127, 128, (6, 3, 2, 6), np.int8)
    channels = dice.integers(-127, 128, (3, 2, 6), np.int8)
    velocities = [outline.add_velocities(n) if accumulated > 1 else None for n in (144, 72)]
    first = outline.train(np.zeros(6, np.int32), pack_pairs(weights[..., :2]).tobytes())
    second = outline.train(np.zeros(6, np.int32), channels.tobytes())
    for kind, constants, offset, arena_inputs in (
        ("CONVOLUTION_GRADIENT", layer_constants(weights), first, 2),
        ("DEPTHWISE_GRADIENT", depthwise_constants(channels), second, 6),
    ):
        outline.add(
            kind,
            (7, 6, 6),
            (window.backward_edge(gradient),),
            _gradient(window),
            constants=constants,
            trained=offset,
            arena_inputs=arena_inputs,
        )
    for sink in (True, False):
        for kind, offset, trained, velocity in zip(
            ("UPDATE_CONVOLUTION", "UPDATE_DEPTHWISE"), (first, second), (2, 6), velocities,
            strict=True,
        ):  # fmt: skip
            _update(
                outline, kind, window, gradient, x, 6, offset, trained, sink=sink,
                velocity=velocity,
            )  # fmt: skip
    return outline


def _elementwise() -> Outline:
    """Masks, sums, products and pools."""
    window = Window((2, 3), (1, 2), pad=(1, 1))
    outline = Outline()
    gradient = outline.gradient((4, 3, 5))
    y = outline.input((4, 3, 5), 7)
    row = -(-3 * 5 // 8)
    mask = outline.add("MASK", (4, row, 1), (Edge(y),), {}, dtype="bits", activation=(-100, 90))
    clamped = outline.add(
        "CLAMP_GRADIENT",
        (4, 3, 5),
        (Edge(gradient), Edge(mask)),
        {"limit": {"limit": LIMIT}},
        constants=factors([0.5, 1.0, 2.0, 0.1, 3.0], clamps=True),
    )
    total = outline.add(
        "SUM_GRADIENTS",
        (4, 3, 5),
        (Edge(gradient), Edge(clamped)),
        {"sum": {"limit": LIMIT, "shift": [1, -2]}},
        is_pointwise=True,
    )
    product = {"product": {"multiplier": 1 << 30, "shift": -7, "limit": LIMIT}}
    outline.add("MULTIPLY_GRADIENT", (4, 3, 5), (Edge(total), Edge(y)), product, is_pointwise=True)
    outline.add("MULTIPLY_GRADIENT", (1, 1, 5), (Edge(total), Edge(y)), product, is_sink=True)
    outline.add("POOL_GRADIENT", (4, 5, 5), (window.backward_edge(total),), _gradient(window, 9))
    source = outline.input((4, 5, 5))
    outline.add(
        "MAX_POOL_GRADIENT",
        (4, 5, 5),
        (window.backward_edge(total), Edge(source, 1, -1, 1)),
        _gradient(window),
    )
    slopes = (np.arange(256) * 257 - 32768).astype("<i2").tobytes()
    outline.add(
        "TABLE_GRADIENT",
        (4, 3, 5),
        (Edge(total), Edge(y)),
        {"slope": {"limit": LIMIT, "shift": 13}},
        constants=slopes,
        is_pointwise=True,
    )
    region = {"begin_height": -1, "begin_width": 1, "begin_channels": 2}
    outline.add("REGION_GRADIENT", (6, 4, 7), (Edge(total, 1, -1, -1),), {"region": region})
    copies = Window((2, 2), (2, 2))
    outline.add("RESIZE_GRADIENT", (2, 2, 5), (Edge(total, 2, 0, 1),), _gradient(copies, 1))
    _update_bias(outline, total, outline.train(np.zeros(5, np.int32)))
    return outline


def _update(
    outline: Outline, kind: str, window: Window, gradient: int, x: int, inputs: int, offset: int,
    trained: int, *, sink: bool, velocity: int | None = None,
) -> None:  # fmt: skip
    edges = (Edge(gradient), window.forward_edge(x))
    if not sink:
        edges = tuple(Edge(e.tensor, 0, 0, outline.tensors[e.tensor].height - 1) for e in edges)
    update = {"window": window.fields(), "trained_inputs": trained, "input_channels": inputs}
    outline.add(
        kind,
        (1, 1, 1),
        edges,
        {"update": update},
        dtype="int8",
        constants=factors([0.01] * outline.tensors[gradient].channels),
        is_sink=sink,
        trained=offset,
        arena_inputs=trained,
        velocity=velocity,
    )


def _update_bias(outline: Outline, gradient: int, offset: int, velocity: int | None = None) -> None:
    outline.add(
        "UPDATE_BIAS",
        (1, 1, 1),
        (Edge(gradient),),
        {},
        dtype="int8",
        constants=factors([0.01] * outline.tensors[gradient].channels),
        is_sink=True,
        trained=offset,
        velocity=velocity,
    )
