/* model/recast.c: MXFP4 weights as NVFP4 without rounding (mtk_model_recast_nvfp4). Every block of
 * 32 becomes two of 16 with the same codes; its scale 2^e becomes s2 * 2^(e - m), where s2 = 2^m is
 * the scale of the matrix. UE4M3 holds the powers 2^-9 .. 2^8: exact if the exponents of a matrix
 * (of a fused group of them) that belong to values other than 0 lie within 17 of one another. */
#include <mtk/ext/arch.h>
#include <mtk/quantize.h>

#include <math.h>
#include <string.h>

#include "model/model_impl.h"

enum { MX_BYTES = 17, NV_BYTES = 36, LOWEST = -9, HIGHEST = 8, CHUNK_ROWS = 64 };

/* Exponents in use, of one matrix. */
typedef struct span {
  int low, high; /* low > high: all values are 0 */
} span;

typedef struct recast {
  mtk_tensor source;
  int64_t matrix_rows;
  int m[]; /* per matrix */
} recast;

static bool has_values(const uint8_t *block) {
  for (int i = 1; i < MX_BYTES; i++)
    if (block[i] & 0x77) return true;
  return false;
}

static mtk_status measure(span *out, const mtk_tensor *t, int64_t row0, int64_t n_rows,
                          mtk_error *err) {
  size_t row_bytes = mtk_tensor_row_bytes(t);
  uint8_t *buffer = mtk_alloc(CHUNK_ROWS, row_bytes);
  mtk_status st = buffer ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  *out = (span){256, -256};
  for (int64_t at = 0; at < n_rows && st == MTK_OK; at += CHUNK_ROWS) {
    int64_t n = n_rows - at < CHUNK_ROWS ? n_rows - at : CHUNK_ROWS;
    const void *rows = NULL;
    st = mtk_tensor_fetch(&rows, t, row0 + at, n, buffer, err);
    const uint8_t *block = rows, *end = block ? block + (size_t)n * row_bytes : NULL;
    for (; st == MTK_OK && block < end; block += MX_BYTES) {
      if (block[0] == 255)
        st = mtk_fail(err, MTK_E_FORMAT, t->name, "a block scale is NaN");
      if (!has_values(block)) continue;
      if (block[0] - 127 < out->low) out->low = block[0] - 127;
      if (block[0] - 127 > out->high) out->high = block[0] - 127;
    }
  }
  mtk_free(buffer);
  return st;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* E4M3 of 2^e, e clamped (a block without values may have any scale). */
static uint8_t power_code(int e) {
  if (e < LOWEST) e = LOWEST;
  if (e > HIGHEST) e = HIGHEST;
  return (uint8_t)(e >= -6 ? (e + 7) << 3 : 1 << (e + 9));
}

static uint8_t code_at(const uint8_t *block, int element) {
  return (uint8_t)(block[1 + element % 16] >> (element < 16 ? 0 : 4) & 15);
}

/* 64 values: two blocks of MXFP4 -> one of NVFP4. */
static void recast_block(uint8_t *out, const uint8_t *in, int m) {
  for (int s = 0; s < 4; s++) {
    const uint8_t *block = in + s / 2 * MX_BYTES;
    out[s] = power_code(block[0] - 127 - m);
    for (int j = 0; j < 8; j++) {
      int at = 16 * (s % 2) + j;
      out[4 + 8 * s + j] = (uint8_t)(code_at(block, at) | code_at(block, at + 8) << 4);
    }
  }
}

static mtk_status read_recast(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                              mtk_error *err) {
  const recast *r = t->read_ctx;
  size_t row_bytes = mtk_tensor_row_bytes(&r->source);
  uint8_t *buffer = mtk_alloc(1, row_bytes), *out = dst;
  mtk_status st = buffer ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int64_t row = row0; row < row0 + n_rows && st == MTK_OK; row++) {
    const void *in = NULL;
    st = mtk_tensor_fetch(&in, &r->source, row, 1, buffer, err);
    for (size_t at = 0; st == MTK_OK && at < row_bytes; at += 2 * MX_BYTES, out += NV_BYTES)
      recast_block(out, (const uint8_t *)in + at, r->m[row / r->matrix_rows]);
  }
  mtk_free(buffer);
  return st;
}

