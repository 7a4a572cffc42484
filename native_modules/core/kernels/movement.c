/* Operators that only move elements: pad, concatenate, slice, transpose, nearest resize. */
#include "kernels.h"

void lil_pad(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_tensor *in = &source->tensor;
    const lil_region *region = &call->op.parameters.region;
    uint32_t channels = call->output.channels;
    const int8_t *row = lil_row(source, source->first);
    memset(call->out, (uint8_t)region->value, call->output.width * channels);
    if (row == NULL) {
        return;
    }
    int8_t *out = call->out + (uint32_t)region->begin_width * channels + region->begin_channels;
    for (uint32_t x = 0; x < in->width; x++) {
        memcpy(out, row, in->channels);
        out += channels;
        row += in->channels;
    }
}

void lil_concatenate(const lil_call *call) {
    uint32_t axis = call->op.parameters.axes.axis;
    uint32_t first_channel = 0;
    uint32_t first_column = 0;
    for (uint32_t i = 0; i < call->op.edge_count; i++) {
        const lil_source *source = &call->sources[i];
        uint32_t channels = source->tensor.channels;
        const int8_t *row = lil_row(source, source->first);
        if (row == NULL) {
            continue; /* another input holds this row */
        }
        int8_t *out = call->out + first_column * call->output.channels + first_channel;
        for (uint32_t x = 0; x < source->tensor.width; x++) {
            memcpy(out, row, channels);
            row += channels;
            out += call->output.channels;
        }
        if (axis == LIL_AXIS_WIDTH) {
            first_column += source->tensor.width;
        } else if (axis == LIL_AXIS_CHANNELS) {
            first_channel += channels;
        }
    }
}

void lil_slice(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const lil_region *region = &call->op.parameters.region;
    int32_t channels = (int32_t)source->tensor.channels;
    const int8_t *row = lil_row(source, source->first);
    int8_t *out = call->out;
    for (int32_t x = 0; x < (int32_t)call->output.width; x++) {
        const int8_t *pixel = row + (region->begin_width + x * region->stride_width) * channels;
        for (int32_t c = 0; c < (int32_t)call->output.channels; c++) {
            *out++ = pixel[region->begin_channels + c * region->stride_channels];
        }
    }
}

void lil_transpose(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const uint8_t *axis = call->op.parameters.permutation.axis;
    uint32_t steps[3];
    steps[0] = source->tensor.pitch;
    steps[1] = source->tensor.channels;
    steps[2] = 1;
    const int8_t *row = source->base + (uint32_t)call->y * steps[axis[0]];
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->output.width; x++) {
        for (uint32_t c = 0; c < call->output.channels; c++) {
            *out++ = row[x * steps[axis[1]] + c * steps[axis[2]]];
        }
    }
}

static uint32_t load_index(const uint8_t *table, uint32_t index) {
    uint16_t value;
    memcpy(&value, table + 2 * index, sizeof value);
    return value;
}

void lil_resize_nearest(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    uint32_t channels = source->tensor.channels;
    const uint8_t *columns = call->constants + 2 * call->output.height;
    const int8_t *row = lil_row(source, (int32_t)load_index(call->constants, (uint32_t)call->y));
    int8_t *out = call->out;
    for (uint32_t x = 0; x < call->output.width; x++) {
        memcpy(out, row + load_index(columns, x) * channels, channels);
        out += channels;
    }
}
