/* text/spm_pipeline.c: SentencePiece's normalizer as steps of a vocabulary, and steps that amount
 * to such a normalizer. One thread per vocabulary. */
#include <string.h>

#include "text/vocab_spm.h"

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a tokenizer");
}

/* ---- to steps ------------------------------------------------------------------------------- */

static mtk_step replace_step(const char *pattern, const char *text) {
  return (mtk_step){.kind = MTK_STEP_REPLACE,
                    .pattern = pattern,
                    .n_pattern = strlen(pattern),
                    .text = text,
                    .n_text = strlen(text)};
}

static mtk_status set_steps(mtk_steps *out, mtk_vocab *vocab, const mtk_step *steps, size_t n,
                            mtk_error *err) {
  mtk_step *items = mtk_arena_alloc(vocab->arena, n, sizeof *items);
  if (!items) return no_memory(err);
  if (n > 0) memcpy(items, steps, n * sizeof *items);
  *out = (mtk_steps){items, n};
  return MTK_OK;
}

/* User-defined symbols, each with a NUL behind it: rules do not touch them. */
static mtk_status keep_symbols(mtk_step *step, mtk_vocab *vocab, mtk_error *err) {
  mtk_bytes names = {0};
  for (size_t i = 0; vocab->user_defined_in_model && i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    if (t->text && t->type == MTK_TOKEN_USER_DEFINED) mtk_bytes_append(&names, t->text, t->len + 1);
  }
  mtk_status status = mtk_bytes_status(&names, err);
  char *copy = status == MTK_OK ? mtk_arena_alloc(vocab->arena, names.len + 1, 1) : NULL;
  if (status == MTK_OK && !copy) status = no_memory(err);
  if (copy && names.len > 0) memcpy(copy, names.data, names.len);
  step->pattern = copy;
  step->n_pattern = names.len;
  mtk_bytes_finish(&names);
  return status;
}

static mtk_status charsmap_step(mtk_step *step, mtk_vocab *vocab, const mtk_spm_pipeline *p,
                                mtk_error *err) {
  char *blob = mtk_arena_alloc(vocab->arena, p->n_charsmap, 1);
  if (!blob) return no_memory(err);
  memcpy(blob, p->charsmap, p->n_charsmap);
  *step = (mtk_step){.kind = MTK_STEP_PRECOMPILED,
                     .flags = MTK_STEP_LONGEST,
                     .text = blob,
                     .n_text = p->n_charsmap};
  return keep_symbols(step, vocab, err);
}

static mtk_status set_decoders(mtk_vocab *vocab, const mtk_spm_pipeline *p, mtk_error *err) {
  mtk_step steps[4];
  size_t n = 0;
  if (p->escape_whitespaces) steps[n++] = replace_step(TEXT_SPM_SPACE, " ");
  if (vocab->byte_fallback) steps[n++] = (mtk_step){.kind = MTK_STEP_BYTE_FALLBACK};
  steps[n++] = (mtk_step){.kind = MTK_STEP_FUSE};
  if (p->dummy_prefix) {
    steps[n++] = (mtk_step){.kind = MTK_STEP_STRIP,
                            .text = " ",
                            .n_text = 1,
                            .a = !p->whitespace_suffix,
                            .b = p->whitespace_suffix};
  }
  return set_steps(&vocab->decoders, vocab, steps, n, err);
}

