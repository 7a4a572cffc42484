/* Bilinear resize in 1/1024 steps, as TFLite's integer reference does it. */
#include "kernels.h"

#define LIL_RESIZE_ONE 1024

/* The two neighbours of an output coordinate, and the weight of the second in 1/1024. */
typedef struct neighbours {
    int32_t lower;
    int32_t upper;
    int32_t weight;
} neighbours;

static neighbours find_neighbours(int32_t v, int32_t scale, int32_t offset, int32_t size) {
    int32_t position = v * scale + offset;
    neighbours result;
    result.lower = position / LIL_RESIZE_ONE;
    if (result.lower < 0) {
        result.lower = 0;
    }
    if (result.lower > size - 1) {
        result.lower = size - 1;
    }
    result.upper = (position + LIL_RESIZE_ONE - 1) / LIL_RESIZE_ONE;
    if (result.upper > size - 1) {
        result.upper = size - 1;
    }
    if (result.upper < 0) {
        result.upper = 0;
    }
    result.weight = position - result.lower * LIL_RESIZE_ONE;
    return result;
}

void lil_resize_bilinear(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_resize *resize = &call->op.parameters.resize;
    uint32_t channels = source->tensor.channels;
    neighbours y = find_neighbours(call->y, resize->scale_height, resize->offset_height,
                                   (int32_t)source->tensor.height);
    const int8_t *upper_row = lil_row(source, y.lower);
    const int8_t *lower_row = lil_row(source, y.upper);
    int8_t *out = call->out;
    for (uint32_t i = 0; i < call->output.width; i++) {
        neighbours x = find_neighbours((int32_t)i, resize->scale_width, resize->offset_width,
                                       (int32_t)source->tensor.width);
        uint32_t left = (uint32_t)x.lower * channels;
        uint32_t right = (uint32_t)x.upper * channels;
        for (uint32_t c = 0; c < channels; c++) {
            int64_t top = (int64_t)upper_row[left + c] * (LIL_RESIZE_ONE - x.weight) +
                          (int64_t)upper_row[right + c] * x.weight;
            int64_t bottom = (int64_t)lower_row[left + c] * (LIL_RESIZE_ONE - x.weight) +
                             (int64_t)lower_row[right + c] * x.weight;
            int64_t value = top * (LIL_RESIZE_ONE - y.weight) + bottom * y.weight;
            int64_t half = value > 0 ? 1 << 19 : -(1 << 19);
            *out++ = (int8_t)((value + half) / (1 << 20));
        }
    }
}
