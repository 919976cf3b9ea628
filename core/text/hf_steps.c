/* text/hf_steps.c: one table says how each component is spelled; reading and writing follow it. */
#include "text/hf_steps.h"

#include <string.h>

#include "text/base64.h"

enum { MAX_STEPS = 64, MAX_FIELDS = 4, MAX_DEPTH = 16 };

typedef enum field_kind {
  FIELD_END = 0,
  FIELD_FLAG,    /* step.flags & value; otherwise */
  FIELD_IGNORED, /* written as true */
  FIELD_TEXT,    /* step.text */
  FIELD_WORD,    /* step.pattern, a plain string */
  FIELD_PATTERN, /* step.pattern: {"String": ...} or {"Regex": ...} */
  FIELD_BLOB,    /* step.text, in base64 */
  FIELD_A,       /* step.a */
  FIELD_B,       /* step.b */
  FIELD_BEHAVIOR,
  FIELD_SCHEME
} field_kind;

enum { OFF = 0, ON = 1, LIKE_LOWER = 2 }; /* what a missing flag means */

typedef struct field {
  const char *key;
  field_kind kind;
  uint32_t value; /* the flag; of numbers: the default */
  int otherwise;
} field;

typedef struct component {
  const char *type;
  mtk_step_kind kind;
  unsigned roles;
  field fields[MAX_FIELDS];
} component;

enum { N = TEXT_HF_NORMALIZER, P = TEXT_HF_PRE_TOKENIZER, D = TEXT_HF_DECODER };

#define METASPACE_FIELDS                                                                           \
  {"replacement", FIELD_TEXT, 0, 0}, {"prepend_scheme", FIELD_SCHEME, 0, 0}, {                     \
    "split", FIELD_FLAG, MTK_STEP_SPLIT_PIECES, ON                                                 \
  }

static const component components[] = {
    {"NFC", MTK_STEP_NFC, N, {{0}}},
    {"NFD", MTK_STEP_NFD, N, {{0}}},
    {"NFKC", MTK_STEP_NFKC, N, {{0}}},
    {"NFKD", MTK_STEP_NFKD, N, {{0}}},
    {"Lowercase", MTK_STEP_LOWERCASE, N, {{0}}},
    {"StripAccents", MTK_STEP_STRIP_ACCENTS, N, {{0}}},
    {"Nmt", MTK_STEP_NMT, N, {{0}}},
    {"BertNormalizer",
     MTK_STEP_BERT_NORMALIZER,
     N,
     {{"clean_text", FIELD_FLAG, MTK_STEP_CLEAN_TEXT, ON},
      {"handle_chinese_chars", FIELD_FLAG, MTK_STEP_CHINESE_CHARS, ON},
      {"lowercase", FIELD_FLAG, MTK_STEP_LOWER, ON},
      {"strip_accents", FIELD_FLAG, MTK_STEP_ACCENTS, LIKE_LOWER}}},
    {"Precompiled", MTK_STEP_PRECOMPILED, N, {{"precompiled_charsmap", FIELD_BLOB, 0, 0}}},
    {"Prepend", MTK_STEP_PREPEND, N, {{"prepend", FIELD_TEXT, 0, 0}}},
    {"Strip",
     MTK_STEP_STRIP,
     N,
     {{"strip_left", FIELD_FLAG, MTK_STEP_LEFT, ON},
      {"strip_right", FIELD_FLAG, MTK_STEP_RIGHT, ON}}},
    {"ByteLevel", MTK_STEP_BYTE_LEVEL, N, {{0}}},
    {"Replace",
     MTK_STEP_REPLACE,
     N | D,
     {{"pattern", FIELD_PATTERN, 0, 0}, {"content", FIELD_TEXT, 0, 0}}},
    {"Split",
     MTK_STEP_SPLIT,
     P,
     {{"pattern", FIELD_PATTERN, 0, 0},
      {"behavior", FIELD_BEHAVIOR, 0, 0},
      {"invert", FIELD_FLAG, MTK_STEP_INVERT, OFF}}},
    {"Digits", MTK_STEP_DIGITS, P, {{"individual_digits", FIELD_FLAG, MTK_STEP_INDIVIDUAL, OFF}}},
    {"Punctuation", MTK_STEP_PUNCTUATION, P, {{"behavior", FIELD_BEHAVIOR, 0, 0}}},
    {"BertPreTokenizer", MTK_STEP_BERT_PRE_TOKENIZER, P, {{0}}},
    {"Whitespace", MTK_STEP_WHITESPACE, P, {{0}}},
    {"WhitespaceSplit", MTK_STEP_WHITESPACE_SPLIT, P, {{0}}},
    {"CharDelimiterSplit", MTK_STEP_CHAR_DELIMITER, P, {{"delimiter", FIELD_TEXT, 0, 0}}},
    {"UnicodeScripts", MTK_STEP_UNICODE_SCRIPTS, P, {{0}}},
    {"FixedLength", MTK_STEP_FIXED_LENGTH, P, {{"length", FIELD_A, 5, 0}}},
    {"Metaspace", MTK_STEP_METASPACE, P | D, {METASPACE_FIELDS}},
    {"ByteLevel",
     MTK_STEP_BYTE_LEVEL,
     P,
     {{"add_prefix_space", FIELD_FLAG, MTK_STEP_PREFIX_SPACE, ON},
      {"trim_offsets", FIELD_IGNORED, 0, 0},
      {"use_regex", FIELD_FLAG, MTK_STEP_REGEX, ON}}},
    {"ByteLevel",
     MTK_STEP_BYTE_LEVEL,
     D,
     {{"add_prefix_space", FIELD_IGNORED, 0, 0},
      {"trim_offsets", FIELD_IGNORED, 0, 0},
      {"use_regex", FIELD_IGNORED, 0, 0}}},
    {"ByteFallback", MTK_STEP_BYTE_FALLBACK, D, {{0}}},
    {"Fuse", MTK_STEP_FUSE, D, {{0}}},
    {"Strip",
     MTK_STEP_STRIP,
     D,
     {{"content", FIELD_TEXT, 0, 0}, {"start", FIELD_A, 0, 0}, {"stop", FIELD_B, 0, 0}}},
    {"WordPiece",
     MTK_STEP_WORDPIECE,
     D,
     {{"prefix", FIELD_TEXT, 0, 0}, {"cleanup", FIELD_FLAG, MTK_STEP_CLEANUP, ON}}},
    {"BPEDecoder", MTK_STEP_BPE_DECODER, D, {{"suffix", FIELD_TEXT, 0, 0}}},
    {"CTC",
     MTK_STEP_CTC,
     D,
     {{"pad_token", FIELD_TEXT, 0, 0},
      {"word_delimiter_token", FIELD_WORD, 0, 0},
      {"cleanup", FIELD_FLAG, MTK_STEP_CLEANUP, ON}}},
};

