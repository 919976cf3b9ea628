/* synthetic.c: a model without weights on disk: hyperparameters from a config.json, tensors that
 * are drawn when they are read. For measuring speed on shapes nobody has downloaded.
 *
 * A matrix is cut in units of at least 64 elements; each is one of many ready encoded units, picked
 * by the counter-based generator from (seed, tensor, row, unit), so reading costs a copy and any
 * rows can be read in any order. The model owns everything; any thread may read. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/model_impl.h"

enum { UNIT = 64, POOL_ELEMS = 1 << 16, MAX_POOLS = 16 };

/* Encoded normal numbers of one standard deviation. */
typedef struct unit_pool {
  mtk_dtype type;
  double sigma;
  uint32_t n_units; /* a power of two */
  size_t unit_elems, unit_bytes;
  uint8_t *bytes;
} unit_pool;

typedef struct drawn_tensor {
  const unit_pool *pool;
  uint32_t key[2];
  uint32_t stream;
} drawn_tensor;

typedef struct maker {
  mtk_model *model;
  const mtk_arch_v1 *arch;
  mtk_dtype type;
  uint64_t seed, n_block;
  uint32_t stream;
  unit_pool *pools[MAX_POOLS];
  int n_pools;
  size_t n_kept; /* matrices whose rows do not fit the type's blocks */
} maker;

/* ---- hyperparameters ------------------------------------------------------------------------ */

mtk_status mtk_model_read_config(mtk_model *model, mtk_error *err) {
  size_t n = 0;
  const char *text = mtk_model_attachment(model, "config.json", &n);
  json_error_t je;
  json_t *doc = json_loadb(text ? text : "", n, 0, &je);
  const char *class_name =
      json_string_value(json_array_get(json_object_get(doc, "architectures"), 0));
  const mtk_arch_v1 *arch = class_name ? mtk_arch_find_hf(class_name) : NULL;
  mtk_status st = MTK_OK;
  if (!doc)
    st = mtk_fail(err, MTK_E_FORMAT, NULL, "line %d: %s", je.line, je.text);
  else if (!arch)
    st = mtk_fail(err, MTK_E_UNSUPPORTED, "architectures", "no plugin knows '%s'",
                  class_name ? class_name : "(none)");
  if (st == MTK_OK) st = mtk_model_set_arch(model, arch->id, err);
  if (st == MTK_OK) st = mtk_arch_meta_from_hf(mtk_model_meta(model), arch, text, n, err);
  if (st == MTK_OK) st = mtk_meta_set_string(mtk_model_meta(model), "rope.pairing", "half", err);
  json_decref(doc);
  return st;
}

static bool is_residual_output(const char *name) {
  static const char *const outputs[] = {".attn_output", ".ffn_down"};
  for (size_t i = 0; i < 2; i++) {
    const char *at = strstr(name, outputs[i]), *rest = at ? at + strlen(outputs[i]) : "?";
    if (rest[0] == 0 || rest[0] == '.') return true;
  }
  return false;
}

double mtk_arch_init_sigma(const mtk_arch_slot *slot, uint64_t n_block) {
  if (!strncmp(slot->name, "token_embd", 10)) return 0.02;
  double sigma = 1.0 / sqrt((double)slot->shape[slot->n_dims - 1]);
  return is_residual_output(slot->name) ? sigma / sqrt(2.0 * (double)n_block) : sigma;
}

/* ---- reading -------------------------------------------------------------------------------- */

static mtk_status read_drawn(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  (void)err;
  const drawn_tensor *d = t->read_ctx;
  const unit_pool *p = d->pool;
  size_t row_bytes = mtk_tensor_row_bytes(t);
  uint8_t *to = dst;
  for (int64_t r = row0; r < row0 + n_rows; r++, to += row_bytes) {
    uint32_t pick[4] = {0};
    uint32_t unit = 0;
    for (size_t at = 0; at < row_bytes; at += p->unit_bytes, unit++) {
      const uint32_t counter[4] = {unit / 4, (uint32_t)r, (uint32_t)(r >> 32), d->stream};
      if (unit % 4 == 0) mtk_philox(pick, d->key, counter);
      size_t n = row_bytes - at < p->unit_bytes ? row_bytes - at : p->unit_bytes;
      memcpy(to + at, p->bytes + (pick[unit % 4] & (p->n_units - 1)) * p->unit_bytes, n);
    }
  }
  return MTK_OK;
}

/* ---- pools ---------------------------------------------------------------------------------- */

