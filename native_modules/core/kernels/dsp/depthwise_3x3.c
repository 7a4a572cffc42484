/* Depthwise convolution with a 3x3 window, for the ARM DSP extension.
 *
 * Four channels at a time are taken out of the three input rows of a block and paired for SMLAD:
 * rows 0 and 1 of each column in the halves of a word; and of row 2, two columns of it. They stay
 * bytes until the window reads them, which makes a block twice as wide in the same scratch. */

/* Scheduling before registers are allocated makes more values live than there are registers. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "depthwise.h"
#include "requantize.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

/* Two columns of four channels of the rows below a 3x3 window, paired for
 * SMLAD, but still in bytes: the first word has channels 0 and 1, the second
 * one channels 2 and 3. */
typedef struct column_pair {
    lil_two_words upper[2]; /* rows 0 and 1 of each column */
    lil_two_words lower;    /* row 2 of both columns */
} column_pair;

/* The weights of a 3x3 window and what else four channels need. */
typedef struct window_3x3 {
    lil_two_words upper[3][2]; /* rows 0 and 1 of each column; two channels, two channels */
    lil_two_words lower[4];    /* row 2 of each channel: columns 0 and 1, columns 1 and 2 */
    lil_two_words biases[2];
    lil_narrowing narrowings[4];
} window_3x3;

static void load_window_3x3(const lil_channels *channels, uint32_t channel, uint32_t all,
                            int32_t zero_point, window_3x3 *w) {
    const int8_t *weights = channels->weights + channel;
    const int8_t *second = weights + 3 * all;
    const int8_t *third = second + 3 * all;
#pragma GCC unroll 3
    for (uint32_t column = 0; column < 3; column++) {
        uint32_t a = lil_load_word(weights + column * all);
        uint32_t b = lil_load_word(second + column * all);
        uint32_t low = lil_pack_low(a, b);
        uint32_t high = lil_pack_high(a, b);
        lil_store_two(&w->upper[column][0], lil_sxtb16(low), lil_sxtb16_odd(low));
        lil_store_two(&w->upper[column][1], lil_sxtb16(high), lil_sxtb16_odd(high));
    }
    uint32_t first = lil_load_word(third);
    uint32_t middle = lil_load_word(third + all);
    uint32_t last = lil_load_word(third + 2 * all);
    uint32_t even = lil_pack_low(first, middle);
    uint32_t odd = lil_pack_low(middle, last);
    lil_store_two(&w->lower[0], lil_sxtb16(even), lil_sxtb16(odd));
    lil_store_two(&w->lower[1], lil_sxtb16_odd(even), lil_sxtb16_odd(odd));
    even = lil_pack_high(first, middle);
    odd = lil_pack_high(middle, last);
    lil_store_two(&w->lower[2], lil_sxtb16(even), lil_sxtb16(odd));
    lil_store_two(&w->lower[3], lil_sxtb16_odd(even), lil_sxtb16_odd(odd));
    memcpy(w->biases, channels->bias + 4 * channel, sizeof w->biases);
#pragma GCC unroll 4
    for (uint32_t c = 0; c < 4; c++) {
        w->narrowings[c] = lil_load_narrowing(channels, channel + c, zero_point);
    }
}

LIL_INLINE void load_biases(const window_3x3 *w, int32_t sums[4]) {
    lil_two_words a = lil_load_two(&w->biases[0]);
    lil_two_words b = lil_load_two(&w->biases[1]);
    sums[0] = (int32_t)a.first;
    sums[1] = (int32_t)a.second;
    sums[2] = (int32_t)b.first;
    sums[3] = (int32_t)b.second;
}

/* Adds rows 0 and 1 of a column to an output of four channels. */
LIL_INLINE void add_column(const lil_two_words weights[2], const uint32_t x[4], int32_t sums[4]) {
    lil_two_words w = lil_load_two(&weights[0]);
    sums[0] = lil_smlad(x[0], w.first, sums[0]);
    sums[1] = lil_smlad(x[1], w.second, sums[1]);
    w = lil_load_two(&weights[1]);
    sums[2] = lil_smlad(x[2], w.first, sums[2]);
    sums[3] = lil_smlad(x[3], w.second, sums[3]);
}

/* One output of four channels, or two neighbouring ones when `is_double`. */
LIL_INLINE void convolve_3x3(const column_pair *x, uint32_t stride, const window_3x3 *w,
                             bool is_double, int8_t *out, int8_t *next_out) {
    const uint32_t columns = is_double ? 3 + stride : 3;
    const uint32_t pairs = is_double ? 1 + stride : 2;
    int32_t sums[4];
    int32_t next_sums[4] = {0, 0, 0, 0};
    load_biases(w, sums);
    if (is_double) {
        load_biases(w, next_sums);
    }
#pragma GCC unroll 5
    for (uint32_t column = 0; column < columns; column++) {
        lil_two_words bytes = lil_load_two(&x[column / 2].upper[column % 2]);
        uint32_t values[4] = {lil_sxtb16(bytes.first), lil_sxtb16_odd(bytes.first),
                              lil_sxtb16(bytes.second), lil_sxtb16_odd(bytes.second)};
        if (column < 3) {
            add_column(w->upper[column], values, sums);
        }
        if (is_double && column >= stride) {
            add_column(w->upper[column - stride], values, next_sums);
        }
    }
#pragma GCC unroll 4
    for (uint32_t c = 0; c < 4; c++) {
        uint32_t lower[3] = {0, 0, 0};
#pragma GCC unroll 3
        for (uint32_t i = 0; i < pairs; i++) {
            uint32_t bytes = c < 2 ? x[i].lower.first : x[i].lower.second;
            lower[i] = c % 2 == 0 ? lil_sxtb16(bytes) : lil_sxtb16_odd(bytes);
        }
        lil_narrowing narrowing = w->narrowings[c];
        lil_two_words weights = lil_load_two(&w->lower[c]);
        int32_t sum = lil_smlad(lower[0], weights.first, sums[c]);
        sum = lil_smlabt(lower[1], weights.second, sum);
        if (is_double && stride == 1) {
            int32_t next_sum = lil_smlabt(weights.first, lower[0], next_sums[c]);
            next_sum = lil_smlad(lower[1], weights.second, next_sum);
            next_out[c] = lil_narrow(next_sum, &narrowing, false);
        } else if (is_double) {
            int32_t next_sum = lil_smlad(lower[1], weights.first, next_sums[c]);
            next_sum = lil_smlabt(lower[2], weights.second, next_sum);
            next_out[c] = lil_narrow(next_sum, &narrowing, false);
        }
        out[c] = lil_narrow(sum, &narrowing, false);
    }
}

