/* Gradients of what is computed pixel by pixel: of a map that two operators read, and of the
 * operands of a multiplication. */
#include "gradient.h"

#if LIL_TRAINING

/* a * 2^i + b * 2^j: shifted up so far that both are whole, then down together. */
void lil_sum_gradients(const lil_call *call) {
    const int16_t *a = lil_gradient_row(&call->sources[0], call->sources[0].first);
    const int16_t *b = lil_gradient_row(&call->sources[1], call->sources[1].first);
    const lil_sum *sum = &call->op.parameters.sum;
    int32_t least = sum->shift[0] < sum->shift[1] ? sum->shift[0] : sum->shift[1];
    int32_t down = least < 0 ? -least : 0;
    int32_t scale_a = 1 << (sum->shift[0] + down);
    int32_t scale_b = 1 << (sum->shift[1] + down);
    int32_t half = (1 << down) >> 1;
    lil_clamp_count count = {sum->limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    for (uint32_t i = 0; i < call->pixels * call->output.channels; i++) {
        out[i] = lil_clamp_value(&count, (a[i] * scale_a + b[i] * scale_b + half) >> down);
    }
    call->training->saturated += count.saturated;
}

/* The operand had one pixel for all positions: so its gradient is a sum over them. */
static void reduce_row(const lil_call *call, lil_clamp_count *count) {
    const lil_product *product = &call->op.parameters.product;
    const lil_tensor *in = &call->sources[0].tensor;
    const int16_t *gradients = lil_gradient_row(&call->sources[0], call->y);
    const int8_t *other = lil_row(&call->sources[1], call->y);
    int32_t zero_point = call->sources[1].tensor.zero_point;
    int32_t *sums = (int32_t *)(void *)call->scratch;
    if (call->y == 0) {
        memset(sums, 0, 4 * in->channels);
    }
    for (uint32_t x = 0; x < in->width; x++) {
        for (uint32_t c = 0; c < in->channels; c++) {
            sums[c] = lil_wrapping_sum(sums[c], *gradients++ * (*other++ - zero_point));
        }
    }
    if (call->y + 1 == (int32_t)in->height) {
        int16_t *out = (int16_t *)(void *)call->out;
        for (uint32_t c = 0; c < in->channels; c++) {
            int32_t value = lil_rescale_sum(sums[c], product->multiplier, product->shift);
            out[c] = lil_clamp_value(count, value);
        }
    }
}

static void multiply_row(const lil_call *call, lil_clamp_count *count) {
    const lil_product *product = &call->op.parameters.product;
    const lil_tensor *with = &call->sources[1].tensor;
    const int16_t *gradients = lil_gradient_row(&call->sources[0], call->sources[0].first);
    const int8_t *other = lil_row(&call->sources[1], call->sources[1].first);
    uint32_t channel_step = with->channels == 1 ? 0 : 1;
    uint32_t pixel_step = with->height == 1 && with->width == 1 ? 0 : with->channels;
    int16_t *out = (int16_t *)(void *)call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t value = *gradients++ * (other[c * channel_step] - with->zero_point);
            *out++ =
                lil_clamp_value(count, lil_rescale_sum(value, product->multiplier, product->shift));
        }
        other += pixel_step;
    }
}

void lil_multiply_gradient(const lil_call *call) {
    lil_clamp_count count = {call->op.parameters.product.limit, 0};
    if (call->op.flags & LIL_SINK) {
        reduce_row(call, &count);
    } else {
        multiply_row(call, &count);
    }
    call->training->saturated += count.saturated;
}

#endif
