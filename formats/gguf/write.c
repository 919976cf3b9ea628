/* write.c: the canonical model as a GGUF file, or several. The header is computed first from the
 * tensor list; then tensors are streamed in chunks of a few MB, so memory does not grow with the
 * model. Output depends on the model and the options alone. */
#include "gguf.h"

#include <string.h>

enum { CHUNK_BYTES = 4 << 20 };

/* One tensor of the file. */
typedef struct out_tensor {
  const char *name;
  const mtk_tensor *source; /* rows come from here; NULL: the values below */
  const float *values;
  mtk_dtype dtype; /* in the file; differs from source->dtype when values are converted */
  int n_dims;
  int64_t shape[GGUF_MAX_DIMS];
  uint64_t size, offset; /* offset in the data of its file */
} out_tensor;

/* One file: tensors first .. first + count. */
typedef struct out_file {
  size_t first, count;
  uint64_t data_bytes;
} out_file;

typedef struct writer {
  mtk_model *model;
  const mtk_arch_v1 *arch; /* NULL for bare tensors */
  mtk_arena *arena;
  mtk_meta *kvs;
  out_tensor *tensors;
  size_t n_tensors;
  out_file *files;
  size_t n_files;
  uint64_t max_bytes, max_tensors; /* of a file */
  uint64_t written;
  mtk_outputs *outputs;
  size_t n_dequantized;
  const char *first_dequantized;
  mtk_error *err;
} writer;

static mtk_status no_memory(writer *w) {
  return mtk_fail(w->err, MTK_E_NOMEM, NULL, "out of memory");
}

/* ---- the list of tensors ------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), k = strlen(suffix);
  return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* One scale for the whole tensor, or one per expert, can lie beside a quantized weight; any other
 * grid cannot. */
static bool holds_scales(const mtk_tensor *t) {
  if (!t->scales) return true;
  bool per_expert =
      t->n_dims == 3 && t->scale_n == t->shape[1] && t->scale_k >= mtk_tensor_row_elems(t);
  return mtk_dtype_get(t->dtype)->is_quant && ends_with(t->name, ".weight") &&
         (mtk_tensor_scale_count(t) == 1 || per_expert);
}

bool gguf_keeps(const mtk_tensor *t) { return gguf_type_by_dtype(t->dtype) && holds_scales(t); }

/* The type a tensor gets: its own if possible, f32 for vectors, else bf16. */
static mtk_status choose_dtype(writer *w, const mtk_tensor *t, mtk_dtype *out) {
  const mtk_dtype_info *info = mtk_dtype_get(t->dtype);
  bool narrow = t->dtype == MTK_BF16 || t->dtype == MTK_F16;
  bool vector = t->n_dims <= 1 || ends_with(t->name, ".bias"); /* experts' biases are 2-d */
  *out = t->dtype;
  if (gguf_keeps(t)) {
    if (vector && narrow) *out = MTK_F32;
    return MTK_OK;
  }
  if (!info->is_float) {
    return mtk_fail(w->err, MTK_E_UNSUPPORTED, t->name,
                    "GGUF has no type for %s; write an HF folder or .safetensors file instead",
                    info->name);
  }
  *out = vector ? MTK_F32 : MTK_BF16;
  if (!w->n_dequantized++) w->first_dequantized = t->name;
  return MTK_OK;
}

static mtk_status push(writer *w, const out_tensor *t) {
  uint64_t n = 1;
  out_tensor *slot = &w->tensors[w->n_tensors];
  *slot = *t;
  if (strlen(t->name) > GGUF_MAX_NAME) {
    return mtk_fail(w->err, MTK_E_UNSUPPORTED, t->name, "this name is too long for GGUF");
  }
  for (int i = 0; i < t->n_dims; i++) n *= (uint64_t)t->shape[i]; /* the model checked overflow */
  slot->size = mtk_dtype_bytes(t->dtype, n);
  w->n_tensors++;
  return MTK_OK;
}

/* "<module>.weight" -> "<module><suffix>": one f32, for experts one each; given are `count` of
 * them, one or as many. */
