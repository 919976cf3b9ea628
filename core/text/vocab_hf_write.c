/* text/vocab_hf_write.c: a vocabulary as tokenizer.json and tokenizer_config.json. One thread per
 * call. Every token, added ones too, goes into model.vocab, so that the `tokenizers` library gives
 * each the id it has here. */
#include <string.h>

#include "text/pretok.h"
#include "text/vocab_hf.h"

/* Puts `value` (stolen) under key; false if out of memory anywhere. */
static bool put(json_t *object, const char *key, json_t *value) {
  return object && value && json_object_set_new(object, key, value) == 0;
}

static bool push(json_t *array, json_t *value) {
  return array && value && json_array_append_new(array, value) == 0;
}

static json_t *text_of(const mtk_token *token) { return json_stringn(token->text, token->len); }

static bool is_added(const mtk_token *token) {
  return token->text && (token->type == MTK_TOKEN_CONTROL || token->type == MTK_TOKEN_UNKNOWN ||
                         token->type == MTK_TOKEN_USER_DEFINED);
}

/* An entry of added_tokens (with id) or added_tokens_decoder (without). */
static json_t *added_token(const mtk_token *token, size_t id, bool with_id) {
  json_t *object = json_object();
  bool ok = object && (!with_id || put(object, "id", json_integer((json_int_t)id))) &&
            put(object, "content", text_of(token)) &&
            put(object, "single_word", json_boolean(token->single_word)) &&
            put(object, "lstrip", json_boolean(token->lstrip)) &&
            put(object, "rstrip", json_boolean(token->rstrip)) &&
            put(object, "normalized", json_boolean(token->normalized)) &&
            put(object, "special", json_boolean(token->type != MTK_TOKEN_USER_DEFINED));
  if (ok) return object;
  json_decref(object);
  return NULL;
}

static bool write_added(json_t *root, const mtk_vocab *vocab) {
  json_t *list = json_array();
  if (!put(root, "added_tokens", list)) return false;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *token = &vocab->tokens[i];
    if (is_added(token) && !push(list, added_token(token, i, true))) return false;
  }
  return true;
}

static json_t *unk_token(const mtk_vocab *vocab) {
  bool has = vocab->bytes_to_unk && vocab->unk >= 0 && (size_t)vocab->unk < vocab->n_tokens;
  const char *text = has ? vocab->tokens[vocab->unk].text : NULL;
  return text ? json_string(text) : json_null();
}

static bool write_model(json_t *root, const mtk_vocab *vocab) {
  json_t *model = json_object(), *tokens = json_object(), *merges = json_array();
  bool ok = put(root, "model", model) && put(model, "type", json_string("BPE")) &&
            put(model, "dropout", json_null()) && put(model, "unk_token", unk_token(vocab)) &&
            put(model, "continuing_subword_prefix", json_null()) &&
            put(model, "end_of_word_suffix", json_null()) && put(model, "fuse_unk", json_false()) &&
            put(model, "byte_fallback", json_false()) &&
            put(model, "ignore_merges", json_boolean(vocab->ignore_merges));
  if (!ok) {
    json_decref(tokens);
    json_decref(merges);
    return false;
  }
  ok = put(model, "vocab", tokens);
  ok = put(model, "merges", merges) && ok;
  for (size_t i = 0; i < vocab->n_tokens && ok; i++) {
    const mtk_token *token = &vocab->tokens[i];
    if (token->text) {
      ok = json_object_setn_new(tokens, token->text, token->len, json_integer((json_int_t)i)) == 0;
    }
  }
  for (size_t i = 0; i < vocab->n_merges && ok; i++)
    ok = push(merges, json_string(vocab->merges[i]));
  return ok;
}

static json_t *byte_level(bool add_prefix_space, bool use_regex) {
  return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", add_prefix_space,
                   "trim_offsets", 1, "use_regex", use_regex);
}

static bool write_pre_tokenizer(json_t *root, const mtk_vocab *vocab) {
  json_t *steps = json_array();
  json_t *sequence = json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", steps);
  if (!put(root, "pre_tokenizer", sequence)) return false;
  if (vocab->split_digits &&
      !push(steps, json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", 1))) {
    return false;
  }
  size_t n = vocab->n_patterns;
  bool gpt2 = n > 0 && strcmp(vocab->patterns[n - 1], mtk_text_pattern_gpt2) == 0;
  for (size_t i = 0; i < n - gpt2; i++) {
    json_t *split = json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex",
                              vocab->patterns[i], "behavior", "Isolated", "invert", 0);
    if (!push(steps, split)) return false;
  }
  return push(steps, byte_level(vocab->add_prefix_space, gpt2));
}

/* One item of TemplateProcessing and, for a special token, its entry in special_tokens. */
static bool template_special(json_t *items, json_t *specials, const mtk_token *token, int32_t id) {
  json_t *entry = json_object();
  bool ok =
      push(items, json_pack("{s:{s:o,s:i}}", "SpecialToken", "id", text_of(token), "type_id", 0)) &&
      put(entry, "id", text_of(token)) && put(entry, "ids", json_pack("[i]", (int)id)) &&
      put(entry, "tokens", json_pack("[o]", text_of(token)));
  if (!ok) {
    json_decref(entry);
    return false;
  }
  return json_object_setn_new(specials, token->text, token->len, entry) == 0;
}

