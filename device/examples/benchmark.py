"""Measures an inference: its time, its arena, and what it takes of the heap (nothing)."""

import gc
import time

import lilliput


def benchmark(model, repeats=10):
    """(median microseconds, bytes of heap allocated) of an inference on a grey picture."""
    picture = bytearray(b"\x80" * model.input.size)
    scores = model.output.buffer()
    times = [0] * repeats
    gc.collect()
    free = gc.mem_free()
    for i in range(repeats):
        started = time.ticks_us()
        model.infer(picture, scores)
        times[i] = time.ticks_diff(time.ticks_us(), started)
    allocated = free - gc.mem_free()
    return sorted(times)[repeats // 2], allocated


def main(path="/person.lil"):
    model = lilliput.load(path)
    microseconds, allocated = benchmark(model)
    print("%.1f ms an inference" % (microseconds / 1000))
    print("%d bytes of arena, %d of heap allocated" % (model.arena_bytes, allocated))


if __name__ == "__main__":
    main()
