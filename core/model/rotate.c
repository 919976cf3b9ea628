/* model/rotate.c: rotations by blocks of Hadamard matrices that cancel inside the model
 * (<mtk/quantize.h>): each value is either rotated or not, and every weight that makes or reads it
 * is changed so. Which values of the residual stream there are is found in the graph. One
 * thread. */
#include <mtk/quantize.h>

#include "model/fold.h"
#include "model/weights.h"

/* What happens to a weight. */
typedef struct change {
  bool rows, columns; /* rotated */
  bool is_bias;       /* its elements belong to rows of a layer */
  int32_t norm;       /* weight of the norm that moves into its columns; -1 = none */
  bool unit;          /* a norm that has moved */
} change;

typedef struct rotation {
  mtk_model *model;
  const mtk_graph *g;
  int64_t size;
  bool *stream; /* per value: is it rotated? */
  change *changes; /* per weight */
  int32_t head;    /* a head that shares the embedding: its norm; -2 = none */
  mtk_error *err;
} rotation;

static const char *weight_name(const rotation *r, int32_t weight) {
  return r->g->weights[weight].name;
}

static mtk_status refuse(const rotation *r, const mtk_graph_node *n, const char *why) {
  return mtk_fail(r->err, MTK_E_UNSUPPORTED,
                  n->weight >= 0 ? weight_name(r, n->weight) : mtk_op_get(n->op)->name,
                  "the residual stream cannot be rotated here: %s", why);
}

/* ---- the stream ----------------------------------------------------------------------------- */

static mtk_status enter(rotation *r, mtk_node_value v);

/* The inputs of a node whose result is rotated. */
static mtk_status enter_writer(rotation *r, const mtk_graph_node *n) {
  switch (n->op) {
  case MTK_OP_EMBED: r->changes[n->weight].columns = true; return MTK_OK;
  case MTK_OP_ADD:
  case MTK_OP_ADD_SCALED: MTK_TRY(enter(r, n->in[1])); return enter(r, n->in[0]);
  case MTK_OP_ADD_ROW:
  case MTK_OP_MOE_ADD_ROW:
    r->changes[n->weight].rows = r->changes[n->weight].is_bias = true;
    return enter(r, n->in[0]);
  case MTK_OP_SELECT:
  case MTK_OP_SCALE:
  case MTK_OP_MUL_SIGMOID:
  case MTK_OP_MOE_SUM: return enter(r, n->in[0]);
  case MTK_OP_LINEAR:
  case MTK_OP_MOE_LINEAR: r->changes[n->weight].rows = true; return MTK_OK;
  default: return refuse(r, n, "what it makes is added to the stream");
  }
}

/* A linear layer that reads the stream, through a norm or not (norm -1). */
static mtk_status enter_linear(rotation *r, const mtk_graph_node *n, int32_t norm) {
  change *c = &r->changes[n->weight];
  bool tied = r->g->weights[n->weight].use & MTK_USE_EMBED;
  if (tied ? r->head != -2 : c->columns) return refuse(r, n, "two layers share the matrix");
  if (tied) {
    r->head = norm;
    return MTK_OK;
  }
  c->columns = true;
  c->norm = norm;
  return MTK_OK;
}

/* Its weight moves into all layers that read its result. */
static mtk_status enter_norm(rotation *r, const mtk_graph_node *norm) {
  if (norm->attrs.n_head > 1 || norm->weight < 0) return refuse(r, norm, "a norm per head");
  if (r->changes[norm->weight].unit) return refuse(r, norm, "two norms share their weight");
  r->changes[norm->weight].unit = true;
  for (size_t i = 0; i < r->g->n_nodes; i++) {
    const mtk_graph_node *n = &r->g->nodes[i];
    if (!mtk_node_reads(n, norm->out[0])) continue;
    if (!mtk_node_is_linear(n) || n->in[0] != norm->out[0])
      return refuse(r, n, "it reads the norm's result");
    MTK_TRY(enter_linear(r, n, norm->weight));
  }
  return MTK_OK;
}

