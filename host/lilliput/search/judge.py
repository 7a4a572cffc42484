"""How accurate an architecture is with its part of the super-network's weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .space import Architecture, Space


@dataclass(frozen=True)
class Judge:
    """Can be pickled and sent to other processes and machines. calibration, images: uint8 at the
    space's resolution; labels: of the images."""

    space: Space
    weights: dict[str, np.ndarray]
    calibration: np.ndarray
    images: np.ndarray
    labels: np.ndarray

    def __call__(self, architecture: Architecture) -> float:
        from .subnetwork import accuracy_of, part_of
        from .supernet import code_of, frame_of
        from .training import floats

        network = self.space.network(architecture)
        code = code_of(self.space, architecture)
        part = part_of(self.weights, frame_of(self.space), code, network)
        return accuracy_of(
            part, network, floats(self.calibration), floats(self.images), self.labels
        )
