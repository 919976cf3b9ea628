/* test_sampler.c: every step of the sampler against a plain re-computation, ties, penalties, and
 * the distribution of draws. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run/sampler.h"
#include "run_suite.h"

enum { VOCAB = 1000 };

static mtk_kernels kernels;
static mtk_sampler sampler;
static float logits[VOCAB];
static const mtk_sampling greedy = MTK_SAMPLING_DEFAULT;

static void setup(void) {
  mtk_kernels_init(&kernels, MTK_ISA_REF);
  ck_assert_int_eq(mtk_sampler_init(&sampler, &kernels, VOCAB, NULL), MTK_OK);
  for (int i = 0; i < VOCAB; i++) logits[i] = (float)(2.0 * mtk_normal(3, 0, (uint64_t)i));
}

static void teardown(void) { mtk_sampler_finish(&sampler); }

static int by_logit(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  if (logits[x] > logits[y] || logits[x] < logits[y]) return logits[x] > logits[y] ? -1 : 1;
  return x - y;
}

/* Ids by rank, and their probabilities at a temperature. */
static void rank_all(int *order, double *p, double temperature) {
  double sum = 0.0;
  for (int i = 0; i < VOCAB; i++) order[i] = i;
  qsort(order, VOCAB, sizeof *order, by_logit);
  for (int i = 0; i < VOCAB; i++)
    sum += p[i] = exp(((double)logits[order[i]] - (double)logits[order[0]]) / temperature);
  for (int i = 0; i < VOCAB; i++) p[i] /= sum;
}

/* Frequencies of the first n ranks over many draws against `want`; nothing else may be drawn. */
static void check_draws(const mtk_sampling *o, const int *order, const double *want, int n) {
  enum { DRAWS = 20000 };
  static int hits[VOCAB];
  memset(hits, 0, sizeof hits);
  for (int i = 0; i < DRAWS; i++)
    hits[mtk_sampler_pick(&sampler, o, logits, NULL, (uint64_t)i)]++;
  double sum = 0.0;
  int total = 0;
  for (int i = 0; i < n; i++) sum += want[i];
  for (int i = 0; i < n; i++) {
    double expected = want[i] / sum * DRAWS, got = hits[order[i]];
    total += hits[order[i]];
    ck_assert_msg(fabs(got - expected) <= 5.0 * sqrt(expected) + 5.0,
                  "rank %d: %g draws, expected %g", i, got, expected);
  }
  ck_assert_int_eq(total, DRAWS);
}

START_TEST(greedy_takes_the_lowest_id_of_ties) {
  logits[17] = logits[400] = logits[999] = 50.0f;
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &greedy, logits, NULL, 0), 17);
  for (int i = 0; i < VOCAB; i++) logits[i] = -3.0f;
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &greedy, logits, NULL, 0), 0);
}
END_TEST

START_TEST(temperature_alone) {
  int order[VOCAB];
  double p[VOCAB];
  mtk_sampling o = greedy;
  o.temperature = 0.7f;
  o.seed = 5;
  rank_all(order, p, (double)o.temperature);
  check_draws(&o, order, p, VOCAB);
}
END_TEST

START_TEST(top_k) {
  int order[VOCAB];
  double p[VOCAB];
  mtk_sampling o = greedy;
  o.temperature = 1.3f;
  o.top_k = 7;
  rank_all(order, p, (double)o.temperature);
  check_draws(&o, order, p, 7);
  o.top_k = 1;
  check_draws(&o, order, p, 1);
}
END_TEST

START_TEST(top_k_ties_go_to_the_lowest_ids) {
  for (int i = 0; i < VOCAB; i++) logits[i] = i % 3 == 0 ? 1.0f : 0.0f;
  mtk_sampling o = greedy;
  o.temperature = 1.0f;
  o.top_k = 4;
  const int order[] = {0, 3, 6, 9};
  const double p[] = {1, 1, 1, 1};
  check_draws(&o, order, p, 4);
}
END_TEST

START_TEST(top_p) {
  int order[VOCAB], n = 0;
  double p[VOCAB], sum = 0.0;
  mtk_sampling o = greedy;
  o.temperature = 0.9f;
  o.top_p = _i == 0 ? 0.5f : _i == 1 ? 0.95f : 0.0f;
  rank_all(order, p, (double)o.temperature);
  do sum += p[n++];
  while (sum < (double)o.top_p);
  ck_assert_int_lt(n, VOCAB);
  check_draws(&o, order, p, n);
}
END_TEST