static mtk_status push_companion(writer *w, const mtk_tensor *t, const char *suffix,
                                 const float *given, int64_t count) {
  int len = (int)(strlen(t->name) - strlen(".weight"));
  int64_t n = mtk_tensor_matrices(t);
  char *name = mtk_asprintf("%.*s%s", len, t->name, suffix);
  float *values = mtk_arena_alloc(w->arena, (size_t)n, sizeof *values);
  out_tensor out = {.values = values, .dtype = MTK_F32, .n_dims = 1, .shape = {n}};
  if (name) out.name = mtk_arena_strndup(w->arena, name, strlen(name));
  mtk_free(name);
  if (!out.name || !values) return no_memory(w);
  for (int64_t i = 0; i < n; i++) values[i] = given[count == 1 ? 0 : i];
  return push(w, &out);
}

/* Scales that are all 1 need not be written. */
static bool has_scales(const mtk_tensor *t) {
  bool found = false;
  for (int64_t i = 0; i < mtk_tensor_scale_count(t); i++) found |= t->scales[i] != 1.0f;
  return found;
}

static mtk_status plan_tensor(writer *w, const mtk_tensor *t) {
  out_tensor out = {.name = t->name, .source = t, .n_dims = t->n_dims ? t->n_dims : 1};
  if (t->n_dims > GGUF_MAX_DIMS) {
    return mtk_fail(w->err, MTK_E_UNSUPPORTED, t->name, "GGUF tensors have at most 4 dimensions");
  }
  for (int i = 0; i < out.n_dims; i++) {
    out.shape[i] = t->n_dims ? t->shape[i] : 1;
    if (out.shape[i] == 0) {
      return mtk_model_warn(w->model, "tensor %s has no elements; GGUF cannot hold it", t->name);
    }
  }
  MTK_TRY(choose_dtype(w, t, &out.dtype));
  MTK_TRY(push(w, &out));
  bool beside = out.dtype == t->dtype && mtk_dtype_get(t->dtype)->is_quant;
  if (beside && has_scales(t)) {
    MTK_TRY(push_companion(w, t, ".scale", t->scales, mtk_tensor_scale_count(t)));
  }
  if (t->input_scale == 0) return MTK_OK;
  if (beside && ends_with(t->name, ".weight")) {
    return push_companion(w, t, ".input_scale", &t->input_scale, 1);
  }
  return mtk_model_warn(w->model, "%s: the scale of its activations cannot be kept", t->name);
}

static bool is_llama3(const writer *w) {
  const char *type = mtk_meta_str(mtk_model_meta(w->model), "rope.scaling.type", "");
  return strcmp(type, "llama3") == 0;
}

/* A vector of f32 that is made here. */
static mtk_status push_floats(writer *w, const char *name, const float *values, int64_t n) {
  mtk_tensor *t = mtk_arena_alloc(w->arena, 1, sizeof *t);
  if (!t) return no_memory(w);
  *t = (mtk_tensor){.name = name, .dtype = MTK_F32, .n_dims = 1, .shape = {n}};
  t->data = values;
  t->size_bytes = (uint64_t)n * 4;
  const out_tensor out = {t->name, t, NULL, MTK_F32, 1, {n}, 0, 0};
  return push(w, &out);
}

/* llama.cpp knows LongRoPE's divisors only as tensors. */
static mtk_status plan_longrope(writer *w, const char *key, const char *name) {
  const mtk_value *list = mtk_meta_get(mtk_model_meta(w->model), key);
  if (!list || list->type != MTK_META_ARRAY || list->as.arr.type != MTK_META_F32 ||
      list->as.arr.n == 0 || mtk_model_tensor(w->model, name))
    return MTK_OK;
  float *values = mtk_arena_alloc(w->arena, list->as.arr.n, sizeof *values);
  if (!values) return no_memory(w);
  for (size_t i = 0; i < list->as.arr.n; i++) values[i] = (float)list->as.arr.items[i].as.f;
  return push_floats(w, name, values, (int64_t)list->as.arr.n);
}

