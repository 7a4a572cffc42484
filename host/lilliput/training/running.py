"""Runs training steps of a planned program in the C core, with access to every map."""

from __future__ import annotations

import _lilliput
import numpy as np

from ..format.writer import write
from ..planner import plan
from ..program import Program
from ..runtime.model import Model
from ..runtime.train import Trainer


class Probe:
    """A training step in which no map is overwritten."""

    def __init__(self, program: Program, seed: int = 0) -> None:
        placed = plan(program, keep_all=True)
        self.program = placed.program
        self.data = write(placed.program, placed)
        self.model = Model(self.data)
        self.trainer = Trainer(self.model, lr=0.0, seed=seed)

    def step(self, sample: np.ndarray, label: int | np.ndarray) -> float:
        """One step; returns the loss. sample: int8 (or what the model's input takes)."""
        target = label if isinstance(label, int) else np.ascontiguousarray(label, np.int8)
        return float(self.trainer.step(np.ascontiguousarray(sample), target)[0])

    def read(self, tensor: int) -> np.ndarray:
        """A map of the last step, in its shape."""
        map_ = self.program.tensors[tensor]
        dtype = {"bits": "uint8"}.get(map_.dtype, map_.dtype)
        values = bytearray(map_.bytes)
        _lilliput.read_tensor(self.data, self.model._arena, tensor, values)
        return np.frombuffer(values, dtype).reshape(map_.shape)
