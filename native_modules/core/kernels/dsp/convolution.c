/* Convolution with the DSP extension: blocks of up to four pixels are expanded to 16 bits in
 * scratch, then multiplied with the weights of two output channels at a time. */
#include "../kernels.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#include "blocks.h"
#include "expand.h"
#include "pairs.h"

/* A convolution at work on a row. */
typedef struct row_work {
    const lil_call *call;
    const lil_source *source;
    const lil_window *window;
    uint32_t group_inputs;
    uint32_t taps;    /* of one output channel */
    uint32_t channel; /* the group's first input channel */
    int32_t left;     /* input column of the block's first tap */
    uint32_t pixels;  /* of the block */
    uint32_t step;    /* input bytes from one pixel of the block to the next */
    uint32_t *words;  /* the expanded block */
    int32_t *sums;    /* between blocks of taps */
    int8_t *patches;  /* taps of the pixels on their way to `words` */
    const int8_t *in; /* the block's first pixel of a pointwise convolution, else NULL */
    bool has_rows;    /* a kernel row lies in one piece: neither dilation nor groups */
    bool is_short;    /* outputs can be narrowed the short way */
} row_work;

/* A kernel row, or one column of it where the row does not lie in one piece. */
typedef struct piece {
    const int8_t *row; /* of the input; NULL outside of the map */
    int32_t column;    /* of the input, for the block's first pixel */
    uint32_t skipped;  /* taps before the first that is wanted */
    uint32_t count;    /* taps that are wanted */
} piece;

/* Input columns of a piece. */
static uint32_t piece_columns(const row_work *work) {
    return work->has_rows ? work->window->kernel_width : 1;
}

/* The piece with tap `first`, up to tap `end`. */
static piece find_piece(const row_work *work, uint32_t first, uint32_t end) {
    uint32_t taps = piece_columns(work) * work->group_inputs;
    uint32_t index = first / taps;
    uint32_t ky = index;
    piece found;
    found.column = work->left;
    if (!work->has_rows) {
        ky = index / work->window->kernel_width;
        found.column +=
            (int32_t)(index % work->window->kernel_width * work->window->dilation_width);
    }
    found.row =
        lil_row(work->source, work->source->first + (int32_t)(ky * work->window->dilation_height));
    found.skipped = first - index * taps;
    found.count = lil_least(taps - found.skipped, end - first);
    return found;
}

/* Whether the piece lies in the map for all pixels of the block. */
static bool is_inside(const row_work *work, const piece *found) {
    int32_t columns =
        (int32_t)((work->pixels - 1) * work->window->stride_width + piece_columns(work));
    return found->row != NULL && found->column >= 0 &&
           found->column + columns <= (int32_t)work->source->tensor.width;
}

/* The piece's first wanted tap of the pixel whose first is in `column`. */
static const int8_t *piece_start(const row_work *work, const piece *found, int32_t column) {
    return found->row + (column * (int32_t)work->source->tensor.channels +
                         (int32_t)(work->channel + found->skipped));
}

static int32_t limit(int32_t value, int32_t least, int32_t most) {
    return value < least ? least : value > most ? most : value;
}

static void copy_taps(int8_t *to, const int8_t *from, uint32_t count) {
    if (count >= 4) {
        const int8_t *last = from + count - 4;
        int8_t *last_to = to + count - 4;
        while (from < last) {
            lil_store_word(to, lil_load_word(from));
            from += 4;
            to += 4;
        }
        lil_store_word(last_to, lil_load_word(last));
        return;
    }
    while (count-- > 0) {
        *to++ = *from++;
    }
}

/* The piece's taps of the pixel whose first is in `column`, where some lie outside. */
static void copy_border(const row_work *work, const piece *found, int32_t column, int8_t *to) {
    const lil_tensor *tensor = &work->source->tensor;
    int32_t width = (int32_t)tensor->width;
    int32_t inputs = (int32_t)work->group_inputs;
    if (found->row == NULL || column >= width || column <= -(int32_t)piece_columns(work)) {
        memset(to, (uint8_t)tensor->zero_point, found->count);
        return;
    }
    /* The wanted taps from the map's first column on, and those from behind its last. */
    int32_t count = (int32_t)found->count;
    int32_t skipped = (int32_t)found->skipped;
    int32_t first = limit(-column * inputs - skipped, 0, count);
    int32_t end = limit((width - column) * inputs - skipped, first, count);
    const int8_t *from = piece_start(work, found, column) + first;
    memset(to, (uint8_t)tensor->zero_point, (uint32_t)first);
    copy_taps(to + first, from, (uint32_t)(end - first));
    memset(to + end, (uint8_t)tensor->zero_point, (uint32_t)(count - end));
}