/* llama.cpp knows llama3's rotary scaling only as a tensor of divisors. */
static mtk_status plan_rope_factors(writer *w) {
  uint64_t dim = 0;
  if (!is_llama3(w) || mtk_model_tensor(w->model, "rope_freqs.weight")) return MTK_OK;
  MTK_TRY(mtk_meta_uint(&dim, mtk_model_meta(w->model), "rope.dimension_count", 0, w->err));
  if (dim < 2 || dim > 1 << 20) return MTK_OK;
  int n = (int)(dim / 2);
  double *buf = mtk_arena_alloc(w->arena, 2 * (size_t)n, sizeof *buf);
  float *factor = mtk_arena_alloc(w->arena, (size_t)n, sizeof *factor);
  if (!buf || !factor) return no_memory(w);
  MTK_TRY(mtk_model_rope(buf, buf + n, n, w->model, w->err));
  for (int i = 0; i < n; i++) factor[i] = (float)buf[n + i];
  return push_floats(w, "rope_freqs.weight", factor, n);
}

/* Which tensors go into which file; offsets in each. */
static mtk_status plan_files(writer *w) {
  out_file *f = w->files = mtk_arena_alloc(w->arena, w->n_tensors + 1, sizeof *w->files);
  if (!f) return no_memory(w);
  for (size_t i = 0; i < w->n_tensors; i++) {
    out_tensor *t = &w->tensors[i];
    bool full = f->count >= w->max_tensors || t->size > w->max_bytes ||
                f->data_bytes > w->max_bytes - t->size;
    if (f->count && full) *++f = (out_file){.first = i};
    t->offset = f->data_bytes;
    f->data_bytes += gguf_padded(t->size);
    f->count++;
  }
  w->n_files = (size_t)(f - w->files) + 1;
  if (w->n_files <= UINT16_MAX) return MTK_OK;
  return mtk_fail(w->err, MTK_E_INVALID, NULL,
                  "the model would fill %zu files; allow more in each (--split-max-size, "
                  "--split-max-tensors)",
                  w->n_files);
}

/* llama.cpp refuses models that have tensors it does not ask for: image encoders have a file of
 * their own, BERT's positions are constants, its pooler is no part of embeddings. */
static bool has_no_place(const mtk_tensor *t) {
  static const char *const prefixes[] = {"v.", "mm.", "embeddings.position_ids", "pooler.",
                                         "bert.embeddings.position_ids", "bert.pooler."};
  for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
    if (strncmp(t->name, prefixes[i], strlen(prefixes[i])) == 0) return true;
  return false;
}

static mtk_status plan_tensors(writer *w) {
  size_t n = mtk_model_tensor_count(w->model), n_left = 0;
  w->tensors = mtk_arena_alloc(w->arena, 3 * n + 3, sizeof *w->tensors);
  if (!w->tensors) return no_memory(w);
  MTK_TRY(plan_rope_factors(w));
  MTK_TRY(plan_longrope(w, "rope.scaling.long_factor", "rope_factors_long.weight"));
  MTK_TRY(plan_longrope(w, "rope.scaling.short_factor", "rope_factors_short.weight"));
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(w->model, i);
    if (has_no_place(t)) n_left++;
    else MTK_TRY(plan_tensor(w, t));
  }
  if (n_left)
    MTK_TRY(mtk_model_warn(w->model,
                           "%zu tensors of the image encoder or of a pooler have no place in a "
                           "GGUF of a language model: left out", n_left));
  if (!w->n_dequantized) return MTK_OK;
  return mtk_model_warn(w->model,
                        "%zu tensors were written as bf16: GGUF cannot hold their type or scales "
                        "(first: %s)",
                        w->n_dequantized, w->first_dequantized);
}

/* ---- metadata ------------------------------------------------------------------------------ */

/* Elements of each type in the matrices of the blocks (all: in all matrices). */
static uint64_t count_types(uint64_t *count, const writer *w, bool all) {
  uint64_t total = 0;
  for (size_t i = 0; i < w->n_tensors; i++) {
    const out_tensor *t = &w->tensors[i];
    bool counts = t->n_dims > 1 && (all || strncmp(t->name, "blk.", 4) == 0);
    if (!counts || gguf_type_by_dtype(t->dtype)->file_type == UINT32_MAX) continue;
    uint64_t n = 1;
    for (int d = 0; d < t->n_dims; d++) n *= (uint64_t)t->shape[d];
    count[t->dtype] += n;
    total += n;
  }
  return total;
}

/* general.file_type: what the model says of itself (a mixture such as Q4_K_M) if that names a type
 * it has; else the type of most weights. */
