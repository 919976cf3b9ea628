/* test_dtype.c: storage types against golden values of ml_dtypes, numpy and gguf
 * (tests/oracle/make_dtype_golden.py) and of ggml (make_ggml_types_golden.py), exhaustive round
 * trips, and the error of each quantizer on Gaussian numbers. */
#include <mtk/base.h>
#include <mtk/dtype.h>

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"

static float of_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

/* ---- golden file ------------------------------------------------------------------------- */

static FILE *open_golden(void) {
  FILE *f = fopen(MTK_SOURCE_DIR "/tests/golden/dtype.txt", "r");
  ck_assert_ptr_nonnull(f);
  return f;
}

/* Reads hexadecimal numbers of text into v until something else; returns how many. */
static size_t read_hex(const char **text, uint32_t *v, size_t max) {
  size_t n = 0;
  for (; n < max; n++) {
    char *end;
    unsigned long value = strtoul(*text, &end, 16);
    if (end == *text) break;
    v[n] = (uint32_t)value;
    *text = end;
  }
  return n;
}

START_TEST(encode_matches_golden) {
  FILE *f = open_golden();
  char *line = NULL;
  size_t cap = 0, lines = 0;
  while (getline(&line, &cap, f) > 0) {
    if (strncmp(line, "encode ", 7) != 0) continue;
    uint32_t v[6];
    const char *text = line + 7;
    ck_assert_uint_eq(read_hex(&text, v, 6), 6);
    float x = of_bits(v[0]);
    uint32_t got[6] = {v[0],
                       mtk_f32_to_f16(x),
                       mtk_f32_to_bf16(x),
                       mtk_f32_to_e4m3(x),
                       mtk_f32_to_e5m2(x),
                       mtk_f32_to_e2m1(x)};
    for (int i = 1; i < 6; i++)
      ck_assert_msg(got[i] == v[i], "column %d: got %x for %s", i, got[i], line);
    lines++;
  }
  ck_assert_uint_gt(lines, 1500);
  free(line);
  fclose(f);
}
END_TEST

static float decode_e2m1(uint8_t code) { return mtk_e2m1_to_f32(code); }

START_TEST(decode_matches_golden) {
  static const struct {
    const char *name;
    float (*decode)(uint8_t);
    size_t n;
  } types[] = {{"decode f8_e4m3 ", mtk_e4m3_to_f32, 256},
               {"decode f8_e5m2 ", mtk_e5m2_to_f32, 256},
               {"decode e8m0 ", mtk_e8m0_to_f32, 256},
               {"decode e2m1 ", decode_e2m1, 16}};
  FILE *f = open_golden();
  char *line = NULL;
  size_t cap = 0, seen = 0;
  while (getline(&line, &cap, f) > 0)
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
      if (strncmp(line, types[t].name, strlen(types[t].name)) != 0) continue;
      uint32_t v[256];
      const char *text = line + strlen(types[t].name);
      ck_assert_uint_eq(read_hex(&text, v, 256), types[t].n);
      for (size_t code = 0; code < types[t].n; code++) {
        float got = types[t].decode((uint8_t)code);
        ck_assert_msg(isnan(of_bits(v[code])) ? isnan(got) : bits_of(got) == v[code],
                      "%s%zx: got %a", types[t].name, code, (double)got);
      }
      seen++;
    }
  ck_assert_uint_eq(seen, 4);
  free(line);
  fclose(f);
}
END_TEST

START_TEST(all_sixteen_bit_codes_match_golden) {
  static float values[65536];
  static const struct {
    const char *name;
    float (*decode)(uint16_t);
  } types[] = {{"sha256 f16 ", mtk_f16_to_f32}, {"sha256 bf16 ", mtk_bf16_to_f32}};
  FILE *f = open_golden();
  char *line = NULL, hex[65];
  size_t cap = 0, seen = 0;
  while (getline(&line, &cap, f) > 0)
    for (size_t t = 0; t < 2; t++) {
      if (strncmp(line, types[t].name, strlen(types[t].name)) != 0) continue;
      for (uint32_t code = 0; code < 65536; code++) {
        float value = types[t].decode((uint16_t)code);
        values[code] = isnan(value) ? 0 : value;
      }
      mtk_sha256_hex(hex, values, sizeof values);
      ck_assert_int_eq(strncmp(line + strlen(types[t].name), hex, 64), 0);
      seen++;
    }
  ck_assert_uint_eq(seen, 2);
  free(line);
  fclose(f);
}
END_TEST

