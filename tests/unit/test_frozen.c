/* test_frozen.c: frozen weights of every storage type in a step of training: embedding rows are the
 * decoded ones bit for bit, dX = dY W is compared with double over the decoded weights; the same
 * bits at every level, for any number of threads and however many rows are decoded at a time. */
#include <check.h>
#include <math.h>
#include <mtk/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/exec.h"
#include "model/weights.h"
#include "run_suite.h"

enum { K = 768, N = 90, M = 70, BLOCK = 64 }; /* more than a task's columns, and its rows twice */

static void ok(mtk_status status, const mtk_error *err) {
  ck_assert_msg(status == MTK_OK, "%s: %s", err->place, err->message);
}

/* Rows and columns of a scale; 0 = no scales. */
typedef struct grid {
  int64_t n, k;
} grid;
static const grid grids[] = {{0, 0}, {N, K}, {1, K}, {64, 128}};

/* ---- a model of one layer ------------------------------------------------------------------- */

static void add(mtk_model *m, const char *name, mtk_dtype type, int64_t n, grid step) {
  uint64_t stream = mtk_model_tensor_count(m);
  mtk_arena *arena = mtk_model_arena(m);
  size_t count = (size_t)(n * K), bytes = mtk_dtype_bytes(type, count);
  float *x = mtk_arena_alloc(arena, count, sizeof *x);
  void *data = mtk_arena_alloc(arena, bytes, 1);
  for (size_t i = 0; i < count; i++) x[i] = (float)mtk_normal(3, stream, i);
  ck_assert_int_eq(mtk_dtype_encode(type, data, x, count), 1);
  mtk_tensor t = {.name = name, .dtype = type, .n_dims = n > 1 ? 2 : 1, .shape = {n > 1 ? n : K, K},
                  .data = data, .size_bytes = bytes};
  if (step.n) {
    size_t cells = (size_t)((n + step.n - 1) / step.n * ((K + step.k - 1) / step.k));
    float *scales = mtk_arena_alloc(arena, cells, sizeof *scales);
    for (size_t i = 0; i < cells; i++) scales[i] = (float)(0.5 + mtk_uniform(4, stream, i));
    t.scales = scales;
    t.scale_n = step.n;
    t.scale_k = step.k;
  }
  mtk_error err;
  ok(mtk_model_add_tensor(m, &t, &err), &err);
}

static mtk_status build(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  (void)model;
  mtk_graph_set_kv(g, 1, 1, 16, 16);
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "token_embd.weight", K, NULL);
  x = mtk_graph_add(g, MTK_OP_SELECT, &x, 1, NULL, 0, NULL);
  x = mtk_graph_add(g, MTK_OP_RMSNORM, &x, 1, "output_norm.weight", 0, &(mtk_attrs){.eps = 1e-5f});
  x = mtk_graph_add(g, MTK_OP_LINEAR, &x, 1, "output.weight", N, NULL);
  mtk_graph_set_logits(g, x);
  return mtk_graph_status(g, err);
}

static bool is_norm(void *ctx, const char *name) {
  (void)ctx;
  return !strcmp(name, "output_norm.weight");
}

/* A matrix's values, each decoded and multiplied on its own. */
static void decode(float *out, const mtk_model *m, const char *name) {
  const mtk_tensor *t = mtk_model_tensor(m, name);
  mtk_dtype_decode(t->dtype, out, t->data, (size_t)(t->shape[0] * K));
  for (int64_t i = 0; t->scales && i < t->shape[0] * K; i++)
    out[i] *= t->scales[i / K / t->scale_n * ((K + t->scale_k - 1) / t->scale_k) +
                        i % K / t->scale_k];
}

/* ---- one step ------------------------------------------------------------------------------- */

/* What a step hands on, caught by the executor's observer. */
typedef struct caught {
  float embedded[M * K], dy[M * N], dx[M * K];
} caught;

static void catch(void *ctx, mtk_exec *e, const mtk_graph_node *n) {
  caught *c = ctx;
  if (n->op == MTK_OP_SELECT) memcpy(c->embedded, mtk_exec_value(e, n->in[0]), sizeof c->embedded);
  if (n->op == MTK_OP_LINEAR_DX) memcpy(c->dy, mtk_exec_value(e, n->in[0]), sizeof c->dy);
  if (n->op == MTK_OP_RMSNORM_DW) memcpy(c->dx, mtk_exec_value(e, n->in[0]), sizeof c->dx);
}

static float target_weight(int row) { return (float)(row % 3); }

