"""Counts the instructions of each operator of a model, in the schedule that it has."""

from __future__ import annotations

import struct
from collections import Counter

from .building import Build
from .jobs import Job, image
from .running import EmulationError, emulate

_TENSOR = struct.Struct("<H")


def instructions_by_tensor(built: Build, job: Job) -> Counter[int]:
    """Instructions that went into the kernels that write each tensor, by the tensor's index.

    built: of `build_by_operator`. What the executor does between kernels is not in it.
    Raises EmulationError as `run` does.
    """
    written, regions = emulate(built, image([job]), [job])
    if len(written) < len(regions) * _TENSOR.size:
        raise EmulationError(f"{built.core.name}: the operators of its kernels are not told")
    counts: Counter[int] = Counter()
    for index, region in enumerate(regions):
        [tensor] = _TENSOR.unpack_from(written, index * _TENSOR.size)
        counts[tensor] += region.instructions
    return counts
