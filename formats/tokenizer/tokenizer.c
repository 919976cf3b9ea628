/* tokenizer.c: bare tokenizer files (tokenizer.json, SentencePiece models, tekken.json, tiktoken
 * ranks) as models that have a vocabulary and nothing else. Static data only; any thread. */
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { SURE = 90, LIKELY = 60, MAX_NAME = 64 };

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n >= k && strcmp(s + n - k, suffix) == 0;
}

static bool contains(const uint8_t *head, size_t n, const char *text) {
  size_t k = strlen(text);
  for (size_t i = 0; i + k <= n; i++) {
    if (head[i] == (uint8_t)text[0] && memcmp(head + i, text, k) == 0) return true;
  }
  return false;
}

static bool is_json(const uint8_t *head, size_t n) {
  size_t i = 0;
  while (i < n && (head[i] == ' ' || (head[i] >= '\t' && head[i] <= '\r'))) i++;
  return i < n && head[i] == '{';
}

/* ---- tokenizer.json ------------------------------------------------------------------------ */

static int sniff_hf(const uint8_t *head, size_t n) {
  if (!is_json(head, n)) return 0;
  if (contains(head, n, "\"added_tokens\"") && contains(head, n, "\"content\"")) return SURE;
  bool model = contains(head, n, "\"model\"") && contains(head, n, "\"vocab\"");
  return model || contains(head, n, "\"pre_tokenizer\"") ? LIKELY : 0;
}

static bool named_hf(const char *base) { return ends_with(base, ".json"); }

/* tokenizer_config.json beside the file, which names special tokens; or NULL. */
static mtk_status open_config(mtk_file **out, const char *path, mtk_error *err) {
  static const char name[] = "tokenizer.json", sibling[] = "tokenizer_config.json";
  *out = NULL;
  if (!ends_with(path, name)) return MTK_OK;
  char *config = mtk_asprintf("%.*s%s", (int)(strlen(path) - strlen(name)), path, sibling);
  if (!config) return mtk_fail(err, MTK_E_NOMEM, path, "out of memory");
  mtk_status status = mtk_path_exists(config) ? mtk_file_open(out, config, err) : MTK_OK;
  mtk_free(config);
  return status;
}

static mtk_status read_hf(mtk_vocab **out, const char *path, const uint8_t *data, size_t n,
                          mtk_error *err) {
  mtk_file *config = NULL;
  MTK_TRY(open_config(&config, path, err));
  const char *text = config ? (const char *)config->data : NULL;
  mtk_status status =
      mtk_vocab_from_hf(out, (const char *)data, n, text, config ? config->size : 0, err);
  mtk_file_close(config);
  return status;
}

static mtk_status write_hf(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  mtk_bytes config = {0};
  mtk_status status = mtk_vocab_to_hf(out, &config, vocab, err);
  mtk_bytes_finish(&config);
  return status;
}

/* ---- SentencePiece ------------------------------------------------------------------------- */

/* The first field is a piece (1, bytes), whose first field is its text (1, bytes). */
static int sniff_spm(const uint8_t *head, size_t n) {
  if (n < 8 || head[0] != 0x0A || head[1] < 4 || head[1] >= 0x80) return 0;
  size_t end = 2u + head[1];
  bool piece = head[2] == 0x0A && head[3] > 0 && head[3] + 4u <= end;
  return !piece ? 0 : end < n && head[end] == 0x0A ? SURE - 10 : LIKELY;
}

/* "tokenizer.model", "tokenizer.model.v3" */
static bool named_spm(const char *base) {
  const char *at = strstr(base, ".model");
  return at && (at[6] == 0 || (at[6] == '.' && at[7] == 'v'));
}

/* Mistral names its SentencePiece versions in the name of the file; 0 = it does not. */
static int32_t version_of_name(const char *path) {
  const char *at = strstr(mtk_path_base(path), ".model.v");
  long version = at ? strtol(at + 8, NULL, 10) : 0;
  return version > 0 && version < 1000 ? (int32_t)version : 0;
}

static mtk_status read_spm(mtk_vocab **out, const char *path, const uint8_t *data, size_t n,
                           mtk_error *err) {
  MTK_TRY(mtk_vocab_from_spm(out, data, n, err));
  int32_t version = version_of_name(path);
  if (version > 0) (*out)->mistral_version = version;
  return MTK_OK;
}

static mtk_status write_spm(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  return mtk_vocab_to_spm(out, vocab, err);
}

/* ---- tekken -------------------------------------------------------------------------------- */

static int sniff_tekken(const uint8_t *head, size_t n) {
  bool tekken = contains(head, n, "\"default_num_special_tokens\"") ||
                contains(head, n, "\"token_bytes\"") || contains(head, n, "\"bpe_ranks\"");
  return is_json(head, n) && tekken ? SURE : 0;
}

static bool named_tekken(const char *base) {
  return strstr(base, "tekken") && ends_with(base, ".json");
}

static mtk_status read_tekken(mtk_vocab **out, const char *path, const uint8_t *data, size_t n,
                              mtk_error *err) {
  (void)path;
  return mtk_vocab_from_tekken(out, (const char *)data, n, err);
}

static mtk_status write_tekken(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  return mtk_vocab_to_tekken(out, vocab, err);
}

/* ---- tiktoken ------------------------------------------------------------------------------ */

/* The first line is base64, a space and a number. */
static int sniff_tiktoken(const uint8_t *head, size_t n) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
  size_t i = 0;
  while (i < n && head[i] && strchr(digits, head[i])) i++;
  if (i == 0 || i % 4 != 0 || i >= n || head[i] != ' ') return 0;
  size_t number = ++i;
  while (i < n && head[i] >= '0' && head[i] <= '9') i++;
  return i > number && (i == n || head[i] == '\n' || head[i] == '\r') ? SURE - 10 : 0;
}

