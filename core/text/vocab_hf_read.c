/* text/vocab_hf_read.c: tokenizer.json and tokenizer_config.json into a vocabulary. One thread per
 * vocabulary. Components of tokenizer.json are rows of tables: a new normalizer or pre-tokenizer is
 * a row and a function. */
#include <string.h>

#include "base/hashmap.h"
#include "text/pretok.h"
#include "text/vocab_hf.h"

const text_hf_special mtk_text_hf_specials[] = {
    {"bos_token", offsetof(mtk_vocab, bos)},
    {"eos_token", offsetof(mtk_vocab, eos)},
    {"unk_token", offsetof(mtk_vocab, unk)},
    {"pad_token", offsetof(mtk_vocab, pad)},
};
const size_t mtk_text_hf_specials_len =
    sizeof mtk_text_hf_specials / sizeof mtk_text_hf_specials[0];

/* Names of end-of-turn tokens, in order of preference. */
static const char *const eot_names[] = {"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"};

typedef struct reader {
  mtk_vocab *vocab;
  mtk_map *ids; /* token text -> id */
  size_t max_tokens, cap_tokens;
  const char **patterns;
  size_t cap_patterns;
  bool byte_level; /* a ByteLevel pre-tokenizer was seen */
} reader;

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a tokenizer");
}

static const char *string_of(const json_t *object, const char *key) {
  const char *s = json_string_value(json_object_get(object, key));
  return s ? s : "";
}

static bool flag_of(const json_t *object, const char *key, bool otherwise) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static mtk_status parse(json_t **out, const char *text, size_t n, const char *file, size_t flags,
                        mtk_error *err) {
  json_error_t problem;
  *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | flags, &problem);
  if (*out && json_is_object(*out)) return MTK_OK;
  bool parsed = *out != NULL;
  json_decref(*out);
  *out = NULL;
  if (!parsed && json_error_code(&problem) == json_error_out_of_memory) return no_memory(err);
  char place[64];
  mtk_bytes text_place = {.max = sizeof place};
  mtk_bytes_printf(&text_place, "%s: line %d", file, parsed ? 1 : problem.line);
  mtk_status status = mtk_fail(err, MTK_E_FORMAT, text_place.data, "%s",
                               parsed ? "is not a JSON object" : problem.text);
  mtk_bytes_finish(&text_place);
  return status;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static mtk_status grow_tokens(reader *r, size_t n, mtk_error *err) {
  mtk_vocab *vocab = r->vocab;
  if (n > r->cap_tokens) {
    size_t cap = n + r->cap_tokens;
    mtk_token *grown = mtk_arena_alloc(vocab->arena, cap, sizeof *grown);
    if (!grown) return no_memory(err);
    if (vocab->n_tokens > 0) memcpy(grown, vocab->tokens, vocab->n_tokens * sizeof *grown);
    vocab->tokens = grown;
    r->cap_tokens = cap;
  }
  while (vocab->n_tokens < n) vocab->tokens[vocab->n_tokens++].type = MTK_TOKEN_UNUSED;
  return MTK_OK;
}

/* Puts a token in its place; the array is already large enough. */
static mtk_status set_token(reader *r, json_int_t id, const char *text, size_t len, uint8_t type,
                            mtk_error *err) {
  mtk_token *token = &r->vocab->tokens[id];
  if (token->text && (token->len != len || memcmp(token->text, text, len) != 0)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json", "id %lld is given to two tokens",
                    (long long)id);
  }
  if (!token->text) {
    token->text = mtk_arena_strndup(r->vocab->arena, text, len);
    token->len = (uint32_t)len;
    bool found = false;
    mtk_map_value *value = token->text ? mtk_map_put(r->ids, text, len, &found) : NULL;
    if (!value) return no_memory(err);
    if (found) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json", "token \"%.60s\" has two ids", text);
    }
    value->i = id;
  }
  token->type = type;
  return MTK_OK;
}

static mtk_status check_id(const reader *r, json_int_t id, mtk_error *err) {
  if (id >= 0 && (uint64_t)id < r->max_tokens) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json", "token id %lld is out of range",
                  (long long)id);
}

