/* test_graph.c: the builder's shapes and errors, the memory plan, the printed form and the cost. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "graph/exec_ops.h"
#include "model/weights.h"
#include "run_suite.h"
#include "tiny_llama.h"

static mtk_graph *new_graph(void) {
  mtk_graph *g;
  ck_assert_int_eq(mtk_graph_create(&g, NULL, NULL), MTK_OK);
  return g;
}

static mtk_graph *tiny_graph(const tiny_config *c, const mtk_adapter_spec *spec) {
  mtk_model *m = tiny_model(c);
  mtk_graph *g;
  mtk_error err;
  ck_assert_msg(mtk_model_build_graph(&g, m, tiny_build, spec, &err) == MTK_OK, "%s", err.message);
  mtk_model_destroy(m);
  return g;
}

/* ---- builder -------------------------------------------------------------------------------- */

START_TEST(every_op_has_a_row) {
  for (int op = 0; op < MTK_OP_COUNT; op++) {
    const mtk_op_info *info = mtk_op_get((mtk_op)op);
    ck_assert_msg(info->name && info->n_in <= MTK_OP_MAX_IN && info->n_out <= MTK_OP_MAX_OUT,
                  "op %d", op);
    ck_assert_msg(info->n_out == 0 || info->width[info->n_out - 1] != MTK_WIDTH_NONE, "%s",
                  info->name);
    ck_assert_msg(op >= MTK_OP_EMBED_DW || info->derive != NULL, "%s", info->name);
    ck_assert_msg(mtk_exec_forward_ops[op] || mtk_exec_moe_ops[op] || mtk_exec_backward_ops[op],
                  "%s cannot be run", info->name);
  }
  ck_assert_ptr_null(mtk_op_get(MTK_OP_COUNT));
}
END_TEST

START_TEST(shapes_follow_the_table) {
  mtk_graph *g = new_graph();
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "e.weight", 48, NULL);
  mtk_node_value y = mtk_graph_project(g, x, "up", 96, true);
  mtk_node_value z = mtk_graph_add(g, MTK_OP_SELECT, &y, 1, NULL, 0, NULL);
  ck_assert_int_eq(mtk_graph_status(g, NULL), MTK_OK);
  ck_assert_int_eq(g->values[x].width, 48);
  ck_assert_int_eq(g->values[y].width, 96);
  ck_assert_int_eq(g->values[y].rows, MTK_ROWS_TOKENS);
  ck_assert_int_eq(g->values[z].width, 96);
  ck_assert_int_eq(g->values[z].rows, MTK_ROWS_OUTPUTS);
  const mtk_graph_weight *w = &g->weights[mtk_graph_find_weight(g, "up.weight")];
  ck_assert_int_eq(w->n, 96);
  ck_assert_int_eq(w->k, 48);
  ck_assert_uint_eq(w->use, MTK_USE_LINEAR);
  w = &g->weights[mtk_graph_find_weight(g, "up.bias")];
  ck_assert_int_eq(w->k, 96);
  ck_assert_uint_eq(w->use, MTK_USE_VECTOR);
  ck_assert_int_eq(mtk_graph_find_weight(g, "down.weight"), -1);
  mtk_graph_destroy(g);
}
END_TEST

START_TEST(tied_weights_are_one) {
  tiny_config c = tiny_default;
  c.tied = true;
  mtk_graph *g = tiny_graph(&c, NULL);
  const mtk_graph_weight *w = &g->weights[mtk_graph_find_weight(g, "token_embd.weight")];
  ck_assert_uint_eq(w->use, MTK_USE_EMBED | MTK_USE_LINEAR);
  ck_assert_int_eq(w->n, c.vocab);
  mtk_graph_destroy(g);
}
END_TEST

