/* Weights of four bits with Helium: they become int8 in vectors, as they are read. */
#ifndef LIL_MVE_INT4_H
#define LIL_MVE_INT4_H

#include "../target.h"

#include <arm_mve.h>
#include <stdbool.h>
#include <stdint.h>

/* Where the bytes of sixteen taps of a pair's first channel lie, and by how much each is shifted
 * left: the upper half of a byte is its first tap's, the lower half that of the tap after next. */
static const uint8_t lil_int4_places[16] = {0, 2, 0, 2, 4, 6, 4, 6, 8, 10, 8, 10, 12, 14, 12, 14};
static const int8_t lil_int4_shifts[16] = {0, 0, 4, 4, 0, 0, 4, 4, 0, 0, 4, 4, 0, 0, 4, 4};

LIL_INLINE int8x16_t lil_expand_int4(uint8x16_t bytes) {
    uint8x16_t upper = vshlq_u8(bytes, vldrbq_s8(lil_int4_shifts));
    return vreinterpretq_s8_u8(vandq_u8(upper, vdupq_n_u8(0xF0)));
}

/* Sixteen weights of one channel of a pair, `lane` 0 or 1. */
LIL_INLINE int8x16_t lil_load_int4(const int8_t *weights, uint32_t lane) {
    const uint8_t *bytes = (const uint8_t *)weights + lane;
    return lil_expand_int4(vldrbq_gather_offset_u8(bytes, vldrbq_u8(lil_int4_places)));
}

/* As many of them as `mask` has, and zeros. */
LIL_INLINE int8x16_t lil_load_last_int4(const int8_t *weights, uint32_t lane, bool has_tail,
                                        mve_pred16_t mask) {
    if (has_tail) {
        const uint8_t *bytes = (const uint8_t *)weights + lane;
        return lil_expand_int4(vldrbq_gather_offset_z_u8(bytes, vldrbq_u8(lil_int4_places), mask));
    }
    return lil_load_int4(weights, lane);
}

#endif
