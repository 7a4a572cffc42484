/* Model files for tests: read, copied to a place of their exact size, sealed again. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include "model.h"

#include <stdio.h>
#include <stdlib.h>

/* Memory of exactly `size` bytes, so that AddressSanitizer sees the first byte too many. */
static inline uint8_t *allocate(size_t size)
{
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL) {
        fprintf(stderr, "out of memory for %zu bytes\n", size);
        exit(2);
    }
    return data;
}

static inline uint8_t *read_file(const char *path, uint32_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    *size = (uint32_t)ftell(file);
    rewind(file);
    uint8_t *data = allocate(*size);
    if (fread(data, 1, *size, file) != *size) {
        fprintf(stderr, "cannot read %s whole\n", path);
        exit(2);
    }
    fclose(file);
    return data;
}

/* CRC-32 by the textbook, one bit after the other. */
static inline uint32_t crc32_of(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
        }
    }
    return ~crc;
}

/* Makes size and checksum right, so that what was changed gets past them. */
static inline void seal(uint8_t *model, uint32_t size)
{
    if (size >= sizeof(lil_header)) {
        lil_header header = lil_load_header(model);
        header.file_bytes = size;
        memcpy(model, &header, sizeof header);
        header.checksum = crc32_of(model + 16, size - 16);
        memcpy(model, &header, sizeof header);
    }
}

#endif
