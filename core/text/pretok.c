/* text/pretok.c: the pre-tokenizers of tokenizer.json. Semantics are those of the `tokenizers`
 * library, 0.23. Steps run depth first: a piece goes through all further steps before the next one
 * is cut off, so no lists of pieces are kept. */
#include "text/pretok.h"

#include <string.h>
#include <utf8proc.h>

#include "text/scripts.h"
#include "text/unicode_age.h"
#include "text/utf8.h"

enum { MAX_STEPS = 32 };

typedef struct step step;
typedef mtk_status (*step_fn)(text_pretok_cursor *c, const step *s, const text_slice *text,
                              mtk_error *err);
typedef bool (*char_test)(const step *s, uint32_t cp);

struct step {
  step_fn run;
  size_t next; /* index of the step after this one */
  char_test test;
  text_regex *regex;
  uint32_t flags;
  mtk_split_behavior behavior;
  mtk_prepend_scheme prepend;
  size_t length;
  const char *text; /* the literal, the delimiter or the replacement */
  size_t n_text;
};

struct text_pretok {
  mtk_arena *arena;
  step steps[MAX_STEPS];
  size_t n;
};

struct text_pretok_cursor {
  const text_pretok *pretok;
  text_regex_work *regex;
  text_buffer buffers[MAX_STEPS];
  bool track;
  bool broken; /* the stretch follows bytes that are no UTF-8: no prefix */
  bool raw;    /* the stretch is no UTF-8 */
  text_piece_fn fn;
  void *ctx;
};

/* Hands bytes begin..end to the step after s. */
static mtk_status pass(text_pretok_cursor *c, const step *s, const text_slice *text, size_t begin,
                       size_t end, mtk_error *err) {
  if (begin >= end) return MTK_OK;
  text_slice piece = text_slice_part(text, begin, end);
  if (s->next == c->pretok->n) return c->fn(c->ctx, &piece, err);
  const step *next = &c->pretok->steps[s->next];
  return next->run(c, next, &piece, err);
}

/* ---- splitting by matches ------------------------------------------------------------------- */

/* The pieces that a behavior makes of alternating matches and gaps. */
typedef struct splitter {
  text_pretok_cursor *c;
  const step *s;
  const text_slice *text;
  mtk_split_behavior behavior;
  bool invert;
  size_t begin, end; /* what is held back */
  bool held, was_match;
} splitter;

static mtk_status release(splitter *sp, mtk_error *err) {
  if (!sp->held) return MTK_OK;
  sp->held = false;
  return pass(sp->c, sp->s, sp->text, sp->begin, sp->end, err);
}

/* The next stretch: a match or the gap before one. */
static mtk_status stretch(splitter *sp, size_t begin, size_t end, bool match, mtk_error *err) {
  match ^= sp->invert;
  bool join = false;
  switch (sp->behavior) {
  case MTK_SPLIT_ISOLATED: return pass(sp->c, sp->s, sp->text, begin, end, err);
  case MTK_SPLIT_REMOVED: return match ? MTK_OK : pass(sp->c, sp->s, sp->text, begin, end, err);
  case MTK_SPLIT_CONTIGUOUS: join = sp->held && match == sp->was_match; break;
  case MTK_SPLIT_MERGED_WITH_PREVIOUS: join = sp->held && match && !sp->was_match; break;
  case MTK_SPLIT_MERGED_WITH_NEXT: join = sp->held && !match && sp->was_match; break;
  }
  if (join) {
    sp->end = end;
  } else {
    MTK_TRY(release(sp, err));
    sp->held = true;
    sp->begin = begin;
    sp->end = end;
  }
  sp->was_match = match;
  return MTK_OK;
}

