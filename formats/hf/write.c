/* write.c: the canonical model as a model folder (or, for a path ending in .safetensors, as one
 * bare file). Tensors are streamed in chunks of a few MB; of a fp4 tensor the block scales are held
 * while its values are written. */
#include "hf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK_BYTES = 4 << 20 };

typedef struct writer {
  mtk_model *model;
  const mtk_arch_v1 *arch; /* NULL for bare tensors */
  const mtk_write_options *options;
  mtk_arena *arena;
  const char **hf_names; /* by index of the model's tensors */
  st_out *outs;
  size_t n_outs;
  bool inverse_names; /* DeepSeek's "weight_scale_inv" instead of "weight_scale" */
  size_t n_dequantized;
  const char *first_dequantized;
  size_t n_rounded; /* scales whose reciprocal no float holds */
  const char *first_rounded;
  uint8_t *scales; /* of the fp4 tensor written last */
  const mtk_tensor *scales_of;
  uint64_t done, total;
  json_t *metadata; /* strings of the first file */
  mtk_error *err;
} writer;

static mtk_status no_memory(writer *w) {
  return mtk_fail(w->err, MTK_E_NOMEM, NULL, "out of memory");
}

/* ---- writing the bytes of one tensor ------------------------------------------------------- */

/* Fetch rows chunk by chunk; `put` handles each chunk. values: f32 rows are wanted. */
typedef mtk_status (*chunk_fn)(writer *w, mtk_output *out, const mtk_tensor *t, const void *rows,
                               int64_t row0, int64_t n_rows);

static mtk_status for_chunks(writer *w, mtk_output *out, const mtk_tensor *t, bool values,
                             chunk_fn put) {
  int64_t n_rows = mtk_tensor_rows(t), elems = mtk_tensor_row_elems(t);
  size_t row_bytes = mtk_tensor_row_bytes(t), wide = values ? 4 * (size_t)elems : 0;
  if (n_rows == 0 || elems == 0) return MTK_OK;
  int64_t step = (int64_t)(CHUNK_BYTES / (row_bytes + wide));
  if (step < 1) step = 1;
  if (step > n_rows) step = n_rows;
  void *raw = mtk_alloc((size_t)step, row_bytes);
  float *f32 = values ? mtk_alloc((size_t)step, wide) : NULL;
  mtk_status status = raw && (f32 || !values) ? MTK_OK : no_memory(w);
  for (int64_t row = 0; row < n_rows && status == MTK_OK; row += step) {
    int64_t n = n_rows - row < step ? n_rows - row : step;
    const void *rows = f32;
    status = values ? mtk_tensor_fetch_f32(f32, t, row, n, raw, w->err)
                    : mtk_tensor_fetch(&rows, t, row, n, raw, w->err);
    if (status == MTK_OK) status = put(w, out, t, rows, row, n);
    if (status == MTK_OK && mtk_cancelled()) {
      status = mtk_fail(w->err, MTK_E_CANCELLED, NULL, "stopped on request");
    }
  }
  mtk_free(raw);
  mtk_free(f32);
  return status;
}

static mtk_status put_rows(writer *w, mtk_output *out, const mtk_tensor *t, const void *rows,
                           int64_t row0, int64_t n_rows) {
  (void)row0;
  return mtk_output_write(out, rows, (size_t)n_rows * mtk_tensor_row_bytes(t), w->err);
}

/* f32 rows -> bf16, in place. */
static mtk_status put_bf16(writer *w, mtk_output *out, const mtk_tensor *t, const void *rows,
                           int64_t row0, int64_t n_rows) {
  size_t n = (size_t)(n_rows * mtk_tensor_row_elems(t));
  const float *values = rows;
  uint16_t packed[4096];
  (void)row0;
  for (size_t i = 0; i < n; i += 4096) {
    size_t part = n - i < 4096 ? n - i : 4096;
    (void)mtk_dtype_encode(MTK_BF16, packed, values + i, part);
    MTK_TRY(mtk_output_write(out, packed, 2 * part, w->err));
  }
  return MTK_OK;
}

static size_t fp4_group(const mtk_tensor *t) { return t->dtype == MTK_NVFP4 ? 16 : 32; }

