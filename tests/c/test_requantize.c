/* The fixed-point arithmetic against its definition in exact integers. */
#include "requantize.h"

#include "check.h"
#include "random_bits.h"

#define RANDOM_TRIPLES 8000000

typedef __int128 int128_t;

/* floor(a / b) for b > 0. */
static int128_t floor_quotient(int128_t a, int128_t b) {
    int128_t quotient = a / b;
    return a % b < 0 ? quotient - 1 : quotient;
}

/* gemmlowp's SaturatingRoundingDoublingHighMul: nearest to a * b / 2^31, ties upwards. */
static int64_t exact_multiply_high(int64_t a, int64_t b) {
    return (int64_t)floor_quotient(2 * (int128_t)a * b + ((int128_t)1 << 31), (int128_t)1 << 32);
}

/* gemmlowp's RoundingDivideByPOT: nearest to a / 2^exponent, ties away from zero. */
static int64_t exact_shift_right(int64_t a, int exponent) {
    int64_t divisor = (int64_t)1 << exponent;
    int64_t magnitude = (2 * (a < 0 ? -a : a) + divisor) / (2 * divisor);
    return a < 0 ? -magnitude : magnitude;
}

static int64_t exact_rescale(int32_t value, int32_t multiplier, int32_t shift) {
    int64_t shifted = value;
    if (shift > 0) {
        shifted = (int32_t)(uint32_t)((uint64_t)(int64_t)value << shift);
    }
    int64_t high = exact_multiply_high(shifted, multiplier);
    return shift > 0 ? high : exact_shift_right(high, -shift);
}

static void check_triple(int32_t value, int32_t multiplier, int32_t shift) {
    int64_t expected = exact_rescale(value, multiplier, shift);
    int32_t found = lil_rescale_value(value, multiplier, shift);
    CHECK(found == expected, "%d * %d * 2^(%d - 31) is %lld, not %d", value, multiplier, shift,
          (long long)expected, found);
    for (int32_t sign = -1; sign <= 1; sign += 2) {
        int64_t high = exact_multiply_high(value, sign * multiplier);
        int32_t halves = lil_multiply_high_of_halves(value, sign * multiplier);
        CHECK(halves == high, "%d * %d / 2^31 is %lld, from halves %d", value, sign * multiplier,
              (long long)high, halves);
    }
}

static void check_shift(int32_t value, int shift) {
    int64_t expected = exact_shift_right(value, shift);
    int32_t found = lil_shift_right(value, shift);
    CHECK(found == expected, "%d / 2^%d is %lld, not %d", value, shift, (long long)expected, found);
}

/* Every combination of numbers where rounding or signs change. */
static void test_edges(void) {
    static const int32_t values[] = {
        0,
        1,
        -1,
        2,
        -2,
        3,
        -3,
        127,
        -128,
        255,
        -255,
        256,
        -256,
        32767,
        -32768,
        65535,
        -65536,
        1 << 20,
        -(1 << 20),
        (1 << 30),
        -(1 << 30),
        INT32_MAX,
        INT32_MIN,
        INT32_MAX - 1,
        INT32_MIN + 1,
        0x55555555,
        -0x2AAAAAAB,
    };
    static const int32_t multipliers[] = {
        0,
        1,
        2,
        3,
        1 << 16,
        1 << 30,
        (1 << 30) + 1,
        (1 << 30) - 1,
        0x60000000,
        INT32_MAX - 1,
        INT32_MAX,
    };
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        for (int shift = 0; shift <= 31; shift++) {
            check_shift(values[v], shift);
        }
        for (size_t m = 0; m < sizeof multipliers / sizeof *multipliers; m++) {
            for (int shift = -31; shift <= 30; shift++) {
                check_triple(values[v], multipliers[m], shift);
            }
        }
    }
}

/* Values half-way between two results, and their neighbours. */
static void test_ties(uint64_t *random) {
    for (int shift = 1; shift <= 31; shift++) {
        for (int i = 0; i < 2000; i++) {
            int64_t odd = (int64_t)(next_random(random) % 4001) - 2000;
            int64_t tie = (2 * odd + 1) * ((int64_t)1 << (shift - 1));
            for (int64_t near = tie - 1; near <= tie + 1; near++) {
                if (near >= INT32_MIN && near <= INT32_MAX) {
                    check_shift((int32_t)near, shift);
                    /* Doubling by 2^30 keeps the value, so that only the shift rounds. */
                    check_triple((int32_t)near, 1 << 30, 1 - shift);
                    check_triple((int32_t)near, INT32_MAX, -shift);
                }
            }
        }
    }
}

static void test_random(uint64_t *random) {
    for (int i = 0; i < RANDOM_TRIPLES; i++) {
        uint64_t bits = next_random(random);
        /* As many small accumulators as large ones. */
        int32_t value = (int32_t)(uint32_t)bits >> (bits >> 32) % 32;
        int32_t multiplier = (int32_t)(next_random(random) & INT32_MAX);
        if (i % 4 != 0) {
            multiplier |= 1 << 30; /* as the host writes them */
        }
        check_triple(value, multiplier, (int32_t)(next_random(random) % 62) - 31);
        if (failures > 20) {
            return;
        }
    }
}

static void test_clamp(void) {
    for (int32_t value = -400; value <= 400; value++) {
        for (int32_t zero_point = -128; zero_point <= 127; zero_point += 15) {
            int32_t sum = value + zero_point;
            int32_t expected = sum < -100 ? -100 : sum > 50 ? 50 : sum;
            CHECK(lil_clamp(value, zero_point, -100, 50) == expected, "%d + %d", value, zero_point);
        }
    }
    CHECK(lil_clamp(INT32_MIN, 0, -128, 127) == -128, "the least accumulator");
    CHECK(lil_clamp(INT32_MAX, 0, -128, 127) == 127, "the greatest accumulator");
}

int main(void) {
    uint64_t random = 0x9E3779B97F4A7C15;
    test_edges();
    test_ties(&random);
    test_random(&random);
    test_clamp();
    printf("requantize: %d failures\n", failures);
    return failures > 0;
}