static void bad_width(mtk_graph *g, mtk_node_value x) {
  mtk_node_value y = mtk_graph_project(g, x, "p", 32, false);
  mtk_graph_add(g, MTK_OP_ADD, (mtk_node_value[]){x, y}, 2, NULL, 0, NULL);
}
static void bad_rows(mtk_graph *g, mtk_node_value x) {
  mtk_node_value o = mtk_graph_add(g, MTK_OP_SELECT, &x, 1, NULL, 0, NULL);
  mtk_graph_add(g, MTK_OP_SELECT, &o, 1, NULL, 0, NULL);
}
static void bad_value(mtk_graph *g, mtk_node_value x) {
  x += 1;
  mtk_graph_add(g, MTK_OP_SCALE, &x, 1, NULL, 0, NULL);
}
static void bad_count(mtk_graph *g, mtk_node_value x) {
  mtk_graph_add(g, MTK_OP_ADD, &x, 1, NULL, 0, NULL);
}
static void bad_weight(mtk_graph *g, mtk_node_value x) {
  mtk_graph_add(g, MTK_OP_RMSNORM, &x, 1, NULL, 0, NULL);
}
static void bad_reuse(mtk_graph *g, mtk_node_value x) {
  mtk_graph_project(g, x, "p", 32, false);
  mtk_graph_project(g, x, "p", 48, false);
}
static void bad_rope(mtk_graph *g, mtk_node_value x) {
  mtk_graph_add(g, MTK_OP_ROPE, &x, 1, NULL, 0,
                &(mtk_attrs){.n_head = 4, .head_dim = 16, .rope_dim = 8});
}
static void bad_logits(mtk_graph *g, mtk_node_value x) { mtk_graph_set_logits(g, x); }
static void bad_heads(mtk_graph *g, mtk_node_value x) {
  mtk_graph_set_kv(g, 1, 2, 16, 16);
  mtk_graph_add(g, MTK_OP_ATTENTION, (mtk_node_value[]){x, x, x}, 3, NULL, 0,
                &(mtk_attrs){.n_head = 4, .n_head_kv = 2, .head_dim = 16});
}
static void bad_op(mtk_graph *g, mtk_node_value x) {
  mtk_graph_add(g, MTK_OP_COUNT, &x, 1, NULL, 0, NULL);
}

START_TEST(errors_stick) {
  static const struct {
    void (*build)(mtk_graph *, mtk_node_value);
    const char *place;
  } cases[] = {{bad_width, "add"},     {bad_rows, "select"}, {bad_value, "scale"},
               {bad_count, "add"},     {bad_weight, "rmsnorm"}, {bad_reuse, "p.weight"},
               {bad_rope, "rope"},     {bad_logits, "logits"}, {bad_heads, "attention"},
               {bad_op, "graph"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mtk_graph *g = new_graph();
    mtk_error err;
    mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "e", 64, NULL);
    cases[i].build(g, x);
    ck_assert_int_eq(mtk_graph_status(g, &err), MTK_E_INVALID);
    ck_assert_str_eq(err.place, cases[i].place);
    size_t n = g->n_nodes;
    ck_assert_int_eq(mtk_graph_add(g, MTK_OP_SCALE, &x, 1, NULL, 0, NULL), -1);
    ck_assert_uint_eq(g->n_nodes, n);
    mtk_graph_destroy(g);
  }
}
END_TEST

static bool only_q(void *ctx, const char *target, int64_t *rank, float *scale) {
  (void)ctx;
  *rank = 5;
  *scale = 0.5f;
  return strstr(target, "attn_q.weight") != NULL;
}

START_TEST(adapters_are_inserted) {
  mtk_graph *base = tiny_graph(&tiny_default, NULL);
  mtk_graph *g = tiny_graph(&tiny_default, &(mtk_adapter_spec){only_q, NULL});
  ck_assert_uint_eq(g->n_nodes, base->n_nodes + 3 * 2);
  int32_t a = mtk_graph_find_weight(g, "blk.1.attn_q.weight.lora_a");
  int32_t b = mtk_graph_find_weight(g, "blk.1.attn_q.weight.lora_b");
  ck_assert_int_eq(g->weights[a].n, 5);
  ck_assert_int_eq(g->weights[a].k, 64);
  ck_assert_int_eq(g->weights[b].n, 64);
  ck_assert_int_eq(g->weights[b].k, 5);
  ck_assert_int_eq(mtk_graph_find_weight(g, "blk.1.attn_k.weight.lora_a"), -1);
  mtk_graph_destroy(g);
  mtk_graph_destroy(base);
}
END_TEST

/* ---- memory plan ---------------------------------------------------------------------------- */

