"""Checks of the device package that run unchanged in MicroPython and CPython.

Called with a folder that holds `model.lil` (one input, uint8 table, four labels), `pixels.bin`
(uint8), `int8.bin` (the same through the table), `expected.bin` (its output), `paged.lil` (the same
model with paged weights), `torn.lil` (that with a damaged weight), and `pair.lil` (two inputs, two
outputs) with `pair_input0.bin`, `pair_input1.bin`, `pair_output0.bin` and `pair_output1.bin`.
Each check prints its name when it has passed.
"""

# ruff: noqa: B905, PTH123, UP031

import gc
import sys
from array import array

import lilliput

IS_MICROPYTHON = sys.implementation.name != "cpython"  # CircuitPython is one too
if IS_MICROPYTHON:
    import micropython

LABELS = ["cat", "dog", "größe", "rest"]


def read(folder, name):
    with open(folder + "/" + name, "rb") as file:
        return file.read()


def expect(error, words, function, *arguments, **options):
    """The function must raise the error with these words in its message."""
    try:
        function(*arguments, **options)
    except error as raised:
        text = str(raised)
        for word in words:
            assert word in text, "%r lacks %r" % (text, word)
        return
    raise AssertionError("%s was not raised" % error)


def check_ports(folder):
    model = lilliput.load(folder + "/model.lil")
    assert model.input.shape == (1, 12, 12, 3), model.input.shape
    assert model.input.dtype == "int8" and model.input.size == 432
    assert model.output.shape == (1, 4) and model.output.dtype == "int8"
    assert model.output.scale == 1 / 256 and model.output.zero_point == -128
    assert model.inputs[0] is model.input and model.outputs[0] is model.output
    assert model.arena_bytes > 0 and model.arena_bytes % 4 == 0
    assert model.labels == LABELS


def check_input_types(folder):
    model = lilliput.load(folder + "/model.lil")
    pixels, signed = read(folder, "pixels.bin"), read(folder, "int8.bin")
    expected = array("b", read(folder, "expected.bin"))
    reals = array("f", [value / 255 for value in pixels])
    assert model.infer(pixels) == expected
    assert model.infer(bytearray(pixels)) == expected
    assert model.infer(memoryview(pixels)) == expected
    assert model.infer(array("B", pixels)) == expected
    assert model.infer(array("b", signed)) == expected
    assert model.infer(memoryview(array("b", signed))) == expected
    assert model.infer(reals) == expected
    assert model.infer([pixels]) == expected
    assert model.infer(signed, raw=True) == expected
    assert model.infer(memoryview(signed), raw=True) == expected


def check_outputs(folder):
    model = lilliput.load(folder + "/model.lil")
    pixels = read(folder, "pixels.bin")
    expected = array("b", read(folder, "expected.bin"))
    out = array("b", [0] * 4)
    assert model.infer(pixels, out) is out and out == expected
    plain = bytearray(4)
    model.infer(pixels, out=plain)
    assert bytes(plain) == bytes(expected)
    [reals] = model.predict([pixels])
    for real, value in zip(reals, expected):
        assert real == (value + 128) / 256
    best = model.top(4)
    scores = [score for _, score in best]
    assert scores == sorted(scores, reverse=True)
    for label, score in best:
        assert score == (expected[LABELS.index(label)] + 128) / 256
    assert model.top(2) == best[:2] and model.top(99) == best and model.top(0) == []


def check_rows(folder):
    model = lilliput.load(folder + "/model.lil")
    pixels = read(folder, "pixels.bin")
    expected = array("b", read(folder, "expected.bin"))
    for rows in (1, 5, 12):
        step = rows * 12 * 3
        for begin in range(0, len(pixels), step):
            assert model.wanted == 0
            finished = model.feed(memoryview(pixels)[begin : begin + step])
            assert finished == (begin + step >= len(pixels))
        assert model.infer() == expected
    model.feed(pixels[:36])
    expect(ValueError, ["feed"], model.infer)
    expect(ValueError, ["infer"], model.top)
    expect(ValueError, ["size"], model.feed, pixels[:35])
    assert model.feed(pixels[36:])
    assert model.infer() == expected
    some_rows = (pixels[begin : begin + 72] for begin in range(0, len(pixels), 72))
    assert model.infer(some_rows) == expected
    with open(folder + "/pixels.bin", "rb") as camera:
        assert model.infer(camera) == expected
    with open(folder + "/pixels.bin", "rb") as camera:
        assert model.infer(camera.readinto) == expected
        expect(ValueError, ["ended", "shape"], model.infer, camera)
    expect(ValueError, ["ended"], model.infer, (rows for rows in [pixels[:36]]))
    assert model.infer(pixels) == expected


def check_loop_allocates_nothing(folder):
    if not IS_MICROPYTHON:
        return
    model = lilliput.load(folder + "/model.lil")
    pixels = bytearray(read(folder, "pixels.bin"))
    expected = array("b", read(folder, "expected.bin"))
    out = model.output.buffer()
    model.infer(pixels, out)
    out[0] = 0
    micropython.heap_lock()
    for _ in range(3):
        model.infer(pixels, out)
    micropython.heap_unlock()
    assert out == expected


def check_bad_buffers(folder):
    model = lilliput.load(folder + "/model.lil")
    pixels = read(folder, "pixels.bin")
    expected = array("b", read(folder, "expected.bin"))
    expect(ValueError, ["too small", "432"], model.infer, pixels[:-36])
    expect(ValueError, ["too small"], model.infer, b"")
    expect(ValueError, ["size"], model.infer, pixels[:-1])
    expect(ValueError, ["size"], model.infer, pixels + b"\x00" * 36)
    expect(ValueError, ["int8, uint8 or float32"], model.infer, array("h", [0] * 432))
    expect(ValueError, ["1 inputs, 2 given"], model.infer, [pixels, pixels])
    expect(ValueError, ["too small"], model.infer, pixels, bytearray(3))
    expect(TypeError, [], model.infer, 3)
    assert model.infer(pixels) == expected


