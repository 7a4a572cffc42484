/* Gradients of operators that move elements: of copies of a map's elements, or of a part of it. */
#include "gradient.h"

#if LIL_TRAINING

/* The part of a gradient that begins at an offset; zeros where it is outside of the gradient's
 * map. */
void lil_region_gradient(const lil_call *call) {
    const lil_region *region = &call->op.parameters.region;
    const lil_tensor *in = &call->sources[0].tensor;
    const int16_t *gradients = lil_gradient_row(&call->sources[0], call->sources[0].first);
    int32_t channels = (int32_t)call->output.channels;
    int32_t begin = region->begin_channels;
    int32_t first = begin < 0 ? -begin : 0;
    int32_t end = (int32_t)in->channels - begin;
    int16_t *out = (int16_t *)(void *)call->out;
    memset(out, 0, 2 * call->pixels * call->output.channels);
    end = end > channels ? channels : end;
    if (gradients == NULL || end <= first) {
        return;
    }
    for (int32_t x = 0; x < (int32_t)call->pixels; x++) {
        int32_t column = x + region->begin_width;
        if (column >= 0 && column < (int32_t)in->width) {
            const int16_t *pixel = gradients + (uint32_t)column * in->channels;
            memcpy(out + first, pixel + begin + first, 2 * (uint32_t)(end - first));
        }
        out += channels;
    }
}

/* Each gradient is the sum of those of its copies, which fill a window. */
void lil_resize_gradient(const lil_call *call) {
    const lil_gradient *gradient = &call->op.parameters.gradient;
    const lil_window *window = &gradient->window;
    const lil_source *source = &call->sources[0];
    const uint32_t channels = call->output.channels;
    lil_clamp_count count = {gradient->limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        uint32_t begin = x * window->kernel_width;
        uint32_t end = begin + window->kernel_width;
        end = end > source->tensor.width ? source->tensor.width : end;
        for (uint32_t c = 0; c < channels; c++) {
            int32_t sum = 0;
            for (int32_t row = 0; row < window->kernel_height; row++) {
                const int16_t *gradients = lil_gradient_row(source, source->first + row);
                for (uint32_t u = begin; gradients != NULL && u < end; u++) {
                    sum = lil_wrapping_sum(sum, gradients[u * channels + c]);
                }
            }
            *out++ = lil_clamp_value(&count, lil_round_shift(sum, gradient->shift));
        }
    }
    call->training->saturated += count.saturated;
}

#endif
