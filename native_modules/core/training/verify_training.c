/* Checks of what a training step adds to a file: that its kernels stay inside of their rows,
 * constants and trained constants. Sums may wrap, so they need none. */
#include "gradient.h"
#include "split.h"

#if LIL_TRAINING

#define LIL_LARGEST_TAPS 65536       /* of one output channel */
#define LIL_LARGEST_EXTENT (1 << 24) /* of a map, and of where a region begins */

/* An operator under check, with its tensors. */
typedef struct subject {
    const uint8_t *model;
    const lil_header *header;
    const lil_operator *op;
    const uint8_t *constants; /* NULL: not in memory yet */
    lil_edge edges[2];
    lil_tensor in; /* of the first edge */
    lil_tensor other;
    lil_tensor out;
} subject;

static bool edge_is(const lil_edge *edge, int32_t step, int32_t first, int32_t last,
                    int32_t divisor) {
    return edge->step == step && edge->first == first && edge->last == last &&
           edge->divisor == divisor;
}

/* Output row y reads input row y. */
static bool is_straight(const lil_edge *edge, const lil_tensor *in, const lil_tensor *out) {
    return in->height == out->height &&
           (edge_is(edge, 1, 0, 0, 1) || (in->height == 1 && edge_is(edge, 0, 0, 0, 1)));
}

/* All rows are read at once. */
static bool is_whole(const lil_edge *edge, const lil_tensor *in) {
    return edge_is(edge, 0, 0, (int32_t)in->height - 1, 1) && in->ring_rows == in->height;
}

static bool same_shape(const lil_tensor *a, const lil_tensor *b) {
    return a->height == b->height && a->width == b->width && a->channels == b->channels;
}

static bool limit_is_sound(uint32_t limit) {
    return limit <= INT16_MAX;
}

/* So that sums of positions stay within 32 bits. */
static bool magnitude_is_sound(int32_t value) {
    return value >= -LIL_LARGEST_EXTENT && value <= LIL_LARGEST_EXTENT;
}

static int32_t operator_status(bool is_sound) {
    return is_sound ? LIL_OK : LIL_ERROR_OPERATOR;
}

static bool window_is_sound(const lil_window *w) {
    return w->kernel_height >= 1 && w->kernel_width >= 1 && w->stride_height >= 1 &&
           w->stride_width >= 1 && w->dilation_height >= 1 && w->dilation_width >= 1 &&
           w->kernel_height <= 1024 && w->kernel_width <= 1024 && w->dilation_height <= 1024 &&
           w->dilation_width <= 1024;
}

static int32_t span_of(const lil_window *w) {
    return (w->kernel_height - 1) * w->dilation_height;
}

/* Row y of the gradient of x reads the rows of the gradient of z that row y fed. */
static bool is_backward(const subject *s, const lil_window *w) {
    return edge_is(&s->edges[0], 1, w->pad_top - span_of(w), w->pad_top, w->stride_height);
}

/* Multipliers, no smaller than `least`, and shifts of `count` channels. */
static int32_t verify_factors(const subject *s, uint32_t count, int32_t least, int32_t least_shift,
                              int32_t largest_shift) {
    if (s->op->constants_bytes < 5 * (uint64_t)count) {
        return LIL_ERROR_CONSTANTS;
    }
    for (uint32_t c = 0; s->constants != NULL && c < count; c++) {
        int32_t shift = ((const int8_t *)s->constants)[4 * count + c];
        if (lil_load_int32(s->constants + 4 * c) < least || shift < least_shift ||
            shift > largest_shift) {
            return LIL_ERROR_CONSTANTS;
        }
    }
    return LIL_OK;
}

