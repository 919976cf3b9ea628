/* mtk/base.h: status codes, errors, memory, files, threads, randomness.
 *
 * The lowest layer of the public API. Everything here may be used by core, kernels' host code,
 * formats, plugins and commands. In a plugin the same names go through the host's function table
 * (see plugin.h); nothing is linked.
 *
 * Conventions: functions that can fail return mtk_status and take `mtk_error *err` last (err may be
 * NULL); output parameters come first. init/finish work on the caller's memory, create/destroy on
 * the heap; destroy(NULL) does nothing. "Borrowed" pointers live as long as the object they came
 * from. Unless said otherwise an object may be used by one thread at a time. */
#ifndef MTK_BASE_H
#define MTK_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MTK_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define MTK_PRINTF(f, a)
#endif

/* ---- status and errors ------------------------------------------------------------------- */

typedef enum mtk_status {
  MTK_OK = 0,
  MTK_E_NOMEM = 1,       /* allocation failed or size overflow */
  MTK_E_IO = 2,          /* the operating system refused: open, read, write, disk full */
  MTK_E_FORMAT = 3,      /* bytes do not follow their format; place says where */
  MTK_E_UNSUPPORTED = 4, /* well-formed, but not something this build can do */
  MTK_E_INVALID = 5,     /* an argument or option is wrong: exit code 2 */
  MTK_E_NOT_FOUND = 6,   /* a named thing (file, tensor, plugin, option) does not exist */
  MTK_E_EXISTS = 7,      /* output exists and --force was not given */
  MTK_E_LIMIT = 8,       /* a limit was passed (context length, sizes, steps) */
  MTK_E_CANCELLED = 9,   /* stopped on request */
  MTK_E_CHECK = 10,      /* finished, but a check the user asked for did not hold: exit code 3 */
  MTK_E_INTERNAL = 11    /* a bug in mtk or a plugin */
} mtk_status;

/* What went wrong, where, and what to do about it. `place` names the file, offset, tensor, JSON
 * path or line ("model.gguf: byte 24", "config.json: rope_theta"); may be empty. `message` is one
 * sentence without a final newline. Plain data: copy freely. */
typedef struct mtk_error {
  mtk_status code;
  char place[256];
  char message[512];
} mtk_error;

/* Fill `err` (may be NULL) and return `code`. `place` may be NULL. Thread-safe. */
mtk_status mtk_fail(mtk_error *err, mtk_status code, const char *place, const char *fmt, ...)
    MTK_PRINTF(4, 5);
/* As mtk_fail, with the place "path: byte OFFSET". */
mtk_status mtk_fail_at(mtk_error *err, mtk_status code, const char *path, uint64_t offset,
                       const char *fmt, ...) MTK_PRINTF(5, 6);
/* Put "prefix: " in front of err->place (err may be NULL). Returns err's code. */
mtk_status mtk_fail_in(mtk_error *err, mtk_status code, const char *prefix);
/* Short lower-case name of a status ("format", "not-found"). Static string. */
const char *mtk_status_name(mtk_status code);

/* Evaluate a call; return its status from the enclosing function unless MTK_OK. */
#define MTK_TRY(call)                                                                              \
  do {                                                                                             \
    mtk_status mtk_try_ = (call);                                                                  \
    if (mtk_try_ != MTK_OK) return mtk_try_;                                                       \
  } while (0)
/* Evaluate a call into `status`; jump to `label` unless MTK_OK. */
#define MTK_TRY_GOTO(status, label, call)                                                          \
  do {                                                                                             \
    (status) = (call);                                                                             \
    if ((status) != MTK_OK) goto label;                                                            \
  } while (0)

/* ---- memory ------------------------------------------------------------------------------ */

/* All allocation goes through these. count * size is checked for overflow; zero bytes give a
 * unique pointer. mtk_alloc returns zeroed memory, 64-byte aligned. NULL on failure.
 * Thread-safe. */
void *mtk_alloc(size_t count, size_t size);
/* Grow or shrink; new bytes are not zeroed. Old block stays valid on failure. */
void *mtk_realloc(void *ptr, size_t old_count, size_t new_count, size_t size);
void mtk_free(void *ptr);
/* Copies; NULL on failure (mtk_strndup stops at n bytes or NUL). */
char *mtk_strdup(const char *s);
char *mtk_strndup(const char *s, size_t n);
/* printf into a new heap string; NULL on failure. */
char *mtk_asprintf(const char *fmt, ...) MTK_PRINTF(1, 2);
/* Make the n-th following allocation (0 = next) of this process fail, then all later ones succeed
 * again; -1 turns it off. For tests. The environment variable MTK_ALLOC_FAIL=n does the same. */
void mtk_alloc_fail_after(int64_t n);

