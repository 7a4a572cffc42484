/* Dot products of many pixels with the weights of two or four channels.
 *
 * VMLADAV adds sixteen products into a register. The weights of up to 48 taps stay in vectors while
 * the pixels pass by, so that a pixel costs one load for two dual products; more taps are further
 * passes over the sums. Nothing is read beyond the taps and the weights. */
#ifndef LIL_MVE_DOT_PRODUCTS_H
#define LIL_MVE_DOT_PRODUCTS_H

#include "../target.h"
#include "int4.h"

#include <arm_mve.h>
#include <stdbool.h>
#include <stdint.h>

/* Pixels whose inputs lie `step` bytes apart. */
typedef struct lil_pixels {
    const int8_t *inputs;
    uint32_t step;
    uint32_t count; /* at least 1 */
} lil_pixels;

/* Weights of pairs of channels. A tap of a pair takes two bytes, or one when they have four bits.
 */
typedef struct lil_pairs {
    const int8_t *weights;
    uint32_t pair_bytes; /* from one pair to the next */
    bool is_int4;
} lil_pairs;

/* Bytes of so many taps. */
static inline uint32_t lil_bytes_of_taps(const lil_pairs *pairs, uint32_t taps) {
    return pairs->is_int4 ? taps : 2 * taps;
}

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

/* Weights of a pair of channels for up to 48 taps: of the first block, of the second if there are
 * three, and of the last. */
typedef struct lil_resident {
    int8x16_t a0, b0, a1, b1, last_first, last_second;
} lil_resident;

LIL_INLINE lil_resident lil_load_int4_blocks(const int8_t *weights, uint32_t blocks, bool has_tail,
                                             mve_pred16_t mask) {
    const int8_t *last = weights + 16 * (blocks - 1);
    lil_resident result;
    result.last_first = lil_load_last_int4(last, 0, has_tail, mask);
    result.last_second = lil_load_last_int4(last, 1, has_tail, mask);
    result.a0 = result.a1 = result.last_first;
    result.b0 = result.b1 = result.last_second;
    if (blocks > 1) {
        result.a0 = lil_load_int4(weights, 0);
        result.b0 = lil_load_int4(weights, 1);
    }
    if (blocks > 2) {
        result.a1 = lil_load_int4(weights + 16, 0);
        result.b1 = lil_load_int4(weights + 16, 1);
    }
    return result;
}

LIL_INLINE lil_resident lil_load_blocks(const int8_t *weights, uint32_t blocks, bool has_tail,
                                        mve_pred16_t mask) {
    const int8_t *last = weights + 32 * (blocks - 1);
    bool is_aligned = (uintptr_t)weights % 4 == 0; /* VLD2 reads words */
    lil_resident result;
    if (!has_tail && is_aligned) {
        int8x16x2_t both = vld2q_s8(last);
        result.last_first = both.val[0];
        result.last_second = both.val[1];
    } else {
        result.last_first = lil_load_last_weights(last, 0, has_tail, mask);
        result.last_second = lil_load_last_weights(last, 1, has_tail, mask);
    }
    result.a0 = result.a1 = result.last_first;
    result.b0 = result.b1 = result.last_second;
    if (blocks > 1 && is_aligned) {
        int8x16x2_t both = vld2q_s8(weights);
        result.a0 = both.val[0];
        result.b0 = both.val[1];
        if (blocks > 2) {
            int8x16x2_t next = vld2q_s8(weights + 32);
            result.a1 = next.val[0];
            result.b1 = next.val[1];
        }
    } else if (blocks > 1) {
        result.a0 = lil_load_weights(weights, 0);
        result.b0 = lil_load_weights(weights, 1);
        if (blocks > 2) {
            result.a1 = lil_load_weights(weights + 32, 0);
            result.b1 = lil_load_weights(weights + 32, 1);
        }
    }
    return result;
}

/* Begins, or adds to, a pair's part of the sums [pixel][4] with `blocks` x 16 taps, 1 to 3, of
 * which those in `mask` count in the last block when it is a tail. */
