# ruff: noqa: F821 (MicroPython defines what a manifest calls)
# What stock firmware freezes, apart from drivers of micropython-lib, which mip installs.
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
