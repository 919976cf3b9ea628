/* test_equalize.c: factors and rotations folded into random models of every architecture leave
 * their logits as they are; the search finds factors that help where channels differ in size; error
 * propagation writes every type it offers; statistics of experts that are seldom chosen. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <mtk/engine.h>
#include <mtk/equalize.h>
#include <mtk/ext/arch.h>
#include <mtk/plugin.h>
#include <mtk/registry.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/fold.h"
#include "model/weights.h"
#include "run_suite.h"

enum { N_IDS = 24 };

static void ok(mtk_status status, const mtk_error *err) {
  ck_assert_msg(status == MTK_OK, "%s: %s", err->place, err->message);
}

static void setup(void) {
  mtk_error err = {0};
  ok(mtk_plugins_load(&err), &err);
}

/* ---- models --------------------------------------------------------------------------------- */

/* A vector or a bias gets values that are neither 0 nor 1. */
static void vary(mtk_model *model, size_t index) {
  mtk_error err = {0};
  mtk_tensor t = *mtk_model_tensor_at(model, index);
  size_t n = (size_t)(mtk_tensor_rows(&t) * mtk_tensor_row_elems(&t));
  float *x = mtk_arena_alloc(mtk_model_arena(model), n, sizeof *x);
  for (size_t i = 0; i < n; i++)
    x[i] = ((const float *)t.data)[i] + 0.3f * (float)mtk_normal(5, index, i);
  t.data = x;
  ok(mtk_model_replace_tensor(model, &t, &err), &err);
}

/* The architecture of tests/golden/arch/NAME.json; wide: with rows that fill all types' blocks. */
static mtk_model *make_model(const char *name, bool wide) {
  char path[512], config[] = "/tmp/mtk-equalize-XXXXXX";
  mtk_error err = {0};
  snprintf(path, sizeof path, "%s/tests/golden/arch/%s.json", MTK_SOURCE_DIR, name);
  json_t *doc = json_load_file(path, 0, NULL);
  ck_assert_ptr_nonnull(doc);
  json_t *sizes = json_object_get(doc, "config");
  if (wide) json_object_set_new(sizes, "hidden_size", json_integer(128));
  if (wide) json_object_set_new(sizes, "intermediate_size", json_integer(256));
  int fd = mkstemp(config);
  ck_assert_int_ge(fd, 0);
  ck_assert_int_eq(json_dumpfd(sizes, fd, 0), 0);
  close(fd);
  json_decref(doc);
  mtk_model *model = NULL;
  mtk_synthetic_options o = {.struct_size = sizeof o, .dtype = MTK_F32, .seed = 3};
  ok(mtk_model_synthetic(&model, config, &o, &err), &err);
  unlink(config);
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++)
    if (mtk_model_tensor_at(model, i)->data) vary(model, i);
  return model;
}

static float *run_logits(const mtk_model *model, int64_t *n) {
  mtk_error err = {0};
  mtk_engine *engine;
  int seq;
  int64_t rows;
  const float *out;
  int32_t ids[N_IDS];
  for (int i = 0; i < N_IDS; i++) ids[i] = (i * 7 + 3) % 60;
  mtk_engine_options o = {.struct_size = sizeof o, .context = N_IDS, .arith = MTK_A32, .isa = -1};
  ok(mtk_engine_create(&engine, model, &o, &err), &err);
  ok(mtk_engine_seq_open(&seq, engine, &err), &err);
  mtk_batch_item item = {.seq = seq, .ids = ids, .n_ids = N_IDS, .logits = MTK_LOGITS_ALL};
  ok(mtk_engine_forward(&out, &rows, engine, &item, 1, &err), &err);
  ck_assert_int_eq(rows, N_IDS);
  *n = rows * mtk_engine_vocab(engine);
  float *logits = mtk_alloc((size_t)*n, sizeof *logits);
  memcpy(logits, out, (size_t)*n * sizeof *logits);
  mtk_engine_destroy(engine);
  return logits;
}

