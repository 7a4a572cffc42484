/* Depthwise convolution for the ARM DSP extension.
 *
 * Four channels at a time are taken out of the input rows that a block of
 * output columns needs, and laid down channel by channel as strips of words for
 * SMLAD: two rows of the window in the halves of a word; and for the last of an
 * odd number of rows, two columns of it. The weights are laid down in the same
 * way. Then each channel's window slides along its strips.
 *
 * Strips and weights are interleaved: two words of channel 0, two of channel 1,
 * ... so that two columns are a lil_quad, and all offsets within a window are
 * constants. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "../strips.h"
#include "instructions.h"
#include "requantize.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#define LIL_INLINE static inline __attribute__((always_inline))

/* Two neighbouring words of each of four channels. */
typedef struct quad {
    lil_two_words channels[4];
} quad;

/* Where the words of a row or of a pair of rows come from: `a` gives the low
 * halves, `b` the high halves. */
typedef struct lanes {
    const int8_t *a;
    const int8_t *b;
    uint32_t a_step; /* bytes from one word to the next */
    uint32_t b_step;
} lanes;

#define LIL_QUAD 4 /* lil_two_words of one */

/* One word of each channel, of the first or the second column of a quad. */
static void lay_word(const int8_t *a, const int8_t *b, uint32_t *out) {
    uint32_t first = lil_load_word(a);
    uint32_t second = lil_load_word(b);
    uint32_t low = lil_pack_low(first, second);
    uint32_t high = lil_pack_high(first, second);
    out[0] = lil_sxtb16(low);
    out[2] = lil_sxtb16_odd(low);
    out[4] = lil_sxtb16(high);
    out[6] = lil_sxtb16_odd(high);
}

/* `count` words of each channel, from word `index` of a strip on. */
static void lay_words(lanes from, uint32_t index, uint32_t count, quad *strip) {
    const int8_t *a = from.a;
    const int8_t *b = from.b;
    uint32_t a_step = from.a_step;
    uint32_t b_step = from.b_step;
    strip += index / 2;
    if (index % 2 != 0 && count > 0) {
        lay_word(a, b, &strip->channels[0].second);
        a += a_step;
        b += b_step;
        count--;
        strip++;
    }
    for (uint32_t pairs = count / 2; pairs > 0; pairs--) {
        uint32_t a0 = lil_load_word(a);
        uint32_t a1 = lil_load_word(a + a_step);
        uint32_t b0 = lil_load_word(b);
        uint32_t b1 = lil_load_word(b + b_step);
        a += 2 * a_step;
        b += 2 * b_step;
        uint32_t low0 = lil_pack_low(a0, b0);
        uint32_t low1 = lil_pack_low(a1, b1);
        lil_store_two(&strip->channels[0], lil_sxtb16(low0), lil_sxtb16(low1));
        lil_store_two(&strip->channels[1], lil_sxtb16_odd(low0), lil_sxtb16_odd(low1));
        uint32_t high0 = lil_pack_high(a0, b0);
        uint32_t high1 = lil_pack_high(a1, b1);
        lil_store_two(&strip->channels[2], lil_sxtb16(high0), lil_sxtb16(high1));
        lil_store_two(&strip->channels[3], lil_sxtb16_odd(high0), lil_sxtb16_odd(high1));
        strip++;
    }
    if (count % 2 != 0) {
        lay_word(a, b, &strip->channels[0].first);
    }
}

/* Four channels of a block: their strips, their windows, and where their
 * outputs go. */
typedef struct group {
    const quad *strip;
    const quad *weights;
    uint32_t pitch;  /* quads from one pair of rows to the next */
    uint32_t pairs;  /* of rows of the window */
    bool has_single; /* one more row */
    uint32_t step;   /* from one output to the next */
    uint32_t count;  /* of outputs */
    int8_t *out;
    int32_t biases[4];
    const uint8_t *multipliers; /* see lil_channels */
    const int8_t *shifts;
    int32_t zero_point; /* of the output */
} group;

/* The words of a strip, loaded two at a time as a window moves along. */
typedef struct window_words {
    const lil_two_words *x;
    uint32_t loaded;
    uint32_t words[16];
} window_words;