static bool yes(void *ctx, const char *name) {
  (void)ctx;
  (void)name;
  return true;
}

static mtk_status make_plan(mtk_plan **p, const mtk_graph *g, int64_t tokens, int64_t outputs,
                            mtk_node_value outside) {
  const mtk_plan_options o = {.max_tokens = tokens, .max_outputs = outputs, .outside = outside};
  return mtk_plan_create(p, g, &o, NULL);
}

static int64_t value_floats(const mtk_graph *g, const mtk_plan *p, mtk_node_value v, int64_t t,
                            int64_t o) {
  int64_t rows = g->values[v].rows == MTK_ROWS_TOKENS ? t : o;
  return g->values[v].width * (p->in_strip[v] ? p->strip_rows : rows);
}

/* A graph played on its plan: every float of a value is marked with the value's number. */
typedef struct play {
  const mtk_graph *g;
  const mtk_plan *p;
  int32_t *arena;
  int64_t t, o;
  mtk_node_value outside;
} play;

/* The floats of one half of a value's rows, or (half 2) all. */
static void span(const play *y, mtk_node_value v, int half, size_t *from, size_t *to) {
  size_t all = (size_t)value_floats(y->g, y->p, v, y->t, y->o);
  size_t width = (size_t)y->g->values[v].width, middle = all / width / 2 * width;
  *from = y->p->offset[v] + (half == 1 ? middle : 0);
  *to = y->p->offset[v] + (half == 0 ? middle : all);
}

static void read_value(const play *y, mtk_node_value v, int half, size_t node) {
  size_t from, to;
  if (v == y->outside) return;
  span(y, v, half, &from, &to);
  bool whole = true; /* asserted once: each of Check's assertions is a message to its parent */
  for (size_t f = from; f < to; f++) whole = whole && y->arena[f] == v;
  ck_assert_msg(whole, "value %d is damaged before node %zu", v, node);
}

/* A result may overlap an input only where the table allows to work in place. */
static void write_value(const play *y, const mtk_graph_node *n, mtk_node_value v, int half) {
  size_t from, to;
  if (v == y->outside) return;
  span(y, v, half, &from, &to);
  ck_assert_uint_eq(y->p->offset[v] % 16, 0);
  ck_assert_uint_le(to, y->p->floats);
  for (int q = 0; q < n->n_in; q++) {
    mtk_node_value in = n->in[q];
    if (y->p->last[in] != n - y->g->nodes || y->p->owner[v] == y->p->owner[in]) continue;
    bool apart = true;
    for (size_t f = from; f < to; f++) apart = apart && y->arena[f] != in;
    ck_assert_msg(apart, "value %d is written over value %d, which node %zu still reads", v, in,
                  (size_t)(n - y->g->nodes));
  }
  for (size_t f = from; f < to; f++) y->arena[f] = v;
}

static void play_node(const play *y, size_t i, int half) {
  const mtk_graph_node *n = &y->g->nodes[i];
  for (int j = 0; j < n->n_in; j++) read_value(y, n->in[j], half, i);
  for (int j = 0; j < n->n_out; j++) write_value(y, n, n->out[j], half);
}

/* Each input must still be whole when it is read. One half of the rows, `ahead`, goes through all
 * of a chain before the other one begins. */
static void play_all(const mtk_graph *g, const mtk_plan *p, int64_t t, int64_t o,
                     mtk_node_value outside, int ahead) {
  play y = {g, p, malloc(p->floats * sizeof(int32_t)), t, o, outside};
  memset(y.arena, 0xff, p->floats * sizeof *y.arena);
  size_t chained = 0;
  for (size_t i = 0, end; i < g->n_nodes; i = end) {
    end = i + 1;
    while (end < g->n_nodes && mtk_graph_chains(g, &g->nodes[end - 1], &g->nodes[end])) end++;
    chained += end - i - 1;
    for (int half = 0; half < 2 && end > i + 1; half++)
      for (size_t j = i; j < end; j++) play_node(&y, j, half ^ ahead);
    if (end == i + 1) play_node(&y, i, 2);
  }
  if (g->loss >= 0) read_value(&y, g->loss, 2, g->n_nodes);
  ck_assert_uint_gt(chained, 0);
  free(y.arena);
}

