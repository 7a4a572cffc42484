"""Which layers of an int8 graph can have weights of four bits within a loss of accuracy.

Each layer is tried by itself, and the noise that it makes at the network's outputs is compared with
the bytes that it saves. In this order, as many layers as the loss allows are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import INT4_STEP, Graph, Operator
from lilliput.litert import Session
from lilliput.lower import lower
from lilliput.passes.rewriting import append_tensor
from lilliput.quantize.calibration import Progress, Sample, checked_samples, spread_samples
from lilliput.quantize.int4_weights import with_int4_weights
from lilliput.quantize.patches import PatchStatistics, patch_statistics, quantized_inputs
from lilliput.quantize.ranges import dequantize_values
from lilliput.quantize.report import Noise

KINDS = frozenset({"CONV_2D", "FULLY_CONNECTED"})

_NOISE_SAMPLES = 16
_STATISTICS_SAMPLES = 64
_LATE_LAYERS = 6  # tried by themselves once a layer did not fit


@dataclass(frozen=True)
class Int4Options:
    """How much four-bit weights may cost.

    max_loss: of networks whose one output has a score for each class, the share of samples, 0 to 1,
        by which accuracy may fall, or without labels the share whose class may change.
    min_sqnr_db: of other networks: the least signal to noise ratio of the outputs against those of
        the int8 network, in decibels.
    labels: the class of each sample.

    Raises ValueError when a value is out of its range.
    """

    max_loss: float = 0.01
    min_sqnr_db: float = 20.0
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_loss <= 1.0:
            raise ValueError(
                f"the accuracy that may be lost is {100 * self.max_loss:g}%, it must lie between 0 "
                "and 100%"
            )


@dataclass(frozen=True)
class Int4Layer:
    """A layer that could have four-bit weights.

    name: its output tensor. bits: of its weights now. saved_bytes: of the model file, with four.
    alone_db: signal to noise ratio at the worst output against the int8 network, when this layer
    alone has four.
    """

    name: str
    kind: str
    bits: int
    saved_bytes: int
    alone_db: float


@dataclass(frozen=True)
class Int4Report:
    """The layers in order of execution, and what the chosen ones cost together.

    measure: "accuracy" (of labelled samples), "agreement" (share of samples whose class stays), or
    "sqnr_db". int8, int4: its value before and after. samples: on so many.
    """

    layers: tuple[Int4Layer, ...]
    measure: str
    int8: float
    int4: float
    samples: int


def choose_int4_layers(
    graph: Graph,
    samples: Sequence[Sample],
    options: Int4Options | None = None,
    progress: Progress | None = None,
) -> tuple[Graph, Int4Report]:
    """The int8 graph with four-bit weights in the layers that `options` allow, and the report.

    graph: int8, simplified. samples: reals, as for `quantize`: at least some tens, unlike those
        that the network will meet in nothing.
    progress: called with (stage, done, total).

    Raises ValueError when the samples or labels do not fit the graph.
    """
    options = options or Int4Options()
    arrays = checked_samples(graph, samples)
    judge = _Judge(graph, arrays, options)
    candidates = _candidates(graph)
    few = spread_samples(arrays, _STATISTICS_SAMPLES)
    statistics = dict(
        zip(
            candidates,
            patch_statistics(graph, [graph.operators[n] for n in candidates], few, progress),
            strict=True,
        )
    )
    noises = _noises(graph, statistics, spread_samples(arrays, _NOISE_SAMPLES), progress)
    saved = {number: _saved_bytes(graph, graph.operators[number]) for number in candidates}
    order = sorted(candidates, key=lambda n: (10.0 ** (-noises[n] / 10.0)) / saved[n])
    chosen = _chosen(graph, statistics, order, judge, progress)
    result = _with_layers(graph, statistics, chosen)
    layers = tuple(
        Int4Layer(
            graph.tensors[graph.operators[n].outputs[0]].name,
            graph.operators[n].kind,
            4 if n in chosen else 8,
            saved[n],
            noises[n],
        )
        for n in candidates
    )
    value = judge.value(result) if chosen else judge.before
    return result, Int4Report(layers, judge.measure, judge.before, value, len(arrays))


def _candidates(graph: Graph) -> list[int]:
    """Places of the operators whose weights would be stored in four bits.

    Lowering decides that, so it is asked with weights that fit.
    """
    trial = graph
    for number, op in enumerate(graph.operators):
        if op.kind in KINDS and graph.tensors[op.inputs[1]].data is not None:
            weights = graph.tensors[op.inputs[1]]
            data = np.asarray(weights.data) & np.int8(-INT4_STEP)
            trial, at = append_tensor(trial, replace(weights, data=data))
            operators = list(trial.operators)
            operators[number] = replace(op, inputs=(op.inputs[0], at, *op.inputs[2:]))
            trial = trial.with_operators(operators)
    small = {step.name for step in lower(trial).steps if step.is_int4}
    return [
        number
        for number, op in enumerate(graph.operators)
        if op.kind in KINDS and graph.tensors[op.outputs[0]].name in small
    ]


def _saved_bytes(graph: Graph, op: Operator) -> int:
    return max(graph.tensors[op.inputs[1]].elements // 2, 1)


def _with_layers(
    graph: Graph, statistics: dict[int, PatchStatistics], chosen: Sequence[int]
) -> Graph:
    for number in chosen:
        graph = with_int4_weights(graph, graph.operators[number], statistics[number])
    return graph


def _noises(
    graph: Graph,
    statistics: dict[int, PatchStatistics],
    samples: Sequence[Sample],
    progress: Progress | None,
) -> dict[int, float]:
    """Signal to noise at the outputs in decibels, by the layer that alone has four-bit weights."""
    expected = _outputs(_with_scores(graph), samples)
    found = {}
    for done, number in enumerate(statistics):
        if progress is not None:
            progress("try layers in int4", done, len(statistics))
        small = _with_layers(graph, statistics, [number])
        found[number] = _sqnr(expected, _outputs(_with_scores(small), samples))
    if progress is not None:
        progress("try layers in int4", len(statistics), len(statistics))
    return found


def _chosen(
    graph: Graph,
    statistics: dict[int, PatchStatistics],
    order: list[int],
    judge: _Judge,
    progress: Progress | None,
) -> list[int]:
    """The longest start of `order` that the judge allows, and what of the next layers still fits
    in."""
    rounds = len(order).bit_length() + _LATE_LAYERS
    tried = 0

    def allows(layers: list[int]) -> bool:
        nonlocal tried
        if progress is not None:
            progress("choose int4 layers", min(tried, rounds), rounds)
        tried += 1
        return judge.allows(_with_layers(graph, statistics, layers))

    least, most = 0, len(order)
    while least < most:
        middle = (least + most + 1) // 2
        if allows(order[:middle]):
            least = middle
        else:
            most = middle - 1
    chosen = order[:least]
    for number in order[least + 1 : least + 1 + _LATE_LAYERS]:
        if allows([*chosen, number]):
            chosen.append(number)
    if progress is not None:
        progress("choose int4 layers", rounds, rounds)
    return sorted(chosen)


class _Judge:
    """Says what a graph costs against the int8 graph, on all samples."""

    def __init__(self, graph: Graph, samples: Sequence[Sample], options: Int4Options) -> None:
        self._samples = samples
        self._options = options
        self._expected = _outputs(graph, samples)
        self._labels = None
        scores_classes = _scores_classes(graph)
        if options.labels is not None:
            self._labels = _checked_labels(options.labels, len(samples), scores_classes)
        self.measure = "sqnr_db"
        if scores_classes:
            self.measure = "agreement" if self._labels is None else "accuracy"
        self.before = self._value(self._expected)

    def value(self, graph: Graph) -> float:
        """The measure for a graph."""
        return self._value(_outputs(graph, self._samples))

    def allows(self, graph: Graph) -> bool:
        """Whether a graph costs no more than the options say."""
        if self.measure == "sqnr_db":
            return self.value(graph) >= self._options.min_sqnr_db
        # A share of a whole number of samples.
        lost = (self.before - self.value(graph)) * len(self._samples)
        return lost <= self._options.max_loss * len(self._samples) + 1e-6

    def _value(self, outputs: list[list[np.ndarray]]) -> float:
        if self.measure == "sqnr_db":
            return _sqnr(self._expected, outputs)
        wanted = self._labels
        if wanted is None:
            wanted = [int(np.argmax(sample[0])) for sample in self._expected]
        found = [int(np.argmax(sample[0])) for sample in outputs]
        return float(np.mean(np.equal(found, wanted)))


def _checked_labels(labels: Sequence[int], samples: int, scores_classes: bool) -> list[int]:
    if not scores_classes:
        raise ValueError(
            "the samples have labels, but the model has no single output with a score for each "
            "class: leave the labels out"
        )
    if len(labels) != samples:
        raise ValueError(f"there are {len(labels)} labels for {samples} samples; give one for each")
    return [int(label) for label in labels]


def _scores_classes(graph: Graph) -> bool:
    if len(graph.outputs) != 1:
        return False
    tensor = graph.tensors[graph.outputs[0]]
    return tensor.dtype == np.int8 and tensor.elements == tensor.shape[-1] > 1


def _with_scores(graph: Graph) -> Graph:
    """The graph with what goes into a last softmax as its output: it shows noise that softmax
    hides."""
    producers = graph.producers()
    outputs = [
        producers[index].inputs[0] if producers[index].kind == "SOFTMAX" else index
        for index in graph.outputs
    ]
    return replace(graph, outputs=tuple(dict.fromkeys(outputs)))


def _outputs(graph: Graph, samples: Sequence[Sample]) -> list[list[np.ndarray]]:
    """The outputs for each sample: reals, or integers of an arg max."""
    session = Session(write_tflite(graph), reference=False)
    found = []
    for sample in samples:
        values = session.run(quantized_inputs(graph, sample))
        found.append(
            [
                dequantize_values(value, graph.quantization(index))
                if value.dtype == np.int8
                else value
                for index, value in zip(graph.outputs, values, strict=True)
            ]
        )
    return found


def _sqnr(expected: list[list[np.ndarray]], found: list[list[np.ndarray]]) -> float:
    """In decibels, of the worst output."""
    noises = [Noise() for _ in expected[0]]
    for wanted, actual in zip(expected, found, strict=True):
        for noise, one, other in zip(noises, wanted, actual, strict=True):
            noise.add(one, other)
    return min(noise.decibels for noise in noises)
