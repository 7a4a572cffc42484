/* Depthwise convolution with Helium, four channels at a time.
 *
 * The columns that a few output pixels see are copied to scratch so that four rows of one channel
 * form a word: [column][channel][row]. VLD4 then yields sixteen taps of each of four channels at
 * once, four columns by four rows, and VMLADAV their sum of products. The weights are laid out in
 * the same way. A taller or wider window is several such blocks. */
#include "../kernels.h"

#if LIL_HAS_MVE

#include "columns.h"
#include "requantize.h"

#include <stddef.h>

#define LIL_PIXEL_SUMS 192 /* sums of which a call keeps so many on the stack */

/* The window's rows in blocks of four, those inside of the map first. The others' inputs are zero
 * points, which need no copying. */
typedef struct rows {
    const int8_t *inputs[LIL_MAX_ROWS];  /* column 0 */
    const int8_t *weights[LIL_MAX_ROWS]; /* of all rows, column 0 */
    uint32_t inside;
    uint32_t count;
} rows;

static void find_rows(const lil_call *call, const int8_t *weights, rows *result) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    lil_row_walk walk = lil_walk_rows(source, window->dilation_height);
    result->inside = 0;
    result->count = window->kernel_height;
    uint32_t outside = result->count;
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_next_row(&walk, window->dilation_height);
        uint32_t index = row != NULL ? result->inside++ : --outside;
        result->inputs[index] = row;
        result->weights[index] = weights;
        weights += window->kernel_width * call->output.channels;
    }
}

/* Four words of one row. */
LIL_INLINE uint8x16_t load_words(const int8_t *row, uint32x4_t offsets) {
    const uint32_t *words = (const uint32_t *)(const void *)row;
    return vreinterpretq_u8_u32(vldrwq_gather_offset_u32(words, offsets));
}

/* The same, of `fill` where `mask` has none. */
LIL_INLINE uint8x16_t load_some_words(const int8_t *row, uint32x4_t offsets, mve_pred16_t mask,
                                      uint8x16_t fill) {
    const uint32_t *words = (const uint32_t *)(const void *)row;
    return vpselq_u8(vreinterpretq_u8_u32(vldrwq_gather_offset_z_u32(words, offsets, mask)), fill,
                     mask);
}

/* Stores the bytes of four vectors in turn, and returns the end of them. The compiler would take
 * the vectors through memory. */
LIL_INLINE int8_t *store_interleaved(int8_t *out, uint8x16_t a, uint8x16_t b, uint8x16_t c,
                                     uint8x16_t d) {
    register uint8x16_t q0 __asm__("q0") = a;
    register uint8x16_t q1 __asm__("q1") = b;
    register uint8x16_t q2 __asm__("q2") = c;
    register uint8x16_t q3 __asm__("q3") = d;
    __asm__ volatile("vst40.8 {q0, q1, q2, q3}, [%0]\n\t"
                     "vst41.8 {q0, q1, q2, q3}, [%0]\n\t"
                     "vst42.8 {q0, q1, q2, q3}, [%0]\n\t"
                     "vst43.8 {q0, q1, q2, q3}, [%0]!"
                     : "+r"(out)
                     : "w"(q0), "w"(q1), "w"(q2), "w"(q3)
                     : "memory");
    return out;
}

/* Lays out groups of four columns of up to four rows, from an offset on: `loaded` rows are read,
 * `channels` bytes being a column of them; the bytes of the others, and columns from `count` on,
 * are `fill`. */
LIL_INLINE void interleave_rows(const int8_t *const *inputs, uint32_t loaded, uint32_t count,
                                uint32_t channels, uint32_t offset, int8_t fill, int8_t *out) {
    uint32x4_t offsets = vaddq_n_u32(vmulq_n_u32(vidupq_n_u32(0, 1), channels), offset);
    uint8x16_t fills = vdupq_n_u8((uint8_t)fill);
    const int8_t *row0 = inputs[0];
    const int8_t *row1 = inputs[loaded > 1 ? 1 : 0];
    const int8_t *row2 = inputs[loaded > 2 ? 2 : 0];
    const int8_t *row3 = inputs[loaded > 3 ? 3 : 0];
    for (uint32_t groups = count / 4; groups != 0; groups--) {
        uint8x16_t a = load_words(row0, offsets);
        uint8x16_t b = loaded > 1 ? load_words(row1, offsets) : fills;
        uint8x16_t c = loaded > 2 ? load_words(row2, offsets) : fills;
        uint8x16_t d = loaded > 3 ? load_words(row3, offsets) : fills;
        offsets = vaddq_n_u32(offsets, 4 * channels);
        out = store_interleaved(out, a, b, c, d);
    }
    if (count % 4 != 0) {
        mve_pred16_t mask = vctp32q(count % 4);
        uint8x16_t a = load_some_words(row0, offsets, mask, fills);
        uint8x16_t b = loaded > 1 ? load_some_words(row1, offsets, mask, fills) : fills;
        uint8x16_t c = loaded > 2 ? load_some_words(row2, offsets, mask, fills) : fills;
        uint8x16_t d = loaded > 3 ? load_some_words(row3, offsets, mask, fills) : fills;
        store_interleaved(out, a, b, c, d);
    }
}

