/* write.c: tensors as a .npz file (a zip file of stored members, zip64 where needed) or, for one
 * tensor and a path ending in .npy, as a bare array. Streams a few MB at a time; the same model
 * gives the same bytes (no clock in the headers). */
#include "npz.h"

#include <string.h>
#include <zlib.h>

enum { CHUNK_BYTES = 4 << 20, ALIGNMENT = 64, PADDING_ID = 0x4b4d, FLAGS = 0x0808, DATE = 0x21 };

typedef struct member {
  const mtk_tensor *tensor;
  mtk_dtype dtype; /* in the file */
  char *name;      /* arena; with ".npy" */
  mtk_bytes header;
  uint64_t size, offset; /* of header and values; of the local header in the file */
  uint32_t crc32;
} member;

typedef struct writer {
  mtk_model *model;
  mtk_arena *arena;
  member *members;
  size_t n;
  uint64_t done, total;
  mtk_output *out;
  mtk_error *err;
} writer;

static mtk_status no_memory(const writer *w) {
  return mtk_fail(w->err, MTK_E_NOMEM, NULL, "out of memory");
}

/* ---- what is written ----------------------------------------------------------------------- */

static bool is_wanted(const char *const *names, size_t n, const char *name) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(names[i], name) == 0) return true;
  return n == 0;
}

bool npz_keeps(const mtk_tensor *t) { return npy_descr(t->dtype) && !t->scales; }

static mtk_status plan_member(writer *w, const mtk_tensor *t, size_t *n_widened) {
  member *m = &w->members[w->n++];
  char *name = mtk_asprintf("%s.npy", t->name);
  m->name = name ? mtk_arena_strndup(w->arena, name, strlen(name)) : NULL;
  mtk_free(name);
  if (!m->name) return no_memory(w);
  if (strlen(m->name) > 65000)
    return mtk_fail(w->err, MTK_E_LIMIT, NULL, "a tensor's name is too long for a zip file");
  m->tensor = t;
  m->dtype = npz_keeps(t) ? t->dtype : MTK_F32;
  *n_widened += m->dtype != t->dtype;
  MTK_TRY(npy_header(&m->header, m->dtype, t->n_dims, t->shape, w->err));
  uint64_t n = (uint64_t)(mtk_tensor_rows(t) * mtk_tensor_row_elems(t));
  if (__builtin_mul_overflow(n, mtk_dtype_get(m->dtype)->block_bytes, &m->size) ||
      __builtin_add_overflow(m->size, m->header.len, &m->size))
    return mtk_fail(w->err, MTK_E_LIMIT, t->name, "too large");
  w->total += m->size;
  return MTK_OK;
}

/* What a model has beside tensors has no place in arrays. */
static mtk_status warn_left(writer *w, size_t n_widened, const mtk_write_options *options,
                            bool npy) {
  bool texts = mtk_model_attachment_count(w->model) || mtk_model_vocab(w->model);
  size_t provenance = options && options->provenance ? strlen(options->provenance) : 0;
  if (texts || mtk_meta_count(mtk_model_meta(w->model))) {
    MTK_TRY(mtk_model_warn(w->model, "arrays hold the tensors only: hyperparameters, tokenizer and "
                                     "texts were left out"));
  }
  if (provenance && (npy || provenance > UINT16_MAX)) {
    MTK_TRY(
        mtk_model_warn(w->model, "provenance was left out: no place for %zu bytes", provenance));
  }
  if (!n_widened) return MTK_OK;
  return mtk_model_warn(w->model, "%zu tensors were written as f32: NumPy has no such type",
                        n_widened);
}

static mtk_status plan(writer *w, const mtk_write_options *options, bool npy) {
  const char *const *names = NULL;
  size_t n_tensors = mtk_model_tensor_count(w->model), n_widened = 0;
  size_t n_names =
      options && options->options ? mtk_options_list(options->options, "tensor", &names) : 0;
  for (size_t i = 0; i < n_names; i++)
    if (!mtk_model_tensor(w->model, names[i]))
      return mtk_fail(w->err, MTK_E_NOT_FOUND, "--tensor", "the model has no tensor %.100s",
                      names[i]);
  w->members = mtk_arena_alloc(w->arena, n_tensors, sizeof *w->members);
  if (!w->members) return no_memory(w);
  for (size_t i = 0; i < n_tensors; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(w->model, i);
    if (is_wanted(names, n_names, t->name)) MTK_TRY(plan_member(w, t, &n_widened));
  }
  if (npy && w->n != 1) {
    return mtk_fail(w->err, MTK_E_INVALID, NULL,
                    "a .npy file holds one tensor, not %zu: choose one with --tensor, or write a "
                    ".npz file",
                    w->n);
  }
  return warn_left(w, n_widened, options, npy);
}

