/* arch_hf.c: hyperparameters between config.json and the canonical names, by the table of an
 * architecture (ext/arch.h), and the table's fallbacks. Static tables; any thread. */
#include "model/model_impl.h"

#include <jansson.h>

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATH = 160 };

/* "config.json: rope_theta" */
typedef struct place {
  char text[MAX_PATH + 32];
} place;

static place config_place(const char *hf_key) {
  place p;
  snprintf(p.text, sizeof p.text, "config.json: %s", hf_key);
  return p;
}

/* ---- JSON by dotted path ------------------------------------------------------------------- */

/* Steps to the object that holds the path's last name; NULL if a step is missing and not made. */
static json_t *walk_path(json_t *root, const char *path, bool make, const char **last) {
  for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
    char step[MAX_PATH];
    snprintf(step, sizeof step, "%.*s", (int)(dot - path), path);
    json_t *next = json_object_get(root, step);
    if (!json_is_object(next)) {
      if (!make || json_object_set_new(root, step, json_object())) return NULL;
      next = json_object_get(root, step);
    }
    root = next;
  }
  *last = path;
  return root;
}

/* The value at a path, or NULL if absent, null or "default". */
static json_t *get_path(json_t *root, const char *path) {
  const char *last;
  json_t *holder = walk_path(root, path, false, &last);
  json_t *value = holder ? json_object_get(holder, last) : NULL;
  if (json_is_null(value)) return NULL;
  if (json_is_string(value) && strcmp(json_string_value(value), "default") == 0) return NULL;
  return value;
}

static bool set_path(json_t *root, const char *path, json_t *value) {
  const char *last;
  json_t *holder = walk_path(root, path, true, &last);
  if (holder) return json_object_set_new(holder, last, value) == 0;
  json_decref(value);
  return false;
}

/* ---- typed values -------------------------------------------------------------------------- */

static mtk_status wrong_type(mtk_error *err, const char *where, const char *want) {
  return mtk_fail(err, MTK_E_FORMAT, where, "expected %s", want);
}

static mtk_status from_json(mtk_value *out, const json_t *j, mtk_meta_type type, const char *where,
                            mtk_error *err) {
  *out = (mtk_value){.type = type};
  if (type == MTK_META_ARRAY) {
    if (!json_is_array(j)) return wrong_type(err, where, "a list");
    bool texts = json_is_string(json_array_get(j, 0));
    size_t n = json_array_size(j);
    mtk_value *items = mtk_alloc(n ? n : 1, sizeof *items);
    if (!items) return mtk_fail(err, MTK_E_NOMEM, where, "out of memory");
    out->as.arr.type = texts ? MTK_META_STRING : MTK_META_F32;
    out->as.arr.n = n;
    out->as.arr.items = items;
    mtk_status status = MTK_OK;
    for (size_t i = 0; i < n && status == MTK_OK; i++)
      status = from_json(&items[i], json_array_get(j, i), out->as.arr.type, where, err);
    if (status != MTK_OK) mtk_free(items);
    return status;
  }
  if (type == MTK_META_U32) {
    double v = json_number_value(j);
    if (!json_is_number(j) || v < 0 || v > UINT32_MAX || v != floor(v))
      return wrong_type(err, where, "a whole number below 2^32");
    out->as.u = (uint64_t)v;
  } else if (type == MTK_META_F32) {
    if (!json_is_number(j)) return wrong_type(err, where, "a number");
    out->as.f = (double)(float)json_number_value(j);
    if (!isfinite(out->as.f)) return wrong_type(err, where, "a number that fits 32-bit floats");
  } else if (type == MTK_META_BOOL) {
    if (!json_is_boolean(j)) return wrong_type(err, where, "true or false");
    out->as.u = json_is_true(j);
  } else {
    if (!json_is_string(j)) return wrong_type(err, where, "a text");
    out->as.str.s = json_string_value(j);
    out->as.str.len = json_string_length(j);
  }
  return MTK_OK;
}

/* The double whose shortest decimal form the f32 has: 1e-5, not 9.99999974e-06. */
static double shortest(double f32) {
  char text[40];
  for (int digits = 1; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, f32);
    double v = strtod(text, NULL);
    if ((double)(float)v == f32) return v;
  }
  return f32;
}

