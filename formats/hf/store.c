/* store.c: how the tensors of a model lie in safetensors files: which tensors each one becomes
 * (values, scales, zero points), and their bytes, streamed in chunks of a few MB. Of a tensor whose
 * blocks hold scales or zero points these are held while its values are written. One thread per
 * hf_store. */
#include "hf.h"

#include <string.h>

enum { CHUNK_BYTES = 4 << 20 };

static mtk_status no_memory(hf_store *s) {
  return mtk_fail(s->err, MTK_E_NOMEM, NULL, "out of memory");
}

/* ---- writing the bytes of one tensor ------------------------------------------------------- */

/* Fetch rows chunk by chunk; `put` handles each chunk. values: f32 rows are wanted. */
typedef mtk_status (*chunk_fn)(hf_store *s, mtk_output *out, const mtk_tensor *t, const void *rows,
                               int64_t row0, int64_t n_rows);

static mtk_status for_chunks(hf_store *s, mtk_output *out, const mtk_tensor *t, bool values,
                             chunk_fn put) {
  int64_t n_rows = mtk_tensor_rows(t), elems = mtk_tensor_row_elems(t);
  size_t row_bytes = mtk_tensor_row_bytes(t), wide = values ? 4 * (size_t)elems : 0;
  if (n_rows == 0 || elems == 0) return MTK_OK;
  int64_t step = (int64_t)(CHUNK_BYTES / (row_bytes + wide));
  if (step < 1) step = 1;
  if (step > n_rows) step = n_rows;
  void *raw = mtk_alloc((size_t)step, row_bytes);
  float *f32 = values ? mtk_alloc((size_t)step, wide) : NULL;
  mtk_status status = raw && (f32 || !values) ? MTK_OK : no_memory(s);
  for (int64_t row = 0; row < n_rows && status == MTK_OK; row += step) {
    int64_t n = n_rows - row < step ? n_rows - row : step;
    const void *rows = f32;
    status = values ? mtk_tensor_fetch_f32(f32, t, row, n, raw, s->err)
                    : mtk_tensor_fetch(&rows, t, row, n, raw, s->err);
    if (status == MTK_OK) status = put(s, out, t, rows, row, n);
    if (status == MTK_OK && mtk_cancelled()) {
      status = mtk_fail(s->err, MTK_E_CANCELLED, NULL, "stopped on request");
    }
  }
  mtk_free(raw);
  mtk_free(f32);
  return status;
}

static mtk_status put_rows(hf_store *s, mtk_output *out, const mtk_tensor *t, const void *rows,
                           int64_t row0, int64_t n_rows) {
  (void)row0;
  return mtk_output_write(out, rows, (size_t)n_rows * mtk_tensor_row_bytes(t), s->err);
}

/* f32 rows -> bf16, in place. */
static mtk_status put_bf16(hf_store *s, mtk_output *out, const mtk_tensor *t, const void *rows,
                           int64_t row0, int64_t n_rows) {
  size_t n = (size_t)(n_rows * mtk_tensor_row_elems(t));
  const float *values = rows;
  uint16_t packed[4096];
  (void)row0;
  for (size_t i = 0; i < n; i += 4096) {
    size_t part = n - i < 4096 ? n - i : 4096;
    (void)mtk_dtype_encode(MTK_BF16, packed, values + i, part);
    MTK_TRY(mtk_output_write(out, packed, 2 * part, s->err));
  }
  return MTK_OK;
}

/* Elements that share one of the bytes beside the values: a scale of fp4, a zero point of q4_1;
 * 0: no such bytes. */
static size_t beside_group(const mtk_tensor *t) {
  if (t->dtype == MTK_NVFP4) return 16;
  return t->dtype == MTK_MXFP4 || t->dtype == MTK_Q4_1 ? 32 : 0;
}

static mtk_status uneven(hf_store *s, const mtk_tensor *t) {
  return mtk_fail(s->err, MTK_E_UNSUPPORTED, t->name,
                  "its blocks have scales of their own beside the outside ones");
}

/* Blocks -> packed values to the file and what lies beside them to s->beside; without a file only
 * the latter. */
