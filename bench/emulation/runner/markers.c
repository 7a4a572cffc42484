/* Instructions are counted from the first instruction of region_begin to that of region_end. */
#include "platform.h"

void region_begin(void) {
    __asm__ volatile("" ::: "memory");
}

void region_end(void) {
    __asm__ volatile("" ::: "memory");
}
