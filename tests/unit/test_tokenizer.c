/* test_tokenizer.c: vocabularies, byte-level BPE against the ids of the `tokenizers` library,
 * special tokens, incremental UTF-8, hostile and malformed input, failing allocations. */
#include <mtk/text.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"
#include "text_util.h"

static const char *const kinds[] = {"gpt2", "smollm", "llama3", "qwen2", "tekken", "added"};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static char *read_kind(const char *kind, size_t *n) {
  char name[64];
  snprintf(name, sizeof name, "%s.tokenizer.json", kind);
  return text_read_golden(name, n);
}

static mtk_vocab *read_vocab(const char *kind) {
  size_t n;
  mtk_vocab *vocab;
  mtk_error err;
  char *json = read_kind(kind, &n);
  ck_assert_int_eq(mtk_vocab_from_hf(&vocab, json, n, NULL, 0, &err), MTK_OK);
  mtk_free(json);
  return vocab;
}

static mtk_tokenizer *create(const mtk_vocab *vocab) {
  mtk_tokenizer *tok;
  mtk_error err;
  ck_assert_msg(mtk_tokenizer_create(&tok, vocab, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  return tok;
}

static mtk_tokenizer *read_tokenizer(const char *kind) {
  mtk_vocab *vocab = read_vocab(kind);
  mtk_tokenizer *tok = create(vocab);
  mtk_vocab_destroy(vocab);
  return tok;
}

static mtk_ids encode(const mtk_tokenizer *tok, const char *text, size_t n, unsigned flags) {
  mtk_ids ids = {0};
  mtk_error err;
  ck_assert_msg(mtk_tokenizer_encode(&ids, tok, text, n, flags, &err) == MTK_OK, "%s: %s",
                err.place, err.message);
  return ids;
}

/* The raw bytes of the tokens, joined, are the text; so is what decoding gives if it is UTF-8. */
static void assert_decodes_to(const mtk_tokenizer *tok, const mtk_ids *ids, const char *text,
                              size_t n) {
  mtk_bytes out = {0};
  mtk_error err;
  bool incomplete;
  for (size_t i = 0; i < ids->len; i++) {
    size_t len;
    const char *piece = mtk_tokenizer_piece(tok, ids->data[i], true, &len);
    if (!piece) ck_abort_msg("id %d has no bytes", (int)ids->data[i]);
    mtk_bytes_append(&out, piece, len);
  }
  ck_assert_uint_eq(out.len, n);
  ck_assert(n == 0 || memcmp(out.data, text, n) == 0);
  mtk_bytes_clear(&out);
  ck_assert_int_eq(mtk_tokenizer_decode(&out, tok, ids->data, ids->len, true, &err), MTK_OK);
  ck_assert_uint_eq(mtk_utf8_prefix(out.data ? out.data : "", out.len, &incomplete), out.len);
  if (mtk_utf8_prefix(text, n, &incomplete) == n) {
    ck_assert_uint_eq(out.len, n);
    ck_assert(n == 0 || memcmp(out.data, text, n) == 0);
  }
  mtk_bytes_finish(&out);
}

static void assert_row(const mtk_tokenizer *tok, const char *kind, const json_t *row) {
  const json_t *text = json_object_get(row, "text"), *plain, *special;
  const char *s = json_string_value(text);
  size_t n = json_string_length(text);
  plain = json_object_get(json_object_get(row, "plain"), kind);
  special = json_object_get(json_object_get(row, "special"), kind);
  mtk_ids ids = encode(tok, s, n, 0);
  ck_assert_msg(text_same_ids(&ids, plain), "%s, plain: %s", kind, s);
  bool keeps_text = strcmp(kind, "added") != 0 && strcmp(kind, "qwen2") != 0; /* no NFC, no strip */
  if (keeps_text) assert_decodes_to(tok, &ids, s, n);
  mtk_ids_finish(&ids);
  ids = encode(tok, s, n, MTK_ENCODE_SPECIAL);
  ck_assert_msg(text_same_ids(&ids, special ? special : plain), "%s, special: %s", kind, s);
  if (keeps_text) assert_decodes_to(tok, &ids, s, n);
  mtk_ids_finish(&ids);
}

/* All rows of tokens.jsonl for one tokenizer. */
static void assert_golden(const mtk_tokenizer *tok, const char *kind) {
  size_t n, rows = 0;
  char *lines = text_read_golden("tokens.jsonl", &n);
  const char *at = lines;
  for (json_t *row; (row = text_next_line(&at)) != NULL; rows++) {
    assert_row(tok, kind, row);
    json_decref(row);
  }
  ck_assert_uint_ge(rows, 200);
  mtk_free(lines);
}

START_TEST(golden_ids) {
  mtk_tokenizer *tok = read_tokenizer(kinds[_i]);
  assert_golden(tok, kinds[_i]);
  mtk_tokenizer_destroy(tok);
}
END_TEST

/* A vocabulary as a GGUF file gives it: names instead of patterns, no original JSON. */
START_TEST(gguf_names) {
  static const char *const names[N_KINDS - 1] = {"gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"};
  mtk_error err;
  mtk_vocab *vocab = read_vocab(kinds[_i]);
  ck_assert_str_eq(mtk_vocab_find_pre(vocab), names[_i]);
  ck_assert_str_eq(vocab->pre, names[_i]);
  vocab->n_patterns = 0;
  vocab->split_digits = vocab->ignore_merges = vocab->nfc = false;
  ck_assert_int_eq(mtk_vocab_set_pre(vocab, names[_i], &err), MTK_OK);
  mtk_tokenizer *tok = create(vocab);
  assert_golden(tok, kinds[_i]);
  mtk_tokenizer_destroy(tok);
  mtk_vocab_destroy(vocab);
}
END_TEST

START_TEST(unknown_gguf_name) {
  mtk_error err;
  mtk_vocab *vocab = read_vocab("gpt2");
  ck_assert_int_eq(mtk_vocab_set_pre(vocab, "no-such-thing", &err), MTK_E_UNSUPPORTED);
  ck_assert_ptr_nonnull(strstr(err.message, "no-such-thing"));
  vocab->patterns[0] = "[a-z]+";
  ck_assert_ptr_null(mtk_vocab_find_pre(vocab));
  mtk_vocab_destroy(vocab);
}
END_TEST

/* Written from the fields, read again: the same ids. With the original kept: the same bytes. */
START_TEST(hf_round_trip) {
  mtk_error err;
  mtk_bytes json = {0}, config = {0};
  mtk_vocab *vocab = read_vocab(kinds[_i]);
  ck_assert_int_eq(mtk_vocab_to_hf(&json, &config, vocab, &err), MTK_OK);
  ck_assert_uint_eq(json.len, vocab->hf_json_len);
  ck_assert_mem_eq(json.data, vocab->hf_json, json.len);
  mtk_bytes_clear(&json);
  mtk_bytes_clear(&config);
  vocab->hf_json = NULL;
  ck_assert_int_eq(mtk_vocab_to_hf(&json, &config, vocab, &err), MTK_OK);
  mtk_tokenizer *tok = text_make_tokenizer(json.data, json.len, config.data, config.len);
  assert_golden(tok, kinds[_i]);
  ck_assert_int_eq(mtk_tokenizer_bos(tok), vocab->bos);
  mtk_tokenizer_destroy(tok);
  mtk_vocab_destroy(vocab);
  mtk_bytes_finish(&json);
  mtk_bytes_finish(&config);
}
END_TEST

START_TEST(bos_and_eos) {
  static const char config[] =
      "{\"eos_token\": {\"content\": \"<|im_end|>\"}, \"pad_token\": \"</s>\", \"unk_token\": null,"
      " \"model_max_length\": 1000000000000000019884624838656, \"add_eos_token\": true}";
  size_t n;
  char *json = read_kind("llama3", &n);
  mtk_tokenizer *tok = text_make_tokenizer(json, n, config, sizeof config - 1);
  int32_t bos = mtk_tokenizer_find(tok, "<|begin_of_text|>");
  int32_t eos = mtk_tokenizer_find(tok, "<|im_end|>");
  ck_assert_int_ge(bos, 0);
  ck_assert_int_eq(mtk_tokenizer_bos(tok), bos);
  ck_assert_int_eq(mtk_tokenizer_eos(tok), eos);
  mtk_ids ids = encode(tok, "a", 1, MTK_ENCODE_BOS);
  ck_assert_uint_eq(ids.len, 2); /* its post-processor has BOS only, and outweighs the config */
  ck_assert_int_eq(ids.data[0], bos);
  mtk_ids_finish(&ids);
  ids = encode(tok, "a", 1, 0);
  ck_assert_uint_eq(ids.len, 1);
  mtk_ids_finish(&ids);
  mtk_tokenizer_destroy(tok);
  mtk_free(json);
}
END_TEST

/* A control token that merges could spell stays out of ordinary text. */
START_TEST(control_never_merges) {
  mtk_vocab *vocab = read_vocab("gpt2");
  mtk_tokenizer *tok = create(vocab);
  mtk_ids ids = encode(tok, " the", 4, 0);
  ck_assert_uint_eq(ids.len, 1);
  int32_t the = ids.data[0];
  mtk_ids_finish(&ids);
  mtk_tokenizer_destroy(tok);
  vocab->tokens[the].type = MTK_TOKEN_CONTROL;
  vocab->ignore_merges = true; /* nor is it taken as a whole piece */
  tok = create(vocab);
  ids = encode(tok, " the", 4, 0);
  for (size_t i = 0; i < ids.len; i++) ck_assert_int_ne(ids.data[i], the);
  assert_decodes_to(tok, &ids, " the", 4);
  mtk_ids_finish(&ids);
  mtk_tokenizer_destroy(tok);
  mtk_vocab_destroy(vocab);
}
END_TEST

START_TEST(pieces) {
  size_t len;
  mtk_tokenizer *tok = read_tokenizer("llama3");
  int32_t end = mtk_tokenizer_find(tok, "<|im_end|>"), think = mtk_tokenizer_find(tok, "<think>");
  int32_t space = mtk_tokenizer_find(tok, "\xC4\xA0"); /* the alphabet's space */
  ck_assert(mtk_tokenizer_is_control(tok, end) && !mtk_tokenizer_is_control(tok, think));
  ck_assert(mtk_tokenizer_is_eog(tok, end) && !mtk_tokenizer_is_eog(tok, think));
  ck_assert(!mtk_tokenizer_is_eog(tok, -1) && !mtk_tokenizer_is_control(tok, 1 << 30));
  ck_assert_str_eq(mtk_tokenizer_piece(tok, space, false, &len), " ");
  ck_assert_ptr_nonnull(mtk_tokenizer_piece(tok, end, false, &len));
  ck_assert_uint_eq(len, 0);
  ck_assert_str_eq(mtk_tokenizer_piece(tok, end, true, &len), "<|im_end|>");
  ck_assert_uint_eq(len, 10);
  ck_assert_ptr_null(mtk_tokenizer_piece(tok, -1, true, &len));
  ck_assert_ptr_null(mtk_tokenizer_piece(tok, (int32_t)mtk_tokenizer_size(tok), true, &len));
  ck_assert_int_eq(mtk_tokenizer_find(tok, "no such token"), -1);
  mtk_bytes out = {0};
  mtk_error err;
  int32_t bad = 1 << 30;
  ck_assert_int_eq(mtk_tokenizer_decode(&out, tok, &bad, 1, true, &err), MTK_E_INVALID);
  mtk_bytes_finish(&out);
  mtk_tokenizer_destroy(tok);
}
END_TEST

/* Bytes that are not UTF-8, NULs, and cut sequences come back as they were. */
START_TEST(any_bytes) {
  mtk_tokenizer *tok = read_tokenizer(kinds[_i]);
  char bytes[4096];
  for (uint64_t round = 0; round < 50; round++) {
    size_t n = (size_t)(mtk_uniform(1, round, 0) * sizeof bytes);
    for (size_t i = 0; i < n; i++) bytes[i] = (char)(uint8_t)(mtk_uniform(2, round, i) * 256);
    mtk_ids ids = encode(tok, bytes, n, 0);
    assert_decodes_to(tok, &ids, bytes, n);
    mtk_ids_finish(&ids);
  }
  mtk_tokenizer_destroy(tok);
}
END_TEST

/* A megabyte without word boundaries; a quadratic step anywhere would run into the time limit. */
START_TEST(hostile_lengths) {
  static const char *const units[] = {"a",  " ",    "\n",         "\xF0\x9F\x9A\x80", "<",
                                      "aB", "\xFF", "<|im_start", "\xCC\x81\xCC\xA3", "'"};
  mtk_tokenizer *tok = read_tokenizer(kinds[_i]);
  mtk_bytes text = {0};
  for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
    mtk_bytes_clear(&text);
    while (text.len < 1000000) mtk_bytes_puts(&text, units[u]);
    mtk_ids ids = encode(tok, text.data, text.len, MTK_ENCODE_SPECIAL);
    bool reorders = strcmp(kinds[_i], "qwen2") == 0 && units[u][0] == '\xCC'; /* NFC sorts marks */
    if (!reorders && strcmp(kinds[_i], "added") != 0) {
      assert_decodes_to(tok, &ids, text.data, text.len);
    }
    mtk_ids_finish(&ids);
  }
  mtk_bytes_finish(&text);
  mtk_tokenizer_destroy(tok);
}
END_TEST

START_TEST(malformed_json) {
  static const struct {
    const char *json;
    mtk_status status;
  } cases[] = {
      {"", MTK_E_FORMAT},
      {"[]", MTK_E_FORMAT},
      {"{", MTK_E_FORMAT},
      {"{}", MTK_E_UNSUPPORTED},
      {"{\"model\":{\"type\":\"Unknown\",\"vocab\":[]}}", MTK_E_UNSUPPORTED},
      {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1]],\"unk_id\":1}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\"}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"x\"},\"merges\":[]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999},\"merges\":[]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[1]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[[\"a\"]]}}", MTK_E_FORMAT},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"normalizer\":{\"type\":\"Up\"}}",
       MTK_E_UNSUPPORTED},
      {"{\"normalizer\":{\"type\":\"NFKC\"}}", MTK_E_UNSUPPORTED},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    mtk_vocab *vocab = NULL;
    mtk_error err = {0};
    ck_assert_msg(mtk_vocab_from_hf(&vocab, cases[i].json, strlen(cases[i].json), NULL, 0, &err) ==
                      cases[i].status,
                  "%s: %s %s", cases[i].json, err.place, err.message);
    ck_assert_ptr_null(vocab);
    ck_assert(*err.message && *err.place);
  }
}
END_TEST

