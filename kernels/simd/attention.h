/* kernels/simd/attention.h: attention over vectors (see attention_rows.h). Included once by
 * avx2/attention.c and avx512/attention.c.
 *
 * A block of TILE_ROWS query rows shares every load of K and V. Scratch: q[head_dim][TILE_ROWS],
 * o[rows][v_dim], then whole score rows of the block. Pure functions; any thread may call on its
 * own tokens or KV heads with its own scratch. */
#include "families.h"
#include "simd/attention_bwd.h"
#include "simd/attention_rows.h"

static size_t MTK_K(attn_scratch_floats)(const mtk_attn_args *a) {
  int64_t rows = a->n_tokens * a->group < TILE_ROWS ? a->n_tokens * a->group : TILE_ROWS;
  return (size_t)(a->head_dim * TILE_ROWS + a->v_dim * rows + 32 + rows * score_ld(a->n_keys));
}

/* Query rows r0..r0+rows. */
static void attend_block(const mtk_attn_args *a, int64_t r0, int64_t rows) {
  int hd = a->head_dim, vd = a->v_dim;
  key_range r[TILE_ROWS];
  float *q = a->scratch, *o = q + (int64_t)hd * TILE_ROWS;
  float *s = o + (rows * vd + 15) / 16 * 16;
  for (int64_t i = 0; i < rows; i++) {
    int64_t t = (r0 + i) / a->group, h = (r0 + i) % a->group;
    r[i] = seen(a->pos0 + t, a->n_keys, a->window, a->bidirectional);
    pack_query(q, i, a->q + t * a->ld_q + h * hd, hd, a->scale);
  }
  int64_t base = r[0].lo / MTK_KV_PAGE * MTK_KV_PAGE, ld_s = score_ld(a->n_keys);
  const key_store k = {a->k_pages, MTK_KV_PAGE, 0}, v = {a->v_pages, MTK_KV_PAGE, vd};
  score_keys(s, ld_s, base, q, rows, hd, &k, base, r[rows - 1].hi);
  float den[TILE_ROWS];
  for (int64_t i = 0; i < rows; i++) {
    int64_t lo = r[i].lo - base, hi = r[i].hi - base;
    float sink = a->sinks ? a->sinks[(r0 + i) % a->group] : -INFINITY;
    if (a->softcap > 0.0f) cap_row(s + i * ld_s, NULL, lo, hi, a->softcap);
    den[i] = exp_row(s + i * ld_s, lo, hi, sink);
  }
  memset(o, 0, (size_t)(rows * vd) * sizeof *o);
  mix_ragged(o, vd, s, ld_s, base, rows, vd, &v, r);
  for (int64_t i = 0; i < rows; i++) {
    int64_t t = (r0 + i) / a->group, h = (r0 + i) % a->group;
    float *out = a->out + t * a->ld_out + h * vd, inv = 1.0f / den[i];
    for (int64_t d = 0; d < vd; d++) out[d] = o[i * vd + d] * inv;
  }
}

static void MTK_K(attention)(const mtk_attn_args *a) {
  int64_t n = a->n_tokens * a->group;
  for (int64_t r = 0; r < n; r += TILE_ROWS) {
    attend_block(a, r, n - r < TILE_ROWS ? n - r : TILE_ROWS);
  }
}

void MTK_K(attention_init)(mtk_kernels *table) {
  table->attn_scratch_floats = MTK_K(attn_scratch_floats);
  table->attention = MTK_K(attention);
  table->attn_bwd_scratch_floats = MTK_K(attn_bwd_scratch_floats);
  table->attention_bwd = MTK_K(attention_bwd);
}
