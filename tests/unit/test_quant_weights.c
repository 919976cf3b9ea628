/* test_quant_weights.c: plugin quant-weights against numpy and ml_dtypes
 * (tests/oracle/make_rtn_golden.py), the error of each target on Gaussian weights, and weights that
 * are encoded together because they share an input. */
#include <mtk/quantize.h>
#include <mtk/registry.h>

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"

typedef struct job {
  mtk_tensor source;
  mtk_quant_target target;
  mtk_quant_tensor quant;
  float *scales;
  int64_t n_scales;
  uint8_t *bytes;
  size_t n_bytes;
} job;

static const mtk_quantizer_v1 *rtn;

static void setup(void) {
  mtk_error err = {0};
  ck_assert_msg(mtk_plugins_load(&err) == MTK_OK, "%s", err.message);
  rtn = mtk_quantizer_find("rtn");
  ck_assert_ptr_nonnull(rtn);
}

/* What mtk_model_quantize does, with rows given in uneven chunks. */
static void quantize(job *j, const char *target, float *x, int64_t n, int64_t k, float group_amax) {
  memset(j, 0, sizeof *j);
  const mtk_quant_target *t = rtn->targets;
  while (t->name && strcmp(t->name, target) != 0) t++;
  ck_assert_msg(t->name != NULL, "no target %s", target);
  j->source = (mtk_tensor){.name = "w", .dtype = MTK_F32, .n_dims = 2, .shape = {n, k}, .data = x};
  j->quant = (mtk_quant_tensor){.struct_size = sizeof j->quant, .source = &j->source, .target = t,
                                .group_amax = group_amax};
  if (t->scale_n >= 0) {
    j->quant.scale_n = t->scale_n ? t->scale_n : n;
    j->quant.scale_k = t->scale_k ? t->scale_k : k;
    j->n_scales = ((n - 1) / j->quant.scale_n + 1) * ((k - 1) / j->quant.scale_k + 1);
    j->quant.scales = j->scales = mtk_alloc((size_t)j->n_scales, sizeof(float));
    float *state = mtk_alloc(rtn->state_floats(&j->quant), sizeof(float));
    for (int64_t r = 0; r < n; r += 37)
      rtn->update(&j->quant, state, x + r * k, r, n - r < 37 ? n - r : 37);
    rtn->finish(&j->quant, state);
    mtk_free(state);
  }
  size_t row = mtk_dtype_bytes(t->dtype, (uint64_t)k);
  j->n_bytes = (size_t)n * row;
  j->bytes = mtk_alloc(j->n_bytes, 1);
  for (int64_t r = 0; r < n; r += 50) {
    int64_t rows = n - r < 50 ? n - r : 50;
    ck_assert_int_eq(rtn->encode(&j->quant, j->bytes + (size_t)r * row, x + r * k, r, rows, NULL),
                     MTK_OK);
  }
}

static void finish(job *j) {
  mtk_free(j->scales);
  mtk_free(j->bytes);
}

/* The input of make_rtn_golden.py. */
static float *sample(void) {
  enum { N = 130, K = 192 };
  float *x = mtk_alloc(N * K, sizeof *x);
  for (uint64_t i = 0; i < N * K; i++) {
    uint32_t u = (uint32_t)(i * 2654435761u + 12345u);
    float t = (float)(u >> 8) * 0x1p-23f - 1.0f;
    x[i] = t * t * t;
  }
  for (int i = 0; i < K; i++) x[K + i] = 0;
  for (int i = 0; i < K; i++) x[2 * K + i] *= 0x1p-13f;
  for (int i = 0; i < 16; i++) x[3 * K + i] = 0;
  x[4 * K + 5] = 37.5f;
  for (int i = 0; i < K; i += 3) x[5 * K + i] = -0.0f;
  return x;
}

START_TEST(golden) {
  float *x = sample();
  FILE *f = fopen(MTK_SOURCE_DIR "/tests/golden/rtn.txt", "r");
  ck_assert_ptr_nonnull(f);
  char name[32], want[65], got[65];
  int lines = 0;
  for (; fscanf(f, "%31s %64s", name, want) == 2; lines++) {
    job j;
    quantize(&j, name, x, 130, 192, 0);
    for (int64_t i = 0; i < j.n_scales; i++) {
      unsigned bits, have;
      ck_assert_int_eq(fscanf(f, "%x", &bits), 1);
      memcpy(&have, &j.scales[i], sizeof have);
      ck_assert_msg(bits == have, "%s: scale %d is %08x, not %08x", name, (int)i, have, bits);
    }
    mtk_sha256_hex(got, j.bytes, j.n_bytes);
    ck_assert_msg(strcmp(got, want) == 0, "%s: the encoded rows differ", name);
    finish(&j);
  }
  ck_assert_int_eq(lines, 3);
  fclose(f);
  mtk_free(x);
}
END_TEST

