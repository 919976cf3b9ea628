/* test_backward.c: reverse mode on a whole tiny llama. The oracle is a second forward, written here
 * in double, differentiated by central differences. Also: losses equal serving's log-probabilities
 * bit for bit; micro-batches, strips of logits, threads and levels give the bits of one batch. */
#include <check.h>
#include <math.h>
#include <mtk/limits.h>
#include <stdlib.h>
#include <string.h>

#include "graph/exec.h"
#include "model/weights.h"
#include "run/engine.h"
#include "run_suite.h"
#include "tiny_llama.h"

enum { N_SEQS = 3, MAX_TOKENS = 64 };

static const int lengths[N_SEQS] = {11, 1, 17};
static int32_t ids[N_SEQS][32];

/* ---- a training graph on the executor ------------------------------------------------------- */

typedef struct rig {
  mtk_model *model;
  mtk_kernels kernels;
  mtk_pool *pool;
  mtk_graph *graph;
  mtk_weights *store;
  mtk_weight **bound;
  mtk_workspace workspace;
  mtk_exec *exec;
} rig;

static int64_t strip_floats; /* of the next rig's executor */

static bool train_all(void *ctx, const char *name) {
  (void)ctx;
  (void)name;
  return true;
}

static bool train_pairs(void *ctx, const char *name) {
  (void)ctx;
  return strstr(name, ".lora_") != NULL;
}

static bool find_pair(void *ctx, const char *target, int64_t *rank, float *scale) {
  mtk_lora_pair *p = mtk_adapter_find(ctx, target);
  if (!p) return false;
  *rank = p->rank;
  *scale = p->scale;
  return true;
}

static void ok(mtk_status status, const mtk_error *err) {
  ck_assert_msg(status == MTK_OK, "%s: %s", err->place, err->message);
}

/* adapter NULL: all weights are trained; else its pairs only. */
static void rig_init(rig *r, const tiny_config *c, const mtk_adapter *adapter, int isa,
                     int threads) {
  mtk_error err = {0};
  memset(r, 0, sizeof *r);
  r->model = tiny_model(c);
  ok(mtk_kernels_choose(&r->kernels, NULL, isa, &err), &err);
  if (threads > 1) ok(mtk_pool_create(&r->pool, threads, &err), &err);
  mtk_adapter_spec spec = {find_pair, (void *)(uintptr_t)adapter};
  ok(mtk_model_build_graph(&r->graph, r->model, tiny_build, adapter ? &spec : NULL, &err), &err);
  ok(mtk_graph_backward(r->graph, adapter ? train_pairs : train_all, NULL, &err), &err);
  mtk_weights_options o = {&r->kernels, r->pool, -1};
  ok(mtk_weights_create(&r->store, NULL, &o, &err), &err);
  for (size_t i = 0; adapter && i < adapter->n_pairs; i++) {
    const mtk_lora_pair *p = &adapter->pairs[i];
    const mtk_tensor *t = mtk_model_tensor(r->model, p->target);
    char *a = mtk_asprintf("%s.lora_a", p->target), *b = mtk_asprintf("%s.lora_b", p->target);
    ok(mtk_weights_add_matrix(NULL, r->store, a, p->rank, t->shape[1], p->a, true, &err), &err);
    ok(mtk_weights_add_matrix(NULL, r->store, b, t->shape[0], p->rank, p->b, true, &err), &err);
    mtk_free(a);
    mtk_free(b);
  }
  ok(mtk_weights_load(r->store, r->graph, r->model, &err), &err);
  ok(mtk_weights_bind(&r->bound, r->store, r->graph, &err), &err);
  mtk_exec_options eo = {.graph = r->graph, .weights = r->bound, .kernels = &r->kernels,
                         .pool = r->pool, .workspace = &r->workspace, .max_tokens = MAX_TOKENS,
                         .max_outputs = MAX_TOKENS, .strip_floats = strip_floats};
  ok(mtk_exec_create(&r->exec, &eo, &err), &err);
}

static void rig_finish(rig *r) {
  mtk_exec_destroy(r->exec);
  mtk_workspace_finish(&r->workspace);
  mtk_free((void *)r->bound);
  mtk_weights_destroy(r->store);
  mtk_graph_destroy(r->graph);
  mtk_pool_destroy(r->pool);
  mtk_model_destroy(r->model);
}

static float target_weight(int s, int i) { return (float)((s + 2 * i) % 3) * 0.05f; }

