/* quantize_imatrix.c: importances in the files of llama.cpp (tools/imatrix): mtk quantize --imatrix
 * and --imatrix-out. Main thread only.
 *
 * GGUF: general.type "imatrix", and per weight the tensors NAME.in_sum2 [n_mat, k], sums of x^2 per
 * column, and NAME.counts [n_mat, 1], rows seen, both f32; experts are matrices of one weight.
 * Before that (.dat), little endian: i32 entries; each i32 length, name, i32 calls, i32 n, f32[n]
 * means of x^2 times calls; then what the sums were made from, which is not needed here. */
#include <math.h>
#include <string.h>

#include "quantize.h"

typedef struct entry {
  const char *name;
  mtk_input_stats stats;
} entry;

struct mtk_cmd_imatrix {
  mtk_arena *arena; /* owns the entries and all they point to */
  entry *entries;   /* one per tensor of the model that has importances, model order */
  size_t n;
};

const mtk_input_stats *mtk_cmd_imatrix_stats(void *ctx, const char *tensor) {
  const mtk_cmd_imatrix *im = ctx;
  for (size_t i = 0; i < im->n; i++)
    if (!strcmp(im->entries[i].name, tensor)) return &im->entries[i].stats;
  return NULL;
}

void mtk_cmd_imatrix_close(mtk_cmd_imatrix *im) {
  if (!im) return;
  mtk_arena_destroy(im->arena);
  mtk_free(im);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* sums[n]: of all matrices of one weight; counts[n_counts]: one each, or one for all. */
static mtk_status add_entry(mtk_cmd_imatrix *im, const mtk_tensor *t, const float *sums, int64_t n,
                            const float *counts, int64_t n_counts, mtk_error *err) {
  int64_t k = mtk_tensor_row_elems(t), n_expert = t->n_dims == 3 ? t->shape[0] : 0;
  int64_t n_mat = n_expert ? n_expert : 1;
  if (n != n_mat * k || (n_counts != 1 && n_counts != n_mat))
    return mtk_fail(err, MTK_E_FORMAT, t->name,
                    "%lld importances for %lld matrices of %lld columns: made from another model?",
                    (long long)n, (long long)n_mat, (long long)k);
  for (int64_t i = 0; i < n; i++)
    if (!(sums[i] >= 0) || !isfinite(sums[i]))
      return mtk_fail(err, MTK_E_FORMAT, t->name, "importance %lld is negative or not finite",
                      (long long)i);
  int64_t *rows = mtk_arena_alloc(im->arena, (size_t)n_mat, sizeof *rows);
  float *mean = mtk_arena_alloc(im->arena, (size_t)n, sizeof *mean);
  if (!rows || !mean) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t m = 0; m < n_mat; m++) {
    float count = counts[n_counts == 1 ? 0 : m];
    if (!(count >= 0) || !(count < 0x1p62f))
      return mtk_fail(err, MTK_E_FORMAT, t->name, "the number of rows is %g", (double)count);
    rows[m] = (int64_t)count;
  }
  mtk_mean_squares(mean, sums, rows, n_expert, k);
  im->entries[im->n++] = (entry){
      mtk_arena_strndup(im->arena, t->name, strlen(t->name)),
      {.k = k, .n_expert = n_expert, .rows = rows, .mean_square = mean}};
  return im->entries[im->n - 1].name ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

/* NAME + suffix of the file as f32; NULL if it is not there or no f32. */
static const float *find_floats(int64_t *n, const mtk_model *file, const char *name,
                                const char *suffix) {
  char *full = mtk_asprintf("%s%s", name, suffix);
  const mtk_tensor *t = full ? mtk_model_tensor(file, full) : NULL;
  mtk_free(full);
  if (!t || t->dtype != MTK_F32 || !t->data) return NULL;
  *n = mtk_tensor_rows(t) * mtk_tensor_row_elems(t);
  return t->data;
}

static mtk_status read_gguf(mtk_cmd_imatrix *im, const char *path, const mtk_model *model,
                            mtk_error *err) {
  mtk_model *file = NULL;
  mtk_status st = mtk_model_load(&file, path, err);
  for (size_t i = 0; st == MTK_OK && i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    int64_t n = 0, n_counts = 0;
    const float *sums = find_floats(&n, file, t->name, ".in_sum2");
    const float *counts = find_floats(&n_counts, file, t->name, ".counts");
    if (sums && counts) st = add_entry(im, t, sums, n, counts, n_counts, err);
  }
  mtk_model_destroy(file);
  return st;
}

/* A cursor over the bytes of a .dat file. */
typedef struct cursor {
  const mtk_file *file;
  size_t at;
} cursor;

static mtk_status take(const void **out, cursor *c, size_t n, mtk_error *err) {
  if (n > c->file->size - c->at)
    return mtk_fail_at(err, MTK_E_FORMAT, c->file->path, c->at, "the file ends too early");
  *out = c->file->data + c->at;
  c->at += n;
  return MTK_OK;
}

static mtk_status take_count(int32_t *out, cursor *c, mtk_error *err) {
  const void *p = NULL;
  size_t at = c->at;
  MTK_TRY(take(&p, c, sizeof *out, err));
  memcpy(out, p, sizeof *out);
  if (*out >= 0) return MTK_OK;
  return mtk_fail_at(err, MTK_E_FORMAT, c->file->path, at, "not an importance matrix");
}

static mtk_status read_entry(mtk_cmd_imatrix *im, cursor *c, const mtk_model *model,
                             mtk_error *err) {
  const void *name = NULL, *values = NULL;
  int32_t len, calls, n;
  MTK_TRY(take_count(&len, c, err));
  MTK_TRY(take(&name, c, (size_t)len, err));
  MTK_TRY(take_count(&calls, c, err));
  MTK_TRY(take_count(&n, c, err));
  MTK_TRY(take(&values, c, (size_t)n * sizeof(float), err));
  char *text = mtk_strndup(name, (size_t)len);
  float *sums = mtk_alloc((size_t)n, sizeof *sums); /* the file's are not aligned */
  mtk_status st = text && sums ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  const mtk_tensor *t = st == MTK_OK ? mtk_model_tensor(model, text) : NULL;
  float count = calls > 0 ? (float)calls : 1;
  if (t && mtk_cmd_imatrix_stats(im, text))
    st = mtk_fail(err, MTK_E_FORMAT, c->file->path, "holds %s twice", t->name);
  if (t && st == MTK_OK) {
    memcpy(sums, values, (size_t)n * sizeof *sums);
    st = add_entry(im, t, sums, n, &count, 1, err);
  }
  mtk_free(sums);
  mtk_free(text);
  return st;
}

static mtk_status read_dat(mtk_cmd_imatrix *im, const mtk_file *file, const mtk_model *model,
                           mtk_error *err) {
  cursor c = {file, 0};
  int32_t n = 0;
  MTK_TRY(take_count(&n, &c, err));
  for (int32_t i = 0; i < n; i++) MTK_TRY(read_entry(im, &c, model, err));
  return MTK_OK;
}

static mtk_status read_file(mtk_cmd_imatrix *im, const char *path, const mtk_model *model,
                            mtk_error *err) {
  mtk_file *file = NULL;
  im->arena = mtk_arena_create();
  if (im->arena)
    im->entries = mtk_arena_alloc(im->arena, mtk_model_tensor_count(model), sizeof *im->entries);
  if (!im->entries) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  MTK_TRY(mtk_file_open(&file, path, err));
  bool gguf = file->size >= 4 && !memcmp(file->data, "GGUF", 4);
  mtk_status st = gguf ? read_gguf(im, path, model, err) : read_dat(im, file, model, err);
  mtk_file_close(file);
  if (st == MTK_OK && im->n == 0)
    st = mtk_fail(err, MTK_E_FORMAT, path, "has no importances of tensors of this model");
  return st;
}

mtk_status mtk_cmd_imatrix_open(mtk_cmd_imatrix **out, const char *path, const mtk_model *model,
                                mtk_error *err) {
  mtk_cmd_imatrix *im = mtk_alloc(1, sizeof *im);
  if (!im) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = read_file(im, path, model, err);
  if (st == MTK_OK) *out = im;
  else mtk_cmd_imatrix_close(im);
  return st == MTK_OK || !err ? st : mtk_fail_in(err, st, "--imatrix");
}

/* ---- writing --------------------------------------------------------------------------------- */

static mtk_status add_floats(mtk_model *out, const char *name, const char *suffix,
                             const float *values, int64_t n_mat, int64_t k, mtk_error *err) {
  char *full = mtk_asprintf("%s%s", name, suffix);
  mtk_tensor t = {.name = full, .dtype = MTK_F32, .n_dims = 2, .shape = {n_mat, k}, .data = values,
                  .size_bytes = (uint64_t)(n_mat * k) * sizeof *values};
  mtk_status st = full ? mtk_model_add_tensor(out, &t, err)
                       : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_free(full);
  return st;
}

static mtk_status add_stats(mtk_model *out, const char *name, const mtk_input_stats *s,
                            mtk_error *err) {
  int64_t n_mat = s->n_expert > 0 ? s->n_expert : 1;
  float *counts = mtk_arena_alloc(mtk_model_arena(out), (size_t)n_mat, sizeof *counts);
  if (!counts) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t m = 0; m < n_mat; m++) counts[m] = (float)s->rows[m];
  MTK_TRY(add_floats(out, name, ".in_sum2", s->sum_square, n_mat, s->k, err));
  return add_floats(out, name, ".counts", counts, n_mat, 1, err);
}

