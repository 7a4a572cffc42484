"""Feeds a model row by row, so that the picture is never held whole."""

import lilliput


def run(model, read_row):
    """Runs one inference; read_row(buffer) fills a bytearray with the next row of pixels."""
    _, _, width, channels = model.input.shape
    row = bytearray(width * channels)
    finished = False
    while not finished:
        read_row(row)
        finished = model.feed(row)
    return model.infer()


def main():
    model = lilliput.load("/person.lil")
    with open("/photo.rgb", "rb") as camera:
        print(run(model, camera.readinto))


if __name__ == "__main__":
    main()
