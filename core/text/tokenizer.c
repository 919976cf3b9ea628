/* text/tokenizer.c: making a tokenizer, decoding, and questions about tokens (encoding: encode.c).
 * Immutable after creation, shared by threads; owns copies of everything it needs. */
#include "text/tokenizer.h"

#include <string.h>

#include "text/pipeline.h"

/* Names of control tokens after which a model is done with its turn. */
static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|eot|>",
    "<end_of_utterance>",
    "<|im_sep_end|>",
    "<|user_end|>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_turn|>",
    "<|role_end|>",
};

/* ---- creation ------------------------------------------------------------------------------- */

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
}

/* The map's copies of the texts are the tokens' texts, unless a normalizer changes those. */
static mtk_status build_map(mtk_tokenizer *tok, const mtk_vocab *vocab, mtk_error *err) {
  if (!mtk_map_reserve(tok->ids, vocab->n_tokens)) return no_memory(err);
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *token = &vocab->tokens[i];
    tok->tokens[i].type = token->type;
    if (!token->text) continue;
    bool found = false;
    mtk_map_value *value = mtk_map_put(tok->ids, token->text, token->len, &found);
    if (!value) return no_memory(err);
    if (!found) value->i = (int64_t)i;
    tok->tokens[i].text =
        found ? tok->tokens[value->i].text : mtk_map_at(tok->ids, mtk_map_count(tok->ids) - 1)->key;
  }
  return MTK_OK;
}

/* A copy in the arena (it may hold NUL bytes); what equals `text` shares its memory. */
static mtk_status keep(mtk_tokenizer *tok, const char **out, uint32_t *out_len, const char *s,
                       size_t n, const char *text, size_t text_len, mtk_error *err) {
  *out = text;
  *out_len = (uint32_t)n;
  if (text && n == text_len && memcmp(s, text, n) == 0) return MTK_OK;
  char *copy = mtk_arena_alloc(tok->arena, n + 1, 1);
  if (!copy) return no_memory(err);
  memcpy(copy, s, n);
  *out = copy;
  return MTK_OK;
}

/* Text and bytes of a token. Added tokens that match in normalized text are decoded from there. */
static mtk_status add_token(mtk_tokenizer *tok, const mtk_vocab *vocab, size_t id,
                            text_normalize_work *work, mtk_bytes pieces[2], mtk_error *err) {
  const mtk_token *token = &vocab->tokens[id];
  text_token *t = &tok->tokens[id];
  if (!token->text) return MTK_OK;
  bool added = mtk_text_is_added(vocab, token);
  text_slice text = {.s = token->text, .n = token->len};
  if (added && token->normalized) {
    MTK_TRY(mtk_text_normalize(tok->normalizer, work, &text, err));
  }
  MTK_TRY(keep(tok, &t->text, &t->text_len, text.s, text.n, t->text, token->len, err));
  if (added) {
    return keep(tok, &t->bytes, &t->len, token->text, token->len, t->text, t->text_len, err);
  }
  mtk_bytes *piece = &pieces[0];
  MTK_TRY(mtk_text_decoder_piece(tok->decoder, piece, &pieces[1], token->text, token->len, err));
  return keep(tok, &t->bytes, &t->len, piece->data ? piece->data : "", piece->len, t->text,
              t->text_len, err);
}

static mtk_status build_tokens(mtk_tokenizer *tok, const mtk_vocab *vocab, mtk_error *err) {
  text_normalize_work work = {0};
  mtk_bytes pieces[2] = {0};
  mtk_status status = mtk_text_regex_work_create(&work.regex, err);
  if (status == MTK_OK) status = mtk_text_added_init(&tok->raw, vocab, NULL, &work, err);
  if (status == MTK_OK) {
    status = mtk_text_added_init(&tok->normalized, vocab, tok->normalizer, &work, err);
  }
  for (size_t i = 0; i < vocab->n_tokens && status == MTK_OK; i++) {
    status = add_token(tok, vocab, i, &work, pieces, err);
  }
  mtk_text_regex_work_destroy(work.regex);
  mtk_text_normalize_work_finish(&work);
  mtk_bytes_finish(&pieces[0]);
  mtk_bytes_finish(&pieces[1]);
  return status;
}

