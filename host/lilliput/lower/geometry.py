"""Shapes as feature maps: height x width x channels, without the batch."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Tensor, UnsupportedModel

HEIGHT, WIDTH, CHANNELS = 0, 1, 2
AXIS_BITS = (1, 2, 4)  # LIL_AXIS_HEIGHT, LIL_AXIS_WIDTH, LIL_AXIS_CHANNELS


def map_shape(tensor: Tensor) -> tuple[int, int, int]:
    """A tensor's shape as a feature map: the last three dimensions, ones added on the left.

    Raises UnsupportedModel when the dimensions before them are not 1.
    """
    padded = (1, 1, 1, *tensor.shape)
    if any(size != 1 for size in padded[:-3]):
        raise UnsupportedModel(
            f"tensor {tensor.name} has shape {list(tensor.shape)}: only one image at a time and at "
            "most height, width and channels beside it are supported; export with batch size 1"
        )
    height, width, channels = padded[-3:]
    return height, width, channels


def map_axis(axis: int, rank: int) -> int:
    """A dimension of a tensor of `rank` as a feature map's axis; -1 for the batch."""
    position = axis + 3 - rank
    return position if position >= 0 else -1


def map_values(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    """One value a dimension (begins, strides, pads) as one for height, width and channels."""
    height, width, channels = (fill, fill, fill, *values)[-3:]
    return height, width, channels


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Rows or columns before the map under TFLite's "same" padding."""
    output = (size + stride - 1) // stride
    total = (output - 1) * stride + (kernel - 1) * dilation + 1 - size
    return max(total, 0) // 2
