/* model/quantize.c: which tensors of a model get which storage type (mtk/quantize.h). Nothing is
 * computed here but statistics; the rows are encoded when somebody reads them (recode.h). */
#include <mtk/quantize.h>

#include <stdlib.h>
#include <string.h>

#include "model/fold.h"
#include "model/recode.h"

/* Biases of experts have two dimensions, but are vectors like all others. */
static bool is_bias(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && strcmp(dot, ".bias") == 0;
}

mtk_status mtk_model_cast(mtk_model *model, mtk_dtype dtype, mtk_error *err) {
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    const mtk_dtype_info *info = mtk_dtype_get(t->dtype);
    bool vector = t->n_dims < 2 || is_bias(t->name);
    if (!info->is_float || vector || (t->dtype == dtype && !t->scales)) continue;
    mtk_recode *r = mtk_recode_create(model, t);
    if (!r) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    MTK_TRY(mtk_recode_install(model, r, dtype, err));
  }
  mtk_meta_remove(mtk_model_meta(model), "general.file_type"); /* says what the types were */
  return MTK_OK;
}

/* ---- statistics ---------------------------------------------------------------------------- */

void mtk_mean_squares(float *mean, const float *sum, const int64_t *rows, int64_t n_expert,
                      int64_t k) {
  int64_t all = 0, n = n_expert > 0 ? n_expert : 1;
  float prior = n_expert > 0 ? MTK_EXPERT_PRIOR_ROWS : 0;
  for (int64_t x = 0; x < n; x++) all += rows[x];
  for (int64_t i = 0; i < k; i++) {
    double total = 0;
    for (int64_t x = 0; x < n; x++) total += (double)sum[x * k + i];
    float lent = all > 0 ? prior * (float)(total / (double)all) : 0;
    for (int64_t x = 0; x < n; x++)
      mean[x * k + i] = all > 0 ? (sum[x * k + i] + lent) / ((float)rows[x] + prior) : 0;
  }
}

/* ---- quantization ------------------------------------------------------------------------- */

long mtk_tensor_block(const char *name) {
  return strncmp(name, "blk.", 4) == 0 ? strtol(name + 4, NULL, 10) : -1;
}

static bool is_embedding(const char *name) {
  return !strcmp(name, "token_embd.weight") || !strcmp(name, "output.weight");
}

static int64_t whole(const mtk_model *model, const char *key) {
  mtk_error ignored = {0};
  uint64_t v = 0;
  (void)mtk_meta_uint(&v, mtk_model_meta(model), key, 0, &ignored);
  return v < INT32_MAX ? (int64_t)v : 0;
}

/* The target that a tensor gets, NULL: none; and who encodes it. */
static const mtk_quant_target *choose_target(const mtk_quantizer_v1 **quantizer,
                                             const mtk_model *model, const mtk_tensor *t,
                                             const mtk_quantize_options *o) {
  bool lookup = o->lookup_quantizer && !strcmp(t->name, "token_embd.weight");
  const mtk_quant_target *target = NULL;
  *quantizer = lookup ? o->lookup_quantizer : o->quantizer;
  if (o->plan) {
    o->plan(o->plan_ctx, t->name, quantizer, &target);
    return target;
  }
  mtk_quant_place place = {.struct_size = sizeof place,
                           .name = t->name,
                           .row_elems = mtk_tensor_row_elems(t),
                           .block = mtk_tensor_block(t->name),
                           .n_block = whole(model, "block_count"),
                           .n_head = whole(model, "attention.head_count"),
                           .n_head_kv = whole(model, "attention.head_count_kv"),
                           .n_expert = whole(model, "expert_count"),
                           .is_embedding = *mtk_model_arch(model) && is_embedding(t->name),
                           .is_tied = !mtk_model_tensor(model, "output.weight"),
                           .embeddings = o->embeddings,
                           .options = o->options};
  if (place.n_head_kv == 0) place.n_head_kv = place.n_head;
  if (o->quantizer->choose) return o->quantizer->choose(o->target, &place);
  return place.is_embedding && !place.embeddings ? NULL : o->target;
}

