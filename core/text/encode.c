/* text/encode.c: text to ids: added tokens -> normalizer -> added tokens that are matched in
 * normalized text -> pre-tokenizer -> model. The state of a call is an encoder; a tokenizer keeps
 * one that is warm (buffers, cache of pieces) for the next call on any thread. */
#include <stdatomic.h>
#include <string.h>

#include "text/tokenizer.h"

enum { CACHE_SLOTS = 16384, CACHE_KEY = 54, CACHE_IDS = 10 };

/* A piece and its ids; one slot per hash value, the latest piece wins. */
typedef struct cache_slot {
  uint8_t n, n_ids; /* n = 0: free */
  char key[CACHE_KEY];
  int32_t ids[CACHE_IDS];
} cache_slot;

struct text_encoder {
  const mtk_tokenizer *tok;
  text_sink *sink;
  const text_forbidden *forbidden;
  text_regex_work *regex;
  text_normalize_work normalize;
  text_pretok_cursor *cursor;
  void *work; /* the model's */
  cache_slot *cache;
};

struct text_spare {
  _Atomic(text_encoder *) encoder;
};

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding text");
}

static void encoder_destroy(text_encoder *e, const text_model_class *class) {
  if (!e) return;
  mtk_text_pretok_cursor_destroy(e->cursor);
  mtk_text_normalize_work_finish(&e->normalize);
  mtk_text_regex_work_destroy(e->regex);
  if (e->work) class->work_destroy(e->work);
  mtk_free(e->cache);
  mtk_free(e);
}

static mtk_status encoder_create(text_encoder **out, const mtk_tokenizer *tok, mtk_error *err) {
  text_encoder *e = mtk_alloc(1, sizeof *e);
  if (!e) return no_memory(err);
  e->tok = tok;
  mtk_status status = mtk_text_regex_work_create(&e->regex, err);
  if (status == MTK_OK) {
    status = mtk_text_pretok_cursor_create(&e->cursor, tok->pretok, e->regex, err);
  }
  if (status == MTK_OK) {
    e->cache = mtk_alloc(CACHE_SLOTS, sizeof *e->cache);
    if (!e->cache) status = no_memory(err);
  }
  e->normalize.regex = e->regex;
  if (status != MTK_OK) {
    encoder_destroy(e, tok->class);
    return status;
  }
  *out = e;
  return MTK_OK;
}

mtk_status mtk_text_spare_create(text_spare **out, mtk_error *err) {
  *out = mtk_alloc(1, sizeof **out);
  if (!*out) return no_memory(err);
  atomic_init(&(*out)->encoder, NULL);
  return MTK_OK;
}

void mtk_text_spare_destroy(text_spare *spare, const text_model_class *class) {
  if (!spare) return;
  encoder_destroy(atomic_load(&spare->encoder), class);
  mtk_free(spare);
}

/* ---- pieces --------------------------------------------------------------------------------- */

static size_t hash_piece(const char *s, size_t n) {
  uint64_t h = n * 0x9E3779B97F4A7C15u, word;
  for (; n >= 8; s += 8, n -= 8) {
    memcpy(&word, s, 8);
    h = (h ^ word) * 0x9FB21C651E98DF25u;
    h ^= h >> 32;
  }
  word = 0;
  memcpy(&word, s, n);
  h = (h ^ word) * 0x9FB21C651E98DF25u;
  return (size_t)(h >> 40);
}

static mtk_status run_model(text_encoder *e, const text_slice *piece, mtk_error *err) {
  return e->tok->class->encode(e->tok->model, &e->work, piece->s, piece->n, 0, e->sink, err);
}

/* With offsets: those of the model are relative to the piece. */
static mtk_status encode_with_offsets(text_encoder *e, const text_slice *piece, mtk_error *err) {
  text_sink *sink = e->sink;
  size_t first = sink->n_offsets;
  MTK_TRY(run_model(e, piece, err));
  for (size_t i = first; i < sink->n_offsets; i++) {
    size_t at = sink->offsets[i] < piece->n ? sink->offsets[i] : piece->n - 1;
    sink->offsets[i] = text_slice_source(piece, at);
  }
  return MTK_OK;
}