static mtk_status split_regex(splitter *sp, const text_regex *regex, mtk_error *err) {
  text_regex_scan scan = {0, SIZE_MAX};
  size_t done = 0, n = sp->text->n;
  for (;;) {
    bool found;
    size_t begin, end;
    MTK_TRY(
        mtk_text_regex_next(regex, sp->c->regex, &scan, sp->text->s, n, &found, &begin, &end, err));
    if (!found) break;
    if (begin > done) MTK_TRY(stretch(sp, done, begin, false, err));
    MTK_TRY(stretch(sp, begin, end, true, err));
    done = end;
  }
  if (done < n) MTK_TRY(stretch(sp, done, n, false, err));
  return release(sp, err);
}

static mtk_status split_literal(splitter *sp, const char *literal, size_t len, mtk_error *err) {
  size_t done = 0, n = sp->text->n;
  const char *s = sp->text->s, *at;
  while (done < n && (at = memmem(s + done, n - done, literal, len)) != NULL) {
    size_t begin = (size_t)(at - s);
    if (begin > done) MTK_TRY(stretch(sp, done, begin, false, err));
    MTK_TRY(stretch(sp, begin, begin + len, true, err));
    done = begin + len;
  }
  if (done < n) MTK_TRY(stretch(sp, done, n, false, err));
  return release(sp, err);
}

/* Each character that passes the test is a match. */
static mtk_status split_chars(splitter *sp, char_test test, mtk_error *err) {
  size_t done = 0, n = sp->text->n;
  for (size_t at = 0; at < n;) {
    uint32_t cp;
    size_t len = text_utf8_decode(sp->text->s + at, n - at, &cp);
    if (len == 0) break; /* stretches are valid */
    if (test(sp->s, cp)) {
      if (at > done) MTK_TRY(stretch(sp, done, at, false, err));
      MTK_TRY(stretch(sp, at, at + len, true, err));
      done = at + len;
    }
    at += len;
  }
  if (done < n) MTK_TRY(stretch(sp, done, n, false, err));
  return release(sp, err);
}

static mtk_status run_split(text_pretok_cursor *c, const step *s, const text_slice *text,
                            mtk_error *err) {
  if (c->raw) return pass(c, s, text, 0, text->n, err);
  splitter sp = {
      .c = c, .s = s, .text = text, .behavior = s->behavior, .invert = s->flags & MTK_STEP_INVERT};
  if (s->test) return split_chars(&sp, s->test, err);
  return s->regex ? split_regex(&sp, s->regex, err) : split_literal(&sp, s->text, s->n_text, err);
}

/* ---- tests of characters -------------------------------------------------------------------- */

static utf8proc_category_t category(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp); }

