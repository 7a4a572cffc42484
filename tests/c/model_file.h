/* Model files for tests: read, copied to a place of their exact size, sealed again. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include "model.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Memory of exactly `size` bytes, so that AddressSanitizer sees the first byte too many. */
static inline uint8_t *allocate(size_t size) {
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL) {
        fprintf(stderr, "out of memory for %zu bytes\n", size);
        exit(2);
    }
    return data;
}

static inline uint8_t *read_file(const char *path, uint32_t *size) {
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

/* CRC-32 by the textbook, one bit after the other; continues `crc`, which begins with 0. */
static inline uint32_t crc32_of(const uint8_t *data, size_t size, uint32_t crc) {
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
        }
    }
    return ~crc;
}

/* Makes size and checksums right, so that what was changed gets past them. */
static inline void seal(uint8_t *model, uint32_t size) {
    if (size < sizeof(lil_header)) {
        return;
    }
    lil_header header = lil_load_header(model);
    header.file_bytes = size;
    if (header.constants_offset >= sizeof header && header.constants_offset <= size) {
        uint32_t front = header.constants_offset;
        uint32_t before = offsetof(lil_header, checksum);
        uint32_t after = before + sizeof header.checksum;
        header.constants_checksum = crc32_of(model + front, size - front, 0);
        memcpy(model, &header, sizeof header);
        header.checksum = crc32_of(model, before, 0);
        header.checksum = crc32_of(model + after, front - after, header.checksum);
    }
    memcpy(model, &header, sizeof header);
}

/* Reads the constants of a segment into the arena, as lil_run asks for. `file` is the whole file.
 */
static inline void read_page(const lil_buffer *front, const uint8_t *file, uint8_t *arena,
                             int32_t segment) {
    int32_t start, bytes, offset;
    lil_field(front, LIL_FIELD_PAGE_START, segment, &start);
    lil_field(front, LIL_FIELD_PAGE_BYTES, segment, &bytes);
    lil_field(front, LIL_FIELD_PAGE_OFFSET, segment, &offset);
    memcpy(arena + offset, file + start, (uint32_t)bytes);
}

#endif
