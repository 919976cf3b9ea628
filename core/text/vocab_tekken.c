/* text/vocab_tekken.c: Mistral's tekken.json (versions v3 to v15) and a vocabulary, both ways. One
 * thread per vocabulary. id = rank + number of special tokens; of the ranks only the first
 * default_vocab_size - default_num_special_tokens count. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "text/vocab_ranks.h"

static const char place[] = "tekken.json";

/* The special tokens of files that list none (up to v7). */
static const char *const old_specials[] = {
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
};
enum {
  N_OLD = sizeof old_specials / sizeof old_specials[0],
  LAST_OLD_VERSION = 7,
  MAX_SPECIAL = 65536
};

typedef struct config {
  size_t n_tokens, n_special;
  int version;
  const json_t *pattern;
} config;

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a tokenizer");
}

/* ---- reading -------------------------------------------------------------------------------- */

static mtk_status read_config(config *out, const json_t *root, mtk_error *err) {
  const json_t *c = json_object_get(root, "config");
  json_int_t n = json_integer_value(json_object_get(c, "default_vocab_size"));
  json_int_t special = json_integer_value(json_object_get(c, "default_num_special_tokens"));
  const char *version = json_string_value(json_object_get(c, "version"));
  out->pattern = json_object_get(c, "pattern");
  if (n <= 0 || n > INT32_MAX || special < 0 || special > n || !json_is_string(out->pattern)) {
    return mtk_fail(err, MTK_E_FORMAT, "tekken.json: config",
                    "default_vocab_size, default_num_special_tokens and pattern must be there");
  }
  size_t digits = version && version[0] == 'v' ? strspn(version + 1, "0123456789") : 0;
  if (digits == 0 || digits > 4 || version[1 + digits]) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tekken.json: config.version", "is %.40s",
                    version ? version : "missing");
  }
  out->version = 0;
  for (const char *p = version + 1; *p; p++) out->version = 10 * out->version + (*p - '0');
  out->n_tokens = (size_t)n;
  out->n_special = (size_t)special;
  return MTK_OK;
}

static mtk_status read_listed(mtk_vocab *vocab, const config *c, const json_t *list,
                              mtk_error *err) {
  const json_t *item;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)list, i, item) {
    json_int_t rank = json_integer_value(json_object_get(item, "rank"));
    const json_t *text = json_object_get(item, "token_str");
    if (rank < 0 || (size_t)rank >= c->n_special || !json_is_string(text)) {
      return mtk_fail(err, MTK_E_FORMAT, "tekken.json: special_tokens",
                      "item %zu has no rank below %zu or no token_str", i, c->n_special);
    }
    MTK_TRY(mtk_text_ranks_put_special(vocab, (size_t)rank, json_string_value(text),
                                       json_string_length(text), MTK_TOKEN_CONTROL, err));
  }
  return MTK_OK;
}

/* All are control tokens, whatever is_control says: Mistral never parses any out of text. */
static mtk_status read_specials(mtk_vocab *vocab, const config *c, const json_t *root,
                                mtk_error *err) {
  const json_t *list = json_object_get(root, "special_tokens");
  if (json_is_array(list)) {
    MTK_TRY(read_listed(vocab, c, list, err));
  } else if (c->version > LAST_OLD_VERSION) {
    return mtk_fail(err, MTK_E_FORMAT, place, "a file of version v%d must list its special_tokens",
                    c->version);
  } else {
    for (size_t i = 0; i < N_OLD && i < c->n_special; i++) {
      MTK_TRY(mtk_text_ranks_put_special(vocab, i, old_specials[i], strlen(old_specials[i]),
                                         MTK_TOKEN_CONTROL, err));
    }
  }
  for (size_t i = 0; i < c->n_special; i++) {
    if (vocab->tokens[i].text) continue;
    mtk_bytes name = {0};
    mtk_bytes_printf(&name, "<SPECIAL_%zu>", i);
    mtk_status status = mtk_bytes_status(&name, err);
    if (status == MTK_OK) {
      status = mtk_text_ranks_put_special(vocab, i, name.data, name.len, MTK_TOKEN_CONTROL, err);
    }
    mtk_bytes_finish(&name);
    MTK_TRY(status);
  }
  return MTK_OK;
}

