"""The order of weights in a `.lil` file, as `lil_format.h` lays it out."""

from __future__ import annotations

import numpy as np


def pack_pairs(weights: np.ndarray, groups: int = 1) -> np.ndarray:
    """Weights in pairs of output channels, for convolutions and fully connected layers.

    weights: int8, shape (channels, ...), a channel's weights in the order in which they meet the
        input. The channels of each of the `groups` lie together and are equally many.

    Returns int8 of shape (groups, pairs, taps, 2), the taps padded to an even number and the
    channels of each group, too, with zeros.
    """
    taps = weights.size // weights.shape[0]
    outputs = weights.shape[0] // groups
    packed = np.zeros((groups, -(-outputs // 2) * 2, taps + taps % 2), np.int8)
    packed[:, :outputs, :taps] = weights.reshape(groups, outputs, taps)
    return packed.reshape(groups, -1, 2, packed.shape[2]).swapaxes(2, 3)


def unpack_pairs(packed: np.ndarray, channels: int) -> np.ndarray:
    """What `pack_pairs` has packed for one group of `channels`: int8 of shape (channels, taps), the
    taps padded to an even number."""
    pairs = packed.reshape(-(-channels // 2), -1, 2)
    return pairs.swapaxes(1, 2).reshape(2 * pairs.shape[0], -1)[:channels]