static bool write_post_processor(json_t *root, const mtk_vocab *vocab) {
  bool bos = vocab->add_bos > 0 && vocab->bos >= 0, eos = vocab->add_eos > 0 && vocab->eos >= 0;
  if (!bos && !eos) return put(root, "post_processor", byte_level(false, false));
  json_t *items = json_array(), *pair = json_array(), *specials = json_object();
  json_t *processor = json_pack("{s:s,s:o,s:o,s:o}", "type", "TemplateProcessing", "single", items,
                                "pair", pair, "special_tokens", specials);
  if (!put(root, "post_processor", processor)) return false;
  const char *sequence = "{s:{s:s,s:i}}";
  for (int part = 0; part < 2; part++) { /* pair = the single pattern for A, then for B */
    json_t *to = part == 0 ? items : pair;
    if (bos && !template_special(to, specials, &vocab->tokens[vocab->bos], vocab->bos))
      return false;
    if (!push(to, json_pack(sequence, "Sequence", "id", "A", "type_id", 0))) return false;
    if (part == 1 && !push(to, json_pack(sequence, "Sequence", "id", "B", "type_id", 1))) {
      return false;
    }
    if (eos && !template_special(to, specials, &vocab->tokens[vocab->eos], vocab->eos))
      return false;
  }
  return true;
}

static bool write_tokenizer(json_t *root, const mtk_vocab *vocab) {
  json_t *normalizer = vocab->nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
  return put(root, "version", json_string("1.0")) && put(root, "truncation", json_null()) &&
         put(root, "padding", json_null()) && write_added(root, vocab) &&
         put(root, "normalizer", normalizer) && write_pre_tokenizer(root, vocab) &&
         write_post_processor(root, vocab) && put(root, "decoder", byte_level(true, true)) &&
         write_model(root, vocab);
}

static bool write_config(json_t *root, const mtk_vocab *vocab) {
  json_t *decoder = json_object();
  if (!put(root, "added_tokens_decoder", decoder)) return false;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    if (!is_added(&vocab->tokens[i])) continue;
    mtk_bytes key = {0};
    mtk_bytes_printf(&key, "%zu", i);
    bool ok = !key.failed && put(decoder, key.data, added_token(&vocab->tokens[i], i, false));
    mtk_bytes_finish(&key);
    if (!ok) return false;
  }
  for (size_t i = 0; i < mtk_text_hf_specials_len; i++) {
    int32_t id = *text_special_field((mtk_vocab *)vocab, mtk_text_hf_specials[i].field);
    if (id < 0 || (size_t)id >= vocab->n_tokens || !vocab->tokens[id].text) continue;
    if (!put(root, mtk_text_hf_specials[i].key, text_of(&vocab->tokens[id]))) return false;
  }
  if (vocab->add_bos >= 0 && !put(root, "add_bos_token", json_boolean(vocab->add_bos)))
    return false;
  if (vocab->add_eos >= 0 && !put(root, "add_eos_token", json_boolean(vocab->add_eos)))
    return false;
  return put(root, "clean_up_tokenization_spaces", json_false()) &&
         put(root, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
}

static int append_chunk(const char *chunk, size_t n, void *out) {
  mtk_bytes_append(out, chunk, n);
  return ((mtk_bytes *)out)->failed ? -1 : 0;
}

/* Builds a document with `fill` and appends its text. */
static mtk_status write_json(mtk_bytes *out, const mtk_vocab *vocab,
                             bool (*fill)(json_t *root, const mtk_vocab *vocab), mtk_error *err) {
  json_t *root = json_object();
  bool ok =
      root && fill(root, vocab) && json_dump_callback(root, append_chunk, out, JSON_INDENT(2)) == 0;
  json_decref(root);
  MTK_TRY(mtk_bytes_status(out, err));
  if (!ok) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer",
                    "the vocabulary cannot be written as JSON (is every token valid UTF-8?)");
  }
  mtk_bytes_puts(out, "\n");
  return mtk_bytes_status(out, err);
}

mtk_status mtk_vocab_to_hf(mtk_bytes *json, mtk_bytes *config_json, const mtk_vocab *vocab,
                           mtk_error *err) {
  if (vocab->kind != MTK_VOCAB_BPE) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer",
                    "the model has no byte-level BPE vocabulary");
  }
  if (vocab->hf_json) {
    mtk_bytes_append(json, vocab->hf_json, vocab->hf_json_len);
    MTK_TRY(mtk_bytes_status(json, err));
  } else {
    MTK_TRY(write_json(json, vocab, write_tokenizer, err));
  }
  if (vocab->hf_config_json) {
    mtk_bytes_append(config_json, vocab->hf_config_json, vocab->hf_config_json_len);
    return mtk_bytes_status(config_json, err);
  }
  return write_json(config_json, vocab, write_config, err);
}