/* a * b and a + b that fail instead of wrapping: true = ok. */
static inline bool mtk_mul_ok(size_t a, size_t b, size_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool mtk_add_ok(size_t a, size_t b, size_t *out) {
  return !__builtin_add_overflow(a, b, out);
}

/* A region of small allocations that are freed together. Memory is zeroed, 16-byte aligned. */
typedef struct mtk_arena mtk_arena;
mtk_arena *mtk_arena_create(void);
void mtk_arena_destroy(mtk_arena *arena);
void *mtk_arena_alloc(mtk_arena *arena, size_t count, size_t size);
char *mtk_arena_strndup(mtk_arena *arena, const char *s, size_t n);

/* A growable byte string with a growth limit. data is always NUL-terminated once non-NULL (the NUL
 * is not counted in len). Initialise with {.max = limit} (0 = 1 GiB). A failed append sets `failed`
 * and is sticky, so a series of appends can be checked once at the end. */
typedef struct mtk_bytes {
  char *data;
  size_t len, cap, max;
  bool failed, over_limit; /* over_limit: the failure was max, not memory */
} mtk_bytes;
void mtk_bytes_append(mtk_bytes *b, const void *data, size_t n);
void mtk_bytes_puts(mtk_bytes *b, const char *s);
void mtk_bytes_printf(mtk_bytes *b, const char *fmt, ...) MTK_PRINTF(2, 3);
void mtk_bytes_clear(mtk_bytes *b);  /* len = 0, keeps memory and clears failed */
void mtk_bytes_finish(mtk_bytes *b); /* frees */
/* MTK_E_NOMEM / MTK_E_LIMIT when an append failed, else MTK_OK. */
mtk_status mtk_bytes_status(const mtk_bytes *b, mtk_error *err);

/* ---- files ------------------------------------------------------------------------------- */

/* A read-only memory map of a whole file. data is NULL for an empty file. Shared by threads. */
typedef struct mtk_file {
  const uint8_t *data;
  size_t size;
  char *path;
} mtk_file;
mtk_status mtk_file_open(mtk_file **out, const char *path, mtk_error *err);
void mtk_file_close(mtk_file *file);

bool mtk_path_exists(const char *path);
bool mtk_path_is_dir(const char *path);
/* dir + "/" + name in a new heap string; NULL on failure. */
char *mtk_path_join(const char *dir, const char *name);
/* Last component; borrowed from path. */
const char *mtk_path_base(const char *path);

/* Output that appears under its final name only when complete. Bytes go to a temporary name in the
 * same folder; commit flushes, fsyncs and renames; abort (or a kill) leaves the old state. A failed
 * write is sticky and reported by commit. Without `force` an existing path gives MTK_E_EXISTS. */
typedef struct mtk_output mtk_output;
mtk_status mtk_output_create(mtk_output **out, const char *path, bool force, mtk_error *err);
mtk_status mtk_output_write(mtk_output *out, const void *data, size_t n, mtk_error *err);
uint64_t mtk_output_size(const mtk_output *out); /* bytes written so far */
/* Both free `out`, whatever they return. */
mtk_status mtk_output_commit(mtk_output *out, mtk_error *err);
void mtk_output_abort(mtk_output *out);
/* Whole small file at once, with the same guarantees. */
mtk_status mtk_write_file(const char *path, const void *data, size_t n, bool force, mtk_error *err);

/* The same for a folder: files are written below mtk_outdir_path() (a temporary sibling) and the
 * folder is renamed at commit. With force an existing folder is replaced at commit (moved aside
 * first, then removed). Leftover temporaries of killed runs are removed at create. */
typedef struct mtk_outdir mtk_outdir;
mtk_status mtk_outdir_create(mtk_outdir **out, const char *path, bool force, mtk_error *err);
const char *mtk_outdir_path(const mtk_outdir *out);
mtk_status mtk_outdir_commit(mtk_outdir *out, mtk_error *err);
void mtk_outdir_abort(mtk_outdir *out);

/* ---- the outputs of one command -------------------------------------------------------------
 *
 * Commands that write for hours can go on after a kill, and commands can be repeated to see whether
 * they give the same bytes. The writer of a format does not know which: it makes its files in
 * `outputs` (NULL: as above), says where parts end, and leaves out those that are there. */
typedef struct mtk_outputs mtk_outputs;
/* The outputs grow in a folder ".NAME.mtk-tmp.resume" beside `path`, with a journal. `key` is a
 * text that all their bytes follow from (the provenance). resume: what an interrupted run left
 * there is used, MTK_E_INVALID if its key is another one; else it is removed. MTK_E_EXISTS while
 * another process writes there. */
mtk_status mtk_outputs_resume(mtk_outputs **out, const char *path, const char *key, bool resume,
                              mtk_error *err);
/* Nothing is written: outputs are compared with the files that bear their names. The first
 * difference is MTK_E_CHECK and names file, part and byte. */
mtk_status mtk_outputs_compare(mtk_outputs **out, mtk_error *err);
/* keep: what is not committed stays for a resumption. NULL is fine. */
void mtk_outputs_close(mtk_outputs *outputs, bool keep);
bool mtk_outputs_hold(const mtk_outputs *outputs); /* is there a part that could be kept? */
const char *mtk_outputs_folder(const mtk_outputs *outputs); /* NULL: compares. Borrowed. */
/* The key of an interrupted run of the output `path`; heap, NULL if there is none. */
char *mtk_outputs_key(const char *path);
mtk_status mtk_output_create_in(mtk_output **out, mtk_outputs *outputs, const char *path,
                                bool force, mtk_error *err);
mtk_status mtk_outdir_create_in(mtk_outdir **out, mtk_outputs *outputs, const char *path,
                                bool force, mtk_error *err);
/* The next n bytes are a part, `name` in messages. true: they are there already and count as
 * written. */
bool mtk_output_has(mtk_output *out, const char *name, uint64_t n);
/* All bytes so far are complete parts: a resumption begins behind them. */
mtk_status mtk_output_mark(mtk_output *out, mtk_error *err);
/* A scratch file (mtk/archive.h) that an interrupted run leaves: mark it when it is whole. */
mtk_status mtk_outputs_scratch(mtk_output **out, mtk_outputs *outputs, const char *name,
                               mtk_error *err);
bool mtk_outputs_has_scratch(const mtk_outputs *outputs, const char *name);

/* ---- logging, progress, cancellation ----------------------------------------------------- */

typedef enum mtk_log_level {
  MTK_LOG_ERROR,
  MTK_LOG_WARN,
  MTK_LOG_INFO,
  MTK_LOG_DEBUG
} mtk_log_level;
typedef void (*mtk_log_fn)(void *ctx, mtk_log_level level, const char *message);
/* Core and plugins never write to stderr themselves: the program installs a sink. Without one,
 * messages are dropped. Thread-safe. */
void mtk_log_set(mtk_log_fn fn, void *ctx, mtk_log_level max_level);
void mtk_log(mtk_log_level level, const char *fmt, ...) MTK_PRINTF(2, 3);

/* Long work reports here: `what` ("quantize"), units done of total (total 0 = unknown), unit name.
 * The program's sink draws a bar or lines. Thread-safe; cheap (the sink rate-limits). */
typedef void (*mtk_progress_fn)(void *ctx, const char *what, uint64_t done, uint64_t total,
                                const char *unit);
void mtk_progress_set(mtk_progress_fn fn, void *ctx);
void mtk_progress(const char *what, uint64_t done, uint64_t total, const char *unit);

/* Set by the program on SIGINT/SIGTERM (async-signal-safe); long loops poll it and return
 * MTK_E_CANCELLED. */
void mtk_cancel(void);
bool mtk_cancelled(void);

/* ---- threads ----------------------------------------------------------------------------- */

/* One pool for the process, shared by core and plugins. Results never depend on its size. */
typedef struct mtk_pool mtk_pool;
/* n_threads 0 = the CPUs this process may use (affinity and cgroup quota). Fewer, and a warning,
 * where the system starts no more. */
mtk_status mtk_pool_create(mtk_pool **out, int n_threads, mtk_error *err);
void mtk_pool_destroy(mtk_pool *pool);
int mtk_pool_size(const mtk_pool *pool); /* NULL counts as 1 */
/* Run fn(ctx, task, worker) for task 0..n_tasks-1, worker in 0..size-1; returns when all are done.
 * The caller works too. pool may be NULL (runs inline). Not reentrant from inside a task. */
typedef void (*mtk_task_fn)(void *ctx, int64_t task, int worker);
void mtk_pool_run(mtk_pool *pool, int64_t n_tasks, mtk_task_fn fn, void *ctx);

/* ---- randomness: counter-based (Philox4x32-10, Salmon et al. 2011) ------------------------ */

/* out = Philox(key, counter); the same on every machine. */
void mtk_philox(uint32_t out[4], const uint32_t key[2], const uint32_t counter[4]);
/* Uniform double in [0,1) with 53 bits, and standard normal (Box-Muller over our own log, sin and
 * cos polynomials in double, same bits everywhere), for (seed, stream, index). */
double mtk_uniform(uint64_t seed, uint64_t stream, uint64_t index);
double mtk_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* ---- small things ------------------------------------------------------------------------ */

/* SHA-256 as 64 lower-case hex digits + NUL. */
void mtk_sha256_hex(char out[65], const void *data, size_t n);
typedef struct mtk_sha256 mtk_sha256;
mtk_sha256 *mtk_sha256_create(void);
void mtk_sha256_update(mtk_sha256 *h, const void *data, size_t n);
void mtk_sha256_final_hex(mtk_sha256 *h, char out[65]); /* then destroy */
void mtk_sha256_destroy(mtk_sha256 *h);
/* Seconds from a monotonic clock. */
double mtk_now_s(void);
/* Peak resident memory of this process in bytes. */
uint64_t mtk_peak_rss_bytes(void);
/* Number of bytes of the longest prefix of s[0..n) that is complete, valid UTF-8, and whether the
 * rest could still become valid with more bytes (an incomplete sequence). */
size_t mtk_utf8_prefix(const char *s, size_t n, bool *incomplete);
const char *mtk_version(void);

#ifdef __cplusplus
}
#endif
#endif
