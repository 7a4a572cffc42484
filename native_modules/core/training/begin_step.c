/* The start of a training step. */
#include "../kernels/kernels.h"

#if LIL_TRAINING

#define LIL_LARGEST_EXPONENT 64 /* of the learning rate, up or down */

/* Whether this build has all kernels of the step: some kinds may be left out. */
static bool has_kernels(const uint8_t *file, const lil_header *header) {
    for (uint32_t i = 0; i < header->operator_count; i++) {
        lil_operator op = lil_load_operator(file, header, i);
        if (op.kind != LIL_INPUT && lil_find_kernel(op.kind) == NULL) {
            return false;
        }
    }
    return true;
}

int32_t lil_begin_step(const lil_buffer *model, const lil_buffer *context, const lil_buffer *arena,
                       const lil_buffer *target, int32_t mantissa, int32_t exponent) {
    const uint8_t *file = (const uint8_t *)model->data;
    lil_header header = lil_load_header(file);
    if (header.training_bytes == 0) {
        return LIL_ERROR_NOT_TRAINABLE;
    }
    if (!has_kernels(file, &header)) {
        return LIL_ERROR_KERNEL_ABSENT;
    }
    if (arena->size < header.arena_bytes) {
        return LIL_ERROR_ARENA_SIZE;
    }
    if ((uintptr_t)arena->data % 8 != 0) {
        return LIL_ERROR_ARENA_ALIGNMENT;
    }
    if (target->size != header.target_bytes ||
        (header.class_count != 0 &&
         (uint32_t)lil_load_int32((const uint8_t *)target->data) >= header.class_count)) {
        return LIL_ERROR_TARGET;
    }
    if (mantissa < 0 || exponent < -LIL_LARGEST_EXPONENT || exponent > LIL_LARGEST_EXPONENT) {
        return LIL_ERROR_RATE;
    }
    int32_t status = lil_begin(model, context);
    if (status != LIL_OK) {
        return status;
    }
    ((lil_progress *)context->data)->is_training = 1;
    lil_training *training = (lil_training *)arena->data;
    training->step++;
    training->rate_mantissa = mantissa;
    training->rate_exponent = exponent;
    training->loss = 0;
    training->gradient_exponent = 0;
    training->saturated = 0;
    bool is_first = (training->step - 1) % header.accumulated == 0;
    training->kept = is_first ? header.momentum : LIL_WHOLE_MOMENTUM;
    training->changes = training->step % header.accumulated == 0;
    memcpy(lil_target((uint8_t *)arena->data), target->data, target->size);
    return LIL_OK;
}

#endif
