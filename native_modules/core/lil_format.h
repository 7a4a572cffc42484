/* The .lil model file: one flat, little-endian, position-independent buffer that is used in place.
 *
 * This header is the format's only definition. The C core includes it; the host tools read and
 * write files through the same structs (cffi parses it, so it holds plain C declarations only).
 *
 * Every tensor is a feature map of height x width x channels with the batch of one left out;
 * lower ranks are padded with ones on the left. Offsets count bytes from the start of the file,
 * unless they are arena offsets. Every table starts at a multiple of 4 bytes, every operator's
 * constants at a multiple of 16; the file itself may lie at any address.
 *
 * A file is laid out as: header, tensors, operators, edges, segments, inputs, outputs, labels,
 * provenance, preprocessing tables and constant tensors; then the operators' constants, in order of
 * execution. The part before the constants is the front: of a paged file only the front needs to
 * be in memory, and each segment's constants are read into the arena before it runs.
 *
 * A trainable file holds one training step more: the segments from `inference_segments` on are its
 * loss, backward pass and updates. The first `training_bytes` of the arena persist between calls: a
 * lil_training, the step's target, velocities if there are any, and the constants that training
 * changes (`trained_offset`).
 *
 * A velocity is a constant's coming change, in 1/256: momentum times what it was, and the gradients
 * of all samples since. So momentum and the accumulation of gradients are one: without momentum it
 * is the sum of gradients of `accumulated` samples, of which the last one changes the constant.
 */
#ifndef LIL_FORMAT_H
#define LIL_FORMAT_H

#include <stdint.h>

#define LIL_VERSION 4
#define LIL_LAYOUT 3 /* how constants are packed; a core reads one layout */
#define LIL_NONE 0xFFFFFFFF
#define LIL_MAX_INPUTS 16
#define LIL_MAX_PORTS 254
#define LIL_MAX_RANK 6
#define LIL_TRAINED_BIAS_LIMIT 268435456 /* 2^28: no bias that training changes is larger */
#define LIL_VELOCITY_BITS 8              /* a velocity is in 1/2^8 of its constant's unit */
#define LIL_WHOLE_MOMENTUM 32768         /* with this a step keeps all of the velocities */

/* What an operator computes. The kernel table has one entry for each. */
enum lil_kind {
    LIL_INPUT = 0, /* rows of a graph input, through its preprocessing */
    LIL_CONVOLUTION = 1,
    LIL_DEPTHWISE_CONVOLUTION = 2,
    LIL_TRANSPOSED_CONVOLUTION = 3,
    LIL_FULLY_CONNECTED = 4,
    LIL_ADD = 5,
    LIL_SUBTRACT = 6,
    LIL_MULTIPLY = 7,
    LIL_AVERAGE_POOL = 8,
    LIL_MAX_POOL = 9,
    LIL_MEAN = 10,
    LIL_PAD = 11,
    LIL_CONCATENATE = 12,
    LIL_SLICE = 13,
    LIL_TRANSPOSE = 14,
    LIL_TABLE = 15, /* any function of one int8: 256 entries */
    LIL_PRELU = 16,
    LIL_SOFTMAX = 17,
    LIL_RESIZE_NEAREST = 18,
    LIL_RESIZE_BILINEAR = 19,
    LIL_ARGMAX = 20,
    /* From here on: what a training step does besides the inference. A gradient g is an int16 map,
     * real = g * 2^-(static exponent, which the host knows) * 2^-gradient_exponent. x and y are the
     * input and output of the inference's operator, z its output before the clamp. */
    LIL_MASK = 21,                 /* y -> bits: 1 where activation_min < y < activation_max */
    LIL_CROSS_ENTROPY = 22,        /* logits 1x1xC -> gradient; the target is an int32 class */
    LIL_SQUARED_ERROR = 23,        /* y -> gradient; the target is an int8 map like y */
    LIL_CLAMP_GRADIENT = 24,       /* gradient of y [, y or its bits] -> gradient of z, rescaled */
    LIL_CONVOLUTION_GRADIENT = 25, /* gradient of z -> gradient of x; of FULLY_CONNECTED, too */
    LIL_DEPTHWISE_GRADIENT = 26,   /* gradient of z -> gradient of x */
    LIL_SUM_GRADIENTS = 27,        /* of a map with two readers: a * 2^i + b * 2^j */
    LIL_MULTIPLY_GRADIENT = 28,    /* gradient of z, the other operand -> gradient of an operand */
    LIL_POOL_GRADIENT = 29,        /* gradient of y -> gradient of x: AVERAGE_POOL and MEAN */
    LIL_MAX_POOL_GRADIENT = 30,    /* gradient of y, x -> gradient of x */
    LIL_TABLE_GRADIENT = 31,       /* gradient of y, x -> gradient of x */
    LIL_REGION_GRADIENT = 32,      /* gradient of y -> gradient of x: CONCATENATE, PAD, SLICE */
    LIL_RESIZE_GRADIENT = 33,      /* gradient of y -> gradient of x: RESIZE_NEAREST by whole
                                    * factors, and an ADD's or SUBTRACT's broadcast operand */
    LIL_UPDATE_BIAS = 34,          /* gradient of z; the output is a token, an int8 of no meaning */
    LIL_UPDATE_CONVOLUTION = 35,   /* gradient of z, x; the same; of FULLY_CONNECTED, too */
    LIL_UPDATE_DEPTHWISE = 36,     /* gradient of z, x; the same */
    LIL_KIND_COUNT = 37
};

