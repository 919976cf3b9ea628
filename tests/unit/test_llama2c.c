/* test_llama2c.c: the llama2.c plugin. Checkpoints of all versions built here by the rules of
 * export.py, tokenizer files, and (with MTK_TEST_DATA) stories260K against its twin for Hugging
 * Face. */
#include "format_util.h"
#include "run_suite.h"

#include <mtk/engine.h>

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 8, HIDDEN = 12, LAYERS = 2, HEADS = 2, KV = 1, VOCAB = 6, CONTEXT = 5, GROUP = 4 };

static mtk_error err;

/* ---- a checkpoint, byte by byte ------------------------------------------------------------- */

static mtk_bytes file;
static uint32_t at; /* numbers written so far: each value is its own index */

static void put(const void *data, size_t n) { mtk_bytes_append(&file, data, n); }
static void put_i32(int32_t v) { put(&v, 4); }

static void put_floats(int n) {
  for (int i = 0; i < n; i++) {
    float v = 0.25f * (float)at++;
    put(&v, 4);
  }
}

/* Version 2: bytes, then a scale for each group. */
static void put_groups(int n) {
  for (int i = 0; i < n; i++) {
    int8_t v = (int8_t)(at++ % 255 - 127);
    put(&v, 1);
  }
  for (int i = 0; i < n / GROUP; i++) {
    float scale = 0.5f + (float)i;
    put(&scale, 4);
  }
}

/* rows x cols of each layer (or of one matrix). */
static void put_matrices(int version, int count, int n) {
  for (int i = 0; i < count; i++) version == 2 ? put_groups(n) : put_floats(n);
}

static void put_header(int version, bool shared) {
  const int32_t sizes[] = {DIM, HIDDEN, LAYERS, HEADS, KV, VOCAB, CONTEXT};
  if (version > 0) {
    put_i32(0x616b3432);
    put_i32(version);
  }
  for (int i = 0; i < 7; i++) put_i32(i == 5 && version == 0 && !shared ? -VOCAB : sizes[i]);
  if (version == 0) return;
  char flag = shared;
  put(&flag, 1);
  if (version == 2) put_i32(GROUP);
  while (file.len < 256) put("", 1);
}

static void build(int version, bool shared) {
  const int kv = DIM / HEADS * KV;
  mtk_bytes_clear(&file);
  at = 0;
  put_header(version, shared);
  if (version > 0) put_floats(2 * LAYERS * DIM + DIM);
  put_matrices(version, 1, VOCAB * DIM);
  if (version == 0) put_floats(LAYERS * DIM);
  put_matrices(version, LAYERS, DIM * DIM);
  put_matrices(version, 2 * LAYERS, kv * DIM);
  put_matrices(version, LAYERS, DIM * DIM);
  if (version == 0) put_floats(LAYERS * DIM);
  put_matrices(version, 3 * LAYERS, HIDDEN * DIM);
  if (version == 0) put_floats(DIM + CONTEXT * DIM / HEADS);
  if (!shared) put_matrices(version, 1, VOCAB * DIM);
}

static mtk_model *load_built(int version, bool shared) {
  build(version, shared);
  write_bytes(scratch("m.bin"), file.data, file.len);
  return load("llama2c", scratch("m.bin"));
}

static float value(const mtk_model *m, const char *name, int64_t row, int64_t col) {
  float rows[64];
  const mtk_tensor *t = mtk_model_tensor(m, name);
  uint8_t tmp[256];
  ck_assert_msg(t != NULL, "%s", name);
  ck_assert_int_eq(mtk_tensor_fetch_f32(rows, t, row, 1, tmp, &err), MTK_OK);
  return rows[col];
}

START_TEST(version_0) {
  for (int shared = 0; shared < 2; shared++) {
    mtk_model *m = load_built(0, shared);
    int n = VOCAB * DIM + LAYERS * DIM; /* before wq */
    ck_assert_uint_eq(mtk_model_tensor_count(m), 9 * LAYERS + 2 + !shared);
    ck_assert_float_eq(value(m, "token_embd.weight", 1, 2), 0.25f * (DIM + 2));
    ck_assert_float_eq(value(m, "blk.1.attn_q.weight", 0, 3), 0.25f * (float)(n + DIM * DIM + 3));
    ck_assert_str_eq(mtk_meta_str(mtk_model_meta(m), "rope.pairing", ""), "interleaved");
    mtk_model_destroy(m);
  }
}
END_TEST

