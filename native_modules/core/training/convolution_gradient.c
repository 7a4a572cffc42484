/* Gradient of a convolution's input, or of a fully connected layer's: the gradients of the outputs
 * that a pixel fed, times the weights through which it fed them. */
#include "convolution_gradient.h"

#if LIL_TRAINING

/* Weights of `inputs` channels of each group, those from `first` on. */
static lil_weight_part locate_part(const lil_call *call, const int8_t *weights, uint32_t inputs,
                                   uint32_t first) {
    const lil_window *window = &call->op.parameters.gradient.window;
    uint32_t kernel = (uint32_t)window->kernel_height * window->kernel_width;
    return (lil_weight_part){weights + 2 * first, lil_pair_bytes(&call->op, kernel * inputs),
                             2 * inputs, first, inputs - first};
}

static lil_backward load_job(const lil_call *call) {
    const lil_window *window = &call->op.parameters.gradient.window;
    const uint32_t outputs = call->sources[0].tensor.channels;
    const uint32_t in_arena = call->trained == NULL ? 0 : call->op.arena_inputs;
    lil_backward j;
    j.call = call;
    j.group_inputs = call->output.channels / window->groups;
    j.group_outputs = outputs / window->groups;
    j.part_count = 0;
    if (in_arena != 0) {
        const int8_t *weights = (const int8_t *)call->trained + 4 * outputs;
        j.parts[j.part_count++] = locate_part(call, weights, in_arena, 0);
    }
    if (in_arena < j.group_inputs) {
        const int8_t *weights = lil_locate_channels(call->constants, outputs).weights;
        j.parts[j.part_count++] = locate_part(call, weights, j.group_inputs, in_arena);
    }
    j.count.limit = call->op.parameters.gradient.limit;
    j.count.saturated = 0;
    return j;
}

/* Adds to the sums of a group's inputs what those of a part get through one tap from one output
 * pixel. */
static void add_part(const lil_backward *j, const lil_weight_part *part, uint32_t group,
                     uint32_t tap, const int16_t *gradient, int32_t *restrict sums) {
    const int8_t *weights = part->weights + tap * part->tap_bytes +
                            group * lil_pair_count(j->group_outputs) * part->pair_bytes;
    sums += part->first;
    for (uint32_t c = 0; c < j->group_outputs; c += 2) {
        int32_t first = gradient[c];
        int32_t second = c + 1 < j->group_outputs ? gradient[c + 1] : 0;
        if ((first | second) != 0) {
            for (size_t i = 0; i < part->count; i++) {
                sums[i] =
                    lil_wrapping_sum(sums[i], weights[2 * i] * first + weights[2 * i + 1] * second);
            }
        }
        weights += part->pair_bytes;
    }
}

/* The same for all inputs of the group. */
static void add_tap(const lil_backward *j, uint32_t group, uint32_t tap, const int16_t *gradient,
                    int32_t *sums) {
    for (uint32_t i = 0; i < j->part_count; i++) {
        add_part(j, &j->parts[i], group, tap, gradient, sums);
    }
}

/* Adds what the inputs of a group get through one row of the window. `gradients`: the row of
 * outputs that it fed. */
static void add_window_row(const lil_backward *j, const int16_t *gradients, uint32_t ky, int32_t x,
                           uint32_t group, int32_t *sums) {
    const lil_window *window = &j->call->op.parameters.gradient.window;
    const lil_tensor *in = &j->call->sources[0].tensor;
    for (uint32_t kx = 0; kx < window->kernel_width; kx++) {
        int32_t place = x + window->pad_left - (int32_t)(kx * window->dilation_width);
        int32_t column = place / window->stride_width;
        if (place < 0 || place % window->stride_width != 0 || column >= (int32_t)in->width) {
            continue;
        }
        add_tap(j, group, ky * window->kernel_width + kx,
                gradients + (uint32_t)column * in->channels + group * j->group_outputs, sums);
    }
}

/* The gradients of a group's inputs at one pixel. */
static void gather_pixel(lil_backward *j, int32_t x, uint32_t group, int32_t *sums, int16_t *out) {
    const lil_window *window = &j->call->op.parameters.gradient.window;
    memset(sums, 0, 4 * j->group_inputs);
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        int32_t place = j->call->y + window->pad_top - (int32_t)(ky * window->dilation_height);
        if (place >= 0 && place % window->stride_height == 0) {
            const int16_t *row =
                lil_gradient_row(&j->call->sources[0], place / window->stride_height);
            if (row != NULL) {
                add_window_row(j, row, ky, x, group, sums);
            }
        }
    }
    for (uint32_t i = 0; i < j->group_inputs; i++) {
        out[i] = lil_finish_gradient(j, sums[i]);
    }
}