static uint64_t file_type(const writer *w) {
  uint64_t count[MTK_DTYPE_COUNT] = {0}, said = UINT64_MAX;
  mtk_error ignored = {0};
  mtk_dtype best = MTK_F32;
  if (!count_types(count, w, false)) count_types(count, w, true);
  (void)mtk_meta_uint(&said, mtk_model_meta(w->model), "general.file_type", UINT64_MAX, &ignored);
  mtk_dtype named = gguf_file_type_dtype(said);
  if (named != MTK_DTYPE_COUNT && count[named]) return said;
  for (int type = 0; type < MTK_DTYPE_COUNT; type++)
    if (count[type] > count[best]) best = (mtk_dtype)type;
  return gguf_type_by_dtype(best)->file_type;
}

static bool any_quantized(const writer *w) {
  for (size_t i = 0; i < w->n_tensors; i++)
    if (mtk_dtype_get(w->tensors[i].dtype)->is_quant) return true;
  return false;
}

/* The name of the model: its own, or that of the file it came from. */
static mtk_status put_name(writer *w) {
  const char *path = mtk_model_path(w->model);
  if (mtk_meta_get(mtk_model_meta(w->model), "general.name") || !path || !*path) return MTK_OK;
  size_t end = strlen(path), n;
  while (end > 1 && path[end - 1] == '/') end--;
  const char *base = path + end;
  while (base > path && base[-1] != '/') base--;
  for (n = (size_t)(path + end - base); n > 0 && base[n] != '.';) n--; /* without the extension */
  if (n == 0) n = (size_t)(path + end - base);
  mtk_value name = gguf_string(base, n);
  return mtk_meta_set(w->kvs, "general.name", &name, w->err);
}

static mtk_status put_general(writer *w) {
  const mtk_meta *meta = mtk_model_meta(w->model);
  const char *arch = mtk_model_arch(w->model);
  if (*arch) {
    MTK_TRY(mtk_meta_set_string(w->kvs, "general.architecture", arch, w->err));
  } else {
    MTK_TRY(mtk_model_warn(w->model, "the architecture is unknown: the file holds bare tensors"));
  }
  MTK_TRY(put_name(w));
  for (size_t i = 0; i < mtk_meta_count(meta); i++) {
    const char *key = mtk_meta_key(meta, i);
    if (strncmp(key, "general.", 8) == 0) {
      MTK_TRY(mtk_meta_set(w->kvs, key, mtk_meta_at(meta, i), w->err));
    }
  }
  MTK_TRY(mtk_meta_set_uint(w->kvs, "general.file_type", file_type(w), w->err));
  if (!any_quantized(w)) return MTK_OK;
  return mtk_meta_set_uint(w->kvs, "general.quantization_version", 2, w->err);
}

/* Hyperparameters get the architecture's prefix, "kv." marks keys that had another one. Keys that
 * llama.cpp does not know or refuses (rope scaling "llama3") go under a prefix of ours. */
static char *file_key(const writer *w, const char *key) {
  if (strncmp(key, "tokenizer.", 10) == 0) return mtk_strdup(key);
  if (strncmp(key, "kv.", 3) == 0) return mtk_strdup(key + 3);
  if (strncmp(key, "hf.", 3) == 0 || (is_llama3(w) && strncmp(key, "rope.scaling.", 13) == 0)) {
    return mtk_asprintf("mtk.hparam.%s", key);
  }
  const char *arch = mtk_model_arch(w->model);
  return *arch ? mtk_asprintf("%s.%s", arch, key) : mtk_strdup(key);
}

/* The factor of cos and sin, which llama.cpp does not compute itself. */
static mtk_status put_longrope_scale(writer *w) {
  const mtk_meta *meta = mtk_model_meta(w->model);
  double factor;
  if (!mtk_meta_get(meta, "rope.scaling.long_factor")) return MTK_OK;
  MTK_TRY(mtk_model_rope_scale(&factor, w->model, w->err));
  char *name = file_key(w, "rope.scaling.attn_factor");
  if (!name) return no_memory(w);
  mtk_status status = mtk_meta_set_float(w->kvs, name, factor, w->err);
  mtk_free(name);
  return status;
}