/* Pairs the words of two columns. */
LIL_INLINE void pair_columns(uint32_t a0, uint32_t a1, uint32_t b0, uint32_t b1, uint32_t c0,
                             uint32_t c1, column_pair *out) {
    lil_store_two(&out->upper[0], lil_pack_low(a0, b0), lil_pack_high(a0, b0));
    lil_store_two(&out->upper[1], lil_pack_low(a1, b1), lil_pack_high(a1, b1));
    lil_store_two(&out->lower, lil_pack_low(c0, c1), lil_pack_high(c0, c1));
}

/* Pairs four channels of the columns inside the map. */
static void pair_inside(const lil_depthwise_block *b, uint32_t channel, column_pair *out) {
    const int8_t *a_next = lil_line_start(b, 0, channel);
    const int8_t *b_next = lil_line_start(b, 1, channel);
    const int8_t *c_next = lil_line_start(b, 2, channel);
    uint32_t a_step = b->lines[0].step;
    uint32_t b_step = b->lines[1].step;
    uint32_t c_step = b->lines[2].step;
    uint32_t zeros = b->zeros;
    uint32_t count = b->inside;
    out += b->left / 2;
    if (b->left % 2 != 0 && count > 0) {
        pair_columns(zeros, lil_load_word(a_next), zeros, lil_load_word(b_next), zeros,
                     lil_load_word(c_next), out);
        a_next += a_step;
        b_next += b_step;
        c_next += c_step;
        out++;
        count--;
    }
    for (uint32_t pairs = count / 2; pairs > 0; pairs--) {
        pair_columns(lil_load_word(a_next), lil_load_word(a_next + a_step), lil_load_word(b_next),
                     lil_load_word(b_next + b_step), lil_load_word(c_next),
                     lil_load_word(c_next + c_step), out);
        a_next += 2 * a_step;
        b_next += 2 * b_step;
        c_next += 2 * c_step;
        out++;
    }
    if (count % 2 != 0) {
        pair_columns(lil_load_word(a_next), zeros, lil_load_word(b_next), zeros,
                     lil_load_word(c_next), zeros, out);
    }
}

/* One output, for either stride. */
static __attribute__((noinline)) void convolve_last_3x3(const column_pair *x, const window_3x3 *w,
                                                        int8_t *out) {
    convolve_3x3(x, 1, w, false, out, NULL);
}

/* Computes four channels of a block. */
LIL_INLINE void slide_3x3(const lil_call *call, const lil_channels *channels,
                          const lil_depthwise_block *b, uint32_t channel, uint32_t stride) {
    window_3x3 window; /* on the stack, which takes no register of its own */
    uint32_t step = call->output.channels;
    const column_pair *x = (const column_pair *)(const void *)call->scratch;
    int8_t *out = b->out + channel;
    load_window_3x3(channels, channel, step, call->output.zero_point, &window);
    for (uint32_t pairs = b->count / 2; pairs > 0; pairs--) {
        convolve_3x3(x, stride, &window, true, out, out + step);
        x += stride;
        out += 2 * step;
    }
    if (b->count % 2 != 0) {
        convolve_last_3x3(x, &window, out);
    }
}

static void slide_3x3_by_1(const lil_call *call, const lil_channels *channels,
                           const lil_depthwise_block *b, uint32_t channel) {
    slide_3x3(call, channels, b, channel, 1);
}

static void slide_3x3_by_2(const lil_call *call, const lil_channels *channels,
                           const lil_depthwise_block *b, uint32_t channel) {
    slide_3x3(call, channels, b, channel, 2);
}

void lil_depthwise_3x3(const lil_call *call, const lil_depthwise_block *b) {
    uint32_t all = call->output.channels;
    lil_channels channels = lil_load_channels(call, all);
    column_pair *columns = (column_pair *)(void *)call->scratch;
    for (uint32_t i = 0; i < b->strips.width / 2; i++) {
        if (2 * i < b->left || 2 * i + 1 >= b->left + b->inside) {
            pair_columns(b->zeros, b->zeros, b->zeros, b->zeros, b->zeros, b->zeros, &columns[i]);
        }
    }
    bool is_by_1 = call->op.parameters.window.stride_width == 1;
    for (uint32_t next = 0; next < all; next += 4) {
        uint32_t channel = next + 4 > all ? all - 4 : next;
        pair_inside(b, channel, columns);
        (is_by_1 ? slide_3x3_by_1 : slide_3x3_by_2)(call, &channels, b, channel);
    }
}

#endif
