/* text/pipeline.c: between lists of steps (tokenizer.json) and the fields by which GGUF describes
 * byte-level BPE (RANKS too). Pure; any thread. */
#include "text/pipeline.h"

#include <string.h>

#include "text/pretok.h"

static bool lists_steps(const mtk_vocab *vocab) {
  bool named = vocab->pre || vocab->n_patterns > 0 || vocab->split_digits || vocab->nfc ||
               vocab->add_prefix_space;
  return vocab->normalizers.n > 0 || vocab->pre_tokenizers.n > 0 || vocab->decoders.n > 0 ||
         (vocab->kind != MTK_VOCAB_BPE && vocab->kind != MTK_VOCAB_RANKS) || !named;
}

static mtk_step regex_step(mtk_step_kind kind, const char *pattern) {
  return (mtk_step){
      .kind = kind, .flags = MTK_STEP_REGEX, .pattern = pattern, .n_pattern = strlen(pattern)};
}

static mtk_status steps_of_names(text_pipeline *p, const mtk_vocab *vocab, mtk_error *err) {
  size_t n = vocab->n_patterns, n_before = 0, n_cut = 0;
  if (n == 0 && !vocab->split_digits && vocab->pre) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer", "pre-tokenizer \"%s\" is not known",
                    vocab->pre);
  }
  if (n + 2 > sizeof p->cut / sizeof p->cut[0]) {
    return mtk_fail(err, MTK_E_LIMIT, "tokenizer", "too many pre-tokenizer patterns");
  }
  bool gpt2 = n > 0 && strcmp(vocab->patterns[n - 1], mtk_text_pattern_gpt2) == 0;
  bool alone = gpt2 && n == 1 && !vocab->split_digits; /* ByteLevel itself puts the space */
  if (vocab->nfc) p->before[n_before++] = (mtk_step){.kind = MTK_STEP_NFC};
  if (vocab->add_prefix_space && !alone) {
    mtk_step space = regex_step(MTK_STEP_REPLACE, "\\A(?=[^ ])");
    space.text = " ";
    space.n_text = 1;
    p->before[n_before++] = space;
  }
  if (vocab->split_digits) {
    p->cut[n_cut++] = (mtk_step){.kind = MTK_STEP_DIGITS, .flags = MTK_STEP_INDIVIDUAL};
  }
  for (size_t i = 0; i < n - gpt2; i++) {
    p->cut[n_cut++] = regex_step(MTK_STEP_SPLIT, vocab->patterns[i]);
  }
  mtk_step bytes = {.kind = MTK_STEP_BYTE_LEVEL};
  p->after[0] = bytes;
  if (gpt2) bytes.flags |= MTK_STEP_REGEX;
  if (vocab->add_prefix_space && alone) bytes.flags |= MTK_STEP_PREFIX_SPACE;
  p->cut[n_cut++] = bytes;
  p->normalizers = (mtk_steps){p->before, n_before};
  p->pre_tokenizers = (mtk_steps){p->cut, n_cut};
  p->decoders = (mtk_steps){p->after, 1};
  return MTK_OK;
}

mtk_status mtk_text_pipeline_of(text_pipeline *out, const mtk_vocab *vocab, mtk_error *err) {
  out->normalizers = vocab->normalizers;
  out->pre_tokenizers = vocab->pre_tokenizers;
  out->decoders = vocab->decoders;
  return lists_steps(vocab) ? MTK_OK : steps_of_names(out, vocab, err);
}

/* ---- names of steps ------------------------------------------------------------------------- */

/* A literal as a regular expression. */
static const char *quote(mtk_arena *arena, const char *text, size_t n) {
  char *quoted = mtk_arena_alloc(arena, 2 * n + 1, 1);
  size_t len = 0;
  for (size_t i = 0; quoted && i < n; i++) {
    if (text[i] && strchr("\\^$.[]|()?*+{}-/#", text[i])) quoted[len++] = '\\';
    quoted[len++] = text[i];
  }
  return quoted;
}

/* A pattern that cuts as the step does when its matches are isolated; NULL if there is none. */
static mtk_status pattern_of(const char **out, mtk_vocab *vocab, const mtk_step *step,
                             mtk_error *err) {
  *out = NULL;
  bool isolates = step->behavior == MTK_SPLIT_ISOLATED ||
                  /* keeps the matches: the same for patterns that match everything */
                  (step->behavior == MTK_SPLIT_REMOVED && step->flags & MTK_STEP_INVERT);
  bool individual = step->flags & MTK_STEP_INDIVIDUAL;
  if (step->kind == MTK_STEP_DIGITS) {
    *out = individual ? mtk_text_pattern_digit : "\\p{N}+";
  } else if (step->kind == MTK_STEP_SPLIT && isolates && step->n_pattern > 0) {
    bool regex = step->flags & MTK_STEP_REGEX;
    *out = regex ? step->pattern : quote(vocab->arena, step->pattern, step->n_pattern);
    if (!*out) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a vocabulary");
  }
  return MTK_OK;
}

mtk_status mtk_text_pipeline_name(mtk_vocab *vocab, mtk_error *err) {
  const mtk_steps *steps = &vocab->pre_tokenizers, *before = &vocab->normalizers;
  const mtk_step *last = steps->n > 0 ? &steps->items[steps->n - 1] : NULL;
  bool byte_level = vocab->kind == MTK_VOCAB_BPE && last && last->kind == MTK_STEP_BYTE_LEVEL;
  bool nfc = before->n == 1 && before->items[0].kind == MTK_STEP_NFC;
  if (!byte_level || (before->n > 0 && !nfc)) return MTK_OK;
  const char **patterns = mtk_arena_alloc(vocab->arena, steps->n + 1, sizeof *patterns);
  if (!patterns) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a vocabulary");
  size_t n = 0;
  bool digits = false;
  for (size_t i = 0; i + 1 < steps->n; i++) {
    const char *pattern;
    MTK_TRY(pattern_of(&pattern, vocab, &steps->items[i], err));
    if (!pattern) return MTK_OK;
    if (i == 0 && pattern == mtk_text_pattern_digit)
      digits = true;
    else
      patterns[n++] = pattern;
  }
  if (last->flags & MTK_STEP_REGEX) patterns[n++] = mtk_text_pattern_gpt2;
  vocab->patterns = patterns;
  vocab->n_patterns = n;
  vocab->split_digits = digits;
  vocab->add_prefix_space = last->flags & MTK_STEP_PREFIX_SPACE;
  vocab->nfc = nfc;
  vocab->pre = mtk_vocab_find_pre(vocab);
  return MTK_OK;
}