/* Largest difference, and root mean square, over the largest magnitude of a. */
static double distance(const float *a, const float *b, int64_t n, double *rms) {
  double worst = 0, size = 0, sum = 0;
  for (int64_t i = 0; i < n; i++) {
    worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    size = fmax(size, fabs((double)a[i]));
    sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
  }
  if (rms) *rms = sqrt(sum / (double)n) / size;
  return worst / size;
}

static void check_same(const char *what, mtk_model *model, const float *before, int64_t n) {
  int64_t n_after;
  float *after = run_logits(model, &n_after);
  ck_assert_int_eq(n, n_after);
  double d = distance(before, after, n, NULL);
  ck_assert_msg(d < 1e-5 && d > 0, "%s: logits differ by %g", what, d);
  mtk_free(after);
}

/* ---- the function stays ---------------------------------------------------------------------- */

/* How many inputs can be scaled, by what makes them. Not rotated: residual streams that norms write
 * to (Gemma), values that come with the keys out of one latent vector (DeepSeek). */
static const struct {
  const char *name;
  int norms, values, gates;
  bool rotates_values, rotates_residual;
} models[] = {
    {"llama3", 6, 3, 3, true, true},    {"qwen2", 6, 3, 3, true, true},
    {"qwen3", 6, 3, 3, true, true},     {"phi3", 6, 3, 3, true, true},
    {"mistral", 6, 3, 3, true, true},   {"gemma2", 8, 4, 4, true, false},
    {"gemma3", 14, 7, 7, true, false},  {"mixtral", 6, 3, 3, true, true},
    {"qwen2moe", 6, 3, 6, true, true},  {"qwen3moe", 6, 3, 3, true, true},
    {"gpt-oss", 6, 3, 0, true, true},   {"deepseek3", 12, 0, 6, false, true},
};
enum { N_MODELS = sizeof models / sizeof models[0] };

START_TEST(factors_cancel) {
  mtk_error err = {0};
  int64_t n;
  mtk_model *model = make_model(models[_i].name, false);
  float *before = run_logits(model, &n);
  mtk_graph *graph;
  mtk_fold_site *sites;
  size_t n_sites;
  int kinds[3] = {0};
  ok(mtk_model_build_graph(&graph, model, NULL, NULL, &err), &err);
  ok(mtk_fold_sites(&sites, &n_sites, mtk_model_arena(model), graph, &err), &err);
  mtk_graph_destroy(graph);
  for (size_t i = 0; i < n_sites; i++) {
    int64_t count = mtk_fold_channels(&sites[i]) * (sites[i].n_expert > 0 ? sites[i].n_expert : 1);
    float *factors = mtk_alloc((size_t)count, sizeof *factors);
    for (int64_t c = 0; c < count; c++)
      factors[c] = expf((float)mtk_normal(9, i, (uint64_t)c));
    ok(mtk_model_fold_site(model, &sites[i], factors, &err), &err);
    mtk_free(factors);
    kinds[sites[i].is_norm ? 0 : sites[i].head > 0 ? 1 : 2]++;
  }
  ck_assert_int_eq(kinds[0], models[_i].norms);
  ck_assert_int_eq(kinds[1], models[_i].values);
  ck_assert_int_eq(kinds[2], models[_i].gates);
  check_same(models[_i].name, model, before, n);
  mtk_free(before);
  mtk_model_destroy(model);
}
END_TEST

static void check_rotation(const char *name, unsigned what, bool possible) {
  mtk_error err = {0};
  int64_t n;
  mtk_model *model = make_model(name, false);
  float *before = run_logits(model, &n);
  mtk_status st = mtk_model_rotate(model, what, 4, &err);
  if (possible) {
    ok(st, &err);
    check_same(name, model, before, n);
  } else {
    ck_assert_msg(st == MTK_E_UNSUPPORTED, "%s was rotated", name);
  }
  mtk_free(before);
  mtk_model_destroy(model);
}

