"""Contribution analysis: what updating each part of a model brings (Lin et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..program import Program
from .scheme import Scheme, last_biases, last_layer, layers

FRACTIONS = (0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Contributions:
    """Accuracies: of the last layer alone, `base`; gained over it by the biases of the k layers
    before, by k; gained over the biases of all candidates by the weights of a layer, by layer and
    fraction."""

    base: float
    biases: dict[int, float]
    weights: dict[tuple[str, float], float]


def bias_counts(program: Program, most: int) -> list[int]:
    """Numbers of layers whose biases are tried: none, one, two, four and so on."""
    count = min(most, len(layers(program)) - 1)
    steps = [0, 1, 2, 4]
    while steps[-1] < count:
        steps.append(steps[-1] + max(steps[-1] // 2, 2))
    return sorted({min(step, count) for step in steps})


def analyse(
    program: Program,
    measure: Callable[[Scheme], float],
    *,
    most_layers: int,
    fractions: Sequence[float] = FRACTIONS,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Contributions:
    """Measures the accuracy of each scheme that changes one thing. `measure` trains a scheme and
    returns its accuracy; only the last `most_layers` layers before the last one are tried."""
    schemes = list(_schemes(program, most_layers, fractions))
    results: dict[object, float] = {}
    for number, (key, scheme) in enumerate(schemes):
        progress("contributions", number, len(schemes))
        results[key] = measure(scheme)
    progress("contributions", len(schemes), len(schemes))
    base, with_biases = results[0], results[bias_counts(program, most_layers)[-1]]
    biases = {k: value - base for k, value in results.items() if isinstance(k, int)}
    weights = {k: value - with_biases for k, value in results.items() if isinstance(k, tuple)}
    return Contributions(base, biases, weights)


def _schemes(
    program: Program, most_layers: int, fractions: Sequence[float]
) -> Iterator[tuple[int | tuple[str, float], Scheme]]:
    counts = bias_counts(program, most_layers)
    for count in counts:
        yield count, last_biases(program, count) if count else last_layer(program)
    all_biases = last_biases(program, counts[-1])
    for step in layers(program)[-1 - counts[-1] : -1]:
        tried = fractions if step.kind == "CONVOLUTION" else (1.0,)
        for fraction in tried:
            weights = {**all_biases.weights, step.name: fraction}
            yield (step.name, fraction), Scheme(all_biases.biases, weights)
