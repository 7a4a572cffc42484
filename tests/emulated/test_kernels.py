"""Every kernel on every emulated processor, against the portable kernels on this machine.

Models are run in batches: one emulation runs them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from emulation import Build, Job, run
from emulation.models import Numbers, Shape, job_of_model, job_of_shape
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from random_graphs import Recipe, build_graph, recipes

from lilliput.exporters.tflite import write_tflite

BATCH = 40
BATCHES = max(2, settings().max_examples // 50)
LARGEST_MACS = 120_000
# Shrinking a batch would take minutes; the failing model is named anyway.
SWEEP = settings(max_examples=BATCHES, phases=(Phase.explicit, Phase.generate))

channel_counts = st.one_of(
    st.integers(1, 33),
    st.sampled_from([36, 40, 47, 48, 49, 63, 64, 65, 79, 80, 81, 95, 96, 97, 127, 128, 129, 144]),
)
zero_points = st.one_of(st.sampled_from([-128, 127, 0, -1]), st.integers(-128, 127))
strides = st.sampled_from([1, 1, 1, 2, 2, 3])
windows = st.sampled_from([1, 2, 3, 3, 4, 5, 7])
activations = st.sampled_from(["none", "none", "relu", "relu6", "relu_n1_to_1"])


@st.composite
def numbers(draw: st.DrawFn, taps: int) -> Numbers:
    """Ordinary ones, and the largest and smallest that a sum of `taps` products allows."""
    largest = 30 - math.log2(taps * 255 * 128 + 2**24)
    multiplier = draw(st.one_of(st.none(), st.none(), st.floats(-24, 8)))
    return Numbers(
        seed=draw(st.integers(0, 2**16)),
        input_zero_point=draw(zero_points),
        output_zero_point=draw(zero_points),
        multiplier=None if multiplier is None else min(multiplier, largest),
        spread=draw(st.sampled_from([0.0, 3.0, 3.0, 12.0])),
        activation=draw(activations) if multiplier is None else "none",
        extreme=draw(st.sampled_from([False, False, False, True])),
        is_int4=draw(st.booleans()),
        per_channel=draw(st.booleans()),
    )


def _fitted(size: tuple[int, int, int], outputs: int, taps: int) -> tuple[int, int, int]:
    """The map, cut to what can be computed quickly."""
    height, width, channels = size
    pixels = max(1, LARGEST_MACS // (outputs * taps))
    width = min(width, pixels)
    return min(height, max(1, pixels // width)), width, channels


@st.composite
def convolutions(draw: st.DrawFn) -> Shape:
    """1x1 half of the time, otherwise any window; a few are grouped or dilated."""
    channels, outputs = draw(channel_counts), draw(channel_counts)
    size = (draw(st.integers(1, 9)), draw(st.integers(1, 13)), channels)
    if draw(st.booleans()):
        kernel, dilation = (1, 1), (1, 1)
    else:
        kernel = (draw(windows), draw(windows))
        dilation = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 1), (1, 2), (2, 3)]))
    groups = draw(st.sampled_from([g for g in range(1, 9) if channels % g == 0]))
    groups = groups if draw(st.sampled_from([False, False, True])) else 1
    outputs = max(1, outputs // groups) * groups
    taps = kernel[0] * kernel[1] * (channels // groups)
    size = _fitted(size, outputs, taps)
    return Shape(
        "conv", "CONV_2D", size, outputs, kernel, (draw(strides), draw(strides)), dilation,
        "same", groups, draw(numbers(taps)),
    )  # fmt: skip


@st.composite
def depthwise(draw: st.DrawFn) -> Shape:
    channels = draw(channel_counts)
    kernel = draw(st.one_of(windows.map(lambda k: (k, k)), st.tuples(windows, windows)))
    stride = draw(st.one_of(strides.map(lambda s: (s, s)), st.tuples(strides, strides)))
    size = (draw(st.integers(1, 10)), draw(st.integers(1, 13)), channels)
    outputs = channels * draw(st.sampled_from([1, 1, 1, 1, 2, 3]))
    taps = kernel[0] * kernel[1]
    size = _fitted(size, outputs, taps)
    return Shape(
        "depthwise", "DEPTHWISE_CONV_2D", size, outputs, kernel, stride,
        draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2)])), "same", 1, draw(numbers(taps)),
    )  # fmt: skip


@st.composite
def fully_connected(draw: st.DrawFn) -> Shape:
    depth = draw(st.one_of(channel_counts, st.integers(100, 700)))
    outputs = draw(channel_counts)
    size = draw(st.sampled_from([(1, 1, depth), (1, 1, depth), (2, 3, depth), (3, 1, depth)]))
    taps = math.prod(size)
    outputs = min(outputs, max(1, LARGEST_MACS // taps))
    return Shape("fully connected", "FULLY_CONNECTED", size, outputs, numbers=draw(numbers(taps)))


@st.composite
def elementwise(draw: st.DrawFn) -> Shape:
    kind = draw(st.sampled_from(["ADD", "SUB", "MUL", "LOGISTIC", "SOFTMAX"]))
    size = (draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(channel_counts))
    return Shape(kind.lower(), kind, size, numbers=draw(numbers(1)))


@st.composite
def reductions(draw: st.DrawFn) -> Shape:
    kind = draw(st.sampled_from(["AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN"]))
    size = (draw(st.integers(1, 10)), draw(st.integers(1, 10)), draw(channel_counts))
    kernel = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    stride = (draw(strides), draw(strides))
    return Shape(
        kind.lower(), kind, size, size[2], kernel, stride, numbers=draw(numbers(1))
    )  # fmt: skip


def compare(
    builds: Sequence[Build], host: Build, jobs: Sequence[Job], names: Sequence[str]
) -> None:
    """Every processor's outputs are the host's."""
    expected = run(host, jobs)
    assert [result.status for result in expected] == [0] * len(jobs)
    for built in builds:
        for name, found, wanted in zip(names, run(built, jobs), expected, strict=True):
            assert found.status == 0, f"{built.core.name}: status {found.status} for {name}"
            for ours, theirs in zip(found.outputs, wanted.outputs, strict=True):
                np.testing.assert_array_equal(ours, theirs, f"{built.core.name}: {name}")


@pytest.mark.parametrize(
    "shapes",
    [convolutions(), depthwise(), fully_connected(), elementwise(), reductions()],
    ids=["convolution", "depthwise", "fully_connected", "elementwise", "reduction"],
)
def test_kernels_equal_those_of_the_host(
    shapes: st.SearchStrategy[Shape], builds: list[Build], host: Build
) -> None:
    batch = st.lists(
        st.tuples(shapes, st.integers(0, 3), st.booleans()), min_size=BATCH // 2, max_size=BATCH
    )

    @SWEEP
    @given(batch)
    def sweep(drawn: list[tuple[Shape, int, bool]]) -> None:
        jobs = [
            job_of_shape(shape, misalignment=misalignment, streams_input=streams)
            for shape, misalignment, streams in drawn
        ]
        compare(builds, host, jobs, [repr(case) for case in drawn])

    sweep()


def narrow_shapes() -> list[Shape]:
    """Few pixels, channels in multiples of four: what the kernels for narrow rows take, with and
    without rest, beside what they leave to others."""
    shapes = []
    for is_int4 in (False, True):
        numbers = Numbers(seed=len(shapes), input_zero_point=-128, is_int4=is_int4)
        for depth in (4, 16, 36, 64, 80, 128, 192):
            for width, outputs in ((1, 64), (2, 5), (5, 7), (9, 2), (10, 6)):
                shapes.append(
                    Shape("1x1", "CONV_2D", (2, width, depth), outputs, numbers=numbers)
                )  # fmt: skip
        for depth, kernel in ((1, (10, 4)), (3, (3, 3)), (16, (3, 3)), (20, (3, 3)), (64, (3, 3))):
            for width, stride in ((3, 1), (5, 2), (7, 1), (13, 1)):
                size, strides = (3, width, depth), (stride, stride)
                shapes.append(Shape("kxk", "CONV_2D", size, 6, kernel, strides, numbers=numbers))
    for width in range(1, 14):
        for stride in (1, 2):
            for zero_point in (-128, 5):
                numbers = Numbers(seed=width, input_zero_point=9, output_zero_point=zero_point)
                shapes.append(
                    Shape(
                        "depthwise", "DEPTHWISE_CONV_2D", (3, width, 8), 8, (3, 3),
                        (stride, stride), numbers=numbers,
                    )
                )  # fmt: skip
    return shapes


@pytest.mark.parametrize("misalignment", [0, 2])
def test_narrow_rows_equal_those_of_the_host(
    misalignment: int, builds: list[Build], host: Build
) -> None:
    shapes = narrow_shapes()
    jobs = [job_of_shape(shape, misalignment=misalignment) for shape in shapes]
    compare(builds, host, jobs, list(map(repr, shapes)))


@SWEEP
@given(st.lists(st.tuples(recipes(), st.integers(0, 3)), min_size=BATCH // 2, max_size=BATCH))
def test_graphs_equal_those_of_the_host(
    builds: list[Build], host: Build, drawn: list[tuple[Recipe, int]]
) -> None:
    jobs = []
    for recipe, misalignment in drawn:
        graph = build_graph(Recipe(recipe.inputs, recipe.steps, recipe.largest))
        jobs.append(job_of_model(write_tflite(graph), misalignment=misalignment))
    compare(builds, host, jobs, [repr(case) for case in drawn])
