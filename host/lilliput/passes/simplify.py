"""All passes, until none finds anything more."""

from __future__ import annotations

from lilliput.graph import Graph
from lilliput.passes.activations import fuse_activations
from lilliput.passes.affine import fold_affine
from lilliput.passes.constants import fold_constants
from lilliput.passes.identities import (
    drop_identities,
    merge_reshapes,
    remove_dead,
    reshape_transposes,
)
from lilliput.passes.padding import fuse_padding
from lilliput.passes.reductions import merge_means, transpose_after_reduction

_PASSES = (
    remove_dead,
    fold_constants,
    fold_affine,
    fuse_activations,
    transpose_after_reduction,
    merge_means,
    reshape_transposes,
    merge_reshapes,
    drop_identities,
    fuse_padding,
    remove_dead,
)


def simplify(graph: Graph) -> Graph:
    """The graph with all folds and fusions done.

    int8 graphs keep every bit of their outputs (by LiteRT's reference kernels); float graphs
    change by float32 rounding. Ports keep their number, order, shapes, types and names.
    """
    while True:
        before = (graph.operators, graph.outputs)
        for rewrite_pass in _PASSES:
            graph = rewrite_pass(graph)
        if (graph.operators, graph.outputs) == before:
            return graph