/* "name F32... : BYTES : F32..." */
static void check_block(const char *line) {
  char name[16];
  size_t len = strcspn(line, " ");
  ck_assert_uint_lt(len, sizeof name);
  memcpy(name, line, len);
  name[len] = 0;
  mtk_dtype type = mtk_dtype_by_name(name);
  const mtk_dtype_info *info = mtk_dtype_get(type);
  ck_assert_ptr_nonnull(info);
  uint32_t input[64], expected[64];
  const char *text = line + len;
  ck_assert_uint_eq(read_hex(&text, input, 64), info->block_elems);
  text += 3;
  uint8_t bytes[64], got[64];
  for (uint32_t i = 0; i < info->block_bytes; i++, text += 2) {
    const char pair[3] = {text[0], text[1], 0};
    bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
  }
  text += 3;
  ck_assert_uint_eq(read_hex(&text, expected, 64), info->block_elems);
  float x[64], y[64];
  for (uint32_t i = 0; i < info->block_elems; i++) x[i] = of_bits(input[i]);
  ck_assert_int_eq(mtk_dtype_encode(type, got, x, info->block_elems), 1);
  for (uint32_t i = 0; i < info->block_bytes; i++)
    ck_assert_msg(got[i] == bytes[i], "%s byte %u: got %02x, expected %02x in %s", name, i, got[i],
                  bytes[i], line);
  mtk_dtype_decode(type, y, bytes, info->block_elems);
  for (uint32_t i = 0; i < info->block_elems; i++)
    ck_assert_msg(y[i] == of_bits(expected[i]), "%s element %u: got %a", name, i, (double)y[i]);
}

START_TEST(blocks_match_golden) {
  FILE *f = open_golden();
  char *line = NULL;
  size_t cap = 0, seen = 0;
  while (getline(&line, &cap, f) > 0)
    if (strncmp(line, "block ", 6) == 0) {
      check_block(line + 6);
      seen++;
    }
  ck_assert_uint_eq(seen, 60);
  free(line);
  fclose(f);
}
END_TEST

/* ---- what ggml makes of its types ---------------------------------------------------------- */

enum { ROWS = 16, K = 768, BLOCKS = 64, MAX_BYTES = 292 };

static float unit(uint64_t i, uint32_t seed) { /* in [-1, 1) */
  uint32_t u = (uint32_t)(i * 2654435761u + seed);
  return (float)(u >> 8) * 0x1p-23f - 1.0f;
}

/* The rows of make_ggml_types_golden.py. */
static void sample_rows(float *x) {
  for (int i = 0; i < ROWS * K; i++) {
    float t = unit((uint64_t)i, 12345);
    x[i] = t * t * t;
  }
  x[4 * K + 5] = 37.5f;
  for (int i = 0; i < K; i++) {
    x[K + i] = 0;
    x[2 * K + i] *= 0x1p-20f;
    if (i < 48) x[3 * K + i] = 0;
    x[5 * K + i] = fabsf(x[5 * K + i]);
    x[6 * K + i] = -fabsf(x[6 * K + i]);
    if (i % 3 == 0) x[7 * K + i] = -0.0f;
    x[8 * K + i] = rintf(x[8 * K + i] * 4) / 4;
    x[9 * K + i] = 0.5f;
    x[10 * K + i] *= 1000;
  }
}

static void check_ggml_decode(mtk_dtype type, const char *want) {
  static uint8_t bytes[BLOCKS * MAX_BYTES];
  static float values[BLOCKS * 256];
  char hex[65];
  const mtk_dtype_info *info = mtk_dtype_get(type);
  size_t n = BLOCKS * (size_t)info->block_elems;
  for (uint64_t i = 0; i < BLOCKS * info->block_bytes; i++)
    bytes[i] = (uint8_t)((uint32_t)(i * 2654435761u + 99) >> 24);
  mtk_dtype_decode(type, values, bytes, n);
  for (size_t i = 0; i < n; i++)
    if (isnan(values[i])) values[i] = 0;
  mtk_sha256_hex(hex, values, n * sizeof *values);
  ck_assert_msg(strcmp(hex, want) == 0, "%s: decoded values differ", info->name);
}

