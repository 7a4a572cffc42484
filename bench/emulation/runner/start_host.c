/* The runner on the machine that develops: the same jobs with the portable kernels.
 *
 * runner IMAGE OUTPUT FREE_BYTES
 */
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *output;

void platform_write(const void *data, uint32_t bytes) {
    if (fwrite(data, 1, bytes, output) != bytes) {
        platform_exit(3);
    }
}

noreturn void platform_exit(uint32_t code) {
    exit((int)code);
}

void platform_paint_stack(void) {
}

uint32_t platform_stack_bytes(void) {
    return 0;
}

int main(int count, char **arguments) {
    if (count != 4) {
        return 1;
    }
    FILE *file = fopen(arguments[1], "rb");
    output = fopen(arguments[2], "wb");
    if (file == NULL || output == NULL || fseek(file, 0, SEEK_END) != 0) {
        return 1;
    }
    size_t bytes = (size_t)ftell(file);
    size_t all = (bytes + strtoul(arguments[3], NULL, 10) + 63) / 64 * 64;
    uint8_t *image = aligned_alloc(64, all);
    rewind(file);
    if (image == NULL || fread(image, 1, bytes, file) != bytes) {
        return 1;
    }
    run_jobs(image);
    fclose(file);
    return fclose(output);
}
