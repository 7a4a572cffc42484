/* Convolution with Helium: sums of a row's pixels, two or four channels at a time, then their
 * requantisation.
 *
 * The inputs of a pixel are read where they lie when they do so without gaps: all of them in a 1x1
 * convolution, those of one kernel row in others. Pixels whose window leaves the map, and windows
 * of few inputs, are gathered in scratch first. */
#include "../kernels.h"

#if LIL_HAS_MVE

#include "dot_products.h"
#include "requantize.h"

#define LIL_RUN_PIXELS 48   /* whose sums of four channels lie on the stack */
#define LIL_MAX_IN_PLACE 11 /* kernel rows */

/* The inputs of some pixels: for each of some parts of the window, `taps` that lie without gaps. */
typedef struct patches {
    lil_pixels parts[LIL_MAX_IN_PLACE]; /* a row outside of the map is the same for all pixels */
    uint32_t part_count;
    uint32_t taps;
    uint32_t pixels;
} patches;

/* A convolution group: its first pair of channels, its first channel, and its channels. */
typedef struct group {
    uint32_t first_pair;
    uint32_t first_channel;
    uint32_t channels;
} group;

/* How the sums of four channels of some pixels are computed. */
typedef struct course {
    uint32_t passing_taps; /* of each part, whose weights pass by the pixels */
    bool is_quad;          /* sixteen taps or fewer: the weights of four channels stay */
    bool is_alone;         /* few pixels of many taps: each on its own, its taps staying */
} course;

/* Taps of a block whose weights pass by. */
static inline uint32_t block_taps(const lil_pairs *pairs) {
    return pairs->is_int4 ? 32 : 16;
}

static course choose_course(const patches *in, const lil_pairs *pairs) {
    uint32_t pixels = in->parts[0].count;
    uintptr_t addresses = (uintptr_t)pairs->weights | lil_bytes_of_taps(pairs, in->taps);
    for (uint32_t part = 0; pairs->is_int4 && part < in->part_count; part++) {
        addresses |= (uintptr_t)in->parts[part].inputs | in->parts[part].step;
    }
    bool is_aligned = addresses % 4 == 0; /* VLD2 reads words */
    bool is_few = is_aligned && (pixels <= 3 || (pixels <= 9 && in->taps >= 64));
    course result;
    result.is_quad = in->taps <= 16 && in->part_count == 1;
    result.passing_taps = is_few ? in->taps & ~(block_taps(pairs) - 1) : 0;
    result.is_alone = is_few && in->taps % LIL_RESIDENT_TAPS == 0;
    return result;
}

/* The sums [pixel][4] of up to four channels that begin with the first pair's. */
static void sum_channels(const patches *in, const course *how, lil_pairs pairs, uint32_t channels,
                         int32_t *sums) {
    uint32_t passed = how->passing_taps;
    if (how->is_quad && channels > 2) {
        lil_dot_quad(&in->parts[0], &pairs, sums, in->taps);
        return;
    }
    for (uint32_t part = 0; part < in->part_count; part++) {
        bool is_first = part == 0;
        if (passed == 0) {
            lil_dot_pairs(&in->parts[part], &pairs, channels, in->taps, sums, is_first);
            pairs.weights += lil_bytes_of_taps(&pairs, in->taps);
            continue;
        }
        lil_dot_few(&in->parts[part], &pairs, channels, passed / block_taps(&pairs), sums,
                    is_first);
        pairs.weights += lil_bytes_of_taps(&pairs, passed);
        if (passed < in->taps) {
            lil_pixels rest = in->parts[part];
            rest.inputs += passed;
            lil_dot_pairs(&rest, &pairs, channels, in->taps - passed, sums, false);
            pairs.weights += lil_bytes_of_taps(&pairs, in->taps - passed);
        }
    }
}

/* Begins, or adds to, the sums of one pixel with a part's resident taps. */
static void dot_resident(const int8_t *inputs, const lil_pairs *pairs, const int8_t *taps,
                         uint32_t count, int32_t *sums, bool is_first) {
    uint32_t gap = pairs->pair_bytes - lil_bytes_of_taps(pairs, LIL_RESIDENT_TAPS);
    if (pairs->is_int4 && is_first) {
        lil_dot_channels_int4(inputs, taps, gap, count, sums, true);
    } else if (pairs->is_int4) {
        lil_dot_channels_int4(inputs, taps, gap, count, sums, false);
    } else if (is_first) {
        lil_dot_channels(inputs, taps, gap, count, sums, true);
    } else {
        lil_dot_channels(inputs, taps, gap, count, sums, false);
    }
}

