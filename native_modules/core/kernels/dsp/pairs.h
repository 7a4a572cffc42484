/* The inner loops of convolution and fully connected layers: a block of up to four pixels, expanded
 * to 16-bit taps, against the weights of output channels, a pair at a time. */
#ifndef LIL_DSP_PAIRS_H
#define LIL_DSP_PAIRS_H

#include "requantize.h"

/* What becomes of sums. */
enum lil_ending {
    LIL_NARROW_FROM_ZERO, /* outputs, none of which is below the zero point: see
                             lil_narrow */
    LIL_NARROW,           /* outputs */
    LIL_NARROW_ONCE,      /* outputs with LIL_SINGLE_ROUNDING; of one pixel */
    LIL_KEEP              /* they are stored, for more taps or for lil_finish */
};

/* Pairs of output channels at work. The assembly knows the order of the members, all of which are
 * words. */
typedef struct lil_pairs {
    const int8_t *weights;     /* of the first pair, at the first of the taps */
    const uint32_t *inputs;    /* [words][pixels], two taps of a pixel in each word */
    uint32_t entry;            /* set by lil_multiply_pairs */
    const uint32_t *end;       /* likewise */
    const uint8_t *bias;       /* of the first channel */
    const int32_t *sums;       /* [pairs][2][pixels], where they start; NULL: at the bias */
    const uint8_t *multiplier; /* of the first channel */
    const int8_t *shift;       /* likewise */
    int8_t *out;               /* the first pixel's first channel */
    uint32_t stride;           /* from a pixel of the output to the next */
    int8_t *out_end;           /* `out` behind the last pair */
    int32_t twice_zero_point;  /* 2 * zero point + 1 */
    int32_t *kept;             /* [pairs][2][pixels], where they are stored */
    uint32_t gap;              /* bytes from the end of a pair's taps to the next pair's */
    uint32_t ending;           /* lil_ending */
    bool is_int4;              /* weights of four bits; not of the assembly's members */
} lil_pairs;

/* Multiplies a block of one to four pixels with one or more pairs of channels. `taps`: at least
 * one; `inputs` are there for as many as lil_padded_taps says. */
void lil_multiply_pairs(lil_pairs *pairs, uint32_t taps, uint32_t pixels);

/* The same for the pair at channel `channel`, counted from the first, and its outputs the general
 * way, as lil_finish computes them. `first` is the first channel, `end` the group's last but one.
 * */
void lil_finish_pair(const lil_pairs *pairs, const lil_call *call, uint32_t first, uint32_t channel,
                     uint32_t end, uint32_t taps, uint32_t pixels);

#endif
