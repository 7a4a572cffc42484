/* Fully connected layer over a whole map, consumed row by row. */
#include "pair_products.h"

#if !LIL_HAS_DSP

/* One row's products with all channels. */
static void multiply_row(const lil_call *call, const lil_activation *row) {
    uint32_t out_channels = call->output.channels;
    uint32_t count = call->sources[0].row_bytes;
    uint32_t inputs = call->sources[0].tensor.height * count;
    bool is_first = call->y == 0;
    bool is_last = call->y + 1 == (int32_t)call->sources[0].tensor.height;
    lil_channels channels = lil_load_channels(call, out_channels);
    int32_t *waiting = (int32_t *)(void *)call->scratch;
    for (uint32_t c = 0; c < out_channels; c += 2) {
        const int8_t *weights =
            lil_pair_weights(&channels, c / 2, inputs) + 2 * (uint32_t)call->y * count;
        uint32_t partners = out_channels - c > 1 ? 2 : 1;
        int32_t sums[2] = {0, 0};
        for (uint32_t i = 0; i < partners; i++) {
            sums[i] = is_first ? lil_bias(&channels, c + i) : waiting[c + i];
        }
        lil_multiply_one(weights, row, count, sums);
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
    multiply_row(call, wide);
#else
    multiply_row(call, row);
#endif
}

#endif