static mtk_status read_vocab(reader *r, const json_t *model, mtk_error *err) {
  json_t *tokens = json_object_get(model, "vocab"), *value;
  if (!json_is_object(tokens)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: model.vocab", "is not an object");
  }
  const char *text;
  json_int_t last = -1;
  json_object_foreach(tokens, text, value) {
    if (!json_is_integer(value)) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: model.vocab", "\"%.60s\" has no id",
                      text);
    }
    MTK_TRY(check_id(r, json_integer_value(value), err));
    if (json_integer_value(value) > last) last = json_integer_value(value);
  }
  MTK_TRY(grow_tokens(r, (size_t)(last + 1), err));
  json_object_foreach(tokens, text, value) {
    MTK_TRY(set_token(r, json_integer_value(value), text, strlen(text), MTK_TOKEN_NORMAL, err));
  }
  return MTK_OK;
}

static mtk_status add_token(reader *r, json_int_t id, const json_t *added, mtk_error *err) {
  const json_t *content = json_object_get(added, "content");
  if (!json_is_string(content)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: added_tokens", "a token has no content");
  }
  bool special = flag_of(added, "special", false);
  MTK_TRY(check_id(r, id, err));
  MTK_TRY(grow_tokens(r, (size_t)id + 1, err));
  MTK_TRY(set_token(r, id, json_string_value(content), json_string_length(content),
                    special ? MTK_TOKEN_CONTROL : MTK_TOKEN_USER_DEFINED, err));
  mtk_token *token = &r->vocab->tokens[id];
  token->lstrip = flag_of(added, "lstrip", false);
  token->rstrip = flag_of(added, "rstrip", false);
  token->single_word = flag_of(added, "single_word", false);
  token->normalized = flag_of(added, "normalized", !special);
  return MTK_OK;
}

static mtk_status read_added(reader *r, const json_t *root, mtk_error *err) {
  json_t *list = json_object_get(root, "added_tokens"), *added;
  json_int_t last = -1;
  size_t i;
  json_array_foreach(list, i, added) {
    const json_t *id = json_object_get(added, "id");
    if (!json_is_integer(id)) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: added_tokens", "a token has no id");
    }
    MTK_TRY(check_id(r, json_integer_value(id), err));
    if (json_integer_value(id) > last) last = json_integer_value(id);
  }
  MTK_TRY(grow_tokens(r, (size_t)(last + 1), err));
  json_array_foreach(list, i, added) {
    MTK_TRY(add_token(r, json_integer_value(json_object_get(added, "id")), added, err));
  }
  return MTK_OK;
}

/* ---- model ---------------------------------------------------------------------------------- */

static mtk_status merge_text(reader *r, const json_t *merge, const char **out, mtk_error *err) {
  const char *text = json_string_value(merge);
  if (text) {
    *out = mtk_arena_strndup(r->vocab->arena, text, json_string_length(merge));
    return *out ? MTK_OK : no_memory(err);
  }
  const char *left = json_string_value(json_array_get(merge, 0));
  const char *right = json_string_value(json_array_get(merge, 1));
  if (!left || !right || strchr(left, ' ') || strchr(right, ' ')) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: model.merges", "a merge is not two tokens");
  }
  mtk_bytes joined = {0};
  mtk_bytes_puts(&joined, left);
  mtk_bytes_puts(&joined, " ");
  mtk_bytes_puts(&joined, right);
  mtk_status status = mtk_bytes_status(&joined, err);
  if (status == MTK_OK) {
    *out = mtk_arena_strndup(r->vocab->arena, joined.data, joined.len);
    if (!*out) status = no_memory(err);
  }
  mtk_bytes_finish(&joined);
  return status;
}

static mtk_status read_merges(reader *r, const json_t *model, mtk_error *err) {
  json_t *merges = json_object_get(model, "merges"), *merge;
  if (!json_is_array(merges)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: model.merges", "is not an array");
  }
  size_t n = json_array_size(merges), i;
  const char **texts = mtk_arena_alloc(r->vocab->arena, n, sizeof *texts);
  if (!texts) return no_memory(err);
  json_array_foreach(merges, i, merge) { MTK_TRY(merge_text(r, merge, &texts[i], err)); }
  r->vocab->merges = texts;
  r->vocab->n_merges = n;
  return MTK_OK;
}

static mtk_status unsupported(mtk_error *err, const char *what, const char *value) {
  return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer.json", "%s %.80s is not supported", what,
                  value);
}

