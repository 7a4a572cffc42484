"""Classifies one image: raw RGB or grey pixels in a file, as large as the model's input."""

import lilliput

with lilliput.load("/person.lil") as model:
    with open("/photo.rgb", "rb") as file:
        pixels = file.read()
    model.infer(pixels)
    for label, score in model.top(3):
        print(label, score)