START_TEST(rotations_cancel) {
  check_rotation(models[_i].name, MTK_ROTATE_VALUES, models[_i].rotates_values);
  check_rotation(models[_i].name, MTK_ROTATE_RESIDUAL, models[_i].rotates_residual);
}
END_TEST

START_TEST(sizes_that_do_not_fit) {
  mtk_error err = {0};
  mtk_model *model = make_model("llama3", false);
  ck_assert_int_eq(mtk_model_rotate(model, MTK_ROTATE_VALUES, 24, &err), MTK_E_INVALID);
  ck_assert_int_eq(mtk_model_rotate(model, MTK_ROTATE_VALUES, 1024, &err), MTK_E_UNSUPPORTED);
  ck_assert_int_eq(mtk_model_rotate(model, MTK_ROTATE_RESIDUAL, 1024, &err), MTK_E_UNSUPPORTED);
  mtk_model_destroy(model);
}
END_TEST

/* ---- an architecture whose layers share a matrix --------------------------------------------- */

enum { TWIN_WIDTH = 16, TWIN_VOCAB = 8 };

static mtk_status build_twins(mtk_graph *g, const mtk_model *model, mtk_error *err) {
  static const char *const norms[] = {"first_norm.weight", "second_norm.weight"};
  const mtk_attrs a = {.eps = 1e-5f};
  (void)model;
  mtk_node_value x = mtk_graph_add(g, MTK_OP_EMBED, NULL, 0, "token_embd.weight", TWIN_WIDTH, NULL);
  for (int i = 0; i < 2; i++) {
    mtk_node_value y = mtk_graph_add(g, MTK_OP_RMSNORM, &x, 1, norms[i], 0, &a);
    y = mtk_graph_add(g, MTK_OP_LINEAR, &y, 1, "twin.weight", TWIN_WIDTH, NULL);
    x = mtk_graph_add(g, MTK_OP_ADD, (mtk_node_value[]){x, y}, 2, NULL, 0, NULL);
  }
  x = mtk_graph_add(g, MTK_OP_SELECT, &x, 1, NULL, 0, NULL);
  x = mtk_graph_add(g, MTK_OP_LINEAR, &x, 1, "output.weight", TWIN_VOCAB, NULL);
  mtk_graph_set_logits(g, x);
  return mtk_graph_status(g, err);
}

static const mtk_arch_tensor twin_tensors[] = {{0}};
static const mtk_arch_hparam twin_hparams[] = {{0}};
static const char *const twin_classes[] = {NULL};
static const mtk_arch_v1 twins = {.struct_size = sizeof twins,
                                  .id = "twins",
                                  .hf_classes = twin_classes,
                                  .hf_model_type = "twins",
                                  .hparams = twin_hparams,
                                  .tensors = twin_tensors,
                                  .build = build_twins};

static mtk_status init_twins(const mtk_host *host, mtk_error *err) {
  (void)host, (void)err;
  return MTK_OK;
}

static const void *get_twins(const char *id, size_t index) {
  return strcmp(id, MTK_EXT_ARCH) == 0 && index == 0 ? &twins : NULL;
}

static const mtk_plugin_entry_t twins_entry = {
    {MTK_ABI_MAGIC, MTK_ABI_MAJOR, MTK_ABI_MINOR, sizeof(void *), {0}, MTK_LAYOUT_HASH},
    sizeof(mtk_plugin_entry_t),
    "arch-twins",
    "1.0.0",
    "two layers on one matrix",
    "Apache-2.0",
    init_twins,
    get_twins};
const mtk_static_plugin mtk_static_plugins[] = {{"arch-twins", &twins_entry}, {NULL, NULL}};
const size_t mtk_static_plugin_count = 1;