static mtk_status read_model(reader *r, const json_t *root, mtk_error *err) {
  static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
  const json_t *model = json_object_get(root, "model");
  const char *type = string_of(model, "type");
  bool bpe = strcmp(type, "BPE") == 0 || (!*type && json_object_get(model, "merges"));
  if (!bpe) return unsupported(err, "model.type", *type ? type : "(none)");
  if (flag_of(model, "byte_fallback", false)) return unsupported(err, "model", "byte_fallback");
  for (size_t i = 0; i < 2; i++) {
    if (*string_of(model, affixes[i])) return unsupported(err, "model", affixes[i]);
  }
  r->vocab->kind = MTK_VOCAB_BPE;
  r->vocab->ignore_merges = flag_of(model, "ignore_merges", false);
  MTK_TRY(read_vocab(r, model, err));
  MTK_TRY(read_merges(r, model, err));
  const char *unk = string_of(model, "unk_token");
  const mtk_map_value *id = *unk ? mtk_map_get(r->ids, unk, strlen(unk)) : NULL;
  if (id) r->vocab->unk = (int32_t)id->i;
  r->vocab->bytes_to_unk = id != NULL;
  return MTK_OK;
}

/* ---- normalizer, pre-tokenizer, decoder, post-processor ------------------------------------- */

typedef mtk_status (*component_fn)(reader *r, const json_t *component, mtk_error *err);
typedef struct component_row {
  const char *type;
  component_fn read;
} component_row;

/* Runs the row of a component's type; a Sequence (items under `list`) runs each of its items. */
static mtk_status read_component(reader *r, const json_t *component, const char *what,
                                 const char *list, const component_row *rows, mtk_error *err) {
  if (!component || json_is_null(component)) return MTK_OK;
  const char *type = string_of(component, "type");
  if (strcmp(type, "Sequence") == 0) {
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(component, list), i, item) {
      if (strcmp(string_of(item, "type"), "Sequence") == 0) {
        return unsupported(err, what, "Sequence in a Sequence");
      }
      MTK_TRY(read_component(r, item, what, list, rows, err));
    }
    return MTK_OK;
  }
  for (; rows->type; rows++) {
    if (strcmp(rows->type, type) == 0) return rows->read(r, component, err);
  }
  return unsupported(err, what, *type ? type : "without a type");
}

static mtk_status read_nfc(reader *r, const json_t *component, mtk_error *err) {
  (void)component;
  (void)err;
  r->vocab->nfc = true;
  return MTK_OK;
}

static const component_row normalizers[] = {{"NFC", read_nfc}, {NULL, NULL}};

static mtk_status add_pattern(reader *r, const char *pattern, size_t n, mtk_error *err) {
  if (r->byte_level) return unsupported(err, "pre_tokenizer", "steps after ByteLevel");
  if (r->vocab->n_patterns == r->cap_patterns) {
    return mtk_fail(err, MTK_E_LIMIT, "tokenizer.json: pre_tokenizer", "too many steps");
  }
  const char *copy = mtk_arena_strndup(r->vocab->arena, pattern, n);
  if (!copy) return no_memory(err);
  r->patterns[r->vocab->n_patterns++] = copy;
  return MTK_OK;
}

/* A literal as a regular expression. */
static mtk_status add_literal(reader *r, const char *text, mtk_error *err) {
  mtk_bytes quoted = {0};
  for (; *text; text++) {
    if (strchr("\\^$.[]|()?*+{}-/#", *text)) mtk_bytes_puts(&quoted, "\\");
    mtk_bytes_append(&quoted, text, 1);
  }
  mtk_status status = mtk_bytes_status(&quoted, err);
  if (status == MTK_OK) status = add_pattern(r, quoted.data ? quoted.data : "", quoted.len, err);
  mtk_bytes_finish(&quoted);
  return status;
}

static mtk_status read_split(reader *r, const json_t *component, mtk_error *err) {
  const char *behavior = string_of(component, "behavior");
  bool invert = flag_of(component, "invert", false);
  /* Removed + invert keeps the matches: the same for patterns that match everything. */
  bool isolated = strcmp(behavior, "Isolated") == 0 || (strcmp(behavior, "Removed") == 0 && invert);
  if (!isolated) return unsupported(err, "pre_tokenizer Split with behavior", behavior);
  const json_t *pattern = json_object_get(component, "pattern");
  const char *literal = json_string_value(json_object_get(pattern, "String"));
  if (literal) return add_literal(r, literal, err);
  const json_t *regex = json_object_get(pattern, "Regex");
  if (!json_is_string(regex)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: pre_tokenizer", "a Split has no pattern");
  }
  return add_pattern(r, json_string_value(regex), json_string_length(regex), err);
}

