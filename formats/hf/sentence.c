/* sentence.c: what a folder of sentence-transformers says beside config.json: how hidden states
 * are pooled (1_Pooling/config.json), where texts are cut (sentence_bert_config.json). Any
 * thread. */
#include "hf.h"

static mtk_status read_object(json_t **out, const mtk_model *model, const char *name,
                              mtk_error *err) {
  size_t n = 0;
  const char *text = mtk_model_attachment(model, name, &n);
  *out = NULL;
  return text ? hf_load_json(out, text, n, name, err) : MTK_OK;
}

/* pooling_type has GGUF's numbers. */
static mtk_status read_pooling(mtk_model *model, const json_t *config, mtk_error *err) {
  static const struct {
    const char *key;
    uint64_t type;
  } modes[] = {{"pooling_mode_mean_tokens", 1}, {"pooling_mode_cls_token", 2},
               {"pooling_mode_lasttoken", 3}};
  uint64_t type = 0;
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
    if (json_is_true(json_object_get(config, modes[i].key)))
      type = type ? UINT64_MAX : modes[i].type;
  if (type == 0 || type == UINT64_MAX)
    return mtk_model_warn(model, "1_Pooling/config.json: neither mean, first nor last token alone; "
                                 "embeddings will be pooled as the architecture does by default");
  return mtk_meta_set_uint(mtk_model_meta(model), "pooling_type", type, err);
}

static mtk_status read_length(mtk_model *model, const json_t *config, mtk_error *err) {
  json_int_t n = json_integer_value(json_object_get(config, "max_seq_length"));
  if (n <= 0 || n > INT32_MAX) return MTK_OK;
  return mtk_meta_set_uint(mtk_model_meta(model), "hf.max_seq_length", (uint64_t)n, err);
}

mtk_status hf_read_sentence(mtk_model *model, mtk_error *err) {
  json_t *pooling = NULL, *length = NULL;
  mtk_status status = read_object(&pooling, model, "1_Pooling/config.json", err);
  if (status == MTK_OK) status = read_object(&length, model, "sentence_bert_config.json", err);
  if (status == MTK_OK && pooling) status = read_pooling(model, pooling, err);
  if (status == MTK_OK && length) status = read_length(model, length, err);
  json_decref(pooling);
  json_decref(length);
  return status;
}
