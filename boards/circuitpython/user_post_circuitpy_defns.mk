# Builds _lilliput into CircuitPython, which includes a file of this name where make finds one:
#   make -I /path/to/lilliput/boards/circuitpython BOARD=raspberry_pi_pico2
#
# The binding stands for shared-bindings/_lilliput, the core for shared-module/_lilliput; neither is
# copied into CircuitPython's tree.

LILLIPUT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))../..)
LILLIPUT_BINDINGS := $(LILLIPUT)/native_modules/bindings
LILLIPUT_BINDING := shared-bindings/_lilliput/__init__.c
LILLIPUT_CORE := $(patsubst $(LILLIPUT)/%,%,$(wildcard \
  $(LILLIPUT)/native_modules/core/*.c \
  $(LILLIPUT)/native_modules/core/*/*.c \
  $(LILLIPUT)/native_modules/core/*/*/*.c))

vpath native_modules/%.c $(LILLIPUT)
vpath shared-bindings/_lilliput/%.c $(BUILD)

CFLAGS += -I$(LILLIPUT)/native_modules/core
SRC_C += $(LILLIPUT_BINDING) $(LILLIPUT_CORE)

# Most boards are compiled for size.
include $(LILLIPUT)/native_modules/hot_kernels.mk
$(patsubst %.c,$(BUILD)/%.o,$(filter $(addprefix native_modules/,$(HOT_KERNELS)), \
  $(LILLIPUT_CORE))): CFLAGS += -O2

# While make reads this: its search for sources finds what is there.
LILLIPUT_GENERATED := $(shell $(PYTHON) $(LILLIPUT_BINDINGS)/generate.py usermod \
  $(BUILD)/$(LILLIPUT_BINDING) && echo yes)
ifneq ($(LILLIPUT_GENERATED),yes)
$(error $(LILLIPUT_BINDINGS)/generate.py failed: it needs Python 3.11 or newer, PYTHON=$(PYTHON))
endif