static mtk_status read_digits(reader *r, const json_t *component, mtk_error *err) {
  bool individual = flag_of(component, "individual_digits", false);
  if (individual && r->vocab->n_patterns == 0 && !r->byte_level) {
    r->vocab->split_digits = true;
    return MTK_OK;
  }
  return individual ? add_pattern(r, mtk_text_pattern_digit, strlen(mtk_text_pattern_digit), err)
                    : add_pattern(r, "\\p{N}+", 6, err);
}

static mtk_status read_byte_level(reader *r, const json_t *component, mtk_error *err) {
  if (flag_of(component, "use_regex", true)) {
    MTK_TRY(add_pattern(r, mtk_text_pattern_gpt2, strlen(mtk_text_pattern_gpt2), err));
  }
  if (flag_of(component, "add_prefix_space", true)) r->vocab->add_prefix_space = true;
  r->byte_level = true;
  return MTK_OK;
}

static const component_row pre_tokenizers[] = {
    {"Split", read_split}, {"Digits", read_digits}, {"ByteLevel", read_byte_level}, {NULL, NULL}};

static mtk_status read_pre_tokenizer(reader *r, const json_t *root, mtk_error *err) {
  r->cap_patterns = 16;
  r->patterns = mtk_arena_alloc(r->vocab->arena, r->cap_patterns, sizeof *r->patterns);
  if (!r->patterns) return no_memory(err);
  MTK_TRY(read_component(r, json_object_get(root, "pre_tokenizer"), "pre_tokenizer",
                         "pretokenizers", pre_tokenizers, err));
  r->vocab->patterns = r->patterns;
  if (!r->byte_level) return unsupported(err, "pre_tokenizer", "without ByteLevel");
  r->vocab->pre = mtk_vocab_find_pre(r->vocab);
  return MTK_OK;
}

static mtk_status ignore(reader *r, const json_t *component, mtk_error *err) {
  (void)r;
  (void)component;
  (void)err;
  return MTK_OK;
}

static const component_row decoders[] = {{"ByteLevel", ignore}, {NULL, NULL}};

/* TemplateProcessing: special tokens before and after the sequence are BOS and EOS. */
static mtk_status read_template(reader *r, const json_t *component, mtk_error *err) {
  (void)err;
  mtk_vocab *vocab = r->vocab;
  bool after = false;
  size_t i;
  json_t *item;
  vocab->add_bos = vocab->add_eos = 0;
  json_array_foreach(json_object_get(component, "single"), i, item) {
    const char *name = string_of(json_object_get(item, "SpecialToken"), "id");
    const mtk_map_value *id = *name ? mtk_map_get(r->ids, name, strlen(name)) : NULL;
    if (json_object_get(item, "Sequence")) after = true;
    if (!id) continue;
    *(after ? &vocab->eos : &vocab->bos) = (int32_t)id->i;
    *(after ? &vocab->add_eos : &vocab->add_bos) = 1;
  }
  return MTK_OK;
}

static const component_row post_processors[] = {
    {"TemplateProcessing", read_template}, {"ByteLevel", ignore}, {NULL, NULL}};

/* ---- tokenizer_config.json ------------------------------------------------------------------ */

/* A token given as a string or as an AddedToken object. */
static const char *token_text(const json_t *value) {
  const char *text = json_string_value(value);
  return text ? text : json_string_value(json_object_get(value, "content"));
}

static mtk_status read_config_tokens(reader *r, const json_t *config, mtk_error *err) {
  const char *key;
  json_t *added;
  json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, added) {
    json_int_t id = 0;
    size_t digits = strspn(key, "0123456789");
    if (digits == 0 || digits > 9 || key[digits]) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer_config.json: added_tokens_decoder",
                      "\"%.40s\" is not a token id", key);
    }
    for (const char *p = key; *p; p++) id = id * 10 + (*p - '0');
    bool present = (size_t)id < r->vocab->n_tokens && r->vocab->tokens[id].text;
    if (!present) MTK_TRY(add_token(r, id, added, err));
  }
  return MTK_OK;
}

