"""Resolving STRIDED_SLICE: masks and negative indices to a begin, a stride and a shape."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StridedSliceMasks:
    """The bit masks of a STRIDED_SLICE; bit i speaks of the i-th entry of the specification."""

    begin: int = 0
    end: int = 0
    ellipsis: int = 0
    new_axis: int = 0
    shrink_axis: int = 0
    end_is_offset: bool = False


@dataclass(frozen=True)
class ResolvedSlice:
    """A slice with one entry for each input dimension.

    `shape` is what the slice takes, with the input's rank; `output_shape` has the new axes added
    and the shrunk ones removed.
    """

    begin: tuple[int, ...]
    stride: tuple[int, ...]
    shape: tuple[int, ...]
    output_shape: tuple[int, ...]


def resolve_strided_slice(
    shape: tuple[int, ...],
    begin: list[int],
    end: list[int],
    stride: list[int],
    masks: StridedSliceMasks,
) -> ResolvedSlice:
    """What `input[begin:end:stride]` with TensorFlow's masks means for an input of `shape`.

    Raises ValueError when the specification does not fit the shape, a stride is 0, or an index
    lies outside.
    """
    if not len(begin) == len(end) == len(stride):
        raise ValueError("begin, end and strides differ in length")
    named = sum(not (masks.new_axis | masks.ellipsis) >> entry & 1 for entry in range(len(begin)))
    if named > len(shape):
        raise ValueError(f"{named} indices for an input of rank {len(shape)}")

    begins: list[int] = []
    strides: list[int] = []
    sizes: list[int] = []
    output: list[int] = []

    def take_whole(count: int) -> None:
        for _ in range(count):
            size = shape[len(sizes)]
            begins.append(0)
            strides.append(1)
            sizes.append(size)
            output.append(size)

    seen_ellipsis = False
    for entry in range(len(begin)):
        bit = 1 << entry
        if masks.ellipsis & bit:
            if seen_ellipsis:
                raise ValueError("two ellipses")
            seen_ellipsis = True
            take_whole(len(shape) - named)
        elif masks.new_axis & bit:
            output.append(1)
        else:
            first, step, size = _axis(
                shape[len(sizes)], begin[entry], end[entry], stride[entry], masks, bit
            )
            begins.append(first)
            strides.append(step)
            sizes.append(size)
            if not masks.shrink_axis & bit:
                output.append(size)
    take_whole(len(shape) - len(sizes))
    return ResolvedSlice(tuple(begins), tuple(strides), tuple(sizes), tuple(output))


def _axis(
    size: int, begin: int, end: int, stride: int, masks: StridedSliceMasks, bit: int
) -> tuple[int, int, int]:
    """First index, stride and element count along one axis."""
    if stride == 0:
        raise ValueError("a stride is 0")
    lowest, highest = (0, size) if stride > 0 else (-1, size - 1)
    if masks.begin & bit:
        first = 0 if stride > 0 else size - 1
    else:
        first = min(max(begin + size if begin < 0 else begin, lowest), highest)
    if masks.shrink_axis & bit:
        if not 0 <= first < size:
            raise ValueError(f"index {begin} lies outside of a dimension of {size}")
        return first, 1, 1
    if masks.end & bit:
        last = size if stride > 0 else -1
    else:
        last = end + first if masks.end_is_offset else end
        last = min(max(last + size if last < 0 else last, lowest), highest)
    count = max(0, -((first - last) // stride) if stride > 0 else -((last - first) // -stride))
    return first, stride, count
