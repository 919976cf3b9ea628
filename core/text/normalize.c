/* text/normalize.c: the normalizers of tokenizer.json as a list of operations. Semantics are those
 * of the `tokenizers` library, 0.23. */
#include "text/normalize.h"

#include <string.h>
#include <utf8proc.h>

#include "text/charsmap.h"
#include "text/unicode_age.h"
#include "text/utf8.h"

enum { MAX_OPERATIONS = 64 };

typedef struct operation operation;
typedef mtk_status (*operation_fn)(const operation *op, text_normalize_work *w, text_buffer *out,
                                   text_slice *text, mtk_error *err);
/* What becomes of a character: up to 3 characters in out; returns how many. */
typedef size_t (*char_fn)(uint32_t cp, uint32_t out[3]);

struct operation {
  operation_fn run;
  mtk_step_kind form;
  char_fn map;
  text_regex *regex;
  text_charsmap *charsmap;
  text_charsmap_mode mode;
  uint32_t flags;
  const char *pattern, *content;
  size_t n_pattern, n_content;
};

struct text_normalizer {
  mtk_arena *arena;
  operation operations[MAX_OPERATIONS];
  size_t n;
};

/* ---- characters ----------------------------------------------------------------------------- */

/* As in the given version of Unicode. */
static utf8proc_category_t category(uint32_t cp, int version) {
  if (mtk_text_unicode_age(cp) > version) return UTF8PROC_CATEGORY_CN;
  return utf8proc_category((utf8proc_int32_t)cp);
}

static size_t keep(uint32_t cp, uint32_t out[3]) {
  out[0] = cp;
  return 1;
}

/* BERT: no control characters, every white space is a blank. */
static size_t clean(uint32_t cp, uint32_t out[3]) {
  if (cp == '\t' || cp == '\n' || cp == '\r') return keep(' ', out);
  if (cp == 0 || cp == 0xFFFD) return 0;
  if (cp >= 0x20 && cp < 0x7F) return keep(cp, out);
  utf8proc_category_t c = category(cp, 8);
  if (c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO) {
    return 0;
  }
  return keep(text_is_space(cp) ? ' ' : cp, out);
}

