/* The DSP kernels' short requantisation against the general one, for every channel that
 * LIL_SHIFTS_RIGHT allows: ties, extreme multipliers, shifts, sums and zero points. */
#include "kernels/dsp/requantize.h"

#include "check.h"
#include "random_bits.h"

#define RANDOM_TRIPLES 3000000

static void check_sum(int32_t sum, int32_t multiplier, int32_t shift, int32_t zero_point) {
    lil_narrowing narrowing = lil_make_narrowing(multiplier, shift, zero_point);
    int32_t twice = lil_rescale_value(sum, multiplier, shift);
    int32_t expected = lil_clamp(twice, zero_point, -128, 127);
    int32_t found = lil_narrow(sum, &narrowing, false);
    CHECK(found == expected, "%d * %d >> %d + %d is %d, not %d", sum, multiplier, -shift,
          zero_point, expected, found);
    expected = lil_clamp(twice, zero_point, zero_point, 127);
    found = lil_clamp(lil_narrow(sum, &narrowing, true), 0, zero_point, 127);
    CHECK(found == expected, "%d * %d >> %d + %d from zero is %d, not %d", sum, multiplier, -shift,
          zero_point, expected, found);
    if (multiplier % 2 != 0) {
        expected = lil_clamp(lil_rescale_once(sum, multiplier, shift), zero_point, -128, 127);
        found = lil_narrow_once(sum, &narrowing);
        CHECK(found == expected, "%d * %d >> %d + %d at once is %d, not %d", sum, multiplier,
              -shift, zero_point, expected, found);
    }
}

/* The largest sum that LIL_SHIFTS_RIGHT allows. */
static int32_t largest_sum(int32_t shift) {
    return INT32_MAX - (1 << (7 - shift));
}

/* Sums around a tie of the second rounding, and the extremes. */
static void test_ties(uint64_t *random) {
    static const int32_t multipliers[] = {1 << 30, (1 << 30) + 1, 0x60000000, INT32_MAX - 1,
                                          INT32_MAX};
    for (int32_t shift = -23; shift <= -1; shift++) {
        for (size_t m = 0; m < sizeof multipliers / sizeof *multipliers; m++) {
            int32_t zero_point = (int32_t)(next_random(random) % 256) - 128;
            for (int32_t odd = -601; odd <= 601; odd += 2) {
                int64_t tie = odd * ((int64_t)1 << (30 - shift)) / multipliers[m];
                for (int64_t sum = tie - 2; sum <= tie + 2; sum++) {
                    if (sum <= largest_sum(shift) && sum >= -largest_sum(shift)) {
                        check_sum((int32_t)sum, multipliers[m], shift, zero_point);
                    }
                }
            }
            check_sum(largest_sum(shift), multipliers[m], shift, zero_point);
            check_sum(-largest_sum(shift), multipliers[m], shift, zero_point);
        }
    }
}

static void test_random(uint64_t *random) {
    for (int i = 0; i < RANDOM_TRIPLES && failures < 20; i++) {
        uint64_t bits = next_random(random);
        int32_t shift = -1 - (int32_t)(bits % 23);
        int32_t zero_point = (int32_t)(bits >> 8 & 255) - 128;
        int32_t multiplier = (int32_t)(bits >> 16 & INT32_MAX) | 1 << 30;
        bits = next_random(random);
        /* As many small sums as large ones. */
        int32_t sum = (int32_t)(uint32_t)bits >> (bits >> 32) % 32;
        int32_t most = largest_sum(shift);
        check_sum(sum > most ? most : sum < -most ? -most : sum, multiplier, shift, zero_point);
    }
}

int main(void) {
    uint64_t random = 0x9E3779B97F4A7C15;
    test_ties(&random);
    test_random(&random);
    printf("dsp requantize: %d failures\n", failures);
    return failures > 0;
}
