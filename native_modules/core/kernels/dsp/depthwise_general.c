/* Depthwise convolution with a window of any kind, for the ARM DSP extension: one output after the
 * other, for what the faster ways do not do. */

/* Without the first scheduling the loop over taps is a tenth shorter. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "depthwise.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

static int32_t sum_window(const lil_call *call, const lil_channels *channels, int32_t left,
                          uint32_t channel) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    uint32_t in_channels = source->tensor.channels;
    uint32_t out_channels = call->output.channels;
    uint32_t in_channel = channel / (out_channels / in_channels);
    const int8_t *weights = channels->weights + channel;
    int32_t sum = lil_bias(channels, channel);
    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_row(source, source->first + ky * window->dilation_height);
        for (int32_t kx = 0; kx < window->kernel_width; kx++) {
            int32_t column = left + kx * window->dilation_width;
            int32_t value = source->tensor.zero_point;
            if (row != NULL && column >= 0 && column < (int32_t)source->tensor.width) {
                value = row[(uint32_t)column * in_channels + in_channel];
            }
            sum += value * *weights;
            weights += out_channels;
        }
    }
    return sum;
}

void lil_depthwise_general(const lil_call *call) {
    const lil_window *window = &call->op.parameters.window;
    uint32_t out_channels = call->output.channels;
    lil_channels channels = lil_load_channels(call, out_channels);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
        for (uint32_t c = 0; c < out_channels; c++) {
            *out++ = lil_finish(&channels, c, sum_window(call, &channels, left, c), call);
        }
    }
}

#endif
