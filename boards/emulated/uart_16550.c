/* A 16550 UART, on QEMU's virt machine. */
#include "board.h"

typedef struct uart_16550 {
    volatile uint8_t data;
    volatile uint8_t interrupts;
    volatile uint8_t fifo;
    volatile uint8_t line;
    volatile uint8_t modem;
    volatile uint8_t status;
} uart_16550;

/* MICROPY_HW_UART_ADDRESS comes from the board. */
#define UART ((uart_16550 *)MICROPY_HW_UART_ADDRESS)

enum { INTERRUPT_RECEIVED = 1, FIFO_ENABLE = 1 };
enum { STATUS_RECEIVED = 0x01, STATUS_SEND_EMPTY = 0x20 };

void uart_start(void) {
    UART->fifo = FIFO_ENABLE;
    uart_interrupt_when_received(true);
}

int uart_receive(void) {
    return UART->status & STATUS_RECEIVED ? UART->data : UART_NO_CHARACTER;
}

void uart_send(uint8_t character) {
    while (!(UART->status & STATUS_SEND_EMPTY)) {
    }
    UART->data = character;
}

void uart_interrupt_when_received(bool enabled) {
    UART->interrupts = enabled ? INTERRUPT_RECEIVED : 0;
}
