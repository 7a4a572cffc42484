/* Average and max pooling for the ARM DSP extension, over the part of the
 * window that lies inside the map. A pool whose window spans the whole height
 * is a sink: it consumes rows as they come. */
#include "../pool.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#include "columns.h"

/* The sums or the maxima of `count` channels, at most four, over rows and
 * columns. */
static void reduce(const lil_source *source, lil_span rows, lil_span columns, uint32_t channel,
                   uint32_t count, bool is_average, int32_t values[4]) {
    uint32_t channels = source->tensor.channels;
    uint32_t offset = (uint32_t)columns.begin * channels + channel;
    uint32_t largest = 0x80808080u;
    for (uint32_t y = 0; y < rows.count; y++) {
        const int8_t *in = lil_row(source, rows.begin + (int32_t)y) + offset;
        if (count == 4 && is_average) {
            lil_add_columns(in, channels, columns.count, values);
        } else if (count == 4) {
            for (uint32_t x = 0; x < columns.count; x++) {
                largest = lil_max8(largest, lil_load_word(in));
                in += channels;
            }
        } else {
            for (uint32_t x = 0; x < columns.count; x++) {
                for (uint32_t i = 0; i < count; i++) {
                    int32_t value = in[i];
                    if (is_average) {
                        values[i] += value;
                    } else {
                        values[i] = value > values[i] ? value : values[i];
                    }
                }
                in += channels;
            }
        }
    }
    if (count == 4 && !is_average) {
        for (uint32_t i = 0; i < 4; i++) {
            int32_t value = (int8_t)(uint8_t)(largest >> (8 * i));
            values[i] = value > values[i] ? value : values[i];
        }
    }
}

static inline void copy_values(const int32_t *from, uint32_t count, int32_t *to) {
    if (count == 4) { /* mostly; without a call */
        memcpy(to, from, 4 * sizeof *to);
    } else {
        memcpy(to, from, count * sizeof *to);
    }
}

/* Reduces input rows. Of a sink they are one row, which is added to the running
 * values of every output; the last row completes them. */
static void pool(const lil_call *call, bool is_average) {
    const lil_source *source = &call->sources[0];
    bool is_first = lil_pool_begins(call);
    bool is_last = lil_pool_ends(call);
    lil_span rows = lil_pool_rows(call);
    int32_t *running = (int32_t *)(void *)call->scratch;
    uint32_t channels = call->output.channels;
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->output.width; x++) {
        lil_span columns = lil_pool_columns(call, x);
        int32_t area = lil_pool_area(call, rows, columns);
        for (uint32_t channel = 0; channel < channels; channel += 4) {
            uint32_t count = channels - channel < 4 ? channels - channel : 4;
            int32_t start = is_average ? 0 : -128;
            int32_t values[4] = {start, start, start, start};
            if (!is_first) {
                copy_values(running, count, values);
            }
            reduce(source, rows, columns, channel, count, is_average, values);
            if (!is_last) {
                copy_values(values, count, running);
            } else if (is_average) {
                for (uint32_t i = 0; i < count; i++) {
                    *out++ = lil_finish_pool(call, lil_average(values[i], area));
                }
            } else {
                for (uint32_t i = 0; i < count; i++) {
                    *out++ = lil_finish_pool(call, values[i]);
                }
            }
            running += count;
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
