/* Models that the host wrote, through the core: they verify and compute what LiteRT computed,
 * wherever the file lies; damaged files and unfit buffers are refused with the right error.
 *
 *     test_model NAME...
 *
 * reads NAME.lil, NAME.in (int8 inputs one behind the other) and NAME.out (outputs likewise). */
#include "model_file.h"

#include "check.h"
#include "random_bits.h"

#define EVERY_BIT_UP_TO 512 /* bytes of a file; of larger ones as many bits at random */

typedef struct fixture {
    const char *name;
    lil_buffer model;
    lil_header header;
    lil_buffer context;
    lil_buffer arena;
    uint8_t *inputs;
    uint32_t input_bytes;
    uint8_t *outputs;
    uint32_t output_bytes;
} fixture;

static uint8_t *read_part(const char *name, const char *suffix, uint32_t *size) {
    char path[1024];
    snprintf(path, sizeof path, "%s%s", name, suffix);
    return read_file(path, size);
}

static fixture open_fixture(const char *name) {
    fixture f = {.name = name};
    f.model.data = read_part(name, ".lil", &f.model.size);
    f.model.typecode = 'B';
    f.inputs = read_part(name, ".in", &f.input_bytes);
    f.outputs = read_part(name, ".out", &f.output_bytes);
    f.header = lil_load_header(f.model.data);
    f.context = (lil_buffer){allocate(f.header.context_bytes), f.header.context_bytes, 'B'};
    f.arena = (lil_buffer){allocate(f.header.arena_bytes), f.header.arena_bytes, 'B'};
    return f;
}

static void close_fixture(fixture *f) {
    free(f->model.data);
    free(f->context.data);
    free(f->arena.data);
    free(f->inputs);
    free(f->outputs);
}

static uint32_t tensor_bytes(const fixture *f, uint32_t table, uint32_t index) {
    lil_port port = lil_load_port(f->model.data, table, index);
    lil_tensor tensor = lil_load_tensor(f->model.data, &f->header, port.tensor);
    return tensor.height * tensor.width * tensor.channels * (tensor.dtype == LIL_INT32 ? 4 : 1);
}

/* Whether an input is read in patches. */
static bool is_patched(const fixture *f, uint32_t index) {
    lil_port port = lil_load_port(f->model.data, f->header.inputs_offset, index);
    return lil_load_tensor(f->model.data, &f->header, port.tensor).storage == LIL_SOURCE;
}

/* Where input `index` begins in the fixture's inputs. */
static uint8_t *input_of(const fixture *f, uint32_t index) {
    uint8_t *data = f->inputs;
    for (uint32_t i = 0; i < index; i++) {
        data += tensor_bytes(f, f->header.inputs_offset, i);
    }
    return data;
}

/* One inference of the fixture's file or of a front of it, with `rows` rows of the input in each
 * call (0: all that there are). */
static int32_t infer(const fixture *f, const lil_buffer *model, uint32_t rows) {
    lil_buffer none = {NULL, 0, 'b'};
    uint32_t taken[LIL_MAX_INPUTS + 1] = {0};
    memset(f->arena.data, 0x5A, f->arena.size);
    int32_t status = lil_begin(model, &f->context);
    if (status == LIL_OK) {
        status = lil_run(model, &f->context, &f->arena, &none);
    }
    lil_buffer source = {NULL, 0, 'b'};
    for (int calls = 0; status >= 0 && status != LIL_DONE && calls < 10000; calls++) {
        if (status >= LIL_WANTS_PAGE) {
            read_page(model, f->model.data, f->arena.data, status - LIL_WANTS_PAGE);
            status = lil_run(model, &f->context, &f->arena, &source);
            continue;
        }
        uint32_t index = (uint32_t)status;
        lil_port port = lil_load_port(f->model.data, f->header.inputs_offset, index);
        lil_tensor tensor = lil_load_tensor(f->model.data, &f->header, port.tensor);
        uint32_t row = tensor.width * tensor.channels;
        bool is_whole = rows == 0 || is_patched(f, index);
        uint32_t first = is_whole ? 0 : taken[index];
        uint32_t left = tensor.height - first;
        uint32_t count = is_whole || left < rows ? left : rows;
        free(source.data);
        source = (lil_buffer){allocate(count * row), count * row, 'b'};
        memcpy(source.data, input_of(f, index) + first * row, source.size);
        taken[index] += count;
        status = lil_run(model, &f->context, &f->arena, &source);
    }
    free(source.data);
    return status;
}

static void check_outputs(const fixture *f, const lil_buffer *model, const char *how) {
    const uint8_t *expected = f->outputs;
    for (uint32_t i = 0; i < f->header.output_count; i++) {
        uint32_t bytes = tensor_bytes(f, f->header.outputs_offset, i);
        lil_buffer out = {allocate(bytes), bytes, 'b'};
        CHECK(expected + bytes <= f->outputs + f->output_bytes, "%s: .out is too short", f->name);
        CHECK(lil_read_output(model, &f->arena, (int32_t)i, &out) == LIL_OK, "%s", f->name);
        CHECK(memcmp(out.data, expected, bytes) == 0, "%s: output %u differs, %s", f->name, i, how);
        expected += bytes;
        free(out.data);
    }
}

