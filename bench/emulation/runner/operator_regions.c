/* Makes every call of a kernel a region of its own, and writes which operator it computed for.
 *
 * Linked with --wrap=lil_find_kernel. The region that the runner begins around the inference ends
 * in the first of these; what it counts is what is left of that.
 */
#include "platform.h"

#include <kernels/kernels.h>
#include <stddef.h>

lil_kernel __real_lil_find_kernel(uint32_t kind);
lil_kernel __wrap_lil_find_kernel(uint32_t kind);

static lil_kernel found;

static void call_in_region(const lil_call *call) {
    uint16_t output = call->op.output; /* a tensor that no other operator writes */
    platform_write(&output, sizeof output);
    region_begin();
    found(call);
    region_end();
}

lil_kernel __wrap_lil_find_kernel(uint32_t kind) {
    found = __real_lil_find_kernel(kind);
    return found == NULL ? NULL : call_in_region;
}