static void check_ggml_encode(mtk_dtype type, const char *plain, const char *weighted) {
  static float x[ROWS * K], importance[K];
  static uint8_t bytes[ROWS * K * 2];
  char hex[65];
  size_t size = mtk_dtype_bytes(type, ROWS * K);
  sample_rows(x);
  for (int i = 0; i < K; i++) importance[i] = fabsf(unit((uint64_t)i, 777)) + 0.0625f;
  ck_assert_int_eq(mtk_dtype_encode(type, bytes, x, ROWS * K), 1);
  mtk_sha256_hex(hex, bytes, size);
  ck_assert_msg(strcmp(hex, plain) == 0, "%s: encoded bytes differ", mtk_dtype_get(type)->name);
  ck_assert_int_eq(mtk_dtype_encode_weighted(type, bytes, x, ROWS, K, importance), 1);
  mtk_sha256_hex(hex, bytes, size);
  ck_assert_msg(strcmp(hex, weighted) == 0, "%s: weighted bytes differ", mtk_dtype_get(type)->name);
}

/* The codes of a small float type, eight-bit or packed. */
static void check_codes(mtk_dtype type, const char *text) {
  static uint32_t want[256];
  uint8_t bytes[256] = {0}, again[256] = {0};
  float values[256];
  size_t n = read_hex(&text, want, 256), bits = n == 16 ? 4 : n == 64 ? 6 : 8;
  ck_assert_uint_ge(n, 16);
  for (size_t i = 0; i < n * bits; i++)
    bytes[i / 8] = (uint8_t)(bytes[i / 8] | (i / bits >> (i % bits) & 1) << (i % 8));
  mtk_dtype_decode(type, values, bytes, n);
  for (size_t i = 0; i < n; i++)
    ck_assert_msg(isnan(of_bits(want[i])) ? isnan(values[i]) : bits_of(values[i]) == want[i],
                  "%s code %zu: got %a", mtk_dtype_get(type)->name, i, (double)values[i]);
  ck_assert_int_eq(mtk_dtype_encode(type, again, values, n), 1);
  ck_assert_mem_eq(again, bytes, n * bits / 8);
}

/* The next word of a line. */
static void take_word(const char **text, char *word, size_t size) {
  *text += strspn(*text, " \n");
  size_t n = strcspn(*text, " \n");
  ck_assert_msg(n > 0 && n < size, "no word in '%s'", *text);
  memcpy(word, *text, n);
  word[n] = 0;
  *text += n;
}

START_TEST(ggml_types_match_golden) {
  FILE *f = fopen(MTK_SOURCE_DIR "/tests/golden/ggml_types.txt", "r");
  ck_assert_ptr_nonnull(f);
  char *line = NULL, kind[16], name[16], first[65], second[65];
  size_t cap = 0, seen = 0;
  for (; getline(&line, &cap, f) > 0; seen++) {
    const char *text = line;
    take_word(&text, kind, sizeof kind);
    take_word(&text, name, sizeof name);
    mtk_dtype type = mtk_dtype_by_name(name);
    ck_assert_msg(type != MTK_DTYPE_COUNT, "no type %s", name);
    if (strcmp(kind, "codes") == 0) {
      check_codes(type, text);
      continue;
    }
    take_word(&text, first, sizeof first);
    if (strcmp(kind, "encode") == 0) {
      take_word(&text, second, sizeof second);
      check_ggml_encode(type, first, second);
    } else {
      check_ggml_decode(type, first);
    }
  }
  ck_assert_uint_eq(seen, 48);
  free(line);
  fclose(f);
}
END_TEST

/* Weighted blocks are made side by side: each is what it would be alone. Values whose squares have
 * exact sums give every row of equal blocks the same mean square. */
START_TEST(weighted_blocks_do_not_depend_on_their_number) {
  static const mtk_dtype types[] = {MTK_Q4_0, MTK_Q4_1, MTK_Q5_0, MTK_Q5_1, MTK_IQ4_NL};
  enum { N = 32, MOST = 9 };
  float x[MOST * N], importance[MOST * N];
  uint8_t one[64], all[MOST * 64];
  for (int i = 0; i < MOST * N; i++) {
    x[i] = (float)(i % N * 7 % 33 - 16) / 8;
    importance[i] = 0.5f + (float)(i % N % 5);
  }
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    size_t bytes = mtk_dtype_bytes(types[t], N);
    ck_assert_int_eq(mtk_dtype_encode_weighted(types[t], one, x, 1, N, importance), 1);
    for (size_t n = 2; n <= MOST; n++) {
      ck_assert_int_eq(mtk_dtype_encode_weighted(types[t], all, x, 1, n * N, importance), 1);
      for (size_t b = 0; b < n; b++) ck_assert_mem_eq(all + b * bytes, one, bytes);
    }
  }
}
END_TEST

