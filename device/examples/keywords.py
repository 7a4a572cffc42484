"""Spots keywords in a stream of features, with a ring buffer of the last second.

A front end makes one frame of features (such as 10 MFCCs, quantised as model.input says) of every
20 ms of sound; here a file stands for it.
"""

from array import array

import lilliput

FRAMES_A_LOOK = 5  # 100 ms
SURE = 0.7


class Ring:
    """The newest frames of features; its rows are a model's input, the oldest first."""

    def __init__(self, frames, features):
        self._values = memoryview(array("b", bytes(frames * features)))
        self._features = features
        self._oldest = 0

    def read(self, readinto):
        """Lets readinto(buffer) replace the oldest frame; returns what it returns."""
        end = self._oldest + self._features
        count = readinto(self._values[self._oldest : end])
        self._oldest = end % len(self._values)
        return count

    def rows(self):
        yield self._values[self._oldest :]
        yield self._values[: self._oldest]


def listen(model, readinto):
    """Yields each keyword that is heard, once, until readinto(buffer) returns 0."""
    _, frames, features, _ = model.input.shape
    ring = Ring(frames, features)
    heard = None
    while True:
        for _ in range(FRAMES_A_LOOK):
            if not ring.read(readinto):
                return
        model.infer(ring.rows())
        label, score = model.top(1)[0]
        if score < SURE:
            heard = None
        elif label != heard:
            heard = label
            yield label


def main(path="/keywords.lil", features="/features.bin"):
    model = lilliput.load(path)
    with open(features, "rb") as sound:
        for keyword in listen(model, sound.readinto):
            print(keyword)


if __name__ == "__main__":
    main()
