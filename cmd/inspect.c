/* inspect.c: mtk inspect: what a file is and what is in it. */
#include "inspect.h"

#include <string.h>

static const mtk_option_def g_options[] = {
    {"tensors", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "list every tensor"},
    {"meta", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "list every metadata value"},
    {"graph", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "print the graph with costs"},
    {"provenance", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "print what made it"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

static json_t *shape_json(const mtk_tensor *t) {
  json_t *a = json_array();
  for (int i = 0; i < t->n_dims; i++) json_array_append_new(a, json_integer(t->shape[i]));
  return a;
}

static json_t *tensor_json(const mtk_tensor *t) {
  json_t *o = json_object();
  json_object_set_new(o, "name", json_string(t->name));
  json_object_set_new(o, "dtype", json_string(mtk_dtype_get(t->dtype)->name));
  json_object_set_new(o, "shape", shape_json(t));
  json_object_set_new(o, "bytes", json_integer((json_int_t)t->size_bytes));
  if (t->scales) json_object_set_new(o, "scales", json_integer(mtk_tensor_scale_count(t)));
  if (t->source_name) json_object_set_new(o, "source_name", json_string(t->source_name));
  return o;
}

static json_t *value_json(const mtk_value *v) {
  switch (v->type) {
  case MTK_META_BOOL: return json_boolean(v->as.u != 0);
  case MTK_META_U8:
  case MTK_META_U16:
  case MTK_META_U32:
  case MTK_META_U64: return json_integer((json_int_t)v->as.u);
  case MTK_META_I8:
  case MTK_META_I16:
  case MTK_META_I32:
  case MTK_META_I64: return json_integer(v->as.i);
  case MTK_META_F32:
  case MTK_META_F64: {
    json_t *r = json_real(v->as.f);
    return r ? r : json_null(); /* NaN and infinities have no JSON form */
  }
  case MTK_META_STRING: {
    json_t *s = json_stringn(v->as.str.s, v->as.str.len);
    return s ? s : json_string("(not UTF-8)");
  }
  case MTK_META_ARRAY: break;
  }
  json_t *a = json_array();
  size_t shown = v->as.arr.n < 16 ? v->as.arr.n : 16;
  for (size_t i = 0; i < shown; i++) json_array_append_new(a, value_json(&v->as.arr.items[i]));
  if (shown == v->as.arr.n) return a;
  json_t *o = json_object();
  json_object_set_new(o, "length", json_integer((json_int_t)v->as.arr.n));
  json_object_set_new(o, "first", a);
  return o;
}

static const char *const vocab_kinds[] = {
    [MTK_VOCAB_NONE] = "unknown",          [MTK_VOCAB_BPE] = "BPE",
    [MTK_VOCAB_SPM] = "SentencePiece BPE", [MTK_VOCAB_RANKS] = "BPE by ranks (tiktoken)",
    [MTK_VOCAB_UNIGRAM] = "Unigram",       [MTK_VOCAB_WORDPIECE] = "WordPiece",
    [MTK_VOCAB_WORDLEVEL] = "WordLevel",
};
enum { N_VOCAB_KINDS = sizeof vocab_kinds / sizeof vocab_kinds[0] };

static json_t *vocab_json(const mtk_vocab *v) {
  if (!v) return json_null();
  json_t *o = json_object();
  size_t kind = (size_t)v->kind < N_VOCAB_KINDS ? (size_t)v->kind : 0, n_special = 0;
  for (size_t i = 0; i < v->n_tokens; i++) n_special += v->tokens[i].type == MTK_TOKEN_CONTROL;
  json_object_set_new(o, "kind", json_string(vocab_kinds[kind]));
  json_object_set_new(o, "tokens", json_integer((json_int_t)v->n_tokens));
  json_object_set_new(o, "special", json_integer((json_int_t)n_special));
  json_object_set_new(o, "merges", json_integer((json_int_t)v->n_merges));
  const char *pre = v->pre ? v->pre : mtk_vocab_find_pre(v);
  json_object_set_new(o, "pre", pre ? json_string(pre) : json_null());
  json_object_set_new(o, "bos", json_integer(v->bos));
  json_object_set_new(o, "eos", json_integer(v->eos));
  return o;
}

/* Bytes per storage type. */
static json_t *types_json(const mtk_model *m, uint64_t *total) {
  uint64_t bytes[MTK_DTYPE_COUNT] = {0}, count[MTK_DTYPE_COUNT] = {0};
  for (size_t i = 0; i < mtk_model_tensor_count(m); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(m, i);
    bytes[t->dtype] += t->size_bytes + 4u * (uint64_t)mtk_tensor_scale_count(t);
    count[t->dtype]++;
  }
  json_t *o = json_object();
  *total = 0;
  for (int d = 0; d < MTK_DTYPE_COUNT; d++) {
    if (!count[d]) continue;
    *total += bytes[d];
    json_object_set_new(
        o, mtk_dtype_get((mtk_dtype)d)->name,
        json_pack("{s:I,s:I}", "tensors", (json_int_t)count[d], "bytes", (json_int_t)bytes[d]));
  }
  return o;
}

static json_t *attachments_json(const mtk_model *m) {
  json_t *o = json_object();
  for (size_t i = 0; i < mtk_model_attachment_count(m); i++) {
    size_t n = 0;
    const char *name = mtk_model_attachment_name(m, i);
    if (mtk_model_attachment(m, name, &n))
      json_object_set_new(o, name, json_integer((json_int_t)n));
  }
  return o;
}

/* "GGUF v3 (llama.cpp)" for "gguf" and for "gguf in an archive". */
static const char *format_title(const char *id) {
  const mtk_format_v1 *f;
  size_t n = strcspn(id, " ");
  for (size_t i = 0; (f = mtk_feature_at(MTK_EXT_FORMAT, i, NULL)); i++)
    if (strlen(f->id) == n && memcmp(f->id, id, n) == 0) return f->title;
  return "";
}

static json_t *report(const mtk_model *m, const mtk_cmd_line *line) {
  json_t *o = json_object();
  uint64_t total = 0, params = mtk_model_param_count(m);
  json_t *types = types_json(m, &total);
  json_object_set_new(o, "path", json_string(line->args[0]));
  json_object_set_new(o, "format", json_string(mtk_model_format(m)));
  json_object_set_new(o, "kind", json_string("model"));
  json_object_set_new(o, "title", json_string(format_title(mtk_model_format(m))));
  json_object_set_new(o, "architecture", json_string(mtk_model_arch(m)));
  json_object_set_new(o, "name", json_string(mtk_meta_str(mtk_model_meta(m), "general.name", "")));
  json_object_set_new(o, "parameters", json_integer((json_int_t)params));
  json_object_set_new(o, "tensor_bytes", json_integer((json_int_t)total));
  json_object_set_new(o, "bits_per_weight",
                      json_real(params ? 8.0 * (double)total / (double)params : 0));
  json_object_set_new(o, "types", types);
  json_object_set_new(o, "tokenizer", vocab_json(mtk_model_vocab(m)));
  json_object_set_new(o, "chat_templates", mtk_cmd_templates_json(m));
  json_object_set_new(o, "license", mtk_cmd_license_json(m));
  json_object_set_new(o, "provenance", mtk_cmd_provenance_record(m));
  json_object_set_new(o, "attachments", attachments_json(m));
  json_t *meta = json_object(), *warnings = json_array();
  const mtk_meta *src = mtk_model_meta(m);
  for (size_t i = 0; i < mtk_meta_count(src); i++)
    json_object_set_new(meta, mtk_meta_key(src, i), value_json(mtk_meta_at(src, i)));
  json_object_set_new(o, "meta", meta);
  for (size_t i = 0; i < mtk_model_warning_count(m); i++)
    json_array_append_new(warnings, json_string(mtk_model_warning(m, i)));
  json_object_set_new(o, "warnings", warnings);
  if (mtk_options_flag(line->options, "tensors") || line->json) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < mtk_model_tensor_count(m); i++)
      json_array_append_new(tensors, tensor_json(mtk_model_tensor_at(m, i)));
    json_object_set_new(o, "tensors", tensors);
  }
  return o;
}

