/* One output channel of an operator with weights, in portable C: its bias and its
 * requantisation, loaded once for many pixels.
 *
 * With LIL_SHIFTS_RIGHT, whose multipliers m are at least 2^30, a sum becomes
 *     (sum * (2m - 2^32) / 2^32 + sum + offset) >> shift,
 * the division rounded to nearest with ties upwards: that is gemmlowp's doubling high multiply.
 * The offset holds half a step and the zero point; one less for negative sums sends ties away
 * from zero. */
#ifndef LIL_LANE_H
#define LIL_LANE_H

#include "kernels.h"

/* A loop that has its registers for itself, or code that a loop would only grow by. */
#define LIL_OUTLINE __attribute__((noinline))

/* What Thumb-1, with its eight registers, computes best with nothing else around it. */
#if LIL_HAS_THUMB1
#define LIL_ALONE __attribute__((noinline, unused)) static
#else
#define LIL_ALONE static inline
#endif

typedef struct lil_lane {
    const lil_call *call;
    const lil_channels *channels;
    uint32_t channel;
    int32_t bias;
    bool is_short;      /* the operator has what the rest is for */
    int32_t multiplier; /* 2m - 2^32 */
    int32_t offset;     /* (2 * zero point + 1) * 2^(shift - 1) */
    int32_t shift;
} lil_lane;

static inline bool lil_is_short(const lil_call *call) {
    return (call->op.flags & (LIL_SHIFTS_RIGHT | LIL_SINGLE_ROUNDING)) == LIL_SHIFTS_RIGHT;
}

static inline lil_lane lil_load_lane(const lil_call *call, const lil_channels *channels,
                                     uint32_t channel) {
    lil_lane lane;
    uint32_t multiplier = (uint32_t)lil_load_int32(channels->multiplier + 4 * channel);
    lane.call = call;
    lane.channels = channels;
    lane.channel = channel;
    lane.bias = lil_bias(channels, channel);
    lane.is_short = lil_is_short(call);
    lane.multiplier = (int32_t)(multiplier << 1);
    lane.shift = lane.is_short ? -channels->shift[channel] : 1;
    lane.offset = (2 * call->output.zero_point + 1) * (1 << (lane.shift - 1));
    return lane;
}

/* sum + a * b / 2^32, rounded to nearest with ties upwards; b is 2m - 2^32. */
static inline int32_t lil_add_high(int32_t sum, int32_t a, int32_t b) {
#if defined(__thumb2__)
    /* Left to itself, the compiler makes three multiplications of this one. */
    uint32_t low = (uint32_t)1 << 31;
    __asm__("smlal %0, %1, %2, %3" : "+r"(low), "+r"(sum) : "r"(a), "r"(b));
    return sum;
#elif LIL_HAS_THUMB1
    /* As an unsigned number, b is 2m. */
    return sum - a + lil_multiply_halves(a, (uint32_t)b);
#else
    return (int32_t)((uint32_t)sum + (uint32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32));
#endif
}

static inline int32_t lil_saturate(int32_t value) {
#if defined(__thumb2__)
    __asm__("ssat %0, #8, %0" : "+r"(value) : : "cc");
    return value;
#else
    return value < INT8_MIN ? INT8_MIN : value > INT8_MAX ? INT8_MAX : value;
#endif
}

/* A sum of a short operator, before the activation, that fits into int8. */
LIL_ALONE int32_t lil_shorten(int32_t sum, int32_t multiplier, int32_t offset, int32_t shift) {
    int32_t start = (int32_t)((uint32_t)sum + (uint32_t)(offset + (sum >> 31)));
    return lil_saturate(lil_add_high(start, sum, multiplier) >> shift);
}

static inline int8_t lil_finish_short(const lil_lane *lane, int32_t sum) {
    return (int8_t)lil_shorten(sum, lane->multiplier, lane->offset, lane->shift);
}

/* A sum of any operator. Kept out of the loops, which would grow by it. */
LIL_OUTLINE static int8_t lil_finish_any(const lil_lane *lane, int32_t sum) {
    return lil_finish(lane->channels, lane->channel, sum, lane->call);
}

static inline int8_t lil_finish_lane(const lil_lane *lane, int32_t sum) {
    return lane->is_short ? lil_finish_short(lane, sum) : lil_finish_any(lane, sum);
}

/* Applies the activation that lil_finish_short leaves out to the output row. */
static inline void lil_finish_row(const lil_call *call) {
    int32_t min = call->op.activation_min, max = call->op.activation_max;
    if (!lil_is_short(call) || (min == INT8_MIN && max == INT8_MAX)) {
        return;
    }
    uint32_t count = call->pixels * call->output.channels;
    for (uint32_t i = 0; i < count; i++) {
        call->out[i] = lil_clamp(call->out[i], 0, min, max);
    }
}

/* Adds to a sum, on Thumb-1 in one of the registers that only additions and moves can use. */
static inline void lil_accumulate(int32_t *sum, int32_t value) {
#if LIL_HAS_THUMB1
    __asm__("add %0, %1" : "+h"(*sum) : "r"(value));
#else
    *sum += value;
#endif
}

#endif
