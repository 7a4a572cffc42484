/* Operators on pairs of elements with Helium: add, subtract and multiply, four elements at a time,
 * with broadcasting. */
#include "../operand.h"

#if LIL_HAS_MVE

#include <arm_mve.h>

/* One of lil_rescale's multipliers. */
typedef struct scale {
    int32_t multiplier;
    int32_t left;
    int32_t right;   /* at most 0 */
    int32x4_t signs; /* a shift that leaves -1 for a negative value and 0 for others, as the
                        rounding of a shift to the right wants; or always 0, when there is none */
} scale;

static inline scale load_scale(const lil_rescale *rescale, uint32_t index) {
    int32_t shift = rescale->shift[index];
    scale result;
    result.multiplier = rescale->multiplier[index];
    result.left = shift > 0 ? shift : 0;
    result.right = shift < 0 ? shift : 0;
    result.signs = vdupq_n_s32(shift < 0 ? -31 : 32);
    return result;
}

/* lil_rescale_value for four values; the shift to the left is left to the caller. */
static inline int32x4_t rescale_right(int32x4_t values, const scale *by) {
    values = vqrdmulhq_n_s32(values, by->multiplier);
    values = vqaddq_s32(values, vshlq_s32(values, by->signs));
    return vrshlq_n_s32(values, by->right);
}

/* Four elements, or as many as `mask` has; one for all where `is_single`. */
static inline int32x4_t load_elements(const int8_t *row, bool is_single, mve_pred16_t mask) {
    return is_single ? vdupq_n_s32(*row) : vldrbq_z_s32(row, mask);
}

/* Combines four elements of each operand. */
LIL_INLINE int32x4_t combine(uint32_t kind, int32x4_t a, int32x4_t b, const scale *scales,
                             bool shifts_left) {
    if (kind == LIL_MULTIPLY) {
        a = vmulq_s32(a, b);
    } else {
        a = rescale_right(vshlq_n_s32(a, LIL_ADD_SHIFT), &scales[0]);
        b = rescale_right(vshlq_n_s32(b, LIL_ADD_SHIFT), &scales[1]);
        a = kind == LIL_ADD ? vaddq_s32(a, b) : vsubq_s32(a, b);
    }
    if (shifts_left) {
        a = vshlq_r_s32(a, scales[2].left);
    }
    return rescale_right(a, &scales[2]);
}

/* Combines `count` elements that lie one behind the other. */
LIL_INLINE void combine_run(const lil_call *call, uint32_t kind, const lil_operand *a,
                            const lil_operand *b, const scale *scales, uint32_t count,
                            int8_t *out) {
    int32_t a_zero_point = a->zero_point;
    int32_t b_zero_point = b->zero_point;
    int32_t zero_point = call->output.zero_point;
    int32x4_t min = vdupq_n_s32(call->op.activation_min);
    int32x4_t max = vdupq_n_s32(call->op.activation_max);
    const int8_t *a_row = a->row;
    const int8_t *b_row = b->row;
    uint32_t done = 0;
    if (a->channel_step != 0 && b->channel_step != 0 && scales[2].left == 0) {
        for (uint32_t fours = count / 4; fours != 0; fours--) {
            int32x4_t values = vsubq_n_s32(vldrbq_s32(a_row), a_zero_point);
            values =
                combine(kind, values, vsubq_n_s32(vldrbq_s32(b_row), b_zero_point), scales, false);
            values = vmaxq_s32(vaddq_n_s32(values, zero_point), min);
            vstrbq_s32(out, vminq_s32(values, max));
            a_row += 4;
            b_row += 4;
            out += 4;
        }
        done = count / 4 * 4;
    }
    for (; done < count; done += 4) {
        mve_pred16_t mask = vctp32q(count - done);
        int32x4_t values = load_elements(a_row, a->channel_step == 0, mask);
        int32x4_t others = load_elements(b_row, b->channel_step == 0, mask);
        values = combine(kind, vsubq_n_s32(values, a_zero_point), vsubq_n_s32(others, b_zero_point),
                         scales, true);
        values = vmaxq_s32(vaddq_n_s32(values, zero_point), min);
        vstrbq_p_s32(out, vminq_s32(values, max), mask);
        a_row += 4 * a->channel_step;
        b_row += 4 * b->channel_step;
        out += 4;
    }
}

LIL_INLINE void combine_rows(const lil_call *call, uint32_t kind) {
    lil_operand a = lil_load_operand(call, 0);
    lil_operand b = lil_load_operand(call, 1);
    const lil_rescale *rescale = &call->op.parameters.rescale;
    scale scales[3] = {load_scale(rescale, 0), load_scale(rescale, 1), load_scale(rescale, 2)};
    uint32_t channels = call->output.channels;
    uint32_t run = channels;
    if (a.pixel_step == channels && b.pixel_step == channels) {
        run = call->pixels * channels; /* no operand is broadcast */
    }
    int8_t *end = call->out + call->pixels * channels;
    for (int8_t *out = call->out; out < end; out += run) {
        combine_run(call, kind, &a, &b, scales, run, out);
        a.row += a.pixel_step;
        b.row += b.pixel_step;
    }
}

void lil_add(const lil_call *call) {
    combine_rows(call, LIL_ADD);
}

void lil_subtract(const lil_call *call) {
    combine_rows(call, LIL_SUBTRACT);
}

void lil_multiply(const lil_call *call) {
    combine_rows(call, LIL_MULTIPLY);
}

#endif
