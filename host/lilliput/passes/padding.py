"""PAD fused into the convolution or max pool that reads it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.graph import Convolution, Graph, Operator, Pad, Pool, Tensor
from lilliput.passes.rewriting import rename_tensors, rewrite, same_numbers
from lilliput.passes.shapes import window_size

_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_NOT_NEGATIVE = frozenset({"relu", "relu6"})


def fuse_padding(graph: Graph) -> Graph:
    """Removes a PAD of rows and columns before convolutions and max pools.

    Convolutions: the PAD must hold the zero point (0.0 in float), which adds nothing to a sum.
    Max pools, which leave out what is outside of the map: the PAD's value must be no larger than
    anything in the map, and no window may lie wholly outside. Average pools count only what is
    inside, so that a PAD before them changes the result and stays.

    All readers of the PAD must take it. The consumer gets `explicit_padding`, or the padding
    "same" where that is the same window.
    """

    def step(graph: Graph, op: Operator) -> Graph | None:
        pad = op.attributes
        if op.kind not in ("PAD", "PADV2") or not isinstance(pad, Pad):
            return None
        source, padded = op.inputs[0], op.outputs[0]
        readers = graph.consumers().get(padded, [])
        if padded in graph.outputs or not readers:
            return None
        if not same_numbers(graph.tensors[source], graph.tensors[padded]):
            return None
        if not _only_rows_and_columns(pad):
            return None
        if not all(_takes(graph, reader, op, pad) for reader in readers):
            return None
        fused = {id(reader): _with_padding(graph, reader, op, pad) for reader in readers}
        graph = replace(
            graph,
            operators=tuple(fused.get(id(o), o) for o in graph.operators if o is not op),
        )
        return rename_tensors(graph, {padded: source})

    return rewrite(graph, step)


def _only_rows_and_columns(pad: Pad) -> bool:
    return (
        len(pad.before) == 4
        and pad.before[0] == pad.after[0] == 0
        and pad.before[3] == pad.after[3] == 0
    )


def _takes(graph: Graph, reader: Operator, op: Operator, pad: Pad) -> bool:
    source = graph.tensors[op.inputs[0]]
    if reader.kind in _CONVOLUTIONS:
        return reader.inputs[0] == op.outputs[0] and pad.value == _zero(source)
    if reader.kind != "MAX_POOL_2D" or not isinstance(reader.attributes, Pool):
        return False
    kernel = reader.attributes.kernel
    amounts = _added(graph, reader, op, pad)
    inside = max(amounts[:2]) < kernel[0] and max(amounts[2:]) < kernel[1]
    return inside and pad.value <= _lower_bound(graph, op.inputs[0])


def _zero(tensor: Tensor) -> float:
    return 0.0 if tensor.quantization is None else float(tensor.quantization.zero_point[0])


def _lower_bound(graph: Graph, index: int) -> float:
    """A value that no element of the tensor is below, as stored."""
    tensor = graph.tensors[index]
    producer = graph.producers().get(index)
    if producer is not None:
        activation = getattr(producer.attributes, "activation", "none")
        if activation in _NOT_NEGATIVE or producer.kind in ("RELU", "RELU6"):
            return _zero(tensor)
    return -np.inf if tensor.quantization is None else -128.0


def _added(graph: Graph, reader: Operator, op: Operator, pad: Pad) -> tuple[int, int, int, int]:
    """Rows and columns around the unpadded map: the PAD's and the reader's own."""
    attributes = reader.attributes
    if not isinstance(attributes, (Convolution, Pool)):
        raise TypeError(f"{reader.kind} has no window")
    own = attributes.explicit_padding or (0, 0, 0, 0)
    if attributes.explicit_padding is None and attributes.padding == "same":
        shape = graph.tensors[op.outputs[0]].shape
        own = _same_padding(graph, reader, shape)
    return (
        own[0] + pad.before[1],
        own[1] + pad.after[1],
        own[2] + pad.before[2],
        own[3] + pad.after[2],
    )


def _window(graph: Graph, reader: Operator) -> tuple[tuple[int, int], tuple[int, int]]:
    """Kernel and dilation."""
    if isinstance(reader.attributes, Pool):
        return reader.attributes.kernel, (1, 1)
    weights = graph.tensors[reader.inputs[1]].shape
    dilation = reader.attributes.dilation if isinstance(reader.attributes, Convolution) else (1, 1)
    return (weights[1], weights[2]), dilation


def _same_padding(
    graph: Graph, reader: Operator, shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """TensorFlow's "same" padding of the reader's window over a map of `shape`."""
    attributes = reader.attributes
    if not isinstance(attributes, (Convolution, Pool)):
        raise TypeError(f"{reader.kind} has no window")
    kernel, dilation = _window(graph, reader)
    sides: list[int] = []
    for axis in (0, 1):
        size, stride = shape[axis + 1], attributes.stride[axis]
        count = window_size(size, kernel[axis], stride, dilation[axis], "same", 0, 0)
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        total = max((count - 1) * stride + reach - size, 0)
        sides += [total // 2, total - total // 2]
    return sides[0], sides[1], sides[2], sides[3]


def _with_padding(graph: Graph, reader: Operator, op: Operator, pad: Pad) -> Operator:
    attributes = reader.attributes
    if not isinstance(attributes, (Convolution, Pool)):
        raise TypeError(f"{reader.kind} has no window")
    amounts = _added(graph, reader, op, pad)
    source = graph.tensors[op.inputs[0]].shape
    result = graph.tensors[reader.outputs[0]].shape
    same_size = all(
        result[axis] == -(-source[axis] // attributes.stride[axis - 1]) for axis in (1, 2)
    )
    if not any(amounts):
        changed = replace(attributes, padding="valid", explicit_padding=None)
    elif same_size and amounts == _same_padding(graph, reader, source):
        changed = replace(attributes, padding="same", explicit_padding=None)
    else:
        changed = replace(attributes, padding="valid", explicit_padding=amounts)
    return replace(reader, attributes=changed)