/* Each would put its own norm into the columns. */
START_TEST(shared_matrices_are_refused) {
  static const char *const matrices[] = {"token_embd.weight", "twin.weight", "output.weight"};
  static const char *const norms[] = {"first_norm.weight", "second_norm.weight"};
  static float ones[TWIN_WIDTH * TWIN_WIDTH];
  mtk_error err = {0};
  mtk_model *model = mtk_model_create();
  ok(mtk_model_set_arch(model, "twins", &err), &err);
  for (int i = 0; i < TWIN_WIDTH * TWIN_WIDTH; i++) ones[i] = 1.0f;
  for (int i = 0; i < 3; i++) {
    int64_t rows = i == 1 ? TWIN_WIDTH : TWIN_VOCAB;
    mtk_tensor t = {.name = matrices[i],
                    .dtype = MTK_F32,
                    .n_dims = 2,
                    .shape = {rows, TWIN_WIDTH},
                    .data = ones,
                    .size_bytes = 4 * (uint64_t)rows * TWIN_WIDTH};
    ok(mtk_model_add_tensor(model, &t, &err), &err);
  }
  for (int i = 0; i < 2; i++) {
    mtk_tensor t = {.name = norms[i],
                    .dtype = MTK_F32,
                    .n_dims = 1,
                    .shape = {TWIN_WIDTH},
                    .data = ones,
                    .size_bytes = 4 * TWIN_WIDTH};
    ok(mtk_model_add_tensor(model, &t, &err), &err);
  }
  mtk_status st = mtk_model_rotate(model, MTK_ROTATE_RESIDUAL, 4, &err);
  ck_assert_msg(st == MTK_E_UNSUPPORTED && strstr(err.message, "share the matrix"), "%s: %s",
                err.place, err.message);
  mtk_model_destroy(model);
}
END_TEST

/* An orthonormal, symmetric matrix: twice is nothing, lengths stay. */
START_TEST(hadamard) {
  float x[64], y[64];
  double a = 0, b = 0;
  for (int i = 0; i < 64; i++) x[i] = y[i] = (float)mtk_normal(1, 2, (uint64_t)i);
  mtk_hadamard(y, 64, 16);
  float sum = 0;
  for (int i = 0; i < 16; i++) sum += x[i];
  ck_assert_float_eq_tol(y[0], sum / 4, 1e-6f);
  for (int i = 0; i < 64; i++) a += (double)(x[i] * x[i]), b += (double)(y[i] * y[i]);
  ck_assert_double_eq_tol(a, b, 1e-5 * a);
  mtk_hadamard(y, 64, 16);
  for (int i = 0; i < 64; i++) ck_assert_float_eq_tol(x[i], y[i], 1e-6f);
}
END_TEST

/* ---- the search ------------------------------------------------------------------------------ */

static mtk_model *with_outliers(const char *name) {
  mtk_model *model = make_model(name, true);
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    if (!strstr(t->name, "attn_norm") && !strstr(t->name, "ffn_norm")) continue;
    float *w = (float *)(uintptr_t)t->data;
    for (int64_t j = 3; j < t->shape[0]; j += 17) w[j] *= 30;
  }
  return model;
}

static const mtk_quant_target *target_of(const mtk_quantizer_v1 *q, const char *name) {
  const mtk_quant_target *t = q->targets;
  while (t->name && strcmp(t->name, name) != 0) t++;
  ck_assert_msg(t->name != NULL, "no target %s", name);
  return t;
}

/* A calibration of `model` over two sequences. */
static mtk_calibration *calibrate(const mtk_model *model, mtk_pool *pool) {
  static int32_t ids[96];
  static const int64_t lengths[] = {48, 48};
  mtk_error err = {0};
  for (int i = 0; i < 96; i++) ids[i] = (i * i * 5 + i) % 60;
  mtk_calibration_options o = {.struct_size = sizeof o, .pool = pool, .arith = -1, .isa = -1,
                               .ids = ids, .lengths = lengths, .n_seqs = 2};
  mtk_calibration *c;
  ok(mtk_calibration_create(&c, model, &o, &err), &err);
  return c;
}

static const mtk_input_stats *find_stats(void *ctx, const char *tensor) {
  return mtk_calibration_find(ctx, tensor);
}

