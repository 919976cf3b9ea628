/* test_cuda_conversions.c: conversions to E2M1, E4M3 and E5M2 are those of NVIDIA's headers:
 * digests of the codes of 2^18 floats that tests/oracle/cuda_conversions.c made with cuda_fp4.h. */
#include <check.h>
#include <mtk/base.h>
#include <mtk/dtype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"

enum { N = 0x40000 };

static void digest(char hex[65], uint8_t (*convert)(float)) {
  static uint8_t codes[N];
  static const uint16_t low[] = {0, 1, 0x8000, 0xFFFF};
  for (uint32_t i = 0; i < N; i++) {
    uint32_t bits = i / 4 << 16 | low[i % 4];
    float x;
    memcpy(&x, &bits, sizeof x);
    codes[i] = convert(x);
  }
  mtk_sha256_hex(hex, codes, sizeof codes);
}

START_TEST(digests_match) {
  static const struct {
    const char *name;
    uint8_t (*convert)(float);
  } rows[] = {{"e2m1", mtk_f32_to_e2m1}, {"e4m3", mtk_f32_to_e4m3}, {"e5m2", mtk_f32_to_e5m2}};
  FILE *f = fopen(MTK_SOURCE_DIR "/tests/golden/cuda_conversions.txt", "r");
  ck_assert_ptr_nonnull(f);
  char line[128], hex[65], want[128];
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    digest(hex, rows[i].convert);
    snprintf(want, sizeof want, "%s %s\n", rows[i].name, hex);
    ck_assert_str_eq(line, want);
  }
  fclose(f);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("cuda conversions");
  TCase *tc = tcase_create("conversions");
  tcase_add_test(tc, digests_match);
  suite_add_tcase(suite, tc);
  return run_suite(suite);
}
