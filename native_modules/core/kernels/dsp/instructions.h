/* The instructions of the ARM DSP extension that the kernels use, each as a function.
 *
 * Elsewhere they are plain C, so that the kernels can be tested on any machine: see target.h. */
#ifndef LIL_DSP_INSTRUCTIONS_H
#define LIL_DSP_INSTRUCTIONS_H

#include <stdint.h>
#include <string.h>

/* A word from any address. */
static inline uint32_t lil_load_word(const void *address) {
    uint32_t word;
    __builtin_memcpy(&word, address, sizeof word); /* inline, even where memcpy is not */
    return word;
}

/* Two words that one instruction loads or stores, at a multiple of 4. */
typedef struct lil_two_words {
    uint32_t first;
    uint32_t second;
} lil_two_words;

/* A word to any address. */
static inline void lil_store_word(void *address, uint32_t word) {
    __builtin_memcpy(address, &word, sizeof word);
}

#if defined(__ARM_FEATURE_DSP)

/* sum + a.low * b.low + a.high * b.high, of signed halves. */
static inline int32_t lil_smlad(uint32_t a, uint32_t b, int32_t sum) {
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* Bytes 0 and 2 as signed halves. */
static inline uint32_t lil_sxtb16(uint32_t bytes) {
    uint32_t result;
    __asm__("sxtb16 %0, %1" : "=r"(result) : "r"(bytes));
    return result;
}

/* Bytes 1 and 3 as signed halves. */
static inline uint32_t lil_sxtb16_odd(uint32_t bytes) {
    uint32_t result;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(result) : "r"(bytes));
    return result;
}

/* sum + bytes 0 and 2 as signed halves, half by half. */
static inline uint32_t lil_sxtab16(uint32_t sum, uint32_t bytes) {
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2" : "=r"(result) : "r"(sum), "r"(bytes));
    return result;
}

/* sum + bytes 1 and 3 as signed halves, half by half. */
static inline uint32_t lil_sxtab16_odd(uint32_t sum, uint32_t bytes) {
    uint32_t result;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(result) : "r"(sum), "r"(bytes));
    return result;
}

/* The low half of a below the low half of b. */
static inline uint32_t lil_pack_low(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* The high half of a below the high half of b. */
static inline uint32_t lil_pack_high(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(result) : "r"(b), "r"(a));
    return result;
}

/* sum + a * b / 2^32, rounded to nearest with ties upwards. */
static inline int32_t lil_smmlar(int32_t a, int32_t b, int32_t sum) {
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* sum + a * b / 2^32, rounded down. */
static inline int32_t lil_smmla(int32_t a, int32_t b, int32_t sum) {
    int32_t result;
    __asm__("smmla %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* The nearest int8. */
static inline int32_t lil_ssat8(int32_t value) {
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value) : "cc");
    return result;
}

/* sum + a.low * b.high, of signed halves. */
static inline int32_t lil_smlabt(uint32_t a, uint32_t b, int32_t sum) {
    int32_t result;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* The larger one of each pair of signed bytes. */
static inline uint32_t lil_max8(uint32_t a, uint32_t b) {
    uint32_t result;
    __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b));
    return result;
}

static inline lil_two_words lil_load_two(const lil_two_words *address) {
    lil_two_words words;
    __asm__("ldrd %0, %1, %2" : "=r"(words.first), "=r"(words.second) : "o"(*address));
    return words;
}

static inline void lil_store_two(lil_two_words *address, uint32_t first, uint32_t second) {
    __asm__("strd %1, %2, %0" : "=o"(*address) : "r"(first), "r"(second));
}

#else

static inline int32_t lil_low_half(uint32_t word) {
    return (int16_t)(uint16_t)word;
}

static inline int32_t lil_high_half(uint32_t word) {
    return (int16_t)(uint16_t)(word >> 16);
}

static inline uint32_t lil_halves(int32_t low, int32_t high) {
    return (uint32_t)(uint16_t)low | (uint32_t)high << 16;
}

static inline int32_t lil_smlad(uint32_t a, uint32_t b, int32_t sum) {
    uint32_t low = (uint32_t)(lil_low_half(a) * lil_low_half(b));
    uint32_t high = (uint32_t)(lil_high_half(a) * lil_high_half(b));
    return (int32_t)((uint32_t)sum + low + high);
}

static inline uint32_t lil_sxtb16(uint32_t bytes) {
    return lil_halves((int8_t)(uint8_t)bytes, (int8_t)(uint8_t)(bytes >> 16));
}

static inline uint32_t lil_sxtb16_odd(uint32_t bytes) {
    return lil_sxtb16(bytes >> 8);
}

static inline uint32_t lil_sxtab16(uint32_t sum, uint32_t bytes) {
    return lil_halves(lil_low_half(sum) + (int8_t)(uint8_t)bytes,
                      lil_high_half(sum) + (int8_t)(uint8_t)(bytes >> 16));
}

static inline uint32_t lil_sxtab16_odd(uint32_t sum, uint32_t bytes) {
    return lil_sxtab16(sum, bytes >> 8);
}

static inline uint32_t lil_pack_low(uint32_t a, uint32_t b) {
    return (a & 0xFFFF) | b << 16;
}

static inline uint32_t lil_pack_high(uint32_t a, uint32_t b) {
    return a >> 16 | (b & 0xFFFF0000);
}

static inline int32_t lil_smmlar(int32_t a, int32_t b, int32_t sum) {
    uint64_t product = (uint64_t)((int64_t)a * b + ((int64_t)1 << 31));
    return (int32_t)((uint32_t)sum + (uint32_t)(product >> 32));
}

static inline int32_t lil_smmla(int32_t a, int32_t b, int32_t sum) {
    uint64_t product = (uint64_t)((int64_t)a * b);
    return (int32_t)((uint32_t)sum + (uint32_t)(product >> 32));
}

static inline int32_t lil_ssat8(int32_t value) {
    return value < -128 ? -128 : value > 127 ? 127 : value;
}

static inline int32_t lil_smlabt(uint32_t a, uint32_t b, int32_t sum) {
    return (int32_t)((uint32_t)sum + (uint32_t)(lil_low_half(a) * lil_high_half(b)));
}

static inline uint32_t lil_max8(uint32_t a, uint32_t b) {
    uint32_t result = 0;
    for (uint32_t i = 0; i < 32; i += 8) {
        uint32_t mask = (uint32_t)0xFF << i;
        result |= ((int8_t)(uint8_t)(a >> i) >= (int8_t)(uint8_t)(b >> i) ? a : b) & mask;
    }
    return result;
}

static inline lil_two_words lil_load_two(const lil_two_words *address) {
    return *address;
}

static inline void lil_store_two(lil_two_words *address, uint32_t first, uint32_t second) {
    address->first = first;
    address->second = second;
}

#endif

#endif
