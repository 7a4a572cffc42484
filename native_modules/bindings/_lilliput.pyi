"""The C core of Lilliput, the same in the natmod, the user C module and CPython."""

from _typeshed import ReadableBuffer, WriteableBuffer

def verify(
    model: ReadableBuffer,
    /,
) -> None:
    """Check a whole model file, or the front of a paged one, so that no call can leave its bounds.

    Every other function trusts a buffer that passed this check: call it once before anything else.
    ValueError says what is wrong with the file.
    """

def field(
    model: ReadableBuffer,
    field: int,
    index: int,
    /,
) -> int:
    """Return one number of the model's header or tables.

    `field` is a LIL_FIELD_ number of the core's header, and `index` counts the inputs, outputs,
    tensors or operators that it describes (0 for the others; port * 8 + axis for a shape). Floats
    come as their 32 bits. ValueError: there is no such field or index.
    """

def checksum(
    data: ReadableBuffer,
    checksum: int,
    /,
) -> int:
    """Continue a CRC-32 over `data`, as a signed 32-bit number; begin with 0."""

def begin(
    model: ReadableBuffer,
    context: WriteableBuffer,
    /,
) -> None:
    """Start an inference.

    `context` keeps the inference's state between calls: LIL_FIELD_CONTEXT_BYTES, aligned to 4.
    ValueError: it is too small.
    """

def reset(
    model: ReadableBuffer,
    context: WriteableBuffer,
    arena: WriteableBuffer,
    /,
) -> int:
    """Put the constants that training changes into the arena as the file has them; forget the rest.

    Wanted once before the first inference of a trainable file, and to undo its training. Called
    after `begin`, until it returns LIL_DONE (0x7FFF): it may return LIL_WANTS_PAGE + a segment as
    `run` does. Then `begin` again. ValueError: a buffer has the wrong size or alignment.
    """

def begin_step(
    model: ReadableBuffer,
    context: WriteableBuffer,
    arena: WriteableBuffer,
    target: ReadableBuffer,
    mantissa: int,
    exponent: int,
    /,
) -> None:
    """Start a training step in place of an inference: `run` until LIL_DONE, as for that.

    `target` holds an int32 class, or the int8 map that the output should be. The learning rate is
    mantissa * 2**(exponent - 31). ValueError: the model is not trainable, or by another build only;
    no such class; the target has the wrong size; the mantissa is negative.
    """

def run(
    model: ReadableBuffer,
    context: WriteableBuffer,
    arena: WriteableBuffer,
    source: ReadableBuffer | None,
    /,
) -> int:
    """Compute as far as the rows in `source` allow.

    `source` holds whole rows of the input that the last call asked for, of uint8, int8 or
    float32; None and an empty buffer give no rows. It is never written to. `arena` has
    LIL_FIELD_ARENA_BYTES, aligned to 8 bytes. Returns LIL_DONE (0x7FFF), the index of the input
    whose next rows are wanted, or LIL_WANTS_PAGE (0x10000) + a segment: read its constants into the
    arena (LIL_FIELD_PAGE_*) and call again with the same source. ValueError: a buffer has the wrong
    size, type or alignment.
    """

def read_output(
    model: ReadableBuffer,
    arena: ReadableBuffer,
    index: int,
    destination: WriteableBuffer,
    /,
) -> None:
    """Copy output `index` (int8, or int32 for an arg max) of a finished inference to `destination`.

    ValueError: there is no such output, or `destination` is smaller than it.
    """

def read_tensor(
    model: ReadableBuffer,
    arena: ReadableBuffer,
    index: int,
    destination: WriteableBuffer,
    /,
) -> None:
    """Copy tensor `index` to `destination`, for tests of plans in which no tensor is overwritten.

    ValueError: there is no such tensor, or `destination` is smaller than it.
    """
