"""The quantiser: calibrate, choose scales, convert, correct biases, measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lilliput.graph import Graph
from lilliput.passes.identities import remove_dead
from lilliput.passes.simplify import simplify
from lilliput.quantize.bias_correction import correct_biases
from lilliput.quantize.build import build_int8
from lilliput.quantize.calibration import (
    Progress,
    Sample,
    calibrate,
    checked_samples,
    spread_samples,
)
from lilliput.quantize.equalization import equalize
from lilliput.quantize.options import Options
from lilliput.quantize.report import Report, measure
from lilliput.quantize.sharing import plan_activations


def quantize(
    graph: Graph,
    samples: Sequence[Sample],
    options: Options | None = None,
    progress: Progress | None = None,
) -> tuple[Graph, Report]:
    """The int8 graph of a float32 graph, and what quantisation cost.

    graph: float32 throughout, as the importers give it; it is simplified first.
    samples: typical inputs, for each sample a list of one float32 array an input, of the input's
        shape and scaled as the model was trained; some tens of them, unlike each other.
    progress: called with (stage, done, total), total times and once more at the end of each stage.

    The ports of the int8 graph are int8, in the same order, with the same names and shapes.

    Raises ValueError when the graph is int8 already or the samples do not fit it, UnsupportedModel
    naming an operator that cannot be quantised.
    """
    options = options or Options()
    _require_float(graph)
    graph = simplify(graph)
    arrays = checked_samples(graph, samples)
    if options.equalize:
        graph = equalize(graph, arrays, progress)
    ranges = calibrate(graph, arrays, options, progress)
    plan = plan_activations(graph, ranges)
    quantized = build_int8(plan, options.per_channel)
    if options.bias_correction:
        chosen = spread_samples(arrays, options.correction_samples)
        quantized = correct_biases(plan.float_graph, quantized, chosen, progress)
    chosen = spread_samples(arrays, options.report_samples)
    report = measure(plan.float_graph, quantized, chosen, progress)
    return remove_dead(quantized), report


def _require_float(graph: Graph) -> None:
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if tensor.dtype != np.float32:
            raise ValueError(
                f"input tensor {tensor.name!r} is {tensor.dtype}: the model is quantised already; "
                "use it as it is, or give the float model"
            )
