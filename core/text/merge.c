/* text/merge.c: the models that merge the adjacent pair whose joined text is the best token, the
 * leftmost first among equals: SentencePiece's BPE (highest score) and tiktoken's (lowest rank,
 * that is, highest -rank). Candidates wait in a heap; those that are out of date are dropped when
 * they surface. A symbol keeps its node in the trie of all tokens, so that looking up a pair only
 * walks over the right one. */
#include <string.h>

#include "text/fallback.h"
#include "text/trie.h"
#include "text/utf8.h"

enum { NONE = -1, GONE = -2 };

typedef struct merge_model {
  text_trie trie;  /* tokens that merging may give */
  text_trie user;  /* user-defined tokens that are cut out first */
  uint32_t *order; /* by id: the lower the earlier it is merged */
  uint8_t *types;
  bool whole_first; /* a piece that is a token is that token (tiktoken) */
  bool has_user;
  bool cut_words; /* no token goes over the beginning of a word: words can be merged one by one */
  text_fallback fallback;
} merge_model;

typedef struct symbol {
  uint32_t begin, length;
  uint32_t node;          /* 0 = no token begins like this */
  int32_t previous, next; /* neighbours; next GONE = merged into another */
  int32_t fixed;          /* id of a user-defined token, which merges with nothing; or NONE */
  int32_t last, older;    /* what this one took in last; what its taker had taken in before it */
} symbol;

typedef struct pair {
  uint64_t key; /* order << 32 | index of the left symbol */
  uint32_t length, node;
} pair;

typedef struct merge_work {
  symbol *symbols;
  pair *heap;
  int32_t *stack;
  size_t cap, n_heap;
} merge_work;

/* ---- creation ------------------------------------------------------------------------------- */

static void destroy(void *model) {
  merge_model *m = model;
  if (!m) return;
  mtk_text_trie_finish(&m->trie);
  mtk_text_trie_finish(&m->user);
  mtk_free(m->order);
  mtk_free(m->types);
  mtk_free(m);
}

/* Unsigned numbers in the opposite order of the scores. */
static uint32_t order_of(float score) {
  uint32_t bits;
  float plain = score + 0.0F; /* no -0 */
  memcpy(&bits, &plain, sizeof bits);
  return bits & 0x80000000u ? bits : ~bits & 0x7FFFFFFFu;
}

static bool is_mergeable(const mtk_vocab *vocab, const mtk_token *t) {
  if (!t->text) return false;
  if (vocab->kind == MTK_VOCAB_RANKS) return t->type == MTK_TOKEN_NORMAL;
  return t->type == MTK_TOKEN_NORMAL || t->type == MTK_TOKEN_USER_DEFINED ||
         t->type == MTK_TOKEN_UNUSED;
}

static const char word_begin[] = "\xE2\x96\x81"; /* U+2581 */

/* Bytes up to the next U+2581 that does not follow another one. */
static size_t word_length(const char *s, size_t n) {
  const size_t mark = sizeof word_begin - 1;
  bool after = true; /* a U+2581, or the beginning */
  for (size_t i = 0; i < n;) {
    bool begins = n - i >= mark && memcmp(s + i, word_begin, mark) == 0;
    if (begins && !after) return i;
    after = begins;
    i += begins ? mark : 1;
  }
  return n;
}

static mtk_status build_tries(merge_model *m, const mtk_vocab *vocab, text_trie_key *keys,
                              mtk_error *err) {
  size_t n = 0;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    if (!is_mergeable(vocab, t)) continue;
    keys[n++] = (text_trie_key){t->text, t->len, (int32_t)i};
    if (word_length(t->text, t->len) < t->len) m->cut_words = false;
  }
  MTK_TRY(mtk_text_trie_init(&m->trie, keys, n, err));
  n = 0;
  for (size_t i = 0; vocab->user_defined_in_model && i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    if (!t->text || t->type != MTK_TOKEN_USER_DEFINED) continue;
    keys[n++] = (text_trie_key){t->text, t->len, (int32_t)i};
  }
  m->has_user = n > 0;
  return m->has_user ? mtk_text_trie_init(&m->user, keys, n, err) : MTK_OK;
}

