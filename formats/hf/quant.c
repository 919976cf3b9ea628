/* quant.c: quantized weights that a folder stores as several tensors -> one canonical tensor.
 * Layouts: compressed-tensors (nvfp4-pack-quantized, mxfp4-pack-quantized, mxfp8-quantized,
 * float-quantized, and those of ints.c), ModelOpt (NVFP4, MXFP4, FP8), DeepSeek (weight_scale_inv)
 * and gpt-oss (stacked experts as _blocks and _scales); told apart by names, types and shapes, so
 * mixed files work. Read functions may be entered by any thread. */
#include "hf.h"

#include <string.h>

/* One way to store a weight. `scale` types decide between rows of one suffix. */
typedef enum stored_kind {
  STORED_PLAIN,
  STORED_NVFP4,
  STORED_MXFP4,
  STORED_BLOCKS, /* MXFP4 of stacked experts: [E, N, K/32, 16] and [E, N, K/32] */
  STORED_GRID,
  STORED_INT /* ints.c */
} stored_kind;

typedef struct stored {
  stored_kind kind;
  const st_tensor *scale;  /* per block, or the grid */
  const st_tensor *global; /* NVFP4: one f32 */
  bool global_is_inverse;  /* compressed-tensors stores 2688/amax */
  const st_tensor *input;  /* one f32 */
  bool input_is_inverse;
  const st_tensor *zeros, *shape, *index; /* integers: zero points, N and K, groups of columns */
} stored;

static const char packed_suffix[] = ".weight_packed", weight_suffix[] = ".weight";
static const char blocks_suffix[] = "_blocks";

static bool ends_with(const char *s, const char *suffix, size_t *stem) {
  size_t n = strlen(s), k = strlen(suffix);
  if (n <= k || strcmp(s + n - k, suffix) != 0) return false;
  *stem = n - k;
  return true;
}

static bool is_fp8(mtk_dtype d) { return d == MTK_F8_E4M3 || d == MTK_F8_E5M2; }
static bool is_e8m0(mtk_dtype d) { return d == MTK_U8 || d == MTK_E8M0; }
bool hf_is_float(mtk_dtype d) { return d == MTK_F32 || d == MTK_F16 || d == MTK_BF16; }

static stored_kind kind_of(mtk_dtype weight, mtk_dtype scale, bool packed) {
  if (weight == MTK_U8 && scale == MTK_F8_E4M3) return STORED_NVFP4;
  if (weight == MTK_U8 && is_e8m0(scale)) return STORED_MXFP4;
  if (is_fp8(weight) && (is_e8m0(scale) || hf_is_float(scale))) return STORED_GRID;
  if (weight == (packed ? MTK_I32 : MTK_I8) && hf_is_float(scale)) return STORED_INT;
  return STORED_PLAIN;
}

/* How a weight is stored; kind STORED_PLAIN when it has no scales that mtk knows. */
static stored classify(const hf_source *src, const st_tensor *t) {
  stored s = {.kind = STORED_PLAIN};
  size_t stem = 0;
  if (ends_with(t->name, blocks_suffix, &stem) && t->dtype == MTK_U8) {
    s.scale = hf_source_sibling(src, t->name, stem, "_scales");
    if (s.scale && is_e8m0(s.scale->dtype)) s.kind = STORED_BLOCKS;
    return s;
  }
  bool packed = ends_with(t->name, packed_suffix, &stem);
  if (!packed && !ends_with(t->name, weight_suffix, &stem)) return s;
  s.scale = hf_source_sibling(src, t->name, stem, ".weight_scale");
  if (!s.scale && !packed) s.scale = hf_source_sibling(src, t->name, stem, ".weight_scale_inv");
  if (!s.scale || !t->data || !s.scale->data) return s;
  s.kind = kind_of(t->dtype, s.scale->dtype, packed);
  if (s.kind == STORED_PLAIN) {
    s.scale = NULL;
    return s;
  }
  s.global = hf_source_sibling(src, t->name, stem, ".weight_global_scale");
  s.global_is_inverse = s.global != NULL;
  if (!s.global) s.global = hf_source_sibling(src, t->name, stem, ".weight_scale_2");
  s.input = hf_source_sibling(src, t->name, stem, ".input_global_scale");
  s.input_is_inverse = s.input != NULL;
  if (!s.input) s.input = hf_source_sibling(src, t->name, stem, ".input_scale");
  s.zeros = hf_source_sibling(src, t->name, stem, ".weight_zero_point");
  s.shape = hf_source_sibling(src, t->name, stem, ".weight_shape");
  s.index = hf_source_sibling(src, t->name, stem, ".weight_g_idx");
  return s;
}

