/* Multiplication with weights in pairs, in portable C: the inner loops of convolution and of
 * fully connected layers.
 *
 * Machines with vectors get activations of 16 bits, so that the compiler finds the
 * multiplication of eight and more halves at once. The others take int8 as they are, two taps of
 * two channels and two pixels at a time: that many sums stay in registers.
 *
 * Weights of four bits become int8 a pair at a time on machines with vectors, which reads them for
 * many pixels; the others take them apart as they multiply. */
#ifndef LIL_PAIR_PRODUCTS_H
#define LIL_PAIR_PRODUCTS_H

#include "lane.h"

#if LIL_HAS_VECTORS

typedef int16_t lil_activation;

/* Adds a pixel's products with both channels of a pair to two sums. */
static inline void lil_multiply_one(const int8_t *restrict weights,
                                    const lil_activation *restrict a, uint32_t taps,
                                    int32_t *restrict sums) {
    int32_t a0 = 0, a1 = 0;
    for (size_t k = 0; k < taps; k++) {
        uint16_t both;
        memcpy(&both, weights + 2 * k, sizeof both);
        int16_t first = (int16_t)((int16_t)(uint16_t)(both << 8) >> 8);
        int16_t second = (int16_t)((int16_t)both >> 8);
        a0 += a[k] * first;
        a1 += a[k] * second;
    }
    sums[0] += a0;
    sums[1] += a1;
}

/* The same with two pixels, to four sums. */
static inline void lil_multiply_two(const int8_t *restrict weights,
                                    const lil_activation *restrict a,
                                    const lil_activation *restrict b, uint32_t taps,
                                    int32_t *restrict sums) {
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    for (size_t k = 0; k < taps; k++) {
        uint16_t both;
        memcpy(&both, weights + 2 * k, sizeof both);
        int16_t first = (int16_t)((int16_t)(uint16_t)(both << 8) >> 8);
        int16_t second = (int16_t)((int16_t)both >> 8);
        a0 += a[k] * first;
        a1 += a[k] * second;
        b0 += b[k] * first;
        b1 += b[k] * second;
    }
    sums[0] += a0;
    sums[1] += a1;
    sums[2] += b0;
    sums[3] += b1;
}

/* Weights of four bits as int8. `taps`: padded to a multiple of four. */
static inline void lil_unpack_weights(const int8_t *restrict packed, uint32_t taps,
                                      int8_t *restrict weights) {
    for (size_t word = 0; word < taps / 4; word++) {
        for (size_t i = 0; i < 4; i++) {
            uint8_t both = (uint8_t)packed[4 * word + i];
            weights[8 * word + i] = (int8_t)(both & 0xF0);
            weights[8 * word + 4 + i] = (int8_t)(uint8_t)(both << 4);
        }
    }
}

#else

typedef int8_t lil_activation;

LIL_ALONE void lil_multiply_one(const int8_t *weights, const lil_activation *a, uint32_t taps,
                                int32_t *sums) {
    int32_t a0 = sums[0], a1 = sums[1];
    for (uint32_t twos = taps / 2; twos != 0; twos--) {
        int32_t x = a[0], y = a[1];
        lil_accumulate(&a0, x * weights[0]);
        lil_accumulate(&a1, x * weights[1]);
        lil_accumulate(&a0, y * weights[2]);
        lil_accumulate(&a1, y * weights[3]);
        a += 2;
        weights += 4;
    }
    if (taps % 2 != 0) {
        lil_accumulate(&a0, *a * weights[0]);
        lil_accumulate(&a1, *a * weights[1]);
    }
    sums[0] = a0;
    sums[1] = a1;
}

/* A tap's weights of two channels with two pixels. */
static inline void lil_multiply_values(int32_t first, int32_t second, int32_t x, int32_t y,
                                       int32_t *a0, int32_t *a1, int32_t *b0, int32_t *b1) {
    lil_accumulate(a0, x * first);
    lil_accumulate(a1, x * second);
    lil_accumulate(b0, y * first);
    lil_accumulate(b1, y * second);
}

static inline void lil_multiply_tap(const int8_t *weights, int32_t x, int32_t y, int32_t *a0,
                                    int32_t *a1, int32_t *b0, int32_t *b1) {
    lil_multiply_values(weights[0], weights[1], x, y, a0, a1, b0, b1);
}

LIL_ALONE void lil_multiply_two(const int8_t *weights, const lil_activation *a,
                                const lil_activation *b, uint32_t taps, int32_t *sums) {
    int32_t a0 = sums[0], a1 = sums[1], b0 = sums[2], b1 = sums[3];
#if LIL_HAS_THUMB1
    /* One index for both pixels, and little else: eight registers hold no more than a tap. */
    a += taps;
    b += taps;
    for (int32_t k = -(int32_t)taps; k != 0; k++) {
        lil_multiply_tap(weights, a[k], b[k], &a0, &a1, &b0, &b1);
        weights += 2;
    }
#else
    for (uint32_t fours = taps / 4; fours != 0; fours--) {
        lil_multiply_tap(weights, a[0], b[0], &a0, &a1, &b0, &b1);
        lil_multiply_tap(weights + 2, a[1], b[1], &a0, &a1, &b0, &b1);
        lil_multiply_tap(weights + 4, a[2], b[2], &a0, &a1, &b0, &b1);
        lil_multiply_tap(weights + 6, a[3], b[3], &a0, &a1, &b0, &b1);
        a += 4;
        b += 4;
        weights += 8;
    }
    for (uint32_t left = taps % 4; left != 0; left--) {
        lil_multiply_tap(weights, *a++, *b++, &a0, &a1, &b0, &b1);
        weights += 2;
    }
#endif
    sums[0] = a0;
    sums[1] = a1;
    sums[2] = b0;
    sums[3] = b1;
}

