/* Gradients of pooling: of the average, each window's gradient spread over its pixels; of the
 * maximum, all of it to the pixel that was the first maximum of its window. */
#include "gradient.h"

#if LIL_TRAINING

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

void lil_pool_gradient(const lil_call *call) {
    const lil_gradient *gradient = &call->op.parameters.gradient;
    lil_clamp_count count = {gradient->limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        cover windows = find_cover(call, x);
        for (uint32_t c = 0; c < call->output.channels; c++) {
            uint32_t sum = 0;
            for (int32_t row = windows.rows.first; row < windows.rows.end; row++) {
                for (int32_t column = windows.columns.first; column < windows.columns.end;
                     column++) {
                    int32_t value = gradient_at(call, row, column)[c];
                    sum += (uint32_t)value * (uint32_t)share(call, row, column);
                }
            }
            *out++ = lil_clamp_value(&count, lil_round_shift((int32_t)sum, gradient->shift));
        }
    }
    call->training->saturated += count.saturated;
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

void lil_max_pool_gradient(const lil_call *call) {
    const lil_gradient *gradient = &call->op.parameters.gradient;
    lil_clamp_count count = {gradient->limit, 0};
    int16_t *out = (int16_t *)(void *)call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        cover windows = find_cover(call, x);
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t sum = 0;
            for (int32_t row = windows.rows.first; row < windows.rows.end; row++) {
                for (int32_t column = windows.columns.first; column < windows.columns.end;
                     column++) {
                    if (is_first_maximum(call, row, column, (int32_t)x, c)) {
                        sum = lil_wrapping_sum(sum, gradient_at(call, row, column)[c]);
                    }
                }
            }
            *out++ = lil_clamp_value(&count, lil_round_shift(sum, gradient->shift));
        }
    }
    call->training->saturated += count.saturated;
}

#endif
