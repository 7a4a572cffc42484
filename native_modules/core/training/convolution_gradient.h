/* One row of gradients of a convolution's input: what the portable kernel and its twins share. */
#ifndef LIL_CONVOLUTION_GRADIENT_H
#define LIL_CONVOLUTION_GRADIENT_H

#include "gradient.h"

typedef struct lil_backward {
    const lil_call *call;
    lil_channels channels;
    uint32_t group_inputs;
    uint32_t group_outputs;
    uint32_t taps; /* of one output channel */
    lil_clamp_count count;
} lil_backward;

static inline int16_t lil_finish_gradient(lil_backward *b, int32_t sum) {
    return lil_clamp_value(&b->count, lil_round_shift(sum, b->call->op.parameters.gradient.shift));
}

/* Of a 1x1 convolution: `count` pixels that lie one behind the other. */
void lil_multiply_gradients(lil_backward *b, const int16_t *gradients, uint32_t count,
                            int16_t *out);

#endif
