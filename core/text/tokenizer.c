/* text/tokenizer.c: the tokenizer: added tokens -> normalizer -> added tokens that are matched in
 * normalized text -> pre-tokenizer -> BPE, and back. Immutable after creation, shared by threads;
 * owns copies of everything it needs. */
#include "text/tokenizer.h"

#include <string.h>

#include "text/byte_alphabet.h"
#include "text/normalize.h"
#include "text/pretok.h"

typedef struct piece {
  const char *bytes;
  uint32_t len;
  uint8_t type;
} piece;

struct mtk_tokenizer {
  mtk_arena *arena; /* piece bytes */
  piece *pieces;
  size_t n_pieces;
  mtk_map *ids; /* token text as the source spells it -> id */
  text_added raw, normalized;
  text_pretok *pretok;
  text_bpe *bpe;
  bool nfc;
  int32_t bos, eos, eot;
  bool add_bos, add_eos;
};

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

static mtk_status add_piece(mtk_tokenizer *tok, const mtk_token *token, size_t id, mtk_error *err) {
  piece *p = &tok->pieces[id];
  p->type = token->type;
  if (!token->text) return MTK_OK;
  char *bytes = mtk_arena_strndup(tok->arena, token->text, token->len);
  bool found = false;
  mtk_map_value *value = mtk_map_put(tok->ids, token->text, token->len, &found);
  if (!bytes || !value) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building tokens");
  if (!found) value->i = (int64_t)id;
  size_t len = token->len;
  bool spelled = token->type == MTK_TOKEN_NORMAL || token->type == MTK_TOKEN_UNUSED;
  if (spelled && !mtk_text_from_alphabet(bytes, &len, token->text, token->len)) {
    memcpy(bytes, token->text, token->len);
    len = token->len;
  }
  bytes[len] = 0; /* raw bytes are never longer than their spelling */
  p->bytes = bytes;
  p->len = (uint32_t)len;
  return MTK_OK;
}

static mtk_status build(mtk_tokenizer *tok, const mtk_vocab *vocab, mtk_error *err) {
  tok->arena = mtk_arena_create();
  tok->ids = mtk_map_create();
  tok->pieces = mtk_alloc(vocab->n_tokens, sizeof *tok->pieces);
  if (!tok->arena || !tok->ids || !tok->pieces) {
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  }
  tok->n_pieces = vocab->n_tokens;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    MTK_TRY(add_piece(tok, &vocab->tokens[i], i, err));
  }
  MTK_TRY(mtk_text_added_init(&tok->raw, vocab, false, err));
  MTK_TRY(mtk_text_added_init(&tok->normalized, vocab, true, err));
  MTK_TRY(mtk_text_pretok_create(&tok->pretok, vocab, err));
  MTK_TRY(mtk_text_bpe_create(&tok->bpe, vocab, tok->ids, err));
  tok->nfc = vocab->nfc;
  tok->bos = vocab->bos;
  tok->eos = vocab->eos;
  tok->eot = vocab->eot;
  tok->add_bos = vocab->add_bos > 0 && vocab->bos >= 0;
  tok->add_eos = vocab->add_eos > 0 && vocab->eos >= 0;
  return MTK_OK;
}

static mtk_status check_vocab(const mtk_vocab *vocab, mtk_error *err) {
  if (vocab->kind != MTK_VOCAB_BPE) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer",
                    "the model has no byte-level BPE vocabulary");
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
  if (vocab->n_patterns == 0 && !vocab->split_digits && vocab->pre) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer", "pre-tokenizer \"%s\" is not known",
                    vocab->pre);
  }
  return MTK_OK;
}

