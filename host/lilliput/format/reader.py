"""Reads a `.lil` file into plain objects, for inspection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import _lilliput
import numpy as np

from ..program import ELEMENT_BYTES
from .structs import constants, definitions, unpack


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file places it: `ring_rows` rows from `offset`."""

    index: int
    shape: tuple[int, int, int]
    dtype: str
    storage: str  # "arena", "constant" or "source"
    offset: int
    ring_rows: int
    bytes: int
    zero_point: int
    producer: int | None


@dataclass(frozen=True)
class StoredOperator:
    """An operator: kind, tensors read and written, and the sizes that it needs."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    output: int
    segment: int
    constants_bytes: int
    scratch_offset: int
    scratch_bytes: int
    is_streamed: bool


@dataclass(frozen=True)
class StoredPort:
    """A graph input or output: real = scale * (value - zero_point)."""

    tensor: int
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    takes_uint8: bool


@dataclass(frozen=True)
class ModelFile:
    """The contents of a `.lil` file."""

    version: int
    file_bytes: int
    arena_bytes: int
    context_bytes: int
    constants_bytes: int
    is_paged: bool
    training_bytes: int
    inference_segments: int
    macs: int
    tensors: tuple[StoredTensor, ...]
    operators: tuple[StoredOperator, ...]
    segments: tuple[range, ...]
    inputs: tuple[StoredPort, ...]
    outputs: tuple[StoredPort, ...]
    labels: tuple[str, ...]
    provenance: dict[str, Any]


def read(data: bytes) -> ModelFile:
    """The file's contents. Raises ValueError when the core's verifier refuses it."""
    _lilliput.verify(data)
    header = unpack("lil_header", data, 0, 1)[0]
    tensors = tuple(
        _tensor(i, t)
        for i, t in enumerate(
            unpack("lil_tensor", data, header.tensors_offset, header.tensor_count)
        )
    )
    segments = tuple(
        range(s.first_operator, s.first_operator + s.operator_count)
        for s in unpack("lil_segment", data, header.segments_offset, header.segment_count)
    )
    story = data[header.provenance_offset : header.provenance_offset + header.provenance_bytes]
    text = data[header.labels_offset : header.labels_offset + header.labels_bytes].decode()
    return ModelFile(
        version=header.version,
        file_bytes=header.file_bytes,
        arena_bytes=header.arena_bytes,
        context_bytes=header.context_bytes,
        constants_bytes=header.file_bytes - header.constants_offset,
        is_paged=bool(header.is_paged),
        training_bytes=header.training_bytes,
        inference_segments=header.inference_segments,
        macs=header.macs_low | header.macs_high << 32,
        tensors=tensors,
        operators=_operators(data, header, segments),
        segments=segments,
        inputs=_ports(data, header.inputs_offset, header.input_count, tensors),
        outputs=_ports(data, header.outputs_offset, header.output_count, tensors),
        labels=tuple(text.split("\n")) if text else (),
        provenance=json.loads(story),
    )


def _tensor(index: int, record: Any) -> StoredTensor:
    names = constants()
    dtype = next(name for name in ELEMENT_BYTES if names[f"LIL_{name.upper()}"] == record.dtype)
    row_bytes = record.width * record.channels * ELEMENT_BYTES[dtype]
    storages = {
        names["LIL_ARENA"]: "arena",
        names["LIL_CONSTANT"]: "constant",
        names["LIL_SOURCE"]: "source",
    }
    return StoredTensor(
        index=index,
        shape=(record.height, record.width, record.channels),
        dtype=dtype,
        storage=storages[record.storage],
        offset=record.offset,
        ring_rows=record.ring_rows,
        bytes=row_bytes * record.ring_rows,
        zero_point=record.zero_point,
        producer=None if record.producer == 0xFFFF else record.producer,
    )


def _operators(data: bytes, header: Any, segments: tuple[range, ...]) -> tuple[StoredOperator, ...]:
    kinds = {value: name.removeprefix("LIL_") for name, value in _kinds().items()}
    edges = unpack("lil_edge", data, header.edges_offset, header.edge_count)
    segment_of = {index: s for s, segment in enumerate(segments) for index in segment}
    return tuple(
        StoredOperator(
            index=index,
            kind=kinds[op.kind],
            inputs=tuple(e.tensor for e in edges[op.first_edge : op.first_edge + op.edge_count]),
            output=op.output,
            segment=segment_of[index],
            constants_bytes=op.constants_bytes,
            scratch_offset=op.scratch_offset,
            scratch_bytes=op.scratch_bytes,
            is_streamed=len(segments[segment_of[index]]) > 1,
        )
        for index, op in enumerate(
            unpack("lil_operator", data, header.operators_offset, header.operator_count)
        )
    )


def _kinds() -> dict[str, int]:
    return dict(definitions().typeof("enum lil_kind").relements)


def _ports(
    data: bytes, offset: int, count: int, tensors: tuple[StoredTensor, ...]
) -> tuple[StoredPort, ...]:
    return tuple(
        StoredPort(
            tensor=port.tensor,
            shape=tuple(port.shape[i] for i in range(port.rank)),
            dtype=tensors[port.tensor].dtype,
            scale=float(np.uint32(port.scale).view(np.float32)),
            zero_point=port.zero_point,
            takes_uint8=port.table_channels > 0,
        )
        for port in unpack("lil_port", data, offset, count)
    )
