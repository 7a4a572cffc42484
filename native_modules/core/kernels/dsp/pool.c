/* Average and max pooling for the ARM DSP extension, over the part of the
 * window that lies inside the map. A pool whose window spans the whole height
 * is a sink: it consumes rows as they come. */
#include "../kernels.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#include "columns.h"

/* The rows or columns of a window that lie inside the map. */
typedef struct span {
    int32_t begin;
    uint32_t count;
} span;

static span clip(int32_t begin, int32_t length, uint32_t limit) {
    int32_t end = begin + length > (int32_t)limit ? (int32_t)limit : begin + length;
    begin = begin < 0 ? 0 : begin;
    span result = {begin, end > begin ? (uint32_t)(end - begin) : 0};
    return result;
}

/* The sums or the maxima of `count` channels, at most four, over rows and
 * columns. */
static void reduce(const lil_source *source, span rows, span columns, uint32_t channel,
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

/* A reduced window as an output value; averages round half away from zero. */
static int8_t finish(const lil_call *call, int32_t value, int32_t count, bool is_average) {
    if (is_average) {
        int32_t half = value > 0 ? count / 2 : -(count / 2);
        value = (value + half) / count;
    }
    return lil_clamp(value, 0, call->op.activation_min, call->op.activation_max);
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
    const lil_window *window = &call->op.parameters.window;
    uint32_t height = source->tensor.height;
    bool is_sink = call->op.flags & LIL_SINK;
    span rows =
        is_sink ? clip(call->y, 1, height) : clip(source->first, window->kernel_height, height);
    bool is_first = !is_sink || call->y == 0;
    bool is_last = !is_sink || call->y + 1 == (int32_t)height;
    int32_t *running = (int32_t *)(void *)call->scratch;
    uint32_t channels = call->output.channels;
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->output.width; x++) {
        span columns = clip((int32_t)(x * window->stride_width) - window->pad_left,
                            window->kernel_width, source->tensor.width);
        int32_t area = (int32_t)((is_sink ? height : rows.count) * columns.count);
        area = area > 0 ? area : 1;
        for (uint32_t channel = 0; channel < channels; channel += 4) {
            uint32_t count = channels - channel < 4 ? channels - channel : 4;
            int32_t start = is_average ? 0 : -128;
            int32_t values[4] = {start, start, start, start};
            if (!is_first) {
                copy_values(running, count, values);
            }
            reduce(source, rows, columns, channel, count, is_average, values);
            for (uint32_t i = 0; is_last && i < count; i++) {
                *out++ = finish(call, values[i], area, is_average);
            }
            if (is_sink) {
                copy_values(values, count, running);
                running += count;
            }
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
