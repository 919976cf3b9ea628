/* test_experts.c: mixtures of experts in the executor: against a plain double-precision reference,
 * and the promise that a token's bits depend on the token alone: other tokens, their order, threads
 * and ISA levels do not change them, for float, bf16 and block-quantized experts. */
#include <assert.h>
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/exec.h"
#include "model/weights.h"
#include "run_suite.h"

enum { VOCAB = 40, FF_SHARED = 64, N_EXPERT = 7, N_SLOT = 3, N_TOKENS = 33, MAX_WIDTH = 256 };
/* Pairs of tokens and slots such that an expert has more rows than one task takes (96). */
enum { N_MANY = 300, MAX_ROWS_A_TASK = 96 };
static_assert(N_MANY * N_SLOT > N_EXPERT * MAX_ROWS_A_TASK, "no expert needs two tasks");

typedef struct variant {
  mtk_dtype type;
  unsigned flags;
  bool biased, clamped, shared;
} variant;

static const variant variants[] = {
    {MTK_F32, MTK_ROUTE_NORM, false, false, false},
    {MTK_F32, MTK_ROUTE_SOFTMAX_CHOSEN, false, true, false},
    {MTK_F32, MTK_ROUTE_SIGMOID | MTK_ROUTE_NORM, true, false, true},
    {MTK_BF16, 0, false, false, true},
    {MTK_Q8_0, MTK_ROUTE_NORM, false, false, false},
    {MTK_NVFP4, MTK_ROUTE_NORM, false, false, false},
    {MTK_MXFP4, MTK_ROUTE_SOFTMAX_CHOSEN, false, true, false},
    {MTK_F8_E4M3, MTK_ROUTE_NORM, false, false, false},
    {MTK_Q4_K, MTK_ROUTE_NORM, true, false, true},
    {MTK_Q6_K, MTK_ROUTE_SIGMOID | MTK_ROUTE_NORM, true, false, false},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };
static const variant *current;
static int64_t dim, ff; /* of its model */

/* ---- the model ------------------------------------------------------------------------------ */

static void add(mtk_model *m, const char *name, mtk_dtype type, int64_t e, int64_t n, int64_t k,
                double spread) {
  uint64_t stream = mtk_model_tensor_count(m);
  size_t count = (size_t)((e ? e : 1) * n * k), bytes = mtk_dtype_bytes(type, count);
  float *values = mtk_arena_alloc(mtk_model_arena(m), count, sizeof *values);
  void *data = mtk_arena_alloc(mtk_model_arena(m), bytes, 1);
  for (size_t i = 0; i < count; i++) values[i] = (float)(spread * mtk_normal(5, stream, i));
  mtk_dtype_encode(type, data, values, count);
  mtk_tensor t = {.name = name, .dtype = type, .data = data, .size_bytes = bytes};
  if (e) t.shape[t.n_dims++] = e;
  if (n > 1 || e) t.shape[t.n_dims++] = n;
  t.shape[t.n_dims++] = k;
  if (type == MTK_NVFP4) { /* one scale per expert */
    float *scales = mtk_arena_alloc(mtk_model_arena(m), (size_t)e, sizeof *scales);
    for (int64_t i = 0; i < e; i++) scales[i] = 0.5f + 0.25f * (float)i;
    t.scales = scales;
    t.scale_n = n;
    t.scale_k = k;
  }
  mtk_error err = {0};
  ck_assert_msg(mtk_model_add_tensor(m, &t, &err) == MTK_OK, "%s", err.message);
}

