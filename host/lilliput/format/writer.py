"""Writes a planned program as a `.lil` file."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..program import Port, Program, Step, Training
from .constants import CONSTANTS_ALIGNMENT, constant_offsets
from .preprocessing import float_thresholds, uint8_table
from .structs import constants, macros, pack, size_of

if TYPE_CHECKING:
    from ..planner.plan import Plan

_CHECKED_FROM = 16  # the byte behind the checksum, which does not cover itself
_NO_PRODUCER = 0xFFFF


class _Image:
    """The file under construction: sections appended at aligned offsets."""

    def __init__(self, header_bytes: int) -> None:
        self.data = bytearray(header_bytes)

    def append(self, section: bytes, alignment: int = 4) -> int:
        """Adds a section and returns its offset."""
        self.data += bytes(-len(self.data) % alignment)
        offset = len(self.data)
        self.data += section
        return offset

    def place(self, section: bytes, offset: int) -> None:
        """Puts a section at an offset, at or behind the end."""
        self.data += bytes(max(offset + len(section) - len(self.data), 0))
        self.fill(offset, section)

    def reserve(self, size: int) -> int:
        return self.append(bytes(size))

    def fill(self, offset: int, section: bytes) -> None:
        self.data[offset : offset + len(section)] = section


def write(
    program: Program,
    plan: Plan,
    *,
    labels: Sequence[str] = (),
    provenance: Mapping[str, object] | None = None,
    input_range: tuple[float, float] | None = None,
) -> bytes:
    """The bytes of the file. `program` is the plan's.

    `input_range` are the real values of pixels 0 and 255, for the inputs' uint8 preprocessing;
    without it an input takes int8 and float32 only.
    """
    program = plan.program
    edge_count = sum(len(step.edges) for step in program.steps)
    image = _Image(size_of("lil_header"))
    tensors = image.reserve(size_of("lil_tensor") * len(program.tensors))
    operators = image.reserve(size_of("lil_operator") * len(program.steps))
    edges = image.reserve(size_of("lil_edge") * edge_count)
    segments = image.reserve(size_of("lil_segment") * len(plan.segments))
    inputs = image.reserve(size_of("lil_port") * len(program.inputs))
    outputs = image.append(b"".join(_port(port, 0, 0, 0) for port in program.outputs))
    text = "\n".join(labels).encode()
    labels_offset = image.append(text)
    story = json.dumps(provenance or {}, ensure_ascii=False).encode()
    provenance_offset = image.append(story)
    image.fill(inputs, _inputs(image, program, input_range))
    image.fill(tensors, _tensors(image, program, plan))
    constants_offset = image.append(b"", alignment=CONSTANTS_ALIGNMENT)
    offsets = [constants_offset + offset for offset in constant_offsets(program)]
    for step, offset in zip(program.steps, offsets, strict=True):
        image.place(step.constants, offset)
    image.fill(operators, _operators(program, plan, offsets))
    image.fill(edges, _edges(program))
    image.fill(segments, _segments(program, plan, offsets))
    largest = max((segment.count for segment in plan.segments), default=0)
    limits = macros()
    training = program.training or Training(bytes=0, target_bytes=0)
    header = {
        "magic": list(b"LIL\x1a"),
        "version": limits["LIL_VERSION"],
        "layout": limits["LIL_LAYOUT"],
        "file_bytes": len(image.data),
        "constants_checksum": zlib.crc32(image.data[constants_offset:]),
        "arena_bytes": plan.arena_bytes,
        "context_bytes": size_of("lil_progress") + 4 * largest,
        "macs_low": program.macs & 0xFFFFFFFF,
        "macs_high": program.macs >> 32,
        "tensors_offset": tensors,
        "operators_offset": operators,
        "edges_offset": edges,
        "segments_offset": segments,
        "inputs_offset": inputs,
        "outputs_offset": outputs,
        "labels_offset": labels_offset,
        "labels_bytes": len(text),
        "provenance_offset": provenance_offset,
        "provenance_bytes": len(story),
        "constants_offset": constants_offset,
        "tensor_count": len(program.tensors),
        "operator_count": len(program.steps),
        "edge_count": edge_count,
        "segment_count": len(plan.segments),
        "input_count": len(program.inputs),
        "output_count": len(program.outputs),
        "is_paged": plan.is_paged,
        "inference_segments": plan.inference_segments,
        "training_bytes": training.bytes,
        "target_bytes": training.target_bytes,
        "class_count": training.class_count,
        "velocity_bytes": training.velocity_bytes,
        "momentum": round(training.momentum * limits["LIL_WHOLE_MOMENTUM"]),
        "accumulated": training.accumulated,
    }
    image.fill(0, pack("lil_header", header))
    before = zlib.crc32(image.data[: _CHECKED_FROM - 4])
    header["checksum"] = zlib.crc32(image.data[_CHECKED_FROM:constants_offset], before)
    image.fill(0, pack("lil_header", header))
    return bytes(image.data)


def _tensors(image: _Image, program: Program, plan: Plan) -> bytes:
    names = constants()
    producers = {step.output: index for index, step in enumerate(program.steps)}
    records = []
    for index, tensor in enumerate(program.tensors):
        offset = plan.offsets[index]
        storage = names["LIL_ARENA"]
        if tensor.constant is not None:
            offset = image.append(np.ascontiguousarray(tensor.constant).tobytes(), alignment=16)
            storage = names["LIL_CONSTANT"]
        elif tensor.is_source:
            storage = names["LIL_SOURCE"]
        records.append(
            pack(
                "lil_tensor",
                {
                    "height": tensor.height,
                    "width": tensor.width,
                    "channels": tensor.channels,
                    "ring_rows": plan.ring_rows[index],
                    "offset": offset,
                    "pitch": tensor.row_pitch,
                    "producer": producers.get(index, _NO_PRODUCER),
                    "dtype": names[f"LIL_{tensor.dtype.upper()}"],
                    "storage": storage,
                    "zero_point": tensor.zero_point,
                },
            )
        )
    return b"".join(records)


def _operators(program: Program, plan: Plan, offsets: Sequence[int]) -> bytes:
    records: list[bytes] = []
    first_edge = 0
    for index, step in enumerate(program.steps):
        records.append(
            pack(
                "lil_operator",
                {
                    "kind": constants()[f"LIL_{step.kind}"],
                    "flags": _flags(step),
                    "activation_min": step.activation[0],
                    "activation_max": step.activation[1],
                    "output": step.output,
                    "first_edge": first_edge,
                    "edge_count": len(step.edges),
                    "rows_per_sweep": plan.rows_per_sweep[index],
                    "constants_offset": offsets[index],
                    "constants_bytes": len(step.constants),
                    "scratch_offset": plan.scratch_offsets[index],
                    "scratch_bytes": plan.scratch_bytes[index],
                    "trained_offset": _or_none(step.trained_offset),
                    "arena_inputs": step.arena_inputs,
                    "parameters": _parameters(step),
                },
            )
        )
        first_edge += len(step.edges)
    return b"".join(records)


def _edges(program: Program) -> bytes:
    return b"".join(
        pack("lil_edge", dataclasses.asdict(edge)) for step in program.steps for edge in step.edges
    )


def _segments(program: Program, plan: Plan, offsets: Sequence[int]) -> bytes:
    records: list[bytes] = []
    for number, segment in enumerate(plan.segments):
        begin = min(offsets[index] for index in segment.steps)
        end = max(offsets[index] + len(program.steps[index].constants) for index in segment.steps)
        records.append(
            pack(
                "lil_segment",
                {
                    "first_operator": segment.first,
                    "operator_count": segment.count,
                    "constants_offset": begin,
                    "constants_bytes": end - begin,
                    "page_offset": _or_none(plan.page_offsets[number] if plan.is_paged else None),
                },
            )
        )
    return b"".join(records)


def _flags(step: Step) -> int:
    names = constants()
    flags = {
        "LIL_POINTWISE": step.is_pointwise,
        "LIL_SINK": step.is_sink,
        "LIL_SINGLE_ROUNDING": step.rounds_once,
        "LIL_SHIFTS_RIGHT": step.shifts_right,
        "LIL_INT4": step.is_int4,
        "LIL_FOR_TRAINING": step.is_training,
        "LIL_HAS_VELOCITY": step.has_velocity,
    }
    return sum(names[name] for name, is_set in flags.items() if is_set)


def _or_none(offset: int | None) -> int:
    return macros()["LIL_NONE"] if offset is None else offset


def _parameters(step: Step) -> dict[str, object]:
    return {member: dict(values) for member, values in step.parameters.items()}


def _inputs(image: _Image, program: Program, input_range: tuple[float, float] | None) -> bytes:
    records = []
    for port in program.inputs:
        thresholds = float_thresholds(port.scale, port.zero_point).astype("<i4").tobytes()
        thresholds_offset = image.append(thresholds)
        table_offset, channels = macros()["LIL_NONE"], 0
        if input_range is not None:
            table = uint8_table(port.scale, port.zero_point, input_range)
            table_offset, channels = image.append(table.tobytes()), 1
        records.append(_port(port, channels, table_offset, thresholds_offset))
    return b"".join(records)


def _port(port: Port, table_channels: int, table_offset: int, thresholds_offset: int) -> bytes:
    return pack(
        "lil_port",
        {
            "tensor": port.tensor,
            "rank": len(port.shape),
            "table_channels": table_channels,
            "shape": list(port.shape),
            "scale": int(np.float32(port.scale).view(np.uint32)),
            "zero_point": port.zero_point,
            "table_offset": table_offset,
            "thresholds_offset": thresholds_offset,
        },
    )
