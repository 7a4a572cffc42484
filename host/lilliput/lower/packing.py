"""The order of weights in a `.lil` file, as `lil_format.h` lays it out."""

from __future__ import annotations

import numpy as np

from ..graph import INT4_STEP


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


def fits_int4(weights: np.ndarray) -> bool:
    """Whether four bits hold each of the int8 weights."""
    return bool(np.any(weights)) and not np.any(weights % INT4_STEP)


def pack_pairs_int4(weights: np.ndarray, groups: int = 1) -> np.ndarray:
    """`pack_pairs` for weights of four bits, those of four taps of a pair to four bytes.

    weights: as for `pack_pairs`, multiples of 16. Returns int8 of shape (groups, pairs, bytes).
    """
    pairs = pack_pairs(weights, groups)
    missing = -pairs.shape[2] % 4
    whole = np.pad(pairs, ((0, 0), (0, 0), (0, missing), (0, 0))).view(np.uint8)
    words = whole.reshape(*pairs.shape[:2], -1, 2, 4)
    packed = words[..., 0, :] | words[..., 1, :] >> 4
    return packed.reshape(*pairs.shape[:2], -1).view(np.int8)


def unpack_pairs_int4(packed: np.ndarray, channels: int) -> np.ndarray:
    """What `pack_pairs_int4` has packed for one group of `channels`: int8 of shape (channels,
    taps), the taps padded to a multiple of four."""
    words = packed.view(np.uint8).reshape(-1, 4)
    whole = np.stack([words & 0xF0, words << 4], axis=1).view(np.int8)
    return unpack_pairs(whole, channels)
