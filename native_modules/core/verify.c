/* Checks a .lil file: sizes, checksum, tables, tensors, schedule and ports. What single operators
 * need is in verify_operator.c. */
#include "kernels/kernels.h"

#define LIL_CHECKED_FROM 16 /* the byte behind the checksum field, which has 4 */

/* Continues a CRC-32 (IEEE 802.3) by nibbles: 64 bytes of table instead of 1024. */
static uint32_t checksum(const uint8_t *data, uint32_t size, uint32_t crc) {
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
        0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
        0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    crc = ~crc;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

int32_t lil_checksum(const lil_buffer *data, int32_t sum, int32_t *value) {
    *value = (int32_t)checksum((const uint8_t *)data->data, data->size, (uint32_t)sum);
    return LIL_OK;
}

/* Whether `count` records of `bytes` lie inside the front, at a multiple of four. */
static bool table_fits(const lil_header *header, uint32_t offset, uint64_t count, uint32_t bytes) {
    return offset % 4 == 0 && offset >= sizeof(lil_header) &&
           offset + count * bytes <= header->constants_offset;
}

/* Whether what training keeps has its place in the arena. */
static bool training_is_sound(const lil_header *header) {
    return header->inference_segments <= header->segment_count &&
           (!LIL_TRAINING || header->training_bytes == 0 ||
            (header->training_bytes <= header->arena_bytes &&
             header->target_bytes <= LIL_MAX_ELEMENTS &&
             (header->class_count == 0 || header->target_bytes == 4) &&
             header->velocity_bytes % 4 == 0 && header->velocity_bytes <= header->arena_bytes &&
             header->momentum <= LIL_WHOLE_MOMENTUM && header->accumulated != 0 &&
             header->training_bytes >= lil_trained_start(header)));
}

static int32_t verify_header(const lil_buffer *model, const lil_header *header) {
    static const uint8_t magic[4] = {'L', 'I', 'L', 0x1A};
    const uint8_t *file = (const uint8_t *)model->data;
    if (memcmp(header->magic, magic, sizeof magic) != 0) {
        return LIL_ERROR_MAGIC;
    }
    if (header->version != LIL_VERSION) {
        return LIL_ERROR_VERSION;
    }
    if (header->layout != LIL_LAYOUT) {
        return LIL_ERROR_LAYOUT;
    }
    uint32_t front = header->constants_offset;
    if (front < sizeof *header || header->file_bytes < front || model->size < front ||
        header->file_bytes > INT32_MAX || (!lil_is_mapped(model, header) && !header->is_paged)) {
        return LIL_ERROR_TRUNCATED;
    }
    uint32_t sum = checksum(file, LIL_CHECKED_FROM - 4, 0);
    sum = checksum(file + LIL_CHECKED_FROM, front - LIL_CHECKED_FROM, sum);
    if (header->checksum != sum) {
        return LIL_ERROR_CHECKSUM;
    }
    if (lil_is_mapped(model, header) &&
        header->constants_checksum != checksum(file + front, header->file_bytes - front, 0)) {
        return LIL_ERROR_CHECKSUM;
    }
    bool fits =
        table_fits(header, header->tensors_offset, header->tensor_count, sizeof(lil_tensor)) &&
        table_fits(header, header->operators_offset, header->operator_count,
                   sizeof(lil_operator)) &&
        table_fits(header, header->edges_offset, header->edge_count, sizeof(lil_edge)) &&
        table_fits(header, header->segments_offset, header->segment_count, sizeof(lil_segment)) &&
        table_fits(header, header->inputs_offset, header->input_count, sizeof(lil_port)) &&
        table_fits(header, header->outputs_offset, header->output_count, sizeof(lil_port)) &&
        table_fits(header, header->labels_offset, header->labels_bytes, 1) &&
        table_fits(header, header->provenance_offset, header->provenance_bytes, 1);
    if (!fits || header->input_count == 0 || header->output_count == 0 ||
        header->operator_count == LIL_NO_PRODUCER || header->input_count > LIL_MAX_PORTS ||
        header->arena_bytes > INT32_MAX || !training_is_sound(header)) {
        return LIL_ERROR_TABLE;
    }
    return LIL_OK;
}

/* Whether what lies in the arena from `offset` on would change what training keeps. */
static bool spoils_training(const lil_header *header, uint32_t offset) {
    return LIL_TRAINING && offset < header->training_bytes;
}

static bool tensor_is_sound(const uint8_t *file, const lil_header *header, uint32_t index) {
    lil_tensor tensor = lil_load_tensor(file, header, index);
    if (tensor.height == 0 || tensor.width == 0 || tensor.channels == 0 ||
        tensor.height > LIL_MAX_HEIGHT || tensor.dtype > LIL_BITS || tensor.ring_rows == 0 ||
        tensor.ring_rows > tensor.height) {
        return false;
    }
    uint64_t pixel = (uint64_t)tensor.channels * lil_element_bytes(&tensor);
    if (pixel > LIL_MAX_ELEMENTS || pixel * tensor.width > LIL_MAX_ELEMENTS ||
        pixel * tensor.width * tensor.height > LIL_MAX_ELEMENTS) {
        return false;
    }
    if (tensor.pitch < lil_row_bytes(&tensor) || tensor.pitch > LIL_MAX_ELEMENTS ||
        tensor.pitch % lil_element_bytes(&tensor) != 0) {
        return false;
    }
    if (tensor.storage == LIL_SOURCE) {
        return tensor.dtype == LIL_INT8 && tensor.producer == LIL_NO_PRODUCER;
    }
    uint64_t end = tensor.offset + lil_extent(&tensor);
    if (tensor.storage == LIL_CONSTANT) {
        return tensor.dtype == LIL_INT8 && tensor.ring_rows == tensor.height &&
               tensor.producer == LIL_NO_PRODUCER && end <= header->constants_offset;
    }
    if (tensor.storage != LIL_ARENA || end > header->arena_bytes ||
        spoils_training(header, tensor.offset) || tensor.offset % lil_element_bytes(&tensor) != 0) {
        return false;
    }
    if (tensor.producer == LIL_NO_PRODUCER) {
        return tensor.ring_rows == tensor.height;
    }
    return tensor.producer < header->operator_count &&
           lil_load_operator(file, header, tensor.producer).output == index;
}

static bool edges_are_sound(const uint8_t *file, const lil_header *header, const lil_operator *op) {
    if (op->edge_count > LIL_MAX_INPUTS ||
        (uint32_t)op->first_edge + op->edge_count > header->edge_count) {
        return false;
    }
    for (uint32_t i = 0; i < op->edge_count; i++) {
        lil_edge edge = lil_load_edge(file, header, op->first_edge + i);
        if (edge.tensor >= header->tensor_count || edge.divisor == 0 || edge.step < -LIL_MAX_STEP ||
            edge.step > LIL_MAX_STEP || edge.first < -LIL_MAX_ROW_OFFSET ||
            edge.first > LIL_MAX_ROW_OFFSET || edge.last < -LIL_MAX_ROW_OFFSET ||
            edge.last > LIL_MAX_ROW_OFFSET) {
            return false;
        }
        lil_tensor tensor = lil_load_tensor(file, header, edge.tensor);
        if ((tensor.dtype != LIL_INT8 && op->kind < LIL_MASK) || tensor.storage == LIL_SOURCE) {
            return false;
        }
    }
    return true;
}

static int32_t verify_operator_record(const lil_buffer *model, const lil_header *header,
                                      uint32_t index) {
    const uint8_t *file = (const uint8_t *)model->data;
    lil_operator op = lil_load_operator(file, header, index);
    if (op.kind >= LIL_KIND_COUNT || op.output >= header->tensor_count ||
        op.activation_min > op.activation_max || !edges_are_sound(file, header, &op)) {
        return LIL_ERROR_OPERATOR;
    }
    lil_tensor output = lil_load_tensor(file, header, op.output);
    if (output.producer != index || output.storage != LIL_ARENA) {
        return LIL_ERROR_OPERATOR;
    }
    if (op.constants_offset % 4 != 0 || op.constants_offset > header->file_bytes ||
        op.constants_bytes > header->file_bytes - op.constants_offset) {
        return LIL_ERROR_CONSTANTS;
    }
    if (op.kind >= LIL_MASK && !(op.flags & LIL_FOR_TRAINING)) {
        return LIL_ERROR_OPERATOR;
    }
    if (op.kind != LIL_INPUT && op.kind < LIL_MASK && lil_find_kernel(op.kind) == NULL) {
        return LIL_ERROR_KERNEL_ABSENT;
    }
    const uint8_t *constants = lil_is_mapped(model, header) ? file + op.constants_offset : NULL;
    int32_t status = lil_verify_operator(file, header, &op, constants);
    if (status != LIL_OK) {
        return status;
    }
    lil_tensor input = output;
    if (op.edge_count > 0) {
        input = lil_load_tensor(file, header, lil_load_edge(file, header, op.first_edge).tensor);
    }
    uint32_t needed = lil_scratch_bytes(&op, &input, &output);
    if (op.scratch_bytes < needed || op.scratch_offset % 4 != 0 ||
        (uint64_t)op.scratch_offset + op.scratch_bytes > header->arena_bytes ||
        (op.scratch_bytes > 0 && spoils_training(header, op.scratch_offset))) {
        return LIL_ERROR_SCHEDULE;
    }
    return LIL_OK;
}

/* Whether a segment's constants hold those of its operators, and have a place in the arena unless
 * they are mapped. */
static bool page_is_sound(const lil_header *header, const lil_segment *segment, bool is_mapped) {
    uint64_t end = (uint64_t)segment->constants_offset + segment->constants_bytes;
    if (segment->constants_offset < header->constants_offset || end > header->file_bytes) {
        return false;
    }
    if (segment->page_offset == LIL_NONE) {
        return is_mapped;
    }
    return segment->page_offset % 4 == 0 && !spoils_training(header, segment->page_offset) &&
           (uint64_t)segment->page_offset + segment->constants_bytes <= header->arena_bytes;
}

static bool are_apart(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) {
    return a + a_bytes <= b || b + b_bytes <= a;
}

/* Whether an operator leaves its segment's page alone, whose constants are checked only once. */
static bool spares_page(const uint8_t *file, const lil_header *header, const lil_segment *segment,
                        const lil_operator *op) {
    lil_tensor out = lil_load_tensor(file, header, op->output);
    return are_apart(segment->page_offset, segment->constants_bytes, out.offset,
                     lil_extent(&out)) &&
           are_apart(segment->page_offset, segment->constants_bytes, op->scratch_offset,
                     op->scratch_bytes);
}

/* Whether an operator may run in a segment: a graph input comes first, constants lie within the
 * segment's, inputs are computed before, and rings within the segment. */
static bool fits_segment(const lil_buffer *model, const lil_header *header,
                         const lil_segment *segment, uint32_t index) {
    const uint8_t *file = (const uint8_t *)model->data;
    lil_operator op = lil_load_operator(file, header, index);
    if (op.kind == LIL_INPUT && index != segment->first_operator) {
        return false;
    }
    if (op.constants_offset < segment->constants_offset ||
        (uint64_t)op.constants_offset + op.constants_bytes >
            (uint64_t)segment->constants_offset + segment->constants_bytes) {
        return false;
    }
    if (!lil_is_mapped(model, header) && !spares_page(file, header, segment, &op)) {
        return false;
    }
    for (uint32_t i = 0; i < op.edge_count; i++) {
        lil_edge edge = lil_load_edge(file, header, op.first_edge + i);
        lil_tensor tensor = lil_load_tensor(file, header, edge.tensor);
        bool is_ring = tensor.ring_rows < tensor.height;
        if ((tensor.producer != LIL_NO_PRODUCER && tensor.producer >= index) ||
            (is_ring && tensor.producer < segment->first_operator)) {
            return false;
        }
    }
    return true;
}

/* Segments cover the operators in order, and the context has a counter for each operator. */
static bool segments_are_sound(const lil_buffer *model, const lil_header *header) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < header->segment_count; i++) {
        lil_segment segment = lil_load_segment((const uint8_t *)model->data, header, i);
        uint32_t end = next + segment.operator_count;
        if (segment.first_operator != next || segment.operator_count == 0 ||
            end > header->operator_count ||
            header->context_bytes < sizeof(lil_progress) + 4 * (uint32_t)segment.operator_count ||
            !page_is_sound(header, &segment, lil_is_mapped(model, header))) {
            return false;
        }
        for (uint32_t index = next; index < end; index++) {
            if (!fits_segment(model, header, &segment, index)) {
                return false;
            }
        }
        next = end;
    }
    return next == header->operator_count && header->context_bytes <= 1 << 20;
}