static void interleave(const int8_t *const *inputs, uint32_t loaded, uint32_t count,
                       uint32_t channels, uint32_t offset, int8_t fill, int8_t *out) {
    switch (loaded) {
    case 1:
        interleave_rows(inputs, 1, count, channels, offset, fill, out);
        break;
    case 2:
        interleave_rows(inputs, 2, count, channels, offset, fill, out);
        break;
    case 3:
        interleave_rows(inputs, 3, count, channels, offset, fill, out);
        break;
    default:
        interleave_rows(inputs, 4, count, channels, offset, fill, out);
    }
}

/* How a row's output pixels are cut into parts whose columns fit in scratch. */
typedef struct layout {
    int8_t *weights;
    int8_t *inputs;
    uint32_t row_blocks;
    uint32_t column_blocks;
    uint32_t step;        /* columns from one output pixel to the next */
    uint32_t block_bytes; /* of inputs */
    uint32_t pixels;      /* that fit */
    bool is_aligned;      /* the inputs may be read as words */
    bool has_aligned_weights;
} layout;

static layout lay_out(const lil_call *call, const rows *window_rows) {
    const lil_window *window = &call->op.parameters.window;
    const lil_tensor *in = &call->sources[0].tensor;
    layout result;
    result.row_blocks = lil_blocks_of(window->kernel_height);
    result.column_blocks = lil_blocks_of(window->kernel_width);
    result.step = window->dilation_width == 1 ? window->stride_width : 4 * result.column_blocks;
    uint32_t weight_bytes = lil_column_weight_bytes(window);
    uint32_t capacity =
        (call->op.scratch_bytes - weight_bytes) / (result.row_blocks * LIL_COLUMN_BYTES);
    result.block_bytes = capacity * LIL_COLUMN_BYTES;
    result.pixels = (capacity - lil_pixel_columns(window)) / result.step + 1;
    result.weights = (int8_t *)call->scratch;
    result.inputs = result.weights + weight_bytes;
    uintptr_t addresses = in->channels;
    for (uint32_t i = 0; i < window_rows->inside; i++) {
        addresses |= (uintptr_t)window_rows->inputs[i];
    }
    result.is_aligned =
        addresses % 4 == 0 && in->channels == call->output.channels && window->dilation_width == 1;
    result.has_aligned_weights =
        ((uintptr_t)window_rows->weights[0] | call->output.channels) % 4 == 0;
    return result;
}

/* Lays out weights of four channels, of which `valid` exist, that cannot be read as words. */
static void copy_weights(const rows *window_rows, uint32_t first, uint32_t width, uint32_t channels,
                         uint32_t channel, uint32_t valid, int8_t *out) {
    memset(out, 0, lil_blocks_of(width) * 4 * LIL_COLUMN_BYTES);
    for (uint32_t x = 0; x < width; x++) {
        for (uint32_t c = 0; c < valid; c++) {
            for (uint32_t i = first; i < first + 4 && i < window_rows->count; i++) {
                out[x * LIL_COLUMN_BYTES + 4 * c + i % 4] =
                    window_rows->weights[i][x * channels + channel + c];
            }
        }
    }
}

/* The weights of four channels from `channel` on, block by block: [row
 * block][column][channel][row]. */
