/* formats.c: choosing the format, architecture or quantizer for a path or a name among the loaded
 * plugins, and reading models and adapters through them. Any thread once plugins are loaded. */
#include "plug/plug_impl.h"

#include <ctype.h>
#include <string.h>

enum { HEAD_BYTES = 64 * 1024 };

const mtk_format_v1 *mtk_format_find(const char *id) {
  return mtk_feature_find(MTK_EXT_FORMAT, id);
}

const mtk_quantizer_v1 *mtk_quantizer_find(const char *method) {
  return mtk_feature_find(MTK_EXT_QUANTIZER, method);
}

/* ---- architectures ------------------------------------------------------------------------- */

const mtk_arch_v1 *mtk_arch_find(const char *id) { return mtk_feature_find(MTK_EXT_ARCH, id); }

/* The canonical id is the name that GGUF uses. */
const mtk_arch_v1 *mtk_arch_find_gguf(const char *gguf_name) { return mtk_arch_find(gguf_name); }

const mtk_arch_v1 *mtk_arch_find_hf(const char *hf_class) {
  const mtk_plugin_info *from;
  const mtk_arch_v1 *arch;
  for (size_t i = 0; (arch = mtk_feature_at(MTK_EXT_ARCH, i, &from)); i++)
    for (const char *const *c = arch->hf_classes; *c; c++)
      if (strcmp(*c, hf_class) == 0) {
        mtk_plugin_mark_used(from);
        return arch;
      }
  return NULL;
}

/* ---- formats by content -------------------------------------------------------------------- */

static bool can_read(const mtk_format_v1 *f, uint32_t need) {
  if (!f->probe || (f->flags & need) != need) return false;
  return need & MTK_FORMAT_ADAPTER ? f->read_adapter != NULL : f->read_model != NULL;
}

/* "gguf, hf" */
static void list_readable(mtk_bytes *out, uint32_t need) {
  const mtk_format_v1 *f;
  for (size_t i = 0; (f = mtk_feature_at(MTK_EXT_FORMAT, i, NULL)); i++)
    if (can_read(f, need)) mtk_bytes_printf(out, "%s%s", out->len ? ", " : "", f->id);
}

static void describe_start(mtk_bytes *out, const uint8_t *head, size_t n) {
  if (n == 0) mtk_bytes_puts(out, "it is empty");
  else mtk_bytes_puts(out, "it starts with ");
  for (size_t i = 0; i < n && i < 8; i++) mtk_bytes_printf(out, i ? " %02x" : "%02x", head[i]);
}

static mtk_status unknown_format(const char *path, bool folder, const uint8_t *head, size_t n,
                                 uint32_t need, mtk_error *err) {
  mtk_bytes formats = {.max = 200}, found = {.max = 200};
  list_readable(&formats, need);
  if (folder) mtk_bytes_puts(&found, "the folder holds no known file");
  else describe_start(&found, head, n);
  const char *what = need & MTK_FORMAT_ADAPTER ? "an adapter" : "a model";
  mtk_status status =
      formats.len ? mtk_fail(err, MTK_E_FORMAT, path, "not %s in a known format (%s): %s", what,
                             formats.data, found.data ? found.data : "")
                  : mtk_fail(err, MTK_E_UNSUPPORTED, path,
                             "no plugin that reads %s is loaded; see `mtk plugin list`", what);
  mtk_bytes_finish(&formats);
  mtk_bytes_finish(&found);
  return status;
}

static const mtk_format_v1 *best_format(const char *path, const uint8_t *head, size_t n,
                                        uint32_t need) {
  const mtk_format_v1 *best = NULL, *f;
  const mtk_plugin_info *from, *best_from = NULL;
  int best_score = 0;
  for (size_t i = 0; (f = mtk_feature_at(MTK_EXT_FORMAT, i, &from)); i++) {
    int score = can_read(f, need) ? f->probe(path, head, n) : 0;
    mtk_log(MTK_LOG_DEBUG, "%s: format %s scores %d", path, f->id, score);
    if (score <= best_score) continue;
    best_score = score;
    best = f;
    best_from = from;
  }
  if (best) mtk_plugin_mark_used(best_from);
  return best;
}

