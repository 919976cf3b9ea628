/* test_mistral.c: the Mistral plugin. Tiny checkpoints in its layout (made with their Hugging Face
 * twins and transformers' logits by tests/oracle/make_mistral_golden.py) through every format and
 * back; FP8 scales, folders that are not whole, values that are not right. */
#include "format_util.h"
#include "run_suite.h"

#include <mtk/engine.h>

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NATIVE GOLDEN "mistral/"

enum { N_VOCAB = 64, MAX_IDS = 32 };

static mtk_error err;

static char *join(const char *a, const char *b) {
  static char paths[8][512];
  static int next;
  char *out = paths[next++ % 8];
  snprintf(out, sizeof paths[0], "%s/%s", a, b);
  return out;
}

static void copy(const char *from, const char *to) {
  size_t n;
  uint8_t *bytes = read_bytes(from, &n);
  write_bytes(to, bytes, n);
  mtk_free(bytes);
}

/* A folder in the scratch folder; memory that stays. */
static const char *make_folder(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s", scratch(name));
  mkdir(path, 0777);
  return path;
}

static const char *golden(const char *name, const char *suffix) {
  static char path[2][512];
  static int next;
  snprintf(path[next ^= 1], sizeof path[0], NATIVE "%s%s", name, suffix);
  return path[next];
}

/* The checkpoint of a case as a folder; that with an image encoder in two parts. */
static const char *make_native(const char *name) {
  const char *folder = make_folder("native");
  copy(golden(name, ".params.json"), join(folder, "params.json"));
  if (strcmp(name, "vision") == 0) {
    copy(NATIVE "text.safetensors", join(folder, "consolidated-00001-of-00002.safetensors"));
    copy(NATIVE "vision.safetensors", join(folder, "consolidated-00002-of-00002.safetensors"));
  } else {
    const char *weights = strcmp(name, "moe") == 0 ? "moe" : "text";
    copy(golden(weights, ".safetensors"), join(folder, "consolidated.safetensors"));
  }
  return folder;
}

static json_t *load_golden(const char *name) {
  json_t *root = json_load_file(golden(name, ".json"), 0, NULL);
  ck_assert_ptr_nonnull(root);
  return root;
}

/* ---- logits -------------------------------------------------------------------------------- */

