/* kernels/simd/peak.h: the fastest streams of multiply-adds and of reads of AVX2 and AVX-512: as
 * many independent chains as hide the latency, nothing else in the loop. The chains start from
 * different numbers, or the compiler would compute one for all. The including file defines
 * MTK_LANES and MTK_K. */
#include "families.h"
#include "simd/lanes.h"

#if MTK_LANES == 16
enum { CHAINS = 16 };
typedef __m512i vi;
MTK_INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
MTK_INLINE vi vi_set1(float x) { return _mm512_castps_si512(_mm512_set1_ps(x)); }
MTK_INLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
MTK_INLINE void vi_store(void *p, vi v) { _mm512_storeu_si512(p, v); }
MTK_INLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
MTK_INLINE vi vi_dot(vi acc, vi x) { return _mm512_dpbusd_epi32(acc, x, x); }
#else
enum { CHAINS = 12 };
typedef __m256i vi;
MTK_INLINE vi vi_zero(void) { return _mm256_setzero_si256(); }
MTK_INLINE vi vi_set1(float x) { return _mm256_castps_si256(_mm256_set1_ps(x)); }
MTK_INLINE vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
MTK_INLINE void vi_store(void *p, vi v) { _mm256_storeu_si256((__m256i *)p, v); }
MTK_INLINE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
/* acc is a factor too: else the compiler multiplies once, before the loop. */
MTK_INLINE vi vi_dot(vi acc, vi x) {
  vi pairs = _mm256_maddubs_epi16(acc, x);
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
#endif

static double MTK_K(peak_f32)(float *io, int64_t rounds) {
  vf acc[CHAINS], x = vf_load(io);
  MTK_UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = vf_set1(io[i]);
  for (int64_t r = 0; r < rounds; r++) {
    MTK_UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = vf_fma(x, x, acc[i]);
  }
  MTK_UNROLL for (int i = 1; i < CHAINS; i++) acc[0] = vf_add(acc[0], acc[i]);
  vf_store(io, acc[0]);
  return 2.0 * CHAINS * LANES * (double)rounds;
}

static double MTK_K(peak_i8)(float *io, int64_t rounds) {
  vi acc[CHAINS], x = vi_load(io);
  MTK_UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = vi_set1(io[i]);
  for (int64_t r = 0; r < rounds; r++) {
    MTK_UNROLL for (int i = 0; i < CHAINS; i++) acc[i] = vi_dot(acc[i], x);
  }
  MTK_UNROLL for (int i = 1; i < CHAINS; i++) acc[0] = vi_xor(acc[0], acc[i]);
  vi_store(io, acc[0]);
  return 2.0 * CHAINS * 4 * LANES * (double)rounds;
}

MTK_INLINE uint64_t xor_lanes(vi v) {
  uint64_t word[LANES / 2], sum = 0;
  vi_store(word, v);
  for (int i = 0; i < LANES / 2; i++) sum ^= word[i];
  return sum;
}

/* One pass over `streams` parts of equal length side by side, 256 bytes of each in turn. */
MTK_INLINE uint64_t read_streams(const uint64_t *data, size_t part, int streams) {
  enum { WORDS = LANES / 2, STEP = 32 };
  vi a = vi_zero(), b = a, c = a, d = a;
  size_t i = 0;
  for (; i + STEP <= part; i += STEP) {
    for (int s = 0; s < streams; s++) {
      const uint64_t *p = data + (size_t)s * part + i;
      for (int w = 0; w < STEP; w += 4 * WORDS) {
        a = vi_xor(a, vi_load(p + w));
        b = vi_xor(b, vi_load(p + w + WORDS));
        c = vi_xor(c, vi_load(p + w + 2 * WORDS));
        d = vi_xor(d, vi_load(p + w + 3 * WORDS));
      }
    }
  }
  uint64_t sum = xor_lanes(vi_xor(vi_xor(a, b), vi_xor(c, d)));
  for (int s = 0; s < streams; s++)
    for (size_t t = i; t < part; t++) sum ^= data[(size_t)s * part + t];
  return sum;
}

static uint64_t MTK_K(read_words)(const uint64_t *data, size_t n, int streams) {
  size_t part = n / (size_t)streams;
  uint64_t sum = 0;
  if (part >= LANES) sum = read_streams(data, part, streams);
  for (size_t i = part >= LANES ? part * (size_t)streams : 0; i < n; i++) sum ^= data[i];
  return sum;
}

void MTK_K(peak_init)(mtk_kernels *table) {
  table->peak[MTK_A32] = table->peak[MTK_A16] = MTK_K(peak_f32);
  table->peak[MTK_A8] = MTK_K(peak_i8);
  table->read_words = MTK_K(read_words);
}
