/* vocab_read.c: tokenizer.* keys of a GGUF file as mtk_vocab, tokenizing as llama.cpp does. A
 * kind of vocabulary that is not known stays in the metadata as it is, so that GGUF -> GGUF keeps
 * it. */
#include "vocab.h"

#include <string.h>

const gguf_vocab_id gguf_vocab_ids[] = {
    {"tokenizer.ggml.bos_token_id", offsetof(mtk_vocab, bos)},
    {"tokenizer.ggml.eos_token_id", offsetof(mtk_vocab, eos)},
    {"tokenizer.ggml.unknown_token_id", offsetof(mtk_vocab, unk)},
    {"tokenizer.ggml.padding_token_id", offsetof(mtk_vocab, pad)},
    {"tokenizer.ggml.eot_token_id", offsetof(mtk_vocab, eot)},
};
const gguf_vocab_flag gguf_vocab_flags[] = {
    {"tokenizer.ggml.add_bos_token", offsetof(mtk_vocab, add_bos)},
    {"tokenizer.ggml.add_eos_token", offsetof(mtk_vocab, add_eos)},
};
static const char *const other_keys[] = {
    KEY_MODEL, KEY_PRE,      KEY_TOKENS,  KEY_TYPES,     KEY_SCORES,    KEY_MERGES, KEY_PREFIX,
    KEY_EXTRA, KEY_CHARSMAP, KEY_HF_JSON, KEY_HF_CONFIG, KEY_LOWERCASE, KEY_ACCENTS};
#define N_ROWS(table) (sizeof(table) / sizeof((table)[0]))
const size_t gguf_vocab_ids_len = N_ROWS(gguf_vocab_ids);
const size_t gguf_vocab_flags_len = N_ROWS(gguf_vocab_flags);

bool gguf_vocab_covers(const char *key) {
  for (size_t i = 0; i < N_ROWS(gguf_vocab_ids); i++)
    if (strcmp(gguf_vocab_ids[i].key, key) == 0) return true;
  for (size_t i = 0; i < N_ROWS(gguf_vocab_flags); i++)
    if (strcmp(gguf_vocab_flags[i].key, key) == 0) return true;
  for (size_t i = 0; i < N_ROWS(other_keys); i++)
    if (strcmp(other_keys[i], key) == 0) return true;
  return false;
}

static mtk_status no_memory(const gguf_index *g, mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
}

/* ---- columns ------------------------------------------------------------------------------- */

static uint32_t load_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* An array key of the wanted item type; *n = 0 if absent. */
static mtk_status find_array(size_t *n, size_t *pos, const gguf_index *g, const char *key,
                             uint32_t type, mtk_error *err) {
  const gguf_kv *kv = gguf_find_kv(g, key);
  uint32_t found = type;
  *n = 0;
  if (!kv) return MTK_OK;
  MTK_TRY(gguf_get_array(&found, n, pos, g, kv, err));
  if (found != type && *n) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s has items of a wrong type", key);
  }
  return MTK_OK;
}

static mtk_status read_tokens(mtk_vocab *v, const gguf_index *g, mtk_error *err) {
  size_t pos = 0, n = 0;
  MTK_TRY(find_array(&n, &pos, g, KEY_TOKENS, MTK_META_STRING, err));
  if (n == 0 || n > INT32_MAX) {
    return mtk_fail(err, MTK_E_FORMAT, g->path, "tokenizer.ggml.tokens is missing or too long");
  }
  v->tokens = mtk_arena_alloc(v->arena, n, sizeof *v->tokens);
  if (!v->tokens) return no_memory(g, err);
  v->n_tokens = n;
  for (size_t i = 0; i < n; i++) {
    const char *s;
    size_t len, at = pos;
    gguf_next_string(&s, &len, g, &pos);
    if (memchr(s, 0, len) || len > UINT32_MAX) {
      return mtk_fail_at(err, MTK_E_FORMAT, g->path, at, "token %zu contains a zero byte", i);
    }
    v->tokens[i].text = mtk_arena_strndup(v->arena, s, len);
    v->tokens[i].len = (uint32_t)len;
    v->tokens[i].type = MTK_TOKEN_NORMAL;
    if (!v->tokens[i].text) return no_memory(g, err);
  }
  return MTK_OK;
}