static void run(caught *out, const mtk_model *m, int isa, int threads, int64_t decode_floats) {
  mtk_error err;
  mtk_kernels kernels;
  mtk_pool *pool = NULL;
  mtk_graph *g;
  mtk_weights *store;
  mtk_weight **bound;
  mtk_workspace workspace = {0};
  mtk_exec *e;
  ok(mtk_kernels_choose(&kernels, NULL, isa, &err), &err);
  if (threads > 1) ok(mtk_pool_create(&pool, threads, &err), &err);
  ok(mtk_model_build_graph(&g, m, build, NULL, &err), &err);
  ok(mtk_graph_backward(g, is_norm, NULL, &err), &err);
  const mtk_weights_options wo = {&kernels, pool, -1};
  ok(mtk_weights_create(&store, NULL, &wo, &err), &err);
  ok(mtk_weights_load(store, g, m, &err), &err);
  ok(mtk_weights_bind(&bound, store, g, &err), &err);
  const mtk_exec_options eo = {.graph = g, .weights = bound, .kernels = &kernels, .pool = pool,
                               .workspace = &workspace, .max_tokens = M, .max_outputs = M,
                               .decode_floats = decode_floats, .observe = catch,
                               .observe_ctx = out};
  ok(mtk_exec_create(&e, &eo, &err), &err);
  int32_t ids[M], targets[M];
  int64_t rows[M];
  float weights[M];
  for (int i = 0; i < M; i++) {
    ids[i] = i * 37 % N;
    targets[i] = i * 11 % N;
    rows[i] = i;
    weights[i] = target_weight(i);
  }
  const mtk_step_seq seq = {.n_rows = M};
  const mtk_exec_step step = {.ids = ids, .n_tokens = M, .seqs = &seq, .n_seqs = 1,
                              .output_rows = rows, .n_outputs = M, .targets = targets,
                              .target_weights = weights};
  ok(mtk_exec_run(e, &step, false, &err), &err);
  mtk_exec_destroy(e);
  mtk_workspace_finish(&workspace);
  mtk_free((void *)bound);
  mtk_weights_destroy(store);
  mtk_graph_destroy(g);
  mtk_pool_destroy(pool);
}

/* ---- checks --------------------------------------------------------------------------------- */

/* A chain of N fmas is off by at most N roundings of the sum of magnitudes. */
static void check_values(const caught *c, const mtk_model *m, const char *what) {
  float *w = malloc(sizeof(float) * N * K), *table = malloc(sizeof(float) * N * K);
  decode(w, m, "output.weight");
  decode(table, m, "token_embd.weight");
  for (int i = 0; i < M; i++) {
    ck_assert_msg(!memcmp(c->embedded + i * K, table + i * 37 % N * K, K * sizeof(float)),
                  "%s: embedding of token %d", what, i);
    double row = 0;
    for (int k = 0; k < K; k++) {
      double want = 0, size = 0, got = (double)c->dx[i * K + k];
      for (int n = 0; n < N; n++) {
        double term = (double)c->dy[i * N + n] * (double)w[n * K + k];
        want += term;
        size += fabs(term);
      }
      ck_assert_msg(fabs(got - want) <= N * 0x1p-24 * size,
                    "%s: dX[%d][%d] = %.9g, in double %.9g", what, i, k, got, want);
      row += size;
    }
    ck_assert_int_eq(row > 0, target_weight(i) > 0);
  }
  free(w);
  free(table);
}

static void check_type(mtk_dtype type, grid step) {
  static caught want, got;
  const mtk_dtype_info *info = mtk_dtype_get(type);
  char what[96];
  snprintf(what, sizeof what, "%s, scales of %lldx%lld", info->name, (long long)step.n,
           (long long)step.k);
  mtk_model *m = mtk_model_create();
  add(m, "token_embd.weight", type, N, step);
  add(m, "output_norm.weight", MTK_F32, 1, grids[0]);
  add(m, "output.weight", type, N, step);
  run(&want, m, MTK_ISA_REF, 1, 0);
  check_values(&want, m, what);
  for (int isa = MTK_ISA_REF; isa <= (int)mtk_isa_best(NULL); isa++)
    for (int split = 0; split < 2; split++) {
      memset(&got, 0xff, sizeof got);
      run(&got, m, isa, split ? 1 : 3, split ? BLOCK * K : 0);
      ck_assert_msg(!memcmp(&want, &got, sizeof want), "%s: isa %d, %s", what, isa,
                    split ? "rows decoded 64 at a time" : "3 threads");
    }
  mtk_model_destroy(m);
}

/* Does the type have an encoder to make weights with? */
static bool can_be_made(mtk_dtype type) {
  static float x[256];
  static uint8_t bytes[4096];
  return mtk_dtype_get(type) && mtk_dtype_encode(type, bytes, x, 256);
}

START_TEST(every_type_passes_gradients_on) {
  mtk_kernels k;
  mtk_kernels_init(&k, MTK_ISA_REF);
  int types = 0;
  for (int t = 0; t < MTK_DTYPE_COUNT; t++) {
    if (!k.linear[t][MTK_A32] || !can_be_made((mtk_dtype)t)) continue;
    check_type((mtk_dtype)t, grids[0]);
    types++;
  }
  ck_assert_int_ge(types, 20);
}
END_TEST

START_TEST(scales_are_multiplied) {
  static const mtk_dtype types[] = {MTK_F8_E4M3, MTK_F8_E5M2, MTK_NVFP4, MTK_BF16};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (size_t g = 1; g < sizeof grids / sizeof *grids; g++) check_type(types[t], grids[g]);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("frozen");
  TCase *t = tcase_create("frozen");
  tcase_set_timeout(t, 600);
  tcase_add_test(t, every_type_passes_gradients_on);
  tcase_add_test(t, scales_are_multiplied);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