/* What a reader of another format may hand over. */
START_TEST(malformed_vocab) {
  mtk_error err;
  mtk_tokenizer *tok = NULL;
  mtk_vocab *vocab = read_vocab("gpt2");
  vocab->merges[0] = "nospace";
  ck_assert_int_eq(mtk_tokenizer_create(&tok, vocab, &err), MTK_E_FORMAT);
  vocab->merges[0] = "zzzz yyyy";
  ck_assert_int_eq(mtk_tokenizer_create(&tok, vocab, &err), MTK_E_FORMAT);
  vocab->n_merges = 0;
  ck_assert_int_eq(mtk_vocab_set_pre(vocab, "gpt-2", &err), MTK_OK);
  vocab->patterns[0] = "(unclosed";
  ck_assert_int_eq(mtk_tokenizer_create(&tok, vocab, &err), MTK_E_FORMAT);
  vocab->n_patterns = 0;
  vocab->eos = (int32_t)vocab->n_tokens;
  ck_assert_int_eq(mtk_tokenizer_create(&tok, vocab, &err), MTK_E_FORMAT);
  vocab->eos = -1;
  vocab->pre = "something-new";
  ck_assert_int_eq(mtk_tokenizer_create(&tok, vocab, &err), MTK_E_UNSUPPORTED);
  vocab->kind = MTK_VOCAB_NONE;
  ck_assert_int_eq(mtk_tokenizer_create(&tok, vocab, &err), MTK_E_UNSUPPORTED);
  ck_assert_ptr_null(tok);
  mtk_vocab_destroy(vocab);
}
END_TEST

