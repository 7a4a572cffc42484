/* Start of a Cortex-M machine. The loader has put code, constants and data where they belong. */
#include "platform.h"

#define CONFIGURATION_CONTROL (*(volatile uint32_t *)0xE000ED14)
#define COPROCESSOR_ACCESS (*(volatile uint32_t *)0xE000ED88)
#define UNALIGNED_TRAP (1u << 3)
#define FULL_FPU_ACCESS (0xFu << 20)
#define FAULT 100 /* exit codes: + the number of the exception */

extern uint32_t bss_start[];
extern uint32_t bss_end[];
extern uint32_t stack_top[];
extern uint8_t image_start[];

void reset(void);

static void fault(void) {
    uint32_t number;
    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    platform_exit(FAULT + number);
}

void reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    COPROCESSOR_ACCESS |= FULL_FPU_ACCESS;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
#if defined(__ARM_ARCH_6M__)
    CONFIGURATION_CONTROL |= UNALIGNED_TRAP; /* as the real processor always does */
#endif
    for (uint32_t *word = bss_start; word < bss_end; word++) {
        *word = 0;
    }
    run_jobs(image_start);
    platform_exit(0);
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)(uintptr_t)stack_top,
    reset,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
    fault,
};
