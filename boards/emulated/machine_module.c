/* Included by MicroPython's machine module. */
#include "board.h"

static void mp_machine_idle(void) {
    processor_wait();
}

NORETURN static void mp_machine_reset(void) {
    processor_reset();
}

static mp_int_t mp_machine_reset_cause(void) {
    return 0;
}
