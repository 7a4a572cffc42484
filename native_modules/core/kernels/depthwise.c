/* Depthwise convolution: every channel has a window of its own. */
#include "lane.h"

#if !LIL_HAS_DSP

/* Sums of channels one behind the other, of one pixel each, as int8. */
LIL_OUTLINE static void finish_channels(const lil_call *call, const lil_channels *channels,
                                        uint32_t channel, uint32_t count, const int32_t *sums,
                                        int8_t *out) {
    if (!lil_is_short(call)) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = lil_finish(channels, channel + i, sums[i], call);
        }
        return;
    }
    const uint8_t *multipliers = channels->multiplier + 4 * channel;
    const int8_t *shifts = channels->shift + channel;
    int32_t steps = 2 * call->output.zero_point + 1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t multiplier = (uint32_t)lil_load_int32(multipliers + 4 * i);
        int32_t shift = -shifts[i];
        out[i] = (int8_t)lil_shorten(sums[i], (int32_t)(multiplier << 1),
                                     (int32_t)((uint32_t)steps << (shift - 1)), shift);
    }
}

#if LIL_HAS_VECTORS

#define LIL_BLOCK_CHANNELS 32 /* whose sums are kept on the stack */

/* Adds one tap of `count` channels from `first` on. Each input channel feeds `multiplier`
 * neighbouring outputs. */
static void add_tap(int32_t *restrict sums, const int8_t *restrict pixel,
                    const int8_t *restrict weights, uint32_t first, uint32_t count,
                    uint32_t multiplier) {
    if (multiplier > 1) {
        for (size_t c = 0; c < count; c++) {
            sums[c] += pixel[(first + c) / multiplier] * weights[first + c];
        }
        return;
    }
    pixel += first;
    weights += first;
    for (size_t c = 0; c < count; c++) {
        sums[c] += pixel[c] * weights[c];
    }
}

/* Channels `first` to `first + count` of one output pixel. `outside`: zero points. */
static void convolve_block(const lil_call *call, const lil_channels *channels, uint32_t x,
                           uint32_t first, uint32_t count, const int8_t *outside) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    uint32_t multiplier = call->output.channels / source->tensor.channels;
    int32_t sums[LIL_BLOCK_CHANNELS];
    const int8_t *weights = channels->weights;
    memcpy(sums, channels->bias + 4 * first, 4 * count);
    lil_row_walk walk = lil_walk_rows(source, window->dilation_height);
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_next_row(&walk, window->dilation_height);
        int32_t column = (int32_t)(x * window->stride_width) - window->pad_left;
        for (uint32_t kx = 0; kx < window->kernel_width; kx++) {
            bool is_inside = row != NULL && column >= 0 && column < (int32_t)source->tensor.width;
            const int8_t *pixel =
                is_inside ? row + (uint32_t)column * source->tensor.channels : outside;
            add_tap(sums, pixel, weights, first, count, multiplier);
            weights += call->output.channels;
            column += window->dilation_width;
        }
    }
    int8_t *out = call->out + x * call->output.channels + first;
    finish_channels(call, channels, first, count, sums, out);
}

static void convolve(const lil_call *call, const lil_channels *channels) {
    int8_t *outside = (int8_t *)call->scratch;
    memset(outside, (uint8_t)call->sources[0].tensor.zero_point, call->sources[0].tensor.channels);
    for (uint32_t x = 0; x < call->pixels; x++) {
        for (uint32_t c = 0; c < call->output.channels; c += LIL_BLOCK_CHANNELS) {
            uint32_t left = call->output.channels - c;
            uint32_t count = left < LIL_BLOCK_CHANNELS ? left : LIL_BLOCK_CHANNELS;
            convolve_block(call, channels, x, c, count, outside);
        }
    }
}

#else

/* Where a tap's input and weight are. */
typedef struct tap {
    int32_t input;   /* bytes from where the window begins in slot 0 of the ring */
    uint32_t weight; /* bytes from the first weight of the channel */
} tap;

/* The taps of a pixel. */
typedef struct tap_list {
    tap *taps;
    tap *outside; /* from here on they lie outside of the map: `input` has no
                     meaning */
    tap *end;
    int32_t zero_point;
} tap_list;

static bool is_inside(const lil_call *call, int32_t left, int32_t kx) {
    int32_t column = left + kx * call->op.parameters.window.dilation_width;
    return column >= 0 && column < (int32_t)call->sources[0].tensor.width;
}

/* Lists the taps of a pixel whose window begins at column `left`, those inside of the map first. */
static void list_taps(const lil_call *call, int32_t left, tap_list *list) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    int32_t step = (int32_t)(window->dilation_width * source->tensor.channels);
    uint32_t weight = 0;
    lil_row_walk walk = lil_walk_rows(source, window->dilation_height);
    list->outside = list->taps;
    list->end = list->taps + (uint32_t)window->kernel_height * window->kernel_width;
    tap *from_end = list->end;
    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_next_row(&walk, window->dilation_height);
        int32_t input = row == NULL ? 0 : (int32_t)(row - source->base);
        for (int32_t kx = 0; kx < window->kernel_width; kx++) {
            tap *place = row != NULL && is_inside(call, left, kx) ? list->outside++ : --from_end;
            place->input = input;
            place->weight = weight;
            input += step;
            weight += call->output.channels;
        }
    }
}