/* ---- bytes of one member ------------------------------------------------------------------- */

static mtk_status put(writer *w, member *m, const void *data, size_t n) {
  m->crc32 = (uint32_t)crc32_z(m->crc32, data, n);
  w->done += n;
  mtk_progress("write", w->done, w->total, "B");
  return mtk_output_write(w->out, data, n, w->err);
}

static mtk_status put_values(writer *w, member *m) {
  const mtk_tensor *t = m->tensor;
  bool widen = m->dtype != t->dtype;
  int64_t n_rows = mtk_tensor_rows(t), elems = mtk_tensor_row_elems(t);
  if (n_rows == 0 || elems == 0) return MTK_OK;
  size_t row_bytes = mtk_tensor_row_bytes(t), wide = widen ? 4 * (size_t)elems : 0;
  int64_t step = (int64_t)(CHUNK_BYTES / (row_bytes + wide));
  step = step < 1 ? 1 : step > n_rows ? n_rows : step;
  void *raw = mtk_alloc((size_t)step, row_bytes);
  float *values = widen ? mtk_alloc((size_t)step, wide) : NULL;
  mtk_status status = raw && (values || !widen) ? MTK_OK : no_memory(w);
  for (int64_t row = 0; row < n_rows && status == MTK_OK; row += step) {
    int64_t n = n_rows - row < step ? n_rows - row : step;
    const void *rows = values;
    status = widen ? mtk_tensor_fetch_f32(values, t, row, n, raw, w->err)
                   : mtk_tensor_fetch(&rows, t, row, n, raw, w->err);
    if (status == MTK_OK) status = put(w, m, rows, (size_t)n * (widen ? wide : row_bytes));
    if (status == MTK_OK && mtk_cancelled())
      status = mtk_fail(w->err, MTK_E_CANCELLED, NULL, "stopped on request");
  }
  mtk_free(raw);
  mtk_free(values);
  return status;
}

static mtk_status put_member(writer *w, member *m) {
  MTK_TRY(put(w, m, m->header.data, m->header.len));
  return put_values(w, m);
}

/* ---- the zip file (APPNOTE.TXT 4.3, 4.5) --------------------------------------------------- */

static void put_uint(mtk_bytes *b, uint64_t v, int n) {
  uint8_t bytes[8];
  for (int i = 0; i < n; i++) bytes[i] = (uint8_t)(v >> (8 * i));
  mtk_bytes_append(b, bytes, (size_t)n);
}

static uint64_t low32(uint64_t v) { return v < UINT32_MAX ? v : UINT32_MAX; }
static bool is_big(const member *m) { return m->size >= UINT32_MAX; }

/* From "version needed" to the lengths: what both headers share. */
static void put_common(mtk_bytes *b, const member *m, bool central, size_t n_extra) {
  put_uint(b, 45, 2);
  put_uint(b, FLAGS, 2); /* sizes and sum follow the values; the name is UTF-8 */
  put_uint(b, MTK_ZIP_STORED, 2);
  put_uint(b, 0, 2);
  put_uint(b, DATE, 2); /* 1980-01-01 */
  put_uint(b, central ? m->crc32 : 0, 4);
  uint64_t size = is_big(m) ? UINT32_MAX : central ? m->size : 0;
  put_uint(b, size, 4);
  put_uint(b, size, 4);
  put_uint(b, strlen(m->name), 2);
  put_uint(b, n_extra, 2);
}

/* The local header, padded so that the member begins at a multiple of 64; the member; its sizes. */
static mtk_status write_member(writer *w, member *m) {
  mtk_bytes b = {0};
  size_t n_name = strlen(m->name), zip64 = is_big(m) ? 20 : 0;
  m->offset = mtk_output_size(w->out);
  size_t fixed = (size_t)(m->offset % ALIGNMENT) + 30 + n_name + zip64 + 4;
  size_t padding = (ALIGNMENT - fixed % ALIGNMENT) % ALIGNMENT;
  put_uint(&b, 0x04034b50, 4);
  put_common(&b, m, false, zip64 + 4 + padding);
  mtk_bytes_append(&b, m->name, n_name);
  if (zip64) {
    put_uint(&b, 1, 2);
    put_uint(&b, 16, 2);
    put_uint(&b, 0, 8);
    put_uint(&b, 0, 8);
  }
  put_uint(&b, PADDING_ID, 2);
  put_uint(&b, padding, 2);
  for (size_t i = 0; i < padding; i++) put_uint(&b, 0, 1);
  mtk_status status = mtk_bytes_status(&b, w->err);
  if (status == MTK_OK) status = mtk_output_write(w->out, b.data, b.len, w->err);
  if (status == MTK_OK) status = put_member(w, m);
  mtk_bytes_clear(&b);
  put_uint(&b, 0x08074b50, 4);
  put_uint(&b, m->crc32, 4);
  put_uint(&b, m->size, zip64 ? 8 : 4);
  put_uint(&b, m->size, zip64 ? 8 : 4);
  if (status == MTK_OK) status = mtk_bytes_status(&b, w->err);
  if (status == MTK_OK) status = mtk_output_write(w->out, b.data, b.len, w->err);
  mtk_bytes_finish(&b);
  return status;
}