static mtk_status put_rank(mtk_vocab *vocab, const config *c, size_t rank, const char *base64,
                           size_t n, mtk_error *err) {
  if (rank >= c->n_tokens - c->n_special) return MTK_OK; /* beyond what the model knows */
  return mtk_text_ranks_put(vocab, rank + c->n_special, rank, base64, n, err);
}

static mtk_status read_vocab(mtk_vocab *vocab, const config *c, const json_t *list,
                             mtk_error *err) {
  const json_t *item;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)list, i, item) {
    const json_t *rank = json_object_get(item, "rank"),
                 *bytes = json_object_get(item, "token_bytes");
    if (!json_is_integer(rank) || json_integer_value(rank) < 0 || !json_is_string(bytes)) {
      return mtk_fail(err, MTK_E_FORMAT, "tekken.json: vocab",
                      "item %zu has no rank or token_bytes", i);
    }
    MTK_TRY(put_rank(vocab, c, (size_t)json_integer_value(rank), json_string_value(bytes),
                     json_string_length(bytes), err));
  }
  return MTK_OK;
}

/* "! FIRST_RANK BASE64 BASE64 ...": a smaller layout of the same, from JavaScript packages. */
static mtk_status read_compact(mtk_vocab *vocab, const config *c, const char *text,
                               mtk_error *err) {
  size_t rank = 0;
  while (*text) {
    size_t n = strcspn(text, " \n");
    bool first = n == 1 && *text == '!';
    if (first) {
      rank = 0;
      text += n + (text[n] != 0);
      n = strcspn(text, " \n");
      size_t digits = strspn(text, "0123456789");
      if (digits == 0 || digits != n || n > 8) {
        return mtk_fail(err, MTK_E_FORMAT, "tekken.json: bpe_ranks", "no rank behind \"!\"");
      }
      for (size_t i = 0; i < n; i++) rank = 10 * rank + (size_t)(text[i] - '0');
    } else if (n > 0) {
      MTK_TRY(put_rank(vocab, c, rank++, text, n, err));
    }
    text += n + (text[n] != 0);
  }
  return MTK_OK;
}

static mtk_status read_root(mtk_vocab *vocab, const json_t *root, size_t n_bytes, mtk_error *err) {
  config c = {0};
  MTK_TRY(read_config(&c, root, err));
  if (c.n_tokens - c.n_special > n_bytes || c.n_special > MAX_SPECIAL) {
    return mtk_fail(err, MTK_E_LIMIT, "tekken.json: config", "%zu tokens, %zu of them special",
                    c.n_tokens, c.n_special);
  }
  const json_t *list = json_object_get(root, "vocab");
  const char *compact = json_string_value(json_object_get(root, "bpe_ranks"));
  MTK_TRY(mtk_text_ranks_init(vocab, c.n_tokens, err));
  MTK_TRY(read_specials(vocab, &c, root, err));
  if (json_is_array(list)) {
    MTK_TRY(read_vocab(vocab, &c, list, err));
  } else if (compact) {
    MTK_TRY(read_compact(vocab, &c, compact, err));
  } else {
    return mtk_fail(err, MTK_E_FORMAT, place, "it has no vocab");
  }
  MTK_TRY(mtk_text_ranks_set_pattern(vocab, json_string_value(c.pattern),
                                     json_string_length(c.pattern), err));
  vocab->mistral_version = c.version;
  vocab->unk = mtk_text_ranks_find(vocab, "<unk>");
  vocab->bos = mtk_text_ranks_find(vocab, "<s>");
  vocab->eos = mtk_text_ranks_find(vocab, "</s>");
  vocab->pad = mtk_text_ranks_find(vocab, "<pad>");
  vocab->add_bos = vocab->bos >= 0;
  vocab->add_eos = 0;
  return MTK_OK;
}

