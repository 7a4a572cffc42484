/* A word of weights holds two taps of two channels; two SXTB16 make operands of SMLAD of it, which
 * serve all pixels of the block. With four pixels that is 13 instructions for 16 products, and
 * eight sums, two operands of either side and two addresses fill the 14 registers. So this is
 * assembly, made from one text for each number of pixels:
 *
 *   r0, r1    weights, inputs; then what an output needs
 *   r2, r3    the weights of either channel; then its multiplier and shift
 *   r4 to r7  sums of the first channel for each pixel, r8 to r11 of the second
 *   r12, lr   inputs; then the channel's offset and an output
 *   sp        a copy of lil_pairs, its pointers moving from pair to pair
 *
 * The loop over words is unrolled and entered where their number asks for it. Weights and tables
 * may lie at any address, which LDR allows, LDRD and LDM do not; where the weights happen to be
 * aligned, LDM loads two words of them for two or three pixels, and four for one.
 *
 * A word of four-bit weights holds four taps of two channels. With a mask, its upper nibbles are a
 * word of int8 weights, and so are its lower ones, moved up: three instructions more for 32
 * products. One pixel leaves registers free, for the mask too: each nibble is then masked where it
 * ends a half, without SXTB16, moved up by the same instruction; the sums are 256 times too large
 * until they are added. */
#include "pairs.h"

#include "blocks.h"

#if LIL_HAS_DSP && !LIL_HAS_MVE

#if defined(__ARM_FEATURE_DSP)

