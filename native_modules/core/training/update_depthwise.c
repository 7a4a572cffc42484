/* Update of a depthwise convolution's weights. As a sink it goes through the gradients row by row,
 * with the sums of all weights in scratch; else through both maps once for each channel. */
#include "update.h"

#if LIL_TRAINING

/* Adds what row y of the gradients gives the weights of output channel `channel`: int32[taps]. */
static void add_row(const lil_call *call, int32_t y, uint32_t channel, int32_t *sums) {
    const lil_window *window = &call->op.parameters.update.window;
    uint32_t multiplier = call->sources[0].tensor.channels / call->sources[1].tensor.channels;
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        for (uint32_t kx = 0; kx < window->kernel_width; kx++, sums++) {
            lil_run_of_pixels run = lil_find_run(call, y, ky, kx);
            if (run.count == 0) {
                continue;
            }
            const int16_t *gradient = run.gradients + channel;
            const int8_t *input = run.inputs + channel / multiplier;
            uint32_t sum = (uint32_t)*sums;
            for (uint32_t i = run.count; i != 0; i--) {
                sum += (uint32_t)(*gradient * (*input - run.zero_point));
                gradient += run.gradient_step;
                input += run.input_step;
            }
            *sums = (int32_t)sum;
        }
    }
}

static void apply(const lil_updater *updater, uint32_t channel, uint32_t kernel,
                  const int32_t *sums) {
    const lil_call *call = updater->call;
    uint32_t channels = call->sources[0].tensor.channels;
    int8_t *weights = (int8_t *)(lil_trained_bias(call) + channels);
    lil_rate rate = lil_load_rate(updater, channel);
    for (uint32_t tap = 0; tap < kernel; tap++) {
        lil_update_weight(updater, &rate, sums[tap], weights + tap * channels + channel,
                          channel * kernel + tap, call->sources[1].tensor.zero_point);
    }
}

void lil_update_depthwise(const lil_call *call) {
    const lil_update *update = &call->op.parameters.update;
    const lil_tensor *in = &call->sources[0].tensor;
    uint32_t kernel = (uint32_t)update->window.kernel_height * update->window.kernel_width;
    uint32_t trained = update->trained_inputs * (in->channels / call->sources[1].tensor.channels);
    bool is_sink = call->op.flags & LIL_SINK;
    bool is_last = !is_sink || call->y + 1 == (int32_t)in->height;
    int32_t *sums = (int32_t *)(void *)call->scratch;
    lil_updater updater = lil_load_updater(call, in->channels);
    *call->out = 0;
    for (uint32_t c = 0; c < trained; c++) {
        if (!is_sink || call->y == 0) {
            memset(sums, 0, 4 * kernel);
        }
        if (is_sink) {
            add_row(call, call->y, c, sums);
        } else {
            for (uint32_t y = 0; y < in->height; y++) {
                add_row(call, (int32_t)y, c, sums);
            }
        }
        if (is_last) {
            apply(&updater, c, kernel, sums);
        }
        sums += is_sink ? kernel : 0;
    }
}

#endif
