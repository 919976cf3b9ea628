/* vocab.c: tokenizer.* keys of a GGUF file <-> mtk_vocab. Byte-level BPE ("gpt2") becomes a
 * vocabulary; any other kind stays in the metadata as it is, so that GGUF -> GGUF keeps it. */
#include "gguf.h"

#include <string.h>

#define KEY_HF_JSON   "tokenizer.huggingface.json"
#define KEY_HF_CONFIG "mtk.attachment.tokenizer_config.json"

/* Ids and flags that are plain members of mtk_vocab. */
typedef struct vocab_id {
  const char *key;
  size_t offset; /* of an int32_t */
} vocab_id;
static const vocab_id ids[] = {
    {"tokenizer.ggml.bos_token_id", offsetof(mtk_vocab, bos)},
    {"tokenizer.ggml.eos_token_id", offsetof(mtk_vocab, eos)},
    {"tokenizer.ggml.unknown_token_id", offsetof(mtk_vocab, unk)},
    {"tokenizer.ggml.padding_token_id", offsetof(mtk_vocab, pad)},
    {"tokenizer.ggml.eot_token_id", offsetof(mtk_vocab, eot)},
};
typedef struct vocab_flag {
  const char *key;
  size_t offset; /* of an int8_t: 1, 0, -1 */
} vocab_flag;
static const vocab_flag flags[] = {
    {"tokenizer.ggml.add_bos_token", offsetof(mtk_vocab, add_bos)},
    {"tokenizer.ggml.add_eos_token", offsetof(mtk_vocab, add_eos)},
};
static const char *const other_keys[] = {
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    KEY_HF_JSON,
    KEY_HF_CONFIG,
    "tokenizer.ggml.add_space_prefix",
};
#define N_ROWS(table) (sizeof(table) / sizeof((table)[0]))

bool gguf_vocab_covers(const char *key) {
  for (size_t i = 0; i < N_ROWS(ids); i++)
    if (strcmp(ids[i].key, key) == 0) return true;
  for (size_t i = 0; i < N_ROWS(flags); i++)
    if (strcmp(flags[i].key, key) == 0) return true;
  for (size_t i = 0; i < N_ROWS(other_keys); i++)
    if (strcmp(other_keys[i], key) == 0) return true;
  return false;
}

static int32_t *id_of(mtk_vocab *v, const vocab_id *row) {
  return (int32_t *)(void *)((char *)v + row->offset);
}

static int8_t *flag_of(mtk_vocab *v, const vocab_flag *row) { return (int8_t *)v + row->offset; }

/* ---- reading ------------------------------------------------------------------------------- */

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
  MTK_TRY(find_array(&n, &pos, g, "tokenizer.ggml.tokens", MTK_META_STRING, err));
  if (n == 0 || n > INT32_MAX) {
    return mtk_fail(err, MTK_E_FORMAT, g->path, "tokenizer.ggml.tokens is missing or too long");
  }
  v->tokens = mtk_arena_alloc(v->arena, n, sizeof *v->tokens);
  if (!v->tokens) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
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
    if (!v->tokens[i].text) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  }
  return MTK_OK;
}

static mtk_status read_token_columns(mtk_vocab *v, const gguf_index *g, mtk_error *err) {
  size_t pos = 0, n = 0;
  MTK_TRY(find_array(&n, &pos, g, "tokenizer.ggml.token_type", MTK_META_I32, err));
  for (size_t i = 0; i < n && i < v->n_tokens; i++) {
    uint32_t type = load_u32(g->data + pos + 4 * i);
    if (type < MTK_TOKEN_NORMAL || type > MTK_TOKEN_BYTE) {
      return mtk_fail_at(err, MTK_E_FORMAT, g->path, pos + 4 * i, "token %zu has unknown type %u",
                         i, type);
    }
    v->tokens[i].type = (uint8_t)type;
  }
  MTK_TRY(find_array(&n, &pos, g, "tokenizer.ggml.scores", MTK_META_F32, err));
  for (size_t i = 0; i < n && i < v->n_tokens; i++) {
    uint32_t bits = load_u32(g->data + pos + 4 * i);
    memcpy(&v->tokens[i].score, &bits, 4);
  }
  return MTK_OK;
}

