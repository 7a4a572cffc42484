"""Computes a run of steps in patches, with recomputed halos: MCUNetV2's patch-based inference.

The rewrite is a program again: every patch of the run's last map has its own copy of the steps,
each over the part of its map that the patch depends on, clipped at the borders. The copies share
their constants. What the run reads from before is read where it lies; the last map's patches are
written where they belong. So the planner may stream every patch by rows, and the core knows nothing
of patches but where rows begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from ..lower.geometry import AXIS_BITS, CHANNELS
from ..program import Edge, FeatureMap, Port, Program, Step, without_unused

_WINDOWED = frozenset({"CONVOLUTION", "DEPTHWISE_CONVOLUTION", "AVERAGE_POOL", "MAX_POOL"})
_ELEMENTWISE = frozenset({"ADD", "SUBTRACT", "MULTIPLY", "TABLE", "PRELU", "CONCATENATE"})


@dataclass(frozen=True)
class Patching:
    """Steps `first` to `end` (exclusive) in `rows` x `columns` patches of the last one's map."""

    first: int
    end: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Region:
    """A part of a feature map."""

    top: int
    left: int
    height: int
    width: int

    def union(self, other: Region) -> Region:
        """The smallest region that holds both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom = max(self.top + self.height, other.top + other.height)
        right = max(self.left + self.width, other.left + other.width)
        return Region(top, left, bottom - top, right - left)


def runs(program: Program) -> list[tuple[int, int]]:
    """The runs of steps, first and end, that can be computed in patches: from one map that is held
    whole, or a graph input, to one map. INPUT steps do not count as a run's first."""
    found: list[tuple[int, int]] = []
    last_reader = _last_readers(program)
    for first, step in enumerate(program.steps):
        if step.kind == "INPUT":
            continue
        inside: set[int] = set()
        sources: set[int] = set()
        for end in range(first, len(program.steps)):
            step = program.steps[end]
            if not _is_local(program, step):
                break
            sources |= {edge.tensor for edge in step.edges if edge.tensor not in inside}
            if not all(_is_readable(program, tensor) for tensor in sources):
                break
            maps = {t for t in sources if program.tensors[t].constant is None}
            large = {t for t in maps if program.tensors[t].height * program.tensors[t].width > 1}
            inside.add(step.output)
            live = {t for t in inside if last_reader.get(t, -1) > end}
            if len(large) == 1 and live == {step.output} and end > first:
                found.append((first, end + 1))
    return found


def patch(program: Program, patching: Patching, *, streams_input: bool = True) -> Program:
    """The program with a run (one of `runs`) in patches.

    A graph input that only the run reads is fed patch by patch with `streams_input`: the caller's
    buffer must hold all of it then. ValueError when the map has fewer rows or columns than patches.
    """
    return _Patcher(program, patching, streams_input).rewritten()


def largest_patch(program: Program, patching: Patching, *, streams_input: bool = True) -> Program:
    """The steps of the patch of the most bytes alone, with the maps that are held whole while the
    run is computed as graph inputs: what bounds the arena of `patch`."""
    patcher = _Patcher(program, patching, streams_input)
    return patcher.only(max(patcher.tiles(), key=patcher.bytes_of))


def fed_inputs(program: Program, patching: Patching) -> frozenset[int]:
    """The INPUT steps whose maps only the run reads: with `streams_input` they are fed to it."""
    fed = _Patcher(program, patching, True).fed
    return frozenset(index for index, step in enumerate(program.steps) if step.output in fed)


def patched_macs(program: Program, patching: Patching) -> int:
    """The multiply-accumulates of the patched program."""
    patcher = _Patcher(program, patching, True)
    outside = [*program.steps[: patching.first], *program.steps[patching.end :]]
    inside = sum(patcher.macs_of(tile) for tile in patcher.tiles())
    return sum(step.macs for step in outside) + inside


def _last_readers(program: Program) -> dict[int, int]:
    """The last step that reads each tensor itself or a view; behind the last for outputs."""
    found: dict[int, int] = {}
    for index, step in enumerate(program.steps):
        for edge in step.edges:
            found[program.root(edge.tensor)] = index
    for port in program.outputs:
        found[program.root(port.tensor)] = len(program.steps)
    return found


def _is_readable(program: Program, tensor: int) -> bool:
    """Whether patches can be read from a tensor of before the run: a whole map, or one pixel."""
    feature_map = program.tensors[tensor]
    if feature_map.height * feature_map.width == 1:
        return True
    return feature_map.constant is None and feature_map.view_of is None