static void print_types(const json_t *types) {
  const char *name;
  json_t *row;
  json_object_foreach((json_t *)(uintptr_t)types, name, row)
      mtk_cmd_print("  %-10s %5lld tensors  %s\n", name,
                    (long long)json_integer_value(json_object_get(row, "tensors")),
                    mtk_cmd_bytes((uint64_t)json_integer_value(json_object_get(row, "bytes"))));
}

static void print_map(const char *title, const json_t *map) {
  if (!json_object_size(map)) return;
  mtk_cmd_print("%s\n", title);
  const char *name;
  json_t *v;
  json_object_foreach((json_t *)(uintptr_t)map, name, v) {
    if (json_is_null(v)) continue;
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    const char *plain = json_is_string(v) ? json_string_value(v) : text;
    mtk_cmd_print("  %-42s %.120s\n", name, plain ? plain : "");
    free(text);
  }
}

static void print_tensors(const mtk_model *m) {
  mtk_cmd_print("tensors\n");
  for (size_t i = 0; i < mtk_model_tensor_count(m); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(m, i);
    char shape[96] = "";
    size_t at = 0;
    for (int d = 0; d < t->n_dims && at < sizeof shape; d++)
      at += (size_t)snprintf(shape + at, sizeof shape - at, d ? " x %lld" : "%lld",
                             (long long)t->shape[d]);
    mtk_cmd_print("  %-34s %-8s %-22s %s\n", t->name, mtk_dtype_get(t->dtype)->name, shape,
                  mtk_cmd_bytes(t->size_bytes));
  }
}

