/* vocab_write.c: mtk_vocab as tokenizer.* keys of a GGUF file. What llama.cpp's kinds of
 * vocabularies cannot express is a warning, and the tokenizer.json goes along, so that mtk itself
 * loses nothing. */
#include "vocab.h"

#include <string.h>

/* How a vocabulary is told to llama.cpp. */
typedef struct form {
  const char *model;    /* tokenizer.ggml.model */
  const char *pre;      /* NULL: "default" */
  mtk_spm_pipeline spm; /* of "llama" and "t5" */
  float *scores;        /* NULL: none */
  const char *const *merges;
  size_t n_merges;
} form;

static mtk_status set_array(mtk_meta *out, const char *key, mtk_meta_type type,
                            const mtk_value *items, size_t n, mtk_error *err) {
  mtk_value value = {.type = MTK_META_ARRAY};
  value.as.arr.type = type;
  value.as.arr.n = n;
  value.as.arr.items = items;
  return mtk_meta_set(out, key, &value, err);
}

/* ---- tokens -------------------------------------------------------------------------------- */

/* WordPiece: "##x" -> "x", "x" -> U+2581 "x". */
static void respell_word(mtk_bytes *out, const mtk_vocab *v, const mtk_token *t) {
  const char *prefix = v->continuing_prefix ? v->continuing_prefix : "";
  size_t n = strlen(prefix);
  bool inside = n > 0 && t->len > n && memcmp(t->text, prefix, n) == 0;
  if (!inside) mtk_bytes_puts(out, GGUF_SPACE);
  mtk_bytes_append(out, t->text + (inside ? n : 0), t->len - (inside ? n : 0));
}

/* SentencePiece: user-defined tokens are looked for in the text as it is: U+2581 -> " ". */
static void respell_symbol(mtk_bytes *out, const mtk_token *t) {
  const char *s = t->text, *space;
  while ((space = strstr(s, GGUF_SPACE))) {
    mtk_bytes_append(out, s, (size_t)(space - s));
    mtk_bytes_puts(out, " ");
    s = space + strlen(GGUF_SPACE);
  }
  mtk_bytes_puts(out, s);
}

/* Text of token i as GGUF spells it; a hole is "[PADi]", as llama.cpp's converter names it. */
static mtk_status token_text(mtk_value *out, mtk_arena *arena, const mtk_vocab *v, const form *f,
                             size_t i, mtk_error *err) {
  const mtk_token *t = i < v->n_tokens && v->tokens[i].text ? &v->tokens[i] : NULL;
  bool word = v->kind == MTK_VOCAB_WORDPIECE && t && t->type == MTK_TOKEN_NORMAL;
  bool symbol = t && f->spm.escape_whitespaces && t->type == MTK_TOKEN_USER_DEFINED;
  if (t && !word && !symbol) {
    *out = gguf_string(t->text, t->len);
    return MTK_OK;
  }
  mtk_bytes text = {0};
  if (!t)
    mtk_bytes_printf(&text, "[PAD%zu]", i);
  else if (word)
    respell_word(&text, v, t);
  else
    respell_symbol(&text, t);
  mtk_status status = mtk_bytes_status(&text, err);
  char *copy = status == MTK_OK ? mtk_arena_strndup(arena, text.data, text.len) : NULL;
  if (status == MTK_OK && !copy) status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  *out = gguf_string(copy, text.len);
  mtk_bytes_finish(&text);
  return status;
}

static int64_t token_type(const mtk_vocab *v, const form *f, size_t i) {
  if (i >= v->n_tokens || !v->tokens[i].text) return MTK_TOKEN_UNUSED;
  bool unknown = f->scores && (int64_t)i == v->unk;
  return unknown ? MTK_TOKEN_UNKNOWN : v->tokens[i].type;
}

/* Tokens, types and scores, filled up to n_rows (the rows of the embedding) with unused ones, as
 * llama.cpp's converter does. */
static mtk_status write_tokens(mtk_meta *out, const mtk_vocab *v, const form *f, size_t n_rows,
                               mtk_error *err) {
  size_t n = v->n_tokens > n_rows ? v->n_tokens : n_rows;
  mtk_arena *arena = mtk_arena_create();
  mtk_value *items = mtk_alloc(n, sizeof *items);
  mtk_status status = arena && items ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n && status == MTK_OK; i++) {
    status = token_text(&items[i], arena, v, f, i, err);
  }
  if (status == MTK_OK) status = set_array(out, KEY_TOKENS, MTK_META_STRING, items, n, err);
  for (size_t i = 0; i < n && status == MTK_OK; i++) {
    items[i].type = MTK_META_I32;
    items[i].as.i = token_type(v, f, i);
  }
  if (status == MTK_OK) status = set_array(out, KEY_TYPES, MTK_META_I32, items, n, err);
  for (size_t i = 0; i < n && status == MTK_OK && f->scores; i++) {
    items[i].type = MTK_META_F32;
    items[i].as.f = i < v->n_tokens ? (double)f->scores[i] : -10000; /* llama.cpp's for holes */
  }
  if (status == MTK_OK && f->scores) {
    status = set_array(out, KEY_SCORES, MTK_META_F32, items, n, err);
  }
  mtk_free(items);
  mtk_arena_destroy(arena);
  return status;
}