/* Blocks -> packed values to the file and scales to w->scales; without a file only the scales. */
static mtk_status put_fp4(writer *w, mtk_output *out, const mtk_tensor *t, const void *rows,
                          int64_t row0, int64_t n_rows) {
  size_t k = (size_t)mtk_tensor_row_elems(t), n = (size_t)n_rows * k;
  size_t block = mtk_dtype_get(t->dtype)->block_elems;
  uint8_t *packed = mtk_alloc(n / 2, 1);
  if (!packed) return no_memory(w);
  hf_unpack_rows(t->dtype, packed, w->scales + (size_t)row0 * k / fp4_group(t), rows, n / block);
  mtk_status status = out ? mtk_output_write(out, packed, n / 2, w->err) : MTK_OK;
  mtk_free(packed);
  return status;
}

static mtk_status stream_fp4(writer *w, mtk_output *out, const mtk_tensor *t) {
  mtk_free(w->scales);
  w->scales_of = NULL;
  w->scales = mtk_alloc((size_t)(mtk_tensor_rows(t) * mtk_tensor_row_elems(t)) / fp4_group(t), 1);
  if (!w->scales) return no_memory(w);
  MTK_TRY(for_chunks(w, out, t, false, put_fp4));
  w->scales_of = t;
  return MTK_OK;
}

/* The functions of st_out.write; ctx is the writer. */

static mtk_status write_plain(const st_out *self, mtk_output *out, void *ctx, mtk_error *err) {
  writer *w = ctx;
  (void)err;
  w->done += self->size;
  mtk_progress("write", w->done, w->total, "B");
  return for_chunks(w, out, self->source, false, put_rows);
}

static mtk_status write_bf16(const st_out *self, mtk_output *out, void *ctx, mtk_error *err) {
  writer *w = ctx;
  (void)err;
  w->done += self->size;
  mtk_progress("write", w->done, w->total, "B");
  return for_chunks(w, out, self->source, true, put_bf16);
}

static mtk_status write_packed(const st_out *self, mtk_output *out, void *ctx, mtk_error *err) {
  writer *w = ctx;
  (void)err;
  w->done += self->size;
  mtk_progress("write", w->done, w->total, "B");
  return stream_fp4(w, out, self->source);
}

static mtk_status write_fp4_scales(const st_out *self, mtk_output *out, void *ctx, mtk_error *err) {
  writer *w = ctx;
  if (w->scales_of != self->source) MTK_TRY(stream_fp4(w, NULL, self->source));
  return mtk_output_write(out, w->scales, self->size, err);
}

static mtk_status write_values(const st_out *self, mtk_output *out, void *ctx, mtk_error *err) {
  (void)ctx;
  return mtk_output_write(out, self->values, self->size, err);
}

/* Powers of two as E8M0: the exponent of the f32. */
static mtk_status write_e8m0(const st_out *self, mtk_output *out, void *ctx, mtk_error *err) {
  (void)ctx;
  for (uint64_t i = 0; i < self->size; i++) {
    uint32_t bits;
    memcpy(&bits, &self->values[i], 4);
    uint8_t byte = (uint8_t)(bits >> 23);
    MTK_TRY(mtk_output_write(out, &byte, 1, err));
  }
  return MTK_OK;
}

/* ---- the list of tensors ------------------------------------------------------------------- */

/* "<module>.weight" -> "<module><suffix>" */
static const char *sibling(writer *w, const char *name, const char *suffix) {
  size_t stem = strlen(name) - strlen(".weight");
  char *text = mtk_asprintf("%.*s%s", (int)stem, name, suffix);
  const char *kept = text ? mtk_arena_strndup(w->arena, text, strlen(text)) : NULL;
  mtk_free(text);
  return kept;
}

static mtk_status push(writer *w, st_out out) {
  uint64_t n = 1;
  if (!out.name) return no_memory(w);
  if (!st_dtype_name(out.dtype)) {
    return mtk_fail(w->err, MTK_E_UNSUPPORTED, out.name, "safetensors has no type for %s",
                    mtk_dtype_get(out.dtype)->name);
  }
  for (int i = 0; i < out.n_dims; i++) n *= (uint64_t)out.shape[i];
  out.size = n ? mtk_dtype_bytes(out.dtype, n) : 0;
  w->total += out.size;
  w->outs[w->n_outs++] = out;
  return MTK_OK;
}