/* Of all ids of a case, in plain f32 arithmetic; mtk_free. */
static float *logits_of(const mtk_model *m, const json_t *want, size_t *n) {
  const json_t *list = json_object_get(want, "ids");
  int32_t ids[MAX_IDS];
  *n = json_array_size(list);
  for (size_t i = 0; i < *n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
  mtk_engine_options o = {.struct_size = sizeof o,
                          .context = MAX_IDS,
                          .max_seqs = 1,
                          .max_batch = MAX_IDS,
                          .arith = MTK_A32,
                          .isa = -1};
  mtk_engine *e;
  ck_assert_msg(mtk_engine_create(&e, m, &o, &err) == MTK_OK, "%s: %s", err.place, err.message);
  ck_assert_int_eq(mtk_engine_vocab(e), N_VOCAB);
  mtk_batch_item it = {0, 0, ids, (int32_t)*n, MTK_LOGITS_ALL};
  const float *rows;
  int64_t n_rows;
  ck_assert_int_eq(mtk_engine_seq_open(&it.seq, e, &err), MTK_OK);
  ck_assert_msg(mtk_engine_forward(&rows, &n_rows, e, &it, 1, &err) == MTK_OK, "%s", err.message);
  ck_assert_int_eq(n_rows, (int64_t)*n);
  float *out = mtk_alloc(*n * N_VOCAB, sizeof *out);
  memcpy(out, rows, *n * N_VOCAB * sizeof *out);
  mtk_engine_destroy(e);
  return out;
}

static void check_logits(const char *name, const char *what, const float *got, const json_t *want) {
  const json_t *rows = json_object_get(want, "logits");
  for (size_t i = 0; i < json_array_size(rows); i++)
    for (size_t j = 0; j < N_VOCAB; j++) {
      double w = json_number_value(json_array_get(json_array_get(rows, i), j));
      double g = (double)got[i * N_VOCAB + j];
      ck_assert_msg(fabs(g - w) < 2e-5, "%s %s: row %zu, logit %zu is %.9g, not %.9g", name, what,
                    i, j, g, w);
    }
}

/* ---- the way through other formats --------------------------------------------------------- */

/* Tensors of the folder that mtk writes for Hugging Face equal those of the twin, byte by byte. */
static void check_twin(const char *folder, const json_t *want) {
  mtk_model *m = load("hf", join(folder, "model.safetensors"));
  const char *name;
  json_t *sum;
  size_t n = 0;
  json_object_foreach(json_object_get(want, "sha256"), name, sum) {
    const mtk_tensor *t = mtk_model_tensor(m, name);
    ck_assert_msg(t != NULL, "%s is missing", name);
    uint8_t *bytes = tensor_bytes(t);
    char hex[65];
    mtk_sha256_hex(hex, bytes, t->size_bytes);
    ck_assert_msg(strcmp(hex, json_string_value(sum)) == 0, "%s differs", name);
    mtk_free(bytes);
    n++;
  }
  ck_assert_uint_eq(mtk_model_tensor_count(m), n);
  mtk_model_destroy(m);
}

static void check_number(const json_t *have, const json_t *want, const char *key) {
  const json_t *a = json_object_get(have, key), *b = json_object_get(want, key);
  ck_assert_msg(json_equal(a, b) || fabs(json_number_value(a) - json_number_value(b)) < 1e-12,
                "config.json: %s", key);
}

static void check_config(const char *folder, const json_t *want) {
  static const char *const sizes[] = {
      "hidden_size",         "num_hidden_layers",   "intermediate_size",
      "num_attention_heads", "num_key_value_heads", "head_dim",
      "vocab_size",          "rms_norm_eps",        "max_position_embeddings"};
  json_t *config = json_load_file(join(folder, "config.json"), 0, NULL);
  const json_t *twin = json_object_get(want, "config");
  ck_assert(
      json_equal(json_object_get(config, "architectures"), json_object_get(twin, "architectures")));
  const json_t *a = json_object_get(config, "text_config");
  const json_t *b = json_object_get(twin, "text_config");
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    check_number(a ? a : config, b ? b : twin, sizes[i]);
  json_decref(config);
}

static void check_same_params(const char *a, const char *b) {
  ck_assert_msg(same_files(join(a, "params.json"), join(b, "params.json")), "%s", b);
}

static const char *const cases[] = {"small", "window", "yarn", "yarn-unscaled", "ministral", "moe"};
enum { N_CASES = sizeof cases / sizeof cases[0] };

/* Native, Hugging Face and GGUF give the same bits, and those of transformers to rounding. */
START_TEST(same_logits_everywhere) {
  const char *name = cases[_i], *native = make_native(name);
  json_t *want = load_golden(name);
  size_t n;
  mtk_model *m = load("mistral", native);
  ck_assert_str_eq(mtk_model_arch(m), "llama");
  float *here = logits_of(m, want, &n);
  check_logits(name, "native", here, want);
  save("gguf", m, scratch("m.gguf"), NULL);
  save("hf", m, scratch("hf"), NULL);
  mtk_model_destroy(m);
  check_twin(scratch("hf"), want);
  check_config(scratch("hf"), want);
  static const char *const others[][2] = {{"hf", "hf"}, {"gguf", "m.gguf"}};
  for (int i = 0; i < 2; i++) {
    mtk_model *other = load(others[i][0], scratch(others[i][1]));
    float *there = logits_of(other, want, &n);
    ck_assert_msg(memcmp(here, there, n * N_VOCAB * sizeof *here) == 0, "%s", others[i][0]);
    mtk_free(there);
    mtk_model_destroy(other);
  }
  mtk_free(here);
  json_decref(want);
}
END_TEST

/* Native -> other -> native: the same tensors and the same bytes of params.json. */
START_TEST(comes_back) {
  static const char *const others[][2] = {{"hf", "hf"}, {"gguf", "m.gguf"}, {"mistral", "direct"}};
  const char *native = make_native(cases[_i]);
  for (int i = 0; i < 3; i++) {
    mtk_model *m = load("mistral", native);
    save(others[i][0], m, scratch(others[i][1]), NULL);
    mtk_model *other = load(others[i][0], scratch(others[i][1]));
    save("mistral", other, scratch("back"), NULL);
    mtk_model *back = load("mistral", scratch("back"));
    mtk_model *again = load("mistral", native);
    check_same_tensors(again, back, false);
    check_same_params(native, scratch("back"));
    mtk_model_destroy(m);
    mtk_model_destroy(other);
    mtk_model_destroy(back);
    mtk_model_destroy(again);
  }
}
END_TEST

/* A folder made elsewhere (the golden's own config, no params.json) gives the same file. */
START_TEST(params_from_config) {
  const char *name = cases[_i], *native = make_native(name);
  json_t *want = load_golden(name), *a = NULL, *b = NULL;
  mtk_model *m = load("mistral", native);
  save("hf", m, scratch("hf"), NULL);
  mtk_model_destroy(m);
  ck_assert_int_eq(
      json_dump_file(json_object_get(want, "config"), join(scratch("hf"), "config.json"), 0), 0);
  ck_assert_int_eq(remove(join(scratch("hf"), "params.json")), 0);
  m = load("hf", scratch("hf"));
  save("mistral", m, scratch("back"), NULL);
  mtk_model_destroy(m);
  a = json_load_file(join(native, "params.json"), 0, NULL);
  ck_assert_ptr_nonnull(a);
  b = json_load_file(join(scratch("back"), "params.json"), 0, NULL);
  json_object_update_missing_new(json_object_get(a, "yarn"), json_pack("{s:b}", "apply_scale", 1));
  if (json_object_get(b, "yarn"))
    json_object_update_missing_new(json_object_get(b, "yarn"),
                                   json_pack("{s:b}", "apply_scale", 1));
  char *text = json_dumps(b, JSON_COMPACT);
  ck_assert_msg(json_equal(a, b), "%s", text);
  free(text);
  json_decref(a);
  json_decref(b);
  json_decref(want);
}
END_TEST

/* ---- with an image encoder ------------------------------------------------------------------ */

/* Text and image rows in halves, and transformers' logits for text. */
START_TEST(vision_to_hf) {
  json_t *want = load_golden("vision");
  size_t n;
  mtk_model *m = load("mistral", make_native("vision"));
  ck_assert_str_eq(mtk_model_arch(m), "mistral3");
  float *here = logits_of(m, want, &n);
  check_logits("vision", "native", here, want);
  save("hf", m, scratch("hf"), NULL);
  check_twin(scratch("hf"), want);
  check_config(scratch("hf"), want);
  mtk_model *hf = load("hf", scratch("hf"));
  float *there = logits_of(hf, want, &n);
  ck_assert_mem_eq(here, there, n * N_VOCAB * sizeof *here);
  mtk_free(here);
  mtk_free(there);
  mtk_model_destroy(m);
  mtk_model_destroy(hf);
  json_decref(want);
}
END_TEST

/* There and back; and once more without the params.json that came along. */
START_TEST(vision_comes_back) {
  const char *native = make_native("vision");
  mtk_model *m = load("mistral", native), *again = load("mistral", native);
  save("hf", m, scratch("hf"), NULL);
  if (_i == 1) ck_assert_int_eq(remove(join(scratch("hf"), "params.json")), 0);
  mtk_model *hf = load("hf", scratch("hf"));
  save("mistral", hf, scratch("back"), NULL);
  mtk_model *back = load("mistral", scratch("back"));
  check_same_tensors(again, back, false);
  json_t *a = json_load_file(join(native, "params.json"), 0, NULL),
         *b = json_load_file(join(scratch("back"), "params.json"), 0, NULL);
  json_t *image = json_object_get(b, "vision_encoder"); /* what absence means may be written out */
  json_object_update_missing_new(
      image, json_pack("{s:f, s:i, s:i, s:i, s:i}", "rope_theta", 10000.0, "num_channels", 3,
                       "image_token_id", 10, "image_break_token_id", 12, "image_end_token_id", 13));
  char *text = json_dumps(b, JSON_COMPACT);
  ck_assert_msg(json_equal(a, b), "%s", text);
  if (_i == 0) check_same_params(native, scratch("back"));
  free(text);
  json_decref(a);
  json_decref(b);
  mtk_model *all[] = {m, again, hf, back};
  for (int i = 0; i < 4; i++) mtk_model_destroy(all[i]);
}
END_TEST

/* A GGUF holds the text part, says so, and computes the same. */
START_TEST(vision_to_gguf) {
  json_t *want = load_golden("vision");
  size_t n;
  mtk_model *m = load("mistral", make_native("vision"));
  save("gguf", m, scratch("m.gguf"), NULL);
  ck_assert(has_warning(m, "24 tensors of the image encoder"));
  mtk_model *gguf = load("gguf", scratch("m.gguf"));
  ck_assert_uint_eq(mtk_model_tensor_count(gguf), 21);
  float *here = logits_of(m, want, &n), *there = logits_of(gguf, want, &n);
  ck_assert_mem_eq(here, there, n * N_VOCAB * sizeof *here);
  mtk_free(here);
  mtk_free(there);
  mtk_model_destroy(m);
  mtk_model_destroy(gguf);
  json_decref(want);
}
END_TEST

/* ---- FP8 ----------------------------------------------------------------------------------- */

static float floats[512];
static uint16_t halves[512];
static uint8_t bytes[4096];

static void add(mtk_model *m, const char *name, mtk_dtype dtype, int64_t rows, int64_t cols,
                const void *data) {
  int dims = rows == 0 ? 0 : cols == 0 ? 1 : 2;
  mtk_tensor t = {
      .name = name, .dtype = dtype, .n_dims = dims, .shape = {rows, cols}, .data = data};
  t.size_bytes = mtk_dtype_get(dtype)->block_bytes;
  for (int i = 0; i < dims; i++) t.size_bytes *= (uint64_t)t.shape[i];
  ck_assert_msg(mtk_model_add_tensor(m, &t, &err) == MTK_OK, "%s", err.message);
}

#define SMALL_PARAMS                                                                               \
  "{\"dim\": 16, \"n_layers\": 1, \"head_dim\": 8, \"hidden_dim\": 16, \"n_heads\": 2,"            \
  " \"n_kv_heads\": 2, \"norm_eps\": 1e-5, \"vocab_size\": 16, \"own\": [1],"                      \
  " \"quantization\": {\"qformat_weight\": \"fp8_e4m3\", \"qscheme_act\": \"TENSOR\"}}"

/* One block whose q has a scale per row, k one scale in bf16 and one for its activations. */
static const char *make_fp8(bool fake) {
  const char *folder = make_folder("fp8");
  mtk_model *m = mtk_model_create();
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 % 0x70 + (i & 1) * 0x80);
  for (size_t i = 0; i < 512; i++) floats[i] = 0.001f * (float)(i + 1);
  for (size_t i = 0; i < 512; i++) halves[i] = (uint16_t)(0x3c00 + i);
  add(m, "tok_embeddings.weight", MTK_F8_E4M3, 16, 16, bytes);
  add(m, "layers.0.attention.wq.weight", MTK_F8_E4M3, 16, 16, bytes);
  add(m, "layers.0.attention.wq.qscale_weight", MTK_BF16, 16, 0, halves);
  add(m, "layers.0.attention.wk.weight", MTK_F8_E4M3, 16, 16, bytes + 256);
  add(m, "layers.0.attention.wk.qscale_weight", MTK_BF16, 0, 0, halves + 3);
  add(m, "layers.0.attention.wk.qscale_act", MTK_BF16, 0, 0, halves + 4);
  add(m, "layers.0.feed_forward.w3.weight", MTK_BF16, 16, 16, halves);
  if (fake) add(m, "layers.0.attention.wk.fake_quantizer_act.scale", MTK_BF16, 0, 0, halves);
  save("hf", m, join(folder, "consolidated.safetensors"), NULL);
  write_bytes(join(folder, "params.json"), SMALL_PARAMS, strlen(SMALL_PARAMS));
  mtk_model_destroy(m);
  return folder;
}

