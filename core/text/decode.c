/* text/decode.c: the decoders of tokenizer.json as a chain of stages. A stage gets tokens, maybe
 * in parts, and hands tokens on, maybe in parts; what it cannot decide yet it holds back. The
 * result is that of the `tokenizers` library, 0.23, on the whole sequence. */
#include "text/decode.h"

#include <string.h>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

enum { MAX_STAGES = 32 };

typedef struct stage stage;
typedef struct stage_state stage_state;

/* What a kind of step does. `token` gets whole tokens; a stage with `part` gets them as they come
 * (end: the token ends here). `last` comes after the last token. */
typedef struct stage_class {
  mtk_step_kind kind;
  mtk_status (*token)(text_decode_stream *s, size_t at, const char *token, size_t n,
                      mtk_error *err);
  mtk_status (*part)(text_decode_stream *s, size_t at, const char *text, size_t n, bool end,
                     mtk_error *err);
  mtk_status (*last)(text_decode_stream *s, size_t at, mtk_error *err);
  /* One token by itself, into out; true = what comes out is bytes, for no further step. */
  bool (*piece)(const stage *st, mtk_bytes *out, const char *token, size_t n);
} stage_class;

struct stage {
  const stage_class *class;
  text_regex *regex;
  uint32_t flags;
  mtk_prepend_scheme prepend;
  size_t a, b;
  const char *pattern, *text;
  size_t n_pattern, n_text;
};

struct text_decoder {
  mtk_arena *arena;
  stage stages[MAX_STAGES];
  size_t n;
};

struct stage_state {
  size_t index;     /* tokens so far */
  bool open, held;  /* inside a token; something is held back */
  size_t count;     /* characters cut at the start (Strip) */
  bool cut;         /* ... no more of them */
  mtk_bytes token;  /* the parts of a token */
  mtk_bytes buffer; /* what is held back */
  mtk_bytes work;   /* result */
  mtk_utf8_stream utf8;
};

struct text_decode_stream {
  const text_decoder *decoder;
  text_regex_work *regex;
  mtk_bytes *out;
  stage_state states[MAX_STAGES];
};

static const char replacement[] = "\xEF\xBF\xBD";

static const char *data_of(const mtk_bytes *b) { return b->data ? b->data : ""; }

/* Hands text to stage `at`; beyond the last stage is the output. */
static mtk_status deliver(text_decode_stream *s, size_t at, const char *text, size_t n, bool end,
                          mtk_error *err) {
  if (at == s->decoder->n) {
    mtk_bytes_append(s->out, text, n);
    return MTK_OK;
  }
  const stage_class *class = s->decoder->stages[at].class;
  if (class->part) return class->part(s, at, text, n, end, err);
  stage_state *state = &s->states[at];
  if (end && !state->open) return class->token(s, at, text, n, err);
  mtk_bytes_append(&state->token, text, n);
  state->open = !end;
  if (!end) return mtk_bytes_status(&state->token, err);
  MTK_TRY(mtk_bytes_status(&state->token, err));
  mtk_status status = class->token(s, at, data_of(&state->token), state->token.len, err);
  mtk_bytes_clear(&state->token);
  return status;
}

/* What a stage made of a token, in its work buffer, as a token for the next stage. */
static mtk_status deliver_work(text_decode_stream *s, size_t at, mtk_error *err) {
  stage_state *state = &s->states[at];
  MTK_TRY(mtk_bytes_status(&state->work, err));
  return deliver(s, at + 1, data_of(&state->work), state->work.len, true, err);
}

