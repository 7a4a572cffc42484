"""Stands for a camera on an emulated board: the pictures of a file, again and again."""

# ruff: noqa: PTH123 (MicroPython has no pathlib)


def pictures(shape):
    """Yields each picture of /rom/pictures, as large as a model's input."""
    _, height, width, channels = shape
    while True:
        with open("/rom/pictures", "rb") as file:
            picture = file.read(height * width * channels)
            while picture:
                yield picture
                picture = file.read(height * width * channels)
