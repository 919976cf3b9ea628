/* pairing.c: giving the rows of query and key projections the half-split or the interleaved order
 * of rotary pairs. Rows are reordered when they are read; only small scale grids are copied.
 *
 * Inside each head, interleaved order holds pair j at rows 2j and 2j+1, half-split order at rows j
 * and j + rope_dim/2: interleaved -> half-split is w.view(h, d/2, 2, k).transpose(1, 2).
 * Part of the model: one thread changes it; the read functions may be entered by any. */
#include "model/model_impl.h"

#include <string.h>

int64_t mtk_pairing_source(const mtk_pairing_map *map, int64_t r) {
  int64_t in_head = r % map->head_dim, half = map->rope_dim / 2;
  if (in_head >= map->rope_dim) return r;
  int64_t from = map->to_interleaved ? in_head % 2 * half + in_head / 2
                                     : in_head % half * 2 + in_head / half;
  return r - in_head + from;
}

mtk_status mtk_pairing_map_get(mtk_pairing_map *out, const mtk_model *model, bool to_interleaved,
                               mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  out->to_interleaved = to_interleaved;
  MTK_TRY(mtk_arch_size(&out->head_dim, meta, "attention.key_length", err));
  MTK_TRY(mtk_arch_size(&out->rope_dim, meta, "rope.dimension_count", err));
  if (out->rope_dim % 2 || out->rope_dim > out->head_dim)
    return mtk_fail(err, MTK_E_FORMAT, "rope.dimension_count",
                    "%lld is odd or larger than the head size %lld", (long long)out->rope_dim,
                    (long long)out->head_dim);
  return MTK_OK;
}

typedef struct permuted {
  mtk_pairing_map map;
  const mtk_tensor *source; /* in the other order */
} permuted;

static mtk_status read_rows(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                            mtk_error *err) {
  const permuted *p = t->read_ctx;
  size_t row_bytes = mtk_tensor_row_bytes(t);
  uint8_t *to = dst;
  for (int64_t r = 0; r < n_rows; r++, to += row_bytes) {
    const void *from = NULL;
    MTK_TRY(mtk_tensor_fetch(&from, p->source, mtk_pairing_source(&p->map, row0 + r), 1, to, err));
    if (from != to) memcpy(to, from, row_bytes);
  }
  return MTK_OK;
}

/* A bias is one row whose elements are reordered. */
static mtk_status read_bias(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                            mtk_error *err) {
  const permuted *p = t->read_ctx;
  size_t bytes = mtk_tensor_row_bytes(t), elem = mtk_dtype_get(t->dtype)->block_bytes;
  if (n_rows == 0) return MTK_OK;
  void *tmp = p->source->data ? NULL : mtk_alloc(bytes, 1);
  if (!p->source->data && !tmp) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  const void *from = NULL;
  mtk_status status = mtk_tensor_fetch(&from, p->source, row0, 1, tmp, err);
  if (status == MTK_OK)
    for (int64_t i = 0; i < t->shape[0]; i++)
      memcpy((uint8_t *)dst + (size_t)i * elem,
             (const uint8_t *)from + (size_t)mtk_pairing_source(&p->map, i) * elem, elem);
  mtk_free(tmp);
  return status;
}

/* Scales that lie per row, or in steps that do not cover whole heads, become one row each. */
static mtk_status permute_scales(mtk_tensor *t, const mtk_pairing_map *map, mtk_arena *arena,
                                 mtk_error *err) {
  if (!t->scales || t->scale_n >= mtk_tensor_rows(t) || t->scale_n % map->head_dim == 0)
    return MTK_OK;
  int64_t rows = mtk_tensor_rows(t), per_row = (mtk_tensor_row_elems(t) - 1) / t->scale_k + 1;
  float *scales = mtk_arena_alloc(arena, (size_t)rows, (size_t)per_row * sizeof *scales);
  if (!scales) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int64_t r = 0; r < rows; r++)
    memcpy(scales + r * per_row, t->scales + mtk_pairing_source(map, r) / t->scale_n * per_row,
           (size_t)per_row * sizeof *scales);
  t->scales = scales;
  t->scale_n = 1;
  return MTK_OK;
}

