/* The interface between the executor and the kernels, and the table of kernels.
 *
 * A kernel computes one output row from rows of its inputs, wherever these lie: in a ring, in a
 * whole map, or in the caller's buffer. Pointwise kernels get `pixels` instead of a row's width,
 * since several rows in a run are one long row to them. Sinks are called once for each input row
 * and write their output at the last.
 */
#ifndef LIL_KERNELS_H
#define LIL_KERNELS_H

#include "../model.h"
#include "../requantize.h"
#include "target.h"

/* One input of an operator. */
typedef struct lil_source {
    lil_tensor tensor;
    const int8_t *base; /* row 0 of the ring */
    uint32_t row_bytes;
    int32_t first; /* the first row that the output row reads, not clipped to the map */
} lil_source;

/* One output row (or, for a sink, one input row) of one operator. */
typedef struct lil_call {
    lil_operator op;
    lil_tensor output;
    lil_source sources[LIL_MAX_INPUTS];
    const uint8_t *constants;
#if LIL_TRAINING
    const uint8_t *trained; /* int32 bias[C] [, weights] in the arena, or NULL */
    lil_training *training; /* in a file that is trainable */
#endif
    uint8_t *scratch;
    int8_t *out;     /* where the output row goes */
    int32_t y;       /* the output row; for a sink, the input row */
    uint32_t pixels; /* in this call's output row */
} lil_call;

/* The row in a slot of the ring. */
static inline const int8_t *lil_row_in_slot(const lil_source *source, uint32_t slot) {
    return source->base + slot * source->tensor.pitch;
}

/* Input row y, or NULL outside of the map. */
static inline const int8_t *lil_row(const lil_source *source, int32_t y) {
    if (y < 0 || y >= (int32_t)source->tensor.height) {
        return NULL;
    }
    return lil_row_in_slot(source, (uint32_t)y % source->tensor.ring_rows);
}

/* The rows of a window, one after the other, with one division for all of them. */
typedef struct lil_row_walk {
    const lil_source *source;
    int32_t y;
    uint32_t slot; /* of the first row inside of the map, then of the next */
} lil_row_walk;

static inline lil_row_walk lil_walk_rows(const lil_source *source, uint32_t step) {
    int32_t y = source->first;
    while (y < 0) {
        y += (int32_t)step;
    }
    lil_row_walk walk = {source, source->first, (uint32_t)y % source->tensor.ring_rows};
    return walk;
}

/* The row of the walk, NULL outside of the map; the walk goes on `step` rows further down. */
static inline const int8_t *lil_next_row(lil_row_walk *walk, uint32_t step) {
    const int8_t *row = NULL;
    if (walk->y >= 0 && walk->y < (int32_t)walk->source->tensor.height) {
        row = lil_row_in_slot(walk->source, walk->slot);
        walk->slot += step;
        while (walk->slot >= walk->source->tensor.ring_rows) {
            walk->slot -= walk->source->tensor.ring_rows;
        }
    }
    walk->y += (int32_t)step;
    return row;
}

/* Requantisation parameters of an operator with weights, one entry a channel. */
typedef struct lil_channels {
    const uint8_t *bias;       /* int32 */
    const uint8_t *multiplier; /* int32 */
    const int8_t *shift;
    const int8_t *weights;
} lil_channels;

/* In the constants; `count` channels. */
static inline lil_channels lil_locate_channels(const uint8_t *constants, uint32_t count) {
    lil_channels channels;
    channels.bias = constants;
    channels.multiplier = constants + 4 * count;
    channels.shift = (const int8_t *)constants + 8 * count;
    channels.weights = (const int8_t *)constants + lil_channel_table_bytes(count);
    return channels;
}

/* Those that training changes in the arena, the others in the constants. */
#if LIL_TRAINING
lil_channels lil_load_channels(const lil_call *call, uint32_t count);
#else
static inline lil_channels lil_load_channels(const lil_call *call, uint32_t count) {
    return lil_locate_channels(call->constants, count);
}
#endif

