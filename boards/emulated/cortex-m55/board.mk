# Cortex-M55 with Helium: ARM's MPS3 board with the FPGA image AN547. Runs in the secure state, so
# all addresses are those of the secure side.
MACHINE = mps3-an547
CPU_FLAGS = -mcpu=cortex-m55 -mfloat-abi=hard
SRC_BOARD_C = uart_cmsdk.c
CFLAGS += -DMICROPY_HW_UART_ADDRESS=0x59303000 -DMICROPY_HW_UART_IRQ=33 -DMICROPY_HW_CLOCK_HZ=32000000
OBJ_PROCESSOR = shared/runtime/gchelper_thumb2.o
include cortex_m/cortex_m.mk
