/* text/vocab_ranks.c: see vocab_ranks.h. */
#include "text/vocab_ranks.h"

#include <string.h>

#include "text/base64.h"
#include "text/byte_alphabet.h"

enum { MAX_BASE64 = 4096 }; /* of one token; the longest published one has 1024 bytes */

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a tokenizer");
}

mtk_status mtk_text_ranks_init(mtk_vocab *vocab, size_t n, mtk_error *err) {
  vocab->kind = MTK_VOCAB_RANKS;
  vocab->ignore_merges = true; /* whole pieces first */
  if (n == 0 || n > INT32_MAX) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer", "vocabulary of %zu tokens", n);
  }
  vocab->tokens = mtk_arena_alloc(vocab->arena, n, sizeof *vocab->tokens);
  if (!vocab->tokens) return no_memory(err);
  vocab->n_tokens = n;
  for (size_t i = 0; i < n; i++) vocab->tokens[i].type = MTK_TOKEN_UNUSED;
  return MTK_OK;
}

mtk_status mtk_text_ranks_put(mtk_vocab *vocab, size_t id, size_t rank, const char *base64,
                              size_t n, mtk_error *err) {
  char bytes[MAX_BASE64 / 4 * 3], spelled[2 * sizeof bytes];
  size_t len = 0;
  mtk_token *t = &vocab->tokens[id];
  if (n > MAX_BASE64 || !mtk_text_base64_decode(bytes, &len, base64, n) || len == 0) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer",
                    "token of rank %zu is no base64 text of 1 to "
                    "%zu bytes",
                    rank, sizeof bytes);
  }
  if (t->text) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer", "rank %zu is given to two tokens", rank);
  }
  size_t n_spelled = mtk_text_to_alphabet(spelled, bytes, len);
  t->text = mtk_arena_strndup(vocab->arena, spelled, n_spelled);
  t->len = (uint32_t)n_spelled;
  t->type = MTK_TOKEN_NORMAL;
  t->score = -(float)rank; /* exact: there are less than 2^24 tokens */
  return t->text ? MTK_OK : no_memory(err);
}

mtk_status mtk_text_ranks_put_special(mtk_vocab *vocab, size_t id, const char *text, size_t n,
                                      mtk_token_type type, mtk_error *err) {
  mtk_token *t = &vocab->tokens[id];
  if (n == 0 || n > UINT32_MAX || memchr(text, 0, n) || t->text) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer",
                    "special token %zu is empty, contains a zero byte, or has a taken id", id);
  }
  t->text = mtk_arena_strndup(vocab->arena, text, n);
  t->len = (uint32_t)n;
  t->type = (uint8_t)type;
  return t->text ? MTK_OK : no_memory(err);
}

mtk_status mtk_text_ranks_set_pattern(mtk_vocab *vocab, const char *pattern, size_t n,
                                      mtk_error *err) {
  const char **patterns = mtk_arena_alloc(vocab->arena, 1, sizeof *patterns);
  if (!patterns) return no_memory(err);
  patterns[0] = mtk_arena_strndup(vocab->arena, pattern, n);
  if (!patterns[0]) return no_memory(err);
  vocab->patterns = patterns;
  vocab->n_patterns = 1;
  vocab->pre = mtk_vocab_find_pre(vocab);
  return MTK_OK;
}

int32_t mtk_text_ranks_find(const mtk_vocab *vocab, const char *text) {
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    bool special = t->type == MTK_TOKEN_CONTROL || t->type == MTK_TOKEN_USER_DEFINED;
    if (special && t->text && strcmp(t->text, text) == 0) return (int32_t)i;
  }
  return -1;
}

/* The tokens that merges make must be numbered in the order in which they are made. */
static bool is_ranked(const mtk_vocab *vocab, const float *scores, size_t first) {
  float last = 1;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    if (t->type != MTK_TOKEN_NORMAL || !t->text) continue;
    if (i < first) return false;
    if (vocab->kind == MTK_VOCAB_RANKS) {
      if (scores[i] != -(float)(i - first)) return false;
    } else if (scores[i] < 0 || (scores[i] == 0 && last > 0)) {
      if (scores[i] >= last) return false;
      last = scores[i];
    }
  }
  return true;
}

mtk_status mtk_text_ranks_check(const mtk_vocab *vocab, size_t first, mtk_error *err) {
  bool bytes = vocab->kind == MTK_VOCAB_RANKS ||
               (vocab->kind == MTK_VOCAB_BPE && vocab->ignore_merges && !vocab->byte_fallback);
  float *scores = bytes ? mtk_alloc(vocab->n_tokens, sizeof *scores) : NULL;
  if (bytes && !scores) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for a tokenizer");
  mtk_status status = bytes ? mtk_vocab_scores(scores, vocab, err) : MTK_OK;
  bool ranked = bytes && status == MTK_OK && is_ranked(vocab, scores, first);
  mtk_free(scores);
  if (status != MTK_OK || ranked) return status;
  return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer",
                  "the ids are not the ranks in which byte-level tokens merge");
}

mtk_status mtk_text_ranks_base64(mtk_bytes *out, const mtk_token *token, mtk_error *err) {
  char *bytes = mtk_alloc(token->len, 1);
  size_t n = 0;
  if (!bytes) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory writing a tokenizer");
  mtk_status status = MTK_OK;
  if (mtk_text_from_alphabet(bytes, &n, token->text, token->len)) {
    mtk_text_base64_append(out, bytes, n);
  } else {
    status = mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer",
                      "token \"%.60s\" is not spelled in the byte alphabet", token->text);
  }
  mtk_free(bytes);
  return status;
}