static void check_plan(const mtk_graph *g, const mtk_plan *p, int64_t t, int64_t o,
                       mtk_node_value outside) {
  for (int ahead = 0; ahead < 2; ahead++) play_all(g, p, t, o, outside, ahead);
}

START_TEST(plan_never_overwrites_live_values) {
  tiny_config c = tiny_default;
  c.tied = _i & 1;
  c.interleaved = (_i & 2) != 0;
  if (_i & 8) c.head_dim = 40;
  mtk_graph *g = tiny_graph(&c, _i & 4 ? &(mtk_adapter_spec){only_q, NULL} : NULL);
  mtk_plan *p;
  ck_assert_int_eq(make_plan(&p, g, 33, 33, g->logits), MTK_OK);
  check_plan(g, p, 33, 33, g->logits);
  size_t forward = p->floats;
  /* Far less than the sum of all values. */
  size_t sum = 0;
  for (size_t v = 0; v < g->n_values; v++) sum += 33 * (size_t)g->values[v].width;
  ck_assert_uint_lt(forward * 4, sum);
  mtk_plan_destroy(p);
  ck_assert_int_eq(mtk_graph_backward(g, yes, NULL, NULL), MTK_OK);
  ck_assert_int_eq(make_plan(&p, g, 33, 7, -1), MTK_OK);
  check_plan(g, p, 33, 7, -1);
  ck_assert_uint_gt(p->floats, forward); /* activations are kept for the way back */
  mtk_plan_destroy(p);
  mtk_graph_destroy(g);
}
END_TEST

/* The loss in strips: head, cross entropy and their derivatives, and nothing else. */
START_TEST(strips_hold_few_logits) {
  mtk_graph *g = tiny_graph(&tiny_default, _i ? &(mtk_adapter_spec){only_q, NULL} : NULL);
  ck_assert_int_eq(mtk_graph_backward(g, yes, NULL, NULL), MTK_OK);
  mtk_plan *whole, *p;
  ck_assert_int_eq(make_plan(&whole, g, 64, 60, -1), MTK_OK);
  ck_assert(whole->strip_first == whole->strip_end && !whole->in_strip[g->logits]);
  mtk_plan_options o = {.max_tokens = 64, .max_outputs = 60, .outside = -1,
                        .strip_floats = 20 * tiny_default.vocab};
  ck_assert_int_eq(mtk_plan_create(&p, g, &o, NULL), MTK_OK);
  ck_assert_int_eq(p->strip_rows, 16);
  ck_assert(p->in_strip[g->logits] && !p->in_strip[g->loss]);
  ck_assert_int_eq(g->nodes[p->strip_first].op, MTK_OP_LINEAR);
  for (size_t i = p->strip_first; i < p->strip_end; i++) {
    mtk_op op = g->nodes[i].op;
    ck_assert(op == MTK_OP_LINEAR || op == MTK_OP_CROSS_ENTROPY || op == MTK_OP_CROSS_ENTROPY_DX ||
              op == MTK_OP_LINEAR_DX || op == MTK_OP_LINEAR_DW);
  }
  check_plan(g, p, 64, 60, -1);
  ck_assert_uint_le(p->floats, whole->floats);
  mtk_plan_destroy(p);
  mtk_plan_destroy(whole);
  o.keep = &g->logits; /* whoever wants to read them gets them all */
  o.n_keep = 1;
  ck_assert_int_eq(mtk_plan_create(&p, g, &o, NULL), MTK_OK);
  ck_assert(!p->in_strip[g->logits]);
  mtk_plan_destroy(p);
  mtk_graph_destroy(g);
}
END_TEST

START_TEST(kept_values_stay) {
  mtk_graph *g = tiny_graph(&tiny_default, NULL);
  mtk_plan *p;
  mtk_node_value first = g->nodes[0].out[0];
  const mtk_plan_options o = {.max_tokens = 8, .max_outputs = 8, .outside = -1, .keep = &first,
                              .n_keep = 1};
  ck_assert_int_eq(mtk_plan_create(&p, g, &o, NULL), MTK_OK);
  ck_assert_int_eq(p->last[first], (int32_t)g->n_nodes);
  check_plan(g, p, 8, 8, -1);
  mtk_plan_destroy(p);
  mtk_graph_destroy(g);
}
END_TEST

