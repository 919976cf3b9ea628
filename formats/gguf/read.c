/* read.c: a parsed GGUF file as the canonical model. Tensors point into the file's bytes. */
#include "gguf.h"

#include <math.h>
#include <string.h>

#define ATTACHMENT    "mtk.attachment."
#define CHAT_TEMPLATE "tokenizer.chat_template"
#define HPARAM        "mtk.hparam." /* hyperparameters that other programs would stumble over */

static mtk_status no_memory(const gguf_index *g, mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, g->path, "out of memory");
}

/* ---- metadata ------------------------------------------------------------------------------ */

/* Keys that are recomputed when a file is written, or that became something else. */
static bool is_consumed(const char *key, bool has_vocab) {
  static const char *const keys[] = {
      "general.architecture",     "general.alignment", "general.quantization_version",
      "tokenizer.chat_templates", "split.no",          "split.count",
      "split.tensors.count"};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (strcmp(key, keys[i]) == 0) return true;
  if (strncmp(key, HPARAM, strlen(HPARAM)) == 0) return false;
  return strncmp(key, "mtk.", 4) == 0 || (has_vocab && gguf_vocab_covers(key));
}

/* "mtk.attachment.NAME" and chat templates. *done says whether the key was one. */
static mtk_status read_attachment(mtk_model *model, const gguf_index *g, const gguf_kv *kv,
                                  bool has_vocab, bool *done, mtk_error *err) {
  const char *name = NULL;
  if (strncmp(kv->key, ATTACHMENT, strlen(ATTACHMENT)) == 0) {
    name = kv->key + strlen(ATTACHMENT);
  } else if (strncmp(kv->key, CHAT_TEMPLATE, strlen(CHAT_TEMPLATE)) == 0) {
    const char rest = kv->key[strlen(CHAT_TEMPLATE)];
    if (rest == 0 || rest == '.') name = kv->key + strlen("tokenizer.");
  }
  *done = name && kv->type == MTK_META_STRING && *name;
  if (!*done || (has_vocab && gguf_vocab_covers(kv->key))) return MTK_OK;
  const char *s;
  size_t len, pos = kv->begin;
  gguf_next_string(&s, &len, g, &pos);
  return mtk_model_attach(model, name, s, len, err);
}

/* "llama.x" and "mtk.hparam.x" -> "x"; "general.x" and "tokenizer.x" stay; anything else ->
 * "kv." + key. */
static mtk_status canonical_key(const char **out, const gguf_index *g, const char *key,
                                const char *arch, size_t arch_len, mtk_error *err) {
  *out = key;
  if (arch_len && strncmp(key, arch, arch_len) == 0 && key[arch_len] == '.' && key[arch_len + 1]) {
    *out = key + arch_len + 1;
    return MTK_OK;
  }
  if (strncmp(key, HPARAM, strlen(HPARAM)) == 0 && key[strlen(HPARAM)]) {
    *out = key + strlen(HPARAM);
    return MTK_OK;
  }
  if (strncmp(key, "general.", 8) == 0 || strncmp(key, "tokenizer.", 10) == 0) return MTK_OK;
  char *name = mtk_asprintf("kv.%s", key);
  if (!name) return no_memory(g, err);
  *out = mtk_arena_strndup(g->arena, name, strlen(name));
  mtk_free(name);
  return *out ? MTK_OK : no_memory(g, err);
}

/* Files of deepseek2 say a tenth of what all others do (llama.cpp, src/models/deepseek2.cpp). Six
 * decimals: what a config.json says comes back in spite of two roundings. */
static void undo_tenth(mtk_value *value, const char *key, const char *arch) {
  if (strcmp(arch, "deepseek2") != 0 || strcmp(key, GGUF_YARN_LOG) != 0) return;
  if (value->type == MTK_META_F32) value->as.f = (double)(float)(round(value->as.f * 1e7) / 1e6);
}

