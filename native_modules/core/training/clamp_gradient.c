/* From the gradient of an operator's output to that of what it was before the clamp and the
 * requantisation: nothing where the clamp held it, else rescaled by its channel's factor. */
#include "gradient.h"

#if LIL_TRAINING

static bool passes(const lil_call *call, const int8_t *gate, uint32_t i) {
    if (gate == NULL) {
        return true;
    }
    if (call->sources[1].tensor.dtype == LIL_BITS) {
        return (uint8_t)gate[i / 8] >> i % 8 & 1;
    }
    return gate[i] > call->op.activation_min && gate[i] < call->op.activation_max;
}

void lil_clamp_gradient(const lil_call *call) {
    const int16_t *in = lil_gradient_row(&call->sources[0], call->sources[0].first);
    const int8_t *gate =
        call->op.edge_count > 1 ? lil_row(&call->sources[1], call->sources[1].first) : NULL;
    uint32_t channels = call->output.channels;
    const int8_t *shifts = (const int8_t *)call->constants + 4 * channels;
    lil_clamp_count count = {call->op.parameters.limit.limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    uint32_t i = 0;
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < channels; c++, i++) {
            int32_t value = 0;
            if (passes(call, gate, i)) {
                int64_t product = (int64_t)in[i] * lil_load_int32(call->constants + 4 * c);
                value = lil_round_shift((int32_t)(product >> 16), shifts[c]);
            }
            out[i] = lil_clamp_value(&count, value);
        }
    }
    call->training->saturated += count.saturated;
}

#endif