START_TEST(fp8_scales) {
  const char *folder = make_fp8(true);
  mtk_model *m = load("mistral", folder), *back;
  const mtk_tensor *q = mtk_model_tensor(m, "blk.0.attn_q.weight"),
                   *k = mtk_model_tensor(m, "blk.0.attn_k.weight");
  ck_assert(has_warning(m, "1 tensors of fake quantizers"));
  ck_assert_uint_eq(mtk_model_tensor_count(m), 4);
  ck_assert_int_eq(mtk_tensor_scale_count(q), 16);
  ck_assert_int_eq(mtk_tensor_scale_count(k), 1);
  ck_assert_float_eq(q->scales[1], 0x1.02p-7f);
  ck_assert_float_eq(k->input_scale, 0x1.08p-7f);
  float before[16], after[16];
  ck_assert_int_eq(mtk_tensor_fetch_f32(before, q, 1, 1, NULL, &err), MTK_OK);
  ck_assert_int_eq(mtk_model_set_pairing(m, "half", &err), MTK_OK);
  q = mtk_model_tensor(m, "blk.0.attn_q.weight");
  uint8_t tmp[16]; /* row 1 of a head goes to row 4, and its scale with it */
  ck_assert_int_eq(mtk_tensor_fetch_f32(after, q, 4, 1, tmp, &err), MTK_OK);
  ck_assert_mem_eq(before, after, sizeof before);
  save("mistral", m, scratch("back"), NULL);
  back = load("mistral", scratch("back"));
  mtk_model *again = load("mistral", folder);
  check_same_tensors(again, back, false);
  mtk_model *a = load("hf", join(folder, "consolidated.safetensors")),
            *b = load("hf", join(scratch("back"), "consolidated.safetensors"));
  for (size_t i = 0; i < mtk_model_tensor_count(b); i++) { /* types of scales too */
    const mtk_tensor *t = mtk_model_tensor_at(b, i), *s = mtk_model_tensor(a, t->name);
    ck_assert_msg(s && s->dtype == t->dtype && s->n_dims == t->n_dims, "%s", t->name);
  }
  check_same_params(folder, scratch("back"));
  mtk_model *all[] = {m, back, again, a, b};
  for (int i = 0; i < 5; i++) mtk_model_destroy(all[i]);
}
END_TEST