static mtk_status fill_pool(unit_pool *p, mtk_arena *arena, uint64_t seed, mtk_error *err) {
  const char *name = mtk_dtype_get(p->type)->name;
  float *x = mtk_alloc(POOL_ELEMS, sizeof *x);
  p->bytes = mtk_arena_alloc(arena, p->n_units, p->unit_bytes);
  mtk_status st = x && p->bytes ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  for (size_t i = 0; st == MTK_OK && i < POOL_ELEMS; i++)
    x[i] = (float)(p->sigma * mtk_normal(seed, UINT64_MAX, i));
  if (st == MTK_OK && !mtk_dtype_encode(p->type, p->bytes, x, POOL_ELEMS))
    st = mtk_fail(err, MTK_E_UNSUPPORTED, name, "values cannot be rounded to this type");
  mtk_free(x);
  return st;
}

static mtk_status find_pool(const unit_pool **out, maker *m, mtk_dtype type, double sigma,
                            mtk_error *err) {
  for (int i = 0; i < m->n_pools; i++)
    if (m->pools[i]->type == type && fabs(m->pools[i]->sigma / sigma - 1) < 1e-9) {
      *out = m->pools[i];
      return MTK_OK;
    }
  if (m->n_pools == MAX_POOLS)
    return mtk_fail(err, MTK_E_LIMIT, NULL, "more than %d kinds of matrices", MAX_POOLS);
  mtk_arena *arena = mtk_model_arena(m->model);
  unit_pool *p = mtk_arena_alloc(arena, 1, sizeof *p);
  if (!p) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  size_t block = mtk_dtype_get(type)->block_elems;
  p->type = type;
  p->sigma = sigma;
  p->unit_elems = block > UNIT ? block : UNIT;
  p->unit_bytes = mtk_dtype_bytes(type, p->unit_elems);
  p->n_units = (uint32_t)(POOL_ELEMS / p->unit_elems);
  MTK_TRY(fill_pool(p, arena, m->seed, err));
  m->pools[m->n_pools++] = p;
  *out = p;
  return MTK_OK;
}

/* ---- tensors -------------------------------------------------------------------------------- */

/* Types of so narrow a range that checkpoints carry a scale beside them. */
static bool wants_scale(mtk_dtype type) {
  static const mtk_dtype narrow[] = {MTK_NVFP4,       MTK_F8_E4M3,     MTK_F8_E5M2,
                                     MTK_F8_E4M3FNUZ, MTK_F8_E5M2FNUZ, MTK_F4_E2M1,
                                     MTK_F6_E2M3,     MTK_F6_E3M2};
  for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
    if (narrow[i] == type) return true;
  return false;
}

/* One scale per matrix (several for experts) that brings the pool's values to sigma. */
static mtk_status add_scales(mtk_tensor *t, maker *m, double sigma, mtk_error *err) {
  size_t n = (size_t)mtk_tensor_matrices(t);
  float *scales = mtk_arena_alloc(mtk_model_arena(m->model), n, sizeof *scales);
  if (!scales) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (size_t i = 0; i < n; i++) scales[i] = (float)sigma;
  t->scales = scales;
  t->scale_n = t->shape[t->n_dims - 2];
  t->scale_k = t->shape[t->n_dims - 1];
  return MTK_OK;
}

static mtk_status draw_matrix(mtk_tensor *t, maker *m, double sigma, mtk_error *err) {
  drawn_tensor *d = mtk_arena_alloc(mtk_model_arena(m->model), 1, sizeof *d);
  if (!d) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  bool scaled = wants_scale(t->dtype);
  MTK_TRY(find_pool(&d->pool, m, t->dtype, scaled ? 1.0 : sigma, err));
  if (scaled) MTK_TRY(add_scales(t, m, sigma, err));
  d->key[0] = (uint32_t)m->seed;
  d->key[1] = (uint32_t)(m->seed >> 32);
  d->stream = m->stream++;
  t->read = read_drawn;
  t->read_ctx = d;
  return MTK_OK;
}

/* Norm weights are 1, biases 0. */
static mtk_status fill_constant(mtk_tensor *t, maker *m, size_t n, float value, mtk_error *err) {
  float *x = mtk_arena_alloc(mtk_model_arena(m->model), n, sizeof *x);
  if (!x) return mtk_fail(err, MTK_E_NOMEM, t->name, "out of memory");
  for (size_t i = 0; i < n; i++) x[i] = value;
  t->data = x;
  return MTK_OK;
}

static mtk_dtype type_of(maker *m, const mtk_arch_slot *slot) {
  bool outer = !strcmp(slot->name, "token_embd") || !strcmp(slot->name, "output");
  if (!outer && !(slot->row->flags & MTK_TENSOR_LINEAR)) return MTK_F32;
  if (slot->shape[slot->n_dims - 1] % mtk_dtype_get(m->type)->block_elems == 0) return m->type;
  m->n_kept++;
  return MTK_BF16;
}