static void print_templates(const json_t *list) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *t = json_array_get(list, i), *roles = json_object_get(t, "roles");
    const char *error = json_string_value(json_object_get(t, "error"));
    mtk_cmd_print("%-13s %s", i ? "" : "chat template",
                  json_string_value(json_object_get(t, "name")));
    for (size_t r = 0; r < json_array_size(roles); r++)
      mtk_cmd_print("%s%s", r ? ", " : ": ", json_string_value(json_array_get(roles, r)));
    mtk_cmd_print("%s%s%s%s\n", json_is_true(json_object_get(t, "tools")) ? "; tools" : "",
                  json_is_true(json_object_get(t, "reasoning")) ? "; reasoning" : "",
                  error ? ": " : "", error ? error : "");
  }
}

/* Where it is from, in one line each. */
static void print_origin(const json_t *r) {
  const json_t *license = json_object_get(r, "license"), *made = json_object_get(r, "provenance");
  if (json_is_object(license))
    mtk_cmd_print("licence       %s (%s)\n", json_string_value(json_object_get(license, "license")),
                  json_string_value(json_object_get(license, "from")));
  const char *command = json_string_value(json_object_get(made, "command"));
  const char *version = json_string_value(json_object_get(made, "mtk"));
  if (command && version)
    mtk_cmd_print("made by       mtk %s %s (--provenance shows more)\n", version, command);
}

