/* embed.c: mtk embed: texts to vectors. */
#include "cmd.h"

#include <string.h>

static const mtk_option_def g_options[] = {
    {"file", 'f', MTK_OPT_PATH, "F", NULL, 0, 0, NULL, "one text a line"},
    {"pooling", 0, MTK_OPT_ENUM, "P", "default", 0, 0, "default|mean|cls|last",
     "how hidden states become one vector instead of the model's way"},
    {"no-normalize", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "do not divide vectors by their Euclidean norm"},
    MTK_CMD_ENGINE_OPTIONS,
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

enum { MAX_SEQS = 32 };

/* Texts as ids, one after the other. */
typedef struct texts {
  mtk_ids ids;
  int64_t *lengths;
  int n, cap;
} texts;

static mtk_status add_length(texts *t, int64_t length, mtk_error *err) {
  if (t->n == t->cap) {
    int more = t->cap ? 2 * t->cap : 64;
    int64_t *grown = mtk_realloc(t->lengths, (size_t)t->cap, (size_t)more, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    t->lengths = grown;
    t->cap = more;
  }
  t->lengths[t->n++] = length;
  return MTK_OK;
}

static mtk_status add_text(texts *t, const mtk_engine *e, const char *text, size_t n,
                           mtk_error *err) {
  size_t before = t->ids.len;
  MTK_TRY(mtk_embedding_ids(&t->ids, e, text, n, err));
  return add_length(t, (int64_t)(t->ids.len - before), err);
}

/* A line of standard input: a JSON string, {"text": ...} or {"ids": [...]}. */
static mtk_status add_json(texts *t, const mtk_engine *e, const char *line, size_t n,
                           mtk_error *err) {
  json_error_t je;
  json_t *doc = json_loadb(line, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
  const json_t *text = json_is_string(doc) ? doc : json_object_get(doc, "text");
  const json_t *ids = json_object_get(doc, "ids");
  mtk_status st = MTK_OK;
  if (json_is_string(text)) {
    st = add_text(t, e, json_string_value(text), json_string_length(text), err);
  } else if (json_is_array(ids)) {
    for (size_t i = 0; i < json_array_size(ids) && st == MTK_OK; i++) {
      json_int_t v = json_integer_value(json_array_get(ids, i));
      st = v < 0 || v > INT32_MAX ? mtk_fail(err, MTK_E_FORMAT, NULL, "item %zu is no token id", i)
                                  : mtk_ids_push(&t->ids, (int32_t)v, err);
    }
    if (st == MTK_OK) st = add_length(t, (int64_t)json_array_size(ids), err);
  } else {
    st = mtk_fail(err, MTK_E_FORMAT, NULL, "not a JSON string, {\"text\": ...} or {\"ids\": ...}");
  }
  json_decref(doc);
  return st;
}

typedef mtk_status add_fn(texts *t, const mtk_engine *e, const char *line, size_t n,
                          mtk_error *err);

static mtk_status add_lines(texts *t, const mtk_engine *e, const char *path, add_fn *add,
                            mtk_error *err) {
  mtk_bytes in = {0};
  mtk_status st = mtk_cmd_read_all(&in, path, err);
  for (size_t at = 0, no = 1; at < in.len && st == MTK_OK; no++) {
    const char *end = memchr(in.data + at, '\n', in.len - at);
    size_t n = end ? (size_t)(end - (in.data + at)) : in.len - at;
    if (n) st = add(t, e, in.data + at, n, err);
    if (st != MTK_OK) {
      char place[32];
      snprintf(place, sizeof place, "line %zu", no);
      st = mtk_fail_in(err, st, place);
    }
    at += n + 1;
  }
  mtk_bytes_finish(&in);
  return st;
}

static mtk_status read_texts(texts *t, const mtk_cmd_line *line, const mtk_engine *e,
                             mtk_error *err) {
  const char *file = mtk_options_string(line->options, "file");
  if (file && line->n_args > 1)
    return mtk_fail(err, MTK_E_INVALID, NULL, "give either texts or --file");
  if (file) return add_lines(t, e, file, add_text, err);
  if (line->n_args < 2) return add_lines(t, e, "-", add_json, err);
  for (int i = 1; i < line->n_args; i++)
    MTK_TRY(add_text(t, e, line->args[i], strlen(line->args[i]), err));
  return MTK_OK;
}

static mtk_status print_vector(const mtk_cmd_line *line, int index, int64_t n_tokens,
                               const float *v, int64_t n, mtk_error *err) {
  if (!line->json) {
    for (int64_t i = 0; i < n; i++) mtk_cmd_print(i ? " %.9g" : "%.9g", (double)v[i]);
    mtk_cmd_print("\n");
    return MTK_OK;
  }
  json_t *list = json_array();
  for (int64_t i = 0; i < n; i++) json_array_append_new(list, json_real((double)v[i]));
  return mtk_cmd_print_json(json_pack("{s:i,s:I,s:o}", "index", index, "n_tokens",
                                      (json_int_t)n_tokens, "embedding", list),
                            true, err);
}

static mtk_pooling pooling_of(const mtk_cmd_line *line, mtk_pooling fallback) {
  const char *p = mtk_options_string(line->options, "pooling");
  return p[0] == 'm'   ? MTK_POOLING_MEAN
         : p[0] == 'c' ? MTK_POOLING_CLS
         : p[0] == 'l' ? MTK_POOLING_LAST
                       : fallback;
}

static mtk_status embed(const mtk_cmd_line *line, mtk_engine *e, const texts *t, mtk_error *err) {
  mtk_embedding info;
  MTK_TRY(mtk_engine_embedding(&info, e, err));
  float *out = mtk_alloc((size_t)(t->n ? t->n : 1) * (size_t)info.length, sizeof *out);
  if (!out) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  bool normalized = !mtk_options_flag(line->options, "no-normalize");
  mtk_status st = mtk_engine_embed(out, e, t->ids.data, t->lengths, t->n,
                                   pooling_of(line, info.pooling), normalized, err);
  for (int i = 0; i < t->n && st == MTK_OK; i++)
    st = print_vector(line, i, t->lengths[i], out + i * info.length, info.length, err);
  mtk_free(out);
  return st;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  mtk_cmd_engine e;
  texts t = {0};
  MTK_TRY(mtk_cmd_embedder_open(&e, line, line->args[0], MAX_SEQS, err));
  mtk_status st = read_texts(&t, line, e.engine, err);
  if (st == MTK_OK) st = embed(line, e.engine, &t, err);
  mtk_ids_finish(&t.ids);
  mtk_free(t.lengths);
  mtk_cmd_engine_close(&e);
  return st;
}

const mtk_cmd mtk_cmd_embed = {"embed",
                               "MODEL [TEXT... | --file F]",
                               "texts to vectors (standard input: JSON lines)",
                               g_options,
                               NULL,
                               1,
                               -1,
                               run};
