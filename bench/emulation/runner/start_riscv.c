/* Start of a RISC-V machine. The loader has put code, constants and data where they belong. */
#include "platform.h"

#define ZICSR ".option arch, +zicsr\n\t"
#define FAULT 100 /* exit codes: + the cause */

extern uint32_t bss_start[];
extern uint32_t bss_end[];
extern uint8_t image_start[];

void start(void);

__attribute__((aligned(4))) static noreturn void fault(void) {
    uint32_t cause;
    __asm__ volatile(ZICSR "csrr %0, mcause" : "=r"(cause));
    platform_exit(FAULT + cause);
}

__attribute__((used)) static noreturn void prepare(void) {
    __asm__ volatile(ZICSR "csrw mtvec, %0" ::"r"(fault));
    for (uint32_t *word = bss_start; word < bss_end; word++) {
        *word = 0;
    }
    run_jobs(image_start);
    platform_exit(0);
}

__attribute__((naked, section(".vectors"), used)) void start(void) {
    __asm__ volatile("la sp, stack_top\n\tj prepare");
}
