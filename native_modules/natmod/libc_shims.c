/* The C library functions that a compiler may call, over MicroPython's function table. */
#include "py/dynruntime.h"

void *memcpy(void *destination, const void *source, size_t size);
void *memmove(void *destination, const void *source, size_t size);
void *memset(void *destination, int value, size_t size);
int memcmp(const void *first, const void *second, size_t size);

void *memcpy(void *destination, const void *source, size_t size) {
    return mp_fun_table.memmove_(destination, source, size);
}

void *memmove(void *destination, const void *source, size_t size) {
    return mp_fun_table.memmove_(destination, source, size);
}

void *memset(void *destination, int value, size_t size) {
    return mp_fun_table.memset_(destination, value, size);
}

int memcmp(const void *first, const void *second, size_t size) {
    const unsigned char *a = first;
    const unsigned char *b = second;
    for (; size != 0; size--, a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}
