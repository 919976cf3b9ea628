/* text/added.c: a sorted list searched by narrowing a range one byte at a time, so a scan costs at
 * most the length of the longest token per position. Whitespace and word rules are those of the
 * `tokenizers` library's AddedVocabulary. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/utf8.h"

enum { MAX_TOKEN_BYTES = 4096 };

bool mtk_text_is_added(const mtk_vocab *vocab, const mtk_token *token) {
  bool by_type = token->type == MTK_TOKEN_CONTROL || token->type == MTK_TOKEN_UNKNOWN ||
                 (token->type == MTK_TOKEN_USER_DEFINED && !vocab->user_defined_in_model);
  return token->text && token->len > 0 && token->len <= MAX_TOKEN_BYTES && by_type;
}

static int compare_tokens(const void *a, const void *b) {
  const text_added_token *x = a, *y = b;
  size_t n = x->len < y->len ? x->len : y->len;
  int order = memcmp(x->text, y->text, n);
  if (order != 0) return order;
  if (x->len != y->len) return x->len < y->len ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static mtk_status add_token(text_added *set, const mtk_token *token, int32_t id,
                            const text_normalizer *normalizer, text_normalize_work *work,
                            mtk_error *err) {
  text_slice text = {.s = token->text, .n = token->len};
  if (normalizer) MTK_TRY(mtk_text_normalize(normalizer, work, &text, err));
  if (text.n == 0) return MTK_OK;
  text_added_token *added = &set->tokens[set->n_tokens];
  added->text = mtk_arena_strndup(set->arena, text.s, text.n);
  if (!added->text) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory adding tokens");
  added->len = (uint32_t)text.n;
  added->id = id;
  added->control = token->type != MTK_TOKEN_USER_DEFINED;
  added->lstrip = token->lstrip;
  added->rstrip = token->rstrip;
  added->single_word = token->single_word;
  set->starts[(uint8_t)text.s[0]] = true;
  if (text.n > set->longest) set->longest = text.n;
  set->n_tokens++;
  return MTK_OK;
}

mtk_status mtk_text_added_init(text_added *set, const mtk_vocab *vocab,
                               const text_normalizer *normalizer, text_normalize_work *work,
                               mtk_error *err) {
  *set = (text_added){.arena = mtk_arena_create()};
  if (!set->arena) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory adding tokens");
  size_t count = 0;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *token = &vocab->tokens[i];
    count += mtk_text_is_added(vocab, token) && token->normalized == (normalizer != NULL);
  }
  set->tokens = mtk_arena_alloc(set->arena, count, sizeof *set->tokens);
  if (!set->tokens) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory adding tokens");
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *token = &vocab->tokens[i];
    if (!mtk_text_is_added(vocab, token) || token->normalized != (normalizer != NULL)) continue;
    MTK_TRY(add_token(set, token, (int32_t)i, normalizer, work, err));
  }
  if (set->n_tokens > 0) {
    qsort(set->tokens, set->n_tokens, sizeof *set->tokens, compare_tokens);
  }
  return MTK_OK;
}

void mtk_text_added_finish(text_added *set) {
  mtk_arena_destroy(set->arena);
  *set = (text_added){0};
}

/* First index in [lo, hi) whose byte at `depth` is >= byte; tokens there share depth bytes and the
 * ones that end at depth come first. */
static size_t lower(const text_added *set, size_t lo, size_t hi, size_t depth, int byte) {
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    const text_added_token *t = &set->tokens[mid];
    int here = depth < t->len ? (uint8_t)t->text[depth] : -1;
    if (here < byte)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

/* The longest token at text that may stand here; control tokens: up to `control_limit` bytes. */
static const text_added_token *longest_at(const text_added *set, const char *text, size_t n,
                                          size_t control_limit) {
  const text_added_token *best = NULL;
  size_t lo = 0, hi = set->n_tokens;
  for (size_t depth = 0; depth < n && lo < hi; depth++) {
    int byte = (uint8_t)text[depth];
    lo = lower(set, lo, hi, depth, byte);
    hi = lower(set, lo, hi, depth, byte + 1);
    if (lo < hi && set->tokens[lo].len == depth + 1) {
      const text_added_token *t = &set->tokens[lo];
      if (!t->control || t->len <= control_limit) best = t;
    }
  }
  return best;
}

/* The \w of Rust's regular expressions: letters, marks, decimal digits, connectors, joiners (and
 * the few other alphabetic characters: letter numbers, circled letters). */
static bool is_word(uint32_t cp) {
  if (cp < 0x80) {
    return cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z');
  }
  utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
  bool circled = (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
                 (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
  return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_NL) || c == UTF8PROC_CATEGORY_PC ||
         cp == 0x200C || cp == 0x200D || circled;
}

static bool stands_alone(const char *text, size_t n, size_t begin, size_t end) {
  uint32_t cp;
  if (text_utf8_decode_last(text, begin, &cp) > 0 && is_word(cp)) return false;
  return text_utf8_decode(text + end, n - end, &cp) == 0 || !is_word(cp);
}

static size_t strip_left(const char *text, size_t floor, size_t begin) {
  uint32_t cp;
  size_t len;
  while (begin > floor && (len = text_utf8_decode_last(text, begin, &cp)) > 0 &&
         text_is_space(cp)) {
    begin -= len;
  }
  return begin < floor ? floor : begin;
}

static size_t strip_right(const char *text, size_t n, size_t end) {
  uint32_t cp;
  size_t len;
  while ((len = text_utf8_decode(text + end, n - end, &cp)) > 0 && text_is_space(cp)) end += len;
  return end;
}

/* The first forbidden span that ends after a source offset. */
static size_t first_span(const text_forbidden *f, size_t source) {
  size_t lo = 0, hi = f->n_spans;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (f->spans[mid].end <= source)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

/* How many bytes from `at` on (of those that a token could take) come from before the next
 * forbidden span. Origins never descend. */
static size_t allowed_bytes(const text_forbidden *f, const text_slice *text, size_t at,
                            size_t longest) {
  if (f->all) return 0;
  if (f->n_spans == 0) return SIZE_MAX;
  size_t source = text_slice_source(text, at), span = first_span(f, source);
  if (span == f->n_spans) return SIZE_MAX;
  size_t limit = f->spans[span].begin, end = at;
  if (!text->origin) return limit > source ? limit - source : 0;
  while (end < text->n && end - at < longest && text->origin[end] < limit) end++;
  return end - at;
}

text_added_match mtk_text_added_next(const text_added *set, text_added_cursor *c,
                                     const text_slice *text, const text_forbidden *forbidden) {
  const char *s = text->s;
  size_t n = text->n;
  for (size_t at = c->search; at < n && set->n_tokens > 0; at++) {
    if (!set->starts[(uint8_t)s[at]]) continue;
    size_t limit = allowed_bytes(forbidden, text, at, set->longest);
    const text_added_token *t = longest_at(set, s + at, n - at, limit);
    if (!t) continue;
    size_t end = at + t->len;
    if (t->single_word && !stands_alone(s, n, at, end)) {
      at = end - 1;
      continue;
    }
    size_t begin = t->lstrip ? strip_left(s, c->done, at) : at;
    text_added_match match = {c->done, begin, at, t->id};
    c->search = end; /* stripped whitespace may still begin a token */
    c->done = t->rstrip ? strip_right(s, n, end) : end;
    return match;
  }
  text_added_match rest = {c->done, n, n, -1};
  c->done = c->search = n;
  return rest;
}
