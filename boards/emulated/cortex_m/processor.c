/* Vectors, start, tick and semihosting of a Cortex-M. */
#include "board.h"

#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"

/* MICROPY_HW_UART_IRQ and MICROPY_HW_CLOCK_HZ come from the board. */
#define INTERRUPTS 64
#define SYSTICK_RELOAD (MICROPY_HW_CLOCK_HZ / TICKS_PER_SECOND)

typedef struct systick {
    volatile uint32_t control;
    volatile uint32_t reload;
    volatile uint32_t value;
} systick;

#define SYSTICK ((systick *)0xE000E010)
#define SYSTICK_ENABLE 7u /* counting, with interrupt, at the processor's clock */
#define INTERRUPT_ENABLE ((volatile uint32_t *)0xE000E100)
#define INTERRUPT_CONTROL (*(volatile uint32_t *)0xE000ED04)
#define INTERRUPT_CONTROL_TICK_PENDING (1u << 26)
#define RESET_CONTROL (*(volatile uint32_t *)0xE000ED0C)
#define RESET_REQUEST 0x05FA0004
#define COPROCESSOR_ACCESS (*(volatile uint32_t *)0xE000ED88)
#define COPROCESSOR_FPU_AND_MVE (15u << 20)

extern uint32_t _stack_end, _data_start, _data_end, _data_initial, _bss_start, _bss_end;

static volatile uint32_t ticks;

void processor_start(void) __attribute__((noreturn));

static void on_tick(void) {
    ticks++;
}

static void on_uart(void) {
    terminal_receive();
}

/* A fault in native code ends the run with its address, not in silence. */
void report_fault(const uint32_t *frame) __attribute__((used));
void report_fault(const uint32_t *frame) {
    mp_printf(&mp_plat_print, "\nfault at 0x%08x, called from 0x%08x\n", (unsigned)frame[6],
              (unsigned)frame[5]);
    processor_reset();
}

static void __attribute__((naked)) on_fault(void) {
    __asm volatile("mrs r0, msp\n"
                   "b report_fault\n");
}

typedef void (*vector)(void);

/* NMI and the faults have numbers 2 to 7. */
const vector vectors[16 + INTERRUPTS] __attribute__((section(".vectors"), used)) = {
    [0] = (vector)&_stack_end, [1] = processor_start, [2 ... 7] = on_fault,
    [11] = on_fault,           [15] = on_tick,        [16 + MICROPY_HW_UART_IRQ] = on_uart,
};

void processor_start(void) {
    memcpy(&_data_start, &_data_initial, (size_t)((uint8_t *)&_data_end - (uint8_t *)&_data_start));
    memset(&_bss_start, 0, (size_t)((uint8_t *)&_bss_end - (uint8_t *)&_bss_start));
#if defined(__ARM_FP)
    COPROCESSOR_ACCESS |= COPROCESSOR_FPU_AND_MVE;
    __asm volatile("dsb\nisb");
#endif
    SYSTICK->reload = SYSTICK_RELOAD - 1;
    SYSTICK->value = 0;
    SYSTICK->control = SYSTICK_ENABLE;
    INTERRUPT_ENABLE[MICROPY_HW_UART_IRQ / 32] = 1u << MICROPY_HW_UART_IRQ % 32;
    main();
    processor_reset();
}

uint64_t processor_microseconds(void) {
    uint32_t state = processor_mask();
    uint32_t left = SYSTICK->value;
    uint32_t full = ticks;
    if (INTERRUPT_CONTROL & INTERRUPT_CONTROL_TICK_PENDING) {
        left = SYSTICK->value;
        full++;
    }
    processor_restore(state);
    uint32_t within = (SYSTICK_RELOAD - 1 - left) / (MICROPY_HW_CLOCK_HZ / 1000000);
    return full * (uint64_t)(1000000 / TICKS_PER_SECOND) + within;
}

uint32_t processor_mask(void) {
    uint32_t state;
    __asm volatile("mrs %0, primask\ncpsid i" : "=r"(state) : : "memory");
    return state;
}

void processor_restore(uint32_t state) {
    __asm volatile("msr primask, %0" : : "r"(state) : "memory");
}

void processor_wait(void) {
    __asm volatile("wfi" : : : "memory");
}

void processor_reset(void) {
    RESET_CONTROL = RESET_REQUEST;
    for (;;) {
    }
}

int32_t processor_semihosting(uint32_t operation, void *arguments) {
    register uint32_t r0 __asm("r0") = operation;
    register void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}
