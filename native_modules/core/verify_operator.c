/* Checks that an operator's kernel stays inside of its rows, constants and 32-bit sums. */
#include "training/split.h"

/* An operator under check, with its tensors. Single-input operators look at `in` only. */
typedef struct subject {
    const uint8_t *model;
    const lil_header *header;
    const lil_operator *op;
    const uint8_t *constants; /* NULL: not in memory yet */
    lil_edge edge;            /* the first one */
    lil_tensor in;            /* and its tensor */
    lil_tensor out;
} subject;

static lil_edge load_edge(const subject *s, uint32_t index) {
    return lil_load_edge(s->model, s->header, s->op->first_edge + index);
}

static lil_tensor load_input(const subject *s, uint32_t index) {
    return lil_load_tensor(s->model, s->header, load_edge(s, index).tensor);
}

static bool edge_is(const lil_edge *edge, int32_t step, int32_t first, int32_t last) {
    return edge->step == step && edge->first == first && edge->last == last && edge->divisor == 1;
}

/* Output row y reads input row y, or the only row of a map that is broadcast. */
static bool is_straight(const lil_edge *edge, const lil_tensor *in, const lil_tensor *out) {
    if (in->height == 1) {
        return edge_is(edge, 0, 0, 0) || (out->height == 1 && edge_is(edge, 1, 0, 0));
    }
    return in->height == out->height && edge_is(edge, 1, 0, 0);
}

static bool same_shape(const lil_tensor *a, const lil_tensor *b) {
    return a->height == b->height && a->width == b->width && a->channels == b->channels;
}

static bool multiplier_is_sound(int32_t multiplier, int32_t shift) {
    return multiplier >= 0 && shift >= -31 && shift <= 30;
}

/* Whether a channel is as LIL_SHIFTS_RIGHT promises. `largest` is the largest sum's magnitude. */
static bool shifts_right(const subject *s, uint32_t largest, int32_t multiplier, int32_t shift) {
    if (multiplier < 1 << 30 || (s->op->flags & LIL_SINGLE_ROUNDING && multiplier % 2 == 0)) {
        return false;
    }
    return shift <= -1 && shift >= -23 && largest + (1u << (7 - shift)) <= INT32_MAX;
}

#if LIL_TRAINING
static bool trained_fits(const subject *s) {
    uint32_t count = s->out.channels;
    return lil_split_is_sound(s->op, &s->in) &&
           lil_trained_fits(s->header, s->op, count, lil_arena_weight_bytes(s->op, &s->in, count));
}
#else
static bool trained_fits(const subject *s) {
    (void)s;
    return true;
}
#endif

/* Bias, multipliers and shifts of every channel, and `inputs` weights for each, in pairs of
 * channels where there are `pairs`: in bounds, and no sum can leave 32 bits. */
static int32_t verify_channels(const subject *s, uint64_t inputs, uint64_t pairs) {
    uint32_t count = s->out.channels;
    uint64_t table_bytes = lil_channel_table_bytes(count);
    if (inputs > 65536) {
        return LIL_ERROR_CONSTANTS;
    }
    uint64_t weight_bytes =
        pairs > 0 ? pairs * lil_pair_bytes(s->op, (uint32_t)inputs) : inputs * count;
    if (s->op->constants_bytes < table_bytes + weight_bytes) {
        return LIL_ERROR_CONSTANTS;
    }
    bool is_trained = LIL_TRAINING && s->op->trained_offset != LIL_NONE;
    if (is_trained && !trained_fits(s)) {
        return LIL_ERROR_OPERATOR;
    }
    if (s->constants == NULL) {
        return LIL_OK;
    }
    lil_channels channels = lil_locate_channels(s->constants, count);
    int32_t limit = INT32_MAX - (int32_t)(inputs << 14);
    if (is_trained && limit > LIL_TRAINED_BIAS_LIMIT) {
        limit = LIL_TRAINED_BIAS_LIMIT;
    }
    for (uint32_t c = 0; c < count; c++) {
        int32_t bias = lil_bias(&channels, c);
        int32_t multiplier = lil_load_int32(channels.multiplier + 4 * c);
        if (bias > limit || bias < -limit || !multiplier_is_sound(multiplier, channels.shift[c])) {
            return LIL_ERROR_CONSTANTS;
        }
        uint32_t largest = (uint32_t)(bias < 0 ? -bias : bias) + (uint32_t)(inputs << 14);
        if (is_trained) {
            largest = LIL_TRAINED_BIAS_LIMIT + (uint32_t)(inputs << 14);
        }
        if (s->op->flags & LIL_SHIFTS_RIGHT &&
            !shifts_right(s, largest, multiplier, channels.shift[c])) {
            return LIL_ERROR_CONSTANTS;
        }
    }
    return LIL_OK;
}

