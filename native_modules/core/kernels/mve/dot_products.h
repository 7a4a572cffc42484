/* Dot products of many pixels with the weights of two or four channels.
 *
 * VMLADAV adds sixteen products into a register. The weights of up to 48 taps stay in vectors while
 * the pixels pass by, so that a pixel costs one load for two dual products; more taps are further
 * passes over the sums. Nothing is read beyond the taps and the weights. */
#ifndef LIL_MVE_DOT_PRODUCTS_H
#define LIL_MVE_DOT_PRODUCTS_H

#include "../target.h"

#include <arm_mve.h>
#include <stdbool.h>
#include <stdint.h>

/* Pixels whose inputs lie `step` bytes apart. */
typedef struct lil_pixels {
    const int8_t *inputs;
    uint32_t step;
    uint32_t count; /* at least 1 */
} lil_pixels;

/* Sixteen inputs at a constant offset: the compiler would compute the address. */
LIL_INLINE int8x16_t lil_load_inputs(const int8_t *inputs, uint32_t offset) {
    int8x16_t vector;
    __asm__("vldrb.8 %q0, [%1, %2]"
            : "=w"(vector)
            : "r"(inputs), "i"(offset), "m"(*(const int8_t(*)[16])(inputs + offset)));
    return vector;
}

/* Stores two sums and steps on by `bytes`. */
LIL_INLINE int32_t *lil_push_sums(int32_t *sums, int32_t first, int32_t second, uint32_t bytes) {
    __asm__ volatile("strd %1, %2, [%0], %3"
                     : "+r"(sums)
                     : "r"(first), "r"(second), "i"(bytes)
                     : "memory");
    return sums;
}

/* Two sums from memory into registers that VMLADAVA can add to. */
LIL_INLINE void lil_peek_sums(const int32_t *sums, int32_t *first, int32_t *second) {
    int32_t a, b;
    __asm__ volatile("ldrd %0, %1, [%2]" : "=&Te"(a), "=Te"(b) : "r"(sums) : "memory");
    *first = a;
    *second = b;
}

/* Sixteen weights of one channel of a pair, `lane` 0 or 1. */
LIL_INLINE int8x16_t lil_load_weights(const int8_t *weights, uint32_t lane) {
    return vldrbq_gather_offset_s8(weights + lane, vidupq_n_u8(0, 2));
}

/* As many of them as `mask` has, and zeros. */
LIL_INLINE int8x16_t lil_load_last_weights(const int8_t *weights, uint32_t lane, bool has_tail,
                                           mve_pred16_t mask) {
    if (has_tail) {
        return vldrbq_gather_offset_z_s8(weights + lane, vidupq_n_u8(0, 2), mask);
    }
    return lil_load_weights(weights, lane);
}

LIL_INLINE int8x16_t lil_load_last_inputs(const int8_t *inputs, uint32_t offset, bool has_tail,
                                          mve_pred16_t mask) {
    if (has_tail) {
        return vldrbq_z_s8(inputs + offset, mask);
    }
    return lil_load_inputs(inputs, offset);
}

/* Begins, or adds to, a pair's part of the sums [pixel][4] with `blocks` x 16 taps, 1 to 3, of
 * which those in `mask` count in the last block when it is a tail. */
