/* Which outputs of an operator its clamp let pass, as bits. */
#include "gradient.h"

#if LIL_TRAINING

void lil_mask(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const int8_t *in = lil_row(source, source->first);
    int32_t min = call->op.activation_min, max = call->op.activation_max;
    uint8_t *out = (uint8_t *)call->out;
    for (uint32_t i = 0; i < source->row_bytes; i += 8) {
        uint32_t left = source->row_bytes - i;
        uint32_t bits = 0;
        for (uint32_t k = 0; k < 8 && k < left; k++) {
            bits |= (uint32_t)(in[i + k] > min && in[i + k] < max) << k;
        }
        *out++ = (uint8_t)bits;
    }
}

#endif
