"""Prints what inferences gave and took, as a Python literal. Runs in MicroPython.

Runs behind load_model.py and test_vector.py; PATTERN (bytes), WHOLE and REPEATS are set before.
"""

# ruff: noqa: F821

from array import array

pattern = array("b", PATTERN)
times = []
for _ in range(REPEATS):
    outputs, microseconds = infer(model, pattern, WHOLE)
    times.append(microseconds)
print(
    repr(
        {
            "checksums": [_lilliput.checksum(values, 0) for values in outputs],
            "microseconds": times,
            "arena_bytes": model.arena_bytes,
            "package_heap": free_at_start - free_with_package,
            "model_heap": free_with_package - free_with_model,
            "heap_free": free_with_model,
        }
    )
)
