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
    while True:
        look(model, camera)
        score = dict(model.top(2))["person"]
        # What is on stays on a little longer: a score near the threshold would make it flicker.
        lamp.value(score > (0.4 if lamp.value() else 0.6))


if __name__ == "__main__":
    main()