static bool window_is_sound(const subject *s) {
    const lil_window *w = &s->op->parameters.window;
    int32_t span = (w->kernel_height - 1) * w->dilation_height;
    return w->kernel_height >= 1 && w->kernel_width >= 1 && w->stride_height >= 1 &&
           w->stride_width >= 1 && w->dilation_height >= 1 && w->dilation_width >= 1 &&
           w->kernel_height <= 1024 && w->kernel_width <= 1024 && w->dilation_height <= 1024 &&
           w->dilation_width <= 1024 && (uint64_t)s->out.width * w->stride_width <= 1 << 30 &&
           edge_is(&s->edge, w->stride_height, -w->pad_top, span - w->pad_top);
}

static bool is_plain_pointwise(const subject *s) {
    const lil_window *w = &s->op->parameters.window;
    return w->kernel_height == 1 && w->kernel_width == 1 && w->stride_height == 1 &&
           w->stride_width == 1 && w->pad_top == 0 && w->pad_left == 0 && w->groups == 1 &&
           s->in.height == s->out.height && s->in.width == s->out.width;
}

static int32_t verify_convolution(const subject *s) {
    const lil_window *w = &s->op->parameters.window;
    if (!window_is_sound(s) || w->groups == 0 || s->in.channels % w->groups != 0 ||
        s->out.channels % w->groups != 0 ||
        (s->op->flags & LIL_POINTWISE && !is_plain_pointwise(s))) {
        return LIL_ERROR_OPERATOR;
    }
    uint64_t taps = (uint64_t)w->kernel_height * w->kernel_width;
    uint64_t pairs = (uint64_t)w->groups * lil_pair_count(s->out.channels / w->groups);
    return verify_channels(s, taps * (s->in.channels / w->groups), pairs);
}

static int32_t verify_depthwise(const subject *s) {
    const lil_window *w = &s->op->parameters.window;
    if (!window_is_sound(s) || s->out.channels % s->in.channels != 0) {
        return LIL_ERROR_OPERATOR;
    }
    return verify_channels(s, (uint64_t)w->kernel_height * w->kernel_width, 0);
}

static int32_t verify_transposed(const subject *s) {
    const lil_window *w = &s->op->parameters.window;
    if (w->kernel_height == 0 || w->kernel_width == 0 || w->stride_height == 0 ||
        w->stride_width == 0 || w->groups != 1 || s->out.width > 1 << 24) {
        return LIL_ERROR_OPERATOR;
    }
    return verify_channels(s, (uint64_t)w->kernel_height * w->kernel_width * s->in.channels, 0);
}

static int32_t verify_fully_connected(const subject *s) {
    bool has_whole_words = s->in.height == 1 || s->in.width * s->in.channels % 4 == 0;
    if (!(s->op->flags & LIL_SINK) || s->out.height != 1 || s->out.width != 1 ||
        (lil_is_int4(s->op) && !has_whole_words)) {
        return LIL_ERROR_OPERATOR;
    }
    return verify_channels(s, (uint64_t)s->in.height * s->in.width * s->in.channels,
                           lil_pair_count(s->out.channels));
}

static bool broadcasts(uint32_t from, uint32_t to) {
    return from == to || from == 1;
}

