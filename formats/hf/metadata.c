/* metadata.c: typed values of the canonical model that config.json has no place for ("general.*",
 * and "kv.*" from other formats), kept as strings "type:text" in the __metadata__ of the first
 * safetensors file under "mtk.meta." + key. Any thread. */
#include "hf.h"

#include <stdlib.h>
#include <string.h>

static const char prefix[] = "mtk.meta.";
/* __metadata__ of other programs: "KEY" <-> "kv.safetensors.KEY", as it is. */
static const char foreign[] = "kv.safetensors.";

/* Names of the scalar types, by mtk_meta_type. */
static const char *const type_names[] = {"u8",   "i8",     "u16", "i16", "u32", "i32", "f32",
                                         "bool", "string", NULL,  "u64", "i64", "f64"};
enum { N_TYPES = sizeof type_names / sizeof type_names[0] };

static bool is_signed(mtk_meta_type t) {
  return t == MTK_META_I8 || t == MTK_META_I16 || t == MTK_META_I32 || t == MTK_META_I64;
}

static bool is_real(mtk_meta_type t) { return t == MTK_META_F32 || t == MTK_META_F64; }

static bool starts_with(const char *s, const char *start) {
  return strncmp(s, start, strlen(start)) == 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Strings as a JSON list: "strings:[\"en\",\"fr\"]". */
static json_t *encode_strings(const mtk_value *v) {
  json_t *list = json_array(), *out = NULL;
  for (size_t i = 0; i < v->as.arr.n; i++) {
    const mtk_value *item = &v->as.arr.items[i];
    (void)json_array_append_new(list, json_stringn(item->as.str.s, item->as.str.len));
  }
  char *text = json_array_size(list) == v->as.arr.n ? json_dumps(list, JSON_COMPACT) : NULL;
  if (text) out = json_sprintf("strings:%s", text);
  free(text);
  json_decref(list);
  return out;
}

/* NULL for what has no form here: other arrays, texts that are not UTF-8. */
static json_t *encode(const mtk_value *v) {
  if (v->type == MTK_META_ARRAY) {
    return v->as.arr.type == MTK_META_STRING ? encode_strings(v) : NULL;
  }
  const char *name = type_names[v->type];
  if (v->type == MTK_META_STRING) {
    return memchr(v->as.str.s, 0, v->as.str.len) ? NULL : json_sprintf("%s:%s", name, v->as.str.s);
  }
  if (is_real(v->type)) return json_sprintf("%s:%.17g", name, v->as.f);
  if (is_signed(v->type)) return json_sprintf("%s:%lld", name, (long long)v->as.i);
  return json_sprintf("%s:%llu", name, (unsigned long long)v->as.u);
}

mtk_status hf_put_metadata(json_t *out, mtk_model *model, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(model);
  mtk_bytes left = {.max = 1 << 16};
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < mtk_meta_count(meta) && status == MTK_OK; i++) {
    const char *key = mtk_meta_key(meta, i);
    bool tokenizer = strncmp(key, "tokenizer.", 10) == 0;
    if (!tokenizer && strncmp(key, "general.", 8) && strncmp(key, "kv.", 3)) continue;
    const mtk_value *v = mtk_meta_at(meta, i);
    bool as_is = starts_with(key, foreign) && v->type == MTK_META_STRING;
    char *name = as_is ? mtk_strdup(key + strlen(foreign)) : mtk_asprintf("%s%s", prefix, key);
    json_t *value = tokenizer ? NULL
                    : as_is   ? json_stringn(v->as.str.s, v->as.str.len)
                              : encode(v);
    if (!name) status = mtk_fail(err, MTK_E_NOMEM, key, "out of memory");
    if (value && name) (void)json_object_set(out, name, value);
    if (!value) mtk_bytes_printf(&left, "%s%s", left.len ? ", " : "", key);
    json_decref(value);
    mtk_free(name);
  }
  if (status == MTK_OK && left.len) {
    status = mtk_model_warn(model, "metadata not carried over: %s", left.data);
  }
  mtk_bytes_finish(&left);
  return status;
}

/* ---- reading ------------------------------------------------------------------------------- */

static mtk_status decode_strings(mtk_model *model, const char *key, const char *text,
                                 mtk_error *err) {
  json_t *list = json_loads(text, 0, NULL);
  size_t n = json_array_size(list);
  mtk_value value = {.type = MTK_META_ARRAY}, *items = mtk_alloc(n, sizeof *items);
  bool ok = json_is_array(list) && items;
  for (size_t i = 0; i < n && ok; i++) {
    const json_t *item = json_array_get(list, i);
    ok = json_is_string(item);
    items[i].type = MTK_META_STRING;
    items[i].as.str.s = json_string_value(item);
    items[i].as.str.len = json_string_length(item);
  }
  value.as.arr.type = MTK_META_STRING;
  value.as.arr.n = n;
  value.as.arr.items = items;
  mtk_status status = ok ? mtk_meta_set(mtk_model_meta(model), key, &value, err)
                         : mtk_model_warn(model, "metadata %s is not readable; ignored", key);
  mtk_free(items);
  json_decref(list);
  return status;
}

static mtk_status decode(mtk_model *model, const char *key, const char *text, mtk_error *err) {
  const char *colon = strchr(text, ':');
  size_t n = colon ? (size_t)(colon - text) : 0;
  char *end = NULL;
  mtk_value value = {0};
  if (n == 7 && memcmp(text, "strings", 7) == 0) {
    return decode_strings(model, key, colon + 1, err);
  }
  size_t t = 0;
  while (t < N_TYPES &&
         !(type_names[t] && strlen(type_names[t]) == n && memcmp(type_names[t], text, n) == 0)) {
    t++;
  }
  if (!n || t == N_TYPES) return mtk_model_warn(model, "metadata %s is not readable; ignored", key);
  value.type = (mtk_meta_type)t;
  if (value.type == MTK_META_STRING) {
    value.as.str.s = colon + 1;
    value.as.str.len = strlen(colon + 1);
  } else if (is_real(value.type)) {
    value.as.f = strtod(colon + 1, &end);
  } else if (is_signed(value.type)) {
    value.as.i = strtoll(colon + 1, &end, 10);
  } else {
    value.as.u = strtoull(colon + 1, &end, 10);
  }
  if (end && *end) return mtk_model_warn(model, "metadata %s is not readable; ignored", key);
  return mtk_meta_set(mtk_model_meta(model), key, &value, err);
}

mtk_status hf_get_metadata(mtk_model *model, const json_t *metadata, mtk_error *err) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)metadata, key, value) {
    const char *name = key + sizeof prefix - 1, *text = json_string_value(value);
    if (strcmp(key, "mtk.provenance") == 0) {
      MTK_TRY(mtk_model_attach(model, "provenance.json", text, strlen(text), err));
    }
    if (strcmp(key, "format") != 0 && !starts_with(key, "mtk.")) {
      char *kept = mtk_asprintf("%s%s", foreign, key);
      mtk_status status =
          kept ? mtk_meta_set_string(mtk_model_meta(model), kept, text, err)
               : mtk_fail(err, MTK_E_NOMEM, key, "out of memory");
      mtk_free(kept);
      MTK_TRY(status);
    }
    if (!starts_with(key, prefix)) continue;
    if (strncmp(name, "general.", 8) && strncmp(name, "kv.", 3)) continue;
    MTK_TRY(decode(model, name, text, err));
  }
  return MTK_OK;
}
