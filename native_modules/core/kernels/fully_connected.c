/* Fully connected layer over a whole map, consumed row by row. */
#include "pair_products.h"

#if !LIL_HAS_DSP

/* Adds the products of a row with a pair's weights to its sums. `unpacked`: room for the weights as
 * int8, where they have four bits and the machine has vectors. */
static inline void multiply_pair(const lil_call *call, const int8_t *weights,
                                 const lil_activation *row, int8_t *unpacked, int32_t *sums) {
    uint32_t count = call->sources[0].row_bytes;
    if (lil_is_int4(&call->op)) {
#if LIL_HAS_VECTORS
        lil_unpack_weights(weights, (count + 3) & ~(uint32_t)3, unpacked);
        weights = unpacked;
#else
        lil_multiply_one_int4(weights, row, count, sums);
        return;
#endif
    }
    (void)unpacked;
    lil_multiply_one(weights, row, count, sums);
}

/* One row's products with all channels. */
static void multiply_row(const lil_call *call, const lil_activation *row, int8_t *unpacked) {
    uint32_t out_channels = call->output.channels;
    uint32_t count = call->sources[0].row_bytes;
    uint32_t pair_bytes = lil_pair_bytes(&call->op, call->sources[0].tensor.height * count);
    bool is_first = call->y == 0;
    bool is_last = call->y + 1 == (int32_t)call->sources[0].tensor.height;
    lil_channels channels = lil_load_channels(call, out_channels);
    int32_t *waiting = (int32_t *)(void *)call->scratch;
    const int8_t *weights = channels.weights + lil_tap_offset(&call->op, (uint32_t)call->y * count);
    for (uint32_t c = 0; c < out_channels; c += 2) {
        uint32_t partners = out_channels - c > 1 ? 2 : 1;
        int32_t sums[2] = {0, 0};
        for (uint32_t i = 0; i < partners; i++) {
            sums[i] = is_first ? lil_bias(&channels, c + i) : waiting[c + i];
        }
        multiply_pair(call, weights, row, unpacked, sums);
        weights += pair_bytes;
        for (uint32_t i = 0; i < partners; i++) {
            if (is_last) {
                call->out[c + i] = lil_finish(&channels, c + i, sums[i], call);
            } else {
                waiting[c + i] = sums[i];
            }
        }
    }
}

void lil_fully_connected(const lil_call *call) {
    const int8_t *row = lil_row(&call->sources[0], call->y);
#if LIL_HAS_VECTORS
    uint32_t count = call->sources[0].row_bytes;
    lil_activation wide[count];
    for (size_t i = 0; i < count; i++) {
        wide[i] = row[i];
    }
    int8_t unpacked[lil_is_int4(&call->op) ? 2 * (count + 3) : 1];
    multiply_row(call, wide, unpacked);
#else
    multiply_row(call, row, NULL);
#endif
}

#endif