/* `count` taps of each pixel of a block; the pixels lie `stride` apart. */
static void expand_block(const int8_t *in, uint32_t stride, uint32_t count, uint32_t pixels,
                         uint32_t *out) {
    if (pixels == 4) {
        for (uint32_t p = 0; p < 4; p += 2) {
            lil_expand_two(in + p * stride, stride, count, 4, out + p);
        }
    } else if (pixels == 3) {
        lil_expand_two(in, stride, count, 3, out);
        lil_expand_quads(in + 2 * stride, count, 3, out + 2);
    } else if (pixels == 2) {
        lil_expand_two(in, stride, count, 2, out);
    } else {
        lil_expand_quads(in, count, 1, out);
    }
    if (count % 4 != 0) {
        out += count / 4 * 2 * pixels;
        for (uint32_t p = 0; p < pixels; p++) {
            lil_expand_rest(in + p * stride, count, pixels, out + p);
        }
    }
}

/* Taps [first, end) of the block: those of each pixel one behind the other, then expanded. */
static void gather_block(const row_work *work, uint32_t first, uint32_t end, uint32_t *words) {
    uint32_t pitch = end - first;
    int8_t *to = work->patches;
    for (uint32_t tap = first; tap < end;) {
        piece found = find_piece(work, tap, end);
        int32_t last = (int32_t)work->source->tensor.width - (int32_t)piece_columns(work);
        int32_t column = found.column;
        for (uint32_t p = 0; p < work->pixels; p++) {
            if (found.row != NULL && column >= 0 && column <= last) {
                copy_taps(to + p * pitch, piece_start(work, &found, column), found.count);
            } else {
                copy_border(work, &found, column, to + p * pitch);
            }
            column += work->window->stride_width;
        }
        to += found.count;
        tap += found.count;
    }
    expand_block(work->patches, pitch, pitch, work->pixels, words);
}

/* Taps [first, end) of the block: straight from the input where all of a piece lies in the map and
 * has an even number of taps. */
static void expand_window(const row_work *work, uint32_t first, uint32_t end) {
    uint32_t *to = work->words;
    while (first < end) {
        piece found = find_piece(work, first, end);
        bool is_even = found.count % 2 == 0 || first + found.count == end;
        if (!is_even || !is_inside(work, &found)) {
            gather_block(work, first, end, to);
            return;
        }
        expand_block(piece_start(work, &found, found.column), work->step, found.count, work->pixels,
                     to);
        to += (found.count + 1) / 2 * work->pixels;
        first += found.count;
    }
}

static void expand_taps(const row_work *work, uint32_t first, uint32_t end) {
    if (work->in != NULL) {
        expand_block(work->in + first, work->step, end - first, work->pixels, work->words);
    } else {
        expand_window(work, first, end);
    }
}

/* Multiplies a block with its last taps and computes the outputs of channels [first, end). `pairs`
 * begins with these. */
static void finish(const row_work *work, lil_pairs *pairs, uint32_t taps, uint32_t first,
                   uint32_t end) {
    uint32_t narrowed = work->is_short ? (end - first) & ~(uint32_t)1 : 0;
    for (uint32_t c = narrowed; c < end - first; c += 2) {
        lil_finish_pair(pairs, work->call, first, c, end, taps, work->pixels);
    }
    if (narrowed > 0) {
        pairs->ending = lil_starts_at_zero(work->call) ? LIL_NARROW_FROM_ZERO : LIL_NARROW;
        pairs->out_end = pairs->out + narrowed;
        lil_multiply_pairs(pairs, taps, work->pixels);
    }
}

/* A block whose taps come in pieces, for channels [first, end), not more than a chunk. */
static void convolve_chunk(const row_work *work, lil_pairs pairs, uint32_t first, uint32_t end) {
    const int8_t *weights = pairs.weights;
    const lil_operator *op = &work->call->op;
    uint32_t pair_bytes = lil_pair_bytes(op, work->taps);
    uint32_t tap = 0;
    uint32_t tap_end = LIL_BLOCK_TAPS;
    pairs.ending = LIL_KEEP;
    pairs.out_end = pairs.out + (end - first) + (end - first) % 2;
    pairs.gap = pair_bytes - lil_tap_offset(op, LIL_BLOCK_TAPS);
    while (tap_end < work->taps) {
        expand_taps(work, tap, tap_end);
        lil_multiply_pairs(&pairs, LIL_BLOCK_TAPS, work->pixels);
        pairs.sums = work->sums;
        tap = tap_end;
        tap_end += LIL_BLOCK_TAPS;
        pairs.weights = weights + lil_tap_offset(op, tap);
    }
    expand_taps(work, tap, work->taps);
    pairs.gap = lil_tap_offset(op, tap);
    finish(work, &pairs, work->taps - tap, first, end);
}

