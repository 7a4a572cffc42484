/* Average and max pooling over the part of the window that lies inside the map. */
#include "kernels.h"

/* The columns of a window that lie inside the map. */
typedef struct span {
    int32_t begin;
    int32_t end;
} span;

static span clip(int32_t begin, int32_t length, int32_t limit)
{
    span result;
    result.begin = begin < 0 ? 0 : begin;
    result.end = begin + length > limit ? limit : begin + length;
    return result;
}

static int32_t rounded_quotient(int32_t sum, int32_t count)
{
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

/* One output value: the rounded average, or the maximum, of a channel in the window. */
static int32_t pool_channel(const lil_source *source, span rows, span columns, uint32_t channel,
                            bool is_average)
{
    uint32_t channels = source->tensor.channels;
    int32_t sum = 0;
    int32_t maximum = -128;
    for (int32_t y = rows.begin; y < rows.end; y++) {
        const int8_t *in = lil_row(source, y) + (uint32_t)columns.begin * channels + channel;
        for (int32_t x = columns.begin; x < columns.end; x++) {
            sum += *in;
            maximum = *in > maximum ? *in : maximum;
            in += channels;
        }
    }
    int32_t count = (rows.end - rows.begin) * (columns.end - columns.begin);
    return is_average && count > 0 ? rounded_quotient(sum, count) : maximum;
}

static void pool_row(const lil_call *call, bool is_average)
{
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    span rows = clip(source->first, window->kernel_height, (int32_t)source->tensor.height);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
        span columns = clip(left, window->kernel_width, (int32_t)source->tensor.width);
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t value = pool_channel(source, rows, columns, c, is_average);
            *out++ = lil_clamp(value, 0, call->op.activation_min, call->op.activation_max);
        }
    }
}

void lil_average_pool(const lil_call *call)
{
    pool_row(call, true);
}

void lil_max_pool(const lil_call *call)
{
    pool_row(call, false);
}