LIL_INLINE void lil_dot_pair_pass(const lil_pixels *pixels, const int8_t *weights, int32_t *sums,
                                  uint32_t blocks, bool has_tail, bool is_first,
                                  mve_pred16_t mask) {
    const int8_t *last = weights + 32 * (blocks - 1);
    bool is_aligned = (uintptr_t)weights % 4 == 0; /* VLD2 reads words */
    int8x16_t last_first, last_second;
    if (!has_tail && is_aligned) {
        int8x16x2_t both = vld2q_s8(last);
        last_first = both.val[0];
        last_second = both.val[1];
    } else {
        last_first = lil_load_last_weights(last, 0, has_tail, mask);
        last_second = lil_load_last_weights(last, 1, has_tail, mask);
    }
    int8x16_t a0 = last_first, b0 = last_second, a1 = last_first, b1 = last_second;
    if (blocks > 1 && is_aligned) {
        int8x16x2_t both = vld2q_s8(weights);
        a0 = both.val[0];
        b0 = both.val[1];
        if (blocks > 2) {
            int8x16x2_t next = vld2q_s8(weights + 32);
            a1 = next.val[0];
            b1 = next.val[1];
        }
    } else if (blocks > 1) {
        a0 = lil_load_weights(weights, 0);
        b0 = lil_load_weights(weights, 1);
        if (blocks > 2) {
            a1 = lil_load_weights(weights + 32, 0);
            b1 = lil_load_weights(weights + 32, 1);
        }
    }
    const int8_t *inputs = pixels->inputs;
    uint32_t step = pixels->step;
    uint32_t count = pixels->count;
    do {
        int32_t first, second;
        int8x16_t x = lil_load_last_inputs(inputs, 0, has_tail && blocks == 1, mask);
        if (is_first) {
            first = vmladavq_s8(x, a0);
            second = vmladavq_s8(x, b0);
        } else {
            lil_peek_sums(sums, &first, &second);
            first = vmladavaq_s8(first, x, a0);
            second = vmladavaq_s8(second, x, b0);
        }
        if (blocks > 2) {
            x = lil_load_inputs(inputs, 16);
            first = vmladavaq_s8(first, x, a1);
            second = vmladavaq_s8(second, x, b1);
        }
        if (blocks > 1) {
            x = lil_load_last_inputs(inputs, 16 * (blocks - 1), has_tail, mask);
            first = vmladavaq_s8(first, x, last_first);
            second = vmladavaq_s8(second, x, last_second);
        }
        sums = lil_push_sums(sums, first, second, 16);
        inputs += step;
    } while (--count);
}

LIL_INLINE void lil_dot_pair_blocks(const lil_pixels *pixels, const int8_t *weights, int32_t *sums,
                                    uint32_t taps, bool has_tail, bool is_first) {
    mve_pred16_t mask = vctp8q(taps % 16);
    uint32_t blocks = (taps + 15) / 16;
    if (blocks == 3) {
        lil_dot_pair_pass(pixels, weights, sums, 3, has_tail, is_first, mask);
    } else if (blocks == 2) {
        lil_dot_pair_pass(pixels, weights, sums, 2, has_tail, is_first, mask);
    } else {
        lil_dot_pair_pass(pixels, weights, sums, 1, has_tail, is_first, mask);
    }
}

/* Begins, or adds to, a pair's part of the sums [pixel][4] of one to three pixels, with
 * `blocks` x 16 taps. */
LIL_INLINE void lil_dot_together(const int8_t *x0, uint32_t step, uint32_t pixels,
                                 const int8_t *weights, uint32_t blocks, int32_t *sums,
                                 bool is_first) {
    const int8_t *x1 = x0 + step;
    const int8_t *x2 = x1 + step;
    int32_t a0 = 0, b0 = 0, a1 = 0, b1 = 0, a2 = 0, b2 = 0;
    if (!is_first) {
        lil_peek_sums(sums, &a0, &b0);
        if (pixels > 1) {
            lil_peek_sums(sums + 4, &a1, &b1);
        }
        if (pixels > 2) {
            lil_peek_sums(sums + 8, &a2, &b2);
        }
    }
    __asm__ volatile(
        "dls lr, %[blocks]\n"
        "1:\n\t"
        "vld20.8 {q0, q1}, [%[weights]]\n\t"
        "vld21.8 {q0, q1}, [%[weights]]!\n\t"
        "vldrb.8 q2, [%[x0]], #16\n\t"
        "vmladava.s8 %[a0], q0, q2\n\t"
        "vmladava.s8 %[b0], q1, q2\n\t"
        ".if %c[pixels] > 1\n\t"
        "vldrb.8 q3, [%[x1]], #16\n\t"
        "vmladava.s8 %[a1], q0, q3\n\t"
        "vmladava.s8 %[b1], q1, q3\n\t"
        ".endif\n\t"
        ".if %c[pixels] > 2\n\t"
        "vldrb.8 q2, [%[x2]], #16\n\t"
        "vmladava.s8 %[a2], q0, q2\n\t"
        "vmladava.s8 %[b2], q1, q2\n\t"
        ".endif\n\t"
        "le lr, 1b"
        : [weights] "+r"(weights), [a0] "+Te"(a0), [b0] "+Te"(b0), [x0] "+r"(x0), [a1] "+Te"(a1),
          [b1] "+Te"(b1), [x1] "+r"(x1), [a2] "+Te"(a2), [b2] "+Te"(b2), [x2] "+r"(x2)
        : [blocks] "r"(blocks), [pixels] "i"(pixels)
        : "q0", "q1", "q2", "q3", "lr", "memory");
    sums = lil_push_sums(sums, a0, b0, 16);
    if (pixels > 1) {
        sums = lil_push_sums(sums, a1, b1, 16);
    }
    if (pixels > 2) {
        lil_push_sums(sums, a2, b2, 16);
    }
}

