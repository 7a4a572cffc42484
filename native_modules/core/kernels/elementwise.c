/* Operators on pairs of elements: add, subtract, multiply, with broadcasting; and PReLU, whose
 * second operand is a slope a channel. */
#include "operand.h"

#if !LIL_HAS_DSP

typedef int32_t (*lil_combine)(int32_t a, int32_t b, const lil_rescale *rescale);

static int32_t rescale_operand(int32_t value, const lil_rescale *rescale, uint32_t index) {
    return lil_rescale_value(value * (1 << LIL_ADD_SHIFT), rescale->multiplier[index],
                             rescale->shift[index]);
}

static int32_t combine_add(int32_t a, int32_t b, const lil_rescale *rescale) {
    int32_t sum = rescale_operand(a, rescale, 0) + rescale_operand(b, rescale, 1);
    return lil_rescale_value(sum, rescale->multiplier[2], rescale->shift[2]);
}

static int32_t combine_subtract(int32_t a, int32_t b, const lil_rescale *rescale) {
    int32_t difference = rescale_operand(a, rescale, 0) - rescale_operand(b, rescale, 1);
    return lil_rescale_value(difference, rescale->multiplier[2], rescale->shift[2]);
}

static int32_t combine_multiply(int32_t a, int32_t b, const lil_rescale *rescale) {
    return lil_rescale_value(a * b, rescale->multiplier[2], rescale->shift[2]);
}

static void combine_rows(const lil_call *call, lil_combine combine) {
    const lil_operator *op = &call->op;
    lil_operand a = lil_load_operand(call, 0);
    lil_operand b = lil_load_operand(call, 1);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t value =
                combine(a.row[c * a.channel_step] - a.zero_point,
                        b.row[c * b.channel_step] - b.zero_point, &op->parameters.rescale);
            *out++ =
                lil_clamp(value, call->output.zero_point, op->activation_min, op->activation_max);
        }
        a.row += a.pixel_step;
        b.row += b.pixel_step;
    }
}

void lil_add(const lil_call *call) {
    combine_rows(call, combine_add);
}

void lil_subtract(const lil_call *call) {
    combine_rows(call, combine_subtract);
}

void lil_multiply(const lil_call *call) {
    combine_rows(call, combine_multiply);
}

#endif

void lil_prelu(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_rescale *rescale = &call->op.parameters.rescale;
    uint32_t channels = call->output.channels;
    const int8_t *in = lil_row(source, source->first);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < channels; c++) {
            int16_t slope;
            memcpy(&slope, call->constants + 2 * c, sizeof slope);
            int32_t value = *in++ - source->tensor.zero_point;
            uint32_t part = value < 0;
            if (part) {
                value *= slope;
            }
            value = lil_rescale_value(value, rescale->multiplier[part], rescale->shift[part]);
            *out++ = lil_clamp(value, call->output.zero_point, -128, 127);
        }
    }
}
