"""The photographs of the example, and what a photograph goes through before the network.

All of them come out of packages. Judged are scikit-image's cat, coffee and rocket and foolbox's 20
labelled ImageNet photographs; calibrated is with other photographs of scikit-image and two of
scikit-learn, so quantisation has seen nothing of what it is judged on.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from network import INPUT_SIZE
from packages import files_of
from PIL import Image
from skimage import data

FOOLBOX = "foolbox==3.3.4"
SCIKIT_LEARN = "scikit-learn==1.7.2"
# EfficientNet's evaluation cuts the middle square of this fraction: 224 of 224 + 32 pixels.
_MARGIN = 32


@dataclass(frozen=True)
class Photograph:
    """A photograph as the network is fed: uint8[224, 224, 3]; `label` is an ImageNet class."""

    name: str
    pixels: np.ndarray
    label: int | None


def judged_photographs() -> list[Photograph]:
    """The 23 photographs that the int8 network is judged on; scikit-image's three have no label."""
    own = (("cat", data.chelsea), ("coffee", data.coffee), ("rocket", data.rocket))
    found = [Photograph(name, centre_crop(_image(load())), None) for name, load in own]
    files = files_of(FOOLBOX, "foolbox/data/imagenet_", ".jpg")
    for path, content in sorted(files.items()):
        stem = path.rsplit("/", 1)[-1].removesuffix(".jpg")
        image = Image.open(io.BytesIO(content)).convert("RGB")
        found.append(Photograph(stem, centre_crop(image), int(stem.rsplit("_", 1)[-1])))
    return found


def centre_crop(image: Image.Image) -> np.ndarray:
    """The middle of a photograph as EfficientNet evaluates it, uint8[224, 224, 3].

    The square has 224/256 of the shorter side and is resized bicubically.
    """
    width, height = image.size
    side = int(INPUT_SIZE / (INPUT_SIZE + _MARGIN) * min(width, height))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    return _resized(image.crop((left, top, left + side, top + side)))


def calibration_pixels(count: int = 96, seed: int = 0) -> np.ndarray:
    """Random crops of photographs, mirrored and exposed at random, uint8[count, 224, 224, 3].

    Always the same for the same seed.
    """
    generator = np.random.default_rng(seed)
    sources = _calibration_sources()
    return np.stack([_varied(generator, sources[i % len(sources)]) for i in range(count)])


def _calibration_sources() -> list[Image.Image]:
    left, right, _ = data.stereo_motorcycle()
    arrays = [
        data.astronaut(),
        left,
        right,
        data.camera(),
        data.coins(),
        data.grass(),
        data.gravel(),
        data.brick(),
        data.colorwheel(),
        data.hubble_deep_field(),
        data.immunohistochemistry(),
        data.retina(),
    ]
    files = files_of(SCIKIT_LEARN, "sklearn/datasets/images/", ".jpg")
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in files.values()]
    return [*map(_image, arrays), *images, *images]


def _varied(generator: np.random.Generator, image: Image.Image) -> np.ndarray:
    side = int(min(image.size) * generator.uniform(0.4, 1.0))
    left, top = (int(generator.integers(0, length - side + 1)) for length in image.size)
    crop = image.crop((left, top, left + side, top + side))
    if generator.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    exposed = _resized(crop) * generator.uniform(0.7, 1.3) + generator.uniform(-20, 20)
    return np.clip(np.rint(exposed), 0, 255).astype(np.uint8)


def _image(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array).convert("RGB")


def _resized(image: Image.Image) -> np.ndarray:
    small = image.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(small, np.uint8)