def check_bad_files(folder):
    good = read(folder, "model.lil")
    for size in (0, 3, 40, len(good) - 1):
        expect(ValueError, [], lilliput.load, good[:size])
    for place, words in ((0, ["not a .lil"]), (4, ["version"]), (6, ["layout", "packed"])):
        bad = bytearray(good)
        bad[place] ^= 0x55
        try:
            lilliput.load(bad)
        except ValueError as error:
            assert any(word in str(error) for word in words), error
        else:
            raise AssertionError("a damaged file was loaded")
    for place in range(16, len(good), 41):
        bad = bytearray(good)
        bad[place] ^= 0x10
        expect(ValueError, [], lilliput.load, bad)
    expect(OSError, ["absent.lil"], lilliput.load, folder + "/absent.lil")


def check_arena(folder):
    pixels = read(folder, "pixels.bin")
    expected = array("b", read(folder, "expected.bin"))
    file = bytearray(read(folder, "model.lil"))
    size = lilliput.load(file).arena_bytes
    arena = bytearray(size)
    first = lilliput.load(file, arena)
    second = lilliput.load(file, arena=arena)
    assert first.infer(pixels) == expected and second.infer(pixels) == expected
    expect(ValueError, ["arena", str(size)], lilliput.load, file, bytearray(size - 1))
    odd = memoryview(bytearray(size + 8))[1:]
    expect(ValueError, ["align"], lilliput.load(file, odd).infer, pixels)


def check_any_alignment(folder):
    good = read(folder, "model.lil")
    pixels = read(folder, "pixels.bin")
    expected = array("b", read(folder, "expected.bin"))
    for shift in (1, 2, 3):
        shifted = bytearray(shift) + good
        assert lilliput.load(memoryview(shifted)[shift:]).infer(pixels) == expected


def check_paged_weights(folder):
    pixels = read(folder, "pixels.bin")
    expected = array("b", read(folder, "expected.bin"))
    path = folder + "/paged.lil"
    whole = read(folder, "paged.lil")
    model = lilliput.load(path)
    assert len(model._file) < len(whole)
    for _ in range(2):
        assert model.infer(pixels) == expected
    for begin in range(0, len(pixels), 36):
        model.feed(memoryview(pixels)[begin : begin + 36])
    assert model.infer() == expected
    assert model.labels == LABELS
    front = bytes(model._file)
    model.deinit()
    assert lilliput.load(whole).infer(pixels) == expected
    expect(ValueError, [], lilliput.load, front)
    expect(ValueError, ["damaged"], lilliput.load, folder + "/torn.lil")


def check_several_ports(folder):
    model = lilliput.load(folder + "/pair.lil")
    inputs = [array("b", read(folder, "pair_input%d.bin" % i)) for i in range(2)]
    expected = [array("b", read(folder, "pair_output%d.bin" % i)) for i in range(2)]
    assert len(model.inputs) == 2 and len(model.outputs) == 2
    assert model.infer(inputs) == expected
    out = [port.buffer() for port in model.outputs]
    assert model.infer(inputs, out) is out and out == expected
    expect(ValueError, ["2 inputs, 1 given"], model.infer, inputs[0])
    expect(ValueError, ["2 outputs, out has 1"], model.infer, inputs, out[:1])
    finished = False
    places = [0, 0]
    while not finished:
        index = model.wanted
        row = model.inputs[index].shape[2] * model.inputs[index].shape[3]
        place = places[index]
        finished = model.feed(memoryview(inputs[index])[place : place + row])
        places[index] += row
    assert model.infer() == expected
    assert [len(reals) for reals in model.predict(inputs)] == [len(array) for array in expected]


def check_deinit(folder):
    pixels = read(folder, "pixels.bin")
    with lilliput.load(folder + "/model.lil") as model:
        model.infer(pixels)
    for call in (model.infer, model.feed):
        expect(ValueError, ["deinitialised", "load"], call, pixels)
    expect(ValueError, ["deinitialised"], model.__enter__)
    expect(ValueError, [], model.top)
    model.deinit()


def check_memory_error(folder):
    if not IS_MICROPYTHON:
        return
    model = lilliput.load(folder + "/model.lil")
    file, size = model._file, model.arena_bytes
    model.deinit()
    hog = [None] * 8192
    count = 0
    for step in (1 << 20, 1 << 14, size // 2):
        try:
            while True:
                hog[count] = bytearray(step)
                count += 1
        except MemoryError:
            pass
    for index in range(count - 9, count, 2):
        hog[index] = None  # holes for small objects, none of them large enough for the arena
    expect(MemoryError, ["%d bytes wanted" % size, " free", "--sram"], lilliput.load, file)
    hog = None
    gc.collect()
    assert lilliput.load(file).labels == LABELS


CHECKS = (
    check_ports,
    check_input_types,
    check_outputs,
    check_rows,
    check_loop_allocates_nothing,
    check_bad_buffers,
    check_bad_files,
    check_arena,
    check_any_alignment,
    check_paged_weights,
    check_several_ports,
    check_deinit,
    check_memory_error,
)


def main(folder):
    for check in CHECKS:
        check(folder)
        gc.collect()
        print(check.__name__ if hasattr(check, "__name__") else "check")
    print("all passed")


if __name__ == "__main__":
    main(sys.argv[1])
