/* text/vocab_tiktoken.c: tiktoken's rank files ("BASE64 RANK" a line) and a vocabulary, both ways.
 * The files hold neither pattern nor special tokens: those of the published encodings are a table.
 * One thread per vocabulary. */
#include <string.h>

#include "text/vocab_ranks.h"

static const char place[] = "tiktoken ranks";

/* A special token, or `count` of them with the numbers number.. between `name` and "|>". */
typedef struct special {
  const char *name;
  uint32_t id, count, number;
} special;

typedef struct encoding {
  const char *name;
  size_t n_ranks;      /* lines of the file; the first row of a number is the guess */
  const char *pre;     /* GGUF name of the pre-tokenizer, or NULL: */
  const char *pattern; /* as in tiktoken's openai_public.py */
  const char *bos, *eos, *eot;
  special specials[20]; /* ends with a row of name NULL */
} encoding;

/* Facts: tiktoken_ext/openai_public.py; QwenLM/Qwen tokenization_qwen.py; Llama 3.1's
 * tokenizer_config.json. */
static const encoding encodings[] = {
    {"r50k_base",
     50256,
     "gpt-2",
     NULL,
     NULL,
     "<|endoftext|>",
     NULL,
     {{"<|endoftext|>", 50256, 0, 0}}},
    {"gpt2", 50256, "gpt-2", NULL, NULL, "<|endoftext|>", NULL, {{"<|endoftext|>", 50256, 0, 0}}},
    {"p50k_base",
     50280,
     "gpt-2",
     NULL,
     NULL,
     "<|endoftext|>",
     NULL,
     {{"<|endoftext|>", 50256, 0, 0}}},
    {"p50k_edit",
     50280,
     "gpt-2",
     NULL,
     NULL,
     "<|endoftext|>",
     NULL,
     {{"<|endoftext|>", 50256, 0, 0},
      {"<|fim_prefix|>", 50281, 0, 0},
      {"<|fim_middle|>", 50282, 0, 0},
      {"<|fim_suffix|>", 50283, 0, 0}}},
    {"cl100k_base",
     100256,
     NULL,
     "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}"
     "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++(?![\\s\\S])|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
     NULL,
     "<|endoftext|>",
     NULL,
     {{"<|endoftext|>", 100257, 0, 0},
      {"<|fim_prefix|>", 100258, 0, 0},
      {"<|fim_middle|>", 100259, 0, 0},
      {"<|fim_suffix|>", 100260, 0, 0},
      {"<|endofprompt|>", 100276, 0, 0}}},
    {"o200k_base",
     199998,
     "gpt-4o",
     NULL,
     NULL,
     "<|endoftext|>",
     NULL,
     {{"<|endoftext|>", 199999, 0, 0}, {"<|endofprompt|>", 200018, 0, 0}}},
    {"o200k_harmony",
     199998,
     "gpt-4o",
     NULL,
     "<|startoftext|>",
     "<|return|>",
     NULL,
     {{"<|startoftext|>", 199998, 0, 0},
      {"<|endoftext|>", 199999, 0, 0},
      {"<|reserved_", 200000, 2, 200000},
      {"<|return|>", 200002, 0, 0},
      {"<|constrain|>", 200003, 0, 0},
      {"<|reserved_", 200004, 1, 200004},
      {"<|channel|>", 200005, 0, 0},
      {"<|start|>", 200006, 0, 0},
      {"<|end|>", 200007, 0, 0},
      {"<|message|>", 200008, 0, 0},
      {"<|reserved_", 200009, 3, 200009},
      {"<|call|>", 200012, 0, 0},
      {"<|reserved_", 200013, 5, 200013},
      {"<|endofprompt|>", 200018, 0, 0},
      {"<|reserved_", 200019, 1069, 200019}}},
    {"qwen",
     151643,
     "qwen2",
     NULL,
     NULL,
     "<|endoftext|>",
     "<|im_end|>",
     {{"<|endoftext|>", 151643, 0, 0},
      {"<|im_start|>", 151644, 0, 0},
      {"<|im_end|>", 151645, 0, 0},
      {"<|extra_", 151646, 205, 0}}},
    {"llama3",
     128000,
     "llama-bpe",
     NULL,
     "<|begin_of_text|>",
     "<|end_of_text|>",
     "<|eot_id|>",
     {{"<|begin_of_text|>", 128000, 0, 0},
      {"<|end_of_text|>", 128001, 0, 0},
      {"<|reserved_special_token_", 128002, 2, 0},
      {"<|finetune_right_pad_id|>", 128004, 0, 0},
      {"<|reserved_special_token_", 128005, 1, 2},
      {"<|start_header_id|>", 128006, 0, 0},
      {"<|end_header_id|>", 128007, 0, 0},
      {"<|eom_id|>", 128008, 0, 0},
      {"<|eot_id|>", 128009, 0, 0},
      {"<|python_tag|>", 128010, 0, 0},
      {"<|reserved_special_token_", 128011, 245, 3}}},
};
enum { N_ENCODINGS = sizeof encodings / sizeof encodings[0], MAX_RANK = (1 << 24) - 1 };

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a tokenizer");
}

/* ---- lines ---------------------------------------------------------------------------------- */

typedef struct line {
  const char *base64;
  size_t n, rank;
} line;

