/* Softmax over the channels in fixed point, with gemmlowp's reciprocal (three Newton steps); the
 * exponentials come from the file. And arg max over the channels. */
#include "kernels.h"

#define LIL_SUM_INTEGER_BITS 12

static int32_t shift_left_saturating(int32_t value, int32_t shift) {
    int32_t limit = INT32_MAX >> shift;
    if (value > limit) {
        return INT32_MAX;
    }
    return value < -limit - 1 ? INT32_MIN : value * (1 << shift);
}

/* 1 / (1 + x) in Q0.31 for x in [0, 1) in Q0.31. */
static int32_t reciprocal_of_one_plus(int32_t x) {
    int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t estimate = 1515870810 + lil_multiply_high(half_denominator, -1010580540);
    for (int32_t i = 0; i < 3; i++) {
        int32_t error = (1 << 29) - lil_multiply_high(half_denominator, estimate);
        estimate += shift_left_saturating(lil_multiply_high(estimate, error), 2);
    }
    return shift_left_saturating(estimate, 1);
}

/* exp of maximum - value. The mask matters for files that let the output lie over other inputs. */
static int32_t exponential(const lil_call *call, int32_t difference) {
    return lil_load_int32(call->constants + 4 * (difference & 255));
}

static int32_t leading_zeros(uint32_t value) {
    int32_t count = 0;
    while (count < 31 && !(value & 0x80000000)) {
        value <<= 1;
        count++;
    }
    return count;
}

static void softmax_pixel(const lil_call *call, const int8_t *in, int8_t *out) {
    uint32_t channels = call->output.channels;
    int32_t maximum = -128;
    int32_t sum = 0;
    for (uint32_t c = 0; c < channels; c++) {
        maximum = in[c] > maximum ? in[c] : maximum;
    }
    for (uint32_t c = 0; c < channels; c++) {
        sum += lil_shift_right(exponential(call, maximum - in[c]), LIL_SUM_INTEGER_BITS);
    }
    int32_t headroom = leading_zeros((uint32_t)sum);
    int32_t fraction = (int32_t)(((uint32_t)sum << headroom) - 0x80000000);
    int32_t scale = reciprocal_of_one_plus(fraction);
    int32_t exponent = LIL_SUM_INTEGER_BITS - headroom + 23;
    for (uint32_t c = 0; c < channels; c++) {
        int32_t product = lil_multiply_high(scale, exponential(call, maximum - in[c]));
        int32_t value = exponent > 31 ? 0 : lil_shift_right(product, exponent);
        out[c] = lil_clamp(value, -128, -128, 127);
    }
}

void lil_softmax(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const int8_t *in = lil_row(source, source->first);
    for (uint32_t x = 0; x < call->pixels; x++) {
        uint32_t offset = x * call->output.channels;
        softmax_pixel(call, in + offset, call->out + offset);
    }
}

void lil_argmax(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    uint32_t channels = source->tensor.channels;
    const int8_t *in = lil_row(source, source->first);
    for (uint32_t x = 0; x < call->pixels; x++) {
        int32_t best = 0;
        for (uint32_t c = 1; c < channels; c++) {
            if (in[c] > in[best]) {
                best = (int32_t)c;
            }
        }
        memcpy(call->out + 4 * x, &best, sizeof best);
        in += channels;
    }
}
