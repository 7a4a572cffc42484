/* Layers of which training changes the weights of some input channels only: these lie in the arena,
 * the others in the file.
 *
 * A forward kernel never sees this: for some output channels at a time all weights are put together
 * in scratch, and the kernel computes these channels as if there were no others. */
#ifndef LIL_SPLIT_H
#define LIL_SPLIT_H

#include "../kernels/kernels.h"

#if LIL_TRAINING

/* Whether the weights of an operator of the inference lie in two places. */
static inline bool lil_is_split(const lil_operator *op, const lil_tensor *input) {
    const lil_window *window = &op->parameters.window;
    return op->trained_offset != LIL_NONE && op->kind < LIL_MASK && window->groups <= 1 &&
           op->arena_inputs != 0 && op->arena_inputs < input->channels;
}

/* Whether the window of an operator of the inference splits its weights as it may. */
bool lil_split_is_sound(const lil_operator *op, const lil_tensor *input);

/* Bytes of the weights of an operator of the inference that lie in the arena, behind its bias. */
uint64_t lil_arena_weight_bytes(const lil_operator *op, const lil_tensor *input,
                                uint32_t out_channels);

/* Copies them there; from `constants`. */
void lil_reset_weights(const lil_operator *op, const lil_tensor *input, uint32_t out_channels,
                       const uint8_t *constants, uint8_t *to);

/* Bytes of scratch that an operator needs whose kernel needs `kernel_bytes`: those, if it is not
 * split. */
uint32_t lil_split_scratch(const lil_operator *op, const lil_tensor *input,
                           const lil_tensor *output, uint32_t kernel_bytes);

/* Computes what the call asks for with the operator's kernel. The call is as before afterwards. */
void lil_compute_split(lil_call *call, lil_kernel kernel);

#else

static inline uint32_t lil_split_scratch(const lil_operator *op, const lil_tensor *input,
                                         const lil_tensor *output, uint32_t kernel_bytes) {
    (void)op, (void)input, (void)output;
    return kernel_bytes;
}

#endif

#endif
