/* Drives the fuzz target without libFuzzer: mutants of seed files, the same ones each time.
 *
 *     mutate RUNS SEED FILE...
 *
 * On a crash the mutant is in crash.lil of the working folder. */
#include "model_file.h"

#include "random_bits.h"

#include <sanitizer/common_interface_defs.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *current;
static uint32_t current_size;

static void keep_mutant(void) {
    FILE *file = fopen("crash.lil", "wb");
    if (file != NULL) {
        fwrite(current, 1, current_size, file);
        fclose(file);
        fprintf(stderr, "the mutant is in crash.lil\n");
    }
}

static uint32_t below(uint64_t *random, uint32_t limit) {
    return limit > 0 ? (uint32_t)(next_random(random) >> 16) % limit : 0;
}

/* Where to change something: in the header and the tables mostly, else anywhere. */
static uint32_t place_of(uint64_t *random, const uint8_t *model, uint32_t size) {
    lil_header header = lil_load_header(model);
    uint32_t tables = header.constants_offset < size ? header.constants_offset : size;
    switch (below(random, 8)) {
    case 0:
        return below(random, size);
    case 1:
        return 16 + below(random, sizeof header - 16);
    default:
        return 16 + below(random, tables > 16 ? tables - 16 : size);
    }
}

static void mutate(uint64_t *random, uint8_t *model, uint32_t *size) {
    static const uint32_t numbers[] = {
        0,          1,          2,          3,          4,          7,
        8,          15,         16,         127,        128,        255,
        256,        1023,       1024,       1025,       0x7FFF,     0x8000,
        0xFFFF,     0x10000,    0xFFFFFF,   0x1000000,  0x3FFFFFFF, 0x40000000,
        0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF,
    };
    uint32_t at = place_of(random, model, *size) % *size;
    uint32_t width = 1u << below(random, 3);
    uint32_t number = numbers[below(random, sizeof numbers / sizeof *numbers)];
    if (width > *size - at) {
        width = 1;
    }
    switch (below(random, 6)) {
    case 0:
        model[at] ^= (uint8_t)(1 << below(random, 8));
        break;
    case 1:
        model[at] = (uint8_t)next_random(random);
        break;
    case 2: {
        at -= at % width;
        uint32_t value = 0;
        memcpy(&value, model + at, width);
        value += below(random, 33) - 16;
        memcpy(model + at, &value, width);
        break;
    }
    case 3: {
        uint32_t from = place_of(random, model, *size) % *size;
        uint32_t count = 1 + below(random, 48);
        uint32_t room = *size - (from > at ? from : at);
        memmove(model + at, model + from, count < room ? count : room);
        break;
    }
    case 4:
        if (below(random, 4) == 0) {
            *size = below(random, *size) + 1;
        }
        break;
    default:
        at -= at % width;
        memcpy(model + at, &number, width);
        break;
    }
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s RUNS SEED FILE...\n", argv[0]);
        return 2;
    }
    long runs = strtol(argv[1], NULL, 10);
    uint64_t random = 0x9E3779B97F4A7C15 ^ strtoull(argv[2], NULL, 10);
    __sanitizer_set_death_callback(keep_mutant);
    for (int i = 3; i < argc; i++) {
        uint32_t size;
        uint8_t *seed = read_file(argv[i], &size);
        LLVMFuzzerTestOneInput(seed, size);
        free(seed);
    }
    long sound = 0;
    for (long run = 0; run < runs; run++) {
        uint32_t size;
        uint8_t *model = read_file(argv[3 + below(&random, (uint32_t)argc - 3)], &size);
        uint32_t changes = 1 + below(&random, 1u << below(&random, 4));
        while (changes-- > 0 && size > sizeof(lil_header)) {
            mutate(&random, model, &size);
        }
        current = model;
        current_size = size;
        LLVMFuzzerTestOneInput(model, size);
        seal(model, size);
        lil_buffer mutant = {model, size, 'B'};
        sound += lil_verify(&mutant) == LIL_OK;
        free(model);
    }
    printf("%ld mutants tried, %ld of them sound models that ran\n", runs, sound);
    return 0;
}
