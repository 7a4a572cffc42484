"""A network trained here on Fashion-MNIST keeps its accuracy in int8, on all 10,000 test images.

The int8 network runs in the C core, which is what runs on a board, fed with the images' bytes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import pytest
from fashion_mnist import DatasetUnavailable, fashion_mnist, scaled, trained_network

import lilliput
from lilliput.execution import answers
from lilliput.quantize import Int4Options

TRAINING_SECONDS = 240  # of processors
EPOCHS = 1
CALIBRATION_IMAGES = 200
LARGEST_LOSS = 0.005  # of accuracy: half a point

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
keras = pytest.importorskip("keras", reason="training needs the extra `tensorflow`")


@dataclass(frozen=True)
class Trained:
    """A float network, how long it took, its test accuracy, and what calibrates and tests it."""

    network: keras.Model
    seconds: float
    accuracy: float
    calibration: np.ndarray
    calibration_labels: np.ndarray
    images: np.ndarray
    labels: np.ndarray


@pytest.fixture(scope="module")
def trained() -> Trained:
    try:
        training_images, training_labels, images, labels = fashion_mnist()
    except DatasetUnavailable as reason:
        pytest.skip(str(reason))
    started = time.process_time()
    network = trained_network(training_images, training_labels, EPOCHS)
    seconds = time.process_time() - started
    probabilities = network.predict(scaled(images), batch_size=500, verbose=0)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    return Trained(
        network,
        seconds,
        accuracy,
        training_images[:CALIBRATION_IMAGES],
        training_labels[:CALIBRATION_IMAGES],
        images,
        labels,
    )


def test_int8_loses_at_most_half_a_point(trained: Trained) -> None:
    assert trained.seconds < TRAINING_SECONDS
    assert trained.accuracy > 0.87
    conversion = converted(trained)
    accuracy = accuracy_of(conversion.data, trained)
    print(f"Fashion-MNIST: float {trained.accuracy:.4f}, int8 in the C core {accuracy:.4f}")
    assert accuracy >= trained.accuracy - LARGEST_LOSS


def test_four_bits_lose_at_most_a_point(trained: Trained) -> None:
    int8 = converted(trained)
    labels = tuple(int(label) for label in trained.calibration_labels)
    int4 = converted(trained, int4=Int4Options(max_loss=LARGEST_LOSS, labels=labels))
    accuracy = accuracy_of(int4.data, trained)
    print(f"Fashion-MNIST: int4 {accuracy:.4f}, {len(int4.data)} bytes of {len(int8.data)}")
    assert accuracy >= trained.accuracy - 2 * LARGEST_LOSS
    assert len(int4.data) < 0.75 * len(int8.data)


def converted(trained: Trained, int4: Int4Options | None = None) -> lilliput.Conversion:
    return lilliput.convert(
        trained.network, calibrate=trained.calibration, input_range=(0.0, 1.0), int4=int4
    )


def accuracy_of(data: bytes, trained: Trained) -> float:
    """Of a `.lil` in the C core, on the test images."""
    return float(np.mean(answers(data, trained.images) == trained.labels))
