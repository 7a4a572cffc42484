/* Convolution and transposed convolution: a patch of the input is gathered for each output pixel,
 * then multiplied with the weights of every output channel. */
#include "kernels.h"

/* Sum of products of two int8 vectors. */
static int32_t dot(const int8_t *a, const int8_t *b, uint32_t count, int32_t sum) {
    for (uint32_t i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* One pixel of one output group from its patch. */
static void multiply_patch(const lil_call *call, const lil_channels *channels, const int8_t *patch,
                           uint32_t patch_bytes, uint32_t first, uint32_t count, int8_t *out) {
    for (uint32_t channel = first; channel < first + count; channel++) {
        const int8_t *weights = channels->weights + channel * patch_bytes;
        int32_t sum = dot(patch, weights, patch_bytes, lil_bias(channels, channel));
        out[channel] = lil_finish(channels, channel, sum, call);
    }
}

static void convolve_pixels(const lil_call *call, const lil_channels *channels) {
    uint32_t in_channels = call->sources[0].tensor.channels;
    uint32_t out_channels = call->output.channels;
    const int8_t *in = lil_row(&call->sources[0], call->sources[0].first);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        multiply_patch(call, channels, in, in_channels, 0, out_channels, out);
        in += in_channels;
        out += out_channels;
    }
}

/* Channels `channel` to `channel + count` of the pixel at (row, x), zero points outside. */
static void gather_pixel(const lil_source *source, const int8_t *row, int32_t x, uint32_t channel,
                         uint32_t count, int8_t *patch) {
    if (row == NULL || x < 0 || x >= (int32_t)source->tensor.width) {
        memset(patch, (uint8_t)source->tensor.zero_point, count);
    } else {
        memcpy(patch, row + (uint32_t)x * source->tensor.channels + channel, count);
    }
}

void lil_convolution(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    uint32_t out_channels = call->output.channels;
    lil_channels channels = lil_load_channels(call->constants, out_channels);
    if (call->op.flags & LIL_POINTWISE) {
        convolve_pixels(call, &channels);
        return;
    }
    uint32_t group_inputs = source->tensor.channels / window->groups;
    uint32_t group_outputs = out_channels / window->groups;
    uint32_t patch_bytes = (uint32_t)window->kernel_height * window->kernel_width * group_inputs;
    int8_t *patch = (int8_t *)call->scratch;
    for (uint32_t x = 0; x < call->pixels; x++) {
        int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
        for (uint32_t group = 0; group < window->groups; group++) {
            int8_t *end = patch;
            for (int32_t ky = 0; ky < window->kernel_height; ky++) {
                const int8_t *row = lil_row(source, source->first + ky * window->dilation_height);
                for (int32_t kx = 0; kx < window->kernel_width; kx++) {
                    gather_pixel(source, row, left + kx * window->dilation_width,
                                 group * group_inputs, group_inputs, end);
                    end += group_inputs;
                }
            }
            multiply_patch(call, &channels, patch, patch_bytes, group * group_outputs,
                           group_outputs, call->out + x * out_channels);
        }
    }
}

/* The input coordinate that kernel tap k of output coordinate v sees, or -1 where a stride's gap
 * or the outside of the map lies. */
static int32_t transposed_tap(int32_t v, int32_t pad, int32_t k, int32_t stride) {
    int32_t scaled = v + pad - k;
    return scaled >= 0 && scaled % stride == 0 ? scaled / stride : -1;
}

void lil_transposed_convolution(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    uint32_t in_channels = source->tensor.channels;
    uint32_t out_channels = call->output.channels;
    uint32_t patch_bytes = (uint32_t)window->kernel_height * window->kernel_width * in_channels;
    lil_channels channels = lil_load_channels(call->constants, out_channels);
    for (uint32_t x = 0; x < call->pixels; x++) {
        int8_t *end = (int8_t *)call->scratch;
        for (int32_t ky = 0; ky < window->kernel_height; ky++) {
            int32_t y = transposed_tap(call->y, window->pad_top, ky, window->stride_height);
            for (int32_t kx = 0; kx < window->kernel_width; kx++) {
                int32_t column =
                    transposed_tap((int32_t)x, window->pad_left, kx, window->stride_width);
                gather_pixel(source, lil_row(source, y), column, 0, in_channels, end);
                end += in_channels;
            }
        }
        multiply_patch(call, &channels, (const int8_t *)call->scratch, patch_bytes, 0, out_channels,
                       call->out + x * out_channels);
    }
}