START_TEST(top_k_then_top_p) {
  int order[VOCAB], n = 0;
  double p[VOCAB], head = 0.0, sum = 0.0;
  mtk_sampling o = greedy;
  o.temperature = 1.5f;
  o.top_k = 20;
  o.top_p = 0.6f;
  rank_all(order, p, (double)o.temperature);
  for (int i = 0; i < 20; i++) sum += p[i];
  do head += p[n++];
  while (head < 0.6 * sum);
  check_draws(&o, order, p, n);
}
END_TEST

START_TEST(min_p) {
  int order[VOCAB], n = 0;
  double p[VOCAB];
  mtk_sampling o = greedy;
  o.temperature = 1.0f;
  o.min_p = 0.1f;
  rank_all(order, p, 1.0);
  while (p[n] >= 0.1 * p[0]) n++;
  check_draws(&o, order, p, n);
}
END_TEST

START_TEST(draws_depend_on_seed_and_position) {
  mtk_sampling o = greedy;
  o.temperature = 1.0f;
  int differ_seed = 0, differ_pos = 0;
  for (uint64_t i = 0; i < 100; i++) {
    o.seed = 1;
    int32_t a = mtk_sampler_pick(&sampler, &o, logits, NULL, i);
    ck_assert_int_eq(a, mtk_sampler_pick(&sampler, &o, logits, NULL, i));
    differ_pos += a != mtk_sampler_pick(&sampler, &o, logits, NULL, i + 1);
    o.seed = 2;
    differ_seed += a != mtk_sampler_pick(&sampler, &o, logits, NULL, i);
  }
  ck_assert_int_gt(differ_seed, 50);
  ck_assert_int_gt(differ_pos, 50);
}
END_TEST

START_TEST(penalties) {
  static uint32_t counts[VOCAB];
  for (int i = 0; i < VOCAB; i++) logits[i] = -1.0f;
  logits[3] = 10.0f;
  logits[4] = 8.0f;
  logits[5] = 6.0f;
  counts[3] = MTK_IN_PROMPT;
  counts[4] = 2;
  mtk_sampling o = greedy;
  ck_assert(!mtk_sampling_needs_counts(&o));
  o.repetition_penalty = 2.0f; /* 10 -> 5, 8 -> 4 */
  ck_assert(mtk_sampling_needs_counts(&o));
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &o, logits, counts, 0), 5);
  o = greedy;
  o.frequency_penalty = 1.5f; /* the prompt does not count: 10; 8 -> 5 */
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &o, logits, counts, 0), 3);
  logits[3] = 5.5f; /* 4: 8 - 3 = 5 */
  logits[5] = 5.2f;
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &o, logits, counts, 0), 3);
  o.frequency_penalty = 0.0f;
  o.presence_penalty = 2.4f; /* 8 -> 5.6 */
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &o, logits, counts, 0), 4);
  o.presence_penalty = 2.6f;
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &o, logits, counts, 0), 3);
  /* Negative logits are pushed down, not up. */
  for (int i = 0; i < VOCAB; i++) logits[i] = -4.0f;
  logits[4] = -1.0f;
  logits[6] = -1.5f;
  o = greedy;
  o.repetition_penalty = 2.0f;
  ck_assert_int_eq(mtk_sampler_pick(&sampler, &o, logits, counts, 0), 6);
}
END_TEST

START_TEST(top_logprobs_are_sorted) {
  int order[VOCAB];
  double p[VOCAB];
  mtk_token_prob top[20];
  logits[10] = logits[700] = 30.0f;
  rank_all(order, p, 1.0);
  float lse = kernels.logsumexp(logits, VOCAB);
  mtk_top_logprobs(top, 20, logits, VOCAB, lse);
  ck_assert_int_eq(top[0].id, 10);
  ck_assert_int_eq(top[1].id, 700);
  for (int i = 0; i < 20; i++) {
    ck_assert_int_eq(top[i].id, order[i]);
    ck_assert_double_eq_tol((double)top[i].logprob, log(p[i]), 1e-4);
  }
}
END_TEST

