"""Switches a pin on while a person is in view: visual wake words.

The model has a class labelled "person": convert it with `--labels`.
"""

from camera_rows import look, open_camera
from machine import Pin

import lilliput


def main(path="/person.lil"):
    model = lilliput.load(path)
    camera = open_camera()
    lamp = Pin("LED", Pin.OUT)
    is_on = False
    while True:
        look(model, camera)
        # Two thresholds: with a single one, a score near it would make the lamp flicker.
        is_on = dict(model.top(2))["person"] > (0.4 if is_on else 0.6)
        lamp.value(is_on)


if __name__ == "__main__":
    main()
