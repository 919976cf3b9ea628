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
  vocab->pre = row->name;
  vocab->patterns = patterns;
  vocab->n_patterns = n;
  vocab->split_digits = row->split_digits;
  vocab->ignore_merges = row->ignore_merges;
  vocab->nfc = row->nfc;
  if (vocab->add_bos < 0 && row->add_bos) vocab->add_bos = 1;
  return MTK_OK;
}

static bool same_patterns(const mtk_vocab *vocab, const text_pre *pre) {
  if (vocab->split_digits != pre->split_digits) return false;
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
    int score = 1 + 2 * (pre->ignore_merges == vocab->ignore_merges) + (pre->nfc == vocab->nfc);
    if (score > best) {
      best = score;
      name = pre->name;
    }
  }
  return name;
}
