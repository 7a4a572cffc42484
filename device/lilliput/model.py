"""Loads and runs a .lil model. The same file runs on MicroPython (1.24 and later) and CPython."""

import gc
import os
import struct
from array import array

try:
    import _lilliput_train as _lilliput  # what _lilliput does, and training
except ImportError:
    import _lilliput

try:
    from micropython import const
except ImportError:

    def const(value):
        return value


# native_modules/core/lilliput.h: lil_status, lil_field_id
_DONE = const(0x7FFF)
_WANTS_PAGE = const(0x10000)
_ARENA_BYTES = const(0)
_CONTEXT_BYTES = const(1)
_INPUT_COUNT = const(2)
_OUTPUT_COUNT = const(3)
_LABELS_OFFSET = const(4)
_LABELS_BYTES = const(5)
_INPUT_RANK = const(6)
_OUTPUT_RANK = const(11)
_FRONT_BYTES = const(18)
_FILE_BYTES = const(19)
_CONSTANTS_CHECKSUM = const(20)
_PAGE_START = const(21)
_PAGE_BYTES = const(22)
_PAGE_OFFSET = const(23)
_IS_PAGED = const(24)
_TRAINING_BYTES = const(26)
# what follows a port's rank, in this order
_SHAPE = const(1)
_SCALE = const(2)
_ZERO_POINT = const(3)
_DTYPE = const(4)

_SEQUENCES = (list, tuple)
_WHOLE = (bytes, bytearray, memoryview, array, list, tuple)
_DTYPES = ("int8", "int32")
_TYPECODES = ("b", "i")


class Port:
    """An input or output: shape (batch included), scale, zero_point, dtype, size (elements).

    real = scale * (value - zero_point)
    """

    def __init__(self, file, rank, index):
        axes = range(_lilliput.field(file, rank, index))
        self.shape = tuple(_lilliput.field(file, rank + _SHAPE, index * 8 + i) for i in axes)
        bits = _lilliput.field(file, rank + _SCALE, index) & 0xFFFFFFFF
        self.scale = struct.unpack("<f", struct.pack("<I", bits))[0]
        self.zero_point = _lilliput.field(file, rank + _ZERO_POINT, index)
        self._type = _lilliput.field(file, rank + _DTYPE, index)
        self.dtype = _DTYPES[self._type]
        self.size = 1
        for extent in self.shape:
            self.size *= extent

    def buffer(self):
        """A zeroed array that holds this port's values: 'b' (int8) or 'i' (int32)."""
        return array(_TYPECODES[self._type], bytes(self.size * (1, 4)[self._type]))


