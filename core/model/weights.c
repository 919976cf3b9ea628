/* weights.c: builds a model's graph, and loads, packs and binds the weights it names.
 *
 * The store owns values, gradients and panels; source tensors stay the model's. Bytes are fetched
 * and packed by ranges of panels on the pool, so that nothing of a tensor but its panels is held in
 * memory when the model produces rows on demand. */
#include "model/weights.h"

#include "base/internal.h"
#include "model/model_impl.h"

#include <stdatomic.h>
#include <string.h>

/* Panels fetched and packed by one task; uses that need panels. */
enum { PANELS_PER_TASK = 8, PACKED = MTK_USE_LINEAR | MTK_USE_EXPERTS };

/* Panels of weights that were loaded together, one after the other in the order of their use: a
 * step reads them as one stream. */
typedef struct slab {
  struct slab *next;
  uint8_t *base;
  size_t size;
} slab;

struct mtk_weights {
  const mtk_weights *parent;
  mtk_weights_options options;
  mtk_weight **items;
  size_t n_items, cap_items;
  slab *slabs;
};

/* ---- graph ---------------------------------------------------------------------------------- */

mtk_status mtk_model_build_graph(mtk_graph **out, const mtk_model *model, mtk_build_fn *build,
                                 const mtk_adapter_spec *adapter, mtk_error *err) {
  *out = NULL;
  if (!build) {
    const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
    if (!arch)
      return mtk_fail(err, MTK_E_UNSUPPORTED, mtk_model_path(model),
                      "no plugin knows the architecture '%s'", mtk_model_arch(model));
    build = arch->build;
  }
  mtk_graph *g;
  MTK_TRY(mtk_graph_create(&g, adapter, err));
  mtk_status status = build(g, model, err);
  if (status == MTK_OK && g->status == MTK_OK && g->logits < 0 && g->hidden < 0)
    mtk_graph_fail(g, MTK_E_INTERNAL, mtk_model_arch(model), "the architecture set no logits");
  if (status == MTK_OK) status = mtk_graph_status(g, err);
  g->adapter = NULL;
  if (status != MTK_OK) {
    mtk_graph_destroy(g);
    return status;
  }
  *out = g;
  return MTK_OK;
}

/* ---- the store ------------------------------------------------------------------------------ */

mtk_status mtk_weights_create(mtk_weights **out, const mtk_weights *parent,
                              const mtk_weights_options *options, mtk_error *err) {
  *out = mtk_alloc(1, sizeof **out);
  if (!*out) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for weights");
  (*out)->parent = parent;
  (*out)->options = *options;
  return MTK_OK;
}

static void destroy_weight(mtk_weight *w) {
  if (w->grad_embed != w->grad) mtk_free(w->grad_embed);
  mtk_free(w->grad);
  mtk_free(w->value);
  mtk_free((void *)(uintptr_t)w->name);
  mtk_free(w);
}

void mtk_weights_destroy(mtk_weights *store) {
  if (!store) return;
  for (size_t i = 0; i < store->n_items; i++) destroy_weight(store->items[i]);
  for (slab *next, *s = store->slabs; s; s = next) {
    next = s->next;
    mtk_free_pages(s->base, s->size);
    mtk_free(s);
  }
  mtk_free(store->items);
  mtk_free(store);
}

size_t mtk_weights_count(const mtk_weights *store) { return store->n_items; }

mtk_weight *mtk_weights_at(const mtk_weights *store, size_t index) { return store->items[index]; }

mtk_weight *mtk_weights_find(const mtk_weights *store, const char *name) {
  for (; store; store = store->parent)
    for (size_t i = 0; i < store->n_items; i++)
      if (strcmp(store->items[i]->name, name) == 0) return store->items[i];
  return NULL;
}