/* Whether a tensor is that of an input: written by its INPUT operator, or read in patches. */
static bool is_input_map(const uint8_t *file, const lil_header *header, const lil_tensor *tensor,
                         uint32_t index) {
    if (tensor->storage == LIL_SOURCE) {
        return true;
    }
    if (tensor->producer == LIL_NO_PRODUCER || tensor->dtype != LIL_INT8) {
        return false;
    }
    lil_operator op = lil_load_operator(file, header, tensor->producer);
    return op.kind == LIL_INPUT && op.parameters.patch.input == index;
}

static bool port_is_sound(const uint8_t *file, const lil_header *header, uint32_t table,
                          uint32_t index, bool is_input) {
    lil_port port = lil_load_port(file, table, index);
    if (port.tensor >= header->tensor_count || port.rank > LIL_MAX_RANK) {
        return false;
    }
    lil_tensor tensor = lil_load_tensor(file, header, port.tensor);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < port.rank; i++) {
        elements *= port.shape[i];
        if (elements == 0 || elements > LIL_MAX_ELEMENTS) {
            return false;
        }
    }
    if (elements != (uint64_t)tensor.height * tensor.width * tensor.channels) {
        return false;
    }
    if (!is_input) {
        return tensor.storage == LIL_ARENA && tensor.dtype <= LIL_INT32 &&
               tensor.ring_rows == tensor.height && lil_is_contiguous(&tensor);
    }
    bool tables_fit = port.table_channels == 0 ||
                      ((port.table_channels == 1 || port.table_channels == tensor.channels) &&
                       port.table_offset <= header->constants_offset &&
                       header->constants_offset - port.table_offset >= 256u * port.table_channels);
    return is_input_map(file, header, &tensor, index) && tables_fit &&
           port.thresholds_offset <= header->constants_offset &&
           header->constants_offset - port.thresholds_offset >= 4 * 255;
}

