/* mtk/dtype.h: storage types. One row per type; formats, kernels and quantizers all read this
 * table.
 *
 * A matrix W[N,K] is stored row by row; each row is K / block_elems blocks of block_bytes bytes
 * (K must be a multiple of block_elems). Formulas below give the value of an element; d etc. are
 * read little endian. Every type may carry a grid of f32 scales outside its bytes
 * (mtk_tensor.scales), multiplied onto the values. */
#ifndef MTK_DTYPE_H
#define MTK_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Values are stable: they are written into checkpoints. Append only. */
typedef enum mtk_dtype {
  MTK_F32 = 0,
  MTK_F16 = 1,
  MTK_BF16 = 2,
  MTK_F64 = 3,
  MTK_I8 = 4,
  MTK_I16 = 5,
  MTK_I32 = 6,
  MTK_I64 = 7,
  MTK_U8 = 8,
  MTK_U16 = 9,
  MTK_U32 = 10,
  MTK_U64 = 11,
  MTK_BOOL = 12,
  MTK_F8_E4M3 = 13, /* OCP "fn": no Inf, NaN 0x7F/0xFF, max 448 */
  MTK_F8_E5M2 = 14,
  MTK_E8M0 = 15, /* 2^(byte-127), 0xFF = NaN */
  MTK_Q4_0 = 16, /* 32 elems, 18 B: f16 d; u8 qs[16]: low nibble j, high j+16; (q-8)*d */
  MTK_Q4_1 = 17, /* 32 elems, 20 B: f16 d, m; u8 qs[16] as q4_0; q*d+m */
  MTK_Q8_0 = 18, /* 32 elems, 34 B: f16 d; i8 qs[32]; q*d */
  /* 32 elems, 17 B: E8M0 e; u8 qs[16]: low nibble j, high j+16; e2m1(q)*2^(e-127) */
  MTK_MXFP4 = 19,
  MTK_NVFP4 = 20, /* 64 elems, 36 B: UE4M3 d[4]; u8 qs[32]: sub-block s of 16: byte 8s+j low =
                     16s+j, high = 16s+8+j; e2m1(q)*e4m3(d[s]); times the tensor's scale */
  /* Types of ggml (ggml-common.h); formulas stand at their codecs in core/tensor. */
  MTK_Q5_0 = 21,    /* 32 elems, 22 B */
  MTK_Q5_1 = 22,    /* 32 elems, 24 B */
  MTK_Q8_1 = 23,    /* 32 elems, 36 B */
  MTK_Q2_K = 24,    /* 256 elems, 84 B */
  MTK_Q3_K = 25,    /* 256 elems, 110 B */
  MTK_Q4_K = 26,    /* 256 elems, 144 B */
  MTK_Q5_K = 27,    /* 256 elems, 176 B */
  MTK_Q6_K = 28,    /* 256 elems, 210 B */
  MTK_Q8_K = 29,    /* 256 elems, 292 B */
  MTK_IQ2_XXS = 30, /* 256 elems, 66 B */
  MTK_IQ2_XS = 31,  /* 256 elems, 74 B */
  MTK_IQ3_XXS = 32, /* 256 elems, 98 B */
  MTK_IQ1_S = 33,   /* 256 elems, 50 B */
  MTK_IQ4_NL = 34,  /* 32 elems, 18 B */
  MTK_IQ3_S = 35,   /* 256 elems, 110 B */
  MTK_IQ2_S = 36,   /* 256 elems, 82 B */
  MTK_IQ4_XS = 37,  /* 256 elems, 136 B */
  MTK_IQ1_M = 38,   /* 256 elems, 56 B */
  MTK_TQ1_0 = 39,   /* 256 elems, 54 B */
  MTK_TQ2_0 = 40,   /* 256 elems, 66 B */
  MTK_Q1_0 = 41,    /* 128 elems, 18 B */
  MTK_Q2_0 = 42,    /* 64 elems, 18 B */
  /* Types of safetensors. Packed types: element 0 in the lowest bits. */
  MTK_F4_E2M1 = 43, /* 2 elems, 1 B */
  MTK_F6_E2M3 = 44, /* 4 elems, 3 B */
  MTK_F6_E3M2 = 45, /* 4 elems, 3 B */
  MTK_F8_E4M3FNUZ = 46, /* bias 8, NaN 0x80, max 240 */
  MTK_F8_E5M2FNUZ = 47, /* bias 16, NaN 0x80 */
  MTK_C64 = 48,     /* two f32: no arithmetic, only carried */
  MTK_MXFP8 = 49,   /* 32 elems, 33 B: E8M0 e; e4m3 q[32]; e4m3(q)*2^(e-127) */
  MTK_DTYPE_COUNT
} mtk_dtype;

