/* cuda_conversions.c: SHA-256 of NVIDIA's host conversions over many floats, for
 * tests/golden/cuda_conversions.txt.
 *
 *   cc -I CUDA/include tests/oracle/cuda_conversions.c -lm -o c && ./c | while read name bytes; do
 *     echo "$name $(xxd -r -p <<<"$bytes" | sha256sum | cut -d' ' -f1)"; done > tests/golden/cuda_conversions.txt
 *
 * Inputs: every upper half 0x0000..0xFFFF of a float with the lower halves 0000, 0001, 8000, FFFF, in
 * that order: all signs, exponents, ties, their neighbours, infinities and NaNs. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cuda_fp4.h"

static unsigned e2m1(float x) { return __nv_cvt_float_to_fp4(x, __NV_E2M1, cudaRoundNearest); }
static unsigned e4m3(float x) { return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3); }
static unsigned e5m2(float x) { return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2); }

int main(void) {
  static const struct {
    const char *name;
    unsigned (*convert)(float);
  } rows[] = {{"e2m1", e2m1}, {"e4m3", e4m3}, {"e5m2", e5m2}};
  static const uint16_t low[] = {0, 1, 0x8000, 0xFFFF};
  for (int r = 0; r < 3; r++) {
    printf("%s ", rows[r].name);
    for (uint32_t i = 0; i < 0x40000; i++) {
      uint32_t bits = i / 4 << 16 | low[i % 4];
      float x;
      memcpy(&x, &bits, 4);
      printf("%02x", rows[r].convert(x) & 0xff);
    }
    printf("\n");
  }
  return 0;
}
