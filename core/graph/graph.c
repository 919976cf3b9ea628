/* graph.c: the builder: appends nodes, infers shapes from the op table, keeps the first error.
 *
 * The graph owns its arrays; names and the rope table lie in its arena. One thread builds. */
#include "graph/graph.h"

#include <stdio.h>
#include <string.h>

mtk_status mtk_graph_create(mtk_graph **out, const mtk_adapter_spec *adapter, mtk_error *err) {
  *out = NULL;
  mtk_graph *g = mtk_alloc(1, sizeof *g);
  if (g) g->arena = mtk_arena_create();
  if (!g || !g->arena) {
    mtk_free(g);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a graph");
  }
  g->adapter = adapter;
  g->logits = g->hidden = g->loss = -1;
  *out = g;
  return MTK_OK;
}

void mtk_graph_destroy(mtk_graph *g) {
  if (!g) return;
  mtk_free(g->nodes);
  mtk_free(g->values);
  mtk_free(g->weights);
  mtk_arena_destroy(g->arena);
  mtk_free(g);
}

void mtk_graph_fail(mtk_graph *g, mtk_status code, const char *place, const char *message) {
  if (g->status == MTK_OK) g->status = mtk_fail(&g->error, code, place, "%s", message);
}

mtk_status mtk_graph_status(const mtk_graph *g, mtk_error *err) {
  if (g->status != MTK_OK && err) *err = g->error;
  return g->status;
}

/* Room for one more element; NULL (and a sticky error) when memory is out. */
static void *grow(mtk_graph *g, void *array, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return array;
  size_t more = *cap ? *cap * 2 : 64;
  void *grown = mtk_realloc(array, n, more, size);
  if (!grown) {
    mtk_graph_fail(g, MTK_E_NOMEM, NULL, "out of memory for a graph");
    return NULL;
  }
  *cap = more;
  return grown;
}

int32_t mtk_graph_find_weight(const mtk_graph *g, const char *name) {
  for (size_t i = 0; i < g->n_weights; i++)
    if (strcmp(g->weights[i].name, name) == 0) return (int32_t)i;
  return -1;
}

/* Index of the weight with this shape, entered when new; n = 0 or k = 0: not known here. */
static int32_t enter_weight(mtk_graph *g, const char *name, unsigned use, int64_t n, int64_t k) {
  int32_t at = mtk_graph_find_weight(g, name);
  if (at < 0) {
    mtk_graph_weight *w = grow(g, g->weights, g->n_weights, &g->cap_weights, sizeof *w);
    if (!w) return -1;
    g->weights = w;
    w += g->n_weights;
    *w = (mtk_graph_weight){.name = mtk_arena_strndup(g->arena, name, strlen(name)),
                            .n = n, .k = k, .use = use};
    if (!w->name) {
      mtk_graph_fail(g, MTK_E_NOMEM, NULL, "out of memory for a graph");
      return -1;
    }
    return (int32_t)g->n_weights++;
  }
  mtk_graph_weight *w = &g->weights[at];
  if (w->n == 0) w->n = n;
  if (w->k != k || (n != 0 && w->n != n)) {
    mtk_graph_fail(g, MTK_E_INVALID, name, "the weight is used with two different shapes");
    return -1;
  }
  w->use |= use;
  return at;
}

/* Weights of experts: the shapes of one, and how many there are. */
static int32_t enter_experts(mtk_graph *g, mtk_op op, const char *name, int64_t in_width,
                             int64_t width, const mtk_attrs *attrs) {
  if (!attrs || attrs->n_expert <= 0 || attrs->n_slot <= 0 || in_width > INT32_MAX ||
      width > INT32_MAX) {
    mtk_graph_fail(g, MTK_E_INVALID, name, "the weight of experts has no shape");
    return -1;
  }
  if (op == MTK_OP_MOE_ADD_ROW)
    return enter_weight(g, name, MTK_USE_VECTOR, 1, in_width / attrs->n_slot * attrs->n_expert);
  int64_t k = attrs->slot_input ? in_width / attrs->n_slot : in_width;
  int32_t at = enter_weight(g, name, MTK_USE_EXPERTS, width / attrs->n_slot * attrs->n_expert, k);
  if (at >= 0) g->weights[at].n_expert = attrs->n_expert;
  return at;
}

