/* The REPL's serial port, and time. */
#include "py/mphal.h"
#include "py/ringbuf.h"
#include "py/runtime.h"
#include "py/stream.h"

#define RECEIVED_BYTES 1024
#define MICROSECONDS_OF_A_TICK (1000000 / TICKS_PER_SECOND)

static uint8_t received_memory[RECEIVED_BYTES];
static ringbuf_t received = {received_memory, sizeof received_memory, 0, 0};

static bool stopped; /* the UART's interrupt is off, because there is no room for more */

/* Runs with interrupts masked. What does not fit stays in the UART, which then takes no more. */
void terminal_receive(void) {
    while (ringbuf_free(&received) > 0) {
        int character = uart_receive();
        if (character == UART_NO_CHARACTER) {
            return;
        }
        if (character == mp_interrupt_char) {
            mp_sched_keyboard_interrupt();
        } else {
            ringbuf_put(&received, (uint8_t)character);
        }
    }
    stopped = true;
    uart_interrupt_when_received(false);
}

/* Runs with interrupts masked, after something was taken out: makes the UART go on. */
static void resume(void) {
    if (stopped) {
        stopped = false;
        uart_interrupt_when_received(true);
        terminal_receive();
    }
}

uintptr_t mp_hal_stdio_poll(uintptr_t flags) {
    uintptr_t ready = ringbuf_avail(&received) > 0 ? MP_STREAM_POLL_RD : 0;
    return flags & (ready | MP_STREAM_POLL_WR);
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        uint32_t state = processor_mask();
        int character = ringbuf_get(&received);
        if (character < 0) {
            processor_wait();
        } else {
            resume();
        }
        processor_restore(state);
        if (character >= 0) {
            return character;
        }
        mp_handle_pending(true);
    }
}

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        uart_send((uint8_t)text[i]);
    }
    return size;
}

mp_uint_t mp_hal_ticks_us(void) {
    return (mp_uint_t)processor_microseconds();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return (mp_uint_t)(processor_microseconds() / 1000);
}

uint64_t mp_hal_time_ns(void) {
    return processor_microseconds() * 1000;
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = processor_microseconds() + us;
    while (processor_microseconds() < end) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    uint64_t end = processor_microseconds() + 1000 * (uint64_t)ms;
    while (processor_microseconds() + MICROSECONDS_OF_A_TICK < end) {
        mp_event_wait_ms(1);
    }
    while (processor_microseconds() < end) {
        mp_event_handle_nowait();
    }
}