/* Computes a group's outputs of few pixels, one pixel after the other with all channels. */
static void multiply_few(const lil_channels *channels, const patches *in, const group *outputs,
                         const lil_pairs *pairs, const lil_narrowing *narrowing, int8_t *out) {
    int32_t sums[4 * LIL_RUN_PIXELS];
    for (uint32_t channel = 0; channel < outputs->channels; channel += 4 * LIL_RUN_PIXELS) {
        uint32_t some = outputs->channels - channel;
        some = some < 4 * LIL_RUN_PIXELS ? some : 4 * LIL_RUN_PIXELS;
        const int8_t *first = pairs->weights + channel / 2 * pairs->pair_bytes;
        for (uint32_t pixel = 0; pixel < in->parts[0].count; pixel++) {
            const int8_t *taps = first;
            for (uint32_t part = 0; part < in->part_count; part++) {
                const int8_t *inputs = in->parts[part].inputs + pixel * in->parts[part].step;
                for (uint32_t done = 0; done < in->taps; done += LIL_RESIDENT_TAPS) {
                    dot_resident(inputs + done, pairs, taps, (some + 1) / 2, sums,
                                 part + done == 0);
                    taps += lil_bytes_of_taps(pairs, LIL_RESIDENT_TAPS);
                }
            }
            lil_narrow_channels(channels, outputs->first_channel + channel, some, sums, narrowing,
                                out + channel + pixel * narrowing->pixel_step);
        }
    }
}

/* Computes one group's outputs of some pixels that are `pixel_step` bytes apart. */
static void multiply(const lil_call *call, const lil_channels *channels, patches *in,
                     const group *outputs, int8_t *out, uint32_t pixel_step) {
    int32_t sums[4 * LIL_RUN_PIXELS];
    lil_narrowing narrowing = lil_make_narrowing(call, channels, pixel_step);
    lil_pairs pairs;
    pairs.pair_bytes = lil_pair_bytes(&call->op, in->part_count * in->taps);
    pairs.is_int4 = lil_is_int4(&call->op);
    out += outputs->first_channel;
    for (uint32_t left = in->pixels; left > 0;) {
        uint32_t count = left < LIL_RUN_PIXELS ? left : LIL_RUN_PIXELS;
        pairs.weights = channels->weights + outputs->first_pair * pairs.pair_bytes;
        for (uint32_t part = 0; part < in->part_count; part++) {
            in->parts[part].count = count;
        }
        course how = choose_course(in, &pairs);
        uint32_t alone = 0;
        if (how.is_alone) {
            multiply_few(channels, in, outputs, &pairs, &narrowing, out);
            alone = outputs->channels;
        }
        for (uint32_t channel = alone; channel < outputs->channels; channel += 4) {
            uint32_t valid = outputs->channels - channel;
            valid = valid < 4 ? valid : 4;
            sum_channels(in, &how, pairs, valid, sums);
            lil_narrow_sums(channels, outputs->first_channel + channel, valid, sums, count,
                            &narrowing, out + channel);
            pairs.weights += 2 * pairs.pair_bytes;
        }
        for (uint32_t part = 0; part < in->part_count; part++) {
            in->parts[part].inputs += count * in->parts[part].step;
        }
        out += count * pixel_step;
        left -= count;
    }
}

static group whole(const lil_call *call) {
    group result = {0, 0, call->output.channels};
    return result;
}

/* Whether outputs of this call may replace inputs of it: those of earlier rows. */
static bool overwrites_inputs(const lil_call *call, const int8_t *inputs) {
    uintptr_t in = (uintptr_t)inputs;
    uintptr_t out = (uintptr_t)call->out;
    return in < out + call->pixels * call->output.channels &&
           out < in + call->pixels * call->sources[0].tensor.channels;
}

static void convolve_pointwise(const lil_call *call, const lil_channels *channels) {
    const lil_source *source = &call->sources[0];
    group outputs = whole(call);
    patches in;
    const int8_t *row = lil_row(source, source->first);
    in.parts[0].step = source->tensor.channels;
    in.part_count = 1;
    in.taps = source->tensor.channels;
    in.pixels = overwrites_inputs(call, row) ? call->output.width : call->pixels;
    for (uint32_t x = 0; x < call->pixels; x += in.pixels) {
        in.parts[0].inputs = row + x * in.taps;
        multiply(call, channels, &in, &outputs, call->out + x * outputs.channels, outputs.channels);
    }
}

/* Copies or, when `from` is NULL, fills `count` bytes. */
static inline void put_inputs(int8_t *to, const int8_t *from, uint32_t count, int8_t fill) {
    int8x16_t values = vdupq_n_s8(fill);
    for (int32_t left = (int32_t)count; left > 0; left -= 16) {
        mve_pred16_t mask = vctp8q((uint32_t)left);
        if (from != NULL) {
            values = vldrbq_z_s8(from, mask);
            from += 16;
        }
        vstrbq_p_s8(to, values, mask);
        to += 16;
    }
}