static mtk_status read_meta(mtk_model *model, gguf_index *g, const char *arch, mtk_error *err) {
  bool has_vocab = mtk_model_vocab(model) != NULL;
  size_t arch_len = strlen(arch);
  for (size_t i = 0; i < g->n_kvs; i++) {
    const gguf_kv *kv = &g->kvs[i];
    bool done = false;
    const char *key = NULL;
    mtk_value value = {0};
    MTK_TRY(read_attachment(model, g, kv, has_vocab, &done, err));
    if (done || is_consumed(kv->key, has_vocab)) continue;
    MTK_TRY(canonical_key(&key, g, kv->key, arch, arch_len, err));
    MTK_TRY(gguf_value(&value, g, kv, err));
    undo_tenth(&value, key, arch);
    MTK_TRY(mtk_meta_set(mtk_model_meta(model), key, &value, err));
  }
  const char *provenance;
  size_t n;
  MTK_TRY(gguf_get_string(&provenance, &n, g, "mtk.provenance", err));
  if (!provenance) return MTK_OK;
  return mtk_model_attach(model, "provenance.json", provenance, n, err);
}

/* The architecture id, and what a GGUF of it implies. */
static mtk_status read_arch(mtk_model *model, const gguf_index *g, const char **arch,
                            mtk_error *err) {
  const char *name;
  size_t len;
  *arch = "";
  MTK_TRY(gguf_get_string(&name, &len, g, "general.architecture", err));
  if (!name) return MTK_OK;
  *arch = mtk_arena_strndup(g->arena, name, len);
  if (!*arch) return no_memory(g, err);
  const mtk_arch_v1 *known = mtk_arch_find_gguf(*arch);
  MTK_TRY(mtk_model_set_arch(model, known ? known->id : *arch, err));
  if (!known || !known->gguf_pairing) return MTK_OK;
  return mtk_meta_set_string(mtk_model_meta(model), "rope.pairing", known->gguf_pairing, err);
}

/* Files that are well-formed but are not a whole model. */
static mtk_status check_kind(const gguf_index *g, mtk_error *err) {
  const char *type;
  size_t len;
  MTK_TRY(gguf_get_string(&type, &len, g, "general.type", err));
  if (type && len == 7 && memcmp(type, "adapter", 7) == 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, g->path,
                    "this is a LoRA adapter, not a model; give it with --adapter");
  }
  return MTK_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* Context of a read function: where the rows lie. */
typedef struct gguf_rows {
  const uint8_t *data;
  size_t row_bytes;
} gguf_rows;

/* Rows whose address is not aligned to their type. */
static mtk_status read_copy(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                            mtk_error *err) {
  const gguf_rows *rows = t->read_ctx;
  (void)err;
  memcpy(dst, rows->data + (size_t)row0 * rows->row_bytes, (size_t)n_rows * rows->row_bytes);
  return MTK_OK;
}

/* f32 rows that were bf16 or f16 before they were written (mtk.widened.*): exact. */
static mtk_status read_narrow(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                              mtk_error *err) {
  const gguf_rows *rows = t->read_ctx;
  size_t n = (size_t)(n_rows * mtk_tensor_row_elems(t)),
         item = mtk_dtype_get(t->dtype)->block_bytes;
  const uint8_t *src = rows->data + (size_t)row0 * rows->row_bytes;
  (void)err;
  for (size_t i = 0; i < n; i++) {
    float f;
    memcpy(&f, src + 4 * i, 4);
    (void)mtk_dtype_encode(t->dtype, (uint8_t *)dst + item * i, &f, 1);
  }
  return MTK_OK;
}

static size_t alignment_of(mtk_dtype dtype) {
  const mtk_dtype_info *info = mtk_dtype_get(dtype);
  if (!info->is_quant) return info->block_bytes;
  return info->block_bytes % 2 ? 1 : 2;
}

static mtk_status place_rows(mtk_tensor *t, mtk_model *model, const gguf_index *g,
                             const gguf_tensor *in, mtk_error *err) {
  const uint8_t *data = in->bytes;
  bool narrow = in->narrow != MTK_F32;
  if (!narrow && (uintptr_t)data % alignment_of(t->dtype) == 0) {
    t->data = data;
    t->size_bytes = in->size;
    return MTK_OK;
  }
  gguf_rows *rows = mtk_arena_alloc(mtk_model_arena(model), 1, sizeof *rows);
  if (!rows) return no_memory(g, err);
  rows->data = data;
  rows->row_bytes = narrow ? (size_t)mtk_tensor_row_elems(t) * 4 : mtk_tensor_row_bytes(t);
  t->read = narrow ? read_narrow : read_copy;
  t->read_ctx = rows;
  t->dtype = narrow ? in->narrow : t->dtype;
  t->size_bytes = narrow ? in->size / 2 : in->size;
  return MTK_OK;
}

