/* Fully connected layer over a whole map, consumed row by row. */
#include "kernels.h"

void lil_fully_connected(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    uint32_t out_channels = call->output.channels;
    uint32_t count = source->row_bytes;
    uint32_t inputs = source->tensor.height * count;
    bool is_last = call->y + 1 == (int32_t)source->tensor.height;
    lil_channels channels = lil_load_channels(call->constants, out_channels);
    const int8_t *row = lil_row(source, call->y);
    const int8_t *weights = channels.weights + (uint32_t)call->y * count;
    int32_t *sums = (int32_t *)(void *)call->scratch;
    for (uint32_t c = 0; c < out_channels; c++) {
        int32_t sum = call->y == 0 ? lil_bias(&channels, c) : sums[c];
        for (uint32_t i = 0; i < count; i++) {
            sum += row[i] * weights[i];
        }
        weights += inputs;
        if (is_last) {
            call->out[c] = lil_finish(&channels, c, sum, call);
        } else {
            sums[c] = sum;
        }
    }
}
