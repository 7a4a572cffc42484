# Cortex-M3: ARM's MPS2 board with the FPGA image AN385.
MACHINE = mps2-an385
CPU_FLAGS = -mcpu=cortex-m3 -mfloat-abi=soft
SRC_BOARD_C = uart_cmsdk.c
CFLAGS += -DMICROPY_HW_UART_ADDRESS=0x40004000 -DMICROPY_HW_UART_IRQ=0 -DMICROPY_HW_CLOCK_HZ=25000000
OBJ_PROCESSOR = shared/runtime/gchelper_thumb2.o
include cortex_m/cortex_m.mk