static __attribute__((noinline)) void lay_out_weights(const lil_call *call, const layout *plan,
                                                      const rows *window_rows, uint32_t channel,
                                                      uint32_t valid) {
    uint32_t channels = call->output.channels;
    uint32_t width = call->op.parameters.window.kernel_width;
    int8_t *out = plan->weights;
    for (uint32_t first = 0; first < window_rows->count; first += 4) {
        uint32_t count = window_rows->count - first;
        if (plan->has_aligned_weights) {
            interleave(&window_rows->weights[first], count, width, channels, channel, 0, out);
        } else {
            copy_weights(window_rows, first, width, channels, channel, valid, out);
        }
        out += lil_blocks_of(width) * 4 * LIL_COLUMN_BYTES;
    }
}

/* Lays out any column by bytes: outside of the map, of channels that feed several outputs, or at
 * addresses that words cannot be read from. */
static void copy_column(const lil_call *call, const rows *window_rows, int32_t column,
                        uint32_t channel, uint32_t valid, int8_t *out, uint32_t block_bytes) {
    const lil_tensor *in = &call->sources[0].tensor;
    uint32_t multiplier = call->output.channels / in->channels;
    for (uint32_t i = 0; i < lil_blocks_of(window_rows->count) * 4; i++) {
        bool is_inside = i < window_rows->inside && column >= 0 && column < (int32_t)in->width;
        int8_t *word = out + i / 4 * block_bytes + i % 4;
        for (uint32_t c = 0; c < 4; c++) {
            int8_t value = in->zero_point;
            if (is_inside && c < valid) {
                value =
                    window_rows
                        ->inputs[i][(uint32_t)column * in->channels + (channel + c) / multiplier];
            }
            word[4 * c] = value;
        }
    }
}

/* Begins, or adds to, the sums [pixel][4] of a block of taps; inputs and weights are laid out. */
LIL_INLINE void dot_block(const int8_t *inputs, uint32_t step, const int8_t *weights, int32_t *sums,
                          uint32_t count, bool is_first) {
    int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    __asm__ volatile(
        "vld40.32 {q4, q5, q6, q7}, [%[weights]]\n\t"
        "vld41.32 {q4, q5, q6, q7}, [%[weights]]\n\t"
        "vld42.32 {q4, q5, q6, q7}, [%[weights]]\n\t"
        "vld43.32 {q4, q5, q6, q7}, [%[weights]]\n\t"
        "dls lr, %[count]\n"
        "1:\n\t"
        "vld40.32 {q0, q1, q2, q3}, [%[inputs]]\n\t"
        "vld41.32 {q0, q1, q2, q3}, [%[inputs]]\n\t"
        "vld42.32 {q0, q1, q2, q3}, [%[inputs]]\n\t"
        "vld43.32 {q0, q1, q2, q3}, [%[inputs]]\n\t"
        ".if %c[is_first]\n\t"
        "vmladav.s8 %[sum0], q0, q4\n\t"
        "vmladav.s8 %[sum1], q1, q5\n\t"
        "vmladav.s8 %[sum2], q2, q6\n\t"
        "vmladav.s8 %[sum3], q3, q7\n\t"
        ".else\n\t"
        "ldrd %[sum0], %[sum1], [%[sums]]\n\t"
        "ldrd %[sum2], %[sum3], [%[sums], #8]\n\t"
        "vmladava.s8 %[sum0], q0, q4\n\t"
        "vmladava.s8 %[sum1], q1, q5\n\t"
        "vmladava.s8 %[sum2], q2, q6\n\t"
        "vmladava.s8 %[sum3], q3, q7\n\t"
        ".endif\n\t"
        "strd %[sum0], %[sum1], [%[sums]], #8\n\t"
        "strd %[sum2], %[sum3], [%[sums]], #8\n\t"
        "add %[inputs], %[inputs], %[step]\n\t"
        "le lr, 1b"
        : [inputs] "+r"(inputs), [sums] "+r"(sums), [sum0] "+Te"(sum0), [sum1] "+Te"(sum1),
          [sum2] "+Te"(sum2), [sum3] "+Te"(sum3)
        : [weights] "r"(weights), [step] "r"(step), [count] "r"(count), [is_first] "i"(is_first)
        : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "memory");
}

/* Columns of the inputs of some output pixels: those inside of the map are [begin, end), counted
 * from the first pixel's first column, which is `left` in the map. */
typedef struct span {
    int32_t left;
    uint32_t begin;
    uint32_t end;
    uint32_t count;
} span;

