/* Mean over any of height, width and channels. Over the height it is a sink with running sums. */
#include "kernels.h"

#if !LIL_HAS_DSP

/* Sum of the elements that fall on one output element within one row. */
static int32_t sum_row(const lil_source *source, const int8_t *row, uint32_t axes, uint32_t x,
                       uint32_t c) {
    uint32_t channels = source->tensor.channels;
    uint32_t x_end = axes & LIL_AXIS_WIDTH ? source->tensor.width : x + 1;
    uint32_t c_end = axes & LIL_AXIS_CHANNELS ? channels : c + 1;
    int32_t sum = 0;
    for (uint32_t i = x; i < x_end; i++) {
        for (uint32_t k = c; k < c_end; k++) {
            sum += row[i * channels + k];
        }
    }
    return sum;
}

void lil_mean_kernel(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_tensor *in = &source->tensor;
    const lil_mean *mean = &call->op.parameters.mean;
    bool is_sink = call->op.flags & LIL_SINK;
    int32_t count = (int32_t)((mean->axes & LIL_AXIS_HEIGHT ? in->height : 1) *
                              (mean->axes & LIL_AXIS_WIDTH ? in->width : 1) *
                              (mean->axes & LIL_AXIS_CHANNELS ? in->channels : 1));
    bool is_first = !is_sink || call->y == 0;
    bool is_last = !is_sink || call->y + 1 == (int32_t)in->height;
    const int8_t *row = lil_row(source, is_sink ? call->y : source->first);
    int32_t *sums = (int32_t *)(void *)call->scratch;
    uint32_t index = 0;
    for (uint32_t x = 0; x < call->output.width; x++) {
        for (uint32_t c = 0; c < call->output.channels; c++) {
            int32_t sum = sum_row(source, row, mean->axes, x, c) + (is_first ? 0 : sums[index]);
            if (is_last) {
                sum =
                    lil_rescale_value(sum - count * in->zero_point, mean->multiplier, mean->shift);
                call->out[index] = lil_clamp(sum, call->output.zero_point, -128, 127);
            } else {
                sums[index] = sum;
            }
            index++;
        }
    }
}

#endif
