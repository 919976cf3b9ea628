/* kernels/simd/attention.h: attention over vectors (see attention_rows.h). Included once by
 * avx2/attention.c and avx512/attention.c.
 *
 * A block of TILE_ROWS query rows shares every load of K and V. Scratch: q[head_dim][TILE_ROWS],
 * o[rows][head_dim], then whole score rows of the block. Pure functions; any thread may call on its
 * own tokens or KV heads with its own scratch. */
#include "families.h"
#include "simd/attention_bwd.h"
#include "simd/attention_rows.h"

static size_t MTK_K(attn_scratch_floats)(int head_dim, int group, int64_t n_tokens, int64_t pos0) {
  int64_t rows = n_tokens * group < TILE_ROWS ? n_tokens * group : TILE_ROWS;
  return (size_t)(head_dim * (TILE_ROWS + rows) + 16 + rows * score_ld(pos0 + n_tokens));
}

/* Query rows r0..r0+rows. */
static void attend_block(const mtk_attn_args *a, int64_t r0, int64_t rows) {
  int hd = a->head_dim;
  int64_t lo[TILE_ROWS], hi[TILE_ROWS];
  float *q = a->scratch, *o = q + (int64_t)hd * TILE_ROWS;
  float *s = o + (rows * hd + 15) / 16 * 16;
  for (int64_t i = 0; i < rows; i++) {
    int64_t t = (r0 + i) / a->group, h = (r0 + i) % a->group;
    hi[i] = a->pos0 + t + 1;
    lo[i] = a->window > 0 && hi[i] > a->window ? hi[i] - a->window : 0;
    pack_query(q, i, a->q + t * a->ld_q + h * hd, hd, a->scale);
  }
  int64_t base = lo[0] / MTK_KV_PAGE * MTK_KV_PAGE, ld_s = score_ld(a->pos0 + a->n_tokens);
  const key_store k = {a->k_pages, MTK_KV_PAGE, 0}, v = {a->v_pages, MTK_KV_PAGE, hd};
  score_keys(s, ld_s, base, q, rows, hd, &k, base, hi[rows - 1]);
  float den[TILE_ROWS];
  for (int64_t i = 0; i < rows; i++) den[i] = exp_row(s + i * ld_s, lo[i] - base, hi[i] - base);
  memset(o, 0, (size_t)(rows * hd) * sizeof *o);
  mix_ragged(o, hd, s, ld_s, base, rows, hd, &v, lo, hi);
  for (int64_t i = 0; i < rows; i++) {
    int64_t t = (r0 + i) / a->group, h = (r0 + i) % a->group;
    float *out = a->out + t * a->ld_out + h * hd, inv = 1.0f / den[i];
    for (int64_t d = 0; d < hd; d++) out[d] = o[i * hd + d] * inv;
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