static mtk_status push_float(writer *w, const char *name, float value, bool inverse) {
  float *kept = mtk_arena_alloc(w->arena, 1, sizeof *kept);
  if (!kept) return no_memory(w);
  *kept = value;
  if (inverse) {
    /* A reader divides: look for the float whose reciprocal is the value, near the rounded one. */
    uint32_t bits;
    *kept = 1.0f / value;
    memcpy(&bits, kept, 4);
    for (uint32_t d = 0; d < 5; d++) {
      uint32_t near = bits + d - 2;
      float f;
      memcpy(&f, &near, 4);
      if (1.0f / f == value) *kept = f;
    }
    if (1.0f / *kept != value && !w->n_rounded++) w->first_rounded = name;
  }
  st_out out = {.name = name, .dtype = MTK_F32, .n_dims = 1, .shape = {1}, .values = kept};
  out.write = write_values;
  return push(w, out);
}

static mtk_status plan_fp4(writer *w, const mtk_tensor *t, const char *name) {
  bool nv = t->dtype == MTK_NVFP4;
  int64_t n = t->shape[0], k = t->shape[1];
  st_out packed = {.dtype = MTK_U8, .n_dims = 2, .shape = {n, k / 2}, .source = t};
  st_out scale = {.n_dims = 2, .shape = {n, k / (nv ? 16 : 32)}, .source = t};
  packed.name = sibling(w, name, ".weight_packed");
  packed.write = write_packed;
  scale.name = sibling(w, name, ".weight_scale");
  scale.dtype = nv ? MTK_F8_E4M3 : MTK_U8;
  scale.write = write_fp4_scales;
  MTK_TRY(push(w, packed));
  MTK_TRY(push(w, scale));
  if (!nv) return MTK_OK;
  MTK_TRY(push_float(w, sibling(w, name, ".weight_global_scale"), t->scales ? t->scales[0] : 1.0f,
                     true));
  if (t->input_scale == 0) return MTK_OK;
  return push_float(w, sibling(w, name, ".input_global_scale"), t->input_scale, true);
}

static const char *with_suffix(writer *w, const char *name, const char *suffix) {
  char *text = mtk_asprintf("%s%s", name, suffix);
  const char *kept = text ? mtk_arena_strndup(w->arena, text, strlen(text)) : NULL;
  mtk_free(text);
  return kept;
}

static mtk_status plan_blocks(writer *w, const mtk_tensor *t, const char *name) {
  const int64_t *s = t->shape;
  st_out blocks = {.dtype = MTK_U8, .n_dims = 4, .shape = {s[0], s[1], s[2] / 32, 16}, .source = t};
  st_out scales = {.dtype = MTK_U8, .n_dims = 3, .shape = {s[0], s[1], s[2] / 32}, .source = t};
  blocks.name = with_suffix(w, name, "_blocks");
  blocks.write = write_packed;
  scales.name = with_suffix(w, name, "_scales");
  scales.write = write_fp4_scales;
  MTK_TRY(push(w, blocks));
  return push(w, scales);
}

static mtk_status plan_fp8(writer *w, const mtk_tensor *t, const char *name, bool mx) {
  int64_t rows = (t->shape[0] - 1) / t->scale_n + 1, cols = (t->shape[1] - 1) / t->scale_k + 1;
  st_out weight = {.name = name, .dtype = t->dtype, .n_dims = 2, .source = t};
  st_out scale = {.n_dims = rows * cols == 1 ? 1 : 2, .shape = {rows, cols}, .values = t->scales};
  weight.shape[0] = t->shape[0];
  weight.shape[1] = t->shape[1];
  weight.write = write_plain;
  scale.name = sibling(w, name, w->inverse_names ? ".weight_scale_inv" : ".weight_scale");
  scale.dtype = mx ? MTK_U8 : MTK_F32;
  scale.write = mx ? write_e8m0 : write_values;
  MTK_TRY(push(w, weight));
  MTK_TRY(push(w, scale));
  if (t->input_scale == 0) return MTK_OK;
  return push_float(w, sibling(w, name, ".input_scale"), t->input_scale, false);
}

