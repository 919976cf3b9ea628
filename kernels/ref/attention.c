/* kernels/ref/attention.c: what the KV store, attention and its derivative mean.
 *
 * One query row (token, head of the group) after the other, in the order of the formulas in
 * <mtk/kernel.h>. The caller owns all memory; scratch holds one thread's rows. Pure functions. */
#include <math.h>
#include <string.h>

#include "families.h"
#include "kv_page.h"
#include "ref/sum16.h"

/* ---- the cache ------------------------------------------------------------------------------- */

size_t mtk_kv_page_bytes(mtk_dtype type, int dim) {
  size_t codes = kv_element_bytes(type) * MTK_KV_PAGE * (size_t)dim;
  if (type != MTK_Q8_0) return codes;
  return codes + ((size_t)dim + KV_BLOCK - 1) / KV_BLOCK * MTK_KV_PAGE * sizeof(uint16_t);
}

static void encode_block(mtk_dtype type, void *coded, const float *block) {
  mtk_dtype_encode(type, coded, block, KV_BLOCK);
}

static void mtk_k_kv_store__ref(mtk_dtype type, void *const *k_pages, void *const *v_pages,
                                const float *k, int64_t ld_k, const float *v, int64_t ld_v,
                                int64_t n_tokens, int64_t pos0, int head_dim, int v_dim) {
  kv_store_tokens(encode_block, type, k_pages, v_pages, k, ld_k, v, ld_v, n_tokens, pos0, head_dim,
                  v_dim);
}

