/* What the kernels of average and max pooling share: the part of the window that lies inside of the
 * map, and the rounding of an average. */
#ifndef LIL_POOL_H
#define LIL_POOL_H

#include "kernels.h"

/* The rows or columns of a window that lie inside of the map. */
typedef struct lil_span {
    int32_t begin;
    uint32_t count;
} lil_span;

static inline lil_span lil_clip(int32_t begin, uint32_t length, uint32_t limit) {
    int32_t end = begin + (int32_t)length;
    end = end > (int32_t)limit ? (int32_t)limit : end;
    begin = begin < 0 ? 0 : begin;
    lil_span span = {begin, end > begin ? (uint32_t)(end - begin) : 0};
    return span;
}

/* The rows that a call reduces: all of the window's, or for a sink the one that has come. */
static inline lil_span lil_pool_rows(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    if (call->op.flags & LIL_SINK) {
        return lil_clip(call->y, 1, source->tensor.height);
    }
    return lil_clip(source->first, call->op.parameters.window.kernel_height, source->tensor.height);
}

/* The columns of the output pixel in column `x`. */
static inline lil_span lil_pool_columns(const lil_call *call, uint32_t x) {
    const lil_window *window = &call->op.parameters.window;
    return lil_clip((int32_t)(x * window->stride_width) - window->pad_left, window->kernel_width,
                    call->sources[0].tensor.width);
}

/* Whether the call's rows are the first of an output, and whether they complete it. */
static inline bool lil_pool_begins(const lil_call *call) {
    return !(call->op.flags & LIL_SINK) || call->y == 0;
}

static inline bool lil_pool_ends(const lil_call *call) {
    return !(call->op.flags & LIL_SINK) || call->y + 1 == (int32_t)call->sources[0].tensor.height;
}

/* Elements that an output is the average of, when the call reduces `rows`; at least 1. */
static inline int32_t lil_pool_area(const lil_call *call, lil_span rows, lil_span columns) {
    bool is_sink = call->op.flags & LIL_SINK;
    uint32_t area = (is_sink ? call->sources[0].tensor.height : rows.count) * columns.count;
    return area > 0 ? (int32_t)area : 1;
}

/* A sum of `count` elements as their average, rounded half away from zero. */
static inline int32_t lil_average(int32_t sum, int32_t count) {
    int32_t half = sum > 0 ? count / 2 : -(count / 2);
    return (sum + half) / count;
}

/* A reduced window as an output value. */
static inline int8_t lil_finish_pool(const lil_call *call, int32_t value) {
    return lil_clamp(value, 0, call->op.activation_min, call->op.activation_max);
}

#endif
