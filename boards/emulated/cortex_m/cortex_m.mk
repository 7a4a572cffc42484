# What all ARM Cortex-M boards share.
PROCESSOR = cortex_m
CROSS_COMPILE ?= arm-none-eabi-
CPU_FLAGS += -mthumb
SRC_BOARD_C += cortex_m/processor.c
