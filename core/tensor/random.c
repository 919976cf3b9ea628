/* random.c: standard normal numbers from the counter-based generator. Pure; any thread. */
#include <mtk/base.h>
#include <mtk/kernel.h>

#include <math.h>

/* Box & Muller 1958: sqrt(-2 ln u) cos(2 pi v), u in (0,1], v in [0,1), 53 bits each. */
double mtk_normal(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t out[4];
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream,
                               (uint32_t)(stream >> 32)};
  mtk_philox(out, key, counter);
  uint64_t first = ((uint64_t)out[1] << 32 | out[0]) >> 11;
  uint64_t second = ((uint64_t)out[3] << 32 | out[2]) >> 11;
  double u = (double)(first + 1) * 0x1p-53, v = (double)second * 0x1p-53;
  double sine, cosine;
  mtk_math_sincos(6.283185307179586476925 * v, &sine, &cosine);
  return sqrt(-2.0 * mtk_math_log(u)) * cosine;
}
