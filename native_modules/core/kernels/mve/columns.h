/* How much scratch the Helium kernel of a depthwise convolution needs to lay out its columns. */
#ifndef LIL_MVE_COLUMNS_H
#define LIL_MVE_COLUMNS_H

#include "../kernels.h"

/* Bytes of a column: four channels of four rows. */
#define LIL_COLUMN_BYTES 16

/* A window is laid out in blocks of four rows by four columns, when it has no more than these. */
#define LIL_MAX_BLOCKS 4

/* Rows that such a window has at most. */
#define LIL_MAX_ROWS 16

/* More bytes of scratch are not asked for. */
#define LIL_COLUMN_LIMIT 1024

static inline uint32_t lil_blocks_of(uint32_t count) {
    return (count + 3) / 4;
}

/* Bytes of a window's weights. */
static inline uint32_t lil_column_weight_bytes(const lil_window *window) {
    return lil_blocks_of(window->kernel_height) * lil_blocks_of(window->kernel_width) * 4 *
           LIL_COLUMN_BYTES;
}

/* Columns that one output pixel sees: they are written and read in fours, so that there may be
 * three more than it needs. */
static inline uint32_t lil_pixel_columns(const lil_window *window) {
    return 4 * lil_blocks_of(window->kernel_width) + 3;
}

/* Bytes for one output pixel, or 0 where the kernel lays out nothing. The kernel uses as many more
 * as it gets. */
static inline uint32_t lil_column_scratch(const lil_window *window) {
    uint32_t rows = lil_blocks_of(window->kernel_height);
    if (rows * lil_blocks_of(window->kernel_width) > LIL_MAX_BLOCKS) {
        return 0;
    }
    return lil_column_weight_bytes(window) + rows * LIL_COLUMN_BYTES * lil_pixel_columns(window);
}

/* Bytes for all output pixels of a row, or for as many as fit into the limit: the kernel lays out
 * as many at once as it has scratch for. */
static inline uint32_t lil_wanted_column_scratch(const lil_window *window, uint32_t out_width) {
    uint32_t bytes = lil_column_scratch(window);
    if (bytes == 0 || bytes > LIL_COLUMN_LIMIT || window->dilation_width != 1) {
        return bytes;
    }
    uint32_t pixel_bytes =
        lil_blocks_of(window->kernel_height) * LIL_COLUMN_BYTES * window->stride_width;
    uint32_t more = (LIL_COLUMN_LIMIT - bytes) / pixel_bytes;
    return bytes + pixel_bytes * (more < out_width - 1 ? more : out_width - 1);
}

#endif
