/* What the kernels of a training step share: int16 gradients, clamped and counted. */
#ifndef LIL_GRADIENT_H
#define LIL_GRADIENT_H

#include "../kernels/kernels.h"

void lil_mask(const lil_call *call);
void lil_cross_entropy(const lil_call *call);
void lil_squared_error(const lil_call *call);
void lil_clamp_gradient(const lil_call *call);
void lil_convolution_gradient(const lil_call *call);
void lil_depthwise_gradient(const lil_call *call);
void lil_sum_gradients(const lil_call *call);
void lil_multiply_gradient(const lil_call *call);
void lil_pool_gradient(const lil_call *call);
void lil_max_pool_gradient(const lil_call *call);
void lil_table_gradient(const lil_call *call);
void lil_region_gradient(const lil_call *call);
void lil_resize_gradient(const lil_call *call);
void lil_update_bias(const lil_call *call);
void lil_update_convolution(const lil_call *call);
void lil_update_depthwise(const lil_call *call);

/* Row y of a map of gradients, NULL outside of it. */
static inline const int16_t *lil_gradient_row(const lil_source *source, int32_t y) {
    return (const int16_t *)(const void *)lil_row(source, y);
}

/* Sums may wrap in a file that no host has made: it sees to it that they do not. */
static inline int32_t lil_wrapping_sum(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

/* value / 2^shift, rounded to nearest, ties upwards; 0 <= shift <= 30. */
static inline int32_t lil_round_shift(int32_t value, int32_t shift) {
    return lil_wrapping_sum(value, (int32_t)(((uint32_t)1 << shift) >> 1)) >> shift;
}

/* Gradients on their way out, and how many of them did not fit. */
typedef struct lil_clamp_count {
    int32_t limit;
    uint32_t saturated;
} lil_clamp_count;

static inline int16_t lil_clamp_value(lil_clamp_count *count, int32_t value) {
    if ((uint32_t)value + (uint32_t)count->limit > 2 * (uint32_t)count->limit) {
        count->saturated++;
        return (int16_t)(value < 0 ? -count->limit : count->limit);
    }
    return (int16_t)value;
}

/* Bytes of an update's multipliers and shifts, and the padding behind them. */
static inline uint32_t lil_factor_bytes(uint32_t channels) {
    return (5 * channels + 3) / 4 * 4;
}

/* The outputs that the clamp of an operator let pass: those from `low`, `range` of them. */
typedef struct lil_passing {
    int32_t low;
    uint32_t range;
} lil_passing;

static inline lil_passing lil_load_passing(const lil_operator *op) {
    int32_t low = op->activation_min + 1;
    lil_passing passing = {low,
                           op->activation_max > low ? (uint32_t)(op->activation_max - low) : 0};
    return passing;
}

static inline bool lil_passes(const lil_passing *passing, int32_t value) {
    return (uint32_t)(value - passing->low) < passing->range;
}

/* value * multiplier * 2^(shift - 31), rounded to nearest, ties upwards, within 32 bits. */
static inline int32_t lil_rescale_sum(int32_t value, int32_t multiplier, int32_t shift) {
    int64_t product = (int64_t)value * multiplier;
    int32_t right = 31 - shift;
    int64_t result = (product + ((int64_t)1 << (right - 1))) >> right;
    return result > INT32_MAX ? INT32_MAX : result < -INT32_MAX ? -INT32_MAX : (int32_t)result;
}

/* Which windows of one dimension cover a position. */
typedef struct lil_span {
    int32_t first;
    int32_t end;
} lil_span;

/* The windows that cover `position`, among `count`; without dilation. */
static inline lil_span lil_covering(int32_t position, int32_t pad, int32_t kernel, int32_t stride,
                                    uint32_t count) {
    lil_span span;
    span.first = lil_floor_divide(position + pad - kernel + stride, stride);
    span.end = lil_floor_divide(position + pad, stride) + 1;
    span.first = span.first < 0 ? 0 : span.first;
    span.end = span.end > (int32_t)count ? (int32_t)count : span.end;
    return span;
}

#endif