static bool is_chinese(uint32_t cp) {
  return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
         (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B73F) ||
         (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
         (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

static size_t space_chinese(uint32_t cp, uint32_t out[3]) {
  if (!is_chinese(cp)) return keep(cp, out);
  out[0] = out[2] = ' ';
  out[1] = cp;
  return 3;
}

/* Few characters have changed their category since. */
static size_t drop_nonspacing(uint32_t cp, uint32_t out[3]) {
  if (cp < 0x300) return keep(cp, out);
  if (cp == 0x1734) return 0;
  bool was_other = cp == 0x1885 || cp == 0x1886 || cp == 0xA9BD || cp == 0x111C9;
  return category(cp, 8) == UTF8PROC_CATEGORY_MN && !was_other ? 0 : keep(cp, out);
}

static size_t drop_marks(uint32_t cp, uint32_t out[3]) {
  if (cp < 0x300 || cp == 0x111C9) return keep(cp, out);
  if (cp == 0x1CF2 || cp == 0x1CF3) return 0;
  utf8proc_category_t c = category(cp, 9);
  return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME ? 0 : keep(cp, out);
}

static size_t lower(uint32_t cp, uint32_t out[3]) {
  if (cp < 0x80) return keep(cp >= 'A' && cp <= 'Z' ? cp | 0x20 : cp, out);
  if (cp == 0x130) { /* the one character with a longer lower case */
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
  }
  return keep((uint32_t)utf8proc_tolower((utf8proc_int32_t)cp), out);
}

/* SentencePiece's nmt rules as `tokenizers` has them. */
static size_t nmt(uint32_t cp, uint32_t out[3]) {
  bool gone = (cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F ||
              cp == 0x8F || cp == 0x9F;
  bool blank = cp == 9 || cp == 0xA || cp == 0xC || cp == 0xD || cp == 0x1680 ||
               (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
               cp == 0xFEFF || cp == 0xFFFD;
  return gone ? 0 : keep(blank ? ' ' : cp, out);
}

/* ---- operations ----------------------------------------------------------------------------- */

static mtk_status run_map(const operation *op, text_normalize_work *w, text_buffer *out,
                          text_slice *text, mtk_error *err) {
  mtk_text_buffer_start(out, w->track);
  for (size_t i = 0; i < text->n;) {
    uint32_t cp, to[3];
    size_t len = text_utf8_decode(text->s + i, text->n - i, &cp);
    if (len == 0) {
      MTK_TRY(mtk_text_buffer_copy(out, text, i, i + 1, err));
      i++;
      continue;
    }
    size_t n = op->map(cp, to), source = text_slice_source(text, i);
    for (size_t k = 0; k < n; k++) MTK_TRY(mtk_text_buffer_put_char(out, to[k], source, err));
    i += len;
  }
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}

static mtk_status run_form(const operation *op, text_normalize_work *w, text_buffer *out,
                           text_slice *text, mtk_error *err) {
  return mtk_text_normalize_form(op->form, w, out, text, err);
}

static mtk_status run_spell(const operation *op, text_normalize_work *w, text_buffer *out,
                            text_slice *text, mtk_error *err) {
  (void)op;
  mtk_text_buffer_start(out, w->track);
  MTK_TRY(mtk_text_buffer_spell(out, text, 0, text->n, err));
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}

static mtk_status run_prepend(const operation *op, text_normalize_work *w, text_buffer *out,
                              text_slice *text, mtk_error *err) {
  if (text->n == 0) return MTK_OK;
  mtk_text_buffer_start(out, w->track);
  bool behind = op->flags & MTK_STEP_RIGHT;
  size_t source = text_slice_source(text, behind ? text->n - 1 : 0);
  if (behind) MTK_TRY(mtk_text_buffer_copy(out, text, 0, text->n, err));
  MTK_TRY(mtk_text_buffer_put(out, op->content, op->n_content, source, err));
  if (!behind) MTK_TRY(mtk_text_buffer_copy(out, text, 0, text->n, err));
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}

static mtk_status run_strip(const operation *op, text_normalize_work *w, text_buffer *out,
                            text_slice *text, mtk_error *err) {
  (void)w;
  (void)out;
  (void)err;
  size_t begin = 0, end = text->n, len;
  uint32_t cp;
  while (op->flags & MTK_STEP_LEFT &&
         (len = text_utf8_decode(text->s + begin, end - begin, &cp)) > 0 && text_is_space(cp)) {
    begin += len;
  }
  while (op->flags & MTK_STEP_RIGHT &&
         (len = text_utf8_decode_last(text->s + begin, end - begin, &cp)) > 0 &&
         text_is_space(cp)) {
    end -= len;
  }
  *text = text_slice_part(text, begin, end);
  return MTK_OK;
}

static mtk_status run_extra_spaces(const operation *op, text_normalize_work *w, text_buffer *out,
                                   text_slice *text, mtk_error *err) {
  (void)op;
  size_t begin = 0, end = text->n;
  while (begin < end && text->s[begin] == ' ') begin++;
  while (begin < end && text->s[end - 1] == ' ') end--;
  *text = text_slice_part(text, begin, end);
  mtk_text_buffer_start(out, w->track);
  size_t done = 0;
  for (size_t i = 1; i < text->n; i++) {
    if (text->s[i] != ' ' || text->s[i - 1] != ' ') continue;
    MTK_TRY(mtk_text_buffer_copy(out, text, done, i, err));
    while (i < text->n && text->s[i] == ' ') i++;
    done = i;
  }
  if (done == 0) return MTK_OK;
  MTK_TRY(mtk_text_buffer_copy(out, text, done, text->n, err));
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}

/* The place of the next literal, or n. */
static size_t find_literal(const char *s, size_t n, size_t from, const char *what, size_t len) {
  const char *at = len > 0 && from < n ? memmem(s + from, n - from, what, len) : NULL;
  return at ? (size_t)(at - s) : n;
}

static mtk_status run_replace_literal(const operation *op, text_normalize_work *w, text_buffer *out,
                                      text_slice *text, mtk_error *err) {
  size_t at = find_literal(text->s, text->n, 0, op->pattern, op->n_pattern), done = 0;
  if (at == text->n) return MTK_OK;
  mtk_text_buffer_start(out, w->track);
  while (at < text->n) {
    MTK_TRY(mtk_text_buffer_copy(out, text, done, at, err));
    MTK_TRY(mtk_text_buffer_put(out, op->content, op->n_content, text_slice_source(text, at), err));
    done = at + op->n_pattern;
    at = find_literal(text->s, text->n, done, op->pattern, op->n_pattern);
  }
  MTK_TRY(mtk_text_buffer_copy(out, text, done, text->n, err));
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}

/* Replaces matches in a valid stretch. */
static mtk_status replace_matches(const operation *op, text_normalize_work *w, text_buffer *out,
                                  const text_slice *text, mtk_error *err) {
  text_regex_scan scan = {0, SIZE_MAX};
  size_t done = 0;
  for (;;) {
    bool found;
    size_t begin, end;
    MTK_TRY(mtk_text_regex_next(op->regex, w->regex, &scan, text->s, text->n, &found, &begin, &end,
                                err));
    if (!found) break;
    MTK_TRY(mtk_text_buffer_copy(out, text, done, begin, err));
    size_t source = text->n > 0 ? text_slice_source(text, begin < text->n ? begin : begin - 1) : 0;
    MTK_TRY(mtk_text_buffer_put(out, op->content, op->n_content, source, err));
    done = end;
  }
  return mtk_text_buffer_copy(out, text, done, text->n, err);
}

static mtk_status run_replace_regex(const operation *op, text_normalize_work *w, text_buffer *out,
                                    text_slice *text, mtk_error *err) {
  mtk_text_buffer_start(out, w->track);
  for (size_t i = 0; i < text->n;) {
    size_t valid = text_utf8_valid(text->s + i, text->n - i);
    text_slice part = text_slice_part(text, i, i + valid);
    if (valid > 0) MTK_TRY(replace_matches(op, w, out, &part, err));
    i += valid;
    if (i < text->n) {
      MTK_TRY(mtk_text_buffer_copy(out, text, i, i + 1, err));
      i++;
    }
  }
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}

typedef struct rewriting {
  const text_slice *in;
  text_buffer *out;
  size_t done;
  bool changed, gone_at_start;
} rewriting;

static mtk_status apply_rule(void *ctx, size_t begin, size_t end, const char *to, size_t n,
                             mtk_error *err) {
  rewriting *r = ctx;
  r->changed = true;
  if (begin == 0 && n == 0) r->gone_at_start = true;
  MTK_TRY(mtk_text_buffer_copy(r->out, r->in, r->done, begin, err));
  r->done = end;
  return mtk_text_buffer_put(r->out, to, n, text_slice_source(r->in, begin), err);
}

static mtk_status run_charsmap(const operation *op, text_normalize_work *w, text_buffer *out,
                               text_slice *text, mtk_error *err) {
  mtk_text_buffer_start(out, w->track);
  rewriting r = {.in = text, .out = out};
  MTK_TRY(mtk_text_charsmap_apply(op->charsmap, op->mode, text->s, text->n, apply_rule, &r, err));
  if (!r.changed) return MTK_OK;
  MTK_TRY(mtk_text_buffer_copy(out, text, r.done, text->n, err));
  if (r.gone_at_start && out->bytes.len > 0) { /* `tokenizers` counts from the start here */
    out->base = text_slice_source(text, 0);
    if (out->track) out->origin[0] = (uint32_t)out->base;
  }
  *text = mtk_text_buffer_slice(out);
  return MTK_OK;
}

/* ---- creation ------------------------------------------------------------------------------- */

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory creating a normalizer");
}

static void finish_operation(operation *op) {
  mtk_text_regex_destroy(op->regex);
  mtk_text_charsmap_destroy(op->charsmap);
}

static mtk_status add(text_normalizer *n, operation op, mtk_error *err) {
  if (n->n == MAX_OPERATIONS) {
    finish_operation(&op);
    return mtk_fail(err, MTK_E_LIMIT, "normalizer", "too many steps");
  }
  n->operations[n->n++] = op;
  return MTK_OK;
}

static mtk_status add_bert(text_normalizer *n, const mtk_step *step, mtk_error *err) {
  uint32_t flags = step->flags;
  if (flags & MTK_STEP_CLEAN_TEXT) MTK_TRY(add(n, (operation){.run = run_map, .map = clean}, err));
  if (flags & MTK_STEP_CHINESE_CHARS)
    MTK_TRY(add(n, (operation){.run = run_map, .map = space_chinese}, err));
  if (flags & MTK_STEP_ACCENTS) {
    MTK_TRY(add(n, (operation){.run = run_form, .form = MTK_STEP_NFD}, err));
    MTK_TRY(add(n, (operation){.run = run_map, .map = drop_nonspacing}, err));
  }
  if (flags & MTK_STEP_LOWER) MTK_TRY(add(n, (operation){.run = run_map, .map = lower}, err));
  return MTK_OK;
}

static mtk_status add_replace(text_normalizer *n, operation op, const mtk_step *step,
                              mtk_error *err) {
  bool plain = !(step->flags & MTK_STEP_REGEX) && step->n_pattern > 0;
  op.run = plain ? run_replace_literal : run_replace_regex;
  if (!plain) {
    MTK_TRY(mtk_text_regex_create(&op.regex, step->pattern, step->n_pattern, TEXT_REGEX_ONIGURUMA,
                                  err));
  }
  return add(n, op, err);
}

static mtk_status add_charsmap(text_normalizer *n, const mtk_step *step, mtk_error *err) {
  operation op = {.run = run_charsmap};
  op.mode = step->flags & MTK_STEP_LONGEST ? TEXT_CHARSMAP_LONGEST : TEXT_CHARSMAP_GRAPHEMES;
  MTK_TRY(mtk_text_charsmap_create(&op.charsmap, step->text, step->n_text, step->pattern,
                                   step->n_pattern, err));
  return add(n, op, err);
}

static mtk_status add_step(text_normalizer *n, const mtk_step *step, mtk_error *err) {
  if (step->kind == MTK_STEP_PRECOMPILED) return add_charsmap(n, step, err);
  operation op = {.flags = step->flags,
                  .form = step->kind,
                  .n_pattern = step->n_pattern,
                  .n_content = step->n_text};
  op.pattern = mtk_arena_strndup(n->arena, step->pattern ? step->pattern : "", step->n_pattern);
  op.content = mtk_arena_strndup(n->arena, step->text ? step->text : "", step->n_text);
  if (!op.pattern || !op.content) return no_memory(err);
  switch (step->kind) {
  case MTK_STEP_NFC:
  case MTK_STEP_NFD:
  case MTK_STEP_NFKC:
  case MTK_STEP_NFKD: op.run = run_form; break;
  case MTK_STEP_LOWERCASE: op.run = run_map, op.map = lower; break;
  case MTK_STEP_STRIP_ACCENTS: op.run = run_map, op.map = drop_marks; break;
  case MTK_STEP_NMT: op.run = run_map, op.map = nmt; break;
  case MTK_STEP_BERT_NORMALIZER: return add_bert(n, step, err);
  case MTK_STEP_PREPEND: op.run = run_prepend; break;
  case MTK_STEP_REMOVE_EXTRA_WHITESPACES: op.run = run_extra_spaces; break;
  case MTK_STEP_REPLACE: return add_replace(n, op, step, err);
  case MTK_STEP_STRIP: op.run = run_strip; break;
  case MTK_STEP_BYTE_LEVEL: op.run = run_spell; break;
  default:
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer", "step %d is no normalizer",
                    (int)step->kind);
  }
  return add(n, op, err);
}

mtk_status mtk_text_normalizer_create(text_normalizer **out, const mtk_steps *steps,
                                      mtk_error *err) {
  text_normalizer *n = mtk_alloc(1, sizeof *n);
  if (!n) return no_memory(err);
  n->arena = mtk_arena_create();
  mtk_status status = n->arena ? MTK_OK : no_memory(err);
  for (size_t i = 0; i < steps->n && status == MTK_OK; i++) {
    status = add_step(n, &steps->items[i], err);
  }
  if (status != MTK_OK) {
    mtk_text_normalizer_destroy(n);
    return status;
  }
  *out = n;
  return MTK_OK;
}

void mtk_text_normalizer_destroy(text_normalizer *n) {
  if (!n) return;
  for (size_t i = 0; i < n->n; i++) finish_operation(&n->operations[i]);
  mtk_arena_destroy(n->arena);
  mtk_free(n);
}

bool mtk_text_normalizer_is_empty(const text_normalizer *n) { return n->n == 0; }

/* ---- running -------------------------------------------------------------------------------- */

mtk_status mtk_text_normalize(const text_normalizer *n, text_normalize_work *w, text_slice *text,
                              mtk_error *err) {
  for (size_t i = 0, next = 0; i < n->n; i++) {
    text_buffer *out = &w->buffers[next];
    const operation *op = &n->operations[i];
    MTK_TRY(op->run(op, w, out, text, err));
    bool used = out->bytes.data && text->s >= out->bytes.data &&
                text->s <= out->bytes.data + out->bytes.len;
    if (used) next ^= 1;
  }
  return MTK_OK;
}

void mtk_text_normalize_work_finish(text_normalize_work *w) {
  mtk_text_buffer_finish(&w->buffers[0]);
  mtk_text_buffer_finish(&w->buffers[1]);
  mtk_free(w->chars);
  mtk_free(w->spare);
  *w = (text_normalize_work){0};
}