static int32_t left_column(const lil_window *window, uint32_t x) {
    return (int32_t)(x * window->stride_width) - window->pad_left;
}

static int32_t least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* Pixels that are computed through scratch: `count` of them from `begin` on, `step` apart. */
typedef struct gathering {
    uint32_t begin;
    uint32_t step;
    uint32_t count;
} gathering;

/* One kernel row of a window whose first column is `left`, for `count` channels from `channel`. */
static void gather_row(const lil_call *call, const int8_t *row, int32_t left, uint32_t channel,
                       uint32_t count, int8_t *patch) {
    const lil_window *window = &call->op.parameters.window;
    const lil_tensor *in = &call->sources[0].tensor;
    if (row == NULL) {
        put_inputs(patch, NULL, window->kernel_width * count, in->zero_point);
        return;
    }
    int32_t width = (int32_t)in->width;
    if (window->dilation_width == 1 && window->groups == 1) {
        /* The columns [begin, end) of the window lie inside of the map. */
        int32_t limit = window->kernel_width;
        int32_t begin = least(left < 0 ? -left : 0, limit);
        int32_t end = least(width > left ? width - left : 0, limit);
        uint32_t before = (uint32_t)begin * count;
        uint32_t inside = end > begin ? (uint32_t)(end - begin) * count : 0;
        put_inputs(patch, NULL, before, in->zero_point);
        put_inputs(patch + before, row + (left + begin) * (int32_t)count, inside, in->zero_point);
        put_inputs(patch + before + inside, NULL, (uint32_t)limit * count - before - inside,
                   in->zero_point);
        return;
    }
    for (int32_t kx = 0; kx < window->kernel_width; kx++) {
        int32_t x = left + kx * window->dilation_width;
        const int8_t *from = row + (uint32_t)x * in->channels + channel;
        put_inputs(patch, x >= 0 && x < width ? from : NULL, count, in->zero_point);
        patch += count;
    }
}

/* The same for a row of at most sixteen bytes of a window that is dense: in one step. */
static inline void gather_short_row(const lil_tensor *in, const int8_t *row, int32_t left,
                                    int32_t kernel_width, int8_t *patch) {
    int32_t channels = (int32_t)in->channels;
    int32_t width = (int32_t)in->width;
    int32_t begin = least(left < 0 ? -left : 0, kernel_width);
    int32_t end = row != NULL ? least(width - left, kernel_width) : 0;
    end = end < begin ? begin : end;
    mve_pred16_t inside =
        (mve_pred16_t)(vctp8q((uint32_t)(end * channels)) & ~vctp8q((uint32_t)(begin * channels)));
    const int8_t *from = (const int8_t *)((uintptr_t)row + (uintptr_t)(left * channels));
    int8x16_t values = vpselq_s8(vldrbq_z_s8(from, inside), vdupq_n_s8(in->zero_point), inside);
    vstrbq_p_s8(patch, values, vctp8q((uint32_t)(kernel_width * channels)));
}

/* One kernel row of the dense windows of some pixels, of at most sixteen bytes. */
static void gather_short_rows(const lil_call *call, const int8_t *row, const gathering *pixels,
                              int8_t *patch) {
    const lil_window *window = &call->op.parameters.window;
    const lil_tensor *in = &call->sources[0].tensor;
    uint32_t row_taps = window->kernel_width * in->channels;
    uint32_t taps = window->kernel_height * row_taps;
    int32_t columns = (int32_t)(pixels->step * window->stride_width);
    int32_t left = left_column(window, pixels->begin);
    int32_t last = (int32_t)in->width - window->kernel_width;
    mve_pred16_t mask = vctp8q(row_taps);
    for (uint32_t count = pixels->count; count != 0; count--) {
        if (row == NULL || left < 0 || left > last) {
            gather_short_row(in, row, left, window->kernel_width, patch);
        } else {
            const int8_t *from = row + (uint32_t)left * in->channels;
            vstrbq_p_s8(patch, vldrbq_z_s8(from, mask), mask);
        }
        left += columns;
        patch += taps;
    }
}

/* Gathers the windows of some pixels, `inputs` channels from `channel` on. */
static void gather_windows(const lil_call *call, const gathering *pixels, uint32_t channel,
                           uint32_t inputs) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    uint32_t row_taps = window->kernel_width * inputs;
    uint32_t taps = window->kernel_height * row_taps;
    bool is_dense = window->dilation_width == 1 && window->groups == 1;
    int32_t last = is_dense ? (int32_t)source->tensor.width - window->kernel_width : -1;
    int32_t columns = (int32_t)(pixels->step * window->stride_width);
    lil_row_walk walk = lil_walk_rows(source, window->dilation_height);
    int8_t *patch = (int8_t *)call->scratch;
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_next_row(&walk, window->dilation_height);
        if (is_dense && row_taps <= 16) {
            gather_short_rows(call, row, pixels, patch);
            patch += row_taps;
            continue;
        }
        int8_t *to = patch;
        int32_t left = left_column(window, pixels->begin);
        for (uint32_t i = pixels->count; i != 0; i--) {
            if (row != NULL && left >= 0 && left <= last) {
                put_inputs(to, row + (uint32_t)left * inputs, row_taps, 0);
            } else {
                gather_row(call, row, left, channel, inputs, to);
            }
            left += columns;
            to += taps;
        }
        patch += row_taps;
    }
}