/* LIL_BITS: eight of a row's elements (pixel by pixel) to a byte, the first in the lowest bit; the
 * map counts the bytes: width = ceil(elements of a row / 8), channels = 1. */
enum lil_dtype { LIL_INT8 = 0, LIL_INT32 = 1, LIL_INT16 = 2, LIL_BITS = 3 };

/* Where a tensor's rows lie. */
enum lil_storage {
    LIL_ARENA = 0,    /* `offset` counts from the start of the arena */
    LIL_CONSTANT = 1, /* `offset` counts from the start of the file; in the front */
    LIL_SOURCE = 2    /* nowhere: a graph input that INPUT operators read in patches */
};

enum lil_operator_flags {
    /* Each output pixel depends on the input pixels at the same place only (or on one pixel that
     * is broadcast), so rows that lie one behind the other may be computed as one long row. */
    LIL_POINTWISE = 1,
    /* Consumes its first input row by row; the output exists after the last row. */
    LIL_SINK = 2,
    /* Requantises with one rounding, half away from zero, in place of two: fully connected. */
    LIL_SINGLE_ROUNDING = 4,
    /* Of an operator with channels: kernels may requantise in a short way, because for every
     * channel the multiplier is at least 2^30 (and odd, with LIL_SINGLE_ROUNDING), the shift s is a
     * right shift of 1 or more, and no sum leaves 32 bits when 2^(s + 7) is added to its magnitude
     * for the rounding and the zero point. */
    LIL_SHIFTS_RIGHT = 8,
    /* CONVOLUTION, FULLY_CONNECTED: the weights have four bits, two to a byte. */
    LIL_INT4 = 16,
    /* Skipped in an inference. */
    LIL_FOR_TRAINING = 32,
    /* Of an update: its constants have velocities. */
    LIL_HAS_VELOCITY = 64
};

enum lil_axis { LIL_AXIS_HEIGHT = 1, LIL_AXIS_WIDTH = 2, LIL_AXIS_CHANNELS = 4 };

typedef struct lil_header {
    uint8_t magic[4];            /* "LIL", 0x1A */
    uint16_t version;            /* LIL_VERSION */
    uint16_t layout;             /* LIL_LAYOUT */
    uint32_t file_bytes;         /* size of the whole file */
    uint32_t checksum;           /* CRC-32 of the front but for this field */
    uint32_t constants_checksum; /* CRC-32 of the constants */
    uint32_t arena_bytes;        /* the one allocation that inference needs */
    uint32_t context_bytes;      /* size of the lil_progress that inference needs */
    uint32_t macs_low;           /* multiply-accumulates of one inference, low 32 bits */
    uint32_t macs_high;          /* and high 32 bits */
    uint32_t tensors_offset;     /* lil_tensor[tensor_count] */
    uint32_t operators_offset;   /* lil_operator[operator_count], in order of execution */
    uint32_t edges_offset;       /* lil_edge[edge_count] */
    uint32_t segments_offset;    /* lil_segment[segment_count] */
    uint32_t inputs_offset;      /* lil_port[input_count] */
    uint32_t outputs_offset;     /* lil_port[output_count] */
    uint32_t labels_offset;      /* UTF-8, one label a line */
    uint32_t labels_bytes;
    uint32_t provenance_offset; /* UTF-8 JSON: source model, names, quantisation, tool version */
    uint32_t provenance_bytes;
    uint32_t constants_offset; /* where the front ends: weights, biases, requantisation, tables */
    uint16_t tensor_count;
    uint16_t operator_count;
    uint16_t edge_count;
    uint16_t segment_count;
    uint16_t input_count;
    uint16_t output_count;
    uint16_t is_paged;           /* segments have pages: the constants need not be in memory */
    uint16_t inference_segments; /* so many segments are an inference; all, if not trainable */
    uint32_t training_bytes; /* of the arena, from its first on, that persist; 0: not trainable */
    uint32_t target_bytes;   /* of a training step: 4, an int32 class, or an int8 map's */
    uint32_t class_count;    /* a class is less than this; 0: the target is a map */
    uint32_t velocity_bytes; /* of the velocities, a multiple of 4 */
    uint16_t momentum;       /* in 1/32768, at most that */
    uint16_t accumulated;    /* samples to a change of the constants, 1 or more */
} lil_header;