def _is_local(program: Program, step: Step) -> bool:
    """Whether a part of a step's output depends on a part of its inputs."""
    output = program.tensors[step.output]
    is_map = output.height * output.width > 1 and output.view_of is None
    if step.is_sink or not is_map or output.dtype != "int8":
        return False
    if step.kind in _WINDOWED:
        return step.edges[0].divisor == 1
    if step.kind == "CONCATENATE" and step.parameters["axes"]["axis"] != AXIS_BITS[CHANNELS]:
        return False
    return step.kind in _ELEMENTWISE and all(
        program.tensors[edge.tensor].shape[:2] in ((1, 1), output.shape[:2]) for edge in step.edges
    )


class _Patcher:
    """One run's rewriting."""

    def __init__(self, program: Program, patching: Patching, streams_input: bool) -> None:
        self.program = program
        self.patching = patching
        self.steps = program.steps[patching.first : patching.end]
        self.target = self.steps[-1].output
        inside = {step.output for step in self.steps}
        readers = _last_readers(program)
        self.sources = {
            edge.tensor
            for step in self.steps
            for edge in step.edges
            if edge.tensor not in inside and program.tensors[edge.tensor].constant is None
        }
        self.fed = {
            step.output: step
            for step in program.steps
            if step.kind == "INPUT"
            and streams_input
            and step.output in self.sources
            and program.tensors[step.output].height * program.tensors[step.output].width > 1
            and readers[step.output] < patching.end
            and not self._is_read_before(step.output)
        }
        output = program.tensors[self.target]
        if patching.rows > output.height or patching.columns > output.width:
            raise ValueError(
                f"a map of {output.height}x{output.width} has no "
                f"{patching.rows}x{patching.columns} patches"
            )

    def _is_read_before(self, tensor: int) -> bool:
        before = self.program.steps[: self.patching.first]
        return any(
            self.program.root(edge.tensor) == tensor for step in before for edge in step.edges
        )

    def tiles(self) -> Iterator[Region]:
        """The patches of the run's last map, by rows."""
        output = self.program.tensors[self.target]
        rows = _cuts(output.height, self.patching.rows)
        columns = _cuts(output.width, self.patching.columns)
        for top, bottom in pairwise(rows):
            for left, right in pairwise(columns):
                yield Region(top, left, bottom - top, right - left)

    def regions(self, tile: Region) -> dict[int, Region]:
        """What a patch needs of each map, by tensor."""
        needed = {self.target: tile}
        for step in reversed(self.steps):
            for edge in step.edges:
                source = self.program.tensors[edge.tensor]
                if source.height * source.width > 1:
                    region = _read_by(step, needed[step.output], edge, source)
                    known = needed.get(edge.tensor)
                    needed[edge.tensor] = region if known is None else known.union(region)
        return needed

    def bytes_of(self, tile: Region) -> int:
        """A measure of what a patch holds: the rows of all its maps."""
        tensors = self.program.tensors
        return sum(r.width * r.height * tensors[t].channels for t, r in self.regions(tile).items())

    def macs_of(self, tile: Region) -> int:
        """The multiply-accumulates of one patch."""
        needed = self.regions(tile)
        return sum(self._macs(step, needed[step.output]) for step in self.steps)

    def _macs(self, step: Step, region: Region) -> int:
        whole = self.program.tensors[step.output]
        return step.macs * region.height * region.width // (whole.height * whole.width)

    def rewritten(self) -> Program:
        """All patches."""
        tensors = list(self.program.tensors)
        for tensor in self.fed:
            tensors[tensor] = replace(tensors[tensor], is_source=True)
        before = self.program.steps[: self.patching.first]
        steps = [step for step in before if step.output not in self.fed]
        for tile in self.tiles():
            steps += self._copied(tile, tensors)
        steps += self.program.steps[self.patching.end :]
        return without_unused(replace(self.program, tensors=tuple(tensors), steps=tuple(steps)))

    def only(self, tile: Region) -> Program:
        """One patch, and the maps that are held whole as inputs and outputs."""
        tensors = list(self.program.tensors)
        held = [*sorted(self.sources - self.fed.keys()), self.target]
        inputs = [
            Step("INPUT", tensors[tensor].name, tensor, parameters={"patch": {"input": number}})
            for number, tensor in enumerate(held)
        ]
        ports = tuple(Port(tensor, "", tensors[tensor].shape, 1.0, 0) for tensor in held)
        steps = (*inputs, *self._copied(tile, tensors))
        return without_unused(Program(tuple(tensors), steps, ports, ports))

    def _copied(self, tile: Region, tensors: list[FeatureMap]) -> list[Step]:
        """The steps of one patch; the maps that they write are appended to `tensors`."""
        needed = self.regions(tile)
        steps: list[Step] = []
        local: dict[int, int] = {}

        def declare(feature_map: FeatureMap) -> int:
            tensors.append(feature_map)
            return len(tensors) - 1

        for tensor in sorted(self.sources & needed.keys()):
            region = needed[tensor]
            if tensor in self.fed:
                step = self.fed[tensor]
                local[tensor] = declare(_part(self.program.tensors[tensor], region))
                place = {"begin_height": region.top, "begin_width": region.left}
                patch_of = {"patch": {**step.parameters["patch"], **place}}
                steps.append(replace(step, output=local[tensor], parameters=patch_of))
            else:
                local[tensor] = declare(_view(self.program.tensors[tensor], tensor, region))
        for step in self.steps:
            region = needed[step.output]
            whole = self.program.tensors[step.output]
            if step.output == self.target:
                local[step.output] = declare(_view(whole, step.output, region))
            else:
                local[step.output] = declare(_part(whole, region))
            edges = list(step.edges)
            parameters: dict[str, Mapping[str, object]] = dict(step.parameters)
            is_pointwise = step.is_pointwise
            for position, edge in enumerate(edges):
                held = needed.get(edge.tensor)
                if held is None:
                    continue
                if step.kind in _WINDOWED:
                    window = dict(step.parameters["window"])
                    down = region.top * edge.step - held.top
                    right = region.left * int(str(window["stride_width"])) - held.left
                    window["pad_top"] = int(str(window["pad_top"])) - down
                    window["pad_left"] = int(str(window["pad_left"])) - right
                    parameters["window"] = window
                    edges[position] = replace(
                        edge,
                        tensor=local[edge.tensor],
                        first=edge.first + down,
                        last=edge.last + down,
                    )
                    is_pointwise = is_pointwise and held == region
                elif held == region:
                    edges[position] = replace(edge, tensor=local[edge.tensor])
                else:
                    part = declare(_part(self.program.tensors[edge.tensor], region))
                    steps.append(_slice(step.name, part, local[edge.tensor], region, held))
                    edges[position] = replace(edge, tensor=part)
            steps.append(
                replace(
                    step,
                    output=local[step.output],
                    edges=tuple(edges),
                    parameters=parameters,
                    is_pointwise=is_pointwise,
                    macs=self._macs(step, region),
                )
            )
        return steps