static mtk_status read_token_columns(mtk_vocab *v, const gguf_index *g, mtk_error *err) {
  size_t pos = 0, n = 0;
  MTK_TRY(find_array(&n, &pos, g, KEY_TYPES, MTK_META_I32, err));
  for (size_t i = 0; i < n && i < v->n_tokens; i++) {
    uint32_t type = load_u32(g->data + pos + 4 * i);
    if (type < MTK_TOKEN_NORMAL || type > MTK_TOKEN_BYTE) {
      return mtk_fail_at(err, MTK_E_FORMAT, g->path, pos + 4 * i, "token %zu has unknown type %u",
                         i, type);
    }
    v->tokens[i].type = (uint8_t)type;
  }
  MTK_TRY(find_array(&n, &pos, g, KEY_SCORES, MTK_META_F32, err));
  for (size_t i = 0; i < n && i < v->n_tokens; i++) {
    uint32_t bits = load_u32(g->data + pos + 4 * i);
    memcpy(&v->tokens[i].score, &bits, 4);
  }
  return MTK_OK;
}

static mtk_status read_merges(mtk_vocab *v, const gguf_index *g, mtk_error *err) {
  size_t pos = 0, n = 0;
  MTK_TRY(find_array(&n, &pos, g, KEY_MERGES, MTK_META_STRING, err));
  v->merges = mtk_arena_alloc(v->arena, n, sizeof *v->merges);
  if (!v->merges) return no_memory(g, err);
  v->n_merges = n;
  for (size_t i = 0; i < n; i++) {
    const char *s;
    size_t len, at = pos;
    gguf_next_string(&s, &len, g, &pos);
    if (!memchr(s, ' ', len) || memchr(s, 0, len)) {
      return mtk_fail_at(err, MTK_E_FORMAT, g->path, at, "merge %zu is not two tokens", i);
    }
    v->merges[i] = mtk_arena_strndup(v->arena, s, len);
    if (!v->merges[i]) return no_memory(g, err);
  }
  return MTK_OK;
}

/* Ids and flags the file states; they win over tokenizer_config.json. */
static mtk_status read_members(mtk_vocab *v, mtk_model *model, const gguf_index *g,
                               mtk_error *err) {
  for (size_t i = 0; i < N_ROWS(gguf_vocab_ids); i++) {
    const gguf_kv *kv = gguf_find_kv(g, gguf_vocab_ids[i].key);
    if (!kv) continue;
    if (kv->type != MTK_META_U32 && kv->type != MTK_META_I32) {
      return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s is not an id", kv->key);
    }
    uint32_t id = load_u32(g->data + kv->begin);
    if (id < v->n_tokens) {
      *gguf_vocab_id_of(v, &gguf_vocab_ids[i]) = (int32_t)id;
    } else {
      MTK_TRY(mtk_model_warn(model, "%s is %u, but there are only %zu tokens; ignored", kv->key, id,
                             v->n_tokens));
    }
  }
  for (size_t i = 0; i < N_ROWS(gguf_vocab_flags); i++) {
    const gguf_kv *kv = gguf_find_kv(g, gguf_vocab_flags[i].key);
    if (kv && kv->type == MTK_META_BOOL) {
      *gguf_vocab_flag_of(v, &gguf_vocab_flags[i]) = (int8_t)(g->data[kv->begin] != 0);
    }
  }
  return MTK_OK;
}

static bool flag_or(const gguf_index *g, const char *key, bool otherwise) {
  const gguf_kv *kv = gguf_find_kv(g, key);
  return kv && kv->type == MTK_META_BOOL ? g->data[kv->begin] != 0 : otherwise;
}

static int32_t id_or(const gguf_index *g, const mtk_vocab *v, const char *key, int32_t otherwise) {
  const gguf_kv *kv = gguf_find_kv(g, key);
  bool is_id = kv && (kv->type == MTK_META_U32 || kv->type == MTK_META_I32);
  uint32_t id = is_id ? load_u32(g->data + kv->begin) : (uint32_t)otherwise;
  return id < v->n_tokens ? (int32_t)id : -1;
}

/* ---- kinds of vocabularies ----------------------------------------------------------------- */

/* Defaults are llama.cpp's. Members that the file states are read afterwards. */

static mtk_status read_bpe(mtk_vocab *v, const gguf_index *g, const char *pre, mtk_error *err) {
  v->kind = MTK_VOCAB_BPE;
  MTK_TRY(read_merges(v, g, err));
  v->add_prefix_space = flag_or(g, KEY_PREFIX, false);
  return mtk_vocab_set_pre(v, pre, err);
}

/* The charsmap of UGM: an array of bytes. */
static mtk_status read_charsmap(mtk_spm_pipeline *out, const gguf_index *g, mtk_error *err) {
  const gguf_kv *kv = gguf_find_kv(g, KEY_CHARSMAP);
  uint32_t type = MTK_META_U8;
  size_t n = 0, pos = 0;
  if (!kv) return MTK_OK;
  MTK_TRY(gguf_get_array(&type, &n, &pos, g, kv, err));
  if (n > 0 && type != MTK_META_U8 && type != MTK_META_I8) {
    return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s is no array of bytes", kv->key);
  }
  out->charsmap = (const char *)g->data + pos;
  out->n_charsmap = n;
  return MTK_OK;
}