static mtk_model *make_model(const variant *v) {
  const int64_t block = mtk_dtype_get(v->type)->block_elems;
  current = v;
  dim = block == 256 ? 256 : 64;
  ff = block == 1 ? 72 : block == 32 ? 96 : block; /* whole blocks */
  mtk_model *m = mtk_model_create();
  add(m, "token_embd.weight", MTK_F32, 0, VOCAB, dim, 1.0);
  add(m, "router.weight", MTK_F32, 0, N_EXPERT, dim, 0.3);
  add(m, "select.bias", MTK_F32, 0, 1, N_EXPERT, 0.2);
  add(m, "gate.weight", v->type, N_EXPERT, ff, dim, 0.3);
  add(m, "gate.bias", MTK_F32, N_EXPERT, 1, ff, 0.3);
  add(m, "up.weight", v->type, N_EXPERT, ff, dim, 0.3);
  add(m, "down.weight", v->type, N_EXPERT, dim, ff, 0.3);
  add(m, "sgate.weight", MTK_F32, 0, FF_SHARED, dim, 0.2);
  add(m, "sup.weight", MTK_F32, 0, FF_SHARED, dim, 0.2);
  add(m, "sdown.weight", MTK_F32, 0, dim, FF_SHARED, 0.2);
  add(m, "sweight.weight", MTK_F32, 0, 1, dim, 0.2);
  return m;
}

static mtk_node_value op(mtk_graph *g, mtk_op o, const char *weight, int64_t width,
                         const mtk_attrs *a, mtk_node_value x, mtk_node_value y) {
  return mtk_graph_add(g, o, (mtk_node_value[]){x, y}, y < 0 ? 1 : 2, weight, width, a);
}

static mtk_status build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  (void)model;
  mtk_attrs a = {.n_expert = N_EXPERT, .n_slot = N_SLOT, .route_flags = current->flags,
                 .route_scale = 1.5f, .alpha = 1.702f, .limit = 1.0f};
  mtk_attrs slots = a;
  slots.slot_input = 1;
  mtk_op gated = current->clamped ? MTK_OP_SWIGLU_CLAMPED : MTK_OP_SILU_MUL;
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "token_embd.weight", dim, NULL);
  mtk_node_value logits = op(g, MTK_OP_LINEAR, "router.weight", N_EXPERT, NULL, x, -1);
  mtk_node_value w =
      current->biased ? op(g, MTK_OP_MOE_ROUTE_BIASED, "select.bias", N_SLOT, &a, logits, -1)
                      : op(g, MTK_OP_MOE_ROUTE, NULL, N_SLOT, &a, logits, -1);
  mtk_node_value ids = w + 1;
  mtk_node_value gate = op(g, MTK_OP_MOE_LINEAR, "gate.weight", N_SLOT * ff, &a, x, ids);
  gate = op(g, MTK_OP_MOE_ADD_ROW, "gate.bias", 0, &a, gate, ids);
  mtk_node_value up = op(g, MTK_OP_MOE_LINEAR, "up.weight", N_SLOT * ff, &a, x, ids);
  mtk_node_value h = op(g, gated, NULL, 0, &a, gate, up);
  h = op(g, MTK_OP_MOE_LINEAR, "down.weight", N_SLOT * dim, &slots, h, ids);
  mtk_node_value sum[] = {h, w, ids};
  mtk_node_value y = mtk_graph_add(g, MTK_OP_MOE_SUM, sum, 3, NULL, 0, &a);
  if (current->shared) {
    mtk_node_value sg = op(g, MTK_OP_LINEAR, "sgate.weight", FF_SHARED, NULL, x, -1);
    mtk_node_value su = op(g, MTK_OP_LINEAR, "sup.weight", FF_SHARED, NULL, x, -1);
    mtk_node_value sh = op(g, gated, NULL, 0, &a, sg, su);
    sh = op(g, MTK_OP_LINEAR, "sdown.weight", dim, NULL, sh, -1);
    mtk_node_value s = op(g, MTK_OP_LINEAR, "sweight.weight", 1, NULL, x, -1);
    y = op(g, MTK_OP_ADD, NULL, 0, NULL, y, op(g, MTK_OP_MUL_SIGMOID, NULL, 0, NULL, sh, s));
  }
  mtk_graph_set_logits(g, op(g, MTK_OP_SELECT, NULL, 0, NULL, y, -1));
  return mtk_graph_status(g, err);
}

