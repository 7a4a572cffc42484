"""The order of weights in pairs, against the words of `lil_format.h`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilliput.lower.packing import fits_int4, pack_pairs, pack_pairs_int4, unpack_pairs_int4


@given(st.integers(1, 4), st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_weight_is_where_the_format_says(
    groups: int, outputs: int, taps: int, seed: int
) -> None:
    weights = np.random.default_rng(seed).integers(-128, 128, (groups * outputs, taps), np.int8)
    packed = pack_pairs(weights, groups).tobytes()
    pairs = (outputs + 1) // 2
    pair_bytes = 2 * (taps + taps % 2)
    assert len(packed) == groups * pairs * pair_bytes
    found = np.frombuffer(packed, np.int8)
    left = np.ones(len(packed), bool)
    for channel in range(groups * outputs):
        group, lane = divmod(channel, outputs)
        start = (group * pairs + lane // 2) * pair_bytes + lane % 2
        places = start + 2 * np.arange(taps)
        np.testing.assert_array_equal(found[places], weights[channel])
        left[places] = False
    assert not found[left].any(), "what is no weight is zero"


@pytest.mark.parametrize("shape", [(6, 3, 3, 4), (6, 36)])
def test_taps_keep_their_order_whatever_the_shape(shape: tuple[int, ...]) -> None:
    weights = np.arange(6 * 36).astype(np.int8)
    np.testing.assert_array_equal(
        pack_pairs(weights.reshape(shape)), pack_pairs(weights.reshape(6, 36))
    )


@given(st.integers(1, 4), st.integers(1, 7), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_weights_of_four_bits_are_the_upper_halves_of_words(
    groups: int, outputs: int, taps: int, seed: int
) -> None:
    dice = np.random.default_rng(seed)
    weights = (16 * dice.integers(-8, 8, (groups * outputs, taps))).astype(np.int8)
    packed = pack_pairs_int4(weights, groups).tobytes()
    pairs = (outputs + 1) // 2
    pair_bytes = (taps + 3) // 4 * 4
    assert len(packed) == groups * pairs * pair_bytes
    left = bytearray(packed)
    for channel in range(groups * outputs):
        group, lane = divmod(channel, outputs)
        for tap in range(taps):
            place = (group * pairs + lane // 2) * pair_bytes + tap // 4 * 4
            place += tap % 2 * 2 + lane % 2
            nibble = packed[place] >> 4 if tap % 4 < 2 else packed[place] & 15
            assert nibble == weights[channel, tap].view(np.uint8) >> 4
            left[place] &= 0x0F if tap % 4 < 2 else 0xF0
    assert not any(left), "what is no weight is zero"
    if groups == 1:
        found = unpack_pairs_int4(np.frombuffer(packed, np.int8), outputs)
        np.testing.assert_array_equal(found[:, :taps], weights)


def test_only_multiples_of_sixteen_fit_four_bits() -> None:
    assert fits_int4(np.arange(-128, 128, 16).astype(np.int8))
    assert not fits_int4(np.array([16, 17], np.int8))
