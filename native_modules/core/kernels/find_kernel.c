/* The table of kernels. A build may leave some out: its entry is then NULL, and the verifier
 * refuses models that need it. */
#include "kernels.h"

static const lil_kernel kernels[LIL_KIND_COUNT] = {
    NULL, /* LIL_INPUT: the executor's own */
    lil_convolution,
    lil_depthwise_convolution,
    lil_transposed_convolution,
    lil_fully_connected,
    lil_add,
    lil_subtract,
    lil_multiply,
    lil_average_pool,
    lil_max_pool,
    lil_mean_kernel,
    lil_pad,
    lil_concatenate,
    lil_slice,
    lil_transpose,
    lil_table,
    lil_prelu,
    lil_softmax,
    lil_resize_nearest,
    lil_resize_bilinear,
    lil_argmax,
};

lil_kernel lil_find_kernel(uint32_t kind) {
    return kernels[kind];
}

uint32_t lil_scratch_bytes(const lil_operator *op, const lil_tensor *input,
                           const lil_tensor *output) {
    const lil_window *window = &op->parameters.window;
    uint32_t taps = (uint32_t)window->kernel_height * window->kernel_width;
    switch (op->kind) {
    case LIL_CONVOLUTION:
        return op->flags & LIL_POINTWISE ? 0 : taps * (input->channels / window->groups);
    case LIL_TRANSPOSED_CONVOLUTION:
        return taps * input->channels;
    case LIL_DEPTHWISE_CONVOLUTION:
        return 4 * output->channels + input->channels;
    case LIL_FULLY_CONNECTED:
        return input->height == 1 ? 0 : 4 * output->channels;
    case LIL_AVERAGE_POOL:
    case LIL_MAX_POOL:
        return op->flags & LIL_SINK ? 4 * output->width * output->channels : 0;
    case LIL_MEAN:
        return op->flags & LIL_SINK && input->height > 1 ? 4 * output->width * output->channels : 0;
    default:
        return 0;
    }
}