void hf_quant_mark(hf_source *src) {
  for (size_t i = 0; i < src->list.n; i++) {
    stored s = classify(src, &src->list.items[i]);
    const st_tensor *const parts[] = {s.scale, s.global, s.input, s.zeros, s.shape, s.index};
    for (size_t p = 0; s.kind != STORED_PLAIN && p < sizeof parts / sizeof parts[0]; p++) {
      if (parts[p]) ((st_tensor *)parts[p])->consumed = true;
    }
  }
}

mtk_status hf_quant_name(const char **out, mtk_arena *arena, const st_tensor *in, mtk_error *err) {
  size_t stem = 0;
  *out = in->name;
  if (ends_with(in->name, packed_suffix, &stem)) stem += strlen(weight_suffix); /* cuts "_packed" */
  else if (!ends_with(in->name, blocks_suffix, &stem)) return MTK_OK;
  *out = mtk_arena_strndup(arena, in->name, stem);
  return *out ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, in->name, "out of memory");
}

/* ---- scales -------------------------------------------------------------------------------- */

int64_t hf_count_of(const st_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->n_dims; i++) n *= t->shape[i];
  return n;
}

bool hf_all_zero(const st_tensor *t) {
  for (uint64_t i = 0; i < t->size; i++)
    if (t->data[i]) return false;
  return true;
}

static mtk_status one_float(float *out, const st_tensor *t, bool inverse, mtk_error *err) {
  if (hf_count_of(t) != 1 || !hf_is_float(t->dtype) || !t->data) {
    return mtk_fail(err, MTK_E_FORMAT, t->file, "tensor %s: one float expected", t->name);
  }
  mtk_dtype_decode(t->dtype, out, t->data, 1);
  if (inverse && *out == 0) {
    return mtk_fail(err, MTK_E_FORMAT, t->file, "tensor %s is 0", t->name);
  }
  if (inverse) *out = 1.0f / *out;
  return MTK_OK;
}

/* The grid's steps from the shape of the scales: one for all, per row, or blocks. */
static mtk_status grid_steps(mtk_tensor *out, const st_tensor *scale, const st_tensor *weight,
                             const hf_quant_config *config, mtk_error *err) {
  int64_t n = out->shape[0], k = out->shape[1], count = hf_count_of(scale);
  out->scale_n = n;
  out->scale_k = k;
  bool block = scale->n_dims == 4 || (scale->n_dims == 2 && config->block_n > 0);
  if (count == 1 && !block) return MTK_OK;
  out->scale_n = 1;
  if (count == n && scale->shape[0] == n && (n > 1 || !block)) return MTK_OK;
  if (is_e8m0(scale->dtype)) {
    out->scale_k = 32;
  } else {
    out->scale_n = config->block_n > 0 ? config->block_n : 128;
    out->scale_k = config->block_k > 0 ? config->block_k : 128;
  }
  int64_t rows = (n - 1) / out->scale_n + 1, cols = (k - 1) / out->scale_k + 1;
  const int64_t *have = scale->shape;
  if (scale->n_dims == 2 && have[0] == rows && have[1] == cols) return MTK_OK;
  bool modelopt = scale->n_dims == 4 && have[1] == 1 && have[3] == 1; /* FP8_PB_WO */
  if (modelopt && have[0] == rows && have[2] == cols) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, scale->file,
                  "tensor %s: its shape does not fit the weight's %lld x %lld in %s", scale->name,
                  (long long)n, (long long)k, weight->file);
}