static mtk_status add_tensor(maker *m, const mtk_arch_slot *slot, mtk_error *err) {
  char name[sizeof slot->name + 8];
  const char *dot = strrchr(slot->name, '.');
  bool bias = dot && !strcmp(dot, ".bias"), full = bias || (dot && !strcmp(dot, ".weight"));
  snprintf(name, sizeof name, "%s%s", slot->name, full ? "" : ".weight");
  if (mtk_model_tensor(m->model, name)) return MTK_OK; /* another source of the same tensor */
  bool constant = bias || slot->n_dims == 1;
  mtk_tensor t = {.name = name, .dtype = constant ? MTK_F32 : type_of(m, slot),
                  .n_dims = slot->n_dims};
  size_t n = 1;
  for (int i = 0; i < t.n_dims; i++) {
    t.shape[i] = slot->shape[i];
    if (!mtk_mul_ok(n, (size_t)slot->shape[i], &n) || n > PTRDIFF_MAX / 8)
      return mtk_fail(err, MTK_E_LIMIT, name, "the tensor is too large");
  }
  t.size_bytes = mtk_dtype_bytes(t.dtype, n);
  MTK_TRY(constant ? fill_constant(&t, m, n, bias ? 0.0f : 1.0f, err)
                   : draw_matrix(&t, m, mtk_arch_init_sigma(slot, m->n_block), err));
  return mtk_model_add_tensor(m->model, &t, err);
}

static mtk_status add_tensors(maker *m, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(m->model);
  uint64_t experts = 0, dense = 0;
  MTK_TRY(mtk_meta_uint(&m->n_block, meta, "block_count", 0, err));
  MTK_TRY(mtk_meta_uint(&experts, meta, "expert_count", 0, err));
  MTK_TRY(mtk_meta_uint(&dense, meta, "leading_dense_block_count", 0, err));
  const mtk_value *tied = mtk_meta_get(meta, "tie_word_embeddings");
  mtk_arch_walk walk = {.dense = true};
  mtk_arch_slot slot;
  mtk_status st = MTK_OK;
  while (mtk_arch_next(&slot, &walk, m->arch, meta, &st, err)) {
    bool is_dense = slot.row->flags & MTK_TENSOR_DENSE;
    if (experts && is_dense && (uint64_t)slot.block >= dense) continue;
    if (!strcmp(slot.name, "output") && tied && tied->type == MTK_META_BOOL && tied->as.u) continue;
    MTK_TRY(add_tensor(m, &slot, err));
  }
  MTK_TRY(st);
  if (m->n_kept)
    MTK_TRY(mtk_model_warn(m->model,
                           "%zu matrices are bf16: their rows are no multiple of %s's blocks",
                           m->n_kept, mtk_dtype_get(m->type)->name));
  return MTK_OK;
}

static mtk_status make(mtk_model *model, const char *config_path, const mtk_synthetic_options *o,
                       mtk_error *err) {
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, config_path, err));
  mtk_status st =
      mtk_model_attach(model, "config.json", (const char *)file->data, file->size, err);
  mtk_file_close(file);
  MTK_TRY(st);
  if ((st = mtk_model_read_config(model, err)) != MTK_OK)
    return mtk_fail_in(err, st, config_path);
  MTK_TRY(mtk_model_set_source(model, "synthetic", config_path, err));
  maker m = {.model = model, .arch = mtk_arch_find(mtk_model_arch(model)), .type = o->dtype,
             .seed = o->seed};
  if (o->n_block > 0)
    MTK_TRY(mtk_meta_set_uint(mtk_model_meta(model), "block_count", (uint64_t)o->n_block, err));
  st = add_tensors(&m, err);
  return st == MTK_OK ? MTK_OK : mtk_fail_in(err, st, config_path);
}

mtk_status mtk_model_synthetic(mtk_model **out, const char *config_path,
                               const mtk_synthetic_options *options, mtk_error *err) {
  *out = NULL;
  const mtk_dtype_info *type = mtk_dtype_get(options->dtype);
  if (!type || !type->is_float)
    return mtk_fail(err, MTK_E_INVALID, NULL, "weights cannot have the type %s",
                    type ? type->name : "(unknown)");
  mtk_model *model = mtk_model_create();
  if (!model) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = make(model, config_path, options, err);
  if (st == MTK_OK)
    *out = model;
  else
    mtk_model_destroy(model);
  return st;
}
