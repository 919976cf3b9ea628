/* text/vocab_merges.c: merge lists from scores, and scores from merge lists. Merging by score joins
 * any two tokens whose joined text is a token; a merge list says the same if it names every such
 * pair, and all pairs that make a token one after the other. Reads only; any thread. */
#include <stdlib.h>
#include <string.h>

#include <mtk/text.h>

#include "base/hashmap.h"
#include "text/utf8.h"

static const char place[] = "tokenizer merges";

/* One way to make a token. */
typedef struct split {
  float score; /* of the token made */
  int32_t made, left, right;
} split;

typedef struct splits {
  const mtk_vocab *vocab;
  mtk_map *ids; /* NORMAL tokens */
  split *items;
  size_t n, cap;
} splits;

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory converting a tokenizer");
}

static int32_t find(const splits *s, const char *text, size_t n) {
  const mtk_map_value *value = mtk_map_get(s->ids, text, n);
  return value ? (int32_t)value->i : -1;
}

static mtk_status add(splits *s, split item, mtk_error *err) {
  if (s->n == s->cap) {
    size_t cap = s->cap * 2 + 4096;
    split *grown = mtk_realloc(s->items, s->cap, cap, sizeof *grown);
    if (!grown) return no_memory(err);
    s->items = grown;
    s->cap = cap;
  }
  s->items[s->n++] = item;
  return MTK_OK;
}

static mtk_status add_splits(splits *s, int32_t made, mtk_error *err) {
  const mtk_token *t = &s->vocab->tokens[made];
  for (size_t at = 0; at < t->len;) {
    uint32_t cp;
    size_t length = text_utf8_decode(t->text + at, t->len - at, &cp);
    at += length ? length : 1;
    if (at >= t->len) break;
    int32_t left = find(s, t->text, at);
    int32_t right = left >= 0 ? find(s, t->text + at, t->len - at) : -1;
    if (right >= 0) MTK_TRY(add(s, (split){t->score, made, left, right}, err));
  }
  return MTK_OK;
}

static bool is_normal(const mtk_token *t) { return t->text && t->type == MTK_TOKEN_NORMAL; }

/* Every way to make every token, in the order of ids. */
static mtk_status find_splits(splits *s, const mtk_vocab *vocab, mtk_error *err) {
  *s = (splits){.vocab = vocab, .ids = mtk_map_create()};
  if (!s->ids || !mtk_map_reserve(s->ids, vocab->n_tokens)) return no_memory(err);
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    bool found = false;
    if (!is_normal(t)) continue;
    mtk_map_value *value = mtk_map_put(s->ids, t->text, t->len, &found);
    if (!value) return no_memory(err);
    if (!found) value->i = (int64_t)i;
  }
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    if (is_normal(&vocab->tokens[i])) MTK_TRY(add_splits(s, (int32_t)i, err));
  }
  return MTK_OK;
}

static void finish(splits *s) {
  mtk_map_destroy(s->ids);
  mtk_free(s->items);
}

/* ---- merges from scores --------------------------------------------------------------------- */

static int order(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int best_first(const void *a, const void *b) {
  const split *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  if (x->made != y->made) return order(x->made, y->made);
  return x->left != y->left ? order(x->left, y->left) : order(x->right, y->right);
}

static mtk_status spell(const char **out, mtk_arena *arena, const mtk_vocab *vocab, const split *s,
                        mtk_error *err) {
  const mtk_token *l = &vocab->tokens[s->left], *r = &vocab->tokens[s->right];
  if (memchr(l->text, ' ', l->len) || memchr(r->text, ' ', r->len)) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, place, "token \"%.60s\" contains a space",
                    vocab->tokens[s->made].text);
  }
  char *text = mtk_arena_alloc(arena, (size_t)l->len + r->len + 2, 1);
  if (!text) return no_memory(err);
  memcpy(text, l->text, l->len);
  text[l->len] = ' ';
  memcpy(text + l->len + 1, r->text, r->len);
  *out = text;
  return MTK_OK;
}