START_TEST(version_1) {
  mtk_model *m = load_built(1, false);
  int norms = 2 * LAYERS * DIM + DIM;
  ck_assert_float_eq(value(m, "blk.1.ffn_norm.weight", 0, 1),
                     0.25f * (LAYERS * DIM + DIM + 1));
  ck_assert_float_eq(value(m, "output_norm.weight", 0, 0), 0.25f * (2 * LAYERS * DIM));
  ck_assert_float_eq(value(m, "token_embd.weight", 0, 0), 0.25f * (float)norms);
  ck_assert_ptr_nonnull(mtk_model_tensor(m, "output.weight"));
  mtk_model_destroy(m);
}
END_TEST

START_TEST(version_2) {
  mtk_model *m = load_built(2, true);
  int norms = 2 * LAYERS * DIM + DIM, i = norms + 3 * DIM + 5; /* row 3, column 5: group 7 */
  ck_assert_float_eq(value(m, "token_embd.weight", 3, 5), (float)(i % 255 - 127) * 7.5f);
  i = norms + VOCAB * DIM + DIM * DIM + 9; /* second layer's wq, row 1, column 1: group 2 */
  ck_assert_float_eq(value(m, "blk.1.attn_q.weight", 1, 1), (float)(i % 255 - 127) * 2.5f);
  ck_assert_ptr_null(mtk_model_tensor(m, "output.weight"));
  mtk_model_destroy(m);
}
END_TEST

/* Written again: the same bytes but for the tables of cos and sin, which are computed. */
START_TEST(written_again) {
  for (int shared = 0; shared < 2; shared++) {
    mtk_model *m = load_built(0, shared);
    save("llama2c", m, scratch("again.bin"), NULL);
    mtk_model_destroy(m);
    size_t n, table = CONTEXT * DIM / HEADS * 4, tail = shared ? 0 : VOCAB * DIM * 4;
    uint8_t *bytes = read_bytes(scratch("again.bin"), &n);
    ck_assert_uint_eq(n, file.len);
    ck_assert_mem_eq(bytes, file.data, n - table - tail);
    ck_assert_mem_eq(bytes + n - tail, file.data + n - tail, tail);
    float cosines[CONTEXT * 2], sines[CONTEXT * 2];
    memcpy(cosines, bytes + n - tail - table, sizeof cosines);
    memcpy(sines, bytes + n - tail - table / 2, sizeof sines);
    for (int pos = 0; pos < CONTEXT; pos++)
      for (int j = 0; j < 2; j++) {
        double angle = pos * pow(10000, -j / 2.0);
        ck_assert(fabs((double)cosines[2 * pos + j] - cos(angle)) < 1e-7);
        ck_assert(fabs((double)sines[2 * pos + j] - sin(angle)) < 1e-7);
      }
    mtk_free(bytes);
  }
}
END_TEST

/* f32 of version 2 through version 0. */
START_TEST(groups_become_f32) {
  mtk_model *m = load_built(2, true);
  save("llama2c", m, scratch("v0.bin"), NULL);
  mtk_model *again = load("llama2c", scratch("v0.bin"));
  for (size_t i = 0; i < mtk_model_tensor_count(m); i++) {
    const mtk_tensor *a = mtk_model_tensor_at(m, i), *b = mtk_model_tensor(again, a->name);
    uint8_t *x = tensor_bytes(a), *y = tensor_bytes(b);
    ck_assert_mem_eq(x, y, a->size_bytes);
    mtk_free(x);
    mtk_free(y);
  }
  mtk_model_destroy(m);
  mtk_model_destroy(again);
}
END_TEST

/* ---- what does not fit ---------------------------------------------------------------------- */

static void refused(const char *key, double v, const char *text) {
  mtk_model *m = load_built(0, true);
  if (text) mtk_meta_set_string(mtk_model_meta(m), key, text, &err);
  else if (v > 1 && v < 10000) mtk_meta_set_uint(mtk_model_meta(m), key, (uint64_t)v, &err);
  else mtk_meta_set_float(mtk_model_meta(m), key, v, &err);
  mtk_write_options o = {.struct_size = sizeof o};
  ck_assert_msg(mtk_format_find("llama2c")->write_model(m, scratch("no.bin"), &o, &err) ==
                    MTK_E_UNSUPPORTED, "%s", key);
  ck_assert_str_eq(err.place, key);
  ck_assert(!mtk_path_exists(scratch("no.bin")));
  mtk_model_destroy(m);
}

