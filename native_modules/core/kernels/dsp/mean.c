/* Mean over any of height, width and channels, for the ARM DSP extension. Over
 * the height it is a sink with running sums. */
#include "../kernels.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#include "columns.h"

static int32_t add_row(const int8_t *next, uint32_t count) {
    int32_t sum = 0;
    for (; count > 0; count--) {
        sum += *next++;
    }
    return sum;
}

/* What an output row is made from, and where it goes. */
typedef struct totals {
    const lil_call *call;
    int32_t *running;
    int32_t zero; /* the zero points of all elements of a mean */
    bool is_first;
    bool is_last;
} totals;

/* Takes the sum of one row's elements for output element `index`. */
static void take_sum(const totals *to, uint32_t index, int32_t sum) {
    const lil_call *call = to->call;
    const lil_mean *mean = &call->op.parameters.mean;
    if (!to->is_first) {
        sum += to->running[index];
    }
    if (to->is_last) {
        sum = lil_rescale_value(sum - to->zero, mean->multiplier, mean->shift);
        call->out[index] = lil_clamp(sum, call->output.zero_point, -128, 127);
    } else {
        to->running[index] = sum;
    }
}

void lil_mean_kernel(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_tensor *in = &source->tensor;
    uint32_t axes = call->op.parameters.mean.axes;
    bool is_sink = call->op.flags & LIL_SINK;
    uint32_t height = axes & LIL_AXIS_HEIGHT ? in->height : 1;
    uint32_t width = axes & LIL_AXIS_WIDTH ? in->width : 1;
    uint32_t depth = axes & LIL_AXIS_CHANNELS ? in->channels : 1;
    const int8_t *row = lil_row(source, is_sink ? call->y : source->first);
    totals to;
    to.call = call;
    to.running = (int32_t *)(void *)call->scratch;
    to.zero = (int32_t)(height * width * depth) * in->zero_point;
    to.is_first = !is_sink || call->y == 0;
    to.is_last = !is_sink || call->y + 1 == (int32_t)in->height;
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->output.width; x++) {
        const int8_t *pixel = row + x * in->channels;
        uint32_t c = 0;
        for (; depth == 1 && c + 4 <= channels; c += 4) {
            int32_t sums[4] = {0, 0, 0, 0};
            lil_add_columns(pixel + c, in->channels, width, sums);
            for (uint32_t i = 0; i < 4; i++) {
                take_sum(&to, x * channels + c + i, sums[i]);
            }
        }
        for (; c < channels; c++) {
            int32_t sum = 0;
            for (uint32_t i = 0; i < width; i++) {
                sum += add_row(pixel + i * in->channels + c, depth);
            }
            take_sum(&to, x * channels + c, sum);
        }
    }
}

#endif
