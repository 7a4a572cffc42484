/* What a processor and its devices give the port. Each processor folder implements the first part,
 * each UART file the second. */
#ifndef EMULATED_BOARD_H
#define EMULATED_BOARD_H

#include <stdbool.h>
#include <stdint.h>

/* The processor. */

#define TICKS_PER_SECOND 100

/* Microseconds since the start, of the emulated machine's own clock. */
uint64_t processor_microseconds(void);

/* Masks interrupts; returns what processor_restore() takes to undo that. */
uint32_t processor_mask(void);
void processor_restore(uint32_t state);

/* Sleeps until an interrupt is pending (masked or not): a character, or else the next tick. */
void processor_wait(void);

void processor_reset(void) __attribute__((noreturn));

/* Asks the emulator: the semihosting call `operation` with its block of arguments. */
int32_t processor_semihosting(uint32_t operation, void *arguments);

/* The serial port. */

#define UART_NO_CHARACTER (-1)

void uart_start(void);
int uart_receive(void); /* UART_NO_CHARACTER when there is none */
void uart_send(uint8_t character);
void uart_interrupt_when_received(bool enabled);

/* Called by the processor when the UART interrupts: takes what has been received. */
void terminal_receive(void);

int main(void);

#endif