/* clang-format off */
__asm__(".syntax unified\n"
    ".macro lil_narrow_sum how, sum, place:vararg\n"
    ".if \\how == 1\n"
    "add lr, r12, \\sum, asr #31\n"
    "add lr, \\sum\n"
    ".else\n"
    "add lr, \\sum, r12\n"
    ".endif\n"
    ".if \\how == 2\n"
    "smmla lr, \\sum, r2, lr\n"
    ".else\n"
    "smmlar lr, \\sum, r2, lr\n"
    ".endif\n"
    "asr lr, r3\n"
    "ssat lr, #8, lr, asr #1\n"
    "strb lr, \\place\n"
    ".endm\n"
    ".macro lil_make_narrowing multiplier, shift, zero_point\n"
    "lsl r2, \\multiplier, #1\n"
    "mvn r3, \\shift @ to the right, less the one that SSAT shifts by\n"
    "lsl r12, \\zero_point, r3\n"
    ".endm\n"
    ".macro lil_load_narrowing first, second, zero_point, others:vararg\n"
    "ldrd \\first, \\second, [sp, #24] @ multiplier, shift\n"
    "ldr r2, [\\first], #4\n"
    "ldrsb r3, [\\second], #1\n"
    ".ifnb \\others @ the next channel's\n"
    "ldr r7, [\\first], #4\n"
    "ldrsb r11, [\\second], #1\n"
    ".endif\n"
    "strd \\first, \\second, [sp, #24]\n"
    "ldr \\zero_point, [sp, #44] @ twice_zero_point\n"
    "lil_make_narrowing r2, r3, \\zero_point\n"
    ".endm\n"
    ".macro lil_narrow_others how, pixels, sum1, sum2, sum3\n"
    ".if \\pixels > 1\n"
    "lil_narrow_sum \\how, \\sum1, [r0, r1]\n"
    ".endif\n"
    ".if \\pixels > 2\n"
    "lil_narrow_sum \\how, \\sum2, [r0, r1, lsl #1]\n"
    ".endif\n"
    ".if \\pixels > 3\n"
    "lil_narrow_sum \\how, \\sum3, [r0, r4]\n"
    ".endif\n"
    ".endm\n"
    ".macro lil_narrow_pair how, pixels\n"
    ".if \\pixels > 3\n"
    "lil_load_narrowing r0, r1, r12\n"
    ".elseif \\pixels == 3\n"
    "lil_load_narrowing r0, r1, r12, both\n"
    ".else\n"
    "lil_load_narrowing r0, r1, r10, both\n"
    ".endif\n"
    "ldrd r0, r1, [sp, #32] @ out, stride\n"
    "lil_narrow_sum \\how, r4, [r0]\n"
    ".if \\pixels > 3\n"
    "add r4, r1, r1, lsl #1\n"
    ".endif\n"
    "lil_narrow_others \\how, \\pixels, r5, r6, r7\n"
    "adds r0, #1\n"
    ".if \\pixels > 3\n"
    "lil_load_narrowing r5, r6, r12\n"
    ".elseif \\pixels == 3\n"
    "ldr r12, [sp, #44]\n"
    "lil_make_narrowing r7, r11, r12\n"
    ".else\n"
    "lil_make_narrowing r7, r11, r10\n"
    ".endif\n"
    "lil_narrow_others \\how, \\pixels, r9, r10, r11\n"
    "lil_narrow_sum \\how, r8, [r0], #1\n"
    ".endm\n"
    ".macro lil_multiply_word weights, inputs\n"
    "sxtb16 r3, \\weights, ror #8\n"
    "sxtb16 \\weights, \\weights\n"
    "smlad r4, \\weights, \\inputs, r4\n"
    "smlad r8, r3, \\inputs, r8\n"
    ".endm\n"
    ".macro lil_multiply_row\n"
    "ldm.w r0!, {r5, r6, r7, r9}\n"
    "ldm.w r1!, {r10, r11, r12, lr}\n"
    "lil_multiply_word r5, r10\n"
    "lil_multiply_word r6, r11\n"
    "lil_multiply_word r7, r12\n"
    "lil_multiply_word r9, lr\n"
    ".endm\n"
    ".macro lil_multiply_second weights, inputs\n"
    "smlad r5, \\weights, \\inputs, r5\n"
    "smlad r9, r3, \\inputs, r9\n"
    ".endm\n"
    ".macro lil_multiply_three weights\n"
    "ldm.w r1!, {r7, r11, r12}\n"
    "lil_multiply_word \\weights, r7\n"
    "lil_multiply_second \\weights, r11\n"
    "smlad r6, \\weights, r12, r6\n"
    "smlad r10, r3, r12, r10\n"
    ".endm\n"
    ".macro lil_multiply_two pixels @ two words\n"
    ".if \\pixels == 3\n"
    "ldm.w r0!, {r2, lr}\n"
    "lil_multiply_three r2\n"
    "lil_multiply_three lr\n"
    ".else\n"
    "ldm.w r0!, {r2, r6}\n"
    "ldm.w r1!, {r7, r10, r11, r12}\n"
    "lil_multiply_word r2, r7\n"
    "lil_multiply_second r2, r10\n"
    "lil_multiply_word r6, r11\n"
    "lil_multiply_second r6, r12\n"
    ".endif\n"
    ".endm\n"
    ".macro lil_multiply_taps pixels @ r2: two taps of two channels\n"
    ".if \\pixels == 3\n"
    "lil_multiply_three r2\n"
    ".elseif \\pixels == 1\n"
    "ldr r12, [r1], #4\n"
    "lil_multiply_word r2, r12\n"
    ".else\n"
    "ldrd r12, lr, [r1], #8\n"
    "lil_multiply_word r2, r12\n"
    "lil_multiply_second r2, lr\n"
    ".endif\n"
    ".if \\pixels == 4\n"
    "ldrd r12, lr, [r1], #8\n"
    "smlad r6, r2, r12, r6\n"
    "smlad r10, r3, r12, r10\n"
    "smlad r7, r2, lr, r7\n"
    "smlad r11, r3, lr, r11\n"
    ".endif\n"
    ".endm\n"
    ".macro lil_multiply_int4 pixels @ four taps\n"
    "ldr r2, [r0]\n"
    "and r2, #0xf0f0f0f0\n"
    "lil_multiply_taps \\pixels\n"
    "ldr r2, [r0], #4\n"
    "lsls r2, #4\n"
    "and r2, #0xf0f0f0f0\n"
    "lil_multiply_taps \\pixels\n"
    ".endm\n"
    ".macro lil_multiply_nibble shift, inputs, sum\n"
    "and r3, r2, r5, lsl #\\shift\n"
    "smlad \\sum, r3, \\inputs, \\sum\n"
    ".endm\n"
    ".macro lil_multiply_pairs_of pixels, unrolled, sums:vararg\n"
    ".global lil_multiply_pairs_\\pixels\n"
    ".type lil_multiply_pairs_\\pixels, %function\n"
    ".thumb_func\n"
    "lil_multiply_pairs_\\pixels:\n"
    "push {r4-r11, lr}\n"
    "adds r0, #60\n"
    "ldmdb r0!, {r1-r8}\n"
    "push {r1-r8}\n"
    "ldmdb r0!, {r1-r7}\n"
    "push {r1-r7}\n"
    "1: @ the next pair: its sums\n"
    "ldrd r0, r1, [sp, #16] @ bias, sums\n"
    "cbnz r1, 2f\n"
    "ldr r4, [r0], #4\n"
    "ldr r8, [r0], #4\n"
    "str r0, [sp, #16]\n"
    ".if \\pixels > 1\n"
    "mov r5, r4\n"
    "mov r9, r8\n"
    ".endif\n"
    ".if \\pixels > 2\n"
    "mov r6, r4\n"
    "mov r10, r8\n"
    ".endif\n"
    ".if \\pixels > 3\n"
    "mov r7, r4\n"
    "mov r11, r8\n"
    ".endif\n"
    "3:\n"
    "ldrd r0, r1, [sp] @ weights, inputs\n"
    ".if \\pixels == 2\n"
    "ldr.w lr, [sp, #12] @ end\n"
    ".endif\n"
    "ldrd r3, r2, [sp, #8] @ entry, end\n"
    "add pc, r3\n"
    "2:\n"
    "b.w 6f\n"
    "b.w 10f\n"
    ".if \\pixels == 4\n"
    "b.w 11f\n"
    ".elseif \\pixels == 1\n"
    "4: @ four words at a time\n"
    ".rept 4\n"
    "lil_multiply_row\n"
    ".endr\n"
    "cmp r1, r2\n"
    "bne.w 4b\n"
    "b.w 12f\n"
    ".else\n"
    "4: @ two words at a time\n"
    ".rept 4\n"
    "lil_multiply_two \\pixels\n"
    ".endr\n"
    ".if \\pixels == 2\n"
    "cmp r1, lr\n"
    ".else\n"
    "ldr r2, [sp, #12] @ end\n"
    "cmp r1, r2\n"
    ".endif\n"
    "bne.w 4b\n"
    "b.w 12f\n"
    ".endif\n"
    "4: @ its words\n"
    ".rept \\unrolled\n"
    "ldr r2, [r0], #4\n"
    "lil_multiply_taps \\pixels\n"
    ".endr\n"
    "ldr r2, [sp, #12] @ end\n"
    "cmp r1, r2\n"
    "bne.w 4b\n"
    "12:\n"
    "str r0, [sp]\n"
    "ldr r2, [sp, #56] @ ending\n"
    "cmp r2, #0\n"
    "bne.w 7f\n"
    "lil_narrow_pair 0, \\pixels\n"
    "5:\n"
    "ldr r1, [sp, #40] @ out_end\n"
    "str r0, [sp, #32]\n"
    "cmp r0, r1\n"
    "bne.w 1b\n"
    "add sp, #60\n"
    "pop {r4-r11, pc}\n"
    "6: @ the sums so far\n"
    "ldm r1!, {\\sums}\n"
    "str r1, [sp, #20]\n"
    "ldr r0, [sp]\n"
    "ldr r1, [sp, #52] @ gap\n"
    "add r0, r1\n"
    "str r0, [sp]\n"
    "b.w 3b\n"
    "7:\n"
    "cmp r2, #1\n"
    "bne.w 8f\n"
    "lil_narrow_pair 1, \\pixels\n"
    "b.w 5b\n"
    "8:\n"
    ".if \\pixels == 1\n"
    "cmp r2, #2\n"
    "bne.w 9f\n"
    "lil_narrow_pair 2, 1\n"
    "b.w 5b\n"
    "9:\n"
    ".endif\n"
    "ldr r1, [sp, #48] @ kept\n"
    "stm r1!, {\\sums}\n"
    "str r1, [sp, #48]\n"
    "ldr r1, [sp, #20] @ sums\n"
    "cbnz r1, 9f\n"
    "ldr r1, [sp, #52] @ gap\n"
    "add r0, r1\n"
    "str r0, [sp]\n"
    "9:\n"
    "ldr r0, [sp, #32] @ out\n"
    "adds r0, #2\n"
    "b.w 5b\n"
    "10: @ words of four-bit weights\n"
    ".if \\pixels == 1\n"
    "ldr r3, [sp, #12] @ end\n"
    "mov r2, #0xf000f000\n"
    "mov r10, #0\n"
    "mov r11, #0\n"
    "subs r3, r1, r3\n"
    "and r3, #24\n"
    "add r3, r3, r3, lsl #2\n"
    "add pc, r3 @ as below, for 8 bytes of inputs in 10 instructions\n"
    "nop\n"
    "11:\n"
    ".rept 4\n"
    "ldr r5, [r0], #4\n"
    "ldrd r12, lr, [r1], #8\n"
    "lil_multiply_nibble 0, r12, r11\n"
    "lil_multiply_nibble 4, lr, r11\n"
    "lil_multiply_nibble 8, r12, r10\n"
    "lil_multiply_nibble 12, lr, r10\n"
    ".endr\n"
    "ldr r3, [sp, #12] @ end\n"
    "cmp r1, r3\n"
    "bne.w 11b\n"
    "add r4, r4, r10, asr #8\n"
    "add r8, r8, r11, asr #8\n"
    ".else\n"
    "lil_multiply_int4 \\pixels\n"
    ".if \\pixels == 4\n"
    "11:\n"
    "lil_multiply_int4 4\n"
    ".endif\n"
    "ldr r2, [sp, #12] @ end\n"
    "cmp r1, r2\n"
    "bne.w 10b\n"
    ".endif\n"
    "b.w 12b\n"
    ".endm\n"
    ".pushsection .text.lil_multiply_pairs, \"ax\", %progbits\n"
    ".balign 4\n"
    ".thumb\n"
    "lil_multiply_pairs_of 4, 8, r4, r5, r6, r7, r8, r9, r10, r11\n"
    "lil_multiply_pairs_of 3, 1, r4, r5, r6, r8, r9, r10\n"
    "lil_multiply_pairs_of 2, 1, r4, r5, r8, r9\n"
    "lil_multiply_pairs_of 1, 1, r4, r8\n"
    ".popsection\n"
);
/* clang-format on */