static void test_inference(const fixture *f) {
    CHECK(lil_verify(&f->model) == LIL_OK, "%s: %s", f->name,
          lil_error_text(lil_verify(&f->model)));
    CHECK(infer(f, &f->model, 0) == LIL_DONE, "%s", f->name);
    check_outputs(f, &f->model, "whole inputs");
    CHECK(infer(f, &f->model, 1) == LIL_DONE, "%s", f->name);
    check_outputs(f, &f->model, "row by row");
    CHECK(infer(f, &f->model, 3) == LIL_DONE, "%s", f->name);
    check_outputs(f, &f->model, "three rows at a time");
    for (uint32_t offset = 1; offset < 4; offset++) {
        uint8_t *block = allocate(f->model.size + offset);
        lil_buffer moved = {block + offset, f->model.size, 'B'};
        memcpy(moved.data, f->model.data, moved.size);
        CHECK(lil_verify(&moved) == LIL_OK, "%s at address + %u", f->name, offset);
        CHECK(infer(f, &moved, 0) == LIL_DONE, "%s at address + %u", f->name, offset);
        check_outputs(f, &moved, "file at an odd address");
        free(block);
    }
}

/* Of a paged file the front is enough. */
static void test_pages(const fixture *f) {
    lil_buffer front = {allocate(f->header.constants_offset), f->header.constants_offset, 'B'};
    memcpy(front.data, f->model.data, front.size);
    if (f->header.is_paged) {
        CHECK(lil_verify(&front) == LIL_OK, "%s: the front", f->name);
        CHECK(infer(f, &front, 0) == LIL_DONE, "%s: the front", f->name);
        check_outputs(f, &front, "constants read page by page");
        CHECK(infer(f, &front, 1) == LIL_DONE, "%s: the front", f->name);
        check_outputs(f, &front, "constants page by page, input row by row");
    } else {
        CHECK(front.size == f->model.size || lil_verify(&front) == LIL_ERROR_TRUNCATED,
              "%s: the front of a file without pages", f->name);
    }
    free(front.data);
}

static void test_truncation(const fixture *f) {
    /* A paged file may be cut anywhere behind its front. */
    uint32_t end = f->header.is_paged ? f->header.constants_offset : f->model.size;
    uint32_t step = f->model.size / 4096 + 1;
    for (uint32_t size = 0; size < end; size += step) {
        lil_buffer cut = {allocate(size), size, 'B'};
        memcpy(cut.data, f->model.data, size);
        CHECK(lil_verify(&cut) == LIL_ERROR_TRUNCATED, "%s cut to %u bytes", f->name, size);
        free(cut.data);
    }
}

