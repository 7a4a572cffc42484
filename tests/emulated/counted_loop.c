/* Executes loops of known length between the markers, and reads a timer around them.
 *
 * The image is the number of loops, then each one's count of turns. What is written is, for each
 * loop, the ticks of the CMSDK timer that passed (25 MHz; 0 on machines that have none).
 */
#include "platform.h"

#include <string.h>

#if defined(__ARM_ARCH) && !defined(__ARM_FEATURE_CMSE)
#define HAS_TIMER 1
#define TIMER ((volatile uint32_t *)0x40000000) /* control, value, reload */
#else
#define HAS_TIMER 0
#endif

void counted_loop(uint32_t turns);

/* Between the markers: the return of region_begin, three instructions a turn, and the call. */
__attribute__((naked, noinline)) void counted_loop(uint32_t turns) {
    (void)turns;
#if defined(__riscv)
    __asm__ volatile("addi sp, sp, -16\n\t"
                     "sw ra, 0(sp)\n\t"
                     "sw s0, 4(sp)\n\t"
                     "mv s0, a0\n\t"
                     "jal region_begin\n"
                     "1: nop\n\t"
                     "addi s0, s0, -1\n\t"
                     "bnez s0, 1b\n\t"
                     "jal region_end\n\t"
                     "lw ra, 0(sp)\n\t"
                     "lw s0, 4(sp)\n\t"
                     "addi sp, sp, 16\n\t"
                     "ret");
#else
    __asm__ volatile(".syntax unified\n\t"
                     "push {r4, lr}\n\t"
                     "mov r4, r0\n\t"
                     "bl region_begin\n"
                     "1: nop\n\t"
                     "subs r4, #1\n\t"
                     "bne 1b\n\t"
                     "bl region_end\n\t"
                     "pop {r4, pc}");
#endif
}

void run_jobs(uint8_t *image) {
    uint32_t count;
    memcpy(&count, image, sizeof count);
#if HAS_TIMER
    TIMER[1] = UINT32_MAX;
    TIMER[2] = UINT32_MAX;
    TIMER[0] = 1;
#endif
    for (uint32_t i = 1; i <= count; i++) {
        uint32_t turns;
        uint32_t ticks = 0;
        memcpy(&turns, image + 4 * i, sizeof turns);
#if HAS_TIMER
        ticks = TIMER[1];
#endif
        counted_loop(turns);
#if HAS_TIMER
        ticks -= TIMER[1];
#endif
        platform_write(&ticks, sizeof ticks);
    }
}
