/* model/verify.c: a quantized model beside the one it was made from (mtk_model_compare). Chunks of
 * rows of both are decoded on the pool and compared; sums are added in the order of the chunks, so
 * that they do not depend on the threads. Nothing of a tensor stays in memory. */
#include <mtk/ext/arch.h>
#include <mtk/quantize.h>

#include <math.h>
#include <string.h>

#include "model/model_impl.h"

enum { CHUNK_FLOATS = 1 << 15 }; /* of both models: what a cache holds */

/* ---- what is known of a storage type --------------------------------------------------------- */

/* How the codes of a block lie in its bytes. */
typedef enum code_kind {
  CODES_NONE,
  CODES_E2M1,    /* two a byte, largest magnitude 7 */
  CODES_NIBBLES, /* two a byte, 0 and 15 are the ends */
  CODES_I8,      /* +-127 */
  CODES_E4M3,    /* 0x7E without the sign */
  CODES_E5M2,    /* 0x7B without the sign */
  CODES_COUNT
} code_kind;

/* How the scales of a block lie in its bytes. */
typedef enum scale_kind { SCALE_NONE, SCALE_E4M3, SCALE_E8M0, SCALE_F16 } scale_kind;

typedef struct type_rule {
  mtk_dtype dtype;
  int group;   /* values under one scale of the block (the superblock's for k types) */
  float floor; /* smallest scale times largest level: a group with more than this is never zero */
  code_kind codes;
  uint32_t first; /* byte of a block where its codes begin */
  scale_kind scale;
  uint32_t scale_byte, n_scales; /* where they begin, how many (superblocks: theirs alone) */
} type_rule;

static const type_rule g_rules[] = {
    {MTK_NVFP4, 16, 6 * 0x1p-9f, CODES_E2M1, 4, SCALE_E4M3, 0, 4},
    {MTK_MXFP4, 32, 6 * 0x1p-127f, CODES_E2M1, 1, SCALE_E8M0, 0, 1},
    {MTK_MXFP8, 32, 448 * 0x1p-127f, CODES_E4M3, 1, SCALE_E8M0, 0, 1},
    {MTK_F8_E4M3, 1, 448, CODES_E4M3, 0, SCALE_NONE, 0, 0},
    {MTK_F8_E5M2, 1, 57344, CODES_E5M2, 0, SCALE_NONE, 0, 0},
    {MTK_F4_E2M1, 2, 6, CODES_E2M1, 0, SCALE_NONE, 0, 0},
    {MTK_Q4_0, 32, 8 * 0x1p-24f, CODES_NIBBLES, 2, SCALE_F16, 0, 1},
    {MTK_Q4_1, 32, 15 * 0x1p-24f, CODES_NIBBLES, 4, SCALE_F16, 0, 1},
    {MTK_Q5_0, 32, 16 * 0x1p-24f, CODES_NONE, 0, SCALE_F16, 0, 1},
    {MTK_Q5_1, 32, 31 * 0x1p-24f, CODES_NONE, 0, SCALE_F16, 0, 1},
    {MTK_Q8_0, 32, 127 * 0x1p-24f, CODES_I8, 2, SCALE_F16, 0, 1},
    {MTK_IQ4_NL, 32, 127 * 0x1p-24f, CODES_NIBBLES, 2, SCALE_F16, 0, 1},
    {MTK_IQ4_XS, 256, 32 * 127 * 0x1p-24f, CODES_NIBBLES, 8, SCALE_F16, 0, 1},
    {MTK_Q2_K, 256, 15 * 3 * 0x1p-24f, CODES_NONE, 0, SCALE_F16, 80, 1},
    {MTK_Q3_K, 256, 32 * 4 * 0x1p-24f, CODES_NONE, 0, SCALE_F16, 108, 1},
    {MTK_Q4_K, 256, 63 * 15 * 0x1p-24f, CODES_NONE, 0, SCALE_F16, 0, 1},
    {MTK_Q5_K, 256, 63 * 31 * 0x1p-24f, CODES_NONE, 0, SCALE_F16, 0, 1},
    {MTK_Q6_K, 256, 128 * 32 * 0x1p-24f, CODES_NONE, 0, SCALE_F16, 208, 1},
};

static const type_rule *find_rule(mtk_dtype dtype) {
  for (size_t i = 0; i < sizeof g_rules / sizeof *g_rules; i++)
    if (g_rules[i].dtype == dtype) return &g_rules[i];
  return NULL;
}

