/* Fuzz target: any bytes, taken for a model file whose size and checksum are right, are refused by
 * the verifier or run without leaving the file, the arena, the context and the buffers.
 *
 * With clang: -fsanitize=fuzzer,address,undefined. With gcc: linked with mutate.c. */
#include "model_file.h"

#include "kernels/kernels.h"

#define LARGEST_ARENA (1u << 22)
#define LARGEST_INPUT (1u << 20)
#define LARGEST_WORK (1u << 22) /* multiply-accumulates, or rows: a mutant may ask for days */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t elements(const lil_tensor *tensor) {
    return (uint64_t)tensor->height * tensor->width * tensor->channels;
}

static bool has_window(uint32_t kind) {
    return kind <= LIL_TRANSPOSED_CONVOLUTION || kind == LIL_AVERAGE_POOL || kind == LIL_MAX_POOL ||
           kind == LIL_CONVOLUTION_GRADIENT || kind == LIL_DEPTHWISE_GRADIENT ||
           kind == LIL_POOL_GRADIENT || kind == LIL_MAX_POOL_GRADIENT ||
           kind == LIL_RESIZE_GRADIENT || kind >= LIL_UPDATE_CONVOLUTION;
}

/* An upper bound of what an inference, or a training step, computes. */
static uint64_t work_of(const uint8_t *model, const lil_header *header) {
    uint64_t work = 0;
    for (uint32_t i = 0; i < header->operator_count; i++) {
        lil_operator op = lil_load_operator(model, header, i);
        lil_tensor out = lil_load_tensor(model, header, op.output);
        uint64_t taps = 1;
        for (uint32_t k = 0; k < op.edge_count; k++) {
            lil_edge edge = lil_load_edge(model, header, op.first_edge + k);
            lil_tensor in = lil_load_tensor(model, header, edge.tensor);
            work += elements(&in);
            if (op.kind == LIL_FULLY_CONNECTED) {
                taps = elements(&in);
            } else if (has_window(op.kind)) {
                const lil_window *window = &op.parameters.window;
                taps = (uint64_t)window->kernel_height * window->kernel_width * in.channels;
                if (op.kind == LIL_MAX_POOL_GRADIENT) {
                    taps *= taps;
                } else if (op.kind >= LIL_UPDATE_CONVOLUTION && k == 0) {
                    taps *= op.parameters.update.trained_inputs;
                    work += elements(&in) * taps;
                }
            }
        }
        work += elements(&out) * (op.kind == LIL_INPUT ? 1 : taps);
        if (work > UINT32_MAX) {
            return work;
        }
    }
    return work * (header->segment_count > 0 ? 1 : 0) + header->operator_count;
}

static lil_buffer buffer_of(uint32_t size, char typecode, uint8_t fill) {
    lil_buffer buffer = {allocate(size), size, typecode};
    memset(buffer.data, fill, size);
    return buffer;
}

/* Rows for input `index`: the whole map, or one row; reals, pixels or int8. */
static lil_buffer rows_of(const uint8_t *model, const lil_header *header, uint32_t index,
                          uint32_t turn) {
    static const char typecodes[] = {'b', 'b', 'B', 'f'};
    lil_port port = lil_load_port(model, header->inputs_offset, index);
    lil_tensor tensor = lil_load_tensor(model, header, port.tensor);
    char typecode = typecodes[turn % 4];
    uint32_t rows = turn / 4 % 2 == 0 ? tensor.height : 1;
    uint32_t bytes = rows * tensor.width * tensor.channels * (typecode == 'f' ? 4 : 1);
    return buffer_of(bytes, typecode, (uint8_t)(turn * 37));
}

/* Puts the trained constants into the arena, as a file that is trainable wants it first. */
static void reset(const lil_buffer *model, const uint8_t *file, const lil_buffer *context,
                  const lil_buffer *arena) {
    lil_begin(model, context);
    int32_t status = lil_reset(model, context, arena);
    while (status >= LIL_WANTS_PAGE) {
        read_page(model, file, arena->data, status - LIL_WANTS_PAGE);
        status = lil_reset(model, context, arena);
    }
}

