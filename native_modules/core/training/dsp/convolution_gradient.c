/* The 1x1 loop of a convolution's gradient for the DSP extension: the weights of two inputs are
 * taken out of their pairs once, as halves, and then two products at a time are added up. */
#include "../convolution_gradient.h"

#include "../../kernels/dsp/instructions.h"

#if LIL_TRAINING && LIL_HAS_DSP

/* The weights of inputs i and i + 1 for each pair of outputs. `step`: bytes from pair to pair. */
static void expand(const int8_t *weights, uint32_t step, uint32_t pairs, lil_two_words *to) {
    for (; pairs != 0; pairs--) {
        uint32_t bytes = lil_load_word(weights);
        uint32_t first = lil_sxtb16(bytes), second = lil_sxtb16_odd(bytes);
        lil_store_two(to++, lil_pack_low(first, second), lil_pack_high(first, second));
        weights += step;
    }
}

static inline uint32_t load_half(const int16_t *address) {
    return (uint16_t)*address;
}

/* The sums of two inputs at one pixel. */
static void multiply_one(const lil_two_words *weights, const int16_t *a, uint32_t outputs,
                         int32_t *sums) {
    int32_t a0 = 0, a1 = 0;
    for (uint32_t pairs = outputs / 2; pairs != 0; pairs--) {
        lil_two_words w = lil_load_two(weights++);
        uint32_t x = lil_load_word(a);
        a0 = lil_smlad(w.first, x, a0);
        a1 = lil_smlad(w.second, x, a1);
        a += 2;
    }
    if (outputs % 2 != 0) {
        sums[0] = lil_smlad(weights->first, load_half(a), a0);
        sums[1] = lil_smlad(weights->second, load_half(a), a1);
        return;
    }
    sums[0] = a0;
    sums[1] = a1;
}

/* The same at two pixels. */
static void multiply_two(const lil_two_words *weights, const int16_t *a, const int16_t *b,
                         uint32_t outputs, int32_t *sums) {
    int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
    for (uint32_t fours = outputs / 4; fours != 0; fours--) {
        lil_two_words w = lil_load_two(weights);
        lil_two_words v = lil_load_two(weights + 1);
        uint32_t x = lil_load_word(a), y = lil_load_word(b);
        a0 = lil_smlad(w.first, x, a0);
        a1 = lil_smlad(w.second, x, a1);
        b0 = lil_smlad(w.first, y, b0);
        b1 = lil_smlad(w.second, y, b1);
        x = lil_load_word(a + 2);
        y = lil_load_word(b + 2);
        a0 = lil_smlad(v.first, x, a0);
        a1 = lil_smlad(v.second, x, a1);
        b0 = lil_smlad(v.first, y, b0);
        b1 = lil_smlad(v.second, y, b1);
        weights += 2;
        a += 4;
        b += 4;
    }
    for (uint32_t left = outputs % 4; left != 0; left -= left > 1 ? 2 : 1) {
        lil_two_words w = lil_load_two(weights++);
        uint32_t x = left > 1 ? lil_load_word(a) : load_half(a);
        uint32_t y = left > 1 ? lil_load_word(b) : load_half(b);
        a0 = lil_smlad(w.first, x, a0);
        a1 = lil_smlad(w.second, x, a1);
        b0 = lil_smlad(w.first, y, b0);
        b1 = lil_smlad(w.second, y, b1);
        a += 2;
        b += 2;
    }
    sums[0] = a0;
    sums[1] = a1;
    sums[2] = b0;
    sums[3] = b1;
}

static void multiply_part(lil_backward *j, const lil_weight_part *part, const int16_t *gradients,
                          uint32_t count, int16_t *out) {
    const uint32_t outputs = j->group_outputs, inputs = j->group_inputs;
    lil_two_words *weights = (lil_two_words *)(void *)j->call->scratch;
    for (uint32_t i = 0; i < part->count; i += 2) {
        bool has_second = i + 1 < part->count;
        int16_t *to = out + part->first + i;
        const int16_t *from = gradients;
        expand(part->weights + 2 * i, part->pair_bytes, lil_pair_count(outputs), weights);
        uint32_t x = 0;
        for (; x + 1 < count; x += 2) {
            int32_t sums[4];
            multiply_two(weights, from, from + outputs, outputs, sums);
            to[0] = lil_finish_gradient(j, sums[0]);
            to[inputs] = lil_finish_gradient(j, sums[2]);
            if (has_second) {
                to[1] = lil_finish_gradient(j, sums[1]);
                to[inputs + 1] = lil_finish_gradient(j, sums[3]);
            }
            from += 2 * outputs;
            to += 2 * inputs;
        }
        if (x < count) {
            int32_t sums[2];
            multiply_one(weights, from, outputs, sums);
            to[0] = lil_finish_gradient(j, sums[0]);
            if (has_second) {
                to[1] = lil_finish_gradient(j, sums[1]);
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