static mtk_status plan_tensor(writer *w, const mtk_tensor *t, const char *name) {
  hf_layout layout = hf_layout_of(t);
  if (layout == HF_NVFP4 || layout == HF_MXFP4) return plan_fp4(w, t, name);
  if (layout == HF_BLOCKS) return plan_blocks(w, t, name);
  if (layout == HF_FP8 || layout == HF_MXFP8) return plan_fp8(w, t, name, layout == HF_MXFP8);
  st_out out = {.name = name, .dtype = t->dtype, .n_dims = t->n_dims, .source = t};
  memcpy(out.shape, t->shape, sizeof out.shape);
  out.write = write_plain;
  if (layout == HF_DEQUANT) {
    out.dtype = MTK_BF16;
    out.write = write_bf16;
    if (!w->n_dequantized++) w->first_dequantized = t->name;
  }
  return push(w, out);
}

/* Rotary divisors follow from config.json when it can name their rule. */
static bool is_derived(const writer *w, const mtk_tensor *t) {
  const char *type = mtk_meta_str(mtk_model_meta(w->model), "rope.scaling.type", "");
  return strcmp(t->name, "rope_freqs.weight") == 0 && strcmp(type, "llama3") == 0;
}

static mtk_status name_tensors(writer *w) {
  size_t n = mtk_model_tensor_count(w->model);
  w->hf_names = mtk_arena_alloc(w->arena, n, sizeof *w->hf_names);
  if (!w->hf_names) return no_memory(w);
  for (size_t i = 0; i < n; i++) {
    char buf[512];
    const char *own = mtk_model_tensor_at(w->model, i)->name;
    const char *name = w->arch ? mtk_arch_name_to_hf(buf, sizeof buf, w->arch, own) : own;
    if (!name) name = own;
    w->hf_names[i] = mtk_arena_strndup(w->arena, name, strlen(name));
    if (!w->hf_names[i]) return no_memory(w);
  }
  return MTK_OK;
}

static mtk_status plan_tensors(writer *w) {
  size_t n = mtk_model_tensor_count(w->model);
  w->outs = mtk_arena_alloc(w->arena, 4 * n, sizeof *w->outs);
  if (!w->outs) return no_memory(w);
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(w->model, i);
    if (is_derived(w, t)) continue;
    if (strcmp(t->name, "rope_freqs.weight") == 0) {
      MTK_TRY(mtk_model_warn(w->model, "rope_freqs.weight is kept, but config.json cannot name its "
                                       "rule: other programs will ignore it"));
    }
    MTK_TRY(plan_tensor(w, t, w->hf_names[i]));
  }
  if (w->n_rounded) {
    MTK_TRY(mtk_model_warn(w->model,
                           "%zu scales were changed in their last bit: the layout holds "
                           "their reciprocals (first: %s)",
                           w->n_rounded, w->first_rounded));
  }
  if (!w->n_dequantized) return MTK_OK;
  return mtk_model_warn(w->model,
                        "%zu tensors were written as bf16: a model folder cannot hold their type "
                        "(first: %s)",
                        w->n_dequantized, w->first_dequantized);
}

/* ---- texts --------------------------------------------------------------------------------- */

static mtk_status write_text(writer *w, const char *folder, const char *name, const char *data,
                             size_t n) {
  char *path = mtk_path_join(folder, name);
  if (!path) return no_memory(w);
  char *slash = path + strlen(path) - strlen(name) + strcspn(name, "/");
  if (*slash) { /* a folder in the folder */
    *slash = 0;
    (void)mkdir(path, 0777); /* if it fails, writing the file says why */
    *slash = '/';
  }
  mtk_status status = mtk_write_file(path, data, n, true, w->err);
  mtk_free(path);
  return status;
}

static json_t *load_attached(const writer *w, const char *name) {
  size_t n = 0;
  const char *text = mtk_model_attachment(w->model, name, &n);
  return text ? json_loadb(text, n, 0, NULL) : NULL;
}

/* All quantized weights fp8 in blocks, and the source said so in DeepSeek's way: keep that way. */
static bool keeps_inverse_names(const writer *w) {
  json_t *config = load_attached(w, "config.json");
  const json_t *quantization = json_object_get(config, "quantization_config");
  const char *method = json_string_value(json_object_get(quantization, "quant_method"));
  bool keep = method && strcmp(method, "fp8") == 0, any = false;
  json_decref(config);
  for (size_t i = 0; i < mtk_model_tensor_count(w->model); i++) {
    const mtk_tensor *t = mtk_model_tensor_at(w->model, i);
    hf_layout layout = hf_layout_of(t);
    if (layout <= HF_DEQUANT) continue;
    any = true;
    keep &= layout == HF_FP8 && t->scale_n == 128 && t->scale_k == 128;
  }
  return keep && any;
}

