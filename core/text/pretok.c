/* text/pretok.c: PCRE2 behind text/pretok.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretok.h"

#include <pcre2.h>
#include <string.h>

#include "text/utf8.h"

enum {
  MAX_PATTERNS = 16,
  MAX_PATTERN_BYTES = 16384,
  MATCH_LIMIT = 50000000, /* backtracking steps of one match */
  JIT_STACK_START = 32 * 1024,
  JIT_STACK_MAX = 8 * 1024 * 1024
};

struct text_pretok {
  pcre2_general_context *general; /* memory through mtk_alloc */
  pcre2_code *codes[MAX_PATTERNS];
  size_t n_codes;
  bool add_prefix_space;
};

struct text_pretok_cursor {
  const text_pretok *pretok;
  pcre2_match_data *match;
  pcre2_match_context *context;
  pcre2_jit_stack *stack;
  mtk_bytes prefixed; /* " " + piece */
};

static void *pcre_alloc(size_t n, void *unused) {
  (void)unused;
  return mtk_alloc(n, 1);
}

static void pcre_free(void *p, void *unused) {
  (void)unused;
  mtk_free(p);
}

/* Oniguruma's \s and \w are not PCRE2's: spell them out (White_Space; letters, marks, decimal
 * digits, connectors). */
static void append_escape(mtk_bytes *out, char c, bool in_class) {
  const char *word = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}";
  if (c == 's' || c == 'S') {
    mtk_bytes_printf(out, "\\%c{wspace}", c == 's' ? 'p' : 'P');
  } else if (c == 'w' && in_class) {
    mtk_bytes_puts(out, word);
  } else if ((c == 'w' || c == 'W') && !in_class) {
    mtk_bytes_printf(out, "[%s%s]", c == 'W' ? "^" : "", word);
  } else {
    mtk_bytes_append(out, "\\", 1);
    mtk_bytes_append(out, &c, 1);
  }
}

static void translate(mtk_bytes *out, const char *pattern) {
  bool in_class = false;
  for (const char *p = pattern; *p; p++) {
    if (*p == '\\' && p[1]) {
      append_escape(out, *++p, in_class);
      continue;
    }
    if (*p == '[') in_class = true;
    if (*p == ']') in_class = false;
    mtk_bytes_append(out, p, 1);
  }
}

static mtk_status add_pattern(text_pretok *p, const char *pattern, mtk_error *err) {
  if (p->n_codes == MAX_PATTERNS || strlen(pattern) > MAX_PATTERN_BYTES) {
    return mtk_fail(err, MTK_E_LIMIT, "pre-tokenizer", "too many or too long patterns");
  }
  mtk_bytes text = {0};
  translate(&text, pattern);
  mtk_status status = mtk_bytes_status(&text, err);
  pcre2_compile_context *context = NULL;
  if (status == MTK_OK) {
    context = pcre2_compile_context_create(p->general);
    if (!context) status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory compiling a pattern");
  }
  if (status == MTK_OK) {
    pcre2_set_parens_nest_limit(context, 100);
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)(text.data ? text.data : ""), text.len,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, context);
    if (compiled) {
      pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* if it cannot, matching interprets */
      p->codes[p->n_codes++] = compiled;
    } else if (code == PCRE2_ERROR_NOMEMORY || code == 121 /* "failed to get memory" */) {
      status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory compiling a pattern");
    } else {
      char message[160] = "";
      pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
      status = mtk_fail(err, MTK_E_FORMAT, "pre-tokenizer pattern", "%s at character %zu", message,
                        offset);
    }
  }
  pcre2_compile_context_free(context);
  mtk_bytes_finish(&text);
  return status;
}

static mtk_status add_patterns(text_pretok *p, const mtk_vocab *vocab, mtk_error *err) {
  if (vocab->split_digits) MTK_TRY(add_pattern(p, mtk_text_pattern_digit, err));
  for (size_t i = 0; i < vocab->n_patterns; i++) {
    MTK_TRY(add_pattern(p, vocab->patterns[i], err));
  }
  return MTK_OK;
}

mtk_status mtk_text_pretok_create(text_pretok **out, const mtk_vocab *vocab, mtk_error *err) {
  text_pretok *p = mtk_alloc(1, sizeof *p);
  if (p) p->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  if (!p || !p->general) {
    mtk_free(p);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory creating a pre-tokenizer");
  }
  p->add_prefix_space = vocab->add_prefix_space;
  mtk_status status = add_patterns(p, vocab, err);
  if (status != MTK_OK) {
    mtk_text_pretok_destroy(p);
    return status;
  }
  *out = p;
  return MTK_OK;
}

void mtk_text_pretok_destroy(text_pretok *p) {
  if (!p) return;
  for (size_t i = 0; i < p->n_codes; i++) pcre2_code_free(p->codes[i]);
  pcre2_general_context_free(p->general);
  mtk_free(p);
}

