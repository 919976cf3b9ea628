/* text/vocab_hf_write.c: a vocabulary as tokenizer.json and tokenizer_config.json. One thread per
 * call. Every token, added ones too, goes into model.vocab, so that the `tokenizers` library gives
 * each the id it has here. */
#include <string.h>

#include "text/hf_steps.h"
#include "text/model.h"
#include "text/pipeline.h"
#include "text/vocab_hf.h"

/* What the parts of a file are written from. */
typedef struct writer {
  const mtk_vocab *vocab;
  const text_pipeline *steps;
  const char *const *merges;
  size_t n_merges;
  mtk_map *ids;        /* of tokens, where merges need it to be parted; or NULL */
  const mtk_step *bad; /* a step that cannot be written */
  bool no_memory;
} writer;

/* Puts `value` (stolen) under key; false if out of memory anywhere. */
static bool put(json_t *object, const char *key, json_t *value) {
  return object && value && json_object_set_new(object, key, value) == 0;
}

static bool push(json_t *array, json_t *value) {
  return array && value && json_array_append_new(array, value) == 0;
}

static json_t *text_of(const mtk_token *token) { return json_stringn(token->text, token->len); }

/* U+2581, which stands for a space in the tokens of SentencePiece. */
static const char spm_space[] = "\xE2\x96\x81";

/* Tokens that `tokenizers` shall cut out of the text. Those that the model finds by itself go there
 * too, unless they hold spaces in their spelled form, which the text does not have. */
static bool is_added(const mtk_vocab *vocab, const mtk_token *token) {
  if (!token->text) return false;
  if (token->type == MTK_TOKEN_CONTROL || token->type == MTK_TOKEN_UNKNOWN) return true;
  return token->type == MTK_TOKEN_USER_DEFINED &&
         (!vocab->user_defined_in_model || !strstr(token->text, spm_space));
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
    if (is_added(vocab, token) && !push(list, added_token(token, i, true))) return false;
  }
  return true;
}

static const char *unk_text(const mtk_vocab *vocab) {
  bool has = vocab->unk >= 0 && (size_t)vocab->unk < vocab->n_tokens &&
             (vocab->kind != MTK_VOCAB_BPE || vocab->bytes_to_unk);
  return has ? vocab->tokens[vocab->unk].text : NULL;
}

static json_t *text_or_null(const char *text) {
  return text && *text ? json_string(text) : json_null();
}

static bool put_tokens(json_t *model, const mtk_vocab *vocab) {
  json_t *tokens = json_object();
  if (!put(model, "vocab", tokens)) return false;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    if (t->text &&
        json_object_setn_new(tokens, t->text, t->len, json_integer((json_int_t)i)) != 0) {
      return false;
    }
  }
  return true;
}

/* All merges as "left right", or all as pairs where a token holds a blank. */
static bool put_merges(json_t *model, writer *w) {
  json_t *list = json_array();
  bool ok = put(model, "merges", list);
  for (size_t i = 0; i < w->n_merges && ok; i++) {
    const char *text = w->merges[i];
    size_t n = strlen(text);
    const char *space = w->ids ? mtk_text_part_merge(w->ids, text, n) : NULL;
    json_t *pair = space ? json_pack("[s%,s%]", text, (size_t)(space - text), space + 1,
                                     n - 1 - (size_t)(space - text))
                         : json_stringn(text, n);
    ok = push(list, pair);
  }
  return ok;
}

static bool write_bpe(json_t *model, writer *w) {
  const mtk_vocab *vocab = w->vocab;
  bool whole = vocab->ignore_merges || vocab->kind == MTK_VOCAB_RANKS;
  return put(model, "type", json_string("BPE")) && put(model, "dropout", json_null()) &&
         put(model, "unk_token", text_or_null(unk_text(vocab))) &&
         put(model, "continuing_subword_prefix", text_or_null(vocab->continuing_prefix)) &&
         put(model, "end_of_word_suffix", text_or_null(vocab->end_of_word_suffix)) &&
         put(model, "fuse_unk", json_boolean(vocab->fuse_unk)) &&
         put(model, "byte_fallback", json_boolean(vocab->byte_fallback)) &&
         put(model, "ignore_merges", json_boolean(whole)) && put_tokens(model, vocab) &&
         put_merges(model, w);
}