/* Codes at the largest level in one byte. */
static int saturated_in(code_kind kind, uint8_t byte) {
  uint8_t low = byte & 15, high = byte >> 4;
  switch (kind) {
  case CODES_E2M1: return ((low & 7) == 7) + ((high & 7) == 7);
  case CODES_NIBBLES: return (low == 0 || low == 15) + (high == 0 || high == 15);
  case CODES_I8: return byte >= 0x7F && byte <= 0x81;
  case CODES_E4M3: return (byte & 0x7F) == 0x7E;
  case CODES_E5M2: return (byte & 0x7F) == 0x7B;
  case CODES_NONE:
  case CODES_COUNT: break;
  }
  return 0;
}

static int64_t count_saturated(const type_rule *rule, const uint8_t *bytes, size_t n_blocks) {
  uint8_t table[256];
  uint32_t size = mtk_dtype_get(rule->dtype)->block_bytes;
  int64_t n = 0;
  for (int i = 0; i < 256; i++) table[i] = (uint8_t)saturated_in(rule->codes, (uint8_t)i);
  for (; n_blocks--; bytes += size)
    for (uint32_t i = rule->first; i < size; i++) n += table[bytes[i]];
  return n;
}

/* ---- one tensor ------------------------------------------------------------------------------ */

typedef struct part {
  mtk_status status;
  mtk_error error;
  mtk_compare_row sums;
} part;

typedef struct job {
  const mtk_tensor *copy, *source;
  const type_rule *rule; /* of the copy; may be NULL */
  int64_t chunk, rows, k;
  part *parts;
} job;

static void note_fault(mtk_compare_row *r, mtk_compare_fault fault, int64_t row) {
  if (r->fault != MTK_COMPARE_OK) return;
  r->fault = fault;
  r->bad_row = row;
}

static float scale_at(const mtk_tensor *t, int64_t row, int64_t column) {
  if (!t->scales) return 1;
  int64_t per_row = (mtk_tensor_row_elems(t) - 1) / t->scale_k + 1;
  return t->scales[row / t->scale_n * per_row + column / t->scale_k];
}

/* Eight values at a time; the same sums with any width of the machine's vectors. */
typedef float float8 __attribute__((vector_size(32)));
typedef int32_t mask8 __attribute__((vector_size(32))); /* -1 = true */
typedef double double8 __attribute__((vector_size(64)));
typedef int64_t wide_mask8 __attribute__((vector_size(64)));
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

/* Sums of n values, a multiple of 8. */
typedef struct sums8 {
  double8 error2, norm2, most;
  mask8 zeros, flushed; /* minus their numbers */
} sums8;

WIDE static void sum_eights(sums8 *out, const float *got, const float *want, int64_t n) {
  sums8 s = {0};
  for (int64_t i = 0; i < n; i += 8) {
    float8 g, w;
    memcpy(&g, got + i, sizeof g);
    memcpy(&w, want + i, sizeof w);
    double8 wide = __builtin_convertvector(w, double8);
    double8 d = __builtin_convertvector(g, double8) - wide, d2 = d * d;
    wide_mask8 more = d2 > s.most;
    s.error2 += d2;
    s.norm2 += wide * wide;
    s.most = (double8)(((wide_mask8)d2 & more) | ((wide_mask8)s.most & ~more));
    s.zeros += g == 0;
    s.flushed += (g == 0) & (w != 0);
  }
  *out = s;
}

/* Sums of a row without NaN and infinities; false, and nothing is added, if there are some. */
static bool sum_finite(mtk_compare_row *r, const float *got, const float *want, int64_t k) {
  sums8 s;
  int64_t zeros = 0, flushed = 0, i = k / 8 * 8;
  sum_eights(&s, got, want, i);
  double error2 = 0, norm2 = 0, most = 0;
  for (int l = 0; l < 8; l++) {
    error2 += s.error2[l];
    norm2 += s.norm2[l];
    most = s.most[l] > most ? s.most[l] : most;
    zeros -= s.zeros[l];
    flushed -= s.flushed[l];
  }
  for (; i < k; i++) {
    double w = want[i], d = got[i] - w, d2 = d * d;
    error2 += d2;
    norm2 += w * w;
    most = d2 > most ? d2 : most;
    zeros += got[i] == 0;
    flushed += (got[i] == 0) & (want[i] != 0);
  }
  if (!isfinite(error2)) return false;
  r->error2 += error2;
  r->norm2 += norm2;
  r->max_error = fmax(r->max_error, sqrt(most));
  r->zeros += (uint64_t)zeros;
  r->flushed += (uint64_t)flushed;
  return true;
}

