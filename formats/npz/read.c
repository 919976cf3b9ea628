/* read.c: a .npy array, or the arrays of a .npz file, as tensors. Stored members are read where
 * they lie; deflated ones are unpacked into a scratch file first. */
#include "npz.h"

#include <string.h>
#include <zlib.h>

enum { CHUNK_BYTES = 1 << 20, ALIGNMENT = 64 };

/* ---- rows that do not lie as they are wanted ----------------------------------------------- */

typedef struct array_rows {
  const uint8_t *data;
  int64_t stride[MTK_MAX_DIMS]; /* bytes */
  size_t swap;                  /* bytes to be reversed; 1 = none */
} array_rows;

static void copy_swapped(uint8_t *dst, const uint8_t *src, size_t item, size_t swap) {
  for (size_t i = 0; i < item; i++) dst[i] = src[i / swap * swap + (swap - 1 - i % swap)];
}

static mtk_status read_rows(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                            mtk_error *err) {
  const array_rows *a = t->read_ctx;
  size_t item = mtk_dtype_get(t->dtype)->block_bytes;
  int64_t n = mtk_tensor_row_elems(t), step = t->n_dims ? a->stride[t->n_dims - 1] : 0;
  uint8_t *out = dst;
  (void)err;
  for (int64_t row = row0; row < row0 + n_rows; row++) {
    const uint8_t *from = a->data;
    int64_t rest = row;
    for (int d = t->n_dims - 2; d >= 0; d--) {
      from += rest % t->shape[d] * a->stride[d];
      rest /= t->shape[d];
    }
    for (int64_t i = 0; i < n; i++, out += item) copy_swapped(out, from + i * step, item, a->swap);
  }
  return MTK_OK;
}

static mtk_status add_array(mtk_model *model, const npy_array *a, const char *name,
                            mtk_error *err) {
  int64_t item = mtk_dtype_get(a->dtype)->block_bytes, step = item;
  mtk_tensor t = {.name = name, .source_name = name, .dtype = a->dtype, .n_dims = a->n_dims};
  memcpy(t.shape, a->shape, sizeof t.shape);
  t.size_bytes = a->size_bytes;
  t.data = a->data;
  bool as_is = !a->big_endian && (!a->fortran_order || a->n_dims < 2);
  if (a->size_bytes && (!as_is || (uintptr_t)a->data % (size_t)item)) {
    array_rows *rows = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *rows);
    if (!rows) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
    rows->data = a->data;
    rows->swap = a->big_endian ? (size_t)(a->dtype == MTK_C64 ? 4 : item) : 1;
    for (int i = 0; i < a->n_dims; i++) {
      int d = a->fortran_order ? i : a->n_dims - 1 - i;
      rows->stride[d] = step;
      step *= a->shape[d];
    }
    t.data = NULL;
    t.read = read_rows;
    t.read_ctx = rows;
  }
  return mtk_model_add_tensor(model, &t, err);
}

/* ---- members of a zip file ----------------------------------------------------------------- */

/* One deflated member to `out`, checked against the directory's size and sum. */
static mtk_status inflate_member(mtk_output *out, const mtk_zip_entry *e, const char *path,
                                 mtk_error *err) {
  z_stream z = {0};
  uint64_t left = e->stored_size, made = 0;
  uLong sum = crc32(0, NULL, 0);
  uint8_t *buf = mtk_alloc(CHUNK_BYTES, 1);
  if (!buf || inflateInit2(&z, -MAX_WBITS) != Z_OK) {
    mtk_free(buf);
    return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  }
  int rc = Z_OK;
  mtk_status status = MTK_OK;
  z.next_in = (Bytef *)(uintptr_t)e->data;
  while (rc == Z_OK && status == MTK_OK) {
    if (!z.avail_in) {
      z.avail_in = (uInt)(left < CHUNK_BYTES ? left : CHUNK_BYTES);
      left -= z.avail_in;
    }
    z.next_out = buf;
    z.avail_out = CHUNK_BYTES;
    rc = inflate(&z, Z_NO_FLUSH);
    size_t n = CHUNK_BYTES - z.avail_out;
    made += n;
    sum = crc32(sum, buf, (uInt)n);
    if (made > e->size) break;
    status = mtk_output_write(out, buf, n, err);
  }
  (void)inflateEnd(&z);
  mtk_free(buf);
  MTK_TRY(status);
  if (rc == Z_STREAM_END && made == e->size && sum == e->crc32) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, path, "member %.100s is damaged", e->name);
}

