/* Addition, subtraction and multiplication for the ARM DSP extension.
 *
 * Both operands of a sum are scaled by half of a scale over the larger one of
 * their scales. So one of them is halved, which is exact, and only the other
 * one is really rescaled. What TFLite's converter does not write is left to a
 * general path. */
#include "../operand.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#include "instructions.h"
#include "requantize.h"

/* How two operands are combined, and the result requantised. */
typedef struct combination {
    int32_t zero_points[2];
    /* Of a difference: 1 where the first operand is halved, else -1. Where both operands of a sum
     * are, the sign of the second one. */
    int32_t half_sign;
    lil_narrowing operand; /* of the operand that is not halved */
    lil_narrowing result;
} combination;

/* Combines `count` elements that lie one behind the other. */
typedef void (*combine_run)(const combination *how, const int8_t *a, const int8_t *b,
                            uint32_t count, int8_t *out);

/* An operand of a sum, less its zero point, rescaled:
 * lil_shift_right(lil_multiply_high(...)). */
LIL_INLINE int32_t rescale_operand(int32_t value, const lil_narrowing *narrowing, uint32_t zero) {
    int32_t doubled = (int32_t)(((uint32_t)value << (LIL_ADD_SHIFT + 1)) - zero);
    int32_t offset = narrowing->offset + (doubled >> 31);
    return lil_smmlar(doubled, narrowing->multiplier, offset) >> narrowing->shift;
}

/* Adds both operands, each times its sign; the first one is halved. */
LIL_INLINE void sum_run(const combination *how, const int8_t *half, const int8_t *other,
                        int32_t half_sign, int32_t other_sign, uint32_t count, int8_t *out) {
    lil_narrowing narrowing = how->operand;
    lil_narrowing result = how->result;
    uint32_t half_zero = (uint32_t)how->zero_points[0] << (LIL_ADD_SHIFT - 1);
    uint32_t other_zero = (uint32_t)how->zero_points[1] << (LIL_ADD_SHIFT + 1);
#pragma GCC unroll 2
    for (; count > 0; count--) {
        int32_t rescaled = rescale_operand(*other++, &narrowing, other_zero);
        int32_t halved = (int32_t)(((uint32_t)*half++ << (LIL_ADD_SHIFT - 1)) - half_zero);
        *out++ = lil_narrow(half_sign * halved + other_sign * rescaled, &result, false);
    }
}

static void add_run(const combination *how, const int8_t *half, const int8_t *other, uint32_t count,
                    int8_t *out) {
    sum_run(how, half, other, 1, 1, count, out);
}

static void subtract_run(const combination *how, const int8_t *half, const int8_t *other,
                         uint32_t count, int8_t *out) {
    sum_run(how, half, other, how->half_sign, -how->half_sign, count, out);
}

/* Adds both operands, or subtracts the second one, where both are halved. */
static void sum_halves_run(const combination *how, const int8_t *a, const int8_t *b, uint32_t count,
                           int8_t *out) {
    lil_narrowing result = how->result;
    int32_t sign = how->half_sign;
    int32_t zero = how->zero_points[0] + sign * how->zero_points[1];
    for (; count > 0; count--) {
        int32_t sum = *a++ + sign * *b++ - zero;
        *out++ = lil_narrow(sum * (1 << (LIL_ADD_SHIFT - 1)), &result, false);
    }
}

static void multiply_run(const combination *how, const int8_t *a, const int8_t *b, uint32_t count,
                         int8_t *out) {
    lil_narrowing result = how->result;
    uint32_t a_zeros = 0x10001u * (uint16_t)-how->zero_points[0];
    uint32_t b_zeros = 0x10001u * (uint16_t)-how->zero_points[1];
    for (; count >= 4; count -= 4) {
        uint32_t a_word = lil_load_word(a);
        uint32_t b_word = lil_load_word(b);
        uint32_t a_even = lil_sxtab16(a_zeros, a_word);
        uint32_t b_even = lil_sxtab16(b_zeros, b_word);
        uint32_t a_odd = lil_sxtab16_odd(a_zeros, a_word);
        uint32_t b_odd = lil_sxtab16_odd(b_zeros, b_word);
        out[0] = lil_narrow((int16_t)a_even * (int16_t)b_even, &result, false);
        out[1] = lil_narrow((int16_t)a_odd * (int16_t)b_odd, &result, false);
        out[2] = lil_narrow(((int32_t)a_even >> 16) * ((int32_t)b_even >> 16), &result, false);
        out[3] = lil_narrow(((int32_t)a_odd >> 16) * ((int32_t)b_odd >> 16), &result, false);
        a += 4;
        b += 4;
        out += 4;
    }
    for (; count > 0; count--) {
        int32_t product = (*a++ - how->zero_points[0]) * (*b++ - how->zero_points[1]);
        *out++ = lil_narrow(product, &result, false);
    }
}

