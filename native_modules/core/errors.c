/* What went wrong, and how to mend it. */
#include "kernels/target.h"
#include "lilliput.h"

/* One text for each error of lil_status, in the order of their numbers: a table of pointers, or a
 * switch, would be larger than the search. */
static const char texts[] =
    "model file is cut short: copy it again\0"
    "not a .lil file: make one with `lilliput convert`\0"
    "model file of another format version: convert it again with this lilliput\0"
    "weights are packed for another engine build: convert the model again\0"
    "model file is damaged (checksum): copy it again\0"
    "model file is damaged (tables): convert it again\0"
    "model file is damaged (tensors): convert it again\0"
    "model file is damaged (operators): convert it again\0"
    "model file is damaged (constants): convert it again\0"
    "model file is damaged (schedule): convert it again\0"
    "model file is damaged (inputs or outputs): convert it again\0"
    "this build of _lilliput lacks a kernel that the model needs: use a full build\0"
    "arena is too small: allocate model.arena_bytes\0"
    "arena is not aligned to 8 bytes: pass a whole bytearray, not a slice\0"
    "context is too small or not aligned\0"
    "inference has not begun: call begin() with this model and context\0"
    "input must hold int8, uint8 or float32 elements\0"
    "input buffer has the wrong size: see model.input.shape\0"
    "model has no uint8 preprocessing: pass int8 or float32, or convert it with --input-range\0"
    "output buffer is too small: see model.output.shape\0"
    "no such input, output or tensor\0"
    "no such field: _lilliput and the lilliput package do not match\0"
    "model reads its input in patches: pass all of it in one buffer, "
    "or convert without --max-macs to feed rows\0"
#if LIL_TRAINING
    "model is not trainable: make it so with `lilliput train-plan`\0"
    "target must be a class that the model has, or an int8 map of its output's size\0"
    "learning rate must be positive and less than 2**31\0"
#endif
    "unknown error";

const char *lil_error_text(int32_t status) {
    const char *text = texts;
    const char *last = texts + sizeof texts - sizeof "unknown error";
    while (++status < 0 && text != last) {
        while (*text++ != '\0') {
        }
    }
    return text;
}