int32_t lil_verify(const lil_buffer *model) {
    const uint8_t *file = (const uint8_t *)model->data;
    if (model->size < sizeof(lil_header)) {
        return LIL_ERROR_TRUNCATED;
    }
    lil_header header = lil_load_header(file);
    int32_t status = verify_header(model, &header);
    if (status != LIL_OK) {
        return status;
    }
    for (uint32_t i = 0; i < header.tensor_count; i++) {
        if (!tensor_is_sound(file, &header, i)) {
            return LIL_ERROR_TENSOR;
        }
    }
    for (uint32_t i = 0; i < header.operator_count; i++) {
        status = verify_operator_record(model, &header, i);
        if (status != LIL_OK) {
            return status;
        }
    }
    if (!lil_trained_is_apart(file, &header)) {
        return LIL_ERROR_OPERATOR;
    }
    if (!segments_are_sound(model, &header)) {
        return LIL_ERROR_SCHEDULE;
    }
    for (uint32_t i = 0; i < header.input_count; i++) {
        if (!port_is_sound(file, &header, header.inputs_offset, i, true)) {
            return LIL_ERROR_PORT;
        }
    }
    for (uint32_t i = 0; i < header.output_count; i++) {
        if (!port_is_sound(file, &header, header.outputs_offset, i, false)) {
            return LIL_ERROR_PORT;
        }
    }
    return LIL_OK;
}