static span find_span(const lil_call *call, const layout *plan, uint32_t x, uint32_t pixels) {
    const lil_window *window = &call->op.parameters.window;
    span result;
    int32_t width = (int32_t)call->sources[0].tensor.width;
    result.left = (int32_t)(x * window->stride_width) - window->pad_left;
    result.count = (pixels - 1) * plan->step + window->kernel_width;
    int32_t begin = result.left < 0 ? -result.left : 0;
    int32_t end = width - result.left;
    result.begin = begin < (int32_t)result.count ? (uint32_t)begin : result.count;
    result.end = end < (int32_t)result.count ? (uint32_t)(end > 0 ? end : 0) : result.count;
    return result;
}

/* Fills what no row reaches: columns beside the map, and blocks of rows that lie outside. */
static void fill_outside(const lil_call *call, const layout *plan, const rows *window_rows,
                         const span *columns) {
    int32_t zero_point = call->sources[0].tensor.zero_point;
    for (uint32_t block = 0; block < plan->row_blocks; block++) {
        int8_t *out = plan->inputs + block * plan->block_bytes;
        if (4 * block >= window_rows->inside || columns->begin >= columns->end) {
            memset(out, zero_point, columns->count * LIL_COLUMN_BYTES);
            continue;
        }
        memset(out, zero_point, columns->begin * LIL_COLUMN_BYTES);
        memset(out + columns->end * LIL_COLUMN_BYTES, zero_point,
               (columns->count - columns->end) * LIL_COLUMN_BYTES);
    }
}

/* Lays out four channels' inputs. */
static __attribute__((noinline)) void lay_out_inputs(const lil_call *call, const layout *plan,
                                                     const rows *window_rows, const span *columns,
                                                     uint32_t channel, uint32_t valid) {
    const lil_window *window = &call->op.parameters.window;
    if (!plan->is_aligned) {
        for (uint32_t i = 0; i < columns->count; i++) {
            int32_t column = columns->left + (int32_t)i;
            if (window->dilation_width != 1) {
                uint32_t pixel = i / plan->step;
                column = columns->left + (int32_t)(pixel * window->stride_width +
                                                   i % plan->step * window->dilation_width);
            }
            copy_column(call, window_rows, column, channel, valid,
                        plan->inputs + i * LIL_COLUMN_BYTES, plan->block_bytes);
        }
        return;
    }
    uint32_t channels = call->output.channels;
    int8_t *out = plan->inputs + columns->begin * LIL_COLUMN_BYTES;
    if (columns->begin >= columns->end) {
        return;
    }
    uint32_t offset = (uint32_t)(columns->left + (int32_t)columns->begin) * channels + channel;
    for (uint32_t first = 0; first < window_rows->inside; first += 4) {
        interleave(&window_rows->inputs[first], window_rows->inside - first,
                   columns->end - columns->begin, channels, offset,
                   call->sources[0].tensor.zero_point, out);
        out += plan->block_bytes;
    }
}

/* The sums of laid out pixels from `x` on. */
static __attribute__((noinline)) void dot_blocks(const layout *plan, uint32_t x, uint32_t count,
                                                 int32_t *sums) {
    const int8_t *weights = plan->weights;
    uint32_t step = plan->step * LIL_COLUMN_BYTES;
    for (uint32_t row = 0; row < plan->row_blocks; row++) {
        for (uint32_t column = 0; column < plan->column_blocks; column++) {
            const int8_t *inputs =
                plan->inputs + row * plan->block_bytes + column * 4 * LIL_COLUMN_BYTES + x * step;
            if (row + column == 0) {
                dot_block(inputs, step, weights, sums, count, true);
            } else {
                dot_block(inputs, step, weights, sums, count, false);
            }
            weights += 4 * LIL_COLUMN_BYTES;
        }
    }
}

/* How the windows of 3x3 of a part of a row are laid out and read. Neighbours are loaded in pairs.
 */
typedef struct block_3x3 {
    const int8_t *weights[3]; /* rows of the window */
    int8_t *laid_weights;
    const int8_t *inputs[3];    /* column 0 of the rows inside of the map */
    int8_t *groups;             /* where columns inside of the map are laid out, in fours */
    int8_t *last_group;         /* the last four of them; it may overlap */
    uint32_t groups_before;     /* the last one */
    const int8_t *windows;      /* laid out, of the first pixel */
    uint32_t window_step;       /* bytes to the next pixel's */
    uint32_t group_step;        /* bytes of four columns of the inputs */
    int32_t fill;               /* of rows outside of the map */
    uint32_t weight_offsets[4]; /* of four columns, in bytes; the fourth one is the third */
    uint32_t group_offsets[4];
    uint32_t last_offsets[4];
} block_3x3;