/* The same for any number of pixels and for the pairs of up to four channels. */
LIL_INLINE void lil_dot_few_pairs(const lil_pixels *pixels, const int8_t *weights,
                                  uint32_t pair_bytes, uint32_t channels, uint32_t blocks,
                                  int32_t *sums, bool is_first) {
    uint32_t step = pixels->step;
    uint32_t count = pixels->count;
    for (int32_t *end = sums + channels; sums < end; sums += 2) {
        const int8_t *inputs = pixels->inputs;
        int32_t *pair = sums;
        uint32_t left = count;
        for (; left >= 3; left -= 3) {
            lil_dot_together(inputs, step, 3, weights, blocks, pair, is_first);
            inputs += 3 * step;
            pair += 12;
        }
        if (left == 2) {
            lil_dot_together(inputs, step, 2, weights, blocks, pair, is_first);
        } else if (left == 1) {
            lil_dot_together(inputs, step, 1, weights, blocks, pair, is_first);
        }
        weights += pair_bytes;
    }
}

/* The same for weights at a multiple of 4, `pair_bytes` apart. They pass by: few pixels do not
 * repay keeping them in registers. */
static __attribute__((noinline, unused)) void
lil_dot_few(const lil_pixels *pixels, const int8_t *weights, uint32_t pair_bytes, uint32_t channels,
            uint32_t blocks, int32_t *sums, bool is_first) {
    if (is_first) {
        lil_dot_few_pairs(pixels, weights, pair_bytes, channels, blocks, sums, true);
    } else {
        lil_dot_few_pairs(pixels, weights, pair_bytes, channels, blocks, sums, false);
    }
}

/* Taps of one pixel that stay in vectors while the weights of many channels pass by. */
#define LIL_RESIDENT_TAPS 64

/* Begins, or adds to, the sums of one pixel for `pairs` pairs of channels, whose weights are at a
 * multiple of 4 and have `gap` bytes from the end of these taps to the next pair's. */
LIL_INLINE void lil_dot_channels(const int8_t *inputs, const int8_t *weights, uint32_t gap,
                                 uint32_t pairs, int32_t *sums, bool is_first) {
    int32_t a = 0, b = 0;
    __asm__ volatile(
        "vldrb.8 q0, [%[inputs]]\n\t"
        "vldrb.8 q1, [%[inputs], #16]\n\t"
        "vldrb.8 q2, [%[inputs], #32]\n\t"
        "vldrb.8 q3, [%[inputs], #48]\n\t"
        "dls lr, %[pairs]\n"
        "1:\n\t"
        "vld20.8 {q4, q5}, [%[weights]]\n\t"
        "vld21.8 {q4, q5}, [%[weights]]!\n\t"
        ".if %c[is_first]\n\t"
        "vmladav.s8 %[a], q0, q4\n\t"
        "vmladav.s8 %[b], q0, q5\n\t"
        ".else\n\t"
        "ldrd %[a], %[b], [%[sums]]\n\t"
        "vmladava.s8 %[a], q0, q4\n\t"
        "vmladava.s8 %[b], q0, q5\n\t"
        ".endif\n\t"
        "vld20.8 {q6, q7}, [%[weights]]\n\t"
        "vld21.8 {q6, q7}, [%[weights]]!\n\t"
        "vmladava.s8 %[a], q1, q6\n\t"
        "vmladava.s8 %[b], q1, q7\n\t"
        "vld20.8 {q4, q5}, [%[weights]]\n\t"
        "vld21.8 {q4, q5}, [%[weights]]!\n\t"
        "vmladava.s8 %[a], q2, q4\n\t"
        "vmladava.s8 %[b], q2, q5\n\t"
        "vld20.8 {q6, q7}, [%[weights]]\n\t"
        "vld21.8 {q6, q7}, [%[weights]]!\n\t"
        "vmladava.s8 %[a], q3, q6\n\t"
        "vmladava.s8 %[b], q3, q7\n\t"
        "add %[weights], %[weights], %[gap]\n\t"
        "strd %[a], %[b], [%[sums]], #8\n\t"
        "le lr, 1b"
        : [weights] "+r"(weights), [sums] "+r"(sums), [a] "+Te"(a), [b] "+Te"(b)
        : [inputs] "r"(inputs), [gap] "r"(gap), [pairs] "r"(pairs), [is_first] "i"(is_first)
        : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "memory");
}