static mtk_status install(mtk_model *model, const mtk_tensor *t, const span *spans,
                          mtk_error *err) {
  mtk_arena *arena = mtk_model_arena(model);
  int64_t n = mtk_tensor_matrices(t);
  recast *r = mtk_arena_alloc(arena, 1, sizeof *r + (size_t)n * sizeof r->m[0]);
  float *scales = mtk_arena_alloc(arena, (size_t)n, sizeof *scales);
  if (!r || !scales) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  r->source = *t;
  r->matrix_rows = mtk_tensor_rows(t) / n;
  for (int64_t i = 0; i < n; i++) {
    r->m[i] = spans[i].low > spans[i].high ? 0 : spans[i].high - HIGHEST;
    if (r->m[i] < -126) r->m[i] = -126; /* a normal f32 */
    scales[i] = ldexpf(1.0f, r->m[i]);
  }
  mtk_tensor out = *t;
  out.dtype = MTK_NVFP4;
  out.size_bytes = t->size_bytes / (2 * MX_BYTES) * NV_BYTES;
  out.data = NULL;
  out.read = read_recast;
  out.read_ctx = r;
  out.scales = scales;
  out.scale_n = r->matrix_rows;
  out.scale_k = mtk_tensor_row_elems(t);
  return mtk_model_replace_tensor(model, &out, err);
}

/* ---- the model ------------------------------------------------------------------------------ */

typedef struct member {
  span *spans; /* heap, one per matrix; NULL: not MXFP4 */
  const char *group;
  long block;
} member;

/* Matrices that loaders fuse get one scale: the span of all of them. */
static void join_groups(member *m, size_t n, const mtk_model *model) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < i && m[i].spans && m[i].group; j++) {
      int64_t count = mtk_tensor_matrices(mtk_model_tensor_at(model, i));
      bool same = m[j].spans && m[j].group && m[j].block == m[i].block &&
                  strcmp(m[j].group, m[i].group) == 0 &&
                  mtk_tensor_matrices(mtk_model_tensor_at(model, j)) == count;
      for (int64_t x = 0; same && x < count; x++) {
        span *a = &m[i].spans[x], *b = &m[j].spans[x];
        a->low = b->low = a->low < b->low ? a->low : b->low;
        a->high = b->high = a->high > b->high ? a->high : b->high;
      }
    }
}

static mtk_status measure_tensor(member *m, const mtk_arch_v1 *arch, const mtk_tensor *t,
                                 mtk_error *err) {
  int64_t n = mtk_tensor_matrices(t), rows = mtk_tensor_rows(t) / n;
  const mtk_arch_tensor *row = mtk_arch_row(arch, t->name);
  m->group = row ? row->fuse_group : NULL;
  m->block = mtk_tensor_block(t->name);
  m->spans = mtk_alloc((size_t)n, sizeof *m->spans);
  if (!m->spans) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int64_t i = 0; i < n; i++) MTK_TRY(measure(&m->spans[i], t, i * rows, rows, err));
  return MTK_OK;
}

/* How far the exponents of a tensor lie apart; more than 17: not exact. */
static int spread(const member *m, const mtk_tensor *t) {
  int most = 0;
  for (int64_t i = 0; i < mtk_tensor_matrices(t); i++) {
    int s = m->spans[i].high - m->spans[i].low;
    if (s > most) most = s;
  }
  return most;
}

static mtk_status check(const member *m, size_t n, const mtk_model *model, mtk_error *err) {
  size_t n_bad = 0;
  const mtk_tensor *first = NULL;
  int worst = 0;
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    int s = m[i].spans ? spread(&m[i], t) : 0;
    if (s <= HIGHEST - LOWEST) continue;
    mtk_log(MTK_LOG_WARN, "%s: its exponents spread over %d powers of two, nvfp4 holds %d", t->name,
            s, HIGHEST - LOWEST);
    if (!n_bad++) first = t, worst = s;
  }
  if (!n_bad) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, first->name,
                  "its exponents spread over %d powers of two, nvfp4 holds %d; %zu tensors cannot "
                  "become nvfp4 exactly: mtk quantize --to nvfp4 --requantize rounds them",
                  worst, HIGHEST - LOWEST, n_bad);
}

mtk_status mtk_model_recast_nvfp4(mtk_model *model, size_t *n_recast, mtk_error *err) {
  size_t n = mtk_model_tensor_count(model);
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  member *m = mtk_alloc(n, sizeof *m);
  mtk_status st = m ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  *n_recast = 0;
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    if (t->dtype != MTK_MXFP4 || t->scales || mtk_tensor_rows(t) == 0) continue;
    if (mtk_tensor_row_elems(t) % 64)
      st = mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "rows of %lld values do not fill blocks of 64",
                    (long long)mtk_tensor_row_elems(t));
    if (st == MTK_OK) st = measure_tensor(&m[i], arch, t, err);
  }
  if (st == MTK_OK) join_groups(m, n, model);
  if (st == MTK_OK) st = check(m, n, model, err);
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    if (!m[i].spans) continue;
    st = install(model, mtk_model_tensor_at(model, i), m[i].spans, err);
    ++*n_recast;
  }
  for (size_t i = 0; m && i < n; i++) mtk_free(m[i].spans);
  mtk_free(m);
  return st;
}