/* Whether this is the usual case: 3x3, read as words, with four columns inside of the map, so that
 * nothing is decided channel by channel. */
static bool is_block_3x3(const lil_call *call, const layout *plan, const rows *window_rows,
                         const span *columns, uint32_t pixels) {
    return window_rows->count == 3 && call->op.parameters.window.kernel_width == 3 &&
           plan->is_aligned && plan->has_aligned_weights && window_rows->inside > 0 &&
           columns->begin + 4 <= columns->end && pixels <= LIL_PIXEL_SUMS / 4;
}

static block_3x3 plan_block_3x3(const lil_call *call, const layout *plan, const rows *window_rows,
                                const span *columns) {
    uint32_t channels = call->output.channels;
    uint32_t inside = columns->end - columns->begin;
    uint32_t first = (uint32_t)(columns->left + (int32_t)columns->begin) * channels;
    block_3x3 block;
    for (uint32_t i = 0; i < 3; i++) {
        block.weights[i] = window_rows->weights[i];
        block.inputs[i] = window_rows->inputs[i];
    }
    block.laid_weights = plan->weights;
    block.groups = plan->inputs + columns->begin * LIL_COLUMN_BYTES;
    block.last_group = block.groups + (inside - 4) * LIL_COLUMN_BYTES;
    block.groups_before = (inside - 1) / 4;
    block.windows = plan->inputs;
    block.window_step = plan->step * LIL_COLUMN_BYTES;
    block.group_step = 4 * channels;
    block.fill = call->sources[0].tensor.zero_point;
    uint32x4_t lanes = vidupq_n_u32(0, 1);
    vstrwq_u32(block.weight_offsets, vmulq_n_u32(vminq_u32(lanes, vdupq_n_u32(2)), channels));
    uint32x4_t offsets = vaddq_n_u32(vmulq_n_u32(lanes, channels), first);
    vstrwq_u32(block.group_offsets, offsets);
    vstrwq_u32(block.last_offsets, vaddq_n_u32(offsets, (inside - 4) * channels));
    return block;
}

/* Lays out four channels from `channel` on, and computes their sums [pixel][4]; `inside` rows of
 * the window are inside of the map. In a window's fourth row and column the weights are 0. */
