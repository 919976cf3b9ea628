/* kernels/kv_page.h: where things lie in a page of the KV cache (<mtk/kernel.h>). Internal to
 * kernels/. Pure. */
#ifndef MTK_KERNELS_KV_PAGE_H
#define MTK_KERNELS_KV_PAGE_H

#include <mtk/kernel.h>
#include <string.h>

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

/* KV_BLOCK floats to what mtk_dtype_encode makes of them. */
typedef void kv_encode_fn(mtk_dtype type, void *coded, const float *block);

static inline void kv_scatter(uint8_t *dst, const uint8_t *src, size_t bytes, int64_t n,
                              int64_t step) {
  const int64_t stride = step * (int64_t)bytes;
  for (int64_t i = 0; i < n; i++) memcpy(dst + i * stride, src + (size_t)i * bytes, bytes);
}

/* The vector x at position `at` of its page: element d at index first + d * step. */
static inline void kv_store_vector(kv_encode_fn *encode, mtk_dtype type, void *page, int64_t at,
                                   const float *x, int64_t dim, int64_t first, int64_t step) {
  const size_t bytes = kv_element_bytes(type);
  for (int64_t d = 0; d < dim; d += KV_BLOCK) {
    int64_t n = dim - d < KV_BLOCK ? dim - d : KV_BLOCK;
    float last[KV_BLOCK];
    uint8_t coded[KV_BLOCK * sizeof(float)];
    const float *block = x + d;
    const uint8_t *codes = (const uint8_t *)block;
    if (type != MTK_F32) {
      if (n < KV_BLOCK) {
        memset(last, 0, sizeof last);
        block = memcpy(last, block, (size_t)n * sizeof *x);
      }
      encode(type, coded, block);
      codes = coded;
    }
    if (type == MTK_Q8_0) {
      memcpy((uint8_t *)page + kv_scale_offset(at, d, dim), codes, sizeof(uint16_t));
      codes += sizeof(uint16_t);
    }
    uint8_t *to = (uint8_t *)page + (first + d * step) * (int64_t)bytes;
    if (step == 1)
      memcpy(to, codes, (size_t)n * bytes);
    else if (bytes == 1)
      kv_scatter(to, codes, 1, n, step);
    else if (bytes == 2)
      kv_scatter(to, codes, 2, n, step);
    else
      kv_scatter(to, codes, 4, n, step);
  }
}

/* The lines that the keys of a group of 16 and the value at `at` take: one key is written to all of
 * its group's, and without this they would come from memory one by one. */
static inline void kv_fetch(const void *k_page, const void *v_page, int64_t at, size_t bytes,
                            int64_t head_dim, int64_t v_dim) {
  enum { LINE = 64 };
  const uint8_t *k = (const uint8_t *)k_page + (size_t)(at / 16 * 16 * head_dim) * bytes;
  const uint8_t *v = (const uint8_t *)v_page + (size_t)(at * v_dim) * bytes;
  for (size_t i = 0; i < (size_t)head_dim * 16 * bytes; i += LINE) __builtin_prefetch(k + i, 1, 3);
  for (size_t i = 0; i < (size_t)v_dim * bytes; i += LINE) __builtin_prefetch(v + i, 1, 3);
}

/* mtk_kernels.kv_store by a level's encoder. */
static inline void kv_store_tokens(kv_encode_fn *encode, mtk_dtype type, void *const *k_pages,
                                   void *const *v_pages, const float *k, int64_t ld_k,
                                   const float *v, int64_t ld_v, int64_t n_tokens, int64_t pos0,
                                   int head_dim, int v_dim) {
  for (int64_t t = 0; t < n_tokens; t++, k += ld_k, v += ld_v) {
    int64_t page = (pos0 + t) / MTK_KV_PAGE, at = (pos0 + t) % MTK_KV_PAGE;
    int64_t first = kv_key_index(at, head_dim);
    if (t == 0 || at % 16 == 0)
      kv_fetch(k_pages[page], v_pages[page], at, kv_element_bytes(type), head_dim, v_dim);
    kv_store_vector(encode, type, k_pages[page], at, k, head_dim, first, 16);
    kv_store_vector(encode, type, v_pages[page], at, v, v_dim, at * v_dim, 1);
  }
}

#endif