/* The state of training: the arena's first bytes. The target lies behind it, and then, from the
 * next multiple of 4 on, the velocities and the trained constants. */
typedef struct lil_training {
    uint32_t seed;         /* of the stochastic rounding; the caller sets it */
    uint32_t step;         /* steps begun since the reset */
    int32_t rate_mantissa; /* learning rate = rate_mantissa * 2^(rate_exponent - 31) */
    int32_t rate_exponent;
    int32_t loss;              /* of the last step, in 1/65536; INT32_MAX: that or more */
    int32_t gradient_exponent; /* of the last step: its gradients were scaled up by 2^this */
    uint32_t saturated;        /* values of its gradients that did not fit, and were clamped; and
                                * weights that it changed by more than 127 */
    uint16_t kept;             /* of the velocities, by this step, in 1/32768 */
    uint16_t changes;          /* whether this step changes the constants by their velocities */
} lil_training;

/* A feature map, or the ring of those of its rows that are still needed: row y lies at
 * `offset + (y % ring_rows) * pitch`. A patch of a larger map has that map's pitch. */
typedef struct lil_tensor {
    uint32_t height;
    uint32_t width;
    uint32_t channels;
    uint32_t ring_rows; /* 1 to height; height when the whole map is held */
    uint32_t offset;    /* see lil_storage */
    uint32_t pitch;     /* bytes from one row to the next; at least a row's */
    uint16_t producer;  /* the operator that computes it; 0xFFFF for none (constants, views) */
    uint8_t dtype;      /* lil_dtype */
    uint8_t storage;    /* lil_storage */
    int8_t zero_point;
    uint8_t reserved[3];
} lil_tensor;

/* An operator's use of one input. Output row y reads the input rows
 * floor((y * step + first) / divisor) to floor((y * step + last) / divisor), clipped to the map. */
typedef struct lil_edge {
    int32_t step;
    int32_t first;
    int32_t last;
    uint16_t divisor; /* at least 1 */
    uint16_t tensor;
} lil_edge;

/* A sliding window, in rows and columns. */
typedef struct lil_window {
    uint16_t kernel_height;
    uint16_t kernel_width;
    uint16_t stride_height;
    uint16_t stride_width;
    uint16_t dilation_height;
    uint16_t dilation_width;
    int16_t pad_top;
    int16_t pad_left;
    uint32_t groups; /* convolution only */
} lil_window;

/* ADD, SUBTRACT, MULTIPLY, PRELU. A multiplier m with shift s stands for m * 2^(s - 31). */
typedef struct lil_rescale {
    int32_t multiplier[3]; /* first input, second input, output (PRELU: x >= 0, x < 0, none) */
    int8_t shift[3];
    uint8_t reserved;
} lil_rescale;

typedef struct lil_mean {
    int32_t multiplier;
    int32_t shift;
    uint32_t axes; /* lil_axis bits */
} lil_mean;

/* PAD: elements before the map. SLICE: where it begins, and its strides (never 0).
 * REGION_GRADIENT: where it begins, perhaps outside of the map: there it is 0. No strides. */
typedef struct lil_region {
    int32_t begin_height;
    int32_t begin_width;
    int32_t begin_channels;
    int16_t stride_height;
    int16_t stride_width;
    int16_t stride_channels;
    int16_t value; /* PAD */
} lil_region;

/* Output axis i (height, width, channels) is input axis `axis[i]` (0, 1, 2). */
typedef struct lil_permutation {
    uint8_t axis[3];
    uint8_t reserved;
} lil_permutation;

/* Input coordinate of output coordinate v, in 1/1024: v * scale + offset. NEAREST has tables. */
typedef struct lil_resize {
    int32_t scale_height;
    int32_t scale_width;
    int32_t offset_height;
    int32_t offset_width;
} lil_resize;

typedef struct lil_axes {
    uint32_t axis; /* one lil_axis bit: CONCATENATE, ARGMAX */
} lil_axes;