/* Appends text with every `what` replaced; what is not empty. */
static void append_replaced(mtk_bytes *out, const char *text, size_t n, const char *what,
                            size_t n_what, const char *with, size_t n_with) {
  const char *at;
  while (n >= n_what && (at = memmem(text, n, what, n_what)) != NULL) {
    mtk_bytes_append(out, text, (size_t)(at - text));
    mtk_bytes_append(out, with, n_with);
    n -= (size_t)(at - text) + n_what;
    text = at + n_what;
  }
  mtk_bytes_append(out, text, n);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static bool piece_byte_level(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  (void)st;
  size_t before = out->len, len = 0;
  mtk_bytes_append(out, token, n);
  if (out->failed || !mtk_text_from_alphabet(out->data + before, &len, token, n)) {
    if (!out->failed) memcpy(out->data + before, token, n);
    return true;
  }
  out->len = before + len;
  out->data[out->len] = 0;
  return true;
}

/* All tokens become one; bytes that are no UTF-8 become U+FFFD. */
static mtk_status token_byte_level(text_decode_stream *s, size_t at, const char *token, size_t n,
                                   mtk_error *err) {
  stage_state *state = &s->states[at];
  mtk_bytes_clear(&state->buffer);
  mtk_bytes_clear(&state->work);
  piece_byte_level(NULL, &state->buffer, token, n);
  MTK_TRY(mtk_bytes_status(&state->buffer, err));
  mtk_utf8_stream_push(&state->utf8, &state->work, state->buffer.data, state->buffer.len, false);
  MTK_TRY(mtk_bytes_status(&state->work, err));
  return deliver(s, at + 1, data_of(&state->work), state->work.len, false, err);
}

static mtk_status last_byte_level(text_decode_stream *s, size_t at, mtk_error *err) {
  stage_state *state = &s->states[at];
  mtk_bytes_clear(&state->work);
  mtk_utf8_stream_push(&state->utf8, &state->work, NULL, 0, true);
  return deliver_work(s, at, err);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of "<0xNN>", or -1. */
static int byte_of(const char *token, size_t n) {
  if (n != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>') return -1;
  int low = hex_digit(token[4]);
  if (token[3] == '+') return low; /* as Rust reads numbers */
  int high = hex_digit(token[3]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens: their text, or U+FFFD for each if they are not UTF-8. */
static mtk_status release_bytes(text_decode_stream *s, size_t at, mtk_error *err) {
  stage_state *state = &s->states[at];
  size_t n = state->buffer.len;
  if (n == 0) return MTK_OK;
  mtk_status status = MTK_OK;
  if (text_utf8_valid(state->buffer.data, n) == n) {
    status = deliver(s, at + 1, state->buffer.data, n, true, err);
  } else {
    for (size_t i = 0; i < n && status == MTK_OK; i++) {
      status = deliver(s, at + 1, replacement, 3, true, err);
    }
  }
  mtk_bytes_clear(&state->buffer);
  return status;
}

static mtk_status token_byte_fallback(text_decode_stream *s, size_t at, const char *token, size_t n,
                                      mtk_error *err) {
  int byte = byte_of(token, n);
  if (byte >= 0) {
    char c = (char)byte;
    mtk_bytes_append(&s->states[at].buffer, &c, 1);
    return mtk_bytes_status(&s->states[at].buffer, err);
  }
  MTK_TRY(release_bytes(s, at, err));
  return deliver(s, at + 1, token, n, true, err);
}

static bool piece_byte_fallback(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  (void)st;
  int byte = byte_of(token, n);
  char c = (char)byte;
  mtk_bytes_append(out, byte >= 0 ? &c : token, byte >= 0 ? 1 : n);
  return byte >= 0;
}

/* ---- replacing ------------------------------------------------------------------------------ */

static mtk_status replace_regex(text_decode_stream *s, const stage *st, mtk_bytes *out,
                                const char *token, size_t n, mtk_error *err) {
  text_regex_scan scan = {0, SIZE_MAX};
  size_t done = 0;
  bool found = n > 0;
  while (found) {
    size_t begin, end;
    MTK_TRY(mtk_text_regex_next(st->regex, s->regex, &scan, token, n, &found, &begin, &end, err));
    if (!found) break;
    mtk_bytes_append(out, token + done, begin - done);
    mtk_bytes_append(out, st->text, st->n_text);
    done = end;
  }
  mtk_bytes_append(out, token + done, n - done);
  return MTK_OK;
}

static bool piece_replace(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  if (st->regex)
    mtk_bytes_append(out, token, n);
  else
    append_replaced(out, token, n, st->pattern, st->n_pattern, st->text, st->n_text);
  return false;
}

static mtk_status token_replace(text_decode_stream *s, size_t at, const char *token, size_t n,
                                mtk_error *err) {
  const stage *st = &s->decoder->stages[at];
  mtk_bytes *work = &s->states[at].work;
  mtk_bytes_clear(work);
  if (st->regex)
    MTK_TRY(replace_regex(s, st, work, token, n, err));
  else
    piece_replace(st, work, token, n);
  return deliver_work(s, at, err);
}

static mtk_status part_fuse(text_decode_stream *s, size_t at, const char *text, size_t n, bool end,
                            mtk_error *err) {
  (void)end;
  return deliver(s, at + 1, text, n, false, err);
}

static mtk_status last_fuse(text_decode_stream *s, size_t at, mtk_error *err) {
  return deliver(s, at + 1, "", 0, true, err);
}

static bool piece_same(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  (void)st;
  mtk_bytes_append(out, token, n);
  return false;
}

/* Up to a characters at the start of each token, and b at its end. */
static mtk_status part_strip(text_decode_stream *s, size_t at, const char *text, size_t n, bool end,
                             mtk_error *err) {
  const stage *st = &s->decoder->stages[at];
  stage_state *state = &s->states[at];
  size_t len = st->n_text;
  mtk_bytes_append(&state->buffer, text, n); /* what was held back, and the new part */
  MTK_TRY(mtk_bytes_status(&state->buffer, err));
  const char *held = data_of(&state->buffer);
  size_t left = state->buffer.len;
  while (!state->cut && state->count < st->a && left >= len && memcmp(held, st->text, len) == 0) {
    held += len;
    left -= len;
    state->count++;
  }
  bool may_cut = left < len && memcmp(held, st->text, left) == 0; /* part of the character */
  if (state->count == st->a || (left > 0 && !may_cut)) state->cut = true;
  size_t tail = left;
  for (size_t i = 0; i < st->b && tail >= len; i++) {
    if (memcmp(held + tail - len, st->text, len) != 0) break;
    tail -= len;
  }
  size_t ready = state->cut || end ? tail : 0;
  MTK_TRY(deliver(s, at + 1, held, ready, end, err));
  if (end) {
    mtk_bytes_clear(&state->buffer);
    state->count = 0;
    state->cut = false;
  } else {
    memmove(state->buffer.data, held + ready, left - ready);
    state->buffer.len = left - ready;
  }
  return MTK_OK;
}

static bool piece_metaspace(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  append_replaced(out, token, n, st->text, st->n_text, " ", 1);
  return false;
}

static mtk_status token_metaspace(text_decode_stream *s, size_t at, const char *token, size_t n,
                                  mtk_error *err) {
  const stage *st = &s->decoder->stages[at];
  stage_state *state = &s->states[at];
  bool drop = state->index++ == 0 && st->prepend != MTK_PREPEND_NEVER;
  mtk_bytes_clear(&state->work);
  append_replaced(&state->work, token, n, st->text, st->n_text, " ", drop ? 0 : 1);
  return deliver_work(s, at, err);
}

/* ---- words ---------------------------------------------------------------------------------- */

static const struct {
  const char *from, *to;
} tidy_rules[] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

/* The rules one after the other over b, with `other` as scratch. */
static void tidy_up(mtk_bytes *b, mtk_bytes *other) {
  for (size_t i = 0; i < sizeof tidy_rules / sizeof tidy_rules[0]; i++) {
    const char *from = tidy_rules[i].from, *to = tidy_rules[i].to;
    if (b->failed || !b->data || !memmem(b->data, b->len, from, strlen(from))) continue;
    mtk_bytes_clear(other);
    append_replaced(other, b->data, b->len, from, strlen(from), to, strlen(to));
    mtk_bytes swap = *b;
    *b = *other;
    *other = swap;
  }
}

/* "##ing" continues a word, any other token begins one. */
static bool piece_wordpiece(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  bool goes_on = n >= st->n_text && memcmp(token, st->text, st->n_text) == 0;
  size_t skip = goes_on ? st->n_text : 0;
  if (!goes_on) mtk_bytes_append(out, " ", 1);
  mtk_bytes_append(out, token + skip, n - skip);
  return false;
}

static mtk_status token_wordpiece(text_decode_stream *s, size_t at, const char *token, size_t n,
                                  mtk_error *err) {
  const stage *st = &s->decoder->stages[at];
  stage_state *state = &s->states[at];
  mtk_bytes_clear(&state->work);
  if (state->index++ == 0)
    mtk_bytes_append(&state->work, token, n);
  else
    piece_wordpiece(st, &state->work, token, n);
  if (st->flags & MTK_STEP_CLEANUP) tidy_up(&state->work, &state->buffer);
  return deliver_work(s, at, err);
}

static bool piece_bpe(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  if (st->n_text == 0) return piece_same(st, out, token, n);
  append_replaced(out, token, n, st->text, st->n_text, " ", 1);
  return false;
}

/* The suffix is a blank, but for the last token's: one token is held back. */
static mtk_status release_bpe(text_decode_stream *s, size_t at, bool last, mtk_error *err) {
  const stage *st = &s->decoder->stages[at];
  stage_state *state = &s->states[at];
  if (!state->held) return MTK_OK;
  state->held = false;
  mtk_bytes_clear(&state->work);
  const char *held = data_of(&state->buffer);
  if (st->n_text == 0)
    mtk_bytes_append(&state->work, held, state->buffer.len);
  else
    append_replaced(&state->work, held, state->buffer.len, st->text, st->n_text, " ", last ? 0 : 1);
  return deliver_work(s, at, err);
}

static mtk_status token_bpe(text_decode_stream *s, size_t at, const char *token, size_t n,
                            mtk_error *err) {
  stage_state *state = &s->states[at];
  MTK_TRY(release_bpe(s, at, false, err));
  state->held = true;
  mtk_bytes_clear(&state->buffer);
  mtk_bytes_append(&state->buffer, token, n);
  return mtk_bytes_status(&state->buffer, err);
}

static mtk_status last_bpe(text_decode_stream *s, size_t at, mtk_error *err) {
  return release_bpe(s, at, true, err);
}

/* Connectionist temporal classification: repeated tokens count once, pads vanish. */
static mtk_status token_ctc(text_decode_stream *s, size_t at, const char *token, size_t n,
                            mtk_error *err) {
  const stage *st = &s->decoder->stages[at];
  stage_state *state = &s->states[at];
  bool same = state->held && state->buffer.len == n && memcmp(state->buffer.data, token, n) == 0;
  if (same) return MTK_OK;
  state->held = true;
  mtk_bytes_clear(&state->buffer);
  mtk_bytes_append(&state->buffer, token, n);
  MTK_TRY(mtk_bytes_status(&state->buffer, err));
  mtk_bytes scratch = {0};
  mtk_bytes *work = &state->work;
  mtk_bytes_clear(work);
  if (st->n_text > 0)
    append_replaced(work, token, n, st->text, st->n_text, "", 0);
  else
    mtk_bytes_append(work, token, n);
  if (st->flags & MTK_STEP_CLEANUP) {
    tidy_up(work, &scratch);
    mtk_bytes_clear(&scratch);
    if (st->n_pattern > 0 && !work->failed) {
      append_replaced(&scratch, data_of(work), work->len, st->pattern, st->n_pattern, " ", 1);
      mtk_bytes swap = *work;
      *work = scratch;
      scratch = swap;
    }
  }
  mtk_bytes_finish(&scratch);
  return work->len == 0 && !work->failed ? MTK_OK : deliver_work(s, at, err);
}

static bool piece_ctc(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  bool word_end = n > 0 && n == st->n_pattern && memcmp(token, st->pattern, n) == 0;
  return piece_same(st, out, word_end ? " " : token, word_end ? 1 : n);
}

/* No decoder: tokens with blanks between them. */
static mtk_status part_join(text_decode_stream *s, size_t at, const char *text, size_t n, bool end,
                            mtk_error *err) {
  (void)end;
  if (s->states[at].index++ > 0) MTK_TRY(deliver(s, at + 1, " ", 1, false, err));
  return deliver(s, at + 1, text, n, false, err);
}

static bool piece_join(const stage *st, mtk_bytes *out, const char *token, size_t n) {
  (void)st;
  mtk_bytes_append(out, " ", 1);
  mtk_bytes_append(out, token, n);
  return false;
}

static const stage_class classes[] = {
    {MTK_STEP_NONE, NULL, part_join, NULL, piece_join},
    {MTK_STEP_BYTE_LEVEL, token_byte_level, NULL, last_byte_level, piece_byte_level},
    {MTK_STEP_BYTE_FALLBACK, token_byte_fallback, NULL, release_bytes, piece_byte_fallback},
    {MTK_STEP_FUSE, NULL, part_fuse, last_fuse, piece_same},
    {MTK_STEP_REPLACE, token_replace, NULL, NULL, piece_replace},
    {MTK_STEP_STRIP, NULL, part_strip, NULL, piece_same},
    {MTK_STEP_METASPACE, token_metaspace, NULL, NULL, piece_metaspace},
    {MTK_STEP_WORDPIECE, token_wordpiece, NULL, NULL, piece_wordpiece},
    {MTK_STEP_BPE_DECODER, token_bpe, NULL, last_bpe, piece_bpe},
    {MTK_STEP_CTC, token_ctc, NULL, NULL, piece_ctc},
};

/* ---- creation ------------------------------------------------------------------------------- */

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory decoding tokens");
}

static mtk_status add_stage(text_decoder *d, const mtk_step *step, mtk_error *err) {
  if (d->n == MAX_STAGES) return mtk_fail(err, MTK_E_LIMIT, "decoder", "too many steps");
  stage *st = &d->stages[d->n];
  *st = (stage){.flags = step->flags,
                .prepend = step->prepend,
                .a = step->a > 0 ? (size_t)step->a : 0,
                .b = step->b > 0 ? (size_t)step->b : 0,
                .n_pattern = step->n_pattern,
                .n_text = step->n_text};
  for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
    if (classes[i].kind == step->kind) st->class = &classes[i];
  }
  if (!st->class) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer", "step %d is no decoder", (int)step->kind);
  }
  bool needs_text = step->kind == MTK_STEP_STRIP || step->kind == MTK_STEP_METASPACE;
  if (needs_text && step->n_text == 0) {
    return mtk_fail(err, MTK_E_FORMAT, "decoder", "a step has no character");
  }
  st->pattern = mtk_arena_strndup(d->arena, step->pattern ? step->pattern : "", step->n_pattern);
  st->text = mtk_arena_strndup(d->arena, step->text ? step->text : "", step->n_text);
  if (!st->pattern || !st->text) return no_memory(err);
  bool regex = step->flags & MTK_STEP_REGEX || step->n_pattern == 0;
  if (step->kind == MTK_STEP_REPLACE && regex) {
    MTK_TRY(
        mtk_text_regex_create(&st->regex, st->pattern, st->n_pattern, TEXT_REGEX_ONIGURUMA, err));
  }
  d->n++;
  return MTK_OK;
}

mtk_status mtk_text_decoder_create(text_decoder **out, const mtk_steps *steps, mtk_error *err) {
  static const mtk_step join = {.kind = MTK_STEP_NONE};
  text_decoder *d = mtk_alloc(1, sizeof *d);
  if (!d) return no_memory(err);
  d->arena = mtk_arena_create();
  mtk_status status = d->arena ? MTK_OK : no_memory(err);
  if (status == MTK_OK && steps->n == 0) status = add_stage(d, &join, err);
  for (size_t i = 0; i < steps->n && status == MTK_OK; i++) {
    status = add_stage(d, &steps->items[i], err);
  }
  if (status != MTK_OK) {
    mtk_text_decoder_destroy(d);
    return status;
  }
  *out = d;
  return MTK_OK;
}

void mtk_text_decoder_destroy(text_decoder *d) {
  if (!d) return;
  for (size_t i = 0; i < d->n; i++) mtk_text_regex_destroy(d->stages[i].regex);
  mtk_arena_destroy(d->arena);
  mtk_free(d);
}

mtk_status mtk_text_decoder_piece(const text_decoder *d, mtk_bytes *out, mtk_bytes *work,
                                  const char *token, size_t n, mtk_error *err) {
  mtk_bytes_clear(out);
  mtk_bytes_append(out, token, n);
  bool bytes = false;
  for (size_t i = 0; i < d->n && !bytes && !out->failed; i++) {
    mtk_bytes_clear(work);
    bytes = d->stages[i].class->piece(&d->stages[i], work, data_of(out), out->len);
    mtk_bytes swap = *out;
    *out = *work;
    *work = swap;
  }
  return mtk_bytes_status(out, err);
}

/* ---- streams -------------------------------------------------------------------------------- */

mtk_status mtk_text_decode_create(text_decode_stream **out, const text_decoder *d, mtk_error *err) {
  text_decode_stream *s = mtk_alloc(1, sizeof *s);
  if (!s) return no_memory(err);
  s->decoder = d;
  bool regex = false;
  for (size_t i = 0; i < d->n; i++) regex |= d->stages[i].regex != NULL;
  mtk_status status = regex ? mtk_text_regex_work_create(&s->regex, err) : MTK_OK;
  if (status != MTK_OK) {
    mtk_free(s);
    return status;
  }
  *out = s;
  return MTK_OK;
}

void mtk_text_decode_destroy(text_decode_stream *s) {
  if (!s) return;
  for (size_t i = 0; i < MAX_STAGES; i++) {
    mtk_bytes_finish(&s->states[i].token);
    mtk_bytes_finish(&s->states[i].buffer);
    mtk_bytes_finish(&s->states[i].work);
  }
  mtk_text_regex_work_destroy(s->regex);
  mtk_free(s);
}

mtk_status mtk_text_decode_push(text_decode_stream *s, mtk_bytes *out, const char *token, size_t n,
                                mtk_error *err) {
  s->out = out;
  MTK_TRY(deliver(s, 0, token, n, true, err));
  return mtk_bytes_status(out, err);
}

mtk_status mtk_text_decode_finish(text_decode_stream *s, mtk_bytes *out, mtk_error *err) {
  s->out = out;
  for (size_t i = 0; i < s->decoder->n; i++) {
    if (s->decoder->stages[i].class->last) MTK_TRY(s->decoder->stages[i].class->last(s, i, err));
    stage_state *state = &s->states[i];
    mtk_bytes_clear(&state->token);
    mtk_bytes_clear(&state->buffer);
    state->index = state->count = 0;
    state->open = state->held = state->cut = false;
    state->utf8 = (mtk_utf8_stream){0};
  }
  return mtk_bytes_status(out, err);
}