/* Every allocation fails once: an error or no harm, and no leak (run under the sanitizers). */
static void fail_allocations(const char *json, size_t n) {
  static const char text[] = "Hello <think>w\xC3\xB6rld</think> e\xCC\x81<x> 42";
  int64_t successes = 0; /* a failure that is made up for (no JIT) succeeds too */
  for (int64_t at = 0; successes < 60; at++) {
    mtk_vocab *vocab = NULL;
    mtk_tokenizer *tok = NULL;
    mtk_ids ids = {0};
    mtk_bytes out = {0}, config = {0};
    mtk_error err = {0};
    mtk_alloc_fail_after(at);
    mtk_status status = mtk_vocab_from_hf(&vocab, json, n, NULL, 0, &err);
    if (status == MTK_OK) status = mtk_tokenizer_create(&tok, vocab, &err);
    if (status == MTK_OK) status = mtk_tokenizer_encode(&ids, tok, text, sizeof text, 0, &err);
    if (status == MTK_OK) status = mtk_tokenizer_decode(&out, tok, ids.data, ids.len, true, &err);
    if (status == MTK_OK) vocab->hf_json = NULL;
    if (status == MTK_OK) status = mtk_vocab_to_hf(&out, &config, vocab, &err);
    mtk_alloc_fail_after(-1);
    successes = status == MTK_OK ? successes + 1 : 0;
    if (status != MTK_OK) ck_assert_int_eq(err.code, MTK_E_NOMEM);
    mtk_bytes_finish(&out);
    mtk_bytes_finish(&config);
    mtk_ids_finish(&ids);
    mtk_tokenizer_destroy(tok);
    mtk_vocab_destroy(vocab);
    ck_assert_int_lt(at, 1000000);
  }
}

