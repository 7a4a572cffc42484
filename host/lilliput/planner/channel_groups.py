"""Expansion channels in groups: a rewriting of programs for less memory.

An inverted residual block widens a map, filters each channel by itself, and narrows it again. Where
squeeze-and-excite wants the mean of the filtered map before its first row is used, all of that map
must be held, and the rows that the filter still needs of the widened map lie beside it. Computing
the channels in groups, one after the other, keeps those rows for one group at a time:

    convolution, depthwise, mean; ... multiply      becomes, for each group of channels,
    convolution, depthwise, mean;                   and then, for rows of a few pixels,
    concatenate, multiply, ...

The groups are slices of the weights: nothing is computed twice and every bit stays. Behind all but
the last group there is room, since the maps of the groups to come are not there yet. So few groups
do, large ones first and a small one at the end.

Groups may also be computed *twice*: once for the mean, and again, streamed, where the rows are
used. Their filtered map is then never held, at the price of its multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..lower.channel_slices import channel_slice
from ..lower.geometry import AXIS_BITS, CHANNELS
from ..program import Edge, Port, Program, Step, without_unused
from .dataflow import Dataflow, dataflow
from .packing import align
from .scratch import scratch_bytes
from .search import search

_BY_CHANNEL = frozenset(
    {"DEPTHWISE_CONVOLUTION", "AVERAGE_POOL", "MAX_POOL", "TABLE", "PRELU", "MEAN"}
)
_BY_PIXEL = frozenset({"CONVOLUTION", "TABLE", "PRELU", "ADD", "SUBTRACT", "MULTIPLY"})
_MOST_GROUPS = 8
_LEAST_PIXELS = 4  # a row of fewer costs more in calls than it saves in bytes
_SHARES = (0.25, 0.5, 0.75, 1.0)  # of the channels that are computed twice


@dataclass(frozen=True)
class Block:
    """A convolution and the steps behind it that work on each of its channels by itself.

    `steps` are in order, the convolution first. `joined` are those of their outputs that other
    steps read, which want all channels, the largest first. The block ends before step `end`, with
    the steps that narrow its channels.
    """

    steps: tuple[int, ...]
    joined: tuple[int, ...]
    channels: int
    end: int

    @property
    def first(self) -> int:
        return self.steps[0]


@dataclass(frozen=True)
class Grouping:
    """A block in groups of `sizes` channels, the first `twice` of which are computed twice. `width`
    are the pixels of a row where they are joined; None for those of the map."""

    block: Block
    sizes: tuple[int, ...]
    twice: int = 0
    width: int | None = None


def groupings(program: Program, *, with_macs: bool = False) -> Iterator[Grouping]:
    """Ways to group the channels of every block: one or two each that compute nothing twice;
    `with_macs` also those that do."""
    for block in blocks(program):
        width = _joined_width(program, block)
        for sizes in dict.fromkeys((_sizes(program, block, width), _even_sizes(program, block))):
            yield Grouping(block, sizes, 0, width)
        if with_macs and len(block.joined) > 1:
            for share in _SHARES:
                again = min(max(round(share * block.channels / 4) * 4, 1), block.channels)
                rest = (block.channels - again,) if again < block.channels else ()
                yield Grouping(block, (again, *rest), 1)


def needed_bytes(flow: Dataflow, grouping: Grouping, *, least_scratch: bool = False) -> int:
    """The least peak of a grouping's steps when they begin and end a segment, all maps that are
    alive beside them counted."""
    block = grouping.block
    alone = _alone(flow, block.first, block.end)
    inputs = len(alone.inputs)
    moved = replace(
        block,
        steps=tuple(index - block.first + inputs for index in block.steps),
        end=block.end - block.first + inputs,
    )
    made = group(alone, replace(grouping, block=moved))
    scratch = scratch_bytes(made, least=least_scratch)
    found = search(dataflow(made), scratch, streams_input=False)
    return found.least_peak() + _held_beside(flow, block.first, block.end)


def blocks(program: Program) -> list[Block]:
    """All blocks with a window over more than one pixel, in order."""
    finder = _Finder(program)
    found = (
        finder.block_at(index)
        for index, step in enumerate(program.steps)
        if step.kind == "CONVOLUTION" and step.parameters["window"]["groups"] == 1
    )
    return [block for block in found if block is not None]


def group(program: Program, grouping: Grouping) -> Program:
    """The program with a block (one of its `blocks`) in groups.

    Raises ValueError when the sizes do not make the block's channels, or when there are more groups
    than one step can join.
    """
    return _Grouper(program, grouping).rewritten()


def extra_macs(program: Program, grouping: Grouping) -> int:
    """The multiply-accumulates of what a grouping computes a second time."""
    return group(program, grouping).macs - program.macs if grouping.twice else 0


class _Finder:
    """Looks for blocks in one program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.readers: dict[int, list[int]] = {}
        for index, step in enumerate(program.steps):
            for edge in step.edges:
                self.readers.setdefault(edge.tensor, []).append(index)
        self.shown = {tensor.view_of for tensor in program.tensors}
        self.shown |= {port.tensor for port in program.outputs}

    def block_at(self, first: int) -> Block | None:
        """The block that a convolution begins, if it does."""
        program = self.program
        widened = program.steps[first].output
        channels = program.tensors[widened].channels
        members = {widened: first}
        for index in range(first + 1, len(program.steps)):
            if _works_by_channel(program, program.steps[index], members):
                members[program.steps[index].output] = index
        steps = sorted(members.values())
        joined = sorted(
            (t for t in members if t in self.shown or self._is_read_beside(t, steps)),
            key=lambda tensor: -program.tensors[tensor].bytes,
        )
        has_window = any("window" in program.steps[index].parameters for index in steps[1:])
        is_view = program.tensors[widened].view_of is not None
        if not has_window or is_view or widened in joined or channels < 2 or not joined:
            return None
        following = [index for index in self.readers.get(joined[0], ()) if index not in steps]
        run = _pixelwise_run(program, joined[0], min(following, default=len(program.steps)))
        end = max([*steps, *run, *following[:1]]) + 1
        return Block(tuple(steps), tuple(joined), channels, end)

    def _is_read_beside(self, tensor: int, steps: Sequence[int]) -> bool:
        return not set(self.readers.get(tensor, ())) <= set(steps)


