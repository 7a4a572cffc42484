/* From the gradient of an operator's output to that of what it was before the clamp and the
 * requantisation: nothing where the clamp held it, else rescaled by its channel's factor. */
#include "gradient.h"

#if LIL_TRAINING

/* What tells whether the clamp let an output pass. */
typedef enum gate { OPEN, BITS, MAP } gate;

/* value * multiplier / 2^16, rounded down. */
static inline int32_t multiply_high(int32_t value, int32_t multiplier) {
#if defined(__ARM_FEATURE_DSP)
    int32_t result;
    __asm__("smulwb %0, %1, %2" : "=r"(result) : "r"(multiplier), "r"(value));
    return result;
#else
    return (int32_t)((int64_t)value * multiplier >> 16);
#endif
}

/* A row, or several that lie one behind the other. */
static inline __attribute__((always_inline)) void rescale(const lil_call *call, gate kind) {
    const int16_t *in = lil_gradient_row(&call->sources[0], call->sources[0].first);
    const int8_t *gates = kind == OPEN ? NULL : lil_row(&call->sources[1], call->sources[1].first);
    const uint32_t channels = call->output.channels;
    const uint8_t *multipliers = call->constants;
    const int8_t *shifts = (const int8_t *)call->constants + 4 * channels;
    const lil_passing passing = lil_load_passing(&call->op);
    lil_clamp_count count = {call->op.parameters.limit.limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    uint32_t bits = 1; /* a one marks the end of the byte */
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < channels; c++) {
            int32_t value = *in++;
            bool passes = true;
            if (kind == BITS) {
                bits = bits == 1 ? (uint8_t)*gates++ | 0x100u : bits;
                passes = bits & 1;
                bits >>= 1;
            } else if (kind == MAP) {
                passes = lil_passes(&passing, *gates++);
            }
            int16_t result = 0;
            if (passes) {
                value = multiply_high(value, lil_load_int32(multipliers + 4 * c));
                result = lil_clamp_value(&count, ((value >> (shifts[c] - 1)) + 1) >> 1);
            }
            *out++ = result;
        }
    }
    call->training->saturated += count.saturated;
}

void lil_clamp_gradient(const lil_call *call) {
    if (call->op.edge_count == 1) {
        rescale(call, OPEN);
    } else if (call->sources[1].tensor.dtype == LIL_BITS) {
        rescale(call, BITS);
    } else {
        rescale(call, MAP);
    }
}

#endif
