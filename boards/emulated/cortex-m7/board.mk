# Cortex-M7 with double-precision FPU: ARM's MPS2 board with the FPGA image AN500.
MACHINE = mps2-an500
CPU_FLAGS = -mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard
SRC_BOARD_C = uart_cmsdk.c
CFLAGS += -DMICROPY_HW_UART_ADDRESS=0x40004000 -DMICROPY_HW_UART_IRQ=0 -DMICROPY_HW_CLOCK_HZ=25000000
OBJ_PROCESSOR = shared/runtime/gchelper_thumb2.o
include cortex_m/cortex_m.mk
