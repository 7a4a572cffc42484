"""Samples with the outputs wanted of them: what regressions and autoencoders are trained with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..format.preprocessing import quantize
from ..labelled import Labelled, split_numbers
from ..program import Port
from ..samples import list_images, pixels, read_npz, scaled
from .data import as_int8


@dataclass(frozen=True)
class Paired:
    """Samples as the model's input has them, int8[n, *shape without batch], and the outputs wanted,
    int8[n, elements of the output]. `names` is empty: there are no classes. `clipped`: the fraction
    of the outputs wanted that lay outside of what the output's numbers can say."""

    samples: np.ndarray
    targets: np.ndarray
    names: tuple[str, ...] = ()
    clipped: float = 0.0

    def __len__(self) -> int:
        return len(self.targets)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from zip(self.samples, self.targets, strict=True)

    @property
    def variance(self) -> float:
        """How far targets are from their mean, squared, in the output's steps."""
        return float(self.targets.var(axis=0).mean())

    def part(self, chosen: np.ndarray) -> Paired:
        """The samples with these numbers."""
        return Paired(self.samples[chosen], self.targets[chosen])

    def split(self, held_out: float, seed: int) -> tuple[Paired, Paired]:
        """Two parts, shuffled by the seed: to train with, and so large a part to test with."""
        train, test = split_numbers(len(self), held_out, seed)
        return self.part(train), self.part(test)


TrainingData = Labelled | Paired


def loss_of(data: TrainingData) -> str:
    """The loss that data is trained with: see `backward.Options`."""
    return "cross_entropy" if isinstance(data, Labelled) else "squared_error"


def read_paired(
    source: Path, inputs: Port, output: Port, input_range: tuple[float, float]
) -> Paired:
    """Reads samples for an input, and targets for an output.

    source: a `.npz` file of x, [n, *shape], and y, [n, *shape of the output]: uint8 are pixels, of
    which 0 and 255 stand for the reals in `input_range`, int8 is raw, anything else reals. Without
    y, x is the target itself, for autoencoders. Or a folder of images, for autoencoders, too.

    Raises OSError when nothing is there, ValueError when it does not fit the input or the output.
    """
    samples, targets = _arrays(source, inputs)
    one = tuple(inputs.shape[1:])
    if samples.ndim == 0 or samples.shape[1:] not in {one, tuple(inputs.shape)}:
        raise ValueError(
            f"{source}: x has shape {list(samples.shape)}; the model takes "
            f"[samples, {', '.join(map(str, one))}]"
        )
    if len(samples) < 2:
        raise ValueError(f"{source}: {len(samples)} samples; at least 2 are needed")
    is_own = targets is None
    if targets is None:
        targets = samples
    elements = int(np.prod(output.shape[1:]))
    if len(targets) != len(samples) or targets.size != elements * len(samples):
        wanted = f"[samples, {', '.join(map(str, output.shape[1:]))}]"
        what = "is its own target, but" if is_own else f"comes with y of {list(targets.shape)};"
        raise ValueError(
            f"{source}: x of shape {list(samples.shape)} {what} the model's output is {wanted}"
            + (": add y, the outputs wanted" if is_own else "")
        )
    if is_own and samples.dtype == np.int8:
        targets = inputs.scale * (samples.astype(np.float64) - inputs.zero_point)
    made, clipped = _as_outputs(targets.reshape(len(samples), -1), output, input_range, source)
    return Paired(as_int8(samples.reshape(-1, *one), inputs, input_range), made, clipped=clipped)


def calibration_of(source: Path) -> Path | np.ndarray:
    """What a float model is quantised with: the inputs alone. Errors as `read_paired`."""
    return source if source.is_dir() else _load(source)[0]


def _arrays(source: Path, inputs: Port) -> tuple[np.ndarray, np.ndarray | None]:
    """x, and y where there is one."""
    if not source.is_dir():
        return _load(source)
    return np.stack([pixels(path, inputs.shape) for path in list_images(source)]), None


def _load(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    arrays = read_npz(path)
    if "x" not in arrays:
        raise ValueError(
            f"{path} holds {', '.join(arrays) or 'no arrays'}: x is needed, and y where the output "
            "wanted is not the input"
        )
    return arrays["x"], arrays.get("y")


def _as_outputs(
    targets: np.ndarray, output: Port, input_range: tuple[float, float], source: Path
) -> tuple[np.ndarray, float]:
    """Targets as the output's int8, and the fraction of them that was clipped."""
    if targets.dtype == np.int8:
        return targets, 0.0
    reals = scaled(targets, input_range) if targets.dtype == np.uint8 else targets
    if reals.dtype.kind not in "fiu" or not np.isfinite(reals).all():
        raise ValueError(f"{source}: y is {targets.dtype}, or not finite: give finite numbers")
    low, high = (output.scale * (limit - output.zero_point) for limit in (-128.5, 127.5))
    clipped = float(np.mean((reals < low) | (reals > high)))
    return quantize(reals, output.scale, output.zero_point), clipped