static void put_central(mtk_bytes *b, const member *m) {
  bool far = m->offset >= UINT32_MAX;
  size_t zip64 = (is_big(m) ? 16u : 0u) + (far ? 8u : 0u);
  put_uint(b, 0x02014b50, 4);
  put_uint(b, 45, 2);
  put_common(b, m, true, zip64 ? 4 + zip64 : 0);
  put_uint(b, 0, 2 + 2 + 2 + 2);
  put_uint(b, 0, 2);
  put_uint(b, low32(m->offset), 4);
  mtk_bytes_puts(b, m->name);
  if (!zip64) return;
  put_uint(b, 1, 2);
  put_uint(b, zip64, 2);
  if (is_big(m)) put_uint(b, m->size, 8);
  if (is_big(m)) put_uint(b, m->size, 8);
  if (far) put_uint(b, m->offset, 8);
}

static void put_end(mtk_bytes *b, size_t n, uint64_t begin, uint64_t length, const char *comment) {
  size_t n_comment = comment && strlen(comment) <= UINT16_MAX ? strlen(comment) : 0;
  bool big = n >= UINT16_MAX || begin >= UINT32_MAX || length >= UINT32_MAX;
  if (big) {
    put_uint(b, 0x06064b50, 4);
    put_uint(b, 44, 8);
    put_uint(b, 45, 2);
    put_uint(b, 45, 2);
    put_uint(b, 0, 8); /* disks */
    put_uint(b, n, 8);
    put_uint(b, n, 8);
    put_uint(b, length, 8);
    put_uint(b, begin, 8);
    put_uint(b, 0x07064b50, 4);
    put_uint(b, 0, 4);
    put_uint(b, begin + length, 8);
    put_uint(b, 1, 4);
  }
  put_uint(b, 0x06054b50, 4);
  put_uint(b, 0, 4);
  put_uint(b, n < UINT16_MAX ? n : UINT16_MAX, 2);
  put_uint(b, n < UINT16_MAX ? n : UINT16_MAX, 2);
  put_uint(b, low32(length), 4);
  put_uint(b, low32(begin), 4);
  put_uint(b, n_comment, 2);
  mtk_bytes_append(b, comment ? comment : "", n_comment);
}

static mtk_status write_npz(writer *w, const char *provenance) {
  mtk_bytes directory = {0};
  for (size_t i = 0; i < w->n; i++) MTK_TRY(write_member(w, &w->members[i]));
  uint64_t begin = mtk_output_size(w->out);
  for (size_t i = 0; i < w->n; i++) put_central(&directory, &w->members[i]);
  put_end(&directory, w->n, begin, directory.len, provenance);
  mtk_status status = mtk_bytes_status(&directory, w->err);
  if (status == MTK_OK) status = mtk_output_write(w->out, directory.data, directory.len, w->err);
  mtk_bytes_finish(&directory);
  return status;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static mtk_status write_file(writer *w, const char *path, const mtk_write_options *options) {
  size_t n = strlen(path);
  bool npy = n > 4 && strcmp(path + n - 4, ".npy") == 0;
  MTK_TRY(plan(w, options, npy));
  MTK_TRY(mtk_output_create(&w->out, path, options && options->force, w->err));
  mtk_status status =
      npy ? put_member(w, w->members) : write_npz(w, options ? options->provenance : NULL);
  if (status == MTK_OK) return mtk_output_commit(w->out, w->err);
  mtk_output_abort(w->out);
  return status;
}

mtk_status npz_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                           mtk_error *err) {
  writer w = {.model = model, .err = err, .arena = mtk_arena_create()};
  mtk_status status = w.arena ? write_file(&w, path, options) : no_memory(&w);
  for (size_t i = 0; i < w.n; i++) mtk_bytes_finish(&w.members[i].header);
  mtk_arena_destroy(w.arena);
  return status;
}
