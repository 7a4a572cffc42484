/* The UART of ARM's Cortex-M system design kit, on the MPS2 and MPS3 boards. */
#include "board.h"

typedef struct cmsdk_uart {
    volatile uint32_t data;
    volatile uint32_t state;
    volatile uint32_t control;
    volatile uint32_t interrupts; /* write ones to clear */
    volatile uint32_t divider;
} cmsdk_uart;

/* MICROPY_HW_UART_ADDRESS comes from the board. */
#define UART ((cmsdk_uart *)MICROPY_HW_UART_ADDRESS)

enum { STATE_SEND_FULL = 1, STATE_RECEIVE_FULL = 2 };
enum { CONTROL_SEND = 1, CONTROL_RECEIVE = 2, CONTROL_RECEIVE_INTERRUPT = 8 };
enum { INTERRUPT_RECEIVE = 2 };

void uart_start(void) {
    UART->divider = 16;
    UART->control = CONTROL_SEND | CONTROL_RECEIVE | CONTROL_RECEIVE_INTERRUPT;
}

int uart_receive(void) {
    if (!(UART->state & STATE_RECEIVE_FULL)) {
        UART->interrupts = INTERRUPT_RECEIVE;
        return UART->state & STATE_RECEIVE_FULL ? (int)(UART->data & 0xFF) : UART_NO_CHARACTER;
    }
    return (int)(UART->data & 0xFF);
}

void uart_send(uint8_t character) {
    while (UART->state & STATE_SEND_FULL) {
    }
    UART->data = character;
}

void uart_interrupt_when_received(bool enabled) {
    uint32_t interrupt = enabled ? CONTROL_RECEIVE_INTERRUPT : 0;
    UART->control = CONTROL_SEND | CONTROL_RECEIVE | interrupt;
}
