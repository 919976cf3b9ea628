/* text/unigram.c: the Unigram model: the segmentation with the highest sum of scores, by Viterbi
 * over a trie in one pass. Ties go to the segmentation found first, as in SentencePiece and
 * `tokenizers`; the sums are made in the precision of the program the vocabulary is for. */

#include "text/fallback.h"
#include "text/trie.h"
#include "text/utf8.h"

static const double unk_penalty = 10; /* below the lowest score */
static const size_t nowhere = SIZE_MAX;

typedef struct unigram {
  text_trie trie;
  double *scores; /* by id */
  uint8_t *types;
  double lowest, highest; /* score of a NORMAL token */
  bool single;     /* sums in float: SentencePiece; else in double: `tokenizers`, llama.cpp */
  bool user_bonus; /* user-defined tokens always win */
  text_fallback fallback;
} unigram;

/* The best segmentation that ends at a place: its last token. */
typedef struct best {
  double score;
  size_t begin; /* nowhere = none yet */
  int32_t id;   /* -1 = unknown character */
} best;

typedef struct unigram_work {
  best *ends;
  uint32_t *path; /* ends of the tokens, last first */
  size_t cap;
} unigram_work;

static bool is_piece(const mtk_token *t) {
  return t->text && (t->type == MTK_TOKEN_NORMAL || t->type == MTK_TOKEN_USER_DEFINED);
}

static void destroy(void *model) {
  unigram *m = model;
  if (!m) return;
  mtk_text_trie_finish(&m->trie);
  mtk_free(m->scores);
  mtk_free(m->types);
  mtk_free(m);
}

static mtk_status build(unigram *m, const mtk_vocab *vocab, mtk_error *err) {
  size_t n = 0;
  bool any = false;
  text_trie_key *keys = mtk_alloc(vocab->n_tokens, sizeof *keys);
  m->scores = mtk_alloc(vocab->n_tokens, sizeof *m->scores);
  m->types = mtk_alloc(vocab->n_tokens, 1);
  if (!keys || !m->scores || !m->types) {
    mtk_free(keys);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  }
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    double score = i < vocab->n_exact_scores ? vocab->exact_scores[i] : (double)t->score;
    m->scores[i] = score;
    m->types[i] = t->type;
    if (!is_piece(t)) continue;
    keys[n++] = (text_trie_key){t->text, t->len, (int32_t)i};
    if (t->type != MTK_TOKEN_NORMAL) continue;
    if (!any || score < m->lowest) m->lowest = score;
    if (!any || score > m->highest) m->highest = score;
    any = true;
  }
  mtk_status status = mtk_text_trie_init(&m->trie, keys, n, err);
  mtk_free(keys);
  return status;
}

static mtk_status create(void **out, const mtk_vocab *vocab, const mtk_map *ids, mtk_error *err) {
  unigram *m = mtk_alloc(1, sizeof *m);
  if (!m) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  m->single = m->user_bonus = vocab->user_defined_in_model;
  mtk_text_fallback_init(&m->fallback, vocab, ids);
  mtk_status status = build(m, vocab, err);
  if (status != MTK_OK) {
    destroy(m);
    return status;
  }
  *out = m;
  return MTK_OK;
}

static void work_destroy(void *work) {
  unigram_work *w = work;
  if (!w) return;
  mtk_free(w->ends);
  mtk_free(w->path);
  mtk_free(w);
}

static mtk_status reserve(void **work, size_t n, mtk_error *err) {
  if (!*work) *work = mtk_alloc(1, sizeof(unigram_work));
  unigram_work *w = *work;
  if (w && w->cap < n) {
    mtk_free(w->ends);
    mtk_free(w->path);
    w->cap = n + n / 2 + 256;
    w->ends = mtk_alloc(w->cap, sizeof *w->ends);
    w->path = mtk_alloc(w->cap, sizeof *w->path);
    if (!w->ends || !w->path) w->cap = 0;
  }
  if (!w || w->cap < n) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding text");
  return MTK_OK;
}

/* SentencePiece adds in double, compares with and keeps float. */
static void offer(const unigram *m, best *at, double score, size_t begin, int32_t id) {
  if (at->begin != nowhere && !(score > at->score)) return;
  at->score = m->single ? (double)(float)score : score;
  at->begin = begin;
  at->id = id;
}

static double score_of(const unigram *m, int32_t id, size_t length) {
  if (m->user_bonus && m->types[id] == MTK_TOKEN_USER_DEFINED) {
    return (double)((float)length * (float)m->highest) - 0.1;
  }
  return m->scores[id];
}

static double unknown_score(const unigram *m, double so_far) {
  double score = m->lowest - unk_penalty;
  return m->single ? (double)((float)score + (float)so_far) : score + so_far;
}

static void forward(const unigram *m, best *ends, const char *s, size_t n) {
  for (size_t i = 0; i <= n; i++) ends[i].begin = nowhere;
  ends[0].score = 0;
  for (size_t begin = 0; begin < n;) {
    uint32_t cp, node = 0;
    size_t length = text_utf8_decode(s + begin, n - begin, &cp);
    if (length == 0) length = 1;
    double so_far = ends[begin].score;
    bool covered = false; /* some token is just this character */
    for (size_t end = begin; end < n;) {
      node = text_trie_next(&m->trie, node, (uint8_t)s[end++]);
      if (node == 0) break;
      int32_t id = m->trie.units[node].value;
      if (id < 0) continue;
      offer(m, &ends[end], so_far + score_of(m, id, end - begin), begin, id);
      covered |= end - begin == length;
    }
    if (!covered) offer(m, &ends[begin + length], unknown_score(m, so_far), begin, -1);
    begin += length;
  }
}

static mtk_status encode(const void *model, void **work, const char *piece, size_t n, size_t base,
                         text_sink *sink, mtk_error *err) {
  const unigram *m = model;
  MTK_TRY(reserve(work, n + 1, err));
  unigram_work *w = *work;
  forward(m, w->ends, piece, n);
  size_t n_path = 0;
  for (size_t end = n; end > 0; end = w->ends[end].begin) w->path[n_path++] = (uint32_t)end;
  bool unknown = false;
  while (n_path > 0) {
    size_t end = w->path[--n_path], begin = w->ends[end].begin;
    int32_t id = w->ends[end].id;
    if (id < 0) {
      MTK_TRY(mtk_text_fallback_push(&m->fallback, sink, piece + begin, end - begin, base + begin,
                                     &unknown, err));
      continue;
    }
    unknown = false;
    MTK_TRY(mtk_text_sink_push(sink, id, base + begin, err));
  }
  return MTK_OK;
}

const text_model_class mtk_text_unigram_model = {create, destroy, encode, work_destroy};
