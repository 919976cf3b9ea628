/* text/vocab_hf_read.c: tokenizer.json and tokenizer_config.json into a vocabulary: tokens, model,
 * post-processor (the pipeline's steps: hf_steps.c). One thread per vocabulary. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hashmap.h"
#include "text/hf_steps.h"
#include "text/pipeline.h"
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
  char nul[4]; /* stands for NUL in the parsed texts, which jansson cannot hold in keys; or "" */
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

/* The next escape \u0000 in JSON text, or NULL. */
static const char *find_nul(const char *at, const char *end) {
  while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL && end - at >= 6) {
    if (memcmp(at + 1, "u0000", 5) == 0) return at;
    at += 2;
  }
  return NULL;
}

/* Parses tokenizer.json, with NULs in its texts spelled as a noncharacter that it does not use. */
static mtk_status parse_tokenizer(reader *r, json_t **out, const char *text, size_t n,
                                  mtk_error *err) {
  static const char *const spare[][2] = {
      {"\xEF\xBF\xBF", "\\uffff"}, {"\xEF\xBF\xBE", "\\ufffe"}, {"\xEF\xB7\x90", "\\ufdd0"}};
  const char *end = text + n, *at = find_nul(text, end);
  size_t use = 0;
  while (at && use < 2 &&
         (memmem(text, n, spare[use][0], 3) || memmem(text, n, spare[use][1], 6))) {
    use++;
  }
  if (!at) return parse(out, text, n, "tokenizer.json", 0, err);
  memcpy(r->nul, spare[use][0], sizeof r->nul);
  mtk_bytes copy = {0};
  for (; at; at = find_nul(text, end)) {
    mtk_bytes_append(&copy, text, (size_t)(at - text));
    mtk_bytes_append(&copy, r->nul, 3);
    text = at + 6;
  }
  mtk_bytes_append(&copy, text, (size_t)(end - text));
  mtk_status status = mtk_bytes_status(&copy, err);
  if (status == MTK_OK) status = parse(out, copy.data, copy.len, "tokenizer.json", 0, err);
  mtk_bytes_finish(&copy);
  return status;
}

/* A copy of a text as it was meant. */
static char *copy_text(reader *r, const char *text, size_t *len) {
  char *copy = mtk_arena_alloc(r->vocab->arena, *len + 1, 1);
  if (!copy) return NULL;
  memcpy(copy, text, *len);
  char *at = copy, *end = copy + *len;
  while (*r->nul && (at = memmem(at, (size_t)(end - at), r->nul, 3)) != NULL) {
    *at++ = 0;
    memmove(at, at + 2, (size_t)(end - at - 2) + 1);
    end -= 2;
  }
  *len = (size_t)(end - copy);
  return copy;
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
  text = copy_text(r, text, &len);
  if (!text) return no_memory(err);
  if (token->text && (token->len != len || memcmp(token->text, text, len) != 0)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json", "id %lld is given to two tokens",
                    (long long)id);
  }
  if (!token->text) {
    token->text = text;
    token->len = (uint32_t)len;
    bool found = false;
    mtk_map_value *value = mtk_map_put(r->ids, text, len, &found);
    if (!value) return no_memory(err);
    if (found && r->vocab->kind != MTK_VOCAB_UNIGRAM) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json", "token \"%.60s\" has two ids", text);
    }
    if (!found) value->i = id;
  }
  token->type = type;
  return MTK_OK;
}

static mtk_status check_id(const reader *r, json_int_t id, mtk_error *err) {
  if (id >= 0 && (uint64_t)id < r->max_tokens) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json", "token id %lld is out of range",
                  (long long)id);
}

static mtk_status read_vocab_object(reader *r, const json_t *model, mtk_error *err) {
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

/* A score as serde_json (1.0, without float_roundtrip) reads the shortest spelling of a number:
 * digits as an integer, times a power of ten. It differs from the number in the last bit at times,
 * and that bit decides between segmentations of equal score. */
static double serde_score(double score) {
  static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  char text[40];
  double magnitude = score < 0 ? -score : score;
  if (!(magnitude >= 1e-4 && magnitude < 1e15)) return score;
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, magnitude);
    if (strtod(text, NULL) == magnitude) break;
  }
  uint64_t digits = 0;
  size_t fraction = 0;
  bool after = false;
  for (const char *p = text; *p; p++) {
    if (*p != '.') digits = digits * 10 + (uint64_t)(*p - '0');
    fraction += after;
    after |= *p == '.';
  }
  double value = (double)digits / powers[fraction < 22 ? fraction : 22];
  return score < 0 ? -value : value;
}