static mtk_status put_hparams(writer *w) {
  const mtk_meta *meta = mtk_model_meta(w->model);
  for (size_t i = 0; i < mtk_meta_count(meta); i++) {
    const char *key = mtk_meta_key(meta, i);
    bool tokenizer = strncmp(key, "tokenizer.", 10) == 0;
    if (strncmp(key, "general.", 8) == 0 || strcmp(key, "rope.pairing") == 0) continue;
    if (tokenizer && mtk_model_vocab(w->model) && gguf_vocab_covers(key)) continue;
    char *name = file_key(w, key);
    if (!name) return no_memory(w);
    mtk_value value = *mtk_meta_at(meta, i);
    bool tenth = strcmp(key, GGUF_YARN_LOG) == 0 &&
                 strcmp(mtk_model_arch(w->model), "deepseek2") == 0;
    if (tenth && value.type == MTK_META_F32) value.as.f = (double)(float)(value.as.f * 0.1);
    mtk_status status = mtk_meta_set(w->kvs, name, &value, w->err);
    mtk_free(name);
    MTK_TRY(status);
  }
  return put_longrope_scale(w);
}

static mtk_status put_text(writer *w, const char *prefix, const char *name, const char *data,
                           size_t n) {
  bool incomplete = false;
  if (mtk_utf8_prefix(data, n, &incomplete) != n) {
    return mtk_model_warn(w->model, "%s is not UTF-8 text; GGUF cannot hold it", name);
  }
  char *key = mtk_asprintf("%s%s", prefix, name);
  if (!key) return no_memory(w);
  mtk_value value = gguf_string(data, n);
  mtk_status status = mtk_meta_set(w->kvs, key, &value, w->err);
  mtk_free(key);
  return status;
}

/* tokenizer.chat_templates: the names of the templates beside the default one. */
static mtk_status put_template_names(writer *w) {
  static const char prefix[] = "chat_template.";
  size_t n = mtk_model_attachment_count(w->model), used = 0;
  mtk_value list = {.type = MTK_META_ARRAY};
  mtk_value *names = mtk_arena_alloc(w->arena, n, sizeof *names);
  if (!names) return no_memory(w);
  for (size_t i = 0; i < n; i++) {
    const char *name = mtk_model_attachment_name(w->model, i);
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) continue;
    name += sizeof prefix - 1;
    names[used++] = gguf_string(name, strlen(name));
  }
  if (!used) return MTK_OK;
  list.as.arr.type = MTK_META_STRING;
  list.as.arr.n = used;
  list.as.arr.items = names;
  return mtk_meta_set(w->kvs, "tokenizer.chat_templates", &list, w->err);
}

static mtk_status put_attachments(writer *w, const char *provenance) {
  MTK_TRY(put_template_names(w));
  for (size_t i = 0; i < mtk_model_attachment_count(w->model); i++) {
    const char *name = mtk_model_attachment_name(w->model, i);
    size_t n = 0;
    const char *data = mtk_model_attachment(w->model, name, &n);
    if (strcmp(name, "provenance.json") == 0) {
      if (!provenance) MTK_TRY(put_text(w, "mtk.", "provenance", data, n));
    } else if (strncmp(name, "chat_template", 13) == 0 && (!name[13] || name[13] == '.')) {
      MTK_TRY(put_text(w, "tokenizer.", name, data, n));
    } else {
      MTK_TRY(put_text(w, "mtk.attachment.", name, data, n));
    }
  }
  if (!provenance) return MTK_OK;
  return put_text(w, "mtk.", "provenance", provenance, strlen(provenance));
}

/* Vectors that were widened to f32, so that a reader can give them back in their own type. */
static mtk_status put_widened(writer *w, const char *key, mtk_dtype dtype) {
  mtk_value list = {.type = MTK_META_ARRAY};
  mtk_value *names = mtk_arena_alloc(w->arena, w->n_tensors, sizeof *names);
  size_t n = 0;
  if (!names) return no_memory(w);
  for (size_t i = 0; i < w->n_tensors; i++) {
    const out_tensor *t = &w->tensors[i];
    if (!t->source || t->dtype != MTK_F32 || t->source->dtype != dtype || t->source->scales) {
      continue;
    }
    names[n++] = gguf_string(t->name, strlen(t->name));
  }
  if (!n) return MTK_OK;
  list.as.arr.type = MTK_META_STRING;
  list.as.arr.n = n;
  list.as.arr.items = names;
  return mtk_meta_set(w->kvs, key, &list, w->err);
}