/* What from_json allocated. */
static void finish_value(mtk_value *v) {
  if (v->type == MTK_META_ARRAY) mtk_free((void *)(uintptr_t)v->as.arr.items);
}

static json_t *to_json(const mtk_value *v) {
  switch (v->type) {
    case MTK_META_BOOL: return json_boolean(v->as.u != 0);
    case MTK_META_F32: return json_real(shortest(v->as.f));
    case MTK_META_F64: return json_real(v->as.f);
    case MTK_META_STRING: return json_stringn(v->as.str.s, v->as.str.len);
    case MTK_META_I8:
    case MTK_META_I16:
    case MTK_META_I32:
    case MTK_META_I64: return json_integer(v->as.i);
    case MTK_META_ARRAY: break;
    default: return json_integer((json_int_t)v->as.u);
  }
  json_t *list = json_array();
  for (size_t i = 0; list && i < v->as.arr.n; i++) {
    if (json_array_append_new(list, to_json(&v->as.arr.items[i])) == 0) continue;
    json_decref(list);
    return NULL;
  }
  return list;
}

static bool same_value(const mtk_value *a, const mtk_value *b) {
  if (a->type != b->type) return false;
  if (a->type == MTK_META_F32) return !(a->as.f < b->as.f) && !(a->as.f > b->as.f);
  if (a->type == MTK_META_STRING) return strcmp(a->as.str.s, b->as.str.s) == 0;
  if (a->type == MTK_META_ARRAY) {
    bool same = a->as.arr.n == b->as.arr.n;
    for (size_t i = 0; same && i < a->as.arr.n; i++)
      same = same_value(&a->as.arr.items[i], &b->as.arr.items[i]);
    return same;
  }
  return a->as.u == b->as.u;
}

/* ---- fallbacks ----------------------------------------------------------------------------- */

static mtk_status literal(mtk_value *out, const mtk_arch_hparam *row, mtk_error *err) {
  const char *text = row->fallback;
  char *end = NULL;
  *out = (mtk_value){.type = row->type};
  if (row->type == MTK_META_STRING) {
    out->as.str.s = text;
    out->as.str.len = strlen(text);
    return MTK_OK;
  }
  if (row->type == MTK_META_BOOL) {
    out->as.u = strcmp(text, "true") == 0;
    return MTK_OK;
  }
  double v = strtod(text, &end);
  if (*end) return mtk_fail(err, MTK_E_INTERNAL, row->key, "the fallback '%s' is no number", text);
  if (row->type == MTK_META_F32) out->as.f = (double)(float)v;
  else out->as.u = (uint64_t)v;
  return MTK_OK;
}

static mtk_status number(double *out, const mtk_meta *meta, const char *key, mtk_error *err) {
  const mtk_value *v = mtk_meta_get(meta, key);
  uint64_t u = 0;
  if (v && (v->type == MTK_META_F32 || v->type == MTK_META_F64))
    return mtk_meta_float(out, meta, key, 0, err);
  MTK_TRY(mtk_meta_uint(&u, meta, key, 0, err));
  *out = (double)u;
  return MTK_OK;
}

static double combine(double a, char op, double b) {
  return op == '*' ? a * b : op == '/' ? a / b : op == '+' ? a + b : a - b;
}

/* "=a", or two keys with * / + - between them */
static mtk_status copied(mtk_value *out, bool *found, const mtk_arch_hparam *row,
                         const mtk_meta *meta, mtk_error *err) {
  char key[MAX_PATH];
  const char *expr = row->fallback + 1, *op = strpbrk(expr, "/*+-");
  if (!op) {
    const mtk_value *v = mtk_meta_get(meta, expr);
    if (v) *out = *v, *found = true;
    return MTK_OK;
  }
  snprintf(key, sizeof key, "%.*s", (int)(op - expr), expr);
  if (!mtk_meta_get(meta, key) || !mtk_meta_get(meta, op + 1)) return MTK_OK;
  double a, b;
  MTK_TRY(number(&a, meta, key, err));
  MTK_TRY(number(&b, meta, op + 1, err));
  double v = combine(a, *op, b);
  if (row->type == MTK_META_F32 && isfinite(v)) {
    *out = (mtk_value){.type = MTK_META_F32, .as.f = (double)(float)v};
  } else {
    if (!(v >= 0) || v > UINT32_MAX || (*op == '/' && v != floor(v)))
      return mtk_fail(err, MTK_E_FORMAT, key, "%g does not %s %s (%g)", a,
                      *op == '/' ? "divide by" : "combine with", op + 1, b);
    *out = (mtk_value){.type = MTK_META_U32, .as.u = (uint64_t)v};
  }
  *found = true;
  return MTK_OK;
}

