/* split.c: GGUF models in several files, as llama.cpp's gguf-split makes them: the first holds all
 * metadata, every file split.no (u16, from 0), split.count (u16) and split.tensors.count (i32, of
 * the whole model), and a part of the tensors. No state between calls: any thread. */
#include "gguf.h"

#include <stdlib.h>
#include <string.h>

/* ---- names --------------------------------------------------------------------------------- */

enum { MAX_FILES = 65535 };

/* Length of path without ".gguf" and without "-00001-of-00003" before that. */
static size_t stem_length(const char *path) {
  static const char pattern[] = "-NNNNN-of-NNNNN";
  size_t n = strlen(path), tail = sizeof pattern - 1;
  if (n > 5 && strcmp(path + n - 5, ".gguf") == 0) n -= 5;
  if (n <= tail) return n;
  for (size_t i = 0; i < tail; i++) {
    char c = path[n - tail + i];
    if (pattern[i] == 'N' ? c < '0' || c > '9' : c != pattern[i]) return n;
  }
  return n - tail;
}

char *gguf_split_name(const char *path, uint32_t no, uint32_t count) {
  return mtk_asprintf("%.*s-%05u-of-%05u.gguf", (int)stem_length(path), path, no + 1, count);
}

/* ---- limits -------------------------------------------------------------------------------- */

mtk_status gguf_split_limits(uint64_t *max_bytes, uint64_t *max_tensors,
                             const mtk_option_values *options, mtk_error *err) {
  static const struct {
    const char *unit;
    uint64_t factor;
  } units[] = {{"M", 1000000}, {"G", 1000000000}, {"MB", 1000000}, {"GB", 1000000000}, {"", 1}};
  const char *text = options ? mtk_options_string(options, "split-max-size") : NULL;
  *max_bytes = *max_tensors = UINT64_MAX;
  if (options && mtk_options_is_set(options, "split-max-tensors"))
    *max_tensors = (uint64_t)mtk_options_int(options, "split-max-tensors");
  if (!text) return MTK_OK;
  char *end = NULL;
  unsigned long long n = strtoull(text, &end, 10);
  for (size_t i = 0; i < sizeof units / sizeof units[0] && n && *text != '-'; i++) {
    if (strcmp(end, units[i].unit) == 0 &&
        !__builtin_mul_overflow((uint64_t)n, units[i].factor, max_bytes)) {
      return MTK_OK;
    }
  }
  return mtk_fail(err, MTK_E_INVALID, "--split-max-size",
                  "'%.40s' is not a size (a number with M or G)", text);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* An integer key that must not be negative; *found tells. */
static mtk_status get_count(uint64_t *out, bool *found, gguf_index *g, const char *key,
                            mtk_error *err) {
  mtk_value value = {0};
  const gguf_kv *kv = gguf_find_kv(g, key);
  *found = kv != NULL;
  *out = 0;
  if (!kv) return MTK_OK;
  if (kv->type == MTK_META_STRING || kv->type == MTK_META_ARRAY || kv->type == MTK_META_F32 ||
      kv->type == MTK_META_F64) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s is not an integer", key);
  }
  MTK_TRY(gguf_value(&value, g, kv, err));
  bool is_signed = kv->type == MTK_META_I8 || kv->type == MTK_META_I16 ||
                   kv->type == MTK_META_I32 || kv->type == MTK_META_I64;
  if (is_signed && value.as.i < 0) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s is negative", key);
  }
  *out = value.as.u;
  return MTK_OK;
}

mtk_status gguf_split_place(uint32_t *no, uint32_t *count, gguf_index *g, mtk_error *err) {
  uint64_t number = 0, files = 0;
  bool has_number = false, has_files = false;
  *no = 0;
  *count = 1;
  MTK_TRY(get_count(&files, &has_files, g, "split.count", err));
  MTK_TRY(get_count(&number, &has_number, g, "split.no", err));
  if (!has_files || files < 2) return MTK_OK;
  if (files > MAX_FILES || number >= files) {
    return mtk_fail(err, MTK_E_FORMAT, g->path, "split.no %llu of split.count %llu is impossible",
                    (unsigned long long)number, (unsigned long long)files);
  }
  *no = (uint32_t)number;
  *count = (uint32_t)files;
  return MTK_OK;
}

/* Index file no of the model; the model keeps the file. */
static mtk_status open_part(gguf_index *out, mtk_arena *arena, mtk_model *model, const char *path,
                            uint32_t no, uint32_t count, mtk_error *err) {
  const mtk_file *file;
  uint32_t found_no = 0, found_count = 0;
  if (!mtk_path_exists(path)) {
    return mtk_fail(err, MTK_E_NOT_FOUND, path, "file %u of %u of this split model is missing",
                    no + 1, count);
  }
  MTK_TRY(mtk_model_open_file(&file, model, path, err));
  MTK_TRY(gguf_parse(out, arena, file->data, file->size, mtk_path_base(path), err));
  MTK_TRY(gguf_split_place(&found_no, &found_count, out, err));
  if (found_no == no && found_count == count) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, path, "this file says it is part %u of %u, not %u of %u",
                  found_no + 1, found_count, no + 1, count);
}

/* Append the tensors of a part to those of g. */
static mtk_status append_tensors(gguf_index *g, const gguf_index *part, mtk_error *err) {
  size_t n = g->n_tensors + part->n_tensors;
  gguf_tensor *all = mtk_arena_alloc(g->arena, n, sizeof *all);
  if (!all) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  if (g->n_tensors) memcpy(all, g->tensors, g->n_tensors * sizeof *all);
  if (part->n_tensors) memcpy(all + g->n_tensors, part->tensors, part->n_tensors * sizeof *all);
  g->tensors = all;
  g->n_tensors = n;
  return MTK_OK;
}

static mtk_status join_parts(gguf_index *g, mtk_model *model, const char *path, uint32_t count,
                             mtk_error *err) {
  for (uint32_t no = 1; no < count; no++) {
    gguf_index part = {0};
    char *name = gguf_split_name(path, no, count);
    if (!name) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
    mtk_status status = open_part(&part, g->arena, model, name, no, count, err);
    mtk_free(name);
    if (status == MTK_OK) status = append_tensors(g, &part, err);
    MTK_TRY(status);
  }
  return gguf_sort_views(g, err);
}

mtk_status gguf_split_join(gguf_index *g, mtk_model *model, const char *path, mtk_error *err) {
  uint32_t no = 0, count = 1;
  uint64_t total = 0;
  bool has_total = false;
  MTK_TRY(gguf_split_place(&no, &count, g, err));
  if (count == 1) return MTK_OK;
  if (!path || no != 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, g->path,
                    "this is part %u of %u of a split model; open part 1, with the others beside "
                    "it (NAME-00001-of-%05u.gguf)",
                    no + 1, count, count);
  }
  MTK_TRY(join_parts(g, model, path, count, err));
  MTK_TRY(get_count(&total, &has_total, g, "split.tensors.count", err));
  if (has_total && total != g->n_tensors) {
    return mtk_fail(err, MTK_E_FORMAT, g->path,
                    "the %u files hold %zu tensors, split.tensors.count says %llu", count,
                    g->n_tensors, (unsigned long long)total);
  }
  return MTK_OK;
}
