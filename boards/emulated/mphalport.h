/* The board as MicroPython sees it. */
#include <stddef.h>

#include "board.h"

#include "shared/runtime/interrupt_char.h"

#define MICROPY_INTERNAL_WFE(timeout_ms) processor_wait()

/* CPU cycles are not modelled: microseconds are the finest clock there is. */
#define mp_hal_ticks_cpu mp_hal_ticks_us
