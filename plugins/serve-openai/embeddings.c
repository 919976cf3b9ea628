/* embeddings.c: /v1/embeddings: the texts of a request, and the vectors as OpenAI's list. Loop
 * thread. */
#include "server.h"

#include <string.h>

enum { MAX_TEXTS = 2048 };

/* ---- the request ----------------------------------------------------------------------------- */

static mtk_status add_ids(parsed *p, const json_t *list, mtk_error *err) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *item = json_array_get(list, i);
    json_int_t v = json_is_integer(item) ? json_integer_value(item) : -1;
    if (v < 0 || v > INT32_MAX)
      return mtk_fail(err, MTK_E_INVALID, NULL, "item %zu of a list is not a token id", i);
    MTK_TRY(mtk_ids_push(&p->ids, (int32_t)v, err));
  }
  return MTK_OK;
}

static mtk_status add_text(parsed *p, const job *j, const json_t *v, mtk_error *err) {
  size_t before = p->ids.len;
  if (json_is_string(v))
    MTK_TRY(mtk_embedding_ids(&p->ids, j->model->engine, json_string_value(v),
                              json_string_length(v), err));
  else
    MTK_TRY(add_ids(p, v, err));
  if (p->ids.len == before) return mtk_fail(err, MTK_E_INVALID, NULL, "a text has no tokens");
  p->lengths[p->request.n_texts++] = (int64_t)(p->ids.len - before);
  return MTK_OK;
}

/* One string, one list of ids, or a list of either. */
static mtk_status add_input(parsed *p, const job *j, const json_t *input, mtk_error *err) {
  const json_t *first = json_array_get(input, 0);
  bool one = json_is_string(input) || json_is_integer(first);
  size_t n = one ? 1 : json_array_size(input);
  if (n == 0 || n > MAX_TEXTS)
    return mtk_fail(err, MTK_E_INVALID, NULL,
                    "'input' must be a string, a list of token ids, or a list of 1 to %d of them",
                    MAX_TEXTS);
  p->lengths = mtk_alloc(n, sizeof *p->lengths);
  if (!p->lengths) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n; i++) {
    const json_t *v = one ? input : json_array_get(input, i);
    if (!json_is_string(v) && !json_is_array(v))
      return mtk_fail(err, MTK_E_INVALID, NULL, "item %zu of 'input' is no text", i);
    MTK_TRY(add_text(p, j, v, err));
  }
  return MTK_OK;
}

static mtk_status read_encoding(job *j, const json_t *v, mtk_error *err) {
  const char *name = json_is_string(v) ? json_string_value(v) : NULL;
  if (!v || json_is_null(v) || (name && strcmp(name, "float") == 0)) return MTK_OK;
  if (!name || strcmp(name, "base64") != 0)
    return mtk_fail(err, MTK_E_INVALID, NULL, "'encoding_format' is float or base64");
  j->base64 = true;
  return MTK_OK;
}

mtk_status serve_parse_embeddings(parsed *p, job *j, const char **param, mtk_error *err) {
  mtk_embedding info;
  *param = "model";
  if (mtk_engine_embedding(&info, j->model->engine, err) != MTK_OK)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "this model generates text, not embeddings");
  *param = "encoding_format";
  MTK_TRY(read_encoding(j, json_object_get(p->doc, "encoding_format"), err));
  const json_t *dimensions = json_object_get(p->doc, "dimensions");
  *param = "dimensions";
  if (dimensions && !json_is_null(dimensions) && json_integer_value(dimensions) != info.length)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "this model's vectors have %lld dimensions",
                    (long long)info.length);
  *param = "input";
  MTK_TRY(add_input(p, j, json_object_get(p->doc, "input"), err));
  j->n_texts = p->request.n_texts;
  j->n_width = info.length;
  p->request.adapter = j->model->adapter;
  p->request.prompt = p->ids.data;
  p->request.n_prompt = (int64_t)p->ids.len;
  p->request.text_lengths = p->lengths;
  p->request.pooling = info.pooling;
  p->request.normalized = true;
  p->request.sampling = (mtk_sampling)MTK_SAMPLING_DEFAULT;
  return MTK_OK;
}

/* ---- the reply ------------------------------------------------------------------------------- */

/* Base64 (RFC 4648) of little-endian f32. */
static json_t *base64_of(const float *v, int64_t n) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  mtk_bytes text = {0};
  size_t n_bytes = (size_t)n * sizeof *v;
  const uint8_t *b = (const uint8_t *)v;
  for (size_t i = 0; i < n_bytes; i += 3) {
    size_t left = n_bytes - i < 3 ? n_bytes - i : 3;
    uint32_t bits = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0) |
                    (left > 2 ? (uint32_t)b[i + 2] : 0);
    char out[4];
    for (size_t k = 0; k < 4; k++)
      out[k] = k <= left ? digits[bits >> (18 - 6 * k) & 63] : '=';
    mtk_bytes_append(&text, out, sizeof out);
  }
  json_t *j = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
  mtk_bytes_finish(&text);
  return j;
}

static json_t *numbers_of(const float *v, int64_t n) {
  json_t *list = json_array();
  for (int64_t i = 0; i < n; i++) json_array_append_new(list, json_real((double)v[i]));
  return list;
}

void serve_embeddings_reply(job *j, const token_message *m) {
  json_t *data = json_array();
  for (int i = 0; i < j->n_texts && m->embeddings; i++) {
    const float *v = m->embeddings + i * j->n_width;
    json_t *embedding = j->base64 ? base64_of(v, j->n_width) : numbers_of(v, j->n_width);
    json_array_append_new(data, json_pack("{s:s,s:i,s:o}", "object", "embedding", "index", i,
                                          "embedding", embedding));
  }
  if (json_array_size(data) != (size_t)j->n_texts) {
    json_decref(data);
    serve_error(j->http, 500, "server_error", NULL, NULL, "out of memory");
    return;
  }
  serve_json(j->http, 200,
             json_pack("{s:s,s:o,s:s,s:{s:I,s:I}}", "object", "list", "data", data, "model",
                       j->model->name, "usage", "prompt_tokens", (json_int_t)m->n_prompt,
                       "total_tokens", (json_int_t)m->n_prompt));
}
