/* Average and max pooling over the part of the window that lies inside the map, with Helium. A pool
 * whose window spans the whole height is a sink: it consumes rows as they come. */
#include "../pool.h"

#if LIL_HAS_MVE

#include <arm_mve.h>

/* Sums of four channels, or as many as `mask` has, over rows and columns. */
static int32x4_t sum_window(const lil_source *source, lil_span rows, lil_span columns,
                            uint32_t channel, mve_pred16_t mask) {
    uint32_t channels = source->tensor.channels;
    int32x4_t sums = vdupq_n_s32(0);
    for (uint32_t y = 0; y < rows.count; y++) {
        const int8_t *in =
            lil_row(source, rows.begin + (int32_t)y) + (uint32_t)columns.begin * channels + channel;
        for (uint32_t count = columns.count; count > 0; count--) {
            sums = vaddq_s32(sums, vldrbq_z_s32(in, mask));
            in += channels;
        }
    }
    return sums;
}

/* Maxima of sixteen channels, or as many as `mask` has, over rows and columns. */
static int8x16_t max_window(const lil_source *source, lil_span rows, lil_span columns,
                            uint32_t channel, mve_pred16_t mask) {
    uint32_t channels = source->tensor.channels;
    int8x16_t maxima = vdupq_n_s8(-128);
    for (uint32_t y = 0; y < rows.count; y++) {
        const int8_t *in =
            lil_row(source, rows.begin + (int32_t)y) + (uint32_t)columns.begin * channels + channel;
        for (uint32_t count = columns.count; count > 0; count--) {
            maxima = vmaxq_s8(maxima, vldrbq_z_s8(in, mask));
            in += channels;
        }
    }
    return maxima;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

void lil_average_pool(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    bool is_first = lil_pool_begins(call);
    bool is_last = lil_pool_ends(call);
    lil_span rows = lil_pool_rows(call);
    int32_t *running = (int32_t *)(void *)call->scratch;
    int8_t *out = call->out;
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->output.width; x++) {
        lil_span columns = lil_pool_columns(call, x);
        int32_t area = lil_pool_area(call, rows, columns);
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
                out[c + i] = lil_finish_pool(call, lil_average(values[i], area));
            }
        }
        running += channels;
        out += channels;
    }
}

void lil_max_pool(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    bool is_first = lil_pool_begins(call);
    bool is_last = lil_pool_ends(call);
    lil_span rows = lil_pool_rows(call);
    int8x16_t min = vdupq_n_s8(call->op.activation_min);
    int8x16_t max = vdupq_n_s8(call->op.activation_max);
    int8_t *running = (int8_t *)call->scratch;
    int8_t *out = call->out;
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->output.width; x++) {
        lil_span columns = lil_pool_columns(call, x);
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
