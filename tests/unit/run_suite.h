/* run_suite.h: the end of a unit test's main. */
#ifndef MTK_TEST_RUN_SUITE_H
#define MTK_TEST_RUN_SUITE_H

#include <check.h>

/* Runs and frees the suite, as much said as CK_VERBOSITY asks for; returns the exit code. */
static inline int run_suite(Suite *suite) {
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}

#endif
