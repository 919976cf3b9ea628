/* adapter.c: low-rank adapters: finding a pair, fitting an adapter to a model, merging it into the
 * weights tensor by tensor when they are read. One thread changes an adapter; the read functions of
 * merged tensors may be entered by any. */
#include "model/model_impl.h"

#include <math.h>
#include <string.h>

mtk_adapter *mtk_adapter_create(void) {
  mtk_adapter *adapter = mtk_alloc(1, sizeof *adapter);
  if (!adapter) return NULL;
  adapter->pairing = "half";
  adapter->arena = mtk_arena_create();
  if (adapter->arena) return adapter;
  mtk_free(adapter);
  return NULL;
}

void mtk_adapter_destroy(mtk_adapter *adapter) {
  if (!adapter) return;
  mtk_arena_destroy(adapter->arena);
  mtk_free(adapter);
}

mtk_lora_pair *mtk_adapter_find(const mtk_adapter *adapter, const char *target) {
  for (size_t i = 0; i < adapter->n_pairs; i++)
    if (strcmp(adapter->pairs[i].target, target) == 0) return &adapter->pairs[i];
  return NULL;
}

/* ---- fitting ------------------------------------------------------------------------------- */

static mtk_status check_pair(const mtk_lora_pair *p, const mtk_model *model, mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(model, p->target);
  if (!t)
    return mtk_fail(err, MTK_E_NOT_FOUND, p->target,
                    "the adapter changes a tensor that the model does not have");
  if (p->rank <= 0 || !p->a || !p->b || !isfinite(p->scale))
    return mtk_fail(err, MTK_E_FORMAT, p->target, "the adapter's pair is not complete");
  if (t->n_dims != 2 || t->shape[0] != p->n || t->shape[1] != p->k)
    return mtk_fail(err, MTK_E_FORMAT, p->target,
                    "the adapter is for a matrix of %lld x %lld, the model's has %lld x %lld",
                    (long long)p->n, (long long)p->k, (long long)mtk_tensor_rows(t),
                    (long long)mtk_tensor_row_elems(t));
  return MTK_OK;
}

static mtk_status check_whole(const mtk_adapter_tensor *w, const mtk_model *model,
                              mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(model, w->target);
  if (!t)
    return mtk_fail(err, MTK_E_NOT_FOUND, w->target,
                    "the adapter replaces a tensor that the model does not have");
  bool same = t->n_dims == w->n_dims;
  for (int i = 0; same && i < w->n_dims; i++) same = t->shape[i] == w->shape[i];
  return same ? MTK_OK
              : mtk_fail(err, MTK_E_FORMAT, w->target, "the adapter's has another shape");
}

static mtk_status check_all(const mtk_adapter *adapter, const mtk_model *model, mtk_error *err) {
  for (size_t i = 0; i < adapter->n_pairs; i++) MTK_TRY(check_pair(&adapter->pairs[i], model, err));
  for (size_t i = 0; i < adapter->n_whole; i++)
    MTK_TRY(check_whole(&adapter->whole[i], model, err));
  return MTK_OK;
}

/* n rows of k values in the other order. */
static mtk_status permute_rows(const float **values, mtk_arena *arena, int64_t n, int64_t k,
                               const mtk_pairing_map *map, const char *target, mtk_error *err) {
  if (n % map->head_dim)
    return mtk_fail(err, MTK_E_FORMAT, target, "%lld rows are no whole heads of %lld",
                    (long long)n, (long long)map->head_dim);
  float *rows = mtk_arena_alloc(arena, (size_t)n, (size_t)k * sizeof *rows);
  if (!rows) return mtk_fail(err, MTK_E_NOMEM, target, "out of memory");
  for (int64_t r = 0; r < n; r++)
    memcpy(rows + r * k, *values + mtk_pairing_source(map, r) * k, (size_t)k * sizeof *rows);
  *values = rows;
  return MTK_OK;
}

static bool is_rotary(const mtk_arch_v1 *arch, const char *target) {
  const mtk_arch_tensor *row = mtk_arch_row(arch, target);
  return row && row->flags & (MTK_TENSOR_ROPE_Q | MTK_TENSOR_ROPE_K) &&
         !(row->flags & MTK_TENSOR_IMAGE);
}