/* ---- printing and cost ---------------------------------------------------------------------- */

START_TEST(prints_every_node) {
  mtk_graph *g = tiny_graph(&tiny_default, NULL);
  mtk_bytes out = {0};
  mtk_graph_print(&out, g);
  ck_assert_int_eq(mtk_bytes_status(&out, NULL), MTK_OK);
  size_t lines = 0;
  for (size_t i = 0; i < out.len; i++) lines += out.data[i] == '\n';
  ck_assert_uint_eq(lines, g->n_nodes + 2);
  ck_assert_ptr_nonnull(strstr(out.data, "%0[T,64] = embed @token_embd.weight[V,64]"));
  ck_assert_ptr_nonnull(strstr(out.data, "linear %1 @blk.0.attn_q.weight[64,64]"));
  ck_assert_ptr_nonnull(strstr(out.data, "attention %4 %7 %9 layer=0 heads=4/2 head_dim=16"));
  ck_assert_ptr_nonnull(strstr(out.data, "KV cache 512 B per position"));
  mtk_bytes_finish(&out);
  mtk_graph_destroy(g);
}
END_TEST

START_TEST(cost_is_that_of_the_formulas) {
  tiny_config c = tiny_default;
  c.biases = false;
  mtk_graph *g = tiny_graph(&c, NULL);
  double linear = 0.0, attention = 0.0, weights = 0.0;
  for (size_t i = 0; i < g->n_nodes; i++) {
    mtk_cost cost = mtk_node_cost(g, &g->nodes[i], 10.0, 3.0, 5.5);
    if (g->nodes[i].op == MTK_OP_LINEAR) {
      linear += cost.flops;
      weights += cost.weight_elems;
    }
    if (g->nodes[i].op == MTK_OP_ATTENTION) attention += cost.flops;
  }
  double block = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128, out = 67 * 64;
  ck_assert_double_eq_tol(weights, 2 * block + out, 0.5);
  ck_assert_double_eq_tol(linear, 2 * (10 * 2 * block + 3 * out), 0.5);
  ck_assert_double_eq_tol(attention, 2 * (4 * 10 * 5.5 * 64), 0.5);
  ck_assert_double_gt(mtk_graph_cost(g, 10.0, 3.0, 5.5).flops, linear + attention);
  mtk_graph_destroy(g);
}
END_TEST

START_TEST(no_memory_is_an_error) {
  mtk_model *m = tiny_model(&tiny_default);
  mtk_status status = MTK_E_NOMEM;
  int n = 0;
  for (; n < 10000 && status != MTK_OK; n++) {
    mtk_graph *g = NULL;
    mtk_plan *p = NULL;
    mtk_alloc_fail_after(n);
    status = mtk_model_build_graph(&g, m, tiny_build, NULL, NULL);
    if (status == MTK_OK) status = mtk_graph_backward(g, yes, NULL, NULL);
    if (status == MTK_OK) status = make_plan(&p, g, 4, 4, -1);
    mtk_alloc_fail_after(-1);
    ck_assert(status == MTK_OK || status == MTK_E_NOMEM);
    mtk_plan_destroy(p);
    mtk_graph_destroy(g);
  }
  ck_assert_int_eq(status, MTK_OK);
  ck_assert_int_gt(n, 10);
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("graph");
  TCase *t = tcase_create("graph");
  tcase_set_timeout(t, 120);
  tcase_add_test(t, every_op_has_a_row);
  tcase_add_test(t, shapes_follow_the_table);
  tcase_add_test(t, tied_weights_are_one);
  tcase_add_test(t, errors_stick);
  tcase_add_test(t, adapters_are_inserted);
  tcase_add_loop_test(t, plan_never_overwrites_live_values, 0, 16);
  tcase_add_loop_test(t, strips_hold_few_logits, 0, 2);
  tcase_add_test(t, kept_values_stay);
  tcase_add_test(t, prints_every_node);
  tcase_add_test(t, cost_is_that_of_the_formulas);
  tcase_add_test(t, no_memory_is_an_error);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
