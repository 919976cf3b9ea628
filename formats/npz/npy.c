/* npy.c: the header of a .npy array (numpy/lib/format.py, versions 1.0 to 3.0): a magic text, the
 * size of the header, a Python dictionary with descr, fortran_order and shape. */
#include "npz.h"

#include <string.h>

static const char magic[] = "\x93NUMPY";
enum { N_MAGIC = 6, MAX_HEADER = 1 << 16 };

static const struct {
  const char *descr; /* without the byte order */
  mtk_dtype dtype;
} types[] = {
    {"f4", MTK_F32}, {"f2", MTK_F16}, {"f8", MTK_F64},  {"i1", MTK_I8},  {"i2", MTK_I16},
    {"i4", MTK_I32}, {"i8", MTK_I64}, {"u1", MTK_U8},   {"u2", MTK_U16}, {"u4", MTK_U32},
    {"u8", MTK_U64}, {"c8", MTK_C64}, {"b1", MTK_BOOL},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static bool one_byte(mtk_dtype d) { return d == MTK_I8 || d == MTK_U8 || d == MTK_BOOL; }

const char *npy_descr(mtk_dtype dtype) {
  static const char *const little[N_TYPES] = {"<f4", "<f2", "<f8", "|i1", "<i2", "<i4", "<i8",
                                              "|u1", "<u2", "<u4", "<u8", "<c8", "|b1"};
  for (size_t i = 0; i < N_TYPES; i++)
    if (types[i].dtype == dtype) return little[i];
  return NULL;
}

/* ---- the dictionary ------------------------------------------------------------------------ */

typedef struct scanner {
  const char *s;
  size_t n, at;
} scanner;

static void skip_space(scanner *p) {
  while (p->at < p->n && (p->s[p->at] == ' ' || p->s[p->at] == '\n')) p->at++;
}

static bool accept(scanner *p, const char *text) {
  size_t k = strlen(text);
  skip_space(p);
  if (p->n - p->at < k || memcmp(p->s + p->at, text, k) != 0) return false;
  p->at += k;
  return true;
}

/* A text in single or double quotes, without escapes. */
static bool take_text(scanner *p, const char **s, size_t *n) {
  skip_space(p);
  if (p->at == p->n || (p->s[p->at] != '\'' && p->s[p->at] != '"')) return false;
  const char *begin = p->s + p->at + 1;
  const char *end = memchr(begin, begin[-1], p->n - p->at - 1);
  if (!end) return false;
  *s = begin;
  *n = (size_t)(end - begin);
  p->at += *n + 2;
  return true;
}

static bool take_size(scanner *p, int64_t *out) {
  skip_space(p);
  size_t begin = p->at;
  for (*out = 0; p->at < p->n && p->s[p->at] >= '0' && p->s[p->at] <= '9'; p->at++) {
    if (__builtin_mul_overflow(*out, 10, out)) return false;
    if (__builtin_add_overflow(*out, p->s[p->at] - '0', out)) return false;
  }
  if (p->at == begin) return false;
  (void)accept(p, "L"); /* as Python 2 wrote it */
  return true;
}

/* "()", "(3,)", "(3, 4)"; more dimensions than mtk has: n_dims is then larger than that. */
static bool take_shape(scanner *p, npy_array *a) {
  a->n_dims = 0;
  if (!accept(p, "(")) return false;
  while (!accept(p, ")")) {
    int64_t size;
    if (!take_size(p, &size)) return false;
    if (a->n_dims < MTK_MAX_DIMS) a->shape[a->n_dims] = size;
    a->n_dims++;
    if (accept(p, ",")) continue;
    return accept(p, ")");
  }
  return true;
}

static mtk_status take_descr(scanner *p, npy_array *a, const char *path, mtk_error *err) {
  const char *s = NULL;
  size_t n = 0;
  if (accept(p, "[")) return mtk_fail(err, MTK_E_UNSUPPORTED, path, "an array of records: refused");
  if (!take_text(p, &s, &n)) return mtk_fail(err, MTK_E_FORMAT, path, "npy: descr is no text");
  bool order = n && strchr("<>|=", s[0]);
  for (size_t i = 0; i < N_TYPES; i++) {
    if (n != 2u + order || memcmp(s + order, types[i].descr, 2) != 0) continue;
    a->dtype = types[i].dtype;
    a->big_endian = order && s[0] == '>' && !one_byte(a->dtype);
    if (mtk_dtype_get(a->dtype)) return MTK_OK;
  }
  if (n > order && s[order] == 'O')
    return mtk_fail(err, MTK_E_UNSUPPORTED, path, "an array of Python objects: refused");
  return mtk_fail(err, MTK_E_UNSUPPORTED, path, "an array of type %.*s is not supported",
                  (int)(n < 40 ? n : 40), s);
}

static mtk_status parse_dictionary(npy_array *a, scanner *p, const char *path, mtk_error *err) {
  bool descr = false, order = false, shape = false;
  mtk_status bad = mtk_fail(err, MTK_E_FORMAT, path,
                            "npy: the header is no dictionary of descr, "
                            "fortran_order and shape");
  if (!accept(p, "{")) return bad;
  while (!accept(p, "}")) {
    const char *key = NULL;
    size_t n = 0;
    if (!take_text(p, &key, &n) || !accept(p, ":")) return bad;
    if (n == 5 && memcmp(key, "descr", n) == 0 && !descr) {
      MTK_TRY(take_descr(p, a, path, err));
      descr = true;
    } else if (n == 13 && memcmp(key, "fortran_order", n) == 0 && !order) {
      a->fortran_order = accept(p, "True");
      if (!a->fortran_order && !accept(p, "False")) return bad;
      order = true;
    } else if (n == 5 && memcmp(key, "shape", n) == 0 && !shape) {
      if (!take_shape(p, a)) return bad;
      shape = true;
    } else {
      return bad;
    }
    if (!accept(p, ",") && !(p->at < p->n && p->s[p->at] == '}')) return bad;
  }
  return descr && order && shape ? MTK_OK : bad;
}

/* ---- the array ----------------------------------------------------------------------------- */

static mtk_status check_size(npy_array *a, uint64_t left, const char *path, mtk_error *err) {
  if (a->n_dims > MTK_MAX_DIMS) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, path, "an array of %d dimensions, at most %d",
                    a->n_dims, MTK_MAX_DIMS);
  }
  uint64_t n = mtk_dtype_get(a->dtype)->block_bytes;
  for (int i = 0; i < a->n_dims; i++)
    if (__builtin_mul_overflow(n, (uint64_t)a->shape[i], &n))
      return mtk_fail(err, MTK_E_FORMAT, path, "npy: the shape overflows 64 bits");
  a->size_bytes = n;
  if (n == left) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, path, "npy: type and shape need %llu bytes, there are %llu",
                  (unsigned long long)n, (unsigned long long)left);
}