static mtk_status read_pieces(mtk_vocab *v, const gguf_index *g, bool prefix, mtk_error *err) {
  mtk_spm_pipeline pipeline = {.escape_whitespaces = true};
  pipeline.dummy_prefix = flag_or(g, KEY_PREFIX, prefix);
  pipeline.remove_extra_whitespaces = flag_or(g, KEY_EXTRA, false);
  MTK_TRY(read_charsmap(&pipeline, g, err));
  v->fuse_unk = true;
  return mtk_vocab_set_spm(v, &pipeline, err);
}

static mtk_status read_spm(mtk_vocab *v, const gguf_index *g, const char *pre, mtk_error *err) {
  (void)pre;
  v->kind = MTK_VOCAB_SPM;
  for (size_t i = 0; i < v->n_tokens; i++) v->byte_fallback |= v->tokens[i].type == MTK_TOKEN_BYTE;
  v->bos = id_or(g, v, gguf_vocab_ids[0].key, 1);
  v->eos = id_or(g, v, gguf_vocab_ids[1].key, 2);
  v->unk = id_or(g, v, gguf_vocab_ids[2].key, 0);
  v->add_bos = 1;
  v->add_eos = 0;
  return read_pieces(v, g, true, err);
}

static mtk_status read_ugm(mtk_vocab *v, const gguf_index *g, const char *pre, mtk_error *err) {
  (void)pre;
  v->kind = MTK_VOCAB_UNIGRAM;
  v->eos = id_or(g, v, gguf_vocab_ids[1].key, 1);
  v->unk = id_or(g, v, gguf_vocab_ids[2].key, 2);
  v->pad = id_or(g, v, gguf_vocab_ids[3].key, 0);
  v->add_bos = 0;
  v->add_eos = 1;
  return read_pieces(v, g, false, err);
}

/* GGUF marks the beginnings of words instead of their continuations. */
static mtk_status respell_words(mtk_vocab *v, const gguf_index *g, mtk_error *err) {
  const size_t mark = strlen(GGUF_SPACE);
  for (size_t i = 0; i < v->n_tokens; i++) {
    mtk_token *t = &v->tokens[i];
    bool bracketed = t->len > 2 && t->text[0] == '[' && t->text[t->len - 1] == ']';
    if (t->type != MTK_TOKEN_NORMAL) continue;
    if (t->len > mark && memcmp(t->text, GGUF_SPACE, mark) == 0) {
      t->text += mark;
      t->len -= (uint32_t)mark;
    } else if (!bracketed) {
      mtk_bytes text = {0};
      mtk_bytes_puts(&text, "##");
      mtk_bytes_append(&text, t->text, t->len);
      t->text = text.failed ? NULL : mtk_arena_strndup(v->arena, text.data, text.len);
      t->len += 2;
      mtk_bytes_finish(&text);
      if (!t->text) return no_memory(g, err);
    }
  }
  return MTK_OK;
}

static mtk_status read_wpm(mtk_vocab *v, const gguf_index *g, const char *pre, mtk_error *err) {
  (void)pre;
  v->kind = MTK_VOCAB_WORDPIECE;
  v->continuing_prefix = "##";
  v->max_word_chars = 100; /* of BERT's own tokenizer */
  MTK_TRY(respell_words(v, g, err));
  v->bos = id_or(g, v, gguf_vocab_ids[0].key, id_or(g, v, KEY_CLS, 101));
  v->unk = id_or(g, v, gguf_vocab_ids[2].key, 100);
  v->pad = id_or(g, v, gguf_vocab_ids[3].key, 0);
  v->eos = id_or(g, v, gguf_vocab_ids[1].key, id_or(g, v, KEY_SEP, 102));
  mtk_step *steps = mtk_arena_alloc(v->arena, 3, sizeof *steps);
  int32_t *ends = mtk_arena_alloc(v->arena, 2, sizeof *ends);
  if (!steps || !ends) return no_memory(g, err);
  bool lower = flag_or(g, KEY_LOWERCASE, true), accents = flag_or(g, KEY_ACCENTS, lower);
  steps[0] = (mtk_step){.kind = MTK_STEP_BERT_NORMALIZER,
                        .flags = MTK_STEP_CLEAN_TEXT | MTK_STEP_CHINESE_CHARS};
  if (lower) steps[0].flags |= MTK_STEP_LOWER;
  if (accents) steps[0].flags |= MTK_STEP_ACCENTS;
  steps[1] = (mtk_step){.kind = MTK_STEP_BERT_PRE_TOKENIZER};
  steps[2] =
      (mtk_step){.kind = MTK_STEP_WORDPIECE, .flags = MTK_STEP_CLEANUP, .text = "##", .n_text = 2};
  v->normalizers = (mtk_steps){steps, 1};
  v->pre_tokenizers = (mtk_steps){steps + 1, 1};
  v->decoders = (mtk_steps){steps + 2, 1};
  ends[0] = id_or(g, v, KEY_CLS, v->bos);
  ends[1] = id_or(g, v, KEY_SEP, v->eos);
  v->has_template = true;
  v->template_prefix = ends;
  v->n_template_prefix = ends[0] >= 0;
  v->template_suffix = ends + 1;
  v->n_template_suffix = ends[1] >= 0;
  return MTK_OK;
}

