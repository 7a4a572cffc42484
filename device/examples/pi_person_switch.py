"""person_switch.py for a Raspberry Pi: the same model, Blinka's pins and picamera2's pictures.

pip install "lilliput[blinka]"
"""

import board
import digitalio
from picamera2 import Picamera2

import lilliput


def main(path="person.lil", pin="D17"):
    model = lilliput.load(path)
    _, height, width, _ = model.input.shape
    camera = Picamera2()
    rgb = {"size": (width, height), "format": "BGR888"}  # picamera2 names the bytes backwards
    camera.configure(camera.create_video_configuration(rgb))
    camera.start()
    is_on = False
    with digitalio.DigitalInOut(getattr(board, pin)) as lamp:
        lamp.switch_to_output(is_on)
        while True:
            model.infer(camera.capture_array())
            is_on = dict(model.top(2))["person"] > (0.4 if is_on else 0.6)
            lamp.value = is_on


if __name__ == "__main__":
    main()
