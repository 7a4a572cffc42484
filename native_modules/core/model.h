/* Reads the records of a .lil file, which may lie at any address. */
#ifndef LIL_MODEL_H
#define LIL_MODEL_H

#include "kernels/target.h"
#include "lil_format.h"
#include "lilliput.h"

#include <stdbool.h>
#include <string.h>

#define LIL_NO_PRODUCER 0xFFFF

/* Limits that keep all index arithmetic inside 32 bits; the verifier enforces them. */
#define LIL_MAX_HEIGHT 65535
#define LIL_MAX_ELEMENTS (1u << 28)
#define LIL_MAX_STEP 16384
#define LIL_MAX_ROW_OFFSET (1 << 29)

static inline lil_header lil_load_header(const uint8_t *model) {
    lil_header header;
    memcpy(&header, model, sizeof header);
    return header;
}

static inline lil_tensor lil_load_tensor(const uint8_t *model, const lil_header *header,
                                         uint32_t index) {
    lil_tensor tensor;
    memcpy(&tensor, model + header->tensors_offset + index * sizeof tensor, sizeof tensor);
    return tensor;
}

static inline lil_operator lil_load_operator(const uint8_t *model, const lil_header *header,
                                             uint32_t index) {
    /* Copied once: what memcpy has written to a local variable is copied again on return. */
    typedef struct __attribute__((packed, may_alias)) record {
        lil_operator value;
    } record;
    return ((const record *)(model + header->operators_offset))[index].value;
}

static inline lil_edge lil_load_edge(const uint8_t *model, const lil_header *header,
                                     uint32_t index) {
    lil_edge edge;
    memcpy(&edge, model + header->edges_offset + index * sizeof edge, sizeof edge);
    return edge;
}

static inline lil_segment lil_load_segment(const uint8_t *model, const lil_header *header,
                                           uint32_t index) {
    lil_segment segment;
    memcpy(&segment, model + header->segments_offset + index * sizeof segment, sizeof segment);
    return segment;
}

static inline lil_port lil_load_port(const uint8_t *model, uint32_t table, uint32_t index) {
    lil_port port;
    memcpy(&port, model + table + index * sizeof port, sizeof port);
    return port;
}

static inline int32_t lil_load_int32(const uint8_t *address) {
    int32_t value;
#if defined(__riscv) || (defined(__arm__) && !defined(__ARM_FEATURE_UNALIGNED))
    /* Mostly the file lies well, and then these take one load in place of four or a call. */
    if ((uintptr_t)address % 4 == 0) {
        memcpy(&value, __builtin_assume_aligned(address, 4), sizeof value);
        return value;
    }
#endif
    memcpy(&value, address, sizeof value);
    return value;
}

/* A build for inference alone computes no int16 map. */
static inline uint32_t lil_element_bytes(const lil_tensor *tensor) {
    return tensor->dtype == LIL_INT32 ? 4 : LIL_TRAINING && tensor->dtype == LIL_INT16 ? 2 : 1;
}

static inline uint32_t lil_row_bytes(const lil_tensor *tensor) {
    return tensor->width * tensor->channels * lil_element_bytes(tensor);
}

/* Whether rows lie one behind the other. */
static inline bool lil_is_contiguous(const lil_tensor *tensor) {
    return tensor->pitch == lil_row_bytes(tensor) || tensor->height == 1;
}

/* Where a training step's target lies in the arena. */
static inline uint8_t *lil_target(uint8_t *arena) {
    return arena + sizeof(lil_training);
}

/* Where the velocities lie, and behind them the trained constants. */
static inline uint32_t lil_velocity_start(const lil_header *header) {
    return sizeof(lil_training) + (header->target_bytes + 3) / 4 * 4;
}

static inline uint32_t lil_trained_start(const lil_header *header) {
    return lil_velocity_start(header) + header->velocity_bytes;
}

/* Whether an operator's trained bias of `count` channels, and `weight_bytes` behind it, have their
 * place. */
static inline bool lil_trained_fits(const lil_header *header, const lil_operator *op,
                                    uint32_t count, uint64_t weight_bytes) {
    uint32_t offset = op->trained_offset;
    return offset % 4 == 0 && offset >= lil_trained_start(header) &&
           offset + 4 * (uint64_t)count + weight_bytes <= header->training_bytes;
}

/* Bytes of the tables before the weights of an operator with `count` channels. */
static inline uint32_t lil_channel_table_bytes(uint32_t count) {
    return (9 * count + 3) / 4 * 4;
}

/* Bytes from the first of a tensor's ring to behind its last. */
static inline uint64_t lil_extent(const lil_tensor *tensor) {
    return (uint64_t)tensor->pitch * (tensor->ring_rows - 1) + lil_row_bytes(tensor);
}

/* floor(value / divisor) for divisor > 0. */
static inline int32_t lil_floor_divide(int32_t value, int32_t divisor) {
    if (divisor == 1) {
        return value;
    }
    return value >= 0 ? value / divisor : -((divisor - 1 - value) / divisor);
}

/* The first row that output row y reads, not clipped to the map. */
static inline int32_t lil_first_row(const lil_edge *edge, int32_t y) {
    return lil_floor_divide(y * edge->step + edge->first, edge->divisor);
}

/* The last row that output row y reads, clipped to the map; negative when it reads none. */
static inline int32_t lil_last_row(const lil_edge *edge, int32_t height, int32_t y) {
    int32_t last = lil_floor_divide(y * edge->step + edge->last, edge->divisor);
    return last < height ? last : height - 1;
}

/* Whether an operator's shapes, parameters and constants keep its kernel inside of its buffers.
 * `constants` is where its constants lie, or NULL when they are not in memory yet. */
int32_t lil_verify_operator(const uint8_t *model, const lil_header *header, const lil_operator *op,
                            const uint8_t *constants);

/* The same for what only a training step does; LIL_OK in builds that never run it. */
#if LIL_TRAINING
int32_t lil_verify_training_operator(const uint8_t *model, const lil_header *header,
                                     const lil_operator *op, const uint8_t *constants);

/* Whether no trained constants lie over those of another operator. */
bool lil_trained_is_apart(const uint8_t *model, const lil_header *header);
#else
static inline int32_t lil_verify_training_operator(const uint8_t *model, const lil_header *header,
                                                   const lil_operator *op,
                                                   const uint8_t *constants) {
    (void)model, (void)header, (void)op, (void)constants;
    return LIL_OK;
}

static inline bool lil_trained_is_apart(const uint8_t *model, const lil_header *header) {
    (void)model, (void)header;
    return true;
}
#endif

/* Whether the constants are in memory with the front. */
static inline bool lil_is_mapped(const lil_buffer *model, const lil_header *header) {
    return model->size >= header->file_bytes;
}

/* Converts whole pixels of a source buffer to int8 through an input's preprocessing. */
int32_t lil_preprocess(const uint8_t *model, const lil_port *port, uint32_t channels,
                       const lil_buffer *source, uint32_t first_element, uint32_t count,
                       int8_t *destination);

/* Bytes of one source element, or 0 when the input cannot take the buffer's type. */
uint32_t lil_source_element_bytes(char typecode);

#endif