LIL_INLINE void lil_dot_pair_pass(const lil_pixels *pixels, const int8_t *weights, bool is_int4,
                                  int32_t *sums, uint32_t blocks, bool has_tail, bool is_first,
                                  mve_pred16_t mask) {
    lil_resident w = is_int4 ? lil_load_int4_blocks(weights, blocks, has_tail, mask)
                             : lil_load_blocks(weights, blocks, has_tail, mask);
    const int8_t *inputs = pixels->inputs;
    uint32_t step = pixels->step;
    uint32_t count = pixels->count;
    do {
        int32_t first, second;
        int8x16_t x = lil_load_last_inputs(inputs, 0, has_tail && blocks == 1, mask);
        if (is_first) {
            first = vmladavq_s8(x, w.a0);
            second = vmladavq_s8(x, w.b0);
        } else {
            lil_peek_sums(sums, &first, &second);
            first = vmladavaq_s8(first, x, w.a0);
            second = vmladavaq_s8(second, x, w.b0);
        }
        if (blocks > 2) {
            x = lil_load_inputs(inputs, 16);
            first = vmladavaq_s8(first, x, w.a1);
            second = vmladavaq_s8(second, x, w.b1);
        }
        if (blocks > 1) {
            x = lil_load_last_inputs(inputs, 16 * (blocks - 1), has_tail, mask);
            first = vmladavaq_s8(first, x, w.last_first);
            second = vmladavaq_s8(second, x, w.last_second);
        }
        sums = lil_push_sums(sums, first, second, 16);
        inputs += step;
    } while (--count);
}

LIL_INLINE void lil_dot_pair_blocks(const lil_pixels *pixels, const int8_t *weights, bool is_int4,
                                    int32_t *sums, uint32_t taps, bool has_tail, bool is_first) {
    mve_pred16_t mask = vctp8q(taps % 16);
    uint32_t blocks = (taps + 15) / 16;
    if (blocks == 3) {
        lil_dot_pair_pass(pixels, weights, is_int4, sums, 3, has_tail, is_first, mask);
    } else if (blocks == 2) {
        lil_dot_pair_pass(pixels, weights, is_int4, sums, 2, has_tail, is_first, mask);
    } else {
        lil_dot_pair_pass(pixels, weights, is_int4, sums, 1, has_tail, is_first, mask);
    }
}

/* Begins, or adds to, a pair's part of the sums [pixel][4] of one to three pixels, with
 * `blocks` x 16 taps or, of four bits, x 32. VLD2 parts those inputs as the weights are parted. */
LIL_INLINE void lil_dot_together(const int8_t *x0, uint32_t step, uint32_t pixels,
                                 const int8_t *weights, bool is_int4, uint32_t blocks,
                                 int32_t *sums, bool is_first) {
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
    if (is_int4) {
        __asm__ volatile("vmov.i8 q6, #0xF0\n\t"
                         "dls lr, %[blocks]\n"
                         "1:\n\t"
                         "vld20.8 {q0, q1}, [%[weights]]\n\t"
                         "vld21.8 {q0, q1}, [%[weights]]!\n\t"
                         "vand q2, q0, q6\n\t"
                         "vand q3, q1, q6\n\t"
                         "vshl.i8 q0, q0, #4\n\t"
                         "vshl.i8 q1, q1, #4\n\t"
                         "vld20.16 {q4, q5}, [%[x0]]\n\t"
                         "vld21.16 {q4, q5}, [%[x0]]!\n\t"
                         "vmladava.s8 %[a0], q2, q4\n\t"
                         "vmladava.s8 %[b0], q3, q4\n\t"
                         "vmladava.s8 %[a0], q0, q5\n\t"
                         "vmladava.s8 %[b0], q1, q5\n\t"
                         ".if %c[pixels] > 1\n\t"
                         "vld20.16 {q4, q5}, [%[x1]]\n\t"
                         "vld21.16 {q4, q5}, [%[x1]]!\n\t"
                         "vmladava.s8 %[a1], q2, q4\n\t"
                         "vmladava.s8 %[b1], q3, q4\n\t"
                         "vmladava.s8 %[a1], q0, q5\n\t"
                         "vmladava.s8 %[b1], q1, q5\n\t"
                         ".endif\n\t"
                         ".if %c[pixels] > 2\n\t"
                         "vld20.16 {q4, q5}, [%[x2]]\n\t"
                         "vld21.16 {q4, q5}, [%[x2]]!\n\t"
                         "vmladava.s8 %[a2], q2, q4\n\t"
                         "vmladava.s8 %[b2], q3, q4\n\t"
                         "vmladava.s8 %[a2], q0, q5\n\t"
                         "vmladava.s8 %[b2], q1, q5\n\t"
                         ".endif\n\t"
                         "le lr, 1b"
                         : [weights] "+r"(weights), [a0] "+Te"(a0), [b0] "+Te"(b0), [x0] "+r"(x0),
                           [a1] "+Te"(a1), [b1] "+Te"(b1), [x1] "+r"(x1), [a2] "+Te"(a2),
                           [b2] "+Te"(b2), [x2] "+r"(x2)
                         : [blocks] "r"(blocks), [pixels] "i"(pixels)
                         : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "lr", "memory");
    } else {
        __asm__ volatile("dls lr, %[blocks]\n"
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
                         : [weights] "+r"(weights), [a0] "+Te"(a0), [b0] "+Te"(b0), [x0] "+r"(x0),
                           [a1] "+Te"(a1), [b1] "+Te"(b1), [x1] "+r"(x1), [a2] "+Te"(a2),
                           [b2] "+Te"(b2), [x2] "+r"(x2)
                         : [blocks] "r"(blocks), [pixels] "i"(pixels)
                         : "q0", "q1", "q2", "q3", "lr", "memory");
    }
    sums = lil_push_sums(sums, a0, b0, 16);
    if (pixels > 1) {
        sums = lil_push_sums(sums, a1, b1, 16);
    }
    if (pixels > 2) {
        lil_push_sums(sums, a2, b2, 16);
    }
}

