/* A QEMU plugin that counts the instructions executed between two markers, exactly.
 *
 * Every translated block has a counter of how often it was executed. When the first instruction at
 * `begin` is executed the counters are noted; at `end`, what has been added is a region's result.
 * A block at a marker has to begin with it, so that no block is counted in part.
 *
 *   -plugin FILE.so,begin=ADDRESS,end=ADDRESS,out=FILE[,blocks=on]
 *
 * For each region the file has a line "region INSTRUCTIONS" and, with blocks=on, a line for each
 * block that was executed in it: "ADDRESS BYTES INSTRUCTIONS EXECUTIONS", in hexadecimal but for
 * the last two.
 *
 * The interface to QEMU is declared here, because systems package QEMU without its header. Version
 * 1 (QEMU 6 to 8) adds to a counter in translated code; version 2 and later (QEMU 9) call back.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { PLUGIN_CALLBACK_NO_REGISTERS = 0, PLUGIN_INLINE_ADD = 0 };

typedef void (*block_translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*executed)(unsigned int cpu, void *user);
typedef void (*at_exit)(qemu_plugin_id_t id, void *user);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, block_translated callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, executed callback, int flags,
                                          void *user);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation,
                                              void *address, uint64_t value);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed callback,
                                            int flags, void *user);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, at_exit callback, void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_API;
int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments);

/* A translated block. QEMU may translate the same instructions again: these share an entry. */
typedef struct block {
    uint64_t executions; /* first: QEMU adds to it */
    uint64_t noted;      /* executions at the start of the region */
    uint64_t address;
    uint64_t bytes;
    uint64_t instructions;
    struct block *next;
} block;

#define BUCKETS 65536

static block *buckets[BUCKETS];
static uint64_t marker_begin;
static uint64_t marker_end;
static bool with_blocks;
static bool in_region;
static FILE *out;

static block *find_block(uint64_t address, uint64_t bytes, uint64_t instructions) {
    block **bucket = &buckets[(address / 2 * 31 + bytes) % BUCKETS];
    for (block *found = *bucket; found != NULL; found = found->next) {
        if (found->address == address && found->bytes == bytes &&
            found->instructions == instructions) {
            return found;
        }
    }
    block *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) {
        abort();
    }
    fresh->address = address;
    fresh->bytes = bytes;
    fresh->instructions = instructions;
    fresh->next = *bucket;
    *bucket = fresh;
    return fresh;
}

/* The marker's own block was counted before this call: it belongs to the region. */
static void begin_region(unsigned int cpu, void *user) {
    (void)cpu;
    block *marker = user;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (block *each = buckets[i]; each != NULL; each = each->next) {
            each->noted = each->executions;
        }
    }
    marker->noted--;
    in_region = true;
}

/* The marker's own block was counted before this call: it does not belong to the region. */
static void end_region(unsigned int cpu, void *user) {
    (void)cpu;
    block *marker = user;
    if (!in_region) {
        return;
    }
    in_region = false;
    marker->noted++;
    uint64_t total = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (block *each = buckets[i]; each != NULL; each = each->next) {
            total += (each->executions - each->noted) * each->instructions;
        }
    }
    fprintf(out, "region %" PRIu64 "\n", total);
    for (size_t i = 0; with_blocks && i < BUCKETS; i++) {
        for (block *each = buckets[i]; each != NULL; each = each->next) {
            if (each->executions != each->noted) {
                fprintf(out, "%" PRIx64 " %" PRIx64 " %" PRIu64 " %" PRIu64 "\n", each->address,
                        each->bytes, each->instructions, each->executions - each->noted);
            }
        }
    }
}

#if PLUGIN_API > 1
static void count_block(unsigned int cpu, void *user) {
    (void)cpu;
    ((block *)user)->executions++;
}
#endif

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(tb);
    uint64_t address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, count - 1);
    uint64_t end = qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last);
    block *found = find_block(address, end - address, count);
#if PLUGIN_API > 1
    qemu_plugin_register_vcpu_tb_exec_cb(tb, count_block, PLUGIN_CALLBACK_NO_REGISTERS, found);
#else
    qemu_plugin_register_vcpu_tb_exec_inline(tb, PLUGIN_INLINE_ADD, &found->executions, 1);
#endif
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t at = qemu_plugin_insn_vaddr(insn);
        if (at != marker_begin && at != marker_end) {
            continue;
        }
        if (i != 0) {
            fprintf(stderr, "count_instructions: 0x%" PRIx64 " is not where a block begins\n", at);
            abort();
        }
        qemu_plugin_register_vcpu_insn_exec_cb(insn, at == marker_begin ? begin_region : end_region,
                                               PLUGIN_CALLBACK_NO_REGISTERS, found);
    }
}

static void finish(qemu_plugin_id_t id, void *user) {
    (void)id;
    (void)user;
    fclose(out);
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments) {
    (void)info;
    for (int i = 0; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (value == NULL) {
            continue;
        }
        *value++ = '\0';
        if (strcmp(arguments[i], "begin") == 0) {
            marker_begin = strtoull(value, NULL, 0);
        } else if (strcmp(arguments[i], "end") == 0) {
            marker_end = strtoull(value, NULL, 0);
        } else if (strcmp(arguments[i], "out") == 0) {
            out = fopen(value, "w");
        } else if (strcmp(arguments[i], "blocks") == 0) {
            with_blocks = strcmp(value, "on") == 0;
        }
    }
    if (out == NULL) {
        fprintf(stderr, "count_instructions: out=FILE is missing or cannot be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