/* q/k rows of B in another pairing, by the head sizes of the model. */
static mtk_status set_pairing(mtk_adapter *adapter, const char *pairing, const mtk_model *model,
                              mtk_error *err) {
  if (strcmp(pairing, adapter->pairing) == 0) return MTK_OK;
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  if (!arch) return MTK_OK;
  mtk_pairing_map map;
  MTK_TRY(mtk_pairing_map_get(&map, model, strcmp(pairing, "interleaved") == 0, err));
  for (size_t i = 0; i < adapter->n_pairs; i++) {
    mtk_lora_pair *p = &adapter->pairs[i];
    if (is_rotary(arch, p->target))
      MTK_TRY(permute_rows(&p->b, adapter->arena, p->n, p->rank, &map, p->target, err));
  }
  for (size_t i = 0; i < adapter->n_whole; i++) {
    mtk_adapter_tensor *w = &adapter->whole[i];
    int64_t k = w->n_dims > 1 ? w->shape[1] : 1;
    if (is_rotary(arch, w->target))
      MTK_TRY(permute_rows(&w->values, adapter->arena, w->shape[0], k, &map, w->target, err));
  }
  adapter->pairing = pairing[0] == 'i' ? "interleaved" : "half";
  return MTK_OK;
}

mtk_status mtk_adapter_fit(mtk_adapter *adapter, const mtk_model *model, mtk_error *err) {
  MTK_TRY(check_all(adapter, model, err));
  const char *pairing = mtk_meta_str(mtk_model_meta(model), "rope.pairing", NULL);
  return pairing ? set_pairing(adapter, pairing, model, err) : MTK_OK;
}

static mtk_status copy_pairs(mtk_adapter *to, const mtk_adapter *from, mtk_error *err) {
  mtk_arena *arena = to->arena;
  *to = *from;
  to->arena = arena;
  to->pairs = mtk_arena_alloc(arena, from->n_pairs, sizeof *to->pairs);
  if (!to->pairs) return mtk_fail(err, MTK_E_NOMEM, from->name, "out of memory");
  if (from->n_pairs) memcpy(to->pairs, from->pairs, from->n_pairs * sizeof *to->pairs);
  to->whole = mtk_arena_alloc(arena, from->n_whole, sizeof *to->whole);
  if (!to->whole) return mtk_fail(err, MTK_E_NOMEM, from->name, "out of memory");
  if (from->n_whole) memcpy(to->whole, from->whole, from->n_whole * sizeof *to->whole);
  return MTK_OK;
}

mtk_status mtk_adapter_view(mtk_adapter **out, const mtk_adapter *adapter, const char *pairing,
                            const mtk_model *base, mtk_error *err) {
  *out = NULL;
  mtk_adapter *view = mtk_adapter_create();
  if (!view) return mtk_fail(err, MTK_E_NOMEM, adapter->name, "out of memory");
  mtk_status status = copy_pairs(view, adapter, err);
  if (status == MTK_OK) status = set_pairing(view, pairing, base, err);
  if (status == MTK_OK)
    *out = view;
  else
    mtk_adapter_destroy(view);
  return status;
}

/* ---- merging ------------------------------------------------------------------------------- */

typedef struct merged {
  const mtk_tensor *source;
  const mtk_lora_pair *pair;
} merged;

/* w_k += scale * (chain over the rank ascending of fma(b_r, a_rk, .) from +0); delta: k floats. */
static void add_update(float *w, float *delta, const mtk_lora_pair *p, int64_t row) {
  const float *b = p->b + row * p->rank;
  memset(delta, 0, (size_t)p->k * sizeof *delta);
  for (int64_t r = 0; r < p->rank; r++)
    for (int64_t i = 0; i < p->k; i++) delta[i] = fmaf(b[r], p->a[r * p->k + i], delta[i]);
  for (int64_t i = 0; i < p->k; i++) w[i] = fmaf(p->scale, delta[i], w[i]);
}

