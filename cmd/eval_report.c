/* eval_report.c: the end of mtk eval: rows of --outputs; --gate 'kld<0.05' sets conditions on the
 * numbers of a report. All are looked at; the command ends with exit code 3 and names those that do
 * not hold. Main thread only. */
#include "eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct gate {
  char name[64];
  char op[3]; /* "<", "<=", ">", ">=" */
  double bound;
} gate;

static mtk_status parse_gate(gate *g, const char *text, mtk_error *err) {
  size_t n = strcspn(text, "<>= "), at = n + strspn(text + n, " "), ops = strspn(text + at, "<>=");
  char *end = NULL;
  bool known =
      (text[at] == '<' || text[at] == '>') && (ops == 1 || (ops == 2 && text[at + 1] == '='));
  if (n > 0 && n < sizeof g->name && known) g->bound = strtod(text + at + ops, &end);
  if (!end || end == text + at + ops || *end || !isfinite(g->bound))
    return mtk_fail(err, MTK_E_INVALID, "--gate", "'%.80s' is not like 'kld<0.05'", text);
  memcpy(g->name, text, n);
  g->name[n] = 0;
  for (size_t i = 0; i < n; i++)
    if (g->name[i] == '-') g->name[i] = '_';
  memcpy(g->op, text + at, ops);
  g->op[ops] = 0;
  return MTK_OK;
}

mtk_status mtk_eval_parse_gates(const mtk_cmd_line *line, mtk_error *err) {
  const char *const *texts = NULL;
  size_t n = mtk_options_list(line->options, "gate", &texts);
  gate g;
  for (size_t i = 0; i < n; i++) MTK_TRY(parse_gate(&g, texts[i], err));
  return MTK_OK;
}

static bool holds(const gate *g, double value) {
  bool equal = g->op[1] == '=' && value == g->bound;
  return equal || (g->op[0] == '<' ? value < g->bound : value > g->bound);
}

/* Names what there is instead. */
static mtk_status refuse_name(const gate *g, json_t *report, mtk_error *err) {
  mtk_bytes names = {0};
  const char *key;
  json_t *value;
  json_object_foreach(report, key, value) {
    if (json_is_number(value)) mtk_bytes_printf(&names, "%s%s", names.len ? ", " : "", key);
  }
  mtk_fail(err, MTK_E_INVALID, "--gate", "this report has no number '%s', but: %.400s", g->name,
           names.data ? names.data : "none");
  mtk_bytes_finish(&names);
  return MTK_E_INVALID;
}

static mtk_status check_gates(json_t *report, const mtk_cmd_line *line, mtk_error *err) {
  const char *const *texts = NULL;
  size_t n = mtk_options_list(line->options, "gate", &texts);
  mtk_bytes failed = {0};
  json_t *results = json_object();
  for (size_t i = 0; i < n; i++) {
    gate g = {{0}, {0}, 0};
    mtk_status st = parse_gate(&g, texts[i], err);
    const json_t *value = json_object_get(report, g.name);
    if (st == MTK_OK && !json_is_number(value)) st = refuse_name(&g, report, err);
    if (st != MTK_OK) {
      json_decref(results);
      mtk_bytes_finish(&failed);
      return st;
    }
    bool ok = holds(&g, json_number_value(value));
    json_object_set_new(results, texts[i], json_boolean(ok));
    if (!ok)
      mtk_bytes_printf(&failed, "%s%s (is %.6g)", failed.len ? ", " : "", texts[i],
                       json_number_value(value));
  }
  if (n) json_object_set(report, "gates", results);
  json_decref(results);
  mtk_status st = failed.len ? mtk_fail(err, MTK_E_CHECK, NULL, "does not hold: %s", failed.data)
                             : mtk_bytes_status(&failed, err);
  mtk_bytes_finish(&failed);
  return st;
}

mtk_status mtk_eval_report(json_t *report, void (*print)(const json_t *report),
                           const mtk_cmd_line *line, mtk_error *err) {
  mtk_status st = check_gates(report, line, err);
  if (line->json) {
    mtk_status printed = mtk_cmd_print_json(report, false, st == MTK_OK ? err : NULL);
    return st == MTK_OK ? printed : st;
  }
  print(report);
  json_decref(report);
  return st;
}

mtk_status mtk_eval_write_rows(const json_t *rows, const char *path, mtk_error *err) {
  mtk_bytes out = {0};
  for (size_t i = 0; i < json_array_size(rows); i++) {
    char *line = json_dumps(json_array_get(rows, i), JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (line) mtk_bytes_printf(&out, "%s\n", line);
    free(line);
  }
  mtk_status st = mtk_bytes_status(&out, err);
  if (st == MTK_OK) st = mtk_write_file(path, out.data ? out.data : "", out.len, true, err);
  mtk_bytes_finish(&out);
  return st;
}
