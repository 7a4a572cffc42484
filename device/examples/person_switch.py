"""Switches a pin on while a person is in view: visual wake words.

The model has a class labelled "person": convert it with `--labels`.
"""

from camera_rows import pictures
from machine import Pin

import lilliput


def main(path="/person.lil"):
    model = lilliput.load(path)
    lamp = Pin("LED", Pin.OUT)
    is_on = False
    for picture in pictures(model.input.shape):
        model.infer(picture)
        # Two thresholds: with a single one, a score near it would make the lamp flicker.
        is_on = dict(model.top(2))["person"] > (0.4 if is_on else 0.6)
        lamp.value(is_on)


if __name__ == "__main__":
    main()
