/* ints.c: integer weights of compressed-tensors: pack-quantized (1 to 8 bits in int32 words, maybe
 * with zero points) and int-quantized (int8). In memory they are blocks of q4_0, q4_1 or q8_0 whose
 * own scale is 1, under the file's scales as outside grid: every value is exact. Read functions may
 * be entered by any thread.
 *
 *   q4_0  code - 8                                 1 to 4 bits, symmetric
 *   q4_1  code - zero point, codes from 0           1 to 4 bits, with zero points
 *   q8_0  signed code                              5 to 8 bits */
#include "hf.h"

#include <string.h>

enum { BLOCK = 32, F16_ONE = 0x3C00 };

typedef struct int_rows {
  const uint8_t *codes;   /* [N, row_bytes] */
  const uint8_t *zeros;   /* int32 [ceil(N * bits / 32), groups], or NULL */
  int bits;               /* 0: signed bytes */
  size_t row_bytes;
  int64_t groups, per_group; /* groups of a row, elements of one */
} int_rows;

static uint32_t word_at(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* `bits` bits at a bit offset of a row whose bytes are in order (little-endian words). */
static int code_at(const uint8_t *row, size_t element, int bits) {
  size_t at = element * (size_t)bits;
  unsigned v = (unsigned)row[at / 8] >> (at % 8);
  if (at % 8 + (size_t)bits > 8) v |= (unsigned)row[at / 8 + 1] << (8 - at % 8);
  return (int)(v & ((1u << bits) - 1));
}

/* The zero point of a row and group: packed along the rows. */
static int zero_at(const int_rows *r, int64_t row, int64_t group) {
  size_t bit = (size_t)row * (size_t)r->bits;
  const uint8_t *word = r->zeros + 4 * (bit / 32 * (size_t)r->groups + (size_t)group);
  uint64_t both = word_at(word);
  if (bit % 32 + (size_t)r->bits > 32)
    both |= (uint64_t)word_at(word + 4 * (size_t)r->groups) << 32;
  return (int)(both >> (bit % 32) & ((1u << r->bits) - 1));
}

static void put_f16(uint8_t *p, uint16_t h) {
  p[0] = (uint8_t)h;
  p[1] = (uint8_t)(h >> 8);
}

static void put_nibbles(uint8_t *qs, const int *codes) {
  for (int j = 0; j < 16; j++) qs[j] = (uint8_t)(codes[j] | codes[j + 16] << 4);
}

/* One block of 32 elements from element e of a row. Returns its bytes. */
static size_t put_block(uint8_t *out, const int_rows *r, mtk_dtype dtype, int64_t row, size_t e) {
  const uint8_t *bytes = r->codes + (size_t)row * r->row_bytes;
  int codes[BLOCK], half = r->bits ? 1 << (r->bits - 1) : 0;
  for (size_t i = 0; i < BLOCK; i++)
    codes[i] = r->bits ? code_at(bytes, e + i, r->bits) : (int8_t)bytes[e + i];
  put_f16(out, F16_ONE);
  if (dtype == MTK_Q8_0) {
    for (int i = 0; i < BLOCK; i++) out[2 + i] = (uint8_t)(codes[i] - half);
    return 34;
  }
  if (dtype == MTK_Q4_1) {
    put_f16(out + 2, mtk_f32_to_f16((float)-zero_at(r, row, (int64_t)e / r->per_group)));
    put_nibbles(out + 4, codes);
    return 20;
  }
  for (int i = 0; i < BLOCK; i++) codes[i] += 8 - half;
  put_nibbles(out + 2, codes);
  return 18;
}

static mtk_status read_ints(const mtk_tensor *t, void *dst, int64_t row0, int64_t n_rows,
                            mtk_error *err) {
  uint8_t *out = dst;
  size_t k = (size_t)mtk_tensor_row_elems(t);
  (void)err;
  for (int64_t row = row0; row < row0 + n_rows; row++)
    for (size_t e = 0; e < k; e += BLOCK) out += put_block(out, t->read_ctx, t->dtype, row, e);
  return MTK_OK;
}

bool hf_int_unpack(mtk_dtype dtype, uint8_t *packed, uint8_t *zeros, const uint8_t *blocks,
                   size_t n_blocks) {
  size_t bytes = mtk_dtype_get(dtype)->block_bytes;
  for (size_t b = 0; b < n_blocks; b++, blocks += bytes) {
    if ((blocks[0] | blocks[1] << 8) != F16_ONE) return false;
    if (dtype == MTK_Q8_0) {
      for (size_t i = 0; i < BLOCK; i++) packed[BLOCK * b + i] = blocks[2 + i] ^ 0x80;
      continue;
    }
    hf_unpack_group(packed + 16 * b, blocks + bytes - 16, 16);
    if (dtype != MTK_Q4_1) continue;
    float zero = -mtk_f16_to_f32((uint16_t)(blocks[2] | blocks[3] << 8));
    if (!(zero >= 0 && zero <= 15)) return false;
    zeros[b] = (uint8_t)zero;
    if ((float)zeros[b] < zero) return false; /* no whole number */
  }
  return true;
}

/* ---- checking what a file holds ------------------------------------------------------------ */

static mtk_status misfit(const st_tensor *part, const st_tensor *weight, mtk_error *err) {
  return mtk_fail(err, MTK_E_FORMAT, part->file, "tensor %s: its type or shape does not fit %s",
                  part->name, weight->name);
}

/* N and K from weight_shape; the bits of a code from the length of the packed rows. */
static mtk_status packed_shape(mtk_tensor *out, int_rows *r, const st_tensor *in,
                               const st_tensor *shape, mtk_error *err) {
  int64_t nk[2];
  if (!shape)
    return mtk_fail(err, MTK_E_FORMAT, in->file, "tensor %s: its weight_shape is missing",
                    in->name);
  bool wide = shape->dtype == MTK_I64, two = shape->n_dims == 1 && shape->shape[0] == 2;
  if (!shape->data || !two || (!wide && shape->dtype != MTK_I32)) return misfit(shape, in, err);
  for (int i = 0; i < 2; i++) {
    int32_t narrow;
    if (wide) memcpy(&nk[i], shape->data + 8 * i, 8);
    else memcpy(&narrow, shape->data + 4 * i, 4), nk[i] = narrow;
  }
  int64_t words = in->shape[1];
  bool fits = nk[0] == in->shape[0] && nk[1] > 0 && words > 0 && words <= INT64_MAX / 32 &&
              words * 32 % nk[1] == 0 && words * 32 / nk[1] <= 8;
  if (!fits) return misfit(shape, in, err);
  r->bits = (int)(words * 32 / nk[1]);
  r->row_bytes = 4 * (size_t)words;
  out->shape[1] = nk[1];
  return MTK_OK;
}

/* The step of the groups: columns in groups in order, each at least 32 of them. */
static mtk_status group_step(mtk_tensor *out, const st_tensor *in, const st_tensor *scale,
                             const st_tensor *index, mtk_error *err) {
  int64_t n = out->shape[0], k = out->shape[1];
  bool one = hf_count_of(scale) == 1;
  int64_t cols = one || scale->n_dims == 1 ? 1 : scale->shape[1];
  if (!hf_is_float(scale->dtype) || (!one && hf_count_of(scale) != n * cols) || cols <= 0 ||
      k % cols || (!one && scale->shape[0] != n))
    return misfit(scale, in, err);
  out->scale_n = 1;
  out->scale_k = k / cols;
  if (cols > 1 && out->scale_k % BLOCK)
    return mtk_fail(err, MTK_E_UNSUPPORTED, in->file,
                    "tensor %s: groups of %lld columns (multiples of 32 can be read)", in->name,
                    (long long)out->scale_k);
  for (int64_t i = 0; index && i < k; i++) {
    bool fits = index->dtype == MTK_I32 && index->n_dims == 1 && index->shape[0] == k;
    if (!fits || !index->data) return misfit(index, in, err);
    if ((int64_t)word_at(index->data + 4 * i) != i / out->scale_k)
      return mtk_fail(err, MTK_E_UNSUPPORTED, in->file,
                      "tensor %s: groups in the order of activations (actorder) cannot be read",
                      in->name);
  }
  return MTK_OK;
}

static mtk_status check_zeros(mtk_tensor *out, int_rows *r, const st_tensor *in,
                              const st_tensor *zeros, mtk_error *err) {
  if (!zeros) return MTK_OK;
  int64_t n = out->shape[0], words = (n * (r->bits ? r->bits : 1) - 1) / 32 + 1;
  bool packed = r->bits && zeros->dtype == MTK_I32 && zeros->n_dims == 2 &&
                zeros->shape[0] == words && zeros->shape[1] == r->groups;
  bool plain = !r->bits && hf_count_of(zeros) <= n * r->groups;
  if (!zeros->data || (!packed && !plain)) return misfit(zeros, in, err);
  if (packed && r->bits <= 4) {
    r->zeros = zeros->data;
    out->dtype = MTK_Q4_1;
    return MTK_OK;
  }
  if (plain && hf_all_zero(zeros)) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, in->file,
                  "tensor %s: zero points of weights of more than 4 bits cannot be read", in->name);
}

