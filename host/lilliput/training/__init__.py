"""Training on the device: what is trained, and the program of one training step."""

from __future__ import annotations

from .scheme import Scheme, full, last_biases, last_layer, layers

__all__ = ["Scheme", "full", "last_biases", "last_layer", "layers"]
