# What RISC-V boards share.
PROCESSOR = riscv
CROSS_COMPILE ?= riscv64-unknown-elf-
SRC_BOARD_C += riscv/processor.c
OBJ_PROCESSOR = riscv/start.o shared/runtime/gchelper_rv32i.o
# Debian's compiler comes without a C library of its own; its headers are picolibc's.
PICOLIBC := $(shell $(CROSS_COMPILE)gcc --print-file-name=picolibc.specs)
ifneq ($(PICOLIBC),picolibc.specs)
CPU_FLAGS += --specs=$(PICOLIBC)
endif
