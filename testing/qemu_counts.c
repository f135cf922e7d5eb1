/* A plugin of QEMU: how often each instruction ran between two addresses, and how often it jumped.
 *
 *   -plugin counts.so,begin=<address>,end=<address>,out=<file>
 *
 * A line of the file is an address, its executions and how often something else than the next
 * instruction followed. The part of QEMU's API that is used, version 2 on, is declared here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t Id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_tb_trans_cb(Id, void (*)(Id, struct qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb*, void (*)(unsigned, void*), int,
                                          void*);
void qemu_plugin_register_atexit_cb(Id, void (*)(Id, void*), void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);

__attribute__((visibility("default"))) int qemu_plugin_version = 2;

typedef struct Block Block;
struct Block {
  uint64_t start, next; /* behind its last instruction */
  uint64_t runs, jumps;
  size_t count;
  uint64_t* addresses;
  Block* older;
};
static Block *blocks, *last;
static uint64_t begin, end;
static const char* out;
static int is_on;

static void Ran(unsigned cpu, void* data) {
  Block* block = data;
  (void)cpu;
  if (is_on && last && block->start != last->next) ++last->jumps;
  if (block->start == begin) is_on = 1;
  if (block->start == end) is_on = 0;
  last = is_on ? block : NULL;
  block->runs += (uint64_t)is_on;
}

static void Translated(Id id, struct qemu_plugin_tb* tb) {
  Block* block = calloc(1, sizeof(Block));
  (void)id;
  block->count = qemu_plugin_tb_n_insns(tb);
  block->addresses = calloc(block->count, sizeof(uint64_t));
  for (size_t i = 0; i < block->count; ++i) {
    struct qemu_plugin_insn* each = qemu_plugin_tb_get_insn(tb, i);
    block->addresses[i] = qemu_plugin_insn_vaddr(each);
    block->next = block->addresses[i] + qemu_plugin_insn_size(each);
  }
  block->start = block->addresses[0];
  block->older = blocks;
  blocks = block;
  qemu_plugin_register_vcpu_tb_exec_cb(tb, Ran, 0, block);
}

static void Finished(Id id, void* data) {
  FILE* file = fopen(out, "w");
  (void)id, (void)data;
  for (Block* block = blocks; file && block; block = block->older) {
    for (size_t i = 0; block->runs && i < block->count; ++i) {
      const uint64_t jumps = i + 1 == block->count ? block->jumps : 0;
      fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->addresses[i], block->runs, jumps);
    }
  }
  if (file) fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(Id id, const void* info, int argc,
                                                               char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i) {
    if (!strncmp(argv[i], "begin=", 6)) begin = strtoull(argv[i] + 6, NULL, 16);
    if (!strncmp(argv[i], "end=", 4)) end = strtoull(argv[i] + 4, NULL, 16);
    if (!strncmp(argv[i], "out=", 4)) out = strdup(argv[i] + 4);
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, Translated);
  qemu_plugin_register_atexit_cb(id, Finished, NULL);
  return out == NULL;
}