/* All channels of a group, [first, end), for a block whose taps come in pieces. Never inlined: what
 * it needs would be computed for the blocks of other convolutions, too. */
static __attribute__((noinline)) void convolve_large(const row_work *work, const lil_pairs *pairs,
                                                     uint32_t first, uint32_t end) {
    lil_pairs chunk = *pairs;
    for (; first < end; first += LIL_CHUNK_CHANNELS) {
        convolve_chunk(work, chunk, first, lil_least(first + LIL_CHUNK_CHANNELS, end));
        chunk.weights += LIL_CHUNK_CHANNELS / 2 * lil_pair_bytes(&work->call->op, work->taps);
        chunk.bias += 4 * LIL_CHUNK_CHANNELS;
        chunk.multiplier += 4 * LIL_CHUNK_CHANNELS;
        chunk.shift += LIL_CHUNK_CHANNELS;
        chunk.out += LIL_CHUNK_CHANNELS;
    }
}

/* All channels of a group, [first, end), for a block. */
static void convolve_block(const row_work *work, lil_pairs *pairs, uint32_t first, uint32_t end) {
    if (work->taps <= LIL_WHOLE_TAPS) {
        expand_taps(work, 0, work->taps);
        finish(work, pairs, work->taps, first, end);
    } else {
        convolve_large(work, pairs, first, end);
    }
}

static void convolve_group(row_work *work, const lil_channels *channels, uint32_t group) {
    const lil_call *call = work->call;
    uint32_t outputs = call->output.channels / work->window->groups;
    uint32_t first = group * outputs;
    /* A row of the output may lie over rows of the input above its own. So a block that is read
     * again for further channels keeps to one row. */
    uint32_t most = LIL_BLOCK_PIXELS;
    if (work->taps > LIL_WHOLE_TAPS && outputs > LIL_CHUNK_CHANNELS) {
        most = lil_least(most, call->output.width);
    }
    lil_pairs pairs;
    pairs.weights =
        channels->weights + group * lil_pair_count(outputs) * lil_pair_bytes(&call->op, work->taps);
    pairs.is_int4 = lil_is_int4(&call->op);
    pairs.inputs = work->words;
    pairs.bias = channels->bias + 4 * first;
    pairs.sums = NULL;
    pairs.multiplier = channels->multiplier + 4 * first;
    pairs.shift = channels->shift + first;
    pairs.out = call->out + first;
    pairs.stride = call->output.channels;
    pairs.twice_zero_point = 2 * call->output.zero_point + 1;
    pairs.kept = work->sums;
    pairs.gap = 0;
    work->channel = group * work->group_inputs;
    work->left = -work->window->pad_left;
    for (uint32_t x = 0; x < call->pixels; x += work->pixels) {
        uint32_t left = call->pixels - x;
        work->pixels = left == LIL_BLOCK_PIXELS + 1 ? 3 : left; /* one alone costs the most */
        work->pixels = lil_least(work->pixels, most);
        convolve_block(work, &pairs, first, first + outputs);
        pairs.out += work->pixels * call->output.channels;
        work->left += (int32_t)(work->pixels * work->window->stride_width);
        if (work->in != NULL) {
            work->in += work->pixels * work->step;
        }
    }
}

void lil_convolution(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_window *window = &call->op.parameters.window;
    row_work work;
    work.call = call;
    work.source = source;
    work.window = window;
    work.group_inputs = source->tensor.channels / window->groups;
    work.taps = (uint32_t)window->kernel_height * window->kernel_width * work.group_inputs;
    work.step = window->stride_width * source->tensor.channels;
    work.has_rows = window->groups == 1 && window->dilation_width == 1;
    work.is_short = (call->op.flags & (LIL_SHIFTS_RIGHT | LIL_SINGLE_ROUNDING)) == LIL_SHIFTS_RIGHT;
    uint8_t *sums = call->scratch + lil_block_bytes(&call->op, work.taps);
    work.words = (uint32_t *)(void *)call->scratch;
    work.sums = (int32_t *)(void *)sums;
    work.patches =
        (int8_t *)sums + lil_sums_bytes(work.taps, call->output.channels / window->groups);
    work.in = call->op.flags & LIL_POINTWISE ? lil_row(source, source->first) : NULL;
    lil_channels channels = lil_load_channels(call, call->output.channels);
    for (uint32_t group = 0; group < window->groups; group++) {
        convolve_group(&work, &channels, group);
    }
    lil_activate(call, call->out, call->pixels * call->output.channels);
}

#endif