static const struct {
  const char *target;
  double rel_l2, tolerance; /* measured with CUDA's conversions and with ggml */
} errors[] = {
    {"nvfp4", 0.0951, 2e-4}, {"mxfp4", 0.1150, 2e-4},     {"fp8", 0.0265, 2e-4},
    {"f32", 0, 0},           {"fp8-block", 0.0263, 4e-4}, {"bf16", 0.00166, 1e-4},
    {"mxfp8", 0.0265, 2e-4}, {"q6_k", 0.0177, 2e-4},      {"q5_k", 0.0361, 2e-4},
    {"q4_k", 0.0713, 2e-4},  {"q3_k", 0.1509, 4e-4},      {"q2_k", 0.2967, 4e-4},
    {"q5_0", 0.0427, 2e-4},  {"q5_1", 0.0378, 2e-4},      {"iq4_nl", 0.0761, 2e-4},
    {"iq4_xs", 0.0767, 2e-4},
};

START_TEST(gaussian_error) {
  enum { N = 1024, K = 1024 };
  float *x = mtk_alloc(N * K, sizeof *x), *y = mtk_alloc(N * K, sizeof *y);
  for (uint64_t i = 0; i < N * K; i++) x[i] = (float)mtk_normal(1, 2, i);
  job j;
  quantize(&j, errors[_i].target, x, N, K, 0);
  mtk_tensor t = j.source;
  t.dtype = j.quant.target->dtype;
  t.data = j.bytes;
  t.size_bytes = j.n_bytes;
  t.scales = j.scales;
  t.scale_n = j.quant.scale_n;
  t.scale_k = j.quant.scale_k;
  ck_assert_int_eq(mtk_tensor_fetch_f32(y, &t, 0, N, NULL, NULL), MTK_OK);
  double num = 0, den = 0;
  for (int64_t i = 0; i < N * K; i++) {
    double d = (double)y[i] - (double)x[i];
    num += d * d;
    den += (double)x[i] * (double)x[i];
  }
  double rel = sqrt(num / den);
  ck_assert_msg(fabs(rel - errors[_i].rel_l2) <= errors[_i].tolerance, "%s: %.5f, expected %.5f",
                errors[_i].target, rel, errors[_i].rel_l2);
  finish(&j);
  mtk_free(x);
  mtk_free(y);
}
END_TEST

/* ---- which type a tensor gets --------------------------------------------------------------- */

static const char *chosen(const char *target, mtk_quant_place place) {
  const mtk_quant_target *t = rtn->targets;
  while (t->name && strcmp(t->name, target) != 0) t++;
  ck_assert_msg(t->name != NULL, "no target %s", target);
  place.struct_size = sizeof place;
  const mtk_quant_target *got = rtn->choose(t, &place);
  return got ? got->name : "kept";
}

