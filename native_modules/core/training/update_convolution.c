/* Update of a convolution's weights, or of a fully connected layer's: the gradient of a weight is
 * the sum, over all outputs of its channel, of their gradient times the input that it met.
 *
 * As a sink it goes through the gradients row by row, with the sums of all weights in scratch. Else
 * it goes through both maps once for as many output channels as its scratch has room for. */
#include "update.h"

#if LIL_TRAINING

/* An update of some weights, whose sums are int32[channels][kernel taps][trained inputs]. */
typedef struct job {
    const lil_call *call;
    const lil_update *update;
    uint32_t kernel; /* taps of the window */
    uint32_t outputs;
    uint32_t group_inputs;
    uint32_t group_outputs;
    bool is_one_row; /* both maps are contiguous, and met pixel by pixel */
} job;

static job load_job(const lil_call *call) {
    const lil_tensor *gradients = &call->sources[0].tensor;
    const lil_tensor *inputs = &call->sources[1].tensor;
    job j;
    j.call = call;
    j.update = &call->op.parameters.update;
    const lil_window *window = &j.update->window;
    j.kernel = (uint32_t)window->kernel_height * window->kernel_width;
    j.outputs = gradients->channels;
    j.group_inputs = j.update->input_channels / window->groups;
    j.group_outputs = j.outputs / window->groups;
    j.is_one_row = j.kernel == 1 && window->stride_height == 1 && window->stride_width == 1 &&
                   window->pad_top == 0 && window->pad_left == 0 &&
                   gradients->height == inputs->height && gradients->width == inputs->width &&
                   lil_is_contiguous(gradients) && lil_is_contiguous(inputs);
    return j;
}

#if LIL_HAS_VECTORS && !LIL_HAS_DSP

#define LIL_PIXELS_AT_ONCE 4

/* Adds what a few pixels give the weights of one output: the sums of all its inputs at once.
 * `gradient`: of each pixel. `values`: the inputs of the first. */
LIL_INLINE void add_pixels(const lil_run_of_pixels *run, const int32_t *gradient,
                           const int8_t *restrict values, uint32_t pixels, uint32_t inputs,
                           int32_t *restrict sums) {
    const int32_t zero_point = run->zero_point;
    for (size_t i = 0; i < inputs; i++) {
        uint32_t sum = (uint32_t)sums[i];
        for (uint32_t pixel = 0; pixel < pixels; pixel++) {
            int32_t value = values[pixel * run->input_step + i] - zero_point;
            sum += (uint32_t)(gradient[pixel] * value);
        }
        sums[i] = (int32_t)sum;
    }
}

/* Adds what a run of pixels gives the weights of one tap: of `count` output channels from `first`
 * on, of one group. `sums`: those of the tap of the first of them. */
static void add_run(const job *j, const lil_run_of_pixels *run, uint32_t first, uint32_t count,
                    int32_t *sums) {
    uint32_t inputs = j->update->trained_inputs;
    const int8_t *values = run->inputs + first / j->group_outputs * j->group_inputs;
    const int16_t *gradients = run->gradients + first;
    for (uint32_t left = run->count; left != 0;) {
        uint32_t pixels = left < LIL_PIXELS_AT_ONCE ? 1 : LIL_PIXELS_AT_ONCE;
        int32_t *to = sums;
        for (uint32_t c = 0; c < count; c++, to += j->kernel * inputs) {
            int32_t gradient[LIL_PIXELS_AT_ONCE] = {0};
            int32_t any = 0;
            for (uint32_t pixel = 0; pixel < pixels; pixel++) {
                gradient[pixel] = gradients[pixel * run->gradient_step + c];
                any |= gradient[pixel];
            }
            if (any == 0) {
                continue;
            }
            if (pixels == 1) {
                add_pixels(run, gradient, values, 1, inputs, to);
            } else {
                add_pixels(run, gradient, values, LIL_PIXELS_AT_ONCE, inputs, to);
            }
        }
        gradients += pixels * run->gradient_step;
        values += pixels * run->input_step;
        left -= pixels;
    }
}

#else

/* The sum of one weight. */
static int32_t correlate(const lil_run_of_pixels *run, uint32_t output, uint32_t input) {
    const int16_t *gradient = run->gradients + output;
    const int8_t *value = run->inputs + input;
    uint32_t sum = 0;
    for (uint32_t i = run->count; i != 0; i--) {
        sum += (uint32_t)(*gradient * (*value - run->zero_point));
        gradient += run->gradient_step;
        value += run->input_step;
    }
    return (int32_t)sum;
}

/* Adds the sums of two neighbouring outputs and two neighbouring inputs. `step`: from the sums of
 * one output to those of the next. */
static void correlate_four(const lil_run_of_pixels *run, uint32_t output, uint32_t input,
                           int32_t *sums, uint32_t step) {
    const int16_t *gradient = run->gradients + output;
    const int8_t *value = run->inputs + input;
    uint32_t a = 0, b = 0, c = 0, d = 0;
    for (uint32_t i = run->count; i != 0; i--) {
        int32_t first = value[0] - run->zero_point, second = value[1] - run->zero_point;
        a += (uint32_t)(gradient[0] * first);
        b += (uint32_t)(gradient[0] * second);
        c += (uint32_t)(gradient[1] * first);
        d += (uint32_t)(gradient[1] * second);
        gradient += run->gradient_step;
        value += run->input_step;
    }
    sums[0] = lil_wrapping_sum(sums[0], (int32_t)a);
    sums[1] = lil_wrapping_sum(sums[1], (int32_t)b);
    sums[step] = lil_wrapping_sum(sums[step], (int32_t)c);
    sums[step + 1] = lil_wrapping_sum(sums[step + 1], (int32_t)d);
}