static mtk_status plan_meta(writer *w, const char *provenance) {
  MTK_TRY(put_general(w));
  MTK_TRY(put_hparams(w));
  MTK_TRY(gguf_write_vocab(w->kvs, w->model, w->err));
  MTK_TRY(put_attachments(w, provenance));
  MTK_TRY(put_widened(w, "mtk.widened.bf16", MTK_BF16));
  return put_widened(w, "mtk.widened.f16", MTK_F16);
}

/* ---- bytes --------------------------------------------------------------------------------- */

static void put_split_keys(mtk_bytes *header, const writer *w, size_t no) {
  mtk_value number = {.type = MTK_META_U16}, total = {.type = MTK_META_I32};
  number.as.u = no;
  gguf_put_kv(header, "split.no", &number);
  number.as.u = w->n_files;
  gguf_put_kv(header, "split.count", &number);
  total.as.i = (int64_t)w->n_tensors;
  gguf_put_kv(header, "split.tensors.count", &total);
}

/* Header of file no: the first has all keys. */
static mtk_status write_header(writer *w, mtk_output *out, size_t no) {
  const out_file *f = &w->files[no];
  mtk_bytes header = {.max = (size_t)4 << 30};
  size_t n_kvs = no ? 0 : mtk_meta_count(w->kvs);
  gguf_put_header(&header, f->count, n_kvs + (w->n_files > 1 ? 3 : 0));
  for (size_t i = 0; i < n_kvs; i++) {
    gguf_put_kv(&header, mtk_meta_key(w->kvs, i), mtk_meta_at(w->kvs, i));
  }
  if (w->n_files > 1) put_split_keys(&header, w, no);
  for (size_t i = f->first; i < f->first + f->count; i++) {
    const out_tensor *t = &w->tensors[i];
    gguf_put_tensor(&header, t->name, t->n_dims, t->shape, gguf_type_by_dtype(t->dtype)->id,
                    t->offset);
  }
  gguf_put_padding(&header);
  mtk_status status = mtk_bytes_status(&header, w->err);
  if (status == MTK_OK && !mtk_output_has(out, "header", header.len))
    status = mtk_output_write(out, header.data, header.len, w->err);
  if (status == MTK_OK) status = mtk_output_mark(out, w->err);
  mtk_bytes_finish(&header);
  return status;
}

/* Rows [row0, row0 + n) in the type of the file. raw, values: buffers for them. */
static mtk_status write_rows(writer *w, mtk_output *out, const out_tensor *t, int64_t row0,
                             int64_t n, void *raw, float *values) {
  const mtk_tensor *s = t->source;
  const void *rows = NULL;
  if (t->dtype == s->dtype) {
    MTK_TRY(mtk_tensor_fetch(&rows, s, row0, n, raw, w->err));
    return mtk_output_write(out, rows, (size_t)n * mtk_tensor_row_bytes(s), w->err);
  }
  size_t n_values = (size_t)(n * mtk_tensor_row_elems(s));
  MTK_TRY(mtk_tensor_fetch_f32(values, s, row0, n, raw, w->err));
  if (t->dtype == MTK_F32) return mtk_output_write(out, values, 4 * n_values, w->err);
  uint16_t *packed = raw; /* the source rows are no longer needed; see stream_tensor for its size */
  (void)mtk_dtype_encode(t->dtype, packed, values, n_values);
  return mtk_output_write(out, packed, 2 * n_values, w->err);
}