mtk_quantize_reason mtk_quantize_choice(const mtk_quantizer_v1 **quantizer,
                                        const mtk_quant_target **target, const mtk_model *model,
                                        const mtk_tensor *t, const mtk_quantize_options *o) {
  const mtk_tensor *original = mtk_fold_original(t);
  const mtk_dtype_info *from = mtk_dtype_get(original->dtype);
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  const mtk_arch_tensor *row = mtk_arch_row(arch, t->name);
  bool linear = arch ? row && (row->flags & MTK_TENSOR_LINEAR) : t->n_dims == 2;
  *target = choose_target(quantizer, model, t, o);
  if (arch && is_embedding(t->name)) {
    if (!*target) return MTK_KEPT_EMBEDDING;
    linear = true;
  }
  if (!linear || t->n_dims < 2 || is_bias(t->name) || !from->is_float) return MTK_KEPT_NOT_LINEAR;
  for (int i = 0; i < o->n_keep; i++)
    if (strstr(t->name, o->keep[i])) return MTK_KEPT_BY_USER;
  if ((from->is_quant || original->scales) && !o->requantize) return MTK_KEPT_QUANTIZED;
  if (!*target || mtk_tensor_row_elems(t) % mtk_dtype_get((*target)->dtype)->block_elems)
    return MTK_KEPT_SHAPE;
  bool steps_over = (*target)->scale_n > 0 && mtk_tensor_matrices(t) > 1 &&
                    t->shape[1] % (*target)->scale_n != 0;
  if (steps_over || t->n_dims > 3) return MTK_KEPT_SHAPE;
  return MTK_QUANTIZED;
}

/* Members of one fused group share an amax, expert by expert: same block and same group name. */
typedef struct member {
  float *amax; /* heap; one per matrix */
  int64_t n;
  long block;
  const char *group;
  const mtk_quantizer_v1 *quantizer;
  const mtk_quant_target *target;
  const char *type_group; /* fused or experts; NULL: alone */
} member;

/* The first tensor that must have the type of another one: fused with it, or experts of a block. */
static size_t first_of_group(const member *m, size_t self) {
  for (size_t i = 0; i < self && m[self].type_group; i++)
    if (m[i].type_group && m[i].block == m[self].block &&
        strcmp(m[i].type_group, m[self].type_group) == 0)
      return i;
  return self;
}

static float group_max(const member *m, size_t n, size_t self, int64_t matrix) {
  if (!m[self].amax) return 0;
  float best = m[self].amax[matrix];
  for (size_t i = 0; i < n && m[self].group; i++) {
    if (m[i].group && m[i].block == m[self].block && !strcmp(m[i].group, m[self].group) &&
        m[i].n == m[self].n && m[i].amax && m[i].amax[matrix] > best)
      best = m[i].amax[matrix];
  }
  return best;
}

/* The grid of each matrix, behind one another in one array. */
static mtk_status make_scales(mtk_recode *r, mtk_arena *arena, const mtk_quant_target *target,
                              bool sizes_only, mtk_error *err) {
  int64_t rows = mtk_tensor_rows(&r->source) / r->n_quants, k = mtk_tensor_row_elems(&r->source);
  int64_t sn = target->scale_n ? target->scale_n : rows, sk = target->scale_k ? target->scale_k : k;
  int64_t count = ((rows + sn - 1) / sn) * ((k + sk - 1) / sk);
  float *scales = mtk_arena_alloc(arena, (size_t)r->n_quants, (size_t)count * sizeof *scales);
  if (!scales) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int64_t i = 0; i < r->n_quants; i++) {
    r->quants[i].scale_n = sn;
    r->quants[i].scale_k = sk;
    r->quants[i].scales = scales + i * count;
    if (!sizes_only) MTK_TRY(mtk_recode_gather(r->quantizer, &r->quants[i], err));
  }
  for (int64_t i = 0; sizes_only && i < r->n_quants * count; i++) scales[i] = 1;
  return MTK_OK;
}

static mtk_status quantize_tensor(mtk_model *model, size_t index, const member *members, size_t n,
                                  const mtk_quantize_options *o, mtk_error *err) {
  mtk_arena *arena = mtk_model_arena(model);
  mtk_recode *r = mtk_recode_create(model, mtk_model_tensor_at(model, index));
  int64_t count = members[index].n;
  mtk_tensor *sources = mtk_arena_alloc(arena, (size_t)count, sizeof *sources);
  if (r) r->quants = mtk_arena_alloc(arena, (size_t)count, sizeof *r->quants);
  if (!r || !sources || !r->quants) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  const mtk_quant_target *target = members[index].target;
  r->quantizer = members[index].quantizer;
  r->pool = o->pool;
  r->n_quants = count;
  const mtk_input_stats *stats = o->stats ? o->stats(o->stats_ctx, r->source.name) : NULL;
  for (int64_t i = 0; i < count; i++) {
    sources[i] = r->source;
    if (count > 1) MTK_TRY(mtk_expert_slice(&sources[i], arena, &r->source, i, err));
    r->quants[i] = (mtk_quant_tensor){.struct_size = sizeof r->quants[i],
                                      .source = &sources[i],
                                      .target = target,
                                      .group_amax = group_max(members, n, index, i),
                                      .options = o->options};
    if (stats && stats->k == mtk_tensor_row_elems(&r->source))
      r->quants[i].importance = stats->mean_square + (stats->n_expert > 0 ? i * stats->k : 0);
  }
  if (target->scale_n >= 0) MTK_TRY(make_scales(r, arena, target, o->sizes_only, err));
  return mtk_recode_install(model, r, target->dtype, err);
}

