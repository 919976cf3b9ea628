/* kernels/ref/peak.c: what the measurements of the machine mean: streams of multiply-adds on
 * registers, and reading. Pure functions, any thread. */
#include <math.h>
#include <string.h>

#include "families.h"

enum { CHAINS = 16 };

static double mtk_k_peak_f32__ref(float *io, int64_t rounds) {
  float acc[CHAINS];
  memcpy(acc, io, sizeof acc);
  for (int64_t r = 0; r < rounds; r++)
    for (int i = 0; i < CHAINS; i++) acc[i] = fmaf(io[CHAINS], io[CHAINS + 1], acc[i]);
  memcpy(io, acc, sizeof acc);
  return 2.0 * CHAINS * (double)rounds;
}

static double mtk_k_peak_i8__ref(float *io, int64_t rounds) {
  int32_t acc[CHAINS];
  memcpy(acc, io, sizeof acc);
  for (int64_t r = 0; r < rounds; r++)
    for (int i = 0; i < CHAINS; i++) acc[i] ^= (int8_t)acc[i] * (int8_t)(acc[i] >> 8);
  memcpy(io, acc, sizeof acc);
  return 2.0 * CHAINS * (double)rounds;
}

static uint64_t mtk_k_read_words__ref(const uint64_t *data, size_t n, int streams) {
  (void)streams;
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++) sum ^= data[i];
  return sum;
}

void mtk_k_peak_init__ref(mtk_kernels *table) {
  table->peak[MTK_A32] = table->peak[MTK_A16] = mtk_k_peak_f32__ref;
  table->peak[MTK_A8] = mtk_k_peak_i8__ref;
  table->read_words = mtk_k_read_words__ref;
}