/* A model folder of Hugging Face's keeps the scales, and they come back. */
START_TEST(fp8_through_hf) {
  mtk_model *m = load("mistral", make_fp8(false));
  save("hf", m, scratch("hf"), NULL);
  mtk_model *hf = load("hf", scratch("hf"));
  save("mistral", hf, scratch("back"), NULL);
  mtk_model *back = load("mistral", scratch("back")), *again = load("mistral", scratch("fp8"));
  check_same_tensors(again, back, false);
  mtk_model *all[] = {m, hf, back, again};
  for (int i = 0; i < 4; i++) mtk_model_destroy(all[i]);
}
END_TEST

/* Blocks of 32 have no place: bf16, and said so. */
START_TEST(other_types_are_decoded) {
  const char *folder = make_fp8(false);
  mtk_model *m = load("mistral", folder);
  static uint8_t q8[16 * 34];
  mtk_tensor t = {.name = "blk.0.attn_v.weight",
                  .dtype = MTK_Q8_0,
                  .n_dims = 2,
                  .shape = {8, 64},
                  .data = q8,
                  .size_bytes = sizeof q8};
  ck_assert_int_eq(mtk_model_add_tensor(m, &t, &err), MTK_OK);
  save("mistral", m, scratch("back"), NULL);
  ck_assert(has_warning(m, "1 tensors were written as bf16"));
  mtk_model *back = load("mistral", scratch("back"));
  ck_assert_int_eq(mtk_model_tensor(back, "blk.0.attn_v.weight")->dtype, MTK_BF16);
  mtk_model_destroy(m);
  mtk_model_destroy(back);
}
END_TEST