static mtk_status read_text(mtk_vocab *vocab, const char *json, size_t n, mtk_error *err) {
  json_error_t problem;
  json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
  if (!root) {
    if (json_error_code(&problem) == json_error_out_of_memory) return no_memory(err);
    return mtk_fail(err, MTK_E_FORMAT, place, "line %d: %s", problem.line, problem.text);
  }
  mtk_status status = json_is_object(root) ? read_root(vocab, root, n, err)
                                           : mtk_fail(err, MTK_E_FORMAT, place, "not an object");
  json_decref(root);
  MTK_TRY(status);
  char *kept = mtk_arena_alloc(vocab->arena, n + 1, 1);
  if (!kept) return no_memory(err);
  memcpy(kept, json, n);
  vocab->tekken_json = kept;
  vocab->tekken_json_len = n;
  return MTK_OK;
}

mtk_status mtk_vocab_from_tekken(mtk_vocab **out, const char *json, size_t n, mtk_error *err) {
  mtk_vocab *vocab = mtk_vocab_create();
  mtk_status status = vocab ? read_text(vocab, json, n, err) : no_memory(err);
  if (status != MTK_OK) {
    mtk_vocab_destroy(vocab);
    return status;
  }
  *out = vocab;
  return MTK_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Special tokens must be the first ids, and ranks follow in order. */
static mtk_status check_order(size_t *n_special, const mtk_vocab *vocab, mtk_error *err) {
  size_t n = 0;
  while (n < vocab->n_tokens && vocab->tokens[n].type != MTK_TOKEN_NORMAL) n++;
  *n_special = n;
  bool fits =
      vocab->n_patterns == 1 && !vocab->split_digits && !vocab->nfc && !vocab->add_prefix_space;
  for (size_t i = n; i < vocab->n_tokens && fits; i++) {
    fits = vocab->tokens[i].type == MTK_TOKEN_NORMAL;
  }
  if (fits) return mtk_text_ranks_check(vocab, n, err);
  return mtk_fail(err, MTK_E_UNSUPPORTED, place,
                  "it holds byte-level tokens behind the special ones, cut by one pattern; this "
                  "vocabulary is of another kind");
}

static void put_string(mtk_bytes *out, const char *text, size_t n) {
  json_t *string = json_stringn(text, n);
  char *dumped = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
  if (dumped)
    mtk_bytes_puts(out, dumped);
  else
    out->failed = true;
  free(dumped);
  json_decref(string);
}

static mtk_status put_vocab(mtk_bytes *out, const mtk_vocab *vocab, size_t n_special,
                            mtk_error *err) {
  for (size_t i = n_special; i < vocab->n_tokens; i++) {
    const char *comma = i > n_special ? "," : "";
    mtk_bytes_printf(out, "%s\n{\"rank\":%zu,\"token_bytes\":\"", comma, i - n_special);
    MTK_TRY(mtk_text_ranks_base64(out, &vocab->tokens[i], err));
    mtk_bytes_puts(out, "\",\"token_str\":null}");
  }
  return MTK_OK;
}

mtk_status mtk_vocab_to_tekken(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  size_t n_special = 0;
  if (vocab->tekken_json) {
    mtk_bytes_append(out, vocab->tekken_json, vocab->tekken_json_len);
    return mtk_bytes_status(out, err);
  }
  MTK_TRY(check_order(&n_special, vocab, err));
  int version = vocab->mistral_version ? vocab->mistral_version : 3;
  mtk_bytes_puts(out, "{\"config\":{\"pattern\":");
  put_string(out, vocab->patterns[0], strlen(vocab->patterns[0]));
  mtk_bytes_printf(out,
                   ",\"num_vocab_tokens\":%zu,\"default_vocab_size\":%zu,"
                   "\"default_num_special_tokens\":%zu,\"version\":\"v%d\"},\n\"vocab\":[",
                   vocab->n_tokens - n_special, vocab->n_tokens, n_special, version);
  MTK_TRY(put_vocab(out, vocab, n_special, err));
  mtk_bytes_puts(out, "],\n\"special_tokens\":[");
  for (size_t i = 0; i < n_special; i++) {
    const mtk_token *t = &vocab->tokens[i];
    mtk_bytes_printf(out, "%s\n{\"rank\":%zu,\"token_str\":", i ? "," : "", i);
    put_string(out, t->text ? t->text : "", t->text ? t->len : 0);
    mtk_bytes_printf(out, ",\"is_control\":%s}", t->type == MTK_TOKEN_CONTROL ? "true" : "false");
  }
  mtk_bytes_puts(out, "]}\n");
  return mtk_bytes_status(out, err);
}
