"""Opening a TFLite flatbuffer: bytes to the published schema's object tree, or a clear error."""

from __future__ import annotations

import struct

from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
SUPPORTED_VERSION = 3

# What the flatbuffers package raises when an offset or a length leaves the buffer.
_DAMAGE = (
    struct.error,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    KeyError,
    OverflowError,
    MemoryError,
    RecursionError,
    AssertionError,
)


def parse_model(data: bytes) -> schema.ModelT:
    """The object tree (`ModelT`) of a `.tflite` file.

    Raises ValueError when `data` is not a TFLite flatbuffer, is cut short, or is damaged in a way
    that makes it unreadable.
    """
    data = bytes(data)
    if len(data) < 8:
        raise ValueError(
            f"not a TFLite model: {len(data)} bytes, too short for a header; "
            "give a whole .tflite file"
        )
    if data[4:8] != IDENTIFIER:
        raise ValueError(
            f"not a TFLite model: bytes 4 to 8 are {data[4:8]!r}, not {IDENTIFIER!r}; "
            "give a .tflite file"
        )
    root = struct.unpack_from("<I", data)[0]
    if root >= len(data):
        raise ValueError(
            f"damaged TFLite model: its root lies at byte {root}, the file has {len(data)}; "
            "fetch or export it again"
        )
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    except _DAMAGE as error:
        raise ValueError(
            f"damaged TFLite model: an offset leads out of the file ({len(data)} bytes); "
            "it may be cut short; fetch or export it again"
        ) from error
    if model.version != SUPPORTED_VERSION:
        raise ValueError(
            f"TFLite schema version {model.version}, only {SUPPORTED_VERSION} is supported; "
            "export the model with a current converter"
        )
    for field, what in (
        (model.subgraphs, "subgraph"),
        (model.operatorCodes, "operator code"),
        (model.buffers, "buffer"),
    ):
        if field is None or len(field) == 0:
            raise ValueError(f"damaged TFLite model: it has no {what}; export it again")
    return model


def buffer_bytes(model: schema.ModelT, data: bytes, index: int) -> bytes:
    """The contents of buffer `index`; empty when the buffer holds none.

    Files over 2 GB keep buffers behind the flatbuffer, at an offset. Raises ValueError when the
    index or the place lies outside of the file.
    """
    if not 0 <= index < len(model.buffers):
        raise ValueError(
            f"damaged TFLite model: it names buffer {index} of {len(model.buffers)}; "
            "fetch or export it again"
        )
    buffer = model.buffers[index]
    if buffer.offset > 1:
        if buffer.offset + buffer.size > len(data):
            raise ValueError(
                f"damaged TFLite model: buffer {index} ends at byte "
                f"{buffer.offset + buffer.size}, the file has {len(data)}; it may be cut short"
            )
        return bytes(data[buffer.offset : buffer.offset + buffer.size])
    return b"" if buffer.data is None else bytes(bytearray(buffer.data))
