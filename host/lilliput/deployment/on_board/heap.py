"""Defines how the free heap is measured. Runs in MicroPython."""

import gc


def largest_block():
    """Bytes of the largest bytearray that can be allocated, to 64 bytes."""
    gc.collect()
    low, high = 0, 1 << 26
    while high - low > 64:
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
        gc.collect()
    return low
