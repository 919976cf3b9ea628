/* text/regex.c: PCRE2 behind text/regex.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <string.h>

#include "text/regex_translate.h"
#include "text/utf8.h"

enum {
  MAX_PATTERN_BYTES = 65536,
  MATCH_LIMIT = 20000000, /* backtracking steps of one match, and ... */
  MATCH_LIMIT_BYTE = 20,  /* ... this many more per byte of the text */
  JIT_STACK_START = 32 * 1024,
  JIT_STACK_MAX = 8 * 1024 * 1024
};

struct text_regex {
  pcre2_general_context *general; /* memory through mtk_alloc */
  pcre2_code *code;
};

struct text_regex_work {
  pcre2_general_context *general;
  pcre2_match_data *match;
  pcre2_match_context *context;
  pcre2_jit_stack *stack;
};

static void *pcre_alloc(size_t n, void *unused) {
  (void)unused;
  return mtk_alloc(n, 1);
}

static void pcre_free(void *p, void *unused) {
  (void)unused;
  mtk_free(p);
}

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a regular expression");
}

bool mtk_text_regex_has_property(const char *name, size_t n) {
  char pattern[64] = "\\p{";
  if (n > sizeof pattern - 8) return false;
  memcpy(pattern + 3, name, n);
  pattern[n + 3] = '}';
  int code;
  PCRE2_SIZE offset;
  pcre2_code *compiled =
      pcre2_compile((PCRE2_SPTR)pattern, n + 4, PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
  pcre2_code_free(compiled);
  return compiled != NULL;
}

static mtk_status compile(text_regex *regex, const mtk_bytes *text, mtk_error *err) {
  pcre2_compile_context *context = pcre2_compile_context_create(regex->general);
  if (!context) return no_memory(err);
  pcre2_set_parens_nest_limit(context, 100);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  regex->code = pcre2_compile((PCRE2_SPTR)(text->data ? text->data : ""), text->len,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                              &code, &offset, context);
  pcre2_compile_context_free(context);
  if (regex->code) {
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* if it cannot, matching interprets */
    return MTK_OK;
  }
  if (code == PCRE2_ERROR_NOMEMORY || code == 121 /* "failed to get memory" */) {
    return no_memory(err);
  }
  char message[160] = "";
  pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
  return mtk_fail(err, MTK_E_FORMAT, "regular expression", "%s at character %zu of \"%.200s\"",
                  message, offset, text->data ? text->data : "");
}

mtk_status mtk_text_regex_create(text_regex **out, const char *pattern, size_t n,
                                 text_regex_syntax syntax, mtk_error *err) {
  if (n > MAX_PATTERN_BYTES) {
    return mtk_fail(err, MTK_E_LIMIT, "regular expression", "a pattern of %zu bytes is too long",
                    n);
  }
  text_regex *regex = mtk_alloc(1, sizeof *regex);
  if (!regex) return no_memory(err);
  regex->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  mtk_status status = regex->general ? MTK_OK : no_memory(err);
  mtk_bytes text = {0};
  if (status == MTK_OK) status = mtk_text_regex_translate(&text, pattern, n, syntax, err);
  if (status == MTK_OK) status = compile(regex, &text, err);
  mtk_bytes_finish(&text);
  if (status != MTK_OK) {
    mtk_text_regex_destroy(regex);
    return status;
  }
  *out = regex;
  return MTK_OK;
}

void mtk_text_regex_destroy(text_regex *regex) {
  if (!regex) return;
  pcre2_code_free(regex->code);
  pcre2_general_context_free(regex->general);
  mtk_free(regex);
}

mtk_status mtk_text_regex_work_create(text_regex_work **out, mtk_error *err) {
  text_regex_work *w = mtk_alloc(1, sizeof *w);
  if (!w) return no_memory(err);
  w->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
  if (w->general) {
    w->match = pcre2_match_data_create(1, w->general);
    w->context = pcre2_match_context_create(w->general);
    w->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, w->general);
  }
  if (!w->match || !w->context || !w->stack) {
    mtk_text_regex_work_destroy(w);
    return no_memory(err);
  }
  pcre2_jit_stack_assign(w->context, NULL, w->stack);
  *out = w;
  return MTK_OK;
}

void mtk_text_regex_work_destroy(text_regex_work *w) {
  if (!w) return;
  pcre2_match_data_free(w->match);
  pcre2_match_context_free(w->context);
  pcre2_jit_stack_free(w->stack);
  pcre2_general_context_free(w->general);
  mtk_free(w);
}

static uint32_t match_limit(size_t n) {
  uint64_t limit = MATCH_LIMIT + (uint64_t)n * MATCH_LIMIT_BYTE;
  return limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX;
}

mtk_status mtk_text_regex_next(const text_regex *regex, text_regex_work *work,
                               text_regex_scan *scan, const char *s, size_t n, bool *found,
                               size_t *begin, size_t *end, mtk_error *err) {
  *found = false;
  if (scan->from == 0) pcre2_set_match_limit(work->context, match_limit(n));
  while (scan->from <= n) {
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)s, n, scan->from, PCRE2_NO_UTF_CHECK, work->match,
                         work->context);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return mtk_fail(err, rc == PCRE2_ERROR_NOMEMORY ? MTK_E_NOMEM : MTK_E_LIMIT,
                      "regular expression", "the pattern gave up on this text (PCRE2 error %d)",
                      rc);
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(work->match);
    *begin = range[0] < range[1] ? range[0] : range[1]; /* \K may turn them around */
    *end = range[1];
    if (*begin < *end || *end != scan->last_end) {
      scan->from = scan->last_end = *end;
      *found = true;
      return MTK_OK;
    }
    uint32_t cp;
    size_t step = scan->from < n ? text_utf8_decode(s + scan->from, n - scan->from, &cp) : 1;
    scan->from += step ? step : 1;
  }
  scan->from = n + 1;
  return MTK_OK;
}