/* Begins, or adds to, the sums [pixel][4] of up to four channels, whose pairs' weights [taps][2]
 * are `pair_bytes` apart. */
static __attribute__((noinline, unused)) void
lil_dot_pairs(const lil_pixels *pixels, const int8_t *weights, uint32_t pair_bytes,
              uint32_t channels, uint32_t taps, int32_t *sums, bool is_first) {
    for (uint32_t done = 0; done < taps;) {
        uint32_t count = taps - done < 48 ? taps - done : 48;
        lil_pixels part = *pixels;
        part.inputs += done;
        for (uint32_t channel = 0; channel < channels; channel += 2) {
            const int8_t *pair = weights + 2 * done + channel / 2 * pair_bytes;
            if (count % 16 != 0) {
                if (is_first) {
                    lil_dot_pair_blocks(&part, pair, sums + channel, count, true, true);
                } else {
                    lil_dot_pair_blocks(&part, pair, sums + channel, count, true, false);
                }
            } else if (is_first) {
                lil_dot_pair_blocks(&part, pair, sums + channel, count, false, true);
            } else {
                lil_dot_pair_blocks(&part, pair, sums + channel, count, false, false);
            }
        }
        is_first = false;
        done += count;
    }
}

LIL_INLINE void lil_dot_quad_pass(const lil_pixels *pixels, const int8_t *weights,
                                  uint32_t pair_bytes, int32_t *sums, bool has_tail,
                                  mve_pred16_t mask) {
    const int8_t *others = weights + pair_bytes;
    int8x16_t w0 = lil_load_last_weights(weights, 0, has_tail, mask);
    int8x16_t w1 = lil_load_last_weights(weights, 1, has_tail, mask);
    int8x16_t w2 = lil_load_last_weights(others, 0, has_tail, mask);
    int8x16_t w3 = lil_load_last_weights(others, 1, has_tail, mask);
    const int8_t *inputs = pixels->inputs;
    uint32_t step = pixels->step;
    uint32_t count = pixels->count;
    do {
        int8x16_t x = lil_load_last_inputs(inputs, 0, has_tail, mask);
        sums = lil_push_sums(sums, vmladavq_s8(x, w0), vmladavq_s8(x, w1), 8);
        sums = lil_push_sums(sums, vmladavq_s8(x, w2), vmladavq_s8(x, w3), 8);
        inputs += step;
    } while (--count);
}

/* The sums [pixel][4] of two pairs that are `pair_bytes` apart, of at most sixteen taps. */
static inline void lil_dot_quad(const lil_pixels *pixels, const int8_t *weights,
                                uint32_t pair_bytes, int32_t *sums, uint32_t taps) {
    if (taps == 16) {
        lil_dot_quad_pass(pixels, weights, pair_bytes, sums, false, 0);
    } else {
        lil_dot_quad_pass(pixels, weights, pair_bytes, sums, true, vctp8q(taps));
    }
}

/* The sums of one pixel: its inputs with the weights [tap][2] of a pair. */
static inline void lil_dot_row(const int8_t *inputs, const int8_t *weights, uint32_t taps,
                               int32_t *sums) {
    int32_t first = 0;
    int32_t second = 0;
    uint32_t blocks = taps / 16;
    if ((uintptr_t)weights % 4 == 0) { /* VLD2 reads words */
        for (; blocks != 0; blocks--) {
            int8x16x2_t both = vld2q_s8(weights);
            int8x16_t x = vldrbq_s8(inputs);
            first = vmladavaq_s8(first, x, both.val[0]);
            second = vmladavaq_s8(second, x, both.val[1]);
            inputs += 16;
            weights += 32;
        }
    }
    for (; blocks != 0; blocks--) {
        int8x16_t x = vldrbq_s8(inputs);
        first = vmladavaq_s8(first, x, lil_load_weights(weights, 0));
        second = vmladavaq_s8(second, x, lil_load_weights(weights, 1));
        inputs += 16;
        weights += 32;
    }
    if (taps % 16 != 0) {
        mve_pred16_t mask = vctp8q(taps % 16);
        int8x16_t x = vldrbq_z_s8(inputs, mask);
        first = vmladavaq_s8(first, x, lil_load_last_weights(weights, 0, true, mask));
        second = vmladavaq_s8(second, x, lil_load_last_weights(weights, 1, true, mask));
    }
    sums[0] = first;
    sums[1] = second;
}

#endif
