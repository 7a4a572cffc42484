/* Convolution: the patches of the input that a few output pixels see are gathered, then
 * multiplied with the weights of every output channel, two channels by two pixels at a time. */
#include "pair_products.h"

#if !LIL_HAS_DSP

#define LIL_BLOCK_ELEMENTS 4096 /* of patches on the stack, where a machine has vectors */

/* A convolution of one output row. */
typedef struct job {
    const lil_call *call;
    lil_channels channels;
    uint32_t group_inputs;
    uint32_t group_outputs;
    uint32_t taps;    /* of one output channel */
    lil_row_walk top; /* at the window's first row */
#if LIL_HAS_VECTORS
    int8_t *unpacked; /* a pair's weights of four bits as int8 */
#endif
} job;

static job load_job(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    job j;
    j.call = call;
    j.channels = lil_load_channels(call, call->output.channels);
    j.group_inputs = source->tensor.channels;
    j.group_outputs = call->output.channels;
    if (window->groups > 1) {
        j.group_inputs /= window->groups;
        j.group_outputs /= window->groups;
    }
    j.taps = (uint32_t)window->kernel_height * window->kernel_width * j.group_inputs;
    j.top = lil_walk_rows(source, window->dilation_height);
    return j;
}

/* The products of two patches with a pair. `is_int4` is meant to be a constant. */
static inline void multiply_two(const lil_pair *pair, const lil_activation *patch, uint32_t taps,
                                int32_t *sums, bool is_int4) {
#if !LIL_HAS_VECTORS
    if (is_int4) {
        lil_multiply_two_int4(pair->weights, patch, patch + taps, taps, sums);
        return;
    }
#endif
    (void)is_int4;
    lil_multiply_two(pair->weights, patch, patch + taps, taps, sums);
}

/* The same for one patch. */
static inline void multiply_one(const lil_pair *pair, const lil_activation *patch, uint32_t taps,
                                int32_t *sums, bool is_int4) {
#if !LIL_HAS_VECTORS
    if (is_int4) {
        lil_multiply_one_int4(pair->weights, patch, taps, sums);
        return;
    }
#endif
    (void)is_int4;
    lil_multiply_one(pair->weights, patch, taps, sums);
}

/* Patches that lie one behind the other, times the weights of a pair. */
static inline __attribute__((always_inline)) void multiply_pair(const job *j, const lil_pair *pair,
                                                                const lil_activation *patch,
                                                                uint32_t count, int8_t *to,
                                                                bool is_int4) {
    const uint32_t taps = j->taps;
    const uint32_t out_channels = j->call->output.channels;
    const int32_t first = pair->lanes[0].bias, second = pair->lanes[1].bias;
    for (uint32_t twos = count / 2; twos != 0; twos--) {
        int32_t sums[4] = {first, second, first, second};
        multiply_two(pair, patch, taps, sums, is_int4);
        lil_store_two(pair, sums, to, out_channels);
        patch += 2 * taps;
        to += 2 * out_channels;
    }
    if (count % 2 != 0) {
        int32_t sums[2] = {first, second};
        multiply_one(pair, patch, taps, sums, is_int4);
        lil_store_one(pair, sums, to);
    }
}

#if !LIL_HAS_VECTORS
/* Kept out of the loop over pairs, which would lose registers to it. */
LIL_OUTLINE static void multiply_pair_int4(const job *j, const lil_pair *pair,
                                           const lil_activation *patch, uint32_t count,
                                           int8_t *to) {
    multiply_pair(j, pair, patch, count, to, true);
}
#endif

/* The same for the weights of a group. */
static void multiply_patches(const job *j, const lil_activation *patches, uint32_t count,
                             uint32_t group, int8_t *out) {
    for (uint32_t i = 0; i < lil_pair_count(j->group_outputs); i++) {
        lil_pair pair = lil_load_pair(j->call, &j->channels, group, j->group_outputs, i, j->taps);
        int8_t *to = out + pair.lanes[0].channel;
#if LIL_HAS_VECTORS
        if (lil_is_int4(&j->call->op)) {
            lil_unpack_weights(pair.weights, (j->taps + 3) & ~(uint32_t)3, j->unpacked);
            pair.weights = j->unpacked;
        }
#else
        if (lil_is_int4(&j->call->op)) {
            multiply_pair_int4(j, &pair, patches, count, to);
            continue;
        }
#endif
        multiply_pair(j, &pair, patches, count, to, false);
    }
}

