/* Gradient of a depthwise convolution's input: the gradients of the outputs that a pixel fed, times
 * the weights of its channel. The taps through which it fed any are listed once for all channels.
 */
#include "gradient.h"

#include "../kernels/dsp/instructions.h"

#if LIL_TRAINING

/* Where the gradient and the weights of a tap lie. */
typedef struct tap {
    uint32_t gradient; /* gradients from the first of slot 0 of the ring */
    uint32_t weight;   /* weights from the first */
} tap;

/* The taps of the pixel at column x; returns their number. */
static uint32_t list_taps(const lil_call *call, int32_t x, tap *taps) {
    const lil_window *window = &call->op.parameters.gradient.window;
    const lil_source *source = &call->sources[0];
    const int8_t *base = source->base;
    uint32_t channels = source->tensor.channels;
    uint32_t count = 0;
    for (uint32_t ky = 0; ky < window->kernel_height; ky++) {
        int32_t down = call->y + window->pad_top - (int32_t)(ky * window->dilation_height);
        if (down < 0 || down % window->stride_height != 0) {
            continue;
        }
        const int8_t *row = lil_row(source, down / window->stride_height);
        for (uint32_t kx = 0; kx < window->kernel_width && row != NULL; kx++) {
            int32_t across = x + window->pad_left - (int32_t)(kx * window->dilation_width);
            if (across < 0 || across % window->stride_width != 0) {
                continue;
            }
            uint32_t column = (uint32_t)across / window->stride_width;
            if (column < source->tensor.width) {
                taps[count].gradient = (uint32_t)(row - base) / 2 + column * channels;
                taps[count].weight = (ky * window->kernel_width + kx) * channels;
                count++;
            }
        }
    }
    return count;
}

#if LIL_HAS_VECTORS

#define LIL_CHANNELS_AT_ONCE 32

static void sum_channels(const tap *taps, uint32_t count, const int16_t *restrict gradients,
                         const int8_t *restrict weights, int32_t *restrict sums) {
    for (uint32_t c = 0; c < LIL_CHANNELS_AT_ONCE; c++) {
        sums[c] = 0;
    }
    for (; count != 0; count--, taps++) {
        const int16_t *g = gradients + taps->gradient;
        const int8_t *w = weights + taps->weight;
        for (size_t c = 0; c < LIL_CHANNELS_AT_ONCE; c++) {
            sums[c] = lil_wrapping_sum(sums[c], g[c] * w[c]);
        }
    }
}

#else

#define LIL_CHANNELS_AT_ONCE 4

#if defined(__ARM_FEATURE_DSP)

static inline int32_t multiply_low(uint32_t a, uint32_t b, int32_t sum) {
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline int32_t multiply_low_high(uint32_t a, uint32_t b, int32_t sum) {
    __asm__("smlabt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

static inline int32_t multiply_high(uint32_t a, uint32_t b, int32_t sum) {
    __asm__("smlatt %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* Weights 0 and 2, then 1 and 3, of a word as halves: each meets a half of two gradients. */
static void sum_channels(const tap *taps, uint32_t count, const int16_t *gradients,
                         const int8_t *weights, int32_t *sums) {
    int32_t a = 0, b = 0, c = 0, d = 0;
    for (; count != 0; count--, taps++) {
        const int16_t *g = gradients + taps->gradient;
        uint32_t bytes = lil_load_word(weights + taps->weight);
        uint32_t first = lil_load_word(g), second = lil_load_word(g + 2);
        uint32_t even = lil_sxtb16(bytes), odd = lil_sxtb16_odd(bytes);
        a = multiply_low(even, first, a);
        b = multiply_low_high(odd, first, b);
        c = multiply_low_high(second, even, c);
        d = multiply_high(odd, second, d);
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

#else

static void sum_channels(const tap *taps, uint32_t count, const int16_t *gradients,
                         const int8_t *weights, int32_t *sums) {
    uint32_t a = 0, b = 0, c = 0, d = 0;
    for (; count != 0; count--, taps++) {
        const int16_t *g = gradients + taps->gradient;
        const int8_t *w = weights + taps->weight;
        a += (uint32_t)(g[0] * w[0]);
        b += (uint32_t)(g[1] * w[1]);
        c += (uint32_t)(g[2] * w[2]);
        d += (uint32_t)(g[3] * w[3]);
    }
    sums[0] = (int32_t)a;
    sums[1] = (int32_t)b;
    sums[2] = (int32_t)c;
    sums[3] = (int32_t)d;
}

#endif
#endif

/* The sum of one input channel, which fed `multiplier` neighbouring outputs. */
static int32_t sum_one(const tap *taps, uint32_t count, const int16_t *gradients,
                       const int8_t *weights, uint32_t multiplier) {
    uint32_t sum = 0;
    for (; count != 0; count--, taps++) {
        for (uint32_t i = 0; i < multiplier; i++) {
            sum += (uint32_t)(gradients[taps->gradient + i] * weights[taps->weight + i]);
        }
    }
    return (int32_t)sum;
}

void lil_depthwise_gradient(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const int8_t *weights = lil_load_channels(call, source->tensor.channels).weights;
    const int16_t *gradients = (const int16_t *)(const void *)source->base;
    const uint32_t channels = call->output.channels;
    const uint32_t multiplier = source->tensor.channels / channels;
    const int32_t shift = call->op.parameters.gradient.shift;
    lil_clamp_count clamps = {call->op.parameters.gradient.limit, 0};
    tap *taps = (tap *)(void *)call->scratch;
    int16_t *out = (int16_t *)(void *)call->out;
    for (uint32_t x = 0; x < call->pixels; x++) {
        uint32_t count = list_taps(call, (int32_t)x, taps);
        uint32_t c = 0;
        for (; multiplier == 1 && c + LIL_CHANNELS_AT_ONCE <= channels; c += LIL_CHANNELS_AT_ONCE) {
            int32_t sums[LIL_CHANNELS_AT_ONCE];
            sum_channels(taps, count, gradients + c, weights + c, sums);
            for (uint32_t i = 0; i < LIL_CHANNELS_AT_ONCE; i++) {
                *out++ = lil_clamp_value(&clamps, lil_round_shift(sums[i], shift));
            }
        }
        for (; c < channels; c++) {
            int32_t sum = sum_one(taps, count, gradients + c * multiplier, weights + c * multiplier,
                                  multiplier);
            *out++ = lil_clamp_value(&clamps, lil_round_shift(sum, shift));
        }
    }
    call->training->saturated += clamps.saturated;
}

#endif
