/* The engine: checks a .lil file and runs it in an arena that the caller owns.
 *
 * Order of calls: lil_verify once per file; then lil_begin and lil_run for each inference, with
 * lil_run repeated while it returns an input index or LIL_WANTS_PAGE, until it returns LIL_DONE;
 * then lil_read_output. Nothing is allocated, no global is written, and no function keeps a
 * pointer: all state is in the context and the arena, both of which may be used again for the next
 * inference. Functions return a lil_status.
 *
 * A trainable file wants lil_reset once before its first inference, so that the constants that
 * training changes are in the arena, which is then its own. A training step is lil_begin_step,
 * lil_run as for an inference, and lil_read_output for the scores; the loss is in lil_training, at
 * the arena's first byte.
 */
#ifndef LILLIPUT_H
#define LILLIPUT_H

#include <stdint.h>

/* A Python buffer. `typecode` is that of MicroPython's array module: 'b' int8, 'B' uint8,
 * 'i' int32, 'f' IEEE 754 single. */
typedef struct lil_buffer {
    void *data;
    uint32_t size; /* bytes */
    char typecode;
} lil_buffer;

/* Zero or positive: lil_run still wants rows of the input of that index. */
enum lil_status {
    LIL_OK = 0,
    LIL_DONE = 0x7FFF,
    LIL_WANTS_PAGE = 0x10000, /* + segment: its constants are to be read into the arena */
    LIL_ERROR_TRUNCATED = -1,
    LIL_ERROR_MAGIC = -2,
    LIL_ERROR_VERSION = -3,
    LIL_ERROR_LAYOUT = -4,
    LIL_ERROR_CHECKSUM = -5,
    LIL_ERROR_TABLE = -6,
    LIL_ERROR_TENSOR = -7,
    LIL_ERROR_OPERATOR = -8,
    LIL_ERROR_CONSTANTS = -9,
    LIL_ERROR_SCHEDULE = -10,
    LIL_ERROR_PORT = -11,
    LIL_ERROR_KERNEL_ABSENT = -12,
    LIL_ERROR_ARENA_SIZE = -13,
    LIL_ERROR_ARENA_ALIGNMENT = -14,
    LIL_ERROR_CONTEXT_SIZE = -15,
    LIL_ERROR_NOT_BEGUN = -16,
    LIL_ERROR_INPUT_TYPE = -17,
    LIL_ERROR_INPUT_SIZE = -18,
    LIL_ERROR_INPUT_NO_TABLE = -19,
    LIL_ERROR_OUTPUT_SIZE = -20,
    LIL_ERROR_INDEX = -21,
    LIL_ERROR_FIELD = -22,
    LIL_ERROR_INPUT_WHOLE = -23,
    LIL_ERROR_NOT_TRAINABLE = -24,
    LIL_ERROR_TARGET = -25,
    LIL_ERROR_RATE = -26
};

/* What lil_field reads. `index` counts inputs, outputs, tensors, operators or segments; for a shape
 * it is port * 8 + axis. */
