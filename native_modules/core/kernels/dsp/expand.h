/* Expands int8 taps to 16 bits, two taps of a pixel to a word: [words][pixels], as
 * lil_multiply_pairs reads them. An odd last tap is paired with zero. */
#ifndef LIL_DSP_EXPAND_H
#define LIL_DSP_EXPAND_H

#include "../target.h"
#include "instructions.h"

/* Four taps at `in` of one pixel; returns the end of the block's two rows of words. */
static inline uint32_t *lil_expand_quad(const int8_t *in, uint32_t pixels, uint32_t *out) {
    uint32_t bytes = lil_load_word(in);
    uint32_t even = lil_sxtb16(bytes);
    uint32_t odd = lil_sxtb16_odd(bytes);
    out[0] = lil_pack_low(even, odd);
    out[pixels] = lil_pack_high(even, odd);
    return out + 2 * pixels;
}

/* The last one to three of `count` taps. */
static inline void lil_expand_rest(const int8_t *in, uint32_t count, uint32_t pixels,
                                   uint32_t *out) {
    if (count % 4 == 0) {
        return;
    }
    const int8_t *rest = in + (count & ~(uint32_t)3);
    uint32_t low = (uint32_t)rest[0] & 0xFFFF;
    if (count % 4 == 1) {
        out[0] = low;
        return;
    }
    out[0] = low | (uint32_t)rest[1] << 16;
    if (count % 4 == 3) {
        out[pixels] = (uint32_t)rest[2] & 0xFFFF;
    }
}

/* All of `count` taps but the last one to three, of one pixel of a block of `pixels`. */
static inline void lil_expand_quads(const int8_t *in, uint32_t count, uint32_t pixels,
                                    uint32_t *out) {
    const int8_t *end = in + (count & ~(uint32_t)3);
    while (in != end) {
        out = lil_expand_quad(in, pixels, out);
        in += 4;
    }
}

/* All of `count` taps of a block of one pixel. */
static inline void lil_expand_pixel(const int8_t *in, uint32_t count, uint32_t *out) {
    lil_expand_quads(in, count, 1, out);
    lil_expand_rest(in, count, 1, out + count / 4 * 2);
}

/* Four taps of two neighbours in a block of `pixels`, a constant, at `in` and `in + stride`;
 * returns the place of the next. */
LIL_INLINE uint32_t *lil_expand_neighbours(const int8_t *in, uint32_t stride, uint32_t pixels,
                                           uint32_t *out) {
#if defined(__ARM_FEATURE_DSP)
    uint32_t even;
    uint32_t odd;
    uint32_t second_even;
    uint32_t second_odd;
    uint32_t low;
    uint32_t second_low;
    __asm__ volatile(
        "ldr %[odd], [%[in]]\n"
        "ldr %[second_odd], [%[in], %[stride]]\n"
        "sxtb16 %[even], %[odd]\n"
        "sxtb16 %[odd], %[odd], ror #8\n"
        "sxtb16 %[second_even], %[second_odd]\n"
        "sxtb16 %[second_odd], %[second_odd], ror #8\n"
        "pkhbt %[low], %[even], %[odd], lsl #16\n"
        "pkhbt %[second_low], %[second_even], %[second_odd], lsl #16\n"
        "strd %[low], %[second_low], [%[out]], %[row]\n"
        "pkhtb %[odd], %[odd], %[even], asr #16\n"
        "pkhtb %[second_odd], %[second_odd], %[second_even], asr #16\n"
        "strd %[odd], %[second_odd], [%[out]], %[row]\n"
        : [out] "+r"(out), [even] "=&r"(even), [odd] "=&r"(odd), [second_even] "=&r"(second_even),
          [second_odd] "=&r"(second_odd), [low] "=&r"(low), [second_low] "=&r"(second_low)
        : [in] "r"(in), [stride] "r"(stride), [row] "i"(4 * pixels)
        : "memory");
    return out;
#else
    lil_expand_quad(in, pixels, out);
    return lil_expand_quad(in + stride, pixels, out + 1) - 1;
#endif
}

/* All of `count` taps but the last one to three, of two neighbours at `in` and `in + stride`, in a
 * block of `pixels`. */
LIL_INLINE void lil_expand_two(const int8_t *in, uint32_t stride, uint32_t count, uint32_t pixels,
                               uint32_t *out) {
    const int8_t *end = in + (count & ~(uint32_t)3);
    while (in != end) {
        out = lil_expand_neighbours(in, stride, pixels, out);
        in += 4;
    }
}

#endif
