/* Runs inferences on a bare machine: reads jobs from an image in memory, hands out results.
 *
 * All numbers are little-endian words; offsets count from the start of the image. Behind the image
 * is free memory, which holds the context, the outputs and the arena. For each job a status, the
 * stack bytes that the inference used and the bytes of all outputs are written; of a training step
 * also the part of the arena that persists.
 */
#include "platform.h"

#include <lilliput.h>
#include <stddef.h>
#include <string.h>

#define IMAGE_MAGIC 0x424F4A4C /* "LJOB" */
#define FILLING 0xA5

typedef struct image_header {
    uint32_t magic;
    uint32_t job_count;
    uint32_t jobs;  /* offset of job[job_count] */
    uint32_t bytes; /* of the whole image, a multiple of 16 */
} image_header;

typedef struct job {
    uint32_t model; /* offset, of any alignment */
    uint32_t model_bytes;
    uint32_t inputs; /* offset of job_input[input_count] */
    uint32_t input_count;
    uint32_t outputs; /* offset of the outputs' sizes, uint32_t[output_count] */
    uint32_t output_count;
    uint32_t target;       /* offset of a training step's target */
    uint32_t target_bytes; /* 0: an inference */
    int32_t mantissa;      /* of the learning rate */
    int32_t exponent;
} job;

typedef struct job_input {
    uint32_t data; /* offset, of any alignment */
    uint32_t bytes;
    uint32_t typecode; /* see lil_buffer */
} job_input;

typedef struct result {
    int32_t status; /* LIL_OK or an error */
    uint32_t stack_bytes;
} result;

static uint8_t *align(uint8_t *address) {
    return (uint8_t *)(((uintptr_t)address + 15) & ~(uintptr_t)15);
}

/* Reads a segment's constants into the arena, as a paged file's owner does. */
static int32_t read_page(const lil_buffer *model, const lil_buffer *arena, int32_t segment) {
    int32_t start = 0;
    int32_t bytes = 0;
    int32_t offset = 0;
    int32_t status = lil_field(model, LIL_FIELD_PAGE_START, segment, &start);
    status = status == LIL_OK ? lil_field(model, LIL_FIELD_PAGE_BYTES, segment, &bytes) : status;
    status = status == LIL_OK ? lil_field(model, LIL_FIELD_PAGE_OFFSET, segment, &offset) : status;
    if (status == LIL_OK) {
        memcpy((uint8_t *)arena->data + offset, (const uint8_t *)model->data + start,
               (size_t)bytes);
    }
    return status;
}

#if LIL_TRAINING

/* Puts the constants that training changes into the arena. */
static int32_t reset(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena) {
    int32_t status = lil_begin(model, context);
    status = status == LIL_OK ? lil_reset(model, context, arena) : status;
    while (status >= LIL_WANTS_PAGE) {
        int32_t page = read_page(model, arena, status - LIL_WANTS_PAGE);
        status = page == LIL_OK ? lil_reset(model, context, arena) : page;
    }
    return status;
}

static int32_t begin(uint8_t *image, const job *task, const lil_buffer *model,
                     const lil_buffer *context, const lil_buffer *arena) {
    lil_buffer target = {image + task->target, task->target_bytes, 'b'};
    return task->target_bytes == 0
               ? lil_begin(model, context)
               : lil_begin_step(model, context, arena, &target, task->mantissa, task->exponent);
}

#else

static int32_t reset(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena) {
    (void)model, (void)context, (void)arena;
    return LIL_OK;
}

static int32_t begin(uint8_t *image, const job *task, const lil_buffer *model,
                     const lil_buffer *context, const lil_buffer *arena) {
    (void)image, (void)arena;
    return task->target_bytes == 0 ? lil_begin(model, context) : LIL_ERROR_KERNEL_ABSENT;
}

#endif

/* One inference, as a binding's infer() does it: whole inputs, each passed when it is wanted. Or
 * one training step. */