/* Sum of one channel of a pixel. */
LIL_OUTLINE static int32_t sum_one(const tap_list *list, const int8_t *in, const int8_t *weights,
                                   int32_t sum) {
    const tap *t = list->taps;
    for (; t != list->outside; t++) {
        sum += in[t->input] * weights[t->weight];
    }
    for (; t != list->end; t++) {
        sum += list->zero_point * weights[t->weight];
    }
    return sum;
}

/* Sums of four neighbouring channels. */
LIL_OUTLINE static void sum_four(const tap_list *list, const int8_t *in, const int8_t *weights,
                                 int32_t *sums) {
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    const tap *t = list->taps;
    for (; t != list->outside; t++) {
        const int8_t *x = in + t->input;
        const int8_t *w = weights + t->weight;
        lil_accumulate(&a, x[0] * w[0]);
        lil_accumulate(&b, x[1] * w[1]);
        lil_accumulate(&c, x[2] * w[2]);
        lil_accumulate(&d, x[3] * w[3]);
    }
    int32_t x = list->zero_point;
    for (; t != list->end; t++) {
        const int8_t *w = weights + t->weight;
        lil_accumulate(&a, x * w[0]);
        lil_accumulate(&b, x * w[1]);
        lil_accumulate(&c, x * w[2]);
        lil_accumulate(&d, x * w[3]);
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

#define LIL_GROUP_CHANNELS 8 /* that are summed before they are requantised */

/* sum + three taps of a row. `step`: bytes from one to the next. */
static inline int32_t add_three(int32_t sum, const int8_t *row, const int8_t *weights,
                                uint32_t step) {
    sum += row[0] * weights[0];
    sum += row[step] * weights[step];
    return sum + row[2 * step] * weights[2 * step];
}

/* Adds the products of some neighbouring channels with a 3x3 window to their sums. `step`: bytes
 * from one tap of a row, of the input or of the weights, to the next. */
LIL_OUTLINE static void add_nine(const int8_t *top, const int8_t *middle, const int8_t *bottom,
                                 const int8_t *weights, uint32_t step, uint32_t count,
                                 int32_t *sums) {
    for (int32_t *end = sums + count; sums != end; sums++) {
        int32_t sum = add_three(*sums, top++, weights, step);
        const int8_t *w = weights + 3 * step;
        sum = add_three(sum, middle++, w, step);
        w += 3 * step;
        *sums = add_three(sum, bottom++, w, step);
        weights++;
    }
}

/* All channels of a pixel whose 3x3 window lies inside of the map; `list` is in order then. */
static void convolve_3x3(const lil_call *call, const lil_channels *channels, const tap_list *list,
                         const int8_t *in, int8_t *out) {
    uint32_t all = call->output.channels;
    for (uint32_t c = 0; c < all; c += LIL_GROUP_CHANNELS) {
        uint32_t count = all - c < LIL_GROUP_CHANNELS ? all - c : LIL_GROUP_CHANNELS;
        int32_t sums[LIL_GROUP_CHANNELS];
        memcpy(sums, channels->bias + 4 * c, 4 * count);
        add_nine(in + list->taps[0].input, in + list->taps[3].input, in + list->taps[6].input,
                 channels->weights + c, all, count, sums);
        finish_channels(call, channels, c, count, sums, out + c);
        in += LIL_GROUP_CHANNELS;
    }
}

/* All channels of a pixel. `in`: where its window begins in slot 0 of the ring. */
static void convolve_pixel(const lil_call *call, const lil_channels *channels, const tap_list *list,
                           const int8_t *in, int8_t *out) {
    const lil_window *window = &call->op.parameters.window;
    uint32_t count = call->output.channels;
    uint32_t c = 0;
    bool is_single = count == call->sources[0].tensor.channels;
    if (is_single && window->kernel_height == 3 && window->kernel_width == 3 &&
        window->dilation_width == 1 && list->outside == list->end) {
        convolve_3x3(call, channels, list, in, out);
        return;
    }
    if (is_single) {
        for (; c + 4 <= count; c += 4) {
            int32_t sums[4];
            memcpy(sums, channels->bias + 4 * c, sizeof sums);
            sum_four(list, in + c, channels->weights + c, sums);
            finish_channels(call, channels, c, 4, sums, out + c);
        }
        in += c;
    }
    uint32_t multiplier = count / call->sources[0].tensor.channels;
    uint32_t fed = 0;
    for (; c < count; c++) {
        int32_t sum = sum_one(list, in, channels->weights + c, lil_bias(channels, c));
        finish_channels(call, channels, c, 1, &sum, out + c);
        if (++fed == multiplier) {
            fed = 0;
            in++;
        }
    }
}

static void convolve(const lil_call *call, const lil_channels *channels) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    tap_list list = {(tap *)(void *)call->scratch, NULL, NULL, source->tensor.zero_point};
    bool was_whole = false;
    int32_t left = -window->pad_left;
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        bool is_whole = is_inside(call, left, 0) && is_inside(call, left, window->kernel_width - 1);
        if (!(is_whole && was_whole)) {
            list_taps(call, left, &list);
        }
        was_whole = is_whole;
        convolve_pixel(call, channels, &list,
                       source->base + left * (int32_t)source->tensor.channels, out);
        left += window->stride_width;
        out += call->output.channels;
    }
}

#endif

void lil_depthwise_convolution(const lil_call *call) {
    lil_channels channels = lil_load_channels(call, call->output.channels);
    convolve(call, &channels);
    lil_finish_row(call);
}

#endif
