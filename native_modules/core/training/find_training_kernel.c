/* The table of kernels for training. */
#include "../kernels/kernels.h"

#if LIL_TRAINING

static const lil_kernel kernels[LIL_KIND_COUNT - LIL_MASK] = {NULL};

lil_kernel lil_find_training_kernel(uint32_t kind) {
    return kernels[kind - LIL_MASK];
}

int32_t lil_verify_training_operator(const uint8_t *model, const lil_header *header,
                                     const lil_operator *op, const uint8_t *constants) {
    (void)model, (void)header, (void)op, (void)constants;
    return LIL_ERROR_KERNEL_ABSENT;
}

#endif
