/* What the kernels of operators on pairs of elements share. */
#ifndef LIL_OPERAND_H
#define LIL_OPERAND_H

#include "kernels.h"

#define LIL_ADD_SHIFT 20 /* bits of headroom of the common scale, as in TFLite's 8-bit add */

/* Where an operand's elements lie, a dimension of one standing for all. */
typedef struct lil_operand {
    const int8_t *row;
    uint32_t pixel_step;
    uint32_t channel_step; /* 0: one element stands for all channels */
    int32_t zero_point;
} lil_operand;

static inline lil_operand lil_load_operand(const lil_call *call, uint32_t index) {
    const lil_source *source = &call->sources[index];
    const lil_tensor *tensor = &source->tensor;
    bool is_one_pixel = tensor->width == 1 &&
                        (call->output.width != 1 || (tensor->height == 1 && call->pixels != 1));
    lil_operand operand;
    operand.row = lil_row(source, source->first);
    operand.pixel_step = is_one_pixel ? 0 : tensor->channels;
    operand.channel_step = tensor->channels == call->output.channels ? 1 : 0;
    operand.zero_point = tensor->zero_point;
    return operand;
}

#endif