static mtk_status build(merge_model *m, const mtk_vocab *vocab, mtk_error *err) {
  size_t n = vocab->n_tokens;
  text_trie_key *keys = mtk_alloc(n, sizeof *keys);
  m->order = mtk_alloc(n, sizeof *m->order);
  m->types = mtk_alloc(n, 1);
  mtk_status status = MTK_OK;
  if (!keys || !m->order || !m->types) {
    status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  }
  for (size_t i = 0; status == MTK_OK && i < n; i++) {
    m->order[i] = order_of(vocab->tokens[i].score);
    m->types[i] = vocab->tokens[i].type;
  }
  if (status == MTK_OK) status = build_tries(m, vocab, keys, err);
  mtk_free(keys);
  return status;
}

static mtk_status create(void **out, const mtk_vocab *vocab, const mtk_map *ids, mtk_error *err) {
  merge_model *m = mtk_alloc(1, sizeof *m);
  if (!m) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  m->whole_first = vocab->kind == MTK_VOCAB_RANKS;
  m->cut_words = vocab->kind == MTK_VOCAB_SPM;
  mtk_text_fallback_init(&m->fallback, vocab, ids);
  mtk_status status = build(m, vocab, err);
  if (status != MTK_OK) {
    destroy(m);
    return status;
  }
  *out = m;
  return MTK_OK;
}

/* ---- work memory and heap ------------------------------------------------------------------- */

static void work_destroy(void *work) {
  merge_work *w = work;
  if (!w) return;
  mtk_free(w->symbols);
  mtk_free(w->heap);
  mtk_free(w->stack);
  mtk_free(w);
}

/* Room for n symbols: n - 1 pairs at first, two more for each of at most n - 1 merges. */
static mtk_status reserve(void **work, size_t n, mtk_error *err) {
  if (!*work) *work = mtk_alloc(1, sizeof(merge_work));
  merge_work *w = *work;
  if (w && w->cap < n) {
    mtk_free(w->symbols);
    mtk_free(w->heap);
    mtk_free(w->stack);
    w->cap = n + n / 2 + 64;
    w->symbols = mtk_alloc(w->cap, sizeof *w->symbols);
    w->heap = mtk_alloc(w->cap, 3 * sizeof *w->heap);
    w->stack = mtk_alloc(w->cap, sizeof *w->stack);
    if (!w->symbols || !w->heap || !w->stack) w->cap = 0;
  }
  if (!w || w->cap < n) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding text");
  return MTK_OK;
}

static void heap_push(merge_work *w, pair p) {
  size_t i = w->n_heap++;
  while (i > 0 && p.key < w->heap[(i - 1) / 2].key) {
    w->heap[i] = w->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  w->heap[i] = p;
}

static pair heap_pop(merge_work *w) {
  pair top = w->heap[0], p = w->heap[--w->n_heap];
  size_t i = 0, n = w->n_heap;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= n) break;
    if (child + 1 < n && w->heap[child + 1].key < w->heap[child].key) child++;
    if (p.key <= w->heap[child].key) break;
    w->heap[i] = w->heap[child];
    i = child;
  }
  w->heap[i] = p;
  return top;
}

/* ---- merging -------------------------------------------------------------------------------- */

/* Node of s[0..n) below `node`; 0 if there is none. */
static uint32_t walk(const merge_model *m, uint32_t node, const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    node = text_trie_next(&m->trie, node, (uint8_t)s[i]);
    if (node == 0) return 0;
  }
  return node;
}

static void propose(const merge_model *m, merge_work *w, const char *s, int32_t at) {
  if (at < 0 || w->symbols[at].next < 0) return;
  const symbol *left = &w->symbols[at], *right = &w->symbols[left->next];
  if (left->node == 0 || left->fixed >= 0 || right->fixed >= 0) return;
  uint32_t node = walk(m, left->node, s + right->begin, right->length);
  if (node == 0 || m->trie.units[node].value < 0) return;
  uint64_t order = m->order[m->trie.units[node].value];
  heap_push(w, (pair){order << 32 | (uint32_t)at, left->length + right->length, node});
}

static size_t next_symbol(const merge_model *m, symbol *out, const char *s, size_t n) {
  uint32_t cp;
  size_t length = 0;
  out->fixed = m->has_user ? mtk_text_trie_longest(&m->user, 0, s, n, &length) : NONE;
  if (out->fixed >= 0) return length;
  length = text_utf8_decode(s, n, &cp);
  if (length == 0) length = 1;
  out->node = walk(m, 0, s, length);
  return length;
}