/* The same of the values that are finite in the source. */
static void sum_others(mtk_compare_row *r, const float *got, const float *want, int64_t k,
                       int64_t row) {
  for (int64_t i = 0; i < k; i++) {
    if (!isfinite(want[i])) continue;
    if (!isfinite(got[i])) note_fault(r, MTK_COMPARE_NOT_FINITE, row);
    else (void)sum_finite(r, got + i, want + i, 1);
  }
}

/* Is a group of zeros where the source has more than its smallest scale would hold? */
static bool has_lost_block(const job *j, int64_t row, const float *got, const float *want) {
  for (int64_t at = 0; at < j->k; at += j->rule->group) {
    int64_t end = at + j->rule->group, i = at;
    float amax = 0;
    while (i < end && got[i] == 0) i++;
    if (i < end) continue;
    for (i = at; i < end; i++)
      if (isfinite(want[i])) amax = fmaxf(amax, fabsf(want[i]));
    if (amax > 0 && amax >= j->rule->floor * scale_at(j->copy, row, at)) return true;
  }
  return false;
}

static void compare_row(mtk_compare_row *r, const job *j, int64_t row, const float *got,
                        const float *want) {
  if (!sum_finite(r, got, want, j->k)) sum_others(r, got, want, j->k, row);
  if (j->rule && has_lost_block(j, row, got, want)) note_fault(r, MTK_COMPARE_LOST_BLOCK, row);
}

/* By the power of two that is not above it, which its bits say. */
static void count_scale(mtk_compare_row *r, float scale) {
  uint32_t bits;
  memcpy(&bits, &scale, sizeof bits);
  if (!(scale > 0) || !isfinite(scale)) return;
  int at = (int)(bits >> 23) - 127 + MTK_COMPARE_SCALE_ONE, last = MTK_COMPARE_SCALES - 1;
  r->scales[at < 0 ? 0 : at > last ? last : at]++;
}

static float block_scale(const type_rule *rule, const uint8_t *block, uint32_t i) {
  const uint8_t *p = block + rule->scale_byte;
  switch (rule->scale) {
  case SCALE_E4M3: return mtk_e4m3_to_f32(p[i]);
  case SCALE_E8M0: return mtk_e8m0_to_f32(p[i]);
  case SCALE_F16: return mtk_f16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
  case SCALE_NONE: break;
  }
  return 0;
}

static void count_scales(mtk_compare_row *r, const job *j, const uint8_t *bytes, int64_t row0,
                         int64_t n) {
  const mtk_dtype_info *info = mtk_dtype_get(j->rule->dtype);
  for (int64_t row = row0; row < row0 + n; row++)
    for (int64_t at = 0; at < j->k; at += info->block_elems, bytes += info->block_bytes) {
      float outside = j->copy->scales ? scale_at(j->copy, row, at) : 1;
      for (uint32_t i = 0; i < j->rule->n_scales; i++)
        count_scale(r, fabsf(outside * block_scale(j->rule, bytes, i)));
    }
}

/* Decoded rows of a tensor; *raw are their bytes in storage type. */
static mtk_status fetch_rows(float **x, void **buffer, const void **raw, const mtk_tensor *t,
                             int64_t row0, int64_t n, mtk_error *err) {
  size_t count;
  if (!mtk_mul_ok((size_t)n, (size_t)mtk_tensor_row_elems(t), &count))
    return mtk_fail(err, MTK_E_NOMEM, t->name, "too large");
  *x = mtk_alloc(count, sizeof **x);
  *buffer = t->data ? NULL : mtk_alloc((size_t)n, mtk_tensor_row_bytes(t));
  if (!*x || !(t->data || *buffer)) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  MTK_TRY(mtk_tensor_fetch(raw, t, row0, n, *buffer, err));
  mtk_tensor loaded = *t; /* so that a tensor that is produced is produced once */
  loaded.data = *raw;
  loaded.scales = NULL;
  MTK_TRY(mtk_tensor_fetch_f32(*x, &loaded, 0, n, NULL, err));
  for (int64_t r = 0, k = mtk_tensor_row_elems(t); t->scales && r < n; r++)
    for (int64_t at = 0; at < k; at += t->scale_k) {
      int64_t end = at + t->scale_k < k ? at + t->scale_k : k;
      float scale = scale_at(t, row0 + r, at);
      for (int64_t i = at; i < end; i++) (*x)[r * k + i] *= scale;
    }
  return MTK_OK;
}