/* A byte of four-bit weights: what it holds for an early tap, and for the one two taps later. */
static inline int32_t lil_upper(int32_t byte) {
    return byte >> 4;
}

static inline int32_t lil_lower(int32_t byte) {
    return (int32_t)((uint32_t)byte << 28) >> 28;
}

/* lil_multiply_one with weights of four bits. */
LIL_ALONE void lil_multiply_one_int4(const int8_t *weights, const lil_activation *a, uint32_t taps,
                                     int32_t *sums) {
    int32_t a0 = 0, a1 = 0;
    for (uint32_t fours = taps / 4; fours != 0; fours--) {
        for (uint32_t i = 0; i < 2; i++) {
            int32_t first = weights[2 * i], second = weights[2 * i + 1];
            int32_t x = a[i], y = a[i + 2];
            lil_accumulate(&a0, x * lil_upper(first));
            lil_accumulate(&a1, x * lil_upper(second));
            lil_accumulate(&a0, y * lil_lower(first));
            lil_accumulate(&a1, y * lil_lower(second));
        }
        a += 4;
        weights += 4;
    }
    for (uint32_t i = 0; i < taps % 4; i++) {
        int32_t first = weights[2 * i % 4], second = weights[2 * i % 4 + 1];
        a0 += a[i] * (i < 2 ? lil_upper(first) : lil_lower(first));
        a1 += a[i] * (i < 2 ? lil_upper(second) : lil_lower(second));
    }
    sums[0] += 16 * a0;
    sums[1] += 16 * a1;
}

/* lil_multiply_two with weights of four bits. */
LIL_ALONE void lil_multiply_two_int4(const int8_t *weights, const lil_activation *a,
                                     const lil_activation *b, uint32_t taps, int32_t *sums) {
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    for (uint32_t fours = taps / 4; fours != 0; fours--) {
        int32_t first = weights[0], second = weights[1];
        lil_multiply_values(lil_upper(first), lil_upper(second), a[0], b[0], &a0, &a1, &b0, &b1);
        lil_multiply_values(lil_lower(first), lil_lower(second), a[2], b[2], &a0, &a1, &b0, &b1);
        first = weights[2];
        second = weights[3];
        lil_multiply_values(lil_upper(first), lil_upper(second), a[1], b[1], &a0, &a1, &b0, &b1);
        lil_multiply_values(lil_lower(first), lil_lower(second), a[3], b[3], &a0, &a1, &b0, &b1);
        a += 4;
        b += 4;
        weights += 4;
    }
    for (uint32_t i = 0; i < taps % 4; i++) {
        int32_t first = weights[2 * i % 4], second = weights[2 * i % 4 + 1];
        first = i < 2 ? lil_upper(first) : lil_lower(first);
        second = i < 2 ? lil_upper(second) : lil_lower(second);
        lil_multiply_values(first, second, a[i], b[i], &a0, &a1, &b0, &b1);
    }
    sums[0] += 16 * a0;
    sums[1] += 16 * a1;
    sums[2] += 16 * b0;
    sums[3] += 16 * b1;
}

#endif

/* A pair of output channels. */
typedef struct lil_pair {
    const int8_t *weights;
    lil_lane lanes[2]; /* both the same where the second channel is missing */
    bool is_half;      /* it is */
} lil_pair;

/* Pair `index` of convolution group `group`. `taps`: weights of one channel. */
static inline lil_pair lil_load_pair(const lil_call *call, const lil_channels *channels,
                                     uint32_t group, uint32_t group_outputs, uint32_t index,
                                     uint32_t taps) {
    uint32_t channel = group * group_outputs + 2 * index;
    lil_pair pair;
    pair.weights = channels->weights + (group * lil_pair_count(group_outputs) + index) *
                                           lil_pair_bytes(&call->op, taps);
    pair.is_half = 2 * index + 1 == group_outputs;
    pair.lanes[0] = lil_load_lane(call, channels, channel);
    pair.lanes[1] = pair.is_half ? pair.lanes[0] : lil_load_lane(call, channels, channel + 1);
    return pair;
}

/* Writes the sums of a pair for two neighbouring pixels as int8. */
static inline void lil_store_two(const lil_pair *pair, const int32_t *sums, int8_t *out,
                                 uint32_t pixel_step) {
    const lil_lane *first = &pair->lanes[0];
    const lil_lane *second = &pair->lanes[1];
    if (!first->is_short) {
        out[0] = lil_finish_any(first, sums[0]);
        out[pixel_step] = lil_finish_any(first, sums[2]);
        if (!pair->is_half) {
            out[1] = lil_finish_any(second, sums[1]);
            out[pixel_step + 1] = lil_finish_any(second, sums[3]);
        }
        return;
    }
    out[0] = lil_finish_short(first, sums[0]);
    out[pixel_step] = lil_finish_short(first, sums[2]);
    if (!pair->is_half) {
        out[1] = lil_finish_short(second, sums[1]);
        out[pixel_step + 1] = lil_finish_short(second, sums[3]);
    }
}

/* The same for one pixel. */
static inline void lil_store_one(const lil_pair *pair, const int32_t *sums, int8_t *out) {
    out[0] = lil_finish_lane(&pair->lanes[0], sums[0]);
    if (!pair->is_half) {
        out[1] = lil_finish_lane(&pair->lanes[1], sums[1]);
    }
}

#endif