/* Of an update of `channels`, whether its velocities, `bytes` of them, have their place. */
static int32_t verify_velocities(const subject *s, uint32_t channels, uint64_t bytes) {
    uint32_t at = lil_factor_bytes(channels);
    if (!(s->op->flags & LIL_HAS_VELOCITY)) {
        return LIL_OK;
    }
    if (s->op->constants_bytes < at + 4) {
        return LIL_ERROR_CONSTANTS;
    }
    if (s->constants != NULL) {
        uint32_t offset = (uint32_t)lil_load_int32(s->constants + at);
        if (offset % 4 != 0 || offset < lil_velocity_start(s->header) ||
            offset + bytes > lil_trained_start(s->header)) {
            return LIL_ERROR_CONSTANTS;
        }
    }
    return LIL_OK;
}

/* Bytes of the weights of `outputs` channels in pairs; `taps` at most LIL_LARGEST_TAPS. */
static uint64_t paired_bytes(const lil_operator *op, uint32_t groups, uint32_t outputs,
                             uint64_t taps) {
    return (uint64_t)groups * lil_pair_count(outputs / groups) * lil_pair_bytes(op, (uint32_t)taps);
}

/* Bytes of the weights that lie in the arena, of an operator whose output has `outputs` channels;
 * of its gradient or its update. */
static uint64_t arena_bytes(const lil_operator *op, uint32_t outputs) {
    const lil_window *w = &op->parameters.window;
    bool is_depthwise = op->kind == LIL_DEPTHWISE_GRADIENT || op->kind == LIL_UPDATE_DEPTHWISE;
    uint64_t kernel = (uint64_t)w->kernel_height * w->kernel_width;
    if (op->arena_inputs == 0) {
        return 0;
    }
    return is_depthwise ? kernel * outputs
                        : paired_bytes(op, w->groups, outputs, kernel * op->arena_inputs);
}

/* Whether of the `inputs` channels of each group all have their weights in the arena, or as many as
 * may where `may_split`. */
static bool arena_inputs_are_sound(const lil_operator *op, uint32_t inputs, bool may_split) {
    return op->arena_inputs == 0 || op->arena_inputs == inputs ||
           (may_split && op->parameters.window.groups == 1 && op->arena_inputs < inputs &&
            op->arena_inputs % 2 == 0);
}

/* The inference's constants, in the file and in the arena, of the operator whose gradient this is.
 * `inputs`: its input channels, of each group. */
static int32_t verify_weights(const subject *s, uint64_t weight_bytes, uint32_t inputs) {
    if (s->op->constants_bytes < lil_channel_table_bytes(s->in.channels) + weight_bytes) {
        return LIL_ERROR_CONSTANTS;
    }
    if (s->op->trained_offset == LIL_NONE) {
        return LIL_OK;
    }
    bool may_split = s->op->kind == LIL_CONVOLUTION_GRADIENT;
    return operator_status(
        arena_inputs_are_sound(s->op, inputs, may_split) &&
        lil_trained_fits(s->header, s->op, s->in.channels, arena_bytes(s->op, s->in.channels)));
}

static int32_t verify_mask(const subject *s) {
    return operator_status(s->in.dtype == LIL_INT8 && s->out.dtype == LIL_BITS &&
                           s->out.channels == 1 &&
                           s->out.width == (s->in.width * s->in.channels + 7) / 8 &&
                           is_straight(&s->edges[0], &s->in, &s->out));
}

static int32_t verify_cross_entropy(const subject *s) {
    bool is_sound = s->in.dtype == LIL_INT8 && s->out.dtype == LIL_INT16 &&
                    same_shape(&s->in, &s->out) && s->in.height == 1 && s->in.width == 1 &&
                    s->in.channels <= 4095 && s->in.channels == s->header->class_count &&
                    is_straight(&s->edges[0], &s->in, &s->out);
    if (!is_sound) {
        return LIL_ERROR_OPERATOR;
    }
    if (s->op->constants_bytes < 4 * 256) {
        return LIL_ERROR_CONSTANTS;
    }
    for (uint32_t i = 0; s->constants != NULL && i < 256; i++) {
        if (lil_load_int32(s->constants + 4 * i) < (i == 0 ? 1 << 30 : 0)) {
            return LIL_ERROR_CONSTANTS;
        }
    }
    return LIL_OK;
}