/* The outputs of all tokens: [n, dim]. arith -1 = each type's default. */
static void run(float *out, const mtk_model *m, const int32_t *ids, int64_t n, int threads,
                mtk_isa isa, int arith) {
  mtk_error err = {0};
  mtk_kernels kernels;
  mtk_kernels_init(&kernels, isa);
  mtk_pool *pool = NULL;
  if (threads > 1) ck_assert_int_eq(mtk_pool_create(&pool, threads, NULL), MTK_OK);
  mtk_graph *g;
  mtk_weights *store;
  mtk_weight **bound;
  mtk_exec *e;
  mtk_workspace ws = {0};
  ck_assert_msg(mtk_model_build_graph(&g, m, build, NULL, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  const mtk_weights_options o = {&kernels, pool, arith};
  ck_assert_int_eq(mtk_weights_create(&store, NULL, &o, &err), MTK_OK);
  ck_assert_msg(mtk_weights_load(store, g, m, &err) == MTK_OK, "%s: %s", err.place, err.message);
  ck_assert_int_eq(mtk_weights_bind(&bound, store, g, &err), MTK_OK);
  const mtk_exec_options eo = {.graph = g, .weights = bound, .kernels = &kernels, .pool = pool,
                               .workspace = &ws, .max_tokens = n, .max_outputs = n,
                               .logits_outside = true};
  ck_assert_msg(mtk_exec_create(&e, &eo, &err) == MTK_OK, "%s", err.message);
  int64_t rows[N_MANY];
  for (int64_t i = 0; i < n; i++) rows[i] = i;
  const mtk_exec_step step = {.ids = ids, .n_tokens = n, .output_rows = rows, .n_outputs = n,
                              .logits = out};
  ck_assert_msg(mtk_exec_run(e, &step, false, &err) == MTK_OK, "%s", err.message);
  mtk_exec_destroy(e);
  mtk_workspace_finish(&ws);
  mtk_free(bound);
  mtk_weights_destroy(store);
  mtk_graph_destroy(g);
  mtk_pool_destroy(pool);
}

static void make_ids(int32_t *ids, int n) {
  for (int i = 0; i < n; i++)
    ids[i] = (int32_t)(mtk_uniform(9, 1, (uint64_t)i) * (double)VOCAB);
}

/* ---- reference ------------------------------------------------------------------------------ */

/* y[n] = W x (rows of tensor `name` from row0) */
static void matvec(double *y, const mtk_model *m, const char *name, int64_t row0, int64_t n,
                   const double *x) {
  const mtk_tensor *t = mtk_model_tensor(m, name);
  int64_t k = mtk_tensor_row_elems(t);
  float row[MAX_WIDTH];
  for (int64_t i = 0; i < n; i++) {
    ck_assert_int_eq(mtk_tensor_fetch_f32(row, t, row0 + i, 1, NULL, NULL), MTK_OK);
    y[i] = 0.0;
    for (int64_t j = 0; j < k; j++) y[i] += (double)row[j] * x[j];
  }
}

static double gate_of(double g, double u, double clamp) {
  if (clamp <= 0) return g / (1.0 + exp(-g)) * u;
  g = fmin(g, clamp);
  return g / (1.0 + exp(-1.702 * g)) * (fmin(fmax(u, -clamp), clamp) + 1.0);
}

static void feed_forward(double *y, const mtk_model *m, const char *const names[4], int64_t e,
                         int64_t width, const double *x) {
  double g[MAX_WIDTH], u[MAX_WIDTH], bias[MAX_WIDTH];
  float row[MAX_WIDTH];
  matvec(g, m, names[0], e * width, width, x);
  matvec(u, m, names[1], e * width, width, x);
  for (int64_t i = 0; i < width; i++) bias[i] = 0.0;
  if (names[3]) {
    ck_assert_int_eq(mtk_tensor_fetch_f32(row, mtk_model_tensor(m, names[3]), e, 1, NULL, NULL),
                     MTK_OK);
    for (int64_t i = 0; i < width; i++) bias[i] = (double)row[i];
  }
  for (int64_t i = 0; i < width; i++)
    g[i] = gate_of(g[i] + bias[i], u[i], current->clamped ? 1.0 : 0);
  matvec(y, m, names[2], e * dim, dim, g);
}

static void reference(double *out, const mtk_model *m, int32_t id) {
  static const char *const expert[4] = {"gate.weight", "up.weight", "down.weight", "gate.bias"};
  static const char *const shared[4] = {"sgate.weight", "sup.weight", "sdown.weight", NULL};
  double x[MAX_WIDTH], y[MAX_WIDTH], s[1];
  float row[MAX_WIDTH], logits[N_EXPERT], weights[N_SLOT], ids[N_SLOT];
  mtk_kernels k;
  mtk_kernels_init(&k, MTK_ISA_REF);
  ck_assert_int_eq(
      mtk_tensor_fetch_f32(row, mtk_model_tensor(m, "token_embd.weight"), id, 1, NULL, NULL),
      MTK_OK);
  for (int i = 0; i < dim; i++) x[i] = (double)row[i], out[i] = 0.0;
  double r[N_EXPERT];
  matvec(r, m, "router.weight", 0, N_EXPERT, x);
  for (int i = 0; i < N_EXPERT; i++) logits[i] = (float)r[i];
  mtk_route_args a = {.n_expert = N_EXPERT, .n_slot = N_SLOT, .flags = current->flags,
                      .scale = 1.5f};
  if (current->biased) a.bias = mtk_model_tensor(m, "select.bias")->data;
  k.route(weights, ids, logits, &a);
  for (int i = 0; i < N_SLOT; i++) {
    feed_forward(y, m, expert, (int64_t)ids[i], ff, x);
    for (int j = 0; j < dim; j++) out[j] += (double)weights[i] * y[j];
  }
  if (!current->shared) return;
  feed_forward(y, m, shared, 0, FF_SHARED, x);
  matvec(s, m, "sweight.weight", 0, 1, x);
  for (int j = 0; j < dim; j++) out[j] += y[j] / (1.0 + exp(-s[0]));
}

START_TEST(equals_reference) {
  mtk_model *m = make_model(&variants[_i]);
  int32_t ids[N_TOKENS];
  float out[N_TOKENS * MAX_WIDTH];
  double want[MAX_WIDTH];
  make_ids(ids, N_TOKENS);
  run(out, m, ids, N_TOKENS, 1, MTK_ISA_REF, MTK_A32);
  for (int t = 0; t < N_TOKENS; t++) {
    reference(want, m, ids[t]);
    for (int j = 0; j < dim; j++)
      ck_assert_msg(fabs((double)out[t * dim + j] - want[j]) < 1e-4 * (1.0 + fabs(want[j])),
                    "variant %d token %d [%d]: %g, not %g", _i, t, j, (double)out[t * dim + j],
                    want[j]);
  }
  mtk_model_destroy(m);
}
END_TEST

/* Alone, among others, with others in another order, on threads, on the best ISA level. */
START_TEST(bits_are_the_tokens_own) {
  mtk_model *m = make_model(&variants[_i]);
  int32_t ids[N_TOKENS], back[N_TOKENS];
  float all[N_TOKENS * MAX_WIDTH], other[N_TOKENS * MAX_WIDTH], one[MAX_WIDTH];
  const size_t bytes = (size_t)dim * sizeof *all;
  make_ids(ids, N_TOKENS);
  for (int i = 0; i < N_TOKENS; i++) back[i] = ids[N_TOKENS - 1 - i];
  run(all, m, ids, N_TOKENS, 1, MTK_ISA_REF, -1);
  for (int t = 0; t < N_TOKENS; t++) {
    run(one, m, ids + t, 1, 1, MTK_ISA_REF, -1);
    ck_assert_msg(memcmp(one, all + t * dim, bytes) == 0, "token %d alone", t);
  }
  run(other, m, back, N_TOKENS, 3, mtk_isa_best(NULL), -1);
  for (int t = 0; t < N_TOKENS; t++)
    ck_assert_msg(
        memcmp(other + (N_TOKENS - 1 - t) * dim, all + t * dim, bytes) == 0,
        "token %d in another order on threads", t);
  mtk_model_destroy(m);
}
END_TEST

/* More rows of an expert than a task takes: the same bits at every level, the token's own. */
START_TEST(many_rows_of_an_expert) {
  mtk_model *m = make_model(&variants[_i]);
  int32_t ids[N_MANY];
  const size_t bytes = (size_t)dim * sizeof(float);
  static float all[N_MANY * MAX_WIDTH], other[N_MANY * MAX_WIDTH], one[MAX_WIDTH];
  make_ids(ids, N_MANY);
  run(all, m, ids, N_MANY, 1, MTK_ISA_REF, -1);
  for (int isa = MTK_ISA_REF + 1; isa <= (int)mtk_isa_best(NULL); isa++) {
    for (int threads = 1; threads <= 3; threads += 2) {
      run(other, m, ids, N_MANY, threads, (mtk_isa)isa, -1);
      ck_assert_msg(memcmp(other, all, N_MANY * bytes) == 0, "level %d, %d threads", isa, threads);
    }
  }
  for (int32_t id = 0; id < VOCAB; id++) { /* without attention an id says all */
    run(one, m, &id, 1, 1, mtk_isa_best(NULL), -1);
    for (int t = 0; t < N_MANY; t++)
      ck_assert_msg(ids[t] != id || memcmp(one, all + t * dim, bytes) == 0, "token %d alone", t);
  }
  mtk_model_destroy(m);
}
END_TEST

/* ---- errors --------------------------------------------------------------------------------- */

static bool yes(void *ctx, const char *name) {
  (void)ctx;
  (void)name;
  return true;
}

START_TEST(training_names_the_op) {
  mtk_model *m = make_model(&variants[0]);
  mtk_graph *g;
  mtk_error err = {0};
  ck_assert_int_eq(mtk_model_build_graph(&g, m, build, NULL, &err), MTK_OK);
  ck_assert_int_eq(mtk_graph_backward(g, yes, NULL, &err), MTK_E_UNSUPPORTED);
  ck_assert_str_eq(err.place, "moe_sum");
  mtk_graph_destroy(g);
  mtk_model_destroy(m);
}
END_TEST

START_TEST(wrong_attributes_are_refused) {
  static const mtk_attrs cases[] = {
      {.n_expert = 8, .n_slot = 9, .route_scale = 1},  /* more slots than experts */
      {.n_expert = 16, .n_slot = 2, .route_scale = 1}, /* not one logit per expert */
      {.n_expert = 8, .n_slot = 3, .n_group = 4, .n_group_used = 1}, /* too few in the groups */
      {.n_expert = 8, .n_slot = 3, .n_group = 3, .n_group_used = 3}, /* groups do not divide */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    mtk_graph *g;
    ck_assert_int_eq(mtk_graph_create(&g, NULL, NULL), MTK_OK);
    mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "e.weight", 8, NULL);
    mtk_graph_add(g, MTK_OP_MOE_ROUTE, &x, 1, NULL, cases[i].n_slot, &cases[i]);
    mtk_error err = {0};
    ck_assert_int_eq(mtk_graph_status(g, &err), MTK_E_INVALID);
    ck_assert_str_eq(err.place, "moe_route");
    mtk_graph_destroy(g);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("experts");
  TCase *t = tcase_create("experts");
  tcase_set_timeout(t, 0);
  tcase_add_loop_test(t, equals_reference, 0, N_VARIANTS);
  tcase_add_loop_test(t, bits_are_the_tokens_own, 0, N_VARIANTS);
  tcase_add_loop_test(t, many_rows_of_an_expert, 0, N_VARIANTS);
  tcase_add_test(t, training_names_the_op);
  tcase_add_test(t, wrong_attributes_are_refused);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