static void compare_task(void *ctx, int64_t task, int worker) {
  (void)worker;
  job *j = ctx;
  part *p = &j->parts[task];
  int64_t row0 = task * j->chunk, n = j->rows - row0 < j->chunk ? j->rows - row0 : j->chunk;
  float *got = NULL, *want = NULL;
  void *buffers[2] = {NULL, NULL};
  const void *raw = NULL, *source_raw = NULL;
  p->status = fetch_rows(&want, &buffers[0], &source_raw, j->source, row0, n, &p->error);
  mtk_status st = p->status;
  if (st == MTK_OK) st = fetch_rows(&got, &buffers[1], &raw, j->copy, row0, n, &p->error);
  if (st == MTK_E_NOMEM)
    p->status = st;
  else if (p->status == MTK_OK && st != MTK_OK)
    note_fault(&p->sums, MTK_COMPARE_UNREADABLE, row0);
  if (st == MTK_OK) {
    for (int64_t r = 0; r < n; r++)
      compare_row(&p->sums, j, row0 + r, got + r * j->k, want + r * j->k);
    size_t blocks = (size_t)(n * j->k) / mtk_dtype_get(j->copy->dtype)->block_elems;
    if (j->rule) p->sums.saturated = count_saturated(j->rule, raw, blocks);
    if (j->rule && j->rule->n_scales) count_scales(&p->sums, j, raw, row0, n);
  }
  mtk_free(got);
  mtk_free(want);
  mtk_free(buffers[0]);
  mtk_free(buffers[1]);
}

static void add_part(mtk_compare_row *row, const part *p) {
  row->error2 += p->sums.error2;
  row->norm2 += p->sums.norm2;
  row->max_error = fmax(row->max_error, p->sums.max_error);
  row->flushed += p->sums.flushed;
  row->zeros += p->sums.zeros;
  for (int i = 0; i < MTK_COMPARE_SCALES; i++) row->scales[i] += p->sums.scales[i];
  if (row->saturated >= 0) row->saturated += p->sums.saturated;
  if (p->sums.fault != MTK_COMPARE_OK) note_fault(row, p->sums.fault, p->sums.bad_row);
}

static mtk_status compare_values(mtk_compare_row *row, const mtk_tensor *copy,
                                 const mtk_tensor *source, mtk_pool *pool, mtk_error *err) {
  job j = {.copy = copy, .source = source, .rule = find_rule(copy->dtype),
           .rows = mtk_tensor_rows(copy), .k = mtk_tensor_row_elems(copy)};
  if (row->elements == 0 || copy->dtype == MTK_C64 || source->dtype == MTK_C64) return MTK_OK;
  j.chunk = j.k < CHUNK_FLOATS ? CHUNK_FLOATS / j.k : 1;
  int64_t n_tasks = (j.rows - 1) / j.chunk + 1;
  if (j.rule && j.rule->codes != CODES_NONE) row->saturated = 0;
  j.parts = mtk_alloc((size_t)n_tasks, sizeof *j.parts);
  if (!j.parts) return mtk_fail(err, MTK_E_NOMEM, copy->name, "out of memory");
  mtk_pool_run(pool, n_tasks, compare_task, &j);
  mtk_status st = MTK_OK;
  for (int64_t i = 0; i < n_tasks && st == MTK_OK; i++) {
    st = j.parts[i].status;
    if (st == MTK_OK) add_part(row, &j.parts[i]);
    else if (err) *err = j.parts[i].error;
  }
  mtk_free(j.parts);
  for (int64_t i = 0; j.rule && !j.rule->n_scales && i < mtk_tensor_scale_count(copy); i++)
    count_scale(row, fabsf(copy->scales[i]));
  return st;
}

static bool same_shape(const mtk_tensor *a, const mtk_tensor *b) {
  if (a->n_dims != b->n_dims) return false;
  return memcmp(a->shape, b->shape, (size_t)a->n_dims * sizeof *a->shape) == 0;
}

static bool scales_finite(const mtk_tensor *t) {
  int64_t n = mtk_tensor_scale_count(t);
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(t->scales[i])) return false;
  return isfinite(t->input_scale);
}