static int32_t verify_squared_error(const subject *s) {
    const lil_loss *loss = &s->op->parameters.loss;
    uint64_t elements = (uint64_t)s->in.height * s->in.width * s->in.channels;
    return operator_status(s->in.dtype == LIL_INT8 && s->out.dtype == LIL_INT16 &&
                           same_shape(&s->in, &s->out) && is_whole(&s->edges[0], &s->in) &&
                           s->header->class_count == 0 && s->header->target_bytes == elements &&
                           loss->multiplier >= 0 && loss->shift >= -31 && loss->shift <= 30);
}

static int32_t verify_clamp(const subject *s) {
    bool is_sound = s->in.dtype == LIL_INT16 && s->out.dtype == LIL_INT16 &&
                    same_shape(&s->in, &s->out) && is_straight(&s->edges[0], &s->in, &s->out) &&
                    limit_is_sound(s->op->parameters.limit.limit);
    if (s->op->edge_count == 2) {
        uint32_t row = s->out.width * s->out.channels;
        bool is_map = s->other.dtype == LIL_INT8 && same_shape(&s->other, &s->out);
        bool is_mask = s->other.dtype == LIL_BITS && s->other.channels == 1 &&
                       s->other.width == (row + 7) / 8 &&
                       (row % 8 == 0 || !(s->op->flags & LIL_POINTWISE));
        is_sound = is_sound && (is_map || is_mask) && is_straight(&s->edges[1], &s->other, &s->out);
    }
    return is_sound ? verify_factors(s, s->out.channels, -INT32_MAX, 1, 30) : LIL_ERROR_OPERATOR;
}

/* What all gradients with a window have in common. */
static bool gradient_is_sound(const subject *s) {
    const lil_gradient *g = &s->op->parameters.gradient;
    return s->in.dtype == LIL_INT16 && s->out.dtype == LIL_INT16 && window_is_sound(&g->window) &&
           is_backward(s, &g->window) && g->shift <= 30 && limit_is_sound(g->limit);
}

static bool is_plain_pointwise(const subject *s) {
    const lil_window *w = &s->op->parameters.gradient.window;
    return w->kernel_height == 1 && w->kernel_width == 1 && w->stride_height == 1 &&
           w->stride_width == 1 && w->pad_top == 0 && w->pad_left == 0 && w->groups == 1 &&
           s->in.height == s->out.height && s->in.width == s->out.width;
}

static int32_t verify_convolution_gradient(const subject *s) {
    const lil_window *w = &s->op->parameters.gradient.window;
    if (!gradient_is_sound(s) || w->groups == 0 || s->in.channels % w->groups != 0 ||
        s->out.channels % w->groups != 0 ||
        (s->op->flags & LIL_POINTWISE && !is_plain_pointwise(s))) {
        return LIL_ERROR_OPERATOR;
    }
    uint64_t taps = (uint64_t)w->kernel_height * w->kernel_width * (s->out.channels / w->groups);
    if (taps > LIL_LARGEST_TAPS) {
        return LIL_ERROR_OPERATOR;
    }
    return verify_weights(s, paired_bytes(s->op, w->groups, s->in.channels, taps),
                          s->out.channels / w->groups);
}

static int32_t verify_depthwise_gradient(const subject *s) {
    const lil_window *w = &s->op->parameters.gradient.window;
    if (!gradient_is_sound(s) || s->in.channels % s->out.channels != 0) {
        return LIL_ERROR_OPERATOR;
    }
    return verify_weights(s, (uint64_t)w->kernel_height * w->kernel_width * s->in.channels,
                          s->out.channels);
}

static int32_t verify_sum(const subject *s) {
    const lil_sum *sum = &s->op->parameters.sum;
    bool is_sound = limit_is_sound(sum->limit) && s->in.dtype == LIL_INT16 &&
                    s->other.dtype == LIL_INT16 && s->out.dtype == LIL_INT16 &&
                    same_shape(&s->in, &s->out) && same_shape(&s->other, &s->out) &&
                    is_straight(&s->edges[0], &s->in, &s->out) &&
                    is_straight(&s->edges[1], &s->other, &s->out);
    int32_t apart = sum->shift[0] - sum->shift[1];
    for (uint32_t i = 0; i < 2; i++) {
        is_sound = is_sound && sum->shift[i] >= -14 && sum->shift[i] <= 14;
    }
    return operator_status(is_sound && apart >= -14 && apart <= 14);
}