static int32_t load(const merge_model *m, merge_work *w, const char *s, size_t n) {
  int32_t count = 0;
  for (size_t at = 0; at < n; count++) {
    symbol *sym = &w->symbols[count];
    *sym = (symbol){.begin = (uint32_t)at,
                    .previous = count - 1,
                    .next = count + 1,
                    .last = NONE,
                    .older = NONE};
    sym->length = (uint32_t)next_symbol(m, sym, s + at, n - at);
    at += sym->length;
  }
  w->symbols[count - 1].next = NONE;
  return count;
}

static void merge_all(const merge_model *m, merge_work *w, const char *s, int32_t count) {
  w->n_heap = 0;
  for (int32_t i = 0; i + 1 < count; i++) propose(m, w, s, i);
  while (w->n_heap > 0) {
    pair best = heap_pop(w);
    int32_t at = (int32_t)(best.key & UINT32_MAX);
    symbol *left = &w->symbols[at];
    if (left->next < 0) continue;
    int32_t taken = left->next;
    symbol *right = &w->symbols[taken];
    if (left->length + right->length != best.length) continue;
    left->next = right->next;
    if (left->next >= 0) w->symbols[left->next].previous = at;
    right->next = GONE;
    right->older = left->last;
    left->last = taken;
    left->length = best.length;
    left->node = best.node;
    propose(m, w, s, left->previous);
    propose(m, w, s, at);
  }
}

/* ---- ids ------------------------------------------------------------------------------------ */

static int32_t id_of(const merge_model *m, const symbol *sym) {
  if (sym->fixed >= 0) return sym->fixed;
  return sym->node ? m->trie.units[sym->node].value : NONE;
}

/* The ids of one final symbol. A token of type UNUSED falls apart again into what it was merged
 * from. */
static mtk_status emit(const merge_model *m, merge_work *w, const char *s, int32_t at, size_t base,
                       text_sink *sink, bool *unknown, mtk_error *err) {
  size_t n_stack = 0;
  w->stack[n_stack++] = at;
  while (n_stack > 0) {
    symbol part = w->symbols[w->stack[--n_stack]];
    int32_t id = id_of(m, &part);
    while (id >= 0 && m->types[id] == MTK_TOKEN_UNUSED && part.last >= 0) {
      const symbol *right = &w->symbols[part.last];
      w->stack[n_stack++] = part.last;
      part.length -= right->length;
      part.last = right->older;
      part.node = walk(m, 0, s + part.begin, part.length);
      id = id_of(m, &part);
    }
    size_t offset = base + part.begin;
    if (id < 0) {
      MTK_TRY(mtk_text_fallback_push(&m->fallback, sink, s + part.begin, part.length, offset,
                                     unknown, err));
      continue;
    }
    *unknown = false;
    MTK_TRY(mtk_text_sink_push(sink, id, offset, err));
  }
  return MTK_OK;
}

static mtk_status encode_word(const merge_model *m, void **work, const char *s, size_t n,
                              size_t base, text_sink *sink, bool *unknown, mtk_error *err) {
  MTK_TRY(reserve(work, n, err));
  merge_work *w = *work;
  merge_all(m, w, s, load(m, w, s, n));
  for (int32_t i = 0; i >= 0; i = w->symbols[i].next) {
    MTK_TRY(emit(m, w, s, i, base, sink, unknown, err));
  }
  return MTK_OK;
}

static mtk_status encode(const void *model, void **work, const char *piece, size_t n, size_t base,
                         text_sink *sink, mtk_error *err) {
  const merge_model *m = model;
  if (m->whole_first) {
    uint32_t node = walk(m, 0, piece, n);
    int32_t id = node ? m->trie.units[node].value : NONE;
    if (id >= 0) return mtk_text_sink_push(sink, id, base, err);
  }
  bool unknown = false;
  for (size_t at = 0; at < n;) {
    size_t length = m->cut_words ? word_length(piece + at, n - at) : n;
    MTK_TRY(encode_word(m, work, piece + at, length, base + at, sink, &unknown, err));
    at += length;
  }
  return MTK_OK;
}

const text_model_class mtk_text_merge_model = {create, destroy, encode, work_destroy};