/* The keys of llama.cpp; "kv." keeps a name as it is in a GGUF of bare tensors. */
static mtk_status put_keys(mtk_meta *meta, const char *const *files, size_t n_files,
                           int64_t n_tokens, int64_t chunk, mtk_error *err) {
  mtk_value list = {.type = MTK_META_ARRAY};
  mtk_value *names = mtk_alloc(n_files, sizeof *names);
  if (!names) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n_files; i++) {
    names[i].type = MTK_META_STRING;
    names[i].as.str.s = mtk_path_base(files[i]);
    names[i].as.str.len = strlen(names[i].as.str.s);
  }
  list.as.arr.type = MTK_META_STRING;
  list.as.arr.n = n_files;
  list.as.arr.items = names;
  mtk_status st = mtk_meta_set_string(meta, "general.type", "imatrix", err);
  if (st == MTK_OK) st = mtk_meta_set(meta, "kv.imatrix.datasets", &list, err);
  uint64_t chunks = (uint64_t)((n_tokens + chunk - 1) / chunk);
  if (st == MTK_OK) st = mtk_meta_set_uint(meta, "kv.imatrix.chunk_count", chunks, err);
  if (st == MTK_OK) st = mtk_meta_set_uint(meta, "kv.imatrix.chunk_size", (uint64_t)chunk, err);
  mtk_free(names);
  return st;
}