static mtk_status stream_tensor(writer *w, mtk_output *out, const out_tensor *t) {
  const mtk_tensor *s = t->source;
  if (!s) return mtk_output_write(out, t->values, (size_t)t->size, w->err);
  size_t row_elems = (size_t)mtk_tensor_row_elems(s), row_bytes = mtk_tensor_row_bytes(s);
  if (row_bytes < 2 * row_elems && t->dtype != s->dtype) row_bytes = 2 * row_elems;
  int64_t n_rows = mtk_tensor_rows(s), step = (int64_t)(CHUNK_BYTES / row_bytes);
  if (step < 1) step = 1;
  if (step > n_rows) step = n_rows;
  void *raw = mtk_alloc((size_t)step, row_bytes);
  float *values = t->dtype == s->dtype ? NULL : mtk_alloc((size_t)step * row_elems, sizeof *values);
  mtk_status status = raw && (values || t->dtype == s->dtype) ? MTK_OK : no_memory(w);
  for (int64_t row = 0; row < n_rows && status == MTK_OK; row += step) {
    int64_t n = n_rows - row < step ? n_rows - row : step;
    status = write_rows(w, out, t, row, n, raw, values);
    if (status == MTK_OK && mtk_cancelled()) {
      status = mtk_fail(w->err, MTK_E_CANCELLED, NULL, "stopped on request");
    }
  }
  mtk_free(raw);
  mtk_free(values);
  return status;
}

static mtk_status write_file(writer *w, mtk_output *out, size_t no) {
  static const uint8_t zeros[GGUF_ALIGNMENT];
  const out_file *f = &w->files[no];
  uint64_t total = 0;
  for (size_t i = 0; i < w->n_files; i++) total += w->files[i].data_bytes;
  MTK_TRY(write_header(w, out, no));
  for (size_t i = f->first; i < f->first + f->count; i++) {
    const out_tensor *t = &w->tensors[i];
    size_t padding = (size_t)(gguf_padded(t->size) - t->size);
    w->written += t->size + padding;
    if (mtk_output_has(out, t->name, t->size + padding)) continue;
    MTK_TRY(stream_tensor(w, out, t));
    MTK_TRY(mtk_output_write(out, zeros, padding, w->err));
    MTK_TRY(mtk_output_mark(out, w->err));
    mtk_progress("write", w->written, total, "B");
  }
  return MTK_OK;
}

static mtk_status create_file(writer *w, mtk_output **out, const char *path, size_t no,
                              bool force) {
  if (w->n_files == 1) return mtk_output_create_in(out, w->outputs, path, force, w->err);
  char *name = gguf_split_name(path, (uint32_t)no, (uint32_t)w->n_files);
  if (!name) return no_memory(w);
  mtk_status status = mtk_output_create_in(out, w->outputs, name, force, w->err);
  mtk_free(name);
  return status;
}

/* All files get their final names when all are complete, the first one last. */
static mtk_status write_files(writer *w, const char *path, bool force) {
  mtk_output **out = mtk_arena_alloc(w->arena, w->n_files, sizeof *out);
  mtk_status status = out ? MTK_OK : no_memory(w);
  size_t n = 0;
  for (; n < w->n_files && status == MTK_OK; n++) {
    status = create_file(w, &out[n], path, n, force);
    if (status == MTK_OK) status = write_file(w, out[n], n);
  }
  while (n--) {
    if (status == MTK_OK)
      status = mtk_output_commit(out[n], w->err);
    else
      mtk_output_abort(out[n]);
  }
  return status;
}

static mtk_status plan_and_write(writer *w, const char *path, const mtk_write_options *options) {
  if (w->arch && w->arch->gguf_pairing && mtk_meta_get(mtk_model_meta(w->model), "rope.pairing")) {
    MTK_TRY(mtk_model_set_pairing(w->model, w->arch->gguf_pairing, w->err));
  }
  MTK_TRY(gguf_split_limits(&w->max_bytes, &w->max_tensors, options ? options->options : NULL,
                            w->err));
  MTK_TRY(plan_tensors(w));
  MTK_TRY(plan_files(w));
  MTK_TRY(plan_meta(w, options ? options->provenance : NULL));
  return write_files(w, path, options && options->force);
}

mtk_status gguf_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                            mtk_error *err) {
  writer w = {.model = model, .outputs = options ? options->outputs : NULL, .err = err};
  w.arch = mtk_arch_find(mtk_model_arch(model));
  w.arena = mtk_arena_create();
  w.kvs = mtk_meta_create();
  mtk_status status = w.arena && w.kvs ? plan_and_write(&w, path, options) : no_memory(&w);
  mtk_meta_destroy(w.kvs);
  mtk_arena_destroy(w.arena);
  return status;
}
