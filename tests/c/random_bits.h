/* Random numbers for tests. */
#ifndef RANDOM_BITS_H
#define RANDOM_BITS_H

#include <stdint.h>

/* Marsaglia's xorshift: the same numbers on every machine. */
static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