static bool named_tiktoken(const char *base) { return ends_with(base, ".tiktoken"); }

/* The name of the file may be that of an encoding ("o200k_harmony.tiktoken"). */
static mtk_status read_tiktoken(mtk_vocab **out, const char *path, const uint8_t *data, size_t n,
                                mtk_error *err) {
  const char *base = mtk_path_base(path), *dot = strchr(base, '.');
  char name[MAX_NAME] = "";
  if (dot && dot - base < MAX_NAME) memcpy(name, base, (size_t)(dot - base));
  mtk_error unknown;
  mtk_status status = mtk_vocab_from_tiktoken(out, (const char *)data, n, name, &unknown);
  if (status != MTK_E_UNSUPPORTED) {
    if (status != MTK_OK && err) *err = unknown;
    return status;
  }
  return mtk_vocab_from_tiktoken(out, (const char *)data, n, NULL, err);
}

static mtk_status write_tiktoken(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  return mtk_vocab_to_tiktoken(out, vocab, err);
}

/* ---- the table ----------------------------------------------------------------------------- */

static const tokenizer_kind kinds[] = {
    /* of outputs the first that fits the name counts */
    {"tekken", sniff_tekken, named_tekken, read_tekken, write_tekken},
    {"Hugging Face", sniff_hf, named_hf, read_hf, write_hf},
    {"SentencePiece", sniff_spm, named_spm, read_spm, write_spm},
    {"tiktoken", sniff_tiktoken, named_tiktoken, read_tiktoken, write_tiktoken},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static const tokenizer_kind *best_kind(int *score, const uint8_t *head, size_t n) {
  const tokenizer_kind *best = NULL;
  *score = 0;
  for (size_t i = 0; i < N_KINDS; i++) {
    int s = kinds[i].sniff(head, n);
    if (s <= *score) continue;
    *score = s;
    best = &kinds[i];
  }
  return best;
}

int tokenizer_probe(const char *path, const uint8_t *head, size_t n) {
  int score = 0;
  if (mtk_path_is_dir(path)) return 0;
  (void)best_kind(&score, head, n);
  return score;
}

/* ---- reading and writing ------------------------------------------------------------------- */

mtk_status tokenizer_read_bytes(mtk_vocab **out, const char *path, const uint8_t *data, size_t n,
                                mtk_error *err) {
  enum { HEAD = 64 * 1024 };
  int score = 0;
  const tokenizer_kind *kind = best_kind(&score, data, n < HEAD ? n : HEAD);
  if (!kind) return mtk_fail(err, MTK_E_FORMAT, path, "not a tokenizer file");
  mtk_status status = kind->read(out, path, data, n, err);
  return status == MTK_OK ? MTK_OK : mtk_fail_in(err, status, mtk_path_base(path));
}

mtk_status tokenizer_read_model(mtk_model *model, const char *path, mtk_error *err) {
  mtk_file *file = NULL;
  mtk_vocab *vocab = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  mtk_status status = tokenizer_read_bytes(&vocab, path, file->data, file->size, err);
  mtk_file_close(file);
  if (status == MTK_OK) mtk_model_set_vocab(model, vocab);
  return status;
}

static mtk_status warn_left(mtk_model *model, const tokenizer_kind *kind) {
  if (mtk_model_tensor_count(model) > 0) {
    MTK_TRY(mtk_model_warn(model, "a tokenizer file holds no tensors: only the tokenizer was "
                                  "written"));
  }
  if (kind->write != write_tiktoken) return MTK_OK;
  return mtk_model_warn(model, "a tiktoken file holds neither pattern nor special tokens: give it "
                               "the name of its encoding");
}

mtk_status tokenizer_write_model(mtk_model *model, const char *path,
                                 const mtk_write_options *options, mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(model);
  const tokenizer_kind *kind = NULL;
  for (size_t i = 0; i < N_KINDS && !kind; i++) {
    if (kinds[i].named(mtk_path_base(path))) kind = &kinds[i];
  }
  if (!vocab) return mtk_fail(err, MTK_E_UNSUPPORTED, path, "the model has no known tokenizer");
  if (!kind) {
    return mtk_fail(err, MTK_E_INVALID, path,
                    "the name says no tokenizer file (*.json, *tekken*.json, *.model, *.tiktoken)");
  }
  mtk_bytes text = {0};
  mtk_status status = kind->write(&text, vocab, err);
  if (status == MTK_OK) {
    status = mtk_write_file(path, text.data, text.len, options && options->force, err);
  }
  if (status == MTK_OK) status = warn_left(model, kind);
  mtk_bytes_finish(&text);
  return status;
}

static bool keeps_nothing(const mtk_tensor *t) {
  (void)t;
  return false;
}

static const mtk_format_v1 tokenizer_format = {
    .struct_size = sizeof(mtk_format_v1),
    .id = "tokenizer",
    .title = "tokenizer.json, SentencePiece, tekken, tiktoken",
    .extensions = "json model tiktoken v1 v2 v3 v7 v7m1",
    .flags = MTK_FORMAT_MODEL,
    .probe = tokenizer_probe,
    .read_model = tokenizer_read_model,
    .write_model = tokenizer_write_model,
    .keeps = keeps_nothing,
};

MTK_PLUGIN_DEFINE("tokenizer", MTK_PLUGIN_VERSION,
                  "reads and writes bare tokenizer files: tokenizer.json, SentencePiece models, "
                  "tekken.json, tiktoken ranks",
                  "Apache-2.0", {MTK_EXT_FORMAT, &tokenizer_format});