/* Saturation, ties and signs of the types that only stored tensors use. */
START_TEST(stored_floats_saturate) {
  static const float x[] = {1e9f, -1e9f, NAN, -0.0f, 0x1p-20f, -0x1p-20f, 17.0f, -17.0f};
  float y[8];
  uint8_t bytes[16];
  ck_assert(mtk_dtype_encode(MTK_F8_E4M3FNUZ, bytes, x, 8));
  static const uint8_t e4m3fnuz[] = {0x7F, 0xFF, 0x80, 0, 0, 0, 0x60, 0xE0}; /* 17: tie to 16 */
  ck_assert_mem_eq(bytes, e4m3fnuz, 8);
  ck_assert(mtk_dtype_encode(MTK_F8_E5M2FNUZ, bytes, x, 8));
  ck_assert(bytes[0] == 0x7F && bytes[1] == 0xFF && bytes[2] == 0x80 && bytes[3] == 0);
  ck_assert(mtk_dtype_encode(MTK_F6_E3M2, bytes, x, 8));
  mtk_dtype_decode(MTK_F6_E3M2, y, bytes, 8);
  ck_assert(y[0] == 28.0f && y[1] == -28.0f && y[2] == 28.0f && y[6] == 16.0f);
  ck_assert(mtk_dtype_encode(MTK_F6_E2M3, bytes, x, 8));
  mtk_dtype_decode(MTK_F6_E2M3, y, bytes, 8);
  ck_assert(y[0] == 7.5f && y[4] == 0.0f && !signbit(y[4]) && signbit(y[5]));
  ck_assert_int_eq(mtk_dtype_encode(MTK_C64, bytes, x, 1), 0);
}
END_TEST

