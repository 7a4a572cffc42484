"""One inference on a test vector, the same on the board and on the host.

The input is made of one pattern: row y is a piece of it that begins at another place. So a board
holds a few hundred bytes of it, not a picture.
"""

# ruff: noqa: RUF005

import time

_PLACES = 256  # a pattern has so many bytes more than the widest row


def row(pattern, length, y, index):
    """Row y of input `index`, of `length` int8, as a view of the pattern, an array('b')."""
    start = (y * 89 + index * 57) % _PLACES
    return memoryview(pattern)[start : start + length]


def row_lengths(model):
    """Values in a row of each input."""
    lengths = []
    for port in model.inputs:
        shape = (1, 1) + port.shape  # MicroPython unpacks nothing in displays
        lengths.append(shape[-2] * shape[-1])
    return lengths


def infer(model, pattern, whole):
    """The outputs (a list of arrays) and the microseconds of an inference on the test vector.

    whole: pass each input in one buffer; else row by row, which needs no memory for it.
    """
    lengths = row_lengths(model)
    ticks = getattr(time, "ticks_us", None)
    if whole:
        inputs = [port.buffer() for port in model.inputs]
        for i, values in enumerate(inputs):
            view = memoryview(values)
            for y in range(len(values) // lengths[i]):
                view[y * lengths[i] : (y + 1) * lengths[i]] = row(pattern, lengths[i], y, i)
        started = ticks() if ticks else 0
        outputs = model.infer(inputs)
    else:
        rows = [0] * len(lengths)
        is_done = False
        started = ticks() if ticks else 0
        while not is_done:
            i = model.wanted
            is_done = model.feed(row(pattern, lengths[i], rows[i], i))
            rows[i] += 1
        outputs = model.infer()
    microseconds = time.ticks_diff(ticks(), started) if ticks else 0
    return (outputs if len(model.outputs) > 1 else [outputs]), microseconds