/* SQUARED_ERROR: loss = sum of squared int8 differences * multiplier * 2^(shift - 31), in 1/65536.
 */
typedef struct lil_loss {
    int32_t multiplier;
    int32_t shift;
} lil_loss;

/* Gradients are clamped to +-limit, which the host chooses so that no sum of them that a later
 * operator computes leaves 32 bits.
 *
 * CONVOLUTION_GRADIENT, DEPTHWISE_GRADIENT, POOL_GRADIENT, MAX_POOL_GRADIENT: the window is that of
 * the inference's operator; of FULLY_CONNECTED, and of MEAN, it is as large as the map. The sum of
 * products is divided by 2^shift, rounded to nearest, ties upwards. POOL_GRADIENT's factors are 256
 * for a window inside of the map, and 256 * its size / the part of it inside at a border.
 * RESIZE_GRADIENT: the window covers the elements of y that are copies of one of x; its strides are
 * its size. */
typedef struct lil_gradient {
    lil_window window;
    uint16_t limit;
    uint8_t shift; /* 0 to 30 */
    uint8_t reserved;
} lil_gradient;

/* TABLE_GRADIENT: gradient * slope of x / 2^shift, rounded to nearest, ties upwards. */
typedef struct lil_slope {
    uint16_t limit;
    uint8_t shift; /* 0 to 30 */
    uint8_t reserved;
} lil_slope;

/* CLAMP_GRADIENT, whose multipliers are constants. */
typedef struct lil_limit {
    uint16_t limit;
    uint16_t reserved;
} lil_limit;

/* SUM_GRADIENTS: a * 2^shift[0] + b * 2^shift[1], with shifts from -14 to 14, at most 14 apart. */
typedef struct lil_sum {
    uint16_t limit;
    int8_t shift[2];
} lil_sum;

/* MULTIPLY_GRADIENT: sum of g * (other - zero point), times multiplier * 2^(shift - 31). A sum over
 * the positions at which the operand was broadcast, one position where it was not. */
typedef struct lil_product {
    int32_t multiplier;
    int32_t shift;
    uint16_t limit;
    uint16_t reserved;
} lil_product;

/* UPDATE_CONVOLUTION, UPDATE_DEPTHWISE: the window is that of the inference's operator; of
 * FULLY_CONNECTED it is as large as the map. Of each group's input channels the first
 * `trained_inputs` have their weights changed; x has these channels, or all `input_channels`. */
typedef struct lil_update {
    lil_window window;
    uint16_t trained_inputs;
    uint16_t input_channels; /* of the inference's operator; of all groups */
} lil_update;

/* INPUT: which input, and where in it the output map begins. */
typedef struct lil_patch {
    uint32_t input;
    uint32_t begin_height;
    uint32_t begin_width;
} lil_patch;

typedef union lil_parameters {
    lil_patch patch;
    lil_window window;
    lil_rescale rescale;
    lil_mean mean;
    lil_region region;
    lil_permutation permutation;
    lil_resize resize;
    lil_axes axes;
    lil_loss loss;
    lil_gradient gradient;
    lil_slope slope;
    lil_limit limit;
    lil_sum sum;
    lil_product product;
    lil_update update;
    uint32_t words[6];
} lil_parameters;