/* Adds what a run of pixels gives the weights of one tap: of `count` output channels from `first`
 * on, of one group. `sums`: those of the tap of the first of them. */
static void add_run(const job *j, const lil_run_of_pixels *run, uint32_t first, uint32_t count,
                    int32_t *sums) {
    uint32_t inputs = j->update->trained_inputs;
    uint32_t step = j->kernel * inputs;
    uint32_t input = first / j->group_outputs * j->group_inputs;
    uint32_t c = 0;
    for (; c + 1 < count; c += 2) {
        uint32_t i = 0;
        for (; i + 1 < inputs; i += 2) {
            correlate_four(run, first + c, input + i, sums + c * step + i, step);
        }
        for (; i < inputs; i++) {
            for (uint32_t k = c; k < c + 2; k++) {
                int32_t *sum = sums + k * step + i;
                *sum = lil_wrapping_sum(*sum, correlate(run, first + k, input + i));
            }
        }
    }
    for (uint32_t i = 0; c < count && i < inputs; i++) {
        int32_t *sum = sums + c * step + i;
        *sum = lil_wrapping_sum(*sum, correlate(run, first + c, input + i));
    }
}

#endif

/* The same for output channels that may be of several groups. */
static void add_run_of_groups(const job *j, const lil_run_of_pixels *run, uint32_t first,
                              uint32_t count, int32_t *sums) {
    uint32_t step = j->kernel * j->update->trained_inputs;
    for (uint32_t c = 0; c < count;) {
        uint32_t left = j->group_outputs - (first + c) % j->group_outputs;
        left = left < count - c ? left : count - c;
        add_run(j, run, first + c, left, sums + c * step);
        c += left;
    }
}

/* Adds what row y of the gradients gives `count` output channels from `first` on. */
static void add_row(const job *j, int32_t y, uint32_t first, uint32_t count, int32_t *sums) {
    const lil_window *window = &j->update->window;
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        for (uint32_t kx = 0; kx < window->kernel_width; kx++) {
            lil_run_of_pixels run = lil_find_run(j->call, y, ky, kx);
            uint32_t tap = ky * window->kernel_width + kx;
            if (run.count != 0) {
                add_run_of_groups(j, &run, first, count, sums + tap * j->update->trained_inputs);
            }
        }
    }
}

/* Changes the weights of `count` output channels from `first` on. */
static void apply(const job *j, uint32_t first, uint32_t count, const int32_t *sums) {
    const lil_call *call = j->call;
    lil_updater updater = lil_load_updater(call, j->outputs);
    int8_t *weights = (int8_t *)(lil_trained_bias(call) + j->outputs);
    uint32_t tap_inputs = call->op.arena_inputs;
    uint32_t pair_bytes = lil_pair_bytes(&call->op, j->kernel * tap_inputs);
    uint32_t index = first * j->kernel * j->update->trained_inputs;
    for (uint32_t c = first; c < first + count; c++) {
        lil_rate rate = lil_load_rate(&updater, c);
        uint32_t in_group = c % j->group_outputs;
        uint32_t pair = c / j->group_outputs * lil_pair_count(j->group_outputs) + in_group / 2;
        int8_t *of_channel = weights + pair * pair_bytes + in_group % 2;
        for (uint32_t tap = 0; tap < j->kernel; tap++) {
            for (uint32_t i = 0; i < j->update->trained_inputs; i++) {
                lil_update_weight(&updater, &rate, *sums++, of_channel + 2 * (tap * tap_inputs + i),
                                  index++, call->sources[1].tensor.zero_point);
            }
        }
    }
}

/* Goes through both maps, for some output channels at a time. */
static void update_at_once(const job *j) {
    const lil_call *call = j->call;
    const lil_tensor *gradients = &call->sources[0].tensor;
    int32_t *sums = (int32_t *)(void *)call->scratch;
    uint32_t bytes = 4 * j->kernel * j->update->trained_inputs;
    uint32_t block = call->op.scratch_bytes / bytes;
    block = block < 2 ? block : block & ~(uint32_t)1;
    for (uint32_t first = 0; first < j->outputs; first += block) {
        uint32_t left = j->outputs - first;
        uint32_t count = left < block ? left : block;
        memset(sums, 0, count * bytes);
        if (j->is_one_row) {
            lil_run_of_pixels run = lil_find_run(call, 0, 0, 0);
            run.count = gradients->height * gradients->width;
            add_run_of_groups(j, &run, first, count, sums);
        } else {
            for (uint32_t y = 0; y < gradients->height; y++) {
                add_row(j, (int32_t)y, first, count, sums);
            }
        }
        apply(j, first, count, sums);
    }
}

void lil_update_convolution(const lil_call *call) {
    job j = load_job(call);
    *call->out = 0;
    if (!(call->op.flags & LIL_SINK)) {
        update_at_once(&j);
        return;
    }
    int32_t *sums = (int32_t *)(void *)call->scratch;
    if (call->y == 0) {
        memset(sums, 0, 4 * j.kernel * j.update->trained_inputs * j.outputs);
    }
    add_row(&j, call->y, 0, j.outputs, sums);
    if (call->y + 1 == (int32_t)call->sources[0].tensor.height) {
        apply(&j, 0, j.outputs, sums);
    }
}

#endif
