/* test_select.c: what stands behind the last attention is computed for wanted rows only, in every
 * architecture, and gives the bits of the graph as it was built. */
#include <check.h>
#include <jansson.h>
#include <mtk/engine.h>
#include <mtk/registry.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/exec.h"
#include "model/weights.h"
#include "run_suite.h"

static const char *const names[] = {"deepseek3", "gemma2",         "gemma3",  "gpt-oss",
                                    "llama3",    "mistral-window", "mixtral", "phi3-longrope",
                                    "qwen2",     "qwen2moe",       "qwen3",   "qwen3moe"};
enum { N_NAMES = sizeof names / sizeof *names };

enum { N_SEQ = 3, N_ROWS = 17 };
static const int64_t lengths[N_SEQ] = {5, 9, 3};
static int32_t ids[N_ROWS];

static void setup(void) {
  mtk_error err = {0};
  ck_assert_msg(mtk_plugins_load(&err) == MTK_OK, "%s", err.message);
}

/* Random weights for the config of a golden. */
static mtk_model *make_model(const char *name) {
  char path[4096], config[] = "/tmp/mtk-select-XXXXXX";
  snprintf(path, sizeof path, MTK_SOURCE_DIR "/tests/golden/arch/%s.json", name);
  json_t *golden = json_load_file(path, 0, NULL);
  int fd = mkstemp(config);
  ck_assert(golden && fd >= 0);
  close(fd);
  ck_assert_int_eq(json_dump_file(json_object_get(golden, "config"), config, 0), 0);
  json_decref(golden);
  mtk_model *m;
  mtk_error err = {0};
  const mtk_synthetic_options o = {.struct_size = sizeof o, .dtype = MTK_F32, .seed = 3};
  ck_assert_msg(mtk_model_synthetic(&m, config, &o, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  unlink(config);
  return m;
}

static mtk_graph *build(const mtk_model *m) {
  mtk_graph *g;
  mtk_error err = {0};
  ck_assert_msg(mtk_model_build_graph(&g, m, NULL, NULL, &err) == MTK_OK, "%s", err.message);
  return g;
}

/* Logits of all rows by the graph as it was built. */
static float *all_logits(const mtk_model *m, int64_t *vocab) {
  mtk_graph *g = build(m);
  mtk_kernels kernels;
  mtk_weights *store;
  mtk_weight **bound;
  mtk_workspace ws = {0};
  mtk_exec *e;
  mtk_kernels_init(&kernels, mtk_isa_best(NULL));
  const mtk_weights_options wo = {&kernels, NULL, -1};
  ck_assert_int_eq(mtk_weights_create(&store, NULL, &wo, NULL), MTK_OK);
  ck_assert_int_eq(mtk_weights_load(store, g, m, NULL), MTK_OK);
  ck_assert_int_eq(mtk_weights_bind(&bound, store, g, NULL), MTK_OK);
  const mtk_exec_options eo = {.graph = g,
                               .weights = bound,
                               .kernels = &kernels,
                               .workspace = &ws,
                               .max_tokens = N_ROWS,
                               .max_outputs = N_ROWS,
                               .logits_outside = true};
  ck_assert_int_eq(mtk_exec_create(&e, &eo, NULL), MTK_OK);
  *vocab = g->values[g->logits].width;
  int64_t rows[N_ROWS], at = 0;
  mtk_step_seq seqs[N_SEQ] = {{0}};
  for (int i = 0; i < N_ROWS; i++) {
    ids[i] = (int32_t)(mtk_uniform(4, 0, (uint64_t)i) * (double)*vocab);
    rows[i] = i;
  }
  for (int s = 0; s < N_SEQ; at += lengths[s++])
    seqs[s] = (mtk_step_seq){.row0 = at, .n_rows = lengths[s]};
  float *out = malloc((size_t)(N_ROWS * *vocab) * sizeof *out);
  const mtk_exec_step step = {.ids = ids,
                              .n_tokens = N_ROWS,
                              .seqs = seqs,
                              .n_seqs = N_SEQ,
                              .output_rows = rows,
                              .n_outputs = N_ROWS,
                              .logits = out};
  ck_assert_int_eq(mtk_exec_run(e, &step, true, NULL), MTK_OK);
  mtk_exec_destroy(e);
  mtk_workspace_finish(&ws);
  mtk_free(bound);
  mtk_weights_destroy(store);
  mtk_graph_destroy(g);
  return out;
}

static void check_rows(const float *got, const float *all, int64_t first, int64_t n, int64_t vocab,
                       const char *what) {
  ck_assert_msg(memcmp(got, all + first * vocab, (size_t)(n * vocab) * sizeof *got) == 0,
                "%s: other logits from row %d on", what, (int)first);
}

/* One sequence wants its last row, one none, one all; then the second one its last, alone. */
START_TEST(wanted_rows_have_the_same_bits) {
  mtk_model *m = make_model(names[_i]);
  int64_t vocab, n_rows;
  float *all = all_logits(m, &vocab);
  mtk_pool *pool;
  mtk_engine *e;
  ck_assert_int_eq(mtk_pool_create(&pool, 2, NULL), MTK_OK);
  for (int max_batch = 6; max_batch <= N_ROWS; max_batch += 11) {
    mtk_engine_options o = {.struct_size = sizeof o,
                            .pool = pool,
                            .context = 16,
                            .max_seqs = N_SEQ,
                            .max_batch = max_batch,
                            .arith = -1,
                            .isa = -1};
    ck_assert_int_eq(mtk_engine_create(&e, m, &o, NULL), MTK_OK);
    mtk_batch_item items[N_SEQ] = {{.ids = ids, .n_ids = 5, .logits = MTK_LOGITS_LAST},
                                   {.ids = ids + 5, .n_ids = 8},
                                   {.ids = ids + 14, .n_ids = 3, .logits = MTK_LOGITS_ALL}};
    const float *logits;
    for (int s = 0; s < N_SEQ; s++)
      ck_assert_int_eq(mtk_engine_seq_open(&items[s].seq, e, NULL), MTK_OK);
    ck_assert_int_eq(mtk_engine_forward(&logits, &n_rows, e, items, N_SEQ, NULL), MTK_OK);
    ck_assert_int_eq(n_rows, 4);
    check_rows(logits, all, 4, 1, vocab, names[_i]);
    check_rows(logits + vocab, all, 14, 3, vocab, names[_i]);
    items[1] = (mtk_batch_item){items[1].seq, 0, ids + 13, 1, MTK_LOGITS_LAST};
    ck_assert_int_eq(mtk_engine_forward(&logits, &n_rows, e, items + 1, 1, NULL), MTK_OK);
    check_rows(logits, all, 13, 1, vocab, names[_i]);
    mtk_engine_destroy(e);
  }
  free(all);
  mtk_pool_destroy(pool);
  mtk_model_destroy(m);
}
END_TEST

static size_t count(const mtk_graph *g, mtk_op op) {
  size_t n = 0;
  for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
  return n;
}

START_TEST(only_wanted_rows_behind_the_last_attention) {
  mtk_model *m = make_model(names[_i]);
  mtk_graph *g = build(m);
  size_t nodes = g->n_nodes, behind = 0;
  ck_assert_int_eq(mtk_graph_select_early(g, NULL), MTK_OK);
  ck_assert_uint_eq(count(g, MTK_OP_SELECT), 2); /* attention's result and the residual stream */
  ck_assert_uint_eq(g->n_nodes, nodes + 1);
  for (size_t i = g->n_nodes; g->nodes[--i].op != MTK_OP_ATTENTION; behind++)
    ck_assert_int_eq(g->values[g->nodes[i].out[0]].rows, MTK_ROWS_OUTPUTS);
  ck_assert_uint_gt(behind, 8);
  mtk_graph_destroy(g);
  mtk_model_destroy(m);
}
END_TEST

/* Attention and feed-forward part side by side on one norm, which the keys need of all tokens. */
START_TEST(parallel_parts) {
  mtk_graph *g;
  ck_assert_int_eq(mtk_graph_create(&g, NULL, NULL), MTK_OK);
  mtk_graph_set_kv(g, 1, 1, 16, 16);
  mtk_attrs a = {.n_head = 1, .n_head_kv = 1, .head_dim = 16, .eps = 1e-5f, .scale = 1.0f};
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "e", 16, NULL), qkv[3], sum[2];
  mtk_node_value h = mtk_graph_add(g, MTK_OP_RMSNORM, &x, 1, "norm", 0, &a);
  for (int i = 0; i < 3; i++)
    qkv[i] = mtk_graph_project(g, h, (const char *const[]){"q", "k", "v"}[i], 16, false);
  sum[0] = mtk_graph_add(g, MTK_OP_ATTENTION, qkv, 3, NULL, 0, &a);
  sum[1] = mtk_graph_project(g, h, "up", 16, true);
  sum[0] = mtk_graph_add(g, MTK_OP_ADD, sum, 2, NULL, 0, NULL);
  sum[1] = x;
  x = mtk_graph_add(g, MTK_OP_ADD, sum, 2, NULL, 0, NULL);
  x = mtk_graph_add(g, MTK_OP_SELECT, &x, 1, NULL, 0, NULL);
  mtk_graph_set_hidden(g, x);
  mtk_graph_set_logits(g, x);
  ck_assert_int_eq(mtk_graph_select_early(g, NULL), MTK_OK);
  ck_assert_uint_eq(count(g, MTK_OP_SELECT), 3);
  for (size_t i = 0; i < g->n_nodes; i++) {
    const mtk_graph_node *n = &g->nodes[i];
    const char *weight = n->weight >= 0 ? g->weights[n->weight].name : "";
    bool behind = n->op == MTK_OP_ADD || n->op == MTK_OP_SELECT || !strncmp(weight, "up.", 3);
    ck_assert_int_eq(g->values[n->out[0]].rows, behind ? MTK_ROWS_OUTPUTS : MTK_ROWS_TOKENS);
  }
  ck_assert_int_eq(g->logits, g->nodes[g->n_nodes - 1].out[0]);
  ck_assert_int_eq(g->hidden, -1);
  mtk_graph_destroy(g);
}
END_TEST

/* Both of q, k and v's biases and low-rank terms stand behind all three; the next norm's layers are
 * their own. */
static bool rank_of(void *ctx, const char *target, int64_t *rank, float *scale) {
  (void)ctx;
  (void)target;
  *rank = 2;
  *scale = 1.0f;
  return true;
}

START_TEST(projections_of_one_input_are_neighbours) {
  static const char *const want[] = {"q.weight",        "q.weight.lora_a", "k.weight",
                                     "k.weight.lora_a", "q.weight.lora_b", "k.weight.lora_b",
                                     "o.weight",        "o.weight.lora_a", "o.weight.lora_b"};
  const mtk_adapter_spec adapter = {.find = rank_of};
  mtk_graph *g;
  size_t n = 0;
  ck_assert_int_eq(mtk_graph_create(&g, &adapter, NULL), MTK_OK);
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "e", 16, NULL), qk[2];
  for (int i = 0; i < 2; i++) qk[i] = mtk_graph_project(g, x, i ? "k" : "q", 16, true);
  x = mtk_graph_add(g, MTK_OP_ADD, qk, 2, NULL, 0, NULL);
  x = mtk_graph_project(g, x, "o", 16, false);
  mtk_graph_group_linears(g);
  for (size_t i = 0; i < g->n_nodes; i++) {
    if (g->nodes[i].op != MTK_OP_LINEAR) continue;
    ck_assert_uint_lt(n, sizeof want / sizeof *want);
    ck_assert_str_eq(g->weights[g->nodes[i].weight].name, want[n++]);
    for (size_t j = 0; j < i; j++) /* made before it is read */
      for (int k = 0; k < g->nodes[j].n_in; k++)
        ck_assert_int_ne(g->nodes[j].in[k], g->nodes[i].out[0]);
  }
  ck_assert_uint_eq(n, sizeof want / sizeof *want);
  ck_assert_int_eq(g->nodes[4].op, MTK_OP_LINEAR); /* behind the embedding: four in a row */
  ck_assert_int_eq(g->nodes[5].op, MTK_OP_ADD_ROW);
  mtk_graph_destroy(g);
}
END_TEST

START_TEST(no_memory_is_an_error) {
  mtk_model *m = make_model(names[_i]);
  mtk_status status = MTK_E_NOMEM;
  for (int n = 0; status != MTK_OK; n++) {
    mtk_graph *g = build(m);
    mtk_alloc_fail_after(n);
    status = mtk_graph_select_early(g, NULL);
    mtk_alloc_fail_after(-1);
    ck_assert(status == MTK_OK || (status == MTK_E_NOMEM && n < 100));
    mtk_graph_destroy(g);
  }
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("select");
  TCase *t = tcase_create("select");
  tcase_set_timeout(t, 120);
  tcase_add_checked_fixture(t, setup, NULL);
  tcase_add_loop_test(t, wanted_rows_have_the_same_bits, 0, N_NAMES);
  tcase_add_loop_test(t, only_wanted_rows_behind_the_last_attention, 0, N_NAMES);
  tcase_add_test(t, parallel_parts);
  tcase_add_test(t, projections_of_one_input_are_neighbours);
  tcase_add_loop_test(t, no_memory_is_an_error, 0, 2);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
