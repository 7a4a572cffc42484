"""A simulated picamera2, for computers without a camera: shows the pictures of an .npy file.

Of the real package's interface, it has what the example uses. After the last picture it raises
EOFError, which ends the example.
"""

import numpy as np


class Picamera2:
    pictures = "pictures.npy"  # uint8, [pictures, height, width, RGB]

    def __init__(self):
        self._pictures = iter(np.load(self.pictures))
        self._is_started = False

    def create_video_configuration(self, main):
        return {"main": main}

    def configure(self, configuration):
        if configuration["main"]["format"] != "BGR888":
            raise ValueError("the simulated camera has BGR888 only")
        self._size = configuration["main"]["size"]

    def start(self):
        self._is_started = True

    def capture_array(self):
        if not self._is_started:
            raise RuntimeError("the camera is not started")
        for picture in self._pictures:
            height, width, _ = picture.shape
            if (width, height) != self._size:
                raise ValueError("the pictures have %dx%d pixels" % (width, height))
            return picture
        raise EOFError("no more pictures")
