freeze("modules")  # noqa: F821 (MicroPython's manifest function)
