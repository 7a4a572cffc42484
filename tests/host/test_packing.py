"""The order of weights in pairs, against the words of `lil_format.h`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilliput.lower.packing import pack_pairs


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
