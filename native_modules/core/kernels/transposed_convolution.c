/* Transposed convolution: the pixels that an output pixel sees are gathered, then multiplied with
 * the weights of every output channel. */
#include "kernels.h"

/* Sum of products of two int8 vectors. */
static int32_t dot(const int8_t *a, const int8_t *b, uint32_t count, int32_t sum) {
    for (uint32_t i = 0; i < count; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* The pixel at (row, x), zero points outside. */
static void gather_pixel(const lil_source *source, const int8_t *row, int32_t x, int8_t *patch) {
    if (row == NULL || x < 0 || x >= (int32_t)source->tensor.width) {
        memset(patch, (uint8_t)source->tensor.zero_point, source->tensor.channels);
    } else {
        memcpy(patch, row + (uint32_t)x * source->tensor.channels, source->tensor.channels);
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
    lil_channels channels = lil_load_channels(call, out_channels);
    for (uint32_t x = 0; x < call->pixels; x++) {
        int8_t *end = (int8_t *)call->scratch;
        for (int32_t ky = 0; ky < window->kernel_height; ky++) {
            int32_t y = transposed_tap(call->y, window->pad_top, ky, window->stride_height);
            for (int32_t kx = 0; kx < window->kernel_width; kx++) {
                int32_t column =
                    transposed_tap((int32_t)x, window->pad_left, kx, window->stride_width);
                gather_pixel(source, lil_row(source, y), column, end);
                end += in_channels;
            }
        }
        int8_t *out = call->out + x * out_channels;
        for (uint32_t c = 0; c < out_channels; c++) {
            int32_t sum = dot((const int8_t *)call->scratch, channels.weights + c * patch_bytes,
                              patch_bytes, lil_bias(&channels, c));
            out[c] = lil_finish(&channels, c, sum, call);
        }
    }
}
