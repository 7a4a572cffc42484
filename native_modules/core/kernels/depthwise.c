/* Depthwise convolution: every channel has a window of its own. */
#include "kernels.h"

/* Adds one tap of every channel: each input channel feeds `multiplier` neighbouring outputs. */
static void add_tap(int32_t *sums, const int8_t *pixel, const int8_t *weights, uint32_t channels,
                    uint32_t multiplier) {
    if (multiplier == 1) {
        for (uint32_t c = 0; c < channels; c++) {
            sums[c] += pixel[c] * weights[c];
        }
        return;
    }
    for (uint32_t c = 0; c < channels; c++) {
        for (uint32_t m = 0; m < multiplier; m++) {
            sums[c * multiplier + m] += pixel[c] * weights[c * multiplier + m];
        }
    }
}

void lil_depthwise_convolution(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    uint32_t in_channels = source->tensor.channels;
    uint32_t out_channels = call->output.channels;
    uint32_t multiplier = out_channels / in_channels;
    lil_channels channels = lil_load_channels(call->constants, out_channels);
    int32_t *sums = (int32_t *)(void *)call->scratch;
    int8_t *outside = (int8_t *)(sums + out_channels);
    memset(outside, (uint8_t)source->tensor.zero_point, in_channels);
    for (uint32_t x = 0; x < call->pixels; x++) {
        int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
        const int8_t *weights = channels.weights;
        memcpy(sums, channels.bias, 4 * out_channels);
        for (int32_t ky = 0; ky < window->kernel_height; ky++) {
            const int8_t *row = lil_row(source, source->first + ky * window->dilation_height);
            for (int32_t kx = 0; kx < window->kernel_width; kx++) {
                int32_t column = left + kx * window->dilation_width;
                const int8_t *pixel = outside;
                if (row != NULL && column >= 0 && column < (int32_t)source->tensor.width) {
                    pixel = row + (uint32_t)column * in_channels;
                }
                add_tap(sums, pixel, weights, in_channels, multiplier);
                weights += out_channels;
            }
        }
        int8_t *out = call->out + x * out_channels;
        for (uint32_t c = 0; c < out_channels; c++) {
            out[c] = lil_finish(&channels, c, sums[c], call);
        }
    }
}