/* The ids that are put around a text. */
static mtk_status build_template(mtk_tokenizer *tok, const mtk_vocab *vocab, mtk_error *err) {
  const int32_t *prefix = vocab->template_prefix, *suffix = vocab->template_suffix;
  tok->n_prefix = vocab->n_template_prefix;
  tok->n_suffix = vocab->n_template_suffix;
  if (!vocab->has_template) {
    prefix = &vocab->bos;
    suffix = &vocab->eos;
    tok->n_prefix = vocab->add_bos > 0 && vocab->bos >= 0;
    tok->n_suffix = vocab->add_eos > 0 && vocab->eos >= 0;
  }
  size_t n = tok->n_prefix + tok->n_suffix;
  int32_t *ids = mtk_arena_alloc(tok->arena, n, sizeof *ids);
  if (!ids) return no_memory(err);
  if (tok->n_prefix > 0) memcpy(ids, prefix, tok->n_prefix * sizeof *ids);
  if (tok->n_suffix > 0) memcpy(ids + tok->n_prefix, suffix, tok->n_suffix * sizeof *ids);
  for (size_t i = 0; i < n; i++) {
    if (ids[i] < 0 || (size_t)ids[i] >= vocab->n_tokens) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer", "template id %d is not in the vocabulary",
                      (int)ids[i]);
    }
  }
  tok->prefix = ids;
  tok->suffix = ids + tok->n_prefix;
  return MTK_OK;
}

static mtk_status build(mtk_tokenizer *tok, const mtk_vocab *vocab, mtk_error *err) {
  text_pipeline steps;
  MTK_TRY(mtk_text_pipeline_of(&steps, vocab, err));
  tok->arena = mtk_arena_create();
  tok->ids = mtk_map_create();
  tok->tokens = mtk_alloc(vocab->n_tokens, sizeof *tok->tokens);
  if (!tok->arena || !tok->ids || !tok->tokens) return no_memory(err);
  tok->n_tokens = vocab->n_tokens;
  MTK_TRY(mtk_text_spare_create(&tok->spare, err));
  MTK_TRY(build_map(tok, vocab, err));
  MTK_TRY(mtk_text_normalizer_create(&tok->normalizer, &steps.normalizers, err));
  MTK_TRY(mtk_text_pretok_create(&tok->pretok, &steps.pre_tokenizers, err));
  MTK_TRY(mtk_text_decoder_create(&tok->decoder, &steps.decoders, err));
  MTK_TRY(build_tokens(tok, vocab, err));
  MTK_TRY(build_template(tok, vocab, err));
  MTK_TRY(tok->class->create(&tok->model, vocab, tok->ids, err));
  tok->bos = vocab->bos;
  tok->eos = vocab->eos;
  tok->eot = vocab->eot;
  return MTK_OK;
}

static mtk_status check_vocab(const mtk_vocab *vocab, mtk_error *err) {
  if (!mtk_text_model_find(vocab->kind)) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer", "the model has no vocabulary");
  }
  if (vocab->n_tokens == 0 || vocab->n_tokens > INT32_MAX) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer", "vocabulary of %zu tokens", vocab->n_tokens);
  }
  const int32_t special[] = {vocab->bos, vocab->eos, vocab->unk, vocab->pad, vocab->eot};
  for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
    if (special[i] < -1 || (special[i] >= 0 && (size_t)special[i] >= vocab->n_tokens)) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer",
                      "special token id %d is not in the vocabulary", (int)special[i]);
    }
  }
  return MTK_OK;
}

mtk_status mtk_tokenizer_create(mtk_tokenizer **out, const mtk_vocab *vocab, mtk_error *err) {
  MTK_TRY(check_vocab(vocab, err));
  mtk_tokenizer *tok = mtk_alloc(1, sizeof *tok);
  if (!tok) return no_memory(err);
  tok->class = mtk_text_model_find(vocab->kind);
  mtk_status status = build(tok, vocab, err);
  if (status != MTK_OK) {
    mtk_tokenizer_destroy(tok);
    return status;
  }
  *out = tok;
  return MTK_OK;
}

void mtk_tokenizer_destroy(mtk_tokenizer *tok) {
  if (!tok) return;
  mtk_text_spare_destroy(tok->spare, tok->class);
  tok->class->destroy(tok->model);
  mtk_text_normalizer_destroy(tok->normalizer);
  mtk_text_pretok_destroy(tok->pretok);
  mtk_text_decoder_destroy(tok->decoder);
  mtk_text_added_finish(&tok->raw);
  mtk_text_added_finish(&tok->normalized);
  mtk_map_destroy(tok->ids);
  mtk_arena_destroy(tok->arena);
  mtk_free(tok->tokens);
  mtk_free(tok);
}

/* ---- ids ------------------------------------------------------------------------------------ */