static int32_t verify_product(const subject *s) {
    const lil_product *product = &s->op->parameters.product;
    if (s->in.dtype != LIL_INT16 || s->other.dtype != LIL_INT8 || s->out.dtype != LIL_INT16 ||
        product->multiplier < 0 || product->shift < -31 || product->shift > 30 ||
        !limit_is_sound(product->limit)) {
        return LIL_ERROR_OPERATOR;
    }
    if (s->op->flags & LIL_SINK) {
        return operator_status(s->out.height == 1 && s->out.width == 1 &&
                               s->out.channels == s->in.channels && same_shape(&s->in, &s->other) &&
                               edge_is(&s->edges[1], 1, 0, 0, 1));
    }
    bool is_pixel =
        s->other.height == 1 && s->other.width == 1 &&
        (edge_is(&s->edges[1], 0, 0, 0, 1) || is_straight(&s->edges[1], &s->other, &s->out));
    bool is_map = s->other.height == s->out.height && s->other.width == s->out.width &&
                  is_straight(&s->edges[1], &s->other, &s->out);
    return operator_status(same_shape(&s->in, &s->out) &&
                           is_straight(&s->edges[0], &s->in, &s->out) && (is_pixel || is_map) &&
                           (s->other.channels == 1 || s->other.channels == s->out.channels));
}

static int32_t verify_pool_gradient(const subject *s) {
    const lil_window *w = &s->op->parameters.gradient.window;
    bool is_sound = gradient_is_sound(s) && s->in.channels == s->out.channels &&
                    w->dilation_height == 1 && w->dilation_width == 1 &&
                    s->out.width <= LIL_MAX_HEIGHT && s->in.width <= LIL_MAX_HEIGHT;
    if (s->op->kind == LIL_MAX_POOL_GRADIENT) {
        int32_t reach = w->kernel_height - 1;
        is_sound = is_sound && s->other.dtype == LIL_INT8 && same_shape(&s->other, &s->out) &&
                   edge_is(&s->edges[1], 1, -reach, reach, 1);
    }
    return operator_status(is_sound);
}

static int32_t verify_table_gradient(const subject *s) {
    const lil_slope *slope = &s->op->parameters.slope;
    bool is_sound = s->in.dtype == LIL_INT16 && s->other.dtype == LIL_INT8 &&
                    s->out.dtype == LIL_INT16 && same_shape(&s->in, &s->out) &&
                    same_shape(&s->other, &s->out) && is_straight(&s->edges[0], &s->in, &s->out) &&
                    is_straight(&s->edges[1], &s->other, &s->out) && limit_is_sound(slope->limit) &&
                    slope->shift <= 30;
    if (!is_sound) {
        return LIL_ERROR_OPERATOR;
    }
    return s->op->constants_bytes < 2 * 256 ? LIL_ERROR_CONSTANTS : LIL_OK;
}

static int32_t verify_region_gradient(const subject *s) {
    const lil_region *region = &s->op->parameters.region;
    int32_t row = region->begin_height;
    return operator_status(
        s->in.dtype == LIL_INT16 && s->out.dtype == LIL_INT16 &&
        edge_is(&s->edges[0], 1, row, row, 1) && magnitude_is_sound(region->begin_width) &&
        magnitude_is_sound(region->begin_channels) && s->in.width <= LIL_LARGEST_EXTENT &&
        s->out.width <= LIL_LARGEST_EXTENT && s->in.channels <= LIL_LARGEST_EXTENT &&
        s->out.channels <= LIL_LARGEST_EXTENT);
}