static int32_t verify_elementwise(const subject *s) {
    const lil_rescale *rescale = &s->op->parameters.rescale;
    if (s->op->edge_count != 2) {
        return LIL_ERROR_OPERATOR;
    }
    for (uint32_t i = 0; i < 2; i++) {
        lil_edge edge = load_edge(s, i);
        lil_tensor in = load_input(s, i);
        bool is_pointwise = (in.height == s->out.height && in.width == s->out.width) ||
                            (in.height == 1 && in.width == 1);
        if (!is_straight(&edge, &in, &s->out) || !broadcasts(in.width, s->out.width) ||
            !broadcasts(in.channels, s->out.channels) ||
            (s->op->flags & LIL_POINTWISE && !is_pointwise)) {
            return LIL_ERROR_OPERATOR;
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        if (!multiplier_is_sound(rescale->multiplier[i], rescale->shift[i])) {
            return LIL_ERROR_OPERATOR;
        }
        /* The operands of a sum are scaled down, so that it stays inside 32 bits. */
        if (s->op->kind != LIL_MULTIPLY && i < 2 && rescale->shift[i] > 0) {
            return LIL_ERROR_OPERATOR;
        }
    }
    return LIL_OK;
}

static int32_t verify_prelu(const subject *s) {
    const lil_rescale *rescale = &s->op->parameters.rescale;
    bool is_sound = same_shape(&s->in, &s->out) && is_straight(&s->edge, &s->in, &s->out) &&
                    multiplier_is_sound(rescale->multiplier[0], rescale->shift[0]) &&
                    multiplier_is_sound(rescale->multiplier[1], rescale->shift[1]);
    if (!is_sound) {
        return LIL_ERROR_OPERATOR;
    }
    return s->op->constants_bytes >= 2 * s->out.channels ? LIL_OK : LIL_ERROR_CONSTANTS;
}

static int32_t verify_pool(const subject *s) {
    const lil_window *w = &s->op->parameters.window;
    int64_t right = (int64_t)(s->out.width - 1) * w->stride_width - w->pad_left;
    int64_t bottom = (int64_t)(s->out.height - 1) * w->stride_height - w->pad_top;
    bool is_inside = right < s->in.width && bottom < s->in.height &&
                     w->pad_left < w->kernel_width && w->pad_top < w->kernel_height;
    bool is_whole = s->out.height == 1 && w->kernel_height - w->pad_top >= (int64_t)s->in.height;
    if (!window_is_sound(s) || !is_inside || s->in.channels != s->out.channels ||
        (uint64_t)s->in.height * s->in.width > 1 << 22 || (s->op->flags & LIL_SINK && !is_whole)) {
        return LIL_ERROR_OPERATOR;
    }
    return LIL_OK;
}

static int32_t verify_mean(const subject *s) {
    const lil_mean *mean = &s->op->parameters.mean;
    bool over_height = mean->axes & LIL_AXIS_HEIGHT;
    bool over_width = mean->axes & LIL_AXIS_WIDTH;
    bool over_channels = mean->axes & LIL_AXIS_CHANNELS;
    uint64_t count = (uint64_t)(over_height ? s->in.height : 1) * (over_width ? s->in.width : 1) *
                     (over_channels ? s->in.channels : 1);
    bool is_sound = s->out.height == (over_height ? 1 : s->in.height) &&
                    s->out.width == (over_width ? 1 : s->in.width) &&
                    s->out.channels == (over_channels ? 1 : s->in.channels) &&
                    over_height == !!(s->op->flags & LIL_SINK) && count <= 1 << 22 &&
                    multiplier_is_sound(mean->multiplier, mean->shift);
    if (!is_sound || (!over_height && !is_straight(&s->edge, &s->in, &s->out))) {
        return LIL_ERROR_OPERATOR;
    }
    return LIL_OK;
}

static int32_t verify_pad(const subject *s) {
    const lil_region *r = &s->op->parameters.region;
    bool is_sound = r->begin_width >= 0 && r->begin_channels >= 0 && r->begin_height >= 0 &&
                    (int64_t)r->begin_width + s->in.width <= s->out.width &&
                    (int64_t)r->begin_channels + s->in.channels <= s->out.channels &&
                    edge_is(&s->edge, 1, -r->begin_height, -r->begin_height);
    return is_sound ? LIL_OK : LIL_ERROR_OPERATOR;
}

static int32_t verify_concatenate(const subject *s) {
    uint32_t axis = s->op->parameters.axes.axis;
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->op->edge_count; i++) {
        lil_edge edge = load_edge(s, i);
        lil_tensor in = load_input(s, i);
        lil_tensor expected = s->out;
        bool rows_match = is_straight(&edge, &in, &s->out);
        if (axis == LIL_AXIS_HEIGHT) {
            rows_match = edge_is(&edge, 1, -(int32_t)total, -(int32_t)total);
            total += expected.height = in.height;
        } else if (axis == LIL_AXIS_WIDTH) {
            total += expected.width = in.width;
        } else {
            total += expected.channels = in.channels;
        }
        if (!rows_match || !same_shape(&in, &expected)) {
            return LIL_ERROR_OPERATOR;
        }
    }
    uint32_t sum = axis == LIL_AXIS_HEIGHT  ? s->out.height
                   : axis == LIL_AXIS_WIDTH ? s->out.width
                                            : s->out.channels;
    return total == sum ? LIL_OK : LIL_ERROR_OPERATOR;
}

