/* Average and max pooling over the part of the window that lies inside the map. A pool whose window
 * spans the whole height is a sink: it consumes rows as they come. */
#include "kernels.h"

#if !LIL_HAS_DSP

/* The rows or columns of a window that lie inside the map. */
typedef struct span {
    int32_t begin;
    int32_t end;
} span;

static span clip(int32_t begin, int32_t length, int32_t limit) {
    span result;
    result.begin = begin < 0 ? 0 : begin;
    result.end = begin + length > limit ? limit : begin + length;
    return result;
}

static span window_columns(const lil_call *call, uint32_t x) {
    const lil_window *window = &call->op.parameters.window;
    int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
    return clip(left, window->kernel_width, (int32_t)call->sources[0].tensor.width);
}

static int32_t combine(int32_t a, int32_t b, bool is_average) {
    if (is_average) {
        return a + b;
    }
    return a > b ? a : b;
}

/* The sum or the maximum of a channel over rows and columns. */
static int32_t reduce(const lil_source *source, span rows, span columns, uint32_t channel,
                      bool is_average) {
    uint32_t channels = source->tensor.channels;
    int32_t result = is_average ? 0 : -128;
    for (int32_t y = rows.begin; y < rows.end; y++) {
        const int8_t *in = lil_row(source, y) + (uint32_t)columns.begin * channels + channel;
        for (int32_t x = columns.begin; x < columns.end; x++) {
            result = combine(result, *in, is_average);
            in += channels;
        }
    }
    return result;
}

/* A reduced window as an output value; averages round half away from zero. */
static int8_t finish(const lil_call *call, int32_t value, span rows, span columns,
                     bool is_average) {
    if (is_average) {
        int32_t count = (rows.end - rows.begin) * (columns.end - columns.begin);
        int32_t half = value > 0 ? count / 2 : -(count / 2);
        value = (value + half) / (count > 0 ? count : 1);
    }
    return lil_clamp(value, 0, call->op.activation_min, call->op.activation_max);
}

static void pool_row(const lil_call *call, bool is_average) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    span rows = clip(source->first, window->kernel_height, (int32_t)source->tensor.height);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        span columns = window_columns(call, x);
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t value = reduce(source, rows, columns, c, is_average);
            *out++ = finish(call, value, rows, columns, is_average);
        }
    }
}

/* Adds one input row to the running values of every output; the last row completes them. */
static void consume_row(const lil_call *call, bool is_average) {
    const lil_source *source = &call->sources[0];
    int32_t *running = (int32_t *)(void *)call->scratch;
    span all = clip(0, (int32_t)source->tensor.height, (int32_t)source->tensor.height);
    span row = clip(call->y, 1, all.end);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->output.width; x++) {
        span columns = window_columns(call, x);
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t value = reduce(source, row, columns, c, is_average);
            *running = call->y == 0 ? value : combine(*running, value, is_average);
            if (row.end == all.end) {
                *out++ = finish(call, *running, all, columns, is_average);
            }
            running++;
        }
    }
}

static void pool(const lil_call *call, bool is_average) {
    if (call->op.flags & LIL_SINK) {
        consume_row(call, is_average);
    } else {
        pool_row(call, is_average);
    }
}

void lil_average_pool(const lil_call *call) {
    pool(call, true);
}

void lil_max_pool(const lil_call *call) {
    pool(call, false);
}

#endif
