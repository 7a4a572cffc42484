/* Gradient of a function of one int8: that of its output times the function's slope. */
#include "gradient.h"

#if LIL_TRAINING

static inline int32_t load_int16(const uint8_t *bytes) {
    int16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

void lil_table_gradient(const lil_call *call) {
    const lil_slope *slope = &call->op.parameters.slope;
    const uint8_t *slopes = call->constants + 2 * 128;
    const int16_t *gradients = lil_gradient_row(&call->sources[0], call->sources[0].first);
    const int8_t *in = lil_row(&call->sources[1], call->sources[1].first);
    lil_clamp_count count = {slope->limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    for (uint32_t i = 0; i < call->pixels * call->output.channels; i++) {
        int32_t product = gradients[i] * load_int16(slopes + 2 * in[i]);
        out[i] = lil_clamp_value(&count, lil_round_shift(product, slope->shift));
    }
    call->training->saturated += count.saturated;
}

#endif
