/* tensor/block.h: decoders and reference quantizers of the block types, for the rows of dtype.c. */
#ifndef MTK_TENSOR_BLOCK_H
#define MTK_TENSOR_BLOCK_H

#include <stddef.h>
#include <stdint.h>

/* n_blocks whole blocks; layouts as written in mtk/dtype.h. */
void mtk_q4_0_decode(float *dst, const uint8_t *src, size_t n_blocks);
void mtk_q4_1_decode(float *dst, const uint8_t *src, size_t n_blocks);
void mtk_q8_0_decode(float *dst, const uint8_t *src, size_t n_blocks);
void mtk_mxfp4_decode(float *dst, const uint8_t *src, size_t n_blocks);
void mtk_nvfp4_decode(float *dst, const uint8_t *src, size_t n_blocks);
void mtk_q4_0_encode(uint8_t *dst, const float *src, size_t n_blocks);
void mtk_q4_1_encode(uint8_t *dst, const float *src, size_t n_blocks);
void mtk_q8_0_encode(uint8_t *dst, const float *src, size_t n_blocks);
void mtk_mxfp4_encode(uint8_t *dst, const float *src, size_t n_blocks);
void mtk_nvfp4_encode(uint8_t *dst, const float *src, size_t n_blocks);

#endif