/* ---- what is not right --------------------------------------------------------------------- */

static void touch(const char *folder, const char *name) { write_bytes(join(folder, name), "", 0); }

START_TEST(wrong_folders) {
  const char *folder = make_native("small");
  touch(folder, "consolidated.00.pth");
  ck_assert_msg(strstr(load_fails("mistral", folder).message, "more than one"), "%s", err.message);
  remove(join(folder, "consolidated.safetensors"));
  touch(folder, "consolidated.01.pth");
  ck_assert_int_eq(load_fails("mistral", folder).code, MTK_E_UNSUPPORTED);
  remove(join(folder, "consolidated.00.pth"));
  remove(join(folder, "consolidated.01.pth"));
  ck_assert_int_eq(load_fails("mistral", folder).code, MTK_E_NOT_FOUND);
  touch(folder, "consolidated-00002-of-00003.safetensors");
  touch(folder, "consolidated-00001-of-00003.safetensors");
  mtk_error e = load_fails("mistral", folder);
  ck_assert_msg(strstr(e.message, "part 1 of 3") || strstr(e.message, "part 3 of 3"), "%s",
                e.message);
  remove(join(folder, "params.json"));
  ck_assert_int_eq(load_fails("mistral", folder).code, MTK_E_NOT_FOUND);
}
END_TEST