LIL_INLINE uint32_t word_at(window_words *window, uint32_t index) {
    if (index >= window->loaded) {
        lil_two_words two = lil_load_two(window->x + index / 2 * LIL_QUAD);
        window->words[window->loaded] = two.first;
        window->words[window->loaded + 1] = two.second;
        window->loaded += 2;
    }
    return window->words[index];
}

/* Adds a pair of rows to `outs` neighbouring outputs. */
LIL_INLINE void add_pair(uint32_t kernel, uint32_t stride, uint32_t outs, const lil_two_words *x,
                         const lil_two_words *weights, int32_t sums[4]) {
    window_words window = {x, 0, {0}};
#pragma GCC unroll 4
    for (uint32_t tap = 0; tap < kernel; tap += 2) {
        lil_two_words pair = lil_load_two(weights + tap / 2 * LIL_QUAD);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < outs; i++) {
            sums[i] = lil_smlad(word_at(&window, tap + i * stride), pair.first, sums[i]);
        }
        if (tap + 1 < kernel) {
#pragma GCC unroll 4
            for (uint32_t i = 0; i < outs; i++) {
                sums[i] = lil_smlad(word_at(&window, tap + 1 + i * stride), pair.second, sums[i]);
            }
        }
    }
}

/* Adds a single row, whose words hold two columns each: outputs at even columns
 * of the strip take whole words first and half a word last, those at odd ones
 * the reverse. */
LIL_INLINE void add_single(uint32_t kernel, uint32_t stride, uint32_t outs, const lil_two_words *x,
                           const lil_two_words *weights, int32_t sums[4]) {
    window_words window = {x, 0, {0}};
    uint32_t last = kernel - 1;
#pragma GCC unroll 4
    for (uint32_t tap = 0; tap < last; tap += 2) {
        lil_two_words pair = lil_load_two(weights + tap / 2 * LIL_QUAD);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < outs; i++) {
            uint32_t column = tap + i * stride;
            if (column % 2 == 0) {
                sums[i] = lil_smlad(word_at(&window, column / 2), pair.first, sums[i]);
            } else {
                if (tap == 0) {
                    sums[i] = lil_smlabt(pair.first, word_at(&window, column / 2), sums[i]);
                }
                sums[i] = lil_smlad(word_at(&window, column / 2 + 1), pair.second, sums[i]);
            }
        }
        if (tap + 2 == last) {
#pragma GCC unroll 4
            for (uint32_t i = 0; i < outs; i += stride == 1 ? 2 : 1) {
                sums[i] =
                    lil_smlabt(word_at(&window, (last + i * stride) / 2), pair.second, sums[i]);
            }
        }
    }
}

LIL_INLINE lil_narrowing load_narrowing(const group *g, uint32_t channel) {
    return lil_make_narrowing(lil_load_int32(g->multipliers + 4 * channel), g->shifts[channel],
                              g->zero_point);
}

/* Where a channel's outputs go: so many `chunks` as are computed at a time; and
 * for the rest, of which more are computed than wanted, a spare place first. */
typedef struct places {
    int8_t *out;
    uint32_t step;
    uint32_t chunks;
    int8_t *rest;
    int8_t spare[4];
} places;

/* Requantises and stores `outs` neighbouring outputs. Returns where the next
 * one goes. */
LIL_INLINE int8_t *store_outputs(int8_t *out, uint32_t step, const lil_narrowing *narrowing,
                                 uint32_t outs, const int32_t sums[4]) {
#pragma GCC unroll 4
    for (uint32_t i = 0; i < outs; i++) {
        *out = lil_narrow(sums[i], narrowing, false);
        out += step;
    }
    return out;
}

/* Puts the last outputs, of which there were fewer than are computed at a time,
 * in their places. */
static void store_rest(int8_t *out, uint32_t step, const int8_t *spare, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        *out = spare[i];
        out += step;
    }
}

/* Slides the windows of four channels along their strips, for windows of any
 * height. */