static void print_text(const mtk_model *m, const json_t *r, const mtk_cmd_line *line) {
  const char *arch = json_string_value(json_object_get(r, "architecture"));
  mtk_cmd_print("%s\n", line->args[0]);
  mtk_cmd_print("format        %s: %s\n", json_string_value(json_object_get(r, "format")),
                json_string_value(json_object_get(r, "title")));
  mtk_cmd_print("architecture  %s\n", arch && *arch ? arch : "(unknown: bare tensors)");
  mtk_cmd_print("parameters    %lld\n",
                (long long)json_integer_value(json_object_get(r, "parameters")));
  mtk_cmd_print("tensors       %s, %.3f bits per weight\n",
                mtk_cmd_bytes((uint64_t)json_integer_value(json_object_get(r, "tensor_bytes"))),
                json_real_value(json_object_get(r, "bits_per_weight")));
  print_types(json_object_get(r, "types"));
  const json_t *tok = json_object_get(r, "tokenizer");
  if (json_is_object(tok))
    print_map("tokenizer", tok);
  else
    mtk_cmd_print("tokenizer     none\n");
  print_templates(json_object_get(r, "chat_templates"));
  print_origin(r);
  print_map("attachments (bytes)", json_object_get(r, "attachments"));
  if (mtk_options_flag(line->options, "meta")) print_map("metadata", json_object_get(r, "meta"));
  if (mtk_options_flag(line->options, "tensors")) print_tensors(m);
  for (size_t i = 0; i < mtk_model_warning_count(m); i++)
    mtk_cmd_print("warning: %s\n", mtk_model_warning(m, i));
}

/* Takes the adapter. */
static mtk_status report_adapter(mtk_adapter *a, const mtk_cmd_line *line, mtk_error *err) {
  json_t *pairs = json_array();
  for (size_t i = 0; i < a->n_pairs; i++) {
    const mtk_lora_pair *p = &a->pairs[i];
    json_array_append_new(pairs, json_pack("{s:s,s:I,s:f,s:[I,I]}", "target", p->target, "rank",
                                           (json_int_t)p->rank, "scale", (double)p->scale, "shape",
                                           (json_int_t)p->n, (json_int_t)p->k));
    if (!line->json && i == 0)
      mtk_cmd_print("%s\nLoRA adapter, rank %lld, alpha %g, %zu targets\n", line->args[0],
                    (long long)a->rank, (double)a->alpha, a->n_pairs);
    if (!line->json)
      mtk_cmd_print("  %-34s rank %-4lld scale %-8g %lld x %lld\n", p->target, (long long)p->rank,
                    (double)p->scale, (long long)p->n, (long long)p->k);
  }
  json_t *doc = json_pack("{s:s,s:s,s:I,s:f,s:o}", "path", line->args[0], "kind", "adapter", "rank",
                          (json_int_t)a->rank, "alpha", (double)a->alpha, "pairs", pairs);
  mtk_adapter_destroy(a);
  if (line->json) return mtk_cmd_print_json(doc, false, err);
  json_decref(doc);
  return MTK_OK;
}

static mtk_status run(const mtk_cmd_line *line, mtk_error *err) {
  mtk_model *m = NULL;
  mtk_adapter *adapter = NULL;
  mtk_status st = mtk_model_load(&m, line->args[0], err);
  if (st != MTK_OK && mtk_adapter_load(&adapter, line->args[0], NULL) == MTK_OK)
    return report_adapter(adapter, line, err);
  if (st != MTK_OK) return st;
  if (mtk_options_flag(line->options, "graph")) {
    mtk_bytes text = {0};
    st = mtk_model_print_graph(&text, m, err);
    if (st == MTK_OK) mtk_cmd_print("%s", text.data ? text.data : "");
    mtk_bytes_finish(&text);
  } else if (mtk_options_flag(line->options, "provenance")) {
    size_t n = 0;
    const char *p = mtk_model_attachment(m, "provenance.json", &n);
    if (p)
      mtk_cmd_print("%.*s\n", (int)n, p);
    else
      st = mtk_fail(err, MTK_E_NOT_FOUND, line->args[0], "has no provenance record");
  } else {
    json_t *r = report(m, line);
    if (line->json) {
      st = mtk_cmd_print_json(r, false, err);
    } else {
      print_text(m, r, line);
      json_decref(r);
    }
  }
  mtk_model_destroy(m);
  return st;
}

const mtk_cmd mtk_cmd_inspect = {"inspect",
                                 "FILE [--tensors|--meta|--graph|--provenance]",
                                 "what a model file is and holds",
                                 g_options,
                                 NULL,
                                 1,
                                 1,
                                 run};