static mtk_status enter_reader(rotation *r, const mtk_graph_node *n, mtk_node_value v) {
  switch (n->op) {
  case MTK_OP_ADD:
  case MTK_OP_ADD_SCALED:
  case MTK_OP_SELECT:
  case MTK_OP_SCALE: return enter(r, n->out[0]);
  case MTK_OP_ADD_ROW:
  case MTK_OP_MOE_ADD_ROW:
  case MTK_OP_MUL_SIGMOID:
  case MTK_OP_MOE_SUM:
    return n->in[0] == v ? enter(r, n->out[0]) : refuse(r, n, "it reads the stream");
  case MTK_OP_RMSNORM: return enter_norm(r, n);
  case MTK_OP_LINEAR: return enter_linear(r, n, -1);
  default: return refuse(r, n, "it reads the stream");
  }
}

/* Value v is rotated, and all that must be then. */
static mtk_status enter(rotation *r, mtk_node_value v) {
  if (r->stream[v]) return MTK_OK;
  r->stream[v] = true;
  for (size_t i = 0; i < r->g->n_nodes; i++) {
    const mtk_graph_node *n = &r->g->nodes[i];
    if (n->out[0] == v && n->n_out > 0) MTK_TRY(enter_writer(r, n));
    if (mtk_node_reads(n, v)) MTK_TRY(enter_reader(r, n, v));
  }
  return MTK_OK;
}

/* ---- the weights ---------------------------------------------------------------------------- */