LIL_INLINE void slide(const group *g, uint32_t kernel, uint32_t stride, uint32_t outs) {
    for (uint32_t channel = 0; channel < 4; channel++) {
        const lil_two_words *x = &g->strip->channels[channel];
        const lil_two_words *single = x + g->pairs * g->pitch * LIL_QUAD;
        lil_narrowing narrowing = load_narrowing(g, channel);
        int32_t bias = g->biases[channel];
        uint32_t step = g->step;
        uint32_t chunks = g->count / outs;
        uint32_t rest = g->count % outs;
        int8_t *out = g->out + channel;
        int8_t spare[4];
        for (;;) {
            for (; chunks > 0; chunks--) {
                int32_t sums[4] = {bias, bias, bias, bias};
                const lil_two_words *weights = &g->weights->channels[channel];
                const lil_two_words *row = x;
                for (uint32_t pair = g->pairs; pair > 0; pair--) {
                    add_pair(kernel, stride, outs, row, weights, sums);
                    row += g->pitch * LIL_QUAD;
                    weights += (kernel + 1) / 2 * LIL_QUAD;
                }
                if (g->has_single) {
                    add_single(kernel, stride, outs, single, weights, sums);
                }
                x += outs * stride / 2 * LIL_QUAD;
                single += outs * stride / 4 * LIL_QUAD;
                out = store_outputs(out, step, &narrowing, outs, sums);
            }
            if (step == 1 || rest == 0) {
                break;
            }
            step = 1;
            chunks = 1;
            out = spare;
        }
        store_rest(g->out + channel + (g->count - rest) * g->step, g->step, spare, rest);
    }
}

static void slide_5_by_1(const group *g) {
    slide(g, 5, 1, 4);
}

static void slide_5_by_2(const group *g) {
    slide(g, 5, 2, 2);
}

static void slide_7_by_1(const group *g) {
    slide(g, 7, 1, 4);
}

static void slide_7_by_2(const group *g) {
    slide(g, 7, 2, 2);
}

static void slide_group(const group *g, const lil_window *window) {
    if (window->kernel_width == 5) {
        (window->stride_width == 1 ? slide_5_by_1 : slide_5_by_2)(g);
    } else {
        (window->stride_width == 1 ? slide_7_by_1 : slide_7_by_2)(g);
    }
}

/* One row of a block's input, or the zero points of one outside of the map. */
typedef struct line {
    const int8_t *start; /* of the block's first column inside the map */
    uint32_t step;       /* from one column to the next */
} line;

/* What the channels of a block have in common. Its strips begin with `left`
 * columns outside of the map, and have then `inside` columns of it. */
typedef struct block {
    lil_strips strips;
    int8_t *out;
    uint32_t count; /* of outputs */
    uint32_t left;
    uint32_t inside;
    uint32_t first_row; /* of the window's */
    uint32_t rows;
    uint32_t zeros; /* four zero points of the input */
    line lines[LIL_STRIP_ROWS];
} block;

/* Finds the rows and columns. Rows of the window that lie outside of the map
 * are left out, but for a 3x3 window, which always has its three. */
static void find_block(const lil_call *call, lil_strips strips, uint32_t x, block *b) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
    int32_t begin = left < 0 ? 0 : left;
    int32_t end = left + (int32_t)strips.width;
    end = end > (int32_t)source->tensor.width ? (int32_t)source->tensor.width : end;
    b->strips = strips;
    b->out = call->out + x * call->output.channels;
    b->count = call->pixels - x < strips.columns ? call->pixels - x : strips.columns;
    b->left = end > begin ? (uint32_t)(begin - left) : 0;
    b->inside = end > begin ? (uint32_t)(end - begin) : 0;
    b->first_row = 0;
    b->rows = 0;
    b->zeros = 0x01010101u * (uint8_t)source->tensor.zero_point;
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row =
            lil_row(source, source->first + (int32_t)(ky * window->dilation_height));
        line *next = &b->lines[b->rows];
        if (row != NULL) {
            next->start = row + (uint32_t)begin * source->tensor.channels;
            next->step = source->tensor.channels;
        } else if (window->kernel_width == 3) {
            next->start = NULL;
            next->step = 0;
        } else {
            b->first_row += b->rows == 0;
            continue;
        }
        b->rows++;
    }
}

/* Lays down what all channels share: the zero points left and right of the map.
 */