/* The same for any number of pixels and for the pairs of up to four channels. */
LIL_INLINE void lil_dot_few_pairs(const lil_pixels *pixels, const lil_pairs *pairs, bool is_int4,
                                  uint32_t channels, uint32_t blocks, int32_t *sums,
                                  bool is_first) {
    uint32_t step = pixels->step;
    uint32_t count = pixels->count;
    const int8_t *weights = pairs->weights;
    for (int32_t *end = sums + channels; sums < end; sums += 2) {
        const int8_t *inputs = pixels->inputs;
        int32_t *pair = sums;
        uint32_t left = count;
        for (; left >= 3; left -= 3) {
            lil_dot_together(inputs, step, 3, weights, is_int4, blocks, pair, is_first);
            inputs += 3 * step;
            pair += 12;
        }
        if (left == 2) {
            lil_dot_together(inputs, step, 2, weights, is_int4, blocks, pair, is_first);
        } else if (left == 1) {
            lil_dot_together(inputs, step, 1, weights, is_int4, blocks, pair, is_first);
        }
        weights += pairs->pair_bytes;
    }
}

/* The same for weights at a multiple of 4 and, with weights of four bits, inputs as well. The
 * weights pass by: few pixels do not repay keeping them in registers. */
static __attribute__((noinline, unused)) void lil_dot_few(const lil_pixels *pixels,
                                                          const lil_pairs *pairs, uint32_t channels,
                                                          uint32_t blocks, int32_t *sums,
                                                          bool is_first) {
    if (pairs->is_int4) {
        lil_dot_few_pairs(pixels, pairs, true, channels, blocks, sums, is_first);
    } else if (is_first) {
        lil_dot_few_pairs(pixels, pairs, false, channels, blocks, sums, true);
    } else {
        lil_dot_few_pairs(pixels, pairs, false, channels, blocks, sums, false);
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

/* The same with weights of four bits and inputs at a multiple of 4. */
LIL_INLINE void lil_dot_channels_int4(const int8_t *inputs, const int8_t *weights, uint32_t gap,
                                      uint32_t pairs, int32_t *sums, bool is_first) {
    int32_t a = 0, b = 0;
    __asm__ volatile("vld20.16 {q0, q1}, [%[inputs]]\n\t"
                     "vld21.16 {q0, q1}, [%[inputs]]!\n\t"
                     "vld20.16 {q2, q3}, [%[inputs]]\n\t"
                     "vld21.16 {q2, q3}, [%[inputs]]\n\t"
                     "vmov.i8 q7, #0xF0\n\t"
                     "dls lr, %[pairs]\n"
                     "1:\n\t"
                     "vld20.8 {q4, q5}, [%[weights]]\n\t"
                     "vld21.8 {q4, q5}, [%[weights]]!\n\t"
                     "vand q6, q4, q7\n\t"
                     ".if %c[is_first]\n\t"
                     "vmladav.s8 %[a], q0, q6\n\t"
                     "vand q6, q5, q7\n\t"
                     "vmladav.s8 %[b], q0, q6\n\t"
                     ".else\n\t"
                     "ldrd %[a], %[b], [%[sums]]\n\t"
                     "vmladava.s8 %[a], q0, q6\n\t"
                     "vand q6, q5, q7\n\t"
                     "vmladava.s8 %[b], q0, q6\n\t"
                     ".endif\n\t"
                     "vshl.i8 q4, q4, #4\n\t"
                     "vmladava.s8 %[a], q1, q4\n\t"
                     "vshl.i8 q5, q5, #4\n\t"
                     "vmladava.s8 %[b], q1, q5\n\t"
                     "vld20.8 {q4, q5}, [%[weights]]\n\t"
                     "vld21.8 {q4, q5}, [%[weights]]!\n\t"
                     "vand q6, q4, q7\n\t"
                     "vmladava.s8 %[a], q2, q6\n\t"
                     "vand q6, q5, q7\n\t"
                     "vmladava.s8 %[b], q2, q6\n\t"
                     "vshl.i8 q4, q4, #4\n\t"
                     "vmladava.s8 %[a], q3, q4\n\t"
                     "vshl.i8 q5, q5, #4\n\t"
                     "vmladava.s8 %[b], q3, q5\n\t"
                     "add %[weights], %[weights], %[gap]\n\t"
                     "strd %[a], %[b], [%[sums]], #8\n\t"
                     "le lr, 1b"
                     : [inputs] "+r"(inputs), [weights] "+r"(weights), [sums] "+r"(sums),
                       [a] "+Te"(a), [b] "+Te"(b)
                     : [gap] "r"(gap), [pairs] "r"(pairs), [is_first] "i"(is_first)
                     : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "memory");
}

/* Begins, or adds to, the sums [pixel][4] of up to four channels. */
static __attribute__((noinline, unused)) void lil_dot_pairs(const lil_pixels *pixels,
                                                            const lil_pairs *pairs,
                                                            uint32_t channels, uint32_t taps,
                                                            int32_t *sums, bool is_first) {
    bool is_int4 = pairs->is_int4;
    for (uint32_t done = 0; done < taps;) {
        uint32_t count = taps - done < 48 ? taps - done : 48;
        lil_pixels part = *pixels;
        part.inputs += done;
        const int8_t *pair = pairs->weights + lil_bytes_of_taps(pairs, done);
        for (uint32_t channel = 0; channel < channels; channel += 2) {
            int32_t *of_pair = sums + channel;
            if (count % 16 != 0) {
                if (is_first) {
                    lil_dot_pair_blocks(&part, pair, is_int4, of_pair, count, true, true);
                } else {
                    lil_dot_pair_blocks(&part, pair, is_int4, of_pair, count, true, false);
                }
            } else if (is_first) {
                lil_dot_pair_blocks(&part, pair, is_int4, of_pair, count, false, true);
            } else {
                lil_dot_pair_blocks(&part, pair, is_int4, of_pair, count, false, false);
            }
            pair += pairs->pair_bytes;
        }
        is_first = false;
        done += count;
    }
}

LIL_INLINE void lil_dot_quad_pass(const lil_pixels *pixels, const lil_pairs *pairs, int32_t *sums,
                                  bool has_tail, mve_pred16_t mask) {
    const int8_t *weights = pairs->weights;
    const int8_t *others = weights + pairs->pair_bytes;
    int8x16_t w0, w1, w2, w3;
    if (pairs->is_int4) {
        w0 = lil_load_last_int4(weights, 0, has_tail, mask);
        w1 = lil_load_last_int4(weights, 1, has_tail, mask);
        w2 = lil_load_last_int4(others, 0, has_tail, mask);
        w3 = lil_load_last_int4(others, 1, has_tail, mask);
    } else {
        w0 = lil_load_last_weights(weights, 0, has_tail, mask);
        w1 = lil_load_last_weights(weights, 1, has_tail, mask);
        w2 = lil_load_last_weights(others, 0, has_tail, mask);
        w3 = lil_load_last_weights(others, 1, has_tail, mask);
    }
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

/* The sums [pixel][4] of two pairs, of at most sixteen taps. */
static inline void lil_dot_quad(const lil_pixels *pixels, const lil_pairs *pairs, int32_t *sums,
                                uint32_t taps) {
    mve_pred16_t mask = vctp8q(taps);
    if (taps == 16) {
        lil_dot_quad_pass(pixels, pairs, sums, false, mask);
    } else {
        lil_dot_quad_pass(pixels, pairs, sums, true, mask);
    }
}

/* The sums of one pixel: its inputs with a pair's weights. */
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

/* The same with weights of four bits. */
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
            uint8x16_t upper = vdupq_n_u8(0xF0);
            first = vmladavaq_s8(first, x, vreinterpretq_s8_u8(vandq_u8(both.val[0], upper)));
            second = vmladavaq_s8(second, x, vreinterpretq_s8_u8(vandq_u8(both.val[1], upper)));
            first = vmladavaq_s8(first, y, vreinterpretq_s8_u8(vshlq_n_u8(both.val[0], 4)));
            second = vmladavaq_s8(second, y, vreinterpretq_s8_u8(vshlq_n_u8(both.val[1], 4)));
            inputs += 32;
            weights += 32;
        }
    }
    for (int32_t left = (int32_t)taps; left > 0; left -= 16) {
        mve_pred16_t mask = vctp8q((uint32_t)left);
        int8x16_t x = vldrbq_z_s8(inputs, mask);
        first = vmladavaq_s8(first, x, lil_load_last_int4(weights, 0, true, mask));
        second = vmladavaq_s8(second, x, lil_load_last_int4(weights, 1, true, mask));
        inputs += 16;
        weights += 16;
    }
    sums[0] = first;
    sums[1] = second;
}

#endif