static mtk_status encode_piece(void *ctx, const text_slice *piece, mtk_error *err) {
  text_encoder *e = ctx;
  if (e->sink->want_offsets) return encode_with_offsets(e, piece, err);
  if (piece->n > CACHE_KEY) return run_model(e, piece, err);
  cache_slot *slot = &e->cache[hash_piece(piece->s, piece->n) % CACHE_SLOTS];
  mtk_ids *ids = e->sink->ids;
  if (slot->n == piece->n && memcmp(slot->key, piece->s, piece->n) == 0) {
    for (size_t i = 0; i < slot->n_ids; i++) MTK_TRY(mtk_ids_push(ids, slot->ids[i], err));
    return MTK_OK;
  }
  size_t before = ids->len;
  MTK_TRY(run_model(e, piece, err));
  size_t n = ids->len - before;
  if (n > CACHE_IDS) return MTK_OK;
  slot->n = (uint8_t)piece->n;
  slot->n_ids = (uint8_t)n;
  memcpy(slot->key, piece->s, piece->n);
  if (n > 0) memcpy(slot->ids, ids->data + before, n * sizeof *ids->data);
  return MTK_OK;
}

/* ---- sections ------------------------------------------------------------------------------- */

/* What lies between added tokens of the raw text. */
static mtk_status encode_section(text_encoder *e, const text_slice *section, mtk_error *err) {
  const mtk_tokenizer *tok = e->tok;
  text_slice text = *section;
  bool rewrites = !mtk_text_normalizer_is_empty(tok->normalizer);
  bool track = e->sink->want_offsets || e->forbidden->n_spans > 0 ||
               (rewrites && mtk_text_pretok_needs_origin(tok->pretok));
  e->normalize.track = track;
  MTK_TRY(mtk_text_normalize(tok->normalizer, &e->normalize, &text, err));
  text_added_cursor cursor = {0};
  for (bool more = true; more;) {
    text_added_match m = mtk_text_added_next(&tok->normalized, &cursor, &text, e->forbidden);
    if (m.begin < m.end) {
      text_slice words = text_slice_part(&text, m.begin, m.end);
      MTK_TRY(mtk_text_pretok_split(e->cursor, &words, track, encode_piece, e, err));
    }
    more = m.id >= 0;
    if (more) MTK_TRY(mtk_text_sink_push(e->sink, m.id, text_slice_source(&text, m.token), err));
  }
  return MTK_OK;
}

static mtk_status encode_all(text_encoder *e, const text_slice *text, mtk_error *err) {
  text_added_cursor cursor = {0};
  for (bool more = true; more;) {
    text_added_match m = mtk_text_added_next(&e->tok->raw, &cursor, text, e->forbidden);
    text_slice section = text_slice_part(text, m.begin, m.end);
    if (m.begin < m.end) MTK_TRY(encode_section(e, &section, err));
    more = m.id >= 0;
    if (more) MTK_TRY(mtk_text_sink_push(e->sink, m.id, m.token, err));
  }
  return MTK_OK;
}

mtk_status mtk_text_encode(text_sink *sink, const mtk_tokenizer *tok, const char *text, size_t n,
                           const text_forbidden *forbidden, mtk_error *err) {
  if (n > INT32_MAX) {
    return mtk_fail(err, MTK_E_LIMIT, "tokenizer", "a text of %zu bytes is too long", n);
  }
  text_encoder *e = atomic_exchange(&tok->spare->encoder, NULL);
  if (!e) MTK_TRY(encoder_create(&e, tok, err));
  e->sink = sink;
  e->forbidden = forbidden;
  text_slice all = {.s = text, .n = n};
  mtk_status status = encode_all(e, &all, err);
  encoder_destroy(atomic_exchange(&tok->spare->encoder, e), tok->class);
  return status;
}

mtk_status mtk_tokenizer_encode(mtk_ids *out, const mtk_tokenizer *tok, const char *text, size_t n,
                                unsigned flags, mtk_error *err) {
  bool around = flags & MTK_ENCODE_BOS;
  text_sink sink = {.ids = out};
  text_forbidden forbidden = {.all = !(flags & MTK_ENCODE_SPECIAL)};
  for (size_t i = 0; around && i < tok->n_prefix; i++) {
    MTK_TRY(mtk_ids_push(out, tok->prefix[i], err));
  }
  MTK_TRY(mtk_text_encode(&sink, tok, text, n, &forbidden, err));
  for (size_t i = 0; around && i < tok->n_suffix; i++) {
    MTK_TRY(mtk_ids_push(out, tok->suffix[i], err));
  }
  return MTK_OK;
}
