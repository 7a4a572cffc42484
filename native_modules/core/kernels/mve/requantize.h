/* Requantisation of eight sums at a time, exact.
 *
 * VQRDMULH is gemmlowp's doubling high multiply: ties go upwards, and it saturates for two operands
 * of INT32_MIN only, of which a multiplier is none. VRSHL rounds ties upwards as well, where the
 * specification has them away from zero: one less for a negative operand mends it. Results below
 * the zero point are all that this concerns, so an operator whose activation starts there or above,
 * as with ReLU, does without it. */
#ifndef LIL_MVE_REQUANTIZE_H
#define LIL_MVE_REQUANTIZE_H

#include "../kernels.h"

#include <arm_mve.h>

/* The steps of an operator's requantisation. */
enum lil_rounding {
    LIL_ROUND_UP,       /* shifts right, with an activation that starts at the zero point */
    LIL_ROUND_AWAY,     /* shifts right */
    LIL_ROUND_GENERALLY /* any shift and activation, tables that cannot be read as words */
};

/* What the outputs of one operator have in common. Sums are [pixel][4], of four channels. */
typedef struct lil_narrowing {
    uint16x8_t offsets; /* of two pixels' outputs, the even lanes being the first's */
    uint32_t pixel_step;
    int32_t zero_point;
    int32_t activation_min;
    int32_t activation_max;
    enum lil_rounding rounding;
} lil_narrowing;

/* Requantisation parameters of four channels. */
typedef struct lil_lanes {
    int32x4_t bias;
    int32x4_t multiplier;
    int32x4_t shift;
} lil_lanes;

/* Whether the tables may be read as words: training has the bias elsewhere. */
static inline bool lil_has_aligned_tables(const lil_channels *channels) {
    return ((uintptr_t)channels->bias | (uintptr_t)channels->multiplier) % 4 == 0;
}

/* `pixel_step` bytes lie between the outputs of two pixels. */
static inline lil_narrowing lil_make_narrowing(const lil_call *call, const lil_channels *channels,
                                               uint32_t pixel_step) {
    lil_narrowing narrowing;
    /* The even lanes are the first pixel's channels, the odd lanes the second's. */
    uint16x8_t lanes = vidupq_n_u16(0, 1);
    uint16x8_t second = vmulq_n_u16(vandq_u16(lanes, vdupq_n_u16(1)), (uint16_t)pixel_step);
    narrowing.offsets = vaddq_u16(vshrq_n_u16(lanes, 1), second);
    narrowing.pixel_step = pixel_step;
    narrowing.zero_point = call->output.zero_point;
    narrowing.activation_min = call->op.activation_min;
    narrowing.activation_max = call->op.activation_max;
    narrowing.rounding = LIL_ROUND_GENERALLY;
    if (call->op.flags & LIL_SHIFTS_RIGHT && call->op.activation_min == INT8_MIN &&
        call->op.activation_max == INT8_MAX && lil_has_aligned_tables(channels)) {
        bool starts_at_zero = call->output.zero_point == INT8_MIN;
        narrowing.rounding = starts_at_zero ? LIL_ROUND_UP : LIL_ROUND_AWAY;
    }
    return narrowing;
}

/* The parameters where the tables cannot be read as words. */
static __attribute__((noinline)) lil_lanes lil_copy_lanes(const lil_channels *channels,
                                                          uint32_t first, uint32_t count) {
    int32_t bias[4] = {0};
    int32_t multiplier[4] = {0};
    int32_t shift[4] = {0};
    for (uint32_t lane = 0; lane < count; lane++) {
        bias[lane] = lil_bias(channels, first + lane);
        multiplier[lane] = lil_load_int32(channels->multiplier + 4 * (first + lane));
        shift[lane] = channels->shift[first + lane];
    }
    lil_lanes lanes = {vldrwq_s32(bias), vldrwq_s32(multiplier), vldrwq_s32(shift)};
    return lanes;
}

/* Parameters of `count` channels, 1 to 4, from `first`. */
static inline lil_lanes lil_load_lanes(const lil_channels *channels, uint32_t first,
                                       uint32_t count) {
    if (!lil_has_aligned_tables(channels)) {
        return lil_copy_lanes(channels, first, count);
    }
    mve_pred16_t mask = vctp32q(count);
    const int32_t *bias = (const int32_t *)(const void *)channels->bias + first;
    const int32_t *multiplier = (const int32_t *)(const void *)channels->multiplier + first;
    lil_lanes lanes = {vldrwq_z_s32(bias, mask), vldrwq_z_s32(multiplier, mask),
                       vldrbq_z_s32(channels->shift + first, mask)};
    return lanes;
}