/* Tensor "<module>.<suffix>" of one f32, or one per expert, that belongs to "<module>.weight". */
static mtk_status find_companion(gguf_tensor **out, gguf_index *g, const gguf_tensor *weight,
                                 const char *suffix, mtk_error *err) {
  size_t len = strlen(weight->name);
  *out = NULL;
  if (len < 8 || strcmp(weight->name + len - 7, ".weight") != 0) return MTK_OK;
  char *name = mtk_asprintf("%.*s%s", (int)(len - 7), weight->name, suffix);
  if (!name) return no_memory(g, err);
  gguf_tensor *t = gguf_find_tensor(g, name);
  mtk_free(name);
  bool per_expert = t && weight->n_dims == 3 && t->size == 4 * weight->ne[2];
  if (t && t->type->dtype == MTK_F32 && (t->size == 4 || per_expert)) *out = t;
  return MTK_OK;
}

/* NVFP4's scale of the whole tensor or of each expert, and the scale of activations (where experts
 * differ in it, it stays a tensor). */
static mtk_status attach_scales(mtk_tensor *t, mtk_model *model, gguf_index *g,
                                const gguf_tensor *in, mtk_error *err) {
  gguf_tensor *scale = NULL, *input = NULL;
  if (!mtk_dtype_get(t->dtype)->is_quant) return MTK_OK;
  MTK_TRY(find_companion(&input, g, in, ".input_scale", err));
  MTK_TRY(find_companion(&scale, g, in, ".scale", err));
  if (input && memcmp(input->bytes, input->bytes + 4, (size_t)input->size - 4) == 0) {
    memcpy(&t->input_scale, input->bytes, 4);
    input->consumed = true;
  }
  if (!scale) return MTK_OK;
  float *scales = mtk_arena_alloc(mtk_model_arena(model), (size_t)scale->size / 4, sizeof *scales);
  if (!scales) return no_memory(g, err);
  memcpy(scales, scale->bytes, (size_t)scale->size);
  scale->consumed = true;
  t->scales = scales;
  t->scale_n = mtk_tensor_rows(t) / (int64_t)(scale->size / 4);
  t->scale_k = mtk_tensor_row_elems(t);
  return MTK_OK;
}

static mtk_status make_tensor(mtk_tensor *t, mtk_model *model, gguf_index *g, const gguf_tensor *in,
                              mtk_error *err) {
  memset(t, 0, sizeof *t);
  t->name = t->source_name = in->name;
  t->dtype = in->type->dtype;
  t->n_dims = (int)in->n_dims;
  for (uint32_t i = 0; i < in->n_dims; i++) t->shape[i] = (int64_t)in->ne[in->n_dims - 1 - i];
  MTK_TRY(attach_scales(t, model, g, in, err));
  return place_rows(t, model, g, in, err);
}

/* Names of f32 tensors that were narrower in the source: they are given back in their own type. */
static mtk_status read_widened(gguf_index *g, const char *key, mtk_dtype dtype, mtk_error *err) {
  const gguf_kv *kv = gguf_find_kv(g, key);
  if (!kv) return MTK_OK;
  uint32_t type = 0;
  size_t n = 0, pos = 0;
  MTK_TRY(gguf_get_array(&type, &n, &pos, g, kv, err));
  for (size_t i = 0; i < n && type == MTK_META_STRING; i++) {
    const char *s;
    size_t len;
    gguf_next_string(&s, &len, g, &pos);
    char *name = mtk_strndup(s, len);
    if (!name) return no_memory(g, err);
    gguf_tensor *t = gguf_find_tensor(g, name);
    mtk_free(name);
    if (t && t->type->dtype == MTK_F32) t->narrow = dtype;
  }
  return MTK_OK;
}

/* LongRoPE's divisors, which llama.cpp keeps as tensors, become the hyperparameters that folders
 * have; in our own files they are there already. */
