"""Goes back through operators without weights: sums, products, tables, pools, and what moves
elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..graph import UnsupportedModel
from ..lower.geometry import AXIS_BITS, CHANNELS
from ..program import Edge, FeatureMap, Step
from .units import (
    INT16_MAX,
    GradientMap,
    limit_of,
    multiplier_of,
    unit_for,
    whole_window,
)

if TYPE_CHECKING:
    from .backward import Backward

_LARGEST_WINDOW = 1024  # that the verifier takes
_POOL_BITS = 8  # POOL_GRADIENT multiplies by 2^8 before it shifts

WayBack = Callable[[int, Step, GradientMap, Sequence[bool]], list[GradientMap | None]]


def no_gradient(step: Step, why: str = "") -> UnsupportedModel:
    """Says that training cannot go back through a step, and why."""
    reason = f", because {why}" if why else ""
    return UnsupportedModel(
        f"{step.kind} {step.name} has no gradient{reason}: train layers behind it only"
    )


class WaysBack:
    """From the gradient of a step's output to those of its inputs, where they are wanted."""

    def __init__(self, back: Backward) -> None:
        self.back = back

    def by_kind(self) -> Mapping[str, WayBack]:
        """How each kind without weights is gone back through: a new kind is added here. From the
        gradient of its output to those of its inputs, where they are wanted."""
        return {
            "ADD": self._sum_back,
            "SUBTRACT": self._sum_back,
            "MULTIPLY": self._product_back,
            "MEAN": self._pool_back,
            "AVERAGE_POOL": self._pool_back,
            "MAX_POOL": self._max_pool_back,
            "TABLE": self._table_back,
            "CONCATENATE": self._concatenation_back,
            "PAD": self._region_back,
            "SLICE": self._region_back,
            "RESIZE_NEAREST": self._resize_back,
        }

    def _sum_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        inner = self.back.clamped(index, step, above, None)
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
        map_ = self.back.tensors[gradient.tensor]
        name = self.back.free_name(f"negated {map_.name}")
        return self.back.scaled(
            name, gradient, gradient.unit, map_.shape, np.full(map_.channels, -1.0)
        )

    def _unbroadcast(self, step: Step, tensor: int, inner: GradientMap) -> GradientMap:
        """The gradient of an operand of a sum: that of the output, summed where one pixel stands
        for all."""
        source, output = self.back.tensors[tensor], self.back.tensors[step.output]
        if source.shape == output.shape:
            return inner
        if source.shape != (1, 1, output.channels):
            raise no_gradient(step, f"its operand {source.name} of {source.shape} is broadcast")
        return self._copies_back(tensor, inner, output, (output.height, output.width))

    def _copies_back(
        self, tensor: int, inner: GradientMap, output: FeatureMap, size: tuple[int, int]
    ) -> GradientMap:
        """The gradient of a map of whose every pixel the output has copies, as many as `size`."""
        source = self.back.tensors[tensor]
        height, width = size
        if max(size) > _LARGEST_WINDOW:
            raise UnsupportedModel(
                f"{source.name} is copied {height} x {width} times: gradients are summed over at "
                f"most {_LARGEST_WINDOW} rows and columns; train layers behind it only"
            )
        window = whole_window(source) | {
            "kernel_height": height,
            "kernel_width": width,
            "stride_height": height,
            "stride_width": width,
        }
        estimate = inner.range * math.sqrt(height * width)
        made, shift = self.back.shifted_gradient(tensor, inner.unit, estimate)
        self.back.append(
            "RESIZE_GRADIENT",
            made.tensor,
            (Edge(self.back.shaped(inner.tensor, output.shape), height, 0, height - 1),),
            parameters={"gradient": {"window": window, "limit": INT16_MAX, "shift": shift}},
        )
        return made

    def _product_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        output = self.back.tensors[step.output]
        operands = [self.back.tensors[edge.tensor] for edge in step.edges]
        is_sum = [map_.shape != output.shape for map_ in operands]
        terms = output.height * output.width * 255 if any(is_sum) else 255
        inner = self.back.clamped(index, step, above, None, limit_of(terms))
        below: list[GradientMap | None] = []
        for number, is_wanted in enumerate(wanted):
            if not is_wanted:
                below.append(None)
                continue
            source, other = operands[number], operands[1 - number]
            takes_sum = source.shape == (1, 1, output.channels) and other.shape == output.shape
            if is_sum[number] and not takes_sum:
                raise no_gradient(step, f"its operand {source.name} of {source.shape} is broadcast")
            below.append(self._factor_back(step, number, inner, is_sum[number]))
        return below

    def _factor_back(
        self, step: Step, number: int, inner: GradientMap, is_sum: bool
    ) -> GradientMap:
        """The gradient of one operand of a product: that of the output times the other operand,
        summed over all positions where it had one pixel for them."""
        output = self.back.tensors[step.output]
        positions = output.height * output.width if is_sum else 1
        source, factor = step.edges[number].tensor, step.edges[1 - number]
        other = self.back.tensors[factor.tensor]
        gradient = self.back.shaped(inner.tensor, output.shape)
        name = self.back.gradient_name(source)
        # a third of the largest factor; sums of random signs
        range_ = self.back.range_of(name, inner.range * 42 * other.scale * math.sqrt(positions))
        made = self.back.new_gradient(source, unit_for(range_, INT16_MAX), range_)
        multiplier, shift = multiplier_of(inner.unit * other.scale / made.unit)
        self.back.append(
            "MULTIPLY_GRADIENT",
            made.tensor,
            (Edge(gradient), Edge(factor.tensor))
            if is_sum
            else (self.back.straight(gradient), factor),
            is_sink=is_sum,
            is_pointwise=not is_sum and other.shape[:2] in (output.shape[:2], (1, 1)),
            parameters={"product": {"multiplier": multiplier, "shift": shift, "limit": INT16_MAX}},
        )
        return made

    def _table_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        source = step.edges[0].tensor
        largest = max(map(abs, step.slopes), default=0.0)
        if largest == 0:
            raise no_gradient(step, "its output never changes")
        slopes = np.rint(np.array(step.slopes) * (INT16_MAX / largest)).astype("<i2")
        unit = above.unit * largest / INT16_MAX
        made, shift = self.back.shifted_gradient(source, unit, above.range * largest)
        gradient = self.back.shaped(above.tensor, self.back.tensors[source].shape)
        self.back.append(
            "TABLE_GRADIENT",
            made.tensor,
            (self.back.straight(gradient), self.back.straight(source)),
            is_pointwise=True,
            parameters={"slope": {"limit": INT16_MAX, "shift": shift}},
            constants=slopes.tobytes(),
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
            begin[axis] += self.back.tensors[edge.tensor].shape[axis]
        return below

    def _region_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        region: dict[str, int] = dict(step.parameters["region"])  # type: ignore[arg-type]
        axes = ("height", "width", "channels")
        if any(region[f"stride_{axis}"] != 1 for axis in axes):
            raise no_gradient(step, "it has strides")
        sign = 1 if step.kind == "PAD" else -1
        begin = [sign * region.get(f"begin_{axis}", 0) for axis in axes]
        return [self._part(step, step.edges[0].tensor, above, begin)]

    def _part(
        self, step: Step, tensor: int, above: GradientMap, begin: Sequence[int]
    ) -> GradientMap:
        """The gradient of a map of which the output has a copy, from `begin` on."""
        made = self.back.new_gradient(tensor, above.unit, above.range)
        shaped = self.back.shaped(above.tensor, self.back.tensors[step.output].shape)
        names = ("begin_height", "begin_width", "begin_channels")
        self.back.append(
            "REGION_GRADIENT",
            made.tensor,
            (Edge(shaped, 1, begin[0], begin[0]),),
            parameters={"region": dict(zip(names, begin, strict=True))},
        )
        return made

    def _resize_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        tensors = self.back.tensors
        source, output = tensors[step.edges[0].tensor], tensors[step.output]
        copied = np.frombuffer(step.constants, "<u2").astype(np.int64)
        places = copied[: output.height], copied[output.height :][: output.width]
        size = [-(-output.shape[axis] // source.shape[axis]) for axis in range(2)]
        if any(np.any(p != np.arange(p.size) // s) for p, s in zip(places, size, strict=True)):
            raise no_gradient(
                step, f"{source.shape} does not become {output.shape} by whole factors"
            )
        return [self._copies_back(step.edges[0].tensor, above, output, (size[0], size[1]))]

    def _pool_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        tensors = self.back.tensors
        source, output = tensors[step.edges[0].tensor], tensors[step.output]
        if step.kind == "MEAN":
            if int(step.parameters["mean"]["axes"]) & AXIS_BITS[CHANNELS]:  # type: ignore[call-overload]
                raise no_gradient(step, "it is a mean over channels")
            window: dict[str, object] = whole_window(source) | {
                "kernel_height": source.height // output.height,
                "kernel_width": source.width // output.width,
            }
            inner = above
        else:
            window = dict(step.parameters["window"])
            inner = self.back.clamped(index, step, above, None)
        size = int(window["kernel_height"]) * int(window["kernel_width"])  # type: ignore[call-overload]
        unit = inner.unit / size / 2**_POOL_BITS
        made, shift = self.back.shifted_gradient(step.edges[0].tensor, unit, inner.range / size)
        gradient = self.back.shaped(inner.tensor, output.shape)
        self.back.append(
            "POOL_GRADIENT",
            made.tensor,
            (self.back.window_edge(gradient, step, window),),
            parameters={"gradient": {"window": window, "limit": INT16_MAX, "shift": shift}},
        )
        return [made]

    def _max_pool_back(
        self, index: int, step: Step, above: GradientMap, wanted: Sequence[bool]
    ) -> list[GradientMap | None]:
        source, output = step.edges[0].tensor, self.back.tensors[step.output]
        window = dict(step.parameters["window"])
        inner = self.back.clamped(index, step, above, None)
        made, shift = self.back.shifted_gradient(source, inner.unit, inner.range)
        reach = int(window["kernel_height"]) - 1  # type: ignore[call-overload]
        gradient = self.back.shaped(inner.tensor, output.shape)
        self.back.append(
            "MAX_POOL_GRADIENT",
            made.tensor,
            (self.back.window_edge(gradient, step, window), Edge(source, 1, -reach, reach)),
            parameters={"gradient": {"window": window, "limit": INT16_MAX, "shift": shift}},
        )
        return [made]
