/* The C library functions that a compiler may call, in the way of MicroPython's ports: whole words
 * when both sides are aligned, bytes otherwise. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The compiler must not turn these loops into calls of the functions that they are. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")

void *memcpy(void *restrict destination, const void *restrict source, size_t size) {
    uint8_t *out = destination;
    const uint8_t *in = source;
    if ((((uintptr_t)out | (uintptr_t)in) & 3) == 0) {
        for (; size >= 4; size -= 4, in += 4, out += 4) {
            *(uint32_t *)(void *)out = *(const uint32_t *)(const void *)in;
        }
    }
    for (; size != 0; size--) {
        *out++ = *in++;
    }
    return destination;
}

void *memmove(void *destination, const void *source, size_t size) {
    uint8_t *out = destination;
    const uint8_t *in = source;
    if ((uintptr_t)out - (uintptr_t)in >= size) {
        return memcpy(destination, source, size);
    }
    while (size != 0) {
        size--;
        out[size] = in[size];
    }
    return destination;
}

void *memset(void *destination, int value, size_t size) {
    uint8_t *out = destination;
    uint32_t word = (uint8_t)value * 0x01010101u;
    for (; size != 0 && ((uintptr_t)out & 3) != 0; size--) {
        *out++ = (uint8_t)value;
    }
    for (; size >= 4; size -= 4, out += 4) {
        *(uint32_t *)(void *)out = word;
    }
    for (; size != 0; size--) {
        *out++ = (uint8_t)value;
    }
    return destination;
}

int memcmp(const void *first, const void *second, size_t size) {
    const uint8_t *a = first;
    const uint8_t *b = second;
    for (; size != 0; size--, a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
    }
    return 0;
}
