/* provenance.c: what made an artefact: versions, options, digests of sources and plugins, as JSON.
 * No clock and no host name: the same command on the same input gives the same text. */
#include "base/internal.h"
#include "plug/plug_impl.h"

#include <jansson.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static json_t *string_list(const char *const *items, int n) {
  json_t *list = json_array();
  for (int i = 0; i < n; i++) {
    json_t *item = json_string(items[i]); /* NULL if it is not UTF-8 */
    json_array_append_new(list, item ? item : json_string("(not UTF-8)"));
  }
  return list;
}

static json_t *used_plugins(void) {
  json_t *list = json_array();
  for (size_t i = 0; i < mtk_plugin_count(); i++) {
    const mtk_plugin_info *info = mtk_plugin_at(i);
    if (!mtk_plugin_was_used(info)) continue;
    json_array_append_new(list, json_pack("{ssssss}", "name", info->name, "version", info->version,
                                          "sha256", mtk_plugin_sha256(info)));
  }
  return list;
}

/* ---- digests, several files at once ---------------------------------------------------------- */

typedef struct digest {
  mtk_source_file file;
  uint64_t size;
  char hex[65];
  mtk_status status;
  mtk_error error;
} digest;

struct mtk_digests {
  mtk_arena *arena; /* owns what the digests point at */
  digest *files;
  size_t n;
  atomic_size_t next; /* the first file that no thread has */
  atomic_bool stop;   /* nobody wants them any more, or one failed */
  pthread_t *threads; /* in the arena */
  int n_threads;
};

/* Bytes on their way into the cache before they are hashed: the CPU does not look beyond a page. */
static void prefetch(const uint8_t *data, size_t n) {
  for (size_t i = 0; i < n; i += 64) __builtin_prefetch(data + i, 0, 2);
}

static mtk_status digest_file(digest *d, const atomic_bool *stop, mtk_error *err) {
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, d->file.path, err));
  enum { STEP = 64 << 10 };
  mtk_sha256 *hash = mtk_sha256_create();
  for (size_t at = 0; hash && at < file->size && !mtk_cancelled() && !*stop; at += STEP) {
    size_t n = file->size - at < STEP ? file->size - at : STEP;
    prefetch(file->data + at, n);
    mtk_sha256_update(hash, file->data + at, n);
    mtk_file_note_read(n);
  }
  if (hash) mtk_sha256_final_hex(hash, d->hex);
  d->size = file->size;
  mtk_file_close(file);
  mtk_status status = hash ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, d->file.path, "out of memory");
  if (mtk_cancelled()) status = mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
  mtk_sha256_destroy(hash);
  return status;
}

static void *digest_files(void *arg) {
  mtk_digests *d = arg;
  for (size_t i; (i = atomic_fetch_add(&d->next, 1)) < d->n && !d->stop;) {
    digest *f = &d->files[i];
    f->status = digest_file(f, &d->stop, &f->error);
    if (f->status != MTK_OK) d->stop = true;
  }
  return NULL;
}

static mtk_status list_files(mtk_digests *d, const char *const *sources, int n, bool whole,
                             mtk_error *err) {
  for (int i = 0; i < n; i++) {
    mtk_source_file *items;
    size_t more;
    MTK_TRY(mtk_source_list(&items, &more, d->arena, sources[i], whole, err));
    digest *files = mtk_arena_alloc(d->arena, d->n + more, sizeof *files);
    if (!files) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    if (d->n) memcpy(files, d->files, d->n * sizeof *files);
    for (size_t j = 0; j < more; j++) files[d->n++].file = items[j];
    d->files = files;
  }
  return MTK_OK;
}

/* Files that together take no more than three quarters of the memory stay in it, whatever the order
 * they are read in. Of others only one is read at a time, beside those who read the model. */
static int useful_threads(const mtk_digests *d, int n_threads) {
  uint64_t bytes = 0, pages = (uint64_t)sysconf(_SC_PHYS_PAGES);
  for (size_t i = 0; i < d->n; i++) {
    struct stat st;
    if (stat(d->files[i].file.path, &st) == 0) bytes += (uint64_t)st.st_size;
  }
  if (n_threads > 1 && bytes > pages * (uint64_t)sysconf(_SC_PAGESIZE) / 4 * 3) n_threads = 1;
  return d->n < (size_t)n_threads ? (int)d->n : n_threads;
}

static mtk_status begin(mtk_digests *d, const char *const *sources, int n, int n_threads,
                        bool whole, mtk_error *err) {
  d->arena = mtk_arena_create();
  if (!d->arena) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  MTK_TRY(list_files(d, sources, n, whole, err));
  n_threads = useful_threads(d, n_threads);
  d->threads = mtk_arena_alloc(d->arena, (size_t)n_threads + 1, sizeof *d->threads);
  if (!d->threads) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  while (d->n_threads < n_threads &&
         mtk_thread_start(&d->threads[d->n_threads], digest_files, d) == 0)
    d->n_threads++;
  return MTK_OK;
}

static mtk_status start(mtk_digests **out, const char *const *sources, int n, int n_threads,
                        bool whole, mtk_error *err) {
  mtk_digests *d = *out = mtk_alloc(1, sizeof *d);
  if (!d) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status status = begin(d, sources, n, n_threads, whole, err);
  if (status == MTK_OK) return status;
  mtk_digests_destroy(d);
  *out = NULL;
  return status;
}

mtk_status mtk_digests_start(mtk_digests **out, const char *const *sources, int n, int n_threads,
                             mtk_error *err) {
  return start(out, sources, n, n_threads, false, err);
}

static void join_threads(mtk_digests *d) {
  while (d->n_threads > 0) pthread_join(d->threads[--d->n_threads], NULL);
}

static mtk_status wait_for(mtk_digests *d, mtk_error *err) {
  digest_files(d);
  join_threads(d);
  for (size_t i = 0; i < d->n; i++) {
    if (d->files[i].status == MTK_OK) continue;
    if (err) *err = d->files[i].error;
    return d->files[i].status;
  }
  return MTK_OK;
}

void mtk_digests_destroy(mtk_digests *d) {
  if (!d) return;
  d->stop = true;
  join_threads(d);
  mtk_arena_destroy(d->arena);
  mtk_free(d);
}

static json_t *file_list(const mtk_digests *d) {
  json_t *list = json_array();
  for (size_t i = 0; i < d->n; i++)
    json_array_append_new(list, json_pack("{sssIss}", "name", d->files[i].file.name, "size",
                                          (json_int_t)d->files[i].size, "sha256", d->files[i].hex));
  return list;
}

mtk_status mtk_provenance_with(mtk_bytes *out, const char *command, int n_args,
                               const char *const *args, mtk_digests *sources, mtk_error *err) {
  MTK_TRY(wait_for(sources, err));
  json_t *root = json_pack("{sssssososo}", "mtk", mtk_version(), "command", command, "args",
                           string_list(args, n_args), "sources", file_list(sources), "plugins",
                           used_plugins());
  char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  if (!text) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_bytes_puts(out, text);
  free(text);
  return mtk_bytes_status(out, err);
}

mtk_status mtk_provenance_json(mtk_bytes *out, const char *command, int n_args,
                               const char *const *args, const char *const *sources, int n_sources,
                               mtk_error *err) {
  mtk_digests *digests = NULL;
  MTK_TRY(start(&digests, sources, n_sources, 0, true, err));
  mtk_status status = mtk_provenance_with(out, command, n_args, args, digests, err);
  mtk_digests_destroy(digests);
  return status;
}