mtk_status mtk_text_pretok_cursor_create(text_pretok_cursor **out, const text_pretok *p,
                                     mtk_error *err) {
  text_pretok_cursor *c = mtk_alloc(1, sizeof *c);
  if (c) {
    c->pretok = p;
    c->match = pcre2_match_data_create(1, p->general);
    c->context = pcre2_match_context_create(p->general);
    c->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, p->general);
  }
  if (!c || !c->match || !c->context || !c->stack) {
    mtk_text_pretok_cursor_destroy(c);
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory creating a pre-tokenizer");
  }
  pcre2_set_match_limit(c->context, MATCH_LIMIT);
  pcre2_jit_stack_assign(c->context, NULL, c->stack);
  *out = c;
  return MTK_OK;
}

void mtk_text_pretok_cursor_destroy(text_pretok_cursor *c) {
  if (!c) return;
  pcre2_match_data_free(c->match);
  pcre2_match_context_free(c->context);
  pcre2_jit_stack_free(c->stack);
  mtk_bytes_finish(&c->prefixed);
  mtk_free(c);
}

/* The next match of pattern `code` in s[from..n): *begin..*end, or begin = end = n if none. */
static mtk_status next_match(text_pretok_cursor *c, const pcre2_code *code, const char *s, size_t n,
                             size_t from, size_t *begin, size_t *end, mtk_error *err) {
  while (from < n) {
    int rc = pcre2_match(code, (PCRE2_SPTR)s, n, from, PCRE2_NO_UTF_CHECK, c->match, c->context);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return mtk_fail(err, rc == PCRE2_ERROR_NOMEMORY ? MTK_E_NOMEM : MTK_E_LIMIT, "pre-tokenizer",
                      "the pattern gave up on this text (PCRE2 error %d)", rc);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(c->match);
    if (range[1] > range[0]) {
      *begin = range[0];
      *end = range[1];
      return MTK_OK;
    }
    uint32_t cp;
    from = range[0] + (range[0] < n ? text_utf8_decode(s + range[0], n - range[0], &cp) : 1);
  }
  *begin = *end = n;
  return MTK_OK;
}

/* Where pieces go; a piece at p has the offset `start` + (p - text), less the prefix. */
typedef struct piece_sink {
  text_piece_fn fn;
  void *ctx;
  const char *text;
  size_t start, prefix;
} piece_sink;

static mtk_status emit(const piece_sink *sink, const char *piece, size_t n, mtk_error *err) {
  size_t at = (size_t)(piece - sink->text);
  return sink->fn(sink->ctx, piece, n, sink->start + at - (at > 0 ? sink->prefix : 0), err);
}

/* Pieces of valid UTF-8 s[0..n) after patterns step..n_codes. */
static mtk_status split_step(text_pretok_cursor *c, size_t step, const char *s, size_t n,
                             const piece_sink *sink, mtk_error *err) {
  if (step == c->pretok->n_codes) return n ? emit(sink, s, n, err) : MTK_OK;
  for (size_t at = 0; at < n;) {
    size_t begin = n, end = n;
    MTK_TRY(next_match(c, c->pretok->codes[step], s, n, at, &begin, &end, err));
    if (begin > at) MTK_TRY(split_step(c, step + 1, s + at, begin - at, sink, err));
    if (end > begin) MTK_TRY(split_step(c, step + 1, s + begin, end - begin, sink, err));
    at = end;
  }
  return MTK_OK;
}

/* ByteLevel(add_prefix_space): one space in front of text that has none. */
static mtk_status split_prefixed(text_pretok_cursor *c, const char *s, size_t n, piece_sink *sink,
                                 mtk_error *err) {
  if (!c->pretok->add_prefix_space || s[0] == ' ') return split_step(c, 0, s, n, sink, err);
  mtk_bytes_clear(&c->prefixed);
  mtk_bytes_append(&c->prefixed, " ", 1);
  mtk_bytes_append(&c->prefixed, s, n);
  MTK_TRY(mtk_bytes_status(&c->prefixed, err));
  sink->text = c->prefixed.data;
  sink->prefix = 1;
  return split_step(c, 0, c->prefixed.data, c->prefixed.len, sink, err);
}

mtk_status mtk_text_pretok_split(text_pretok_cursor *c, const char *s, size_t n, text_piece_fn fn,
                             void *ctx, mtk_error *err) {
  for (size_t i = 0; i < n;) {
    size_t valid = text_utf8_valid(s + i, n - i);
    piece_sink sink = {fn, ctx, s + i, i, 0};
    if (valid > 0) MTK_TRY(split_prefixed(c, s + i, valid, &sink, err));
    size_t bad = i += valid;
    uint32_t cp;
    while (bad < n && text_utf8_decode(s + bad, n - bad, &cp) == 0) bad++;
    if (bad > i) MTK_TRY(fn(ctx, s + i, bad - i, i, err));
    i = bad;
  }
  return MTK_OK;
}
