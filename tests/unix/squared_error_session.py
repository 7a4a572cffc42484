"""An autoencoder that is trained, the same in MicroPython and CPython.

Called with a folder that holds `trainable.lil` and `samples.bin` (int8, one behind the other).
Prints every loss, the errors before and after, and what is refused.
"""

# ruff: noqa: PTH123, UP031

import sys
from array import array

import lilliput

try:
    from lilliput.train import Trainer
except ImportError:
    from lilliput.runtime.train import Trainer

FOLDER = sys.argv[1]
model = lilliput.load(FOLDER + "/trainable.lil")
size = model.input.size
with open(FOLDER + "/samples.bin", "rb") as file:
    samples = array("b", file.read())
trainer = Trainer(model, lr=0.05, seed=5)
port = model.input
pairs = []
for i in range(0, len(samples), size):
    sample = samples[i : i + size]
    pairs.append((sample, trainer.target([port.scale * (v - port.zero_point) for v in sample])))
print("error %.6f" % trainer.evaluate(pairs))
for _ in range(4):
    for sample, target in pairs:
        print("loss %.6f %s" % (trainer.step(sample, target)[0], trainer.saturated))
print("error %.6f" % trainer.evaluate(pairs))
for target in (bytes(3), array("f", [0.5] * size), 2):
    try:
        trainer.step(samples[:size], target)
    except ValueError as error:
        print("refused", error)