mtk_status npy_parse(npy_array *out, const uint8_t *data, size_t size, const char *path,
                     mtk_error *err) {
  memset(out, 0, sizeof *out);
  if (size < N_MAGIC + 4 || memcmp(data, magic, N_MAGIC) != 0)
    return mtk_fail(err, MTK_E_FORMAT, path, "npy: the magic text is missing");
  unsigned version = data[N_MAGIC];
  size_t at = version == 1 ? N_MAGIC + 4 : N_MAGIC + 6;
  if (version < 1 || version > 3)
    return mtk_fail(err, MTK_E_UNSUPPORTED, path, "npy: version %u", version);
  if (size < at) return mtk_fail(err, MTK_E_FORMAT, path, "npy: ends inside the header");
  uint32_t n = data[8] | (uint32_t)data[9] << 8;
  if (version > 1) n |= (uint32_t)data[10] << 16 | (uint32_t)data[11] << 24;
  if (n > MAX_HEADER || n > size - at)
    return mtk_fail(err, MTK_E_FORMAT, path, "npy: a header of %u bytes", n);
  scanner p = {(const char *)data + at, n, 0};
  MTK_TRY(parse_dictionary(out, &p, path, err));
  out->data = data + at + n;
  return check_size(out, size - at - n, path, err);
}

mtk_status npy_header(mtk_bytes *out, mtk_dtype dtype, int n_dims, const int64_t *shape,
                      mtk_error *err) {
  size_t begin = out->len;
  mtk_bytes_append(out, "\x93NUMPY\1\0\0\0", 10);
  mtk_bytes_printf(out, "{'descr': '%s', 'fortran_order': False, 'shape': (", npy_descr(dtype));
  for (int i = 0; i < n_dims; i++)
    mtk_bytes_printf(out, i ? ", %lld" : "%lld", (long long)shape[i]);
  mtk_bytes_puts(out, n_dims == 1 ? ",), }" : "), }");
  while ((out->len - begin + 1) % 64 && !out->failed) mtk_bytes_puts(out, " ");
  mtk_bytes_puts(out, "\n");
  MTK_TRY(mtk_bytes_status(out, err));
  size_t n = out->len - begin - 10;
  out->data[begin + 8] = (char)(uint8_t)n;
  out->data[begin + 9] = (char)(uint8_t)(n >> 8);
  return MTK_OK;
}
