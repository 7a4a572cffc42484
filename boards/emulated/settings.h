/* How this run of the firmware is set up, from the command line that the emulator hands over by
 * semihosting: words `name=bytes`. */
#ifndef EMULATED_SETTINGS_H
#define EMULATED_SETTINGS_H

#include <stdint.h>

typedef struct settings {
    uint32_t heap_bytes;  /* free for Python after boot; 0: as much as there is */
    uint32_t files_bytes; /* of the file system at / */
    uint32_t romfs_bytes; /* of the ROMFS at /rom; 0: this board has none */
} settings;

settings settings_read(void);

#endif
