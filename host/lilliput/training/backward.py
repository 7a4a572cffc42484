"""From a program and a scheme to the program of a training step: forward, backward and updates.

The backward pass visits only what lies between the loss and what is trained. Each layer's gradient
of its input is computed before its weights change, and each update follows as soon as its gradient
exists. Activations are kept only where weights need them, and clamps as one bit an element.

Operators without weights are in `through`, the units of gradient maps in `units`. Where a unit may
be chosen it is such that the largest gradient seen (`ranges`) leaves headroom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..graph import UnsupportedModel
from ..lower.softmax_table import softmax_table
from ..program import Edge, FeatureMap, Program, Step, Training
from .region import Region, region, weight_scales
from .scheme import Scheme, check, trained_channels
from .through import WaysBack, no_gradient
from .units import (
    INT16_MAX,
    GradientMap,
    limit_of,
    multiplier_of,
    rescale_constants,
    shift_for,
    unit_for,
    update_constants,
    whole_window,
)

_LOSS_MAXIMUM = float(2**14)  # of the gradient at the loss, by which each step is normalised
_SUM_SHIFT = 14  # of SUM_GRADIENTS, at most
_MOST_SAMPLES = 65535  # to a change


@dataclass(frozen=True)
class Options:
    """How a training step is built.

    loss: "cross_entropy", of a class, or "squared_error", of an int8 map. quantization_aware:
    scale updates by the squared weight scales, so that they move real weights as float training
    does (MCUNetV3); without, integers are trained as if they were reals. whole_updates: layers
    whose weights are updated from the whole gradient at once, in place of row by row. momentum:
    what a change keeps of the one before it, 0 to 1. accumulate: the gradients of so many samples
    make one change. Either of them takes 4 bytes a trained bias and 2 bytes a trained weight.
    """

    loss: str = "cross_entropy"
    quantization_aware: bool = True
    whole_updates: frozenset[str] = frozenset()
    momentum: float = 0.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum {self.momentum}: give 0 to 1, 0.9 for instance")
        if not 1 <= self.accumulate <= _MOST_SAMPLES:
            raise ValueError(f"accumulate {self.accumulate}: give 1 to {_MOST_SAMPLES} samples")


@dataclass(frozen=True)
class TrainingProgram:
    """A training step. `gradients` are its gradient maps by name."""

    program: Program
    gradients: Mapping[str, GradientMap]


def training_program(
    program: Program,
    scheme: Scheme,
    options: Options | None = None,
    ranges: Mapping[str, float] | None = None,
) -> TrainingProgram:
    """The program of one training step; `program` is that of an inference, not yet planned.

    ranges: for gradient maps by name, the largest magnitude seen, in reals times 2^e0; estimated
    where they are missing (see `exponents.calibrate`).

    Raises ValueError for a scheme that does not fit, UnsupportedModel when something between the
    loss and a trained layer has no gradient.
    """
    check(scheme, program)
    return Backward(program, scheme, options or Options(), ranges or {}).build()


def pixel_bits(feature_map: FeatureMap) -> FeatureMap:
    """A map of one bit for each element of another."""
    width = -(-feature_map.width * feature_map.channels // 8)
    name = f"mask of {feature_map.name}"
    return FeatureMap(name, feature_map.height, width, 1, dtype="bits")


@dataclass
class Backward:
    """A training step under construction."""

    inference: Program
    scheme: Scheme
    options: Options
    ranges: Mapping[str, float]
    tensors: list[FeatureMap] = field(default_factory=list)
    behind: dict[int, list[Step]] = field(default_factory=dict)  # by forward step
    steps: list[Step] = field(default_factory=list)
    gradients: dict[str, GradientMap] = field(default_factory=dict)
    arrived: dict[int, list[GradientMap]] = field(default_factory=dict)  # by root map

    def build(self) -> TrainingProgram:
        program = self.inference
        self.tensors = list(program.tensors)
        logits, loss_step = self._loss_source()
        is_class = self.options.loss == "cross_entropy"
        map_ = program.tensors[logits]
        place = region(
            program,
            self.scheme,
            map_.channels if is_class else 0,
            4 if is_class else map_.bytes,
            self.options.momentum,
            self.options.accumulate,
        )
        needed = self._needed_maps()
        self._add_loss(logits)
        for index in reversed(range(loss_step + 1)):
            step = program.steps[index]
            root = program.root(step.output)
            if root in needed and root in self.arrived:
                self._step_back(index, step, self._sum(root), needed, place)
        return TrainingProgram(self._assembled(place.training, place), self.gradients)

    def _loss_source(self) -> tuple[int, int]:
        """The map that the loss reads, and the step that writes it: a softmax is part of it."""
        program = self.inference
        if len(program.outputs) != 1:
            raise UnsupportedModel(
                f"{len(program.outputs)} outputs: a model with one output can be trained"
            )
        producers = {program.root(s.output): i for i, s in enumerate(program.steps)}
        output = program.root(program.outputs[0].tensor)
        if self.options.loss == "cross_entropy":
            if program.steps[producers[output]].kind == "SOFTMAX":
                output = program.root(program.steps[producers[output]].edges[0].tensor)
            map_ = program.tensors[output]
            if (map_.height, map_.width) != (1, 1):
                raise UnsupportedModel(
                    f"{map_.name} has shape {map_.shape}: classes are trained from one vector of "
                    "scores; for maps use the squared error"
                )
        elif self.options.loss != "squared_error":
            raise ValueError(f"no loss {self.options.loss!r}: cross_entropy or squared_error")
        return output, producers[output]

    def _needed_maps(self) -> set[int]:
        """Maps (roots) that depend on something trained: those whose gradients are needed."""
        program = self.inference
        needed: set[int] = set()
        for step in program.steps:
            depends = any(program.root(edge.tensor) in needed for edge in step.edges)
            if depends or step.name in self.scheme.trained:
                needed.add(program.root(step.output))
        return needed

    def _add_loss(self, logits: int) -> None:
        map_ = self.tensors[logits]
        if self.options.loss == "cross_entropy":
            table = softmax_table(map_.scale, 1.0).astype("<i4").tobytes()
            target = self.new_gradient(logits, 1.0, _LOSS_MAXIMUM)
            self.append(
                "CROSS_ENTROPY", target.tensor, (Edge(logits),), constants=table, name="loss"
            )
        else:
            elements = map_.elements
            target = self.new_gradient(logits, 2 * map_.scale / elements, 0.0)
            unit = target.unit * _LOSS_MAXIMUM
            target = replace(target, range=unit)
            self.gradients[self.gradient_name(logits)] = target
            multiplier, shift = multiplier_of(map_.scale**2 / elements * 65536)
            whole = Edge(logits, step=0, last=map_.height - 1)
            self.append(
                "SQUARED_ERROR",
                target.tensor,
                (whole,),
                parameters={"loss": {"multiplier": multiplier, "shift": shift}},
                name="loss",
            )
        self.arrived[logits] = [target]

    # Going back through one step.

    def _step_back(
        self, index: int, step: Step, above: GradientMap, needed: set[int], place: Region
    ) -> None:
        sources = [self.inference.root(edge.tensor) for edge in step.edges]
        if step.kind in ("CONVOLUTION", "DEPTHWISE_CONVOLUTION", "FULLY_CONNECTED"):
            self._layer_back(index, step, above, sources[0] in needed, place)
            return
        wanted = [s in needed for s in sources]
        if not any(wanted):
            return
        ways = WaysBack(self).by_kind()
        if step.kind not in ways:
            raise no_gradient(step)
        below = ways[step.kind](index, step, above, wanted)
        for source, gradient in zip(sources, below, strict=True):
            if gradient is not None:
                self._arrive(source, gradient)

    def _layer_back(
        self, index: int, step: Step, above: GradientMap, needs_input: bool, place: Region
    ) -> None:
        if step.is_int4 and (needs_input or step.name in self.scheme.weights):
            raise UnsupportedModel(
                f"{step.kind} {step.name} has weights of four bits, which have no gradient: train "
                "its biases or layers behind it only, or convert the model without --int4"
            )
        scales = weight_scales(self.inference, step)
        inner = self.clamped(index, step, above, scales, self._limit(step))
        if needs_input:
            below = self._input_gradient(step, inner, place)
            self._arrive(self.inference.root(step.edges[0].tensor), below)
        if step.name in self.scheme.weights:
            self._update_weights(index, step, inner, scales, place)
        if step.name in self.scheme.trained:
            self._update_bias(step, inner, scales, place)

    def clamped(
        self,
        index: int,
        step: Step,
        above: GradientMap,
        scales: np.ndarray | None,
        limit: int = INT16_MAX,
    ) -> GradientMap:
        """The gradient of a step's output before its clamp, within +-limit, with the weight scale
        of each channel in it."""
        output = self.tensors[step.output]
        has_clamp = step.activation[0] > -128 or step.activation[1] < 127
        has_clamp |= output.zero_point == -128 or output.zero_point == 127
        if scales is None and not has_clamp and limit == INT16_MAX:
            return above
        factors = np.ones(output.channels) if scales is None else scales
        edges = [Edge(self.shaped(above.tensor, output.shape))]
        edges[0] = self.straight(edges[0].tensor)
        if has_clamp:
            edges.append(self.straight(self._mask(index, step)))
        name = f"gradient before {output.name}"
        range_ = self.range_of(name, above.range * float(np.median(factors)))
        unit = unit_for(range_, limit)
        target = self._new_map(name, output.shape)
        self.gradients[name] = made = GradientMap(target, unit, range_)
        self.append(
            "CLAMP_GRADIENT",
            target,
            tuple(edges),
            is_pointwise=not has_clamp,
            activation=step.activation,
            parameters={"limit": {"limit": limit}},
            constants=rescale_constants(factors * above.unit / unit),
        )
        return made

    def _mask(self, index: int, step: Step) -> int:
        """One bit an element of a step's output: whether it is inside of the clamp."""
        output = self.tensors[step.output]
        self.tensors.append(pixel_bits(output))
        mask = len(self.tensors) - 1
        edge = self.straight(step.output)
        self.behind.setdefault(index, []).append(
            Step(
                "MASK",
                self.tensors[mask].name,
                mask,
                (edge,),
                activation=step.activation,
                is_training=True,
            )
        )
        return mask

    def _input_gradient(self, step: Step, inner: GradientMap, place: Region) -> GradientMap:
        source = step.edges[0].tensor
        is_depthwise = step.kind == "DEPTHWISE_CONVOLUTION"
        window = self._window(step)
        estimate = inner.range * math.sqrt(self._squared_weights(step))
        made, shift = self.shifted_gradient(source, inner.unit, estimate)
        self.append(
            "DEPTHWISE_GRADIENT" if is_depthwise else "CONVOLUTION_GRADIENT",
            made.tensor,
            (self.window_edge(inner.tensor, step, window),),
            is_pointwise=self._is_pointwise(step, window),
            parameters={
                "gradient": {"window": window, "limit": INT16_MAX, "shift": shift},
            },
            constants=step.constants,
            macs=step.macs,
            trained_offset=place.offsets.get(step.name),
            arena_inputs=place.inputs.get(step.name, 0),
        )
        return made

    # Updates.

    def _update_bias(
        self, step: Step, inner: GradientMap, scales: np.ndarray, place: Region
    ) -> None:
        source = self.inference.tensors[step.edges[0].tensor]
        if self.options.quantization_aware:
            factors = inner.unit / (source.scale * scales**2)
        else:
            factors = np.full(scales.size, inner.unit * source.scale)
        self._append_update(
            "UPDATE_BIAS", step, (Edge(inner.tensor),), update_constants(factors), place, True, 0
        )

    def _update_weights(
        self, index: int, step: Step, inner: GradientMap, scales: np.ndarray, place: Region
    ) -> None:
        window = self._window(step)
        source = self.tensors[step.edges[0].tensor]
        groups = int(window["groups"])  # type: ignore[call-overload]
        is_depthwise = step.kind == "DEPTHWISE_CONVOLUTION"
        inputs = source.channels if is_depthwise else source.channels // groups
        count = trained_channels(self.scheme.weights[step.name], inputs)
        factors = inner.unit * source.scale / (scales**2 if self.options.quantization_aware else 1)
        saved = self._saved(index, step, count, groups, is_depthwise)
        is_whole = step.name in self.options.whole_updates
        if is_whole:
            edges = tuple(
                Edge(tensor, step=0, last=self.tensors[tensor].height - 1)
                for tensor in (inner.tensor, saved)
            )
        else:
            edges = (Edge(inner.tensor), self._input_edge(saved, window))
        self._append_update(
            "UPDATE_DEPTHWISE" if is_depthwise else "UPDATE_CONVOLUTION",
            step,
            edges,
            update_constants(np.broadcast_to(factors, scales.shape)),
            place,
            not is_whole,
            step.macs * count // inputs,
            {
                "update": {
                    "window": window,
                    "trained_inputs": count,
                    "input_channels": source.channels,
                }
            },
        )

    def _append_update(
        self,
        kind: str,
        step: Step,
        edges: tuple[Edge, ...],
        constants: bytes,
        place: Region,
        is_sink: bool,
        macs: int,
        parameters: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        name = f"{kind.lower().replace('_', ' of ')} {step.name}"
        self.tensors.append(FeatureMap(name, 1, 1, 1))
        is_bias = kind == "UPDATE_BIAS"
        velocity = (place.bias_velocities if is_bias else place.weight_velocities).get(step.name)
        if velocity is not None:
            constants += bytes(-len(constants) % 4) + velocity.to_bytes(4, "little")
        self.append(
            kind,
            len(self.tensors) - 1,
            edges,
            is_sink=is_sink,
            parameters=parameters or {},
            constants=constants,
            macs=macs,
            trained_offset=place.offsets[step.name],
            arena_inputs=place.inputs.get(step.name, 0),
            has_velocity=velocity is not None,
        )

    def _saved(self, index: int, step: Step, count: int, groups: int, is_depthwise: bool) -> int:
        """The input of a layer, of which a slice of the first channels is kept where no more of
        them are needed."""
        source = step.edges[0].tensor
        map_ = self.tensors[source]
        if count == map_.channels or groups > 1 or is_depthwise or step.kind == "FULLY_CONNECTED":
            return source
        kept = replace(
            map_, name=f"first {count} channels of {map_.name}", channels=count, view_of=None
        )
        self.tensors.append(kept)
        producer = next(
            i for i, s in enumerate(self.inference.steps) if s.output == self.inference.root(source)
        )
        strides = {"stride_height": 1, "stride_width": 1, "stride_channels": 1}
        self.behind.setdefault(producer, []).append(
            Step(
                "SLICE",
                kept.name,
                len(self.tensors) - 1,
                (self.straight(source),),
                parameters={"region": strides},
                is_training=True,
            )
        )
        return len(self.tensors) - 1

    # Sums, shapes, ranges.

    def _arrive(self, root: int, gradient: GradientMap) -> None:
        self.arrived.setdefault(root, []).append(gradient)

    def _sum(self, root: int) -> GradientMap:
        """The sum of the gradients that arrived at a map."""
        total, *others = self.arrived[root]
        for other in others:
            total = self._added(root, total, other)
        return total

    def _added(self, root: int, first: GradientMap, second: GradientMap) -> GradientMap:
        shape = self.tensors[root].shape
        name = f"sum of gradients of {self.tensors[root].name}"
        while name in self.gradients:
            name = f"sum of {name}"
        ratio = math.log2(second.unit / first.unit)
        if abs(ratio - round(ratio)) > 1e-9:
            second = self._rescaled(second, first.unit, shape)
        range_ = self.range_of(name, first.range + second.range)
        small, large = sorted((first, second), key=lambda g: g.unit)
        if large.unit > small.unit * 2.0**_SUM_SHIFT:
            return large  # nothing of the other would be left
        # between the two: neither is shifted by more than it can be
        unit = min(max(unit_for(range_, INT16_MAX), small.unit), large.unit)
        unit = small.unit * 2.0 ** round(math.log2(unit / small.unit))
        shifts = [round(math.log2(g.unit / unit)) for g in (first, second)]
        target = self._new_map(name, shape)
        self.gradients[name] = made = GradientMap(target, unit, range_)
        edges = tuple(self.straight(self.shaped(g.tensor, shape)) for g in (first, second))
        self.append(
            "SUM_GRADIENTS",
            target,
            edges,
            is_pointwise=True,
            parameters={"sum": {"limit": INT16_MAX, "shift": shifts}},
        )
        return made

    def _rescaled(
        self, gradient: GradientMap, unit: float, shape: tuple[int, int, int]
    ) -> GradientMap:
        """The same gradient in units that are a power of two away from another's."""
        wanted = unit * 2.0 ** round(math.log2(gradient.unit / unit))
        factors = np.full(shape[2], gradient.unit / wanted)
        name = self.free_name(f"rescaled {self.tensors[gradient.tensor].name}")
        return self.scaled(name, gradient, wanted, shape, factors)

    def scaled(
        self,
        name: str,
        gradient: GradientMap,
        unit: float,
        shape: tuple[int, int, int],
        factors: np.ndarray,
    ) -> GradientMap:
        """A gradient times a factor a channel, in a unit."""
        target = self._new_map(name, shape)
        self.gradients[name] = made = GradientMap(target, unit, gradient.range)
        self.append(
            "CLAMP_GRADIENT",
            target,
            (self.straight(self.shaped(gradient.tensor, shape)),),
            is_pointwise=True,
            parameters={"limit": {"limit": INT16_MAX}},
            constants=rescale_constants(factors),
        )
        return made

    def _limit(self, step: Step) -> int:
        """The largest gradient with which no sum of products of a layer leaves 32 bits."""
        output, window = self.tensors[step.output], self._window(step)
        taps = int(window["kernel_height"]) * int(window["kernel_width"])  # type: ignore[call-overload]
        outputs = 1 if step.kind == "DEPTHWISE_CONVOLUTION" else output.channels
        if step.kind == "FULLY_CONNECTED":
            taps = 1
        terms = 128 * outputs * taps
        if step.name in self.scheme.weights:
            terms = max(terms, 255 * output.height * output.width)
        return limit_of(max(terms, output.height * output.width))

    def range_of(self, name: str, estimate: float) -> float:
        """The largest magnitude seen in a gradient map, or an estimate of it."""
        return self.ranges.get(name, estimate) or estimate

    def _squared_weights(self, step: Step) -> float:
        """An estimate of what one input's weights sum to, squared."""
        count = self.tensors[step.output].channels
        weights = np.frombuffer(step.constants, np.int8)[-(-9 * count // 4) * 4 :]
        inputs = self.tensors[step.edges[0].tensor].channels
        return max(float(np.sum(weights.astype(np.float64) ** 2)) / inputs, 1.0)

    def _window(self, step: Step) -> dict[str, object]:
        if step.kind == "FULLY_CONNECTED":
            return whole_window(self.tensors[step.edges[0].tensor])
        return dict(step.parameters["window"])

    def _is_pointwise(self, step: Step, window: Mapping[str, object]) -> bool:
        return step.is_pointwise and window["kernel_height"] == 1 and window["kernel_width"] == 1

    def window_edge(self, tensor: int, step: Step, window: Mapping[str, object]) -> Edge:
        """The rows of a gradient of an output that a row of the input's gradient reads."""
        stride, top, span = _rows_of(window)
        return Edge(tensor, 1, top - span, top, stride)

    def _input_edge(self, tensor: int, window: Mapping[str, object]) -> Edge:
        """The rows of an input that an output's row reads."""
        stride, top, span = _rows_of(window)
        return Edge(tensor, stride, -top, span - top)

    def straight(self, tensor: int) -> Edge:
        """Output row y reads row y, or the only row."""
        return Edge(tensor, step=0 if self.tensors[tensor].height == 1 else 1)

    def shaped(self, tensor: int, shape: tuple[int, int, int]) -> int:
        """A gradient map under another shape."""
        map_ = self.tensors[tensor]
        if map_.shape == shape:
            return tensor
        height, width, channels = shape
        root = tensor if map_.view_of is None else map_.view_of
        self.tensors.append(
            replace(map_, height=height, width=width, channels=channels, view_of=root)
        )
        return len(self.tensors) - 1

    def gradient_name(self, tensor: int) -> str:
        """A name for the next gradient of a map; a map with several readers has several."""
        return self.free_name(f"gradient of {self.tensors[tensor].name}")

    def free_name(self, base: str) -> str:
        """A name that no gradient has yet."""
        name, number = base, 2
        while name in self.gradients:
            name = f"{base} ({number})"
            number += 1
        return name

    def new_gradient(self, of: int, unit: float, range_: float) -> GradientMap:
        """Another gradient of a map, with a tensor of its own."""
        name = self.gradient_name(of)
        target = self._new_map(name, self.tensors[of].shape)
        self.gradients[name] = made = GradientMap(target, unit, range_)
        return made

    def shifted_gradient(self, of: int, unit: float, estimate: float) -> tuple[GradientMap, int]:
        """Another gradient of a map, whose kernel shifts sums in `unit` right by so many bits.
        estimate: of its largest magnitude, where none was seen."""
        range_ = self.range_of(self.gradient_name(of), estimate)
        shift = shift_for(range_, unit)
        return self.new_gradient(of, unit * 2.0**shift, range_), shift

    def _new_map(self, name: str, shape: tuple[int, int, int]) -> int:
        self.tensors.append(FeatureMap(name, *shape, dtype="int16"))
        return len(self.tensors) - 1

    def append(
        self,
        kind: str,
        output: int,
        edges: tuple[Edge, ...],
        *,
        is_pointwise: bool = False,
        is_sink: bool = False,
        activation: tuple[int, int] = (-128, 127),
        parameters: Mapping[str, Mapping[str, object]] | None = None,
        constants: bytes = b"",
        macs: int = 0,
        trained_offset: int | None = None,
        arena_inputs: int = 0,
        has_velocity: bool = False,
        name: str = "",
    ) -> None:
        """Adds a step of the backward pass."""
        self.steps.append(
            Step(
                kind,
                name or self.tensors[output].name,
                output,
                edges,
                is_pointwise=is_pointwise,
                is_sink=is_sink,
                activation=activation,
                parameters=parameters or {},
                constants=constants,
                macs=macs,
                trained_offset=trained_offset,
                arena_inputs=arena_inputs,
                has_velocity=has_velocity,
                is_training=True,
            )
        )

    def _assembled(self, training: Training, place: Region) -> Program:
        steps: list[Step] = []
        for index, step in enumerate(self.inference.steps):
            if step.name in place.offsets and step.constants:
                step = replace(
                    step,
                    trained_offset=place.offsets[step.name],
                    arena_inputs=place.inputs.get(step.name, 0),
                )
            steps += [step, *self.behind.get(index, [])]
        return replace(
            self.inference,
            tensors=tuple(self.tensors),
            steps=(*steps, *self.steps),
            training=training,
        )


def _rows_of(window: Mapping[str, object]) -> tuple[int, int, int]:
    """A window's stride and padding at the top, and its rows from the first to the last."""
    names = ("kernel_height", "stride_height", "dilation_height", "pad_top")
    kernel, stride, dilation, top = (int(window[n]) for n in names)  # type: ignore[call-overload]
    return stride, top, (kernel - 1) * dilation
