"""Output shapes of operators, from the shapes of their inputs (TFLite's rules).

Importers use them to check what a file declares; `passes` to rebuild shapes after a rewrite.
"""

from __future__ import annotations

from lilliput.graph import (
    Activation,
    Attributes,
    Convolution,
    Pad,
    Pool,
    Reduce,
    Transpose,
)

Shape = tuple[int, ...]


def window_size(
    size: int, kernel: int, stride: int, dilation: int, padding: str, before: int, after: int
) -> int:
    """Output length of a sliding window over `size` elements; below 1 when it does not fit.

    `padding` is "same", "valid" or "explicit" (then `before` and `after` elements are added).
    """
    if padding == "same":
        return -(-size // stride)
    if padding == "explicit":
        size += before + after
    return (size - (kernel - 1) * dilation - 1 + stride) // stride


def broadcast(first: Shape, second: Shape) -> Shape | None:
    """The broadcast of two shapes (NumPy's rule); None when they do not match."""
    rank = max(len(first), len(second))
    a = (1,) * (rank - len(first)) + first
    b = (1,) * (rank - len(second)) + second
    if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
        return None
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


def output_shape(kind: str, attributes: Attributes, inputs: list[Shape]) -> Shape | None:
    """The shape that an operator must produce; None where only the operator itself says.

    (RESHAPE, the resizes, TRANSPOSE_CONV and the slices carry their output's shape.) Raises
    ValueError, without context, when the input shapes do not fit each other.
    """
    x = inputs[0]
    match kind, attributes:
        case (("CONV_2D" | "DEPTHWISE_CONV_2D"), Convolution()):
            weights = inputs[1]
            rows, columns = _window(x, (weights[1], weights[2]), attributes, attributes.dilation)
            channels = weights[0] if kind == "CONV_2D" else weights[3]
            return (x[0], rows, columns, channels)
        case (("AVERAGE_POOL_2D" | "MAX_POOL_2D"), Pool()):
            rows, columns = _window(x, attributes.kernel, attributes, (1, 1))
            return (x[0], rows, columns, x[3])
        case "FULLY_CONNECTED", Activation():
            units, depth = inputs[1]
            if attributes.keep_num_dims:
                if x[-1] != depth:
                    raise ValueError(f"input {list(x)} does not end in the weights' {depth}")
                return (*x[:-1], units)
            elements = _product(x)
            if elements % depth:
                raise ValueError(f"input {list(x)} is no multiple of the weights' {depth}")
            return (elements // depth, units)
        case (("ADD" | "SUB" | "MUL"), _):
            shape = broadcast(x, inputs[1])
            if shape is None:
                raise ValueError(f"shapes {list(x)} and {list(inputs[1])} do not broadcast")
            return shape
        case "PRELU", _:
            if broadcast(x, inputs[1]) != x:
                raise ValueError(f"slopes {list(inputs[1])} do not broadcast to {list(x)}")
            return x
        case (("MEAN" | "ARG_MAX"), Reduce()):
            kept = [
                1 if axis in attributes.axes else size
                for axis, size in enumerate(x)
                if attributes.keep_dims or axis not in attributes.axes
            ]
            return tuple(kept)
        case (("PAD" | "PADV2"), Pad()):
            return tuple(
                before + size + after
                for before, size, after in zip(attributes.before, x, attributes.after, strict=True)
            )
        case "CONCATENATION", Activation():
            axis = attributes.axis
            rest = x[:axis] + x[axis + 1 :]
            if any(len(s) != len(x) or s[:axis] + s[axis + 1 :] != rest for s in inputs):
                raise ValueError(f"inputs {[list(s) for s in inputs]} differ outside axis {axis}")
            return (*x[:axis], sum(s[axis] for s in inputs), *x[axis + 1 :])
        case "TRANSPOSE", Transpose():
            return tuple(x[axis] for axis in attributes.permutation)
        case (
            ("RESHAPE" | "RESIZE_NEAREST_NEIGHBOR" | "RESIZE_BILINEAR" | "SLICE" | "STRIDED_SLICE"),
            _,
        ):
            return None
        case "TRANSPOSE_CONV", _:
            return None
        case _:
            return x


def _window(
    x: Shape,
    kernel: tuple[int, int],
    attributes: Convolution | Pool,
    dilation: tuple[int, int],
) -> tuple[int, int]:
    explicit = attributes.explicit_padding
    padding = attributes.padding if explicit is None else "explicit"
    top, bottom, left, right = explicit or (0, 0, 0, 0)
    stride = attributes.stride
    rows = window_size(x[1], kernel[0], stride[0], dilation[0], padding, top, bottom)
    columns = window_size(x[2], kernel[1], stride[1], dilation[1], padding, left, right)
    if rows < 1 or columns < 1:
        raise ValueError(
            f"a window of {kernel[0]}x{kernel[1]} does not fit into {x[1]}x{x[2]} without padding"
        )
    return rows, columns


def _product(shape: Shape) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements
