/* dtype.c: the table of storage types and conversion of runs of elements to and from f32. Constant
 * data and pure functions; any thread. Element bytes need no alignment; machines are little
 * endian. */
#include <mtk/dtype.h>

#include "tensor/block.h"

#include <math.h>
#include <string.h>

typedef void (*decode_fn)(float *dst, const uint8_t *src, size_t n_blocks);
/* k elements of one row; importance: NULL, or one weight per column (types that cannot use them
 * ignore them). */
typedef void (*encode_fn)(uint8_t *dst, const float *src, size_t k, const float *importance);

/* ---- plain types ------------------------------------------------------------------------- */

/* decode_T and encode_T for an element type stored as C type T: each value through `to` /
 * `from`. */
#define PLAIN_DECODE(name, T, to)                                           \
  static void decode_##name(float *dst, const uint8_t *src, size_t n) {     \
    for (size_t i = 0; i < n; i++) {                                        \
      T v;                                                                  \
      memcpy(&v, src + i * sizeof v, sizeof v);                             \
      dst[i] = to(v);                                                       \
    }                                                                       \
  }
#define PLAIN_ENCODE(name, T, from)                                         \
  static void encode_##name(uint8_t *dst, const float *src, size_t n, const float *importance) { \
    (void)importance;                                                       \
    for (size_t i = 0; i < n; i++) {                                        \
      T v = from(src[i]);                                                   \
      memcpy(dst + i * sizeof v, &v, sizeof v);                             \
    }                                                                       \
  }

/* Nearest even, limited to what the integer type holds; NaN gives 0. `above` is the first power of
 * two beyond the largest value, exact in f32. */
#define TO_INTEGER(name, T, lowest, largest, above)                         \
  static T to_##name(float f) {                                             \
    float r = rintf(f);                                                     \
    if (isnan(r)) return 0;                                                 \
    if (r >= (above)) return (largest);                                     \
    return r <= (float)(lowest) ? (T)(lowest) : (T)r;                       \
  }

#define CAST_F32(v) ((float)(v))
#define CAST_F64(v) ((double)(v))
#define IS_SET(v) ((v) != 0 ? 1.0f : 0.0f)
#define SET_IF(v) ((uint8_t)((v) != 0.0f))

TO_INTEGER(i8, int8_t, INT8_MIN, INT8_MAX, 0x1p7f)
TO_INTEGER(i16, int16_t, INT16_MIN, INT16_MAX, 0x1p15f)
TO_INTEGER(i32, int32_t, INT32_MIN, INT32_MAX, 0x1p31f)
TO_INTEGER(i64, int64_t, INT64_MIN, INT64_MAX, 0x1p63f)
TO_INTEGER(u8, uint8_t, 0, UINT8_MAX, 0x1p8f)
TO_INTEGER(u16, uint16_t, 0, UINT16_MAX, 0x1p16f)
TO_INTEGER(u32, uint32_t, 0, UINT32_MAX, 0x1p32f)
TO_INTEGER(u64, uint64_t, 0, UINT64_MAX, 0x1p64f)

static void decode_f32(float *dst, const uint8_t *src, size_t n) {
  if (n) memcpy(dst, src, n * sizeof *dst);
}
static void encode_f32(uint8_t *dst, const float *src, size_t n, const float *importance) {
  (void)importance;
  if (n) memcpy(dst, src, n * sizeof *src);
}
PLAIN_DECODE(f16, uint16_t, mtk_f16_to_f32)
PLAIN_ENCODE(f16, uint16_t, mtk_f32_to_f16)
PLAIN_DECODE(bf16, uint16_t, mtk_bf16_to_f32)
PLAIN_ENCODE(bf16, uint16_t, mtk_f32_to_bf16)
PLAIN_DECODE(f64, double, CAST_F32)
PLAIN_ENCODE(f64, double, CAST_F64)
PLAIN_DECODE(i8, int8_t, CAST_F32)
PLAIN_ENCODE(i8, int8_t, to_i8)
PLAIN_DECODE(i16, int16_t, CAST_F32)
PLAIN_ENCODE(i16, int16_t, to_i16)
PLAIN_DECODE(i32, int32_t, CAST_F32)
PLAIN_ENCODE(i32, int32_t, to_i32)
PLAIN_DECODE(i64, int64_t, CAST_F32)
PLAIN_ENCODE(i64, int64_t, to_i64)
PLAIN_DECODE(u8, uint8_t, CAST_F32)
PLAIN_ENCODE(u8, uint8_t, to_u8)
PLAIN_DECODE(u16, uint16_t, CAST_F32)
PLAIN_ENCODE(u16, uint16_t, to_u16)
PLAIN_DECODE(u32, uint32_t, CAST_F32)
PLAIN_ENCODE(u32, uint32_t, to_u32)
PLAIN_DECODE(u64, uint64_t, CAST_F32)
PLAIN_ENCODE(u64, uint64_t, to_u64)
PLAIN_DECODE(bool, uint8_t, IS_SET)
PLAIN_ENCODE(bool, uint8_t, SET_IF)
PLAIN_DECODE(e4m3, uint8_t, mtk_e4m3_to_f32)
PLAIN_ENCODE(e4m3, uint8_t, mtk_f32_to_e4m3)
PLAIN_DECODE(e5m2, uint8_t, mtk_e5m2_to_f32)
PLAIN_ENCODE(e5m2, uint8_t, mtk_f32_to_e5m2)
PLAIN_DECODE(e8m0, uint8_t, mtk_e8m0_to_f32)
PLAIN_DECODE(e4m3fnuz, uint8_t, mtk_e4m3fnuz_to_f32)
PLAIN_ENCODE(e4m3fnuz, uint8_t, mtk_f32_to_e4m3fnuz)
PLAIN_DECODE(e5m2fnuz, uint8_t, mtk_e5m2fnuz_to_f32)
PLAIN_ENCODE(e5m2fnuz, uint8_t, mtk_f32_to_e5m2fnuz)