static bool is_numeric(const step *s, uint32_t cp) {
  (void)s;
  if (cp < 0x80) return cp >= '0' && cp <= '9';
  utf8proc_category_t c = category(cp);
  return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

static bool is_punctuation(const step *s, uint32_t cp) {
  (void)s;
  if (cp < 0x80) {
    return (cp > 0x20 && cp < '0') || (cp > '9' && cp < 'A') || (cp > 'Z' && cp < 'a') ||
           (cp > 'z' && cp < 0x7F);
  }
  if (cp == 0x166D || cp == 0x111C9) return true; /* were in Unicode 8.0 */
  utf8proc_category_t c = category(cp);
  return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO && mtk_text_unicode_age(cp) <= 8;
}

static bool is_white_space(const step *s, uint32_t cp) {
  (void)s;
  return text_is_space(cp);
}

static bool is_delimiter(const step *s, uint32_t cp) {
  char utf8[4];
  return text_utf8_encode(cp, utf8) == s->n_text && memcmp(utf8, s->text, s->n_text) == 0;
}

/* ---- other steps ---------------------------------------------------------------------------- */

/* GPT-2: a leading space, the words, the byte alphabet. */
static mtk_status run_byte_level(text_pretok_cursor *c, const step *s, const text_slice *text,
                                 mtk_error *err) {
  size_t index = (size_t)(s - c->pretok->steps);
  text_slice words = *text;
  if (s->flags & MTK_STEP_PREFIX_SPACE && !c->broken && !c->raw && text->s[0] != ' ') {
    text_buffer *b = &c->buffers[index];
    mtk_text_buffer_start(b, c->track);
    MTK_TRY(mtk_text_buffer_put(b, " ", 1, text_slice_source(text, 0), err));
    MTK_TRY(mtk_text_buffer_copy(b, text, 0, text->n, err));
    words = mtk_text_buffer_slice(b);
  }
  if (!s->regex || c->raw) return pass(c, s, &words, 0, words.n, err);
  splitter sp = {.c = c, .s = s, .text = &words};
  return split_regex(&sp, s->regex, err);
}

static mtk_status run_spell(text_pretok_cursor *c, const step *s, const text_slice *text,
                            mtk_error *err) {
  text_buffer *b = &c->buffers[s - c->pretok->steps];
  mtk_text_buffer_start(b, c->track);
  MTK_TRY(mtk_text_buffer_spell(b, text, 0, text->n, err));
  text_slice spelled = mtk_text_buffer_slice(b);
  return pass(c, s, &spelled, 0, spelled.n, err);
}

static mtk_status replace_spaces(text_buffer *b, const step *s, const text_slice *text,
                                 mtk_error *err) {
  for (size_t at = 0; at < text->n;) {
    const char *space = memchr(text->s + at, ' ', text->n - at);
    size_t end = space ? (size_t)(space - text->s) : text->n;
    MTK_TRY(mtk_text_buffer_copy(b, text, at, end, err));
    if (space)
      MTK_TRY(mtk_text_buffer_put(b, s->text, s->n_text, text_slice_source(text, end), err));
    at = end + 1;
  }
  return MTK_OK;
}

/* SentencePiece: blanks become U+2581, one in front; words begin with it. */
static mtk_status run_metaspace(text_pretok_cursor *c, const step *s, const text_slice *text,
                                mtk_error *err) {
  if (c->raw) return pass(c, s, text, 0, text->n, err);
  text_buffer *b = &c->buffers[s - c->pretok->steps];
  bool begins =
      text->s[0] == ' ' || (text->n >= s->n_text && memcmp(text->s, s->text, s->n_text) == 0);
  size_t source = text_slice_source(text, 0);
  bool wanted =
      s->prepend == MTK_PREPEND_ALWAYS || (s->prepend == MTK_PREPEND_FIRST && source == 0);
  mtk_text_buffer_start(b, c->track);
  if (wanted && !begins && !c->broken)
    MTK_TRY(mtk_text_buffer_put(b, s->text, s->n_text, source, err));
  MTK_TRY(replace_spaces(b, s, text, err));
  text_slice words = mtk_text_buffer_slice(b);
  if (!(s->flags & MTK_STEP_SPLIT_PIECES)) return pass(c, s, &words, 0, words.n, err);
  splitter sp = {.c = c, .s = s, .text = &words, .behavior = MTK_SPLIT_MERGED_WITH_NEXT};
  return split_literal(&sp, s->text, s->n_text, err);
}

static mtk_status run_fixed_length(text_pretok_cursor *c, const step *s, const text_slice *text,
                                   mtk_error *err) {
  size_t begin = 0, chars = 0;
  for (size_t at = 0; at < text->n;) {
    uint32_t cp;
    size_t len = text_utf8_decode(text->s + at, text->n - at, &cp);
    at += len ? len : 1;
    if (++chars < s->length && at < text->n) continue;
    MTK_TRY(pass(c, s, text, begin, at, err));
    begin = at;
    chars = 0;
  }
  return MTK_OK;
}

/* ---- creation ------------------------------------------------------------------------------- */

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory creating a pre-tokenizer");
}

/* A copy of the step's text, and the step filled as far as all kinds are alike. */
static mtk_status add(text_pretok *p, const mtk_step *from, step s, mtk_error *err) {
  if (p->n == MAX_STEPS) {
    return mtk_fail(err, MTK_E_LIMIT, "pre-tokenizer", "too many steps");
  }
  const char *text = from->kind == MTK_STEP_SPLIT ? from->pattern : from->text;
  s.n_text = from->kind == MTK_STEP_SPLIT ? from->n_pattern : from->n_text;
  s.text = mtk_arena_strndup(p->arena, text ? text : "", s.n_text);
  if (!s.text) return no_memory(err);
  s.next = p->n + 1;
  p->steps[p->n++] = s;
  return MTK_OK;
}

