/* Update of a bias: its gradient is the sum of the gradients of its channel's outputs. */
#include "update.h"

#if LIL_TRAINING

void lil_update_bias(const lil_call *call) {
    const lil_tensor *in = &call->sources[0].tensor;
    const int16_t *gradients = lil_gradient_row(&call->sources[0], call->y);
    int32_t *sums = (int32_t *)(void *)call->scratch;
    if (call->y == 0) {
        memset(sums, 0, 4 * in->channels);
    }
    for (uint32_t c = 0; c < in->channels; c++) {
        const int16_t *gradient = gradients + c;
        int32_t sum = sums[c];
        for (uint32_t x = in->width; x != 0; x--) {
            sum = lil_wrapping_sum(sum, *gradient);
            gradient += in->channels;
        }
        sums[c] = sum;
    }
    if (call->y + 1 == (int32_t)in->height) {
        lil_updater updater = lil_load_updater(call, in->channels);
        for (uint32_t c = 0; c < in->channels; c++) {
            lil_rate rate = lil_load_rate(&updater, c);
            lil_update_bias_of(&updater, &rate, sums[c]);
        }
        *call->out = 0;
    }
}

#endif
