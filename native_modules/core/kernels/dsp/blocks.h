/* How the DSP kernels cut their work, which decides the scratch that they need. */
#ifndef LIL_DSP_BLOCKS_H
#define LIL_DSP_BLOCKS_H

#include "../kernels.h"

/* Pixels that are multiplied together. */
#define LIL_BLOCK_PIXELS 4

/* A window of up to LIL_WHOLE_TAPS taps is one block; a larger one has blocks of LIL_BLOCK_TAPS,
 * between which the sums of LIL_CHUNK_CHANNELS output channels wait. */
#define LIL_WHOLE_TAPS 128
#define LIL_BLOCK_TAPS 64
#define LIL_CHUNK_CHANNELS 32

/* Taps of a row that a fully connected layer expands at once. Fewer when weights have four bits:
 * 4096 times their products must fit 32 bits. */
#define LIL_ROW_TAPS 512
#define LIL_ROW_TAPS_INT4 496

static inline uint32_t lil_least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Taps that fill words of weights. */
static inline uint32_t lil_padded_taps(bool is_int4, uint32_t taps) {
    return is_int4 ? (taps + 3) & ~(uint32_t)3 : taps + taps % 2;
}

/* Taps of a block when a channel has `taps`. */
static inline uint32_t lil_block_taps(const lil_operator *op, uint32_t taps) {
    return taps > LIL_WHOLE_TAPS ? LIL_BLOCK_TAPS : lil_padded_taps(lil_is_int4(op), taps);
}

/* Bytes of a block of int16 taps. */
static inline uint32_t lil_block_bytes(const lil_operator *op, uint32_t taps) {
    return 2 * LIL_BLOCK_PIXELS * lil_block_taps(op, taps);
}

/* Bytes of the sums that wait. */
static inline uint32_t lil_sums_bytes(uint32_t taps, uint32_t group_outputs) {
    uint32_t channels = lil_least(group_outputs + group_outputs % 2, LIL_CHUNK_CHANNELS);
    return taps > LIL_WHOLE_TAPS ? 4 * LIL_BLOCK_PIXELS * channels : 0;
}

/* Scratch of a convolution: block, sums and, unless it is pointwise, the block's taps in int8. The
 * portable kernel gathers all taps of one pixel. */
static inline uint32_t lil_convolution_scratch(const lil_operator *op, uint32_t in_channels,
                                               uint32_t out_channels) {
    const lil_window *window = &op->parameters.window;
    uint32_t taps =
        (uint32_t)window->kernel_height * window->kernel_width * (in_channels / window->groups);
    uint32_t bytes =
        lil_block_bytes(op, taps) + lil_sums_bytes(taps, out_channels / window->groups);
    if (op->flags & LIL_POINTWISE) {
        return bytes;
    }
    bytes += LIL_BLOCK_PIXELS * lil_block_taps(op, taps);
    return bytes > taps ? bytes : taps;
}

static inline uint32_t lil_row_taps(const lil_operator *op) {
    return lil_is_int4(op) ? LIL_ROW_TAPS_INT4 : LIL_ROW_TAPS;
}

/* Bytes of a fully connected layer's sums between rows or pieces of them. */
static inline uint32_t lil_row_sums_bytes(const lil_operator *op, uint32_t height,
                                          uint32_t row_taps, uint32_t out_channels) {
    return height > 1 || row_taps > lil_row_taps(op) ? 4 * (out_channels + out_channels % 2) : 0;
}

/* Scratch of a fully connected layer: sums and expanded taps. */
static inline uint32_t lil_fully_connected_scratch(const lil_operator *op, uint32_t height,
                                                   uint32_t row_taps, uint32_t out_channels) {
    uint32_t taps = lil_least(row_taps, lil_row_taps(op));
    return lil_row_sums_bytes(op, height, row_taps, out_channels) +
           2 * lil_padded_taps(lil_is_int4(op), taps);
}

#endif