/* The scale of mxfp8 is the smallest that saturates nothing. */
START_TEST(mxfp8_scale) {
  static const struct {
    float amax;
    uint8_t scale;
  } cases[] = {{448, 127}, {448.001f, 128}, {1, 119}, {0.875f, 118}, {0, 0}, {0x1p-125f, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    float x[32] = {0}, y[32];
    uint8_t bytes[33];
    x[7] = -cases[i].amax;
    mtk_dtype_encode(MTK_MXFP8, bytes, x, 32);
    ck_assert_msg(bytes[0] == cases[i].scale, "%g: scale %d", (double)cases[i].amax, bytes[0]);
    mtk_dtype_decode(MTK_MXFP8, y, bytes, 32);
    ck_assert(fabsf(y[7] - x[7]) <= cases[i].amax * 0.0625f);
  }
}
END_TEST

/* ---- conversions ------------------------------------------------------------------------- */

typedef struct half_type {
  float (*decode)(uint16_t);
  uint16_t (*encode)(float);
  uint16_t infinity;
} half_type;

static const half_type halves[] = {{mtk_f16_to_f32, mtk_f32_to_f16, 0x7C00},
                                   {mtk_bf16_to_f32, mtk_f32_to_bf16, 0x7F80}};

/* Every code survives the round trip, and a value between two codes goes to the nearest one, at the
 * middle to the even one. */
static void check_half(const half_type *t) {
  int bad = 0;
  for (uint32_t code = 0; code < 65536; code++) {
    float x = t->decode((uint16_t)code);
    bad += isnan(x) ? !isnan(t->decode(t->encode(x))) : t->encode(x) != code;
  }
  for (uint16_t code = 0; code + 1 < t->infinity; code++) {
    float low = t->decode(code), high = t->decode((uint16_t)(code + 1));
    float middle = low + (high - low) * 0.5f;
    uint16_t even = (uint16_t)(code + (code & 1));
    if (middle > low && middle < high) bad += t->encode(middle) != even;
    bad += t->encode(nextafterf(middle, low)) != code;
    bad += t->encode(nextafterf(middle, high)) != code + 1;
    bad += t->encode(-middle) != (even | 0x8000);
  }
  ck_assert_int_eq(bad, 0);
}

START_TEST(sixteen_bit_round_trips) {
  for (size_t i = 0; i < 2; i++) check_half(&halves[i]);
}
END_TEST

START_TEST(eight_bit_round_trips) {
  for (unsigned code = 0; code < 256; code++) {
    float a = mtk_e4m3_to_f32((uint8_t)code), b = mtk_e5m2_to_f32((uint8_t)code);
    ck_assert(isnan(a) ? (code & 0x7F) == 0x7F : mtk_f32_to_e4m3(a) == code);
    if ((code & 0x7F) == 0x7C)
      ck_assert(isinf(b) && mtk_f32_to_e5m2(b) == code - 1); /* infinity saturates */
    else
      ck_assert(isnan(b) ? (code & 0x7F) > 0x7C : mtk_f32_to_e5m2(b) == code);
  }
  for (uint8_t code = 0; code < 16; code++)
    ck_assert_uint_eq(mtk_f32_to_e2m1(mtk_e2m1_to_f32(code)), code);
  ck_assert_uint_eq(mtk_f32_to_e4m3(-NAN), 0x7F);
  ck_assert_uint_eq(mtk_f32_to_e2m1(-NAN), 0x7);
  ck_assert_uint_eq(mtk_f32_to_e4m3(464.0f), 0x7E);
  ck_assert_uint_eq(mtk_f32_to_e4m3(0x1p-10f), 0); /* tie to even */
  ck_assert_uint_eq(mtk_f32_to_e2m1(-0.1f), 0x8);
}
END_TEST

/* Ends of the E2M1 rounding regions, notes on OCP MX 1.0: <=.25, <.75, <=1.25, <1.75, <=2.5, <3.5,
 * <=5, above. */
START_TEST(e2m1_regions) {
  static const struct {
    float last;
    bool inclusive;
  } ends[] = {{.25f, true},  {.75f, false}, {1.25f, true}, {1.75f, false},
              {2.5f, true},  {3.5f, false}, {5.0f, true}};
  for (uint8_t code = 0; code < 7; code++) {
    float last = ends[code].last;
    ck_assert_uint_eq(mtk_f32_to_e2m1(last), ends[code].inclusive ? code : code + 1);
    ck_assert_uint_eq(mtk_f32_to_e2m1(nextafterf(last, 0)), code);
    ck_assert_uint_eq(mtk_f32_to_e2m1(nextafterf(last, 9)), code + 1);
  }
}
END_TEST

START_TEST(integers_round_and_saturate) {
  static const float x[] = {0.5f, 1.5f, -2.5f, 300.0f, -300.0f, 1e30f, -1e30f, NAN};
  int8_t i8[8];
  uint8_t u8[8];
  int64_t i64[8];
  uint64_t u64[8];
  ck_assert(mtk_dtype_encode(MTK_I8, i8, x, 8) && mtk_dtype_encode(MTK_U8, u8, x, 8));
  ck_assert(mtk_dtype_encode(MTK_I64, i64, x, 8) && mtk_dtype_encode(MTK_U64, u64, x, 8));
  static const int8_t want_i8[] = {0, 2, -2, 127, -128, 127, -128, 0};
  static const uint8_t want_u8[] = {0, 2, 0, 255, 0, 255, 0, 0};
  ck_assert_mem_eq(i8, want_i8, sizeof i8);
  ck_assert_mem_eq(u8, want_u8, sizeof u8);
  ck_assert(i64[3] == 300 && i64[5] == INT64_MAX && i64[6] == INT64_MIN);
  ck_assert(u64[5] == UINT64_MAX && u64[6] == 0);
  float y[8];
  mtk_dtype_decode(MTK_I8, y, i8, 8);
  ck_assert(y[2] == -2.0f && y[4] == -128.0f);
  ck_assert_int_eq(mtk_dtype_encode(MTK_E8M0, u8, x, 8), 0);
  ck_assert_int_eq(mtk_dtype_encode(MTK_DTYPE_COUNT, u8, x, 8), 0);
}
END_TEST

/* ---- table ------------------------------------------------------------------------------- */

START_TEST(table_is_complete) {
  for (int i = 0; i < MTK_DTYPE_COUNT; i++) {
    const mtk_dtype_info *info = mtk_dtype_get((mtk_dtype)i);
    ck_assert_int_eq(mtk_dtype_by_name(info->name), i);
    ck_assert_uint_eq(mtk_dtype_bytes((mtk_dtype)i, info->block_elems * 5ull),
                      info->block_bytes * 5ull);
    ck_assert_int_eq(info->is_quant, info->block_elems > 1);
  }
  ck_assert_int_eq(mtk_dtype_by_name("q9_9"), MTK_DTYPE_COUNT);
  ck_assert_ptr_null(mtk_dtype_get(MTK_DTYPE_COUNT));
  ck_assert_ptr_null(mtk_dtype_get((mtk_dtype)-1));
  ck_assert_uint_eq(mtk_dtype_bytes(MTK_Q4_0, 33), 0);
  ck_assert_uint_eq(mtk_dtype_bytes(MTK_F32, UINT64_MAX / 2), 0);
  ck_assert_uint_eq(mtk_dtype_bytes(MTK_NVFP4, 128), 72);
}
END_TEST

START_TEST(odd_blocks_stay_defined) {
  static const float odd[] = {NAN, INFINITY, -INFINITY, 1e-45f, 3e38f, -0.0f};
  float x[256], y[256];
  uint8_t bytes[MAX_BYTES];
  for (int type = 0; type < MTK_DTYPE_COUNT; type++) {
    const mtk_dtype_info *info = mtk_dtype_get((mtk_dtype)type);
    if (!info->is_quant) continue;
    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++) {
      for (uint32_t i = 0; i < 256; i++) x[i] = i % info->block_elems == 5 ? odd[k] : 0.0f;
      if (!mtk_dtype_encode((mtk_dtype)type, bytes, x, info->block_elems)) continue;
      mtk_dtype_decode((mtk_dtype)type, y, bytes, info->block_elems);
      if (odd[k] == 0.0f || odd[k] == 1e-45f)
        for (uint32_t i = 0; i < info->block_elems; i++) ck_assert(fabsf(y[i]) < 1e-3f);
    }
  }
  x[5] = NAN;
  for (int i = 6; i < 64; i++) x[i] = 0.0f;
  mtk_dtype_encode(MTK_MXFP4, bytes, x, 32);
  mtk_dtype_decode(MTK_MXFP4, y, bytes, 32);
  ck_assert(isnan(y[5]));
  mtk_dtype_encode(MTK_NVFP4, bytes, x, 64);
  mtk_dtype_decode(MTK_NVFP4, y, bytes, 64);
  ck_assert(isnan(y[5]) && y[63] == 0.0f);
}
END_TEST