def _cuts(size: int, parts: int) -> list[int]:
    return [round(number * size / parts) for number in range(parts + 1)]


def _read_by(step: Step, region: Region, edge: Edge, source: FeatureMap) -> Region:
    """What a step reads of one input for a region of its output, clipped to the map."""
    if step.kind not in _WINDOWED:
        return region
    window = {name: int(str(value)) for name, value in step.parameters["window"].items()}
    span = (window["kernel_width"] - 1) * window["dilation_width"]
    top, height = _clipped(
        region.top * edge.step + edge.first,
        (region.top + region.height - 1) * edge.step + edge.last,
        source.height,
    )
    stride = window["stride_width"]
    left, width = _clipped(
        region.left * stride - window["pad_left"],
        (region.left + region.width - 1) * stride - window["pad_left"] + span,
        source.width,
    )
    return Region(top, left, height, width)


def _clipped(first: int, last: int, size: int) -> tuple[int, int]:
    """Begin and length of a range inside a map; at least one, for what reads padding only."""
    begin = min(max(first, 0), size - 1)
    return begin, max(min(last, size - 1) - begin + 1, 1)


def _part(whole: FeatureMap, region: Region) -> FeatureMap:
    """A map of its own for a part of another."""
    return replace(whole, height=region.height, width=region.width)


def _view(whole: FeatureMap, index: int, region: Region) -> FeatureMap:
    """A part of a map where it lies."""
    return replace(
        whole,
        height=region.height,
        width=region.width,
        view_of=index,
        view_offset=region.top * whole.row_pitch + region.left * (whole.row_bytes // whole.width),
        pitch=whole.row_pitch,
    )


def _slice(name: str, output: int, source: int, region: Region, held: Region) -> Step:
    """Copies from a patch's map the part that an elementwise step needs."""
    down, right = region.top - held.top, region.left - held.left
    return Step(
        "SLICE",
        name,
        output,
        (Edge(source, 1, down, down),),
        parameters={
            "region": {
                "begin_height": down,
                "begin_width": right,
                "begin_channels": 0,
                "stride_height": 1,
                "stride_width": 1,
                "stride_channels": 1,
                "value": 0,
            }
        },
    )