START_TEST(other_rules_are_refused) {
  refused("rope.freq_base", 500000, NULL);
  refused("attention.layer_norm_rms_epsilon", 1e-6, NULL);
  refused("rope.scaling.type", 0, "yarn");
  refused("attention.key_length", 8, NULL);
  refused("attention.sliding_window", 3, NULL);
}
END_TEST

START_TEST(hostile) {
  for (int version = 0; version < 3; version++) {
    build(version, false);
    write_bytes(scratch("m.bin"), file.data, file.len);
    check_cut_and_spoiled("llama2c", scratch("m.bin"), ".bin");
  }
}
END_TEST

START_TEST(out_of_memory) {
  build(2, true);
  write_bytes(scratch("m.bin"), file.data, file.len);
  check_alloc_failures("llama2c", scratch("m.bin"));
}
END_TEST

/* ---- tokenizers ----------------------------------------------------------------------------- */

static void put_token(float score, const char *text) {
  put(&score, 4);
  put_i32((int32_t)strlen(text));
  put(text, strlen(text));
}

/* <unk>, controls, 256 bytes, then a few pieces. */
static void build_tokenizer(void) {
  static const char *const pieces[] = {" a", "b", " ab", "a", " "};
  static const float scores[] = {-1, -3, -2, -4, -5};
  mtk_bytes_clear(&file);
  put_i32(6);
  put_token(0, "<unk>");
  put_token(0, "\n<s>\n");
  put_token(0, "\n</s>");
  for (int i = 0; i < 256; i++) {
    char text[8];
    snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
    put_token(0, text);
  }
  for (int i = 0; i < 5; i++) put_token(scores[i], pieces[i]);
}

START_TEST(tokenizer_alone) {
  build_tokenizer();
  write_bytes(scratch("tok.bin"), file.data, file.len);
  mtk_model *m = load("llama2c", scratch("tok.bin"));
  const mtk_vocab *v = mtk_model_vocab(m);
  ck_assert_uint_eq(v->n_tokens, 264);
  ck_assert_str_eq(v->tokens[1].text, "<s>");
  ck_assert_str_eq(v->tokens[261].text, "\xE2\x96\x81" "ab");
  mtk_tokenizer *tok;
  ck_assert_msg(mtk_tokenizer_create(&tok, v, &err) == MTK_OK, "%s", err.message);
  static const int32_t want[] = {1, 261, 3 + 'c'}; /* " ab", and a byte */
  mtk_ids ids = {0};
  ck_assert_int_eq(mtk_tokenizer_encode(&ids, tok, "abc", 3, MTK_ENCODE_BOS, &err), MTK_OK);
  ck_assert_uint_eq(ids.len, 3);
  ck_assert_mem_eq(ids.data, want, sizeof want);
  mtk_ids_finish(&ids);
  mtk_tokenizer_destroy(tok);
  mtk_model_destroy(m);
}
END_TEST

/* ---- stories260K ---------------------------------------------------------------------------- */

static bool data_path(char *out, size_t n, const char *name) {
  const char *data = getenv("MTK_TEST_DATA");
  if (!data) printf("SKIP %s: MTK_TEST_DATA is not set\n", name);
  else snprintf(out, n, "%s/models/%s", data, name);
  return data != NULL;
}

static float *logits_of(const mtk_model *m, const int32_t *ids, int32_t n) {
  mtk_engine_options o = {.struct_size = sizeof o, .max_seqs = 1, .arith = -1, .isa = -1};
  mtk_engine *e;
  ck_assert_msg(mtk_engine_create(&e, m, &o, &err) == MTK_OK, "%s: %s", err.place, err.message);
  mtk_batch_item it = {0, 0, ids, n, MTK_LOGITS_ALL};
  const float *rows;
  int64_t n_rows;
  size_t size = (size_t)n * (size_t)mtk_engine_vocab(e);
  ck_assert_int_eq(mtk_engine_seq_open(&it.seq, e, &err), MTK_OK);
  ck_assert_int_eq(mtk_engine_forward(&rows, &n_rows, e, &it, 1, &err), MTK_OK);
  float *out = mtk_alloc(size, sizeof *out);
  memcpy(out, rows, size * sizeof *out);
  mtk_engine_destroy(e);
  return out;
}

static int32_t argmax(const float *row, int n) {
  int32_t best = 0;
  for (int32_t i = 1; i < n; i++)
    if (row[i] > row[best]) best = i;
  return best;
}