/* Unigram: [[text, score], ...] in order of ids. */
static mtk_status read_vocab_scores(reader *r, const json_t *model, mtk_error *err) {
  json_t *tokens = json_object_get(model, "vocab"), *entry;
  size_t i;
  if (!json_is_array(tokens)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: model.vocab", "is not an array");
  }
  MTK_TRY(grow_tokens(r, json_array_size(tokens), err));
  double *exact = mtk_arena_alloc(r->vocab->arena, json_array_size(tokens), sizeof *exact);
  if (!exact) return no_memory(err);
  r->vocab->exact_scores = exact;
  r->vocab->n_exact_scores = json_array_size(tokens);
  json_array_foreach(tokens, i, entry) {
    const json_t *text = json_array_get(entry, 0), *score = json_array_get(entry, 1);
    if (!json_is_string(text) || !json_is_number(score)) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: model.vocab",
                      "entry %zu is no token with a score", i);
    }
    MTK_TRY(set_token(r, (json_int_t)i, json_string_value(text), json_string_length(text),
                      MTK_TOKEN_NORMAL, err));
    exact[i] = serde_score(json_number_value(score));
    r->vocab->tokens[i].score = (float)json_number_value(score);
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
  if (!left || !right) {
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

/* The id of a token named in the model, or -1. */
static int32_t id_of(const reader *r, const char *text) {
  const mtk_map_value *id = *text ? mtk_map_get(r->ids, text, strlen(text)) : NULL;
  return id ? (int32_t)id->i : -1;
}

static mtk_status copy_string(reader *r, const json_t *model, const char *key, const char **out,
                              mtk_error *err) {
  const char *text = string_of(model, key);
  if (!*text) return MTK_OK;
  *out = mtk_arena_strndup(r->vocab->arena, text, strlen(text));
  return *out ? MTK_OK : no_memory(err);
}

static mtk_status read_bpe(reader *r, const json_t *model, mtk_error *err) {
  mtk_vocab *vocab = r->vocab;
  if (json_number_value(json_object_get(model, "dropout")) != 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer.json", "model.dropout makes ids random");
  }
  vocab->ignore_merges = flag_of(model, "ignore_merges", false);
  vocab->fuse_unk = flag_of(model, "fuse_unk", false);
  MTK_TRY(copy_string(r, model, "continuing_subword_prefix", &vocab->continuing_prefix, err));
  MTK_TRY(copy_string(r, model, "end_of_word_suffix", &vocab->end_of_word_suffix, err));
  MTK_TRY(read_vocab_object(r, model, err));
  vocab->unk = id_of(r, string_of(model, "unk_token"));
  return read_merges(r, model, err);
}

static mtk_status read_unigram(reader *r, const json_t *model, mtk_error *err) {
  MTK_TRY(read_vocab_scores(r, model, err));
  const json_t *unk = json_object_get(model, "unk_id");
  if (!json_is_integer(unk)) return MTK_OK;
  if (json_integer_value(unk) < 0 || (size_t)json_integer_value(unk) >= r->vocab->n_tokens) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: model.unk_id", "is not in the vocabulary");
  }
  r->vocab->unk = (int32_t)json_integer_value(unk);
  r->vocab->fuse_unk = true;
  return MTK_OK;
}

static mtk_status read_words(reader *r, const json_t *model, mtk_error *err) {
  MTK_TRY(read_vocab_object(r, model, err));
  r->vocab->unk = id_of(r, string_of(model, "unk_token"));
  return MTK_OK;
}

static mtk_status read_wordpiece(reader *r, const json_t *model, mtk_error *err) {
  const json_t *limit = json_object_get(model, "max_input_chars_per_word");
  r->vocab->max_word_chars = 100;
  if (json_is_integer(limit) && json_integer_value(limit) > 0) {
    r->vocab->max_word_chars = (size_t)json_integer_value(limit);
  }
  r->vocab->continuing_prefix = "##";
  if (json_is_string(json_object_get(model, "continuing_subword_prefix"))) {
    r->vocab->continuing_prefix = "";
    MTK_TRY(copy_string(r, model, "continuing_subword_prefix", &r->vocab->continuing_prefix, err));
  }
  return read_words(r, model, err);
}