/* Sequences s0 .. s1-1 as one step; every position but each last one predicts the next id. Losses
 * are appended to out. */
static int rig_run(rig *r, int s0, int s1, float *losses, bool forward_only) {
  int32_t all[MAX_TOKENS], targets[MAX_TOKENS];
  int64_t rows[MAX_TOKENS];
  float weights[MAX_TOKENS];
  mtk_step_seq seqs[N_SEQS];
  mtk_exec_step step = {.ids = all, .seqs = seqs, .output_rows = rows, .targets = targets,
                   .target_weights = weights};
  for (int s = s0; s < s1; s++) {
    seqs[step.n_seqs++] = (mtk_step_seq){.row0 = step.n_tokens, .n_rows = lengths[s]};
    for (int i = 0; i < lengths[s]; i++) {
      all[step.n_tokens] = ids[s][i];
      if (i + 1 < lengths[s]) {
        rows[step.n_outputs] = step.n_tokens;
        targets[step.n_outputs] = ids[s][i + 1];
        weights[step.n_outputs++] = target_weight(s, i);
      }
      step.n_tokens++;
    }
  }
  mtk_error err = {0};
  ok(mtk_exec_run(r->exec, &step, forward_only, &err), &err);
  memcpy(losses, mtk_exec_value(r->exec, r->graph->loss), (size_t)step.n_outputs * sizeof *losses);
  return (int)step.n_outputs;
}

static int rig_step(rig *r, int s0, int s1, float *losses) {
  return rig_run(r, s0, s1, losses, false);
}

static void make_ids(const tiny_config *c) {
  for (int s = 0; s < N_SEQS; s++)
    for (int i = 0; i < 32; i++)
      ids[s][i] = (int32_t)(mtk_uniform(9, (uint64_t)s, (uint64_t)i) * (double)c->vocab);
}

/* ---- the oracle: the same model in double --------------------------------------------------- */

typedef struct oracle {
  const rig *r;
  const tiny_config *c;
  const mtk_adapter *adapter;
  double *w[64]; /* per graph weight, [n, k] */
} oracle;

static const double *weight(const oracle *o, const char *fmt, int layer, const char *what,
                            const char *suffix) {
  char *name = layer < 0 ? mtk_asprintf("%s%s", what, suffix)
                         : mtk_asprintf(fmt, layer, what, suffix);
  int32_t at = mtk_graph_find_weight(o->r->graph, name);
  mtk_free(name);
  return at < 0 ? NULL : o->w[at];
}

static const double *block(const oracle *o, int layer, const char *what, const char *suffix) {
  return weight(o, "blk.%d.%s%s", layer, what, suffix);
}

static void matmul(double *y, const double *x, const double *w, int t, int64_t n, int64_t k,
                   double scale) {
  for (int i = 0; i < t; i++)
    for (int64_t j = 0; j < n; j++) {
      double sum = 0.0;
      for (int64_t l = 0; l < k; l++) sum += x[i * k + l] * w[j * k + l];
      y[i * n + j] += scale * sum;
    }
}

static void project(double *y, const double *x, const oracle *o, int layer, const char *what, int t,
                    int64_t n, int64_t k) {
  memset(y, 0, (size_t)(t * n) * sizeof *y);
  matmul(y, x, block(o, layer, what, ".weight"), t, n, k, 1.0);
  const double *bias = block(o, layer, what, ".bias");
  for (int i = 0; bias && i < t; i++)
    for (int64_t j = 0; j < n; j++) y[i * n + j] += bias[j];
  const double *a = block(o, layer, what, ".weight.lora_a");
  if (!a) return;
  int64_t rank = o->adapter->rank;
  double *ax = calloc((size_t)(t * rank), sizeof *ax);
  matmul(ax, x, a, t, rank, k, 1.0);
  matmul(y, ax, block(o, layer, what, ".weight.lora_b"), t, n, rank,
         (double)o->adapter->pairs[0].scale);
  free(ax);
}

static void rms(double *y, const double *x, const double *w, int t, int64_t d) {
  for (int i = 0; i < t; i++) {
    double sum = 0.0;
    for (int64_t j = 0; j < d; j++) sum += x[i * d + j] * x[i * d + j];
    double inv = 1.0 / sqrt(sum / (double)d + (double)1e-5f);
    for (int64_t j = 0; j < d; j++) y[i * d + j] = x[i * d + j] * inv * w[j];
  }
}

/* Columns from..from+n of x [t][width]. */
static void cut(double *y, const double *x, int t, int64_t width, int64_t from, int64_t n) {
  for (int i = 0; i < t; i++) memcpy(y + i * n, x + i * width + from, (size_t)n * sizeof *y);
}

