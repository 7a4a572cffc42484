/* Start, traps and tick of QEMU's RISC-V virt machine. */
#include "board.h"

#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"

#define TIMER_HZ 10000000
#define TIMER_COMPARE ((volatile uint32_t *)0x02004000)
#define TIMER_NOW ((volatile uint32_t *)0x0200BFF8)
#define PLIC_PRIORITY ((volatile uint32_t *)0x0C000000)
#define PLIC_ENABLE ((volatile uint32_t *)0x0C002000)
#define PLIC_THRESHOLD (*(volatile uint32_t *)0x0C200000)
#define PLIC_CLAIM (*(volatile uint32_t *)0x0C200004)
#define TEST_DEVICE (*(volatile uint32_t *)0x00100000)
#define TEST_DEVICE_RESET 0x7777

#define CAUSE_TIMER 0x80000007
#define CAUSE_EXTERNAL 0x8000000B
#define INTERRUPTS_TIMER_AND_EXTERNAL (1u << 7 | 1u << 11)
#define STATUS_INTERRUPTS_ON (1u << 3)

extern uint32_t _data_start, _data_end, _data_initial, _bss_start, _bss_end;

void processor_begin(void) __attribute__((noreturn));
void processor_trap(uint32_t cause, uint32_t address, uint32_t value);

static uint64_t timer_now(void) {
    uint32_t high, low;
    do {
        high = TIMER_NOW[1];
        low = TIMER_NOW[0];
    } while (high != TIMER_NOW[1]);
    return (uint64_t)high << 32 | low;
}

static void set_next_tick(void) {
    uint64_t next = timer_now() + TIMER_HZ / TICKS_PER_SECOND;
    TIMER_COMPARE[1] = UINT32_MAX;
    TIMER_COMPARE[0] = (uint32_t)next;
    TIMER_COMPARE[1] = (uint32_t)(next >> 32);
}

void processor_begin(void) {
    memcpy(&_data_start, &_data_initial, (size_t)((uint8_t *)&_data_end - (uint8_t *)&_data_start));
    memset(&_bss_start, 0, (size_t)((uint8_t *)&_bss_end - (uint8_t *)&_bss_start));
    PLIC_PRIORITY[MICROPY_HW_UART_IRQ] = 1;
    PLIC_ENABLE[MICROPY_HW_UART_IRQ / 32] = 1u << MICROPY_HW_UART_IRQ % 32;
    PLIC_THRESHOLD = 0;
    set_next_tick();
    __asm volatile("csrw mie, %0" : : "r"(INTERRUPTS_TIMER_AND_EXTERNAL));
    processor_restore(STATUS_INTERRUPTS_ON);
    main();
    processor_reset();
}

void processor_trap(uint32_t cause, uint32_t address, uint32_t value) {
    if (cause == CAUSE_TIMER) {
        set_next_tick();
    } else if (cause == CAUSE_EXTERNAL) {
        uint32_t source = PLIC_CLAIM;
        terminal_receive();
        PLIC_CLAIM = source;
    } else {
        /* A fault in native code ends the run with its address, not in silence. */
        mp_printf(&mp_plat_print, "\nfault %u at 0x%08x, value 0x%08x\n", (unsigned)cause,
                  (unsigned)address, (unsigned)value);
        processor_reset();
    }
}

uint64_t processor_microseconds(void) {
    return timer_now() / (TIMER_HZ / 1000000);
}

uint32_t processor_mask(void) {
    uint32_t status;
    __asm volatile("csrrc %0, mstatus, %1" : "=r"(status) : "r"(STATUS_INTERRUPTS_ON) : "memory");
    return status & STATUS_INTERRUPTS_ON;
}

void processor_restore(uint32_t state) {
    __asm volatile("csrs mstatus, %0" : : "r"(state) : "memory");
}

void processor_wait(void) {
    __asm volatile("wfi" : : : "memory");
}

void processor_reset(void) {
    TEST_DEVICE = TEST_DEVICE_RESET;
    for (;;) {
    }
}