static const char *const behaviors[] = {
    [MTK_SPLIT_ISOLATED] = "Isolated",
    [MTK_SPLIT_REMOVED] = "Removed",
    [MTK_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
    [MTK_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext",
    [MTK_SPLIT_CONTIGUOUS] = "Contiguous",
};
static const char *const schemes[] = {
    [MTK_PREPEND_NEVER] = "never",
    [MTK_PREPEND_ALWAYS] = "always",
    [MTK_PREPEND_FIRST] = "first",
};

static const struct {
  text_hf_role role;
  const char *key, *list;
} roles[] = {
    {TEXT_HF_NORMALIZER, "normalizer", "normalizers"},
    {TEXT_HF_PRE_TOKENIZER, "pre_tokenizer", "pretokenizers"},
    {TEXT_HF_DECODER, "decoder", "decoders"},
};

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct steps_reader {
  mtk_arena *arena;
  size_t role; /* index into roles */
  mtk_step *items;
  size_t n;
  mtk_error *err;
} steps_reader;

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a tokenizer");
}

static mtk_status wrong(const steps_reader *r, const char *key, const char *what) {
  return mtk_fail(r->err, MTK_E_FORMAT, "tokenizer.json", "%s: %s %s", roles[r->role].key, key,
                  what);
}

static mtk_status read_string(steps_reader *r, const field *f, const json_t *value,
                              const char **out, size_t *n) {
  if (!json_is_string(value)) return wrong(r, f->key, "is not a string");
  *n = json_string_length(value);
  *out = mtk_arena_strndup(r->arena, json_string_value(value), *n);
  return *out ? MTK_OK : no_memory(r->err);
}

static mtk_status read_pattern(steps_reader *r, const field *f, const json_t *value, mtk_step *s) {
  const json_t *regex = json_object_get(value, "Regex");
  if (regex) s->flags |= MTK_STEP_REGEX;
  return read_string(r, f, regex ? regex : json_object_get(value, "String"), &s->pattern,
                     &s->n_pattern);
}

static mtk_status read_blob(steps_reader *r, const field *f, const json_t *value, mtk_step *s) {
  if (!json_is_string(value)) return wrong(r, f->key, "is not a string");
  size_t n = json_string_length(value);
  char *bytes = mtk_arena_alloc(r->arena, n / 4 * 3 + 1, 1);
  if (!bytes) return no_memory(r->err);
  if (!mtk_text_base64_decode(bytes, &s->n_text, json_string_value(value), n)) {
    return wrong(r, f->key, "is not base64");
  }
  s->text = bytes;
  return MTK_OK;
}

static mtk_status read_number(steps_reader *r, const field *f, const json_t *value, int32_t *out) {
  *out = (int32_t)f->value;
  if (!value) return MTK_OK;
  json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
  if (number < 0 || number > INT32_MAX) return wrong(r, f->key, "is no small number");
  *out = (int32_t)number;
  return MTK_OK;
}

/* The index of a name; -1 if it is none of them. */
static int find_name(const char *const *names, size_t n, const char *name) {
  for (size_t i = 0; name && i < n; i++) {
    if (strcmp(names[i], name) == 0) return (int)i;
  }
  return -1;
}

static mtk_status read_behavior(steps_reader *r, const field *f, const json_t *value, mtk_step *s) {
  if (!value && s->kind == MTK_STEP_PUNCTUATION) return MTK_OK; /* isolated */
  int i = find_name(behaviors, sizeof behaviors / sizeof behaviors[0], json_string_value(value));
  if (i < 0) return wrong(r, f->key, "is not known");
  s->behavior = (mtk_split_behavior)i;
  return MTK_OK;
}

/* Older files say add_prefix_space instead. */
static mtk_status read_scheme(steps_reader *r, const field *f, const json_t *value,
                              const json_t *object, mtk_step *s) {
  int i = value ? find_name(schemes, sizeof schemes / sizeof schemes[0], json_string_value(value))
                : MTK_PREPEND_ALWAYS;
  if (i < 0) return wrong(r, f->key, "is not known");
  s->prepend = (mtk_prepend_scheme)i;
  if (json_is_false(json_object_get(object, "add_prefix_space"))) s->prepend = MTK_PREPEND_NEVER;
  return MTK_OK;
}

static mtk_status read_flag(steps_reader *r, const field *f, const json_t *value, mtk_step *s) {
  bool on = f->otherwise == LIKE_LOWER ? s->flags & MTK_STEP_LOWER : f->otherwise == ON;
  if (value && !json_is_boolean(value)) return wrong(r, f->key, "is not true or false");
  if (value) on = json_is_true(value);
  if (on) s->flags |= f->value;
  return MTK_OK;
}

static mtk_status read_field(steps_reader *r, const field *f, const json_t *object, mtk_step *s) {
  const json_t *value = json_object_get(object, f->key);
  if (json_is_null(value)) value = NULL;
  switch (f->kind) {
  case FIELD_FLAG: return read_flag(r, f, value, s);
  case FIELD_TEXT: return read_string(r, f, value, &s->text, &s->n_text);
  case FIELD_WORD: return read_string(r, f, value, &s->pattern, &s->n_pattern);
  case FIELD_PATTERN: return read_pattern(r, f, value, s);
  case FIELD_BLOB: return read_blob(r, f, value, s);
  case FIELD_A: return read_number(r, f, value, &s->a);
  case FIELD_B: return read_number(r, f, value, &s->b);
  case FIELD_BEHAVIOR: return read_behavior(r, f, value, s);
  case FIELD_SCHEME: return read_scheme(r, f, value, object, s);
  case FIELD_IGNORED:
  case FIELD_END: break;
  }
  return MTK_OK;
}

static const component *find_component(const char *type, unsigned role) {
  for (size_t i = 0; i < sizeof components / sizeof components[0]; i++) {
    if (components[i].roles & role && strcmp(components[i].type, type) == 0) return &components[i];
  }
  return NULL;
}

static mtk_status read_component(steps_reader *r, const json_t *object, int depth) {
  const char *type = json_string_value(json_object_get(object, "type"));
  if (!type) return wrong(r, "a component", "has no type");
  if (strcmp(type, "Sequence") == 0) {
    size_t i;
    json_t *item;
    if (depth == MAX_DEPTH) return wrong(r, "a Sequence", "is nested too deep");
    json_array_foreach(json_object_get(object, roles[r->role].list), i, item) {
      MTK_TRY(read_component(r, item, depth + 1));
    }
    return MTK_OK;
  }
  const component *row = find_component(type, roles[r->role].role);
  if (!row) {
    return mtk_fail(r->err, MTK_E_UNSUPPORTED, "tokenizer.json", "%s %.80s is not supported",
                    roles[r->role].key, type);
  }
  if (r->n == MAX_STEPS) {
    return mtk_fail(r->err, MTK_E_LIMIT, "tokenizer.json", "%s has too many steps",
                    roles[r->role].key);
  }
  mtk_step *s = &r->items[r->n++];
  s->kind = row->kind;
  for (size_t i = 0; i < MAX_FIELDS && row->fields[i].kind != FIELD_END; i++) {
    MTK_TRY(read_field(r, &row->fields[i], object, s));
  }
  return MTK_OK;
}

mtk_status mtk_text_hf_read_steps(mtk_steps *out, mtk_arena *arena, const json_t *object,
                                  text_hf_role role, mtk_error *err) {
  steps_reader r = {.arena = arena, .err = err};
  while (roles[r.role].role != role) r.role++;
  *out = (mtk_steps){0};
  if (!object || json_is_null(object)) return MTK_OK;
  r.items = mtk_arena_alloc(arena, MAX_STEPS, sizeof *r.items);
  if (!r.items) return no_memory(err);
  MTK_TRY(read_component(&r, object, 0));
  *out = (mtk_steps){r.items, r.n};
  return MTK_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Puts `value` (stolen) under key; false if out of memory anywhere. */
static bool put(json_t *object, const char *key, json_t *value) {
  return object && value && json_object_set_new(object, key, value) == 0;
}

static json_t *text_json(const char *s, size_t n) { return json_stringn(s ? s : "", n); }

static json_t *blob_json(const char *s, size_t n) {
  mtk_bytes coded = {0};
  mtk_text_base64_append(&coded, s, n);
  json_t *value = coded.failed ? NULL : text_json(coded.data, coded.len);
  mtk_bytes_finish(&coded);
  return value;
}

static json_t *field_json(const field *f, const mtk_step *s) {
  switch (f->kind) {
  case FIELD_FLAG: return json_boolean(s->flags & f->value);
  case FIELD_IGNORED: return json_true();
  case FIELD_TEXT: return text_json(s->text, s->n_text);
  case FIELD_WORD: return text_json(s->pattern, s->n_pattern);
  case FIELD_PATTERN: {
    json_t *pattern = text_json(s->pattern, s->n_pattern);
    return json_pack("{s:o}", s->flags & MTK_STEP_REGEX ? "Regex" : "String", pattern);
  }
  case FIELD_BLOB: return blob_json(s->text, s->n_text);
  case FIELD_A: return json_integer(s->a);
  case FIELD_B: return json_integer(s->b);
  case FIELD_BEHAVIOR: return json_string(behaviors[s->behavior]);
  case FIELD_SCHEME: return json_string(schemes[s->prepend]);
  case FIELD_END: break;
  }
  return NULL;
}

static bool push_step(json_t *list, const mtk_step *s, const component *row) {
  json_t *object = json_object();
  bool ok = put(object, "type", json_string(row->type));
  for (size_t i = 0; i < MAX_FIELDS && row->fields[i].kind != FIELD_END; i++) {
    ok = ok && put(object, row->fields[i].key, field_json(&row->fields[i], s));
  }
  if (!ok) {
    json_decref(object);
    return false;
  }
  return json_array_append_new(list, object) == 0;
}

static mtk_step replace(const char *pattern, const char *content, size_t n) {
  return (mtk_step){.kind = MTK_STEP_REPLACE,
                    .flags = MTK_STEP_REGEX,
                    .pattern = pattern,
                    .n_pattern = strlen(pattern),
                    .text = content,
                    .n_text = n};
}

/* Steps that `tokenizers` has no name for, as others that do the same; returns how many. */
static size_t spell_out(mtk_step out[2], const mtk_step *s) {
  if (s->kind == MTK_STEP_REMOVE_EXTRA_WHITESPACES) {
    out[0] = replace("\\A +| +\\z", "", 0);
    out[1] = replace(" {2,}", " ", 1);
    return 2;
  }
  out[0] = *s;
  if (s->kind == MTK_STEP_PREPEND && s->flags & MTK_STEP_RIGHT) {
    out[0] = replace("(?<=[\\s\\S])\\z", s->text, s->n_text);
  }
  return 1;
}

static const component *row_of(mtk_step_kind kind, unsigned role) {
  for (size_t i = 0; i < sizeof components / sizeof components[0]; i++) {
    if (components[i].roles & role && components[i].kind == kind) return &components[i];
  }
  return NULL;
}

json_t *mtk_text_hf_write_steps(const mtk_steps *steps, text_hf_role role, const mtk_step **bad) {
  size_t which = 0;
  json_t *list = json_array();
  *bad = NULL;
  while (roles[which].role != role) which++;
  for (size_t i = 0; list && i < steps->n; i++) {
    mtk_step spelled[2];
    size_t n = spell_out(spelled, &steps->items[i]);
    for (size_t k = 0; list && k < n; k++) {
      const component *row = row_of(spelled[k].kind, role);
      if (!row) *bad = &steps->items[i];
      if (row && push_step(list, &spelled[k], row)) continue;
      json_decref(list);
      list = NULL;
    }
  }
  if (!list || json_array_size(list) > 1) {
    return list ? json_pack("{s:s,s:o}", "type", "Sequence", roles[which].list, list) : NULL;
  }
  json_t *only = json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : json_null();
  json_decref(list);
  return only;
}