static void presence(mtk_value *out, bool *found, const mtk_arch_hparam *row,
                     const mtk_model *model) {
  if (!model || mtk_model_tensor_count(model) == 0) return;
  bool has = mtk_model_tensor(model, row->fallback + 1) != NULL;
  *out = (mtk_value){.type = MTK_META_BOOL, .as.u = has == (row->fallback[0] == '?')};
  *found = true;
}

static bool asks_tensors(const mtk_arch_hparam *row) {
  return row->fallback && (row->fallback[0] == '?' || row->fallback[0] == '!');
}

mtk_status mtk_arch_fallback(mtk_value *out, bool *found, const mtk_arch_hparam *row,
                             const mtk_meta *meta, const mtk_model *model, mtk_error *err) {
  *found = false;
  if (!row->fallback) return MTK_OK;
  if (asks_tensors(row)) {
    presence(out, found, row, model);
    return MTK_OK;
  }
  if (row->fallback[0] == '=') return copied(out, found, row, meta, err);
  *found = true;
  return literal(out, row, err);
}

/* Fallbacks for all absent keys. A required key without value is an error named by its hf_key. */
static mtk_status fill_absent(mtk_meta *meta, const mtk_arch_v1 *arch, const mtk_model *model,
                              bool name_hf, mtk_error *err) {
  for (const mtk_arch_hparam *row = arch->hparams; row->key; row++) {
    if (mtk_meta_get(meta, row->key)) continue;
    mtk_value v;
    bool found;
    MTK_TRY(mtk_arch_fallback(&v, &found, row, meta, model, err));
    if (found) MTK_TRY(mtk_meta_set(meta, row->key, &v, err));
    if (!found && row->required)
      return mtk_fail(err, MTK_E_FORMAT,
                      name_hf && row->hf_key ? config_place(row->hf_key).text : row->key,
                      "is missing; architecture %s needs it", arch->id);
  }
  return MTK_OK;
}

mtk_status mtk_arch_fill_meta(mtk_model *model, const mtk_arch_v1 *arch, mtk_error *err) {
  mtk_meta *meta = mtk_model_meta(model);
  const mtk_tensor *embd = mtk_model_tensor(model, "token_embd.weight");
  if (embd && embd->n_dims == 2 && !mtk_meta_get(meta, "vocab_size"))
    MTK_TRY(mtk_meta_set_uint(meta, "vocab_size", (uint64_t)embd->shape[0], err));
  return fill_absent(meta, arch, model, false, err);
}

/* ---- config.json -> meta ------------------------------------------------------------------- */

static mtk_status load_object(json_t **out, const char *text, size_t n, mtk_error *err) {
  json_error_t at;
  *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
  if (!*out)
    return mtk_fail(err, MTK_E_FORMAT, "config.json", "line %d: %s", at.line, at.text);
  if (json_is_object(*out)) return MTK_OK;
  json_decref(*out);
  return mtk_fail(err, MTK_E_FORMAT, "config.json", "is no JSON object");
}

static mtk_status read_rows(mtk_meta *meta, const mtk_arch_v1 *arch, json_t *config,
                            mtk_error *err) {
  json_t *classes = json_object_get(config, "architectures");
  const char *hf_class = json_string_value(json_array_get(classes, 0));
  if (hf_class) MTK_TRY(mtk_meta_set_string(meta, "hf.architecture", hf_class, err));
  for (const mtk_arch_hparam *row = arch->hparams; row->key; row++) {
    json_t *j = row->hf_key ? get_path(config, row->hf_key) : NULL;
    if (!j || mtk_meta_get(meta, row->key)) continue;
    mtk_value v;
    MTK_TRY(from_json(&v, j, row->type, config_place(row->hf_key).text, err));
    mtk_status status = mtk_meta_set(meta, row->key, &v, err);
    finish_value(&v);
    MTK_TRY(status);
  }
  return fill_absent(meta, arch, NULL, true, err);
}

