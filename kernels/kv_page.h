/* kernels/kv_page.h: where things lie in a page of the KV cache (<mtk/kernel.h>). Internal to
 * kernels/. Pure. */
#ifndef MTK_KERNELS_KV_PAGE_H
#define MTK_KERNELS_KV_PAGE_H

#include <mtk/kernel.h>

/* Elements that share a scale, where the type has scales. */
enum { KV_BLOCK = 32 };

/* Bytes of one element (of q8_0: its code); 0 = no type of a cache. */
static inline size_t kv_element_bytes(mtk_dtype type) {
  static const uint8_t bytes[MTK_DTYPE_COUNT] = {
      [MTK_F32] = 4, [MTK_F16] = 2, [MTK_BF16] = 2, [MTK_F8_E4M3] = 1, [MTK_Q8_0] = 1};
  return (unsigned)type < MTK_DTYPE_COUNT ? bytes[type] : 0;
}

/* Index of element 0 of the key at position `at` of its page; the next ones follow 16 apart. */
static inline int64_t kv_key_index(int64_t at, int64_t head_dim) {
  return at / 16 * head_dim * 16 + at % 16;
}

/* Offset in bytes of the scale of element d of the vector at position `at`, in a page of q8_0. */
static inline int64_t kv_scale_offset(int64_t at, int64_t d, int64_t dim) {
  return MTK_KV_PAGE * dim + (d / KV_BLOCK * MTK_KV_PAGE + at) * 2;
}

#endif