/* Whether begin, begin + stride, … (count elements) all lie in [0, size). */
static bool range_fits(int64_t begin, int64_t stride, uint32_t count, uint32_t size) {
    int64_t end = begin + (int64_t)(count - 1) * stride;
    return stride != 0 && begin >= 0 && begin < size && end >= 0 && end < size;
}

static int32_t verify_slice(const subject *s) {
    const lil_region *r = &s->op->parameters.region;
    bool is_sound =
        range_fits(r->begin_height, r->stride_height, s->out.height, s->in.height) &&
        range_fits(r->begin_width, r->stride_width, s->out.width, s->in.width) &&
        range_fits(r->begin_channels, r->stride_channels, s->out.channels, s->in.channels) &&
        edge_is(&s->edge, r->stride_height, r->begin_height, r->begin_height);
    return is_sound ? LIL_OK : LIL_ERROR_OPERATOR;
}

static int32_t verify_transpose(const subject *s) {
    const uint8_t *axis = s->op->parameters.permutation.axis;
    uint32_t from[3] = {s->in.height, s->in.width, s->in.channels};
    uint32_t to[3] = {s->out.height, s->out.width, s->out.channels};
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (axis[i] > 2 || to[i] != from[axis[i]]) {
            return LIL_ERROR_OPERATOR;
        }
        seen |= 1u << axis[i];
    }
    return seen == 7 && s->in.ring_rows == s->in.height ? LIL_OK : LIL_ERROR_OPERATOR;
}

static int32_t verify_table(const subject *s) {
    if (!same_shape(&s->in, &s->out) || !is_straight(&s->edge, &s->in, &s->out)) {
        return LIL_ERROR_OPERATOR;
    }
    return s->op->constants_bytes >= 256 ? LIL_OK : LIL_ERROR_CONSTANTS;
}

static int32_t verify_softmax(const subject *s) {
    if (!same_shape(&s->in, &s->out) || !is_straight(&s->edge, &s->in, &s->out) ||
        s->out.channels > 4095) {
        return LIL_ERROR_OPERATOR;
    }
    if (s->op->constants_bytes < 4 * 256) {
        return LIL_ERROR_CONSTANTS;
    }
    if (s->constants == NULL) {
        return LIL_OK;
    }
    for (uint32_t i = 0; i < 256; i++) {
        int32_t least = i == 0 ? 1 << 30 : 0;
        if (lil_load_int32(s->constants + 4 * i) < least) {
            return LIL_ERROR_CONSTANTS;
        }
    }
    return LIL_OK;
}

static bool indices_fit(const uint8_t *table, uint32_t count, uint32_t limit) {
    for (uint32_t i = 0; i < count; i++) {
        if ((uint32_t)(table[2 * i] | table[2 * i + 1] << 8) >= limit) {
            return false;
        }
    }
    return true;
}

static int32_t verify_resize_nearest(const subject *s) {
    if (s->in.channels != s->out.channels) {
        return LIL_ERROR_OPERATOR;
    }
    if (s->op->constants_bytes < 2 * ((uint64_t)s->out.height + s->out.width)) {
        return LIL_ERROR_CONSTANTS;
    }
    bool is_sound = s->constants == NULL ||
                    (indices_fit(s->constants, s->out.height, s->in.height) &&
                     indices_fit(s->constants + 2 * s->out.height, s->out.width, s->in.width));
    return is_sound ? LIL_OK : LIL_ERROR_CONSTANTS;
}

/* Every position lies inside the map or at most one step outside. */
static bool positions_fit(int32_t scale, int32_t offset, uint32_t count, uint32_t size) {
    int64_t last = (int64_t)(count - 1) * scale + offset;
    return scale >= 0 && offset >= -1024 && last <= ((int64_t)size + 1) * 1024 &&
           size <= LIL_MAX_HEIGHT && offset <= 1 << 26;
}