static mtk_status write_merges(mtk_meta *out, const form *f, mtk_error *err) {
  mtk_value *items = mtk_alloc(f->n_merges, sizeof *items);
  if (!items) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < f->n_merges; i++) {
    items[i] = gguf_string(f->merges[i], strlen(f->merges[i]));
  }
  mtk_status status = set_array(out, KEY_MERGES, MTK_META_STRING, items, f->n_merges, err);
  mtk_free(items);
  return status;
}

static mtk_status write_charsmap(mtk_meta *out, const mtk_spm_pipeline *p, mtk_error *err) {
  if (p->n_charsmap == 0) return MTK_OK;
  mtk_value *items = mtk_alloc(p->n_charsmap, sizeof *items);
  if (!items) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < p->n_charsmap; i++) {
    items[i].type = MTK_META_U8;
    items[i].as.u = (uint8_t)p->charsmap[i];
  }
  mtk_status status = set_array(out, KEY_CHARSMAP, MTK_META_U8, items, p->n_charsmap, err);
  mtk_free(items);
  return status;
}

/* ---- members ------------------------------------------------------------------------------- */

static mtk_status write_members(mtk_meta *out, mtk_vocab *v, mtk_error *err) {
  for (size_t i = 0; i < gguf_vocab_ids_len; i++) {
    int32_t id = *gguf_vocab_id_of(v, &gguf_vocab_ids[i]);
    if (id >= 0) MTK_TRY(mtk_meta_set_uint(out, gguf_vocab_ids[i].key, (uint64_t)id, err));
  }
  for (size_t i = 0; i < gguf_vocab_flags_len; i++) {
    int8_t flag = *gguf_vocab_flag_of(v, &gguf_vocab_flags[i]);
    if (flag >= 0) MTK_TRY(mtk_meta_set_bool(out, gguf_vocab_flags[i].key, flag != 0, err));
  }
  return MTK_OK;
}

