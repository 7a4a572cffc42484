"""Bad `.lil` files and bad buffers: one clear error, and the model works afterwards."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable
from pathlib import Path

import _lilliput
import numpy as np
import pytest
from random_graphs import Recipe, Step, build_graph, random_inputs

import lilliput
from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.format import structs

STEPS = (
    Step("convolution", 19),
    Step("depthwise convolution", 20),
    Step("add constant", 21),
    Step("fully connected", 22),
)


@pytest.fixture(scope="module", params=[False, True], ids=["mapped", "paged"])
def data(request: pytest.FixtureRequest) -> bytes:
    graph = build_graph(Recipe((1,), STEPS))
    return lilliput.convert(write_tflite(graph), paged=request.param).data


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, bytes]:
    """An input of the model, and LiteRT's output for it."""
    graph = build_graph(Recipe((1,), STEPS))
    [x] = random_inputs(graph, 5)
    [y] = litert.run(write_tflite(graph), [x])
    return x, y.tobytes()


def with_header(data: bytes, **fields: int) -> bytes:
    """The file with other header fields and the right checksum."""
    ffi = structs.definitions()
    [header] = structs.unpack("lil_header", data, 0, 1)
    for name, value in fields.items():
        setattr(header, name, value)
    changed = bytes(ffi.buffer(header)) + data[structs.size_of("lil_header") :]
    before = ffi.offsetof("lil_header", "checksum")
    front = changed[:before] + changed[before + 4 : header.constants_offset]
    return changed[:before] + zlib.crc32(front).to_bytes(4, "little") + changed[before + 4 :]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


CUT_SHORT = r"cut short|has \d+ of \d+ bytes"
DAMAGED = "damaged .*(copy|convert) it again"