/* Largest magnitudes of the matrices of a tensor. */
static mtk_status measure(member *m, mtk_model *model, const mtk_tensor *t, mtk_pool *pool,
                          mtk_error *err) {
  m->amax = mtk_alloc((size_t)m->n, sizeof *m->amax);
  if (!m->amax) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (m->n == 1) return mtk_tensor_amax(m->amax, t, pool, err);
  for (int64_t i = 0; i < m->n; i++) {
    mtk_tensor slice;
    MTK_TRY(mtk_expert_slice(&slice, mtk_model_arena(model), t, i, err));
    MTK_TRY(mtk_tensor_amax(&m->amax[i], &slice, pool, err));
  }
  return MTK_OK;
}

static mtk_status find_amax(mtk_model *model, member *members, mtk_quantize_row *rows,
                            size_t n, const mtk_quantize_options *o, mtk_error *err) {
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    const mtk_tensor *from = mtk_fold_original(t);
    mtk_quantize_reason reason =
        mtk_quantize_choice(&members[i].quantizer, &members[i].target, model, t, o);
    rows[i] = (mtk_quantize_row){t->name,     reason,           from->dtype,
                                 from->dtype, from->size_bytes, from->size_bytes,
                                 reason == MTK_QUANTIZED ? members[i].target : NULL, i};
    if (rows[i].reason != MTK_QUANTIZED) continue;
    if (mtk_cancelled()) return mtk_fail(err, MTK_E_CANCELLED, NULL, "stopped");
    const mtk_arch_tensor *row = mtk_arch_row(arch, t->name);
    members[i].block = mtk_tensor_block(t->name);
    members[i].group = row ? row->fuse_group : NULL;
    members[i].n = mtk_tensor_matrices(t);
    bool experts = row && (row->flags & MTK_TENSOR_EXPERTS);
    members[i].type_group = experts ? "experts" : members[i].group;
    rows[i].group = first_of_group(members, i);
    if (members[i].target->scale_n < 0 || o->sizes_only) continue; /* no statistics */
    MTK_TRY(measure(&members[i], model, t, o->pool, err));
    mtk_progress("measure", i + 1, n, "tensors");
  }
  return MTK_OK;
}

/* Says which tensors got another type because their rows do not fill the blocks, and names the
 * mixture for writers of GGUF. */
static mtk_status tell(mtk_model *model, const mtk_quantize_row *rows, size_t n,
                       const mtk_quant_target *target, mtk_error *err) {
  uint32_t block = target ? mtk_dtype_get(target->dtype)->block_elems : 1; /* a plan says all */
  const mtk_quantize_row *first = NULL;
  size_t n_other = 0;
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    if (rows[i].reason != MTK_QUANTIZED || mtk_tensor_row_elems(t) % block == 0) continue;
    if (!n_other++) first = &rows[i];
  }
  mtk_meta_remove(mtk_model_meta(model), "general.file_type");
  if (target && target->file_type)
    MTK_TRY(mtk_meta_set_uint(mtk_model_meta(model), "general.file_type", target->file_type, err));
  if (!first) return MTK_OK;
  return mtk_model_warn(model,
                        "%zu tensors have rows that are no multiple of %u values and got a type "
                        "that fits instead of %s (first: %s, %s)",
                        n_other, block, target->name, first->name, mtk_dtype_get(first->to)->name);
}

mtk_status mtk_model_quantize(mtk_model *model, const mtk_quantize_options *options,
                              mtk_quantize_report *report, mtk_error *err) {
  size_t n = mtk_model_tensor_count(model), done = 0;
  member *members = mtk_alloc(n, sizeof *members);
  mtk_quantize_row *rows = mtk_alloc(n, sizeof *rows);
  mtk_status st = members && rows ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = find_amax(model, members, rows, n, options, err);
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    if (rows[i].reason != MTK_QUANTIZED) continue;
    st = quantize_tensor(model, i, members, n, options, err);
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    rows[i].to = t->dtype;
    rows[i].bytes_after = t->size_bytes + 4u * (uint64_t)mtk_tensor_scale_count(t);
    done++;
  }
  for (size_t i = 0; members && i < n; i++) mtk_free(members[i].amax);
  mtk_free(members);
  if (st == MTK_OK) st = mtk_model_settle_folds(model, err);
  if (st == MTK_OK) st = tell(model, rows, n, options->target, err);
  if (st == MTK_OK && report) {
    *report = (mtk_quantize_report){rows, n, done};
  } else {
    mtk_free(rows);
  }
  return st;
}
