"""A network trained here on Fashion-MNIST keeps its accuracy in int8, on all 10,000 test images.

The int8 network runs in the C core, which is what runs on a board, fed with the images' bytes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import pytest
from fashion_mnist import CLASSES, DatasetUnavailable, fashion_mnist

import lilliput

TRAINING_SECONDS = 120
EPOCHS = 1
BATCH = 64
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
    images: np.ndarray
    labels: np.ndarray


def small_network() -> keras.Model:
    """Three convolutions, one of them depthwise separable: 0.9 M multiply-accumulates."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(48, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


@pytest.fixture(scope="module")
def trained() -> Trained:
    try:
        training_images, training_labels, images, labels = fashion_mnist()
    except DatasetUnavailable as reason:
        pytest.skip(str(reason))
    keras.utils.set_random_seed(1)
    started = time.perf_counter()
    network = small_network()
    # A rate that ends near zero settles the averages of the batch normalisation.
    steps = EPOCHS * len(training_images) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    network.fit(scaled(training_images), training_labels, BATCH, EPOCHS, verbose=0)
    seconds = time.perf_counter() - started
    probabilities = network.predict(scaled(images), batch_size=500, verbose=0)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    return Trained(network, seconds, accuracy, training_images[:CALIBRATION_IMAGES], images, labels)


def scaled(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 255.0


def test_int8_loses_at_most_half_a_point(trained: Trained) -> None:
    assert trained.seconds < TRAINING_SECONDS
    assert trained.accuracy > 0.87
    conversion = lilliput.convert(
        trained.network, calibrate=trained.calibration, input_range=(0.0, 1.0)
    )
    correct = 0
    with lilliput.load(conversion.data) as model:
        out = model.output.buffer()
        for image, label in zip(trained.images, trained.labels, strict=True):
            model.infer(image, out=out)
            correct += int(np.argmax(np.frombuffer(out, np.int8)) == label)
    accuracy = correct / len(trained.images)
    print(f"Fashion-MNIST: float {trained.accuracy:.4f}, int8 in the C core {accuracy:.4f}")
    assert accuracy >= trained.accuracy - LARGEST_LOSS
