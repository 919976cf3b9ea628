/* kernels/ref/sum16.h: the fixed tree that ends every reduction (kernel.h, sum16). Pure. */
#ifndef MTK_KERNELS_REF_SUM16_H
#define MTK_KERNELS_REF_SUM16_H

/* Sum of the 16 partials; overwrites p. */
static inline float mtk_ref_tree16(float p[16]) {
  for (int width = 8; width >= 1; width /= 2) {
    for (int i = 0; i < width; i++) p[i] += p[i + width];
  }
  return p[0];
}

#endif