static mtk_status norm_values(float **out, rotation *r, int32_t norm) {
  const mtk_tensor *t = mtk_model_tensor(r->model, weight_name(r, norm));
  int64_t k = t ? mtk_tensor_row_elems(t) : 0;
  mtk_arena *arena = mtk_model_arena(r->model);
  *out = mtk_arena_alloc(arena, (size_t)k + 1, sizeof **out);
  void *tmp = t ? mtk_alloc(1, mtk_tensor_row_bytes(t) + 1) : NULL;
  mtk_status st = *out && tmp ? mtk_tensor_fetch_f32(*out, t, 0, 1, tmp, r->err)
                              : mtk_fail(r->err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_free(tmp);
  return st;
}

static mtk_status fold_weight(rotation *r, const char *name, const change *c) {
  const mtk_tensor *t = mtk_model_tensor(r->model, name);
  if (!t) return mtk_fail(r->err, MTK_E_INTERNAL, name, "the model has no such tensor");
  int64_t matrices = c->is_bias && t->n_dims == 2 ? t->shape[0] : mtk_tensor_matrices(t);
  int64_t k = mtk_tensor_row_elems(t), rows = mtk_tensor_rows(t) / matrices;
  mtk_fold fold = {.matrices = matrices, .shared_columns = true};
  if ((c->rows && !c->is_bias && rows % r->size) || ((c->columns || c->is_bias) && k % r->size))
    return mtk_fail(r->err, MTK_E_UNSUPPORTED, name, "blocks of %lld do not fit [%lld, %lld]",
                    (long long)r->size, (long long)rows, (long long)k);
  float *norm = NULL;
  if (c->norm >= 0) MTK_TRY(norm_values(&norm, r, c->norm));
  fold.columns = norm;
  mtk_fold_rotation whole_rows = {0, rows, r->size}, whole_columns = {0, k, r->size};
  if (c->columns || c->is_bias) fold.rotate_columns = whole_columns;
  if (c->rows && !c->is_bias) fold.rotate_rows = whole_rows;
  return mtk_model_fold(r->model, name, &fold, r->err);
}

/* The head that was the embedding becomes a matrix of its own. */
static mtk_status untie(rotation *r, const char *embedding) {
  mtk_meta *meta = mtk_model_meta(r->model);
  mtk_tensor t = *mtk_model_tensor(r->model, embedding);
  t.name = "output.weight";
  t.source_name = NULL;
  MTK_TRY(mtk_model_add_tensor(r->model, &t, r->err));
  change head = {.columns = true, .norm = r->head};
  MTK_TRY(fold_weight(r, t.name, &head));
  MTK_TRY(mtk_model_warn(r->model, "the rotated head cannot share the embedding: output.weight is "
                                   "a tensor of its own now"));
  return mtk_meta_set_bool(meta, "tie_word_embeddings", false, r->err);
}

static mtk_status make_unit(rotation *r, const char *name) {
  const mtk_tensor *t = mtk_model_tensor(r->model, name);
  int64_t k = mtk_tensor_row_elems(t);
  float *ones = mtk_alloc((size_t)k, sizeof *ones);
  if (!ones) return mtk_fail(r->err, MTK_E_NOMEM, name, "out of memory");
  for (int64_t i = 0; i < k; i++) ones[i] = 1.0f;
  mtk_status st = mtk_tensor_put(r->model, t, ones, r->err);
  mtk_free(ones);
  return st;
}

static mtk_status change_weights(rotation *r) {
  for (size_t w = 0; w < r->g->n_weights; w++) {
    const mtk_graph_weight *gw = &r->g->weights[w];
    if (r->head != -2 && gw->use & MTK_USE_EMBED && gw->use & MTK_USE_LINEAR)
      MTK_TRY(untie(r, gw->name));
    if (r->changes[w].rows || r->changes[w].columns)
      MTK_TRY(fold_weight(r, gw->name, &r->changes[w]));
  }
  for (size_t w = 0; w < r->g->n_weights; w++)
    if (r->changes[w].unit) MTK_TRY(make_unit(r, r->g->weights[w].name));
  return MTK_OK;
}

static mtk_status rotate_residual(rotation *r) {
  for (size_t w = 0; w < r->g->n_weights; w++) r->changes[w].norm = -1;
  for (size_t i = 0; i < r->g->n_nodes; i++)
    if (r->g->nodes[i].op == MTK_OP_EMBED) MTK_TRY(enter(r, r->g->nodes[i].out[0]));
  return change_weights(r);
}

/* ---- values ---------------------------------------------------------------------------------- */

static mtk_status rotate_site(rotation *r, const mtk_fold_site *s) {
  int64_t m = mtk_fold_channels(s);
  if (s->head % r->size)
    return mtk_fail(r->err, MTK_E_UNSUPPORTED, s->writer,
                    "blocks of %lld do not fit heads of %lld", (long long)r->size,
                    (long long)s->head);
  mtk_fold rows = {.matrices = 1, .rotate_rows = {s->first_row, m, r->size}};
  mtk_fold bias = {.matrices = 1, .rotate_columns = {s->first_row, m, r->size}};
  mtk_fold columns = {.matrices = 1, .rotate_columns = {0, s->k, r->size}};
  MTK_TRY(mtk_model_fold(r->model, s->writer, &rows, r->err));
  if (s->bias) MTK_TRY(mtk_model_fold(r->model, s->bias, &bias, r->err));
  for (int i = 0; i < s->n_readers; i++)
    MTK_TRY(mtk_model_fold(r->model, s->readers[i], &columns, r->err));
  return MTK_OK;
}

static mtk_status rotate_values(rotation *r) {
  mtk_fold_site *sites = NULL;
  size_t n = 0, rotated = 0;
  MTK_TRY(mtk_fold_sites(&sites, &n, mtk_model_arena(r->model), r->g, r->err));
  for (size_t i = 0; i < n; i++) {
    if (sites[i].head == 0) continue;
    MTK_TRY(rotate_site(r, &sites[i]));
    rotated++;
  }
  if (rotated) return MTK_OK;
  return mtk_fail(r->err, MTK_E_UNSUPPORTED, mtk_model_arch(r->model),
                  "attention has no values that can be rotated");
}

mtk_status mtk_model_rotate(mtk_model *model, unsigned what, int64_t size, mtk_error *err) {
  rotation r = {.model = model, .size = size, .head = -2, .err = err};
  mtk_graph *g = NULL;
  if (size < 2 || (size & (size - 1)))
    return mtk_fail(err, MTK_E_INVALID, NULL, "blocks of %lld: it must be a power of two",
                    (long long)size);
  MTK_TRY(mtk_model_build_graph(&g, model, NULL, NULL, err));
  r.g = g;
  r.stream = mtk_alloc(g->n_values + 1, sizeof *r.stream);
  r.changes = mtk_alloc(g->n_weights + 1, sizeof *r.changes);
  mtk_status st = r.stream && r.changes ? MTK_OK
                                        : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK && what & MTK_ROTATE_VALUES) st = rotate_values(&r);
  if (st == MTK_OK && what & MTK_ROTATE_RESIDUAL) st = rotate_residual(&r);
  mtk_free(r.changes);
  mtk_free(r.stream);
  mtk_graph_destroy(g);
  return st;
}