static void copy(const int8_t *from, uint32_t count, lil_activation *to) {
    size_t i = 0;
#if defined(__ARM_FEATURE_UNALIGNED) && !LIL_HAS_VECTORS
    for (; i + 4 <= count; i += 4) {
        __builtin_memcpy(to + i, from + i, 4); /* a word, from any address */
    }
#endif
    for (; i < count; i++) {
        to[i] = from[i];
    }
}

static void fill(int8_t value, uint32_t count, lil_activation *to) {
    for (size_t i = 0; i < count; i++) {
        to[i] = value;
    }
}

/* The part of a patch that lies in one row, from column `left`; zero points outside of the map. */
static void gather_row(const job *j, const int8_t *row, int32_t left, uint32_t group,
                       lil_activation *to) {
    const lil_tensor *in = &j->call->sources[0].tensor;
    const lil_window *window = &j->call->op.parameters.window;
    uint32_t count = j->group_inputs;
    if (row == NULL) {
        fill(in->zero_point, window->kernel_width * count, to);
        return;
    }
    bool is_run = window->dilation_width == 1 && window->groups == 1;
    if (is_run && left >= 0 && left + window->kernel_width <= (int32_t)in->width) {
        copy(row + (uint32_t)left * count, window->kernel_width * count, to);
        return;
    }
    for (uint32_t kx = 0; kx < window->kernel_width; kx++) {
        if (left < 0 || left >= (int32_t)in->width) {
            fill(in->zero_point, count, to);
        } else {
            copy(row + (uint32_t)left * in->channels + group * count, count, to);
        }
        left += window->dilation_width;
        to += count;
    }
}

/* The patches of `count` pixels from column x on. */
static void gather(const job *j, uint32_t x, uint32_t count, uint32_t group,
                   lil_activation *patches) {
    const lil_window *window = &j->call->op.parameters.window;
    lil_row_walk walk = j->top;
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_next_row(&walk, window->dilation_height);
        int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
        lil_activation *to = patches + ky * window->kernel_width * j->group_inputs;
        for (uint32_t i = 0; i < count; i++) {
            gather_row(j, row, left, group, to);
            left += window->stride_width;
            to += j->taps;
        }
    }
}

/* Goes along the row, with as many patches at a time as `patches` holds. */
static void convolve(const job *j, lil_activation *patches, uint32_t elements) {
    const lil_call *call = j->call;
    uint32_t block = elements / j->taps;
    for (uint32_t x = 0; x < call->pixels; x += block) {
        uint32_t count = call->pixels - x < block ? call->pixels - x : block;
        int8_t *out = call->out + x * call->output.channels;
        for (uint32_t group = 0; group < call->op.parameters.window.groups; group++) {
#if LIL_HAS_VECTORS
            if (call->op.flags & LIL_POINTWISE) {
                const int8_t *row = lil_row(&call->sources[0], call->sources[0].first);
                copy(row + x * j->taps, count * j->taps, patches);
                multiply_patches(j, patches, count, group, out);
                continue;
            }
#endif
            gather(j, x, count, group, patches);
            multiply_patches(j, patches, count, group, out);
        }
    }
}

#if !LIL_HAS_VECTORS
/* A 1x1 convolution of rows that lie one behind the other: the input pixels are the patches. The
 * output of a row may lie over the input of the rows before it, so they are computed row by row,
 * or at once where it does not. */
static void multiply_rows(const job *j) {
    const lil_call *call = j->call;
    const int8_t *in = lil_row(&call->sources[0], call->sources[0].first);
    int8_t *out = call->out;
    uint32_t in_bytes = call->pixels * j->taps;
    uint32_t out_bytes = call->pixels * call->output.channels;
    bool is_apart = out + out_bytes <= in || in + in_bytes <= out;
    uint32_t step = is_apart ? call->pixels : call->output.width;
    for (uint32_t x = 0; x < call->pixels; x += step) {
        multiply_patches(j, in, step, 0, out);
        in += step * j->taps;
        out += step * call->output.channels;
    }
}
#endif

void lil_convolution(const lil_call *call) {
    job j = load_job(call);
#if LIL_HAS_VECTORS
    uint32_t elements = j.taps < LIL_BLOCK_ELEMENTS ? LIL_BLOCK_ELEMENTS : j.taps;
    lil_activation patches[elements];
    int8_t unpacked[lil_is_int4(&call->op) ? 2 * (j.taps + 3) : 1];
    j.unpacked = unpacked;
    convolve(&j, patches, elements);
#else
    if (call->op.flags & LIL_POINTWISE) {
        multiply_rows(&j);
    } else {
        convolve(&j, (lil_activation *)call->scratch, call->op.scratch_bytes);
    }
#endif
    lil_finish_row(call);
}

#endif
