#include "storage.h"

#include "py/binary.h"
#include "py/runtime.h"

extern uint8_t _storage_start, _storage_end;

static uint32_t files_bytes;
static mp_obj_array_t romfs = {{&mp_type_memoryview}, BYTEARRAY_TYPECODE, 0, 0, NULL};

void storage_divide(const settings *wanted) {
    uint32_t size = (uint32_t)(&_storage_end - &_storage_start);
    files_bytes = MIN(wanted->files_bytes, size);
    romfs.items = &_storage_start + files_bytes;
    romfs.len = MIN(wanted->romfs_bytes, size - files_bytes);
}

const mp_obj_array_t *storage_romfs(void) {
    return &romfs;
}

/* _emulated.files(): the memory of the file system, in place. */
static mp_obj_t storage_files(void) {
    return mp_obj_new_bytearray_by_ref(files_bytes, &_storage_start);
}
static MP_DEFINE_CONST_FUN_OBJ_0(storage_files_obj, storage_files);

static const mp_rom_map_elem_t globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__emulated)},
    {MP_ROM_QSTR(MP_QSTR_files), MP_ROM_PTR(&storage_files_obj)},
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t emulated_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&globals,
};

MP_REGISTER_MODULE(MP_QSTR__emulated, emulated_module);
