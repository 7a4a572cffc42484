/* The memory that stands in for a board's flash. It outlives a reset, not the emulator. */
#ifndef EMULATED_STORAGE_H
#define EMULATED_STORAGE_H

#include "settings.h"

#include "py/objarray.h"

/* Divides the storage into the parts that `wanted` names, cut to what there is. */
void storage_divide(const settings *wanted);

/* The ROMFS, in place. Its length is 0 when this board has none. */
const mp_obj_array_t *storage_romfs(void);

#endif
