/* Weights of four bits with Helium: a few taps at a time they become int8 on the stack, which many
 * pixels then read; a lone pixel multiplies with them as they are. */
#ifndef LIL_MVE_INT4_H
#define LIL_MVE_INT4_H

#include "dot_products.h"

/* Taps that are unpacked at once: whole passes of lil_dot_pairs. */
#define LIL_UNPACKED_TAPS 96

/* A pair's weights as int8, and room for what a vector has beyond them. */
typedef struct lil_unpacked {
    int32_t words[LIL_UNPACKED_TAPS / 2];
} lil_unpacked;

/* Unpacks `taps` taps, at most LIL_UNPACKED_TAPS. */
static inline void lil_unpack_weights(const int8_t *packed, uint32_t taps, lil_unpacked *weights) {
    uint32_t *to = (uint32_t *)(void *)weights->words;
    for (int32_t left = (int32_t)((taps + 3) & ~(uint32_t)3); left > 0; left -= 16) {
        uint8x16_t both = vldrbq_z_u8((const uint8_t *)packed, vctp8q((uint32_t)left));
        uint32x4x2_t words;
        words.val[0] = vreinterpretq_u32_u8(vandq_u8(both, vdupq_n_u8(0xF0)));
        words.val[1] = vreinterpretq_u32_u8(vshlq_n_u8(both, 4));
        vst2q_u32(to, words);
        packed += 16;
        to += 8;
    }
}

/* lil_dot_row with weights of four bits. */
static inline void lil_dot_row_int4(const int8_t *inputs, const int8_t *weights, uint32_t taps,
                                    int32_t *sums) {
    int32_t first = 0;
    int32_t second = 0;
    if (((uintptr_t)weights | (uintptr_t)inputs) % 4 == 0) { /* VLD2 reads words */
        for (; taps >= 32; taps -= 32) {
            uint8x16x2_t both = vld2q_u8((const uint8_t *)weights);
            uint16x8x2_t halves = vld2q_u16((const uint16_t *)(const void *)inputs);
            int8x16_t x = vreinterpretq_s8_u16(halves.val[0]);
            int8x16_t y = vreinterpretq_s8_u16(halves.val[1]);
            uint8x16_t mask = vdupq_n_u8(0xF0);
            first = vmladavaq_s8(first, x, vreinterpretq_s8_u8(vandq_u8(both.val[0], mask)));
            second = vmladavaq_s8(second, x, vreinterpretq_s8_u8(vandq_u8(both.val[1], mask)));
            first = vmladavaq_s8(first, y, vreinterpretq_s8_u8(vshlq_n_u8(both.val[0], 4)));
            second = vmladavaq_s8(second, y, vreinterpretq_s8_u8(vshlq_n_u8(both.val[1], 4)));
            inputs += 32;
            weights += 32;
        }
    }
    while (taps > 0) {
        uint32_t count = taps < LIL_UNPACKED_TAPS ? taps : LIL_UNPACKED_TAPS;
        lil_unpacked unpacked;
        int32_t part[2];
        lil_unpack_weights(weights, count, &unpacked);
        lil_dot_row(inputs, (const int8_t *)unpacked.words, count, part);
        first += part[0];
        second += part[1];
        inputs += count;
        weights += count;
        taps -= count;
    }
    sums[0] = first;
    sums[1] = second;
}

#endif