static int32_t enter_op_weight(mtk_graph *g, mtk_op op, const char *name, const mtk_node_value *in,
                               int64_t width, const mtk_attrs *attrs) {
  const mtk_op_info *info = mtk_op_get(op);
  int64_t in_width = info->n_in > 0 ? g->values[in[0]].width : width;
  if (op == MTK_OP_MOE_LINEAR || op == MTK_OP_MOE_ADD_ROW)
    return enter_experts(g, op, name, in_width, width, attrs);
  int64_t n = info->use == MTK_USE_LINEAR ? width : info->use == MTK_USE_EMBED ? 0 : 1;
  int64_t n_head = attrs && attrs->n_head > 0 ? attrs->n_head : 1, k = in_width;
  if (info->vector == MTK_VECTOR_PER_HEAD) k /= n_head;
  if (info->vector == MTK_VECTOR_HEADS) k = n_head;
  return enter_weight(g, name, info->use, n, k);
}

static const char *check_rows(const mtk_graph *g, const mtk_op_info *op,
                              const mtk_graph_node *node) {
  for (int i = 0; i < node->n_in; i++) {
    mtk_rows rows = g->values[node->in[i]].rows;
    mtk_rows want = g->values[node->in[0]].rows;
    if (op->rows == MTK_ROWS_T_TO_T || op->rows == MTK_ROWS_T_TO_O) want = MTK_ROWS_TOKENS;
    if (op->rows == MTK_ROWS_O_TO_T || op->rows == MTK_ROWS_O_TO_O) want = MTK_ROWS_OUTPUTS;
    if (rows != want) return "an input has output rows where token rows are needed, or vice versa";
    if (op->same_width && g->values[node->in[i]].width != g->values[node->in[0]].width)
      return "the inputs differ in width";
  }
  return NULL;
}

static int64_t result_width(const mtk_graph *g, const mtk_graph_node *node, mtk_width_rule rule,
                            int64_t given) {
  switch (rule) {
  case MTK_WIDTH_IN0:
  case MTK_WIDTH_IN1:
  case MTK_WIDTH_IN2:
  case MTK_WIDTH_IN3: return g->values[node->in[rule - MTK_WIDTH_IN0]].width;
  case MTK_WIDTH_GIVEN: return given;
  case MTK_WIDTH_WEIGHT_K: return g->weights[node->weight].k;
  case MTK_WIDTH_ONE: return 1;
  case MTK_WIDTH_COLUMNS:
    return (int64_t)node->attrs.n_column * (node->attrs.n_head > 1 ? node->attrs.n_head : 1);
  case MTK_WIDTH_HEADS: return (int64_t)node->attrs.n_head * node->attrs.head_dim;
  case MTK_WIDTH_V_HEADS: return (int64_t)node->attrs.n_head * node->attrs.v_dim;
  case MTK_WIDTH_PER_SLOT: return g->values[node->in[0]].width / node->attrs.n_slot;
  case MTK_WIDTH_NONE: break;
  }
  return 0;
}

static mtk_rows result_rows(const mtk_graph *g, const mtk_op_info *op, const mtk_graph_node *node) {
  switch (op->rows) {
  case MTK_ROWS_SAME: return node->n_in > 0 ? g->values[node->in[0]].rows : MTK_ROWS_TOKENS;
  case MTK_ROWS_T_TO_O:
  case MTK_ROWS_O_TO_O: return MTK_ROWS_OUTPUTS;
  case MTK_ROWS_T_TO_T:
  case MTK_ROWS_O_TO_T: break;
  }
  return MTK_ROWS_TOKENS;
}

