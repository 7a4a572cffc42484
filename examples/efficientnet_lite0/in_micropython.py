"""Classifies photographs in MicroPython, fed row by row, for classify.py.

Runs as main.py of a ROMFS that also holds `model.lil`, in a folder with the photographs as raw RGB,
whose names are the arguments. Prints a JSON object for each; the raw logits of photograph X go to
`X.logits`.
"""

# ruff: noqa: PTH123, UP031 (MicroPython has no pathlib)

import gc
import json
import sys
import time

import lilliput


def best_of(values):
    """Index of the greatest value."""
    best = 0
    for index, value in enumerate(values):
        if value > values[best]:
            best = index
    return best


model = lilliput.load("/rom/model.lil")  # used where it lies
_, height, width, channels = model.input.shape
row = bytearray(width * channels)
logits = model.output.buffer()
gc.collect()
for name in sys.argv[1:]:
    with open(name, "rb") as camera:
        started = time.ticks_us()
        finished = False
        while not finished:
            camera.readinto(row)
            finished = model.feed(row)
        model.infer(None, logits)
        taken = time.ticks_diff(time.ticks_us(), started)
    with open("%s.logits" % name, "wb") as file:
        file.write(logits)
    told = {
        "name": name,
        "class": best_of(logits),
        "microseconds": taken,
        "arena_bytes": model.arena_bytes,
    }
    print(json.dumps(told))
