"""The constants of some output channels of a step, out of those of all."""

from __future__ import annotations

import numpy as np

from ..program import Step
from .packing import pack_pairs, pack_pairs_int4, unpack_pairs, unpack_pairs_int4


def channel_slice(step: Step, channels: int, begin: int, end: int) -> bytes:
    """The constants with which a step computes its output channels `begin` to `end` (exclusive)
    alone, of `channels`.

    Raises ValueError for a kind whose constants do not belong to channels one by one: a grouped
    convolution among them.
    """
    constants = step.constants
    if step.kind in {"TABLE", "MEAN", "AVERAGE_POOL", "MAX_POOL"}:
        return constants  # the same for all channels
    if step.kind == "PRELU":
        return constants[2 * begin : 2 * end]
    groups = step.parameters.get("window", {}).get("groups", 1)
    if step.kind not in {"CONVOLUTION", "DEPTHWISE_CONVOLUTION", "FULLY_CONNECTED"} or groups != 1:
        raise ValueError(f"{step.kind} {step.name} cannot be cut between its channels")
    header = b"".join(
        constants[field * channels + size * begin : field * channels + size * end]
        for field, size in ((0, 4), (4, 4), (8, 1))  # bias, multiplier, shift
    )
    weights = np.frombuffer(constants, np.int8, offset=-(-9 * channels // 4) * 4)
    if step.kind == "DEPTHWISE_CONVOLUTION":
        own = weights.reshape(-1, channels)[:, begin:end]
    elif step.is_int4:
        own = pack_pairs_int4(unpack_pairs_int4(weights, channels)[begin:end])
    else:
        own = pack_pairs(unpack_pairs(weights, channels)[begin:end])
    return header + bytes(-len(header) % 4) + own.tobytes()