static void lay_borders(const block *b, quad *strip) {
    const int8_t *zeros = (const int8_t *)&b->zeros;
    lanes from = {zeros, zeros, 0, 0};
    uint32_t width = b->strips.width;
    uint32_t end = b->left + b->inside;
    for (uint32_t row = 0; row + 1 < b->rows; row += 2) {
        lay_words(from, 0, b->left, strip);
        lay_words(from, end, width - end, strip);
        strip += width / 2;
    }
    if (b->rows % 2 != 0) {
        lay_words(from, 0, b->left / 2, strip);
        lay_words(from, (end + 1) / 2, width / 2 - (end + 1) / 2, strip);
    }
}

static inline const int8_t *line_start(const block *b, uint32_t row, uint32_t channel) {
    const int8_t *start = b->lines[row].start;
    return start == NULL ? (const int8_t *)&b->zeros : start + channel;
}

static uint32_t *word_of(quad *strip, uint32_t index) {
    lil_two_words *words = &strip[index / 2].channels[0];
    return index % 2 == 0 ? &words->first : &words->second;
}

/* Lays down four channels of the columns inside the map. */
static void lay_strips(const block *b, uint32_t channel, quad *strip) {
    uint32_t row = 0;
    for (; row + 1 < b->rows; row += 2) {
        lanes from = {line_start(b, row, channel), line_start(b, row + 1, channel),
                      b->lines[row].step, b->lines[row + 1].step};
        lay_words(from, b->left, b->inside, strip);
        strip += b->strips.width / 2;
    }
    if (row < b->rows && b->inside > 0) {
        const int8_t *next = line_start(b, row, channel);
        const int8_t *zeros = (const int8_t *)&b->zeros;
        uint32_t step = b->lines[row].step;
        uint32_t index = b->left / 2;
        uint32_t count = b->inside;
        if (b->left % 2 != 0) {
            lay_word(zeros, next, word_of(strip, index));
            index++;
            count--;
            next += step;
        }
        lanes from = {next, next + step, 2 * step, 2 * step};
        lay_words(from, index, count / 2, strip);
        if (count % 2 != 0) {
            lay_word(next + (count - 1) * step, zeros, word_of(strip, index + count / 2));
        }
    }
}

/* Lays down the weights of four channels. */
static void lay_weights(const block *b, const int8_t *weights, uint32_t channels, uint32_t kernel,
                        quad *out) {
    uint32_t row_bytes = kernel * channels;
    weights += b->first_row * row_bytes;
    for (uint32_t row = 0; row + 1 < b->rows; row += 2) {
        lanes from = {weights, weights + row_bytes, channels, channels};
        lay_words(from, 0, kernel, out);
        weights += 2 * row_bytes;
        out += (kernel + 1) / 2;
    }
    if (b->rows % 2 != 0) {
        lanes from = {weights, weights + channels, channels, channels};
        lay_words(from, 0, kernel - 1, out);
    }
}

/* What input rows outside of the map add to the sums of four channels: their
 * weights, times the zero point. */
static void add_outside(const int8_t *weights, uint32_t channels, uint32_t taps, int32_t zero_point,
                        int32_t biases[4]) {
    uint32_t even = 0;
    uint32_t odd = 0;
    for (uint32_t tap = 0; tap < taps; tap++) {
        uint32_t word = lil_load_word(weights);
        even = lil_sxtab16(even, word);
        odd = lil_sxtab16_odd(odd, word);
        weights += channels;
    }
    biases[0] += zero_point * (int16_t)even;
    biases[1] += zero_point * (int16_t)odd;
    biases[2] += zero_point * ((int32_t)even >> 16);
    biases[3] += zero_point * ((int32_t)odd >> 16);
}