/* BERT's ends and mask, which llama.cpp looks up by keys of their own. */
static mtk_status write_bert(mtk_meta *out, const mtk_vocab *v, mtk_error *err) {
  const mtk_step *n = v->normalizers.n > 0 ? &v->normalizers.items[0] : NULL;
  bool lower = n && n->flags & MTK_STEP_LOWER, accents = n && n->flags & MTK_STEP_ACCENTS;
  if (v->n_template_prefix > 0) {
    MTK_TRY(mtk_meta_set_uint(out, KEY_CLS, (uint64_t)v->template_prefix[0], err));
  }
  if (v->n_template_suffix > 0) {
    MTK_TRY(mtk_meta_set_uint(out, KEY_SEP, (uint64_t)v->template_suffix[0], err));
  }
  for (size_t i = 0; i < v->n_tokens; i++) {
    if (!v->tokens[i].text || strcmp(v->tokens[i].text, "[MASK]") != 0) continue;
    MTK_TRY(mtk_meta_set_uint(out, KEY_MASK, i, err));
  }
  MTK_TRY(mtk_meta_set_bool(out, KEY_LOWERCASE, lower, err));
  return mtk_meta_set_bool(out, KEY_ACCENTS, accents, err);
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

/* ---- forms --------------------------------------------------------------------------------- */

static mtk_status warn_inexact(mtk_model *model) {
  return mtk_model_warn(model, "GGUF has no name for this tokenizer's way to cut text: other "
                               "programs may split it differently (mtk reads the kept "
                               "tokenizer.json)");
}

/* Byte-level BPE, and whatever has no form of its own. */
static mtk_status form_bpe(form *f, mtk_model *model, const mtk_vocab *v, mtk_arena *arena,
                           mtk_error *err) {
  mtk_error why;
  f->model = "gpt2";
  f->pre = v->pre ? v->pre : mtk_vocab_find_pre(v);
  if (!f->pre) MTK_TRY(warn_inexact(model));
  mtk_status status = mtk_vocab_merges(&f->merges, &f->n_merges, arena, v, &why);
  if (status == MTK_OK || status == MTK_E_UNSUPPORTED) return MTK_OK;
  if (err) *err = why;
  return status;
}

static mtk_status form_scores(form *f, const mtk_vocab *v, mtk_arena *arena, mtk_error *err) {
  f->scores = mtk_arena_alloc(arena, v->n_tokens, sizeof *f->scores);
  if (!f->scores) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  return mtk_vocab_scores(f->scores, v, err);
}

/* Pieces with U+2581 for spaces: SentencePiece, or BPE with byte fallback whose merges amount to
 * scores. *fits = false if they do not. */
static mtk_status form_pieces(form *f, bool *fits, mtk_model *model, const mtk_vocab *v,
                              mtk_arena *arena, mtk_error *err) {
  mtk_error why = {0};
  *fits = mtk_vocab_get_spm(&f->spm, v);
  if (!*fits) return MTK_OK;
  mtk_status status = form_scores(f, v, arena, &why);
  *fits = status == MTK_OK;
  if (status != MTK_OK) {
    f->scores = NULL;
    f->spm = (mtk_spm_pipeline){0};
    if (err) *err = why;
    return status == MTK_E_UNSUPPORTED ? MTK_OK : status;
  }
  bool unigram = v->kind == MTK_VOCAB_UNIGRAM;
  f->model = unigram ? "t5" : "llama";
  if (!unigram && (f->spm.n_charsmap > 0 || f->spm.remove_extra_whitespaces)) {
    return mtk_model_warn(model, "llama.cpp does not normalize text for this kind of tokenizer: it "
                                 "may give other ids (mtk keeps the rules)");
  }
  return MTK_OK;
}

static bool is_bert(const mtk_vocab *v) {
  const char *prefix = v->continuing_prefix;
  return v->kind == MTK_VOCAB_WORDPIECE && prefix && strcmp(prefix, "##") == 0 &&
         v->normalizers.n == 1 && v->normalizers.items[0].kind == MTK_STEP_BERT_NORMALIZER &&
         v->pre_tokenizers.n == 1 && v->pre_tokenizers.items[0].kind == MTK_STEP_BERT_PRE_TOKENIZER;
}

static mtk_status choose_form(form *f, mtk_model *model, const mtk_vocab *v, mtk_arena *arena,
                              mtk_error *err) {
  bool fits = false;
  if (is_bert(v)) {
    f->model = "bert";
    return MTK_OK;
  }
  if (v->pre && strcmp(v->pre, "gemma4") == 0) {
    MTK_TRY(form_bpe(f, model, v, arena, err));
    f->model = "gemma4";
    return MTK_OK;
  }
  MTK_TRY(form_pieces(f, &fits, model, v, arena, err));
  return fits ? MTK_OK : form_bpe(f, model, v, arena, err);
}

static mtk_status write_form(mtk_meta *out, mtk_model *model, const mtk_vocab *vocab, const form *f,
                             mtk_error *err) {
  mtk_vocab v = *vocab; /* for the tables of members; nothing is changed */
  const mtk_tensor *embd = mtk_model_tensor(model, "token_embd.weight");
  bool pieces = f->spm.escape_whitespaces;
  MTK_TRY(mtk_meta_set_string(out, KEY_MODEL, f->model, err));
  MTK_TRY(mtk_meta_set_string(out, KEY_PRE, f->pre ? f->pre : "default", err));
  MTK_TRY(write_tokens(out, vocab, f, embd ? (size_t)mtk_tensor_rows(embd) : 0, err));
  if (f->n_merges > 0) MTK_TRY(write_merges(out, f, err));
  if (v.kind == MTK_VOCAB_WORDPIECE) MTK_TRY(write_bert(out, vocab, err));
  MTK_TRY(write_charsmap(out, &f->spm, err));
  if (f->spm.remove_extra_whitespaces) MTK_TRY(mtk_meta_set_bool(out, KEY_EXTRA, true, err));
  MTK_TRY(write_members(out, &v, err));
  if (v.mistral_version > 0) {
    MTK_TRY(mtk_meta_set_uint(out, KEY_MISTRAL, (uint64_t)v.mistral_version, err));
  }
  bool prefix = pieces ? f->spm.dummy_prefix : v.add_prefix_space;
  MTK_TRY(mtk_meta_set_bool(out, KEY_PREFIX, prefix, err));
  return write_hf_json(out, &v, err);
}

mtk_status gguf_write_vocab(mtk_meta *out, mtk_model *model, mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(model);
  if (!vocab) return MTK_OK;
  form f = {0};
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status status = choose_form(&f, model, vocab, arena, err);
  if (status == MTK_OK) status = write_form(out, model, vocab, &f, err);
  mtk_arena_destroy(arena);
  return status;
}
