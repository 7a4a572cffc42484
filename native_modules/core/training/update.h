/* Updates of trained constants, with stochastic rounding: what is added before the division is as
 * likely to be any rest, so that on average nothing is lost, however small a change is.
 *
 * The random number depends on the seed, the step and the place of the constant in the arena, so
 * that the order of computation does not matter. */
#ifndef LIL_UPDATE_H
#define LIL_UPDATE_H

#include "gradient.h"

#if LIL_TRAINING

/* What one operator's updates have in common. */
typedef struct lil_updater {
    const lil_call *call;
    const uint8_t *multipliers; /* int32, one a channel */
    const int8_t *shifts;
    void *velocities; /* int32 of biases, int16 of weights; NULL: there are none */
    uint32_t key;     /* of this step's random numbers */
} lil_updater;

/* A number that looks random. By turns of xor with the upper bits and multiplication by an odd
 * number every bit comes to depend on every other; the numbers are those of C. Wellons' search
 * for the least bias. */
static inline uint32_t lil_scramble(uint32_t x) {
    x = (x ^ x >> 16) * 0x7FEB352D;
    x = (x ^ x >> 15) * 0x846CA68B;
    return x ^ x >> 16;
}

static inline lil_updater lil_load_updater(const lil_call *call, uint32_t channels) {
    lil_updater updater;
    updater.call = call;
    updater.multipliers = call->constants;
    updater.shifts = (const int8_t *)call->constants + 4 * channels;
    updater.velocities = NULL;
    if (call->op.flags & LIL_HAS_VELOCITY) {
        updater.velocities =
            (uint8_t *)call->training +
            (uint32_t)lil_load_int32((const uint8_t *)call->constants + lil_factor_bytes(channels));
    }
    updater.key = lil_scramble(lil_scramble(call->training->seed) + call->training->step);
    return updater;
}

/* What a channel's sums of gradients are multiplied with: its own factor, the learning rate, and
 * the scale of the gradients: factor * 2^-shift. */
typedef struct lil_rate {
    uint32_t channel;
    int32_t factor;
    int32_t shift;
} lil_rate;

lil_rate lil_load_rate(const lil_updater *updater, uint32_t channel);

/* The trained bias of the operator, which it may change. */
static inline int32_t *lil_trained_bias(const lil_call *call) {
    return (int32_t *)(void *)((uint8_t *)call->training + call->op.trained_offset);
}

/* Takes its change off the bias of the rate's channel. */
void lil_update_bias_of(const lil_updater *updater, const lil_rate *rate, int32_t sum);

/* Takes its change off a weight, and what that changes in the sums of zero points off the bias.
 * `index`: of its velocity. */
void lil_update_weight(const lil_updater *updater, const lil_rate *rate, int32_t sum,
                       int8_t *weight, uint32_t index, int32_t zero_point);

/* Sums over pixels of gradients times inputs less their zero point. */
typedef struct lil_run_of_pixels {
    const int16_t *gradients;
    uint32_t gradient_step; /* from one pixel to the next */
    const int8_t *inputs;
    uint32_t input_step;
    uint32_t count; /* of pixels */
    int32_t zero_point;
} lil_run_of_pixels;

/* Of a row of outputs, those whose input at one tap of the window lies inside of the map. `inputs`
 * is the row that the tap reads; `count` is 0 when it reads none. */
lil_run_of_pixels lil_find_run(const lil_call *call, int32_t y, uint32_t ky, uint32_t kx);

#endif

#endif
