"""Feeds a model a camera's picture row by row, so that no second picture is ever held.

The camera is that of github.com/cnadler86/micropython-camera-API, as on ESP32-S3 boards.
"""

from camera import Camera, FrameSize, PixelFormat

import lilliput


def rows(frame, frame_width, frame_height, shape):
    """Yields the middle of an RGB565 frame as the RGB rows of a model's input.

    frame: two bytes a pixel, the high one first. shape: of the input, (1, height, width, 3).
    """
    _, height, width, _ = shape
    step = min(frame_width // width, frame_height // height)
    if not step:
        raise ValueError("the camera's picture is smaller than %dx%d" % (width, height))
    left = (frame_width - step * width) // 2
    top = (frame_height - step * height) // 2
    row = bytearray(3 * width)
    for y in range(height):
        pixel = 2 * ((top + step * y) * frame_width + left)
        for x in range(0, 3 * width, 3):
            high, low = frame[pixel], frame[pixel + 1]
            row[x] = high & 0xF8
            row[x + 1] = (high << 5 | low >> 3) & 0xFC
            row[x + 2] = low << 3 & 0xF8
            pixel += 2 * step
        yield row


def pictures(shape):
    """Yields one picture of the camera after the other, each as the rows of a model's input."""
    camera = Camera(frame_size=FrameSize.QQVGA, pixel_format=PixelFormat.RGB565)
    while True:
        yield rows(camera.capture(), camera.pixel_width, camera.pixel_height, shape)
        camera.free_buffer()


def main(path="/person.lil"):
    model = lilliput.load(path)
    for picture in pictures(model.input.shape):
        model.infer(picture)
        for label, score in model.top(1):
            print("%s %.2f" % (label, score))


if __name__ == "__main__":
    main()