static const struct {
  const char *params, *place, *message;
} bad_params[] = {
    {"[1]", "params.json", "no JSON object"},
    {"{\"dim\": 16,", "params.json", "line 1"},
    {"{\"dim\": 16, \"dim\": 17}", "params.json", "line 1"},
    {"{\"n_layers\": 1}", "params.json: dim", "missing"},
    {"{\"dim\": -1}", "params.json: dim", "whole number"},
    {"{\"dim\": 1.5}", "params.json: dim", "whole number"},
    {"{\"dim\": 16, \"n_layers\": 1, \"n_heads\": 2, \"norm_eps\": \"x\"}", "params.json: norm_eps",
     "a number"},
    {"{\"dim\": 16, \"n_layers\": 1, \"n_heads\": 2, \"norm_eps\": 1e-5, \"sliding_window\": "
     "[4, null]}",
     "params.json: sliding_window", "differ by layer"},
    {"{\"dim\": 16, \"n_layers\": 1, \"n_heads\": 2, \"norm_eps\": 1e-5, \"sliding_window\": "
     "\"4x\"}",
     "params.json: sliding_window", "whole number"},
    {"{\"dim\": 16, \"n_layers\": 1, \"n_heads\": 2, \"norm_eps\": 1e-5, \"tied_embeddings\": 1}",
     "params.json: tied_embeddings", "true or false"},
};
enum { N_BAD = sizeof bad_params / sizeof bad_params[0] };