START_TEST(failing_allocations) {
  size_t n;
  char *json = read_kind("added", &n);
  fail_allocations(json, n);
  mtk_free(json);
  json = text_read_golden("steps.jsonl", &n);
  const char *at = json;
  for (json_t *row; (row = text_next_line(&at)) != NULL;) {
    const char *name = json_string_value(json_object_get(row, "name"));
    bool wanted =
        strcmp(name, "words-decoder-llama") == 0 || strcmp(name, "words-decoder-ctc") == 0;
    char *text = wanted ? json_dumps(json_object_get(row, "json"), 0) : NULL;
    if (text) fail_allocations(text, strlen(text));
    free(text);
    json_decref(row);
  }
  mtk_free(json);
}
END_TEST

/* ---- steps of tokenizer.json ----------------------------------------------------------------- */

/* The bytes as "<0x00>" to "<0xFF>". */
static json_t *byte_vocabulary(void) {
  json_t *vocab = json_object();
  for (int b = 0; b < 256; b++) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
    json_object_set_new(vocab, name, json_integer(b));
  }
  return vocab;
}

/* Token by token: whole characters at any time, in the end the same. */
static void assert_streams(const mtk_tokenizer *tok, const mtk_ids *ids, const mtk_bytes *whole) {
  mtk_token_stream *stream;
  mtk_bytes out = {0};
  mtk_error err;
  bool incomplete;
  ck_assert_int_eq(mtk_token_stream_create(&stream, tok, true, &err), MTK_OK);
  for (int round = 0; round < 2; round++) { /* it begins anew after finish */
    mtk_bytes_clear(&out);
    for (size_t i = 0; i < ids->len; i++) {
      ck_assert_int_eq(mtk_token_stream_push(stream, &out, ids->data[i], &err), MTK_OK);
      ck_assert_uint_eq(mtk_utf8_prefix(out.data ? out.data : "", out.len, &incomplete), out.len);
    }
    ck_assert_int_eq(mtk_token_stream_finish(stream, &out, &err), MTK_OK);
    ck_assert_uint_eq(out.len, whole->len);
    ck_assert(out.len == 0 || memcmp(out.data, whole->data, out.len) == 0);
  }
  ck_assert_int_eq(mtk_token_stream_push(stream, &out, -1, &err), MTK_E_INVALID);
  mtk_bytes_finish(&out);
  mtk_token_stream_destroy(stream);
}

