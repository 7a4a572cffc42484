"""Defines what shows a model's inferences: prints pictures and scores. Runs in MicroPython.

The lines it prints: "M" and a tuple (height, width, channels of what is shown, bytes of the model's
arena); then for each picture a "P" and base64 for each of its rows, and "F", the inference's
microseconds and the best classes.
"""

import time
from binascii import b2a_base64

import lilliput


def show_(path, pictures, widest, best):
    """Runs the model at `path` on what `pictures(shape)` yields: pictures, whole or in rows.

    widest: of a picture that is wider, every second pixel and row is shown, or every third, ...
    """
    model = lilliput.load(path)
    height, width, channels = ((1, 1) + model.input.shape)[-3:]  # noqa: RUF005
    length = width * channels
    step = (width + widest - 1) // widest
    height, width = (height + step - 1) // step, (width + step - 1) // step
    shown = bytearray(width * channels)
    print("M", (height, width, channels, model.arena_bytes))
    for picture in pictures(model.input.shape):
        y = microseconds = 0
        is_done = False
        is_in_rows = hasattr(picture, "send") or hasattr(picture, "__next__")
        for rows in picture if is_in_rows else (picture,):
            started = time.ticks_us()
            is_done = model.feed(rows)
            microseconds += time.ticks_diff(time.ticks_us(), started)
            rows = memoryview(rows)
            for start in range(0, len(rows), length):
                if y % step == 0:
                    for i in range(0, len(shown), channels):
                        pixel = start + i * step
                        shown[i : i + channels] = rows[pixel : pixel + channels]
                    print("P", str(b2a_base64(shown), "utf-8"), end="")
                y += 1
            if is_done:
                break
        if not is_done:
            raise ValueError("the picture ended before the model's input was complete")
        print("F", microseconds, model.top(best))