static void test_flipped_bits(const fixture *f, uint64_t *random) {
    uint32_t bits = f->model.size * 8;
    uint32_t tries = f->model.size <= EVERY_BIT_UP_TO ? bits : EVERY_BIT_UP_TO * 8;
    uint8_t *file = f->model.data;
    for (uint32_t i = 0; i < tries; i++) {
        uint32_t bit = tries == bits ? i : (uint32_t)(next_random(random) % bits);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int32_t status = lil_verify(&f->model);
        int32_t expected = bit < 32   ? LIL_ERROR_MAGIC
                           : bit < 48 ? LIL_ERROR_VERSION
                           : bit < 64 ? LIL_ERROR_LAYOUT
                                      : LIL_ERROR_CHECKSUM;
        /* Sizes that the file does not have make it a cut file. */
        uint32_t field = bit / 32 * 4;
        bool is_size = field == offsetof(lil_header, file_bytes) ||
                       field == offsetof(lil_header, constants_offset);
        CHECK(status == expected || (is_size && status == LIL_ERROR_TRUNCATED),
              "%s: bit %u flipped gives %d", f->name, bit, status);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void check_header_change(const fixture *f, const lil_header *changed, int32_t expected,
                                const char *what) {
    lil_buffer copy = {allocate(f->model.size), f->model.size, 'B'};
    memcpy(copy.data, f->model.data, copy.size);
    memcpy(copy.data, changed, sizeof *changed);
    seal(copy.data, copy.size);
    int32_t status = lil_verify(&copy);
    CHECK(status == expected, "%s: %s gives %d, not %d", f->name, what, status, expected);
    free(copy.data);
}

/* Files whose checksum is right and whose header is not. */
static void test_wrong_headers(const fixture *f) {
    lil_header header = f->header;
    header.tensors_offset = 0xFFFFFFFC;
    check_header_change(f, &header, LIL_ERROR_TABLE, "tensors at the end of memory");
    header = f->header;
    header.operators_offset++;
    check_header_change(f, &header, LIL_ERROR_TABLE, "operators at an odd offset");
    header = f->header;
    header.tensor_count = 0xFFFF;
    check_header_change(f, &header, LIL_ERROR_TABLE, "more tensors than the file holds");
    header = f->header;
    header.labels_bytes = 0xFFFFFFFF;
    check_header_change(f, &header, LIL_ERROR_TABLE, "labels of 4 GB");
    header = f->header;
    header.arena_bytes = 0xFFFFFFFF;
    check_header_change(f, &header, LIL_ERROR_TABLE, "an arena of 4 GB");
    header = f->header;
    header.arena_bytes = 0;
    check_header_change(f, &header, LIL_ERROR_TENSOR, "no arena");
    header = f->header;
    header.context_bytes = 0;
    check_header_change(f, &header, LIL_ERROR_SCHEDULE, "no context");
    header = f->header;
    header.segment_count = 0;
    header.inference_segments = 0;
    check_header_change(f, &header, LIL_ERROR_SCHEDULE, "no segments");
    header = f->header;
    header.input_count = 0;
    check_header_change(f, &header, LIL_ERROR_TABLE, "no inputs");
    header = f->header;
    header.version++;
    check_header_change(f, &header, LIL_ERROR_VERSION, "another version");
    header = f->header;
    header.layout++;
    check_header_change(f, &header, LIL_ERROR_LAYOUT, "another layout");
}

/* What a caller can do wrong; the model works afterwards. */
static void test_wrong_calls(const fixture *f) {
    lil_buffer none = {NULL, 0, 'b'};
    uint32_t row = tensor_bytes(f, f->header.inputs_offset, 0) /
                   lil_load_tensor(f->model.data, &f->header,
                                   lil_load_port(f->model.data, f->header.inputs_offset, 0).tensor)
                       .height;
    lil_buffer small = f->context;
    small.size--;
    CHECK(lil_begin(&f->model, &small) == LIL_ERROR_CONTEXT_SIZE, "%s", f->name);
    memset(f->context.data, 0, f->context.size);
    CHECK(lil_run(&f->model, &f->context, &f->arena, &none) == LIL_ERROR_NOT_BEGUN, "%s", f->name);
    CHECK(lil_begin(&f->model, &f->context) == LIL_OK, "%s", f->name);
    small = f->arena;
    small.size--;
    CHECK(lil_run(&f->model, &f->context, &small, &none) == LIL_ERROR_ARENA_SIZE, "%s", f->name);
    lil_buffer odd = {(uint8_t *)f->arena.data + 4, f->arena.size, 'B'};
    CHECK(lil_run(&f->model, &f->context, &odd, &none) == LIL_ERROR_ARENA_ALIGNMENT, "%s", f->name);
    lil_buffer source = {allocate(row), row, 'd'};
    memset(source.data, 0, row);
    CHECK(lil_run(&f->model, &f->context, &f->arena, &source) == LIL_ERROR_INPUT_TYPE, "%s",
          f->name);
    if (row > 1) {
        source.typecode = 'b';
        source.size = row - 1;
        CHECK(lil_begin(&f->model, &f->context) == LIL_OK, "%s", f->name);
        int32_t expected = is_patched(f, 0) ? LIL_ERROR_INPUT_WHOLE : LIL_ERROR_INPUT_SIZE;
        CHECK(lil_run(&f->model, &f->context, &f->arena, &source) == expected, "%s", f->name);
    }
    free(source.data);
    CHECK(infer(f, &f->model, 0) == LIL_DONE, "%s", f->name);
    lil_buffer out = {NULL, 0, 'b'};
    CHECK(lil_read_output(&f->model, &f->arena, 0, &out) == LIL_ERROR_OUTPUT_SIZE, "%s", f->name);
    CHECK(lil_read_output(&f->model, &f->arena, -1, &out) == LIL_ERROR_INDEX, "%s", f->name);
    CHECK(lil_read_output(&f->model, &f->arena, f->header.output_count, &out) == LIL_ERROR_INDEX,
          "%s", f->name);
    CHECK(lil_read_tensor(&f->model, &f->arena, f->header.tensor_count, &out) == LIL_ERROR_INDEX,
          "%s", f->name);
    int32_t value;
    CHECK(lil_field(&f->model, 1000, 0, &value) == LIL_ERROR_FIELD, "%s", f->name);
    CHECK(lil_field(&f->model, LIL_FIELD_INPUT_RANK, f->header.input_count, &value) ==
              LIL_ERROR_INDEX,
          "%s", f->name);
    check_outputs(f, &f->model, "after wrong calls");
}

static void test_error_texts(void) {
    for (int32_t status = -1; status >= LIL_ERROR_INPUT_WHOLE; status--) {
        CHECK(lil_error_text(status) != NULL && lil_error_text(status)[0] != '\0', "%d", status);
    }
}

int main(int argc, char **argv) {
    uint64_t random = 0x2545F4914F6CDD1D;
    for (int i = 1; i < argc; i++) {
        fixture f = open_fixture(argv[i]);
        test_inference(&f);
        test_pages(&f);
        test_truncation(&f);
        test_flipped_bits(&f, &random);
        test_wrong_headers(&f);
        test_wrong_calls(&f);
        close_fixture(&f);
    }
    test_error_texts();
    printf("model: %d models, %d failures\n", argc - 1, failures);
    return failures > 0 || argc < 2;
}