/* Computes a block with strips. */
static void convolve_block(const lil_call *call, const block *b) {
    const lil_window *window = &call->op.parameters.window;
    uint32_t all = call->output.channels;
    uint32_t kernel = window->kernel_width;
    int32_t in_zero_point = call->sources[0].tensor.zero_point;
    lil_channels channels = lil_load_channels(call->constants, all);
    quad *strip = (quad *)(void *)call->scratch;
    uint32_t width = b->strips.width;
    quad *weights = strip + (b->rows / 2 * width + width / 2) / 2;
    uint32_t above = b->first_row * kernel;
    uint32_t below = (b->first_row + b->rows) * kernel;
    group g;
    g.strip = strip;
    g.weights = weights;
    g.pitch = width / 2;
    g.pairs = b->rows / 2;
    g.has_single = b->rows % 2 != 0;
    g.step = all;
    g.count = b->count;
    g.zero_point = call->output.zero_point;
    lay_borders(b, strip);
    for (uint32_t next = 0; next < all; next += 4) {
        uint32_t channel = next + 4 > all ? all - 4 : next;
        const int8_t *taps = channels.weights + channel;
        memcpy(g.biases, channels.bias + 4 * channel, sizeof g.biases);
        if (b->rows < window->kernel_height) {
            add_outside(taps, all, above, in_zero_point, g.biases);
            add_outside(taps + below * all, all, window->kernel_height * kernel - below,
                        in_zero_point, g.biases);
        }
        lay_weights(b, taps, all, kernel, weights);
        lay_strips(b, channel, strip);
        g.multipliers = channels.multiplier + 4 * channel;
        g.shifts = channels.shift + channel;
        g.out = b->out + channel;
        slide_group(&g, window);
    }
}

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
static void pair_inside(const block *b, uint32_t channel, column_pair *out) {
    const int8_t *a_next = line_start(b, 0, channel);
    const int8_t *b_next = line_start(b, 1, channel);
    const int8_t *c_next = line_start(b, 2, channel);
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
LIL_INLINE void slide_3x3(const lil_call *call, const lil_channels *channels, const block *b,
                          uint32_t channel, uint32_t stride) {
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

static void slide_3x3_by_1(const lil_call *call, const lil_channels *channels, const block *b,
                           uint32_t channel) {
    slide_3x3(call, channels, b, channel, 1);
}

static void slide_3x3_by_2(const lil_call *call, const lil_channels *channels, const block *b,
                           uint32_t channel) {
    slide_3x3(call, channels, b, channel, 2);
}

/* Computes a block of a 3x3 window. */
static void convolve_block_3x3(const lil_call *call, const block *b) {
    uint32_t all = call->output.channels;
    lil_channels channels = lil_load_channels(call->constants, all);
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

static void convolve_strips(const lil_call *call, lil_strips strips) {
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->pixels; x += strips.columns) {
        block b;
        find_block(call, strips, x, &b);
        if (call->op.parameters.window.kernel_width == 3) {
            convolve_block_3x3(call, &b);
        } else {
            convolve_block(call, &b);
        }
    }
    lil_activate(call, call->out, call->pixels * channels);
}

/* A window of any kind, one output after the other. */
static int32_t sum_window(const lil_call *call, const lil_channels *channels, int32_t left,
                          uint32_t channel) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    uint32_t in_channels = source->tensor.channels;
    uint32_t out_channels = call->output.channels;
    uint32_t in_channel = channel / (out_channels / in_channels);
    const int8_t *weights = channels->weights + channel;
    int32_t sum = lil_bias(channels, channel);
    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_row(source, source->first + ky * window->dilation_height);
        for (int32_t kx = 0; kx < window->kernel_width; kx++) {
            int32_t column = left + kx * window->dilation_width;
            int32_t value = source->tensor.zero_point;
            if (row != NULL && column >= 0 && column < (int32_t)source->tensor.width) {
                value = row[(uint32_t)column * in_channels + in_channel];
            }
            sum += value * *weights;
            weights += out_channels;
        }
    }
    return sum;
}

static void convolve_windows(const lil_call *call) {
    const lil_window *window = &call->op.parameters.window;
    uint32_t out_channels = call->output.channels;
    lil_channels channels = lil_load_channels(call->constants, out_channels);
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        int32_t left = (int32_t)(x * window->stride_width) - window->pad_left;
        for (uint32_t c = 0; c < out_channels; c++) {
            *out++ = lil_finish(&channels, c, sum_window(call, &channels, left, c), call);
        }
    }
}

void lil_depthwise_convolution(const lil_call *call) {
    lil_strips strips =
        lil_plan_strips(&call->op.parameters.window, call->sources[0].tensor.channels,
                        &call->output, call->op.scratch_bytes);
    if (strips.columns > 0 && call->op.flags & LIL_SHIFTS_RIGHT) {
        convolve_strips(call, strips);
    } else {
        convolve_windows(call);
    }
}

#endif
