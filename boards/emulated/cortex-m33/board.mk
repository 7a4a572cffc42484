# Cortex-M33 with FPU and DSP extension: ARM's MPS2 board with the FPGA image AN505. Runs in the
# secure state, so all addresses are those of the secure side.
MACHINE = mps2-an505
CPU_FLAGS = -mcpu=cortex-m33 -mfpu=fpv5-sp-d16 -mfloat-abi=hard
SRC_BOARD_C = uart_cmsdk.c
CFLAGS += -DMICROPY_HW_UART_ADDRESS=0x50200000 -DMICROPY_HW_UART_IRQ=32 -DMICROPY_HW_CLOCK_HZ=20000000
OBJ_PROCESSOR = shared/runtime/gchelper_thumb2.o
include cortex_m/cortex_m.mk