static mtk_status put_packed(hf_store *s, mtk_output *out, const mtk_tensor *t, const void *rows,
                             int64_t row0, int64_t n_rows) {
  uint8_t packed[32 << 10]; /* stays in the cache on its way into the file */
  const mtk_dtype_info *info = mtk_dtype_get(t->dtype);
  size_t block = info->block_elems, per_block = t->dtype == MTK_Q8_0 ? block : block / 2;
  size_t k = (size_t)mtk_tensor_row_elems(t), n_blocks = (size_t)n_rows * k / block;
  size_t group = beside_group(t), step = sizeof packed / per_block;
  for (size_t at = 0; at < n_blocks; at += step) {
    size_t n = n_blocks - at < step ? n_blocks - at : step;
    const uint8_t *blocks = (const uint8_t *)rows + at * info->block_bytes;
    uint8_t *beside = group ? s->beside + ((size_t)row0 * k + at * block) / group : NULL;
    if (t->dtype == MTK_NVFP4 || t->dtype == MTK_MXFP4) {
      hf_unpack_rows(t->dtype, packed, beside, blocks, n);
    } else if (!hf_int_unpack(t->dtype, packed, beside, blocks, n)) {
      return uneven(s, t);
    }
    if (out) MTK_TRY(mtk_output_write(out, packed, n * per_block, s->err));
  }
  return MTK_OK;
}

/* q8_0 blocks -> signed bytes. */
static mtk_status put_int8(hf_store *s, mtk_output *out, const mtk_tensor *t, const void *rows,
                           int64_t row0, int64_t n_rows) {
  size_t n = (size_t)(n_rows * mtk_tensor_row_elems(t));
  uint8_t *bytes = mtk_alloc(n, 1);
  (void)row0;
  if (!bytes) return no_memory(s);
  mtk_status status = hf_int_unpack(MTK_Q8_0, bytes, NULL, rows, n / 32) ? MTK_OK : uneven(s, t);
  for (size_t i = 0; i < n; i++) bytes[i] ^= 0x80;
  if (status == MTK_OK) status = mtk_output_write(out, bytes, n, s->err);
  mtk_free(bytes);
  return status;
}

static mtk_status stream_packed(hf_store *s, mtk_output *out, const mtk_tensor *t) {
  size_t group = beside_group(t);
  mtk_free(s->beside);
  s->beside = NULL;
  s->beside_of = NULL;
  if (group) {
    s->beside = mtk_alloc((size_t)(mtk_tensor_rows(t) * mtk_tensor_row_elems(t)) / group, 1);
    if (!s->beside) return no_memory(s);
  }
  MTK_TRY(for_chunks(s, out, t, false, put_packed));
  s->beside_of = t;
  return MTK_OK;
}

/* The functions of st_out.write. */

static mtk_status write_plain(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  (void)err;
  return for_chunks(s, out, self->source, false, put_rows);
}

static mtk_status write_bf16(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  (void)err;
  return for_chunks(s, out, self->source, true, put_bf16);
}

static mtk_status write_packed(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  (void)err;
  return stream_packed(s, out, self->source);
}

static mtk_status write_int8(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  (void)err;
  return for_chunks(s, out, self->source, false, put_int8);
}

static mtk_status write_block_scales(const st_out *self, mtk_output *out, hf_store *s,
                                     mtk_error *err) {
  if (s->beside_of != self->source) MTK_TRY(stream_packed(s, NULL, self->source));
  if (!hf_has_pairs(s, self->source)) return mtk_output_write(out, s->beside, self->size, err);
  for (uint64_t i = 0; i < self->size; i++) {
    if (s->beside[2 * i] != s->beside[2 * i + 1])
      return mtk_fail(err, MTK_E_UNSUPPORTED, self->source->name,
                      "with fp8 activations 32 values share a scale: quantize with --act fp8");
    MTK_TRY(mtk_output_write(out, &s->beside[2 * i], 1, err));
  }
  return MTK_OK;
}

/* Zero points of q4_1, one per group of the outside scales: eight rows in an int32. */
static mtk_status write_zero_points(const st_out *self, mtk_output *out, hf_store *s,
                                    mtk_error *err) {
  const mtk_tensor *t = self->source;
  if (s->beside_of != t) MTK_TRY(stream_packed(s, NULL, t));
  int64_t blocks = mtk_tensor_row_elems(t) / 32, step = t->scale_k / 32;
  for (int64_t word = 0; word < self->shape[0]; word++)
    for (int64_t g = 0; g < self->shape[1]; g++) {
      uint32_t bits = 0;
      for (int64_t r = 8 * word; r < 8 * word + 8 && r < t->shape[0]; r++)
        bits |= (uint32_t)s->beside[r * blocks + g * step] << (4 * (r % 8));
      MTK_TRY(mtk_output_write(out, &bits, sizeof bits, err));
    }
  return MTK_OK;
}