/* config.json: the table's hyperparameters over the original, and how the weights are stored. The
 * original's bytes if nothing changed. */
static mtk_status make_config(writer *w, mtk_bytes *out) {
  json_t *config = NULL, *quantization = NULL;
  mtk_bytes text = {0};
  mtk_status status = mtk_arch_config_to_hf(&text, w->arch, w->model, w->err);
  if (status == MTK_OK) {
    status = hf_load_json(&config, text.data, text.len, "config.json", w->err);
  }
  mtk_bytes_finish(&text);
  if (status == MTK_OK && !w->inverse_names) {
    status = hf_quant_config_write(&quantization, w->model, w->hf_names, w->err);
    if (quantization) {
      (void)json_object_set_new(config, "quantization_config", quantization);
    } else {
      (void)json_object_del(config, "quantization_config");
    }
  }
  json_t *original = load_attached(w, "config.json");
  if (status == MTK_OK && json_equal(config, original)) {
    size_t n = 0;
    const char *bytes = mtk_model_attachment(w->model, "config.json", &n);
    mtk_bytes_append(out, bytes, n);
    status = mtk_bytes_status(out, w->err);
  } else if (status == MTK_OK) {
    status = hf_dump_json(out, config, w->err);
  }
  json_decref(original);
  json_decref(config);
  return status;
}

static mtk_status write_config(writer *w, const char *folder) {
  size_t n = 0;
  const char *original = mtk_model_attachment(w->model, "config.json", &n);
  if (!w->arch) {
    if (original) return write_text(w, folder, "config.json", original, n);
    return mtk_model_warn(w->model, "the architecture is unknown: no config.json was written");
  }
  mtk_bytes text = {0};
  mtk_status status = make_config(w, &text);
  if (status == MTK_OK) status = write_text(w, folder, "config.json", text.data, text.len);
  mtk_bytes_finish(&text);
  return status;
}

/* tokenizer.json and tokenizer_config.json; *config gets the parsed latter (may stay NULL). */
static mtk_status write_vocab(writer *w, const char *folder, json_t **config) {
  const mtk_vocab *vocab = mtk_model_vocab(w->model);
  mtk_bytes json = {0}, config_json = {0};
  if (!vocab) {
    *config = load_attached(w, "tokenizer_config.json");
    return MTK_OK; /* written with the other attachments */
  }
  mtk_status status = mtk_vocab_to_hf(&json, &config_json, vocab, w->err);
  if (status == MTK_OK) status = write_text(w, folder, "tokenizer.json", json.data, json.len);
  if (status == MTK_OK && config_json.len) {
    status = write_text(w, folder, "tokenizer_config.json", config_json.data, config_json.len);
    *config = json_loadb(config_json.data, config_json.len, 0, NULL);
  }
  mtk_bytes_finish(&json);
  mtk_bytes_finish(&config_json);
  return status;
}

/* The text of one template inside tokenizer_config.json, or NULL. */
static const char *template_in(const json_t *config, const char *name) {
  const json_t *value = json_object_get(config, "chat_template");
  if (json_is_string(value)) return *name ? NULL : json_string_value(value);
  for (size_t i = 0; i < json_array_size(value); i++) {
    const json_t *item = json_array_get(value, i);
    const char *found = json_string_value(json_object_get(item, "name"));
    if (found && strcmp(found, *name ? name : "default") == 0) {
      return json_string_value(json_object_get(item, "template"));
    }
  }
  return NULL;
}

static bool same_text(const char *a, const char *b, size_t n) {
  return a && strlen(a) == n && memcmp(a, b, n) == 0;
}

/* A file of the folder itself, or of one folder in it. */
static bool is_safe_name(const char *name) {
  const char *slash = strchr(name, '/');
  return name[0] && name[0] != '.' && name[0] != '/' &&
         (!slash || (slash[1] && slash[1] != '.' && !strchr(slash + 1, '/')));
}

