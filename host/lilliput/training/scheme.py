"""What a training step updates: the biases of some layers, and parts of some layers' weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..program import Program, Step

_LAYERS = frozenset({"CONVOLUTION", "DEPTHWISE_CONVOLUTION", "FULLY_CONNECTED"})


@dataclass(frozen=True)
class Scheme:
    """Layers by name (that of the map they write).

    biases: layers whose biases are trained. weights: layers whose weights are trained, with the
    fraction of their input channels (0 < fraction <= 1) that is; their biases are trained, too.
    """

    biases: frozenset[str] = frozenset()
    weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def trained(self) -> frozenset[str]:
        """The layers of which anything is trained."""
        return self.biases | self.weights.keys()

    def as_json(self) -> str:
        """The scheme as `scheme_from_json` reads it."""
        return json.dumps({"biases": sorted(self.biases), "weights": dict(self.weights)}, indent=2)


def scheme_from_json(text: str) -> Scheme:
    """Reads {"biases": [layer, ...], "weights": {layer: fraction, ...}}.

    Raises ValueError that says what is wrong.
    """
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"the scheme is no JSON: {error}") from error
    if not isinstance(value, dict) or not value.keys() <= {"biases", "weights"}:
        raise ValueError(
            'a scheme is {"biases": [layer, ...], "weights": {layer: fraction, ...}}; '
            "it has no other entries"
        )
    biases, weights = value.get("biases", []), value.get("weights", {})
    if not isinstance(biases, list) or not isinstance(weights, dict):
        raise ValueError('"biases" is a list of layers, "weights" a dictionary of fractions')
    for layer, fraction in weights.items():
        if not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
            raise ValueError(f'"{layer}" trains {fraction!r} of its weights: give 0 < r <= 1')
    return Scheme(frozenset(map(str, biases)), {k: float(v) for k, v in weights.items()})


def layers(program: Program) -> list[Step]:
    """The steps of an inference that have weights, in order of execution."""
    return [s for s in program.steps if s.kind in _LAYERS and not s.is_training]


def check(scheme: Scheme, program: Program) -> None:
    """Raises ValueError when the scheme trains nothing, or a layer that the program lacks."""
    names = [step.name for step in layers(program)]
    if not scheme.trained:
        raise ValueError("the scheme trains nothing: name layers in its biases or weights")
    for name in sorted(scheme.trained):
        if names.count(name) != 1:
            found = "several layers" if name in names else "no layer"
            raise ValueError(f"{found} of the model has the name {name!r}; it has {_list(names)}")


def _list(names: list[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def last_layer(program: Program) -> Scheme:
    """Bias and weights of the last layer."""
    return Scheme(weights={layers(program)[-1].name: 1.0})


def last_biases(program: Program, count: int) -> Scheme:
    """The last layer, and the biases of the `count` layers before it."""
    names = [step.name for step in layers(program)]
    chosen = names[max(len(names) - 1 - count, 0) : -1]
    return Scheme(frozenset(chosen), {names[-1]: 1.0})


def full(program: Program) -> Scheme:
    """Everything."""
    return Scheme(weights={step.name: 1.0 for step in layers(program)})


def trained_channels(fraction: float, channels: int) -> int:
    """Of so many input channels, how many a fraction trains: at least one."""
    return min(max(math.ceil(fraction * channels), 1), channels)
