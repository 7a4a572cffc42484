"""A simulated camera, for boards without one: it shows the RGB565 pictures of a file in turn.

Of the real module's interface, it has what the examples use. At the end of the file it raises
EOFError, which ends them.
"""


class FrameSize:
    R96X96 = (96, 96)
    QQVGA = (160, 120)
    QVGA = (320, 240)


class PixelFormat:
    RGB565 = 0


class Camera:
    pictures = "/pictures.rgb565"

    def __init__(self, frame_size=FrameSize.QVGA, pixel_format=PixelFormat.RGB565):
        if pixel_format != PixelFormat.RGB565:
            raise ValueError("the simulated camera has RGB565 only")
        self.pixel_width, self.pixel_height = frame_size
        self._frame = bytearray(2 * self.pixel_width * self.pixel_height)
        self._file = open(self.pictures, "rb")

    def capture(self):
        if self._file.readinto(self._frame) != len(self._frame):
            raise EOFError("no more pictures")
        return memoryview(self._frame)

    def free_buffer(self):
        pass
