/* What crosses the border of the engine: inputs with their preprocessing, outputs, and fields. */
#include "kernels/kernels.h"

uint32_t lil_source_element_bytes(char typecode) {
    switch (typecode) {
    case 'b':
    case 'B':
        return 1;
    case 'f':
        return 4;
    default:
        return 0;
    }
}

/* The int8 value of an IEEE 754 single: -128 + the number of thresholds that it reaches. */
static int8_t quantize_single(const uint8_t *thresholds, const uint8_t *address) {
    int32_t key = lil_load_int32(address);
    int32_t low = 0;
    int32_t high = 255;
    if (key < 0) {
        key ^= INT32_MAX;
    }
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (lil_load_int32(thresholds + 4 * middle) <= key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (int8_t)(low - 128);
}

int32_t lil_preprocess(const uint8_t *model, const lil_port *port, uint32_t channels,
                       const lil_buffer *source, uint32_t first_element, uint32_t count,
                       int8_t *destination) {
    const uint8_t *in = (const uint8_t *)source->data;
    if (source->typecode == 'b') {
        memcpy(destination, in + first_element, count);
        return LIL_OK;
    }
    if (source->typecode == 'f') {
        const uint8_t *thresholds = model + port->thresholds_offset;
        for (uint32_t i = 0; i < count; i++) {
            destination[i] = quantize_single(thresholds, in + 4 * (first_element + i));
        }
        return LIL_OK;
    }
    if (port->table_channels == 0) {
        return LIL_ERROR_INPUT_NO_TABLE;
    }
    const int8_t *table = (const int8_t *)model + port->table_offset;
    uint32_t table_step = port->table_channels == 1 ? 0 : 256;
    uint32_t channel = 0;
    for (uint32_t i = 0; i < count; i++) {
        destination[i] = table[channel * table_step + in[first_element + i]];
        channel = channel + 1 == channels ? 0 : channel + 1;
    }
    return LIL_OK;
}

static int32_t copy_tensor(const lil_tensor *tensor, const lil_buffer *arena,
                           const lil_buffer *destination) {
    uint32_t bytes = tensor->height * lil_row_bytes(tensor);
    if (tensor->ring_rows != tensor->height || tensor->storage != LIL_ARENA ||
        !lil_is_contiguous(tensor)) {
        return LIL_ERROR_INDEX;
    }
    if (arena->size < tensor->offset + bytes) {
        return LIL_ERROR_ARENA_SIZE;
    }
    if (destination->size < bytes) {
        return LIL_ERROR_OUTPUT_SIZE;
    }
    memcpy(destination->data, (const uint8_t *)arena->data + tensor->offset, bytes);
    return LIL_OK;
}

int32_t lil_read_output(const lil_buffer *model, const lil_buffer *arena, int32_t index,
                        const lil_buffer *destination) {
    const uint8_t *file = (const uint8_t *)model->data;
    lil_header header = lil_load_header(file);
    if (index < 0 || index >= header.output_count) {
        return LIL_ERROR_INDEX;
    }
    lil_port port = lil_load_port(file, header.outputs_offset, (uint32_t)index);
    lil_tensor tensor = lil_load_tensor(file, &header, port.tensor);
    return copy_tensor(&tensor, arena, destination);
}

int32_t lil_read_tensor(const lil_buffer *model, const lil_buffer *arena, int32_t index,
                        const lil_buffer *destination) {
    const uint8_t *file = (const uint8_t *)model->data;
    lil_header header = lil_load_header(file);
    if (index < 0 || index >= header.tensor_count) {
        return LIL_ERROR_INDEX;
    }
    lil_tensor tensor = lil_load_tensor(file, &header, (uint32_t)index);
    return copy_tensor(&tensor, arena, destination);
}

/* The fields of one input or output; `field` counts from the first of its kind. */
static int32_t port_field(const uint8_t *file, const lil_header *header, bool is_input,
                          int32_t field, int32_t index, int32_t *value) {
    enum { RANK, SHAPE, SCALE, ZERO_POINT, DTYPE };
    int32_t number = field == SHAPE ? index / 8 : index;
    int32_t count = is_input ? header->input_count : header->output_count;
    if (index < 0 || number >= count) {
        return LIL_ERROR_INDEX;
    }
    lil_port port = lil_load_port(file, is_input ? header->inputs_offset : header->outputs_offset,
                                  (uint32_t)number);
    switch (field) {
    case RANK:
        *value = port.rank;
        return LIL_OK;
    case SHAPE:
        if (index % 8 >= port.rank) {
            return LIL_ERROR_INDEX;
        }
        *value = (int32_t)port.shape[index % 8];
        return LIL_OK;
    case SCALE:
        *value = (int32_t)port.scale;
        return LIL_OK;
    case ZERO_POINT:
        *value = port.zero_point;
        return LIL_OK;
    default:
        *value = lil_load_tensor(file, header, port.tensor).dtype;
        return LIL_OK;
    }
}

/* LIL_FIELD_SCRATCH_BYTES or LIL_FIELD_SCRATCH_WANTED. */
static int32_t operator_scratch(const uint8_t *file, const lil_header *header, int32_t field,
                                int32_t index, int32_t *value) {
    if (index < 0 || index >= header->operator_count) {
        return LIL_ERROR_INDEX;
    }
    lil_operator op = lil_load_operator(file, header, (uint32_t)index);
    lil_tensor output = lil_load_tensor(file, header, op.output);
    lil_tensor input = output;
    if (op.edge_count > 0) {
        input = lil_load_tensor(file, header, lil_load_edge(file, header, op.first_edge).tensor);
    }
    *value =
        (int32_t)(field == LIL_FIELD_SCRATCH_WANTED ? lil_wanted_scratch_bytes(&op, &input, &output)
                                                    : lil_scratch_bytes(&op, &input, &output));
    return LIL_OK;
}

static int32_t page_field(const uint8_t *file, const lil_header *header, int32_t field,
                          int32_t index, int32_t *value) {
    if (index < 0 || index >= header->segment_count) {
        return LIL_ERROR_INDEX;
    }
    lil_segment segment = lil_load_segment(file, header, (uint32_t)index);
    *value = (int32_t)(field == LIL_FIELD_PAGE_START   ? segment.constants_offset
                       : field == LIL_FIELD_PAGE_BYTES ? segment.constants_bytes
                                                       : segment.page_offset);
    return LIL_OK;
}

int32_t lil_field(const lil_buffer *model, int32_t field, int32_t index, int32_t *value) {
    const uint8_t *file = (const uint8_t *)model->data;
    *value = 0;
    if (model->size < sizeof(lil_header)) {
        return LIL_ERROR_TRUNCATED;
    }
    lil_header header = lil_load_header(file);
    if (field >= LIL_FIELD_INPUT_RANK && field <= LIL_FIELD_INPUT_DTYPE) {
        return port_field(file, &header, true, field - LIL_FIELD_INPUT_RANK, index, value);
    }
    if (field >= LIL_FIELD_OUTPUT_RANK && field <= LIL_FIELD_OUTPUT_DTYPE) {
        return port_field(file, &header, false, field - LIL_FIELD_OUTPUT_RANK, index, value);
    }
    if (field >= LIL_FIELD_PAGE_START && field <= LIL_FIELD_PAGE_OFFSET) {
        return page_field(file, &header, field, index, value);
    }
    switch (field) {
    case LIL_FIELD_IS_PAGED:
        *value = header.is_paged != 0;
        return LIL_OK;
    case LIL_FIELD_FRONT_BYTES:
        *value = (int32_t)header.constants_offset;
        return LIL_OK;
    case LIL_FIELD_FILE_BYTES:
        *value = (int32_t)header.file_bytes;
        return LIL_OK;
    case LIL_FIELD_CONSTANTS_CHECKSUM:
        *value = (int32_t)header.constants_checksum;
        return LIL_OK;
    case LIL_FIELD_ARENA_BYTES:
        *value = (int32_t)header.arena_bytes;
        return LIL_OK;
    case LIL_FIELD_CONTEXT_BYTES:
        *value = (int32_t)header.context_bytes;
        return LIL_OK;
    case LIL_FIELD_INPUT_COUNT:
        *value = header.input_count;
        return LIL_OK;
    case LIL_FIELD_OUTPUT_COUNT:
        *value = header.output_count;
        return LIL_OK;
    case LIL_FIELD_LABELS_OFFSET:
        *value = (int32_t)header.labels_offset;
        return LIL_OK;
    case LIL_FIELD_LABELS_BYTES:
        *value = (int32_t)header.labels_bytes;
        return LIL_OK;
#if LIL_TRAINING
    case LIL_FIELD_TRAINING_BYTES:
        *value = (int32_t)header.training_bytes;
        return LIL_OK;
    case LIL_FIELD_TARGET_BYTES:
        *value = (int32_t)header.target_bytes;
        return LIL_OK;
    case LIL_FIELD_CLASS_COUNT:
        *value = (int32_t)header.class_count;
        return LIL_OK;
    case LIL_FIELD_TRAINED_START:
        *value = (int32_t)lil_trained_start(&header);
        return LIL_OK;
#endif
    case LIL_FIELD_SCRATCH_BYTES:
    case LIL_FIELD_SCRATCH_WANTED:
        return operator_scratch(file, &header, field, index, value);
    case LIL_FIELD_TENSOR_BYTES:
        if (index < 0 || index >= header.tensor_count) {
            return LIL_ERROR_INDEX;
        }
        lil_tensor tensor = lil_load_tensor(file, &header, (uint32_t)index);
        *value = (int32_t)(tensor.height * lil_row_bytes(&tensor));
        return LIL_OK;
    default:
        return LIL_ERROR_FIELD;
    }
}
