/* Fully connected layer over a whole map, consumed row by row, with Helium. */
#include "../kernels.h"

#if LIL_HAS_MVE

#include "dot_products.h"

void lil_fully_connected(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    uint32_t out_channels = call->output.channels;
    uint32_t count = source->row_bytes;
    uint32_t pair_bytes = lil_pair_bytes(&call->op, source->tensor.height * count);
    bool is_first = call->y == 0;
    bool is_last = call->y + 1 == (int32_t)source->tensor.height;
    lil_channels channels = lil_load_channels(call, out_channels);
    const int8_t *row = lil_row(source, call->y);
    int32_t *sums = (int32_t *)(void *)call->scratch;
    const int8_t *weights = channels.weights + lil_tap_offset(&call->op, (uint32_t)call->y * count);
    for (uint32_t c = 0; c < out_channels; c += 2) {
        int32_t pair[2];
        if (lil_is_int4(&call->op)) {
            lil_dot_row_int4(row, weights, count, pair);
        } else {
            lil_dot_row(row, weights, count, pair);
        }
        weights += pair_bytes;
        for (uint32_t i = c; i < c + 2 && i < out_channels; i++) {
            int32_t sum = pair[i - c] + (is_first ? lil_bias(&channels, i) : sums[i]);
            if (is_last) {
                call->out[i] = lil_finish(&channels, i, sum, call);
            } else {
                sums[i] = sum;
            }
        }
    }
}

#endif