static int32_t verify_resize_gradient(const subject *s) {
    const lil_gradient *g = &s->op->parameters.gradient;
    const lil_window *w = &g->window;
    int32_t height = w->kernel_height;
    return operator_status(s->in.dtype == LIL_INT16 && s->out.dtype == LIL_INT16 &&
                           window_is_sound(w) && s->in.channels == s->out.channels &&
                           edge_is(&s->edges[0], height, 0, height - 1, 1) && g->shift <= 30 &&
                           limit_is_sound(g->limit) &&
                           s->out.width == (s->in.width + w->kernel_width - 1) / w->kernel_width);
}

/* What all updates have in common: a token as their output. */
static bool update_is_sound(const subject *s) {
    return s->in.dtype == LIL_INT16 && s->out.dtype == LIL_INT8 && s->out.height == 1 &&
           s->out.width == 1 && s->out.channels == 1;
}

static int32_t verify_update_bias(const subject *s) {
    if (!update_is_sound(s) || !(s->op->flags & LIL_SINK) ||
        !lil_trained_fits(s->header, s->op, s->in.channels, 0)) {
        return LIL_ERROR_OPERATOR;
    }
    int32_t status = verify_factors(s, s->in.channels, 0, INT8_MIN, INT8_MAX);
    return status == LIL_OK ? verify_velocities(s, s->in.channels, 4 * (uint64_t)s->in.channels)
                            : status;
}

/* Whether the rows of both maps are there when an update of weights reads them. */
static bool update_edges_are_sound(const subject *s) {
    const lil_window *w = &s->op->parameters.update.window;
    if (s->op->flags & LIL_SINK) {
        return edge_is(&s->edges[1], w->stride_height, -w->pad_top, span_of(w) - w->pad_top, 1);
    }
    return is_whole(&s->edges[0], &s->in) && is_whole(&s->edges[1], &s->other);
}

static int32_t verify_update_weights(const subject *s) {
    const lil_update *update = &s->op->parameters.update;
    const lil_window *w = &update->window;
    bool is_depthwise = s->op->kind == LIL_UPDATE_DEPTHWISE;
    uint32_t groups = is_depthwise ? 1 : w->groups;
    if (!update_is_sound(s) || s->other.dtype != LIL_INT8 || !window_is_sound(w) ||
        !update_edges_are_sound(s) || groups == 0 || update->trained_inputs == 0 ||
        update->input_channels % groups != 0 || update->trained_inputs > s->op->arena_inputs ||
        !arena_inputs_are_sound(s->op, update->input_channels / groups, !is_depthwise) ||
        s->in.channels % groups != 0 || (uint64_t)s->in.width * w->stride_width > 1 << 30) {
        return LIL_ERROR_OPERATOR;
    }
    bool has_channels = s->other.channels == update->input_channels;
    if (is_depthwise) {
        has_channels = has_channels && s->in.channels % s->other.channels == 0;
    } else {
        uint64_t kernel = (uint64_t)w->kernel_height * w->kernel_width;
        bool has_first = groups == 1 && s->other.channels == update->trained_inputs;
        has_channels = (has_channels || has_first) &&
                       kernel * (update->input_channels / groups) <= LIL_LARGEST_TAPS;
    }
    if (!has_channels ||
        !lil_trained_fits(s->header, s->op, s->in.channels, arena_bytes(s->op, s->in.channels))) {
        return LIL_ERROR_OPERATOR;
    }
    int32_t status = verify_factors(s, s->in.channels, 0, INT8_MIN, INT8_MAX);
    uint64_t trained = (uint64_t)w->kernel_height * w->kernel_width * update->trained_inputs;
    trained *= is_depthwise ? s->in.channels / s->other.channels : s->in.channels;
    return status == LIL_OK ? verify_velocities(s, s->in.channels, 2 * trained) : status;
}

/* What the verifier of each kind does not see to itself. */
typedef struct rule {
    int32_t (*verify)(const subject *);
    uint8_t edges; /* at least, and at most 2 */
    uint8_t has_optional_edge;
    uint8_t flags; /* that it may have of LIL_SINK and LIL_POINTWISE */
} rule;

