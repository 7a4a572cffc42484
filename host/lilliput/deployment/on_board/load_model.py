"""Loads a model as a user's program does, first of all. Runs in MicroPython; MODEL is its path.

What the imports and the model take of the heap is measured.
"""

# ruff: noqa: E402, F401, F821, I001

import gc

gc.collect()
free_at_start = gc.mem_free()

import _lilliput
import lilliput

gc.collect()
free_with_package = gc.mem_free()
model = lilliput.load(MODEL)
gc.collect()
free_with_model = gc.mem_free()
