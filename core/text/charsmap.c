/* text/charsmap.c: reading of precompiled_charsmap. Layout: u32 size of the trie in bytes, its
 * units (u32, little-endian), then the replacements. A unit of the darts-clone trie holds a label
 * (bits 0..7 and 31), "has a value" (bit 8) and the offset of its children (bits 10..30, shifted
 * by 8 if bit 9 is set); a value unit holds the place of a replacement. Every index is checked on
 * use: a hostile trie finds nothing. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/charsmap.h"

#include <pcre2.h>
#include <string.h>

#include "text/trie.h"
#include "text/utf8.h"

enum { MAX_GRAPHEME = 6 /* bytes; longer ones are replaced character by character */ };

struct text_charsmap {
  uint32_t *units;
  size_t n_units;
  char *strings; /* NUL-terminated replacements; one more NUL at the end */
  size_t n_strings;
  text_trie kept; /* texts that rules do not touch */
  bool has_kept;
  pcre2_general_context *general; /* memory through mtk_alloc */
  pcre2_code *grapheme;           /* \X */
};

static uint32_t load_u32(const char *s) {
  const uint8_t *p = (const uint8_t *)s;
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void *pcre_alloc(size_t n, void *unused) {
  (void)unused;
  return mtk_alloc(n, 1);
}

static void pcre_free(void *p, void *unused) {
  (void)unused;
  mtk_free(p);
}

/* ---- life ----------------------------------------------------------------------------------- */

static mtk_status compile_grapheme(text_charsmap *map, mtk_error *err) {
  int code = 0;
  PCRE2_SIZE at = 0;
  map->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  pcre2_compile_context *context = map->general ? pcre2_compile_context_create(map->general) : NULL;
  if (context) {
    map->grapheme =
        pcre2_compile((PCRE2_SPTR) "\\X", 2, PCRE2_UTF | PCRE2_ANCHORED, &code, &at, context);
  }
  pcre2_compile_context_free(context);
  if (!map->grapheme) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a charsmap");
  return MTK_OK;
}

static mtk_status load(text_charsmap *map, const char *blob, size_t n, mtk_error *err) {
  size_t trie = n >= 4 ? load_u32(blob) : 0;
  if (n > 0 && (n < 4 || trie % 4 != 0 || trie > n - 4)) {
    return mtk_fail(err, MTK_E_FORMAT, "precompiled_charsmap", "its trie of %zu bytes does not fit",
                    trie);
  }
  size_t rest = n > 0 ? n - 4 - trie : 0;
  map->n_units = trie / 4;
  map->n_strings = rest;
  map->units = mtk_alloc(map->n_units, sizeof *map->units);
  map->strings = mtk_alloc(rest + 1, 1);
  if (!map->units || !map->strings) {
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a charsmap");
  }
  for (size_t i = 0; i < map->n_units; i++) map->units[i] = load_u32(blob + 4 + 4 * i);
  if (rest > 0) memcpy(map->strings, blob + 4 + trie, rest);
  return compile_grapheme(map, err);
}

static mtk_status load_kept(text_charsmap *map, const char *kept, size_t n, mtk_error *err) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) count += kept[i] == 0;
  if (count == 0) return MTK_OK;
  text_trie_key *keys = mtk_alloc(count, sizeof *keys);
  if (!keys) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a charsmap");
  for (size_t i = 0, at = 0; i < count; i++) {
    keys[i] = (text_trie_key){kept + at, (uint32_t)strlen(kept + at), 1};
    at += keys[i].len + 1;
  }
  mtk_status status = mtk_text_trie_init(&map->kept, keys, count, err);
  map->has_kept = status == MTK_OK;
  mtk_free(keys);
  return status;
}

mtk_status mtk_text_charsmap_create(text_charsmap **out, const char *blob, size_t n,
                                    const char *kept, size_t n_kept, mtk_error *err) {
  text_charsmap *map = mtk_alloc(1, sizeof *map);
  if (!map) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a charsmap");
  mtk_status status = load(map, blob, n, err);
  if (status == MTK_OK) status = load_kept(map, kept, n_kept, err);
  if (status != MTK_OK) {
    mtk_text_charsmap_destroy(map);
    return status;
  }
  *out = map;
  return MTK_OK;
}

void mtk_text_charsmap_destroy(text_charsmap *map) {
  if (!map) return;
  mtk_text_trie_finish(&map->kept);
  pcre2_code_free(map->grapheme);
  pcre2_general_context_free(map->general);
  mtk_free(map->units);
  mtk_free(map->strings);
  mtk_free(map);
}

/* ---- looking up ----------------------------------------------------------------------------- */

