"""Runs a model again and again without allocating anything, and prints the time it takes."""

import time

import lilliput

model = lilliput.load("/person.lil")
frame = bytearray(model.input.size)
scores = model.output.buffer()
while True:
    started = time.ticks_us()
    model.infer(frame, scores)
    print(time.ticks_diff(time.ticks_us(), started), "us", model.top(1))
