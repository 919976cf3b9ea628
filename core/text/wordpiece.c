/* text/wordpiece.c: WordPiece (the longest token at each place of a word, spelled with the
 * continuing prefix except at its beginning; a word that does not come out even is unk as a whole)
 * and WordLevel (a piece is one token, or unk). */

#include "text/model.h"
#include "text/trie.h"
#include "text/utf8.h"

typedef struct wordpiece {
  text_trie trie;
  uint32_t continued; /* node of the continuing prefix, where tokens inside words begin */
  bool can_continue;  /* there is such a node */
  bool whole;         /* WordLevel */
  size_t max_chars;   /* 0 = no limit */
  int32_t unk;
} wordpiece;

static void destroy(void *model) {
  wordpiece *m = model;
  if (!m) return;
  mtk_text_trie_finish(&m->trie);
  mtk_free(m);
}

static mtk_status build(wordpiece *m, const mtk_vocab *vocab, mtk_error *err) {
  size_t n = 0;
  text_trie_key *keys = mtk_alloc(vocab->n_tokens, sizeof *keys);
  if (!keys) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    if (!t->text || t->type == MTK_TOKEN_CONTROL || t->type == MTK_TOKEN_UNKNOWN) continue;
    keys[n++] = (text_trie_key){t->text, t->len, (int32_t)i};
  }
  mtk_status status = mtk_text_trie_init(&m->trie, keys, n, err);
  mtk_free(keys);
  MTK_TRY(status);
  m->can_continue = true;
  for (const char *p = vocab->continuing_prefix; p && *p && m->can_continue; p++) {
    m->continued = text_trie_next(&m->trie, m->continued, (uint8_t)*p);
    m->can_continue = m->continued != 0;
  }
  return MTK_OK;
}

static mtk_status create(void **out, const mtk_vocab *vocab, const mtk_map *ids, mtk_error *err) {
  (void)ids;
  wordpiece *m = mtk_alloc(1, sizeof *m);
  if (!m) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  m->unk = vocab->unk;
  m->max_chars = vocab->max_word_chars;
  m->whole = vocab->kind == MTK_VOCAB_WORDLEVEL;
  mtk_status status = build(m, vocab, err);
  if (status != MTK_OK) {
    destroy(m);
    return status;
  }
  *out = m;
  return MTK_OK;
}

static mtk_status push_unk(const wordpiece *m, text_sink *sink, size_t offset, mtk_error *err) {
  return m->unk >= 0 ? mtk_text_sink_push(sink, m->unk, offset, err) : MTK_OK;
}

/* Takes back what was pushed since the sink held n_ids ids and n_offsets offsets. */
static void take_back(text_sink *sink, size_t n_ids, size_t n_offsets) {
  sink->ids->len = n_ids;
  sink->n_offsets = n_offsets;
}

static mtk_status encode(const void *model, void **work, const char *piece, size_t n, size_t base,
                         text_sink *sink, mtk_error *err) {
  (void)work;
  const wordpiece *m = model;
  size_t n_ids = sink->ids->len, n_offsets = sink->n_offsets;
  if (m->max_chars > 0 && text_utf8_count(piece, n) > m->max_chars) {
    return push_unk(m, sink, base, err);
  }
  for (size_t at = 0; at < n;) {
    size_t length = 0;
    int32_t id = -1;
    if (at == 0 || m->can_continue) {
      id = mtk_text_trie_longest(&m->trie, at > 0 ? m->continued : 0, piece + at, n - at, &length);
    }
    if (id < 0 || (m->whole && length < n)) {
      take_back(sink, n_ids, n_offsets);
      return push_unk(m, sink, base, err);
    }
    MTK_TRY(mtk_text_sink_push(sink, id, base + at, err));
    at += length;
  }
  return MTK_OK;
}

static void work_destroy(void *work) { (void)work; }

const text_model_class mtk_text_wordpiece_model = {create, destroy, encode, work_destroy};
const text_model_class mtk_text_wordlevel_model = {create, destroy, encode, work_destroy};