static mtk_status add_regex(text_pretok *p, const mtk_step *from, step s, const char *pattern,
                            size_t n, text_regex_syntax syntax, mtk_error *err) {
  MTK_TRY(add(p, from, s, err));
  return mtk_text_regex_create(&p->steps[p->n - 1].regex, pattern, n, syntax, err);
}

static mtk_status add_split(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_split, .behavior = from->behavior, .flags = from->flags};
  bool plain = !(from->flags & MTK_STEP_REGEX) && from->n_pattern > 0;
  if (plain) return add(p, from, s, err);
  return add_regex(p, from, s, from->pattern ? from->pattern : "", from->n_pattern,
                   TEXT_REGEX_ONIGURUMA, err);
}

static mtk_status add_byte_level(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_byte_level, .flags = from->flags};
  if (from->flags & MTK_STEP_REGEX) {
    MTK_TRY(add_regex(p, from, s, mtk_text_pattern_gpt2, strlen(mtk_text_pattern_gpt2),
                      TEXT_REGEX_ONIGURUMA, err));
  } else if (from->flags & MTK_STEP_PREFIX_SPACE) {
    MTK_TRY(add(p, from, s, err));
  }
  return add(p, from, (step){.run = run_spell}, err);
}

static mtk_status add_metaspace(text_pretok *p, const mtk_step *from, mtk_error *err) {
  if (from->n_text == 0) {
    return mtk_fail(err, MTK_E_FORMAT, "pre-tokenizer", "Metaspace has no replacement");
  }
  step s = {.run = run_metaspace, .flags = from->flags, .prepend = from->prepend};
  return add(p, from, s, err);
}

static mtk_status add_bert(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step blanks = {.run = run_split, .test = is_white_space, .behavior = MTK_SPLIT_REMOVED};
  MTK_TRY(add(p, from, blanks, err));
  return add(p, from, (step){.run = run_split, .test = is_punctuation}, err);
}

static mtk_status add_whitespace(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_split, .behavior = MTK_SPLIT_REMOVED, .flags = MTK_STEP_INVERT};
  return add_regex(p, from, s, "\\w+|[^\\w\\s]+", 12, TEXT_REGEX_RUST, err);
}

static mtk_status add_white_space_split(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_split, .test = is_white_space, .behavior = MTK_SPLIT_REMOVED};
  return add(p, from, s, err);
}

static mtk_status add_digits(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_split, .test = is_numeric};
  if (!(from->flags & MTK_STEP_INDIVIDUAL)) s.behavior = MTK_SPLIT_CONTIGUOUS;
  return add(p, from, s, err);
}

static mtk_status add_punctuation(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_split, .test = is_punctuation, .behavior = from->behavior};
  return add(p, from, s, err);
}

static mtk_status add_delimiter(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_split, .test = is_delimiter, .behavior = MTK_SPLIT_REMOVED};
  return add(p, from, s, err);
}

static mtk_status add_scripts(text_pretok *p, const mtk_step *from, mtk_error *err) {
  step s = {.run = run_split, .behavior = MTK_SPLIT_REMOVED, .flags = MTK_STEP_INVERT};
  mtk_bytes pattern = {0};
  mtk_status status = mtk_text_scripts_pattern(&pattern, err);
  if (status == MTK_OK) {
    status = add_regex(p, from, s, pattern.data, pattern.len, TEXT_REGEX_ONIGURUMA, err);
  }
  mtk_bytes_finish(&pattern);
  return status;
}

static mtk_status add_fixed_length(text_pretok *p, const mtk_step *from, mtk_error *err) {
  if (from->a < 1) {
    return mtk_fail(err, MTK_E_FORMAT, "pre-tokenizer", "FixedLength of %d", (int)from->a);
  }
  return add(p, from, (step){.run = run_fixed_length, .length = (size_t)from->a}, err);
}