/* All deflated members to one mapped file; at[i] = where member i begins in it. */
static mtk_status inflate_all(mtk_file **file, uint64_t *at, const mtk_zip *zip, const char *path,
                              mtk_error *err) {
  static const uint8_t zeros[ALIGNMENT];
  mtk_output *out = NULL;
  uint64_t stored = 0, size = 0;
  bool any = false;
  for (size_t i = 0; i < zip->n; i++) {
    const mtk_zip_entry *e = &zip->entries[i];
    if (e->method != MTK_ZIP_DEFLATED) continue;
    any = true;
    if (__builtin_add_overflow(size, e->size, &size)) size = UINT64_MAX;
    stored += e->stored_size;
    MTK_TRY(mtk_expand_check(size, stored, path, err));
  }
  if (!any) return MTK_OK;
  MTK_TRY(mtk_output_create_scratch(&out, err));
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < zip->n && status == MTK_OK; i++) {
    if (zip->entries[i].method != MTK_ZIP_DEFLATED) continue;
    size_t over = (size_t)(mtk_output_size(out) % ALIGNMENT);
    if (over) status = mtk_output_write(out, zeros, ALIGNMENT - over, err);
    at[i] = mtk_output_size(out);
    if (status == MTK_OK) status = inflate_member(out, &zip->entries[i], path, err);
  }
  if (status == MTK_OK) return mtk_output_map(file, out, err);
  mtk_output_abort(out);
  return status;
}

/* "weights.npy" -> "weights"; false for other members. */
static bool array_name(char *out, size_t size, const char *member) {
  size_t n = strlen(member);
  if (n <= 4 || n - 4 >= size || strcmp(member + n - 4, ".npy") != 0) return false;
  memcpy(out, member, n - 4);
  out[n - 4] = 0;
  return true;
}

static mtk_status add_member(mtk_model *model, const mtk_zip_entry *e, const uint8_t *data,
                             mtk_bytes *left, mtk_error *err) {
  char name[1024];
  npy_array a;
  mtk_error why = {0};
  bool incomplete = false;
  if (e->encrypted || (e->method != MTK_ZIP_STORED && e->method != MTK_ZIP_DEFLATED)) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, e->name, "encrypted or compressed by method %u",
                    e->method);
  }
  size_t n = strlen(e->name);
  if (mtk_utf8_prefix(e->name, n, &incomplete) != n)
    return mtk_fail(err, MTK_E_FORMAT, NULL, "a member's name is not UTF-8");
  if (!array_name(name, sizeof name, e->name)) {
    mtk_bytes_printf(left, "%s%.60s", left->len ? ", " : "", e->name);
    return MTK_OK;
  }
  mtk_status status = npy_parse(&a, data, (size_t)e->size, e->name, &why);
  if (status == MTK_E_UNSUPPORTED) { /* texts and objects beside the tensors */
    mtk_bytes_printf(left, "%s%.60s (%s)", left->len ? ", " : "", name, why.message);
    return MTK_OK;
  }
  if (status != MTK_OK && err) *err = why;
  return status == MTK_OK ? add_array(model, &a, name, err) : status;
}

static mtk_status add_members(mtk_model *model, const mtk_zip *zip, const mtk_file *unpacked,
                              const uint64_t *at, const char *path, mtk_error *err) {
  mtk_bytes left = {.max = 4096};
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < zip->n && status == MTK_OK; i++) {
    const mtk_zip_entry *e = &zip->entries[i];
    const uint8_t *data = e->data;
    if (e->method == MTK_ZIP_DEFLATED) data = unpacked ? unpacked->data + at[i] : NULL;
    status = add_member(model, e, data, &left, err);
  }
  if (status == MTK_OK && left.len) {
    status =
        mtk_model_tensor_count(model)
            ? mtk_model_warn(model, "members left out: %.400s", left.data)
            : mtk_fail(err, MTK_E_UNSUPPORTED, path, "no arrays of numbers: %.200s", left.data);
  }
  mtk_bytes_finish(&left);
  return status;
}

static mtk_status read_npz(mtk_model *model, mtk_arena *arena, const uint8_t *data, size_t size,
                           const char *path, mtk_error *err) {
  mtk_zip zip;
  mtk_file *unpacked = NULL;
  MTK_TRY(mtk_zip_parse(&zip, arena, data, size, path, err));
  uint64_t *at = mtk_arena_alloc(arena, zip.n, sizeof *at);
  if (!at) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  MTK_TRY(inflate_all(&unpacked, at, &zip, path, err));
  mtk_status status = MTK_OK;
  if (unpacked) status = mtk_model_keep_file(model, unpacked, err);
  if (status != MTK_OK) {
    mtk_file_close(unpacked);
    return status;
  }
  if (zip.n_comment && zip.comment[0] == '{') /* where mtk keeps it */
    MTK_TRY(mtk_model_attach(model, "provenance.json", zip.comment, zip.n_comment, err));
  return add_members(model, &zip, unpacked, at, path, err);
}

mtk_status npz_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *path,
                          mtk_error *err) {
  npy_array a;
  char name[256];
  if (size < 2 || memcmp(data, "PK", 2) != 0) {
    MTK_TRY(npy_parse(&a, data, size, path, err));
    const char *base = mtk_path_base(path);
    return add_array(model, &a, array_name(name, sizeof name, base) ? name : base, err);
  }
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_status status = read_npz(model, arena, data, size, path, err);
  mtk_arena_destroy(arena);
  return status;
}

mtk_status npz_read_model(mtk_model *model, const char *path, mtk_error *err) {
  const mtk_file *file;
  MTK_TRY(mtk_model_open_file(&file, model, path, err));
  return npz_read_bytes(model, file->data, file->size, path, err);
}
