"""Running a float graph over samples and observing the range of each activation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph
from lilliput.litert import Session
from lilliput.quantize.observers import (
    ErrorObserver,
    ExtremesObserver,
    HistogramObserver,
    Observer,
)
from lilliput.quantize.options import Options
from lilliput.quantize.ranges import Range

Sample = Sequence[np.ndarray]
Progress = Callable[[str, int, int], None]

_FLOAT32 = np.dtype(np.float32)

# An end of an output's range moves out to its extreme if the range grows by at most this share.
CHEAP_EXTENSION = 0.125

# Reals beyond this are no data that a network was trained on, but a mistake.
_LARGEST_VALUE = 1e30


def checked_samples(graph: Graph, samples: Sequence[Sample]) -> list[list[np.ndarray]]:
    """The samples as float32 arrays of the graph's input shapes.

    samples: for each sample one array an input, in the graph's order, of the input's shape (the
    batch of 1 may be left out) and of a float or integer type, holding the input's reals.

    Raises ValueError naming the sample, the input and the shape it must have.
    """
    ports = [graph.tensors[index] for index in graph.inputs]
    checked: list[list[np.ndarray]] = []
    for number, sample in enumerate(samples):
        if isinstance(sample, np.ndarray) or len(sample) != len(ports):
            what = "one bare array" if isinstance(sample, np.ndarray) else f"{len(sample)} arrays"
            raise ValueError(
                f"calibration sample {number} is {what}; give a list with one array for each of "
                f"the {len(ports)} inputs: {_described(graph)}"
            )
        arrays = []
        for port, value in zip(ports, sample, strict=True):
            array = np.asarray(value)
            if array.shape not in (port.shape, port.shape[1:]):
                raise ValueError(
                    f"calibration sample {number} for input {port.name!r} has the shape "
                    f"{list(array.shape)}; it must be {list(port.shape)}"
                )
            if array.dtype.kind not in "fiu":
                raise ValueError(
                    f"calibration sample {number} for input {port.name!r} is of type "
                    f"{array.dtype}; give numbers, best float32"
                )
            real = array.astype(np.float32).reshape(port.shape)
            if not _is_sane(real):
                raise ValueError(
                    f"calibration sample {number} for input {port.name!r} holds infinite, huge or "
                    "undefined numbers; give the reals that the float model is fed"
                )
            arrays.append(real)
        checked.append(arrays)
    if not checked:
        raise ValueError(
            f"there are no calibration samples; give at least one, with inputs {_described(graph)}"
        )
    return checked


def spread_samples(samples: list[list[np.ndarray]], count: int) -> list[list[np.ndarray]]:
    """At most `count` samples, evenly spread."""
    if len(samples) <= count:
        return samples
    return [samples[i * len(samples) // count] for i in range(count)]


def _is_sane(values: np.ndarray) -> bool:
    return bool(np.abs(values).max(initial=0.0) <= _LARGEST_VALUE)


def _described(graph: Graph) -> str:
    ports = [graph.tensors[index] for index in graph.inputs]
    return ", ".join(f"{port.name!r} float32 {list(port.shape)}" for port in ports)


def calibrate(
    graph: Graph,
    samples: Sequence[Sample],
    options: Options,
    progress: Progress | None = None,
) -> dict[int, Range]:
    """The range of each computed float tensor and graph input, by its index.

    "percentile" looks at the samples twice: for the extremes, then for histograms between them.

    Raises ValueError when the network computes infinities on a sample.
    """
    tensors = _observed_tensors(graph)
    extremes = {index: ExtremesObserver() for index in tensors}
    errors = {index: ErrorObserver() for index in tensors if options.method == "mse"}
    _observe(graph, samples, [extremes, errors], "calibrate", progress)
    ranges = {index: observer.extremes for index, observer in extremes.items()}
    if options.method == "average":
        ranges = {i: o.average(options.momentum) for i, o in extremes.items()}
    elif options.method == "percentile":
        histograms = {i: HistogramObserver(o.extremes) for i, o in extremes.items()}
        _observe(graph, samples, [histograms], "calibrate histograms", progress)
        ranges = {i: h.percentile_range(options.percentile) for i, h in histograms.items()}
    for number, (index, error) in enumerate(errors.items()):
        if progress is not None:
            progress("choose ranges", number + 1, len(errors))
        ranges[index] = error.least_squares_range()
    if options.method != "minmax":
        for index in graph.outputs:
            if index in extremes:
                ranges[index] = _extended(ranges[index], extremes[index].usual_extremes)
    for index in graph.inputs:
        ranges[index] = extremes[index].extremes
    return ranges


def _extended(chosen: Range, usual: Range) -> Range:
    """The chosen range with either end moved out to the usual extreme, where that is cheap."""
    allowed = CHEAP_EXTENSION * (chosen.with_zero().high - chosen.with_zero().low)
    low = usual.low if 0.0 < chosen.low - usual.low <= allowed else chosen.low
    high = usual.high if 0.0 < usual.high - chosen.high <= allowed else chosen.high
    return Range(low, high)


def _observed_tensors(graph: Graph) -> list[int]:
    computed = [index for op in graph.operators for index in op.outputs]
    return [i for i in (*graph.inputs, *computed) if graph.tensors[i].dtype == _FLOAT32]


def _observe(
    graph: Graph,
    samples: Sequence[Sample],
    observers: Sequence[Mapping[int, Observer]],
    stage: str,
    progress: Progress | None,
) -> None:
    session = Session(write_tflite(graph), reference=False, keep_tensors=True)
    for number, sample in enumerate(samples):
        if progress is not None:
            progress(stage, number, len(samples))
        session.run(sample)
        values = session.tensors()
        for index in _observed_tensors(graph):
            array = values[index]
            if not _is_sane(array):
                raise ValueError(
                    f"tensor {graph.tensors[index].name!r} becomes infinite or undefined on "
                    f"calibration sample {number}; check that the samples are scaled as the model "
                    "was trained"
                )
            for group in observers:
                if index in group:
                    group[index].observe(array)
    if progress is not None:
        progress(stage, len(samples), len(samples))
