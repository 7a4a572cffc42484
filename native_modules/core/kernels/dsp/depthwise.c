/* Depthwise convolution for the ARM DSP extension: how an operator is computed. */
#include "depthwise.h"
#include "requantize.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

/* Finds the rows and columns. Rows of the window that lie outside of the map
 * are left out, but for a 3x3 window, which always has its three. */
static void find_block(const lil_call *call, lil_strips strips, uint32_t x,
                       lil_depthwise_block *b) {
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
        lil_depthwise_line *next = &b->lines[b->rows];
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

static void convolve_blocks(const lil_call *call, lil_strips strips) {
    uint32_t channels = call->output.channels;
    for (uint32_t x = 0; x < call->pixels; x += strips.columns) {
        lil_depthwise_block b;
        find_block(call, strips, x, &b);
        if (call->op.parameters.window.kernel_width == 3) {
            lil_depthwise_3x3(call, &b);
        } else {
            lil_depthwise_strips(call, &b);
        }
    }
    lil_activate(call, call->out, call->pixels * channels);
}

void lil_depthwise_convolution(const lil_call *call) {
    lil_strips strips =
        lil_plan_strips(&call->op.parameters.window, call->sources[0].tensor.channels,
                        &call->output, call->op.scratch_bytes);
    if (strips.columns > 0 && call->op.flags & LIL_SHIFTS_RIGHT) {
        convolve_blocks(call, strips);
    } else {
        lil_depthwise_general(call);
    }
}

#endif
