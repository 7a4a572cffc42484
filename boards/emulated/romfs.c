/* vfs.rom_ioctl(), through which mpremote reads and writes the ROMFS. */
#include "storage.h"

#include <string.h>

#include "extmod/vfs.h"
#include "py/mperrno.h"
#include "py/runtime.h"

#define WRITE_BYTES 4 /* a write's length is a multiple of it, as in most flash */

static mp_int_t write(const mp_obj_array_t *romfs, mp_int_t offset, mp_obj_t data) {
    mp_buffer_info_t source;
    mp_get_buffer_raise(data, &source, MP_BUFFER_READ);
    if (offset < 0 || (size_t)offset > romfs->len || source.len > romfs->len - (size_t)offset) {
        return -MP_EINVAL;
    }
    memcpy((uint8_t *)romfs->items + offset, source.buf, source.len);
    return 0;
}

mp_obj_t mp_vfs_rom_ioctl(size_t count, const mp_obj_t *arguments) {
    const mp_obj_array_t *romfs = storage_romfs();
    mp_int_t operation = mp_obj_get_int(arguments[0]);
    mp_int_t result = -MP_EINVAL;
    if (operation == MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS) {
        result = romfs->len != 0;
    } else if (romfs->len == 0 || count < 2 || mp_obj_get_int(arguments[1]) != 0) {
        result = -MP_EINVAL;
    } else if (operation == MP_VFS_ROM_IOCTL_GET_SEGMENT) {
        return MP_OBJ_FROM_PTR(romfs);
    } else if (operation == MP_VFS_ROM_IOCTL_WRITE_PREPARE && count == 3) {
        mp_int_t size = mp_obj_get_int(arguments[2]);
        if (size >= 0 && (size_t)size <= romfs->len) {
            result = WRITE_BYTES;
        }
    } else if (operation == MP_VFS_ROM_IOCTL_WRITE && count == 4) {
        result = write(romfs, mp_obj_get_int(arguments[2]), arguments[3]);
    } else if (operation == MP_VFS_ROM_IOCTL_WRITE_COMPLETE) {
        result = 0;
    }
    return MP_OBJ_NEW_SMALL_INT(result);
}
