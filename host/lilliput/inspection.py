"""What is in a `.lil` file: operators, shapes, the arena over time, sizes and origin."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .format import ModelFile, read
from .format.structs import constants, unpack

_WEIGHTED = frozenset(
    {
        "CONVOLUTION",
        "DEPTHWISE_CONVOLUTION",
        "TRANSPOSED_CONVOLUTION",
        "FULLY_CONNECTED",
    }
)
_WINDOWED = frozenset(
    {
        "CONVOLUTION",
        "DEPTHWISE_CONVOLUTION",
        "TRANSPOSED_CONVOLUTION",
        "AVERAGE_POOL",
        "MAX_POOL",
    }
)


@dataclass(frozen=True)
class OperatorInfo:
    """One operator: shapes are height, width, channels. `window`: of a convolution or pool.

    weight_bits: 4 or 8; 0 of an operator without weights.
    """

    kind: str
    inputs: tuple[tuple[int, int, int], ...]
    output: tuple[int, int, int]
    window: str
    weight_bits: int
    constants_bytes: int
    scratch_bytes: int


@dataclass(frozen=True)
class Held:
    """A range of the arena in use: by a tensor's rows, or (tensor None) as scratch or a page."""

    tensor: int | None
    offset: int
    bytes: int


@dataclass(frozen=True)
class Moment:
    """The arena while operators `first` to `last` run, a segment; `live_bytes` are in use then.

    `written` are the tensors that the segment computes.
    """

    first: int
    last: int
    live_bytes: int
    held: tuple[Held, ...]
    written: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """All that a file tells.

    `sections` are the bytes that each part of the file takes; of a paged file, the constants are
    read into the arena segment by segment.
    """

    version: int
    flash_bytes: int
    arena_bytes: int
    context_bytes: int
    macs: int
    sections: dict[str, int]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    labels: tuple[str, ...]
    provenance: dict[str, Any]
    is_paged: bool
    operators: list[OperatorInfo]
    arena_map: list[Moment]

    def as_json(self) -> dict[str, Any]:
        """Plain types; `input` and `output` are the first of each."""
        return {
            **asdict(self),
            "input": self.inputs[0] if self.inputs else None,
            "output": self.outputs[0],
        }


def describe(data: bytes) -> Description:
    """Describes a `.lil` file. Raises ValueError when the core's verifier refuses it."""
    file = read(data)
    pages = _pages(data)
    tables = file.file_bytes - file.constants_bytes
    return Description(
        version=file.version,
        flash_bytes=file.file_bytes,
        arena_bytes=file.arena_bytes,
        context_bytes=file.context_bytes,
        macs=file.macs,
        sections={"constants": file.constants_bytes, "tables, labels, origin": tables},
        inputs=_ports(file, "inputs"),
        outputs=_ports(file, "outputs"),
        labels=file.labels,
        provenance=file.provenance,
        operators=_operators(file, data),
        is_paged=bool(pages),
        arena_map=_moments(file, pages),
    )


def _ports(file: ModelFile, side: str) -> list[dict[str, Any]]:
    ports = file.inputs if side == "inputs" else file.outputs
    names = file.provenance.get(side)
    if not isinstance(names, list) or len(names) != len(ports):
        names = [f"{side[:-1]}_{index}" for index in range(len(ports))]
    return [
        {
            "name": str(name),
            "shape": list(port.shape),
            "dtype": port.dtype,
            "scale": port.scale,
            "zero_point": port.zero_point,
            **({"takes_uint8": port.takes_uint8} if side == "inputs" else {}),
        }
        for name, port in zip(names, ports, strict=True)
    ]


def _operators(file: ModelFile, data: bytes) -> list[OperatorInfo]:
    [header] = unpack("lil_header", data, 0, 1)
    records = unpack("lil_operator", data, header.operators_offset, header.operator_count)
    return [
        OperatorInfo(
            kind=op.kind,
            inputs=tuple(file.tensors[index].shape for index in op.inputs),
            output=file.tensors[op.output].shape,
            window=_window(record.parameters.window) if op.kind in _WINDOWED else "",
            weight_bits=_weight_bits(op.kind, record.flags),
            constants_bytes=op.constants_bytes,
            scratch_bytes=op.scratch_bytes,
        )
        for op, record in zip(file.operators, records, strict=True)
    ]


def _weight_bits(kind: str, flags: int) -> int:
    if kind not in _WEIGHTED:
        return 0
    return 4 if flags & constants()["LIL_INT4"] else 8


def _window(window: Any) -> str:
    parts = [f"{window.kernel_height}x{window.kernel_width}"]
    if (window.stride_height, window.stride_width) != (1, 1):
        parts.append(f"stride {window.stride_height}x{window.stride_width}")
    if (window.dilation_height, window.dilation_width) not in {(0, 0), (1, 1)}:
        parts.append(f"dilation {window.dilation_height}x{window.dilation_width}")
    if window.groups > 1:
        parts.append(f"{window.groups} groups")
    return ", ".join(parts)


def _pages(data: bytes) -> list[Held]:
    """Where in the arena the constants of each segment are read to; empty unless paged."""
    [header] = unpack("lil_header", data, 0, 1)
    if not header.is_paged:
        return []
    segments = unpack("lil_segment", data, header.segments_offset, header.segment_count)
    return [Held(None, segment.page_offset, segment.constants_bytes) for segment in segments]


def _moments(file: ModelFile, pages: list[Held]) -> list[Moment]:
    segment_of = {index: op.segment for index, op in enumerate(file.operators)}
    lives = {op.output: (op.segment, op.segment) for op in file.operators}
    uses = [(tensor, index) for index, op in enumerate(file.operators) for tensor in op.inputs]
    uses += [(port.tensor, len(file.operators)) for port in file.outputs]
    for tensor, reader in uses:
        root = _root(file, tensor, reader)
        if root is not None:
            last = segment_of.get(reader, len(file.segments) - 1)
            lives[root] = (lives[root][0], max(lives[root][1], last))
    return [
        _moment(file, number, lives, pages[number : number + 1])
        for number in range(len(file.segments))
    ]


def _root(file: ModelFile, tensor: int, reader: int) -> int | None:
    """The computed tensor whose bytes operator `reader` finds in a tensor; None for constants."""
    stored = file.tensors[tensor]
    if stored.storage == "constant":
        return None
    if stored.producer is not None:
        return tensor
    # A view: it shows what was written last where it lies.
    writers = (op.output for op in reversed(file.operators[:reader]))
    return next((out for out in writers if file.tensors[out].offset == stored.offset), None)


def _moment(
    file: ModelFile, number: int, lives: dict[int, tuple[int, int]], pages: list[Held]
) -> Moment:
    operators = [file.operators[index] for index in file.segments[number]]
    held = [
        Held(index, file.tensors[index].offset, file.tensors[index].bytes)
        for index, (first, last) in sorted(lives.items())
        if first <= number <= last
    ]
    held += pages
    held += [
        Held(None, op.scratch_offset, op.scratch_bytes) for op in operators if op.scratch_bytes
    ]
    return Moment(
        first=operators[0].index,
        last=operators[-1].index,
        live_bytes=_union(held),
        held=tuple(held),
        written=tuple(op.output for op in operators),
    )


def _union(held: list[Held]) -> int:
    """Bytes in use; those that several share (in place) count once."""
    used = end = 0
    for item in sorted(held, key=lambda item: item.offset):
        used += max(item.offset + item.bytes - max(item.offset, end), 0)
        end = max(end, item.offset + item.bytes)
    return used