static double gelu(double x) {
  return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static void turn(double *x, const oracle *o, int t, int heads, double base) {
  int hd = o->c->head_dim, half = hd / 2;
  for (int i = 0; i < t; i++)
    for (int h = 0; h < heads; h++)
      for (int j = 0; j < half; j++) {
        double *p = x + (i * heads + h) * hd;
        int ia = o->c->interleaved ? 2 * j : j, ib = o->c->interleaved ? 2 * j + 1 : j + half;
        double angle = i * pow(base, -2.0 * j / (double)hd), a = p[ia], b = p[ib];
        p[ia] = a * cos(angle) - b * sin(angle);
        p[ib] = a * sin(angle) + b * cos(angle);
      }
}

static void attend(double *out, const double *q, const double *k, const double *v, const oracle *o,
                   int t, int window, double cap) {
  int hd = o->c->head_dim, nh = o->c->n_head, nkv = o->c->n_head_kv;
  memset(out, 0, (size_t)(t * nh * hd) * sizeof *out);
  for (int i = 0; i < t; i++)
    for (int h = 0; h < nh; h++) {
      int g = h / (nh / nkv);
      double p[32], den = 0.0;
      int lo = window > 0 && i + 1 > window ? i + 1 - window : 0;
      for (int j = lo; j <= i; j++) {
        double s = 0.0;
        for (int d = 0; d < hd; d++) s += q[(i * nh + h) * hd + d] * k[(j * nkv + g) * hd + d];
        s /= sqrt((double)hd);
        den += p[j] = exp(cap > 0 ? cap * tanh(s / cap) : s);
      }
      for (int j = lo; j <= i; j++)
        for (int d = 0; d < hd; d++)
          out[(i * nh + h) * hd + d] += p[j] / den * v[(j * nkv + g) * hd + d];
    }
}

/* Sum over positions of target_weight * loss of sequence s. */
static double sequence_loss(const oracle *o, int s) {
  const tiny_config *c = o->c;
  enum { W = 32 * 256 };
  static double x[W], n[W], q[W], k[W], v[W], a[W], y[W], gate[W], up[W], logits[W];
  int t = lengths[s];
  int64_t d = c->dim, hd = c->head_dim, nq = c->n_head * hd, nkv = c->n_head_kv * hd;
  const double *embd = weight(o, "", -1, "token_embd", ".weight");
  for (int i = 0; i < t * d; i++) x[i] = embd[ids[s][i / d] * d + i % d] * (c->rich ? 3.0 : 1.0);
  for (int l = 0; l < c->n_layer; l++) {
    rms(n, x, block(o, l, "attn_norm", ".weight"), t, d);
    if (c->rich) {
      project(y, n, o, l, "attn_qkv", t, nq + 2 * nkv, d);
      cut(a, y, t, nq + 2 * nkv, 0, nq);
      rms(q, a, block(o, l, "attn_q_norm", ".weight"), t * c->n_head, hd);
      cut(a, y, t, nq + 2 * nkv, nq, nkv);
      rms(k, a, block(o, l, "attn_k_norm", ".weight"), t * c->n_head_kv, hd);
      cut(v, y, t, nq + 2 * nkv, nq + nkv, nkv);
    } else {
      project(q, n, o, l, "attn_q", t, nq, d);
      project(k, n, o, l, "attn_k", t, nkv, d);
      project(v, n, o, l, "attn_v", t, nkv, d);
    }
    bool local = c->rich && l == 0;
    turn(q, o, t, c->n_head, local ? 100.0 : 10000.0);
    turn(k, o, t, c->n_head_kv, local ? 100.0 : 10000.0);
    attend(a, q, k, v, o, t, local ? 5 : 0, c->rich ? 2.0 : 0.0);
    project(y, a, o, l, "attn_output", t, d, nq);
    for (int i = 0; i < t * d; i++) x[i] += y[i];
    rms(n, x, block(o, l, "ffn_norm", ".weight"), t, d);
    if (c->rich) {
      project(y, n, o, l, "ffn_up", t, 2 * c->ff, d);
      cut(gate, y, t, 2 * c->ff, 0, c->ff);
      cut(up, y, t, 2 * c->ff, c->ff, c->ff);
    } else {
      project(gate, n, o, l, "ffn_gate", t, c->ff, d);
      project(up, n, o, l, "ffn_up", t, c->ff, d);
    }
    for (int i = 0; i < t * c->ff; i++)
      gate[i] = (c->rich ? gelu(gate[i]) : gate[i] / (1.0 + exp(-gate[i]))) * up[i];
    project(y, gate, o, l, "ffn_down", t, d, c->ff);
    for (int i = 0; i < t * d; i++) x[i] += y[i];
  }
  rms(n, x, weight(o, "", -1, "output_norm", ".weight"), t, d);
  memset(logits, 0, sizeof logits);
  matmul(logits, n, c->tied ? embd : weight(o, "", -1, "output", ".weight"), t, c->vocab, d, 1.0);
  for (int i = 0; c->rich && i < t * c->vocab; i++) logits[i] = 3.0 * tanh(logits[i] / 3.0);
  double loss = 0.0;
  for (int i = 0; i + 1 < t; i++) {
    double den = 0.0;
    for (int j = 0; j < c->vocab; j++) den += exp(logits[i * c->vocab + j]);
    loss += (double)target_weight(s, i) * (log(den) - logits[i * c->vocab + ids[s][i + 1]]);
  }
  return loss;
}

static double total_loss(const oracle *o) {
  double sum = 0.0;
  for (int s = 0; s < N_SEQS; s++) sum += sequence_loss(o, s);
  return sum;
}

static void oracle_init(oracle *o, const rig *r, const tiny_config *c, const mtk_adapter *adapter) {
  *o = (oracle){.r = r, .c = c, .adapter = adapter};
  ck_assert_uint_le(r->graph->n_weights, 64);
  for (size_t i = 0; i < r->graph->n_weights; i++) {
    const mtk_weight *w = r->bound[i];
    o->w[i] = malloc((size_t)(w->n * w->k) * sizeof(double));
    float *row = malloc((size_t)w->k * sizeof *row);
    for (int64_t n = 0; n < w->n; n++) {
      const float *from = w->value ? w->value + n * w->k : row;
      if (!w->value) ck_assert_int_eq(w->fetch_row(row, &r->kernels, w, n, NULL, NULL), MTK_OK);
      for (int64_t k = 0; k < w->k; k++) o->w[i][n * w->k + k] = (double)from[k];
    }
    free(row);
  }
}

/* ---- checks --------------------------------------------------------------------------------- */

/* Gradients of up to 24 elements of a weight against central differences. */
static void check_weight(const oracle *o, size_t index) {
  const mtk_weight *w = o->r->bound[index];
  int64_t count = w->n * w->k, step = count / 24 + 1;
  double largest = 0.0;
  for (int64_t i = 0; i < count; i++)
    if (fabs((double)w->grad[i]) > largest) largest = fabs((double)w->grad[i]);
  ck_assert_msg(largest > 0.0, "%s has no gradient", w->name);
  for (int64_t i = 0; i < count; i += step) {
    double *p = &o->w[index][i], was = *p, h = 1e-5;
    *p = was + h;
    double up = total_loss(o);
    *p = was - h;
    double down = total_loss(o);
    *p = was;
    double want = (up - down) / (2.0 * h), got = (double)w->grad[i];
    ck_assert_msg(fabs(want - got) <= 1e-3 * fabs(want) + 2e-5 * largest,
                  "%s[%lld]: gradient %.9g, differences %.9g", w->name, (long long)i, got, want);
  }
}

static void check_gradients(const tiny_config *c, int64_t rank) {
  make_ids(c);
  mtk_adapter *adapter = rank > 0 ? tiny_adapter(c, rank, 5) : NULL;
  rig r;
  oracle o;
  float losses[MAX_TOKENS];
  rig_init(&r, c, adapter, -1, 2);
  int n = rig_step(&r, 0, N_SEQS, losses);
  oracle_init(&o, &r, c, adapter);
  double sum = 0.0, want = total_loss(&o);
  for (int s = 0, row = 0; s < N_SEQS; s++)
    for (int i = 0; i + 1 < lengths[s]; i++)
      sum += (double)target_weight(s, i) * (double)losses[row++];
  ck_assert_int_eq(n, 26);
  ck_assert_double_eq_tol(sum, want, 1e-5 * fabs(want));
  int checked = 0;
  for (size_t i = 0; i < r.graph->n_weights; i++) {
    mtk_weight *w = r.bound[i];
    ck_assert_int_eq(w->grad != NULL, rank == 0 || strstr(w->name, ".lora_") != NULL);
    if (!w->grad) continue;
    mtk_weight_join_grads(w, &r.kernels, 0, w->n * w->k);
    check_weight(&o, i);
    checked++;
  }
  ck_assert_int_gt(checked, 10);
  for (size_t i = 0; i < r.graph->n_weights; i++) free(o.w[i]);
  rig_finish(&r);
  mtk_adapter_destroy(adapter);
}

START_TEST(gradients_of_all_weights) {
  tiny_config c = tiny_default;
  c.tied = _i & 1;
  c.interleaved = (_i & 2) != 0;
  c.rich = (_i & 4) != 0;
  check_gradients(&c, 0);
}
END_TEST

START_TEST(gradients_of_low_rank_pairs) { check_gradients(&tiny_default, 4); }
END_TEST

START_TEST(frozen_quantized_weights_pass_gradients_on) {
  /* f16 in a32 is differentiable as it stands. */
  tiny_config c = tiny_default;
  c.type = MTK_F16;
  check_gradients(&c, 3);
}
END_TEST

static void collect(float *out, const rig *r) {
  for (size_t i = 0; i < r->graph->n_weights; i++) {
    mtk_weight *w = r->bound[i];
    if (!w->grad) continue;
    mtk_weight_join_grads(w, &r->kernels, 0, w->n * w->k);
    memcpy(out, w->grad, (size_t)(w->n * w->k) * sizeof *out);
    out += w->n * w->k;
  }
}

START_TEST(same_bits_for_any_split) {
  tiny_config c = tiny_default;
  c.tied = true;
  c.type = _i == 1 ? MTK_Q4_0 : MTK_F32;
  c.rich = _i == 2;
  make_ids(&c);
  mtk_adapter *adapter = _i == 1 ? tiny_adapter(&c, 4, 5) : NULL;
  enum { ROOM = 200000 };
  float *want = calloc(ROOM, sizeof *want), *got = calloc(ROOM, sizeof *got);
  float want_loss[MAX_TOKENS], got_loss[MAX_TOKENS];
  for (int isa = MTK_ISA_REF; isa <= (int)mtk_isa_best(NULL); isa++) {
    for (int threads = 1; threads <= 3; threads++) {
      rig r;
      strip_floats = threads == 2 ? 16 * c.vocab : 0; /* 26 rows of logits in strips of 16 */
      rig_init(&r, &c, adapter, isa, threads);
      strip_floats = 0;
      bool first = isa == MTK_ISA_REF && threads == 1;
      int n = rig_step(&r, 0, N_SEQS, first ? want_loss : got_loss);
      collect(first ? want : got, &r);
      if (!first) {
        ck_assert_mem_eq(want_loss, got_loss, (size_t)n * sizeof *want_loss);
        ck_assert_msg(memcmp(want, got, ROOM * sizeof *want) == 0, "isa %d threads %d", isa,
                      threads);
      }
      for (size_t i = 0; i < r.graph->n_weights; i++)
        mtk_weight_zero_grad(r.bound[i], 0, r.bound[i]->n * r.bound[i]->k);
      int done = 0;
      for (int s = 0; s < N_SEQS; s++) done += rig_step(&r, s, s + 1, got_loss + done);
      ck_assert_int_eq(done, n);
      collect(got, &r);
      ck_assert_mem_eq(want_loss, got_loss, (size_t)n * sizeof *want_loss);
      ck_assert_msg(memcmp(want, got, ROOM * sizeof *want) == 0, "micro-batches, isa %d", isa);
      rig_finish(&r);
    }
  }
  free(want);
  free(got);
  mtk_adapter_destroy(adapter);
}
END_TEST

/* Losses of 26 rows without derivatives, in strips of 16 and in one piece, before and after a step
 * with derivatives. */
START_TEST(evaluation_in_strips_gives_the_same_bits) {
  tiny_config c = tiny_default;
  c.rich = _i;
  make_ids(&c);
  float want[MAX_TOKENS], got[MAX_TOKENS];
  for (int threads = 1; threads <= 4; threads++)
    for (int strips = 0; strips < 2; strips++) {
      rig r;
      strip_floats = strips ? 16 * c.vocab : 0;
      rig_init(&r, &c, NULL, -1, threads);
      strip_floats = 0;
      bool first = threads == 1 && !strips;
      for (int again = 0; again < 2; again++) {
        memset(got, 0xff, sizeof got);
        int n = rig_run(&r, 0, N_SEQS, first ? want : got, true);
        ck_assert_int_eq(n, 26);
        if (!first) ck_assert_mem_eq(want, got, (size_t)n * sizeof *want);
        for (size_t i = 0; i < r.graph->n_weights; i++)
          for (int64_t j = 0; r.bound[i]->grad && j < r.bound[i]->n * r.bound[i]->k; j++)
            ck_assert(again || r.bound[i]->grad[j] == 0.0f);
        rig_step(&r, 0, N_SEQS, got);
        ck_assert_mem_eq(want, got, (size_t)n * sizeof *want);
      }
      rig_finish(&r);
    }
}
END_TEST

START_TEST(losses_are_servings_log_probabilities) {
  tiny_config c = tiny_default;
  const mtk_dtype types[] = {MTK_F32, MTK_BF16, MTK_Q8_0};
  c.type = types[_i];
  make_ids(&c);
  mtk_adapter *adapter = tiny_adapter(&c, 4, 5);
  rig r;
  rig_init(&r, &c, adapter, -1, 2);
  float losses[MAX_TOKENS];
  rig_step(&r, 0, N_SEQS, losses);
  mtk_engine_options o = {.struct_size = sizeof o, .max_seqs = 1, .max_batch = 7, .arith = -1,
                          .isa = -1};
  mtk_engine *e;
  mtk_error err = {0};
  ok(mtk_engine_create_built(&e, r.model, tiny_build, &o, &err), &err);
  int id, row = 0;
  ok(mtk_engine_add_adapter(&id, e, adapter, &err), &err);
  for (int s = 0; s < N_SEQS; s++) {
    int seq;
    ok(mtk_engine_seq_open(&seq, e, &err), &err);
    for (int i = 0; i + 1 < lengths[s]; i++) {
      const float *x;
      int64_t rows, vocab = mtk_engine_vocab(e);
      mtk_batch_item it = {seq, id, &ids[s][i], 1, MTK_LOGITS_LAST};
      ok(mtk_engine_forward(&x, &rows, e, &it, 1, &err), &err);
      float serving = x[ids[s][i + 1]] - mtk_engine_kernels(e)->logsumexp(x, vocab);
      float training = 0.0f - losses[row++];
      ck_assert_mem_eq(&serving, &training, sizeof serving);
    }
    mtk_engine_seq_close(e, seq);
  }
  mtk_engine_destroy(e);
  rig_finish(&r);
  mtk_adapter_destroy(adapter);
}
END_TEST

static bool train_nothing(void *ctx, const char *name) {
  (void)ctx;
  (void)name;
  return false;
}

static bool train_last_norm(void *ctx, const char *name) {
  (void)ctx;
  return strcmp(name, "output_norm.weight") == 0;
}

START_TEST(builds_only_what_is_needed) {
  mtk_model *m = tiny_model(&tiny_default);
  mtk_graph *g;
  mtk_error err;
  ck_assert_int_eq(mtk_model_build_graph(&g, m, tiny_build, NULL, NULL), MTK_OK);
  ck_assert_int_eq(mtk_graph_backward(g, train_nothing, NULL, &err), MTK_E_INVALID);
  mtk_graph_destroy(g);
  ck_assert_int_eq(mtk_model_build_graph(&g, m, tiny_build, NULL, NULL), MTK_OK);
  ck_assert_int_eq(mtk_graph_backward(g, train_last_norm, NULL, &err), MTK_OK);
  /* The loss, its derivative, through the output layer, into the norm. */
  ck_assert_uint_eq(g->n_nodes - g->n_forward, 3);
  ck_assert_int_eq(g->nodes[g->n_forward].op, MTK_OP_CROSS_ENTROPY_DX);
  ck_assert_int_eq(g->nodes[g->n_forward + 1].op, MTK_OP_LINEAR_DX);
  ck_assert_int_eq(g->nodes[g->n_forward + 2].op, MTK_OP_RMSNORM_DW);
  mtk_graph_destroy(g);
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("backward");
  TCase *t = tcase_create("backward");
  tcase_set_timeout(t, 300);
  tcase_add_loop_test(t, gradients_of_all_weights, 0, 8);
  tcase_add_test(t, gradients_of_low_rank_pairs);
  tcase_add_test(t, frozen_quantized_weights_pass_gradients_on);
  tcase_add_loop_test(t, same_bits_for_any_split, 0, 3);
  tcase_add_loop_test(t, evaluation_in_strips_gives_the_same_bits, 0, 2);
  tcase_add_loop_test(t, losses_are_servings_log_probabilities, 0, 3);
  tcase_add_test(t, builds_only_what_is_needed);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
