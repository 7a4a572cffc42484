/* Depthwise convolution with a window 5 or 7 wide, for the ARM DSP extension.
 *
 * Four channels at a time are taken out of the input rows that a block of
 * output columns needs, and laid down channel by channel as strips of words for
 * SMLAD: two rows of the window in the halves of a word; and for the last of an
 * odd number of rows, two columns of it. The weights are laid down in the same
 * way. Then each channel's window slides along its strips.
 *
 * Strips and weights are interleaved: two words of channel 0, two of channel 1,
 * ... so that two columns are a quad, and all offsets within a window are
 * constants. */

/* Scheduling before registers are allocated makes more values live than there are registers. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-schedule-insns")
#endif

#include "depthwise.h"
#include "requantize.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

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
    const quad *strip;   /* the pairs of rows, then the single one */
    const quad *weights; /* likewise */
    uint32_t pitch;      /* quads from one pair of rows to the next */
    uint32_t pairs;      /* of rows of the window */
    bool has_single;     /* one more row */
    uint32_t step;       /* from one output to the next */
    uint32_t count;      /* of outputs */
    int8_t *out;
    int32_t biases[4];
    const uint8_t *multipliers; /* see lil_channels */
    const int8_t *shifts;
    int32_t zero_point; /* of the output */
} group;

/* The words of a strip, loaded two at a time as a window moves along. */
typedef struct window_words {
    const lil_two_words *x; /* of the channel, in the first quad */
    uint32_t loaded;        /* of `words` */
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

/* Lays down what all channels share: the zero points left and right of the map.
 */
static void lay_borders(const lil_depthwise_block *b, quad *strip) {
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

static uint32_t *word_of(quad *strip, uint32_t index) {
    lil_two_words *words = &strip[index / 2].channels[0];
    return index % 2 == 0 ? &words->first : &words->second;
}

/* Lays down four channels of the columns inside the map. */
static void lay_strips(const lil_depthwise_block *b, uint32_t channel, quad *strip) {
    uint32_t row = 0;
    for (; row + 1 < b->rows; row += 2) {
        lanes from = {lil_line_start(b, row, channel), lil_line_start(b, row + 1, channel),
                      b->lines[row].step, b->lines[row + 1].step};
        lay_words(from, b->left, b->inside, strip);
        strip += b->strips.width / 2;
    }
    if (row < b->rows && b->inside > 0) {
        const int8_t *next = lil_line_start(b, row, channel);
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
static void lay_weights(const lil_depthwise_block *b, const int8_t *weights, uint32_t channels,
                        uint32_t kernel, quad *out) {
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

void lil_depthwise_strips(const lil_call *call, const lil_depthwise_block *b) {
    const lil_window *window = &call->op.parameters.window;
    uint32_t all = call->output.channels;
    uint32_t kernel = window->kernel_width;
    int32_t in_zero_point = call->sources[0].tensor.zero_point;
    lil_channels channels = lil_load_channels(call, all);
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

#endif
