/* model/fold_sites.c: which inputs of linear layers can be scaled without a trace, found in the
 * graph, whatever the architecture: a channel must come from a norm's weight or from a row of a
 * linear layer through ops that are linear in it (the second factor of a gate, values of
 * attention), and nobody else may read it. One thread. */
#include <string.h>

#include "model/fold.h"

/* ---- the graph ------------------------------------------------------------------------------ */

static const mtk_graph_node *writer_of(const mtk_graph *g, mtk_node_value v) {
  for (size_t i = 0; i < g->n_nodes; i++)
    for (int o = 0; o < g->nodes[i].n_out; o++)
      if (g->nodes[i].out[o] == v) return &g->nodes[i];
  return NULL;
}

static int count_readers(const mtk_graph *g, mtk_node_value v) {
  int n = v == g->logits || v == g->hidden;
  for (size_t i = 0; i < g->n_nodes; i++) n += mtk_node_reads(&g->nodes[i], v);
  return n;
}

/* Is this node the only use of its weight? */
static bool owns_weight(const mtk_graph *g, const mtk_graph_node *node) {
  if (node->weight < 0) return false;
  for (size_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].weight == node->weight && &g->nodes[i] != node) return false;
  return true;
}

static const char *weight_name(const mtk_graph *g, const mtk_graph_node *n) {
  return g->weights[n->weight].name;
}

/* Do all readers of what this SLICE cuts take other columns? */
static bool cuts_alone(const mtk_graph *g, const mtk_graph_node *slice) {
  const mtk_attrs *a = &slice->attrs;
  for (size_t i = 0; i < g->n_nodes; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    if (n == slice || !mtk_node_reads(n, slice->in[0])) continue;
    const mtk_attrs *b = &n->attrs;
    bool apart = b->column + b->n_column <= a->column || a->column + a->n_column <= b->column;
    if (n->op != MTK_OP_SLICE || b->n_head > 1 || !apart) return false;
  }
  return true;
}

/* ---- one site ------------------------------------------------------------------------------- */

/* The rows of a linear layer that make value v, through its bias and slices. */
static bool trace_rows(mtk_fold_site *s, const mtk_graph *g, mtk_node_value v) {
  for (bool cut = false;; ) {
    const mtk_graph_node *n = writer_of(g, v);
    if (!n || (!cut && count_readers(g, v) != 1)) return false;
    cut = n->op == MTK_OP_SLICE;
    if (cut) {
      if (n->attrs.n_head > 1 || !cuts_alone(g, n)) return false;
      s->first_row += n->attrs.column;
    } else if (!owns_weight(g, n)) {
      return false;
    } else if (mtk_node_is_linear(n)) {
      s->writer = weight_name(g, n);
      s->n_expert = n->op == MTK_OP_MOE_LINEAR ? n->attrs.n_expert : 0;
      return true;
    } else if ((n->op == MTK_OP_ADD_ROW || n->op == MTK_OP_MOE_ADD_ROW) && !s->bias) {
      s->bias = weight_name(g, n);
    } else {
      return false;
    }
    v = n->in[0];
  }
}

/* What makes value v, if factors can go there. */
static bool trace(mtk_fold_site *s, const mtk_graph *g, mtk_node_value v) {
  const mtk_graph_node *n = writer_of(g, v);
  if (!n || v == g->logits || v == g->hidden) return false;
  const mtk_attrs *a = &n->attrs;
  s->repeat = 1;
  switch (n->op) {
  case MTK_OP_RMSNORM:
    if (a->n_head > 1 || !owns_weight(g, n)) return false;
    s->is_norm = true;
    s->writer = weight_name(g, n);
    return true;
  case MTK_OP_SILU_MUL:
  case MTK_OP_GELU_MUL: return n->in[0] != n->in[1] && trace_rows(s, g, n->in[1]);
  case MTK_OP_ATTENTION:
    s->head = a->v_dim ? a->v_dim : a->head_dim;
    s->repeat = a->n_head_kv > 0 ? a->n_head / a->n_head_kv : 1;
    return trace_rows(s, g, n->in[2]);
  default: return false;
  }
}

/* All readers of v are linear layers with weights of their own: as the readers of s. */
static mtk_status find_readers(bool *found, mtk_fold_site *s, mtk_arena *arena, const mtk_graph *g,
                               mtk_node_value v, mtk_error *err) {
  int n = count_readers(g, v);
  *found = false;
  s->readers = mtk_arena_alloc(arena, (size_t)n + 1, sizeof *s->readers);
  if (!s->readers) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  bool slots = false;
  for (size_t i = 0; i < g->n_nodes; i++) {
    const mtk_graph_node *node = &g->nodes[i];
    if (!mtk_node_reads(node, v)) continue;
    if (!mtk_node_is_linear(node) || node->in[0] != v || !owns_weight(g, node)) return MTK_OK;
    slots |= node->op == MTK_OP_MOE_LINEAR && node->attrs.slot_input;
    s->k = g->weights[node->weight].k;
    s->readers[s->n_readers++] = weight_name(g, node);
  }
  *found = s->n_readers > 0 && slots == (s->n_expert > 0);
  return MTK_OK;
}

static mtk_status keep_names(mtk_fold_site *s, mtk_arena *arena, mtk_error *err) {
  bool ok = true;
  for (int i = 0; i < s->n_readers; i++) {
    s->readers[i] = mtk_arena_strndup(arena, s->readers[i], strlen(s->readers[i]));
    ok &= s->readers[i] != NULL;
  }
  s->writer = mtk_arena_strndup(arena, s->writer, strlen(s->writer));
  if (s->bias) ok &= (s->bias = mtk_arena_strndup(arena, s->bias, strlen(s->bias))) != NULL;
  return ok && s->writer ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
}

