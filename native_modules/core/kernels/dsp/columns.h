/* Sums and maxima of four channels over neighbouring columns, for pooling and
 * means. */
#ifndef LIL_DSP_COLUMNS_H
#define LIL_DSP_COLUMNS_H

#include "instructions.h"

#define LIL_COLUMNS_AT_ONCE 256 /* whose sums cannot leave 16 bits */

/* Adds `count` columns of `channels` int8 to the sums of the first four. */
static inline void lil_add_columns(const int8_t *in, uint32_t channels, uint32_t count,
                                   int32_t sums[4]) {
    while (count > 0) {
        uint32_t some = count < LIL_COLUMNS_AT_ONCE ? count : LIL_COLUMNS_AT_ONCE;
        uint32_t even = 0;
        uint32_t odd = 0;
        count -= some;
        for (; some > 0; some--) {
            uint32_t word = lil_load_word(in);
            even = lil_sxtab16(even, word);
            odd = lil_sxtab16_odd(odd, word);
            in += channels;
        }
        sums[0] += (int16_t)even;
        sums[1] += (int16_t)odd;
        sums[2] += (int32_t)even >> 16;
        sums[3] += (int32_t)odd >> 16;
    }
}

#endif
