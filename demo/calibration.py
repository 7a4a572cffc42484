"""The pictures that BlazeFace is calibrated with.

They are made of two things that scikit-image carries: 100 small faces of LFW (25 x 25 grey
pixels), enlarged, tinted and put before other photographs, and those photographs themselves. The
astronaut, on whom the demo is run, is not among them: quantisation has not seen what it is judged
on. They are few and all from one package; for a product, calibrate with pictures of its camera.
"""

from __future__ import annotations

import numpy as np
from blazeface import INPUT_SIZE
from PIL import Image, ImageDraw, ImageFilter
from skimage import data as photographs

BACKGROUNDS = (
    photographs.chelsea,
    photographs.coffee,
    photographs.rocket,
    photographs.camera,
    photographs.colorwheel,
    photographs.hubble_deep_field,
)
FACES = 100
# Red, green and blue of skin relative to its brightness, from pale to dark.
TINTS = ((1.15, 0.95, 0.85), (1.20, 0.92, 0.75), (1.10, 0.85, 0.70), (0.85, 0.62, 0.50))


def calibration_images(count: int = 96, seed: int = 0) -> np.ndarray:
    """Pictures for calibration, uint8[count, 128, 128, 3]; always the same for the same seed.

    Every fourth is a photograph without a face, the others have one to three.
    """
    generator = np.random.default_rng(seed)
    backgrounds = [Image.fromarray(load()).convert("RGB") for load in BACKGROUNDS]
    faces = photographs.lfw_subset()[:FACES]
    pictures = []
    for index in range(count):
        picture = _background(generator, backgrounds[index % len(backgrounds)])
        for _ in range(index % 4):
            _paste_face(generator, picture, faces[generator.integers(FACES)])
        pictures.append(_exposed(generator, np.asarray(picture)))
    return np.stack(pictures)


def _background(generator: np.random.Generator, photograph: Image.Image) -> Image.Image:
    side = int(min(photograph.size) * generator.uniform(0.5, 1.0))
    left, top = (int(generator.integers(0, length - side + 1)) for length in photograph.size)
    picture = photograph.crop((left, top, left + side, top + side))
    if generator.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BILINEAR)


def _paste_face(generator: np.random.Generator, picture: Image.Image, face: np.ndarray) -> None:
    size = int(generator.integers(24, 88))
    tint = np.array(TINTS[generator.integers(len(TINTS))])
    tinted = np.clip(face[..., None] * tint * 255, 0, 255).astype(np.uint8)
    head = Image.fromarray(tinted).resize((size, size), Image.Resampling.BICUBIC)
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).ellipse((0, -size * 0.1, size, size * 1.1), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(size / 24))
    left, top = generator.integers(-size // 8, INPUT_SIZE - size + size // 8, 2)
    picture.paste(head, (int(left), int(top)), mask)


def _exposed(generator: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    bright = pixels * generator.uniform(0.6, 1.3) + generator.uniform(-20, 20)
    return np.clip(np.rint(bright), 0, 255).astype(np.uint8)