/* The ids of a large vocabulary in classes of equal logits, at every level of this machine: what is
 * kept is what a count of the classes says, and of equal ones the lowest ids. */
START_TEST(large_vocabularies) {
  enum { LARGE = 151936, CLASSES = 37, DRAWS = 100 };
  float *many = malloc(LARGE * sizeof *many);
  double sum = 0.0, kept = 0.0;
  mtk_kernels best;
  mtk_sampler large;
  mtk_isa isa = _i == 0 ? MTK_ISA_REF : mtk_isa_best(NULL);
  mtk_kernels_init(&best, isa);
  ck_assert_int_eq(mtk_sampler_init(&large, &best, LARGE, NULL), MTK_OK);
  for (int i = 0; i < LARGE; i++) many[i] = -0.5f * (float)(i * 7 % CLASSES);
  for (int i = 0; i < LARGE; i++) sum += exp((double)many[i]);
  mtk_sampling o = greedy;
  o.temperature = 1.0f;
  o.top_k = LARGE / CLASSES + 10; /* class 0, and a few of the next */
  int32_t tenth = -1, seen = 0;
  int32_t in_first = 0;
  for (int i = 0; i < LARGE; i++) in_first += i * 7 % CLASSES == 0;
  for (int i = 0; seen < o.top_k - in_first; i++)
    if (i * 7 % CLASSES == 1) tenth = i, seen++;
  for (uint64_t i = 0; i < DRAWS; i++) {
    int32_t id = mtk_sampler_pick(&large, &o, many, NULL, i);
    ck_assert(id * 7 % CLASSES == 0 || (id * 7 % CLASSES == 1 && id <= tenth));
  }
  o.top_k = 0;
  o.top_p = 0.7f; /* classes until 0.7 is reached, of the last one the lowest ids */
  int last = -1;
  double of_last = 0.0;
  while (kept < 0.7) {
    last++;
    of_last = 0.0;
    for (int i = 0; i < LARGE; i++)
      if (i * 7 % CLASSES == last) of_last += exp((double)many[i]) / sum;
    kept += of_last;
  }
  int hits = 0;
  for (uint64_t i = 0; i < DRAWS; i++) {
    int32_t id = mtk_sampler_pick(&large, &o, many, NULL, i);
    int class = id * 7 % CLASSES;
    ck_assert_int_le(class, last);
    hits += class == last;
    if (class == last) /* the part of the class that is needed, and one in a hundred */
      ck_assert_double_le((double)id / LARGE, (of_last - (kept - 0.7)) / of_last + 0.01);
  }
  ck_assert_int_gt(hits, 0);
  o = greedy;
  ck_assert_int_eq(mtk_sampler_pick(&large, &o, many, NULL, 0), 0);
  mtk_sampler_finish(&large);
  free(many);
}
END_TEST

START_TEST(bad_options_are_named) {
  mtk_error err;
  mtk_sampling o = greedy;
  ck_assert_int_eq(mtk_sampling_check(&o, &err), MTK_OK);
  o.temperature = -1.0f;
  ck_assert_int_eq(mtk_sampling_check(&o, &err), MTK_E_INVALID);
  ck_assert_str_eq(err.place, "temperature");
  o = greedy;
  o.top_p = NAN;
  ck_assert_int_eq(mtk_sampling_check(&o, &err), MTK_E_INVALID);
  ck_assert_str_eq(err.place, "top_p");
  o = greedy;
  o.repetition_penalty = 0.0f;
  ck_assert_int_eq(mtk_sampling_check(&o, &err), MTK_E_INVALID);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sampler");
  TCase *t = tcase_create("sampler");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_set_timeout(t, 120);
  tcase_add_test(t, greedy_takes_the_lowest_id_of_ties);
  tcase_add_test(t, temperature_alone);
  tcase_add_test(t, top_k);
  tcase_add_test(t, top_k_ties_go_to_the_lowest_ids);
  tcase_add_loop_test(t, top_p, 0, 3);
  tcase_add_loop_test(t, large_vocabularies, 0, 2);
  tcase_add_test(t, top_k_then_top_p);
  tcase_add_test(t, min_p);
  tcase_add_test(t, draws_depend_on_seed_and_position);
  tcase_add_test(t, penalties);
  tcase_add_test(t, top_logprobs_are_sorted);
  tcase_add_test(t, bad_options_are_named);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