int32_t lil_verify_training_operator(const uint8_t *model, const lil_header *header,
                                     const lil_operator *op, const uint8_t *constants) {
    static const rule rules[LIL_KIND_COUNT - LIL_MASK] = {
        {verify_mask, 1, 0, 0},
        {verify_cross_entropy, 1, 0, 0},
        {verify_squared_error, 1, 0, 0},
        {verify_clamp, 1, 1, LIL_POINTWISE},
        {verify_convolution_gradient, 1, 0, LIL_POINTWISE},
        {verify_depthwise_gradient, 1, 0, 0},
        {verify_sum, 2, 0, LIL_POINTWISE},
        {verify_product, 2, 0, LIL_SINK | LIL_POINTWISE},
        {verify_pool_gradient, 1, 0, 0},
        {verify_pool_gradient, 2, 0, 0},
        {verify_table_gradient, 2, 0, LIL_POINTWISE},
        {verify_region_gradient, 1, 0, 0},
        {verify_resize_gradient, 1, 0, 0},
        {verify_update_bias, 1, 0, LIL_SINK},
        {verify_update_weights, 2, 0, LIL_SINK},
        {verify_update_weights, 2, 0, LIL_SINK},
    };
    const rule *r = &rules[op->kind - LIL_MASK];
    uint32_t how = op->flags & (LIL_SINK | LIL_POINTWISE);
    if (header->training_bytes == 0 || op->edge_count < r->edges ||
        op->edge_count > r->edges + r->has_optional_edge || (how & ~(uint32_t)r->flags) != 0 ||
        how == (LIL_SINK | LIL_POINTWISE) || op->flags & LIL_INT4) {
        return LIL_ERROR_OPERATOR;
    }
    subject s;
    s.model = model;
    s.header = header;
    s.op = op;
    s.constants = constants;
    s.out = lil_load_tensor(model, header, op->output);
    s.edges[0] = lil_load_edge(model, header, op->first_edge);
    s.in = lil_load_tensor(model, header, s.edges[0].tensor);
    s.edges[1] = s.edges[0];
    if (op->edge_count > 1) {
        s.edges[1] = lil_load_edge(model, header, op->first_edge + 1);
    }
    s.other = lil_load_tensor(model, header, s.edges[1].tensor);
    return r->verify(&s);
}

/* What training changes of an operator. */
typedef struct trained {
    uint32_t offset;
    uint32_t count; /* of channels */
    uint64_t bytes; /* biases and weights */
} trained;

/* Of an operator of the inference, or of an update; `offset` is LIL_NONE for any other. */
static trained load_trained(const uint8_t *model, const lil_header *header, uint32_t index) {
    lil_operator op = lil_load_operator(model, header, index);
    trained result = {LIL_NONE, 0, 0};
    if (op.trained_offset == LIL_NONE || (op.kind >= LIL_MASK && op.kind < LIL_UPDATE_BIAS)) {
        return result;
    }
    lil_edge edge = lil_load_edge(model, header, op.first_edge);
    lil_tensor in = lil_load_tensor(model, header, edge.tensor);
    result.offset = op.trained_offset;
    if (op.kind < LIL_MASK) {
        result.count = lil_load_tensor(model, header, op.output).channels;
        result.bytes = 4 * (uint64_t)result.count + lil_arena_weight_bytes(&op, &in, result.count);
        return result;
    }
    result.count = in.channels;
    result.bytes = 4 * (uint64_t)result.count;
    if (op.kind != LIL_UPDATE_BIAS) {
        result.bytes += arena_bytes(&op, result.count);
    }
    return result;
}

bool lil_trained_is_apart(const uint8_t *model, const lil_header *header) {
    for (uint32_t i = 0; header->training_bytes != 0 && i < header->operator_count; i++) {
        trained a = load_trained(model, header, i);
        for (uint32_t k = 0; a.offset != LIL_NONE && k < i; k++) {
            trained b = load_trained(model, header, k);
            bool is_same = a.offset == b.offset && a.count == b.count;
            bool is_apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
            if (b.offset != LIL_NONE && !is_same && !is_apart) {
                return false;
            }
        }
    }
    return true;
}

#endif