LIL_INLINE void dot_block_3x3(const block_3x3 *block, uint32_t channel, uint32_t inside,
                              uint32_t pixels, int32_t *sums) {
    int32_t sum0, sum1, sum2, sum3;
    uint32_t at, step;
    __asm__ volatile(
        "ldrd %[sum0], %[sum1], [%[block]]\n\t"
        "ldrd %[sum2], %[at], [%[block], %[weights_2]]\n\t"
        "vldrw.32 q4, [%[block], %[weight_offsets]]\n\t"
        "vadd.i32 q4, q4, %[channel]\n\t"
        "vldrw.32 q0, [%[sum0], q4]\n\t"
        "vldrw.32 q1, [%[sum1], q4]\n\t"
        "vldrw.32 q2, [%[sum2], q4]\n\t"
        "vmov.i32 q3, #0\n\t"
        "vst40.8 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vst41.8 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vst42.8 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vst43.8 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vstrw.32 q3, [%[at], #48]\n\t"
        "vld40.32 {q4, q5, q6, q7}, [%[at]]\n\t"
        "vld41.32 {q4, q5, q6, q7}, [%[at]]\n\t"
        "vld42.32 {q4, q5, q6, q7}, [%[at]]\n\t"
        "vld43.32 {q4, q5, q6, q7}, [%[at]]\n\t"
        ".if %c[inside] < 3\n\t"
        "ldr %[step], [%[block], %[fill]]\n\t"
        "vdup.8 q2, %[step]\n\t"
        ".endif\n\t"
        ".if %c[inside] < 2\n\t"
        "vmov q1, q2\n\t"
        ".endif\n\t"
        "ldrd %[sum0], %[sum1], [%[block], %[inputs_0]]\n\t"
        "ldrd %[sum2], %[at], [%[block], %[inputs_2]]\n\t"
        "ldrd %[sum3], %[step], [%[block], %[last_group]]\n\t"
        "vldrw.32 q3, [%[block], %[group_offsets]]\n\t"
        "vadd.i32 q3, q3, %[channel]\n\t"
        "wls lr, %[step], 2f\n\t"
        "ldr %[step], [%[block], %[group_step]]\n"
        "1:\n\t"
        "vldrw.32 q0, [%[sum0], q3]\n\t"
        ".if %c[inside] > 1\n\t"
        "vldrw.32 q1, [%[sum1], q3]\n\t"
        ".endif\n\t"
        ".if %c[inside] > 2\n\t"
        "vldrw.32 q2, [%[sum2], q3]\n\t"
        ".endif\n\t"
        "vadd.i32 q3, q3, %[step]\n\t"
        "vst40.8 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vst41.8 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vst42.8 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vst43.8 {q0, q1, q2, q3}, [%[at]]!\n\t"
        "le lr, 1b\n"
        "2:\n\t"
        "vldrw.32 q3, [%[block], %[last_offsets]]\n\t"
        "vadd.i32 q3, q3, %[channel]\n\t"
        "vldrw.32 q0, [%[sum0], q3]\n\t"
        ".if %c[inside] > 1\n\t"
        "vldrw.32 q1, [%[sum1], q3]\n\t"
        ".endif\n\t"
        ".if %c[inside] > 2\n\t"
        "vldrw.32 q2, [%[sum2], q3]\n\t"
        ".endif\n\t"
        "vst40.8 {q0, q1, q2, q3}, [%[sum3]]\n\t"
        "vst41.8 {q0, q1, q2, q3}, [%[sum3]]\n\t"
        "vst42.8 {q0, q1, q2, q3}, [%[sum3]]\n\t"
        "vst43.8 {q0, q1, q2, q3}, [%[sum3]]\n\t"
        "ldrd %[at], %[step], [%[block], %[windows]]\n\t"
        "dls lr, %[pixels]\n"
        "3:\n\t"
        "vld40.32 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vld41.32 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vld42.32 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vld43.32 {q0, q1, q2, q3}, [%[at]]\n\t"
        "vmladav.s8 %[sum0], q0, q4\n\t"
        "vmladav.s8 %[sum1], q1, q5\n\t"
        "vmladav.s8 %[sum2], q2, q6\n\t"
        "vmladav.s8 %[sum3], q3, q7\n\t"
        "strd %[sum0], %[sum1], [%[sums]], #8\n\t"
        "strd %[sum2], %[sum3], [%[sums]], #8\n\t"
        "add %[at], %[at], %[step]\n\t"
        "le lr, 3b"
        : [sums] "+r"(sums), [sum0] "=&Te"(sum0), [sum1] "=&Te"(sum1), [sum2] "=&Te"(sum2),
          [sum3] "=&Te"(sum3), [at] "=&r"(at), [step] "=&r"(step)
        : [block] "r"(block), [channel] "r"(channel), [pixels] "r"(pixels), [inside] "i"(inside),
          [weights_2] "i"(offsetof(block_3x3, weights[2])),
          [inputs_0] "i"(offsetof(block_3x3, inputs)),
          [inputs_2] "i"(offsetof(block_3x3, inputs[2])),
          [last_group] "i"(offsetof(block_3x3, last_group)),
          [windows] "i"(offsetof(block_3x3, windows)),
          [group_step] "i"(offsetof(block_3x3, group_step)), [fill] "i"(offsetof(block_3x3, fill)),
          [weight_offsets] "i"(offsetof(block_3x3, weight_offsets)),
          [group_offsets] "i"(offsetof(block_3x3, group_offsets)),
          [last_offsets] "i"(offsetof(block_3x3, last_offsets))
        : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "memory");
}

/* The outputs of such a part. */
LIL_INLINE void convolve_rows_3x3(const block_3x3 *block, const lil_channels *channels,
                                  uint32_t count, uint32_t inside, uint32_t pixels,
                                  const lil_narrowing *narrowing, int8_t *out) {
    int32_t sums[LIL_PIXEL_SUMS];
    for (uint32_t channel = 0; channel < count; channel += 4) {
        dot_block_3x3(block, channel, inside, pixels, sums);
        lil_narrow_sums(channels, channel, 4, sums, pixels, narrowing, out + channel);
    }
}