/* A template gets a file of its own unless tokenizer_config.json holds the same text. */
static mtk_status write_template(writer *w, const char *folder, const json_t *config,
                                 const char *attachment, const char *data, size_t n) {
  const char *name = attachment + strlen("chat_template");
  if (*name == '.') name++;
  if (same_text(template_in(config, name), data, n)) return MTK_OK;
  if (!*name) return write_text(w, folder, "chat_template.jinja", data, n);
  if (!is_safe_name(name)) {
    return mtk_model_warn(w->model, "chat template %.80s has no safe file name; left out", name);
  }
  char *file = mtk_asprintf("additional_chat_templates/%s.jinja", name);
  mtk_status status = file ? write_text(w, folder, file, data, n) : no_memory(w);
  mtk_free(file);
  return status;
}

static mtk_status write_attachments(writer *w, const char *folder, const json_t *config) {
  const char *provenance = w->options ? w->options->provenance : NULL;
  for (size_t i = 0; i < mtk_model_attachment_count(w->model); i++) {
    const char *name = mtk_model_attachment_name(w->model, i);
    size_t n = 0;
    const char *data = mtk_model_attachment(w->model, name, &n);
    bool template = strncmp(name, "chat_template", 13) == 0 && (!name[13] || name[13] == '.');
    if (strcmp(name, "config.json") == 0) continue;
    if (strcmp(name, "provenance.json") == 0 && provenance) continue;
    if (template) {
      MTK_TRY(write_template(w, folder, config, name, data, n));
    } else if (!is_safe_name(name)) {
      MTK_TRY(mtk_model_warn(w->model, "attachment %.80s has no safe file name; left out", name));
    } else {
      MTK_TRY(write_text(w, folder, name, data, n));
    }
  }
  if (!provenance) return MTK_OK;
  return write_text(w, folder, "provenance.json", provenance, strlen(provenance));
}

/* ---- shards -------------------------------------------------------------------------------- */

/* "5GB", "300MB", "1000000"; decimal units as in huggingface_hub. 0 = no limit. */
static mtk_status shard_limit(writer *w, uint64_t *out) {
  static const struct {
    const char *unit;
    uint64_t factor;
  } units[] = {{"", 1}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}};
  const char *text = w->options && w->options->options
                         ? mtk_options_string(w->options->options, "max-shard-size")
                         : NULL;
  *out = 0;
  if (!text) return MTK_OK;
  char *end = NULL;
  unsigned long long n = strtoull(text, &end, 10);
  for (size_t i = 0; i < sizeof units / sizeof units[0] && end != text && *text != '-'; i++) {
    if (strcmp(end, units[i].unit) == 0 &&
        !__builtin_mul_overflow((uint64_t)n, units[i].factor, out)) {
      return MTK_OK;
    }
  }
  return mtk_fail(w->err, MTK_E_INVALID, "--max-shard-size",
                  "'%.40s' is not a size (a number with KB, MB, GB or TB)", text);
}

static size_t shard_end(const writer *w, size_t begin, uint64_t limit) {
  uint64_t bytes = 0;
  size_t i = begin;
  for (; i < w->n_outs; i++) {
    if (limit && i > begin && bytes + w->outs[i].size > limit) break;
    bytes += w->outs[i].size;
  }
  return i;
}

static int by_text(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A copy with the keys in the order of their bytes; NULL when memory is short. */
static json_t *sorted_by_key(json_t *map) {
  const char *key;
  json_t *value, *out = json_object();
  const char **keys = mtk_alloc(json_object_size(map), sizeof *keys);
  size_t n = 0;
  if (keys) {
    json_object_foreach(map, key, value) keys[n++] = key;
    qsort(keys, n, sizeof *keys, by_text);
  }
  for (size_t i = 0; i < n; i++)
    (void)json_object_set(out, keys[i], json_object_get(map, keys[i]));
  mtk_free(keys);
  if (n == json_object_size(out) && n == json_object_size(map)) return out;
  json_decref(out);
  return NULL;
}

static mtk_status write_index(writer *w, const char *folder, json_t *map) {
  json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->total,
                            "weight_map", sorted_by_key(map));
  mtk_bytes text = {0};
  mtk_status status = index ? hf_dump_json(&text, index, w->err) : no_memory(w);
  if (status == MTK_OK) {
    status = write_text(w, folder, "model.safetensors.index.json", text.data, text.len);
  }
  mtk_bytes_finish(&text);
  json_decref(index);
  return status;
}

static mtk_status write_shard(writer *w, const char *folder, const char *name, size_t begin,
                              size_t end) {
  char *path = mtk_path_join(folder, name);
  if (!path) return no_memory(w);
  st_sort_aligned(w->outs + begin, end - begin);
  json_t *metadata = begin ? NULL : w->metadata; /* in the first file */
  mtk_status status = st_write_file(path, w->outs + begin, end - begin, metadata, true, w, w->err);
  mtk_free(path);
  return status;
}

