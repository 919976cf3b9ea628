/* tokenizer.c: llama2.c's tokenizer files (tokenizer.py, run.c): u32 longest token in bytes, then
 * per token f32 score, i32 length, bytes. The tokens are those of a SentencePiece BPE model with
 * byte fallback; spaces are written out, and the control tokens stand between line ends. */
#include "llama2c.h"

#include <math.h>
#include <string.h>

#define SPACE "\xE2\x96\x81" /* U+2581 */

enum { UNK = 0, BOS = 1, EOS = 2, FIRST_BYTE = 3, N_FIXED = 259, MAX_TOKEN = 1 << 16 };

static uint32_t u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static float f32(const uint8_t *p) {
  uint32_t bits = u32(p);
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

/* ---- reading ------------------------------------------------------------------------------- */

typedef struct record {
  float score;
  const char *text;
  size_t len;
} record;

/* The record at *at, which moves behind it; false if the bytes are none. */
static bool next_record(record *out, const uint8_t *data, size_t size, size_t *at, size_t longest) {
  if (size - *at < 8) return false;
  out->score = f32(data + *at);
  out->len = u32(data + *at + 4);
  out->text = (const char *)data + *at + 8;
  if (out->len == 0 || out->len > longest || out->len > size - *at - 8) return false;
  *at += 8 + out->len;
  return isfinite(out->score) && !memchr(out->text, 0, out->len);
}

/* Number of records that the file holds to its last byte; 0 if it is no such file. */
static size_t count_records(const uint8_t *data, size_t size) {
  size_t n = 0, at = 4, longest = size >= 4 ? u32(data) : 0;
  record r;
  if (longest == 0 || longest > MAX_TOKEN) return 0;
  for (; at < size; n++)
    if (!next_record(&r, data, size, &at, longest)) return 0;
  return n;
}

static bool is_byte(const char *text, size_t len, int value) {
  static const char digits[] = "0123456789ABCDEF";
  const char want[] = {'<', '0', 'x', digits[value >> 4], digits[value & 15], '>'};
  return len == sizeof want && memcmp(text, want, sizeof want) == 0;
}

bool llama2c_is_tokenizer(const uint8_t *data, size_t size) {
  size_t at = 4;
  record r;
  if (count_records(data, size) < N_FIXED) return false;
  for (int i = 0; i < N_FIXED; i++) {
    if (!next_record(&r, data, size, &at, MAX_TOKEN)) return false;
    if (i >= FIRST_BYTE && !is_byte(r.text, r.len, i - FIRST_BYTE)) return false;
  }
  return true;
}

/* Spaces as SentencePiece writes them. */
static mtk_status set_text(mtk_vocab *vocab, mtk_token *t, const record *r, mtk_error *err) {
  mtk_bytes text = {0};
  for (size_t i = 0; i < r->len; i++) {
    if (r->text[i] == ' ') mtk_bytes_puts(&text, SPACE);
    else mtk_bytes_append(&text, r->text + i, 1);
  }
  mtk_status status = mtk_bytes_status(&text, err);
  if (status == MTK_OK) {
    t->text = mtk_arena_strndup(vocab->arena, text.data, text.len);
    t->len = (uint32_t)text.len;
    if (!t->text) status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  }
  mtk_bytes_finish(&text);
  return status;
}

static mtk_status read_token(mtk_vocab *vocab, size_t id, const record *r, mtk_error *err) {
  static const record fixed[] = {{0, "<unk>", 5}, {0, "<s>", 3}, {0, "</s>", 4}};
  mtk_token *t = &vocab->tokens[id];
  t->score = r->score;
  t->type = id == UNK                        ? MTK_TOKEN_UNKNOWN
            : id < FIRST_BYTE                ? MTK_TOKEN_CONTROL
            : id < N_FIXED                   ? MTK_TOKEN_BYTE
                                             : MTK_TOKEN_NORMAL;
  return set_text(vocab, t, id < FIRST_BYTE ? &fixed[id] : r, err);
}

static mtk_status read_all(mtk_vocab *vocab, const uint8_t *data, size_t size, const char *path,
                           mtk_error *err) {
  size_t n = count_records(data, size), at = 4;
  record r;
  if (n < N_FIXED || n > INT32_MAX || !llama2c_is_tokenizer(data, size))
    return mtk_fail(err, MTK_E_FORMAT, path, "is no tokenizer of llama2.c");
  vocab->tokens = mtk_arena_alloc(vocab->arena, n, sizeof *vocab->tokens);
  if (!vocab->tokens) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  for (size_t i = 0; i < n && next_record(&r, data, size, &at, MAX_TOKEN); i++) {
    MTK_TRY(read_token(vocab, i, &r, err));
    vocab->n_tokens++;
  }
  vocab->kind = MTK_VOCAB_SPM;
  vocab->byte_fallback = vocab->fuse_unk = vocab->user_defined_in_model = true;
  vocab->unk = UNK;
  vocab->bos = BOS;
  vocab->eos = EOS;
  vocab->add_bos = 1;
  vocab->add_eos = 0;
  const mtk_spm_pipeline pipeline = {.dummy_prefix = true, .escape_whitespaces = true};
  return mtk_vocab_set_spm(vocab, &pipeline, err);
}

mtk_status llama2c_read_tokenizer(mtk_vocab **out, const uint8_t *data, size_t size,
                                  const char *path, mtk_error *err) {
  mtk_vocab *vocab = mtk_vocab_create();
  mtk_status status = vocab ? read_all(vocab, data, size, path, err)
                            : mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  if (status == MTK_OK) *out = vocab;
  else mtk_vocab_destroy(vocab);
  return status;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* The token as run.c has it: spaces for U+2581. */
static void put_token(mtk_bytes *out, size_t id, const mtk_token *t, float score,
                      uint32_t *longest) {
  static const char *const fixed[] = {"<unk>", "\n<s>\n", "\n</s>\n"};
  mtk_bytes text = {0};
  const char *s = id < FIRST_BYTE ? fixed[id] : t->text, *mark;
  for (; id >= FIRST_BYTE && (mark = strstr(s, SPACE)); s = mark + strlen(SPACE)) {
    mtk_bytes_append(&text, s, (size_t)(mark - s));
    mtk_bytes_puts(&text, " ");
  }
  mtk_bytes_puts(&text, s);
  uint32_t len = (uint32_t)text.len;
  if (len > *longest) *longest = len;
  mtk_bytes_append(out, &score, 4);
  mtk_bytes_append(out, &len, 4);
  mtk_bytes_append(out, text.data, text.len);
  if (text.failed) out->failed = true;
  mtk_bytes_finish(&text);
}

static bool is_fitting(const mtk_vocab *vocab) {
  mtk_spm_pipeline p;
  bool merges = vocab->kind == MTK_VOCAB_BPE && vocab->byte_fallback;
  bool kind = vocab->kind == MTK_VOCAB_SPM || merges;
  bool ok = kind && vocab->n_tokens >= N_FIXED && vocab->unk == UNK &&
            vocab->bos == BOS && vocab->eos == EOS && mtk_vocab_get_spm(&p, vocab) &&
            p.dummy_prefix && p.escape_whitespaces && !p.whitespace_suffix;
  for (size_t i = 0; ok && i < vocab->n_tokens; i++) {
    const mtk_token *t = &vocab->tokens[i];
    ok = t->text != NULL;
    if (ok && i >= FIRST_BYTE && i < N_FIXED) ok = is_byte(t->text, t->len, (int)i - FIRST_BYTE);
  }
  return ok;
}

/* The scores of the vocabulary, or some that do what its merge list says. */
static mtk_status get_scores(float *scores, const mtk_vocab *vocab, mtk_error *err) {
  if (vocab->kind == MTK_VOCAB_BPE) return mtk_vocab_scores(scores, vocab, err);
  for (size_t i = 0; i < vocab->n_tokens; i++) scores[i] = vocab->tokens[i].score;
  return MTK_OK;
}

mtk_status llama2c_write_tokenizer(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  uint32_t longest = 0;
  if (!is_fitting(vocab))
    return mtk_fail(err, MTK_E_UNSUPPORTED, "tokenizer.bin",
                    "holds SentencePiece BPE with byte fallback as of Llama 2 only");
  float *scores = mtk_alloc(vocab->n_tokens, sizeof *scores);
  if (!scores) return mtk_fail(err, MTK_E_NOMEM, "tokenizer.bin", "out of memory");
  mtk_status status = get_scores(scores, vocab, err);
  mtk_bytes_append(out, &longest, 4);
  for (size_t i = 0; i < vocab->n_tokens && status == MTK_OK; i++)
    put_token(out, i, &vocab->tokens[i], scores[i], &longest);
  mtk_free(scores);
  MTK_TRY(status);
  MTK_TRY(mtk_bytes_status(out, err));
  memcpy(out->data, &longest, 4);
  return MTK_OK;
}
