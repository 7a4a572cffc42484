/* Requantisation in five or six instructions, exact, for operators with LIL_SHIFTS_RIGHT.
 *
 * A multiplier m of at least 2^30 is kept as 2m - 2^32, which fits a signed word: then
 *     SMMLAR(sum, 2m - 2^32, sum + n) = round(sum * m / 2^31) + n
 * for any 32-bit sum, with ties upwards, as gemmlowp's doubling high multiply has them. With
 *     n = (2^(s - 1) + zero_point * 2^s) - (sum < 0)
 * an arithmetic shift by s is its rounding division, ties away from zero, plus the zero point. (The
 * correction belongs to negative products; for m >= 2^30 these are the negative sums, but for a
 * product of zero, where it makes no difference.)
 *
 * The correction only matters to results below the zero point: an operator whose activation starts
 * at the zero point or above, as with ReLU, does without it. */
#ifndef LIL_DSP_REQUANTIZE_H
#define LIL_DSP_REQUANTIZE_H

#include "../kernels.h"
#include "instructions.h"

/* One channel's requantisation. */
typedef struct lil_narrowing {
    int32_t multiplier; /* 2m - 2^32 */
    int32_t offset;     /* (2 * zero_point + 1) * 2^(s - 1) */
    int32_t shift;      /* s, to the right, at least 1 */
} lil_narrowing;

/* `multiplier` and `shift` as they lie in the file. */
static inline lil_narrowing lil_make_narrowing(int32_t multiplier, int32_t shift,
                                               int32_t zero_point) {
    lil_narrowing narrowing;
    narrowing.multiplier = (int32_t)((uint32_t)multiplier << 1);
    narrowing.offset = (int32_t)((uint32_t)(2 * zero_point + 1) << ~shift);
    narrowing.shift = -shift;
    return narrowing;
}

static inline lil_narrowing lil_load_narrowing(const lil_channels *channels, uint32_t channel,
                                               int32_t zero_point) {
    return lil_make_narrowing(lil_load_int32(channels->multiplier + 4 * channel),
                              channels->shift[channel], zero_point);
}

/* Whether results below the zero point are clamped away. */
static inline bool lil_starts_at_zero(const lil_call *call) {
    return call->op.activation_min >= call->output.zero_point;
}

/* A sum as int8, before the activation. `starts_at_zero` is meant to be a constant. */
static inline int8_t lil_narrow(int32_t sum, const lil_narrowing *narrowing, bool starts_at_zero) {
    int32_t offset = narrowing->offset + (starts_at_zero ? 0 : sum >> 31);
    int32_t rounded = lil_smmlar(sum, narrowing->multiplier, sum + offset);
    return (int8_t)lil_ssat8(rounded >> narrowing->shift);
}

/* The same with LIL_SINGLE_ROUNDING: as the multiplier is odd, no product is a tie, and truncating
 * it before the one rounding changes nothing. */
static inline int8_t lil_narrow_once(int32_t sum, const lil_narrowing *narrowing) {
    int32_t rounded = lil_smmla(sum, narrowing->multiplier, sum + narrowing->offset);
    return (int8_t)lil_ssat8(rounded >> narrowing->shift);
}

/* Applies an activation that is narrower than int8 to `count` results of lil_narrow. */
static inline void lil_activate(const lil_call *call, int8_t *values, uint32_t count) {
    int32_t min = call->op.activation_min;
    int32_t max = call->op.activation_max;
    if (min == INT8_MIN && max == INT8_MAX) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        values[i] = lil_clamp(values[i], 0, min, max);
    }
}

#endif