static mtk_status read_config(reader *r, const json_t *config, mtk_error *err) {
  mtk_vocab *vocab = r->vocab;
  MTK_TRY(read_config_tokens(r, config, err));
  for (size_t i = 0; i < mtk_text_hf_specials_len; i++) {
    const char *text = token_text(json_object_get(config, mtk_text_hf_specials[i].key));
    const mtk_map_value *id = text ? mtk_map_get(r->ids, text, strlen(text)) : NULL;
    if (id) *text_special_field(vocab, mtk_text_hf_specials[i].field) = (int32_t)id->i;
  }
  const json_t *bos = json_object_get(config, "add_bos_token");
  const json_t *eos = json_object_get(config, "add_eos_token");
  if (vocab->add_bos < 0 && json_is_boolean(bos)) vocab->add_bos = json_is_true(bos);
  if (vocab->add_eos < 0 && json_is_boolean(eos)) vocab->add_eos = json_is_true(eos);
  return MTK_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static mtk_status read_all(reader *r, const json_t *root, const json_t *config, mtk_error *err) {
  mtk_vocab *vocab = r->vocab;
  const json_t *tokens = json_object_get(json_object_get(root, "model"), "vocab");
  r->max_tokens =
      2 * (json_object_size(tokens) + json_array_size(json_object_get(root, "added_tokens"))) +
      4096;
  MTK_TRY(read_component(r, json_object_get(root, "normalizer"), "normalizer", "normalizers",
                         normalizers, err));
  MTK_TRY(read_model(r, root, err));
  MTK_TRY(read_added(r, root, err));
  MTK_TRY(read_pre_tokenizer(r, root, err));
  MTK_TRY(
      read_component(r, json_object_get(root, "decoder"), "decoder", "decoders", decoders, err));
  MTK_TRY(read_component(r, json_object_get(root, "post_processor"), "post_processor", "processors",
                         post_processors, err));
  if (config) MTK_TRY(read_config(r, config, err));
  if (vocab->add_bos < 0) vocab->add_bos = 0; /* no post-processor adds it */
  if (vocab->add_eos < 0) vocab->add_eos = 0;
  for (size_t i = 0; i < sizeof eot_names / sizeof eot_names[0] && vocab->eot < 0; i++) {
    const mtk_map_value *id = mtk_map_get(r->ids, eot_names[i], strlen(eot_names[i]));
    if (id) vocab->eot = (int32_t)id->i;
  }
  return MTK_OK;
}

static mtk_status keep_text(mtk_vocab *vocab, const char **copy, size_t *copy_n, const char *text,
                            size_t n, mtk_error *err) {
  char *kept = mtk_arena_alloc(vocab->arena, n + 1, 1);
  if (!kept) return no_memory(err);
  memcpy(kept, text, n);
  *copy = kept;
  *copy_n = n;
  return MTK_OK;
}

static mtk_status read_texts(reader *r, const char *json, size_t n, const char *config_json,
                             size_t config_n, mtk_error *err) {
  json_t *root = NULL, *config = NULL;
  mtk_status status = parse(&root, json, n, "tokenizer.json", 0, err);
  if (status == MTK_OK && config_json) { /* model_max_length may be 10^30 */
    status = parse(&config, config_json, config_n, "tokenizer_config.json", JSON_DECODE_INT_AS_REAL,
                   err);
  }
  if (status == MTK_OK) status = read_all(r, root, config, err);
  json_decref(root);
  json_decref(config);
  MTK_TRY(status);
  mtk_vocab *vocab = r->vocab;
  MTK_TRY(keep_text(vocab, &vocab->hf_json, &vocab->hf_json_len, json, n, err));
  if (!config_json) return MTK_OK;
  return keep_text(vocab, &vocab->hf_config_json, &vocab->hf_config_json_len, config_json, config_n,
                   err);
}

mtk_status mtk_vocab_from_hf(mtk_vocab **out, const char *json, size_t n, const char *config_json,
                             size_t config_n, mtk_error *err) {
  reader r = {.vocab = mtk_vocab_create(), .ids = mtk_map_create()};
  mtk_status status = MTK_OK;
  if (!r.vocab || !r.ids) status = no_memory(err);
  if (status == MTK_OK) status = read_texts(&r, json, n, config_json, config_n, err);
  mtk_map_destroy(r.ids);
  if (status != MTK_OK) {
    mtk_vocab_destroy(r.vocab);
    return status;
  }
  *out = r.vocab;
  return MTK_OK;
}
