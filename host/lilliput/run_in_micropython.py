"""Runs one inference in MicroPython for `lilliput run --on unix`, in a folder made for it.

The folder holds `model.lil`, the inputs, and `request.json` with their files and typecodes. The
raw outputs go to `output0.bin` and on, what else there is to tell goes to standard output as JSON.
"""

# ruff: noqa: PTH123, UP031 (MicroPython has no pathlib)

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
for index, values in enumerate(outputs):
    with open("output%d.bin" % index, "wb") as file:
        file.write(values)
print(json.dumps({"microseconds": microseconds, "arena_bytes": model.arena_bytes}))
