"""Runs in MicroPython: one inference, fed row by row, in a heap that the test has made small.

The argument is the model's path; /rom holds the int8 input and the output that LiteRT gives. Prints
one line: the arena's bytes, and those of the heap that are in use with the model loaded.
"""

# ruff: noqa: PTH123, RUF005, UP031

import gc
import sys
from array import array

import lilliput


def main(path):
    model = lilliput.load(path)
    _, width, channels = ((1, 1) + model.input.shape)[-3:]
    row = array("b", bytes(width * channels))
    out = model.output.buffer()
    gc.collect()
    used = gc.mem_alloc()
    with open("/rom/input", "rb") as file:
        finished = False
        while not finished:
            if file.readinto(row) == 0:
                raise ValueError("the model wants more rows than its input has")
            finished = model.feed(row)
    model.infer(None, out)
    with open("/rom/output", "rb") as file:
        if file.read() != bytes(out):
            raise ValueError("the output is not LiteRT's")
    print("%d %d" % (model.arena_bytes, used))


main(sys.argv[1])