static double error_of(const mtk_model *model, const float *exact, int64_t n) {
  int64_t n_after;
  float *rounded = run_logits(model, &n_after);
  double rms;
  distance(exact, rounded, n, &rms);
  mtk_free(rounded);
  return rms;
}

/* Error of the quantized model's logits; rule < 0: as it is. *report: of the search. */
static double quantized_error(const char *name, const char *target, int rule, int n_threads,
                              mtk_equalize_report *report, uint32_t *checksum) {
  mtk_error err = {0};
  mtk_model *model = with_outliers(name), *copy = with_outliers(name);
  int64_t n;
  float *exact = run_logits(model, &n);
  mtk_pool *pool;
  ok(mtk_pool_create(&pool, n_threads, &err), &err);
  mtk_calibration *c = calibrate(copy, pool);
  const mtk_quantizer_v1 *rtn = mtk_quantizer_find("rtn");
  mtk_quantize_options o = {.struct_size = sizeof o, .quantizer = rtn,
                            .target = target_of(rtn, target), .pool = pool};
  mtk_equalize_options eo = {.struct_size = sizeof eo, .rule = (mtk_equalize_rule)rule,
                             .alpha = -1, .into = &o, .pool = pool};
  mtk_model *both[] = {copy, model};
  if (rule >= 0) ok(mtk_model_equalize(both, 2, c, &eo, report, &err), &err);
  mtk_calibration_destroy(c);
  ok(mtk_model_quantize(model, &o, NULL, &err), &err);
  int64_t n_after;
  float *rounded = run_logits(model, &n_after);
  double rms;
  distance(exact, rounded, n, &rms);
  *checksum = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &rounded[i], sizeof bits);
    *checksum = *checksum * 31 + bits;
  }
  mtk_free(exact);
  mtk_free(rounded);
  mtk_model_destroy(model);
  mtk_model_destroy(copy);
  mtk_pool_destroy(pool);
  return rms;
}

static const struct {
  const char *model, *target;
} searches[] = {{"llama3", "nvfp4"}, {"qwen2", "q4_0"}, {"mixtral", "q4_0"}};

START_TEST(search_helps) {
  mtk_equalize_report r = {0}, smooth = {0};
  uint32_t sum, one, two;
  const char *model = searches[_i].model, *target = searches[_i].target;
  double plain = quantized_error(model, target, -1, 2, &r, &sum);
  double awq = quantized_error(model, target, MTK_EQUALIZE_AWQ, 2, &r, &two);
  quantized_error(model, target, MTK_EQUALIZE_AWQ, 1, &r, &one);
  double smoothed = quantized_error(model, target, MTK_EQUALIZE_SMOOTH, 2, &smooth, &sum);
  printf("%s %s: logits off by %.4f plain, %.4f awq, %.4f smooth; expected error %.3f, %zu of %zu "
         "inputs\n",
         model, target, plain, awq, smoothed, r.error_after / r.error_before, r.n_changed,
         r.n_sites);
  ck_assert_uint_eq(one, two); /* threads change nothing */
  ck_assert(r.n_changed > 0 && smooth.n_changed > 0);
  ck_assert_double_lt(r.error_after, 0.9 * r.error_before);
  ck_assert_double_lt(awq, plain);
}
END_TEST

/* ---- error propagation ----------------------------------------------------------------------- */

/* With inputs that do not correlate nothing propagates: each element goes to the nearest value of
 * its grid, which is no worse than what the type's own encoder does. */
