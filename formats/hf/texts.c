/* texts.c: what a model folder holds beside its weights: tokenizer, chat templates, and files that
 * travel along byte for byte. Any thread. */
#include "hf.h"

#include <mtk/archive.h>
#include <string.h>

#define TEMPLATE_FOLDER "additional_chat_templates"

/* Files that become attachments of their own name; "*" at the end: any rest. */
static const char *const carried[] = {
    "config.json",
    "generation_config.json",
    "params.json", /* of Mistral's layout: keeps what config.json has no name for */
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "modules.json", /* of sentence-transformers */
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "LICENSE*",
    "LICENCE*",
    "COPYING*",
    "NOTICE*",
    "USE_POLICY*",
    "README.md",
    "provenance.json",
};
enum { N_CARRIED = sizeof carried / sizeof carried[0] };

/* Files that are read; what they say is in the model. */
static const char *const understood[] = {
    "tokenizer.json",     "tokenizer_config.json", "chat_template.jinja",
    "chat_template.json", TEMPLATE_FOLDER,         "hf_quant_config.json",
};
enum { N_UNDERSTOOD = sizeof understood / sizeof understood[0] };

static mtk_status attach_file(mtk_model *model, const char *folder, const char *file,
                              const char *name, mtk_error *err) {
  char *text = NULL;
  size_t n = 0;
  MTK_TRY(hf_read_text(&text, &n, folder, file, err));
  mtk_status status = text ? mtk_model_attach(model, name, text, n, err) : MTK_OK;
  mtk_free(text);
  return status;
}

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n > k && strcmp(s + n - k, suffix) == 0;
}

/* ---- files that travel along --------------------------------------------------------------- */

/* Does a name fit a row of the table? A row with a folder also stands for that folder. */
static bool fits(const char *row, const char *name) {
  size_t n = strlen(row);
  if (row[n - 1] == '*') return strncmp(row, name, n - 1) == 0;
  const char *slash = strchr(row, '/');
  if (slash) n = (size_t)(slash - row);
  return strlen(name) == n && memcmp(row, name, n) == 0;
}

static bool is_known(const char *name) {
  for (size_t i = 0; i < N_UNDERSTOOD; i++)
    if (fits(understood[i], name)) return true;
  for (size_t i = 0; i < N_CARRIED; i++)
    if (fits(carried[i], name)) return true;
  return name[0] == '.' || ends_with(name, ".safetensors") || ends_with(name, ".index.json") ||
         strncmp(name, "pytorch_model", 13) == 0;
}

/* In the order of the table; names that fit one row by name. */
static mtk_status attach_carried(mtk_model *model, const char *folder, const char **names, size_t n,
                                 mtk_error *err) {
  for (size_t i = 0; i < N_CARRIED; i++) {
    if (!ends_with(carried[i], "*")) {
      MTK_TRY(attach_file(model, folder, carried[i], carried[i], err));
      continue;
    }
    for (size_t j = 0; j < n; j++)
      if (fits(carried[i], names[j])) MTK_TRY(attach_file(model, folder, names[j], names[j], err));
  }
  return MTK_OK;
}

/* One warning with the names of all files that stay behind. */
static mtk_status warn_left(mtk_model *model, const char **names, size_t n, mtk_error *err) {
  mtk_bytes left = {.max = 1 << 20};
  for (size_t i = 0; i < n; i++)
    if (!is_known(names[i])) mtk_bytes_printf(&left, "%s%s", left.len ? ", " : "", names[i]);
  mtk_status status = mtk_bytes_status(&left, err);
  if (status == MTK_OK && left.len)
    status = mtk_model_warn(model, "files not carried along: %s", left.data);
  mtk_bytes_finish(&left);
  return status;
}

/* ---- chat templates ------------------------------------------------------------------------ */

static mtk_status attach_json_string(mtk_model *model, const char *name, const json_t *value,
                                     mtk_error *err) {
  return mtk_model_attach(model, name, json_string_value(value), json_string_length(value), err);
}

/* "default" is the template itself, others "chat_template.NAME"; heap string. */
static char *template_key(const char *name, size_t n) {
  bool is_default = n == 7 && memcmp(name, "default", n) == 0;
  return is_default ? mtk_strdup("chat_template")
                    : mtk_asprintf("chat_template.%.*s", (int)n, name);
}

/* chat_template of tokenizer_config.json: one text, or a list of named ones. */
static mtk_status attach_templates(mtk_model *model, const json_t *config, mtk_error *err) {
  const json_t *value = json_object_get(config, "chat_template");
  if (json_is_string(value)) return attach_json_string(model, "chat_template", value, err);
  for (size_t i = 0; i < json_array_size(value); i++) {
    const json_t *item = json_array_get(value, i), *text = json_object_get(item, "template");
    const char *name = json_string_value(json_object_get(item, "name"));
    if (!name || !json_is_string(text)) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer_config.json",
                      "chat_template: item %zu is not a name and a template", i);
    }
    char *key = template_key(name, strlen(name));
    if (!key) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    mtk_status status = attach_json_string(model, key, text, err);
    mtk_free(key);
    MTK_TRY(status);
  }
  return MTK_OK;
}

/* chat_template.json, where processors once kept it: {"chat_template": "..."} */
static mtk_status attach_template_json(mtk_model *model, const char *folder, mtk_error *err) {
  char *text = NULL;
  size_t n = 0;
  json_t *tree = NULL;
  MTK_TRY(hf_read_text(&text, &n, folder, "chat_template.json", err));
  if (!text) return MTK_OK;
  mtk_status status = hf_load_json(&tree, text, n, "chat_template.json", err);
  if (status == MTK_OK) status = attach_templates(model, tree, err);
  json_decref(tree);
  mtk_free(text);
  return status;
}

