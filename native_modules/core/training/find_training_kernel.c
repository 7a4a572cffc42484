/* The table of the kernels of a training step, and the scratch that they need. */
#include "gradient.h"

#if LIL_TRAINING

static const lil_kernel kernels[LIL_KIND_COUNT - LIL_MASK] = {
    lil_mask,
    lil_cross_entropy,
    lil_squared_error,
    lil_clamp_gradient,
    lil_convolution_gradient,
    lil_depthwise_gradient,
    lil_sum_gradients,
    lil_multiply_gradient,
    lil_pool_gradient,
    lil_max_pool_gradient,
    lil_table_gradient,
    lil_region_gradient,
    lil_resize_gradient,
    lil_update_bias,
    lil_update_convolution,
    lil_update_depthwise,
};

lil_kernel lil_find_training_kernel(uint32_t kind) {
    return kernels[kind - LIL_MASK];
}

/* Bytes of `rows` sums of 32 bits for each of `columns`; no arena has as many as UINT32_MAX. */
static uint32_t sum_bytes(uint64_t rows, uint64_t columns) {
    uint64_t bytes = 4 * rows * columns;
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

uint32_t lil_training_scratch(const lil_operator *op, const lil_tensor *input,
                              const lil_tensor *output) {
    const lil_window *window = &op->parameters.window;
    uint32_t taps = (uint32_t)window->kernel_height * window->kernel_width;
    bool is_sink = op->flags & LIL_SINK;
    switch (op->kind) {
    case LIL_CONVOLUTION_GRADIENT:
        /* The weights of two inputs, as halves; or the sums of a pixel. */
        return op->flags & LIL_POINTWISE ? sum_bytes(2, lil_pair_count(input->channels))
                                         : sum_bytes(1, output->channels / window->groups);
    case LIL_DEPTHWISE_GRADIENT:
        return sum_bytes(2, taps); /* a list of taps, two words each */
    case LIL_MULTIPLY_GRADIENT:
        return is_sink ? sum_bytes(1, input->channels) : 0;
    case LIL_UPDATE_BIAS:
        return sum_bytes(1, input->channels);
    case LIL_UPDATE_CONVOLUTION: {
        uint64_t sums = (uint64_t)taps * op->parameters.update.trained_inputs;
        return sum_bytes(sums, is_sink || input->channels < 2 ? input->channels : 2);
    }
    case LIL_UPDATE_DEPTHWISE:
        return sum_bytes(taps, is_sink ? input->channels : 1);
    default:
        return 0;
    }
}

#endif