/* Element d, at index i, of the vector of dim elements at position `at`. */
static float element(mtk_dtype type, const void *page, int64_t i, int64_t at, int64_t d, int dim) {
  if (type == MTK_F32) return ((const float *)page)[i];
  if (type == MTK_Q8_0) {
    uint16_t scale;
    memcpy(&scale, (const uint8_t *)page + kv_scale_offset(at, d, dim), sizeof scale);
    return (float)((const int8_t *)page)[i] * mtk_f16_to_f32(scale);
  }
  float value;
  mtk_dtype_decode(type, &value, (const uint8_t *)page + (size_t)i * kv_element_bytes(type), 1);
  return value;
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Keys [lo, hi) that the query at position pos sees. */
typedef struct key_range {
  int64_t lo, hi;
} key_range;

static key_range seen(int64_t pos, int64_t n_keys, int64_t window, int bidirectional) {
  if (bidirectional) return (key_range){0, n_keys};
  return (key_range){window > 0 && pos + 1 > window ? pos + 1 - window : 0, pos + 1};
}

/* s_j = softcap * tanh(s_j / softcap) in place; dc (may be NULL) gets the derivative. */
static void cap_row(float *s, float *dc, key_range r, float softcap) {
  for (int64_t j = r.lo; j < r.hi; j++) {
    float h = mtk_math_tanhf(s[j] / softcap);
    s[j] = softcap * h;
    if (dc) dc[j] = fmaf(-h, h, 1.0f);
  }
}

/* p_j = exp(s_j - max s) in place; returns den, whose partials follow the absolute position. */
static float exp_row(float *s, key_range r, float sink) {
  float mx = -INFINITY;
  for (int64_t j = r.lo; j < r.hi; j++) mx = s[j] > mx ? s[j] : mx;
  mx = sink > mx ? sink : mx;
  float den[16] = {0};
  for (int64_t j = r.lo; j < r.hi; j++) {
    s[j] = mtk_math_expf(s[j] - mx);
    den[j % 16] += s[j];
  }
  return mtk_ref_tree16(den) + mtk_math_expf(sink - mx);
}

static size_t mtk_k_attn_scratch_floats__ref(const mtk_attn_args *a) {
  return (size_t)a->n_keys + (size_t)a->head_dim;
}

/* s[j - base] of keys j0..j1 for one query row. */
static void score(const mtk_attn_args *a, float *s, int64_t base, const float *q, int64_t j0,
                  int64_t j1) {
  float *qs = a->scratch;
  for (int d = 0; d < a->head_dim; d++) qs[d] = q[d] * a->scale;
  for (int64_t j = j0; j < j1; j++) {
    const void *page = a->k_pages[j / MTK_KV_PAGE];
    int64_t at = j % MTK_KV_PAGE, first = kv_key_index(at, a->head_dim);
    float sum = 0.0f;
    for (int d = 0; d < a->head_dim; d++) {
      float k = element(a->kv_type, page, first + (int64_t)d * 16, at, d, a->head_dim);
      sum = fmaf(qs[d], k, sum);
    }
    s[j - base] = sum;
  }
}

/* Scores of head h into p in place; returns 1/den. base is a multiple of 16. */
static float weigh(const mtk_attn_args *a, float *s, int64_t base, key_range r, int h) {
  const key_range at = {r.lo - base, r.hi - base};
  if (a->softcap > 0.0f) cap_row(s, NULL, at, a->softcap);
  return 1.0f / exp_row(s, at, a->sinks ? a->sinks[h] : -INFINITY);
}

/* Columns d0..d1 of a row of out. */
static void mix(const mtk_attn_args *a, float *out, const float *p, int64_t base, key_range r,
                float inv, int64_t d0, int64_t d1) {
  for (int64_t d = d0; d < d1; d++) out[d] = 0.0f;
  for (int64_t j = r.lo; j < r.hi; j++) {
    const void *page = a->v_pages[j / MTK_KV_PAGE];
    int64_t at = j % MTK_KV_PAGE;
    for (int64_t d = d0; d < d1; d++) {
      float v = element(a->kv_type, page, at * a->v_dim + d, at, d, a->v_dim);
      out[d] = fmaf(p[j - base], v, out[d]);
    }
  }
  for (int64_t d = d0; d < d1; d++) out[d] *= inv;
}

static void mtk_k_attention__ref(const mtk_attn_args *a) {
  float *s = a->scratch + a->head_dim;
  for (int64_t t = 0; t < a->n_tokens; t++) {
    key_range r = seen(a->pos0 + t, a->n_keys, a->window, a->bidirectional);
    for (int h = 0; h < a->group; h++) {
      score(a, s, 0, a->q + t * a->ld_q + (int64_t)h * a->head_dim, r.lo, r.hi);
      float inv = weigh(a, s, 0, r, h);
      mix(a, a->out + t * a->ld_out + (int64_t)h * a->v_dim, s, 0, r, inv, 0, a->v_dim);
    }
  }
}

/* The last column of a row of scores keeps 1/den. */
static void mtk_k_attention_step__ref(const mtk_attn_args *a, mtk_attn_step step, int64_t i0,
                                      int64_t i1) {
  key_range r = seen(a->pos0, a->n_keys, a->window, a->bidirectional);
  int64_t base = r.lo / MTK_KV_PAGE * MTK_KV_PAGE;
  for (int h = 0; h < a->group; h++) {
    float *s = a->scores + h * a->ld_scores, *inv = s + a->ld_scores - 1;
    if (step == MTK_ATTN_SCORES)
      score(a, s, base, a->q + (int64_t)h * a->head_dim, i0 > r.lo ? i0 : r.lo, i1);
    else if (step == MTK_ATTN_VALUES)
      mix(a, a->out + (int64_t)h * a->v_dim, s, base, r, *inv, i0, i1);
    else if (h >= i0 && h < i1)
      *inv = weigh(a, s, base, r, h);
  }
}

/* ---- its derivative -------------------------------------------------------------------------- */

static size_t mtk_k_attn_bwd_scratch_floats__ref(const mtk_attn_bwd_args *a) {
  return 3 * (size_t)a->n_tokens + (size_t)a->head_dim;
}

/* P and dS of query t, head h over all keys into p and ds; dc: one more row of scratch. */
static void differentiate_row(float *p, float *ds, float *dc, const float *qs, const float *d_out,
                              int64_t t, int h, const mtk_attn_bwd_args *a) {
  key_range r = seen(t, a->n_tokens, a->window, a->bidirectional);
  for (int64_t j = 0; j < a->n_tokens; j++) p[j] = ds[j] = 0.0f;
  for (int64_t j = r.lo; j < r.hi; j++) {
    for (int d = 0; d < a->head_dim; d++) p[j] = fmaf(qs[d], a->k[j * a->ld_k + d], p[j]);
    for (int d = 0; d < a->v_dim; d++) ds[j] = fmaf(d_out[d], a->v[j * a->ld_v + d], ds[j]);
  }
  if (a->softcap > 0.0f) cap_row(p, dc, r, a->softcap);
  float den = exp_row(p, r, a->sinks ? a->sinks[h] : -INFINITY);
  float dot[16] = {0};
  for (int64_t j = r.lo; j < r.hi; j++) {
    p[j] /= den;
    dot[j % 16] += p[j] * ds[j];
  }
  float mean = mtk_ref_tree16(dot);
  for (int64_t j = r.lo; j < r.hi; j++) ds[j] = p[j] * (ds[j] - mean);
  if (a->softcap > 0.0f)
    for (int64_t j = r.lo; j < r.hi; j++) ds[j] *= dc[j];
}

/* The contribution of query t, head h: overwrites its d_q, adds to d_k and d_v of keys it sees. */
static void attend_bwd(const mtk_attn_bwd_args *a, int64_t t, int h) {
  int hd = a->head_dim, vd = a->v_dim;
  const float *q = a->q + t * a->ld_q + (int64_t)h * hd;
  const float *d_out = a->d_out + t * a->ld_out + (int64_t)h * vd;
  float *d_q = a->d_q + t * a->ld_q + (int64_t)h * hd;
  float *qs = a->scratch, *p = qs + hd, *ds = p + a->n_tokens, *dc = ds + a->n_tokens;
  for (int d = 0; d < hd; d++) qs[d] = q[d] * a->scale;
  differentiate_row(p, ds, dc, qs, d_out, t, h, a);
  key_range r = seen(t, a->n_tokens, a->window, a->bidirectional);
  for (int d = 0; d < hd; d++) d_q[d] = 0.0f;
  for (int64_t j = r.lo; j < r.hi; j++)
    for (int d = 0; d < hd; d++) d_q[d] = fmaf(ds[j], a->k[j * a->ld_k + d], d_q[d]);
  for (int64_t j = r.lo; j < r.hi; j++) {
    float *d_k = a->d_k + j * a->ld_k, *d_v = a->d_v + j * a->ld_v;
    for (int d = 0; d < hd; d++) d_k[d] = fmaf(ds[j], qs[d], d_k[d]);
    for (int d = 0; d < vd; d++) d_v[d] = fmaf(p[j], d_out[d], d_v[d]);
  }
  for (int d = 0; d < hd; d++) d_q[d] *= a->scale;
}

static void mtk_k_attention_bwd__ref(const mtk_attn_bwd_args *a) {
  for (int64_t j = 0; j < a->n_tokens; j++) {
    memset(a->d_k + j * a->ld_k, 0, (size_t)a->head_dim * sizeof(float));
    memset(a->d_v + j * a->ld_v, 0, (size_t)a->v_dim * sizeof(float));
  }
  for (int64_t t = 0; t < a->n_tokens; t++) {
    for (int h = 0; h < a->group; h++) attend_bwd(a, t, h);
  }
  for (int64_t j = 0; j < a->n_tokens; j++) {
    for (int d = 0; d < a->head_dim; d++) a->d_k[j * a->ld_k + d] += 0.0f;
    for (int d = 0; d < a->v_dim; d++) a->d_v[j * a->ld_v + d] += 0.0f;
  }
}

void mtk_k_attention_init__ref(mtk_kernels *table) {
  table->kv_store = mtk_k_kv_store__ref;
  table->attn_scratch_floats = mtk_k_attn_scratch_floats__ref;
  table->attention = mtk_k_attention__ref;
  table->attention_step = mtk_k_attention_step__ref;
  table->attn_bwd_scratch_floats = mtk_k_attn_bwd_scratch_floats__ref;
  table->attention_bwd = mtk_k_attention_bwd__ref;
}
