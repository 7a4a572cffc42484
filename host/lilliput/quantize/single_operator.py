"""Graphs of one operator, to run an operator of a larger graph on its own."""

from __future__ import annotations

from dataclasses import replace

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Activation, Convolution, Graph, Operator, Pool
from lilliput.litert import Session
from lilliput.passes.rewriting import without_unused_tensors


def activation_operands(graph: Graph, op: Operator) -> tuple[int, ...]:
    """The operands that are not constants, each once, in order."""
    found = [i for i in op.inputs if i >= 0 and not graph.tensors[i].is_constant]
    return tuple(dict.fromkeys(found))


def single_operator_session(graph: Graph, op: Operator, *, reference: bool = False) -> Session:
    """LiteRT with `op` alone; its inputs are those of `activation_operands`, in that order."""
    alone = replace(
        graph, operators=(op,), inputs=activation_operands(graph, op), outputs=op.outputs
    )
    return Session(write_tflite(without_unused_tensors(alone)), reference=reference)


def without_activation(op: Operator) -> Operator:
    """The operator without its fused activation."""
    if isinstance(op.attributes, (Convolution, Pool, Activation)):
        return replace(op, attributes=replace(op.attributes, activation="none"))
    return op
