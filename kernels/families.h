/* kernels/families.h: the families of kernels and their table overlays. Internal to kernels/.
 *
 * Each family (a file or a few files per ISA folder) fills or overwrites its own entries of the
 * table. Levels are laid over each other in the order ref, avx2, avx512: an overlay may leave any
 * entry as it is. Called by mtk_kernels_init only; pure, any thread. */
#ifndef MTK_KERNELS_FAMILIES_H
#define MTK_KERNELS_FAMILIES_H

#include <mtk/kernel.h>

/* Linear layers: mtk_kernels.linear. */
void mtk_k_linear_init__ref(mtk_kernels *table);
void mtk_k_linear_init__avx2(mtk_kernels *table);
void mtk_k_linear_init__avx512(mtk_kernels *table);
void mtk_k_linear_init__amx(mtk_kernels *table);    /* a16 */
void mtk_k_linear_a8_init__amx(mtk_kernels *table); /* a8 of blocks */
void mtk_k_linear_k_init__amx(mtk_kernels *table);  /* a8 of superblocks */

/* Norms, rope, gates, sums, softmax, losses, optimizer. */
void mtk_k_vector_init__ref(mtk_kernels *table);
void mtk_k_vector_init__avx2(mtk_kernels *table);
void mtk_k_vector_init__avx512(mtk_kernels *table);

/* KV store, attention and its derivative. */
void mtk_k_attention_init__ref(mtk_kernels *table);
void mtk_k_attention_init__avx2(mtk_kernels *table);
void mtk_k_attention_init__avx512(mtk_kernels *table);

/* Mixtures of experts: routing and gates. */
void mtk_k_moe_init__ref(mtk_kernels *table);
void mtk_k_moe_init__avx2(mtk_kernels *table);
void mtk_k_moe_init__avx512(mtk_kernels *table);

/* 4-bit float encoding. */
void mtk_k_encode_init__ref(mtk_kernels *table);
void mtk_k_encode_init__avx2(mtk_kernels *table);
void mtk_k_encode_init__avx512(mtk_kernels *table);

/* Limits of the machine. */
void mtk_k_peak_init__ref(mtk_kernels *table);
void mtk_k_peak_init__avx2(mtk_kernels *table);
void mtk_k_peak_init__avx512(mtk_kernels *table);
void mtk_k_peak_init__amx(mtk_kernels *table);

/* gemm_nn and gemm_tn. */
void mtk_k_gemm_init__ref(mtk_kernels *table);
void mtk_k_gemm_init__avx2(mtk_kernels *table);
void mtk_k_gemm_init__avx512(mtk_kernels *table);

#endif