START_TEST(every_grid) {
  enum { N = 4, K = 512 };
  static float x[N * K], y[N * K], z[N * K], h[K * K], ones[K];
  const mtk_quantizer_v1 *gptq = mtk_quantizer_find("gptq"), *rtn = mtk_quantizer_find("rtn");
  ck_assert(gptq && rtn);
  for (int i = 0; i < N * K; i++) x[i] = (float)mtk_normal(4, 4, (uint64_t)i);
  for (int i = 0; i < K; i++) h[i * K + i] = ones[i] = 1.0f;
  const mtk_quant_target *t = &gptq->targets[_i];
  mtk_option_values *options = mtk_options_create(gptq->options);
  mtk_error err = {0};
  mtk_tensor w = {.name = "w", .dtype = MTK_F32, .n_dims = 2, .shape = {N, K}, .data = x};
  mtk_quant_tensor q = {.struct_size = sizeof q, .source = &w, .target = t, .importance = ones,
                        .second_moment = h, .options = options};
  float scales[N * K] = {0};
  if (t->scale_n >= 0) {
    q.scales = scales;
    q.scale_n = t->scale_n ? t->scale_n : N;
    q.scale_k = t->scale_k ? t->scale_k : K;
    float state[N * K + 1] = {0};
    gptq->update(&q, state, x, 0, N);
    gptq->finish(&q, state);
  }
  static uint8_t bytes[2][N * K * 4];
  ok(gptq->prepare(&q.prepared, &q, &err), &err);
  ok(gptq->encode(&q, bytes[0], x, 0, N, &err), &err);
  q.options = NULL;
  ok(rtn->encode(&q, bytes[1], x, 0, N, &err), &err);
  gptq->release(q.prepared);
  double error[2] = {0};
  for (int m = 0; m < 2; m++) {
    mtk_tensor coded = {.name = "w", .dtype = t->dtype, .n_dims = 2, .shape = {N, K},
                        .data = bytes[m], .scales = q.scales, .scale_n = q.scale_n,
                        .scale_k = q.scale_k};
    ok(mtk_tensor_fetch_f32(m ? z : y, &coded, 0, N, NULL, &err), &err);
    for (int i = 0; i < N * K; i++)
      error[m] += pow((double)(m ? z[i] : y[i]) - (double)x[i], 2) / (N * K);
  }
  ck_assert_msg(error[0] <= 1.02 * error[1] + 1e-9, "%s: %g, its encoder %g", t->name, error[0],
                error[1]);
  mtk_options_destroy(options);
}
END_TEST

/* Where neighbours correlate by rho^distance, the inverse of H has two bands, and all of a column's
 * error that can be mended goes to the next one: w_j+1 += rho * (w_j - q_j). K fills no whole
 * blocks of the factorization; threads change nothing. */
START_TEST(error_goes_to_the_neighbour) {
  enum { N = 3, K = 736, BYTES = 34 };
  static float x[N * K], h[K * K];
  static uint8_t bytes[2][N * K / 32 * BYTES];
  const double rho = 0.75;
  const mtk_quantizer_v1 *gptq = mtk_quantizer_find("gptq");
  mtk_option_values *options = mtk_options_create(gptq->options);
  mtk_error err = {0};
  ok(mtk_options_set(options, "damp", "0", &err), &err);
  for (int i = 0; i < N * K; i++) x[i] = (float)mtk_normal(5, 5, (uint64_t)i);
  for (int i = 0; i < K; i++)
    for (int j = 0; j < K; j++) h[i * K + j] = (float)pow(rho, abs(i - j));
  mtk_tensor w = {.name = "w", .dtype = MTK_F32, .n_dims = 2, .shape = {N, K}, .data = x};
  mtk_quant_tensor q = {.struct_size = sizeof q, .source = &w, .target = target_of(gptq, "q8_0"),
                        .second_moment = h, .options = options};
  mtk_pool *pool;
  ok(mtk_pool_create(&pool, 2, &err), &err);
  for (int threads = 0; threads < 2; threads++) {
    q.pool = threads ? pool : NULL;
    ok(gptq->prepare(&q.prepared, &q, &err), &err);
    ok(gptq->encode(&q, bytes[threads], x, 0, N, &err), &err);
    gptq->release(q.prepared);
  }
  ck_assert_int_eq(memcmp(bytes[0], bytes[1], sizeof bytes[0]), 0);
  int same = 0;
  for (int r = 0; r < N; r++) {
    double left = 0;
    for (int j = 0; j < K; j++) {
      const uint8_t *block = bytes[0] + (r * K + j) / 32 * BYTES;
      uint16_t d;
      memcpy(&d, block, sizeof d);
      double scale = (double)mtk_f16_to_f32(d), value = (double)x[r * K + j] + rho * left;
      int code = ((const int8_t *)block)[2 + j % 32];
      double nearest = fmax(-128, fmin(127, nearbyint(value / scale)));
      same += code == (int)nearest;
      left = value - code * scale;
    }
  }
  ck_assert_int_ge(same, N * K - N * K / 500); /* ties go either way */
  mtk_pool_destroy(pool);
  mtk_options_destroy(options);
}
END_TEST