/* additional_chat_templates/NAME.jinja */
static mtk_status attach_template_folder(mtk_model *model, mtk_arena *arena, const char *folder,
                                         mtk_error *err) {
  const char **names = NULL;
  size_t n = 0;
  char *path = mtk_path_join(folder, TEMPLATE_FOLDER);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
  mtk_status status =
      mtk_path_is_dir(path) ? mtk_folder_list(&names, &n, arena, path, err) : MTK_OK;
  for (size_t i = 0; i < n && status == MTK_OK; i++) {
    if (!ends_with(names[i], ".jinja")) continue;
    char *key = template_key(names[i], strlen(names[i]) - strlen(".jinja"));
    status = key ? attach_file(model, path, names[i], key, err)
                 : mtk_fail(err, MTK_E_NOMEM, folder, "out of memory");
    mtk_free(key);
  }
  mtk_free(path);
  return status;
}

/* ---- the tokenizer ------------------------------------------------------------------------- */

/* Files that hold a vocabulary without tokenizer.json. */
static mtk_status from_spm(mtk_vocab **out, const char *data, size_t n, mtk_error *err) {
  return mtk_vocab_from_spm(out, data, n, err);
}
static mtk_status from_tekken(mtk_vocab **out, const char *data, size_t n, mtk_error *err) {
  return mtk_vocab_from_tekken(out, data, n, err);
}
static const struct {
  const char *file;
  mtk_status (*read)(mtk_vocab **out, const char *data, size_t n, mtk_error *err);
} vocab_files[] = {
    {"tokenizer.model", from_spm},
    {"spiece.model", from_spm},
    {"sentencepiece.bpe.model", from_spm},
    {"tekken.json", from_tekken},
};
enum { N_VOCAB_FILES = sizeof vocab_files / sizeof vocab_files[0] };

/* `why` is the outcome of reading a vocabulary: what mtk does not understand is carried along. */
static mtk_status take_vocab(mtk_model *model, mtk_vocab *vocab, mtk_status status,
                             const mtk_error *why, mtk_error *err) {
  if (status == MTK_OK) mtk_model_set_vocab(model, vocab);
  if (status == MTK_E_UNSUPPORTED) {
    return mtk_model_warn(model, "tokenizer not understood, carried along: %s: %s", why->place,
                          why->message);
  }
  if (status != MTK_OK && err) *err = *why;
  return status;
}

static mtk_status read_other_vocab(mtk_model *model, mtk_error *err) {
  for (size_t i = 0; i < N_VOCAB_FILES; i++) {
    size_t n = 0;
    mtk_vocab *vocab = NULL;
    mtk_error why = {0};
    const char *data = mtk_model_attachment(model, vocab_files[i].file, &n);
    if (!data) continue;
    mtk_status status = vocab_files[i].read(&vocab, data, n, &why);
    return take_vocab(model, vocab, status, &why, err);
  }
  return MTK_OK;
}

typedef struct tokenizer_texts {
  char *json, *config;
  size_t n_json, n_config;
} tokenizer_texts;

/* tokenizer_config.json is in the vocabulary where tokenizer.json is; else it is carried along. */
static mtk_status make_vocab(mtk_model *model, const tokenizer_texts *t, mtk_error *err) {
  if (t->json) {
    mtk_vocab *vocab = NULL;
    mtk_error why = {0};
    mtk_status status = mtk_vocab_from_hf(&vocab, t->json, t->n_json, t->config, t->n_config, &why);
    MTK_TRY(take_vocab(model, vocab, status, &why, err));
    if (vocab) return MTK_OK;
    MTK_TRY(mtk_model_attach(model, "tokenizer.json", t->json, t->n_json, err));
  } else {
    MTK_TRY(read_other_vocab(model, err));
  }
  if (!t->config) return MTK_OK;
  return mtk_model_attach(model, "tokenizer_config.json", t->config, t->n_config, err);
}

static mtk_status read_tokenizer(mtk_model *model, const char *folder, mtk_error *err) {
  tokenizer_texts t = {0};
  json_t *tree = NULL;
  mtk_status status = hf_read_text(&t.json, &t.n_json, folder, "tokenizer.json", err);
  if (status == MTK_OK) {
    status = hf_read_text(&t.config, &t.n_config, folder, "tokenizer_config.json", err);
  }
  if (status == MTK_OK && t.config) {
    status = hf_load_json(&tree, t.config, t.n_config, "tokenizer_config.json", err);
    if (status == MTK_OK) status = attach_templates(model, tree, err);
  }
  if (status == MTK_OK) status = make_vocab(model, &t, err);
  json_decref(tree);
  mtk_free(t.json);
  mtk_free(t.config);
  return status;
}

/* ---- the whole ----------------------------------------------------------------------------- */

/* Later sources of a template win: tokenizer_config.json, chat_template.json, .jinja files. */
mtk_status hf_read_texts(mtk_model *model, mtk_arena *arena, const char *folder, mtk_error *err) {
  const char **names = NULL;
  size_t n = 0;
  MTK_TRY(mtk_folder_list(&names, &n, arena, folder, err));
  MTK_TRY(attach_carried(model, folder, names, n, err));
  MTK_TRY(read_tokenizer(model, folder, err));
  MTK_TRY(attach_template_json(model, folder, err));
  MTK_TRY(attach_file(model, folder, "chat_template.jinja", "chat_template", err));
  MTK_TRY(attach_template_folder(model, arena, folder, err));
  return warn_left(model, names, n, err);
}