class Model:
    """A loaded model. Not for two threads at once; models may share an arena one after another.

    inputs, outputs: lists of Port; input, output: the first of each.
    arena_bytes: the working memory of an inference, allocated when the model is loaded.
    """

    def __init__(self, file, arena=None, pages=None):
        _lilliput.verify(file)
        whole = _lilliput.field(file, _FILE_BYTES, 0)
        if not pages and len(file) < whole:
            # The front alone is sound, but there is no file to read its pages from.
            raise ValueError("model has %d of %d bytes: copy it again" % (len(file), whole))
        self.arena_bytes = size = _lilliput.field(file, _ARENA_BYTES, 0)
        if arena is None:
            arena = _allocate(size, "the model's arena")
        elif len(arena) < size:
            raise ValueError("arena holds %d bytes, the model needs %d" % (len(arena), size))
        self._file = file
        self._pages = pages  # the open file, when only its front is in memory
        self._arena = arena
        if pages:
            self._check_pages()
        self._context = bytearray(_lilliput.field(file, _CONTEXT_BYTES, 0))
        self._labels = None
        self._step = None  # of a Trainer: target, learning rate's mantissa and exponent
        self._wanted = -1
        # a build for inference alone runs a trainable file as it was made
        if hasattr(_lilliput, "reset") and _lilliput.field(file, _TRAINING_BYTES, 0):
            self._reset()
        inputs = range(_lilliput.field(file, _INPUT_COUNT, 0))
        outputs = range(_lilliput.field(file, _OUTPUT_COUNT, 0))
        self.inputs = [Port(file, _INPUT_RANK, i) for i in inputs]
        self.outputs = [Port(file, _OUTPUT_RANK, i) for i in outputs]

    @property
    def input(self):
        return self.inputs[0]

    @property
    def output(self):
        return self.outputs[0]

    @property
    def labels(self):
        """The labels stored in the model, a list of str; empty when there are none."""
        if self._labels is None:
            file = self._opened()
            first = _lilliput.field(file, _LABELS_OFFSET, 0)
            count = _lilliput.field(file, _LABELS_BYTES, 0)
            text = str(memoryview(file)[first : first + count], "utf-8")
            self._labels = text.split("\n") if text else []
        return self._labels

    def infer(self, x=None, out=None, raw=False):
        """Runs the model on x, returns its raw output: array('b'), or array('i') of an arg max.

        x: a buffer, or a list of them for several inputs. Its typecode says what it holds:
        'b' int8, the input tensor as it is; 'B' (and bytes) uint8, such as pixels, through the
        model's preprocessing table; 'f' reals. With raw=True, bytes hold int8 (and are copied).
        x may also yield buffers of whole rows (a generator), or have or be a readinto(buffer) that
        fills a row of bytes; x=None takes the rows given to feed().
        out: written and returned instead of a new array; then nothing is allocated.
        With several outputs, out and what is returned are lists.
        ValueError: x or out has a type or a size that the model does not take.
        """
        if isinstance(x, _WHOLE):  # first, because it is what a loop of inferences passes
            self._run(x, raw)
        elif hasattr(x, "readinto"):
            self._feed_all(self._rows(x.readinto), raw)
        elif callable(x):
            self._feed_all(self._rows(x), raw)
        elif hasattr(x, "send") or hasattr(x, "__next__"):
            self._feed_all(x, raw)
        elif x is not None:
            self._run(x, raw)
        elif self._wanted != _DONE:
            raise ValueError("nothing to infer: pass x, or feed() rows until it returns True")
        return self._read(out)

    def feed(self, rows, raw=False):
        """Takes the next whole rows of the input, computes what they allow. True at the end.

        The first call starts an inference; after True, infer() returns the outputs. With several
        inputs, the rows are those of the input that `wanted` names.
        """
        if self.wanted != _DONE:
            if raw:
                rows = _signed(rows)
            self._wanted = self._advance(rows)
        return self._wanted == _DONE

    def _feed_all(self, source, raw):
        self._wanted = -1
        for rows in source:
            if self.feed(rows, raw):
                return
        raise ValueError("the rows ended before the input was complete: see model.input.shape")

    def _rows(self, readinto):
        height, width, channels = ((1, 1) + self.input.shape)[-3:]
        row = bytearray(width * channels)
        for _ in range(height):
            if readinto(row) == 0:  # end of a file; a camera returns None
                return
            yield row

    @property
    def wanted(self):
        """Index of the input whose rows feed() takes next. Starts an inference if none runs."""
        if self._wanted < 0 or self._wanted == _DONE:
            self._wanted = self._start()
        return self._wanted

    def predict(self, inputs):
        """Runs the model on a list of inputs (see infer), returns a list of array('f') of reals."""
        self._run(inputs, False)
        return [_reals(port, self._values(i)) for i, port in enumerate(self.outputs)]

    def top(self, n=5):
        """The n best classes of the last inference: a list of (label, score), best first.

        A class without a label appears as its index. Reads the first output.
        """
        if self._wanted != _DONE:
            raise ValueError("no inference has run: call infer() first")
        port = self.output
        values = self._values(0)
        if port.dtype == "int32":  # of an arg max: the classes themselves
            return [(self._label(value), 1.0) for value in values[:n]]
        best = []
        for i, value in enumerate(values):
            j = len(best)
            while j and values[best[j - 1]] < value:
                j -= 1
            if j < n:
                best.insert(j, i)
                if len(best) > n:
                    best.pop()
        return [(self._label(i), port.scale * (values[i] - port.zero_point)) for i in best]

    def apply(self, path):
        """Takes over what a Trainer of the same model saved: see lilliput.train.

        OSError: no such file. ValueError: it is damaged, or of another model; nothing changes.
        """
        from .train import apply

        apply(self, path)

    def deinit(self):
        """Frees the arena and the file. The model cannot be used afterwards."""
        if self._pages:
            self._pages.close()
        self._file = self._pages = self._arena = self._context = self._labels = None
        self._wanted = -1

    def __enter__(self):
        self._opened()
        return self

    def __exit__(self, *error):
        self.deinit()

    def _opened(self):
        if self._file is None:
            raise ValueError("the model was deinitialised: load it again")
        return self._file

    def _start(self):
        self._wanted = -1
        if self._step:
            _lilliput.begin_step(self._opened(), self._context, self._arena, *self._step)
        else:
            _lilliput.begin(self._opened(), self._context)
        return self._advance(b"")

    def _reset(self):
        """Puts what training changes back to what the file holds, and forgets its state."""
        self._wanted = -1
        _lilliput.begin(self._opened(), self._context)
        status = _lilliput.reset(self._file, self._context, self._arena)
        while status >= _WANTS_PAGE:
            self._read_page(status - _WANTS_PAGE)
            status = _lilliput.reset(self._file, self._context, self._arena)

    def _advance(self, rows):
        status = _lilliput.run(self._file, self._context, self._arena, rows)
        while status >= _WANTS_PAGE:
            self._read_page(status - _WANTS_PAGE)
            status = _lilliput.run(self._file, self._context, self._arena, rows)
        return status

    def _read_page(self, segment):
        first = _lilliput.field(self._file, _PAGE_OFFSET, segment)
        count = _lilliput.field(self._file, _PAGE_BYTES, segment)
        self._pages.seek(_lilliput.field(self._file, _PAGE_START, segment))
        if self._pages.readinto(memoryview(self._arena)[first : first + count]) != count:
            raise OSError(5, "cannot read the model's weights")

    def _check_pages(self):
        # The arena is free until the first inference: a buffer to read the weights through.
        chunk = memoryview(self._arena)[: self.arena_bytes]
        checksum = 0
        self._pages.seek(_lilliput.field(self._file, _FRONT_BYTES, 0))
        count = self._pages.readinto(chunk)
        while count:
            checksum = _lilliput.checksum(chunk[:count], checksum)
            count = self._pages.readinto(chunk)
        if checksum != _lilliput.field(self._file, _CONSTANTS_CHECKSUM, 0):
            raise ValueError("model file is damaged (weights): copy it again")

    def _run(self, x, raw):
        wanted = self._start()
        several = isinstance(x, _SEQUENCES)
        count = len(x) if several else 1
        if count != len(self.inputs):
            raise ValueError(
                "the model has %d inputs, %d given: pass a list with a buffer for each"
                % (len(self.inputs), count)
            )
        while wanted != _DONE:
            index = wanted
            rows = x[index] if several else x
            if raw:
                rows = _signed(rows)
            wanted = self._advance(rows)
            if wanted == index:
                size = self.inputs[index].size
                raise ValueError("input %d is too small: the model takes %d values" % (index, size))
        self._wanted = _DONE

    def _read(self, out):
        if len(self.outputs) == 1:
            return self._values(0, out)
        if out is None:
            # Not a comprehension: its closure would be allocated whether it runs or not.
            return list(map(self._values, range(len(self.outputs))))
        if len(out) != len(self.outputs):
            raise ValueError("the model has %d outputs, out has %d" % (len(self.outputs), len(out)))
        for i in range(len(out)):
            self._values(i, out[i])
        return out

    def _values(self, index, out=None):
        file = self._opened()
        if out is None:
            out = self.outputs[index].buffer()
        _lilliput.read_output(file, self._arena, index, out)
        return out

    def _label(self, index):
        # Not from the list of labels: a thousand strings do not fit beside every model.
        file = self._opened()
        first = _lilliput.field(file, _LABELS_OFFSET, 0)
        text = bytes(memoryview(file)[first : first + _lilliput.field(file, _LABELS_BYTES, 0)])
        begin = 0
        for _ in range(index):
            begin = text.find(b"\n", begin) + 1
            if not begin:
                return index
        end = text.find(b"\n", begin)
        return str(text[begin : end if end >= 0 else len(text)], "utf-8") if text else index