mtk_status mtk_fold_sites(mtk_fold_site **out, size_t *n, mtk_arena *arena, const mtk_graph *g,
                          mtk_error *err) {
  mtk_fold_site *list = mtk_arena_alloc(arena, g->n_values + 1, sizeof *list);
  if (!list) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  *n = 0;
  for (size_t v = 0; v < g->n_values; v++) {
    mtk_fold_site s = {0};
    bool found;
    if (!trace(&s, g, (mtk_node_value)v)) continue;
    MTK_TRY(find_readers(&found, &s, arena, g, (mtk_node_value)v, err));
    if (!found) continue;
    MTK_TRY(keep_names(&s, arena, err));
    list[(*n)++] = s;
  }
  *out = list;
  return MTK_OK;
}

/* ---- factors -------------------------------------------------------------------------------- */

int64_t mtk_fold_channels(const mtk_fold_site *s) { return s->k / s->repeat; }

int64_t mtk_fold_channel(const mtk_fold_site *s, int64_t j) {
  return s->head > 0 ? j / s->head / s->repeat * s->head + j % s->head : j;
}

/* The norm's weight over the factors, in its own type. */
static mtk_status divide_norm(mtk_model *model, const mtk_fold_site *s, float *factors,
                              mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(model, s->writer);
  const mtk_dtype_info *type = t ? mtk_dtype_get(t->dtype) : NULL;
  if (!t || mtk_tensor_row_elems(t) != s->k || mtk_tensor_rows(t) != 1 || type->is_quant ||
      !type->is_float)
    return mtk_fail(err, MTK_E_UNSUPPORTED, s->writer, "is no norm of %lld values",
                    (long long)s->k);
  float *w = mtk_alloc((size_t)s->k, 2 * sizeof *w), *quotient = w ? w + s->k : NULL;
  void *tmp = mtk_alloc((size_t)s->k, type->block_bytes);
  mtk_status st = w && tmp ? mtk_tensor_fetch_f32(w, t, 0, 1, tmp, err)
                           : mtk_fail(err, MTK_E_NOMEM, s->writer, "out of memory");
  for (int64_t i = 0; st == MTK_OK && i < s->k; i++) quotient[i] = w[i] / factors[i];
  if (st == MTK_OK) st = mtk_tensor_put(model, t, quotient, err);
  if (st == MTK_OK)
    st = mtk_tensor_fetch_f32(quotient, mtk_model_tensor(model, s->writer), 0, 1, NULL, err);
  for (int64_t i = 0; st == MTK_OK && i < s->k; i++)
    if (quotient[i] != 0.0f) factors[i] = w[i] / quotient[i];
  mtk_free(tmp);
  mtk_free(w);
  return st;
}

/* The writer's rows, and its bias, over the factors. */
static mtk_status divide_rows(mtk_model *model, const mtk_fold_site *s, const float *factors,
                              mtk_error *err) {
  const mtk_tensor *t = mtk_model_tensor(model, s->writer);
  int64_t m = mtk_fold_channels(s), matrices = s->n_expert > 0 ? s->n_expert : 1;
  int64_t all = t ? mtk_tensor_rows(t) : 0, rows = all / matrices;
  if (!t || all % matrices || s->first_row + m > rows)
    return mtk_fail(err, MTK_E_INTERNAL, s->writer, "has not the rows of %lld channels",
                    (long long)m);
  float *f = mtk_arena_alloc(mtk_model_arena(model), (size_t)all, sizeof *f);
  if (!f) return mtk_fail(err, MTK_E_NOMEM, s->writer, "out of memory");
  for (int64_t i = 0; i < all; i++) f[i] = 1.0f;
  for (int64_t x = 0; x < matrices; x++)
    for (int64_t i = 0; i < m; i++) f[x * rows + s->first_row + i] = 1.0f / factors[x * m + i];
  MTK_TRY(mtk_model_fold(model, s->writer, &(mtk_fold){.matrices = matrices, .rows = f}, err));
  if (!s->bias) return MTK_OK;
  return mtk_model_fold(model, s->bias, &(mtk_fold){.matrices = matrices, .columns = f}, err);
}

mtk_status mtk_model_fold_site(mtk_model *model, const mtk_fold_site *s, float *factors,
                               mtk_error *err) {
  int64_t m = mtk_fold_channels(s), matrices = s->n_expert > 0 ? s->n_expert : 1;
  MTK_TRY(s->is_norm ? divide_norm(model, s, factors, err)
                     : divide_rows(model, s, factors, err));
  float *f = mtk_arena_alloc(mtk_model_arena(model), (size_t)(matrices * s->k), sizeof *f);
  if (!f) return mtk_fail(err, MTK_E_NOMEM, s->writer, "out of memory");
  for (int64_t x = 0; x < matrices; x++)
    for (int64_t j = 0; j < s->k; j++)
      f[x * s->k + j] = factors[x * m + mtk_fold_channel(s, j)];
  for (int i = 0; i < s->n_readers; i++) {
    const mtk_tensor *t = mtk_model_tensor(model, s->readers[i]);
    int64_t n = t ? mtk_tensor_matrices(t) : 1;
    mtk_fold fold = {.matrices = n, .columns = f, .shared_columns = s->n_expert == 0};
    MTK_TRY(mtk_model_fold(model, s->readers[i], &fold, err));
  }
  return MTK_OK;
}
