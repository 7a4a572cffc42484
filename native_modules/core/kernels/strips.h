/* How the DSP kernel of a depthwise convolution cuts its output row into blocks of columns, and so
 * how much scratch it takes. */
#ifndef LIL_STRIPS_H
#define LIL_STRIPS_H

#include "kernels.h"

#define LIL_STRIP_BYTES 2304 /* more of scratch is not asked for */

#define LIL_STRIP_ROWS 7 /* of a window, at most */

typedef struct lil_strips {
    uint32_t columns; /* output columns of a block; 0: the operator is not computed with strips */
    uint32_t width;   /* words of one channel and row pair that a block reads, a multiple of 4 */
    uint32_t bytes;
} lil_strips;

/* The blocks that fit into `limit` bytes of scratch. */
static inline lil_strips lil_plan_strips(const lil_window *window, uint32_t in_channels,
                                         const lil_tensor *output, uint32_t limit) {
    lil_strips strips = {0, 0, 0};
    uint32_t kernel = window->kernel_width;
    uint32_t stride = window->stride_width;
    bool has_slide = kernel == 3
                         ? window->kernel_height == 3
                         : (kernel == 5 || kernel == 7) && window->kernel_height <= LIL_STRIP_ROWS;
    if (!has_slide || stride > 2 || window->dilation_width != 1 ||
        in_channels != output->channels || in_channels < 4) {
        return strips;
    }
    uint32_t pairs = (uint32_t)window->kernel_height / 2;
    uint32_t weight_words = pairs * (kernel + 1) + (kernel - 1);
    uint32_t unit = kernel == 3 ? 2 : 4; /* columns are computed in so many at a time */
    uint32_t columns = (output->width + unit - 1) / unit * unit;
    for (;;) {
        uint32_t width = ((columns - 1) * stride + kernel + unit - 1) / unit * unit;
        strips.width = width;
        strips.bytes = kernel == 3 ? 12 * width : 16 * (pairs * width + width / 2 + weight_words);
        if (strips.bytes <= limit) {
            strips.columns = columns;
            return strips;
        }
        if (columns == unit) {
            strips.bytes = 0;
            return strips;
        }
        columns -= unit;
    }
}

#endif