mtk_status mtk_ids_push(mtk_ids *ids, int32_t id, mtk_error *err) {
  if (ids->len == ids->cap) {
    size_t cap = ids->cap + ids->cap / 2 + 64;
    int32_t *grown = mtk_realloc(ids->data, ids->cap, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for token ids");
    ids->data = grown;
    ids->cap = cap;
  }
  ids->data[ids->len++] = id;
  return MTK_OK;
}

void mtk_ids_finish(mtk_ids *ids) {
  mtk_free(ids->data);
  *ids = (mtk_ids){0};
}

/* ---- decoding ------------------------------------------------------------------------------- */

static bool is_control_type(uint8_t type) {
  return type == MTK_TOKEN_CONTROL || type == MTK_TOKEN_UNKNOWN;
}

const char *mtk_tokenizer_piece(const mtk_tokenizer *tok, int32_t id, bool special, size_t *len) {
  *len = 0;
  if (id < 0 || (size_t)id >= tok->n_tokens || !tok->tokens[id].bytes) return NULL;
  const text_token *t = &tok->tokens[id];
  if (is_control_type(t->type) && !special) return "";
  *len = t->len;
  return t->bytes;
}

struct mtk_token_stream {
  const mtk_tokenizer *tok;
  text_decode_stream *stages;
  bool special;
};

mtk_status mtk_token_stream_create(mtk_token_stream **out, const mtk_tokenizer *tok, bool special,
                                   mtk_error *err) {
  mtk_token_stream *s = mtk_alloc(1, sizeof *s);
  if (!s) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory decoding tokens");
  s->tok = tok;
  s->special = special;
  mtk_status status = mtk_text_decode_create(&s->stages, tok->decoder, err);
  if (status != MTK_OK) {
    mtk_free(s);
    return status;
  }
  *out = s;
  return MTK_OK;
}

void mtk_token_stream_destroy(mtk_token_stream *s) {
  if (!s) return;
  mtk_text_decode_destroy(s->stages);
  mtk_free(s);
}

mtk_status mtk_token_stream_push(mtk_token_stream *s, mtk_bytes *out, int32_t id, mtk_error *err) {
  if (id < 0 || (size_t)id >= s->tok->n_tokens) {
    return mtk_fail(err, MTK_E_INVALID, "tokenizer", "token id %d does not exist", (int)id);
  }
  const text_token *t = &s->tok->tokens[id];
  if (!t->text || (is_control_type(t->type) && !s->special)) return MTK_OK;
  return mtk_text_decode_push(s->stages, out, t->text, t->text_len, err);
}

mtk_status mtk_token_stream_finish(mtk_token_stream *s, mtk_bytes *out, mtk_error *err) {
  return mtk_text_decode_finish(s->stages, out, err);
}

mtk_status mtk_tokenizer_decode(mtk_bytes *out, const mtk_tokenizer *tok, const int32_t *ids,
                                size_t n, bool special, mtk_error *err) {
  mtk_token_stream *s;
  MTK_TRY(mtk_token_stream_create(&s, tok, special, err));
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < n && status == MTK_OK; i++) {
    status = mtk_token_stream_push(s, out, ids[i], err);
  }
  if (status == MTK_OK) status = mtk_token_stream_finish(s, out, err);
  mtk_token_stream_destroy(s);
  return status;
}

/* ---- questions ------------------------------------------------------------------------------ */

size_t mtk_tokenizer_size(const mtk_tokenizer *tok) { return tok->n_tokens; }

int32_t mtk_tokenizer_find(const mtk_tokenizer *tok, const char *text) {
  const mtk_map_value *value = mtk_map_get(tok->ids, text, strlen(text));
  return value ? (int32_t)value->i : -1;
}

int32_t mtk_tokenizer_bos(const mtk_tokenizer *tok) { return tok->bos; }

int32_t mtk_tokenizer_eos(const mtk_tokenizer *tok) { return tok->eos; }

bool mtk_tokenizer_is_control(const mtk_tokenizer *tok, int32_t id) {
  return id >= 0 && (size_t)id < tok->n_tokens && is_control_type(tok->tokens[id].type);
}

/* gpt-oss goes on after <|end|>: there it ends a message, not the answer. */
static bool goes_on_after(const mtk_tokenizer *tok, const char *name) {
  return !strcmp(name, "<|end|>") && mtk_tokenizer_find(tok, "<|return|>") >= 0 &&
         mtk_tokenizer_find(tok, "<|call|>") >= 0;
}

bool mtk_tokenizer_is_eog(const mtk_tokenizer *tok, int32_t id) {
  if (id < 0) return false;
  if (id == tok->eos || id == tok->eot) return true;
  if (!mtk_tokenizer_is_control(tok, id) || !tok->tokens[id].bytes) return false;
  for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
    if (strcmp(tok->tokens[id].bytes, end_names[i]) == 0) return !goes_on_after(tok, end_names[i]);
  }
  return false;
}