static void assert_step_row(const mtk_tokenizer *tok, const json_t *row, const char *how) {
  size_t i;
  json_t *text;
  const char *name = json_string_value(json_object_get(row, "name"));
  json_array_foreach(json_object_get(row, "texts"), i, text) {
    const char *s = json_string_value(text);
    mtk_ids ids = encode(tok, s, json_string_length(text), MTK_ENCODE_SPECIAL | MTK_ENCODE_BOS);
    mtk_bytes out = {0};
    mtk_error err;
    const json_t *decoded = json_array_get(json_object_get(row, "decoded"), i);
    ck_assert_msg(text_same_ids(&ids, json_array_get(json_object_get(row, "ids"), i)),
                  "%s (%s), text %zu: %s", name, how, i, s);
    ck_assert_int_eq(mtk_tokenizer_decode(&out, tok, ids.data, ids.len, true, &err), MTK_OK);
    if (json_is_string(decoded)) {
      ck_assert_msg(strcmp(out.data ? out.data : "", json_string_value(decoded)) == 0,
                    "%s (%s), text %zu: %s is not %s", name, how, i, out.data,
                    json_string_value(decoded));
    }
    assert_streams(tok, &ids, &out);
    mtk_bytes_finish(&out);
    mtk_ids_finish(&ids);
  }
}