static int32_t verify_resize_bilinear(const subject *s) {
    const lil_resize *r = &s->op->parameters.resize;
    bool is_sound = s->in.channels == s->out.channels &&
                    positions_fit(r->scale_height, r->offset_height, s->out.height, s->in.height) &&
                    positions_fit(r->scale_width, r->offset_width, s->out.width, s->in.width);
    return is_sound ? LIL_OK : LIL_ERROR_OPERATOR;
}

static int32_t verify_argmax(const subject *s) {
    bool is_sound = s->out.dtype == LIL_INT32 && s->out.channels == 1 &&
                    s->out.width == s->in.width && s->out.height == s->in.height &&
                    is_straight(&s->edge, &s->in, &s->out);
    return is_sound ? LIL_OK : LIL_ERROR_OPERATOR;
}

/* The input's own map, or a patch of it. */
static int32_t verify_input(const subject *s) {
    const lil_patch *patch = &s->op->parameters.patch;
    if (s->op->edge_count != 0 || patch->input >= s->header->input_count ||
        s->out.dtype != LIL_INT8 || s->op->flags & LIL_SINK) {
        return LIL_ERROR_OPERATOR;
    }
    lil_port port = lil_load_port(s->model, s->header->inputs_offset, patch->input);
    if (port.tensor >= s->header->tensor_count) {
        return LIL_ERROR_PORT;
    }
    lil_tensor whole = lil_load_tensor(s->model, s->header, port.tensor);
    bool is_sound = (port.tensor == s->op->output || whole.storage == LIL_SOURCE) &&
                    s->out.channels == whole.channels &&
                    (uint64_t)patch->begin_height + s->out.height <= whole.height &&
                    (uint64_t)patch->begin_width + s->out.width <= whole.width;
    return is_sound ? LIL_OK : LIL_ERROR_OPERATOR;
}

int32_t lil_verify_operator(const uint8_t *model, const lil_header *header, const lil_operator *op,
                            const uint8_t *constants) {
    static int32_t (*const verifiers[LIL_MASK])(const subject *) = {
        NULL,
        verify_convolution,
        verify_depthwise,
        verify_transposed,
        verify_fully_connected,
        verify_elementwise,
        verify_elementwise,
        verify_elementwise,
        verify_pool,
        verify_pool,
        verify_mean,
        verify_pad,
        verify_concatenate,
        verify_slice,
        verify_transpose,
        verify_table,
        verify_prelu,
        verify_softmax,
        verify_resize_nearest,
        verify_resize_bilinear,
        verify_argmax,
    };
    subject s;
    s.model = model;
    s.header = header;
    s.op = op;
    s.constants = constants;
    s.out = lil_load_tensor(model, header, op->output);
    if (op->kind >= LIL_MASK) {
        return lil_verify_training_operator(model, header, op, constants);
    }
    bool has_channels = op->kind >= LIL_CONVOLUTION && op->kind <= LIL_FULLY_CONNECTED;
    if (LIL_TRAINING && op->trained_offset != LIL_NONE && !has_channels) {
        return LIL_ERROR_OPERATOR;
    }
    if (op->kind == LIL_INPUT) {
        return verify_input(&s);
    }
    bool may_sink = op->kind == LIL_FULLY_CONNECTED || op->kind == LIL_MEAN ||
                    op->kind == LIL_AVERAGE_POOL || op->kind == LIL_MAX_POOL;
    bool may_merge = op->kind == LIL_CONVOLUTION || op->kind == LIL_ADD ||
                     op->kind == LIL_SUBTRACT || op->kind == LIL_MULTIPLY ||
                     op->kind == LIL_TABLE || op->kind == LIL_PRELU || op->kind == LIL_SOFTMAX ||
                     op->kind == LIL_ARGMAX;
    bool has_pairs = op->kind == LIL_CONVOLUTION || op->kind == LIL_FULLY_CONNECTED;
    if (op->edge_count == 0 || (op->flags & LIL_SINK && !may_sink) ||
        (lil_is_int4(op) && !has_pairs) || (op->flags & LIL_POINTWISE && !may_merge) ||
        (s.out.dtype != LIL_INT8 && op->kind != LIL_ARGMAX)) {
        return LIL_ERROR_OPERATOR;
    }
    s.edge = load_edge(&s, 0);
    s.in = load_input(&s, 0);
    return verifiers[op->kind](&s);
}