typedef struct vocab_kind {
  const char *model; /* tokenizer.ggml.model */
  mtk_status (*read)(mtk_vocab *v, const gguf_index *g, const char *pre, mtk_error *err);
  const char *pre; /* instead of the one that the file names; or NULL */
} vocab_kind;
static const vocab_kind kinds[] = {
    {"gpt2", read_bpe, NULL},       {"llama", read_spm, NULL},
    {"bert", read_wpm, NULL},       {"t5", read_ugm, NULL},
    {"gemma4", read_bpe, "gemma4"}, {"whitespace", read_bpe, "whitespace"},
};

static const vocab_kind *find_kind(const char *model, size_t n) {
  for (size_t i = 0; i < N_ROWS(kinds); i++) {
    if (strlen(kinds[i].model) == n && memcmp(kinds[i].model, model, n) == 0) return &kinds[i];
  }
  return NULL;
}

static mtk_status read_kind(mtk_vocab *v, mtk_model *model, const gguf_index *g,
                            const vocab_kind *kind, mtk_error *err) {
  MTK_TRY(read_tokens(v, g, err));
  MTK_TRY(read_token_columns(v, g, err));
  const char *pre, *name = "gpt-2"; /* files of before the key existed */
  size_t len;
  MTK_TRY(gguf_get_string(&pre, &len, g, KEY_PRE, err));
  if (kind->pre)
    name = kind->pre;
  else if (pre)
    name = mtk_arena_strndup(v->arena, pre, len);
  if (!name) return no_memory(g, err);
  MTK_TRY(kind->read(v, g, name, err));
  return read_members(v, model, g, err);
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* Leave the tokenizer in the metadata; `why` is the reason. */
static mtk_status keep_raw(mtk_model *model, const mtk_error *why) {
  return mtk_model_warn(model, "tokenizer not understood, kept as metadata: %s", why->message);
}

static bool is_none(const char *model, size_t n) {
  return (n == 4 && memcmp(model, "none", 4) == 0) || (n == 8 && memcmp(model, "no_vocab", 8) == 0);
}

static mtk_status read_ggml(mtk_vocab **out, mtk_model *model, const gguf_index *g,
                            const char *name, size_t n, mtk_error *why) {
  const vocab_kind *kind = find_kind(name, n);
  if (!kind) {
    return mtk_fail(why, MTK_E_UNSUPPORTED, NULL, "tokenizer.ggml.model is %.*s",
                    (int)(n < 40 ? n : 40), name);
  }
  *out = mtk_vocab_create();
  return *out ? read_kind(*out, model, g, kind, why) : no_memory(g, why);
}

/* A missing tokenizer is fine, an unknown one is a warning, a broken one an error. */
mtk_status gguf_read_vocab(mtk_model *model, const gguf_index *g, mtk_error *err) {
  const char *name, *json, *config;
  size_t n, json_len, config_len;
  mtk_error why = {0};
  mtk_vocab *v = NULL;
  mtk_status status;
  MTK_TRY(gguf_get_string(&json, &json_len, g, KEY_HF_JSON, err));
  MTK_TRY(gguf_get_string(&config, &config_len, g, KEY_HF_CONFIG, err));
  MTK_TRY(gguf_get_string(&name, &n, g, KEY_MODEL, err));
  if (json && mtk_vocab_from_hf(&v, json, json_len, config, config_len, &why) == MTK_OK) {
    status = read_members(v, model, g, &why);
  } else if (name && !is_none(name, n)) {
    status = read_ggml(&v, model, g, name, n, &why);
  } else {
    return json ? keep_raw(model, &why) : MTK_OK;
  }
  const gguf_kv *mistral = gguf_find_kv(g, KEY_MISTRAL);
  if (status == MTK_OK && mistral && mistral->type == MTK_META_U32) {
    v->mistral_version = (int32_t)load_u32(g->data + mistral->begin);
  }
  if (status == MTK_OK) {
    mtk_model_set_vocab(model, v);
    return MTK_OK;
  }
  mtk_vocab_destroy(v);
  if (status == MTK_E_UNSUPPORTED) return keep_raw(model, &why);
  if (err) *err = why;
  return status;
}