mtk_status mtk_arch_meta_from_hf(mtk_meta *meta, const mtk_arch_v1 *arch, const char *config_json,
                                 size_t n, mtk_error *err) {
  json_t *config;
  MTK_TRY(load_object(&config, config_json, n, err));
  mtk_status status = read_rows(meta, arch, config, err);
  json_decref(config);
  return status;
}

/* ---- meta -> config.json ------------------------------------------------------------------- */

static bool first_of_key(const mtk_arch_v1 *arch, const mtk_arch_hparam *row) {
  for (const mtk_arch_hparam *r = arch->hparams; r != row; r++)
    if (strcmp(r->key, row->key) == 0) return false;
  return true;
}

static bool key_in_original(const mtk_arch_v1 *arch, const char *key, json_t *original) {
  for (const mtk_arch_hparam *r = arch->hparams; r->key; r++)
    if (strcmp(r->key, key) == 0 && r->hf_key && get_path(original, r->hf_key)) return true;
  return false;
}

/* Put one row's value into config where it belongs; `original` is what config started from. */
static mtk_status write_row(json_t *config, json_t *original, const mtk_arch_v1 *arch,
                            const mtk_arch_hparam *row, const mtk_model *model, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  const mtk_value *set = mtk_meta_get(meta, row->key);
  mtk_value fallback = {0}, old;
  bool has_fallback;
  MTK_TRY(mtk_arch_fallback(&fallback, &has_fallback, row, meta, model, err));
  if (has_fallback && (asks_tensors(row) || !set)) set = &fallback;
  if (!row->hf_key) return MTK_OK;
  if (!set) { /* say "none" where transformers might have a default of its own (sliding_window) */
    bool plain = json_object_size(original) == 0 && !strchr(row->hf_key, '.') &&
                 strncmp(row->key, "expert_", 7) != 0; /* a dense model of the same table */
    return !plain || set_path(config, row->hf_key, json_null())
               ? MTK_OK
               : mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
  }
  json_t *there = get_path(original, row->hf_key);
  if (there) {
    bool same = false;
    if (from_json(&old, there, row->type, "", NULL) == MTK_OK) {
      same = same_value(&old, set);
      finish_value(&old);
    }
    if (same) return MTK_OK;
  } else {
    bool implied = json_object_size(original) > 0 && has_fallback && !asks_tensors(row) &&
                   same_value(&fallback, set);
    if (implied || !first_of_key(arch, row) || key_in_original(arch, row->key, original))
      return MTK_OK;
    if (asks_tensors(row) && json_object_size(original) > 0 && !set->as.u) return MTK_OK;
  }
  json_t *value = to_json(set);
  if (!value)
    return mtk_fail(err, MTK_E_UNSUPPORTED, row->key, "config.json cannot hold this value");
  if (set_path(config, row->hf_key, value)) return MTK_OK;
  return mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
}