/* Four sums, requantised but for zero point and activation. */
static inline int32x4_t lil_rescale_lanes(int32x4_t sums, const lil_lanes *lanes,
                                          enum lil_rounding rounding) {
    int32x4_t values = vaddq_s32(sums, lanes->bias);
    if (rounding == LIL_ROUND_GENERALLY) {
        int32x4_t zero = vdupq_n_s32(0);
        int32x4_t right = vminq_s32(lanes->shift, zero);
        values = vshlq_s32(values, vmaxq_s32(lanes->shift, zero));
        values = vqrdmulhq_s32(values, lanes->multiplier);
        values = vqaddq_s32(values, vshrq_n_s32(vandq_s32(values, right), 31));
        return vrshlq_s32(values, right);
    }
    values = vqrdmulhq_s32(values, lanes->multiplier);
    if (rounding == LIL_ROUND_AWAY) {
        values = vaddq_s32(values, vshrq_n_s32(values, 31));
    }
    return vrshlq_s32(values, lanes->shift);
}

static inline int32x4_t lil_activate_lanes(int32x4_t values, const lil_narrowing *narrowing) {
    values = vaddq_n_s32(values, narrowing->zero_point);
    values = vmaxq_s32(values, vdupq_n_s32(narrowing->activation_min));
    return vminq_s32(values, vdupq_n_s32(narrowing->activation_max));
}

/* Requantises two pixels or more: ROUND_AWAY or, without `is_away`, ROUND_UP. Pixels go in pairs;
 * the last one of an odd number goes with the one before it, a second time. The compiler does not
 * keep all of it in registers. */
LIL_INLINE void lil_narrow_pixels(const int32_t *sums, uint32_t pixels, const lil_lanes *lanes,
                                  const lil_narrowing *narrowing, bool is_away, int8_t *out) {
    uint32_t pairs = pixels / 2;
    bool is_odd = pixels % 2 != 0;
    for (;;) {
        __asm__ volatile(
            "dls lr, %[pairs]\n"
            "1:\n\t"
            "vldrw.32 q0, [%[sums]], #16\n\t"
            "vldrw.32 q1, [%[sums]], #16\n\t"
            "vadd.i32 q0, q0, %q[bias]\n\t"
            "vadd.i32 q1, q1, %q[bias]\n\t"
            "vqrdmulh.s32 q0, q0, %q[multiplier]\n\t"
            "vqrdmulh.s32 q1, q1, %q[multiplier]\n\t"
            ".if %c[is_away]\n\t"
            "vshr.s32 q2, q0, #31\n\t"
            "vshr.s32 q3, q1, #31\n\t"
            "vadd.i32 q0, q0, q2\n\t"
            "vadd.i32 q1, q1, q3\n\t"
            ".endif\n\t"
            "vrshl.s32 q0, q0, %q[shift]\n\t"
            "vrshl.s32 q1, q1, %q[shift]\n\t"
            "vqmovnb.s32 q0, q0\n\t"
            "vqmovnt.s32 q0, q1\n\t"
            "vqadd.s16 q0, q0, %[zero_point]\n\t"
            "vqmovnb.s16 q0, q0\n\t"
            "vstrb.16 q0, [%[out], %q[offsets]]\n\t"
            "add %[out], %[out], %[step]\n\t"
            "le lr, 1b"
            : [sums] "+r"(sums), [out] "+r"(out)
            : [bias] "w"(lanes->bias), [multiplier] "w"(lanes->multiplier),
              [shift] "w"(lanes->shift), [offsets] "w"(narrowing->offsets),
              [zero_point] "r"(narrowing->zero_point), [step] "r"(2 * narrowing->pixel_step),
              [pairs] "r"(pairs), [is_away] "i"(is_away)
            : "q0", "q1", "q2", "q3", "lr", "memory");
        if (!is_odd) {
            return;
        }
        is_odd = false;
        pairs = 1;
        sums -= 4;
        out -= narrowing->pixel_step;
    }
}