static mtk_status read_longrope(mtk_model *model, gguf_index *g, mtk_error *err) {
  static const char *const names[][2] = {
      {"rope_factors_long.weight", "rope.scaling.long_factor"},
      {"rope_factors_short.weight", "rope.scaling.short_factor"},
  };
  mtk_meta *meta = mtk_model_meta(model);
  for (size_t i = 0; i < 2; i++) {
    gguf_tensor *t = gguf_find_tensor(g, names[i][0]);
    if (!t || t->type->dtype != MTK_F32 || t->n_dims != 1) continue;
    t->consumed = true;
    if (mtk_meta_get(meta, names[i][1])) continue;
    mtk_value *items = mtk_arena_alloc(g->arena, (size_t)t->ne[0], sizeof *items);
    if (!items) return no_memory(g, err);
    for (size_t j = 0; j < t->ne[0]; j++) {
      float v;
      memcpy(&v, t->bytes + 4 * j, 4);
      items[j] = (mtk_value){.type = MTK_META_F32, .as.f = (double)v};
    }
    const mtk_value list = {.type = MTK_META_ARRAY,
                            .as.arr = {MTK_META_F32, (size_t)t->ne[0], items}};
    MTK_TRY(mtk_meta_set(meta, names[i][1], &list, err));
    if (!mtk_meta_get(meta, "rope.scaling.type"))
      MTK_TRY(mtk_meta_set_string(meta, "rope.scaling.type", "longrope", err));
  }
  return MTK_OK;
}

static mtk_status read_tensors(mtk_model *model, gguf_index *g, mtk_error *err) {
  mtk_tensor *list = mtk_arena_alloc(g->arena, g->n_tensors, sizeof *list);
  if (!list) return no_memory(g, err);
  MTK_TRY(read_widened(g, "mtk.widened.bf16", MTK_BF16, err));
  MTK_TRY(read_widened(g, "mtk.widened.f16", MTK_F16, err));
  for (size_t i = 0; i < g->n_tensors; i++) {
    MTK_TRY(make_tensor(&list[i], model, g, &g->tensors[i], err));
  }
  if (gguf_find_kv(g, HPARAM "rope.scaling.type")) { /* the factors follow from these keys */
    gguf_tensor *factors = gguf_find_tensor(g, "rope_freqs.weight");
    if (factors) factors->consumed = true;
  }
  MTK_TRY(read_longrope(model, g, err));
  for (size_t i = 0; i < g->n_tensors; i++) {
    if (!g->tensors[i].consumed) MTK_TRY(mtk_model_add_tensor(model, &list[i], err));
  }
  return MTK_OK;
}

/* ---- the model ----------------------------------------------------------------------------- */

static mtk_status read_indexed(mtk_model *model, gguf_index *g, const uint8_t *data, size_t size,
                               const char *name, const char *path, mtk_error *err) {
  const char *arch = "";
  MTK_TRY(gguf_parse(g, g->arena, data, size, name, err));
  MTK_TRY(check_kind(g, err));
  MTK_TRY(gguf_split_join(g, model, path, err));
  MTK_TRY(read_arch(model, g, &arch, err));
  MTK_TRY(gguf_read_vocab(model, g, err));
  MTK_TRY(read_meta(model, g, arch, err));
  MTK_TRY(read_tensors(model, g, err));
  const mtk_arch_v1 *known = mtk_arch_find_gguf(arch);
  if (!known || !mtk_model_tensor_count(model)) return MTK_OK; /* bare tensors, or a vocabulary */
  mtk_error why = {0};
  mtk_status status = mtk_arch_fill_meta(model, known, &why);
  if (status == MTK_E_FORMAT) { /* still good for inspection and conversion of its tensors */
    return mtk_model_warn(model, "this is no whole model: %s %s", why.place, why.message);
  }
  if (status != MTK_OK && err) *err = why;
  return status;
}

mtk_status gguf_read_bytes(mtk_model *model, const uint8_t *data, size_t size, const char *name,
                           const char *path, mtk_error *err) {
  mtk_arena *arena = mtk_arena_create();
  if (!arena) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  gguf_index index = {.arena = arena};
  mtk_status status = read_indexed(model, &index, data, size, name, path, err);
  mtk_arena_destroy(arena);
  return status;
}

mtk_status gguf_read_model(mtk_model *model, const char *path, mtk_error *err) {
  const mtk_file *file;
  MTK_TRY(mtk_model_open_file(&file, model, path, err));
  return gguf_read_bytes(model, file->data, file->size, mtk_path_base(path), path, err);
}