static mtk_status spell_all(const char ***out, mtk_arena *arena, splits *s, mtk_error *err) {
  const char **texts = mtk_arena_alloc(arena, s->n, sizeof *texts);
  if (!texts) return no_memory(err);
  if (s->n > 0) qsort(s->items, s->n, sizeof *s->items, best_first);
  for (size_t i = 0; i < s->n; i++) {
    MTK_TRY(spell(&texts[i], arena, s->vocab, &s->items[i], err));
  }
  *out = texts;
  return MTK_OK;
}

mtk_status mtk_vocab_merges(const char *const **merges, size_t *n, mtk_arena *arena,
                            const mtk_vocab *vocab, mtk_error *err) {
  if (vocab->kind == MTK_VOCAB_BPE) {
    *merges = vocab->merges;
    *n = vocab->n_merges;
    return MTK_OK;
  }
  if (vocab->kind != MTK_VOCAB_SPM && vocab->kind != MTK_VOCAB_RANKS) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, place, "this kind of vocabulary does not merge");
  }
  splits s;
  const char **texts = NULL;
  mtk_status status = find_splits(&s, vocab, err);
  if (status == MTK_OK) status = spell_all(&texts, arena, &s, err);
  if (status == MTK_OK) {
    *merges = texts;
    *n = s.n;
  }
  finish(&s);
  return status;
}

/* ---- scores from merges --------------------------------------------------------------------- */

/* The token that a merge makes and its parts; false if one is no NORMAL token. */
static bool read_merge(split *out, const splits *s, const char *merge, mtk_bytes *joined) {
  const char *space = strchr(merge, ' ');
  if (!space) return false;
  size_t left = (size_t)(space - merge), right = strlen(space + 1);
  mtk_bytes_clear(joined);
  mtk_bytes_append(joined, merge, left);
  mtk_bytes_append(joined, space + 1, right);
  if (joined->failed) return false;
  out->left = find(s, merge, left);
  out->right = find(s, space + 1, right);
  out->made = find(s, joined->data, joined->len);
  return out->left >= 0 && out->right >= 0 && out->made >= 0;
}

/* The list must name each split once and keep those of one token together: then it names all if
 * there are as many. `seen`: by token, zeroed. */
static mtk_status order_tokens(float *scores, uint8_t *seen, const splits *s,
                               const mtk_vocab *vocab, mtk_error *err) {
  mtk_bytes joined = {0};
  int32_t previous = -1;
  size_t rank = 0;
  bool same = s->n == vocab->n_merges;
  for (size_t i = 0; i < vocab->n_merges && same; i++) {
    split m = {0};
    same = read_merge(&m, s, vocab->merges[i], &joined) && (m.made == previous || !seen[m.made]);
    if (!same || m.made == previous) continue;
    seen[m.made] = 1;
    previous = m.made;
    scores[m.made] = -(float)rank++;
  }
  bool failed = joined.failed;
  mtk_bytes_finish(&joined);
  if (failed) return no_memory(err);
  if (same) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, place,
                  "the order of the merges is not an order of the tokens that they make");
}

mtk_status mtk_vocab_scores(float *scores, const mtk_vocab *vocab, mtk_error *err) {
  for (size_t i = 0; i < vocab->n_tokens; i++) scores[i] = vocab->tokens[i].score;
  if (vocab->kind != MTK_VOCAB_BPE) return MTK_OK;
  for (size_t i = 0; i < vocab->n_tokens; i++) scores[i] = 0;
  splits s;
  uint8_t *seen = mtk_alloc(vocab->n_tokens, 1);
  mtk_status status = find_splits(&s, vocab, err);
  if (status == MTK_OK && !seen) status = no_memory(err);
  if (status == MTK_OK) status = order_tokens(scores, seen, &s, vocab, err);
  mtk_free(seen);
  finish(&s);
  return status;
}