/* Outputs of up to four channels, in any way of rounding. */
static __attribute__((noinline)) void lil_narrow_generally(const lil_channels *channels,
                                                           uint32_t first, uint32_t count,
                                                           const int32_t *sums, uint32_t pixels,
                                                           const lil_narrowing *narrowing,
                                                           int8_t *out) {
    lil_lanes lanes = lil_load_lanes(channels, first, count);
    mve_pred16_t mask = vctp32q(count);
    for (; pixels != 0; pixels--) {
        int32x4_t values = vldrwq_s32(sums);
        if (narrowing->rounding == LIL_ROUND_GENERALLY) {
            values = lil_rescale_lanes(values, &lanes, LIL_ROUND_GENERALLY);
        } else {
            values = lil_rescale_lanes(values, &lanes, LIL_ROUND_AWAY);
        }
        vstrbq_p_s32(out, lil_activate_lanes(values, narrowing), mask);
        sums += 4;
        out += narrowing->pixel_step;
    }
}

/* Requantises sums[pixels][4] and stores the outputs of `count` channels, 1 to 4, from `first`. */
static __attribute__((noinline, unused)) void
lil_narrow_sums(const lil_channels *channels, uint32_t first, uint32_t count, const int32_t *sums,
                uint32_t pixels, const lil_narrowing *narrowing, int8_t *out) {
    if (count < 4 || pixels < 2 || narrowing->rounding == LIL_ROUND_GENERALLY) {
        lil_narrow_generally(channels, first, count, sums, pixels, narrowing, out);
        return;
    }
    lil_lanes lanes = {vldrwq_s32((const int32_t *)(const void *)channels->bias + first),
                       vldrwq_s32((const int32_t *)(const void *)channels->multiplier + first),
                       vldrbq_s32(channels->shift + first)};
    if (narrowing->rounding == LIL_ROUND_UP) {
        lil_narrow_pixels(sums, pixels, &lanes, narrowing, false, out);
    } else {
        lil_narrow_pixels(sums, pixels, &lanes, narrowing, true, out);
    }
}

/* Requantises `quads` x 4 neighbouring channels of one pixel: ROUND_AWAY or, without `is_away`,
 * ROUND_UP. The tables are at multiples of 4. */
LIL_INLINE void lil_narrow_quads(const lil_channels *channels, uint32_t first, uint32_t quads,
                                 const int32_t *sums, int32_t zero_point, bool is_away,
                                 int8_t *out) {
    const uint8_t *bias = channels->bias + 4 * first;
    const uint8_t *multiplier = channels->multiplier + 4 * first;
    const int8_t *shift = channels->shift + first;
    __asm__ volatile("dls lr, %[quads]\n"
                     "1:\n\t"
                     "vldrw.32 q0, [%[sums]], #16\n\t"
                     "vldrw.32 q1, [%[bias]], #16\n\t"
                     "vadd.i32 q0, q0, q1\n\t"
                     "vldrw.32 q1, [%[multiplier]], #16\n\t"
                     "vqrdmulh.s32 q0, q0, q1\n\t"
                     ".if %c[is_away]\n\t"
                     "vshr.s32 q1, q0, #31\n\t"
                     "vadd.i32 q0, q0, q1\n\t"
                     ".endif\n\t"
                     "vldrb.s32 q1, [%[shift]], #4\n\t"
                     "vrshl.s32 q0, q0, q1\n\t"
                     "vadd.i32 q0, q0, %[zero_point]\n\t"
                     "vqmovnb.s32 q0, q0\n\t"
                     "vqmovnb.s16 q0, q0\n\t"
                     "vstrb.32 q0, [%[out]], #4\n\t"
                     "le lr, 1b"
                     : [sums] "+r"(sums), [bias] "+r"(bias), [multiplier] "+r"(multiplier),
                       [shift] "+l"(shift), [out] "+l"(out)
                     : [quads] "r"(quads), [zero_point] "r"(zero_point), [is_away] "i"(is_away)
                     : "q0", "q1", "lr", "memory");
}

/* Requantises the sums of `count` neighbouring channels of one pixel, from channel `first`. */
static __attribute__((unused)) void
lil_narrow_channels(const lil_channels *channels, uint32_t first, uint32_t count,
                    const int32_t *sums, const lil_narrowing *narrowing, int8_t *out) {
    uint32_t done = 0;
    if (count >= 4 && narrowing->rounding == LIL_ROUND_UP) {
        done = count & ~3u;
        lil_narrow_quads(channels, first, done / 4, sums, narrowing->zero_point, false, out);
    } else if (count >= 4 && narrowing->rounding == LIL_ROUND_AWAY) {
        done = count & ~3u;
        lil_narrow_quads(channels, first, done / 4, sums, narrowing->zero_point, true, out);
    }
    for (; done < count; done += 4) {
        uint32_t lanes = count - done < 4 ? count - done : 4;
        lil_narrow_generally(channels, first + done, lanes, sums + done, 1, narrowing, out + done);
    }
}

#endif
