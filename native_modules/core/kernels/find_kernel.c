/* The table of kernels. A build may leave some out: its entry is then NULL, and the verifier
 * refuses models that need it. */
#include "../training/split.h"
#include "dsp/blocks.h"
#include "mve/columns.h"
#include "strips.h"

/* The kinds that this build has a kernel for: bit k is kind k. */
#ifndef LIL_KINDS
#define LIL_KINDS 0xFFFFFFFFu
#endif

#define LIL_IF_WANTED(kind, kernel) ((LIL_KINDS >> (kind)) & 1 ? (kernel) : NULL)

/* Inputs have no kernel: they are the executor's own. */
static const lil_kernel kernels[LIL_MASK] = {
    [LIL_CONVOLUTION] = LIL_IF_WANTED(LIL_CONVOLUTION, lil_convolution),
    [LIL_DEPTHWISE_CONVOLUTION] =
        LIL_IF_WANTED(LIL_DEPTHWISE_CONVOLUTION, lil_depthwise_convolution),
    [LIL_TRANSPOSED_CONVOLUTION] =
        LIL_IF_WANTED(LIL_TRANSPOSED_CONVOLUTION, lil_transposed_convolution),
    [LIL_FULLY_CONNECTED] = LIL_IF_WANTED(LIL_FULLY_CONNECTED, lil_fully_connected),
    [LIL_ADD] = LIL_IF_WANTED(LIL_ADD, lil_add),
    [LIL_SUBTRACT] = LIL_IF_WANTED(LIL_SUBTRACT, lil_subtract),
    [LIL_MULTIPLY] = LIL_IF_WANTED(LIL_MULTIPLY, lil_multiply),
    [LIL_AVERAGE_POOL] = LIL_IF_WANTED(LIL_AVERAGE_POOL, lil_average_pool),
    [LIL_MAX_POOL] = LIL_IF_WANTED(LIL_MAX_POOL, lil_max_pool),
    [LIL_MEAN] = LIL_IF_WANTED(LIL_MEAN, lil_mean_kernel),
    [LIL_PAD] = LIL_IF_WANTED(LIL_PAD, lil_pad),
    [LIL_CONCATENATE] = LIL_IF_WANTED(LIL_CONCATENATE, lil_concatenate),
    [LIL_SLICE] = LIL_IF_WANTED(LIL_SLICE, lil_slice),
    [LIL_TRANSPOSE] = LIL_IF_WANTED(LIL_TRANSPOSE, lil_transpose),
    [LIL_TABLE] = LIL_IF_WANTED(LIL_TABLE, lil_table),
    [LIL_PRELU] = LIL_IF_WANTED(LIL_PRELU, lil_prelu),
    [LIL_SOFTMAX] = LIL_IF_WANTED(LIL_SOFTMAX, lil_softmax),
    [LIL_RESIZE_NEAREST] = LIL_IF_WANTED(LIL_RESIZE_NEAREST, lil_resize_nearest),
    [LIL_RESIZE_BILINEAR] = LIL_IF_WANTED(LIL_RESIZE_BILINEAR, lil_resize_bilinear),
    [LIL_ARGMAX] = LIL_IF_WANTED(LIL_ARGMAX, lil_argmax),
};

lil_kernel lil_find_kernel(uint32_t kind) {
    return !LIL_TRAINING || kind < LIL_MASK ? kernels[kind] : lil_find_training_kernel(kind);
}

static uint32_t maximum(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

uint32_t lil_scratch_bytes(const lil_operator *op, const lil_tensor *input,
                           const lil_tensor *output) {
    const lil_window *window = &op->parameters.window;
    uint32_t taps = (uint32_t)window->kernel_height * window->kernel_width;
    switch (op->kind) {
    case LIL_CONVOLUTION:
        return lil_split_scratch(op, input, output,
                                 lil_convolution_scratch(op, input->channels, output->channels));
    case LIL_TRANSPOSED_CONVOLUTION:
        return taps * input->channels;
    case LIL_DEPTHWISE_CONVOLUTION:
        return maximum(maximum(8 * taps, input->channels), lil_column_scratch(window));
    case LIL_FULLY_CONNECTED:
        return lil_split_scratch(op, input, output,
                                 lil_fully_connected_scratch(op, input->height,
                                                             input->width * input->channels,
                                                             output->channels));
    case LIL_AVERAGE_POOL:
    case LIL_MAX_POOL:
        return op->flags & LIL_SINK ? 4 * output->width * output->channels : 0;
    case LIL_MEAN:
        return op->flags & LIL_SINK && input->height > 1 ? 4 * output->width * output->channels : 0;
    default:
        return op->kind < LIL_MASK ? 0 : lil_training_scratch(op, input, output);
    }
}

uint32_t lil_wanted_scratch_bytes(const lil_operator *op, const lil_tensor *input,
                                  const lil_tensor *output) {
    uint32_t least = lil_scratch_bytes(op, input, output);
    if (op->kind != LIL_DEPTHWISE_CONVOLUTION) {
        return least;
    }
    const lil_window *window = &op->parameters.window;
    least = maximum(least, lil_wanted_column_scratch(window, output->width));
    return maximum(least, lil_plan_strips(window, input->channels, output, LIL_STRIP_BYTES).bytes);
}