def _works_by_channel(program: Program, step: Step, members: Mapping[int, int]) -> bool:
    """Whether a step reads a map of a block and computes each channel from the same one alone."""
    if step.kind not in _BY_CHANNEL or step.edges[0].tensor not in members:
        return False
    source, output = program.tensors[step.edges[0].tensor], program.tensors[step.output]
    return source.channels == output.channels and output.view_of is None


def _pixelwise_run(program: Program, joined: int, first: int) -> list[int]:
    """Steps from `first` on of which each works on single pixels of the joined map, or of what they
    make of it, and of which none but the last has readers outside: up to the smallest map."""
    pixels = program.tensors[joined].shape[:2]
    inside = {joined}
    run: list[int] = []
    for index in range(first, len(program.steps)):
        step = program.steps[index]
        output = program.tensors[step.output]
        sources = [program.tensors[edge.tensor] for edge in step.edges]
        is_by_pixel = (
            step.kind in _BY_PIXEL
            and step.is_pointwise
            and output.shape[:2] == pixels
            and output.view_of is None
            and any(edge.tensor in inside for edge in step.edges)
            and all(
                source.shape[:2] == (1, 1)
                or (source.shape[:2] == pixels and source.constant is None)
                for source in sources
            )
        )
        if not is_by_pixel:
            break
        run.append(index)
        inside.add(step.output)
    while run and _is_read_outside(program, run):
        run.pop()
    sizes = [program.tensors[program.steps[index].output].bytes for index in run]
    return run[: len(sizes) - sizes[::-1].index(min(sizes))] if run else run


def _is_read_outside(program: Program, run: Sequence[int]) -> bool:
    """Whether a map of a run, but for the last, has readers outside."""
    inner = {program.steps[index].output for index in run[:-1]}
    return (
        any(tensor.view_of in inner for tensor in program.tensors)
        or any(port.tensor in inner for port in program.outputs)
        or any(
            edge.tensor in inner
            for index, step in enumerate(program.steps)
            if index not in run
            for edge in step.edges
        )
    )