/* Begins a training step where the file has one, else an inference. */
static int32_t begin(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena,
                     bool is_step, uint32_t turn) {
    lil_header header = lil_load_header(model->data);
    if (!is_step || header.target_bytes > LARGEST_INPUT) {
        return lil_begin(model, context);
    }
    uint8_t fill = header.class_count != 0 ? 0 : (uint8_t)(turn * 53);
    lil_buffer target = buffer_of(header.target_bytes, 'b', fill);
    int32_t status =
        lil_begin_step(model, context, arena, &target, INT32_MAX, (int32_t)(turn % 60) - 30);
    free(target.data);
    return status;
}

/* `file` is the whole file that `model` is, or that it is the front of. */
static void run_model(const lil_buffer *model, const uint8_t *file, bool is_step, uint32_t turn) {
    lil_header header = lil_load_header(model->data);
    lil_buffer context = buffer_of(header.context_bytes, 'B', 0);
    lil_buffer arena = buffer_of(header.arena_bytes, 'B', 0xA5);
    lil_buffer rows = {NULL, 0, 'B'};
    reset(model, file, &context, &arena);
    int32_t status = begin(model, &context, &arena, is_step, turn);
    if (status == LIL_OK) {
        status = lil_run(model, &context, &arena, &rows);
    }
    for (uint32_t calls = 0; calls < 100000 && status >= 0 && status != LIL_DONE; calls++) {
        if (status >= LIL_WANTS_PAGE) {
            read_page(model, file, arena.data, status - LIL_WANTS_PAGE);
        } else {
            free(rows.data);
            rows = rows_of(model->data, &header, (uint32_t)status, turn);
        }
        status = lil_run(model, &context, &arena, &rows);
        if (status == LIL_ERROR_INPUT_NO_TABLE && turn != 0) {
            turn = 0; /* int8 needs no table */
            free(rows.data);
            rows = buffer_of(0, 'b', 0);
            begin(model, &context, &arena, is_step, turn);
            status = lil_run(model, &context, &arena, &rows);
        }
    }
    free(rows.data);
    for (int32_t i = 0; i < header.tensor_count; i++) {
        int32_t bytes = 0;
        if (lil_field(model, LIL_FIELD_TENSOR_BYTES, i, &bytes) == LIL_OK &&
            (uint32_t)bytes <= LARGEST_ARENA) {
            lil_buffer out = buffer_of((uint32_t)bytes, 'b', 0);
            lil_read_tensor(model, &arena, i, &out);
            if (i < header.output_count) {
                lil_read_output(model, &arena, i, &out);
            }
            free(out.data);
        }
    }
    free(arena.data);
    free(context.data);
}

static void read_fields(const lil_buffer *model) {
    for (int32_t field = -1; field < 30; field++) {
        for (int32_t index = -1; index < 20; index++) {
            int32_t value;
            lil_field(model, field, index, &value);
        }
    }
}

static bool is_affordable(const uint8_t *model, const lil_header *header) {
    if (header->arena_bytes > LARGEST_ARENA || work_of(model, header) > LARGEST_WORK) {
        return false;
    }
    for (uint32_t i = 0; i < header->input_count; i++) {
        lil_port port = lil_load_port(model, header->inputs_offset, i);
        lil_tensor tensor = lil_load_tensor(model, header, port.tensor);
        if (elements(&tensor) > LARGEST_INPUT) {
            return false;
        }
    }
    return true;
}

static void try_model(const lil_buffer *model, const uint8_t *file, uint32_t turn) {
    if (lil_verify(model) == LIL_OK) {
        lil_header header = lil_load_header(model->data);
        read_fields(model);
        if (is_affordable(model->data, &header)) {
            run_model(model, file, false, turn);
            if (header.training_bytes != 0) {
                run_model(model, file, true, turn);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint32_t turn = size > 0 ? data[size - 1] : 0;
    /* One byte off a multiple of 16: the format promises no alignment of the file. */
    uint8_t *block = allocate(size + 1);
    lil_buffer model = {block + 1, (uint32_t)size, 'B'};
    memcpy(model.data, data, size);
    seal(model.data, model.size);
    try_model(&model, model.data, turn);
    if (size >= sizeof(lil_header)) {
        lil_header header = lil_load_header(model.data);
        if (header.constants_offset < size) {
            /* The front alone, as of a file whose constants stay on flash. */
            lil_buffer front = {allocate(header.constants_offset), header.constants_offset, 'B'};
            memcpy(front.data, model.data, front.size);
            try_model(&front, model.data, turn);
            free(front.data);
        }
    }
    free(block);
    return 0;
}