void lil_multiply_pairs_4(const lil_pairs *pairs);
void lil_multiply_pairs_3(const lil_pairs *pairs);
void lil_multiply_pairs_2(const lil_pairs *pairs);
void lil_multiply_pairs_1(const lil_pairs *pairs);

/* What an ADD to PC skips. Behind it lie branches: to the loop over words of four-bit weights,
 * then, of four pixels, to its second half. Then the loops follow, whose instructions have 4 bytes;
 * with fewer pixels the loop over several words comes first. */
#define BRANCH_BYTES 4
#define FIRST_BRANCH 2
#define THREE_PIXELS_BYTES (4 * 19 * 4 + 12)
#define TWO_PIXELS_BYTES (4 * 14 * 4 + 10)
#define ONE_PIXEL_BYTES (4 * 18 * 4 + 10)

/* The steps that are too many in the first round. */
static uint32_t loop_entry(uint32_t steps, uint32_t unrolled, uint32_t instructions) {
    return (-steps & (unrolled - 1)) * 4 * instructions + FIRST_BRANCH + BRANCH_BYTES;
}

void lil_multiply_pairs(lil_pairs *pairs, uint32_t taps, uint32_t pixels) {
    const int8_t *weights = pairs->weights;
    uint32_t words = lil_padded_taps(pairs->is_int4, taps) / 2;
    if (pairs->sums != NULL) {
        pairs->weights -= pairs->gap; /* it is added when the sums are loaded */
    }
    pairs->end = pairs->inputs + words * pixels;
    bool is_aligned = (uintptr_t)pairs->weights % 4 == 0;
    bool is_even = is_aligned && words % 2 == 0;
    if (pairs->is_int4) {
        bool is_odd = pixels == 4 && words % 4 != 0;
        pairs->entry = FIRST_BRANCH + (is_odd ? BRANCH_BYTES : 0);
    } else if (pixels == 4) {
        pairs->entry = loop_entry(words, 8, 13) + BRANCH_BYTES;
    } else if (pixels == 3) {
        pairs->entry =
            is_even ? loop_entry(words / 2, 4, 19) : loop_entry(0, 1, 0) + THREE_PIXELS_BYTES;
    } else if (pixels == 2) {
        pairs->entry =
            is_even ? loop_entry(words / 2, 4, 14) : loop_entry(0, 1, 0) + TWO_PIXELS_BYTES;
    } else if (is_aligned && words % 4 == 0) {
        pairs->entry = loop_entry(words / 4, 4, 18);
    } else {
        pairs->entry = loop_entry(words, 1, 6) + ONE_PIXEL_BYTES;
    }
    if (pixels == 4) {
        lil_multiply_pairs_4(pairs);
    } else if (pixels == 3) {
        lil_multiply_pairs_3(pairs);
    } else if (pixels == 2) {
        lil_multiply_pairs_2(pairs);
    } else {
        lil_multiply_pairs_1(pairs);
    }
    pairs->weights = weights;
}