typedef mtk_status (*add_fn)(text_pretok *p, const mtk_step *from, mtk_error *err);
static const struct {
  mtk_step_kind kind;
  add_fn add;
} kinds[] = {
    {MTK_STEP_SPLIT, add_split},
    {MTK_STEP_DIGITS, add_digits},
    {MTK_STEP_PUNCTUATION, add_punctuation},
    {MTK_STEP_BERT_PRE_TOKENIZER, add_bert},
    {MTK_STEP_WHITESPACE, add_whitespace},
    {MTK_STEP_WHITESPACE_SPLIT, add_white_space_split},
    {MTK_STEP_CHAR_DELIMITER, add_delimiter},
    {MTK_STEP_UNICODE_SCRIPTS, add_scripts},
    {MTK_STEP_FIXED_LENGTH, add_fixed_length},
    {MTK_STEP_METASPACE, add_metaspace},
    {MTK_STEP_BYTE_LEVEL, add_byte_level},
};

static mtk_status add_step(text_pretok *p, const mtk_step *from, mtk_error *err) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (kinds[i].kind == from->kind) return kinds[i].add(p, from, err);
  }
  return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer", "step %d is no pre-tokenizer",
                  (int)from->kind);
}

mtk_status mtk_text_pretok_create(text_pretok **out, const mtk_steps *steps, mtk_error *err) {
  text_pretok *p = mtk_alloc(1, sizeof *p);
  if (!p) return no_memory(err);
  p->arena = mtk_arena_create();
  mtk_status status = p->arena ? MTK_OK : no_memory(err);
  for (size_t i = 0; i < steps->n && status == MTK_OK; i++) {
    status = add_step(p, &steps->items[i], err);
  }
  if (status != MTK_OK) {
    mtk_text_pretok_destroy(p);
    return status;
  }
  *out = p;
  return MTK_OK;
}

void mtk_text_pretok_destroy(text_pretok *p) {
  if (!p) return;
  for (size_t i = 0; i < p->n; i++) mtk_text_regex_destroy(p->steps[i].regex);
  mtk_arena_destroy(p->arena);
  mtk_free(p);
}

bool mtk_text_pretok_needs_origin(const text_pretok *p) {
  for (size_t i = 0; i < p->n; i++) {
    if (p->steps[i].run == run_metaspace && p->steps[i].prepend == MTK_PREPEND_FIRST) return true;
  }
  return false;
}

/* ---- running -------------------------------------------------------------------------------- */

mtk_status mtk_text_pretok_cursor_create(text_pretok_cursor **out, const text_pretok *p,
                                         text_regex_work *regex, mtk_error *err) {
  text_pretok_cursor *c = mtk_alloc(1, sizeof *c);
  if (!c) return no_memory(err);
  c->pretok = p;
  c->regex = regex;
  *out = c;
  return MTK_OK;
}

void mtk_text_pretok_cursor_destroy(text_pretok_cursor *c) {
  if (!c) return;
  for (size_t i = 0; i < MAX_STEPS; i++) mtk_text_buffer_finish(&c->buffers[i]);
  mtk_free(c);
}

mtk_status mtk_text_pretok_split(text_pretok_cursor *c, const text_slice *text, bool track,
                                 text_piece_fn fn, void *ctx, mtk_error *err) {
  const step start = {.next = 0};
  c->track = track;
  c->fn = fn;
  c->ctx = ctx;
  c->broken = c->raw = false;
  for (size_t i = 0; i < text->n;) {
    size_t valid = text_utf8_valid(text->s + i, text->n - i);
    MTK_TRY(pass(c, &start, text, i, i + valid, err));
    size_t bad = i += valid;
    uint32_t cp;
    while (bad < text->n && text_utf8_decode(text->s + bad, text->n - bad, &cp) == 0) bad++;
    c->raw = true;
    MTK_TRY(pass(c, &start, text, i, bad, err));
    c->raw = false;
    c->broken = true;
    i = bad;
  }
  return MTK_OK;
}
