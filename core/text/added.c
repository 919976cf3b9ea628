/* text/added.c: a sorted list searched by narrowing a range one byte at a time, so a scan costs at
 * most the length of the longest token per position. Whitespace and word rules are those of the
 * `tokenizers` library's AddedVocabulary. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/normalize.h"
#include "text/utf8.h"

enum { MAX_TOKEN_BYTES = 4096 };

static bool is_added(const mtk_token *token) {
  bool added_type = token->type == MTK_TOKEN_CONTROL || token->type == MTK_TOKEN_USER_DEFINED ||
                    token->type == MTK_TOKEN_UNKNOWN;
  return token->text && token->len > 0 && token->len <= MAX_TOKEN_BYTES && added_type;
}

static int compare_tokens(const void *a, const void *b) {
  const text_added_token *x = a, *y = b;
  size_t n = x->len < y->len ? x->len : y->len;
  int order = memcmp(x->text, y->text, n);
  if (order != 0) return order;
  if (x->len != y->len) return x->len < y->len ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static mtk_status add_token(text_added *set, const mtk_vocab *vocab, size_t id, bool normalize,
                            mtk_error *err) {
  const mtk_token *token = &vocab->tokens[id];
  text_normalized normal = {0};
  const char *text = token->text;
  size_t len = token->len;
  mtk_status status = MTK_OK;
  if (normalize && !mtk_text_is_plain(text, len)) {
    status = mtk_text_normalize_nfc(&normal, text, len, err);
    text = normal.text.data;
    len = normal.text.len;
  }
  if (status == MTK_OK) {
    text_added_token *added = &set->tokens[set->n_tokens];
    added->text = mtk_arena_strndup(set->arena, text, len);
    if (!added->text) status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory adding tokens");
    added->len = (uint32_t)len;
    added->id = (int32_t)id;
    added->control = token->type != MTK_TOKEN_USER_DEFINED;
    added->lstrip = token->lstrip;
    added->rstrip = token->rstrip;
    added->single_word = token->single_word;
    set->starts[(uint8_t)text[0]] = true;
    set->n_tokens++;
  }
  mtk_text_normalized_finish(&normal);
  return status;
}

mtk_status mtk_text_added_init(text_added *set, const mtk_vocab *vocab, bool normalized,
                           mtk_error *err) {
  *set = (text_added){.arena = mtk_arena_create()};
  if (!set->arena) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory adding tokens");
  size_t count = 0;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    count += is_added(&vocab->tokens[i]) && vocab->tokens[i].normalized == normalized;
  }
  set->tokens = mtk_arena_alloc(set->arena, count, sizeof *set->tokens);
  if (!set->tokens) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory adding tokens");
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    if (!is_added(&vocab->tokens[i]) || vocab->tokens[i].normalized != normalized) continue;
    MTK_TRY(add_token(set, vocab, i, normalized && vocab->nfc, err));
  }
  if (count > 0) qsort(set->tokens, count, sizeof *set->tokens, compare_tokens);
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

/* Letters, marks, decimal digits and connectors are word characters. */
static bool is_word(uint32_t cp) {
  if (cp < 0x80) {
    return cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z');
  }
  utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
  return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_ND) || c == UTF8PROC_CATEGORY_PC;
}

/* The character that ends at text[..end), decoded backwards; 0 bytes if there is none. */
static size_t char_before(const char *text, size_t end, uint32_t *cp) {
  for (size_t len = 1; len <= 4 && len <= end; len++) {
    if (text_utf8_decode(text + end - len, len, cp) == len) return len;
  }
  return 0;
}

static bool stands_alone(const char *text, size_t n, size_t begin, size_t end) {
  uint32_t cp;
  if (char_before(text, begin, &cp) > 0 && is_word(cp)) return false;
  return text_utf8_decode(text + end, n - end, &cp) == 0 || !is_word(cp);
}

static size_t strip_left(const char *text, size_t floor, size_t begin) {
  uint32_t cp;
  size_t len;
  while (begin > floor && (len = char_before(text, begin, &cp)) > 0 && text_is_space(cp)) {
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

/* How many bytes from `at` on lie before the next forbidden span; *next caches the span index. */
static size_t allowed_bytes(const text_forbidden *f, size_t at, size_t *next) {
  if (f->all) return 0;
  while (*next < f->n_spans && f->spans[*next].end <= at) (*next)++;
  if (*next == f->n_spans) return SIZE_MAX;
  return f->spans[*next].begin > at ? f->spans[*next].begin - at : 0;
}

static size_t first_span(const text_forbidden *f, size_t at) {
  size_t lo = 0, hi = f->n_spans;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (f->spans[mid].end <= at)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

text_added_match mtk_text_added_next(const text_added *set, const char *text, size_t n, size_t from,
                                 size_t origin, const text_forbidden *forbidden) {
  size_t span = first_span(forbidden, origin + from);
  for (size_t at = from; at < n && set->n_tokens > 0; at++) {
    if (!set->starts[(uint8_t)text[at]]) continue;
    size_t limit = allowed_bytes(forbidden, origin + at, &span);
    const text_added_token *t = longest_at(set, text + at, n - at, limit);
    if (!t) continue;
    size_t end = at + t->len;
    if (t->single_word && !stands_alone(text, n, at, end)) {
      at = end - 1;
      continue;
    }
    size_t begin = t->lstrip ? strip_left(text, from, at) : at;
    if (t->rstrip) end = strip_right(text, n, end);
    return (text_added_match){begin, end, at, t->id};
  }
  return (text_added_match){n, n, n, -1};
}
