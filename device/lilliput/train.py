"""Trains a model made by `lilliput train-plan`, a sample at a time, and keeps what it learned.

The same code runs on MicroPython (1.24 and later) and on CPython, with the same numbers.
"""

import math
import os
import struct
from array import array

from .model import _lilliput, _signed, const

_TRAINING_BYTES = const(26)
_TARGET_BYTES = const(27)
_CLASS_COUNT = const(28)
_TRAINED_START = const(29)
_IS_PAGED = const(24)

# native_modules/core/lil_format.h: lil_training
_STATE = "<IIiiiiII"
_INT32_MAX = const(0x7FFFFFFF)
_RATE_BITS = const(12)

# A delta file: magic, version, the model's checksum, bytes trained, steps, seed; then, until all
# bytes are accounted for, (unchanged bytes, changed bytes) as varints and the changed bytes; then a
# CRC-32 of all before.
_DELTA = "<4sIIIII"
_DELTA_BYTES = const(24)
_VERSION = const(1)
_LEAST_GAP = const(4)  # unchanged bytes that are worth a new run


class Trainer:
    """Trains a model. Training changes the model's own arena: model.infer uses what was learned.

    lr: learning rate of the next steps, may be set at any time; 12 bits of it count, so that it is
    the same in floats of 32 and 64 bits. seed: of the stochastic rounding; the same seed, samples
    and learning rates give the same numbers on every platform.
    RuntimeError: the native module is one for inference alone.
    loss: of the last step. saturated: gradients of the last step that did not fit 16 bits.
    trouble: None, or what went wrong: then save() refuses until reset() or model.apply().
    """

    def __init__(self, model, lr=0.01, seed=0):
        file = model._opened()
        _need_training()
        self._size = _lilliput.field(file, _TRAINING_BYTES, 0)
        if not self._size:
            raise ValueError("the model is not trainable: make it so with `lilliput train-plan`")
        self.model = model
        self.classes = _lilliput.field(file, _CLASS_COUNT, 0)
        self._label = array("i", (0,))
        self._scores = None
        self.lr = lr
        self._set_seed(seed)
        self._forget()

    @property
    def lr(self):
        return self._lr

    @lr.setter
    def lr(self, value):
        if not 0 <= value < 2147483648:  # refuses a NaN, too
            raise ValueError("learning rate %r: give 0 or more" % (value,))
        mantissa, self._exponent = _parts(value)
        self._mantissa = mantissa << (31 - _RATE_BITS)
        if self._exponent < -64:
            self._mantissa = self._exponent = 0
        self._lr = value

    @property
    def steps(self):
        """Steps since the last reset."""
        return self._state()[1]

    def step(self, x, label, raw=False):
        """One step: learns that x has this label. Returns (loss, scores before the step).

        x: as for model.infer. label: the class, an int; for a model trained on the squared error
        the output wanted, in int8: see target(). `scores` is overwritten by the next step.
        ValueError: x or label does not fit the model. OverflowError: the gradients explode; see
        `trouble`.
        """
        model = self.model
        if self.classes:
            if not 0 <= label < self.classes:
                raise ValueError(
                    "label %d: the model has classes 0 to %d" % (label, self.classes - 1)
                )
            self._label[0] = label
            label = self._label
        elif isinstance(label, int):
            raise ValueError("the model learns outputs, not classes: pass an int8 buffer of one")
        if self._scores is None:
            self._scores = model.output.buffer()
        model._step = (label, self._mantissa, self._exponent)
        try:
            scores = model.infer(x, self._scores, raw)
        finally:
            model._step = None
        state = self._state()
        self.loss = state[4] / 65536
        self.saturated = state[6]
        if state[4] == _INT32_MAX or state[6] > self._size >> 4:
            self.trouble = "the gradients of step %d explode (loss %g, %d do not fit)" % (
                state[1],
                self.loss,
                state[6],
            )
            raise OverflowError(
                self.trouble + ": reset() or apply() the last save, and lower the learning rate"
            )
        return self.loss, scores

    def target(self, reals):
        """The int8 array that step takes, of the outputs wanted in reals."""
        port = self.model.output
        steps = [math.floor(real / port.scale + 0.5) + port.zero_point for real in reals]
        return array("b", [min(max(step, -128), 127) for step in steps])

    def evaluate(self, samples, raw=False):
        """The fraction of samples, (x, label), that the model gets right, where the first of equal
        scores counts; trained on the squared error: the mean of that, in reals. ValueError: there
        are none."""
        model = self.model
        count = total = 0
        out = model.output.buffer()
        for x, label in samples:
            model.infer(x, out, raw)
            count += 1
            if self.classes:
                total += label == max(range(len(out)), key=lambda i: out[i])
            else:
                label = _signed(label)
                if len(label) != len(out):
                    raise ValueError("%d numbers wanted of %d outputs" % (len(label), len(out)))
                total += sum([(out[i] - label[i]) ** 2 for i in range(len(out))]) / len(out)
        if not count:
            raise ValueError("no samples to evaluate")
        return total / count * (1 if self.classes else model.output.scale**2)

    def save(self, path):
        """Writes what was learned to a small file for model.apply, in place of the last one there.

        The file is written beside it, synced and renamed: losing power loses this save at most.
        OSError: it cannot be written; the last one is still there. ValueError: see `trouble`.
        """
        if self.trouble:
            raise ValueError("not saved, " + self.trouble)
        model = self.model
        arena = memoryview(model._arena)
        size = self._size
        if model.arena_bytes >= 2 * size and not _lilliput.field(model._file, _IS_PAGED, 0):
            learned = arena[size : 2 * size]  # free between two steps
        else:
            learned = memoryview(bytearray(size))
        learned[:] = arena[:size]
        try:
            model._reset()
            with open(path + ".new", "wb") as file:
                _write(file, model, learned, arena)
                _sync(file)
        finally:
            arena[:size] = learned
        _replace(path + ".new", path)

    def reset(self, seed=None):
        """Forgets what was learned; files stay. Begins again with the seed, if one is given."""
        if seed is None:
            seed = self._state()[0]
        self.model._reset()
        self._set_seed(seed)
        self._forget()

    def _forget(self):
        self.loss = None
        self.saturated = 0
        self.trouble = None

    def _state(self):
        return struct.unpack_from(_STATE, self.model._arena, 0)

    def _set_seed(self, seed):
        struct.pack_into("<I", self.model._arena, 0, seed & 0xFFFFFFFF)