static mtk_status make_grid(mtk_tensor *out, mtk_arena *arena, const st_tensor *in, const stored *s,
                            const hf_quant_config *config, mtk_error *err) {
  if (in->n_dims != 2 || in->shape[0] == 0 || in->shape[1] == 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, in->file, "tensor %s: scaled but not a matrix",
                    in->name);
  }
  MTK_TRY(grid_steps(out, s->scale, in, config, err));
  size_t n = (size_t)hf_count_of(s->scale);
  float *scales = mtk_arena_alloc(arena, n, sizeof *scales);
  if (!scales) return mtk_fail(err, MTK_E_NOMEM, in->name, "out of memory");
  mtk_dtype dtype = is_e8m0(s->scale->dtype) ? MTK_E8M0 : s->scale->dtype;
  mtk_dtype_decode(dtype, scales, s->scale->data, n);
  out->scales = scales;
  out->data = in->data;
  out->size_bytes = in->size;
  return MTK_OK;
}

/* ---- fp4: packed values and block scales <-> the blocks of dtype.h ------------------------- */

/* Element e of packed values: byte e/2, even elements in the low half. */
static uint8_t nibble(const uint8_t *packed, size_t e) {
  return (uint8_t)(packed[e / 2] >> (4 * (e & 1)) & 15);
}

static void pack_group(uint8_t *qs, const uint8_t *packed, size_t half) {
  for (size_t j = 0; j < half; j++) {
    qs[j] = (uint8_t)(nibble(packed, j) | nibble(packed, j + half) << 4);
  }
}

/* Eight bytes below 16 -> four: the first of two neighbours in the low half. */
static uint32_t join_halves(uint64_t x) {
  x = (x | x >> 4) & 0x00ff00ff00ff00ff;
  x = (x | x >> 8) & 0x0000ffff0000ffff;
  return (uint32_t)(x | x >> 16);
}

void hf_unpack_group(uint8_t *packed, const uint8_t *qs, size_t half) {
  for (size_t at = 0; at < half; at += 8) {
    uint64_t q;
    memcpy(&q, qs + at, 8);
    uint32_t low = join_halves(q & 0x0f0f0f0f0f0f0f0f);
    uint32_t high = join_halves(q >> 4 & 0x0f0f0f0f0f0f0f0f);
    memcpy(packed + at / 2, &low, 4);
    memcpy(packed + (half + at) / 2, &high, 4);
  }
}

void hf_unpack_rows(mtk_dtype dtype, uint8_t *packed, uint8_t *scales, const uint8_t *blocks,
                    size_t n_blocks) {
  for (size_t b = 0; b < n_blocks; b++) {
    if (dtype == MTK_NVFP4) {
      const uint8_t *block = blocks + 36 * b;
      memcpy(scales + 4 * b, block, 4);
      for (size_t s = 0; s < 4; s++) hf_unpack_group(packed + 32 * b + 8 * s, block + 4 + 8 * s, 8);
    } else {
      scales[b] = blocks[17 * b];
      hf_unpack_group(packed + 16 * b, blocks + 17 * b + 1, 16);
    }
  }
}

typedef struct fp4_rows {
  const uint8_t *packed, *scales; /* [N, K/2], [N, K/16] or [N, K/32] */
  size_t shared;                  /* groups of 16 under one scale of NVFP4: 1 or 2 */
} fp4_rows;

static mtk_status read_nvfp4(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  const fp4_rows *rows = t->read_ctx;
  size_t k = (size_t)mtk_tensor_row_elems(t);
  size_t first = (size_t)row0 * k / 64, n = (size_t)n_rows * k / 64;
  uint8_t *out = dst, sign = 0;
  for (size_t b = first; b < first + n; b++, out += 36) {
    for (size_t s = 0; s < 4; s++) {
      out[s] = rows->scales[(4 * b + s) / rows->shared];
      sign |= out[s] & 0x80;
      pack_group(out + 4 + 8 * s, rows->packed + 32 * b + 8 * s, 8);
    }
  }
  if (!sign) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, t->name, "an NVFP4 block scale is negative");
}