#else

/* Two taps of both channels of a pair as int8, from the weights of pair of taps `k`. */
static uint32_t two_taps(const lil_pairs *pairs, const int8_t *weights, uint32_t k) {
    if (!pairs->is_int4) {
        return lil_load_word(weights + 4 * k);
    }
    uint32_t word = lil_load_word(weights + k / 2 * 4);
    return (k % 2 == 0 ? word : word << 4) & 0xF0F0F0F0;
}

void lil_multiply_pairs(lil_pairs *pairs, uint32_t taps, uint32_t pixels) {
    const int8_t *weights = pairs->weights;
    const uint32_t words = lil_padded_taps(pairs->is_int4, taps) / 2;
    const uint32_t channels = (uint32_t)(pairs->out_end - pairs->out);
    for (uint32_t c = 0; c < channels; c += 2) {
        for (uint32_t i = 0; i < 2 * pixels; i++) {
            uint32_t lane = i / pixels;
            uint32_t p = i % pixels;
            int32_t sum = pairs->sums != NULL ? pairs->sums[c * pixels + i]
                                              : lil_load_int32(pairs->bias + 4 * (c + lane));
            for (uint32_t k = 0; k < words; k++) {
                uint32_t both = two_taps(pairs, weights, k);
                uint32_t own = lane == 0 ? lil_sxtb16(both) : lil_sxtb16_odd(both);
                sum = lil_smlad(own, pairs->inputs[k * pixels + p], sum);
            }
            if (pairs->ending == LIL_KEEP) {
                pairs->kept[c * pixels + i] = sum;
                continue;
            }
            lil_narrowing narrowing =
                lil_make_narrowing(lil_load_int32(pairs->multiplier + 4 * (c + lane)),
                                   pairs->shift[c + lane], (pairs->twice_zero_point - 1) / 2);
            pairs->out[c + lane + p * pairs->stride] =
                pairs->ending == LIL_NARROW_ONCE
                    ? lil_narrow_once(sum, &narrowing)
                    : lil_narrow(sum, &narrowing, pairs->ending == LIL_NARROW_FROM_ZERO);
        }
        weights += (pairs->is_int4 ? 2 : 4) * words + pairs->gap;
    }
}

#endif

void lil_finish_pair(const lil_pairs *pairs, const lil_call *call, uint32_t first, uint32_t channel,
                     uint32_t end, uint32_t taps, uint32_t pixels) {
    lil_channels channels = lil_load_channels(call, call->output.channels);
    int32_t sums[2 * LIL_BLOCK_PIXELS];
    lil_pairs pair = *pairs;
    pair.weights += channel / 2 * (lil_pair_bytes(&call->op, taps) + pairs->gap);
    pair.bias += 4 * channel;
    if (pairs->sums != NULL) {
        pair.sums += channel * pixels;
    }
    pair.out_end = pair.out + 2;
    pair.kept = sums;
    pair.ending = LIL_KEEP;
    lil_multiply_pairs(&pair, taps, pixels);
    for (uint32_t c = channel; c < lil_least(channel + 2, end - first); c++) {
        for (uint32_t p = 0; p < pixels; p++) {
            pairs->out[p * pairs->stride + c] =
                lil_finish(&channels, first + c, sums[(c - channel) * pixels + p], call);
        }
    }
}

#endif
