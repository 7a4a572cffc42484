/* What went wrong, and how to mend it. */
#include "kernels/target.h"
#include "lilliput.h"

const char *lil_error_text(int32_t status) {
    switch (status) {
    case LIL_ERROR_TRUNCATED:
        return "model file is cut short: copy it again";
    case LIL_ERROR_MAGIC:
        return "not a .lil file: make one with `lilliput convert`";
    case LIL_ERROR_VERSION:
        return "model file of another format version: convert it again with this lilliput";
    case LIL_ERROR_LAYOUT:
        return "weights are packed for another engine build: convert the model again";
    case LIL_ERROR_CHECKSUM:
        return "model file is damaged (checksum): copy it again";
    case LIL_ERROR_TABLE:
        return "model file is damaged (tables): convert it again";
    case LIL_ERROR_TENSOR:
        return "model file is damaged (tensors): convert it again";
    case LIL_ERROR_OPERATOR:
        return "model file is damaged (operators): convert it again";
    case LIL_ERROR_CONSTANTS:
        return "model file is damaged (constants): convert it again";
    case LIL_ERROR_SCHEDULE:
        return "model file is damaged (schedule): convert it again";
    case LIL_ERROR_PORT:
        return "model file is damaged (inputs or outputs): convert it again";
    case LIL_ERROR_KERNEL_ABSENT:
        return "this build of _lilliput lacks a kernel that the model needs: use a full build";
    case LIL_ERROR_ARENA_SIZE:
        return "arena is too small: allocate model.arena_bytes";
    case LIL_ERROR_ARENA_ALIGNMENT:
        return "arena is not aligned to 8 bytes: pass a whole bytearray, not a slice";
    case LIL_ERROR_CONTEXT_SIZE:
        return "context is too small or not aligned";
    case LIL_ERROR_NOT_BEGUN:
        return "inference has not begun: call begin() with this model and context";
    case LIL_ERROR_INPUT_TYPE:
        return "input must hold int8, uint8 or float32 elements";
    case LIL_ERROR_INPUT_SIZE:
        return "input buffer has the wrong size: see model.input.shape";
    case LIL_ERROR_INPUT_NO_TABLE:
        return "model has no uint8 preprocessing: pass int8 or float32, "
               "or convert it with --input-range";
    case LIL_ERROR_INPUT_WHOLE:
        return "model reads its input in patches: pass all of it in one buffer, "
               "or convert without --max-macs to feed rows";
#if LIL_TRAINING
    case LIL_ERROR_NOT_TRAINABLE:
        return "model is not trainable: make it so with `lilliput train-plan`";
    case LIL_ERROR_TARGET:
        return "target must be a class that the model has, or an int8 map of its output's size";
    case LIL_ERROR_RATE:
        return "learning rate must be positive and less than 2**31";
#endif
    case LIL_ERROR_OUTPUT_SIZE:
        return "output buffer is too small: see model.output.shape";
    case LIL_ERROR_INDEX:
        return "no such input, output or tensor";
    case LIL_ERROR_FIELD:
        return "no such field: update _lilliput";
    default:
        return "unknown error";
    }
}
