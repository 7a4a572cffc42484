/* Fixed-point arithmetic of the TFLite int8 specification, as in gemmlowp: a multiplier m in Q0.31
 * with shift s stands for m * 2^s, and both steps round. Multipliers are never negative. */
#ifndef LIL_REQUANTIZE_H
#define LIL_REQUANTIZE_H

#include <stdint.h>

/* a * b / 2^32, rounded to nearest with ties upwards, if that fits: from products of halves, for
 * processors without an instruction for the high half of a product. The lower half of the least
 * product cannot change the result. */
static inline int32_t lil_multiply_halves(int32_t a, uint32_t b) {
    uint32_t a_low = (uint32_t)a & 0xFFFF, b_low = b & 0xFFFF;
    int32_t a_high = a >> 16, b_high = (int32_t)(b >> 16);
    int32_t middle = a_high * (int32_t)b_low + (int32_t)(a_low * b_low >> 16);
    uint32_t low = a_low * (uint32_t)b_high + ((uint32_t)middle & 0xFFFF) + (1 << 15);
    return a_high * b_high + (middle >> 16) + (int32_t)(low >> 16);
}

/* a * b / 2^31, rounded to nearest with ties upwards: from products of halves. */
static inline int32_t lil_multiply_high_of_halves(int32_t a, int32_t b) {
    return lil_multiply_halves(a, (uint32_t)b << 1) - (a & (b >> 31));
}

/* The same as the processor computes it best. */
static inline int32_t lil_multiply_high(int32_t a, int32_t b) {
#if defined(__thumb__) && !defined(__thumb2__)
    return lil_multiply_high_of_halves(a, b);
#else
    return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
#endif
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