static mtk_status read_merges(mtk_vocab *v, const gguf_index *g, mtk_error *err) {
  size_t pos = 0, n = 0;
  MTK_TRY(find_array(&n, &pos, g, "tokenizer.ggml.merges", MTK_META_STRING, err));
  v->merges = mtk_arena_alloc(v->arena, n, sizeof *v->merges);
  if (!v->merges) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  v->n_merges = n;
  for (size_t i = 0; i < n; i++) {
    const char *s;
    size_t len, at = pos;
    gguf_next_string(&s, &len, g, &pos);
    if (!memchr(s, ' ', len) || memchr(s, 0, len)) {
      return mtk_fail_at(err, MTK_E_FORMAT, g->path, at, "merge %zu is not two tokens", i);
    }
    v->merges[i] = mtk_arena_strndup(v->arena, s, len);
    if (!v->merges[i]) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  }
  return MTK_OK;
}

/* Ids and flags the file states; they win over tokenizer_config.json. */
static mtk_status read_members(mtk_vocab *v, mtk_model *model, const gguf_index *g,
                               mtk_error *err) {
  for (size_t i = 0; i < N_ROWS(ids); i++) {
    const gguf_kv *kv = gguf_find_kv(g, ids[i].key);
    if (!kv) continue;
    if (kv->type != MTK_META_U32 && kv->type != MTK_META_I32) {
      return mtk_fail_at(err, MTK_E_FORMAT, g->path, kv->begin, "%s is not an id", kv->key);
    }
    uint32_t id = load_u32(g->data + kv->begin);
    if (id < v->n_tokens) {
      *id_of(v, &ids[i]) = (int32_t)id;
    } else {
      MTK_TRY(mtk_model_warn(model, "%s is %u, but there are only %zu tokens; ignored", kv->key, id,
                             v->n_tokens));
    }
  }
  for (size_t i = 0; i < N_ROWS(flags); i++) {
    const gguf_kv *kv = gguf_find_kv(g, flags[i].key);
    if (kv && kv->type == MTK_META_BOOL) {
      *flag_of(v, &flags[i]) = (int8_t)(g->data[kv->begin] != 0);
    }
  }
  return MTK_OK;
}

static mtk_status read_ggml(mtk_vocab *v, const gguf_index *g, mtk_error *err) {
  v->kind = MTK_VOCAB_BPE;
  v->bos = v->eos = v->unk = v->pad = v->eot = -1;
  v->add_bos = v->add_eos = -1;
  MTK_TRY(read_tokens(v, g, err));
  MTK_TRY(read_token_columns(v, g, err));
  MTK_TRY(read_merges(v, g, err));
  const gguf_kv *prefix = gguf_find_kv(g, "tokenizer.ggml.add_space_prefix");
  if (prefix && prefix->type == MTK_META_BOOL) v->add_prefix_space = g->data[prefix->begin] != 0;
  const char *pre, *name = "gpt-2"; /* files of before the key existed */
  size_t len;
  MTK_TRY(gguf_get_string(&pre, &len, g, "tokenizer.ggml.pre", err));
  if (pre) name = mtk_arena_strndup(v->arena, pre, len);
  if (!name) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
  return mtk_vocab_set_pre(v, name, err);
}

/* Leave the tokenizer in the metadata; `why` is the reason. */
static mtk_status keep_raw(mtk_model *model, const mtk_error *why) {
  return mtk_model_warn(model, "tokenizer not understood, kept as metadata: %s", why->message);
}