static bool write_unigram(json_t *model, writer *w) {
  const mtk_vocab *vocab = w->vocab;
  json_t *unk = vocab->unk >= 0 ? json_integer(vocab->unk) : json_null(), *list = json_array();
  bool ok = put(model, "type", json_string("Unigram")) && put(model, "unk_id", unk) &&
            put(model, "byte_fallback", json_boolean(vocab->byte_fallback));
  ok = put(model, "vocab", list) && ok;
  for (size_t i = 0; i < vocab->n_tokens && ok; i++) {
    const mtk_token *t = &vocab->tokens[i];
    mtk_bytes hole = {0}; /* a list has no holes */
    if (!t->text) mtk_bytes_printf(&hole, "\xEF\xBF\xBF<%zu>", i);
    ok =
        !hole.failed &&
        push(list,
             json_pack("[s%,f]", t->text ? t->text : hole.data, t->text ? (size_t)t->len : hole.len,
                       i < vocab->n_exact_scores ? vocab->exact_scores[i] : (double)t->score));
    w->no_memory |= hole.failed;
    mtk_bytes_finish(&hole);
  }
  return ok;
}

static bool write_wordpiece(json_t *model, writer *w) {
  const mtk_vocab *vocab = w->vocab;
  const char *unk = unk_text(vocab), *prefix = vocab->continuing_prefix;
  size_t limit = vocab->max_word_chars ? vocab->max_word_chars : INT32_MAX;
  return put(model, "type", json_string("WordPiece")) &&
         put(model, "unk_token", json_string(unk ? unk : "[UNK]")) &&
         put(model, "continuing_subword_prefix", json_string(prefix ? prefix : "")) &&
         put(model, "max_input_chars_per_word", json_integer((json_int_t)limit)) &&
         put_tokens(model, vocab);
}

static bool write_wordlevel(json_t *model, writer *w) {
  const char *unk = unk_text(w->vocab);
  return put(model, "type", json_string("WordLevel")) && put_tokens(model, w->vocab) &&
         put(model, "unk_token", json_string(unk ? unk : "[UNK]"));
}

/* By kind; merges of scores and ranks become a ranked list. */
static bool (*const models[])(json_t *model, writer *w) = {
    [MTK_VOCAB_BPE] = write_bpe,
    [MTK_VOCAB_SPM] = write_bpe,
    [MTK_VOCAB_RANKS] = write_bpe,
    [MTK_VOCAB_UNIGRAM] = write_unigram,
    [MTK_VOCAB_WORDPIECE] = write_wordpiece,
    [MTK_VOCAB_WORDLEVEL] = write_wordlevel,
};

static bool write_steps(json_t *root, const char *key, const mtk_steps *steps, text_hf_role role,
                        writer *w) {
  json_t *component = w->bad ? NULL : mtk_text_hf_write_steps(steps, role, &w->bad);
  w->no_memory |= !component && !w->bad;
  return put(root, key, component);
}

static bool is_byte_level(writer *w) {
  const mtk_steps *steps = &w->steps->pre_tokenizers;
  return steps->n > 0 && steps->items[steps->n - 1].kind == MTK_STEP_BYTE_LEVEL;
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

/* The ids before and after a text. */
typedef struct around {
  const int32_t *prefix, *suffix;
  size_t n_prefix, n_suffix;
} around;

static around ids_around(const mtk_vocab *vocab) {
  if (vocab->has_template) {
    return (around){vocab->template_prefix, vocab->template_suffix, vocab->n_template_prefix,
                    vocab->n_template_suffix};
  }
  return (around){&vocab->bos, &vocab->eos, vocab->add_bos > 0 && vocab->bos >= 0,
                  vocab->add_eos > 0 && vocab->eos >= 0};
}

static bool template_ids(json_t *items, json_t *specials, const mtk_vocab *vocab,
                         const int32_t *ids, size_t n) {
  for (size_t i = 0; i < n; i++) {
    bool exists = ids[i] >= 0 && (size_t)ids[i] < vocab->n_tokens && vocab->tokens[ids[i]].text;
    if (!exists || !template_special(items, specials, &vocab->tokens[ids[i]], ids[i])) return false;
  }
  return true;
}

static bool write_post_processor(json_t *root, writer *w) {
  around ids = ids_around(w->vocab);
  if (ids.n_prefix + ids.n_suffix == 0) {
    json_t *bytes = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                              "trim_offsets", 1, "use_regex", 0);
    if (is_byte_level(w)) return put(root, "post_processor", bytes);
    json_decref(bytes);
    return put(root, "post_processor", json_null());
  }
  json_t *items = json_array(), *pair = json_array(), *specials = json_object();
  json_t *processor = json_pack("{s:s,s:o,s:o,s:o}", "type", "TemplateProcessing", "single", items,
                                "pair", pair, "special_tokens", specials);
  if (!put(root, "post_processor", processor)) return false;
  const char *sequence = "{s:{s:s,s:i}}";
  for (int part = 0; part < 2; part++) { /* pair = the single pattern for A, then for B */
    json_t *to = part == 0 ? items : pair;
    if (!template_ids(to, specials, w->vocab, ids.prefix, ids.n_prefix)) return false;
    if (!push(to, json_pack(sequence, "Sequence", "id", "A", "type_id", 0))) return false;
    if (part == 1 && !push(to, json_pack(sequence, "Sequence", "id", "B", "type_id", 1))) {
      return false;
    }
    if (!template_ids(to, specials, w->vocab, ids.suffix, ids.n_suffix)) return false;
  }
  return true;
}

