/* text/vocab.c: life of vocabularies and the names of its pre-tokenizer. One belongs to one
 * thread while it is filled; afterwards it may be read by several. */
#include <mtk/text.h>
#include <string.h>

#include "text/pretok.h"

mtk_vocab *mtk_vocab_create(void) {
  mtk_vocab *vocab = mtk_alloc(1, sizeof *vocab);
  if (!vocab) return NULL;
  vocab->arena = mtk_arena_create();
  if (!vocab->arena) {
    mtk_free(vocab);
    return NULL;
  }
  vocab->bos = vocab->eos = vocab->unk = vocab->pad = vocab->eot = -1;
  vocab->add_bos = vocab->add_eos = -1;
  return vocab;
}

void mtk_vocab_destroy(mtk_vocab *vocab) {
  if (!vocab) return;
  mtk_arena_destroy(vocab->arena);
  mtk_free(vocab);
}

static size_t count_patterns(const text_pre *pre) {
  size_t n = 0;
  while (n < sizeof pre->patterns / sizeof pre->patterns[0] && pre->patterns[n]) n++;
  return n;
}

/* Steps of names whose tokens are not in the byte alphabet. */
static mtk_status set_text_steps(mtk_vocab *vocab, const text_pre *row, mtk_error *err) {
  bool spaced = row->flags & TEXT_PRE_SPACED;
  const mtk_spm_pipeline pipeline = {.escape_whitespaces = spaced};
  vocab->byte_fallback = spaced;
  MTK_TRY(mtk_vocab_set_spm(vocab, &pipeline, err));
  mtk_step *split = mtk_arena_alloc(vocab->arena, 1, sizeof *split);
  if (!split) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a vocabulary");
  *split = (mtk_step){.kind = MTK_STEP_WHITESPACE_SPLIT};
  if (spaced) {
    *split = (mtk_step){.kind = MTK_STEP_SPLIT,
                        .flags = MTK_STEP_REGEX,
                        .pattern = row->patterns[0],
                        .n_pattern = strlen(row->patterns[0])};
  }
  vocab->pre_tokenizers = (mtk_steps){split, 1};
  vocab->n_patterns = 0;
  return MTK_OK;
}

mtk_status mtk_vocab_set_pre(mtk_vocab *vocab, const char *pre, mtk_error *err) {
  const text_pre *row = NULL;
  for (size_t i = 0; i < mtk_text_pre_table_len && !row; i++) {
    if (strcmp(mtk_text_pre_table[i].name, pre) == 0) row = &mtk_text_pre_table[i];
  }
  if (!row) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer.ggml.pre",
                    "pre-tokenizer \"%.60s\" is not known", pre);
  }
  size_t n = count_patterns(row);
  const char **patterns = mtk_arena_alloc(vocab->arena, n, sizeof *patterns);
  if (!patterns) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a vocabulary");
  memcpy(patterns, row->patterns, n * sizeof *patterns);
  vocab->normalizers = vocab->pre_tokenizers = vocab->decoders = (mtk_steps){0};
  vocab->pre = row->name;
  vocab->patterns = patterns;
  vocab->n_patterns = n;
  vocab->split_digits = row->flags & TEXT_PRE_DIGITS;
  vocab->ignore_merges = row->flags & TEXT_PRE_WHOLE;
  vocab->nfc = row->flags & TEXT_PRE_NFC;
  if (vocab->add_bos < 0 && row->flags & TEXT_PRE_BOS) vocab->add_bos = 1;
  return row->flags & (TEXT_PRE_SPACED | TEXT_PRE_WORDS) ? set_text_steps(vocab, row, err) : MTK_OK;
}

static bool same_patterns(const mtk_vocab *vocab, const text_pre *pre) {
  if (vocab->split_digits != (bool)(pre->flags & TEXT_PRE_DIGITS)) return false;
  if (pre->flags & (TEXT_PRE_SPACED | TEXT_PRE_WORDS)) return false;
  if (vocab->n_patterns != count_patterns(pre)) return false;
  for (size_t i = 0; i < vocab->n_patterns; i++) {
    if (strcmp(vocab->patterns[i], pre->patterns[i]) != 0) return false;
  }
  return true;
}

const char *mtk_vocab_find_pre(const mtk_vocab *vocab) {
  const char *name = NULL;
  int best = 0;
  for (size_t i = 0; i < mtk_text_pre_table_len; i++) {
    const text_pre *pre = &mtk_text_pre_table[i];
    if (!same_patterns(vocab, pre)) continue;
    int score = 1 + 2 * (vocab->ignore_merges == (bool)(pre->flags & TEXT_PRE_WHOLE)) +
                (vocab->nfc == (bool)(pre->flags & TEXT_PRE_NFC));
    if (score > best) {
      best = score;
      name = pre->name;
    }
  }
  return name;
}
