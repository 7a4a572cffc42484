"""Runs in MicroPython: every case of a folder through the device package, against LiteRT's bytes.

    micropython run_cases.py FOLDER

A case is NAME.lil, NAME.in and NAME.out (see tests/host/reference_cases.py). Prints the name of
each case that fails and why, then one line: `cases 79, failed 0`.
"""

# ruff: noqa: B904, PTH123, PTH208, RUF005, UP031

import gc
import os
import sys
from array import array

import lilliput


def read(path):
    with open(path, "rb") as file:
        return file.read()


def split(data, ports):
    """The bytes of each port."""
    parts = []
    start = 0
    for port in ports:
        size = port.size * (4 if port.dtype == "int32" else 1)
        parts.append(data[start : start + size])
        start += size
    if start != len(data):
        raise ValueError("%d bytes for ports of %d" % (len(data), start))
    return parts


def check_outputs(model, found, expected):
    several = found if len(model.outputs) > 1 else [found]
    for index in range(len(expected)):
        if bytes(memoryview(several[index])) != expected[index]:
            raise AssertionError("output %d differs" % index)


def check_case(name):
    """Infers from a file and from a buffer, twice, into new and into given outputs."""
    expected = read(name + ".out")
    data = read(name + ".lil")
    for source in (name + ".lil", data):
        with lilliput.load(source) as model:
            inputs = [array("b", part) for part in split(read(name + ".in"), model.inputs)]
            wanted = split(expected, model.outputs)
            check_outputs(model, model.infer(inputs), wanted)
            out = [port.buffer() for port in model.outputs]
            given = model.infer(inputs, out if len(out) > 1 else out[0])
            check_outputs(model, given, wanted)
    return data, inputs, wanted


def expect(error, call, what):
    try:
        call()
    except error as problem:
        if not str(problem):
            raise AssertionError("%s: the %s says nothing" % (what, error.__name__))
        return
    raise AssertionError("%s is taken" % what)


def changed(data, offset, value):
    copy = bytearray(data)
    copy[offset] ^= value
    return copy


def check_errors(data, inputs, wanted):
    """Bad files and bad buffers are refused; the model works afterwards."""
    load = lilliput.load
    expect(OSError, lambda: load("no such file.lil"), "a missing file")
    expect(ValueError, lambda: load(data[:100]), "a header cut short")
    expect(ValueError, lambda: load(data[:-1]), "a file cut short")
    expect(ValueError, lambda: load(b""), "an empty file")
    expect(ValueError, lambda: load(changed(data, 0, 1)), "a wrong magic")
    expect(ValueError, lambda: load(changed(data, 4, 1)), "a wrong version")
    expect(ValueError, lambda: load(changed(data, 6, 1)), "another layout")
    expect(ValueError, lambda: load(changed(data, 12, 1)), "a wrong checksum")
    expect(ValueError, lambda: load(changed(data, len(data) - 1, 128)), "a flipped bit")
    expect(ValueError, lambda: load(changed(data, 11, 127)), "a size of 2 GB")
    model = load(data)
    expect(ValueError, lambda: load(data, bytearray(model.arena_bytes - 1)), "a small arena")
    short = [array("b", bytes(model.inputs[0].size - 1))] + inputs[1:]
    expect(ValueError, lambda: model.infer(short), "an input too small")
    expect(ValueError, lambda: model.infer(inputs + inputs), "too many inputs")
    wrong = [array("h", bytes(2 * model.inputs[0].size))] + inputs[1:]
    expect(ValueError, lambda: model.infer(wrong), "an input of int16")
    out = [bytearray(1) if port.size > 1 else bytearray(0) for port in model.outputs]
    out = out if len(out) > 1 else out[0]
    expect(ValueError, lambda: model.infer(inputs, out), "an output too small")
    check_outputs(model, model.infer(inputs), wanted)
    model.deinit()
    expect(ValueError, lambda: model.infer(inputs), "a model that was deinitialised")


def main(folder):
    names = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".lil"))
    failed = 0
    for name in names:
        try:
            case = check_case(folder + "/" + name)
            check_errors(*case)
        except Exception as error:
            failed += 1
            print("%s: %s: %s" % (name, type(error).__name__, error))
        gc.collect()
    print("cases %d, failed %d" % (len(names), failed))


main(sys.argv[1])