def cosine(lr, step, steps):
    """The learning rate of a step of so many, falling from lr to 0 along half a cosine.

    In integers, by Bhaskara's formula for the cosine: it is the same on every platform, and within
    0.3% of lr.
    """
    step = min(step, steps)
    mantissa, exponent = _parts(lr)
    near, far = 4 * (steps**2 - step**2), 4 * steps**2 + step**2
    share = ((near**2 << (_RATE_BITS + 1)) // far**2 + 1) >> 1
    return math.ldexp(mantissa * share, exponent - 2 * _RATE_BITS)


def _parts(rate):
    """A learning rate as an integer of _RATE_BITS bits and an exponent: rate = integer *
    2^(exponent - _RATE_BITS)."""
    mantissa, exponent = math.frexp(rate)
    integer = (int(mantissa * (2 << _RATE_BITS)) + 1) >> 1
    if integer >> _RATE_BITS:
        return integer >> 1, exponent + 1
    return integer, exponent


def _need_training():
    if not hasattr(_lilliput, "reset"):
        raise RuntimeError("this _lilliput is for inference alone: install _lilliput_train")


def apply(model, path):
    """Takes over what a Trainer of the same model saved; model.apply calls it.

    OSError: no such file. ValueError: it is damaged or another model's; nothing changes then.
    RuntimeError: the native module is one for inference alone.
    """
    _need_training()
    try:
        file = open(path, "rb")
    except OSError as error:
        try:
            file = open(path + ".new", "rb")  # power was lost between removing and renaming
        except OSError:
            raise error
    with file:
        source = _Reader(file)
        size = _lilliput.field(model._opened(), _TRAINING_BYTES, 0)
        head = _check(source, model, size, path)
        file.seek(0)
        source = _Reader(file)
        source.read(_DELTA_BYTES)
        model._reset()
        arena = memoryview(model._arena)
        _read_runs(source, arena, _lilliput.field(model._file, _TRAINED_START, 0), size)
    struct.pack_into("<II", arena, 0, head[5], head[4])


def _check(source, model, size, path):
    """Reads a whole delta without a change to the model. Returns its head."""
    data = source.read(_DELTA_BYTES)
    if len(data) < _DELTA_BYTES:
        raise ValueError("'%s' is cut short: save it again" % path)
    head = struct.unpack(_DELTA, data)
    if head[0] != b"LILD" or head[1] != _VERSION:
        raise ValueError("'%s' is not what a Trainer of this version saves" % path)
    if not size or head[2] != _checksum_of(model) or head[3] != size:
        raise ValueError("'%s' was saved for another model" % path)
    try:
        _read_runs(source, None, _lilliput.field(model._file, _TRAINED_START, 0), size)
        checksum = source.checksum & 0xFFFFFFFF
        is_sound = source.read(4) == struct.pack("<I", checksum) and not source.read(1)
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ValueError("'%s' is damaged: save it again" % path)
    return head


def _checksum_of(model):
    return struct.unpack_from("<I", model._file, 12)[0]


class _Writer:
    """Writes a few bytes at a time, with a running checksum."""

    def __init__(self, file):
        self._file = file
        self._buffer = bytearray()
        self.checksum = 0

    def write(self, data):
        self._buffer.extend(data)
        if len(self._buffer) >= 256:
            self.flush()

    def number(self, value):
        while value > 127:
            self._buffer.append(value & 127 | 128)
            value >>= 7
        self._buffer.append(value)

    def flush(self):
        self.checksum = _lilliput.checksum(self._buffer, self.checksum)
        if self._file.write(self._buffer) != len(self._buffer):
            raise OSError(28, "no room for all of the file")
        self._buffer = bytearray()


class _Reader:
    """Reads what _Writer wrote."""

    def __init__(self, file):
        self._file = file
        self.checksum = 0

    def read(self, count):
        data = self._file.read(count)
        self.checksum = _lilliput.checksum(data, self.checksum)
        return data

    def number(self):
        value = shift = 0
        while shift < 35:
            data = self.read(1)
            if not data:
                break
            value |= (data[0] & 127) << shift
            if data[0] < 128:
                return value
            shift += 7
        raise ValueError


def _write(file, model, learned, base):
    out = _Writer(file)
    state = struct.unpack_from("<II", learned, 0)
    size = len(learned)
    out.write(struct.pack(_DELTA, b"LILD", _VERSION, _checksum_of(model), size, state[1], state[0]))
    end = start = _lilliput.field(model._file, _TRAINED_START, 0)
    while start < size:
        start = _next_change(learned, base, end, size)
        stop = _end_of_change(learned, base, start, size)
        out.number(start - end)
        out.number(stop - start)
        out.write(learned[start:stop])
        start = end = stop
    out.flush()
    out.write(struct.pack("<I", out.checksum & 0xFFFFFFFF))
    out.flush()


def _next_change(a, b, i, size):
    """The first place from i on where a and b differ."""
    while i + 32 <= size and a[i : i + 32] == b[i : i + 32]:
        i += 32
    while i < size and a[i] == b[i]:
        i += 1
    return i


def _end_of_change(a, b, i, size):
    """The place behind a run of changes, which short gaps do not end."""
    end = i
    while i < size and i - end < _LEAST_GAP:
        if a[i] != b[i]:
            end = i + 1
        i += 1
    return end


def _read_runs(source, arena, position, size):
    """Puts changed bytes into the arena; with None only checks them."""
    while position < size:
        position += source.number()
        count = source.number()
        if position + count > size or (not count and position < size):
            raise ValueError
        while count:
            data = source.read(min(count, 256))
            if not data:
                raise ValueError
            if arena is not None:
                arena[position : position + len(data)] = data
            position += len(data)
            count -= len(data)


def _sync(file):
    file.flush()
    if hasattr(os, "fsync"):
        os.fsync(file.fileno())
    elif hasattr(os, "sync"):
        file.close()  # a FAT's entry is complete when the file is closed
        os.sync()


def _replace(new, path):
    if hasattr(os, "replace"):
        os.replace(new, path)
        return
    try:
        os.rename(new, path)  # littlefs replaces the last one
    except OSError:
        os.remove(path)
        os.rename(new, path)
    if hasattr(os, "sync"):
        os.sync()
