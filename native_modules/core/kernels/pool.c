/* Average and max pooling over the part of the window that lies inside the map. A pool whose window
 * spans the whole height is a sink: it consumes rows as they come. */
#include "pool.h"

#if !LIL_HAS_DSP

static int32_t combine(int32_t a, int32_t b, bool is_average) {
    if (is_average) {
        return a + b;
    }
    return a > b ? a : b;
}

/* The sum or the maximum of a channel over rows and columns. */
static int32_t reduce(const lil_source *source, lil_span rows, lil_span columns, uint32_t channel,
                      bool is_average) {
    uint32_t channels = source->tensor.channels;
    int32_t result = is_average ? 0 : -128;
    for (uint32_t y = 0; y < rows.count; y++) {
        const int8_t *in =
            lil_row(source, rows.begin + (int32_t)y) + (uint32_t)columns.begin * channels + channel;
        for (uint32_t x = columns.count; x > 0; x--) {
            result = combine(result, *in, is_average);
            in += channels;
        }
    }
    return result;
}

/* Reduces input rows. Of a sink they are one row, which is added to the running values of every
 * output; the last row completes them. */
static void pool(const lil_call *call, bool is_average) {
    const lil_source *source = &call->sources[0];
    bool is_first = lil_pool_begins(call);
    bool is_last = lil_pool_ends(call);
    lil_span rows = lil_pool_rows(call);
    int32_t *running = (int32_t *)(void *)call->scratch;
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->output.width; x++) {
        lil_span columns = lil_pool_columns(call, x);
        int32_t area = lil_pool_area(call, rows, columns);
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t value = reduce(source, rows, columns, c, is_average);
            if (!is_first) {
                value = combine(*running, value, is_average);
            }
            if (is_last) {
                *out++ = lil_finish_pool(call, is_average ? lil_average(value, area) : value);
            } else {
                *running = value;
            }
            running++;
        }
    }
}

void lil_average_pool(const lil_call *call) {
    pool(call, true);
}

void lil_max_pool(const lil_call *call) {
    pool(call, false);
}

#endif
