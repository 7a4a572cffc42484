#include "settings.h"

#include <stddef.h>
#include <string.h>

#include "board.h"

#define SEMIHOSTING_GET_COMMAND_LINE 0x15
#define DEFAULT_STORAGE_BYTES (6u << 20)

typedef struct command_line {
    char *text;
    uint32_t size;
} command_line;

/* The number after `name` in `text`, or `otherwise` when the word is not there. */
static uint32_t number_of(const char *text, const char *name, uint32_t otherwise) {
    const char *place = strstr(text, name);
    if (place == NULL) {
        return otherwise;
    }
    uint32_t number = 0;
    for (place += strlen(name); *place >= '0' && *place <= '9'; place++) {
        number = 10 * number + (uint32_t)(*place - '0');
    }
    return number;
}

settings settings_read(void) {
    char text[128] = "";
    command_line line = {text, sizeof text};
    if (processor_semihosting(SEMIHOSTING_GET_COMMAND_LINE, &line) != 0) {
        text[0] = '\0';
    }
    text[sizeof text - 1] = '\0';
    settings read = {
        .heap_bytes = number_of(text, "heap=", 0),
        .files_bytes = number_of(text, "files=", DEFAULT_STORAGE_BYTES),
        .romfs_bytes = number_of(text, "romfs=", DEFAULT_STORAGE_BYTES),
    };
    return read;
}
