/* read.c: finds the model or adapter in an archive; the reader of its format reads it there. The
 * archive looks like a folder named "ARCHIVE!" while that happens (mtk/archive.h). */
#include "archive.h"

#include <string.h>

enum { MAX_FOLDERS = 1000, MAX_DEPTH = 8 };

typedef struct search {
  uint32_t need; /* MTK_FORMAT_MODEL or MTK_FORMAT_ADAPTER */
  mtk_arena *arena;
  const mtk_format_v1 *format; /* what was found */
  const char *path;
  size_t n_folders;
  mtk_error *err;
} search;

static mtk_status join(const char **out, const search *s, const char *dir, const char *name) {
  char *path = mtk_path_join(dir, name);
  *out = path ? mtk_arena_strndup(s->arena, path, strlen(path)) : NULL;
  mtk_free(path);
  return *out ? MTK_OK : mtk_fail(s->err, MTK_E_NOMEM, dir, "out of memory");
}

/* Is `path` (a folder or file) something that a format reads? An archive in an archive is not. */
static const mtk_format_v1 *probe(const char *path, uint32_t need) {
  const mtk_format_v1 *f = NULL;
  if (mtk_format_probe(&f, path, need, NULL) != MTK_OK) return NULL;
  return strcmp(f->id, "archive") == 0 ? NULL : f;
}

/* The files of a folder: one of them may be a model; of several the first by name is taken if they
 * are parts of one model, which their reader finds out. */
static mtk_status search_files(search *s, const char *dir, const char **names, size_t n) {
  for (size_t i = 0; i < n && !s->format; i++) {
    const char *path;
    MTK_TRY(join(&path, s, dir, names[i]));
    if (mtk_path_is_dir(path)) continue;
    s->format = probe(path, s->need);
    s->path = path;
  }
  return MTK_OK;
}

/* The folder itself, its files, then the folders in it. */
static mtk_status search_folder(search *s, const char *dir, int depth) {
  if (++s->n_folders > MAX_FOLDERS || depth > MAX_DEPTH)
    return mtk_fail(s->err, MTK_E_LIMIT, dir, "too many folders to search for a model");
  s->format = probe(dir, s->need);
  s->path = dir;
  if (s->format) return MTK_OK;
  const char **names = NULL;
  size_t n = 0;
  MTK_TRY(mtk_folder_list(&names, &n, s->arena, dir, s->err));
  MTK_TRY(search_files(s, dir, names, n));
  for (size_t i = 0; i < n && !s->format; i++) {
    const char *path;
    MTK_TRY(join(&path, s, dir, names[i]));
    if (names[i][0] != '.' && mtk_path_is_dir(path)) MTK_TRY(search_folder(s, path, depth + 1));
  }
  return MTK_OK;
}

/* ---- mounting ------------------------------------------------------------------------------ */

static mtk_status fill_mount(mtk_mount *mount, const char *path, mtk_error *err) {
  mtk_file *file = NULL;
  uint64_t n_copied = 0;
  MTK_TRY(mtk_file_open(&file, path, err));
  const uint8_t *data = file->data;
  size_t size = file->size;
  MTK_TRY(mtk_mount_keep(mount, file, err));
  MTK_TRY(archive_mount(mount, &n_copied, data, size, path, err));
  if (n_copied)
    mtk_log(MTK_LOG_INFO, "%s: %llu bytes were unpacked into a scratch file (TMPDIR)", path,
            (unsigned long long)n_copied);
  return mtk_mount_publish(mount, err);
}

static mtk_status open_mount(mtk_mount **out, char **prefix, const char *path, mtk_error *err) {
  *prefix = mtk_asprintf("%s!", path);
  if (!*prefix) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_status status = mtk_mount_create(out, *prefix, err);
  if (status == MTK_OK) status = fill_mount(*out, path, err);
  if (status == MTK_OK) return MTK_OK;
  mtk_mount_release(*out);
  *out = NULL;
  mtk_free(*prefix);
  return status;
}

static mtk_status find(search *s, const char *prefix, const char *path) {
  s->arena = mtk_arena_create();
  if (!s->arena) return mtk_fail(s->err, MTK_E_NOMEM, path, "out of memory");
  MTK_TRY(search_folder(s, prefix, 0));
  if (s->format) return MTK_OK;
  return mtk_fail(s->err, MTK_E_FORMAT, path, "the archive holds no %s in a known format",
                  s->need == MTK_FORMAT_MODEL ? "model" : "adapter");
}

/* ---- reading ------------------------------------------------------------------------------- */

/* "hf in an archive": where it came from, for inspect. */
static mtk_status set_source(mtk_model *model, const search *s, const char *path) {
  char *format = mtk_asprintf("%s in an archive", s->format->id);
  if (!format) return mtk_fail(s->err, MTK_E_NOMEM, path, "out of memory");
  mtk_status status = mtk_model_set_source(model, format, path, s->err);
  mtk_free(format);
  return status;
}

mtk_status archive_read_model(mtk_model *model, const char *path, mtk_error *err) {
  mtk_mount *mount = NULL;
  char *prefix = NULL;
  search s = {.need = MTK_FORMAT_MODEL, .err = err};
  MTK_TRY(open_mount(&mount, &prefix, path, err));
  mtk_status status = find(&s, prefix, path);
  if (status == MTK_OK) status = set_source(model, &s, path);
  if (status == MTK_OK) status = s.format->read_model(model, s.path, err);
  mtk_arena_destroy(s.arena);
  mtk_mount_release(mount); /* open files keep it */
  mtk_free(prefix);
  return status;
}

mtk_status archive_read_adapter(mtk_adapter *adapter, const char *path, mtk_error *err) {
  mtk_mount *mount = NULL;
  char *prefix = NULL;
  search s = {.need = MTK_FORMAT_ADAPTER, .err = err};
  MTK_TRY(open_mount(&mount, &prefix, path, err));
  mtk_status status = find(&s, prefix, path);
  if (status == MTK_OK) status = s.format->read_adapter(adapter, s.path, err);
  mtk_arena_destroy(s.arena);
  mtk_mount_release(mount);
  mtk_free(prefix);
  return status;
}
