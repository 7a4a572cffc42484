/* What the updates of all operators share. */
#include "update.h"

#if LIL_TRAINING

lil_rate lil_load_rate(const lil_updater *updater, uint32_t channel) {
    const lil_training *state = updater->call->training;
    int64_t multiplier = lil_load_int32(updater->multipliers + 4 * channel);
    lil_rate rate;
    rate.channel = channel;
    rate.factor = (int32_t)(multiplier * state->rate_mantissa >> 31);
    rate.shift = 31 - updater->shifts[channel] - state->rate_exponent + state->gradient_exponent;
    if (updater->velocities != NULL) {
        rate.shift -= LIL_VELOCITY_BITS;
    }
    return rate;
}

/* A number as random as it is the same for the same seed, step and place of a constant. */
static uint32_t random_of(const lil_updater *updater, const void *place) {
    uint32_t index = (uint32_t)((const uint8_t *)place - (const uint8_t *)updater->call->training);
    return lil_scramble(updater->key ^ index * 0x9E3779B9);
}

/* What a sum of gradients changes, in units of what it changes: rounded stochastically. */
static int32_t step_of(const lil_rate *rate, int32_t sum, uint32_t random) {
    int64_t product = (int64_t)sum * rate->factor;
    int32_t shift = rate->shift;
    if (product == 0) {
        return 0;
    }
    if (shift <= 0) {
        return product > 0 ? INT32_MAX : -INT32_MAX; /* too large a step for any constant */
    }
    if (shift > 62) {
        product >>= shift - 62 < 63 ? shift - 62 : 63;
        shift = 62;
    }
    if (shift >= 32) {
        /* (product + random * 2^(shift - 32)) / 2^shift */
        return (int32_t)(((product >> (shift - 32)) + random) >> 32);
    }
    int64_t change = (product + (random >> (32 - shift))) >> shift;
    return change > INT32_MAX ? INT32_MAX : change < -INT32_MAX ? -INT32_MAX : (int32_t)change;
}

/* Lets a velocity, at most `limit`, take up a step, and returns what the constant changes by. Both
 * are rounded stochastically, with bits of a number of their own. */
static int32_t gather(const lil_updater *updater, int32_t *velocity, int32_t step, int32_t limit,
                      uint32_t random) {
    lil_training *state = updater->call->training;
    random = lil_scramble(~random);
    int64_t gathered = ((int64_t)*velocity * state->kept + (random & 0x7FFF)) >> 15;
    gathered += step;
    if (gathered > limit || gathered < -limit) {
        state->saturated++;
        gathered = gathered > 0 ? limit : -limit;
    }
    *velocity = (int32_t)gathered;
    return state->changes ? (int32_t)((gathered + (random >> 24)) >> LIL_VELOCITY_BITS) : 0;
}

static int32_t clamp_bias(int64_t value) {
    return value > LIL_TRAINED_BIAS_LIMIT    ? LIL_TRAINED_BIAS_LIMIT
           : value < -LIL_TRAINED_BIAS_LIMIT ? -LIL_TRAINED_BIAS_LIMIT
                                             : (int32_t)value;
}

void lil_update_bias_of(const lil_updater *updater, const lil_rate *rate, int32_t sum) {
    int32_t *bias = lil_trained_bias(updater->call) + rate->channel;
    uint32_t random = random_of(updater, bias);
    int32_t change = step_of(rate, sum, random);
    if (updater->velocities != NULL) {
        int32_t *velocity = (int32_t *)updater->velocities + rate->channel;
        change = gather(updater, velocity, change, INT32_MAX, random);
    }
    *bias = clamp_bias((int64_t)*bias - change);
}

void lil_update_weight(const lil_updater *updater, const lil_rate *rate, int32_t sum,
                       int8_t *weight, uint32_t index, int32_t zero_point) {
    if (sum == 0 && updater->velocities == NULL) {
        return; /* a random number would round nothing */
    }
    uint32_t random = random_of(updater, weight);
    int32_t change = step_of(rate, sum, random);
    if (updater->velocities != NULL) {
        int16_t *place = (int16_t *)updater->velocities + index;
        int32_t velocity = *place;
        change = gather(updater, &velocity, change, INT16_MAX, random);
        *place = (int16_t)velocity;
    }
    if (change == 0) {
        return;
    }
    if (change > 127 || change < -127) {
        updater->call->training->saturated++; /* a step as large as half of all weights there are */
    }
    int64_t value = (int64_t)*weight - change;
    int32_t limited = value > 127 ? 127 : value < -127 ? -127 : (int32_t)value;
    int32_t *bias = lil_trained_bias(updater->call) + rate->channel;
    *bias = clamp_bias(*bias - (int64_t)zero_point * (limited - *weight));
    *weight = (int8_t)limited;
}

lil_run_of_pixels lil_find_run(const lil_call *call, int32_t y, uint32_t ky, uint32_t kx) {
    const lil_window *window = &call->op.parameters.update.window;
    const lil_source *gradients = &call->sources[0];
    const lil_source *inputs = &call->sources[1];
    int32_t width = (int32_t)inputs->tensor.width;
    int32_t stride = window->stride_width;
    int32_t left = (int32_t)(kx * window->dilation_width) - window->pad_left;
    int32_t first = left < 0 ? (stride - 1 - left) / stride : 0;
    int32_t end = left < width ? (width - 1 - left) / stride + 1 : 0;
    const int8_t *row = lil_row(inputs, y * window->stride_height - window->pad_top +
                                            (int32_t)(ky * window->dilation_height));
    lil_run_of_pixels run;
    end = end > (int32_t)gradients->tensor.width ? (int32_t)gradients->tensor.width : end;
    run.count = row != NULL && end > first ? (uint32_t)(end - first) : 0;
    run.gradient_step = gradients->tensor.channels;
    run.input_step = (uint32_t)stride * inputs->tensor.channels;
    run.zero_point = inputs->tensor.zero_point;
    run.gradients = NULL;
    run.inputs = NULL;
    if (run.count != 0) {
        run.gradients = lil_gradient_row(gradients, y) + (uint32_t)first * run.gradient_step;
        run.inputs = row + (uint32_t)(first * stride + left) * inputs->tensor.channels;
    }
    return run;
}

#endif
