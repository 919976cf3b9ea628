/* base/internal.h: what the files of core/base share with each other and with the rest of core, but
 * not with plugins. */
#ifndef MTK_BASE_INTERNAL_H
#define MTK_BASE_INTERNAL_H

#include <mtk/archive.h>

#include <pthread.h>

/* mtk_fail with the system's text for `errnum`: "cannot open: No such file or directory". The code
 * follows from errnum: ENOENT not-found, EEXIST exists, ENOMEM nomem, anything else io. */
mtk_status mtk_fail_errno(mtk_error *err, int errnum, const char *place, const char *what);

/* n bytes of mapped files were read. Now and then the pages of all maps are given back (they come
 * again from the page cache), so that a pass over a model of any size keeps bounded memory. Any
 * thread. */
void mtk_file_note_read(size_t n);

/* Removes what lies in a folder, as far as it can be removed. */
void mtk_remove_below(const char *folder);

/* What a path means in the published mounts (mtk/archive.h). */
typedef enum mtk_mount_kind {
  MTK_MOUNT_OUTSIDE, /* no mount's prefix: a path on the disk */
  MTK_MOUNT_ABSENT,
  MTK_MOUNT_FILE,
  MTK_MOUNT_FOLDER
} mtk_mount_kind;
/* For a file: its bytes, and a reference to the mount that owns them (mtk_mount_release gives it
 * back); all three pointers may be NULL. Any thread. */
mtk_mount_kind mtk_mount_lookup(const char *path, const uint8_t **data, size_t *size,
                                mtk_mount **owner);
/* The names in a folder of a mount, unsorted and each once, to `add`. */
mtk_status mtk_mount_list(const char *path,
                          mtk_status (*add)(void *ctx, const char *name, size_t n), void *ctx);

/* Zeroed memory for what is large and read often, 64-byte aligned: from 2 MiB on in huge pages
 * where the system has them, and touched by nobody before its first use. NULL on failure. The
 * `bytes` of mtk_free_pages are those of mtk_alloc_pages. */
void *mtk_alloc_pages(size_t bytes);
void mtk_free_pages(void *ptr, size_t bytes);

/* Called for every file that this thread opens from now on, but not for members of mounts; NULL:
 * no more. */
void mtk_file_watch(void (*opened)(const char *path));

/* A thread that leaves all signals to the program's own. 0 or errno. */
int mtk_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* CPUs this process may use: affinity mask and cgroup v1/v2 quota (rounded up), at least 1. */
int mtk_cpu_count(void);

/* What the cgroups of this process allow, nested ones included; root: "", or a folder in whose
 * proc and sys to look. CPUs: quota rounded up, 0 = no limit. Memory: bytes that are left, not
 * counting files that nobody uses, UINT64_MAX = no limit. */
int64_t mtk_cgroup_cpus(const char *root);
uint64_t mtk_cgroup_memory(const char *root);
/* The same, or less where the system has less (half of its memory if it does not say). */
uint64_t mtk_memory_left(const char *root);

#endif
