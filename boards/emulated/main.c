/* Starts MicroPython with a heap of the size that the settings ask for. */
#include "extmod/vfs.h"
#include "py/builtin.h"
#include "py/compile.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"

#include "settings.h"
#include "storage.h"

extern uint8_t _heap_start, _heap_end, _stack_start, _stack_end;

/* The collector's tables take 3 bits (mark and head, finaliser) for each block of 4 words. */
#define BLOCKS_BITS (MICROPY_BYTES_PER_GC_BLOCK * 8)
#define TABLE_BITS 3

/* Mounts the file systems. */
static void boot(void) {
    pyexec_frozen_module("_boot.py", false);
    if (storage_romfs()->len != 0) {
        mp_vfs_mount_romfs_protected();
    }
}

static void start(uint32_t heap_bytes) {
    gc_init(&_heap_start, &_heap_start + heap_bytes);
    mp_init();
    mp_obj_list_append(mp_sys_path, MP_OBJ_NEW_QSTR(MP_QSTR__slash_lib));
    boot();
}

/* Bytes of heap that leave `free` bytes for Python: what boot itself takes is found by booting. */
static uint32_t heap_for(uint32_t free) {
    uint32_t whole = (uint32_t)(&_heap_end - &_heap_start);
    if (free == 0) {
        return whole;
    }
    start(whole);
    gc_collect();
    gc_info_t info;
    gc_info(&info);
    mp_deinit();
    uint64_t pool = (uint64_t)free + info.used;
    uint64_t size = pool + pool * TABLE_BITS / BLOCKS_BITS + 2 * MICROPY_BYTES_PER_GC_BLOCK;
    return size < whole ? (uint32_t)size : whole;
}

int main(void) {
    mp_cstack_init_with_top(&_stack_end, (size_t)(&_stack_end - &_stack_start));
    uart_start();
    settings wanted = settings_read();
    storage_divide(&wanted);
    uint32_t heap_bytes = heap_for(wanted.heap_bytes);
    for (;;) {
        start(heap_bytes);
        int result = pyexec_file_if_exists("boot.py");
        if (!(result & PYEXEC_FORCED_EXIT) && pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL) {
            result = pyexec_file_if_exists("main.py");
        }
        while (!(result & PYEXEC_FORCED_EXIT)) {
            result = pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl()
                                                              : pyexec_friendly_repl();
        }
        mp_printf(&mp_plat_print, "MPY: soft reboot\n");
        gc_sweep_all();
        mp_deinit();
    }
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

void nlr_jump_fail(void *value) {
    mp_printf(&mp_plat_print, "uncaught exception outside of Python\n");
    processor_reset();
}
