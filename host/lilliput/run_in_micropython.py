"""Runs one inference in MicroPython for `lilliput run --on`, in a folder made for it.

The folder holds `model.lil`, the inputs, and `request.json` with their files and typecodes. The
raw outputs, as base64, and what else there is to tell go to standard output as one line of JSON.
"""

# ruff: noqa: PTH123 (MicroPython has no pathlib)

import binascii
import json
import time
from array import array

import lilliput

with open("request.json") as file:
    request = json.load(file)
inputs = []
for name, typecode in request["inputs"]:
    with open(name, "rb") as file:
        inputs.append(array(typecode, file.read()))
model = lilliput.load("model.lil")
outputs = [port.buffer() for port in model.outputs]
started = time.ticks_us()  # type: ignore[attr-defined]
model.infer(inputs, outputs if len(outputs) > 1 else outputs[0])
microseconds = time.ticks_diff(time.ticks_us(), started)  # type: ignore[attr-defined]
told = {"microseconds": microseconds, "arena_bytes": model.arena_bytes}
told["outputs"] = [str(binascii.b2a_base64(bytes(values)), "ascii") for values in outputs]
print(json.dumps(told))