mtk_status hf_int_tensor(mtk_tensor *out, mtk_arena *arena, const st_tensor *in,
                         const hf_int_parts *parts, mtk_error *err) {
  int_rows *r = mtk_arena_alloc(arena, 1, sizeof *r);
  if (!r) return mtk_fail(err, MTK_E_NOMEM, in->name, "out of memory");
  if (in->n_dims != 2 || in->shape[0] <= 0 || in->shape[1] <= 0)
    return mtk_fail(err, MTK_E_UNSUPPORTED, in->file, "tensor %s: integers but not a matrix",
                    in->name);
  r->codes = in->data;
  r->row_bytes = (size_t)in->shape[1];
  if (in->dtype == MTK_I32) MTK_TRY(packed_shape(out, r, in, parts->shape, err));
  int64_t n = out->shape[0], k = out->shape[1];
  if (k % BLOCK)
    return mtk_fail(err, MTK_E_UNSUPPORTED, in->file,
                    "tensor %s: rows of %lld elements are no multiple of %d", in->name,
                    (long long)k, BLOCK);
  out->dtype = r->bits && r->bits <= 4 ? MTK_Q4_0 : MTK_Q8_0;
  MTK_TRY(group_step(out, in, parts->scale, parts->index, err));
  r->per_group = out->scale_k;
  r->groups = k / out->scale_k;
  MTK_TRY(check_zeros(out, r, in, parts->zeros, err));
  size_t count = (size_t)(n * r->groups), given = (size_t)hf_count_of(parts->scale);
  float *scales = mtk_arena_alloc(arena, count, sizeof *scales);
  if (!scales) return mtk_fail(err, MTK_E_NOMEM, in->name, "out of memory");
  mtk_dtype_decode(parts->scale->dtype, scales, parts->scale->data, given);
  for (size_t i = 1; given == 1 && i < count; i++) scales[i] = scales[0];
  out->scales = scales;
  out->read = read_ints;
  out->read_ctx = r;
  out->size_bytes = mtk_dtype_bytes(out->dtype, (uint64_t)(n * k));
  return MTK_OK;
}
