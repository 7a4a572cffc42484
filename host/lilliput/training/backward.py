"""From a program and a scheme to the program of a training step: forward, backward and updates.

The backward pass visits only what lies between the loss and what is trained. Each layer's gradient
of its input is computed before its weights change, and each update follows as soon as its gradient
exists. Activations are kept only where weights need them, and clamps as one bit an element.

A gradient map holds int16 values g; the real gradient of the loss is g * unit * 2^-e0, where e0 is
the step's own exponent (the loss chooses it) and `unit` is known here. Where a unit may be chosen
it is such that the largest gradient seen (`ranges`) leaves `_HEADROOM_BITS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..graph import UnsupportedModel
from ..lower.geometry import AXIS_BITS, CHANNELS
from ..lower.softmax_table import softmax_table
from ..program import Edge, FeatureMap, Program, Step, Training
from .region import Region, region, weight_scales
from .scheme import Scheme, check, trained_channels

_INT16_MAX = 2**15 - 1
_INT32_MAX = 2**31 - 1
_HEADROOM_BITS = 3
_LOSS_MAXIMUM = float(2**14)  # of the gradient at the loss, by which each step is normalised
_MOST_SHIFT = 30
_SUM_SHIFT = 14  # of SUM_GRADIENTS, at most
_LARGEST_WINDOW = 1024  # that the verifier takes
_POOL_BITS = 8  # POOL_GRADIENT multiplies by 2^8 before it shifts


@dataclass(frozen=True)
class Options:
    """How a training step is built.

    loss: "cross_entropy", of a class, or "squared_error", of an int8 map. quantization_aware:
    scale updates by the squared weight scales, so that they move real weights as float training
    does (MCUNetV3); without, integers are trained as if they were reals. whole_updates: layers
    whose weights are updated from the whole gradient at once, in place of row by row.
    """

    loss: str = "cross_entropy"
    quantization_aware: bool = True
    whole_updates: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GradientMap:
    """A gradient: its tensor, the real value of 1 in it (times 2^-e0), and an estimate of its
    largest magnitude in reals (times 2^e0)."""

    tensor: int
    unit: float
    range: float


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
    return _Backward(program, scheme, options or Options(), ranges or {}).build()


def pixel_bits(feature_map: FeatureMap) -> FeatureMap:
    """A map of one bit for each element of another."""
    width = -(-feature_map.width * feature_map.channels // 8)
    name = f"mask of {feature_map.name}"
    return FeatureMap(name, feature_map.height, width, 1, dtype="bits")


_WayBack = Callable[[int, Step, GradientMap, Sequence[bool]], list[GradientMap | None]]


@dataclass
class _Backward:
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
            program, self.scheme, map_.channels if is_class else 0, 4 if is_class else map_.bytes
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
            target = self._new_gradient(logits, 1.0, _LOSS_MAXIMUM)
            self._append(
                "CROSS_ENTROPY", target.tensor, (Edge(logits),), constants=table, name="loss"
            )
        else:
            elements = map_.elements
            target = self._new_gradient(logits, 2 * map_.scale / elements, 0.0)
            unit = target.unit * _LOSS_MAXIMUM
            target = replace(target, range=unit)
            self.gradients[self._gradient_name(logits)] = target
            multiplier, shift = _multiplier(map_.scale**2 / elements * 65536)
            whole = Edge(logits, step=0, last=map_.height - 1)
            self._append(
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
        ways = self._ways_back()
        if step.kind not in ways:
            raise _no_gradient(step)
        below = ways[step.kind](index, step, above, wanted)
        for source, gradient in zip(sources, below, strict=True):
            if gradient is not None:
                self._arrive(source, gradient)

    def _ways_back(self) -> Mapping[str, _WayBack]:
        """How each kind without weights is gone back through: a new kind is added here. From the
        gradient of its output to those of its inputs, where they are wanted."""
        return {
            "ADD": self._sum_back,
            "SUBTRACT": self._sum_back,
            "MULTIPLY": self._product_back,
            "MEAN": self._pool_back,
            "AVERAGE_POOL": self._pool_back,
            "MAX_POOL": self._pool_back,
            "TABLE": self._table_back,
            "CONCATENATE": self._concatenation_back,
            "PAD": self._region_back,
            "SLICE": self._region_back,
            "RESIZE_NEAREST": self._resize_back,
        }

    def _layer_back(
        self, index: int, step: Step, above: GradientMap, needs_input: bool, place: Region
    ) -> None:
        if step.is_int4 and (needs_input or step.name in self.scheme.weights):
            raise UnsupportedModel(
                f"{step.kind} {step.name} has weights of four bits, which have no gradient: train "
                "its biases or layers behind it only, or convert the model without --int4"
            )
        scales = weight_scales(self.inference, step)
        inner = self._clamped(index, step, above, scales, self._limit(step))
        if needs_input:
            below = self._input_gradient(step, inner, place)
            self._arrive(self.inference.root(step.edges[0].tensor), below)
        if step.name in self.scheme.weights:
            self._update_weights(index, step, inner, scales, place)
        if step.name in self.scheme.trained:
            self._update_bias(step, inner, scales, place)

    def _clamped(
        self,
        index: int,
        step: Step,
        above: GradientMap,
        scales: np.ndarray | None,
        limit: int = _INT16_MAX,
    ) -> GradientMap:
        """The gradient of a step's output before its clamp, within +-limit, with the weight scale
        of each channel in it."""
        output = self.tensors[step.output]
        has_clamp = step.activation[0] > -128 or step.activation[1] < 127
        has_clamp |= output.zero_point == -128 or output.zero_point == 127
        if scales is None and not has_clamp and limit == _INT16_MAX:
            return above
        factors = np.ones(output.channels) if scales is None else scales
        edges = [Edge(self._shaped(above.tensor, output.shape))]
        edges[0] = self._straight(edges[0].tensor)
        if has_clamp:
            edges.append(self._straight(self._mask(index, step)))
        name = f"gradient before {output.name}"
        range_ = self._range(name, above.range * float(np.median(factors)))
        unit = _unit(range_, limit)
        target = self._new_map(name, output.shape)
        self.gradients[name] = made = GradientMap(target, unit, range_)
        self._append(
            "CLAMP_GRADIENT",
            target,
            tuple(edges),
            is_pointwise=not has_clamp,
            activation=step.activation,
            parameters={"limit": {"limit": limit}},
            constants=_rescale_constants(factors * above.unit / unit),
        )
        return made

    def _mask(self, index: int, step: Step) -> int:
        """One bit an element of a step's output: whether it is inside of the clamp."""
        output = self.tensors[step.output]
        self.tensors.append(pixel_bits(output))
        mask = len(self.tensors) - 1
        edge = self._straight(step.output)
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
        map_ = self.tensors[source]
        is_depthwise = step.kind == "DEPTHWISE_CONVOLUTION"
        window = self._window(step)
        name = self._gradient_name(source)
        estimate = inner.range * math.sqrt(self._squared_weights(step))
        range_ = self._range(name, estimate)
        shift = _shift(range_, inner.unit)
        target = self._new_map(name, map_.shape)
        made = GradientMap(target, inner.unit * 2.0**shift, range_)
        self.gradients[name] = made
        self._append(
            "DEPTHWISE_GRADIENT" if is_depthwise else "CONVOLUTION_GRADIENT",
            target,
            (self._window_edge(inner.tensor, step, window),),
            is_pointwise=self._is_pointwise(step, window),
            parameters={
                "gradient": {"window": window, "limit": _INT16_MAX, "shift": shift},
            },
            constants=step.constants,
            macs=step.macs,
            trained_offset=place.offsets.get(step.name),
            trains_weights=step.name in self.scheme.weights,
            name=name,
        )
        return made

    def _sum_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        inner = self._clamped(index, step, above, None)
        below: list[GradientMap | None] = []
        for number, (edge, is_wanted) in enumerate(zip(step.edges, wanted, strict=True)):
            is_negative = step.kind == "SUBTRACT" and number == 1
            if not is_wanted:
                below.append(None)
            elif is_negative:
                below.append(self._unbroadcast(step, edge.tensor, self._negated(inner)))
            else:
                below.append(self._unbroadcast(step, edge.tensor, inner))
        return below

    def _negated(self, gradient: GradientMap) -> GradientMap:
        map_ = self.tensors[gradient.tensor]
        name = self._free_name(f"negated {map_.name}")
        return self._scaled(name, gradient, gradient.unit, map_.shape, np.full(map_.channels, -1.0))

    def _unbroadcast(self, step: Step, tensor: int, inner: GradientMap) -> GradientMap:
        """The gradient of an operand of a sum: that of the output, summed where one pixel stands
        for all."""
        source, output = self.tensors[tensor], self.tensors[step.output]
        if source.shape == output.shape:
            return inner
        if source.shape != (1, 1, output.channels):
            raise _no_gradient(step, f"its operand {source.name} of {source.shape} is broadcast")
        return self._copies_back(tensor, inner, output, (output.height, output.width))

    def _copies_back(
        self, tensor: int, inner: GradientMap, output: FeatureMap, size: tuple[int, int]
    ) -> GradientMap:
        """The gradient of a map of whose every pixel the output has copies, as many as `size`."""
        source = self.tensors[tensor]
        height, width = size
        if max(size) > _LARGEST_WINDOW:
            raise UnsupportedModel(
                f"{source.name} is copied {height} x {width} times: gradients are summed over at "
                f"most {_LARGEST_WINDOW} rows and columns; train layers behind it only"
            )
        window = _whole_window(source) | {
            "kernel_height": height,
            "kernel_width": width,
            "stride_height": height,
            "stride_width": width,
        }
        name = self._gradient_name(tensor)
        range_ = self._range(name, inner.range * math.sqrt(height * width))
        shift = _shift(range_, inner.unit)
        made = self._new_gradient(tensor, inner.unit * 2.0**shift, range_)
        self._append(
            "RESIZE_GRADIENT",
            made.tensor,
            (Edge(self._shaped(inner.tensor, output.shape), height, 0, height - 1),),
            parameters={"gradient": {"window": window, "limit": _INT16_MAX, "shift": shift}},
            name=name,
        )
        return made

    def _product_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        output = self.tensors[step.output]
        operands = [self.tensors[edge.tensor] for edge in step.edges]
        is_sum = [map_.shape != output.shape for map_ in operands]
        terms = output.height * output.width * 255 if any(is_sum) else 255
        inner = self._clamped(index, step, above, None, _limit_of(terms))
        below: list[GradientMap | None] = []
        for number, is_wanted in enumerate(wanted):
            if not is_wanted:
                below.append(None)
                continue
            source, other = operands[number], operands[1 - number]
            takes_sum = source.shape == (1, 1, output.channels) and other.shape == output.shape
            if is_sum[number] and not takes_sum:
                raise _no_gradient(
                    step, f"its operand {source.name} of {source.shape} is broadcast"
                )
            below.append(self._factor_back(step, number, inner, is_sum[number]))
        return below

    def _factor_back(
        self, step: Step, number: int, inner: GradientMap, is_sum: bool
    ) -> GradientMap:
        """The gradient of one operand of a product: that of the output times the other operand,
        summed over all positions where it had one pixel for them."""
        output, other = self.tensors[step.output], self.tensors[step.edges[1 - number].tensor]
        positions = output.height * output.width if is_sum else 1
        source, factor = step.edges[number].tensor, step.edges[1 - number]
        gradient = self._shaped(inner.tensor, output.shape)
        name = self._gradient_name(source)
        # a third of the largest factor; sums of random signs
        range_ = self._range(name, inner.range * 42 * other.scale * math.sqrt(positions))
        made = self._new_gradient(source, _unit(range_, _INT16_MAX), range_)
        multiplier, shift = _multiplier(inner.unit * other.scale / made.unit)
        self._append(
            "MULTIPLY_GRADIENT",
            made.tensor,
            (Edge(gradient), Edge(factor.tensor)) if is_sum else (self._straight(gradient), factor),
            is_sink=is_sum,
            is_pointwise=not is_sum and other.shape[:2] in (output.shape[:2], (1, 1)),
            parameters={"product": {"multiplier": multiplier, "shift": shift, "limit": _INT16_MAX}},
            name=name,
        )
        return made

    def _table_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        source = step.edges[0].tensor
        largest = max(map(abs, step.slopes), default=0.0)
        if largest == 0:
            raise _no_gradient(step, "its output never changes")
        slopes = np.rint(np.array(step.slopes) * (_INT16_MAX / largest)).astype("<i2")
        unit = above.unit * largest / _INT16_MAX
        name = self._gradient_name(source)
        range_ = self._range(name, above.range * largest)
        shift = _shift(range_, unit)
        made = self._new_gradient(source, unit * 2.0**shift, range_)
        gradient = self._straight(self._shaped(above.tensor, self.tensors[source].shape))
        self._append(
            "TABLE_GRADIENT",
            made.tensor,
            (gradient, self._straight(source)),
            is_pointwise=True,
            parameters={"slope": {"limit": _INT16_MAX, "shift": shift}},
            constants=slopes.tobytes(),
            name=name,
        )
        return [made]

    def _concatenation_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        bit = int(step.parameters["axes"]["axis"])  # type: ignore[call-overload]
        axis = AXIS_BITS.index(bit)
        begin = [0, 0, 0]
        below: list[GradientMap | None] = []
        for edge, is_wanted in zip(step.edges, wanted, strict=True):
            below.append(self._part(step, edge.tensor, above, begin) if is_wanted else None)
            begin[axis] += self.tensors[edge.tensor].shape[axis]
        return below

    def _region_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        region: dict[str, int] = dict(step.parameters["region"])  # type: ignore[arg-type]
        axes = ("height", "width", "channels")
        if any(region[f"stride_{axis}"] != 1 for axis in axes):
            raise _no_gradient(step, "it has strides")
        sign = 1 if step.kind == "PAD" else -1
        begin = [sign * region.get(f"begin_{axis}", 0) for axis in axes]
        return [self._part(step, step.edges[0].tensor, above, begin)]

    def _part(
        self, step: Step, tensor: int, above: GradientMap, begin: Sequence[int]
    ) -> GradientMap:
        """The gradient of a map of which the output has a copy, from `begin` on."""
        made = self._new_gradient(tensor, above.unit, above.range)
        shaped = self._shaped(above.tensor, self.tensors[step.output].shape)
        names = ("begin_height", "begin_width", "begin_channels")
        self._append(
            "REGION_GRADIENT",
            made.tensor,
            (Edge(shaped, 1, begin[0], begin[0]),),
            parameters={"region": dict(zip(names, begin, strict=True))},
        )
        return made

    def _resize_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        source, output = self.tensors[step.edges[0].tensor], self.tensors[step.output]
        copied = np.frombuffer(step.constants, "<u2").astype(np.int64)
        places = copied[: output.height], copied[output.height :][: output.width]
        size = [-(-output.shape[axis] // source.shape[axis]) for axis in range(2)]
        if any(np.any(p != np.arange(p.size) // s) for p, s in zip(places, size, strict=True)):
            raise _no_gradient(
                step, f"{source.shape} does not become {output.shape} by whole factors"
            )
        return [self._copies_back(step.edges[0].tensor, above, output, (size[0], size[1]))]

    def _pool_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        source, output = self.tensors[step.edges[0].tensor], self.tensors[step.output]
        if step.kind == "MAX_POOL":
            return [self._max_pool_back(index, step, above)]
        if step.kind == "MEAN":
            if int(step.parameters["mean"]["axes"]) & AXIS_BITS[CHANNELS]:  # type: ignore[call-overload]
                raise _no_gradient(step, "it is a mean over channels")
            window: dict[str, object] = _whole_window(source) | {
                "kernel_height": source.height // output.height,
                "kernel_width": source.width // output.width,
            }
            inner = above
        else:
            window = dict(step.parameters["window"])
            inner = self._clamped(index, step, above, None)
        size = int(window["kernel_height"]) * int(window["kernel_width"])  # type: ignore[call-overload]
        name = self._gradient_name(step.edges[0].tensor)
        range_ = self._range(name, inner.range / size)
        unit = inner.unit / size / 2**_POOL_BITS
        shift = _shift(range_, unit)
        target = self._new_map(name, source.shape)
        self.gradients[name] = made = GradientMap(target, unit * 2.0**shift, range_)
        self._append(
            "POOL_GRADIENT",
            target,
            (self._window_edge(self._shaped(inner.tensor, output.shape), step, window),),
            parameters={"gradient": {"window": window, "limit": _INT16_MAX, "shift": shift}},
            name=name,
        )
        return [made]

    def _max_pool_back(self, index: int, step: Step, above: GradientMap) -> GradientMap:
        source, output = step.edges[0].tensor, self.tensors[step.output]
        window = dict(step.parameters["window"])
        inner = self._clamped(index, step, above, None)
        name = self._gradient_name(source)
        range_ = self._range(name, inner.range)
        shift = _shift(range_, inner.unit)
        made = self._new_gradient(source, inner.unit * 2.0**shift, range_)
        reach = int(window["kernel_height"]) - 1  # type: ignore[call-overload]
        gradient = self._shaped(inner.tensor, output.shape)
        self._append(
            "MAX_POOL_GRADIENT",
            made.tensor,
            (self._window_edge(gradient, step, window), Edge(source, 1, -reach, reach)),
            parameters={"gradient": {"window": window, "limit": _INT16_MAX, "shift": shift}},
            name=name,
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
            "UPDATE_BIAS", step, (Edge(inner.tensor),), _update_constants(factors), place, True, 0
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
            edges = (Edge(inner.tensor), replace(step.edges[0], tensor=saved))
        self._append_update(
            "UPDATE_DEPTHWISE" if is_depthwise else "UPDATE_CONVOLUTION",
            step,
            edges,
            _update_constants(np.broadcast_to(factors, scales.shape)),
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
        self._append(
            kind,
            len(self.tensors) - 1,
            edges,
            is_sink=is_sink,
            parameters=parameters or {},
            constants=constants,
            macs=macs,
            trained_offset=place.offsets[step.name],
            trains_weights=step.name in self.scheme.weights,
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
                (self._straight(source),),
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
        range_ = self._range(name, first.range + second.range)
        small, large = sorted((first, second), key=lambda g: g.unit)
        if large.unit > small.unit * 2.0**_SUM_SHIFT:
            return large  # nothing of the other would be left
        # between the two: neither is shifted by more than it can be
        unit = min(max(_unit(range_, _INT16_MAX), small.unit), large.unit)
        unit = small.unit * 2.0 ** round(math.log2(unit / small.unit))
        shifts = [round(math.log2(g.unit / unit)) for g in (first, second)]
        target = self._new_map(name, shape)
        self.gradients[name] = made = GradientMap(target, unit, range_)
        edges = tuple(self._straight(self._shaped(g.tensor, shape)) for g in (first, second))
        self._append(
            "SUM_GRADIENTS",
            target,
            edges,
            is_pointwise=True,
            parameters={"sum": {"limit": _INT16_MAX, "shift": shifts}},
        )
        return made

    def _rescaled(
        self, gradient: GradientMap, unit: float, shape: tuple[int, int, int]
    ) -> GradientMap:
        """The same gradient in units that are a power of two away from another's."""
        wanted = unit * 2.0 ** round(math.log2(gradient.unit / unit))
        factors = np.full(shape[2], gradient.unit / wanted)
        name = self._free_name(f"rescaled {self.tensors[gradient.tensor].name}")
        return self._scaled(name, gradient, wanted, shape, factors)

    def _scaled(
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
        self._append(
            "CLAMP_GRADIENT",
            target,
            (self._straight(self._shaped(gradient.tensor, shape)),),
            is_pointwise=True,
            parameters={"limit": {"limit": _INT16_MAX}},
            constants=_rescale_constants(factors),
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
        return _limit_of(max(terms, output.height * output.width))

    def _range(self, name: str, estimate: float) -> float:
        return self.ranges.get(name, estimate) or estimate

    def _squared_weights(self, step: Step) -> float:
        """An estimate of what one input's weights sum to, squared."""
        count = self.tensors[step.output].channels
        weights = np.frombuffer(step.constants, np.int8)[-(-9 * count // 4) * 4 :]
        inputs = self.tensors[step.edges[0].tensor].channels
        return max(float(np.sum(weights.astype(np.float64) ** 2)) / inputs, 1.0)

    def _window(self, step: Step) -> dict[str, object]:
        if step.kind == "FULLY_CONNECTED":
            return _whole_window(self.tensors[step.edges[0].tensor])
        return dict(step.parameters["window"])

    def _is_pointwise(self, step: Step, window: Mapping[str, object]) -> bool:
        return step.is_pointwise and window["kernel_height"] == 1 and window["kernel_width"] == 1

    def _window_edge(self, tensor: int, step: Step, window: Mapping[str, object]) -> Edge:
        """The rows of a gradient of an output that a row of the input's gradient reads."""
        names = ("kernel_height", "stride_height", "dilation_height", "pad_top")
        kernel, stride, dilation, top = (int(window[n]) for n in names)  # type: ignore[call-overload]
        return Edge(tensor, 1, top - (kernel - 1) * dilation, top, stride)

    def _straight(self, tensor: int) -> Edge:
        return Edge(tensor, step=0 if self.tensors[tensor].height == 1 else 1)

    def _shaped(self, tensor: int, shape: tuple[int, int, int]) -> int:
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

    def _gradient_name(self, tensor: int) -> str:
        """A name for the next gradient of a map; a map with several readers has several."""
        return self._free_name(f"gradient of {self.tensors[tensor].name}")

    def _free_name(self, base: str) -> str:
        """A name that no gradient has yet."""
        name, number = base, 2
        while name in self.gradients:
            name = f"{base} ({number})"
            number += 1
        return name

    def _new_gradient(self, of: int, unit: float, range_: float) -> GradientMap:
        name = self._gradient_name(of)
        target = self._new_map(name, self.tensors[of].shape)
        self.gradients[name] = made = GradientMap(target, unit, range_)
        return made

    def _new_map(self, name: str, shape: tuple[int, int, int]) -> int:
        self.tensors.append(FeatureMap(name, *shape, dtype="int16"))
        return len(self.tensors) - 1

    def _append(
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
        trains_weights: bool = False,
        name: str = "",
    ) -> None:
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
                trains_weights=trains_weights,
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
                    trains_weights=step.name in self.scheme.weights,
                )
            steps += [step, *self.behind.get(index, [])]
        return replace(
            self.inference,
            tensors=tuple(self.tensors),
            steps=(*steps, *self.steps),
            training=training,
        )


def _no_gradient(step: Step, why: str = "") -> UnsupportedModel:
    reason = f", because {why}" if why else ""
    return UnsupportedModel(
        f"{step.kind} {step.name} has no gradient{reason}: train layers behind it only"
    )


def _limit_of(terms: int) -> int:
    """The largest gradient of which so many, in units of the smallest factor, fit 32 bits."""
    most = min(_INT32_MAX // terms, _INT16_MAX)
    return int(2 ** (most + 1).bit_length() // 2 - 1)


def _whole_window(source: FeatureMap) -> dict[str, object]:
    """The window of an operator that sees all of its input at once."""
    return {
        "kernel_height": source.height,
        "kernel_width": source.width,
        "stride_height": 1,
        "stride_width": 1,
        "dilation_height": 1,
        "dilation_width": 1,
        "pad_top": 0,
        "pad_left": 0,
        "groups": 1,
    }


def _unit(range_: float, limit: int) -> float:
    """The power of two in which a range leaves the headroom below a limit."""
    return float(2.0 ** math.ceil(math.log2(range_ * 2**_HEADROOM_BITS / limit)))


def _shift(range_: float, unit: float) -> int:
    """By how many bits sums in a unit are shifted right, for a range to leave the headroom."""
    return min(max(round(math.log2(_unit(range_ / unit, _INT16_MAX))), 0), _MOST_SHIFT)


def _multiplier(real: float) -> tuple[int, int]:
    """(m, shift) with real = m * 2^(shift - 31), 2^30 <= m < 2^31."""
    fraction, shift = math.frexp(real)
    multiplier = round(fraction * 2**31)
    return (multiplier // 2, shift + 1) if multiplier == 2**31 else (multiplier, shift)


def _rescale_constants(factors: np.ndarray) -> bytes:
    """Multipliers and shifts of CLAMP_GRADIENT: factor = m * 2^-(16 + shift), 1 <= shift <= 30."""
    exponents = np.frexp(factors)[1]
    shifts = np.clip(15 - exponents, 1, 30)
    multipliers = np.minimum(np.rint(np.ldexp(factors, 16 + shifts)), _INT32_MAX)
    return multipliers.astype("<i4").tobytes() + shifts.astype("i1").tobytes()


def _update_constants(factors: np.ndarray) -> bytes:
    """Multipliers and shifts of an update: factor = m * 2^(shift - 31)."""
    pairs = np.array([_multiplier(float(factor)) for factor in factors], np.int64)
    shifts = np.clip(pairs[:, 1], -128, 127)
    return pairs[:, 0].astype("<i4").tobytes() + shifts.astype("i1").tobytes()
