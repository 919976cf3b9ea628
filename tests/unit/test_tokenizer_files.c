/* test_tokenizer_files.c: SentencePiece models, tekken.json and tiktoken ranks: ids and texts
 * against the sentencepiece package, one representation into another, hostile files, failing
 * allocations. */
#include <mtk/text.h>

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "run_suite.h"
#include "text/charsmap.h"
#include "text_util.h"

static mtk_tokenizer *create(const mtk_vocab *vocab) {
  mtk_tokenizer *tok;
  mtk_error err;
  ck_assert_msg(mtk_tokenizer_create(&tok, vocab, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  return tok;
}

static mtk_ids encode(const mtk_tokenizer *tok, const char *text, size_t n) {
  mtk_ids ids = {0};
  mtk_error err;
  ck_assert_msg(mtk_tokenizer_encode(&ids, tok, text, n, 0, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  return ids;
}

/* tests/golden/text/NAME.model */
static mtk_file *open_spm(const char *name) {
  char path[512];
  mtk_file *file;
  mtk_error err;
  snprintf(path, sizeof path, "%s/tests/golden/text/%s.model", MTK_SOURCE_DIR, name);
  ck_assert_msg(mtk_file_open(&file, path, &err) == MTK_OK, "%s", err.message);
  return file;
}

static mtk_vocab *read_spm(const char *name) {
  mtk_vocab *vocab;
  mtk_error err;
  mtk_file *file = open_spm(name);
  ck_assert_msg(mtk_vocab_from_spm(&vocab, file->data, file->size, &err) == MTK_OK, "%s",
                err.message);
  mtk_file_close(file);
  return vocab;
}

/* ---- SentencePiece's own ids ----------------------------------------------------------------- */

static void check_row(const json_t *texts, const json_t *row) {
  const char *name = json_string_value(json_object_get(row, "model"));
  mtk_vocab *vocab = read_spm(name);
  mtk_tokenizer *tok = create(vocab);
  for (size_t i = 0; i < json_array_size(texts); i++) {
    const json_t *text = json_array_get(texts, i);
    mtk_ids ids = encode(tok, json_string_value(text), json_string_length(text));
    ck_assert_msg(text_same_ids(&ids, json_array_get(json_object_get(row, "ids"), i)), "%s: %s",
                  name, json_string_value(text));
    mtk_ids_finish(&ids);
  }
  mtk_tokenizer_destroy(tok);
  mtk_vocab_destroy(vocab);
}

START_TEST(spm_ids) {
  size_t n;
  char *golden = text_read_golden("spm.jsonl", &n);
  const char *at = golden;
  json_t *texts = text_next_line(&at), *row;
  size_t rows = 0;
  for (; (row = text_next_line(&at)); rows++) {
    check_row(texts, row);
    json_decref(row);
  }
  ck_assert_uint_eq(rows, 3);
  json_decref(texts);
  mtk_free(golden);
}
END_TEST

/* A model written from the fields alone is read as the same vocabulary. */
START_TEST(spm_written) {
  static const char *const names[] = {"spm_bpe", "spm_unigram", "spm_suffix"};
  static const char text[] = "  A ①① <user>tokens\n\nof e\xCC\x81 models  \xE2\x96\x81";
  for (size_t i = 0; i < 3; i++) {
    mtk_vocab *vocab = read_spm(names[i]), *again;
    mtk_bytes out = {0};
    mtk_error err;
    vocab->spm_model = NULL;
    ck_assert_int_eq(mtk_vocab_to_spm(&out, vocab, &err), MTK_OK);
    ck_assert_int_eq(mtk_vocab_from_spm(&again, out.data, out.len, &err), MTK_OK);
    ck_assert_int_eq(again->kind, vocab->kind);
    ck_assert_int_eq(again->bos, vocab->bos);
    mtk_tokenizer *one = create(vocab), *two = create(again);
    mtk_ids a = encode(one, text, strlen(text)), b = encode(two, text, strlen(text));
    ck_assert_uint_eq(a.len, b.len);
    ck_assert_mem_eq(a.data, b.data, a.len * sizeof *a.data);
    mtk_ids_finish(&a);
    mtk_ids_finish(&b);
    mtk_tokenizer_destroy(one);
    mtk_tokenizer_destroy(two);
    mtk_vocab_destroy(vocab);
    mtk_vocab_destroy(again);
    mtk_bytes_finish(&out);
  }
}
END_TEST

/* Any prefix of a model is refused or read, never worse. */
START_TEST(spm_cut) {
  mtk_file *model = open_spm("spm_unigram");
  for (size_t len = 0; len < model->size; len += 7) {
    mtk_vocab *vocab = NULL;
    mtk_error err;
    if (mtk_vocab_from_spm(&vocab, model->data, len, &err) == MTK_OK)
      mtk_vocab_destroy(vocab);
    else
      ck_assert_int_eq(err.code, MTK_E_FORMAT);
  }
  mtk_file_close(model);
}
END_TEST

/* ---- ranks ----------------------------------------------------------------------------------- */

/* The 256 bytes, then "ab", "abc", "bcd". */
static void put_ranks(mtk_bytes *out, bool json) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static const char *const more[] = {"YWI=", "YWJj", "YmNk"};
  for (unsigned i = 0; i < 256 + 3; i++) {
    const char byte[] = {digits[i >> 2 & 63], digits[(i & 3) << 4], '=', '=', 0};
    const char *base64 = i < 256 ? byte : more[i - 256];
    if (json)
      mtk_bytes_printf(out, "%s{\"rank\":%u,\"token_bytes\":\"%s\"}", i ? "," : "", i, base64);
    else
      mtk_bytes_printf(out, "%s %u\n", base64, i);
  }
}

static mtk_vocab *read_tekken(const char *config) {
  mtk_bytes json = {0};
  mtk_vocab *vocab;
  mtk_error err;
  mtk_bytes_printf(&json, "{\"config\":{\"pattern\":\"[a-z]+|.\",%s},\"vocab\":[", config);
  put_ranks(&json, true);
  mtk_bytes_puts(&json, "]}");
  ck_assert_msg(mtk_vocab_from_tekken(&vocab, json.data, json.len, &err) == MTK_OK, "%s",
                err.message);
  mtk_bytes_finish(&json);
  return vocab;
}
#define TEKKEN "\"default_vocab_size\":281,\"default_num_special_tokens\":22,\"version\":\"v3\""

static void check_ids(const mtk_vocab *vocab, const char *text, const int32_t *want, size_t n) {
  mtk_tokenizer *tok = create(vocab);
  mtk_ids ids = encode(tok, text, strlen(text));
  ck_assert_uint_eq(ids.len, n);
  ck_assert_mem_eq(ids.data, want, n * sizeof *want);
  mtk_ids_finish(&ids);
  mtk_tokenizer_destroy(tok);
}

/* "abc" is a token: found whole, and merged as a+b, ab+c. "abcd" merges ab first, so bcd never
 * comes to be; alone it is found whole although no merge makes it. */
START_TEST(rank_merges) {
  mtk_vocab *vocab = read_tekken(TEKKEN);
  const int32_t whole[] = {279}, merged[] = {279, 22 + 'd'}, only_whole[] = {280};
  const int32_t control[] = {22 + '<', 22 + 's', 22 + '>'};
  check_ids(vocab, "abc", whole, 1);
  check_ids(vocab, "abcd", merged, 2);
  check_ids(vocab, "bcd", only_whole, 1);
  check_ids(vocab, "<s>", control, 3); /* never a control token out of plain text */
  ck_assert_int_eq(vocab->bos, 1);
  ck_assert_int_eq(vocab->mistral_version, 3);
  ck_assert_str_eq(vocab->tokens[3].text, "[INST]");
  ck_assert_str_eq(vocab->tokens[21].text, "<SPECIAL_21>");
  mtk_vocab_destroy(vocab);
}
END_TEST

/* Ranks -> tokenizer.json with merges -> tekken.json: the same ids. */
START_TEST(rank_round_trip) {
  mtk_vocab *vocab = read_tekken(TEKKEN), *hf = NULL, *back = NULL;
  mtk_bytes json = {0}, config = {0}, tekken = {0};
  mtk_error err;
  const int32_t merged[] = {279, 22 + 'd', 22 + ' ', 280};
  ck_assert_int_eq(mtk_vocab_to_hf(&json, &config, vocab, &err), MTK_OK);
  ck_assert_int_eq(mtk_vocab_from_hf(&hf, json.data, json.len, config.data, config.len, &err),
                   MTK_OK);
  ck_assert_int_eq(hf->kind, MTK_VOCAB_BPE);
  check_ids(hf, "abcd bcd", merged, 4);
  ck_assert_msg(mtk_vocab_to_tekken(&tekken, hf, &err) == MTK_OK, "%s", err.message);
  ck_assert_int_eq(mtk_vocab_from_tekken(&back, tekken.data, tekken.len, &err), MTK_OK);
  check_ids(back, "abcd bcd", merged, 4);
  mtk_bytes_finish(&json);
  mtk_bytes_finish(&config);
  mtk_bytes_finish(&tekken);
  mtk_vocab_destroy(vocab);
  mtk_vocab_destroy(hf);
  mtk_vocab_destroy(back);
}
END_TEST

START_TEST(tekken_refusals) {
  static const struct {
    const char *config;
    mtk_status code;
  } rows[] = {
      {"\"default_vocab_size\":2000000000,\"default_num_special_tokens\":0,\"version\":\"v3\"",
       MTK_E_LIMIT},
      {"\"default_vocab_size\":10,\"default_num_special_tokens\":20,\"version\":\"v3\"",
       MTK_E_FORMAT},
      {"\"default_vocab_size\":281,\"default_num_special_tokens\":22,\"version\":\"x\"",
       MTK_E_UNSUPPORTED},
      {"\"default_vocab_size\":22,\"default_num_special_tokens\":22,\"version\":\"v13\"",
       MTK_E_FORMAT}, /* newer files must list their special tokens */
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    mtk_bytes json = {0};
    mtk_vocab *vocab = NULL;
    mtk_error err;
    mtk_bytes_printf(&json, "{\"config\":{\"pattern\":\".\",%s},\"vocab\":[]}", rows[i].config);
    ck_assert_int_eq(mtk_vocab_from_tekken(&vocab, json.data, json.len, &err), rows[i].code);
    mtk_bytes_finish(&json);
  }
}
END_TEST

START_TEST(tiktoken_files) {
  mtk_bytes text = {0}, again = {0};
  mtk_vocab *vocab = NULL;
  mtk_error err;
  const int32_t merged[] = {257, 'd'};
  put_ranks(&text, false);
  ck_assert_int_eq(mtk_vocab_from_tiktoken(&vocab, text.data, text.len, NULL, &err),
                   MTK_E_UNSUPPORTED); /* no encoding has 259 ranks */
  ck_assert_int_eq(mtk_vocab_from_tiktoken(&vocab, text.data, text.len, "o200k_harmony", &err),
                   MTK_OK);
  ck_assert_uint_eq(vocab->n_tokens, 201088);
  ck_assert_str_eq(vocab->tokens[200012].text, "<|call|>");
  ck_assert_str_eq(vocab->tokens[201087].text, "<|reserved_201087|>");
  check_ids(vocab, "abcd", merged, 2);
  ck_assert_int_eq(mtk_vocab_to_tiktoken(&again, vocab, &err), MTK_OK);
  ck_assert_uint_eq(again.len, text.len);
  ck_assert_mem_eq(again.data, text.data, text.len);
  mtk_vocab_destroy(vocab);
  static const char *const broken[] = {"", "IQ== x\n", "IQ==\n", "!!!! 1\n", "IQ== 99999999\n"};
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    ck_assert_int_eq(
        mtk_vocab_from_tiktoken(&vocab, broken[i], strlen(broken[i]), "r50k_base", &err),
        MTK_E_FORMAT);
  }
  mtk_bytes_finish(&text);
  mtk_bytes_finish(&again);
}
END_TEST

/* ---- charsmap -------------------------------------------------------------------------------- */

static mtk_status count_rewrite(void *ctx, size_t begin, size_t end, const char *to, size_t n,
                                mtk_error *err) {
  (void)to;
  (void)n;
  (void)err;
  ck_assert_uint_lt(begin, end);
  ++*(size_t *)ctx;
  return MTK_OK;
}

/* Tries whose every word is a random number: nothing is read out of bounds. */
START_TEST(charsmap_hostile) {
  char blob[4 + 4 * 64 + 8];
  static const char text[] = "any text, e\xCC\x81 \xF0\x9F\x98\x80 \r\n \xFF";
  for (uint64_t seed = 0; seed < 500; seed++) {
    for (size_t i = 0; i < sizeof blob; i++) {
      blob[i] = (char)(256 * mtk_uniform(seed, 1, i));
    }
    memcpy(blob, "\x00\x01\x00\x00", 4); /* 256 bytes of trie */
    for (int mode = 0; mode < 2; mode++) {
      text_charsmap *map;
      mtk_error err;
      size_t count = 0;
      ck_assert_int_eq(mtk_text_charsmap_create(&map, blob, sizeof blob, NULL, 0, &err), MTK_OK);
      ck_assert_int_eq(mtk_text_charsmap_apply(map, (text_charsmap_mode)mode, text, sizeof text,
                                               count_rewrite, &count, &err),
                       MTK_OK);
      mtk_text_charsmap_destroy(map);
    }
  }
  text_charsmap *map;
  mtk_error err;
  ck_assert_int_eq(mtk_text_charsmap_create(&map,
                                            "\x08\x00\x00\x00"
                                            "1234",
                                            8, NULL, 0, &err),
                   MTK_E_FORMAT);
}
END_TEST

/* ---- failing allocations --------------------------------------------------------------------- */

START_TEST(no_memory) {
  mtk_file *model = open_spm("spm_unigram");
  bool done = false;
  for (int64_t i = 0; !done; i++) {
    mtk_vocab *vocab = NULL;
    mtk_tokenizer *tok = NULL;
    mtk_ids ids = {0};
    mtk_error err;
    mtk_alloc_fail_after(i);
    mtk_status status = mtk_vocab_from_spm(&vocab, model->data, model->size, &err);
    if (status == MTK_OK) status = mtk_tokenizer_create(&tok, vocab, &err);
    if (status == MTK_OK) status = mtk_tokenizer_encode(&ids, tok, "a model", 7, 0, &err);
    mtk_alloc_fail_after(-1);
    done = status == MTK_OK;
    if (!done) ck_assert_int_eq(status, MTK_E_NOMEM);
    mtk_ids_finish(&ids);
    mtk_tokenizer_destroy(tok);
    mtk_vocab_destroy(vocab);
  }
  mtk_file_close(model);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer files");
  TCase *tests = tcase_create("all");
  tcase_set_timeout(tests, 0);
  tcase_add_test(tests, spm_ids);
  tcase_add_test(tests, spm_written);
  tcase_add_test(tests, spm_cut);
  tcase_add_test(tests, rank_merges);
  tcase_add_test(tests, rank_round_trip);
  tcase_add_test(tests, tekken_refusals);
  tcase_add_test(tests, tiktoken_files);
  tcase_add_test(tests, charsmap_hostile);
  tcase_add_test(tests, no_memory);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