static mtk_status read_mxfp4(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                             mtk_error *err) {
  const fp4_rows *rows = t->read_ctx;
  size_t k = (size_t)mtk_tensor_row_elems(t);
  size_t first = (size_t)row0 * k / 32, n = (size_t)n_rows * k / 32;
  uint8_t *out = dst;
  (void)err;
  for (size_t b = first; b < first + n; b++, out += 17) {
    out[0] = rows->scales[b];
    pack_group(out + 1, rows->packed + 16 * b, 16);
  }
  return MTK_OK;
}

static mtk_status make_fp4(mtk_tensor *out, mtk_arena *arena, const st_tensor *in, const stored *s,
                           mtk_error *err) {
  bool nv = s->kind == STORED_NVFP4;
  int64_t group = nv ? 16 : 32, block = nv ? 64 : 32;
  if (in->n_dims != 2 || in->shape[1] > INT64_MAX / 2) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, in->file, "tensor %s: packed but not a matrix",
                    in->name);
  }
  out->shape[1] = 2 * in->shape[1];
  if (out->shape[1] % block) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, in->file,
                    "tensor %s: rows of %lld elements are no multiple of %lld", in->name,
                    (long long)out->shape[1], (long long)block);
  }
  /* ModelOpt's W4A8_NVFP4_FP8 has groups of 32 */
  bool pairs = nv && s->scale->n_dims == 2 && s->scale->shape[1] == out->shape[1] / 32;
  if (s->scale->n_dims != 2 || s->scale->shape[0] != in->shape[0] ||
      s->scale->shape[1] != out->shape[1] / (pairs ? 32 : group)) {
    return mtk_fail(err, MTK_E_FORMAT, s->scale->file, "tensor %s: its shape does not fit %s",
                    s->scale->name, in->name);
  }
  fp4_rows *rows = mtk_arena_alloc(arena, 1, sizeof *rows);
  float *scale = mtk_arena_alloc(arena, 1, sizeof *scale);
  if (!rows || !scale) return mtk_fail(err, MTK_E_NOMEM, in->name, "out of memory");
  *rows = (fp4_rows){in->data, s->scale->data, pairs ? 2 : 1};
  out->dtype = nv ? MTK_NVFP4 : MTK_MXFP4;
  out->read = nv ? read_nvfp4 : read_mxfp4;
  out->read_ctx = rows;
  out->size_bytes = mtk_dtype_bytes(out->dtype, (uint64_t)hf_count_of(in) * 2);
  if (!s->global && nv)
    return mtk_fail(err, MTK_E_FORMAT, in->file,
                    "tensor %s: its weight_global_scale or weight_scale_2 is missing", in->name);
  if (!s->global) return MTK_OK;
  MTK_TRY(one_float(scale, s->global, s->global_is_inverse, err));
  out->scales = scale;
  out->scale_n = out->shape[0];
  out->scale_k = out->shape[1];
  return MTK_OK;
}

static mtk_status make_blocks(mtk_tensor *out, mtk_arena *arena, const st_tensor *in,
                              const stored *s, mtk_error *err) {
  const int64_t *b = in->shape, *e = s->scale->shape;
  bool fits = in->n_dims == 4 && s->scale->n_dims == 3 && b[3] == 16 && b[2] <= INT64_MAX / 32 &&
              b[0] == e[0] && b[1] == e[1] && b[2] == e[2];
  if (!fits)
    return mtk_fail(err, MTK_E_FORMAT, in->file, "tensor %s: its shape does not fit %s", in->name,
                    s->scale->name);
  fp4_rows *rows = mtk_arena_alloc(arena, 1, sizeof *rows);
  if (!rows) return mtk_fail(err, MTK_E_NOMEM, in->name, "out of memory");
  *rows = (fp4_rows){in->data, s->scale->data, 1};
  out->dtype = MTK_MXFP4;
  out->n_dims = 3;
  out->shape[2] = 32 * b[2];
  out->shape[3] = 0;
  out->read = read_mxfp4;
  out->read_ctx = rows;
  out->size_bytes = in->size / 16 * 17;
  return MTK_OK;
}

/* ---- plain tensors ------------------------------------------------------------------------- */