def load(source, arena=None):
    """Loads a .lil model from a path, or from a buffer that holds the file.

    A file in a ROMFS, or a buffer, is used in place. Of a paged file only the front is read into
    RAM, and its weights are read into the arena as an inference needs them; any other file is read
    into RAM whole.
    arena: a bytearray of at least arena_bytes to work in, instead of a new one.
    OSError: no such file. ValueError: not a sound model. MemoryError: says how much is missing.
    """
    if hasattr(source, "__fspath__"):
        source = source.__fspath__()
    return _load_file(source, arena) if isinstance(source, str) else Model(source, arena)


def _load_file(path, arena):
    try:
        size = os.stat(path)[6]
        file = open(path, "rb")
    except OSError as error:
        raise OSError(error.args[0], "cannot read model '%s'" % path)
    pages = None
    try:
        try:
            data = memoryview(file)  # a ROMFS: the file's bytes where they lie
        except TypeError:
            data = _read(file, size, path)
            if len(data) < size:
                pages = file
        model = Model(data, arena, pages)
    except BaseException:
        pages = None
        raise
    finally:
        if pages is None:
            file.close()
    return model


def _read(file, size, path):
    """The front of a paged file, or all of another."""
    try:
        head = file.read(128)
    except MemoryError:
        head = b""
    hold = None
    is_model = len(head) == 128 and head[:4] == b"LIL\x1a"
    if is_model and _lilliput.field(head, _IS_PAGED, 0):
        front = _lilliput.field(head, _FRONT_BYTES, 0)
        if 0 < front < size:
            size = front
            gc.collect()
            try:
                # The arena needs one piece of the heap: the front is to lie beside its place.
                hold = bytearray(_lilliput.field(head, _ARENA_BYTES, 0))
            except (MemoryError, ValueError, OverflowError):
                pass
    data = _allocate(size, "model '%s' (put it in a ROMFS, or convert it with --paged)" % path)
    del hold
    file.seek(0)
    if file.readinto(data) != size:
        raise OSError(5, "cannot read model '%s' whole" % path)
    return data


def _allocate(size, purpose):
    gc.collect()
    try:
        return bytearray(size)
    except MemoryError:
        pass
    free = gc.mem_free() if hasattr(gc, "mem_free") else 0
    raise MemoryError(
        "%d bytes wanted for %s, %d free: load it earlier, before the heap is in pieces, "
        "or convert with --sram" % (size, purpose, free)
    )


def _signed(rows):
    return array("b", rows if isinstance(rows, (bytes, bytearray)) else bytes(rows))


def _reals(port, values):
    scale = port.scale
    zero_point = port.zero_point
    return array("f", [scale * (value - zero_point) for value in values])
