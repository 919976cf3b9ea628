/* provenance.c: what made an artefact: versions, options, digests of sources and plugins, as JSON.
 * No clock and no host name: the same command on the same input gives the same text. */
#include "base/internal.h"
#include "plug/plug_impl.h"

#include <jansson.h>

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

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

/* Digests in the making; stop: nobody wants them any more. */
typedef struct digest_list {
  json_t *files;
  atomic_bool stop;
} digest_list;

static mtk_status add_file(digest_list *list, const char *path, const char *name, mtk_error *err) {
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  enum { STEP = 16 << 20 };
  char hex[65];
  mtk_sha256 *hash = mtk_sha256_create();
  for (size_t at = 0; hash && at < file->size && !mtk_cancelled() && !list->stop; at += STEP) {
    size_t n = file->size - at < STEP ? file->size - at : STEP;
    mtk_sha256_update(hash, file->data + at, n);
    mtk_file_note_read(n);
  }
  if (hash) {
    mtk_sha256_final_hex(hash, hex);
    json_array_append_new(list->files,
                          json_pack("{sssIss}", "name", name, "size", (json_int_t)file->size,
                                    "sha256", hex));
  }
  mtk_file_close(file);
  mtk_status status = hash ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (mtk_cancelled()) status = mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
  mtk_sha256_destroy(hash);
  return status;
}

static int is_visible(const struct dirent *d) { return d->d_name[0] != '.'; }

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

/* The files of a folder, sorted by name; folders inside it are not part of a model. `path` has no
 * final slash. */
static mtk_status add_folder(digest_list *list, const char *path, mtk_error *err) {
  struct dirent **files;
  int n = scandir(path, &files, is_visible, by_name);
  if (n < 0) return mtk_fail(err, MTK_E_IO, path, "the folder cannot be read");
  mtk_status status = MTK_OK;
  for (int i = 0; i < n; i++) {
    char *full = mtk_path_join(path, files[i]->d_name);
    char *name = mtk_path_join(mtk_path_base(path), files[i]->d_name);
    if (status == MTK_OK && (!full || !name))
      status = mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
    if (status == MTK_OK && !mtk_path_is_dir(full)) status = add_file(list, full, name, err);
    mtk_free(full);
    mtk_free(name);
    free(files[i]);
  }
  free(files);
  return status;
}

static mtk_status add_source(digest_list *list, const char *source, mtk_error *err) {
  if (!mtk_path_is_dir(source)) return add_file(list, source, mtk_path_base(source), err);
  size_t n = strlen(source);
  while (n > 1 && source[n - 1] == '/') n--;
  char *path = mtk_strndup(source, n);
  mtk_status status =
      path ? add_folder(list, path, err) : mtk_fail(err, MTK_E_NOMEM, source, "out of memory");
  mtk_free(path);
  return status;
}

/* ---- digests, on a thread of their own ------------------------------------------------------- */

struct mtk_digests {
  char **sources;
  int n;
  digest_list list;
  mtk_status status;
  mtk_error error;
  pthread_t thread;
  bool runs, done; /* runs: on the thread */
};

static void *digest_all(void *arg) {
  mtk_digests *d = arg;
  for (int i = 0; i < d->n && d->status == MTK_OK && !d->list.stop; i++)
    d->status = add_source(&d->list, d->sources[i], &d->error);
  d->done = true;
  return NULL;
}

mtk_status mtk_digests_start(mtk_digests **out, const char *const *sources, int n, bool threaded,
                             mtk_error *err) {
  mtk_digests *d = *out = mtk_alloc(1, sizeof *d);
  if (d) d->sources = mtk_alloc((size_t)n, sizeof *d->sources);
  if (d) d->list.files = json_array();
  bool ok = d && d->sources && d->list.files;
  for (; ok && d->n < n; d->n++) ok = (d->sources[d->n] = mtk_strdup(sources[d->n])) != NULL;
  if (!ok) {
    mtk_digests_destroy(d);
    *out = NULL;
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  }
  d->runs = threaded && mtk_thread_start(&d->thread, digest_all, d) == 0;
  return MTK_OK;
}

static mtk_status wait_for(mtk_digests *d, mtk_error *err) {
  if (d->runs) pthread_join(d->thread, NULL);
  d->runs = false;
  if (!d->done) digest_all(d);
  if (d->status != MTK_OK && err) *err = d->error;
  return d->status;
}

void mtk_digests_destroy(mtk_digests *d) {
  if (!d) return;
  d->list.stop = true;
  (void)wait_for(d, NULL);
  for (int i = 0; i < d->n; i++) mtk_free(d->sources[i]);
  mtk_free(d->sources);
  json_decref(d->list.files);
  mtk_free(d);
}

mtk_status mtk_provenance_with(mtk_bytes *out, const char *command, int n_args,
                               const char *const *args, mtk_digests *sources, mtk_error *err) {
  MTK_TRY(wait_for(sources, err));
  json_t *root = json_pack("{sssssosOso}", "mtk", mtk_version(), "command", command, "args",
                           string_list(args, n_args), "sources", sources->list.files, "plugins",
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
  MTK_TRY(mtk_digests_start(&digests, sources, n_sources, false, err));
  mtk_status status = mtk_provenance_with(out, command, n_args, args, digests, err);
  mtk_digests_destroy(digests);
  return status;
}