/* Small tensors that lie in memory in their own type. */
static mtk_status write_values(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  (void)s;
  return mtk_output_write(out, self->values, self->size, err);
}

/* f32 -> the tensor's 16-bit type. */
static mtk_status write_narrow(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  const float *values = self->values;
  uint16_t narrow[1024];
  (void)s;
  for (uint64_t i = 0, n = self->size / 2; i < n; i += 1024) {
    size_t part = n - i < 1024 ? (size_t)(n - i) : 1024;
    (void)mtk_dtype_encode(self->dtype, narrow, values + i, part);
    MTK_TRY(mtk_output_write(out, narrow, 2 * part, err));
  }
  return MTK_OK;
}

/* Powers of two as E8M0: the exponent of the f32. */
static mtk_status write_e8m0(const st_out *self, mtk_output *out, hf_store *s, mtk_error *err) {
  const float *values = self->values;
  (void)s;
  for (uint64_t i = 0; i < self->size; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], 4);
    uint8_t byte = (uint8_t)(bits >> 23);
    MTK_TRY(mtk_output_write(out, &byte, 1, err));
  }
  return MTK_OK;
}

/* ---- the list of tensors ------------------------------------------------------------------- */

static const char *keep(hf_store *s, char *text) {
  const char *kept = text ? mtk_arena_strndup(s->arena, text, strlen(text)) : NULL;
  mtk_free(text);
  return kept;
}

/* "<module>.weight" -> "<module><suffix>" */
static const char *sibling(hf_store *s, const char *name, const char *suffix) {
  size_t stem = strlen(name) - strlen(".weight");
  return keep(s, mtk_asprintf("%.*s%s", (int)stem, name, suffix));
}

static mtk_status push(hf_store *s, st_out out) {
  uint64_t n = 1;
  if (!out.name) return no_memory(s);
  if (!st_dtype_name(out.dtype)) {
    return mtk_fail(s->err, MTK_E_UNSUPPORTED, out.name, "safetensors has no type for %s",
                    mtk_dtype_get(out.dtype)->name);
  }
  for (int i = 0; i < out.n_dims; i++) n *= (uint64_t)out.shape[i];
  out.size = n ? mtk_dtype_bytes(out.dtype, n) : 0;
  s->total += out.size;
  s->outs[s->n_outs++] = out;
  return MTK_OK;
}

/* The float nearest to 1 / value, or near it one whose reciprocal, which readers multiply with, is
 * the value. */
static float inverse_of(float value) {
  uint32_t bits;
  float best = 1.0f / value;
  if (1.0f / best == value) return best;
  memcpy(&bits, &best, 4);
  for (uint32_t d = 0; d < 5; d++) {
    uint32_t near = bits + d - 2;
    float f;
    memcpy(&f, &near, 4);
    if (1.0f / f == value) return f;
  }
  return best;
}

/* One f32: [1], ModelOpt's are scalars. inverse: its reciprocal is written. */
static mtk_status push_float(hf_store *s, const char *name, float value, bool inverse) {
  float *kept = mtk_arena_alloc(s->arena, 1, sizeof *kept);
  if (!kept) return no_memory(s);
  *kept = inverse ? inverse_of(value) : value;
  if (inverse && 1.0f / *kept != value && !s->n_rounded++) s->first_rounded = name;
  st_out out = {.name = name, .dtype = MTK_F32, .n_dims = 1, .shape = {1}, .values = kept};
  if (s->style == HF_MODELOPT) out.n_dims = 0;
  out.write = write_values;
  return push(s, out);
}

/* The scale of activations under the layout's name. */
static mtk_status push_input_scale(hf_store *s, const mtk_tensor *t, const char *name) {
  bool global = t->dtype == MTK_NVFP4 && s->style == HF_COMPRESSED_TENSORS;
  if (t->input_scale == 0) return MTK_OK;
  return push_float(s, sibling(s, name, global ? ".input_global_scale" : ".input_scale"),
                    t->input_scale, global);
}