/* The same bits as the twin, and each greedy id of the reference follows from those before it. */
START_TEST(stories) {
  char bin[300], hf[300], greedy[300];
  if (!data_path(bin, sizeof bin, "stories260K.bin") ||
      !data_path(hf, sizeof hf, "stories260K-hf") ||
      !data_path(greedy, sizeof greedy, "stories260K.greedy.json"))
    return;
  json_t *want = json_load_file(greedy, 0, NULL);
  const json_t *list = json_object_get(want, "token_ids");
  int32_t ids[256], n = (int32_t)json_array_size(list);
  for (int32_t i = 0; i < n; i++)
    ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
  mtk_model *a = load("llama2c", bin), *b = load("hf", hf);
  ck_assert_ptr_nonnull(mtk_model_vocab(a)); /* tok512.bin beside it */
  float *x = logits_of(a, ids, n), *y = logits_of(b, ids, n);
  ck_assert_mem_eq(x, y, (size_t)n * 512 * sizeof *x);
  for (int32_t i = 0; i + 1 < n; i++) ck_assert_int_eq(argmax(x + i * 512, 512), ids[i + 1]);
  mtk_tokenizer *tok;
  mtk_bytes text = {0};
  const char *told = json_string_value(json_object_get(want, "text"));
  ck_assert_int_eq(mtk_tokenizer_create(&tok, mtk_model_vocab(a), &err), MTK_OK);
  ck_assert_int_eq(mtk_tokenizer_decode(&text, tok, ids, (size_t)n, false, &err), MTK_OK);
  const char *got = text.data + (text.data[0] == ' ' && told && told[0] != ' ');
  ck_assert_msg(told && strncmp(got, told, strlen(told)) == 0, "%s", text.data);
  mtk_bytes_finish(&text);
  mtk_tokenizer_destroy(tok);
  mtk_free(x);
  mtk_free(y);
  mtk_model_destroy(a);
  mtk_model_destroy(b);
  json_decref(want);
}
END_TEST

/* Ids of a text with a file's tokenizer. */
static void encode(mtk_ids *ids, const mtk_model *m) {
  static const char text[] = "Once upon a time, Lily\n  met 3 caf\xC3\xA9 owners. \xE2\x9C\xA8";
  mtk_tokenizer *tok;
  ck_assert_msg(mtk_model_vocab(m) != NULL, "no tokenizer");
  ck_assert_int_eq(mtk_tokenizer_create(&tok, mtk_model_vocab(m), &err), MTK_OK);
  ck_assert_int_eq(mtk_tokenizer_encode(ids, tok, text, sizeof text - 1, MTK_ENCODE_BOS, &err),
                   MTK_OK);
  mtk_tokenizer_destroy(tok);
}

/* .bin -> others -> .bin: weights byte by byte, the same ids; through GGUF alone, which keeps the
 * scores, the same tokenizer file too. */
START_TEST(stories_around) {
  char bin[300], tok[300];
  if (!data_path(bin, sizeof bin, "stories260K.bin") || !data_path(tok, sizeof tok, "tok512.bin"))
    return;
  static const char *const ways[][2] = {{"hf", "hf"}, {"gguf", "m.gguf"}, {"llama2c", "back.bin"}};
  mtk_model *m = load("llama2c", bin), *first = load("llama2c", bin);
  for (int i = _i; i < 3; i++) {
    save(ways[i][0], m, scratch(ways[i][1]), NULL);
    mtk_model_destroy(m);
    m = load(ways[i][0], scratch(ways[i][1]));
  }
  check_same_tensors(first, m, false);
  mtk_ids want = {0}, got = {0};
  encode(&want, first);
  encode(&got, m);
  ck_assert_uint_eq(want.len, got.len);
  ck_assert_mem_eq(want.data, got.data, want.len * sizeof *want.data);
  if (_i == 1) ck_assert(same_files(tok, scratch("tokenizer.bin")));
  mtk_ids_finish(&want);
  mtk_ids_finish(&got);
  mtk_model_destroy(first);
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  Suite *s = suite_create("llama2c");
  TCase *c = tcase_create("llama2c");
  tcase_set_timeout(c, 120);
  tcase_add_checked_fixture(c, format_setup, format_teardown);
  tcase_add_test(c, version_0);
  tcase_add_test(c, version_1);
  tcase_add_test(c, version_2);
  tcase_add_test(c, written_again);
  tcase_add_test(c, groups_become_f32);
  tcase_add_test(c, other_rules_are_refused);
  tcase_add_test(c, hostile);
  tcase_add_test(c, out_of_memory);
  tcase_add_test(c, tokenizer_alone);
  tcase_add_test(c, stories);
  tcase_add_loop_test(c, stories_around, 0, 2);
  suite_add_tcase(s, c);
  return run_suite(s);
}
