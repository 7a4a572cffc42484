/* Weights that lie in the arena in part. */
#include "split.h"

#if LIL_TRAINING

#define LIL_PART_CHANNELS 16 /* output channels that are computed at a time; even */

/* Where weights lie: those of a pair's tap of the window have `tap_bytes`. */
typedef struct packing {
    uint32_t tap_bytes;
    uint32_t pair_bytes;
} packing;

/* Of the weights in pairs of an operator, or of a group of it. */
typedef struct layout {
    uint32_t kernel; /* taps of the window */
    packing file;
    packing arena;
} layout;

static layout load_layout(const lil_operator *op, const lil_tensor *input) {
    const lil_window *window = &op->parameters.window;
    uint32_t held = op->arena_inputs;
    layout l;
    l.kernel = op->kind == LIL_FULLY_CONNECTED
                   ? input->height * input->width
                   : (uint32_t)window->kernel_height * window->kernel_width;
    l.file = (packing){2 * input->channels, lil_pair_bytes(op, l.kernel * input->channels)};
    l.arena = (packing){2 * held, lil_pair_bytes(op, l.kernel * held)};
    return l;
}

/* Copies the weights of the arena's input channels, of some pairs. */
static void copy_weights(const layout *l, uint32_t pairs, const packing *from_packing,
                         const int8_t *from, const packing *to_packing, int8_t *to) {
    for (; pairs != 0; pairs--) {
        for (uint32_t tap = 0; tap < l->kernel; tap++) {
            memcpy(to + tap * to_packing->tap_bytes, from + tap * from_packing->tap_bytes,
                   l->arena.tap_bytes);
        }
        from += from_packing->pair_bytes;
        to += to_packing->pair_bytes;
    }
}

bool lil_split_is_sound(const lil_operator *op, const lil_tensor *input) {
    const lil_window *window = &op->parameters.window;
    uint32_t inputs = input->channels;
    if (op->kind == LIL_CONVOLUTION) {
        inputs /= window->groups;
    }
    bool may_split =
        op->kind == LIL_CONVOLUTION || (op->kind == LIL_FULLY_CONNECTED && input->height == 1);
    return op->arena_inputs == 0 || op->arena_inputs == inputs ||
           (may_split && window->groups <= 1 && op->arena_inputs < inputs &&
            op->arena_inputs % 2 == 0 && !lil_is_int4(op));
}

uint64_t lil_arena_weight_bytes(const lil_operator *op, const lil_tensor *input,
                                uint32_t out_channels) {
    if (op->arena_inputs == 0) {
        return 0;
    }
    if (!lil_is_split(op, input)) {
        return op->constants_bytes - lil_channel_table_bytes(out_channels);
    }
    return (uint64_t)lil_pair_count(out_channels) * load_layout(op, input).arena.pair_bytes;
}

void lil_reset_weights(const lil_operator *op, const lil_tensor *input, uint32_t out_channels,
                       const uint8_t *constants, uint8_t *to) {
    const uint8_t *weights = constants + lil_channel_table_bytes(out_channels);
    if (lil_is_split(op, input)) {
        layout l = load_layout(op, input);
        copy_weights(&l, lil_pair_count(out_channels), &l.file, (const int8_t *)weights, &l.arena,
                     (int8_t *)to);
    } else {
        memcpy(to, weights, (size_t)lil_arena_weight_bytes(op, input, out_channels));
    }
}

