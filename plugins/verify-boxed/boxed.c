/* boxed.c: the verifier "boxed": the last \boxed{...} after the reasoning equals the problem's
 * "answer" (an integer, or a string compared after trimming). Stateless; any thread. */
#include <jansson.h>
#include <mtk/ext/verifier.h>
#include <mtk/plugin.h>

#include <stdio.h>
#include <string.h>

/* The text after the last closing reasoning marker; all of it when there is none. */
static size_t answer_begin(const char *text, size_t n) {
  static const char *const closers[] = {"[/THINK]", "</think>"};
  size_t best = 0;
  for (size_t c = 0; c < sizeof closers / sizeof closers[0]; c++) {
    size_t len = strlen(closers[c]);
    for (size_t i = 0; i + len <= n; i++)
      if (!memcmp(text + i, closers[c], len) && i + len > best) best = i + len;
  }
  return best;
}

/* Content of the last complete \boxed{...} in text[begin, n); false if there is none. */
static bool last_boxed(const char *text, size_t begin, size_t n, size_t *from, size_t *to) {
  static const char open[] = "\\boxed{";
  const size_t len = sizeof open - 1;
  for (size_t i = n; i-- > begin;) {
    if (i + len > n || memcmp(text + i, open, len) != 0) continue;
    int depth = 1;
    for (size_t j = i + len; j < n; j++) {
      if (text[j] == '{') depth++;
      if (text[j] == '}' && --depth == 0) {
        *from = i + len;
        *to = j;
        return true;
      }
    }
    return false; /* the last box is not closed: no falling back to an earlier one */
  }
  return false;
}

static void trim(const char *text, size_t *from, size_t *to) {
  while (*from < *to && (text[*from] == ' ' || text[*from] == '\n')) ++*from;
  while (*to > *from && (text[*to - 1] == ' ' || text[*to - 1] == '\n')) --*to;
}

static void set_grade(mtk_grade *g, mtk_verdict verdict, const char *reason) {
  g->verdict = verdict;
  g->reward = verdict == MTK_VERDICT_PASS ? 1.0 : 0.0;
  snprintf(g->reason, sizeof g->reason, "%s", reason);
}

static mtk_status grade(mtk_grade *out, const char *text, size_t n, const char *problem_json,
                        mtk_error *err) {
  json_error_t je;
  json_t *doc = json_loads(problem_json, 0, &je);
  if (!doc) return mtk_fail(err, MTK_E_FORMAT, "problem", "line %d: %s", je.line, je.text);
  const json_t *answer = json_object_get(doc, "answer");
  char number[32];
  const char *gold = json_string_value(answer);
  if (json_is_integer(answer)) {
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(answer));
    gold = number;
  }
  size_t from = 0, to = 0;
  if (!gold) {
    set_grade(out, MTK_VERDICT_UNDECIDED, "the problem's answer is neither integer nor string");
  } else if (!last_boxed(text, answer_begin(text, n), n, &from, &to)) {
    set_grade(out, MTK_VERDICT_FAIL, "no \\boxed{} answer after the reasoning");
  } else {
    trim(text, &from, &to);
    bool same = to - from == strlen(gold) && !memcmp(text + from, gold, to - from);
    set_grade(out, same ? MTK_VERDICT_PASS : MTK_VERDICT_FAIL, same ? "exact" : "wrong answer");
  }
  json_decref(doc);
  return MTK_OK;
}

static const mtk_verifier_v1 g_verifier = {sizeof g_verifier, "boxed",
                                           "exact match of the last \\boxed{} answer", grade};

MTK_PLUGIN_DEFINE("verify-boxed", "1.0.0", "exact \\boxed{} answers", "Apache-2.0",
                  {MTK_EXT_VERIFIER, &g_verifier});
