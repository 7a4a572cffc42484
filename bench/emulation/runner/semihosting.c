/* The emulated machines: output and exit by semihosting, stack use by painting. */
#include "platform.h"

#define SYS_OPEN 0x01
#define SYS_WRITE 0x05
#define SYS_EXIT_EXTENDED 0x20
#define STOPPED_BY_APPLICATION 0x20026
#define OPEN_FOR_WRITING 4
#define PAINT 0x5A5A5A5A

extern uint32_t stack_limit[]; /* from the linker script */
extern uint32_t stack_top[];

static uint32_t semihosting(uint32_t operation, const void *parameters) {
#if defined(__riscv)
    register uint32_t result __asm__("a0") = operation;
    register const void *block __asm__("a1") = parameters;
    __asm__ volatile(".option push\n\t.option norvc\n\t.balign 16\n\t"
                     "slli zero, zero, 0x1f\n\tebreak\n\tsrai zero, zero, 7\n\t.option pop"
                     : "+r"(result)
                     : "r"(block)
                     : "memory");
#else
    register uint32_t result __asm__("r0") = operation;
    register const void *block __asm__("r1") = parameters;
    __asm__ volatile("bkpt 0xAB" : "+r"(result) : "r"(block) : "memory");
#endif
    return result;
}

void platform_write(const void *data, uint32_t bytes) {
    static const char console[] = ":tt";
    static uint32_t handle;
    static uint32_t is_open;
    if (!is_open) {
        const uint32_t open[] = {(uint32_t)(uintptr_t)console, OPEN_FOR_WRITING, 3};
        handle = semihosting(SYS_OPEN, open);
        is_open = 1;
    }
    const uint32_t write[] = {handle, (uint32_t)(uintptr_t)data, bytes};
    if (bytes != 0 && semihosting(SYS_WRITE, write) != 0) {
        platform_exit(3);
    }
}

noreturn void platform_exit(uint32_t code) {
    const uint32_t reason[] = {STOPPED_BY_APPLICATION, code};
    for (;;) {
        semihosting(SYS_EXIT_EXTENDED, reason);
    }
}

__attribute__((noinline)) void platform_paint_stack(void) {
    volatile uint32_t *here = (volatile uint32_t *)__builtin_frame_address(0) - 16;
    for (volatile uint32_t *word = stack_limit; word < here; word++) {
        *word = PAINT;
    }
}

__attribute__((noinline)) uint32_t platform_stack_bytes(void) {
    const volatile uint32_t *word = stack_limit;
    while (word < stack_top && *word == PAINT) {
        word++;
    }
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    return (uintptr_t)word < here ? (uint32_t)(here - (uintptr_t)word) : 0;
}