/* Whether lil_narrow requantises results of these parameters: 30 bits of sum,
 * and the offset. */
static bool is_narrowing(int32_t multiplier, int32_t shift) {
    return multiplier >= 1 << 30 && shift < 0 && shift >= -22;
}

static bool is_half(const lil_rescale *rescale, uint32_t index) {
    return rescale->multiplier[index] == 1 << 30 && rescale->shift[index] == 0;
}

/* Sets how the other operand of a sum is rescaled. Returns false when this is
 * not possible. */
static bool set_operand(const lil_rescale *rescale, uint32_t index, combination *how) {
    int32_t shift = -rescale->shift[index];
    if (shift < 1 || shift > 28) {
        return false;
    }
    how->operand.multiplier = rescale->multiplier[index];
    how->operand.shift = shift;
    how->operand.offset = 1 << (shift - 1);
    return true;
}

/* Goes through an output row in runs over which neither operand is broadcast.
 */
static void combine_rows(const lil_call *call, combine_run run, const combination *how,
                         lil_operand a, lil_operand b) {
    uint32_t channels = call->output.channels;
    uint32_t count = channels;
    uint32_t pixels = call->pixels;
    if (a.pixel_step == channels && b.pixel_step == channels) {
        count *= pixels;
        pixels = 1;
    }
    int8_t *out = call->out;
    for (; pixels > 0; pixels--) {
        run(how, a.row, b.row, count, out);
        a.row += a.pixel_step;
        b.row += b.pixel_step;
        out += count;
    }
    lil_activate(call, call->out, call->pixels * channels);
}

/* Any operands and parameters, one element after the other. */
static void combine_any(const lil_call *call, lil_operand a, lil_operand b) {
    const lil_rescale *rescale = &call->op.parameters.rescale;
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t first = a.row[c * a.channel_step] - a.zero_point;
            int32_t second = b.row[c * b.channel_step] - b.zero_point;
            if (call->op.kind == LIL_MULTIPLY) {
                first *= second;
            } else {
                first = lil_rescale_value(first * (1 << LIL_ADD_SHIFT), rescale->multiplier[0],
                                          rescale->shift[0]);
                second = lil_rescale_value(second * (1 << LIL_ADD_SHIFT), rescale->multiplier[1],
                                           rescale->shift[1]);
                first += call->op.kind == LIL_ADD ? second : -second;
            }
            first = lil_rescale_value(first, rescale->multiplier[2], rescale->shift[2]);
            *out++ = lil_clamp(first, call->output.zero_point, call->op.activation_min,
                               call->op.activation_max);
        }
        a.row += a.pixel_step;
        b.row += b.pixel_step;
    }
}

static void combine(const lil_call *call, combine_run run) {
    const lil_rescale *rescale = &call->op.parameters.rescale;
    lil_operand a = lil_load_operand(call, 0);
    lil_operand b = lil_load_operand(call, 1);
    combination how;
    bool is_fast = a.channel_step == 1 && b.channel_step == 1 &&
                   is_narrowing(rescale->multiplier[2], rescale->shift[2]);
    bool is_sum = call->op.kind != LIL_MULTIPLY;
    bool is_swapped = is_sum && !is_half(rescale, 0);
    how.half_sign = is_swapped ? -1 : 1;
    if (is_fast && is_sum && is_half(rescale, 0) && is_half(rescale, 1)) {
        run = sum_halves_run;
        how.half_sign = call->op.kind == LIL_ADD ? 1 : -1;
    } else if (is_fast && is_sum) {
        is_fast = is_half(rescale, is_swapped) && set_operand(rescale, !is_swapped, &how);
    }
    if (!is_fast) {
        combine_any(call, a, b);
        return;
    }
    how.result =
        lil_make_narrowing(rescale->multiplier[2], rescale->shift[2], call->output.zero_point);
    how.zero_points[0] = is_swapped ? b.zero_point : a.zero_point;
    how.zero_points[1] = is_swapped ? a.zero_point : b.zero_point;
    combine_rows(call, run, &how, is_swapped ? b : a, is_swapped ? a : b);
}

void lil_add(const lil_call *call) {
    combine(call, add_run);
}

void lil_subtract(const lil_call *call) {
    combine(call, subtract_run);
}

void lil_multiply(const lil_call *call) {
    combine(call, multiply_run);
}

#endif