typedef struct rule {
  size_t length; /* bytes that the rule replaces; 0 = no rule */
  const char *to;
} rule;

static size_t children_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 0x200) >> 6); }

/* The shortest or the longest rule that is a prefix of s[0..n). */
static rule find_rule(const text_charsmap *map, const char *s, size_t n, bool longest) {
  rule found = {0};
  if (map->n_units == 0) return found;
  size_t at = children_of(map->units[0]);
  for (size_t i = 0; i < n && s[i]; i++) {
    uint8_t c = (uint8_t)s[i];
    at ^= c;
    if (at >= map->n_units) break;
    uint32_t unit = map->units[at];
    if ((unit & 0x800000FFu) != c) break;
    at ^= children_of(unit);
    if (!(unit & 0x100)) continue;
    size_t string = at < map->n_units ? map->units[at] & 0x7FFFFFFFu : SIZE_MAX;
    if (string >= map->n_strings) break;
    found = (rule){i + 1, map->strings + string};
    if (!longest) break;
  }
  return found;
}

/* ---- rewriting ------------------------------------------------------------------------------ */

typedef struct rewriter {
  const text_charsmap *map;
  text_rewrite_fn fn;
  void *ctx;
  pcre2_match_data *match;
} rewriter;

static mtk_status rewrite(const rewriter *r, size_t begin, size_t end, const char *to,
                          mtk_error *err) {
  return r->fn(r->ctx, begin, end, to, strlen(to), err);
}

static mtk_status apply_longest(const rewriter *r, const char *s, size_t n, mtk_error *err) {
  for (size_t i = 0, kept = 0; i < n;) {
    if (r->map->has_kept && mtk_text_trie_longest(&r->map->kept, 0, s + i, n - i, &kept) >= 0) {
      i += kept;
      continue;
    }
    rule found = find_rule(r->map, s + i, n - i, true);
    if (found.length > 0) {
      MTK_TRY(rewrite(r, i, i + found.length, found.to, err));
      i += found.length;
    } else {
      uint32_t cp;
      size_t len = text_utf8_decode(s + i, n - i, &cp);
      i += len ? len : 1;
    }
  }
  return MTK_OK;
}

/* Bytes of the grapheme that valid UTF-8 s[0..n) begins with. */
static size_t grapheme_length(const rewriter *r, const char *s, size_t n) {
  uint8_t first = (uint8_t)s[0], second = n > 1 ? (uint8_t)s[1] : 0;
  if (first < 0x80 && first != '\r' && second < 0x80) return 1;
  int found =
      pcre2_match(r->map->grapheme, (PCRE2_SPTR)s, n, 0, PCRE2_NO_UTF_CHECK, r->match, NULL);
  return found > 0 ? pcre2_get_ovector_pointer(r->match)[1] : 1;
}

static mtk_status apply_grapheme(const rewriter *r, const char *s, size_t begin, size_t end,
                                 mtk_error *err) {
  rule whole = {0};
  if (end - begin < MAX_GRAPHEME) whole = find_rule(r->map, s + begin, end - begin, false);
  if (whole.length > 0) return rewrite(r, begin, end, whole.to, err);
  for (size_t i = begin; i < end;) {
    uint32_t cp;
    size_t len = text_utf8_decode(s + i, end - i, &cp);
    if (len == 0) len = 1;
    rule found = find_rule(r->map, s + i, len, false);
    if (found.length > 0) MTK_TRY(rewrite(r, i, i + len, found.to, err));
    i += len;
  }
  return MTK_OK;
}

static mtk_status apply_graphemes(const rewriter *r, const char *s, size_t n, mtk_error *err) {
  for (size_t i = 0; i < n;) {
    size_t valid = i + text_utf8_valid(s + i, n - i);
    while (i < valid) {
      size_t end = i + grapheme_length(r, s + i, valid - i);
      MTK_TRY(apply_grapheme(r, s, i, end, err));
      i = end;
    }
    if (i < n) i++; /* a byte that is no UTF-8 */
  }
  return MTK_OK;
}

mtk_status mtk_text_charsmap_apply(const text_charsmap *map, text_charsmap_mode mode, const char *s,
                                   size_t n, text_rewrite_fn fn, void *ctx, mtk_error *err) {
  rewriter r = {.map = map, .fn = fn, .ctx = ctx};
  if (map->n_units == 0) return MTK_OK;
  if (mode == TEXT_CHARSMAP_LONGEST) return apply_longest(&r, s, n, err);
  r.match = pcre2_match_data_create(1, map->general);
  if (!r.match) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory normalizing text");
  mtk_status status = apply_graphemes(&r, s, n, err);
  pcre2_match_data_free(r.match);
  return status;
}
