/* train/checkpoint.c: a trainer's state on disk: one safetensors file (weights "NAME", moments
 * "NAME.m" and "NAME.v", all F32) and the caller's JSON, in a folder that appears whole or not at
 * all. */
#include "train/trainer.h"

#include <jansson.h>
#include <string.h>

static const char g_tensors[] = "state.safetensors", g_json[] = "state.json";

/* Calls fn for every stored array of every parameter, in file order. */
typedef mtk_status (*array_fn)(void *ctx, const char *name, float *data, int64_t n,
                               const mtk_param *p, mtk_error *err);
static mtk_status for_each_array(const mtk_trainer *t, array_fn fn, void *ctx, mtk_error *err) {
  for (size_t i = 0; i < t->n_params; i++) {
    const mtk_param *p = &t->params[i];
    float *arrays[] = {p->value, p->m, p->v};
    static const char *const suffix[] = {"", ".m", ".v"};
    for (int a = 0; a < 3; a++) {
      if (!arrays[a]) continue;
      char *name = mtk_asprintf("%s%s", p->name, suffix[a]);
      mtk_status st = name ? fn(ctx, name, arrays[a], p->n * p->k, p, err)
                           : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
      mtk_free(name);
      if (st != MTK_OK) return st;
    }
  }
  return MTK_OK;
}

typedef struct header {
  json_t *doc;
  int64_t offset;
} header;

static mtk_status add_header(void *ctx, const char *name, float *data, int64_t n,
                             const mtk_param *p, mtk_error *err) {
  (void)data;
  header *h = ctx;
  json_int_t end = h->offset + n * 4;
  json_t *row = json_pack("{s:s,s:[I,I],s:[I,I]}", "dtype", "F32", "shape", (json_int_t)p->n,
                          (json_int_t)p->k, "data_offsets", (json_int_t)h->offset, end);
  h->offset = end;
  if (json_object_set_new(h->doc, name, row) != 0)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  return MTK_OK;
}

static mtk_status add_data(void *ctx, const char *name, float *data, int64_t n, const mtk_param *p,
                           mtk_error *err) {
  (void)name;
  (void)p;
  return mtk_output_write(ctx, data, (size_t)n * sizeof *data, err);
}

static mtk_status write_tensors(const mtk_trainer *t, const char *path, mtk_error *err) {
  header h = {json_object(), 0};
  json_object_set_new(h.doc, "__metadata__",
                      json_pack("{s:o}", "step", json_sprintf("%lld", (long long)t->step)));
  mtk_status st = for_each_array(t, add_header, &h, err);
  char *text = st == MTK_OK ? json_dumps(h.doc, JSON_COMPACT) : NULL;
  json_decref(h.doc);
  if (st != MTK_OK) return st;
  if (!text) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  uint64_t len = strlen(text);
  mtk_output *out = NULL;
  st = mtk_output_create(&out, path, true, err);
  if (st == MTK_OK) {
    mtk_output_write(out, &len, sizeof len, NULL);
    mtk_output_write(out, text, len, NULL);
    st = for_each_array(t, add_data, out, err);
    if (st == MTK_OK)
      st = mtk_output_commit(out, err);
    else
      mtk_output_abort(out);
  }
  free(text);
  return st;
}

static mtk_status write_json(const char *dir, const char *json, mtk_error *err) {
  char *path = mtk_path_join(dir, g_json);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = mtk_write_file(path, json, strlen(json), true, err);
  mtk_free(path);
  return st;
}

mtk_status mtk_trainer_save(const mtk_trainer *t, const char *dir, const char *state_json,
                            mtk_error *err) {
  mtk_outdir *out = NULL;
  MTK_TRY(mtk_outdir_create(&out, dir, true, err));
  char *path = mtk_path_join(mtk_outdir_path(out), g_tensors);
  mtk_status st =
      path ? write_tensors(t, path, err) : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = write_json(mtk_outdir_path(out), state_json, err);
  mtk_free(path);
  if (st != MTK_OK) {
    mtk_outdir_abort(out);
    return st;
  }
  return mtk_outdir_commit(out, err);
}

/* ---- loading ----------------------------------------------------------------------------------
 */

typedef struct source {
  const json_t *doc;
  const uint8_t *data; /* behind the header */
  uint64_t size;
} source;

static mtk_status load_array(void *ctx, const char *name, float *data, int64_t n,
                             const mtk_param *p, mtk_error *err) {
  const source *s = ctx;
  json_int_t rows, cols, begin, end;
  json_t *row = json_object_get(s->doc, name);
  const char *dtype;
  if (!row || json_unpack(row, "{s:s,s:[I,I],s:[I,I]}", "dtype", &dtype, "shape", &rows, &cols,
                          "data_offsets", &begin, &end) != 0)
    return mtk_fail(err, MTK_E_FORMAT, name,
                    "is missing in the checkpoint: were the options changed?");
  if (strcmp(dtype, "F32") != 0 || rows != p->n || cols != p->k || begin < 0 ||
      end - begin != n * 4 || (uint64_t)end > s->size)
    return mtk_fail(err, MTK_E_FORMAT, name,
                    "has another shape in the checkpoint: were the options changed?");
  memcpy(data, s->data + begin, (size_t)n * sizeof *data);
  return MTK_OK;
}

static mtk_status read_tensors(mtk_trainer *t, const char *path, mtk_error *err) {
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  uint64_t len = 0;
  if (file->size >= sizeof len) memcpy(&len, file->data, sizeof len);
  json_error_t je;
  json_t *doc = NULL;
  mtk_status st = MTK_OK;
  if (file->size < sizeof len || len > file->size - sizeof len)
    st = mtk_fail_at(err, MTK_E_FORMAT, path, 0, "the header does not fit the file");
  else if (!(doc = json_loadb((const char *)file->data + sizeof len, len, 0, &je)))
    st = mtk_fail_at(err, MTK_E_FORMAT, path, 8, "%s", je.text);
  const char *step =
      json_string_value(json_object_get(json_object_get(doc, "__metadata__"), "step"));
  if (st == MTK_OK && !step) st = mtk_fail(err, MTK_E_FORMAT, path, "names no step");
  if (st == MTK_OK) {
    source s = {doc, file->data + sizeof len + len, file->size - sizeof len - len};
    st = for_each_array(t, load_array, &s, err);
  }
  if (st == MTK_OK) t->step = strtoll(step, NULL, 10);
  json_decref(doc);
  mtk_file_close(file);
  return st;
}

mtk_status mtk_trainer_load(mtk_bytes *state_json, mtk_trainer *t, const char *dir,
                            mtk_error *err) {
  char *tensors = mtk_path_join(dir, g_tensors), *json = mtk_path_join(dir, g_json);
  mtk_status st = tensors && json ? read_tensors(t, tensors, err)
                                  : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_file *file = NULL;
  if (st == MTK_OK) st = mtk_file_open(&file, json, err);
  if (st == MTK_OK) {
    mtk_bytes_append(state_json, file->data, file->size);
    st = mtk_bytes_status(state_json, err);
  }
  mtk_file_close(file);
  mtk_free(tensors);
  mtk_free(json);
  for (size_t i = 0; i < t->n_params && st == MTK_OK; i++)
    mtk_weight_repack(t->param_weights[i], t->options.pool);
  return st;
}
