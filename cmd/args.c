/* args.c: option tables -> parsing and --help. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

const mtk_option_def mtk_cmd_common_options[] = {
    {"json", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "one JSON document (or JSON lines) on stdout"},
    {"quiet", 'q', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "errors only on stderr"},
    {"verbose", 'v', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "say more on stderr"},
    {"threads", 't', MTK_OPT_INT, "N", "0", 0, 1024, NULL, "threads (0 = CPUs of this process)"},
    {"help", 'h', MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, "this text"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

static size_t table_len(const mtk_option_def *defs) {
  size_t n = 0;
  while (defs && defs[n].name) n++;
  return n;
}

static const mtk_option_def *find_option(const mtk_option_def *defs, const char *name, size_t len,
                                         char letter) {
  for (; defs->name; defs++) {
    if (letter ? defs->letter == letter
               : strlen(defs->name) == len && !memcmp(defs->name, name, len))
      return defs;
  }
  return NULL;
}

bool mtk_cmd_has_option(const mtk_option_def *defs, const char *name) {
  return defs && find_option(defs, name, strlen(name), 0);
}

/* The command's own, extra and common tables as one; caller frees. */
static mtk_option_def *merge_tables(const mtk_cmd *cmd, const mtk_option_def *extra) {
  const mtk_option_def *tables[] = {cmd->options, extra, mtk_cmd_common_options};
  size_t n = 1;
  for (size_t i = 0; i < 3; i++) n += table_len(tables[i]);
  mtk_option_def *all = mtk_alloc(n, sizeof *all);
  if (!all) return NULL;
  size_t at = 0;
  for (size_t i = 0; i < 3; i++) {
    for (const mtk_option_def *d = tables[i]; d && d->name; d++)
      if (!mtk_cmd_has_option(all, d->name)) all[at++] = *d; /* first one wins */
  }
  return all;
}

const char *mtk_cmd_peek(int argc, const char *const *argv, const char *name,
                         const char *fallback) {
  size_t len = strlen(name);
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, name, len) != 0) continue;
    if (argv[i][2 + len] == '=') return argv[i] + 3 + len;
    if (argv[i][2 + len] == 0 && i + 1 < argc) return argv[i + 1];
  }
  return fallback;
}

typedef struct parser {
  mtk_cmd_line *line;
  const mtk_option_def *defs;
  const mtk_cmd *cmd;
  int argc, i;
  const char *const *argv;
} parser;

static mtk_status parse_option(parser *p, mtk_error *err) {
  const char *arg = p->argv[p->i];
  bool is_long = arg[1] == '-';
  const char *name = arg + (is_long ? 2 : 1), *value = NULL;
  size_t len = is_long ? strcspn(name, "=") : 1;
  const mtk_option_def *def = find_option(p->defs, name, len, is_long ? 0 : name[0]);
  if (!def)
    return mtk_fail(err, MTK_E_INVALID, NULL, "unknown option '%s'; see 'mtk %s --help'", arg,
                    p->cmd->name);
  if (name[len]) value = name + len + (is_long ? 1 : 0);
  if (def->type == MTK_OPT_FLAG) {
    if (value) return mtk_fail(err, MTK_E_INVALID, NULL, "option '--%s' takes no value", def->name);
  } else if (!value) {
    if (p->i + 1 >= p->argc)
      return mtk_fail(err, MTK_E_INVALID, NULL, "option '--%s' needs a value %s", def->name,
                      def->value_name ? def->value_name : "");
    value = p->argv[++p->i];
  }
  return mtk_options_set(p->line->options, def->name, value, err);
}

static mtk_status check_args(const mtk_cmd *cmd, const mtk_cmd_line *line, mtk_error *err) {
  if (line->n_args < cmd->min_args)
    return mtk_fail(err, MTK_E_INVALID, NULL, "missing argument; usage: mtk %s %s", cmd->name,
                    cmd->usage);
  if (cmd->max_args >= 0 && line->n_args > cmd->max_args)
    return mtk_fail(err, MTK_E_INVALID, NULL, "too many arguments at '%s'; usage: mtk %s %s",
                    line->args[cmd->max_args], cmd->name, cmd->usage);
  return MTK_OK;
}

mtk_status mtk_cmd_parse(mtk_cmd_line *line, bool *help, const mtk_cmd *cmd, int argc,
                         const char *const *argv, mtk_error *err) {
  *line = (mtk_cmd_line){.argc = argc, .argv = argv};
  *help = false;
  const mtk_option_def *extra = cmd->extra ? cmd->extra(argc, argv) : NULL;
  mtk_option_def *defs = line->defs = merge_tables(cmd, extra);
  line->options = defs ? mtk_options_create(defs) : NULL;
  line->args = mtk_alloc((size_t)argc + 1, sizeof *line->args);
  mtk_status st = MTK_OK;
  if (!defs || !line->options || !line->args)
    st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  parser p = {line, defs, cmd, argc, 1, argv};
  bool only_args = false;
  for (; st == MTK_OK && p.i < argc; p.i++) {
    const char *arg = argv[p.i];
    if (only_args || arg[0] != '-' || !arg[1]) {
      line->args[line->n_args++] = arg;
    } else if (!strcmp(arg, "--")) {
      only_args = true;
    } else {
      st = parse_option(&p, err);
    }
  }
  if (st == MTK_OK) {
    *help = mtk_options_flag(line->options, "help");
    line->json = mtk_options_flag(line->options, "json");
    line->quiet = mtk_options_flag(line->options, "quiet");
    line->verbose = mtk_options_flag(line->options, "verbose");
    if (!*help) st = check_args(cmd, line, err);
  }
  return st;
}

void mtk_cmd_line_finish(mtk_cmd_line *line) {
  mtk_options_destroy(line->options);
  mtk_free(line->defs);
  mtk_free(line->args);
}

/* Without those that stand in `above` already. */
static void print_options(const char *title, const mtk_option_def *defs,
                          const mtk_option_def *above) {
  if (!table_len(defs)) return;
  mtk_cmd_print("\n%s:\n", title);
  for (; defs->name; defs++) {
    if (mtk_cmd_has_option(above, defs->name)) continue;
    char left[64];
    snprintf(left, sizeof left, "%c%c%s --%s %s", defs->letter ? '-' : ' ',
             defs->letter ? defs->letter : ' ', defs->letter ? "," : " ", defs->name,
             defs->value_name ? defs->value_name : "");
    mtk_cmd_print("  %-34s %s", left, defs->help ? defs->help : "");
    if (defs->choices) mtk_cmd_print(": %s", defs->choices);
    if (defs->default_value) mtk_cmd_print(" [%s]", defs->default_value);
    mtk_cmd_print("\n");
  }
}

void mtk_cmd_help(const mtk_cmd *cmd, int argc, const char *const *argv) {
  mtk_cmd_print("usage: mtk %s %s\n%s\n", cmd->name, cmd->usage, cmd->summary);
  print_options("Options", cmd->options, NULL);
  print_options("Options of the selected plugin", cmd->extra ? cmd->extra(argc, argv) : NULL,
                cmd->options);
  print_options("Common options", mtk_cmd_common_options, NULL);
}