/* Float type of the linear layers, by the name config.json uses; NULL if they are quantized. */
static const char *float_type(const mtk_arch_v1 *arch, const mtk_model *model) {
  static const char *const names[MTK_DTYPE_COUNT] = {
      [MTK_F32] = "float32", [MTK_F16] = "float16", [MTK_BF16] = "bfloat16"};
  for (size_t i = 0; i < mtk_model_tensor_count(model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(model, i);
    const mtk_arch_tensor *row = mtk_arch_row(arch, t->name);
    if (row && row->flags & MTK_TENSOR_LINEAR && names[t->dtype]) return names[t->dtype];
  }
  return NULL;
}

static const char *class_of(const mtk_arch_v1 *arch, const mtk_model *model) {
  const char *wanted = mtk_meta_str(mtk_model_meta(model), "hf.architecture", "");
  for (const char *const *c = arch->hf_classes; *c; c++)
    if (strcmp(*c, wanted) == 0) return *c;
  uint64_t n_expert = 0;
  (void)mtk_meta_uint(&n_expert, mtk_model_meta(model), "expert_count", 0, NULL);
  bool known = arch->struct_size >= offsetof(mtk_arch_v1, hf_expert_class) + sizeof(char *);
  return n_expert > 0 && known && arch->hf_expert_class ? arch->hf_expert_class
                                                        : arch->hf_classes[0];
}

/* "MistralForCausalLM" -> "mistral" where the class is not the table's first. */
static void model_type_of(char *buf, size_t size, const mtk_arch_v1 *arch, const char *hf_class) {
  const char *end = strstr(hf_class, "For");
  if (hf_class == arch->hf_classes[0] || !end) {
    snprintf(buf, size, "%s", arch->hf_model_type);
    return;
  }
  snprintf(buf, size, "%.*s", (int)(end - hf_class), hf_class);
  for (char *c = buf; *c; c++) *c = (char)tolower((unsigned char)*c);
}

/* What config.json of a model that never had one says besides the table's rows. */
static bool write_identity(json_t *config, const mtk_arch_v1 *arch, const mtk_model *model) {
  const char *hf_class = class_of(arch, model);
  char type[64];
  model_type_of(type, sizeof type, arch, hf_class);
  bool ok = json_object_set_new(config, "architectures", json_pack("[s]", hf_class)) == 0 &&
            json_object_set_new(config, "model_type", json_string(type)) == 0 &&
            json_object_set_new(config, "torch_dtype", json_string("bfloat16")) == 0;
  const mtk_vocab *vocab = mtk_model_vocab(model);
  if (vocab && vocab->bos >= 0)
    ok = ok && json_object_set_new(config, "bos_token_id", json_integer(vocab->bos)) == 0;
  if (vocab && vocab->eos >= 0)
    ok = ok && json_object_set_new(config, "eos_token_id", json_integer(vocab->eos)) == 0;
  if (vocab && vocab->pad >= 0)
    ok = ok && json_object_set_new(config, "pad_token_id", json_integer(vocab->pad)) == 0;
  return ok;
}

/* Reals with 15 digits (1e-5), or 17 where 15 would change one. */
static char *dump_config(const json_t *config) {
  static const int digits[] = {15, 17};
  char *text = NULL;
  for (size_t i = 0; i < sizeof digits / sizeof digits[0]; i++) {
    free(text);
    size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION((size_t)digits[i]);
    text = json_dumps(config, flags);
    json_t *again = text ? json_loads(text, 0, NULL) : NULL;
    bool same = again && json_equal(again, config);
    json_decref(again);
    if (same) break;
  }
  return text;
}

static mtk_status write_config(mtk_bytes *out, json_t *config, json_t *original,
                               const mtk_arch_v1 *arch, const mtk_model *model, mtk_error *err) {
  bool ok = json_object_size(original) > 0 || write_identity(config, arch, model);
  for (const mtk_arch_hparam *row = arch->hparams; row->key; row++)
    MTK_TRY(write_row(config, original, arch, row, model, err));
  const char *dtype = float_type(arch, model);
  const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype";
  ok = ok && (!dtype || json_object_set_new(config, key, json_string(dtype)) == 0);
  char *text = ok ? dump_config(config) : NULL;
  if (!text) return mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
  mtk_bytes_puts(out, text);
  mtk_bytes_puts(out, "\n");
  free(text);
  return mtk_bytes_status(out, err);
}

mtk_status mtk_arch_config_to_hf(mtk_bytes *out, const mtk_arch_v1 *arch, const mtk_model *model,
                                 mtk_error *err) {
  size_t n;
  const char *text = mtk_model_attachment(model, "config.json", &n);
  json_t *original = text ? NULL : json_object();
  if (text) MTK_TRY(load_object(&original, text, n, err));
  json_t *config = json_deep_copy(original);
  mtk_status status = config && original
                          ? write_config(out, config, original, arch, model, err)
                          : mtk_fail(err, MTK_E_NOMEM, "config.json", "out of memory");
  json_decref(original);
  json_decref(config);
  return status;
}