/* Every step by itself against the `tokenizers` package, as read and after writing. */
START_TEST(steps) {
  size_t n, rows = 0;
  char *lines = text_read_golden("steps.jsonl", &n);
  const char *at = lines;
  for (json_t *row; (row = text_next_line(&at)) != NULL; rows++) {
    json_t *model = json_object_get(json_object_get(row, "json"), "model");
    if (!json_object_get(model, "vocab")) json_object_set_new(model, "vocab", byte_vocabulary());
    char *json = json_dumps(json_object_get(row, "json"), 0);
    mtk_vocab *vocab;
    mtk_error err;
    mtk_bytes written = {0}, config = {0};
    ck_assert_msg(mtk_vocab_from_hf(&vocab, json, strlen(json), NULL, 0, &err) == MTK_OK, "%s: %s",
                  err.message, json);
    mtk_tokenizer *tok = create(vocab);
    assert_step_row(tok, row, "read");
    mtk_tokenizer_destroy(tok);
    vocab->hf_json = NULL;
    ck_assert_int_eq(mtk_vocab_to_hf(&written, &config, vocab, &err), MTK_OK);
    tok = text_make_tokenizer(written.data, written.len, NULL, 0);
    assert_step_row(tok, row, "written");
    mtk_tokenizer_destroy(tok);
    mtk_vocab_destroy(vocab);
    mtk_bytes_finish(&written);
    mtk_bytes_finish(&config);
    free(json);
    json_decref(row);
  }
  ck_assert_uint_ge(rows, 80);
  mtk_free(lines);
}
END_TEST

/* ---- incremental UTF-8 ----------------------------------------------------------------------- */

/* Feeds text in pieces of `step` bytes. */
static void assert_streams_to(const char *text, size_t n, size_t step, const char *want) {
  mtk_utf8_stream stream = {0};
  mtk_bytes out = {0};
  for (size_t at = 0; at < n; at += step) {
    size_t piece = n - at < step ? n - at : step;
    mtk_utf8_stream_push(&stream, &out, text + at, piece, false);
    bool incomplete;
    ck_assert_uint_eq(mtk_utf8_prefix(out.data ? out.data : "", out.len, &incomplete), out.len);
  }
  mtk_utf8_stream_push(&stream, &out, NULL, 0, true);
  ck_assert_str_eq(out.data ? out.data : "", want);
  mtk_bytes_finish(&out);
}