class _Grouper:
    """One block's rewriting."""

    def __init__(self, program: Program, grouping: Grouping) -> None:
        block, sizes = grouping.block, grouping.sizes
        if sum(sizes) != block.channels or min(sizes) < 1 or len(sizes) > 16:
            raise ValueError(
                f"groups of {list(sizes)} channels: at most 16 wanted, of {block.channels} in all"
            )
        self.program = program
        self.grouping = grouping
        self.block = block
        self.tensors = list(program.tensors)
        self.parts: dict[int, list[int]] = {tensor: [] for tensor in block.joined}
        self.again: list[Step] = []  # what is computed a second time

    def rewritten(self) -> Program:
        """The program with the block in groups."""
        block, steps = self.block, self.program.steps
        grouped = self._groups()
        behind: list[Step] = []
        waiting = dict.fromkeys(block.joined)
        for index in range(block.first, len(steps)):
            if index in block.steps:
                continue
            for edge in steps[index].edges:
                root = self.program.root(edge.tensor)
                if root in waiting:
                    del waiting[root]
                    behind += self._joined(root)
            behind.append(steps[index])
        for tensor in waiting:
            behind += self._joined(tensor)
        made = replace(
            self.program,
            tensors=tuple(self.tensors),
            steps=(*steps[: block.first], *grouped, *behind),
        )
        if self.grouping.width is not None and len(self.grouping.sizes) > 1:
            made = _in_rows_of(made, block.joined[0], self.grouping.width)
        return without_unused(made)

    def _groups(self) -> list[Step]:
        """The block's steps, group by group; with one group they write the block's own maps."""
        block = self.block
        largest = block.joined[0]
        steps: list[Step] = []
        begin = 0
        for number, size in enumerate(self.grouping.sizes):
            is_twice = number < self.grouping.twice
            now, later = self._maps(number), self._maps(number) if is_twice else {}
            for tensor in block.joined:
                own = later if is_twice and tensor == largest else now
                if len(self.grouping.sizes) == 1:
                    own[tensor] = tensor  # nothing to join
                self.parts[tensor].append(own[tensor])
            for index in block.steps:
                if not is_twice or index in self._leading_to(block.joined[1:]):
                    steps.append(self._part(index, now, begin, size))
                if is_twice and index in self._leading_to((largest,)):
                    self.again.append(self._part(index, later, begin, size))
            begin += size
        return steps

    def _maps(self, number: int) -> dict[int, int]:
        """New maps for a group's part of each map of the block."""
        sizes = self.grouping.sizes
        own: dict[int, int] = {}
        for index in self.block.steps:
            tensor = self.program.steps[index].output
            whole = self.tensors[tensor]
            own[tensor] = len(self.tensors)
            name = f"{whole.name}, channel group {number + 1} of {len(sizes)}"
            self.tensors.append(replace(whole, name=name, channels=sizes[number]))
        return own

    def _leading_to(self, tensors: Sequence[int]) -> set[int]:
        """The block's steps on which maps of it depend."""
        wanted = set(tensors)
        found: set[int] = set()
        for index in reversed(self.block.steps):
            step = self.program.steps[index]
            if step.output in wanted:
                found.add(index)
                wanted |= {edge.tensor for edge in step.edges}
        return found

    def _part(self, index: int, own: Mapping[int, int], begin: int, size: int) -> Step:
        """A step for some of its channels, of maps `own`."""
        step = self.program.steps[index]
        output = own[step.output]
        return replace(
            step,
            name=self.tensors[output].name,
            output=output,
            edges=tuple(replace(e, tensor=own.get(e.tensor, e.tensor)) for e in step.edges),
            constants=self._slices[index, begin, begin + size],
            macs=step.macs * size // self.block.channels,
        )

    @cached_property
    def _slices(self) -> dict[tuple[int, int, int], bytes]:
        """Each step's constants for each group; what is the same is one object, and lies in the
        file once."""
        found: dict[tuple[int, int, int], bytes] = {}
        for index in self.block.steps:
            begin = 0
            for size in self.grouping.sizes:
                end = begin + size
                step = self.program.steps[index]
                found[index, begin, end] = channel_slice(step, self.block.channels, begin, end)
                begin = end
        return found

    def _joined(self, tensor: int) -> list[Step]:
        """Steps that make a whole map of its parts, before its first reader."""
        again = self.again if tensor == self.block.joined[0] else []
        parts = self.parts[tensor]
        if parts == [tensor]:
            return again
        stride = 0 if self.tensors[tensor].height == 1 else 1
        join = Step(
            "CONCATENATE",
            self.tensors[tensor].name,
            tensor,
            tuple(Edge(part, step=stride) for part in parts),
            parameters={"axes": {"axis": AXIS_BITS[CHANNELS]}},
        )
        return [*again, join]


def _in_rows_of(program: Program, joined: int, width: int) -> Program:
    """The program in which a map that is joined, and what pixelwise steps make of it, are rows of
    `width` pixels: rings of one row then take fewer bytes."""
    first = next(i for i, step in enumerate(program.steps) if step.output == joined)
    run = [first, *_pixelwise_run(program, joined, first + 1)]
    if len(run) == 1 or _is_read_outside(program, run):
        return program
    tensors = list(program.tensors)
    steps = list(program.steps)
    pixels = tensors[joined].shape[:2]
    height = pixels[0] * pixels[1] // width
    inner = {steps[index].output for index in run[:-1]}
    last = steps[run[-1]].output
    for tensor in inner:
        tensors[tensor] = replace(tensors[tensor], height=height, width=width)
    written = len(tensors)
    tensors.append(replace(tensors[last], height=height, width=width))
    tensors[last] = replace(tensors[last], view_of=written)
    for index in run:
        step = steps[index]
        edges: list[Edge] = []
        for edge in step.edges:
            tensor = edge.tensor
            if tensor not in inner and tensors[tensor].shape[:2] == pixels:
                tensors.append(replace(tensors[tensor], height=height, width=width, view_of=tensor))
                tensor = len(tensors) - 1
            edges.append(replace(edge, tensor=tensor))
        output = written if step.output == last else step.output
        steps[index] = replace(step, output=output, edges=tuple(edges))
    return replace(program, tensors=tuple(tensors), steps=tuple(steps))


