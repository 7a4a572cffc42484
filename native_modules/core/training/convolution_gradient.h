/* One row of gradients of a convolution's input: what the portable kernel and its twins share. */
#ifndef LIL_CONVOLUTION_GRADIENT_H
#define LIL_CONVOLUTION_GRADIENT_H

#include "gradient.h"

/* Weights that lie together: those of some input channels, in the arena or in the file. */
typedef struct lil_weight_part {
    const int8_t *weights; /* the first pair's, at its first tap of the window */
    uint32_t pair_bytes;   /* from pair to pair */
    uint32_t tap_bytes;    /* from one tap of the window to the next */
    uint32_t first;        /* input channel of its group */
    uint32_t count;        /* of input channels */
} lil_weight_part;

typedef struct lil_backward {
    const lil_call *call;
    lil_weight_part parts[2];
    uint32_t part_count;
    uint32_t group_inputs;
    uint32_t group_outputs;
    lil_clamp_count count;
} lil_backward;

static inline int16_t lil_finish_gradient(lil_backward *b, int32_t sum) {
    return lil_clamp_value(&b->count, lil_round_shift(sum, b->call->op.parameters.gradient.shift));
}

/* Of a 1x1 convolution: `count` pixels that lie one behind the other. */
void lil_multiply_gradients(lil_backward *b, const int16_t *gradients, uint32_t count,
                            int16_t *out);

#endif