/* Pairs of output channels of a convolution group, the last one perhaps half. */
static inline uint32_t lil_pair_count(uint32_t group_outputs) {
    return (group_outputs + 1) / 2;
}

/* Whether an operator's weights have four bits. */
static inline bool lil_is_int4(const lil_operator *op) {
    return op->flags & LIL_INT4;
}

/* Bytes before tap `tap` in the weights of a pair; of four bits each, for every fourth tap. */
static inline uint32_t lil_tap_offset(const lil_operator *op, uint32_t tap) {
    return lil_is_int4(op) ? tap : 2 * tap;
}

/* Bytes of the weights of a pair. `taps`: weights of one output channel. */
static inline uint32_t lil_pair_bytes(const lil_operator *op, uint32_t taps) {
    return lil_is_int4(op) ? (taps + 3) & ~(uint32_t)3 : 2 * (taps + taps % 2);
}

static inline int32_t lil_bias(const lil_channels *channels, uint32_t channel) {
    return lil_load_int32(channels->bias + 4 * channel);
}

/* A channel's accumulator as its int8 output. */
static inline int8_t lil_finish(const lil_channels *channels, uint32_t channel, int32_t sum,
                                const lil_call *call) {
    int32_t multiplier = lil_load_int32(channels->multiplier + 4 * channel);
    int32_t shift = channels->shift[channel];
    int32_t value = call->op.flags & LIL_SINGLE_ROUNDING
                        ? lil_rescale_once(sum, multiplier, shift)
                        : lil_rescale_value(sum, multiplier, shift);
    return lil_clamp(value, call->output.zero_point, call->op.activation_min,
                     call->op.activation_max);
}

typedef void (*lil_kernel)(const lil_call *call);

/* NULL for a kernel that this build leaves out. */
lil_kernel lil_find_kernel(uint32_t kind);

/* The kinds from LIL_MASK on. */
#if LIL_TRAINING
lil_kernel lil_find_training_kernel(uint32_t kind);
uint32_t lil_training_scratch(const lil_operator *op, const lil_tensor *input,
                              const lil_tensor *output);
#else
static inline lil_kernel lil_find_training_kernel(uint32_t kind) {
    (void)kind;
    return NULL;
}

static inline uint32_t lil_training_scratch(const lil_operator *op, const lil_tensor *input,
                                            const lil_tensor *output) {
    (void)op, (void)input, (void)output;
    return 0;
}
#endif

/* Bytes of scratch that an operator's kernel needs. `input` is its first input. */
uint32_t lil_scratch_bytes(const lil_operator *op, const lil_tensor *input,
                           const lil_tensor *output);

/* Bytes of scratch with which it is fastest: a kernel makes do with what the operator has. */
uint32_t lil_wanted_scratch_bytes(const lil_operator *op, const lil_tensor *input,
                                  const lil_tensor *output);

void lil_convolution(const lil_call *call);
void lil_depthwise_convolution(const lil_call *call);
void lil_transposed_convolution(const lil_call *call);
void lil_fully_connected(const lil_call *call);
void lil_add(const lil_call *call);
void lil_subtract(const lil_call *call);
void lil_multiply(const lil_call *call);
void lil_average_pool(const lil_call *call);
void lil_max_pool(const lil_call *call);
void lil_mean_kernel(const lil_call *call);
void lil_pad(const lil_call *call);
void lil_concatenate(const lil_call *call);
void lil_slice(const lil_call *call);
void lil_transpose(const lil_call *call);
void lil_table(const lil_call *call);
void lil_prelu(const lil_call *call);
void lil_softmax(const lil_call *call);
void lil_resize_nearest(const lil_call *call);
void lil_resize_bilinear(const lil_call *call);
void lil_argmax(const lil_call *call);

#endif
