/* tokenizer.c: the tokenizer file of a Mistral folder: tekken.json, or a SentencePiece model whose
 * name carries the version ("tokenizer.model.v3", "tokenizer.model.v7m1"; without one it is v1).
 * Each call has its own state: any thread. */
#include "mistral.h"

#include <stdlib.h>
#include <string.h>

#define TEKKEN   "tekken.json"
#define SPM      "tokenizer.model"
#define FILE_KEY "mistral.tokenizer_file"

/* The version in a SentencePiece file's name; 0 if it is none. */
static int32_t spm_version(const char *name) {
  size_t n = strlen(SPM);
  if (strncmp(name, SPM, n) != 0) return 0;
  if (!name[n]) return 1;
  if (strncmp(name + n, ".v", 2) != 0) return 0;
  char *end;
  long v = strtol(name + n + 2, &end, 10);
  return v >= 1 && v < 100 && (*end == 0 || *end == 'm') ? (int32_t)v : 0;
}

/* The tokenizer's file: tekken.json before SentencePiece, of those the newest. NULL if none. */
static mtk_status find_file(const char **out, mtk_arena *arena, const char *folder,
                            mtk_error *err) {
  const char **names = NULL;
  size_t n = 0;
  int32_t best = 0;
  *out = NULL;
  MTK_TRY(mtk_folder_list(&names, &n, arena, folder, err));
  for (size_t i = 0; i < n; i++) {
    int32_t version = strcmp(names[i], TEKKEN) == 0 ? INT32_MAX : spm_version(names[i]);
    if (version <= best) continue;
    best = version;
    *out = names[i];
  }
  return MTK_OK;
}

static mtk_status parse(mtk_model *model, const char *name, const char *text, size_t n,
                        mtk_error *err) {
  mtk_vocab *vocab = NULL;
  mtk_error why = {0};
  bool tekken = strcmp(name, TEKKEN) == 0;
  mtk_status status = tekken ? mtk_vocab_from_tekken(&vocab, text, n, &why)
                             : mtk_vocab_from_spm(&vocab, text, n, &why);
  if (status == MTK_OK) {
    if (!tekken) vocab->mistral_version = spm_version(name);
    mtk_model_set_vocab(model, vocab);
    return mtk_meta_set_string(mtk_model_meta(model), FILE_KEY, name, err);
  }
  if (status == MTK_E_UNSUPPORTED)
    return mtk_model_warn(model, "%s is not understood and left out: %s", name, why.message);
  if (err) *err = why;
  return mtk_fail_in(err, status, name);
}

mtk_status mistral_read_tokenizer(mtk_model *model, const char *folder, mtk_error *err) {
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
  const char *name;
  char *text = NULL;
  size_t n = 0;
  mtk_status status = find_file(&name, arena, folder, err);
  if (status == MTK_OK && name) status = mistral_read_text(&text, &n, folder, name, err);
  if (status == MTK_OK && text) status = parse(model, name, text, n, err);
  if (status == MTK_OK && !name)
    status = mtk_model_warn(model, "no %s or %s: the model has no tokenizer", TEKKEN, SPM);
  mtk_free(text);
  mtk_arena_destroy(arena);
  return status;
}

/* The name it came under, or one by the version. */
static char *spm_name(const mtk_model *model, const mtk_vocab *vocab) {
  const char *kept = mtk_meta_str(mtk_model_meta(model), FILE_KEY, "");
  if (spm_version(kept)) return mtk_strdup(kept);
  return mtk_asprintf(SPM ".v%d", vocab->mistral_version > 0 ? vocab->mistral_version : 1);
}

mtk_status mistral_write_tokenizer(mtk_model *model, const char *folder, mtk_error *err) {
  const mtk_vocab *vocab = mtk_model_vocab(model);
  if (!vocab) return mtk_model_warn(model, "the model has no tokenizer to write");
  mtk_bytes text = {0};
  mtk_error why = {0};
  char *name = NULL;
  mtk_status status = vocab->kind == MTK_VOCAB_SPM ? MTK_E_UNSUPPORTED
                                                   : mtk_vocab_to_tekken(&text, vocab, &why);
  if (status == MTK_OK) name = mtk_strdup(TEKKEN);
  if (status == MTK_E_UNSUPPORTED && vocab->kind == MTK_VOCAB_SPM) {
    status = mtk_vocab_to_spm(&text, vocab, &why);
    name = spm_name(model, vocab);
  }
  if (status == MTK_OK) {
    status = name ? mistral_write_text(folder, name, text.data, text.len, err)
                  : mtk_fail(err, MTK_E_NOMEM, SPM, "out of memory");
  } else if (status == MTK_E_UNSUPPORTED) {
    status = mtk_model_warn(model, "the tokenizer is left out: neither %s nor %s can express it "
                                   "(%s)", TEKKEN, SPM, why.message);
  } else if (err) {
    *err = why;
  }
  mtk_free(name);
  mtk_bytes_finish(&text);
  return status;
}
