/* targets.c: the targets of rtn, and those of gptq, which leaves out what has no grid to propagate
 * errors on. Static data. */
#include "quant.h"

/* clang-format off */
#define WITH_GRIDS \
  TARGET_NVFP4, \
  TARGET_MXFP4, \
  {"fp8", MTK_F8_E4M3, 0, 0, "8 bits: E4M3, an f32 scale per tensor", 0}, \
  {"fp8-channel", MTK_F8_E4M3, 1, 0, "8 bits: E4M3, an f32 scale per row", 0}, \
  {"fp8-block", MTK_F8_E4M3, 128, 128, "8 bits: E4M3, an f32 scale per 128 x 128 block", 0}, \
  {"mxfp8", MTK_F8_E4M3, 1, 32, "8.25 bits: E4M3, a power of two per 32", 0}, \
  {"int8", MTK_Q8_0, 1, 0, "8 bits: int8, a bf16 scale per row", 0}, \
  {"int4", MTK_Q4_0, 1, 128, "4.13 bits: int4, a bf16 scale per 128", 0}, \
  {"int4-asym", MTK_Q4_1, 1, 128, "4.16 bits: int4, a bf16 scale and a zero point per 128", 0}, \
  {"q8_0", MTK_Q8_0, -1, -1, "8.5 bits: int8, an f16 scale per 32", 0}, \
  {"q6_k", MTK_Q6_K, -1, -1, "6.56 bits: int6, 8-bit scales per 16 in superblocks of 256", 0}, \
  {"q5_k", MTK_Q5_K, -1, -1, "5.5 bits: int5, 6-bit scales and minimums per 32 in 256", 0}, \
  {"q5_1", MTK_Q5_1, -1, -1, "6 bits: int5, an f16 scale and minimum per 32", 0}, \
  {"q5_0", MTK_Q5_0, -1, -1, "5.5 bits: int5, an f16 scale per 32", 0}, \
  {"q4_k", MTK_Q4_K, -1, -1, "4.5 bits: int4, 6-bit scales and minimums per 32 in 256", 0}, \
  {"q4_0", MTK_Q4_0, -1, -1, "4.5 bits: int4, an f16 scale per 32", 0}, \
  {"q4_1", MTK_Q4_1, -1, -1, "5 bits: int4, an f16 scale and minimum per 32", 0}, \
  {"iq4_nl", MTK_IQ4_NL, -1, -1, "4.5 bits: 16 uneven levels, an f16 scale per 32", 0}, \
  {"iq4_xs", MTK_IQ4_XS, -1, -1, "4.25 bits: 16 uneven levels, 6-bit scales per 32 in 256", 0}, \
  {"q3_k", MTK_Q3_K, -1, -1, "3.44 bits: int3, 6-bit scales per 16 in 256", 0}, \
  {"q2_k", MTK_Q2_K, -1, -1, "2.63 bits: int2, 4-bit scales and minimums per 16 in 256", 0}

#define MIXTURES \
  {"q5_k_m", MTK_Q5_K, -1, -1, "llama.cpp's Q5_K_M: q5_k, some matrices q6_k, embedding too", 17},\
  {"q5_k_s", MTK_Q5_K, -1, -1, "llama.cpp's Q5_K_S: q5_k, head q6_k, embedding too", 16}, \
  {"q4_k_m", MTK_Q4_K, -1, -1, "llama.cpp's Q4_K_M: q4_k, some matrices q6_k, embedding too", 15}, \
  {"q4_k_s", MTK_Q4_K, -1, -1, "llama.cpp's Q4_K_S: q4_k, a few matrices q5_k, embedding too", 14},\
  {"q3_k_l", MTK_Q3_K, -1, -1, "llama.cpp's Q3_K_L: q3_k, some matrices q5_k, embedding too", 13}, \
  {"q3_k_m", MTK_Q3_K, -1, -1, "llama.cpp's Q3_K_M: q3_k, some q4_k and q5_k, embedding too", 12}, \
  {"q3_k_s", MTK_Q3_K, -1, -1, "llama.cpp's Q3_K_S: q3_k, head q6_k, embedding too", 11}, \
  {"q2_k_m", MTK_Q2_K, -1, -1, "llama.cpp's Q2_K: q2_k, some q3_k and q4_k, embedding too", 10}, \
  {"q2_k_s", MTK_Q2_K, -1, -1, "llama.cpp's Q2_K_S: q2_k, a few matrices q4_k, embedding too", 21}

const mtk_quant_target quant_targets[] = {
  WITH_GRIDS,
  {"q2_0", MTK_Q2_0, -1, -1, "2.25 bits: -1, 0, 1, an f16 scale per 64 (ternary models)", 0},
  {"tq2_0", MTK_TQ2_0, -1, -1, "2.06 bits: -1, 0, 1, an f16 scale per 256 (ternary models)", 0},
  {"tq1_0", MTK_TQ1_0, -1, -1, "1.69 bits: -1, 0, 1, an f16 scale per 256 (ternary models)", 0},
  {"q1_0", MTK_Q1_0, -1, -1, "1.13 bits: -1, 1, an f16 scale per 128 (binary models)", 0},
  MIXTURES,
  {"bf16", MTK_BF16, -1, -1, "16 bits: bfloat16", 0},
  {"f16", MTK_F16, -1, -1, "16 bits: IEEE half", 0},
  {"f32", MTK_F32, -1, -1, "32 bits", 0},
  {0},
};
const mtk_quant_target gptq_targets[] = {
  WITH_GRIDS,
  MIXTURES,
  {0},
};
/* clang-format on */
