"""The image of jobs that the runner reads from memory; see runner/runner.c for the layout."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lilliput.format.structs import unpack

_INT32 = 1  # lil_dtype
_MAGIC = 0x424F4A4C
_HEADER = struct.Struct("<4I")
_JOB = struct.Struct("<8I2i")
_INPUT = struct.Struct("<3I")
_TYPECODES = {np.dtype(np.int8): "b", np.dtype(np.uint8): "B", np.dtype(np.float32): "f"}
_ALIGNMENT = 16
_SLACK = 4096  # runner: outputs, context and arena, each aligned


@dataclass(frozen=True)
class Job:
    """One inference.

    model: the bytes of a `.lil`. inputs: one array an input, int8, uint8 or float32.
    misalignment: the model's and the inputs' addresses are so many bytes past a multiple of 16.
    target, rate: of a training step in place of an inference, see `begin_step` of `_lilliput`.
    """

    model: bytes
    inputs: tuple[np.ndarray, ...]
    misalignment: int = 0
    target: bytes = b""
    rate: tuple[int, int] = (0, 0)

    @functools.cached_property
    def outputs(self) -> tuple[tuple[tuple[int, ...], np.dtype], ...]:
        """Shape and type of each output."""
        header = self._header
        ports = unpack("lil_port", self.model, header.outputs_offset, header.output_count)
        tensors = unpack("lil_tensor", self.model, header.tensors_offset, header.tensor_count)
        return tuple(
            (
                tuple(port.shape[axis] for axis in range(port.rank)),
                np.dtype(np.int32 if tensors[port.tensor].dtype == _INT32 else np.int8),
            )
            for port in ports
        )

    @functools.cached_property
    def _header(self) -> Any:
        # The model is not verified here: that is the emulated core's task.
        return unpack("lil_header", self.model, 0, 1)[0]

    @property
    def training_bytes(self) -> int:
        """Of the arena that a training step leaves behind."""
        return int(self._header.training_bytes) if self.target else 0

    def output_sizes(self) -> list[int]:
        """Bytes of each output."""
        return [math.prod(shape) * dtype.itemsize for shape, dtype in self.outputs]

    @property
    def free_bytes(self) -> int:
        """What the inference needs beside the image: outputs, context and arena."""
        header = self._header
        return sum(self.output_sizes()) + header.arena_bytes + header.context_bytes + _SLACK


def image(jobs: Sequence[Job]) -> bytes:
    """The bytes of an image. Equal models are stored once."""
    data = bytearray(_HEADER.size + _JOB.size * len(jobs))
    placed: dict[tuple[bytes, int], int] = {}

    def place(content: bytes, misalignment: int) -> int:
        key = (content, misalignment)
        if key not in placed:
            data.extend(bytes(-len(data) % _ALIGNMENT + misalignment))
            placed[key] = len(data)
            data.extend(content)
        return placed[key]

    for index, job in enumerate(jobs):
        ports = b"".join(
            _INPUT.pack(
                place(np.ascontiguousarray(array).tobytes(), job.misalignment),
                array.nbytes,
                ord(_TYPECODES[array.dtype]),
            )
            for array in job.inputs
        )
        sizes = job.output_sizes()
        _JOB.pack_into(
            data, _HEADER.size + _JOB.size * index,
            place(job.model, job.misalignment), len(job.model),
            place(ports, 0), len(job.inputs),
            place(struct.pack(f"<{len(sizes)}I", *sizes), 0), len(sizes),
            place(job.target, 0) if job.target else 0, len(job.target), *job.rate,
        )  # fmt: skip
    data.extend(bytes(-len(data) % _ALIGNMENT))
    _HEADER.pack_into(data, 0, _MAGIC, len(jobs), _HEADER.size, len(data))
    return bytes(data)