typedef struct model_row {
  const char *type;
  const char *key; /* tells it from the others where older files give no type */
  mtk_vocab_kind kind;
  mtk_status (*read)(reader *r, const json_t *model, mtk_error *err);
} model_row;
static const model_row models[] = {
    {"BPE", "merges", MTK_VOCAB_BPE, read_bpe},
    {"WordPiece", "max_input_chars_per_word", MTK_VOCAB_WORDPIECE, read_wordpiece},
    {"Unigram", "unk_id", MTK_VOCAB_UNIGRAM, read_unigram},
    {"WordLevel", "unk_token", MTK_VOCAB_WORDLEVEL, read_words},
};

/* "<0x41>" and its like are bytes. */
static void mark_bytes(mtk_vocab *vocab) {
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    mtk_token *t = &vocab->tokens[i];
    bool byte = t->text && t->len == 6 && memcmp(t->text, "<0x", 3) == 0 && t->text[5] == '>' &&
                strspn(t->text + 3, "0123456789ABCDEF") == 2;
    if (byte && t->type == MTK_TOKEN_NORMAL) t->type = MTK_TOKEN_BYTE;
  }
}

static mtk_status read_model(reader *r, const json_t *root, mtk_error *err) {
  const json_t *model = json_object_get(root, "model");
  const char *type = string_of(model, "type");
  const model_row *row = NULL;
  for (size_t i = 0; i < sizeof models / sizeof models[0] && !row; i++) {
    bool is_it =
        *type ? strcmp(models[i].type, type) == 0 : json_object_get(model, models[i].key) != NULL;
    if (is_it) row = &models[i];
  }
  if (!row) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer.json", "model.type %.80s is not supported",
                    *type ? type : "(none)");
  }
  r->vocab->kind = row->kind;
  r->vocab->byte_fallback = flag_of(model, "byte_fallback", false);
  MTK_TRY(row->read(r, model, err));
  r->vocab->bytes_to_unk = r->vocab->unk >= 0;
  if (r->vocab->byte_fallback) mark_bytes(r->vocab);
  return MTK_OK;
}

/* ---- post-processor ------------------------------------------------------------------------- */

enum { MAX_TEMPLATE = 64 };

/* Ids around the text: what a later processor adds goes outside of what is there. */
typedef struct template {
  int32_t prefix[MAX_TEMPLATE], suffix[MAX_TEMPLATE];
  size_t n_prefix, n_suffix;
}
template;

static mtk_status template_id(const reader *r, template *t, bool after, json_int_t id,
                              mtk_error *err) {
  size_t *n = after ? &t->n_suffix : &t->n_prefix;
  if (*n == MAX_TEMPLATE || id < 0 || (size_t)id >= r->vocab->n_tokens) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: post_processor",
                    "id %lld is not in the vocabulary, or there are too many", (long long)id);
  }
  (after ? t->suffix : t->prefix)[(*n)++] = (int32_t)id;
  return MTK_OK;
}

/* TemplateProcessing.single: special tokens before and after the text. */
static mtk_status read_single(const reader *r, template *t, const json_t *processor,
                              mtk_error *err) {
  const json_t *specials = json_object_get(processor, "special_tokens");
  size_t i, k, texts = 0;
  json_t *item, *id;
  json_array_foreach(json_object_get(processor, "single"), i, item) {
    if (json_object_get(item, "Sequence")) texts++;
    const char *name = string_of(json_object_get(item, "SpecialToken"), "id");
    json_t *ids = *name ? json_object_get(json_object_get(specials, name), "ids") : NULL;
    json_array_foreach(ids, k, id) {
      MTK_TRY(template_id(r, t, texts > 0, json_is_integer(id) ? json_integer_value(id) : -1, err));
    }
    if (*name && !ids) MTK_TRY(template_id(r, t, texts > 0, id_of(r, name), err));
  }
  if (texts == 1) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer.json: post_processor",
                  "a template with %zu texts", texts);
}

/* BertProcessing and RobertaProcessing: "cls": [text, id] before, "sep" after. */
static mtk_status read_cls_sep(const reader *r, template *t, const json_t *processor,
                               mtk_error *err) {
  const json_t *cls = json_array_get(json_object_get(processor, "cls"), 1);
  const json_t *sep = json_array_get(json_object_get(processor, "sep"), 1);
  if (!json_is_integer(cls) || !json_is_integer(sep)) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer.json: post_processor", "cls or sep has no id");
  }
  MTK_TRY(template_id(r, t, false, json_integer_value(cls), err));
  return template_id(r, t, true, json_integer_value(sep), err);
}

