"""Training with the device's own code and the same C core: see `device/lilliput/train.py`."""

from __future__ import annotations

from .runtime.train import Trainer, apply, cosine

__all__ = ["Trainer", "apply", "cosine"]