/* The next line that is not empty; false at the end. A broken one gives an error. */
static mtk_status next_line(line *out, bool *found, const char *text, size_t n, size_t *at,
                            size_t *number, mtk_error *err) {
  *found = false;
  while (*at < n && !*found) {
    const char *s = text + *at, *newline = memchr(s, '\n', n - *at);
    size_t len = newline ? (size_t)(newline - s) : n - *at;
    *at += len + (newline != NULL);
    ++*number;
    if (len > 0 && s[len - 1] == '\r') len--;
    if (len == 0) continue;
    const char *space = memchr(s, ' ', len);
    *out = (line){.base64 = s, .n = space ? (size_t)(space - s) : len};
    size_t digits = 0;
    for (size_t i = out->n + 1; i < len && s[i] >= '0' && s[i] <= '9' && digits < 8; i++) {
      out->rank = 10 * out->rank + (size_t)(s[i] - '0');
      digits++;
    }
    if (!space || digits == 0 || out->n + 1 + digits != len || out->rank > MAX_RANK) {
      return mtk_fail(err, MTK_E_FORMAT, place, "line %zu is not \"BASE64 RANK\"", *number);
    }
    *found = true;
  }
  return MTK_OK;
}

static mtk_status count_lines(size_t *n_lines, size_t *n_ids, const char *text, size_t n,
                              mtk_error *err) {
  size_t at = 0, number = 0;
  bool found = true;
  line l = {0};
  *n_lines = *n_ids = 0;
  while (found) {
    MTK_TRY(next_line(&l, &found, text, n, &at, &number, err));
    if (!found) break;
    ++*n_lines;
    if (l.rank >= *n_ids) *n_ids = l.rank + 1;
  }
  if (*n_lines > 0 && *n_ids <= 2 * *n_lines + 4096) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, place, "%zu lines with ranks up to %zu", *n_lines, *n_ids);
}

/* ---- encodings ------------------------------------------------------------------------------ */

static mtk_status find_encoding(const encoding **out, const char *name, size_t n_ranks,
                                mtk_error *err) {
  for (size_t i = 0; i < N_ENCODINGS; i++) {
    const encoding *e = &encodings[i];
    if (name ? strcmp(e->name, name) != 0 : e->n_ranks != n_ranks) continue;
    *out = e;
    return MTK_OK;
  }
  if (name) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, place, "encoding \"%.40s\" is not known", name);
  }
  return mtk_fail(err, MTK_E_UNSUPPORTED, place,
                  "no known encoding has %zu ranks, so pattern and special tokens are not known",
                  n_ranks);
}

static size_t ids_of(const encoding *e, size_t n_ids) {
  for (const special *s = e->specials; s->name; s++) {
    size_t end = s->id + (s->count ? s->count : 1);
    if (end > n_ids) n_ids = end;
  }
  return n_ids;
}

static mtk_status put_special(mtk_vocab *vocab, const special *s, uint32_t i, mtk_error *err) {
  mtk_bytes name = {0};
  mtk_bytes_puts(&name, s->name);
  if (s->count > 0) mtk_bytes_printf(&name, "%u|>", (unsigned)(s->number + i));
  mtk_status status = mtk_bytes_status(&name, err);
  if (status == MTK_OK) {
    status =
        mtk_text_ranks_put_special(vocab, s->id + i, name.data, name.len, MTK_TOKEN_CONTROL, err);
  }
  mtk_bytes_finish(&name);
  return status;
}

static mtk_status apply_encoding(mtk_vocab *vocab, const encoding *e, mtk_error *err) {
  for (const special *s = e->specials; s->name; s++) {
    for (uint32_t i = 0; i < (s->count ? s->count : 1); i++) {
      MTK_TRY(put_special(vocab, s, i, err));
    }
  }
  vocab->bos = e->bos ? mtk_text_ranks_find(vocab, e->bos) : -1;
  vocab->eos = mtk_text_ranks_find(vocab, e->eos);
  vocab->eot = e->eot ? mtk_text_ranks_find(vocab, e->eot) : -1;
  if (e->pre) {
    MTK_TRY(mtk_vocab_set_pre(vocab, e->pre, err));
  } else {
    MTK_TRY(mtk_text_ranks_set_pattern(vocab, e->pattern, strlen(e->pattern), err));
  }
  vocab->ignore_merges = true; /* tiktoken looks up whole pieces first */
  if (vocab->add_bos < 0) vocab->add_bos = 0;
  vocab->add_eos = 0;
  return MTK_OK;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static mtk_status read_all(mtk_vocab *vocab, const char *text, size_t n, const char *name,
                           mtk_error *err) {
  const encoding *e = NULL;
  size_t n_lines, n_ids, at = 0, number = 0;
  bool found = true;
  line l = {0};
  MTK_TRY(count_lines(&n_lines, &n_ids, text, n, err));
  MTK_TRY(find_encoding(&e, name, n_lines, err));
  MTK_TRY(mtk_text_ranks_init(vocab, ids_of(e, n_ids), err));
  while (found) {
    MTK_TRY(next_line(&l, &found, text, n, &at, &number, err));
    if (found) MTK_TRY(mtk_text_ranks_put(vocab, l.rank, l.rank, l.base64, l.n, err));
  }
  return apply_encoding(vocab, e, err);
}

mtk_status mtk_vocab_from_tiktoken(mtk_vocab **out, const char *text, size_t n,
                                   const char *encoding_name, mtk_error *err) {
  mtk_vocab *vocab = mtk_vocab_create();
  mtk_status status = vocab ? read_all(vocab, text, n, encoding_name, err) : no_memory(err);
  if (status != MTK_OK) {
    mtk_vocab_destroy(vocab);
    return status;
  }
  *out = vocab;
  return MTK_OK;
}

mtk_status mtk_vocab_to_tiktoken(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  MTK_TRY(mtk_text_ranks_check(vocab, 0, err));
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    if (t->type != MTK_TOKEN_NORMAL || !t->text) continue;
    MTK_TRY(mtk_text_ranks_base64(out, t, err));
    mtk_bytes_printf(out, " %zu\n", i);
  }
  return mtk_bytes_status(out, err);
}
