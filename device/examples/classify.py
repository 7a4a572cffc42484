"""Classifies one picture: a PPM file (P6) as large as the model's input.

On a computer, `convert photo.jpg -resize 96x96! photo.ppm` makes one.
"""

import lilliput


def classify(model, path):
    """The three best (label, score) of the picture; its pixels are read row by row."""
    _, height, width, _ = model.input.shape
    with open(path, "rb") as picture:
        header = [picture.readline().strip() for _ in range(3)]
        if header != [b"P6", b"%d %d" % (width, height), b"255"]:
            raise ValueError("%s is no PPM file of %dx%d RGB pixels" % (path, width, height))
        model.infer(picture)
    return model.top(3)


def main(model="/person.lil", picture="/photo.ppm"):
    with lilliput.load(model) as loaded:
        for label, score in classify(loaded, picture):
            print("%s %.2f" % (label, score))


if __name__ == "__main__":
    main()
