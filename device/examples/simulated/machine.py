"""MicroPython's machine module with a simulated Pin, for emulated boards, which have none.

The level of an output is only remembered: `Pin.levels[id]` is the list of all that were written. An
input has the levels of `Pin.inputs[id]`, an iterator, one each time it is read, and then is low.
"""

from umachine import *  # noqa: F403


class Pin:
    IN = 0
    OUT = 1
    levels = {}  # noqa: RUF012
    inputs = {}  # noqa: RUF012

    def __init__(self, id, mode=IN, value=0):
        self._written = Pin.levels.setdefault(id, [])
        self._inputs = Pin.inputs.get(id) if mode == Pin.IN else None
        self._level = value

    def value(self, level=None):
        if level is not None:
            self._level = int(level)
            self._written.append(self._level)
        elif self._inputs is not None:
            self._level = next(self._inputs, 0)
        return self._level if level is None else None