/* Computes pixels through scratch, as many at a time as fit. */
static void convolve_gathered(const lil_call *call, const lil_channels *channels,
                              gathering pixels) {
    const lil_window *window = &call->op.parameters.window;
    uint32_t inputs = call->sources[0].tensor.channels / window->groups;
    uint32_t out_channels = call->output.channels;
    uint32_t left = pixels.count;
    patches in;
    in.part_count = 1;
    in.taps = (uint32_t)window->kernel_height * window->kernel_width * inputs;
    in.parts[0].step = in.taps;
    uint32_t capacity = call->op.scratch_bytes / in.taps;
    while (left > 0) {
        pixels.count = left < capacity ? left : capacity;
        in.pixels = pixels.count;
        for (uint32_t index = 0; index < window->groups; index++) {
            group outputs;
            outputs.channels = out_channels / window->groups;
            outputs.first_pair = index * lil_pair_count(outputs.channels);
            outputs.first_channel = index * outputs.channels;
            gather_windows(call, &pixels, index * inputs, inputs);
            in.parts[0].inputs = (const int8_t *)call->scratch;
            multiply(call, channels, &in, &outputs, call->out + pixels.begin * out_channels,
                     pixels.step * out_channels);
        }
        pixels.begin += pixels.count * pixels.step;
        left -= pixels.count;
    }
}

/* Pixels whose windows lie inside the map's columns, where they lie. */
static void convolve_in_place(const lil_call *call, const lil_channels *channels, uint32_t begin,
                              uint32_t end) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    group outputs = whole(call);
    patches in;
    in.part_count = window->kernel_height;
    in.taps = window->kernel_width * source->tensor.channels;
    in.pixels = end - begin;
    lil_row_walk walk = lil_walk_rows(source, window->dilation_height);
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_next_row(&walk, window->dilation_height);
        if (row != NULL) {
            in.parts[ky].inputs =
                row + (uint32_t)left_column(window, begin) * source->tensor.channels;
            in.parts[ky].step = window->stride_width * source->tensor.channels;
        } else {
            memset(call->scratch, (uint8_t)source->tensor.zero_point, in.taps);
            in.parts[ky].inputs = (const int8_t *)call->scratch;
            in.parts[ky].step = 0;
        }
    }
    multiply(call, channels, &in, &outputs, call->out + begin * outputs.channels, outputs.channels);
}

void lil_convolution(const lil_call *call) {
    const lil_window *window = &call->op.parameters.window;
    const lil_tensor *in = &call->sources[0].tensor;
    lil_channels channels = lil_load_channels(call, call->output.channels);
    if (call->op.flags & LIL_POINTWISE) {
        convolve_pointwise(call, &channels);
        return;
    }
    /* The pixels that are computed in place: none, when a kernel row would not fill two vectors. */
    uint32_t begin = call->pixels;
    uint32_t end = call->pixels;
    uint32_t row_taps = window->kernel_width * in->channels;
    if (row_taps >= 32 && (row_taps % 4 == 0 || !lil_is_int4(&call->op)) &&
        window->kernel_height <= LIL_MAX_IN_PLACE && window->dilation_width == 1 &&
        window->groups == 1) {
        int32_t stride = window->stride_width;
        int32_t first = lil_floor_divide(window->pad_left + stride - 1, stride);
        int32_t last =
            lil_floor_divide((int32_t)in->width - window->kernel_width + window->pad_left, stride);
        int32_t pixels = (int32_t)call->pixels;
        first = first < 0 ? 0 : first;
        if (first <= last && first < pixels) {
            begin = (uint32_t)first;
            end = (uint32_t)least(last + 1, pixels);
        }
    }
    uint32_t right = call->pixels - end;
    if (begin == 1 && right == 1 && call->pixels * call->output.channels <= UINT16_MAX) {
        gathering ends = {0, end, 2};
        convolve_gathered(call, &channels, ends);
    } else {
        gathering before = {0, 1, begin};
        gathering after = {end, 1, right};
        convolve_gathered(call, &channels, before);
        convolve_gathered(call, &channels, after);
    }
    if (begin < end) {
        convolve_in_place(call, &channels, begin, end);
    }
}

#endif