mtk_node_value mtk_graph_append(mtk_graph *g, mtk_op op, const mtk_node_value *in, int n_in,
                                int32_t weight, int64_t width, const mtk_attrs *attrs) {
  const mtk_op_info *info = mtk_op_get(op);
  mtk_graph_node node = {.op = op, .n_in = n_in, .n_out = info->n_out, .weight = weight};
  if (n_in > 0) memcpy(node.in, in, (size_t)n_in * sizeof *in);
  if (attrs) node.attrs = *attrs;
  if (node.attrs.v_dim == 0) node.attrs.v_dim = node.attrs.head_dim;
  const char *wrong = check_rows(g, info, &node);
  if (!wrong && info->check) wrong = info->check(g, &node);
  if (wrong) mtk_graph_fail(g, MTK_E_INVALID, info->name, wrong);
  if (g->status != MTK_OK) return -1;
  for (int i = 0; i < info->n_out; i++) {
    mtk_graph_value *v = grow(g, g->values, g->n_values, &g->cap_values, sizeof *v);
    if (!v) return -1;
    g->values = v;
    v[g->n_values] = (mtk_graph_value){.rows = result_rows(g, info, &node),
                                       .width = result_width(g, &node, info->width[i], width)};
    if (v[g->n_values].width <= 0)
      mtk_graph_fail(g, MTK_E_INVALID, info->name, "a result has no width");
    node.out[i] = (mtk_node_value)g->n_values++;
  }
  mtk_graph_node *nodes = grow(g, g->nodes, g->n_nodes, &g->cap_nodes, sizeof *nodes);
  if (!nodes) return -1;
  g->nodes = nodes;
  nodes[g->n_nodes++] = node;
  return g->status == MTK_OK && info->n_out > 0 ? node.out[0] : -1;
}

mtk_node_value mtk_graph_add(mtk_graph *g, mtk_op op, const mtk_node_value *in, int n_in,
                             const char *weight, int64_t width, const mtk_attrs *attrs) {
  if (g->status != MTK_OK) return -1;
  const mtk_op_info *info = mtk_op_get(op);
  bool weight_fits = info && (weight ? info->use != 0 : !info->use || info->optional_weight);
  if (!info || info->n_in != n_in || !weight_fits) {
    mtk_graph_fail(g, MTK_E_INVALID, info ? info->name : "graph",
                   "unknown op, or wrong number of inputs or weights");
    return -1;
  }
  for (int i = 0; i < n_in; i++) {
    if (in[i] < 0 || (size_t)in[i] >= g->n_values) {
      mtk_graph_fail(g, MTK_E_INVALID, info->name, "an input is not a value of this graph");
      return -1;
    }
  }
  if (info->width[0] == MTK_WIDTH_GIVEN && width <= 0) {
    mtk_graph_fail(g, MTK_E_INVALID, info->name, "the width must be positive");
    return -1;
  }
  int32_t w = -1;
  if (weight) {
    w = enter_op_weight(g, op, weight, in, width, attrs);
    if (w < 0) return -1;
  }
  return mtk_graph_append(g, op, in, n_in, w, width, attrs);
}

/* y + scale * B (A x) with the adapter's pair for `target`, if it has one. */
static mtk_node_value add_low_rank(mtk_graph *g, mtk_node_value x, mtk_node_value y,
                                   const char *target, int64_t n_out) {
  int64_t rank = 0;
  float scale = 0.0f;
  if (!g->adapter || !g->adapter->find(g->adapter->ctx, target, &rank, &scale)) return y;
  char name[320];
  snprintf(name, sizeof name, "%s.lora_a", target);
  mtk_node_value ax = mtk_graph_add(g, MTK_OP_LINEAR, &x, 1, name, rank, NULL);
  snprintf(name, sizeof name, "%s.lora_b", target);
  mtk_node_value bax = mtk_graph_add(g, MTK_OP_LINEAR, &ax, 1, name, n_out, NULL);
  mtk_attrs attrs = {.scale = scale};
  return mtk_graph_add(g, MTK_OP_ADD_SCALED, (mtk_node_value[]){y, bax}, 2, NULL, 0, &attrs);
}