/* A missing tokenizer is fine, an unknown one is a warning, a broken one an error. */
mtk_status gguf_read_vocab(mtk_model *model, const gguf_index *g, mtk_error *err) {
  const char *kind, *json, *config;
  size_t kind_len, json_len, config_len;
  mtk_error why = {0};
  mtk_vocab *v = NULL;
  mtk_status status;
  MTK_TRY(gguf_get_string(&json, &json_len, g, KEY_HF_JSON, err));
  MTK_TRY(gguf_get_string(&config, &config_len, g, KEY_HF_CONFIG, err));
  MTK_TRY(gguf_get_string(&kind, &kind_len, g, "tokenizer.ggml.model", err));
  if (json && mtk_vocab_from_hf(&v, json, json_len, config, config_len, &why) == MTK_OK) {
    status = read_members(v, model, g, err);
  } else if (kind && kind_len == 4 && memcmp(kind, "gpt2", 4) == 0) {
    v = mtk_vocab_create();
    if (!v) return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
    status = read_ggml(v, g, &why);
    if (status == MTK_OK) status = read_members(v, model, g, &why);
    if (status != MTK_OK && err) *err = why;
  } else {
    if (!kind && !json) return MTK_OK;
    if (kind) {
      (void)mtk_fail(&why, MTK_E_UNSUPPORTED, NULL, "tokenizer.ggml.model is %.*s",
                     (int)(kind_len < 40 ? kind_len : 40), kind);
    }
    return keep_raw(model, &why);
  }
  if (status == MTK_OK) {
    mtk_model_set_vocab(model, v);
    return MTK_OK;
  }
  mtk_vocab_destroy(v);
  return status == MTK_E_UNSUPPORTED ? keep_raw(model, &why) : status;
}

/* ---- writing ------------------------------------------------------------------------------- */

static mtk_status set_array(mtk_meta *out, const char *key, mtk_meta_type type,
                            const mtk_value *items, size_t n, mtk_error *err) {
  mtk_value value = {.type = MTK_META_ARRAY};
  value.as.arr.type = type;
  value.as.arr.n = n;
  value.as.arr.items = items;
  return mtk_meta_set(out, key, &value, err);
}

/* Tokens and their types, filled up to n_rows (the rows of the embedding) with unused ones, as
 * llama.cpp's converter does. */
static mtk_status write_tokens(mtk_meta *out, const mtk_vocab *v, size_t n_rows, mtk_error *err) {
  size_t n = v->n_tokens > n_rows ? v->n_tokens : n_rows;
  mtk_arena *arena = mtk_arena_create();
  mtk_value *items = mtk_alloc(n, sizeof *items);
  mtk_status status = arena && items ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n && status == MTK_OK; i++) {
    char pad[32] = "[PAD";
    const char *text = i < v->n_tokens ? v->tokens[i].text : NULL;
    size_t len = text ? v->tokens[i].len : 0;
    if (!text) {
      mtk_bytes name = {.max = 32};
      mtk_bytes_printf(&name, "[PAD%zu]", i);
      len = name.len;
      if (!name.failed) memcpy(pad, name.data, len + 1);
      mtk_bytes_finish(&name);
      text = mtk_arena_strndup(arena, pad, len);
      if (!text) status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    }
    items[i] = gguf_string(text, len);
  }
  if (status == MTK_OK) {
    status = set_array(out, "tokenizer.ggml.tokens", MTK_META_STRING, items, n, err);
  }
  for (size_t i = 0; i < n && status == MTK_OK; i++) {
    bool hole = i >= v->n_tokens || !v->tokens[i].text;
    items[i].type = MTK_META_I32;
    items[i].as.i = hole ? MTK_TOKEN_UNUSED : v->tokens[i].type;
  }
  if (status == MTK_OK) {
    status = set_array(out, "tokenizer.ggml.token_type", MTK_META_I32, items, n, err);
  }
  mtk_free(items);
  mtk_arena_destroy(arena);
  return status;
}

