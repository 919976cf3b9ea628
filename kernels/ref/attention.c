/* kernels/ref/attention.c: what the KV store, attention and its derivative mean.
 *
 * One query row (token, head of the group) after the other, in the order of the formulas in
 * <mtk/kernel.h>. The caller owns all memory; scratch holds one thread's rows. Pure functions. */
#include <math.h>
#include <string.h>

#include "families.h"
#include "ref/sum16.h"

static void mtk_k_kv_store__ref(float *const *k_pages, float *const *v_pages, const float *k,
                                const float *v, int64_t ld_kv, int64_t n_tokens, int64_t pos0,
                                int head_dim) {
  for (int64_t t = 0; t < n_tokens; t++, k += ld_kv, v += ld_kv) {
    int64_t page = (pos0 + t) / MTK_KV_PAGE, at = (pos0 + t) % MTK_KV_PAGE;
    float *k_group = k_pages[page] + at / 16 * head_dim * 16 + at % 16;
    for (int d = 0; d < head_dim; d++) k_group[(int64_t)d * 16] = k[d];
    memcpy(v_pages[page] + at * head_dim, v, (size_t)head_dim * sizeof *v);
  }
}

/* p_j = exp(s_j - max s) in place for j in [lo, hi); returns den, whose partials follow the
 * absolute position. */
static float exp_row(float *s, int64_t lo, int64_t hi) {
  float mx = -INFINITY;
  for (int64_t j = lo; j < hi; j++) mx = s[j] > mx ? s[j] : mx;
  float den[16] = {0};
  for (int64_t j = lo; j < hi; j++) {
    s[j] = mtk_math_expf(s[j] - mx);
    den[j % 16] += s[j];
  }
  return mtk_ref_tree16(den);
}

static size_t mtk_k_attn_scratch_floats__ref(int head_dim, int group, int64_t n_tokens,
                                             int64_t pos0) {
  (void)group;
  return (size_t)(pos0 + n_tokens) + (size_t)head_dim;
}

/* out of one query row at position pos. */
static void attend(float *out, const float *q, int64_t pos, const mtk_attn_args *a) {
  int64_t lo = a->window > 0 && pos + 1 > a->window ? pos + 1 - a->window : 0;
  float *qs = a->scratch, *s = qs + a->head_dim;
  for (int d = 0; d < a->head_dim; d++) qs[d] = q[d] * a->scale;
  for (int64_t j = lo; j <= pos; j++) {
    int64_t at = j % MTK_KV_PAGE;
    const float *k = a->k_pages[j / MTK_KV_PAGE] + at / 16 * a->head_dim * 16 + at % 16;
    s[j] = 0.0f;
    for (int d = 0; d < a->head_dim; d++) s[j] = fmaf(qs[d], k[(int64_t)d * 16], s[j]);
  }
  float inv = 1.0f / exp_row(s, lo, pos + 1);
  for (int d = 0; d < a->head_dim; d++) out[d] = 0.0f;
  for (int64_t j = lo; j <= pos; j++) {
    const float *v = a->v_pages[j / MTK_KV_PAGE] + j % MTK_KV_PAGE * a->head_dim;
    for (int d = 0; d < a->head_dim; d++) out[d] = fmaf(s[j], v[d], out[d]);
  }
  for (int d = 0; d < a->head_dim; d++) out[d] *= inv;
}

static void mtk_k_attention__ref(const mtk_attn_args *a) {
  for (int64_t t = 0; t < a->n_tokens; t++) {
    for (int h = 0; h < a->group; h++) {
      int64_t at = (int64_t)h * a->head_dim;
      attend(a->out + t * a->ld_out + at, a->q + t * a->ld_q + at, a->pos0 + t, a);
    }
  }
}

static size_t mtk_k_attn_bwd_scratch_floats__ref(int head_dim, int group, int64_t n_tokens) {
  (void)group;
  return 2 * (size_t)n_tokens + (size_t)head_dim;
}

/* The contribution of query t, head h: overwrites its d_q, adds to d_k and d_v of keys 0..t. */
static void attend_bwd(const mtk_attn_bwd_args *a, int64_t t, int h) {
  int hd = a->head_dim;
  const float *q = a->q + t * a->ld_q + (int64_t)h * hd;
  const float *d_out = a->d_out + t * a->ld_out + (int64_t)h * hd;
  float *d_q = a->d_q + t * a->ld_q + (int64_t)h * hd;
  float *qs = a->scratch, *p = qs + hd, *dp = p + a->n_tokens;
  for (int d = 0; d < hd; d++) qs[d] = q[d] * a->scale;
  for (int64_t j = 0; j <= t; j++) {
    p[j] = dp[j] = 0.0f;
    for (int d = 0; d < hd; d++) p[j] = fmaf(qs[d], a->k[j * a->ld_kv + d], p[j]);
    for (int d = 0; d < hd; d++) dp[j] = fmaf(d_out[d], a->v[j * a->ld_kv + d], dp[j]);
  }
  float den = exp_row(p, 0, t + 1);
  float dot[16] = {0};
  for (int64_t j = 0; j <= t; j++) {
    p[j] /= den;
    dot[j % 16] += p[j] * dp[j];
  }
  float mean = mtk_ref_tree16(dot);
  for (int d = 0; d < hd; d++) d_q[d] = 0.0f;
  for (int64_t j = 0; j <= t; j++) {
    float ds = p[j] * (dp[j] - mean);
    const float *k = a->k + j * a->ld_kv;
    float *d_k = a->d_k + j * a->ld_kv, *d_v = a->d_v + j * a->ld_kv;
    for (int d = 0; d < hd; d++) {
      d_q[d] = fmaf(ds, k[d], d_q[d]);
      d_k[d] = fmaf(ds, qs[d], d_k[d]);
      d_v[d] = fmaf(p[j], d_out[d], d_v[d]);
    }
  }
  for (int d = 0; d < hd; d++) d_q[d] *= a->scale;
}

static void mtk_k_attention_bwd__ref(const mtk_attn_bwd_args *a) {
  size_t row_bytes = (size_t)a->head_dim * sizeof(float);
  for (int64_t j = 0; j < a->n_tokens; j++) {
    memset(a->d_k + j * a->ld_kv, 0, row_bytes);
    memset(a->d_v + j * a->ld_kv, 0, row_bytes);
  }
  for (int64_t t = 0; t < a->n_tokens; t++) {
    for (int h = 0; h < a->group; h++) attend_bwd(a, t, h);
  }
}

void mtk_k_attention_init__ref(mtk_kernels *table) {
  table->kv_store = mtk_k_kv_store__ref;
  table->attn_scratch_floats = mtk_k_attn_scratch_floats__ref;
  table->attention = mtk_k_attention__ref;
  table->attn_bwd_scratch_floats = mtk_k_attn_bwd_scratch_floats__ref;
  table->attention_bwd = mtk_k_attention_bwd__ref;
}