mtk_node_value mtk_graph_project(mtk_graph *g, mtk_node_value x, const char *name, int64_t n_out,
                                 bool has_bias) {
  char weight[288], bias[288];
  int n = snprintf(weight, sizeof weight, "%s.weight", name);
  snprintf(bias, sizeof bias, "%s.bias", name);
  if (n < 0 || (size_t)n >= sizeof weight) {
    mtk_graph_fail(g, MTK_E_INVALID, "project", "the name of a weight is longer than 280 bytes");
    return -1;
  }
  mtk_node_value y = mtk_graph_add(g, MTK_OP_LINEAR, &x, 1, weight, n_out, NULL);
  if (has_bias) y = mtk_graph_add(g, MTK_OP_ADD_ROW, &y, 1, bias, 0, NULL);
  return y < 0 ? -1 : add_low_rank(g, x, y, weight, n_out);
}

void mtk_graph_set_logits(mtk_graph *g, mtk_node_value logits) {
  if (g->status != MTK_OK) return;
  if (logits < 0 || (size_t)logits >= g->n_values ||
      g->values[logits].rows != MTK_ROWS_OUTPUTS)
    mtk_graph_fail(g, MTK_E_INVALID, "logits", "the logits must be a value with output rows");
  else
    g->logits = logits;
}

void mtk_graph_set_hidden(mtk_graph *g, mtk_node_value hidden) {
  if (g->status != MTK_OK) return;
  if (hidden < 0 || (size_t)hidden >= g->n_values || g->values[hidden].rows != MTK_ROWS_OUTPUTS) {
    mtk_graph_fail(g, MTK_E_INVALID, "hidden", "hidden states must be a value with output rows");
    return;
  }
  g->hidden = hidden;
  g->body_nodes = g->n_nodes;
  g->body_values = g->n_values;
  g->body_weights = g->n_weights;
}

mtk_status mtk_graph_cut_head(mtk_graph *g, mtk_error *err) {
  if (g->hidden < 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "graph",
                    "this architecture does not tell which values embeddings are made of");
  g->n_nodes = g->body_nodes;
  g->n_values = g->body_values;
  g->n_weights = g->body_weights;
  g->logits = g->hidden;
  for (size_t i = 0; i < g->n_weights; i++) g->weights[i].use = 0; /* a tied embedding: no head */
  for (size_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].weight >= 0)
      g->weights[g->nodes[i].weight].use |= mtk_op_get(g->nodes[i].op)->use;
  return MTK_OK;
}

bool mtk_graph_is_bidirectional(const mtk_graph *g) {
  for (size_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == MTK_OP_ATTENTION && g->nodes[i].attrs.bidirectional) return true;
  return false;
}

void mtk_graph_set_kv(mtk_graph *g, int n_layer, int n_head_kv, int head_dim, int v_dim) {
  if (n_layer <= 0 || n_head_kv <= 0 || head_dim <= 0 || v_dim <= 0)
    mtk_graph_fail(g, MTK_E_INVALID, "kv", "layers, heads and head sizes must be positive");
  g->n_layer = n_layer;
  g->n_head_kv = n_head_kv;
  g->head_dim = head_dim;
  g->v_dim = v_dim;
}

void mtk_graph_set_rope_temperature(mtk_graph *g, int32_t table, double temperature,
                                    int64_t length) {
  if (table < 0 || table >= g->n_ropes || length <= 0) {
    mtk_graph_fail(g, MTK_E_INVALID, "rope", "no such table, or no length of its temperature");
    return;
  }
  g->ropes[table].temperature = temperature;
  g->ropes[table].length = length;
}

int32_t mtk_graph_add_rope(mtk_graph *g, const double *inv_freq, int n, double mscale) {
  double *copy = mtk_arena_alloc(g->arena, (size_t)(n > 0 ? n : 1), sizeof *inv_freq);
  if (!copy) mtk_graph_fail(g, MTK_E_NOMEM, "rope", "out of memory for a graph");
  if (n <= 0) mtk_graph_fail(g, MTK_E_INVALID, "rope", "the rope table is empty");
  if (g->n_ropes == MTK_GRAPH_MAX_ROPE)
    mtk_graph_fail(g, MTK_E_INVALID, "rope", "the graph has too many rope tables");
  if (g->status != MTK_OK) return -1;
  memcpy(copy, inv_freq, (size_t)n * sizeof *inv_freq);
  g->ropes[g->n_ropes] = (mtk_graph_rope){.inv_freq = copy, .dim = 2 * n, .mscale = mscale};
  return g->n_ropes++;
}
