/* What the runner needs of the machine it runs on. */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <stdint.h>
#include <stdnoreturn.h>

/* Hands bytes to the machine that emulates this one. */
void platform_write(const void *data, uint32_t bytes);

/* Ends the emulation. 0 is success. */
noreturn void platform_exit(uint32_t code);

/* Marks the stack below the caller, so that platform_stack_bytes can tell what was used of it. */
void platform_paint_stack(void);

/* Bytes of stack that were used since it was painted, as seen from the caller. */
uint32_t platform_stack_bytes(void);

/* Instructions are counted from the first instruction of region_begin to that of region_end. */
void region_begin(void);
void region_end(void);

/* What the machine is started for: runs the jobs of the image at `image`. */
void run_jobs(uint8_t *image);

#endif
