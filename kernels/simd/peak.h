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

/* In words. CHUNK: streams further apart than this were slower. */
enum { WORDS = LANES / 2, LINE = 8, LINES = 4, AHEAD = 16 * LINE, CHUNK = 1 << 17 };

/* One pass over `streams` parts of equal length, `lines` cache lines of each in turn. ahead: the
 * lines AHEAD words further on are fetched into the L2 cache. */
MTK_INLINE uint64_t read_streams(const uint64_t *data, size_t part, int streams, const int lines,
                                 const int ahead) {
  const size_t step = (size_t)lines * LINE;
  vi sum[LINES * LINE / WORDS];
  MTK_UNROLL for (int w = 0; w < LINES * LINE / WORDS; w++) sum[w] = vi_zero();
  size_t i = 0;
  for (; i + step <= part; i += step) {
    for (int s = 0; s < streams; s++) {
      const uint64_t *p = data + (size_t)s * part + i;
      MTK_UNROLL for (int l = 0; ahead && l < lines; l++) {
        _mm_prefetch((const char *)(p + AHEAD + l * LINE), _MM_HINT_T1);
      }
      MTK_UNROLL for (int w = 0; w < lines * LINE / WORDS; w++) {
        sum[w] = vi_xor(sum[w], vi_load(p + w * WORDS));
      }
    }
  }
  MTK_UNROLL for (int w = 1; w < LINES * LINE / WORDS; w++) sum[0] = vi_xor(sum[0], sum[w]);
  uint64_t all = xor_lanes(sum[0]);
  for (int s = 0; s < streams; s++)
    for (size_t t = i; t < part; t++) all ^= data[(size_t)s * part + t];
  return all;
}

static uint64_t MTK_K(read_words)(const uint64_t *data, size_t n, int streams) {
  const size_t parts = (size_t)(streams < 0 ? -streams : streams);
  uint64_t sum = 0;
  while (n / parts >= 2 * LINE) {
    /* An odd number of lines: parts do not meet in the sets of the L1 cache. */
    const size_t most = n / parts < CHUNK ? n / parts : CHUNK;
    const size_t part = ((most / LINE - 1) | 1) * LINE;
    if (streams == 1)
      sum ^= read_streams(data, part, 1, LINES, 0);
    else if (streams > 1)
      sum ^= read_streams(data, part, streams, 1, 0);
    else
      sum ^= read_streams(data, part, -streams, 1, 1);
    data += part * parts;
    n -= part * parts;
  }
  for (size_t i = 0; i < n; i++) sum ^= data[i];
  return sum;
}

void MTK_K(peak_init)(mtk_kernels *table) {
  table->peak[MTK_A32] = table->peak[MTK_A16] = MTK_K(peak_f32);
  table->peak[MTK_A8] = MTK_K(peak_i8);
  table->read_words = MTK_K(read_words);
}