/* ---- error on Gaussian numbers ------------------------------------------------------------ */

/* Relative L2 error of round to nearest; `range` != 0 scales so that amax becomes `range`. */
static double gaussian_error(mtk_dtype type, double range) {
  enum { N = 1 << 20 };
  static float x[N], y[N];
  static uint8_t bytes[N * 2];
  double amax = 0, error = 0, total = 0;
  for (uint64_t i = 0; i < N; i++) {
    x[i] = (float)mtk_normal(7, 11, i);
    amax = fmax(amax, fabs((double)x[i]));
  }
  float scale = range > 0 ? (float)(amax / range) : 1.0f;
  for (int i = 0; i < N; i++) y[i] = x[i] / scale;
  ck_assert_int_eq(mtk_dtype_encode(type, bytes, y, N), 1);
  mtk_dtype_decode(type, y, bytes, N);
  for (int i = 0; i < N; i++) {
    double d = (double)y[i] * (double)scale - (double)x[i];
    error += d * d;
    total += (double)x[i] * (double)x[i];
  }
  return sqrt(error / total);
}

/* Figures measured with other programs (CUDA host conversions) on 4 Mi samples of N(0,1). */
START_TEST(gaussian_error_anchors) {
  ck_assert_double_eq_tol(gaussian_error(MTK_NVFP4, 2688), 0.0951, 0.0005);
  ck_assert_double_eq_tol(gaussian_error(MTK_MXFP4, 0), 0.1150, 0.0005);
  ck_assert_double_eq_tol(gaussian_error(MTK_F8_E4M3, 448), 0.0265, 0.0005);
  ck_assert_double_eq_tol(gaussian_error(MTK_MXFP8, 0), 0.0265, 0.0005);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("dtype");
  TCase *tc = tcase_create("dtype");
  tcase_add_test(tc, encode_matches_golden);
  tcase_add_test(tc, decode_matches_golden);
  tcase_add_test(tc, all_sixteen_bit_codes_match_golden);
  tcase_add_test(tc, blocks_match_golden);
  tcase_add_test(tc, ggml_types_match_golden);
  tcase_add_test(tc, weighted_blocks_do_not_depend_on_their_number);
  tcase_add_test(tc, stored_floats_saturate);
  tcase_add_test(tc, mxfp8_scale);
  tcase_add_test(tc, sixteen_bit_round_trips);
  tcase_add_test(tc, eight_bit_round_trips);
  tcase_add_test(tc, e2m1_regions);
  tcase_add_test(tc, integers_round_and_saturate);
  tcase_add_test(tc, table_is_complete);
  tcase_add_test(tc, odd_blocks_stay_defined);
  tcase_add_test(tc, gaussian_error_anchors);
  suite_add_tcase(suite, tc);
  return run_suite(suite);
}