/* ---- the table --------------------------------------------------------------------------- */

typedef struct dtype_row {
  mtk_dtype_info info;
  decode_fn decode;
  encode_fn encode; /* NULL: none */
} dtype_row;

/* Rows of block types: elements and bytes of a block, activation block, default arithmetic. */
#define CODEC(TYPE, name, elems, bytes, act, arith)                                              \
  [MTK_##TYPE] = {{#name, elems, bytes, act, arith, 1, 1}, mtk_##name##_decode,                  \
                  mtk_##name##_encode_row}
#define DECODER(TYPE, name, elems, bytes)                                                        \
  [MTK_##TYPE] = {{#name, elems, bytes, 0, MTK_A16, 1, 1}, mtk_##name##_decode, NULL}

static const dtype_row rows[MTK_DTYPE_COUNT] = {
    /* name, block elems, block bytes, act block, arith, is_float, is_quant */
    [MTK_F32] = {{"f32", 1, 4, 0, MTK_A32, 1, 0}, decode_f32, encode_f32},
    [MTK_F16] = {{"f16", 1, 2, 0, MTK_A32, 1, 0}, decode_f16, encode_f16},
    [MTK_BF16] = {{"bf16", 1, 2, 0, MTK_A16, 1, 0}, decode_bf16, encode_bf16},
    [MTK_F64] = {{"f64", 1, 8, 0, MTK_A32, 1, 0}, decode_f64, encode_f64},
    [MTK_I8] = {{"i8", 1, 1, 0, MTK_A32, 0, 0}, decode_i8, encode_i8},
    [MTK_I16] = {{"i16", 1, 2, 0, MTK_A32, 0, 0}, decode_i16, encode_i16},
    [MTK_I32] = {{"i32", 1, 4, 0, MTK_A32, 0, 0}, decode_i32, encode_i32},
    [MTK_I64] = {{"i64", 1, 8, 0, MTK_A32, 0, 0}, decode_i64, encode_i64},
    [MTK_U8] = {{"u8", 1, 1, 0, MTK_A32, 0, 0}, decode_u8, encode_u8},
    [MTK_U16] = {{"u16", 1, 2, 0, MTK_A32, 0, 0}, decode_u16, encode_u16},
    [MTK_U32] = {{"u32", 1, 4, 0, MTK_A32, 0, 0}, decode_u32, encode_u32},
    [MTK_U64] = {{"u64", 1, 8, 0, MTK_A32, 0, 0}, decode_u64, encode_u64},
    [MTK_BOOL] = {{"bool", 1, 1, 0, MTK_A32, 0, 0}, decode_bool, encode_bool},
    [MTK_F8_E4M3] = {{"f8_e4m3", 1, 1, 0, MTK_A16, 1, 0}, decode_e4m3, encode_e4m3},
    [MTK_F8_E5M2] = {{"f8_e5m2", 1, 1, 0, MTK_A16, 1, 0}, decode_e5m2, encode_e5m2},
    [MTK_E8M0] = {{"e8m0", 1, 1, 0, MTK_A32, 0, 0}, decode_e8m0, NULL},
    CODEC(Q4_0, q4_0, 32, 18, 32, MTK_A8),
    CODEC(Q4_1, q4_1, 32, 20, 32, MTK_A8),
    CODEC(Q8_0, q8_0, 32, 34, 32, MTK_A8),
    CODEC(MXFP4, mxfp4, 32, 17, 32, MTK_A8),
    CODEC(NVFP4, nvfp4, 64, 36, 32, MTK_A8),
    CODEC(Q5_0, q5_0, 32, 22, 32, MTK_A8),
    CODEC(Q5_1, q5_1, 32, 24, 32, MTK_A8),
    CODEC(Q8_1, q8_1, 32, 36, 0, MTK_A16),
    CODEC(Q2_K, q2_k, 256, 84, 256, MTK_A8),
    CODEC(Q3_K, q3_k, 256, 110, 256, MTK_A8),
    CODEC(Q4_K, q4_k, 256, 144, 256, MTK_A8),
    CODEC(Q5_K, q5_k, 256, 176, 256, MTK_A8),
    CODEC(Q6_K, q6_k, 256, 210, 256, MTK_A8),
    CODEC(Q8_K, q8_k, 256, 292, 0, MTK_A16),
    DECODER(IQ2_XXS, iq2_xxs, 256, 66),
    DECODER(IQ2_XS, iq2_xs, 256, 74),
    DECODER(IQ3_XXS, iq3_xxs, 256, 98),
    DECODER(IQ1_S, iq1_s, 256, 50),
    CODEC(IQ4_NL, iq4_nl, 32, 18, 32, MTK_A8),
    DECODER(IQ3_S, iq3_s, 256, 110),
    DECODER(IQ2_S, iq2_s, 256, 82),
    CODEC(IQ4_XS, iq4_xs, 256, 136, 256, MTK_A8),
    DECODER(IQ1_M, iq1_m, 256, 56),
    CODEC(TQ1_0, tq1_0, 256, 54, 0, MTK_A16),
    CODEC(TQ2_0, tq2_0, 256, 66, 0, MTK_A16),
    CODEC(Q1_0, q1_0, 128, 18, 0, MTK_A16),
    CODEC(Q2_0, q2_0, 64, 18, 0, MTK_A16),
    CODEC(F4_E2M1, f4_e2m1, 2, 1, 0, MTK_A16),
    CODEC(F6_E2M3, f6_e2m3, 4, 3, 0, MTK_A16),
    CODEC(F6_E3M2, f6_e3m2, 4, 3, 0, MTK_A16),
    CODEC(MXFP8, mxfp8, 32, 33, 0, MTK_A16),
    [MTK_F8_E4M3FNUZ] = {{"f8_e4m3fnuz", 1, 1, 0, MTK_A16, 1, 0}, decode_e4m3fnuz, encode_e4m3fnuz},
    [MTK_F8_E5M2FNUZ] = {{"f8_e5m2fnuz", 1, 1, 0, MTK_A16, 1, 0}, decode_e5m2fnuz, encode_e5m2fnuz},
    [MTK_C64] = {{"c64", 1, 8, 0, MTK_A32, 0, 0}, NULL, NULL},
};

const mtk_dtype_info *mtk_dtype_get(mtk_dtype type) {
  return (unsigned)type < MTK_DTYPE_COUNT && rows[type].info.name ? &rows[type].info : NULL;
}

mtk_dtype mtk_dtype_by_name(const char *name) {
  for (int i = 0; i < MTK_DTYPE_COUNT; i++)
    if (rows[i].info.name && strcmp(rows[i].info.name, name) == 0) return (mtk_dtype)i;
  return MTK_DTYPE_COUNT;
}

size_t mtk_dtype_bytes(mtk_dtype type, uint64_t n_elems) {
  const mtk_dtype_info *info = mtk_dtype_get(type);
  size_t bytes;
  if (!info || n_elems % info->block_elems) return 0;
  if (__builtin_mul_overflow(n_elems / info->block_elems, info->block_bytes, &bytes)) return 0;
  return bytes;
}

void mtk_dtype_decode(mtk_dtype type, float *dst, const void *src, size_t n) {
  const mtk_dtype_info *info = mtk_dtype_get(type);
  if (info && rows[type].decode) rows[type].decode(dst, src, n / info->block_elems);
}

int mtk_dtype_encode(mtk_dtype type, void *dst, const float *src, size_t n) {
  return mtk_dtype_encode_weighted(type, dst, src, 1, n, NULL);
}

int mtk_dtype_encode_weighted(mtk_dtype type, void *dst, const float *src, size_t n_rows, size_t k,
                              const float *importance) {
  const mtk_dtype_info *info = mtk_dtype_get(type);
  if (!info || !rows[type].encode) return 0;
  size_t row_bytes = k / info->block_elems * info->block_bytes;
  for (size_t r = 0; r < n_rows; r++)
    rows[type].encode((uint8_t *)dst + r * row_bytes, src + r * k, k, importance);
  return 1;
}