static mtk_status keep_ids(mtk_vocab *vocab, const int32_t **out, size_t *n_out,
                           const int32_t *outer, size_t n, bool after, mtk_error *err) {
  int32_t *ids = mtk_arena_alloc(vocab->arena, n + *n_out, sizeof *ids);
  if (!ids) return no_memory(err);
  const int32_t *inner = *out;
  for (size_t i = 0; i < n; i++) ids[after ? *n_out + i : i] = outer[i];
  for (size_t i = 0; i < *n_out; i++) ids[after ? i : n + i] = inner[i];
  *out = ids;
  *n_out += n;
  return MTK_OK;
}

static mtk_status read_processor(reader *r, const json_t *processor, int depth, mtk_error *err) {
  const char *type = string_of(processor, "type");
  mtk_vocab *vocab = r->vocab;
  if (strcmp(type, "ByteLevel") == 0) return MTK_OK; /* changes offsets only */
  if (strcmp(type, "Sequence") == 0 && depth < 8) {
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(processor, "processors"), i, item) {
      MTK_TRY(read_processor(r, item, depth + 1, err));
    }
    return MTK_OK;
  }
  template t = {.n_prefix = 0};
  if (strcmp(type, "TemplateProcessing") == 0) {
    MTK_TRY(read_single(r, &t, processor, err));
  } else if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
    MTK_TRY(read_cls_sep(r, &t, processor, err));
  } else {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer.json",
                    "post_processor %.80s is not supported", *type ? type : "without a type");
  }
  vocab->has_template = true;
  MTK_TRY(keep_ids(vocab, &vocab->template_prefix, &vocab->n_template_prefix, t.prefix, t.n_prefix,
                   false, err));
  return keep_ids(vocab, &vocab->template_suffix, &vocab->n_template_suffix, t.suffix, t.n_suffix,
                  true, err);
}

/* The special tokens of a template are BOS and EOS, for formats that know only those. */
static mtk_status read_post_processor(reader *r, const json_t *root, mtk_error *err) {
  const json_t *processor = json_object_get(root, "post_processor");
  mtk_vocab *vocab = r->vocab;
  if (!processor || json_is_null(processor)) return MTK_OK;
  MTK_TRY(read_processor(r, processor, 0, err));
  if (!vocab->has_template) return MTK_OK;
  vocab->add_bos = vocab->n_template_prefix > 0;
  vocab->add_eos = vocab->n_template_suffix > 0;
  if (vocab->add_bos) vocab->bos = vocab->template_prefix[0];
  if (vocab->add_eos) vocab->eos = vocab->template_suffix[vocab->n_template_suffix - 1];
  return MTK_OK;
}

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

static mtk_status read_steps(reader *r, const json_t *root, mtk_error *err) {
  mtk_vocab *vocab = r->vocab;
  mtk_arena *arena = vocab->arena;
  MTK_TRY(mtk_text_hf_read_steps(&vocab->normalizers, arena, json_object_get(root, "normalizer"),
                                 TEXT_HF_NORMALIZER, err));
  MTK_TRY(mtk_text_hf_read_steps(&vocab->pre_tokenizers, arena,
                                 json_object_get(root, "pre_tokenizer"), TEXT_HF_PRE_TOKENIZER,
                                 err));
  MTK_TRY(mtk_text_hf_read_steps(&vocab->decoders, arena, json_object_get(root, "decoder"),
                                 TEXT_HF_DECODER, err));
  return mtk_text_pipeline_name(vocab, err);
}

static mtk_status read_all(reader *r, const json_t *root, const json_t *config, mtk_error *err) {
  mtk_vocab *vocab = r->vocab;
  const json_t *tokens = json_object_get(json_object_get(root, "model"), "vocab");
  r->max_tokens = 2 * (json_object_size(tokens) + json_array_size(tokens) +
                       json_array_size(json_object_get(root, "added_tokens"))) +
                  4096;
  MTK_TRY(read_model(r, root, err));
  MTK_TRY(read_steps(r, root, err));
  MTK_TRY(read_added(r, root, err));
  MTK_TRY(read_post_processor(r, root, err));
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
  mtk_status status = parse_tokenizer(r, &root, json, n, err);
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