START_TEST(wrong_params) {
  const char *folder = make_native("small"), *text = bad_params[_i].params;
  write_bytes(join(folder, "params.json"), text, strlen(text));
  mtk_error e = load_fails("mistral", folder);
  ck_assert_msg(strstr(e.place, bad_params[_i].place) != NULL, "place: %s", e.place);
  ck_assert_msg(strstr(e.message, bad_params[_i].message) != NULL, "message: %s", e.message);
}
END_TEST

/* Values of other kinds that files of the field have. */
START_TEST(odd_params) {
  static const char text[] = "{\"dim\": 24, \"n_layers\": 2, \"n_heads\": 4, \"n_kv_heads\": 2, "
                             "\"head_dim\": 8, \"norm_eps\": 1e-5, \"sliding_window\": [6, 6], "
                             "\"moe\": null, \"max_seq_len\": 512}";
  const char *folder = make_native("small");
  write_bytes(join(folder, "params.json"), text, sizeof text - 1);
  mtk_model *m = load("mistral", folder);
  uint64_t v;
  static const struct {
    const char *key;
    uint64_t want;
  } wants[] = {{"attention.sliding_window", 6},
               {"context_length", 512},
               {"feed_forward_length", 40},
               {"vocab_size", N_VOCAB}};
  for (size_t i = 0; i < 4; i++) {
    ck_assert_int_eq(mtk_meta_uint(&v, mtk_model_meta(m), wants[i].key, 0, &err), MTK_OK);
    ck_assert_msg(v == wants[i].want, "%s is %llu", wants[i].key, (unsigned long long)v);
  }
  double theta; /* a model with a window, and no base given */
  ck_assert_int_eq(mtk_meta_float(&theta, mtk_model_meta(m), "rope.freq_base", 0, &err), MTK_OK);
  ck_assert(fabs(theta - 10000) < 1e-9);
  mtk_model_destroy(m);
}
END_TEST

/* A rule that params.json has no name for must not vanish. */
START_TEST(scaling_without_name) {
  mtk_model *m = load("mistral", make_native("small"));
  mtk_meta_set_string(mtk_model_meta(m), "rope.scaling.type", "llama3", &err);
  const mtk_format_v1 *f = mtk_format_find("mistral");
  mtk_write_options o = {.struct_size = sizeof o};
  ck_assert_int_eq(f->write_model(m, scratch("back"), &o, &err), MTK_E_UNSUPPORTED);
  ck_assert_msg(strstr(err.message, "'llama3'"), "%s", err.message);
  ck_assert(!mtk_path_exists(scratch("back")));
  mtk_model_destroy(m);
}
END_TEST

START_TEST(out_of_memory) { check_alloc_failures("mistral", make_native("yarn")); }
END_TEST

int main(void) {
  Suite *s = suite_create("mistral");
  TCase *c = tcase_create("mistral");
  tcase_set_timeout(c, 120);
  tcase_add_checked_fixture(c, format_setup, format_teardown);
  tcase_add_loop_test(c, same_logits_everywhere, 0, N_CASES);
  tcase_add_loop_test(c, comes_back, 0, N_CASES);
  tcase_add_loop_test(c, params_from_config, 0, N_CASES);
  tcase_add_test(c, vision_to_hf);
  tcase_add_loop_test(c, vision_comes_back, 0, 2);
  tcase_add_test(c, vision_to_gguf);
  tcase_add_test(c, fp8_scales);
  tcase_add_test(c, fp8_through_hf);
  tcase_add_test(c, other_types_are_decoded);
  tcase_add_test(c, wrong_folders);
  tcase_add_loop_test(c, wrong_params, 0, N_BAD);
  tcase_add_test(c, odd_params);
  tcase_add_test(c, scaling_without_name);
  tcase_add_test(c, out_of_memory);
  suite_add_tcase(s, c);
  return run_suite(s);
}