def _joined_width(program: Program, block: Block) -> int | None:
    """The pixels of a row where groups are joined: the fewest that make whole rows."""
    tensor = program.tensors[block.joined[0]]
    pixels = tensor.height * tensor.width
    widths = range(_LEAST_PIXELS, tensor.width + 1)
    return next((width for width in widths if pixels % width == 0), None)


def _sizes(program: Program, block: Block, width: int | None) -> tuple[int, ...]:
    """Channels of each group, most first.

    While a group is computed it holds, for each of its channels, the rows that its window still
    reads; those behind it hold nothing yet. The last group has as much beside it as the joined rows
    will take, and every one before it as many channels as need no more bytes than that.
    """
    joined = program.tensors[block.joined[0]]
    quantum = 4 if block.channels >= 16 else 2
    kept = joined.height * joined.width
    passing = max(_window_pixels(program, program.steps[index]) for index in block.steps)
    room = 2 * (joined.width if width is None else width) * block.channels
    sizes: list[int] = []
    left = block.channels
    while left > 0 and len(sizes) < _MOST_GROUPS - 1:
        fits = (room + kept * sum(sizes)) // passing
        sizes.append(min(max(fits // quantum, 1) * quantum, left))
        left -= sizes[-1]
    return (left, *reversed(sizes)) if left > 0 else tuple(reversed(sizes))


def _even_sizes(program: Program, block: Block) -> tuple[int, ...]:
    """Channels of each group, so that all need as few bytes as the most of them: the kept maps of
    the groups before and its own, and the rows that its window still reads. The last group may
    lie over the block's input, which ends with it."""
    joined = program.tensors[block.joined[0]]
    quantum = 4 if block.channels >= 16 else 2
    kept = joined.height * joined.width
    passing = max(_window_pixels(program, program.steps[index]) for index in block.steps)
    room = kept * block.channels
    while True:
        room += quantum * min(kept, passing) // 2 + 1
        sizes: list[int] = []
        left = block.channels
        while left > 0 and len(sizes) < _MOST_GROUPS:
            fits = (room - kept * sum(sizes)) // (kept + passing) // quantum * quantum
            if fits <= 0 and left > quantum:
                break
            sizes.append(min(max(fits, quantum), left))
            left -= sizes[-1]
        if left == 0:
            return tuple(sizes)


def _window_pixels(program: Program, step: Step) -> int:
    """Pixels of the rows of its input that a step filters at once."""
    window = step.parameters.get("window")
    if window is None or step.kind == "CONVOLUTION":
        return 1
    rows = (int(str(window["kernel_height"])) - 1) * int(str(window["dilation_height"])) + 1
    source = program.tensors[step.edges[0].tensor]
    return min(rows, source.height) * source.width


def _alone(flow: Dataflow, first: int, end: int) -> Program:
    """Some steps as a program of their own: what they read from before are its inputs, what is read
    later its outputs."""
    program = flow.program
    steps = program.steps[first:end]
    written = {program.root(step.output) for step in steps}
    read = {program.root(edge.tensor) for step in steps for edge in step.edges}
    before = sorted(t for t in read - written if program.tensors[t].constant is None)
    inputs = [
        Step("INPUT", program.tensors[tensor].name, tensor, parameters={"patch": {"input": number}})
        for number, tensor in enumerate(before)
    ]
    after = sorted(t for t in written | set(before) if flow.last_use.get(t, -1) >= end)

    def ports(tensors: Sequence[int]) -> tuple[Port, ...]:
        return tuple(Port(t, "", program.tensors[t].shape, 1.0, 0) for t in tensors)

    return replace(program, steps=(*inputs, *steps), inputs=ports(before), outputs=ports(after))


def _held_beside(flow: Dataflow, first: int, end: int) -> int:
    """Bytes of maps that are alive during steps `first` to `end` (exclusive), which do not read
    them."""
    program = flow.program
    read = {program.root(edge.tensor) for step in program.steps[first:end] for edge in step.edges}
    return sum(
        align(program.tensors[tensor].bytes)
        for tensor, writer in flow.producer.items()
        if writer < first <= flow.last_use[tensor] and tensor not in read
    )