/* The arithmetics of a linear layer, y = x W^T (design, section 5). */
typedef enum mtk_arith {
  MTK_A32 = 0, /* one f32 fma chain over k */
  MTK_A16 = 1, /* x and W rounded to bf16; even and odd chains per 32 k, denormals flushed */
  MTK_A8 = 2,  /* x quantized to int8 per block of act_block elements; exact integer block sums */
  MTK_ARITH_COUNT
} mtk_arith;

typedef struct mtk_dtype_info {
  const char *name;     /* "q4_0" */
  uint32_t block_elems; /* elements per block, 1 for plain types */
  uint32_t block_bytes;
  uint32_t act_block; /* activation block of a8; 0 = a8 not defined for this type */
  mtk_arith arith;    /* default arithmetic when used as weights of a linear layer */
  uint8_t is_float;   /* can be read as f32 values (not the integers, not e8m0) */
  uint8_t is_quant;   /* block-quantized */
} mtk_dtype_info;

/* Row of a type; NULL for an unknown value. Static, thread-safe. */
const mtk_dtype_info *mtk_dtype_get(mtk_dtype type);
/* Type by name ("bf16"); MTK_DTYPE_COUNT if unknown. */
mtk_dtype mtk_dtype_by_name(const char *name);
/* Bytes of n elements (a multiple of block_elems), 0 on overflow or misfit. */
size_t mtk_dtype_bytes(mtk_dtype type, uint64_t n_elems);

/* Decode n elements (a multiple of block_elems) to f32, exactly, without outside scales. Integers
 * too. Encode by round to nearest even, saturating (NaN stays NaN where the type has one); for
 * block types by their reference quantizer (ggml's own for its types; OCP floor rule for mxfp4; for
 * nvfp4 the block scale e4m3(amax/6); for mxfp8 2^ceil(log2(amax/448))). encode returns 0 when the
 * type has no encoder.
 * Thread-safe. */
void mtk_dtype_decode(mtk_dtype type, float *dst, const void *src, size_t n);
int mtk_dtype_encode(mtk_dtype type, void *dst, const float *src, size_t n);
/* n_rows rows of k elements, with one importance > 0 per column (k of them, the same for every row;
 * NULL = none: then exactly mtk_dtype_encode). The quantizers of ggml that llama-quantize uses with
 * an importance matrix: they minimize the error so weighted. Types that have no such quantizer
 * (plain types, q8_0, ternary and micro-scaled ones) ignore it. 0 when the type has no encoder.
 * Thread-safe. */
int mtk_dtype_encode_weighted(mtk_dtype type, void *dst, const float *src, size_t n_rows, size_t k,
                              const float *importance);

/* Single-value conversions (all exact or nearest-even). */
float mtk_f16_to_f32(uint16_t h);
uint16_t mtk_f32_to_f16(float f);
float mtk_bf16_to_f32(uint16_t h);
uint16_t mtk_f32_to_bf16(float f);
float mtk_e4m3_to_f32(uint8_t b);
uint8_t mtk_f32_to_e4m3(float f); /* saturates to +-448; NaN -> 0x7F */
float mtk_e5m2_to_f32(uint8_t b);
uint8_t mtk_f32_to_e5m2(float f); /* saturates to +-57344; NaN -> 0x7F */
float mtk_e8m0_to_f32(uint8_t b);
float mtk_e2m1_to_f32(uint8_t code); /* low 4 bits */
uint8_t mtk_f32_to_e2m1(float f);    /* nearest even, saturates to 6; NaN -> +6 (as CUDA) */

#ifdef __cplusplus
}
#endif
#endif
