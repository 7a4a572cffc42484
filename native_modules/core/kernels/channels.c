/* Where an operator's channels have their constants. */
#include "kernels.h"

#if LIL_TRAINING

lil_channels lil_load_channels(const lil_call *call, uint32_t count) {
    lil_channels channels = lil_locate_channels(call->constants, count);
    if (call->trained != NULL) {
        channels.bias = call->trained;
        if (call->op.arena_inputs != 0) {
            channels.weights = (const int8_t *)call->trained + 4 * count;
        }
    }
    return channels;
}

#endif
