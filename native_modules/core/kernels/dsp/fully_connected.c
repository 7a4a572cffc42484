/* Fully connected layer over a whole map with the DSP extension, consumed row by row: the taps of a
 * row are expanded to 16 bits in scratch, then multiplied with two output channels at a time. */
#include "../kernels.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#include "blocks.h"
#include "expand.h"
#include "pairs.h"

/* Adds the products of `count` taps to the sums of all channels. */
static void add_taps(const lil_call *call, lil_pairs *pairs, uint32_t count) {
    pairs->ending = LIL_KEEP;
    pairs->out_end = pairs->out + call->output.channels + call->output.channels % 2;
    lil_multiply_pairs(pairs, count, 1);
    pairs->sums = pairs->kept;
}

/* Multiplies the last `count` taps and computes the outputs. */
static void finish(const lil_call *call, lil_pairs *pairs, uint32_t count) {
    const uint32_t is_short = LIL_SHIFTS_RIGHT | LIL_SINGLE_ROUNDING;
    uint32_t channels = call->output.channels;
    uint32_t narrowed = (call->op.flags & is_short) == is_short ? channels & ~(uint32_t)1 : 0;
    for (uint32_t c = narrowed; c < channels; c += 2) {
        lil_finish_pair(pairs, call, 0, c, channels, count, 1);
    }
    if (narrowed > 0) {
        pairs->ending = LIL_NARROW_ONCE;
        pairs->out_end = pairs->out + narrowed;
        lil_multiply_pairs(pairs, count, 1);
    }
    lil_activate(call, call->out, channels);
}

/* A row of an odd number of taps, where its last word of weights would reach into the next row's:
 * tap by tap. */
static void add_odd_row(const lil_call *call, const lil_pairs *pairs, const int8_t *row,
                        uint32_t count) {
    lil_channels tables = lil_load_channels(call, call->output.channels);
    bool is_last = call->y + 1 == (int32_t)call->sources[0].tensor.height;
    for (uint32_t c = 0; c < call->output.channels; c++) {
        const int8_t *weights = pairs->weights + c / 2 * pairs->gap + c % 2;
        int32_t sum = pairs->sums != NULL ? pairs->sums[c] : lil_bias(&tables, c);
        for (uint32_t i = 0; i < count; i++) {
            sum += row[i] * weights[2 * i];
        }
        pairs->kept[c] = sum;
        if (is_last) {
            call->out[c] = lil_finish(&tables, c, sum, call);
        }
    }
}

void lil_fully_connected(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    uint32_t count = source->row_bytes;
    uint32_t height = source->tensor.height;
    uint32_t pair_bytes = lil_pair_bytes(&call->op, height * count);
    uint32_t most_taps = lil_row_taps(&call->op);
    lil_channels tables = lil_load_channels(call, call->output.channels);
    const int8_t *row = lil_row(source, call->y);
    uint32_t sums_bytes = lil_row_sums_bytes(&call->op, height, count, call->output.channels);
    uint32_t *words = (uint32_t *)(void *)(call->scratch + sums_bytes);
    lil_pairs pairs;
    pairs.weights = tables.weights + lil_tap_offset(&call->op, (uint32_t)call->y * count);
    pairs.is_int4 = lil_is_int4(&call->op);
    pairs.inputs = words;
    pairs.bias = tables.bias;
    pairs.kept = (int32_t *)(void *)call->scratch;
    pairs.sums = call->y == 0 ? NULL : pairs.kept;
    pairs.multiplier = tables.multiplier;
    pairs.shift = tables.shift;
    pairs.out = call->out;
    pairs.stride = call->output.channels;
    pairs.twice_zero_point = 2 * call->output.zero_point + 1;
    pairs.gap = pair_bytes;
    if (count % 2 != 0 && height > 1) {
        add_odd_row(call, &pairs, row, count);
        return;
    }
    while (count > 0) {
        uint32_t taps = lil_least(count, most_taps);
        lil_expand_pixel(row, taps, words);
        pairs.gap = pair_bytes - lil_pair_bytes(&call->op, taps);
        count -= taps;
        if (count == 0 && (uint32_t)call->y + 1 == height) {
            finish(call, &pairs, taps);
        } else {
            add_taps(call, &pairs, taps);
        }
        row += taps;
        pairs.weights += lil_tap_offset(&call->op, taps);
    }
}

#endif
