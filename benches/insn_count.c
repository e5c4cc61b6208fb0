/* A plugin for QEMU's user mode that counts the guest's instructions: what a program costs on a core that is not
 * at hand. benches/arm.py builds and loads it; on exit it prints one line, "insns: N", on standard error.
 *
 * Every translated block adds its length to one counter each time that it runs, by code that QEMU puts in line, so
 * the program is hardly slower for it. The addition is not atomic: count one thread at a time. The same binary and
 * input give the same number within a few thousand.
 *
 * QEMU before 8.1 installs no header for plugins; what follows is its ABI, version 1, as far as it is needed here.
 * Plugins want the dynamically linked qemu-aarch64 (Debian: qemu-user).
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
typedef void on_block_fn(plugin_id id, struct qemu_plugin_tb *block);
typedef void on_exit_fn(plugin_id id, void *data);

enum inline_op { INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, on_block_fn *on_block);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, enum inline_op op, void *at, uint64_t by);
void qemu_plugin_register_atexit_cb(plugin_id id, on_exit_fn *at_exit, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
void qemu_plugin_outs(const char *text);

EXPORT int qemu_plugin_version = 1;

static uint64_t retired;

static void count_block(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &retired, qemu_plugin_tb_n_insns(block));
}

static void report(plugin_id id, void *data)
{
    char line[40];
    (void)id;
    (void)data;
    snprintf(line, sizeof line, "insns: %" PRIu64 "\n", retired);
    qemu_plugin_outs(line);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return 0;
}