mtk_status mtk_vocab_set_spm(mtk_vocab *vocab, const mtk_spm_pipeline *p, mtk_error *err) {
  mtk_step steps[6];
  size_t n = 0;
  mtk_step space = {.kind = MTK_STEP_PREPEND, .text = " ", .n_text = 1};
  if (p->n_charsmap > 0) MTK_TRY(charsmap_step(&steps[n++], vocab, p, err));
  if (p->remove_extra_whitespaces) {
    steps[n++] = (mtk_step){.kind = MTK_STEP_REMOVE_EXTRA_WHITESPACES};
  }
  if (p->dummy_prefix && !p->whitespace_suffix) steps[n++] = space;
  if (p->escape_whitespaces) steps[n++] = replace_step(" ", TEXT_SPM_SPACE);
  if (p->escape_whitespaces && p->remove_extra_whitespaces) {
    steps[n] = replace_step(TEXT_SPM_TRAILING, "");
    steps[n++].flags = MTK_STEP_REGEX;
  }
  if (p->dummy_prefix && p->whitespace_suffix) {
    if (p->escape_whitespaces) space = replace_step("", TEXT_SPM_SPACE);
    space.kind = MTK_STEP_PREPEND;
    space.flags = MTK_STEP_RIGHT;
    steps[n++] = space;
  }
  vocab->pre_tokenizers = (mtk_steps){0};
  MTK_TRY(set_steps(&vocab->normalizers, vocab, steps, n, err));
  return set_decoders(vocab, p, err);
}

/* ---- from steps ----------------------------------------------------------------------------- */

static bool is(const char *text, size_t n, const char *wanted) {
  return n == strlen(wanted) && memcmp(text, wanted, n) == 0;
}

static bool is_space(const char *text, size_t n) {
  return is(text, n, " ") || is(text, n, TEXT_SPM_SPACE);
}

static bool take_replace(mtk_spm_pipeline *out, const mtk_step *s) {
  if (is(s->pattern, s->n_pattern, TEXT_SPM_TRAILING)) return s->n_text == 0;
  if (!is_space(s->text, s->n_text)) return false;
  if (is(s->pattern, s->n_pattern, " {2,}") && s->flags & MTK_STEP_REGEX) {
    out->remove_extra_whitespaces = true;
    return true;
  }
  out->escape_whitespaces = true;
  return is(s->pattern, s->n_pattern, " ") && is(s->text, s->n_text, TEXT_SPM_SPACE);
}

static bool take_step(mtk_spm_pipeline *out, const mtk_step *s) {
  switch (s->kind) {
  case MTK_STEP_PRECOMPILED:
    out->charsmap = s->text;
    out->n_charsmap = s->n_text;
    return true;
  case MTK_STEP_STRIP:
  case MTK_STEP_WHITESPACE_SPLIT:
  case MTK_STEP_REMOVE_EXTRA_WHITESPACES: out->remove_extra_whitespaces = true; return true;
  case MTK_STEP_PREPEND:
    out->dummy_prefix = true;
    out->whitespace_suffix = s->flags & MTK_STEP_RIGHT;
    return is_space(s->text, s->n_text);
  case MTK_STEP_REPLACE: return take_replace(out, s);
  case MTK_STEP_METASPACE:
    out->escape_whitespaces = true;
    out->dummy_prefix |= s->prepend != MTK_PREPEND_NEVER;
    return is(s->text, s->n_text, TEXT_SPM_SPACE);
  case MTK_STEP_SPLIT: /* on what has been replaced already */
    return out->escape_whitespaces && is(s->pattern, s->n_pattern, " ");
  default: return false;
  }
}

bool mtk_vocab_get_spm(mtk_spm_pipeline *out, const mtk_vocab *vocab) {
  *out = (mtk_spm_pipeline){0};
  bool spelled = vocab->kind == MTK_VOCAB_SPM || vocab->kind == MTK_VOCAB_UNIGRAM ||
                 (vocab->kind == MTK_VOCAB_BPE && vocab->byte_fallback);
  for (size_t i = 0; i < vocab->normalizers.n && spelled; i++) {
    spelled = take_step(out, &vocab->normalizers.items[i]);
  }
  for (size_t i = 0; i < vocab->pre_tokenizers.n && spelled; i++) {
    spelled = take_step(out, &vocab->pre_tokenizers.items[i]);
  }
  return spelled && vocab->n_patterns == 0 && !vocab->split_digits && !vocab->nfc;
}
