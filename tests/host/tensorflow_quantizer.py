"""TensorFlow's own post-training quantiser, which LiteRT's package carries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest


def quantize_with_tensorflow(model: bytes, samples: Sequence[Sequence[np.ndarray]]) -> bytes:
    """The int8 `.tflite`, with int8 ports, of a float32 one, calibrated on float32 samples.

    Skips the test where this version of LiteRT has no such module.
    """
    native = pytest.importorskip("ai_edge_litert._pywrap_tensorflow_lite_calibration_wrapper")
    calibrator = native.CalibrationWrapper(model, [], [])
    calibrator.Prepare([list(array.shape) for array in samples[0]])
    for sample in samples:
        calibrator.FeedTensor(list(sample))
    int8, int32 = np.dtype(np.int8).num, np.dtype(np.int32).num
    allow_float = disable_per_channel = disable_per_channel_for_dense = False
    quantized = calibrator.QuantizeModel(
        int8,
        int8,
        allow_float,
        int8,
        int32,
        disable_per_channel,
        disable_per_channel_for_dense,
    )
    return bytes(quantized)