static int32_t infer(uint8_t *image, const job *task, const lil_buffer *model,
                     const lil_buffer *context, const lil_buffer *arena) {
    lil_buffer source = {image, 0, 'b'};
    int32_t status = begin(image, task, model, context, arena);
    if (status == LIL_OK) {
        status = lil_run(model, context, arena, &source);
    }
    while (status >= 0 && status != LIL_DONE) {
        if (status >= LIL_WANTS_PAGE) {
            int32_t page = read_page(model, arena, status - LIL_WANTS_PAGE);
            status = page == LIL_OK ? lil_run(model, context, arena, &source) : page;
            continue;
        }
        job_input input;
        memcpy(&input, image + task->inputs + (uint32_t)status * sizeof input, sizeof input);
        source = (lil_buffer){image + input.data, input.bytes, (char)input.typecode};
        int32_t wanted = lil_run(model, context, arena, &source);
        status = wanted == status ? LIL_ERROR_INPUT_SIZE : wanted;
    }
    return status;
}

static int32_t read_outputs(const uint8_t *image, const job *task, const lil_buffer *model,
                            const lil_buffer *arena, uint8_t *destination) {
    for (uint32_t index = 0; index < task->output_count; index++) {
        uint32_t bytes;
        memcpy(&bytes, image + task->outputs + index * sizeof bytes, sizeof bytes);
        lil_buffer output = {destination, bytes, 'b'};
        int32_t status = lil_read_output(model, arena, (int32_t)index, &output);
        if (status != LIL_OK) {
            return status;
        }
        destination += bytes;
    }
    return LIL_OK;
}

static uint32_t output_bytes(const uint8_t *image, const job *task) {
    uint32_t total = 0;
    for (uint32_t index = 0; index < task->output_count; index++) {
        uint32_t bytes;
        memcpy(&bytes, image + task->outputs + index * sizeof bytes, sizeof bytes);
        total += bytes;
    }
    return total;
}

static void run_job(uint8_t *image, const job *task, uint8_t *memory) {
    lil_buffer model = {image + task->model, task->model_bytes, 'B'};
    uint32_t outputs = output_bytes(image, task);
    uint8_t *output = memory;
    lil_buffer context = {align(output + outputs), 0, 'B'};
    lil_buffer arena = {NULL, 0, 'B'};
    int32_t context_bytes = 0;
    int32_t arena_bytes = 0;
    result found = {lil_verify(&model), 0};
    memset(output, 0, outputs);
    if (found.status == LIL_OK) {
        lil_field(&model, LIL_FIELD_CONTEXT_BYTES, 0, &context_bytes);
        lil_field(&model, LIL_FIELD_ARENA_BYTES, 0, &arena_bytes);
        context.size = (uint32_t)context_bytes;
        arena.data = align((uint8_t *)context.data + context.size);
        arena.size = (uint32_t)arena_bytes;
        memset(context.data, FILLING, context.size);
        memset(arena.data, FILLING, arena.size);
        found.status = reset(&model, &context, &arena);
        platform_paint_stack();
        region_begin();
        found.status = infer(image, task, &model, &context, &arena);
        if (found.status == LIL_DONE) {
            found.status = read_outputs(image, task, &model, &arena, output);
        }
        region_end();
        found.stack_bytes = platform_stack_bytes();
    }
    platform_write(&found, sizeof found);
    platform_write(output, outputs);
    if (task->target_bytes != 0) {
        int32_t training_bytes = 0;
        lil_field(&model, LIL_FIELD_TRAINING_BYTES, 0, &training_bytes);
        platform_write(arena.data, (uint32_t)training_bytes);
    }
}

void run_jobs(uint8_t *image) {
    image_header header;
    memcpy(&header, image, sizeof header);
    if (header.magic != IMAGE_MAGIC) {
        platform_exit(2);
    }
    for (uint32_t index = 0; index < header.job_count; index++) {
        job task;
        memcpy(&task, image + header.jobs + index * sizeof task, sizeof task);
        run_job(image, &task, image + header.bytes);
    }
}
