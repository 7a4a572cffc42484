/* Fixed-point arithmetic of the TFLite int8 specification, as in gemmlowp: a multiplier m in Q0.31
 * with shift s stands for m * 2^s, and both steps round. Multipliers are never negative. */
#ifndef LIL_REQUANTIZE_H
#define LIL_REQUANTIZE_H

#include <stdint.h>

/* a * b / 2^31, rounded to nearest with ties upwards. */
static inline int32_t lil_multiply_high(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* value / 2^shift, rounded to nearest with ties away from zero; 0 <= shift <= 31. */
static inline int32_t lil_shift_right(int32_t value, int32_t shift) {
    uint32_t mask = ((uint32_t)1 << shift) - 1;
    uint32_t rest = (uint32_t)value & mask;
    uint32_t half = (mask >> 1) + (value < 0);
    return (value >> shift) + (rest > half);
}

/* value * multiplier * 2^(shift - 31). Overflow of the left shift wraps. */
static inline int32_t lil_rescale_value(int32_t value, int32_t multiplier, int32_t shift) {
    if (shift > 0) {
        return lil_multiply_high((int32_t)((uint32_t)value << shift), multiplier);
    }
    return lil_shift_right(lil_multiply_high(value, multiplier), -shift);
}

/* The same with a single rounding, half away from zero. */
static inline int32_t lil_rescale_once(int32_t value, int32_t multiplier, int32_t shift) {
    int64_t product = (int64_t)value * multiplier;
    int64_t half = (int64_t)1 << (30 - shift);
    return (int32_t)((product + half - (product < 0)) >> (31 - shift));
}

/* An accumulator as an int8 activation. The sum with the zero point may wrap, as in TFLite. */
static inline int8_t lil_clamp(int32_t value, int32_t zero_point, int32_t min, int32_t max) {
    int32_t shifted = (int32_t)((uint32_t)value + (uint32_t)zero_point);
    if (shifted < min) {
        return (int8_t)min;
    }
    return (int8_t)(shifted > max ? max : shifted);
}

#endif