static mtk_status read_merged(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                              mtk_error *err) {
  const merged *m = t->read_ctx;
  size_t k = (size_t)mtk_tensor_row_elems(t), row_bytes = mtk_tensor_row_bytes(t);
  float *w = mtk_alloc(k, 2 * sizeof *w);
  void *tmp = mtk_alloc(mtk_tensor_row_bytes(m->source), 1);
  mtk_status status = w && tmp ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (int64_t r = 0; r < n_rows && status == MTK_OK; r++) {
    status = mtk_tensor_fetch_f32(w, m->source, row0 + r, 1, tmp, err);
    if (status != MTK_OK) break;
    add_update(w, w + k, m->pair, row0 + r);
    mtk_dtype_encode(t->dtype, (uint8_t *)dst + (size_t)r * row_bytes, w, k);
  }
  mtk_free(w);
  mtk_free(tmp);
  return status;
}

static bool is_plain_float(mtk_dtype type) {
  return type == MTK_F32 || type == MTK_F16 || type == MTK_BF16;
}

/* A merged tensor keeps a plain float type; everything else becomes bf16. */
static bool keeps_type(const mtk_tensor *t) { return is_plain_float(t->dtype) && !t->scales; }

static mtk_status warn_types(mtk_model *model, const mtk_adapter *adapter) {
  size_t changed = 0;
  const mtk_tensor *first = NULL;
  for (size_t i = 0; i < adapter->n_pairs; i++) {
    const mtk_tensor *t = mtk_model_tensor(model, adapter->pairs[i].target);
    if (keeps_type(t)) continue;
    if (!first) first = t;
    changed++;
  }
  if (!first) return MTK_OK;
  return mtk_model_warn(model, "%zu tensors stored as bf16 after the merge (first: %s, was %s)",
                        changed, first->name, mtk_dtype_get(first->dtype)->name);
}

static mtk_status merge_pair(mtk_model *model, const mtk_lora_pair *p, mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(model, p->target);
  merged *m = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *m);
  if (!m) return mtk_fail(err, MTK_E_NOMEM, p->target, "out of memory");
  *m = (merged){t, p};
  mtk_tensor view = {.name = t->name, .n_dims = 2, .source_name = t->source_name};
  view.dtype = keeps_type(t) ? t->dtype : MTK_BF16;
  view.shape[0] = p->n;
  view.shape[1] = p->k;
  view.size_bytes = (uint64_t)mtk_tensor_row_bytes(&view) * (uint64_t)p->n;
  view.read = read_merged;
  view.read_ctx = m;
  return mtk_model_replace_tensor(model, &view, err);
}

static mtk_status read_whole(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  const mtk_adapter_tensor *w = t->read_ctx;
  size_t k = (size_t)mtk_tensor_row_elems(t);
  (void)err;
  (void)mtk_dtype_encode(t->dtype, dst, w->values + (size_t)row0 * k, (size_t)n_rows * k);
  return MTK_OK;
}

static mtk_status replace_whole(mtk_model *model, mtk_adapter_tensor *w, mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(model, w->target);
  mtk_tensor view = {.name = t->name, .n_dims = w->n_dims, .source_name = t->source_name};
  view.dtype = keeps_type(t) ? t->dtype : MTK_BF16;
  memcpy(view.shape, w->shape, (size_t)w->n_dims * sizeof *w->shape);
  view.size_bytes = (uint64_t)mtk_tensor_row_bytes(&view) * (uint64_t)mtk_tensor_rows(&view);
  view.read = read_whole;
  view.read_ctx = w;
  return mtk_model_replace_tensor(model, &view, err);
}

mtk_status mtk_model_merge(mtk_model *model, const mtk_adapter *adapter, mtk_error *err) {
  MTK_TRY(check_all(adapter, model, err));
  const char *pairing = mtk_meta_str(mtk_model_meta(model), "rope.pairing", adapter->pairing);
  if (strcmp(pairing, adapter->pairing) != 0)
    return mtk_fail(err, MTK_E_INVALID, adapter->name ? adapter->name : "adapter",
                    "its query and key rows are in %s order, the model's in %s order: fit it first",
                    adapter->pairing, pairing);
  MTK_TRY(warn_types(model, adapter));
  for (size_t i = 0; i < adapter->n_whole; i++)
    MTK_TRY(replace_whole(model, &adapter->whole[i], err));
  for (size_t i = 0; i < adapter->n_pairs; i++) MTK_TRY(merge_pair(model, &adapter->pairs[i], err));
  return MTK_OK;
}