BAD_FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", CUT_SHORT),
    "one byte": (lambda data: data[:1], CUT_SHORT),
    "half a header": (lambda data: data[:50], CUT_SHORT),
    "half a file": (lambda data: data[: len(data) // 2], CUT_SHORT),
    "all but a byte": (lambda data: data[:-1], CUT_SHORT),
    "other magic": (lambda data: b"GIF8" + data[4:], "not a .lil file.*lilliput convert"),
    "a TFLite model": (
        lambda data: write_tflite(build_graph(Recipe((1,), STEPS))),
        "not a .lil file.*lilliput convert",
    ),
    "other version": (lambda data: with_header(data, version=99), "version.*convert it again"),
    "other layout": (
        lambda data: with_header(data, layout=99),
        "another engine build.*convert the model again",
    ),
    "other checksum": (lambda data: flipped(data, 12 * 8), r"checksum.*copy it again"),
    "a bit of the header": (lambda data: flipped(data, 40 * 8 + 3), DAMAGED),
    "a bit of the weights": (lambda data: flipped(data, len(data) * 8 - 1), DAMAGED),
    "file of 4 GB": (lambda data: with_header(data, file_bytes=0xFFFFFFFF), CUT_SHORT),
    "arena of 4 GB": (lambda data: with_header(data, arena_bytes=0xFFFFFFFF), DAMAGED),
    "no arena": (lambda data: with_header(data, arena_bytes=0), DAMAGED),
    "context of 4 GB": (lambda data: with_header(data, context_bytes=0xFFFFFFFF), DAMAGED),
    "65535 tensors": (lambda data: with_header(data, tensor_count=0xFFFF), DAMAGED),
    "65535 operators": (lambda data: with_header(data, operator_count=0xFFFF), DAMAGED),
    "65535 outputs": (lambda data: with_header(data, output_count=0xFFFF), DAMAGED),
    "tensors outside": (lambda data: with_header(data, tensors_offset=0xFFFFFFF0), DAMAGED),
    "labels of 4 GB": (lambda data: with_header(data, labels_bytes=0xFFFFFFFF), DAMAGED),
    "no inputs": (lambda data: with_header(data, input_count=0), DAMAGED),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(name: str, data: bytes, tmp_path: Path) -> None:
    change, message = BAD_FILES[name]
    bad = change(data)
    with pytest.raises(ValueError, match=message):
        lilliput.load(bad)
    path = tmp_path / "bad.lil"
    path.write_bytes(bad)
    with pytest.raises(ValueError, match=f"{message}|{DAMAGED}"):
        lilliput.load(path)
    path.unlink()  # nothing keeps it open
    lilliput.load(data).deinit()


def test_every_flipped_bit_of_the_header_is_noticed(data: bytes) -> None:
    end = structs.size_of("lil_header") * 8
    for bit in range(end):
        with pytest.raises(ValueError, match=r"\.lil file|version|engine build|cut short|damaged"):
            lilliput.load(flipped(data, bit))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere\.lil") as caught:
        lilliput.load(str(tmp_path / "nowhere.lil"))
    assert caught.value.errno == 2


def test_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=tmp_path.name):
        lilliput.load(str(tmp_path))


def works(model: lilliput.Model, sample: tuple[np.ndarray, bytes]) -> bool:
    x, expected = sample
    return bytes(model.infer(x)) == expected


def test_input_of_the_wrong_size(data: bytes, sample: tuple[np.ndarray, bytes]) -> None:
    x = sample[0].ravel()
    model = lilliput.load(data)
    for wrong in (x[:-1], x[:0], np.append(x, x[:1]), np.append(x, x)):
        with pytest.raises(ValueError, match=r"input.*(size|small|values)"):
            model.infer(np.ascontiguousarray(wrong))
        assert works(model, sample)


@pytest.mark.parametrize("typecode", ["h", "i", "d", "q"])
def test_input_of_the_wrong_type(
    typecode: str, data: bytes, sample: tuple[np.ndarray, bytes]
) -> None:
    model = lilliput.load(data)
    with pytest.raises(ValueError, match="int8, uint8 or float32"):
        model.infer(array(typecode, bytes(8 * model.input.size)))
    assert works(model, sample)


def test_wrong_number_of_inputs(data: bytes, sample: tuple[np.ndarray, bytes]) -> None:
    model = lilliput.load(data)
    with pytest.raises(ValueError, match="1 inputs, 2 given"):
        model.infer([sample[0], sample[0]])
    assert works(model, sample)


def test_output_too_small(data: bytes, sample: tuple[np.ndarray, bytes]) -> None:
    model = lilliput.load(data)
    out = bytearray(model.output.size - 1)
    with pytest.raises(ValueError, match=r"output buffer is too small.*model\.output\.shape"):
        model.infer(sample[0], out)
    assert out == bytes(len(out))
    assert works(model, sample)


def test_read_only_output(data: bytes, sample: tuple[np.ndarray, bytes]) -> None:
    model = lilliput.load(data)
    with pytest.raises((TypeError, ValueError, BufferError)):
        model.infer(sample[0], bytes(model.output.size))
    assert works(model, sample)


def test_arena_too_small(data: bytes, sample: tuple[np.ndarray, bytes]) -> None:
    model = lilliput.load(data)
    size = model.arena_bytes
    with pytest.raises(ValueError, match=f"arena holds {size - 1} bytes, the model needs {size}"):
        lilliput.load(data, bytearray(size - 1))
    assert works(lilliput.load(data, bytearray(size)), sample)


def test_arena_at_an_odd_address(data: bytes, sample: tuple[np.ndarray, bytes]) -> None:
    block = memoryview(bytearray(lilliput.load(data).arena_bytes + 1))
    model = lilliput.load(data, block[1:])
    with pytest.raises(ValueError, match="aligned to 8 bytes"):
        model.infer(sample[0])


def test_deinitialised_model(data: bytes, sample: tuple[np.ndarray, bytes]) -> None:
    model = lilliput.load(data)
    model.deinit()
    with pytest.raises(ValueError, match="deinitialised: load it again"):
        model.infer(sample[0])


def test_core_refuses_numbers_that_do_not_exist(data: bytes) -> None:
    for field, index in ((-1, 0), (1000, 0), (7, -1), (7, 8), (12, -8), (16, -1), (17, 65536)):
        with pytest.raises(ValueError, match="no such"):
            _lilliput.field(data, field, index)


def test_core_refuses_to_run_what_has_not_begun(data: bytes) -> None:
    model = lilliput.load(data)
    context = bytearray(_lilliput.field(data, 1, 0))
    with pytest.raises(ValueError, match=r"call begin\(\)"):
        _lilliput.run(data, context, bytearray(model.arena_bytes), b"")
    with pytest.raises(ValueError, match="context is too small"):
        _lilliput.begin(data, bytearray(4))