/* An empty record in the store. */
static mtk_status add_record(mtk_weight **out, mtk_weights *store, const char *name, int64_t n,
                             int64_t k, unsigned use, mtk_error *err) {
  if (store->n_items == store->cap_items) {
    size_t cap = store->cap_items ? store->cap_items * 2 : 64;
    mtk_weight **grown = mtk_realloc(store->items, store->n_items, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory for weights");
    store->items = grown;
    store->cap_items = cap;
  }
  mtk_weight *w = mtk_alloc(1, sizeof *w);
  char *copy = mtk_strdup(name);
  if (!w || !copy) {
    mtk_free(w);
    mtk_free(copy);
    return mtk_fail(err, MTK_E_NOMEM, name, "out of memory for weights");
  }
  w->name = copy;
  w->n = n;
  w->k = k;
  w->use = use;
  store->items[store->n_items++] = *out = w;
  return MTK_OK;
}

mtk_status mtk_weights_bind(mtk_weight ***out, const mtk_weights *store, const mtk_graph *g,
                            mtk_error *err) {
  mtk_weight **bound = mtk_alloc(g->n_weights, sizeof *bound);
  *out = bound;
  if (!bound) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for weights");
  for (size_t i = 0; i < g->n_weights; i++) {
    const mtk_graph_weight *gw = &g->weights[i];
    bound[i] = mtk_weights_find(store, gw->name);
    if (bound[i] && bound[i]->k == gw->k && (gw->n == 0 || bound[i]->n == gw->n)) continue;
    mtk_free(bound);
    *out = NULL;
    return mtk_fail(err, MTK_E_NOT_FOUND, gw->name,
                    "the weight was not loaded, or has another shape than the graph's");
  }
  return MTK_OK;
}

/* ---- packing -------------------------------------------------------------------------------- */

typedef struct pack_job {
  mtk_weight *w;
  mtk_wview view; /* of the whole matrix: without data for fetched tensors */
  uint8_t *buffers; /* per worker, for tensors that are produced row by row */
  size_t buffer_bytes;
  atomic_flag failed;
  mtk_error error;
} pack_job;

/* Matrices that are packed apart, and the rows of one. */
static int64_t matrix_count(const mtk_weight *w) { return w->n_expert > 0 ? w->n_expert : 1; }
static int64_t matrix_rows(const mtk_weight *w) { return w->n / matrix_count(w); }

static int64_t panel_count(const mtk_weight *w) {
  return (matrix_rows(w) + MTK_PANEL - 1) / MTK_PANEL;
}

static int64_t tasks_per_matrix(const mtk_weight *w) {
  return (panel_count(w) + PANELS_PER_TASK - 1) / PANELS_PER_TASK;
}

static void pack_task(void *ctx, int64_t task, int worker) {
  pack_job *j = ctx;
  int64_t matrix = task / tasks_per_matrix(j->w), part = task % tasks_per_matrix(j->w);
  int64_t p0 = part * PANELS_PER_TASK, p1 = p0 + PANELS_PER_TASK;
  if (p1 > panel_count(j->w)) p1 = panel_count(j->w);
  mtk_wview view = j->view;
  view.row0 = p0 * MTK_PANEL;
  view.n_rows = (p1 * MTK_PANEL < view.n ? p1 * MTK_PANEL : view.n) - view.row0;
  int64_t row = matrix * view.n + view.row0; /* in the whole tensor */
  int64_t grid_row = view.scales ? (view.k - 1) / view.scale_k + 1 : 0;
  if (view.scales) view.scales += matrix * view.n / view.scale_n * grid_row;
  mtk_error error;
  if (j->w->value) {
    view.data = j->w->value + row * view.k;
  } else if (mtk_tensor_fetch(&view.data, j->w->tensor, row, view.n_rows,
                              j->buffers + (size_t)worker * j->buffer_bytes, &error) != MTK_OK) {
    if (!atomic_flag_test_and_set(&j->failed)) j->error = error;
    return;
  }
  uint8_t *packed = (uint8_t *)j->w->packed + (size_t)matrix * j->w->expert_bytes;
  j->w->kernel->pack(packed, &view, p0, p1);
}

static void run_pack(pack_job *j, mtk_pool *pool) {
  mtk_pool_run(pool, matrix_count(j->w) * tasks_per_matrix(j->w), pack_task, j);
}

void mtk_weight_repack(mtk_weight *w, mtk_pool *pool) {
  if (!w->packed || !w->value) return;
  pack_job j = {.w = w, .view = {.type = MTK_F32, .n = matrix_rows(w), .k = w->k},
                .failed = ATOMIC_FLAG_INIT};
  run_pack(&j, pool);
}

/* The kernel of a storage type under the store's options; NULL if the type has none. */
static const mtk_linear_kernel *choose_kernel(const mtk_weights_options *o, mtk_dtype type) {
  int arith = o->arith < 0 ? (int)mtk_dtype_get(type)->arith : o->arith;
  const mtk_linear_kernel *kernel = o->kernels->linear[type][arith];
  return kernel ? kernel : o->kernels->linear[type][MTK_A32];
}

/* Kernel and size of the panels of weights in storage type `type`; fine_grid: with a grid of scales
 * finer than 1x1. */
static mtk_status plan_panels(mtk_weight *w, const mtk_weights_options *o, mtk_dtype type,
                              int fine_grid, mtk_error *err) {
  w->kernel = choose_kernel(o, type);
  if (!w->kernel)
    return mtk_fail(err, MTK_E_UNSUPPORTED, w->name, "there is no linear layer on %s weights",
                    mtk_dtype_get(type)->name);
  size_t bytes = w->kernel->packed_bytes(matrix_rows(w), w->k);
  if (!fine_grid) bytes -= w->kernel->grid_bytes(matrix_rows(w), w->k);
  w->expert_bytes = (bytes + 63) / 64 * 64;
  if (mtk_mul_ok(w->expert_bytes, (size_t)matrix_count(w), &w->packed_bytes)) return MTK_OK;
  return mtk_fail(err, MTK_E_NOMEM, w->name, "its panels are larger than the address space");
}

static mtk_status plan_tensor(mtk_weight *w, const mtk_weights_options *o, mtk_error *err) {
  const mtk_tensor *t = w->tensor;
  int64_t n = matrix_rows(w);
  int fine_grid = !w->value && t->scales && (t->scale_n < n || t->scale_k < w->k);
  if (w->n_expert > 0 && t->scales && (t->scale_n > n || n % t->scale_n))
    return mtk_fail(err, MTK_E_UNSUPPORTED, w->name,
                    "its grid of scales steps over %lld rows, an expert has %lld",
                    (long long)t->scale_n, (long long)n);
  MTK_TRY(plan_panels(w, o, w->value ? MTK_F32 : t->dtype, fine_grid, err));
  if (fine_grid && w->kernel->arith == MTK_A8 && t->scale_k < w->k &&
      t->scale_k % mtk_dtype_get(t->dtype)->act_block)
    return mtk_fail(err, MTK_E_UNSUPPORTED, w->name,
                    "scales in steps of %lld columns need --activations a16 or a32 with %s",
                    (long long)t->scale_k, mtk_dtype_get(t->dtype)->name);
  return MTK_OK;
}

/* Memory for the panels of the records from `first` on. */
static mtk_status alloc_panels(mtk_weights *store, size_t first, mtk_error *err) {
  size_t total = 0;
  bool fits = true;
  for (size_t i = first; i < store->n_items; i++)
    fits = fits && mtk_add_ok(total, store->items[i]->packed_bytes, &total);
  if (total == 0) return MTK_OK;
  slab *s = mtk_alloc(1, sizeof *s);
  uint8_t *base = s && fits ? mtk_alloc_pages(total) : NULL;
  if (!base) {
    mtk_free(s);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory: %zu bytes of packed weights", total);
  }
  *s = (slab){store->slabs, base, total};
  store->slabs = s;
  for (size_t i = first; i < store->n_items; i++) {
    if (store->items[i]->packed_bytes > 0) store->items[i]->packed = base;
    base += store->items[i]->packed_bytes;
  }
  return MTK_OK;
}

static mtk_status pack_tensor(mtk_weight *w, const mtk_weights_options *o, mtk_error *err) {
  const mtk_tensor *t = w->tensor;
  mtk_dtype type = w->value ? MTK_F32 : t->dtype;
  pack_job j = {.w = w, .view = {.type = type, .n = matrix_rows(w), .k = w->k},
                .failed = ATOMIC_FLAG_INIT};
  if (!w->value) {
    j.view.scales = t->scales;
    j.view.scale_n = t->scale_n;
    j.view.scale_k = t->scale_k;
    if (!t->data) {
      j.buffer_bytes = PANELS_PER_TASK * MTK_PANEL * mtk_tensor_row_bytes(t);
      j.buffers = mtk_alloc((size_t)mtk_pool_size(o->pool), j.buffer_bytes);
      if (!j.buffers) return mtk_fail(err, MTK_E_NOMEM, w->name, "out of memory for weights");
    }
  }
  run_pack(&j, o->pool);
  mtk_free(j.buffers);
  if (j.error.code != MTK_OK && err) *err = j.error;
  return j.error.code;
}

/* ---- loading -------------------------------------------------------------------------------- */

static mtk_status alloc_floats(float **out, const mtk_weight *w, mtk_error *err) {
  size_t count;
  *out = mtk_mul_ok((size_t)w->n, (size_t)w->k, &count) ? mtk_alloc(count, sizeof **out) : NULL;
  if (!*out) return mtk_fail(err, MTK_E_NOMEM, w->name, "out of memory for weights");
  return MTK_OK;
}

static mtk_status alloc_grads(mtk_weight *w, mtk_error *err) {
  w->trainable = true;
  MTK_TRY(alloc_floats(&w->grad, w, err));
  if ((w->use & MTK_USE_EMBED) && (w->use & MTK_USE_LINEAR))
    return alloc_floats(&w->grad_embed, w, err);
  if (w->use & MTK_USE_EMBED) w->grad_embed = w->grad;
  return MTK_OK;
}

/* All rows as f32. */
static mtk_status load_values(mtk_weight *w, mtk_error *err) {
  const mtk_tensor *t = w->tensor;
  MTK_TRY(alloc_floats(&w->value, w, err));
  void *tmp = t->data ? NULL : mtk_alloc(1, mtk_tensor_row_bytes(t));
  if (!t->data && !tmp) return mtk_fail(err, MTK_E_NOMEM, w->name, "out of memory for weights");
  mtk_status status = MTK_OK;
  int64_t row = mtk_tensor_row_elems(t);
  for (int64_t r = 0; r < mtk_tensor_rows(t) && status == MTK_OK; r++)
    status = mtk_tensor_fetch_f32(w->value + r * row, t, r, 1, tmp, err);
  mtk_free(tmp);
  return status;
}

static mtk_status check_shape(const mtk_graph_weight *gw, const mtk_tensor *t, mtk_error *err) {
  int64_t rows = mtk_tensor_rows(t), row = mtk_tensor_row_elems(t);
  bool fits = gw->use & MTK_USE_VECTOR ? rows * row == gw->k
                                       : row == gw->k && (gw->n == 0 || rows == gw->n);
  if (!fits)
    return mtk_fail(err, MTK_E_FORMAT, gw->name,
                    "the tensor is %lld x %lld, but the architecture needs %lld x %lld",
                    (long long)rows, (long long)row, (long long)gw->n, (long long)gw->k);
  if (!mtk_dtype_get(t->dtype)->is_float)
    return mtk_fail(err, MTK_E_UNSUPPORTED, gw->name, "weights of type %s cannot be computed with",
                    mtk_dtype_get(t->dtype)->name);
  return MTK_OK;
}

static mtk_status fetch_row(float *out, const mtk_kernels *k, const mtk_weight *w, int64_t row,
                            void *tmp, mtk_error *err) {
  return mtk_tensor_widen(out, k, w->tensor, row, 1, tmp, err);
}

/* A record with all but its panels. */
static mtk_status load_one(mtk_weights *store, const mtk_graph_weight *gw, const mtk_model *model,
                           mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(model, gw->name);
  if (!t) return mtk_fail(err, MTK_E_NOT_FOUND, gw->name, "the model lacks this tensor");
  MTK_TRY(check_shape(gw, t, err));
  bool vector = gw->use & MTK_USE_VECTOR;
  mtk_weight *w;
  MTK_TRY(add_record(&w, store, gw->name, vector ? 1 : mtk_tensor_rows(t), gw->k, gw->use, err));
  w->tensor = t;
  w->fetch_row = fetch_row;
  w->row_bytes = mtk_tensor_row_bytes(t);
  w->n_expert = gw->n_expert;
  if (gw->trainable) MTK_TRY(alloc_grads(w, err));
  if (vector || gw->trainable) MTK_TRY(load_values(w, err));
  return gw->use & PACKED ? plan_tensor(w, &store->options, err) : MTK_OK;
}

mtk_status mtk_weights_load(mtk_weights *store, const mtk_graph *g, const mtk_model *model,
                            mtk_error *err) {
  size_t first = store->n_items;
  uint64_t total = 0, done = 0;
  for (size_t i = 0; i < g->n_weights; i++) {
    if (mtk_weights_find(store, g->weights[i].name)) continue;
    MTK_TRY(load_one(store, &g->weights[i], model, err));
  }
  MTK_TRY(alloc_panels(store, first, err));
  for (size_t i = first; i < store->n_items; i++)
    if (store->items[i]->packed) total += store->items[i]->tensor->size_bytes;
  for (size_t i = first; i < store->n_items; i++) {
    mtk_weight *w = store->items[i];
    if (!w->packed) continue;
    if (mtk_cancelled()) return mtk_fail(err, MTK_E_CANCELLED, NULL, "interrupted while loading");
    MTK_TRY(pack_tensor(w, &store->options, err));
    done += w->tensor->size_bytes;
    mtk_progress("load", done, total, "B");
  }
  return MTK_OK;
}

mtk_status mtk_weights_add_matrix(mtk_weight **out, mtk_weights *store, const char *name, int64_t n,
                                  int64_t k, const float *values, bool trainable, mtk_error *err) {
  mtk_weight *w;
  MTK_TRY(add_record(&w, store, name, n, k, MTK_USE_LINEAR, err));
  if (out) *out = w;
  MTK_TRY(alloc_floats(&w->value, w, err));
  if (trainable) MTK_TRY(alloc_grads(w, err));
  if (values) memcpy(w->value, values, (size_t)(n * k) * sizeof *values);
  mtk_weights_options f32 = store->options;
  f32.arith = MTK_A32;
  MTK_TRY(plan_panels(w, &f32, MTK_F32, 0, err));
  MTK_TRY(alloc_panels(store, store->n_items - 1, err));
  mtk_weight_repack(w, store->options.pool);
  return MTK_OK;
}

/* ---- gradients ------------------------------------------------------------------------------ */

void mtk_weight_zero_grad(mtk_weight *w, int64_t i0, int64_t i1) {
  size_t bytes = (size_t)(i1 - i0) * sizeof *w->grad;
  if (w->grad) memset(w->grad + i0, 0, bytes);
  if (w->grad_embed && w->grad_embed != w->grad) memset(w->grad_embed + i0, 0, bytes);
}

void mtk_weight_join_grads(mtk_weight *w, const mtk_kernels *kernels, int64_t i0, int64_t i1) {
  if (w->grad_embed && w->grad_embed != w->grad)
    kernels->add(w->grad + i0, w->grad + i0, w->grad_embed + i0, i1 - i0);
}