static __attribute__((noinline)) void convolve_3x3(const lil_call *call,
                                                   const lil_channels *channels, const layout *plan,
                                                   const rows *window_rows, const span *columns,
                                                   uint32_t pixels, int8_t *out) {
    uint32_t count = call->output.channels;
    lil_narrowing narrowing = lil_make_narrowing(call, channels, count);
    block_3x3 block = plan_block_3x3(call, plan, window_rows, columns);
    if (window_rows->inside == 3) {
        convolve_rows_3x3(&block, channels, count, 3, pixels, &narrowing, out);
    } else if (window_rows->inside == 2) {
        convolve_rows_3x3(&block, channels, count, 2, pixels, &narrowing, out);
    } else {
        convolve_rows_3x3(&block, channels, count, 1, pixels, &narrowing, out);
    }
}

/* Output pixels `begin` to `end`, whose columns fit in scratch. */
static __attribute__((noinline)) void
convolve_part(const lil_call *call, const lil_channels *channels, const layout *plan,
              const rows *window_rows, const span *columns, uint32_t begin, uint32_t end) {
    int32_t sums[LIL_PIXEL_SUMS];
    uint32_t out_channels = call->output.channels;
    lil_narrowing narrowing = lil_make_narrowing(call, channels, out_channels);
    for (uint32_t channel = 0; channel < out_channels; channel += 4) {
        uint32_t valid = out_channels - channel < 4 ? out_channels - channel : 4;
        lay_out_weights(call, plan, window_rows, channel, valid);
        lay_out_inputs(call, plan, window_rows, columns, channel, valid);
        for (uint32_t x = begin; x < end; x += LIL_PIXEL_SUMS / 4) {
            uint32_t count = end - x < LIL_PIXEL_SUMS / 4 ? end - x : LIL_PIXEL_SUMS / 4;
            dot_blocks(plan, x - begin, count, sums);
            lil_narrow_sums(channels, channel, valid, sums, count, &narrowing,
                            call->out + x * out_channels + channel);
        }
    }
}

/* One output of a window that is too large to be laid out. */
static int32_t sum_window(const lil_call *call, const lil_channels *channels, uint32_t x,
                          uint32_t channel) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    const lil_tensor *in = &source->tensor;
    uint32_t out_channels = call->output.channels;
    const int8_t *weights = channels->weights + channel;
    uint32_t in_channel = channel / (out_channels / in->channels);
    int32_t sum = lil_bias(channels, channel);
    for (int32_t ky = 0; ky < window->kernel_height; ky++) {
        const int8_t *row = lil_row(source, source->first + ky * window->dilation_height);
        int32_t column = (int32_t)(x * window->stride_width) - window->pad_left;
        for (int32_t kx = 0; kx < window->kernel_width; kx++) {
            bool is_inside = row != NULL && column >= 0 && column < (int32_t)in->width;
            int32_t value =
                is_inside ? row[(uint32_t)column * in->channels + in_channel] : in->zero_point;
            sum += value * *weights;
            weights += out_channels;
            column += window->dilation_width;
        }
    }
    return sum;
}

void lil_depthwise_convolution(const lil_call *call) {
    const lil_window *window = &call->op.parameters.window;
    uint32_t out_channels = call->output.channels;
    lil_channels channels = lil_load_channels(call, out_channels);
    if (lil_column_scratch(window) == 0) {
        for (uint32_t x = 0; x < call->pixels; x++) {
            for (uint32_t c = 0; c < out_channels; c++) {
                int32_t sum = sum_window(call, &channels, x, c);
                call->out[x * out_channels + c] = lil_finish(&channels, c, sum, call);
            }
        }
        return;
    }
    rows window_rows;
    find_rows(call, channels.weights, &window_rows);
    layout plan = lay_out(call, &window_rows);
    for (uint32_t x = 0; x < call->pixels; x += plan.pixels) {
        uint32_t pixels = call->pixels - x < plan.pixels ? call->pixels - x : plan.pixels;
        span columns = find_span(call, &plan, x, pixels);
        if (plan.is_aligned) {
            fill_outside(call, &plan, &window_rows, &columns);
        }
        if (is_block_3x3(call, &plan, &window_rows, &columns, pixels)) {
            convolve_3x3(call, &channels, &plan, &window_rows, &columns, pixels,
                         call->out + x * out_channels);
        } else {
            convolve_part(call, &channels, &plan, &window_rows, &columns, x, x + pixels);
        }
    }
}

#endif
