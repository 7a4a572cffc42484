/* Which outputs of an operator its clamp let pass, as bits. */
#include "gradient.h"

#include "../kernels/dsp/instructions.h"

#if LIL_TRAINING

#if defined(__ARM_FEATURE_DSP)

/* A bit for each of four bytes: whether it lies between those of `low` and `high`, both included.
 * The product moves the lowest bits of the bytes side by side. */
static inline uint32_t four_bits(uint32_t bytes, uint32_t low, uint32_t high) {
    uint32_t result, scratch;
    __asm__("ssub8 %1, %2, %3\n\tsel %0, %5, %6\n\tssub8 %1, %4, %2\n\tsel %0, %0, %6"
            : "=&r"(result), "=&r"(scratch)
            : "r"(bytes), "r"(low), "r"(high), "r"(0x01010101), "r"(0));
    return result * 0x01020408 >> 24;
}

/* The bits of eight elements. */
static inline uint32_t eight_bits(const int8_t *in, const lil_passing *passing) {
    uint32_t low = (uint8_t)passing->low * 0x01010101u;
    uint32_t high = (uint8_t)(passing->low + (int32_t)passing->range - 1) * 0x01010101u;
    return (four_bits(lil_load_word(in), low, high) & 15) |
           (four_bits(lil_load_word(in + 4), low, high) & 15) << 4;
}

#else

static inline uint32_t eight_bits(const int8_t *in, const lil_passing *passing) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 8; i++) {
        bits |= (uint32_t)lil_passes(passing, in[i]) << i;
    }
    return bits;
}

#endif

void lil_mask(const lil_call *call) {
    const lil_source *source = &call->sources[0];
    const int8_t *in = lil_row(source, source->first);
    const lil_passing passing = lil_load_passing(&call->op);
    uint8_t *out = (uint8_t *)call->out;
    if (passing.range == 0) {
        memset(out, 0, (source->row_bytes + 7) / 8);
        return;
    }
    for (uint32_t eights = source->row_bytes / 8; eights != 0; eights--) {
        *out++ = (uint8_t)eight_bits(in, &passing);
        in += 8;
    }
    if (source->row_bytes % 8 != 0) {
        uint32_t bits = 0;
        for (uint32_t i = 0; i < source->row_bytes % 8; i++) {
            bits |= (uint32_t)lil_passes(&passing, in[i]) << i;
        }
        *out = (uint8_t)bits;
    }
}

#endif