static bool write_tokenizer(json_t *root, writer *w) {
  json_t *model = json_object();
  bool ok =
      put(root, "version", json_string("1.0")) && put(root, "truncation", json_null()) &&
      put(root, "padding", json_null()) && write_added(root, w->vocab) &&
      write_steps(root, "normalizer", &w->steps->normalizers, TEXT_HF_NORMALIZER, w) &&
      write_steps(root, "pre_tokenizer", &w->steps->pre_tokenizers, TEXT_HF_PRE_TOKENIZER, w) &&
      write_post_processor(root, w) &&
      write_steps(root, "decoder", &w->steps->decoders, TEXT_HF_DECODER, w);
  return put(root, "model", model) && ok && models[w->vocab->kind](model, w);
}

static bool write_config(json_t *root, writer *w) {
  const mtk_vocab *vocab = w->vocab;
  json_t *decoder = json_object();
  if (!put(root, "added_tokens_decoder", decoder)) return false;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    if (!is_added(vocab, &vocab->tokens[i])) continue;
    mtk_bytes key = {0};
    mtk_bytes_printf(&key, "%zu", i);
    bool ok = !key.failed && put(decoder, key.data, added_token(&vocab->tokens[i], i, false));
    w->no_memory |= key.failed;
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
static mtk_status write_json(mtk_bytes *out, writer *w, bool (*fill)(json_t *root, writer *w),
                             mtk_error *err) {
  json_t *root = json_object();
  bool ok =
      root && fill(root, w) && json_dump_callback(root, append_chunk, out, JSON_INDENT(2)) == 0;
  json_decref(root);
  MTK_TRY(mtk_bytes_status(out, err));
  if (w->no_memory) {
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory writing a tokenizer");
  }
  if (w->bad) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer",
                    "step %d of the vocabulary cannot be written to a tokenizer.json",
                    (int)w->bad->kind);
  }
  if (!ok) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer",
                    "the vocabulary cannot be written as JSON (is every token valid UTF-8?)");
  }
  mtk_bytes_puts(out, "\n");
  return mtk_bytes_status(out, err);
}

/* Fills ids if a token of the merges holds a blank. */
static mtk_status map_tokens(writer *w, mtk_error *err) {
  bool needed = false;
  for (size_t i = 0; i < w->n_merges && !needed; i++) {
    const char *space = strchr(w->merges[i], ' ');
    needed = space && strchr(space + 1, ' ');
  }
  if (!needed) return MTK_OK;
  w->ids = mtk_map_create();
  bool ok = w->ids != NULL;
  for (size_t i = 0; i < w->vocab->n_tokens && ok; i++) {
    const mtk_token *t = &w->vocab->tokens[i];
    if (t->text) ok = mtk_map_put(w->ids, t->text, t->len, NULL) != NULL;
  }
  return ok ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory writing a tokenizer");
}

static mtk_status write_fields(mtk_bytes *json, writer *w, mtk_error *err) {
  text_pipeline steps;
  MTK_TRY(mtk_text_pipeline_of(&steps, w->vocab, err));
  w->steps = &steps;
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory writing a tokenizer");
  mtk_status status = MTK_OK;
  w->merges = w->vocab->merges;
  w->n_merges = w->vocab->n_merges;
  if (w->vocab->kind == MTK_VOCAB_SPM || w->vocab->kind == MTK_VOCAB_RANKS) {
    status = mtk_vocab_merges(&w->merges, &w->n_merges, arena, w->vocab, err);
  }
  if (status == MTK_OK) status = map_tokens(w, err);
  if (status == MTK_OK) status = write_json(json, w, write_tokenizer, err);
  mtk_map_destroy(w->ids);
  mtk_arena_destroy(arena);
  return status;
}

mtk_status mtk_vocab_to_hf(mtk_bytes *json, mtk_bytes *config_json, const mtk_vocab *vocab,
                           mtk_error *err) {
  if (!mtk_text_model_find(vocab->kind)) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer", "the model has no vocabulary");
  }
  writer w = {.vocab = vocab};
  if (vocab->hf_json) {
    mtk_bytes_append(json, vocab->hf_json, vocab->hf_json_len);
    MTK_TRY(mtk_bytes_status(json, err));
  } else {
    MTK_TRY(write_fields(json, &w, err));
  }
  if (vocab->hf_config_json) {
    mtk_bytes_append(config_json, vocab->hf_config_json, vocab->hf_config_json_len);
    return mtk_bytes_status(config_json, err);
  }
  return write_json(config_json, &w, write_config, err);
}