mtk_status mtk_tokenizer_create(mtk_tokenizer **out, const mtk_vocab *vocab, mtk_error *err) {
  MTK_TRY(check_vocab(vocab, err));
  mtk_tokenizer *tok = mtk_alloc(1, sizeof *tok);
  if (!tok) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
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
  mtk_text_bpe_destroy(tok->bpe);
  mtk_text_pretok_destroy(tok->pretok);
  mtk_text_added_finish(&tok->raw);
  mtk_text_added_finish(&tok->normalized);
  mtk_map_destroy(tok->ids);
  mtk_arena_destroy(tok->arena);
  mtk_free(tok->pieces);
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

/* ---- encoding ------------------------------------------------------------------------------- */

/* State of one encode call. */
typedef struct encoder {
  const mtk_tokenizer *tok;
  text_sink *sink;
  text_pretok_cursor *cursor;
  text_bpe_work work;
  size_t origin;              /* source offset of the segment being cut into pieces */
  size_t words;               /* offset of the words in the (normalized) segment */
  const text_normalized *map; /* normalized segment -> source, or NULL */
} encoder;

/* Source offset of an offset in the current segment. */
static size_t source_offset(const encoder *e, size_t offset) {
  return e->origin + (e->map ? mtk_text_normalized_source(e->map, offset) : offset);
}

static mtk_status encode_piece(void *ctx, const char *bytes, size_t n, size_t offset,
                               mtk_error *err) {
  encoder *e = ctx;
  size_t first = e->sink->n_offsets;
  MTK_TRY(mtk_text_bpe_encode(e->tok->bpe, &e->work, bytes, n, e->words + offset, e->sink, err));
  for (size_t i = first; i < e->sink->n_offsets; i++) {
    e->sink->offsets[i] = source_offset(e, e->sink->offsets[i]);
  }
  return MTK_OK;
}

/* A segment after normalization: added tokens of the `normalized` set, words between them. */
static mtk_status encode_normalized(encoder *e, const char *text, size_t n,
                                    const text_forbidden *forbidden, mtk_error *err) {
  for (size_t at = 0; at < n;) {
    text_added_match m =
        mtk_text_added_next(&e->tok->normalized, text, n, at, e->origin, forbidden);
    e->words = at;
    if (m.begin > at) {
      MTK_TRY(mtk_text_pretok_split(e->cursor, text + at, m.begin - at, encode_piece, e, err));
    }
    if (m.id >= 0) {
      MTK_TRY(mtk_text_sink_push(e->sink, m.id, source_offset(e, m.token_begin), err));
    }
    at = m.end;
  }
  return MTK_OK;
}

static mtk_status encode_segment(encoder *e, const char *text, size_t n, size_t origin,
                                 const text_forbidden *forbidden, mtk_error *err) {
  e->origin = origin;
  e->map = NULL;
  if (!e->tok->nfc || mtk_text_is_plain(text, n)) {
    return encode_normalized(e, text, n, forbidden, err);
  }
  text_normalized normal = {0};
  mtk_status status = mtk_text_normalize_nfc(&normal, text, n, err);
  if (status == MTK_OK) {
    /* Offsets of a rewritten segment do not line up with the spans: no control tokens in it. */
    static const text_forbidden everything = {.all = true};
    bool same = normal.text.len == n && memcmp(normal.text.data, text, n) == 0;
    e->map = same ? NULL : &normal;
    status = encode_normalized(e, normal.text.data, normal.text.len, same ? forbidden : &everything,
                               err);
  }
  e->map = NULL;
  mtk_text_normalized_finish(&normal);
  return status;
}

static mtk_status encode_all(encoder *e, const char *text, size_t n,
                             const text_forbidden *forbidden, mtk_error *err) {
  for (size_t at = 0; at < n;) {
    text_added_match m = mtk_text_added_next(&e->tok->raw, text, n, at, 0, forbidden);
    if (m.begin > at) MTK_TRY(encode_segment(e, text + at, m.begin - at, at, forbidden, err));
    if (m.id >= 0) MTK_TRY(mtk_text_sink_push(e->sink, m.id, m.token_begin, err));
    at = m.end;
  }
  return MTK_OK;
}

mtk_status mtk_text_encode(text_sink *sink, const mtk_tokenizer *tok, const char *text, size_t n,
                       const text_forbidden *forbidden, mtk_error *err) {
  if (n > INT32_MAX) {
    return mtk_fail(err, MTK_E_LIMIT, "tokenizer", "a text of %zu bytes is too long", n);
  }
  encoder e = {.tok = tok, .sink = sink};
  MTK_TRY(mtk_text_pretok_cursor_create(&e.cursor, tok->pretok, err));
  mtk_status status = encode_all(&e, text, n, forbidden, err);
  mtk_text_pretok_cursor_destroy(e.cursor);
  mtk_text_bpe_work_finish(&e.work);
  return status;
}

mtk_status mtk_tokenizer_encode(mtk_ids *out, const mtk_tokenizer *tok, const char *text, size_t n,
                                unsigned flags, mtk_error *err) {
  bool ends = flags & MTK_ENCODE_BOS;
  text_sink sink = {.ids = out};
  text_forbidden forbidden = {.all = !(flags & MTK_ENCODE_SPECIAL)};
  if (ends && tok->add_bos) MTK_TRY(mtk_ids_push(out, tok->bos, err));
  MTK_TRY(mtk_text_encode(&sink, tok, text, n, &forbidden, err));
  if (ends && tok->add_eos) MTK_TRY(mtk_ids_push(out, tok->eos, err));
  return MTK_OK;
}

/* ---- decoding and questions ----------------------------------------------------------------- */

static bool is_control_type(uint8_t type) {
  return type == MTK_TOKEN_CONTROL || type == MTK_TOKEN_UNKNOWN;
}

const char *mtk_tokenizer_piece(const mtk_tokenizer *tok, int32_t id, bool special, size_t *len) {
  *len = 0;
  if (id < 0 || (size_t)id >= tok->n_pieces || !tok->pieces[id].bytes) return NULL;
  const piece *p = &tok->pieces[id];
  if (is_control_type(p->type) && !special) return "";
  *len = p->len;
  return p->bytes;
}

mtk_status mtk_tokenizer_decode(mtk_bytes *out, const mtk_tokenizer *tok, const int32_t *ids,
                                size_t n, bool special, mtk_error *err) {
  for (size_t i = 0; i < n; i++) {
    size_t len;
    const char *bytes = mtk_tokenizer_piece(tok, ids[i], special, &len);
    if (!bytes) {
      return mtk_fail(err, MTK_E_INVALID, "tokenizer", "token id %d does not exist", (int)ids[i]);
    }
    mtk_bytes_append(out, bytes, len);
  }
  return mtk_bytes_status(out, err);
}

size_t mtk_tokenizer_size(const mtk_tokenizer *tok) { return tok->n_pieces; }

int32_t mtk_tokenizer_find(const mtk_tokenizer *tok, const char *text) {
  const mtk_map_value *value = mtk_map_get(tok->ids, text, strlen(text));
  return value ? (int32_t)value->i : -1;
}

int32_t mtk_tokenizer_bos(const mtk_tokenizer *tok) { return tok->bos; }

int32_t mtk_tokenizer_eos(const mtk_tokenizer *tok) { return tok->eos; }

bool mtk_tokenizer_is_control(const mtk_tokenizer *tok, int32_t id) {
  return id >= 0 && (size_t)id < tok->n_pieces && is_control_type(tok->pieces[id].type);
}

bool mtk_tokenizer_is_eog(const mtk_tokenizer *tok, int32_t id) {
  if (id < 0) return false;
  if (id == tok->eos || id == tok->eot) return true;
  if (!mtk_tokenizer_is_control(tok, id) || !tok->pieces[id].bytes) return false;
  for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
    if (strcmp(tok->pieces[id].bytes, end_names[i]) == 0) return true;
  }
  return false;
}
