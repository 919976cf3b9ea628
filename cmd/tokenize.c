/* tokenize.c: mtk tokenize: text -> ids and back. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

static const mtk_option_def g_options[] = {
    {"text", 0, MTK_OPT_STRING, "S", NULL, 0, 0, NULL, "the text (default: standard input)"},
    {"file", 'f', MTK_OPT_PATH, "F", NULL, 0, 0, NULL, "read the text from a file"},
    {"batch", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "one JSON string (or array of ids) a line in, one JSON document a line out"},
    {"special", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "parse control tokens in the text"},
    {"no-bos", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "never add BOS or EOS"},
    {"decode", 'd', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "input is ids (separated by blanks or commas)"},
    {"pre", 0, MTK_OPT_STRING, "NAME", NULL, 0, 0, NULL,
     "pre-tokenizer to use instead of the model's"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

static json_t *encoded_json(const mtk_tokenizer *tok, const mtk_ids *ids) {
  json_t *doc = json_object(), *list = json_array(), *pieces = json_array();
  for (size_t i = 0; i < ids->len; i++) {
    size_t n = 0;
    const char *p = mtk_tokenizer_piece(tok, ids->data[i], true, &n);
    json_array_append_new(list, json_integer(ids->data[i]));
    json_array_append_new(pieces, mtk_cmd_json_textn(p ? p : "", n));
  }
  json_object_set_new(doc, "ids", list);
  json_object_set_new(doc, "tokens", pieces);
  return doc;
}

static mtk_status encode_one(const mtk_tokenizer *tok, const char *text, size_t n, unsigned flags,
                             bool json, bool compact, mtk_error *err) {
  mtk_ids ids = {0};
  mtk_status st = mtk_tokenizer_encode(&ids, tok, text, n, flags, err);
  if (st == MTK_OK && json) {
    st = mtk_cmd_print_json(encoded_json(tok, &ids), compact, err);
  } else if (st == MTK_OK) {
    for (size_t i = 0; i < ids.len; i++) mtk_cmd_print(i ? " %d" : "%d", ids.data[i]);
    mtk_cmd_print("\n");
  }
  mtk_ids_finish(&ids);
  return st;
}

static mtk_status decode_one(const mtk_tokenizer *tok, const mtk_ids *ids, bool special, bool json,
                             mtk_error *err) {
  mtk_bytes text = {0};
  mtk_status st = mtk_tokenizer_decode(&text, tok, ids->data, ids->len, special, err);
  if (st == MTK_OK && json) {
    json_t *doc = json_object();
    json_object_set_new(doc, "text", mtk_cmd_json_textn(text.data ? text.data : "", text.len));
    st = mtk_cmd_print_json(doc, true, err);
  } else if (st == MTK_OK) {
    if (text.len) fwrite(text.data, 1, text.len, stdout);
  }
  mtk_bytes_finish(&text);
  return st;
}

static mtk_status ids_from_json(mtk_ids *out, const json_t *array, mtk_error *err) {
  for (size_t i = 0; i < json_array_size(array); i++) {
    const json_t *item = json_array_get(array, i);
    json_int_t v = json_is_integer(item) ? json_integer_value(item) : -1;
    if (v < 0 || v > INT32_MAX)
      return mtk_fail(err, MTK_E_FORMAT, NULL, "item %zu is not a token id", i);
    MTK_TRY(mtk_ids_push(out, (int32_t)v, err));
  }
  return MTK_OK;
}

static mtk_status batch_line(const mtk_tokenizer *tok, const char *line, size_t n, unsigned flags,
                             bool special, mtk_error *err) {
  json_error_t je;
  json_t *doc = json_loadb(line, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
  mtk_status st;
  if (json_is_string(doc)) {
    st = encode_one(tok, json_string_value(doc), json_string_length(doc), flags, true, true, err);
  } else if (json_is_array(doc)) {
    mtk_ids ids = {0};
    st = ids_from_json(&ids, doc, err);
    if (st == MTK_OK) st = decode_one(tok, &ids, special, true, err);
    mtk_ids_finish(&ids);
  } else {
    st = mtk_fail(err, MTK_E_FORMAT, NULL, "not a JSON string or array of ids: %s",
                  doc ? "other type" : je.text);
  }
  json_decref(doc);
  return st;
}

static mtk_status run_batch(const mtk_tokenizer *tok, const mtk_bytes *in, unsigned flags,
                            bool special, mtk_error *err) {
  size_t line_no = 0;
  for (size_t at = 0; at < in->len;) {
    const char *nl = memchr(in->data + at, '\n', in->len - at);
    size_t n = nl ? (size_t)(nl - (in->data + at)) : in->len - at;
    line_no++;
    if (n) {
      mtk_status st = batch_line(tok, in->data + at, n, flags, special, err);
      if (st != MTK_OK) {
        char place[32];
        snprintf(place, sizeof place, "line %zu", line_no);
        return mtk_fail_in(err, st, place);
      }
    }
    at += n + 1;
  }
  return MTK_OK;
}

static mtk_status run_input(const mtk_tokenizer *tok, const mtk_cmd_line *line, mtk_error *err) {
  const mtk_option_values *o = line->options;
  bool special = mtk_options_flag(o, "special");
  unsigned flags =
      (special ? MTK_ENCODE_SPECIAL : 0u) | (mtk_options_flag(o, "no-bos") ? 0u : MTK_ENCODE_BOS);
  mtk_bytes in = {0};
  const char *text = mtk_options_string(o, "text"), *file = mtk_options_string(o, "file");
  mtk_status st = MTK_OK;
  if (text)
    mtk_bytes_append(&in, text, strlen(text));
  else
    st = mtk_cmd_read_all(&in, file ? file : "-", err);
  if (st == MTK_OK && mtk_options_flag(o, "batch")) {
    st = run_batch(tok, &in, flags, special, err);
  } else if (st == MTK_OK && mtk_options_flag(o, "decode")) {
    mtk_ids ids = {0};
    st = mtk_cmd_parse_ids(&ids, in.data ? in.data : "", err);
    if (st == MTK_OK) st = decode_one(tok, &ids, true, line->json, err);
    mtk_ids_finish(&ids);
  } else if (st == MTK_OK) {
    st = encode_one(tok, in.data ? in.data : "", in.len, flags, line->json, false, err);
  }
  mtk_bytes_finish(&in);
  return st;
}

/* The model's vocabulary with another pre-tokenizer. */
static mtk_status retokenizer(mtk_tokenizer **tok, const mtk_model *model, const char *pre,
                              mtk_error *err) {
  mtk_vocab copy = *mtk_model_vocab(model);
  MTK_TRY(mtk_vocab_set_pre(&copy, pre, err));
  mtk_tokenizer_destroy(*tok);
  *tok = NULL;
  return mtk_tokenizer_create(tok, &copy, err);
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  mtk_model *model = NULL;
  mtk_tokenizer *tok = NULL;
  MTK_TRY(mtk_cmd_tokenizer_open(&model, &tok, line->args[0], err));
  const char *pre = mtk_options_string(line->options, "pre");
  mtk_status st = pre ? retokenizer(&tok, model, pre, err) : MTK_OK;
  if (st == MTK_OK) st = run_input(tok, line, err);
  mtk_tokenizer_destroy(tok);
  mtk_model_destroy(model);
  return st;
}

const mtk_cmd mtk_cmd_tokenize = {"tokenize",
                                  "MODEL [--text S | --file F | --batch] [--decode]",
                                  "text to token ids and back",
                                  g_options,
                                  NULL,
                                  1,
                                  1,
                                  run};