/* Constants, by kind, in this order (C = output channels):
 *   convolutions     int32 bias[C], int32 multiplier[C], int8 shift[C], padding to 4, int8 weights
 *                    CONVOLUTION              weights in pairs, see below; the taps are
 *                                             [kernel_height][kernel_width][in / groups]
 *                    DEPTHWISE_CONVOLUTION    weights[kernel_height][kernel_width][C]
 *                    TRANSPOSED_CONVOLUTION   weights[C][kernel_height][kernel_width][in]
 *   FULLY_CONNECTED  the same, in pairs; the taps are [height][width][channels] of the input
 *   TABLE            int8 table[256], indexed by value + 128
 *   PRELU            int16 alpha - zero point [C]
 *   SOFTMAX          int32 exponential[256], Q0.31, indexed by maximum - value
 *   RESIZE_NEAREST   uint16 input row[output height], uint16 input column[output width]
 *   CROSS_ENTROPY    the same as SOFTMAX
 *   CLAMP_GRADIENT   int32 multiplier[C], int8 shift[C]: g * multiplier * 2^-(16 + shift), with
 *                    multipliers from -INT32_MAX to INT32_MAX and shifts from 1 to 30
 *   TABLE_GRADIENT   int16 slope[256], indexed by x + 128
 *   CONVOLUTION_GRADIENT, DEPTHWISE_GRADIENT
 *                    those of the inference's operator
 *   UPDATE_BIAS, UPDATE_CONVOLUTION, UPDATE_DEPTHWISE
 *                    int32 multiplier[C], int8 shift[C]: a constant's sum of gradients (and inputs)
 *                    times multiplier * 2^(shift - 31), the learning rate and 2^-gradient_exponent,
 *                    rounded stochastically, is what is taken off it; with LIL_HAS_VELOCITY padding
 *                    to 4 and the arena offset, a multiple of 4, of int32 velocity[C] of biases, or
 *                    of int16 velocity[C][kernel_height][kernel_width][trained_inputs] of weights,
 *                    of UPDATE_DEPTHWISE [trained channels][kernel_height][kernel_width]
 * The bias has the input's zero point folded in: bias - zero_point * sum of the weights.
 *
 * Weights in pairs are weights[groups][pairs][taps][2]: output channels 2i and 2i + 1 of a group
 * are pair i, and their weights alternate. Zeros stand for the partner of a last channel that has
 * none, and for a last tap where their number is odd: so a pair takes a multiple of 4 bytes, and
 * each word of 32 bits holds two taps of two channels, the operands of two dual
 * multiply-accumulates.
 *
 * With LIL_INT4 all weights of an operator are multiples of 16, and a word holds the upper halves
 * of four taps of two channels: of the two words that int8 has, the first one's in the upper halves
 * of its bytes, the second one's in the lower. The taps are padded to a multiple of four; a fully
 * connected layer over several rows has a multiple of four in each. */
typedef struct lil_operator {
    uint8_t kind;  /* lil_kind */
    uint8_t flags; /* lil_operator_flags */
    int8_t activation_min;
    int8_t activation_max;
    uint16_t output; /* tensor */
    uint16_t first_edge;
    uint16_t edge_count;
    uint16_t rows_per_sweep; /* at most so many rows at a time, see lil_segment; 0: no limit */
    uint32_t constants_offset;
    uint32_t constants_bytes;
    uint32_t scratch_offset; /* in the arena, a multiple of 4 */
    uint32_t scratch_bytes;
    /* Where in the arena int32 bias[C] lies, and behind it the weights of the first `arena_inputs`
     * input channels of each group, packed as if there were no others, in place of those among the
     * constants; a multiple of 4. LIL_NONE: all lie in the file. Of updates, and of gradients with
     * weights, both are those of the inference's operator. */
    uint32_t trained_offset;
    /* An even number or all of them; all or none where there are several groups, in DEPTHWISE and
     * TRANSPOSED_CONVOLUTION, with LIL_INT4, and in FULLY_CONNECTED over several rows. */
    uint32_t arena_inputs;
    lil_parameters parameters;
} lil_operator;

/* Operators that run together, in sweeps: in each, every operator in turn computes the rows whose
 * inputs exist, but no more than `rows_per_sweep`. */
typedef struct lil_segment {
    uint16_t first_operator;
    uint16_t operator_count;
    uint32_t constants_offset; /* of all its operators */
    uint32_t constants_bytes;
    uint32_t page_offset; /* in the arena, where they are read to; LIL_NONE: the file is mapped */
} lil_segment;

/* A graph input or output as the user sees it. real = scale * (value - zero_point). */
typedef struct lil_port {
    uint16_t tensor;
    uint8_t rank;
    uint8_t table_channels; /* preprocessing tables: 0 (none), 1, or one a channel */
    uint32_t shape[6];      /* `rank` dimensions, the batch included */
    uint32_t scale;         /* bits of an IEEE 754 single */
    int32_t zero_point;
    uint32_t table_offset; /* int8[table_channels][256], from uint8; LIL_NONE when absent */
    /* int32[255], ascending: IEEE 754 single x becomes -128 + (number of thresholds <= key(x)),
     * key(x) being the bits of x, with all but the sign inverted when negative. */
    uint32_t thresholds_offset;
} lil_port;

/* Progress of an inference: the context that the caller owns. It holds as many rows as the largest
 * segment has operators. */
typedef struct lil_progress {
    uint32_t begun;       /* the model's checksum: a context of another model is refused */
    uint16_t segment;     /* the segment in work */
    uint8_t has_page;     /* its constants have been read into the arena */
    uint8_t spent_source; /* 1 + the input that the source has completed since it was asked for */
    uint32_t is_training; /* a training step, not an inference */
    uint32_t rows[];      /* computed by each of its operators; consumed, for a sink */
} lil_progress;

#endif