#if LIL_HAS_VECTORS && !LIL_HAS_DSP

/* A 1x1 convolution: the sums of all inputs of a pixel at once. */
void lil_multiply_gradients(lil_backward *j, const int16_t *gradients, uint32_t count,
                            int16_t *out) {
    int32_t sums[j->group_inputs];
    for (uint32_t x = 0; x < count; x++) {
        memset(sums, 0, sizeof sums);
        add_tap(j, 0, 0, gradients, sums);
        for (size_t i = 0; i < j->group_inputs; i++) {
            out[i] = lil_finish_gradient(j, sums[i]);
        }
        gradients += j->group_outputs;
        out += j->group_inputs;
    }
}

#elif !LIL_HAS_DSP

/* The same, two inputs of two pixels at a time, for which registers suffice. */
static void multiply_part(lil_backward *j, const lil_weight_part *part, const int16_t *gradients,
                          uint32_t count, int16_t *out) {
    const uint32_t outputs = j->group_outputs, inputs = j->group_inputs;
    const uint32_t step = part->pair_bytes;
    for (uint32_t i = 0; i < part->count; i += 2) {
        bool has_second = i + 1 < part->count;
        for (uint32_t x = 0; x < count; x += 2) {
            bool has_next = x + 1 < count;
            const int16_t *a = gradients + x * outputs;
            const int16_t *b = has_next ? a + outputs : a;
            const int8_t *w = part->weights + 2 * i; /* of a last input: and of the padding */
            uint32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
            for (uint32_t twos = outputs / 2; twos != 0; twos--) {
                int32_t first = a[0], second = a[1], third = b[0], fourth = b[1];
                a0 += (uint32_t)(w[0] * first);
                a0 += (uint32_t)(w[1] * second);
                a1 += (uint32_t)(w[2] * first);
                a1 += (uint32_t)(w[3] * second);
                b0 += (uint32_t)(w[0] * third);
                b0 += (uint32_t)(w[1] * fourth);
                b1 += (uint32_t)(w[2] * third);
                b1 += (uint32_t)(w[3] * fourth);
                a += 2;
                b += 2;
                w += step;
            }
            if (outputs % 2 != 0) {
                a0 += (uint32_t)(w[0] * a[0]);
                a1 += (uint32_t)(w[2] * a[0]);
                b0 += (uint32_t)(w[0] * b[0]);
                b1 += (uint32_t)(w[2] * b[0]);
            }
            int16_t *to = out + x * inputs + part->first + i;
            to[0] = lil_finish_gradient(j, (int32_t)a0);
            if (has_second) {
                to[1] = lil_finish_gradient(j, (int32_t)a1);
            }
            if (has_next) {
                to[inputs] = lil_finish_gradient(j, (int32_t)b0);
                if (has_second) {
                    to[inputs + 1] = lil_finish_gradient(j, (int32_t)b1);
                }
            }
        }
    }
}

void lil_multiply_gradients(lil_backward *j, const int16_t *gradients, uint32_t count,
                            int16_t *out) {
    for (uint32_t i = 0; i < j->part_count; i++) {
        multiply_part(j, &j->parts[i], gradients, count, out);
    }
}

#endif

/* Rows that lie one behind the other. Those of the output may lie over earlier rows of the input,
 * so they are computed row by row, or at once where they do not. */
static void multiply_rows(lil_backward *j) {
    const lil_call *call = j->call;
    const int16_t *in = lil_gradient_row(&call->sources[0], call->sources[0].first);
    int16_t *out = (int16_t *)(void *)call->out;
    uint32_t in_count = call->pixels * j->group_outputs;
    uint32_t out_count = call->pixels * j->group_inputs;
    bool is_apart = out + out_count <= in || in + in_count <= out;
    uint32_t step = is_apart ? call->pixels : call->output.width;
    for (uint32_t x = 0; x < call->pixels; x += step) {
        lil_multiply_gradients(j, in, step, out);
        in += step * j->group_outputs;
        out += step * j->group_inputs;
    }
}

void lil_convolution_gradient(const lil_call *call) {
    const lil_window *window = &call->op.parameters.gradient.window;
    lil_backward j = load_job(call);
    if (call->op.flags & LIL_POINTWISE) {
        multiply_rows(&j);
    } else {
        int16_t *out = (int16_t *)(void *)call->out;
        for (uint32_t x = 0; x < call->pixels; x++) {
            for (uint32_t group = 0; group < window->groups; group++) {
                gather_pixel(&j, (int32_t)x, group, (int32_t *)(void *)call->scratch, out);
                out += j.group_inputs;
            }
        }
    }
    call->training->saturated += j.count.saturated;
}

#endif
