# RV32IMC (with atomics, which MicroPython's port has too): QEMU's virt machine.
MACHINE = virt
# Version 2.2 of the specification counts the control registers to the base instructions.
CPU_FLAGS = -march=rv32imac -misa-spec=2.2 -mabi=ilp32
SRC_BOARD_C = uart_16550.c
CFLAGS += -DMICROPY_HW_UART_ADDRESS=0x10000000 -DMICROPY_HW_UART_IRQ=10
include riscv/riscv.mk
