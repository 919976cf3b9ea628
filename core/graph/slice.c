/* slice.c: consecutive nodes of a graph as a graph of their own, so that a model can be computed a
 * part at a time with only that part's weights in memory. One thread; the result is read-only. */
#include <string.h>

#include "graph/graph.h"

typedef struct slicer {
  const mtk_graph *g;
  mtk_graph_slice *out;
  int32_t *inner; /* value of g -> value of the slice, or -1 */
  int32_t *weight; /* weight of g -> weight of the slice, or -1 */
} slicer;

static mtk_node_value map_value(slicer *s, mtk_node_value outer) {
  if (s->inner[outer] < 0) {
    s->inner[outer] = (int32_t)s->out->graph->n_values;
    s->out->graph->values[s->out->graph->n_values++] = s->g->values[outer];
  }
  return s->inner[outer];
}

static void add_node(slicer *s, const mtk_graph_node *n) {
  mtk_graph *g = s->out->graph;
  mtk_graph_node node = *n;
  for (int i = 0; i < n->n_in; i++) {
    if (s->inner[n->in[i]] < 0) s->out->in_outer[s->out->n_in++] = n->in[i];
    node.in[i] = map_value(s, n->in[i]);
  }
  for (int i = 0; i < n->n_out; i++) node.out[i] = map_value(s, n->out[i]);
  if (n->weight >= 0) {
    if (s->weight[n->weight] < 0) {
      s->weight[n->weight] = (int32_t)g->n_weights;
      g->weights[g->n_weights++] = s->g->weights[n->weight];
    }
    node.weight = s->weight[n->weight];
  }
  g->nodes[g->n_nodes++] = node;
}

/* Values written inside that a node behind the slice reads; or the logits. */
static void find_outputs(slicer *s, size_t first, size_t end) {
  for (size_t i = first; i < end; i++)
    for (int j = 0; j < s->g->nodes[i].n_out; j++) {
      mtk_node_value v = s->g->nodes[i].out[j];
      bool read = v == s->g->logits;
      for (size_t k = end; k < s->g->n_nodes && !read; k++)
        for (int l = 0; l < s->g->nodes[k].n_in; l++) read |= s->g->nodes[k].in[l] == v;
      if (read) s->out->out_outer[s->out->n_out++] = v;
    }
}

static mtk_status fill(slicer *s, size_t first, size_t end, mtk_error *err) {
  const mtk_graph *g = s->g;
  mtk_graph_slice *o = s->out;
  MTK_TRY(mtk_graph_create(&o->graph, NULL, err));
  mtk_graph *part = o->graph;
  size_t n = end - first, values = n * (MTK_OP_MAX_IN + MTK_OP_MAX_OUT);
  part->nodes = mtk_alloc(n, sizeof *part->nodes);
  part->values = mtk_alloc(values, sizeof *part->values);
  part->weights = mtk_alloc(n, sizeof *part->weights);
  o->in_outer = mtk_alloc(values, sizeof *o->in_outer);
  o->in_inner = mtk_alloc(values, sizeof *o->in_inner);
  o->out_outer = mtk_alloc(values, sizeof *o->out_outer);
  o->out_inner = mtk_alloc(values, sizeof *o->out_inner);
  if (!part->nodes || !part->values || !part->weights || !o->in_outer || !o->in_inner ||
      !o->out_outer || !o->out_inner)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a part of a graph");
  for (size_t i = first; i < end; i++) add_node(s, &g->nodes[i]);
  find_outputs(s, first, end);
  for (int i = 0; i < o->n_in; i++) o->in_inner[i] = s->inner[o->in_outer[i]];
  for (int i = 0; i < o->n_out; i++) o->out_inner[i] = s->inner[o->out_outer[i]];
  part->logits = g->logits >= 0 ? s->inner[g->logits] : -1;
  part->n_forward = part->n_nodes;
  part->n_layer = g->n_layer;
  part->n_head_kv = g->n_head_kv;
  part->head_dim = g->head_dim;
  part->v_dim = g->v_dim;
  memcpy(part->ropes, g->ropes, sizeof part->ropes);
  part->n_ropes = g->n_ropes;
  return MTK_OK;
}

mtk_status mtk_graph_slice_create(mtk_graph_slice **out, const mtk_graph *g, size_t first,
                                  size_t end, mtk_error *err) {
  *out = NULL;
  slicer s = {.g = g, .out = mtk_alloc(1, sizeof *s.out)};
  s.inner = mtk_alloc(g->n_values, sizeof *s.inner);
  s.weight = mtk_alloc(g->n_weights, sizeof *s.weight);
  mtk_status st = s.out && s.inner && s.weight ? MTK_OK
                                               : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) {
    memset(s.inner, 0xFF, g->n_values * sizeof *s.inner);
    memset(s.weight, 0xFF, g->n_weights * sizeof *s.weight);
    st = fill(&s, first, end, err);
  }
  mtk_free(s.inner);
  mtk_free(s.weight);
  if (st == MTK_OK) *out = s.out;
  else mtk_graph_slice_destroy(s.out);
  return st;
}

void mtk_graph_slice_destroy(mtk_graph_slice *slice) {
  if (!slice) return;
  mtk_graph_destroy(slice->graph);
  mtk_free(slice->in_outer);
  mtk_free(slice->in_inner);
  mtk_free(slice->out_outer);
  mtk_free(slice->out_inner);
  mtk_free(slice);
}
