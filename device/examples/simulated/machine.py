"""MicroPython's machine module with a simulated Pin, for emulated boards, which have none.

The level of a pin is only remembered: `Pin.levels[id]` is the list of all that were written.
"""

from umachine import *  # noqa: F403


class Pin:
    IN = 0
    OUT = 1
    levels = {}  # noqa: RUF012

    def __init__(self, id, mode=IN, value=0):
        self._written = Pin.levels.setdefault(id, [])
        self._level = value

    def value(self, level=None):
        if level is None:
            return self._level
        self._level = int(level)
        self._written.append(self._level)