/* Expected texts: Python's bytes.decode("utf-8", "replace"). */
START_TEST(utf8_stream) {
  static const struct {
    const char *bytes, *text;
  } cases[] = {
      {"abc", "abc"},
      {"a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x9A\x80z", "a\u00E9\u20AC\U0001F680z"},
      {"\xFF\xFE", "\uFFFD\uFFFD"},
      {"a\xC3", "a\uFFFD"},
      {"\xE2\x82", "\uFFFD"},
      {"\xE2\x82z", "\uFFFDz"},
      {"\xF0\x9F\x9Az\x80", "\uFFFDz\uFFFD"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x80\x80\xE2\x82\xAC", "\uFFFD\uFFFD\uFFFD\u20AC"},
      {"\xE2\xE2\x82\xAC", "\uFFFD\u20AC"},
      {"\x80"
       "a",
       "\uFFFD"
       "a"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (size_t step = 1; step <= 8; step++) {
      assert_streams_to(cases[i].bytes, strlen(cases[i].bytes), step, cases[i].text);
    }
  }
}
END_TEST

/* ---- larger data sets ------------------------------------------------------------------------ */

/* The ids of one line of text ("1 2 3"). */
static bool same_line(const mtk_ids *ids, const char *line, size_t n) {
  const char *end = line + n;
  for (size_t i = 0; i < ids->len; i++) {
    char *next;
    if (line >= end || strtol(line, &next, 10) != ids->data[i]) return false;
    line = next;
  }
  return strspn(line, " ") >= (size_t)(end - line);
}

/* llama.cpp's vectors: texts between separators, ids a line. */
static void check_llama_cpp(const mtk_tokenizer *tok, const char *name) {
  static const char separator[] = "\n__ggml_vocab_test__\n";
  char path[128];
  size_t n, m, cases = 0, passed = 0;
  snprintf(path, sizeof path, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.inp", name);
  char *inputs = text_read_data(path, &n);
  snprintf(path, sizeof path, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.out", name);
  char *outputs = text_read_data(path, &m), *line = outputs;
  for (char *text = inputs; text; cases++) {
    char *end = strstr(text, separator);
    size_t len = end ? (size_t)(end - text) : strlen(text);
    mtk_ids ids = encode(tok, text, len, MTK_ENCODE_SPECIAL);
    passed += same_line(&ids, line, strcspn(line, "\n"));
    mtk_ids_finish(&ids);
    line += strcspn(line, "\n") + 1;
    text = end ? end + sizeof separator - 1 : NULL;
  }
  printf("%s: %zu/%zu\n", path, passed, cases);
  ck_assert_uint_eq(passed, cases);
  mtk_free(inputs);
  mtk_free(outputs);
}

static void check_vectors(const mtk_tokenizer *tok, const char *model) {
  size_t n, cases = 0, passed = 0;
  char *lines = text_read_data("tokenizers/hf-tokenization-vectors.jsonl", &n);
  const char *at = lines;
  for (json_t *row; (row = text_next_line(&at)) != NULL; json_decref(row)) {
    if (strcmp(json_string_value(json_object_get(row, "model")), model) != 0) continue;
    const json_t *text = json_object_get(row, "text");
    mtk_ids ids =
        encode(tok, json_string_value(text), json_string_length(text), MTK_ENCODE_SPECIAL);
    passed += text_same_ids(&ids, json_object_get(row, "ids"));
    cases++;
    mtk_ids_finish(&ids);
  }
  printf("hf-tokenization-vectors %s: %zu/%zu\n", model, passed, cases);
  ck_assert_uint_eq(passed, cases);
  ck_assert_uint_gt(cases, 0);
  mtk_free(lines);
}

START_TEST(published_tokenizers) {
  static const struct {
    const char *folder, *pre, *llama_cpp, *vectors;
  } models[] = {
      {"qwen3", "qwen2", "qwen2", "Xenova/Qwen1.5-0.5B-Chat"},
      {"qwen3", "qwen2", "deepseek-r1-qwen", NULL},
      {"gptoss", "gpt-4o", NULL, "Xenova/gpt-4o"},
      {"mistral_nemo", "tekken", NULL, NULL},
      {"deepseek_v3", "deepseek-v3", NULL, NULL},
  };
  char path[128];
  size_t n, m;
  snprintf(path, sizeof path, "tokenizers/npm/%s/tokenizer.json", models[_i].folder);
  char *json = text_read_data(path, &n);
  if (!json) return;
  snprintf(path, sizeof path, "tokenizers/npm/%s/tokenizer_config.json", models[_i].folder);
  char *config = text_read_data(path, &m);
  mtk_vocab *vocab;
  mtk_error err;
  ck_assert_msg(mtk_vocab_from_hf(&vocab, json, n, config, m, &err) == MTK_OK, "%s: %s", err.place,
                err.message);
  ck_assert_str_eq(vocab->pre, models[_i].pre);
  mtk_tokenizer *tok = create(vocab);
  mtk_vocab_destroy(vocab);
  if (models[_i].llama_cpp) check_llama_cpp(tok, models[_i].llama_cpp);
  if (models[_i].vectors) check_vectors(tok, models[_i].vectors);
  mtk_tokenizer_destroy(tok);
  mtk_free(json);
  mtk_free(config);
}
END_TEST

static Suite *suite(void) {
  Suite *s = suite_create("tokenizer");
  TCase *c = tcase_create("bpe");
  tcase_add_loop_test(c, golden_ids, 0, N_KINDS);
  tcase_add_loop_test(c, gguf_names, 0, N_KINDS - 1);
  tcase_add_test(c, unknown_gguf_name);
  tcase_add_loop_test(c, hf_round_trip, 0, N_KINDS);
  tcase_add_test(c, bos_and_eos);
  tcase_add_test(c, control_never_merges);
  tcase_add_test(c, pieces);
  tcase_add_loop_test(c, any_bytes, 0, 3); /* the kinds that keep every byte */
  tcase_add_loop_test(c, hostile_lengths, 0, N_KINDS);
  tcase_add_test(c, malformed_json);
  tcase_add_test(c, steps);
  tcase_add_test(c, malformed_vocab);
  tcase_add_test(c, failing_allocations);
  tcase_add_test(c, utf8_stream);
  tcase_add_loop_test(c, published_tokenizers, 0, 5);
  suite_add_tcase(s, c);
  return s;
}

int main(void) {
  return run_suite(suite());
}