static mtk_status plan_fp4(hf_store *s, const mtk_tensor *t, const char *name) {
  bool nv = t->dtype == MTK_NVFP4, modelopt = s->style == HF_MODELOPT;
  int64_t n = t->shape[0], k = t->shape[1];
  st_out packed = {.dtype = MTK_U8, .n_dims = 2, .shape = {n, k / 2}, .source = t};
  st_out scale = {.n_dims = 2, .source = t};
  scale.shape[0] = n;
  scale.shape[1] = k / (nv && !hf_has_pairs(s, t) ? 16 : 32);
  packed.name = modelopt ? name : sibling(s, name, ".weight_packed");
  packed.write = write_packed;
  scale.name = sibling(s, name, ".weight_scale");
  scale.dtype = nv ? MTK_F8_E4M3 : MTK_U8;
  scale.write = write_block_scales;
  MTK_TRY(push(s, packed));
  MTK_TRY(push(s, scale));
  if (nv) {
    const char *suffix = modelopt ? ".weight_scale_2" : ".weight_global_scale";
    MTK_TRY(
        push_float(s, sibling(s, name, suffix), t->scales ? t->scales[0] : 1.0f, !modelopt));
  }
  return push_input_scale(s, t, name);
}

static mtk_status plan_blocks(hf_store *s, const mtk_tensor *t, const char *name) {
  const int64_t *n = t->shape;
  st_out blocks = {.dtype = MTK_U8, .n_dims = 4, .shape = {n[0], n[1], n[2] / 32, 16}, .source = t};
  st_out scales = {.dtype = MTK_U8, .n_dims = 3, .shape = {n[0], n[1], n[2] / 32}, .source = t};
  blocks.name = keep(s, mtk_asprintf("%s_blocks", name));
  blocks.write = write_packed;
  scales.name = keep(s, mtk_asprintf("%s_scales", name));
  scales.write = write_block_scales;
  MTK_TRY(push(s, blocks));
  return push(s, scales);
}

/* The shape of a grid of fp8 scales: one, per row, or blocks, as the layout has it. */
static void shape_grid(st_out *scale, hf_style style, bool blocks, int64_t rows, int64_t cols) {
  scale->n_dims = rows * cols == 1 && !blocks ? 1 : 2;
  scale->shape[0] = rows;
  scale->shape[1] = cols;
  if (style != HF_MODELOPT || scale->dtype == MTK_U8) return;
  scale->n_dims = blocks ? 4 : rows * cols == 1 ? 0 : 1;
  if (!blocks) return;
  scale->shape[1] = 1;
  scale->shape[2] = cols;
  scale->shape[3] = 1;
}

static mtk_status plan_fp8(hf_store *s, const mtk_tensor *t, const char *name, bool mx) {
  int64_t rows = (t->shape[0] - 1) / t->scale_n + 1, cols = (t->shape[1] - 1) / t->scale_k + 1;
  st_out weight = {.name = name, .dtype = t->dtype, .n_dims = 2, .source = t};
  st_out scale = {.values = t->scales, .dtype = mx ? MTK_U8 : MTK_F32};
  weight.shape[0] = t->shape[0];
  weight.shape[1] = t->shape[1];
  weight.write = write_plain;
  scale.name = sibling(s, name, s->style == HF_DEEPSEEK ? ".weight_scale_inv" : ".weight_scale");
  scale.write = mx ? write_e8m0 : write_values;
  shape_grid(&scale, s->style, hf_is_blocks(s, t), rows, cols);
  MTK_TRY(push(s, weight));
  MTK_TRY(push(s, scale));
  return push_input_scale(s, t, name);
}

/* The narrowest type that holds all values: that of the model whose layout it was, as a rule. */
static mtk_dtype narrowest(const float *values, int64_t n) {
  static const mtk_dtype types[] = {MTK_BF16, MTK_F16};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    int64_t at = 0;
    for (; at < n; at++) {
      uint16_t narrow;
      float wide;
      (void)mtk_dtype_encode(types[i], &narrow, &values[at], 1);
      mtk_dtype_decode(types[i], &wide, &narrow, 1);
      if (wide < values[at] || wide > values[at]) break;
    }
    if (at == n) return types[i];
  }
  return MTK_F32;
}

