"""A scripted session with a board that is taught, the same in MicroPython and CPython.

Called with a folder that holds `trainable.lil`, `samples.bin` (int8, one behind the other) and
`labels.bin` (bytes). Prints every loss, a checksum of what was trained, and what teach.py does.
"""

# ruff: noqa: PTH116, PTH123, UP031

import os
import struct
import sys
from array import array

import lilliput

try:
    from lilliput.train import Trainer, cosine
except ImportError:
    from lilliput.runtime.train import Trainer, cosine

STEPS = 100


def read(folder, name):
    with open(folder + "/" + name, "rb") as file:
        return file.read()


def checksum(model):
    """Of all that training has changed, and its state but for the learning rate."""
    import binascii

    size = struct.unpack_from("<I", read(FOLDER, "bytes.bin"))[0]
    return binascii.crc32(bytes(memoryview(model._arena)[:size])) & 0xFFFFFFFF


FOLDER = sys.argv[1]
model = lilliput.load(FOLDER + "/trainable.lil")
size = model.input.size
samples = array("b", read(FOLDER, "samples.bin"))
labels = read(FOLDER, "labels.bin")
count = len(labels)
trainer = Trainer(model, lr=0.01, seed=5)
for step in range(STEPS):
    trainer.lr = cosine(0.02, step, STEPS)
    i = step % count
    loss, scores = trainer.step(samples[i * size : (i + 1) * size], labels[i])
    print("loss %.6f %s" % (loss, list(scores)))
print("trained", checksum(model))

path = FOLDER + "/learned"
trainer.save(path)
print("saved", os.stat(path)[6])
pairs = [(samples[i * size : (i + 1) * size], labels[i]) for i in range(count)]
right = trainer.evaluate(pairs)
print("right %.4f" % right)
trainer.reset()
print("reset %.4f" % trainer.evaluate(pairs), trainer.steps)
other = lilliput.load(FOLDER + "/trainable.lil")
other.apply(path)
print("applied %.4f" % Trainer(other).evaluate(pairs))

sys.path.insert(0, FOLDER)
from teach import Teacher  # noqa: E402

shown = [0]


def take():
    return pairs[shown[0]][0]


def teach():
    return Teacher(FOLDER + "/trainable.lil", take, FOLDER + "/taught", steps=3, lr=0.02)


teacher = teach()
print("knows", teacher.knows)
for _ in range(4):
    for shown[0] in range(6):
        loss = teacher.show(pairs[shown[0]][1])
print("taught %.4f" % loss)
shown[0] = 0
print("sees", teacher.what()[0], pairs[0][1])
teacher = teach()  # the board was reset
print("knows", teacher.knows)
print("sees", teacher.what()[0], pairs[0][1])
teacher.forget()
print("knows", teacher.knows, teach().knows)
