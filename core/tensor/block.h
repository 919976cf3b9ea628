/* tensor/block.h: codecs of the storage types, for the rows of dtype.c. The layout and formula of a
 * type stand at the top of its file: block_legacy.c (q4_0 .. q8_1), block_k.c and block_k_encode.c
 * (q2_k .. q8_k), block_iq.c, block_iq4.c, block_ternary.c (tq, q1_0, q2_0), block_float.c. */
#ifndef MTK_TENSOR_BLOCK_H
#define MTK_TENSOR_BLOCK_H

#include <stddef.h>
#include <stdint.h>

/* n_blocks whole blocks. */
#define DECODER(name) void mtk_##name##_decode(float *dst, const uint8_t *src, size_t n_blocks);
/* k elements (whole blocks) of one row; im: NULL, or the importance of each column, > 0. */
#define CODEC(name)                                                                                \
  DECODER(name)                                                                                    \
  void mtk_##name##_encode_row(uint8_t *dst, const float *x, size_t k, const float *im);

CODEC(q4_0)
CODEC(q4_1)
CODEC(q5_0)
CODEC(q5_1)
CODEC(q8_0)
CODEC(q8_1)
CODEC(q2_k)
CODEC(q3_k)
CODEC(q4_k)
CODEC(q5_k)
CODEC(q6_k)
CODEC(q8_k)
CODEC(iq4_nl)
CODEC(iq4_xs)
CODEC(tq1_0)
CODEC(tq2_0)
CODEC(q1_0)
CODEC(q2_0)
CODEC(mxfp4)
CODEC(nvfp4)
CODEC(mxfp8)
CODEC(f4_e2m1)
CODEC(f6_e2m3)
CODEC(f6_e3m2)
DECODER(iq2_xxs)
DECODER(iq2_xs)
DECODER(iq2_s)
DECODER(iq3_xxs)
DECODER(iq3_s)
DECODER(iq1_s)
DECODER(iq1_m)

#undef CODEC
#undef DECODER

/* float.c: single values of the formats that only stored types use. Codes are 6 or 8 bits. */
float mtk_e2m3_to_f32(uint8_t code);
uint8_t mtk_f32_to_e2m3(float f); /* nearest even, saturates to 7.5; NaN -> +7.5 */
float mtk_e3m2_to_f32(uint8_t code);
uint8_t mtk_f32_to_e3m2(float f); /* nearest even, saturates to 28; NaN -> +28 */
float mtk_e4m3fnuz_to_f32(uint8_t b);
uint8_t mtk_f32_to_e4m3fnuz(float f); /* saturates to +-240; NaN -> 0x80; no negative zero */
float mtk_e5m2fnuz_to_f32(uint8_t b);
uint8_t mtk_f32_to_e5m2fnuz(float f); /* saturates to +-57344; NaN -> 0x80; no negative zero */

#endif