static mtk_status write_shards(writer *w, const char *folder, uint64_t limit) {
  size_t n_shards = 0;
  for (size_t at = 0; at < w->n_outs; n_shards++) at = shard_end(w, at, limit);
  if (n_shards <= 1) return write_shard(w, folder, "model.safetensors", 0, w->n_outs);
  json_t *map = json_object();
  mtk_status status = map ? MTK_OK : no_memory(w);
  for (size_t at = 0, i = 1; at < w->n_outs && status == MTK_OK; i++) {
    size_t end = shard_end(w, at, limit);
    char *name = mtk_asprintf("model-%05zu-of-%05zu.safetensors", i, n_shards);
    for (size_t t = at; name && t < end; t++) {
      (void)json_object_set_new(map, w->outs[t].name, json_string(name));
    }
    status = name ? write_shard(w, folder, name, at, end) : no_memory(w);
    mtk_free(name);
    at = end;
  }
  if (status == MTK_OK) status = write_index(w, folder, map);
  json_decref(map);
  return status;
}

/* ---- the whole ----------------------------------------------------------------------------- */

static mtk_status fill_folder(writer *w, const char *folder) {
  json_t *config = NULL;
  uint64_t limit = 0;
  MTK_TRY(shard_limit(w, &limit));
  MTK_TRY(write_config(w, folder));
  mtk_status status = write_vocab(w, folder, &config);
  if (status == MTK_OK) status = write_attachments(w, folder, config);
  json_decref(config);
  MTK_TRY(status);
  return write_shards(w, folder, limit);
}

static mtk_status write_folder(writer *w, const char *path) {
  mtk_outdir *dir = NULL;
  MTK_TRY(mtk_outdir_create(&dir, path, w->options && w->options->force, w->err));
  mtk_status status = fill_folder(w, mtk_outdir_path(dir));
  if (status == MTK_OK) return mtk_outdir_commit(dir, w->err);
  mtk_outdir_abort(dir);
  return status;
}

static mtk_status write_bare(writer *w, const char *path) {
  const char *provenance = w->options ? w->options->provenance : NULL;
  if (w->arch || mtk_model_vocab(w->model)) {
    MTK_TRY(mtk_model_warn(w->model, "a .safetensors file holds the tensors only: hyperparameters "
                                     "and tokenizer were left out (name a folder to keep them)"));
  }
  if (provenance) {
    (void)json_object_set_new(w->metadata, "mtk.provenance", json_string(provenance));
  }
  st_sort_aligned(w->outs, w->n_outs);
  return st_write_file(path, w->outs, w->n_outs, w->metadata, w->options && w->options->force, w,
                       w->err);
}

static mtk_status plan_and_write(writer *w, const char *path) {
  size_t n = strlen(path), k = strlen(".safetensors");
  if (w->arch && mtk_meta_get(mtk_model_meta(w->model), "rope.pairing")) {
    MTK_TRY(mtk_model_set_pairing(w->model, "half", w->err));
  }
  if (w->arch) MTK_TRY(mtk_model_split_experts(w->model, w->arch, w->err));
  if (w->arch) MTK_TRY(mtk_model_shift_norms(w->model, w->arch, true, w->err));
  w->inverse_names = keeps_inverse_names(w);
  MTK_TRY(name_tensors(w));
  MTK_TRY(plan_tensors(w));
  MTK_TRY(hf_put_metadata(w->metadata, w->model, w->err));
  return n > k && strcmp(path + n - k, ".safetensors") == 0 ? write_bare(w, path)
                                                            : write_folder(w, path);
}

mtk_status hf_write_model(mtk_model *model, const char *path, const mtk_write_options *options,
                          mtk_error *err) {
  writer w = {.model = model, .options = options, .err = err};
  w.arch = mtk_arch_find(mtk_model_arch(model));
  w.arena = mtk_arena_create();
  w.metadata = json_object();
  mtk_status status = w.arena && w.metadata ? plan_and_write(&w, path) : no_memory(&w);
  json_decref(w.metadata);
  mtk_free(w.scales);
  mtk_arena_destroy(w.arena);
  return status;
}
