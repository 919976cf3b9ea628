/* mtk/ext/verifier.h: "mtk.verifier/1": rewards: grade an answer to a problem. */
#ifndef MTK_EXT_VERIFIER_H
#define MTK_EXT_VERIFIER_H

#include <mtk/option.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MTK_EXT_VERIFIER "mtk.verifier/1"

typedef enum mtk_verdict {
  MTK_VERDICT_PASS,
  MTK_VERDICT_FAIL,
  MTK_VERDICT_UNDECIDED /* cannot tell (infrastructure, unparsable gold): mask, do not score 0 */
} mtk_verdict;

typedef struct mtk_grade {
  mtk_verdict verdict;
  double reward;
  char reason[160];
} mtk_grade;

/* Any thread. */
typedef struct mtk_verifier_v1 {
  size_t struct_size;
  const char *id; /* "boxed" */
  const char *title;
  /* text: what the model generated (reasoning markers included); problem_json: the task's row. */
  mtk_status (*grade)(mtk_grade *out, const char *text, size_t n, const char *problem_json,
                      mtk_error *err);
} mtk_verifier_v1;

#ifdef __cplusplus
}
#endif
#endif