/* What llama-quantize (llama.cpp, llama_tensor_get_type) gives models of these shapes. */
START_TEST(mixtures) {
  static const struct {
    const char *target, *name;
    int64_t row, block, n_block, n_head, n_head_kv, n_expert;
    bool tied;
    const char *want;
  } cases[] = {
      {"q4_k_m", "blk.0.attn_v.weight", 4096, 0, 32, 32, 8, 0, false, "q6_k"},
      {"q4_k_m", "blk.4.attn_v.weight", 4096, 4, 32, 32, 8, 0, false, "q4_k"},
      {"q4_k_m", "blk.6.attn_v.weight", 4096, 6, 32, 32, 8, 0, false, "q6_k"},
      {"q4_k_m", "blk.28.ffn_down.weight", 14336, 28, 32, 32, 8, 0, false, "q6_k"},
      {"q4_k_m", "blk.3.ffn_up.weight", 4096, 3, 32, 32, 8, 0, false, "q4_k"},
      {"q4_k_m", "output.weight", 4096, -1, 32, 32, 8, 0, false, "q6_k"},
      {"q4_k_m", "token_embd.weight", 4096, -1, 32, 32, 8, 0, false, "q4_k"},
      {"q4_k_m", "token_embd.weight", 896, -1, 24, 14, 2, 0, true, "q8_0"},
      {"q4_k_m", "blk.3.attn_q.weight", 896, 3, 24, 14, 2, 0, true, "q5_0"},
      {"q4_k_m", "blk.3.attn_k.weight", 4096, 3, 32, 32, 8, 8, false, "q8_0"},
      {"q4_k_m", "blk.9.attn_v.weight", 8192, 11, 80, 64, 8, 0, false, "q5_k"},
      {"q4_k_s", "blk.3.attn_v.weight", 4096, 3, 32, 32, 8, 0, false, "q5_k"},
      {"q4_k_s", "blk.4.ffn_down.weight", 4096, 4, 32, 32, 8, 0, false, "q4_k"},
      {"q2_k_m", "blk.9.attn_v.weight", 4096, 9, 32, 32, 8, 0, false, "q4_k"},
      {"q2_k_m", "blk.9.attn_v.weight", 4096, 9, 32, 32, 32, 0, false, "q3_k"},
      {"q3_k_l", "blk.9.attn_output.weight", 4096, 9, 32, 32, 8, 0, false, "q5_k"},
      {"q3_k_m", "blk.1.ffn_down.weight", 4096, 1, 32, 32, 8, 0, false, "q5_k"},
      {"q3_k_m", "blk.2.ffn_down.weight", 4096, 2, 32, 32, 8, 0, false, "q4_k"},
      {"q4_k", "blk.0.attn_v.weight", 4096, 0, 32, 32, 8, 0, false, "q4_k"},
      {"q4_k", "token_embd.weight", 4096, -1, 32, 32, 8, 0, false, "kept"},
      {"q6_k", "blk.0.attn_q.weight", 576, 0, 30, 9, 3, 0, true, "q8_0"},
      {"q2_k", "blk.0.attn_q.weight", 576, 0, 30, 9, 3, 0, true, "q4_0"},
      {"q4_k", "blk.0.attn_q.weight", 100, 0, 30, 9, 3, 0, true, "kept"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    bool embedding = cases[i].block < 0;
    const char *got = chosen(cases[i].target, (mtk_quant_place){.name = cases[i].name,
                                                                .row_elems = cases[i].row,
                                                                .block = cases[i].block,
                                                                .n_block = cases[i].n_block,
                                                                .n_head = cases[i].n_head,
                                                                .n_head_kv = cases[i].n_head_kv,
                                                                .n_expert = cases[i].n_expert,
                                                                .is_embedding = embedding,
                                                                .is_tied = cases[i].tied});
    ck_assert_msg(strcmp(got, cases[i].want) == 0, "case %zu (%s, %s): %s, not %s", i,
                  cases[i].target, cases[i].name, got, cases[i].want);
  }
}
END_TEST

/* Members of a fused group share the global scale; blocks keep their own. */
START_TEST(group_scale) {
  float *x = sample();
  job j;
  quantize(&j, "nvfp4", x, 130, 192, 75.0f);
  ck_assert(!(j.scales[0] < 75.0f / 2688.0f) && !(j.scales[0] > 75.0f / 2688.0f));
  finish(&j);
  quantize(&j, "fp8-block", x, 130, 192, 75.0f);
  ck_assert(j.scales[1] < 1.0f / 447.0f);
  finish(&j);
  mtk_free(x);
}
END_TEST

START_TEST(all_zero) {
  float x[2 * 256] = {0};
  for (const mtk_quant_target *t = rtn->targets; t->name; t++) {
    job j;
    quantize(&j, t->name, x, 2, 256, 0);
    mtk_tensor back = {.name = "w", .dtype = t->dtype, .n_dims = 2, .shape = {2, 256}};
    back.data = j.bytes;
    back.scales = j.scales;
    back.scale_n = j.quant.scale_n;
    back.scale_k = j.quant.scale_k;
    float y[2 * 256];
    ck_assert_int_eq(mtk_tensor_fetch_f32(y, &back, 0, 2, NULL, NULL), MTK_OK);
    for (int i = 0; i < 512; i++)
      ck_assert_msg(!(y[i] < 0) && !(y[i] > 0), "%s: %g", t->name, y[i]);
    finish(&j);
  }
}
END_TEST

/* Tensors whose input no calibration has seen have no second moments, and are refused. */
START_TEST(gptq_without_moments) {
  static float x[16 * 64], mean_square[64];
  const mtk_quantizer_v1 *gptq = mtk_quantizer_find("gptq");
  ck_assert_ptr_nonnull(gptq);
  for (int i = 0; i < 16 * 64; i++) x[i] = (float)(i % 13) - 6.0f;
  mtk_error err = {0};
  mtk_tensor w = {.name = "w", .dtype = MTK_F32, .n_dims = 2, .shape = {16, 64}, .data = x,
                  .size_bytes = sizeof x};
  mtk_model *model = mtk_model_create();
  ck_assert_int_eq(mtk_model_add_tensor(model, &w, &err), MTK_OK);
  mtk_quantize_options o = {.struct_size = sizeof o, .quantizer = gptq,
                            .target = &gptq->targets[0]};
  ck_assert_msg(mtk_model_quantize(model, &o, NULL, &err) == MTK_OK, "%s", err.message);
  uint8_t rows[16 * 36];
  const void *fetched;
  ck_assert_int_eq(mtk_tensor_fetch(&fetched, mtk_model_tensor(model, "w"), 0, 16, rows, &err),
                   MTK_E_UNSUPPORTED);
  const char *name = "w";
  int64_t seen = 3;
  mtk_input_stats stats = {.k = 64, .rows = &seen, .mean_square = mean_square};
  ck_assert_int_eq(mtk_model_quantize_now(model, &name, 1, &stats, &err), MTK_E_UNSUPPORTED);
  ck_assert_ptr_nonnull(strstr(err.message, "second moments"));
  ck_assert_int_eq(mtk_model_quantize_now(model, &name, 1, NULL, &err), MTK_E_UNSUPPORTED);
  mtk_model_destroy(model);
}
END_TEST

/* ---- weights on one input ------------------------------------------------------------------- */

enum { SHARED = 3, SHARED_N = 16, SHARED_K = 64, SHARED_BYTES = SHARED_N * SHARED_K / 64 * 36 };
static const char *const shared_names[SHARED] = {"q", "k", "v"};

/* What makes the bytes of q, k and v. */
typedef struct shared {
  const char *methods[SHARED];
  mtk_outputs *outputs;
  size_t n; /* the first so many are encoded */
} shared;

static void plan_shared(void *ctx, const char *tensor, const mtk_quantizer_v1 **quantizer,
                        const mtk_quant_target **target) {
  const shared *s = ctx;
  int i = 0;
  while (strcmp(shared_names[i], tensor) != 0) i++;
  *quantizer = mtk_quantizer_find(s->methods[i]);
  *target = (*quantizer)->targets;
  while (strcmp((*target)->name, "nvfp4") != 0) ++*target;
}

static mtk_model *shared_model(void) {
  static float x[SHARED][SHARED_N * SHARED_K];
  mtk_model *model = mtk_model_create();
  for (int t = 0; t < SHARED; t++) {
    for (uint64_t i = 0; i < SHARED_N * SHARED_K; i++)
      x[t][i] = (float)mtk_normal(3, (uint64_t)t, i);
    mtk_tensor w = {.name = shared_names[t], .dtype = MTK_F32, .n_dims = 2,
                    .shape = {SHARED_N, SHARED_K}, .data = x[t], .size_bytes = sizeof x[t]};
    ck_assert_int_eq(mtk_model_add_tensor(model, &w, NULL), MTK_OK);
  }
  return model;
}

/* Inputs whose neighbours go together. */
static mtk_input_stats shared_stats(void) {
  static float mean_square[SHARED_K], moment[SHARED_K * SHARED_K];
  static int64_t seen = 100;
  for (int i = 0; i < SHARED_K; i++) {
    mean_square[i] = 1.0f + (float)(i % 7);
    for (int j = 0; j < SHARED_K; j++)
      moment[i * SHARED_K + j] = i == j ? mean_square[i] : abs(i - j) == 1 ? 0.4f : 0.0f;
  }
  return (mtk_input_stats){.k = SHARED_K, .rows = &seen, .mean_square = mean_square,
                           .second_moment = moment};
}

static void encode_shared(uint8_t out[SHARED][SHARED_BYTES], shared s) {
  mtk_error err = {0};
  mtk_option_values *options = mtk_options_create(mtk_quantizer_find("gptq")->options);
  mtk_model *model = shared_model();
  mtk_model_set_outputs(model, s.outputs);
  mtk_quantize_options o = {.struct_size = sizeof o, .quantizer = rtn, .options = options,
                            .plan = plan_shared, .plan_ctx = &s};
  ck_assert_msg(mtk_model_quantize(model, &o, NULL, &err) == MTK_OK, "%s", err.message);
  mtk_input_stats stats = shared_stats();
  mtk_status st = mtk_model_quantize_now(model, shared_names, s.n, &stats, &err);
  ck_assert_msg(st == MTK_OK, "%s", err.message);
  for (size_t i = 0; i < s.n; i++) {
    const mtk_tensor *t = mtk_model_tensor(model, shared_names[i]);
    ck_assert_uint_eq(t->size_bytes, SHARED_BYTES);
    memcpy(out[i], t->data, SHARED_BYTES);
  }
  mtk_model_destroy(model);
  mtk_options_destroy(options);
}

/* A run that was killed when only q was whole. */
START_TEST(resumed_among_those_that_are_there) {
  static uint8_t whole[SHARED][SHARED_BYTES], first[SHARED][SHARED_BYTES],
      resumed[SHARED][SHARED_BYTES];
  char folder[] = "/tmp/mtk-test-XXXXXX", path[64];
  shared s = {.methods = {"gptq", "gptq", "gptq"}, .n = SHARED};
  encode_shared(whole, s);
  ck_assert_ptr_nonnull(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/out", folder);
  for (s.n = 1; s.n <= SHARED; s.n += SHARED - 1) {
    ck_assert_int_eq(mtk_outputs_resume(&s.outputs, path, "key", s.n > 1, NULL), MTK_OK);
    ck_assert(mtk_outputs_has_scratch(s.outputs, "q") == (s.n > 1));
    encode_shared(s.n > 1 ? resumed : first, s);
    mtk_outputs_close(s.outputs, s.n == 1);
  }
  ck_assert_int_eq(memcmp(first[0], whole[0], SHARED_BYTES), 0);
  ck_assert_int_eq(memcmp(resumed, whole, sizeof whole), 0);
  ck_assert_int_eq(remove(folder), 0);
}
END_TEST

/* Each weight has the bytes of its own method, whatever its neighbours have. */
START_TEST(methods_mixed_on_one_input) {
  static const char *const mixtures_of[][SHARED] = {{"rtn", "gptq", "gptq"},
                                                    {"gptq", "rtn", "gptq"},
                                                    {"gptq", "gptq", "rtn"}};
  static uint8_t by_rtn[SHARED][SHARED_BYTES], by_gptq[SHARED][SHARED_BYTES],
      mixed[SHARED][SHARED_BYTES];
  encode_shared(by_rtn, (shared){.methods = {"rtn", "rtn", "rtn"}, .n = SHARED});
  encode_shared(by_gptq, (shared){.methods = {"gptq", "gptq", "gptq"}, .n = SHARED});
  ck_assert_int_ne(memcmp(by_rtn[_i], by_gptq[_i], SHARED_BYTES), 0);
  shared s = {.n = SHARED};
  memcpy(s.methods, mixtures_of[_i], sizeof s.methods);
  encode_shared(mixed, s);
  for (int i = 0; i < SHARED; i++)
    ck_assert_int_eq(memcmp(mixed[i], i == _i ? by_rtn[i] : by_gptq[i], SHARED_BYTES), 0);
}
END_TEST

int main(void) {
  Suite *s = suite_create("quant-weights");
  TCase *c = tcase_create("quant-weights");
  tcase_add_checked_fixture(c, setup, NULL);
  tcase_add_test(c, golden);
  tcase_add_loop_test(c, gaussian_error, 0, (int)(sizeof errors / sizeof errors[0]));
  tcase_add_test(c, mixtures);
  tcase_add_test(c, group_scale);
  tcase_add_test(c, all_zero);
  tcase_add_test(c, gptq_without_moments);
  tcase_add_test(c, resumed_among_those_that_are_there);
  tcase_add_loop_test(c, methods_mixed_on_one_input, 0, SHARED);
  suite_add_tcase(s, c);
  return run_suite(s);
}