mtk_status mtk_cmd_imatrix_write(const char *path, const mtk_cmd_line *line,
                                 mtk_cmd_calibration *c, const mtk_quantize_report *rows,
                                 mtk_error *err) {
  const char *const *files = NULL;
  size_t n_files = mtk_options_list(line->options, "calibration", &files);
  int64_t chunk = mtk_options_int(line->options, "sequence-length");
  const mtk_format_v1 *gguf = mtk_format_find("gguf");
  if (!gguf) return mtk_fail(err, MTK_E_NOT_FOUND, NULL, "--imatrix-out needs the format gguf");
  mtk_model *out = mtk_model_create();
  mtk_status st = out ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK)
    st = put_keys(mtk_model_meta(out), files, n_files, mtk_cmd_calibration_tokens(c), chunk, err);
  for (size_t i = 0; st == MTK_OK && i < rows->n_rows; i++) {
    const mtk_input_stats *s = mtk_cmd_calibration_stats(c, rows->rows[i].name);
    if (s) st = add_stats(out, rows->rows[i].name, s, err);
  }
  mtk_write_options o = {.struct_size = sizeof o, .force = mtk_cmd_replaces(line)};
  if (st == MTK_OK) st = gguf->write_model(out, path, &o, err);
  mtk_model_destroy(out);
  return st;
}
