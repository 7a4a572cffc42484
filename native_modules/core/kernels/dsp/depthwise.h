/* What the DSP kernels of a depthwise convolution share: depthwise.c cuts an output row into blocks
 * of columns, and finds out which input each needs; depthwise_3x3.c and depthwise_strips.c compute
 * a block, for the windows that lil_plan_strips takes; depthwise_general.c computes any other
 * window. */
#ifndef LIL_DSP_DEPTHWISE_H
#define LIL_DSP_DEPTHWISE_H

#include "../kernels.h"
#include "../strips.h"

/* One row of a block's input, or the zero points of one outside of the map. */
typedef struct lil_depthwise_line {
    const int8_t *start; /* of the block's first column inside the map; NULL: outside */
    uint32_t step;       /* from one column to the next */
} lil_depthwise_line;

/* A block of output columns, and what all of its channels have in common. It reads `left` columns
 * left of the map, then `inside` columns of it. */
typedef struct lil_depthwise_block {
    lil_strips strips;
    int8_t *out;
    uint32_t count; /* of outputs */
    uint32_t left;
    uint32_t inside;
    uint32_t first_row; /* of the window's that is in `lines` */
    uint32_t rows;      /* of `lines` */
    uint32_t zeros;     /* four zero points of the input */
    lil_depthwise_line lines[LIL_STRIP_ROWS];
} lil_depthwise_block;

/* Where the row of the block at `channel` begins. Outside of the map it is `zeros`. */
static inline const int8_t *lil_line_start(const lil_depthwise_block *b, uint32_t row,
                                           uint32_t channel) {
    const int8_t *start = b->lines[row].start;
    return start == NULL ? (const int8_t *)&b->zeros : start + channel;
}

/* Computes a block of a 3x3 window, of stride 1 or 2, but for the activation. */
void lil_depthwise_3x3(const lil_call *call, const lil_depthwise_block *b);

/* Computes a block of a window 5 or 7 wide, of stride 1 or 2, but for the activation. */
void lil_depthwise_strips(const lil_call *call, const lil_depthwise_block *b);

/* Computes an output row of any window. */
void lil_depthwise_general(const lil_call *call);

#endif