static mtk_status permute_tensor(mtk_model *model, const mtk_tensor *t, const mtk_pairing_map *map,
                                 mtk_error *err) {
  bool bias = t->n_dims == 1;
  int64_t n = t->n_dims ? t->shape[0] : 0;
  if (n == 0 || t->n_dims > 2 || n % map->head_dim)
    return mtk_fail(err, MTK_E_FORMAT, t->name, "its %lld rows are no whole heads of %lld",
                    (long long)n, (long long)map->head_dim);
  if (bias && (mtk_dtype_get(t->dtype)->block_elems > 1 || t->scales))
    return mtk_fail(err, MTK_E_UNSUPPORTED, t->name, "a quantized bias cannot be reordered");
  if (t->read == read_rows || t->read == read_bias) { /* there and back again */
    const permuted *p = t->read_ctx;
    if (p->map.to_interleaved != map->to_interleaved)
      return mtk_model_replace_tensor(model, p->source, err);
  }
  mtk_arena *arena = mtk_model_arena(model);
  permuted *p = mtk_arena_alloc(arena, 1, sizeof *p);
  if (!p) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  *p = (permuted){*map, t};
  mtk_tensor view = *t;
  view.data = NULL;
  view.read = bias ? read_bias : read_rows;
  view.read_ctx = p;
  MTK_TRY(permute_scales(&view, map, arena, err));
  return mtk_model_replace_tensor(model, &view, err);
}

/* Heads of an image encoder: all values are paired. */
static mtk_status image_map(mtk_pairing_map *out, const mtk_model *model, bool to_interleaved,
                            mtk_error *err) {
  out->to_interleaved = to_interleaved;
  MTK_TRY(mtk_arch_size(&out->head_dim, mtk_model_meta(model), "vision.attention.key_length", err));
  out->rope_dim = out->head_dim;
  if (out->head_dim % 2 == 0) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, "vision.attention.key_length", "%lld is odd",
                  (long long)out->head_dim);
}

static mtk_status permute_all(mtk_model *model, const mtk_arch_v1 *arch, bool to_interleaved,
                              mtk_error *err) {
  mtk_pairing_map map, image;
  MTK_TRY(mtk_pairing_map_get(&map, model, to_interleaved, err));
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    const mtk_arch_tensor *row = mtk_arch_row(arch, t->name);
    if (!row || !(row->flags & (MTK_TENSOR_ROPE_Q | MTK_TENSOR_ROPE_K))) continue;
    bool is_image = row->flags & MTK_TENSOR_IMAGE;
    if (is_image) MTK_TRY(image_map(&image, model, to_interleaved, err));
    MTK_TRY(permute_tensor(model, t, is_image ? &image : &map, err));
  }
  return MTK_OK;
}

mtk_status mtk_model_set_pairing(mtk_model *model, const char *pairing, mtk_error *err) {
  bool interleaved = strcmp(pairing, "interleaved") == 0;
  if (!interleaved && strcmp(pairing, "half") != 0)
    return mtk_fail(err, MTK_E_INVALID, "rope.pairing", "'%s' is neither half nor interleaved",
                    pairing);
  const char *now = mtk_meta_str(mtk_model_meta(model), "rope.pairing", NULL);
  if (now && strcmp(now, pairing) == 0) return MTK_OK;
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  if (!arch)
    return mtk_fail(err, MTK_E_UNSUPPORTED, mtk_model_path(model),
                    "the order of rotary pairs of architecture '%s' is not known",
                    mtk_model_arch(model));
  if (!now)
    return mtk_fail(err, MTK_E_INTERNAL, mtk_model_path(model),
                    "the reader did not say in which order rotary pairs are (rope.pairing)");
  MTK_TRY(permute_all(model, arch, interleaved, err));
  return mtk_meta_set_string(mtk_model_meta(model), "rope.pairing", pairing, err);
}
