"""Layers of which the weights of some input channels lie in the arena, the others in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace

import _lilliput
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_steps import CONTEXT_BYTES, DONE, Outline, Window, layer_constants, train_step

from lilliput.format import write
from lilliput.lower.packing import pack_pairs
from lilliput.planner import Schedule, plan
from lilliput.program import Port, Program

SOME = settings(max_examples=settings().max_examples // 10)
FULLY_CONNECTED, CONVOLUTION = "FULLY_CONNECTED", "CONVOLUTION"


@dataclass(frozen=True)
class Case:
    """A layer whose weights in the file and in the arena differ. weights: (C, kh, kw, inputs) as
    they should be; in the file those of the first `in_arena` inputs are others."""

    kind: str
    window: Window
    size: tuple[int, int]
    weights: np.ndarray
    in_arena: int
    seed: int

    @property
    def inputs(self) -> int:
        return self.weights.shape[3]

    @property
    def in_file(self) -> np.ndarray:
        changed = self.weights.copy()
        changed[..., : self.in_arena] = self._dice.integers(-127, 128, changed.shape, np.int8)[
            ..., : self.in_arena
        ]
        return changed

    @property
    def held(self) -> bytes:
        return pack_pairs(self.weights[..., : self.in_arena]).tobytes()

    @property
    def bias(self) -> np.ndarray:
        return self._dice.integers(-(2**12), 2**12, len(self.weights)).astype(np.int32)

    @property
    def _dice(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


@st.composite
def cases(draw: st.DrawFn, kinds: tuple[str, ...] = (CONVOLUTION, FULLY_CONNECTED)) -> Case:
    kind = draw(st.sampled_from(kinds))
    inputs, outputs = draw(st.integers(3, 40)), draw(st.integers(1, 40))
    in_arena = 2 * draw(st.integers(1, (inputs - 1) // 2))
    size = draw(st.tuples(st.integers(1, 7), st.integers(1, 6)))
    window = Window()
    if kind == FULLY_CONNECTED:
        size = (1, size[1])
        kernel = size
    else:
        if draw(st.booleans()):
            window = Window((3, 2), (draw(st.integers(1, 2)), 1), pad=(1, 0))
        kernel = window.kernel
    seed = draw(st.integers(0, 2**32 - 1))
    weights = np.random.default_rng(seed).integers(-127, 128, (outputs, *kernel, inputs), np.int8)
    return Case(kind, window, size, weights, in_arena, seed)


def outline_of(case: Case, is_split: bool) -> tuple[Outline, Program]:
    """The layer alone, its output being the program's; as Case says, or with the weights that it
    should have in the file."""
    outline = Outline()
    source = outline.input((*case.size, case.inputs), -7)
    weights = case.in_file if is_split else case.weights
    bias = np.zeros_like(case.bias) if is_split else case.bias
    height = (case.size[0] - 1) // case.window.stride[0] + 1
    shape = (1, 1) if case.kind == FULLY_CONNECTED else (height, case.size[1])
    output = outline.layer(
        case.kind,
        source,
        (*shape, len(weights)),
        layer_constants(weights, bias, shift=-8),
        None if case.kind == FULLY_CONNECTED else case.window,
        trained=outline.train(case.bias, case.held) if is_split else None,
        arena_inputs=case.in_arena if is_split else 0,
    )
    port = Port(output, "output", (1, *shape, len(weights)), 1.0, 0)
    return outline, replace(outline.program(), outputs=(port,))


def infer(
    outline: Outline, program: Program, image: np.ndarray, schedule: Schedule
) -> tuple[np.ndarray, bytes]:
    """The output with the outline's trained constants, and what `reset` had put in their place."""
    planned = plan(program, schedule=schedule)
    data = write(planned.program, planned)
    _lilliput.verify(data)
    context = np.zeros(_lilliput.field(data, CONTEXT_BYTES, 0) // 4, np.int32)
    memory = np.full(planned.arena_bytes // 4 + 1, -1515870811, np.int32).view(np.uint8)
    arena = memory.view(np.int32)
    _lilliput.begin(data, context)
    assert _lilliput.reset(data, context, arena) == DONE
    trained = np.frombuffer(b"".join(outline.trained), np.uint8)
    begin = program.training.bytes - len(trained)
    was = memory[begin:][: len(trained)].tobytes()
    memory[begin:][: len(trained)] = trained
    _lilliput.begin(data, context)
    wanted = _lilliput.run(data, context, arena, None)
    while wanted != DONE:
        wanted = _lilliput.run(data, context, arena, image)
    output = np.zeros(program.outputs[0].shape, np.int8)
    _lilliput.read_output(data, arena, 0, output)
    return output, was


@given(case=cases(), schedule=st.sampled_from(Schedule))
@SOME
def test_layer(case: Case, schedule: Schedule) -> None:
    shape = (*case.size, case.inputs)
    image = np.random.default_rng(case.seed).integers(-128, 128, shape, np.int8)
    output, was = infer(*outline_of(case, True), image, schedule)
    expected, _ = infer(*outline_of(case, False), image, schedule)
    assert np.array_equal(output, expected)
    file = (
        np.zeros_like(case.bias).tobytes()
        + pack_pairs(case.in_file[..., : case.in_arena]).tobytes()
    )
    assert was == file


@given(case=cases((CONVOLUTION,)), target=st.integers(0, 2**32 - 1))
@SOME
def test_gradient_of_input(case: Case, target: int) -> None:
    """The same map of gradients, whether the weights lie in one place or in two."""
    window, channels = case.window, len(case.weights)
    shape = ((case.size[0] - 1) // window.stride[0] + 1, case.size[1], channels)
    dice = np.random.default_rng(target)
    image, wanted = (dice.integers(-128, 128, shape, np.int8) for _ in range(2))
    found = []
    for is_split in (True, False):
        outline = Outline()
        gradient = outline.gradient(shape)
        result = outline.add(
            "CONVOLUTION_GRADIENT",
            (*case.size, case.inputs),
            (window.backward_edge(gradient),),
            {"gradient": {"window": window.fields(), "limit": 20000, "shift": 8}},
            constants=layer_constants(case.in_file if is_split else case.weights),
            is_pointwise=window == Window(),
            trained=outline.train(case.bias, case.held) if is_split else None,
            arena_inputs=case.in_arena if is_split else 0,
        )
        found.append(train_step(outline, [image], wanted, read=[result]).maps[result])
    assert np.array_equal(*found)


def refused(program: Program) -> bool:
    planned = plan(program)
    try:
        _lilliput.verify(write(planned.program, planned))
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    ("inputs", "in_arena", "is_sound"),
    [(6, 2, True), (6, 6, True), (7, 7, True), (6, 3, False), (6, 8, False)],
)
@pytest.mark.parametrize("kind", [CONVOLUTION, FULLY_CONNECTED])
def test_verifier(kind: str, inputs: int, in_arena: int, is_sound: bool) -> None:
    """An even number of inputs, or all."""
    weights = np.ones((5, 1, 1, inputs), np.int8)
    case = Case(kind, Window(), (1, 1), weights, in_arena, 0)
    assert refused(outline_of(case, True)[1]) != is_sound


def _changed(program: Program, **changes: object) -> Program:
    """The program with another last step."""
    return replace(program, steps=(*program.steps[:-1], replace(program.steps[-1], **changes)))


def test_verifier_wants_room_for_the_trained_weights() -> None:
    case = Case(
        CONVOLUTION, Window((3, 2), pad=(1, 0)), (4, 4), np.ones((5, 3, 2, 8), np.int8), 4, 0
    )
    _, program = outline_of(case, True)
    assert not refused(program)
    assert refused(_changed(program, arena_inputs=6))
    assert refused(_changed(program, trained_offset=program.steps[-1].trained_offset + 4))


def test_verifier_wants_scratch_for_the_weights_of_a_part() -> None:
    case = Case(CONVOLUTION, Window(), (4, 4), np.ones((20, 1, 1, 30), np.int8), 4, 0)
    planned = plan(outline_of(case, True)[1])
    short = tuple(bytes_ - 4 if bytes_ else 0 for bytes_ in planned.scratch_bytes)
    with pytest.raises(ValueError):
        _lilliput.verify(write(planned.program, replace(planned, scratch_bytes=short)))


@pytest.mark.parametrize("rows", [1, 2])
def test_verifier_refuses_rows_of_a_split_fully_connected_layer(rows: int) -> None:
    weights = np.ones((4, rows, 2, 6), np.int8)
    outline = Outline()
    source = outline.input((rows, 2, 6))
    outline.layer(
        FULLY_CONNECTED,
        source,
        (1, 1, 4),
        layer_constants(weights),
        None,
        trained=outline.train(np.zeros(4, np.int32), bytes(2 * 2 * rows * 2 * 4)),
        arena_inputs=4,
    )
    assert refused(outline.program()) == (rows > 1)


def test_verifier_refuses_split_groups() -> None:
    window = Window(groups=2)
    weights = np.ones((4, 1, 1, 6), np.int8)
    outline = Outline()
    source = outline.input((2, 2, 12))
    outline.layer(
        CONVOLUTION,
        source,
        (2, 2, 4),
        layer_constants(weights),
        window,
        trained=outline.train(np.zeros(4, np.int32), bytes(4 * 6)),
        arena_inputs=4,
    )
    program = outline.program()
    assert refused(program)
    assert not refused(_changed(program, arena_inputs=6))