static uint32_t align(uint32_t bytes) {
    return (bytes + 3) & ~(uint32_t)3;
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Bytes of the constants of `count` output channels. */
static uint32_t part_bytes(const layout *l, uint32_t count) {
    return lil_channel_table_bytes(count) + lil_pair_count(count) * l->file.pair_bytes;
}

uint32_t lil_split_scratch(const lil_operator *op, const lil_tensor *input,
                           const lil_tensor *output, uint32_t kernel_bytes) {
    if (!lil_is_split(op, input)) {
        return kernel_bytes;
    }
    layout l = load_layout(op, input);
    uint32_t count = least(output->channels, LIL_PART_CHANNELS);
    return align(kernel_bytes) + part_bytes(&l, count) + align(count * output->width);
}

/* A row's outputs of some channels at a time. */
typedef struct part {
    uint32_t first; /* output channel */
    uint32_t count;
    uint8_t *constants; /* theirs alone */
    int8_t *outputs;    /* [width][count] */
} part;

/* Puts together the constants of a part. `constants` and `trained`: the operator's. */
static void gather(const layout *l, const part *p, uint32_t out_channels, const uint8_t *constants,
                   const uint8_t *trained) {
    lil_channels all = lil_locate_channels(constants, out_channels);
    uint32_t pair = p->first / 2, pairs = lil_pair_count(p->count);
    int8_t *weights = (int8_t *)p->constants + lil_channel_table_bytes(p->count);
    memcpy(p->constants, trained + 4 * p->first, 4 * p->count);
    memcpy(p->constants + 4 * p->count, all.multiplier + 4 * p->first, 4 * p->count);
    memcpy(p->constants + 8 * p->count, all.shift + p->first, p->count);
    memcpy(weights, all.weights + pair * l->file.pair_bytes, pairs * l->file.pair_bytes);
    copy_weights(l, pairs, &l->arena,
                 (const int8_t *)trained + 4 * out_channels + pair * l->arena.pair_bytes, &l->file,
                 weights);
}

/* Whether the output lies over no row of the input that the call reads. */
static bool is_apart(const lil_call *call) {
    const int8_t *in = lil_row(&call->sources[0], call->sources[0].first);
    uint32_t in_bytes = call->pixels * call->sources[0].tensor.channels;
    uint32_t out_bytes = call->pixels * call->output.channels;
    return call->out + out_bytes <= in || in + in_bytes <= call->out;
}

/* Computes one row of a part: the call's constants, scratch and output are the part's. */
static void compute_row(lil_call *call, lil_kernel kernel, const part *p, int8_t *out,
                        uint32_t out_channels) {
    kernel(call);
    for (uint32_t x = 0; x < call->pixels; x++) {
        memcpy(out + x * out_channels + p->first, p->outputs + x * p->count, p->count);
    }
}

void lil_compute_split(lil_call *call, lil_kernel kernel) {
    const uint8_t *constants = call->constants, *trained = call->trained;
    const uint32_t out_channels = call->output.channels, pixels = call->pixels;
    const uint32_t rows = pixels / call->output.width;
    const int32_t y = call->y, first_row = call->sources[0].first;
    const layout l = load_layout(&call->op, &call->sources[0].tensor);
    int8_t *out = call->out;
    uint32_t most = least(out_channels, LIL_PART_CHANNELS);
    uint32_t scratch = call->op.scratch_bytes;
    part p;
    p.outputs = (int8_t *)call->scratch + scratch - align(most * call->output.width);
    p.constants = (uint8_t *)p.outputs - part_bytes(&l, most);
    /* Outputs of a row may lie over inputs of the rows before it. */
    uint32_t step = rows == 1 || is_apart(call) ? rows : 1;
    call->trained = NULL;
    call->constants = p.constants;
    call->op.scratch_bytes = (uint32_t)(p.constants - call->scratch);
    call->pixels = call->output.width;
    call->out = p.outputs;
    for (uint32_t row = 0; row < rows; row += step) {
        for (p.first = 0; p.first < out_channels; p.first += p.count) {
            p.count = least(out_channels - p.first, LIL_PART_CHANNELS);
            call->output.channels = p.count;
            gather(&l, &p, out_channels, constants, trained);
            for (uint32_t r = row; r < row + step; r++) {
                call->y = y + (int32_t)r;
                call->sources[0].first = first_row + (int32_t)r;
                compute_row(call, kernel, &p, out + r * call->pixels * out_channels, out_channels);
            }
        }
    }
    call->constants = constants;
    call->trained = trained;
    call->op.scratch_bytes = scratch;
    call->pixels = pixels;
    call->out = out;
    call->output.channels = out_channels;
    call->y = y;
    call->sources[0].first = first_row;
}

#endif
