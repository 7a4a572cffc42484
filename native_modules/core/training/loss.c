/* The loss, and the gradient that the backward pass begins with: scaled by a power of two, the
 * training state's gradient_exponent, so that its largest magnitude is from 2^13 to 2^14. */
#include "gradient.h"

#if LIL_TRAINING

#define LIL_GRADIENT_BITS 13 /* of the magnitude of the largest gradient, behind its first one */
#define LIL_LN_2 45426       /* ln 2, in 1/65536 */

/* log2(value), in 1/65536; value > 0. One squaring a bit. */
static int32_t log2_of(uint64_t value) {
    int32_t result = 63;
    while (!(value >> 63)) {
        value <<= 1;
        result--;
    }
    uint32_t fraction = (uint32_t)(value >> 32); /* 2^31 to 2^32: from 1 to 2 */
    for (uint32_t i = 0; i < 16; i++) {
        uint64_t square = (uint64_t)fraction * fraction;
        uint32_t bit = (uint32_t)(square >> 63);
        fraction = (uint32_t)(square >> (31 + bit));
        result = 2 * result + (int32_t)bit;
    }
    return result;
}

/* part / whole * 2^bits, rounded to nearest; part < 2 * whole < 2^62. */
static int32_t ratio_of(uint64_t part, uint64_t whole, uint32_t bits) {
    int32_t quotient = 0;
    for (uint32_t i = 0; i <= bits; i++) {
        bool fits = part >= whole;
        quotient = 2 * quotient + fits;
        part = (part - (fits ? whole : 0)) << 1;
    }
    return quotient + (part >= whole);
}

static uint64_t exponential_of(const lil_call *call, int32_t difference) {
    return (uint32_t)lil_load_int32(call->constants + 4 * difference);
}

/* The gradient of a logit is its probability; less one for the target's. */
void lil_cross_entropy(const lil_call *call) {
    const int8_t *logits = lil_row(&call->sources[0], 0);
    uint32_t count = call->output.channels;
    lil_training *state = call->training;
    uint32_t target = (uint32_t)lil_load_int32(lil_target((uint8_t *)state));
    int16_t *out = (int16_t *)(void *)call->out;
    int32_t largest = -128;
    for (uint32_t c = 0; c < count; c++) {
        largest = logits[c] > largest ? logits[c] : largest;
    }
    uint64_t others = 0;
    for (uint32_t c = 0; c < count; c++) {
        others += c == target ? 0 : exponential_of(call, largest - logits[c]);
    }
    uint64_t of_target = exponential_of(call, largest - logits[target]);
    uint64_t sum = others + of_target;
    int64_t loss =
        (int64_t)(log2_of(sum) - log2_of(of_target > 0 ? of_target : 1)) * LIL_LN_2 >> 16;
    state->loss = (int32_t)loss;
    state->gradient_exponent = 0;
    if (others == 0) {
        memset(out, 0, 2 * count);
        return;
    }
    uint32_t up = 0; /* so that others * 2^up / sum is from 1 to 2 */
    while (others << up < sum) {
        up++;
    }
    state->gradient_exponent = (int32_t)(LIL_GRADIENT_BITS + up);
    for (uint32_t c = 0; c < count; c++) {
        uint64_t part = c == target ? others : exponential_of(call, largest - logits[c]);
        int32_t magnitude = ratio_of(part << up, sum, LIL_GRADIENT_BITS);
        out[c] = (int16_t)(c == target ? -magnitude : magnitude);
    }
}

/* The squared differences of the whole map, and its largest difference. */
static int32_t measure_error(const lil_call *call, const int8_t *target) {
    const lil_source *source = &call->sources[0];
    const lil_loss *loss = &call->op.parameters.loss;
    uint64_t squares = 0;
    int32_t largest = 0;
    for (uint32_t y = 0; y < source->tensor.height; y++) {
        const int8_t *row = lil_row(source, (int32_t)y);
        for (uint32_t i = 0; i < source->row_bytes; i++) {
            int32_t difference = row[i] - *target++;
            difference = difference < 0 ? -difference : difference;
            squares += (uint32_t)(difference * difference);
            largest = difference > largest ? difference : largest;
        }
    }
    /* squares < 2^44: in two halves, so that no product leaves 64 bits */
    uint64_t product = (squares >> 22) * (uint32_t)loss->multiplier;
    product += ((squares & 0x3FFFFF) * (uint32_t)loss->multiplier) >> 22;
    int32_t right = 31 - 22 - loss->shift;
    uint64_t value = right >= 0                     ? product >> right
                     : product >> (31 + right) != 0 ? (uint64_t)INT32_MAX
                                                    : product << -right;
    call->training->loss = value > INT32_MAX ? INT32_MAX : (int32_t)value;
    return largest;
}

/* The gradient of an output is its difference to the target. */
void lil_squared_error(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const int8_t *target = (const int8_t *)lil_target((uint8_t *)call->training);
    int16_t *out = (int16_t *)(void *)call->out;
    if (call->y == 0) {
        int32_t largest = measure_error(call, target);
        int32_t up = 0;
        while (largest != 0 && largest << up < 1 << LIL_GRADIENT_BITS) {
            up++;
        }
        call->training->gradient_exponent = up;
    }
    const int8_t *row = lil_row(source, call->y);
    target += (uint32_t)call->y * source->row_bytes;
    int32_t scale = 1 << call->training->gradient_exponent;
    for (uint32_t i = 0; i < source->row_bytes; i++) {
        out[i] = (int16_t)((row[i] - target[i]) * scale);
    }
}

#endif
