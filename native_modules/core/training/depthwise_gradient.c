/* Gradient of a depthwise convolution's input: the gradients of the outputs that a pixel fed, times
 * the weights of its channel. */
#include "gradient.h"

#if LIL_TRAINING

#define LIL_BLOCK_CHANNELS 32 /* whose sums are kept on the stack */

/* Adds one tap of `count` channels from `first` on. Each input channel fed `multiplier`
 * neighbouring outputs. */
static void add_tap(int32_t *restrict sums, const int16_t *restrict gradient,
                    const int8_t *restrict weights, uint32_t first, uint32_t count,
                    uint32_t multiplier) {
    if (multiplier == 1) {
        gradient += first;
        weights += first;
        for (size_t c = 0; c < count; c++) {
            sums[c] = lil_wrapping_sum(sums[c], gradient[c] * weights[c]);
        }
        return;
    }
    for (uint32_t c = 0; c < count; c++) {
        for (uint32_t i = (first + c) * multiplier; i < (first + c + 1) * multiplier; i++) {
            sums[c] = lil_wrapping_sum(sums[c], gradient[i] * weights[i]);
        }
    }
}

/* Channels `first` to `first + count` of the pixel at column x. */
static void gather_block(const lil_call *call, const int8_t *weights, int32_t x, uint32_t first,
                         uint32_t count, lil_clamp_count *clamps) {
    const lil_window *window = &call->op.parameters.gradient.window;
    const lil_tensor *in = &call->sources[0].tensor;
    int32_t sums[LIL_BLOCK_CHANNELS] = {0};
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        int32_t down = call->y + window->pad_top - (int32_t)(ky * window->dilation_height);
        if (down < 0 || down % window->stride_height != 0) {
            continue;
        }
        const int16_t *row = lil_gradient_row(&call->sources[0], down / window->stride_height);
        for (uint32_t kx = 0; kx < window->kernel_width && row != NULL; kx++) {
            int32_t across = x + window->pad_left - (int32_t)(kx * window->dilation_width);
            int32_t column = across / window->stride_width;
            if (across >= 0 && across % window->stride_width == 0 && column < (int32_t)in->width) {
                uint32_t tap = ky * window->kernel_width + kx;
                add_tap(sums, row + (uint32_t)column * in->channels, weights + tap * in->channels,
                        first, count, in->channels / call->output.channels);
            }
        }
    }
    int16_t *out = (int16_t *)(void *)call->out + (uint32_t)x * call->output.channels + first;
    for (uint32_t c = 0; c < count; c++) {
        out[c] =
            lil_clamp_value(clamps, lil_round_shift(sums[c], call->op.parameters.gradient.shift));
    }
}

void lil_depthwise_gradient(const lil_call *call) {
    lil_channels channels = lil_load_channels(call, call->sources[0].tensor.channels);
    lil_clamp_count clamps = {call->op.parameters.gradient.limit, 0};
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < call->output.channels; c += LIL_BLOCK_CHANNELS) {
            uint32_t left = call->output.channels - c;
            uint32_t count = left < LIL_BLOCK_CHANNELS ? left : LIL_BLOCK_CHANNELS;
            gather_block(call, channels.weights, (int32_t)x, c, count, &clamps);
        }
    }
    call->training->saturated += clamps.saturated;
}

#endif
