/* Average and max pooling over the part of the window that lies inside the map, with Helium. A pool
 * whose window spans the whole height is a sink: it consumes rows as they come. */
#include "../kernels.h"

#if LIL_HAS_MVE

#include <arm_mve.h>

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

/* Sums of four channels, or as many as `mask` has, over rows and columns. */
static int32x4_t sum_window(const lil_source *source, span rows, span columns, uint32_t channel,
                            mve_pred16_t mask) {
    uint32_t channels = source->tensor.channels;
    int32x4_t sums = vdupq_n_s32(0);
    for (int32_t y = rows.begin; y < rows.end; y++) {
        const int8_t *in = lil_row(source, y) + (uint32_t)columns.begin * channels + channel;
        for (int32_t count = columns.end - columns.begin; count > 0; count--) {
            sums = vaddq_s32(sums, vldrbq_z_s32(in, mask));
            in += channels;
        }
    }
    return sums;
}

/* Maxima of sixteen channels, or as many as `mask` has, over rows and columns. */
static int8x16_t max_window(const lil_source *source, span rows, span columns, uint32_t channel,
                            mve_pred16_t mask) {
    uint32_t channels = source->tensor.channels;
    int8x16_t maxima = vdupq_n_s8(-128);
    for (int32_t y = rows.begin; y < rows.end; y++) {
        const int8_t *in = lil_row(source, y) + (uint32_t)columns.begin * channels + channel;
        for (int32_t count = columns.end - columns.begin; count > 0; count--) {
            maxima = vmaxq_s8(maxima, vldrbq_z_s8(in, mask));
            in += channels;
        }
    }
    return maxima;
}

/* A sum as an average, rounded half away from zero. */
static int8_t finish(const lil_call *call, int32_t sum, int32_t count) {
    int32_t half = sum > 0 ? count / 2 : -(count / 2);
    int32_t value = (sum + half) / (count > 0 ? count : 1);
    return lil_clamp(value, 0, call->op.activation_min, call->op.activation_max);
}

/* The rows that a call takes: all of the window's, or for a sink the one that has come. */
static span rows_of_call(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    if (call->op.flags & LIL_SINK) {
        return clip(call->y, 1, (int32_t)source->tensor.height);
    }
    return clip(source->first, call->op.parameters.window.kernel_height,
                (int32_t)source->tensor.height);
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

void lil_average_pool(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    int32_t height = (int32_t)source->tensor.height;
    bool is_sink = call->op.flags & LIL_SINK;
    bool is_first = !is_sink || call->y == 0;
    bool is_last = !is_sink || call->y + 1 == height;
    span rows = rows_of_call(call);
    int32_t row_count = is_sink ? height : rows.end - rows.begin;
    int32_t *running = (int32_t *)(void *)call->scratch;
    int8_t *out = call->out;
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->output.width; x++) {
        span columns = window_columns(call, x);
        for (uint32_t c = 0; c < channels; c += 4) {
            uint32_t lanes = least(channels - c, 4);
            mve_pred16_t mask = vctp32q(lanes);
            int32x4_t sums = sum_window(source, rows, columns, c, mask);
            if (!is_first) {
                sums = vaddq_s32(sums, vldrwq_z_s32(running + c, mask));
            }
            if (!is_last) {
                vstrwq_p_s32(running + c, sums, mask);
                continue;
            }
            int32_t values[4];
            vstrwq_s32(values, sums);
            for (uint32_t i = 0; i < lanes; i++) {
                out[c + i] = finish(call, values[i], row_count * (columns.end - columns.begin));
            }
        }
        running += channels;
        out += channels;
    }
}

void lil_max_pool(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    bool is_sink = call->op.flags & LIL_SINK;
    bool is_first = !is_sink || call->y == 0;
    bool is_last = !is_sink || call->y + 1 == (int32_t)source->tensor.height;
    span rows = rows_of_call(call);
    int8x16_t min = vdupq_n_s8(call->op.activation_min);
    int8x16_t max = vdupq_n_s8(call->op.activation_max);
    int8_t *running = (int8_t *)call->scratch;
    int8_t *out = call->out;
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->output.width; x++) {
        span columns = window_columns(call, x);
        for (uint32_t c = 0; c < channels; c += 16) {
            mve_pred16_t mask = vctp8q(channels - c);
            int8x16_t maxima = max_window(source, rows, columns, c, mask);
            if (!is_first) {
                maxima = vmaxq_s8(maxima, vldrbq_z_s8(running + c, mask));
            }
            if (is_last) {
                vstrbq_p_s8(out + c, vminq_s8(vmaxq_s8(maxima, min), max), mask);
            } else {
                vstrbq_p_s8(running + c, maxima, mask);
            }
        }
        running += channels;
        out += channels;
    }
}

#endif