mtk_status mtk_format_probe(const mtk_format_v1 **out, const char *path, uint32_t need,
                            mtk_error *err) {
  if (!mtk_path_exists(path)) return mtk_fail(err, MTK_E_NOT_FOUND, path, "no such file or folder");
  bool folder = mtk_path_is_dir(path);
  mtk_file *file = NULL;
  if (!folder) MTK_TRY(mtk_file_open(&file, path, err));
  const uint8_t *head = file ? file->data : NULL;
  size_t n = file ? file->size : 0;
  if (n > HEAD_BYTES) n = HEAD_BYTES;
  *out = best_format(path, head, n, need);
  mtk_status status = *out ? MTK_OK : unknown_format(path, folder, head, n, need, err);
  mtk_file_close(file);
  return status;
}

/* ---- formats by the name of an output ------------------------------------------------------ */

static bool lists_extension(const mtk_format_v1 *f, const char *extension) {
  size_t n = strlen(extension);
  for (const char *e = f->extensions; *e;) {
    size_t len = strcspn(e, " ");
    if (len == n && memcmp(e, extension, n) == 0) return true;
    e += e[len] ? len + 1 : len;
  }
  return false;
}

/* What follows the last dot, or NULL: "Qwen2.5-7B" and "v1.0" have a number there, no extension. */
static const char *extension_of(const char *path) {
  const char *dot = strrchr(mtk_path_base(path), '.');
  return dot && isalpha((unsigned char)dot[1]) ? dot + 1 : NULL;
}

const mtk_format_v1 *mtk_format_for_output(const char *path) {
  const char *extension = extension_of(path);
  const mtk_plugin_info *from;
  const mtk_format_v1 *f;
  for (size_t i = 0; (f = mtk_feature_at(MTK_EXT_FORMAT, i, &from)); i++) {
    bool fits = extension ? lists_extension(f, extension)
                          : (f->flags & MTK_FORMAT_FOLDER) && (f->flags & MTK_FORMAT_MODEL);
    if (!fits) continue;
    mtk_plugin_mark_used(from);
    return f;
  }
  return NULL;
}

/* ---- reading ------------------------------------------------------------------------------- */

mtk_status mtk_model_load(mtk_model **out, const char *path, mtk_error *err) {
  const mtk_format_v1 *format = NULL;
  MTK_TRY(mtk_format_probe(&format, path, MTK_FORMAT_MODEL, err));
  mtk_model *model = mtk_model_create();
  if (!model) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_status status = mtk_model_set_source(model, format->id, path, err);
  mtk_reading *reading = mtk_reading_begin(path);
  if (status == MTK_OK) status = format->read_model(model, path, err);
  mtk_reading_end(reading, status == MTK_OK);
  if (status == MTK_E_NOMEM) (void)mtk_fail(err, status, path, "out of memory"); /* of a warning */
  if (status == MTK_OK) *out = model;
  else mtk_model_destroy(model);
  return status;
}

mtk_status mtk_adapter_load(mtk_adapter **out, const char *path, mtk_error *err) {
  const mtk_format_v1 *format = NULL;
  MTK_TRY(mtk_format_probe(&format, path, MTK_FORMAT_ADAPTER, err));
  mtk_adapter *adapter = mtk_adapter_create();
  if (!adapter) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_reading *reading = mtk_reading_begin(path);
  mtk_status status = format->read_adapter(adapter, path, err);
  mtk_reading_end(reading, status == MTK_OK);
  if (status == MTK_OK) *out = adapter;
  else mtk_adapter_destroy(adapter);
  return status;
}