/* Bytes that do not lie at a multiple of their size are copied when they are read. */
static mtk_status read_copy(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                            mtk_error *err) {
  size_t row_bytes = mtk_tensor_row_bytes(t);
  const uint8_t *data = t->read_ctx;
  (void)err;
  memcpy(dst, data + (size_t)row0 * row_bytes, (size_t)n_rows * row_bytes);
  return MTK_OK;
}

/* Parts that change what a weight means, and are not read. */
static mtk_status refuse_parts(const hf_source *src, const st_tensor *in, const stored *s,
                               mtk_error *err) {
  static const char *const parts[] = {".pre_quant_scale", ".svdquant_lora_a", ".svdquant_lora_b"};
  size_t stem = 0;
  if (!ends_with(in->name, packed_suffix, &stem) && !ends_with(in->name, weight_suffix, &stem))
    return MTK_OK;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    const st_tensor *part = hf_source_sibling(src, in->name, stem, parts[i]);
    if (part)
      return mtk_fail(err, MTK_E_UNSUPPORTED, in->file, "tensor %s: weights with %s cannot be read",
                      part->name, parts[i] + 1);
  }
  bool zeros = s->kind != STORED_INT && s->zeros && !(s->zeros->data && hf_all_zero(s->zeros));
  if (s->kind == STORED_PLAIN || !zeros) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, in->file,
                  "tensor %s: zero points of floating-point weights cannot be read",
                  s->zeros->name);
}

/* Names of layouts that mtk does not read; a plain copy of their parts would be wrong. */
static mtk_status refuse_unknown(const hf_source *src, const st_tensor *in, mtk_error *err) {
  size_t stem = 0;
  const st_tensor *scale = NULL;
  bool packed = ends_with(in->name, packed_suffix, &stem);
  bool other = ends_with(in->name, ".qweight", &stem);
  if (!other && (packed || ends_with(in->name, weight_suffix, &stem))) {
    scale = hf_source_sibling(src, in->name, stem, ".weight_scale");
  }
  if (packed && !scale)
    return mtk_fail(err, MTK_E_FORMAT, in->file, "tensor %s: its weight_scale is missing",
                    in->name);
  if (!other && !scale) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, in->file,
                  "tensor %s: this quantized layout (%s with scales of %s) cannot be read",
                  in->name, mtk_dtype_get(in->dtype)->name,
                  scale ? mtk_dtype_get(scale->dtype)->name : "another kind");
}

mtk_status hf_quant_tensor(mtk_tensor *out, mtk_model *model, const hf_source *src,
                           const st_tensor *in, const hf_quant_config *config, mtk_error *err) {
  stored s = classify(src, in);
  mtk_arena *arena = mtk_model_arena(model);
  memset(out, 0, sizeof *out);
  out->source_name = in->name;
  out->dtype = in->dtype;
  out->n_dims = in->n_dims;
  memcpy(out->shape, in->shape, sizeof out->shape);
  if (s.input && s.kind != STORED_PLAIN) {
    MTK_TRY(one_float(&out->input_scale, s.input, s.input_is_inverse, err));
  }
  MTK_TRY(refuse_parts(src, in, &s, err));
  if (s.kind == STORED_INT) {
    const hf_int_parts parts = {s.scale, s.zeros, s.shape, s.index};
    return hf_int_tensor(out, arena, in, &parts, err);
  }
  if (s.kind == STORED_NVFP4 || s.kind == STORED_MXFP4) {
    return make_fp4(out, arena, in, &s, err);
  }
  if (s.kind == STORED_BLOCKS) return make_blocks(out, arena, in, &s, err);
  if (s.kind == STORED_GRID) return make_grid(out, arena, in, &s, config, err);
  MTK_TRY(refuse_unknown(src, in, err));
  out->size_bytes = in->size;
  if (in->part) {
    out->data = in->part->data;
    out->read = in->part->read;
    out->read_ctx = in->part->read_ctx;
    return MTK_OK;
  }
  out->data = in->data;
  if ((uintptr_t)in->data % st_alignment(in->dtype)) {
    out->data = NULL;
    out->read = read_copy;
    out->read_ctx = (void *)(uintptr_t)in->data;
  }
  return MTK_OK;
}