static mtk_status plan_int(hf_store *s, const mtk_tensor *t, const char *name, bool bytes) {
  int64_t n = t->shape[0], k = t->shape[1], cols = (k - 1) / t->scale_k + 1;
  int64_t bits = t->dtype == MTK_Q8_0 ? 8 : 4, *shape = mtk_arena_alloc(s->arena, 2, sizeof *shape);
  if (!shape) return no_memory(s);
  shape[0] = n;
  shape[1] = k;
  st_out weight = {.name = name, .dtype = MTK_I8, .n_dims = 2, .shape = {n, k}, .source = t};
  st_out scale = {.name = sibling(s, name, ".weight_scale"), .n_dims = 2, .shape = {n, cols}};
  st_out zeros = {.dtype = MTK_I32, .n_dims = 2, .shape = {(n - 1) / 8 + 1, cols}, .source = t};
  st_out size = {.dtype = MTK_I64, .n_dims = 1, .shape = {2}, .values = shape};
  weight.write = bytes ? write_int8 : write_packed;
  if (!bytes) {
    weight.name = sibling(s, name, ".weight_packed");
    weight.dtype = MTK_I32;
    weight.shape[1] = k * bits / 32;
  }
  scale.values = t->scales;
  scale.dtype = narrowest(t->scales, mtk_tensor_scale_count(t));
  scale.write = scale.dtype == MTK_F32 ? write_values : write_narrow;
  MTK_TRY(push(s, weight));
  MTK_TRY(push(s, scale));
  if (bytes) return MTK_OK;
  if (t->dtype == MTK_Q4_1) {
    zeros.name = sibling(s, name, ".weight_zero_point");
    zeros.write = write_zero_points;
    MTK_TRY(push(s, zeros));
  }
  size.name = sibling(s, name, ".weight_shape");
  size.write = write_values;
  return push(s, size);
}

/* Scales of the key and value cache: one f32 under the layout's name. */
static mtk_status plan_cache_scale(hf_store *s, const mtk_tensor *t, const char *name) {
  float value;
  MTK_TRY(mtk_tensor_fetch_f32(&value, t, 0, 1, NULL, s->err));
  return push_float(s, name, value, false);
}

static mtk_status plan_tensor(hf_store *s, const mtk_tensor *t, const char *name) {
  hf_layout layout = hf_layout_of(t, s->acts);
  switch (layout) {
  case HF_NVFP4:
  case HF_MXFP4: return plan_fp4(s, t, name);
  case HF_BLOCKS: return plan_blocks(s, t, name);
  case HF_FP8: return plan_fp8(s, t, name, false);
  case HF_MXFP8: return plan_fp8(s, t, name, true);
  case HF_PACKED_INT: return plan_int(s, t, name, false);
  case HF_INT8: return plan_int(s, t, name, true);
  case HF_PLAIN:
  case HF_DEQUANT: break;
  }
  if (hf_is_cache_scale(t)) return plan_cache_scale(s, t, name);
  st_out out = {.name = name, .dtype = t->dtype, .n_dims = t->n_dims, .source = t};
  memcpy(out.shape, t->shape, sizeof out.shape);
  out.write = write_plain;
  if (layout == HF_DEQUANT) {
    out.dtype = MTK_BF16;
    out.write = write_bf16;
    if (!s->n_dequantized++) s->first_dequantized = t->name;
  }
  return push(s, out);
}

/* Rotary divisors follow from config.json when it can name their rule. */
static bool is_derived(const hf_store *s, const mtk_tensor *t) {
  const char *type = mtk_meta_str(mtk_model_meta(s->model), "rope.scaling.type", "");
  return strcmp(t->name, "rope_freqs.weight") == 0 && strcmp(type, "llama3") == 0;
}

mtk_status hf_store_plan(hf_store *s) {
  size_t n = mtk_model_tensor_count(s->model);
  s->outs = mtk_arena_alloc(s->arena, 4 * n, sizeof *s->outs);
  if (!s->outs) return no_memory(s);
  for (size_t i = 0; i < n; i++) {
    const mtk_tensor *t = mtk_model_tensor_at(s->model, i);
    if (is_derived(s, t)) continue;
    if (strcmp(t->name, "rope_freqs.weight") == 0) {
      MTK_TRY(mtk_model_warn(s->model, "rope_freqs.weight is kept, but config.json cannot name its "
                                       "rule: other programs will ignore it"));
    }
    MTK_TRY(plan_tensor(s, t, s->names[i]));
  }
  if (s->n_rounded) {
    MTK_TRY(mtk_model_warn(s->model,
                           "%zu scales were changed in their last bit: the layout holds "
                           "their reciprocals (first: %s)",
                           s->n_rounded, s->first_rounded));
  }
  if (!s->n_dequantized) return MTK_OK;
  return mtk_model_warn(s->model,
                        "%zu tensors were written as bf16: a model folder cannot hold their type "
                        "(first: %s)",
                        s->n_dequantized, s->first_dequantized);
}

void hf_store_finish(hf_store *s) {
  mtk_free(s->beside);
  s->beside = NULL;
}