/* Outside a test: 1 if there is no gptq, so that every_grid fails. */
static int count_targets(void) {
  mtk_error err = {0};
  bool loaded = mtk_plugins_load(&err) == MTK_OK;
  const mtk_quantizer_v1 *gptq = loaded ? mtk_quantizer_find("gptq") : NULL;
  int n = 0;
  while (gptq && gptq->targets[n].name) n++;
  return n > 0 ? n : 1;
}

/* Experts get errors propagated by what each of them saw, seldom chosen ones too. */
START_TEST(experts_by_gptq) {
  mtk_error err = {0};
  int64_t n, hits = INT64_MAX;
  mtk_model *model = with_outliers("qwen3moe"), *copy = with_outliers("qwen3moe");
  mtk_model *plain = with_outliers("qwen3moe");
  float *exact = run_logits(copy, &n);
  const mtk_quantizer_v1 *gptq = mtk_quantizer_find("gptq"), *rtn = mtk_quantizer_find("rtn");
  mtk_option_values *options = mtk_options_create(gptq->options);
  mtk_quantize_options o = {.struct_size = sizeof o, .quantizer = rtn,
                            .target = target_of(rtn, "q4_0"), .options = NULL};
  ok(mtk_model_quantize(plain, &o, NULL, &err), &err);
  o.quantizer = gptq;
  o.target = target_of(gptq, "q4_0");
  o.options = options;
  mtk_quantize_report r;
  ok(mtk_model_quantize(model, &o, &r, &err), &err);
  mtk_calibration *c = calibrate(copy, NULL);
  for (int stage = 0; stage < mtk_calibration_stages(c); stage++) {
    ok(mtk_calibration_next(c, true, &err), &err);
    for (size_t i = 0; i < r.n_rows; i++) {
      const char *name = r.rows[i].name;
      const mtk_input_stats *s = mtk_calibration_find(c, name);
      if (r.rows[i].reason != MTK_QUANTIZED || mtk_calibration_stage_of(c, name) != stage) continue;
      for (int64_t x = 0; x < s->n_expert; x++)
        if (s->rows[x] < hits) hits = s->rows[x];
      ok(mtk_model_quantize_now(model, &name, 1, s, &err), &err);
    }
  }
  double a = error_of(plain, exact, n), b = error_of(model, exact, n);
  printf("qwen3moe q4_0: logits off by %.4f rtn, %.4f gptq; an expert saw %d rows\n", a, b,
         (int)hits);
  ck_assert_int_lt(hits, 96);
  ck_assert_double_lt(b, a);
  mtk_calibration_destroy(c);
  mtk_options_destroy(options);
  mtk_free(r.rows);
  mtk_free(exact);
  mtk_model_destroy(plain);
  mtk_model_destroy(copy);
  mtk_model_destroy(model);
}
END_TEST