static mtk_status write_merges(mtk_meta *out, const mtk_vocab *v, mtk_error *err) {
  mtk_value *items = mtk_alloc(v->n_merges, sizeof *items);
  if (!items) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < v->n_merges; i++) {
    items[i] = gguf_string(v->merges[i], strlen(v->merges[i]));
  }
  mtk_status status =
      set_array(out, "tokenizer.ggml.merges", MTK_META_STRING, items, v->n_merges, err);
  mtk_free(items);
  return status;
}

static mtk_status write_scores(mtk_meta *out, const mtk_vocab *v, mtk_error *err) {
  bool any = false;
  for (size_t i = 0; i < v->n_tokens; i++) any |= v->tokens[i].score != 0;
  if (!any) return MTK_OK;
  mtk_value *items = mtk_alloc(v->n_tokens, sizeof *items);
  if (!items) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < v->n_tokens; i++) {
    items[i].type = MTK_META_F32;
    items[i].as.f = (double)v->tokens[i].score;
  }
  mtk_status status =
      set_array(out, "tokenizer.ggml.scores", MTK_META_F32, items, v->n_tokens, err);
  mtk_free(items);
  return status;
}

static mtk_status write_members(mtk_meta *out, mtk_vocab *v, mtk_error *err) {
  for (size_t i = 0; i < N_ROWS(ids); i++) {
    int32_t id = *id_of(v, &ids[i]);
    if (id >= 0) MTK_TRY(mtk_meta_set_uint(out, ids[i].key, (uint64_t)id, err));
  }
  for (size_t i = 0; i < N_ROWS(flags); i++) {
    int8_t flag = *flag_of(v, &flags[i]);
    if (flag >= 0) MTK_TRY(mtk_meta_set_bool(out, flags[i].key, flag != 0, err));
  }
  return MTK_OK;
}

/* The tokenizer.json that goes along: it holds what the ggml keys cannot (flags of added tokens,
 * patterns without a name), and makes the way back to HF lossless. */
static mtk_status write_hf_json(mtk_meta *out, const mtk_vocab *v, mtk_error *err) {
  if (v->hf_json) {
    mtk_value json = gguf_string(v->hf_json, v->hf_json_len);
    MTK_TRY(mtk_meta_set(out, KEY_HF_JSON, &json, err));
  }
  if (v->hf_config_json) {
    mtk_value config = gguf_string(v->hf_config_json, v->hf_config_json_len);
    MTK_TRY(mtk_meta_set(out, KEY_HF_CONFIG, &config, err));
  }
  return MTK_OK;
}

mtk_status gguf_write_vocab(mtk_meta *out, mtk_model *model, mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(model);
  if (!vocab) return MTK_OK;
  if (vocab->kind != MTK_VOCAB_BPE) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "GGUF: this kind of tokenizer cannot be written");
  }
  mtk_vocab v = *vocab; /* for the tables of members; nothing is changed */
  MTK_TRY(mtk_meta_set_string(out, "tokenizer.ggml.model", "gpt2", err));
  const char *pre = v.pre ? v.pre : mtk_vocab_find_pre(vocab);
  if (pre) {
    MTK_TRY(mtk_meta_set_string(out, "tokenizer.ggml.pre", pre, err));
  } else {
    MTK_TRY(mtk_meta_set_string(out, "tokenizer.ggml.pre", "default", err));
    MTK_TRY(mtk_model_warn(model, "GGUF has no name for this pre-tokenizer: other programs may "
                                  "split text differently (mtk reads the kept tokenizer.json)"));
  }
  const mtk_tensor *embd = mtk_model_tensor(model, "token_embd.weight");
  MTK_TRY(write_tokens(out, &v, embd ? (size_t)mtk_tensor_rows(embd) : 0, err));
  MTK_TRY(write_merges(out, &v, err));
  MTK_TRY(write_scores(out, &v, err));
  MTK_TRY(write_members(out, &v, err));
  MTK_TRY(mtk_meta_set_bool(out, "tokenizer.ggml.add_space_prefix", v.add_prefix_space, err));
  return write_hf_json(out, &v, err);
}
