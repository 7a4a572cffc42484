# The user C module, for make-based ports: USER_C_MODULES=/path/to/lilliput/native_modules

LILLIPUT_MODULES := $(patsubst %/,%,$(dir $(USERMOD_DIR)))
LILLIPUT_BINDING := $(BUILD)/_lilliput_usermod.c
LILLIPUT_BINDINGS := $(LILLIPUT_MODULES)/bindings

SRC_USERMOD_C += $(LILLIPUT_BINDING)
SRC_USERMOD_LIB_C += $(wildcard $(LILLIPUT_MODULES)/core/*.c \
                       $(LILLIPUT_MODULES)/core/kernels/*.c $(LILLIPUT_MODULES)/core/kernels/*/*.c \
                       $(LILLIPUT_MODULES)/core/training/*.c $(LILLIPUT_MODULES)/core/training/*/*.c)
CFLAGS_USERMOD += -I$(LILLIPUT_MODULES)/core

# Most ports compile for size.
include $(LILLIPUT_MODULES)/hot_kernels.mk
$(patsubst $(USER_C_MODULES)/%.c,$(BUILD)/%.o,$(filter $(addprefix $(LILLIPUT_MODULES)/, \
  $(HOT_KERNELS)),$(SRC_USERMOD_LIB_C))): CFLAGS += -O2

$(LILLIPUT_BINDING): $(LILLIPUT_BINDINGS)/generate.py $(LILLIPUT_BINDINGS)/functions.toml
	$(Q)$(PYTHON) $(LILLIPUT_BINDINGS)/generate.py usermod $@