enum lil_field_id {
    LIL_FIELD_ARENA_BYTES = 0,
    LIL_FIELD_CONTEXT_BYTES = 1,
    LIL_FIELD_INPUT_COUNT = 2,
    LIL_FIELD_OUTPUT_COUNT = 3,
    LIL_FIELD_LABELS_OFFSET = 4,
    LIL_FIELD_LABELS_BYTES = 5,
    LIL_FIELD_INPUT_RANK = 6,
    LIL_FIELD_INPUT_SHAPE = 7,
    LIL_FIELD_INPUT_SCALE = 8, /* bits of an IEEE 754 single */
    LIL_FIELD_INPUT_ZERO_POINT = 9,
    LIL_FIELD_INPUT_DTYPE = 10, /* lil_dtype */
    LIL_FIELD_OUTPUT_RANK = 11,
    LIL_FIELD_OUTPUT_SHAPE = 12,
    LIL_FIELD_OUTPUT_SCALE = 13,
    LIL_FIELD_OUTPUT_ZERO_POINT = 14,
    LIL_FIELD_OUTPUT_DTYPE = 15,
    LIL_FIELD_SCRATCH_BYTES = 16, /* that the kernel of operator `index` needs */
    LIL_FIELD_TENSOR_BYTES = 17,  /* of tensor `index`, whole */
    LIL_FIELD_FRONT_BYTES = 18,   /* of the part that has to be in memory when paged */
    LIL_FIELD_FILE_BYTES = 19,
    LIL_FIELD_CONSTANTS_CHECKSUM = 20,
    LIL_FIELD_PAGE_START = 21, /* in the file, of the constants of segment `index` */
    LIL_FIELD_PAGE_BYTES = 22,
    LIL_FIELD_PAGE_OFFSET = 23, /* in the arena; -1 when the file is not paged */
    LIL_FIELD_IS_PAGED = 24,
    LIL_FIELD_SCRATCH_WANTED = 25, /* with which the kernel of operator `index` is fastest */
    LIL_FIELD_TRAINING_BYTES = 26, /* of the arena that persist; 0: not trainable */
    LIL_FIELD_TARGET_BYTES = 27,
    LIL_FIELD_CLASS_COUNT = 28,  /* of the target; 0: it is an int8 map */
    LIL_FIELD_TRAINED_START = 29 /* in the arena, of the trained constants */
};

/* Checks everything that the engine will rely on, so that no file, however damaged, makes it read
 * or write outside of the file, the arena and the context. Must succeed before any other call.
 * `model` is the whole file, or the front of a paged one: its constants are then checked as they
 * are read, segment by segment, and by lil_checksum. */
int32_t lil_verify(const lil_buffer *model);

/* One number of a file: see lil_field_id. */
int32_t lil_field(const lil_buffer *model, int32_t field, int32_t index, int32_t *value);

/* Continues a CRC-32 over `data`; begins with `checksum` 0. */
int32_t lil_checksum(const lil_buffer *data, int32_t checksum, int32_t *value);

/* Starts an inference. `context` holds at least LIL_FIELD_CONTEXT_BYTES, 4-byte aligned. */
int32_t lil_begin(const lil_buffer *model, const lil_buffer *context);

/* Puts the constants that training changes into the arena as they are in the file, and clears the
 * state, a lil_training. Between lil_begin and LIL_DONE; returns LIL_WANTS_PAGE + a segment as
 * lil_run does. Does nothing for a file that is not trainable. Not in builds without LIL_TRAINING:
 * in those the file's own constants are used. */
int32_t lil_reset(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena);

/* Starts a training step in place of an inference. `target` is an int32 class, or the int8 map that
 * the output should be. The learning rate is mantissa * 2^(exponent - 31), the mantissa not
 * negative. Not in builds without LIL_TRAINING. */
int32_t lil_begin_step(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena,
                       const lil_buffer *target, int32_t mantissa, int32_t exponent);

/* Computes as far as the rows in `source` allow. `source` holds whole rows of the input that the
 * last call asked for; empty is allowed, and asks. Returns LIL_DONE, the index of the input whose
 * next rows are wanted, or LIL_WANTS_PAGE + a segment: the caller then reads that segment's
 * constants into the arena (LIL_FIELD_PAGE_*) and calls again with the same source. `arena` holds
 * at least LIL_FIELD_ARENA_BYTES, 8-byte aligned. `source` is never written to. */
int32_t lil_run(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena,
                const lil_buffer *source);

/* Copies output `index` (int8, or int32 for an arg max). */
int32_t lil_read_output(const lil_buffer *model, const lil_buffer *arena, int32_t index,
                        const lil_buffer *destination);

/* Copies tensor `index`, for tests of plans in which no tensor is overwritten. */
int32_t lil_read_tensor(const lil_buffer *model, const lil_buffer *arena, int32_t index,
                        const lil_buffer *destination);

/* What an error means and how to mend it. */
const char *lil_error_text(int32_t status);

#endif