static mtk_status compare_tensor(mtk_compare_row *row, mtk_arena *arena, const mtk_model *copies,
                                 const mtk_tensor *source, mtk_pool *pool, mtk_error *err) {
  const mtk_tensor *copy = mtk_model_tensor(copies, source->name);
  row->name = mtk_arena_strndup(arena, source->name, strlen(source->name));
  if (!row->name) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  row->from = source->dtype;
  row->to = copy ? copy->dtype : source->dtype;
  row->bad_row = row->saturated = -1;
  row->elements = (uint64_t)(mtk_tensor_rows(source) * mtk_tensor_row_elems(source));
  if (!copy) note_fault(row, MTK_COMPARE_MISSING, -1);
  else if (!same_shape(copy, source)) note_fault(row, MTK_COMPARE_SHAPE, -1);
  if (row->fault != MTK_COMPARE_OK) return MTK_OK;
  if (!scales_finite(copy) && scales_finite(source)) note_fault(row, MTK_COMPARE_NOT_FINITE, -1);
  return compare_values(row, copy, source, pool, err);
}

/* ---- fused groups ---------------------------------------------------------------------------- */

/* A tensor whose scales, one per matrix, its group must share. */
typedef struct member {
  const char *group; /* NULL = none */
  long block;
  const mtk_tensor *t;
} member;

static member member_of(const mtk_arch_v1 *arch, const mtk_compare_row *row, const mtk_tensor *t) {
  long index[2] = {-1, -1};
  bool changed = t && row->from != row->to; /* tensors that were kept have their makers' scales */
  bool one_each = changed && t->scales && mtk_tensor_scale_count(t) == mtk_tensor_matrices(t);
  const mtk_arch_tensor *slot = one_each ? mtk_arch_row_at(index, arch, t->name) : NULL;
  return (member){slot ? slot->fuse_group : NULL, index[0], t};
}

static bool share(const member *a, const member *b) {
  if (a->block != b->block || !b->group || strcmp(a->group, b->group) != 0) return false;
  return a->t->dtype == b->t->dtype && mtk_tensor_matrices(a->t) == mtk_tensor_matrices(b->t);
}

static mtk_status compare_groups(mtk_compare_report *report, const mtk_model *copy,
                                 mtk_error *err) {
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(copy));
  if (!arch) return MTK_OK;
  member *members = mtk_alloc(report->n_rows, sizeof *members);
  if (!members) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < report->n_rows; i++) {
    members[i] = member_of(arch, &report->rows[i], mtk_model_tensor(copy, report->rows[i].name));
    if (!members[i].group) continue;
    size_t first = 0;
    while (first < i && !share(&members[i], &members[first])) first++;
    size_t bytes = (size_t)mtk_tensor_matrices(members[i].t) * sizeof(float);
    const mtk_tensor *t = members[i].t, *other = members[first].t;
    if (memcmp(t->scales, other->scales, bytes) != 0 ||
        memcmp(&t->input_scale, &other->input_scale, sizeof t->input_scale) != 0)
      note_fault(&report->rows[i], MTK_COMPARE_FUSED, -1);
  }
  mtk_free(members);
  return MTK_OK;
}

/* ---- the model ------------------------------------------------------------------------------- */

mtk_status mtk_model_compare(mtk_compare_report *report, const mtk_model *copy, mtk_model *source,
                             mtk_pool *pool, mtk_error *err) {
  size_t n = mtk_model_tensor_count(source);
  *report = (mtk_compare_report){.arena = mtk_arena_create()};
  if (report->arena) report->rows = mtk_arena_alloc(report->arena, n, sizeof *report->rows);
  if (!report->rows) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  const char *pairing = mtk_meta_str(mtk_model_meta(copy), "rope.pairing", NULL);
  if (pairing && *mtk_model_arch(source)) MTK_TRY(mtk_model_set_pairing(source, pairing, err));
  for (size_t i = 0; i < n; i++) {
    if (mtk_cancelled()) return mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
    MTK_TRY(compare_tensor(&report->rows[i], report->arena, copy, mtk_model_tensor_at(source, i),
                           pool, err));
    mtk_progress("verify", i + 1, n, "tensors");
  }
  report->n_rows = n;
  MTK_TRY(compare_groups(report, copy, err));
  for (size_t i = 0; i < n; i++) report->n_faults += report->rows[i].fault != MTK_COMPARE_OK;
  return MTK_OK;
}

void mtk_compare_report_finish(mtk_compare_report *report) {
  mtk_arena_destroy(report->arena);
  *report = (mtk_compare_report){0};
}
