/* Gradients of pooling: of the average, each window's gradient spread over its pixels; of the
 * maximum, all of it to the pixel that was the first maximum of its window. */
#include "gradient.h"

#if LIL_TRAINING

#define CHANNELS_AT_ONCE 8

/* The windows that cover the pixel at column x. */
typedef struct cover {
    lil_span rows;
    lil_span columns;
} cover;

static cover find_cover(const lil_call *call, uint32_t x) {
    const lil_window *window = &call->op.parameters.gradient.window;
    const lil_tensor *in = &call->sources[0].tensor;
    cover c;
    c.rows = lil_covering(call->y, window->pad_top, window->kernel_height, window->stride_height,
                          in->height);
    c.columns = lil_covering((int32_t)x, window->pad_left, window->kernel_width,
                             window->stride_width, in->width);
    return c;
}

/* The part of a window that lies inside of the map. */
static lil_span inside(int32_t index, int32_t stride, int32_t pad, int32_t kernel, uint32_t size) {
    lil_span span = {index * stride - pad, index * stride - pad + kernel};
    span.first = span.first < 0 ? 0 : span.first;
    span.end = span.end > (int32_t)size ? (int32_t)size : span.end;
    return span;
}

static lil_span rows_inside(const lil_call *call, int32_t row) {
    const lil_window *window = &call->op.parameters.gradient.window;
    return inside(row, window->stride_height, window->pad_top, window->kernel_height,
                  call->output.height);
}

static lil_span columns_inside(const lil_call *call, int32_t column) {
    const lil_window *window = &call->op.parameters.gradient.window;
    return inside(column, window->stride_width, window->pad_left, window->kernel_width,
                  call->output.width);
}

static const int16_t *gradient_at(const lil_call *call, int32_t row, int32_t column) {
    const lil_source *source = &call->sources[0];
    return lil_gradient_row(source, row) + (uint32_t)column * source->tensor.channels;
}

/* 256 for a whole window; more for one that has fewer pixels to share its gradient. */
static int32_t share(const lil_call *call, int32_t row, int32_t column) {
    const lil_window *window = &call->op.parameters.gradient.window;
    lil_span rows = rows_inside(call, row);
    lil_span columns = columns_inside(call, column);
    int32_t pixels = (rows.end - rows.first) * (columns.end - columns.first);
    return (window->kernel_height * window->kernel_width * 256 + pixels / 2) / pixels;
}

/* Whether the pixel at row y, column x is the first maximum of a window, in channel c. */
static bool is_first_maximum(const lil_call *call, int32_t row, int32_t column, int32_t x,
                             uint32_t c) {
    const lil_source *map = &call->sources[1];
    uint32_t channels = map->tensor.channels;
    int32_t value = lil_row(map, call->y)[(uint32_t)x * channels + c];
    lil_span rows = rows_inside(call, row);
    lil_span columns = columns_inside(call, column);
    for (int32_t v = rows.first; v < rows.end; v++) {
        for (int32_t u = columns.first; u < columns.end; u++) {
            int32_t rival = lil_row(map, v)[(uint32_t)u * channels + c];
            bool is_before = v < call->y || (v == call->y && u < x);
            if (rival > value || (rival == value && is_before)) {
                return false;
            }
        }
    }
    return true;
}

/* What the windows over the pixel at column x give to `count` channels from `first` on. */
static void gather(const lil_call *call, uint32_t x, uint32_t first, uint32_t count,
                   bool is_maximum, int32_t *sums) {
    cover windows = find_cover(call, x);
    for (int32_t row = windows.rows.first; row < windows.rows.end; row++) {
        for (int32_t column = windows.columns.first; column < windows.columns.end; column++) {
            uint32_t factor = is_maximum ? 1 : (uint32_t)share(call, row, column);
            const int16_t *gradient = gradient_at(call, row, column) + first;
            for (uint32_t k = 0; k < count; k++) {
                if (!is_maximum || is_first_maximum(call, row, column, (int32_t)x, first + k)) {
                    int32_t value = gradient[k];
                    sums[k] = lil_wrapping_sum(sums[k], (int32_t)(factor * (uint32_t)value));
                }
            }
        }
    }
}

static inline void spread_gradient(const lil_call *call, bool is_maximum) {
    const lil_gradient *gradient = &call->op.parameters.gradient;
    lil_clamp_count count = {gradient->limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t first = 0; first < channels; first += CHANNELS_AT_ONCE) {
            uint32_t left = channels - first;
            uint32_t some = left < CHANNELS_AT_ONCE ? left : CHANNELS_AT_ONCE;
            int32_t sums[CHANNELS_AT_ONCE] = {0};
            gather(call, x, first, some, is_maximum, sums);
            for (uint32_t k = 0; k < some; k++) {
                *out++ = lil_clamp_value(&count, lil_round_shift(sums[k], gradient->shift));
            }
        }
    }
    call->training->saturated += count.saturated;
}

void lil_pool_gradient(const lil_call *call) {
    spread_gradient(call, false);
}

void lil_max_pool_gradient(const lil_call *call) {
    spread_gradient(call, true);
}

#endif