/* Rounded weights on the mean input, with the corrected bias, give the mean output. */
START_TEST(biases_keep_the_mean) {
  static const char name[] = "blk.1.attn_v.weight", bias_name[] = "blk.1.attn_v.bias";
  mtk_error err = {0};
  mtk_model *model = make_model("qwen2", true), *source = make_model("qwen2", true);
  const mtk_quantizer_v1 *rtn = mtk_quantizer_find("rtn");
  mtk_quantize_options o = {.struct_size = sizeof o, .quantizer = rtn,
                            .target = target_of(rtn, "q4_0")};
  mtk_quantize_report r;
  size_t n_corrected = 0;
  ok(mtk_model_quantize(model, &o, &r, &err), &err);
  mtk_calibration *c = calibrate(source, NULL);
  for (int i = 0; i < mtk_calibration_stages(c); i++)
    ok(mtk_calibration_next(c, false, &err), &err);
  ok(mtk_model_correct_biases(&n_corrected, model, source, &r, find_stats, c, &err), &err);
  ck_assert_uint_eq(n_corrected, 9); /* q, k and v of three blocks */
  const float *mean = mtk_calibration_find(c, name)->mean;
  const mtk_model *both[] = {source, model};
  float out[2][64];
  for (int m = 0; m < 2; m++) {
    const mtk_tensor *w = mtk_model_tensor(both[m], name);
    int64_t rows = mtk_tensor_rows(w), k = mtk_tensor_row_elems(w);
    ck_assert_int_le(rows, 64);
    float *x = mtk_alloc((size_t)(rows * k), sizeof *x);
    void *tmp = mtk_alloc((size_t)rows, mtk_tensor_row_bytes(w));
    ok(mtk_tensor_fetch_f32(x, w, 0, rows, tmp, &err), &err);
    const float *bias = mtk_model_tensor(both[m], bias_name)->data;
    for (int64_t i = 0; i < rows; i++) {
      double sum = (double)bias[i];
      for (int64_t j = 0; j < k; j++) sum += (double)x[i * k + j] * (double)mean[j];
      out[m][i] = (float)sum;
      if (m) ck_assert_float_eq_tol(out[0][i], out[1][i], 1e-5f);
    }
    mtk_free(tmp);
    mtk_free(x);
  }
  ck_assert(mtk_model_tensor(model, bias_name)->data != mtk_model_tensor(source, bias_name)->data);
  mtk_calibration_destroy(c);
  mtk_free(r.rows);
  mtk_model_destroy(source);
  mtk_model_destroy(model);
}
END_TEST

/* ---- experts --------------------------------------------------------------------------------- */

START_TEST(seldom_chosen_experts) {
  const float sums[3 * 2] = {640, 64, 0, 0, 2, 4};
  const int64_t rows[3] = {64, 0, 1};
  float mean[3 * 2], plain[2];
  mtk_mean_squares(mean, sums, rows, 3, 2);
  float all = 642.0f / 65;
  ck_assert_float_eq_tol(mean[0], (640 + 32 * all) / 96, 1e-5f);
  ck_assert_float_eq_tol(mean[2], all, 1e-5f); /* never chosen: the mean over all */
  ck_assert_float_eq_tol(mean[4], (2 + 32 * all) / 33, 1e-5f);
  mtk_mean_squares(plain, sums, rows, 0, 2); /* no experts: nothing is lent */
  ck_assert_float_eq(plain[0], 10.0f);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("equalize");
  TCase *tc = tcase_create("equalize");
  tcase_set_timeout(tc, 120);
  tcase_add_checked_fixture(tc, setup, NULL);
  tcase_add_test(tc, hadamard);
  tcase_add_loop_test(tc, factors_cancel, 0, N_MODELS);
  tcase_add_loop_test(tc, rotations_cancel, 0, N_MODELS);
  tcase_add_test(tc, sizes_that_do_not_fit);
  tcase_add_test(tc, shared_matrices_are_refused);
  tcase_add_loop_test(tc, search_helps, 0, (int)(sizeof searches / sizeof searches[0]));
  tcase_add_loop_test(tc, every_grid, 0, count_targets());
  tcase_add_test(tc, seldom_chosen_experts);
  tcase_add_test(tc, error_goes_to_the_neighbour);
  tcase_add_test(tc, experts_by_gptq);
  tcase_add_test(tc, biases_keep_the_mean);
  suite_add_tcase(suite, tc);
  return run_suite(suite);
}
