"""Writes a planned program as a `.lil` file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..program import Port, Program, Step
from .preprocessing import float_thresholds, uint8_table
from .structs import constants, macros, pack, size_of

if TYPE_CHECKING:
    from ..planner.plan import Plan

_CHECKED_FROM = 16  # the checksum covers all that follows it
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
    segments = image.append(
        b"".join(
            pack("lil_segment", {"first_operator": s.first, "operator_count": s.count})
            for s in plan.segments
        )
    )
    inputs = image.reserve(size_of("lil_port") * len(program.inputs))
    outputs = image.append(b"".join(_port(port, 0, 0, 0) for port in program.outputs))
    text = "\n".join(labels).encode()
    labels_offset = image.append(text)
    story = json.dumps(provenance or {}, ensure_ascii=False).encode()
    provenance_offset = image.append(story)
    constants_offset = image.append(b"", alignment=16)
    image.fill(tensors, _tensors(image, program, plan))
    operator_records, edge_records = _operators(image, program, plan)
    image.fill(operators, operator_records)
    image.fill(edges, edge_records)
    image.fill(inputs, _inputs(image, program, input_range))
    largest = max((segment.count for segment in plan.segments), default=0)
    limits = macros()
    header = {
        "magic": list(b"LIL\x1a"),
        "version": limits["LIL_VERSION"],
        "layout": limits["LIL_LAYOUT"],
        "file_bytes": len(image.data),
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
    }
    image.fill(0, pack("lil_header", header))
    header["checksum"] = zlib.crc32(image.data[_CHECKED_FROM:])
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
        records.append(
            pack(
                "lil_tensor",
                {
                    "height": tensor.height,
                    "width": tensor.width,
                    "channels": tensor.channels,
                    "ring_rows": plan.ring_rows[index],
                    "offset": offset,
                    "producer": producers.get(index, _NO_PRODUCER),
                    "dtype": names["LIL_INT32" if tensor.dtype == "int32" else "LIL_INT8"],
                    "storage": storage,
                    "zero_point": tensor.zero_point,
                },
            )
        )
    return b"".join(records)


def _operators(image: _Image, program: Program, plan: Plan) -> tuple[bytes, bytes]:
    operators: list[bytes] = []
    edges: list[bytes] = []
    for index, step in enumerate(program.steps):
        offset = image.append(step.constants, alignment=16)
        operators.append(
            pack(
                "lil_operator",
                {
                    "kind": constants()[f"LIL_{step.kind}"],
                    "flags": _flags(step),
                    "activation_min": step.activation[0],
                    "activation_max": step.activation[1],
                    "output": step.output,
                    "first_edge": len(edges),
                    "edge_count": len(step.edges),
                    "rows_per_sweep": plan.rows_per_sweep[index],
                    "constants_offset": offset,
                    "constants_bytes": len(step.constants),
                    "scratch_offset": plan.scratch_offsets[index],
                    "scratch_bytes": plan.scratch_bytes[index],
                    "parameters": _parameters(step),
                },
            )
        )
        for edge in step.edges:
            edges.append(
                pack(
                    "lil_edge",
                    {
                        "step": edge.step,
                        "first": edge.first,
                        "last": edge.last,
                        "divisor": edge.divisor,
                        "tensor": edge.tensor,
                    },
                )
            )
    return b"".join(operators), b"".join(edges)


def _flags(step: Step) -> int:
    names = constants()
    flags = {
        "LIL_POINTWISE": step.is_pointwise,
        "LIL_SINK": step.is_sink,
        "LIL_SINGLE_ROUNDING": step.rounds_once,
    }
    return sum(names[name] for name, is_set in flags.items() if is_set)


def _parameters(step: Step) -> dict[str, object]:
    if step.kind == "INPUT":
        return {"words": [step.parameters["words"]["input"]]}
    return {member: dict(values) for member, values in step.parameters.items()}


def _inputs(
    image: _Image, program: Program, input_range: tuple[float, float] | None
) -> bytes:
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
