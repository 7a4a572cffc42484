/* Mean over any of height, width and channels, with Helium. Over the height it is a sink with
 * running sums. */
#include "../kernels.h"

#if LIL_HAS_MVE

#include <arm_mve.h>

/* Sum of `count` elements that lie one behind the other. */
static int32_t sum_run(const int8_t *elements, uint32_t count) {
    int32_t sum = 0;
    for (int32_t left = (int32_t)count; left > 0; left -= 16) {
        sum = vaddvaq_s8(sum, vldrbq_z_s8(elements, vctp8q((uint32_t)left)));
        elements += 16;
    }
    return sum;
}

/* Sums of four neighbours, or as many as `mask` has, each of `count` elements that are `step`
 * apart. */
static int32x4_t sum_columns(const int8_t *elements, uint32_t step, uint32_t count,
                             mve_pred16_t mask) {
    int32x4_t sums = vdupq_n_s32(0);
    for (; count != 0; count--) {
        sums = vaddq_s32(sums, vldrbq_z_s32(elements, mask));
        elements += step;
    }
    return sums;
}

void lil_mean_kernel(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_tensor *in = &source->tensor;
    const lil_mean *mean = &call->op.parameters.mean;
    bool is_sink = call->op.flags & LIL_SINK;
    uint32_t columns = mean->axes & LIL_AXIS_WIDTH ? in->width : 1;
    uint32_t run = mean->axes & LIL_AXIS_CHANNELS ? columns * in->channels : 0;
    int32_t count = (int32_t)((mean->axes & LIL_AXIS_HEIGHT ? in->height : 1) * columns *
                              (mean->axes & LIL_AXIS_CHANNELS ? in->channels : 1));
    bool is_first = !is_sink || call->y == 0;
    bool is_last = !is_sink || call->y + 1 == (int32_t)in->height;
    const int8_t *row = lil_row(source, is_sink ? call->y : source->first);
    int32_t *sums = (int32_t *)(void *)call->scratch;
    uint32_t outputs = call->output.width * call->output.channels;
    for (uint32_t index = 0; index < outputs; index += 4) {
        uint32_t lanes = outputs - index < 4 ? outputs - index : 4;
        mve_pred16_t mask = vctp32q(lanes);
        int32_t values[4] = {0};
        if (run != 0) {
            for (uint32_t i = 0; i < lanes; i++) {
                values[i] = sum_run(row + (index + i) * run, run);
            }
        } else {
            vstrwq_s32(values, sum_columns(row + index, in->channels, columns, mask));
        }
        for (uint32_t i = 0; i < lanes; i++) {
            int32_t sum = values[i] + (is_first ? 0 : sums[index + i]);
            if (!is_last) {
                sums[index + i] = sum;
                continue;
            }
            sum = lil_rescale_value(sum - count * in->zero_point, mean->multiplier, mean->shift);
            call->out[index + i] = lil_clamp(sum, call->output.zero_point, -128, 127);
        }
    }
}

#endif
