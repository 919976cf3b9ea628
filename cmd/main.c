/* main.c: the command table, signals, exit codes. */
#include "cmd.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static const mtk_cmd *const g_commands[] = {&mtk_cmd_convert,  &mtk_cmd_quantize, &mtk_cmd_finetune,
                                            &mtk_cmd_serve,    &mtk_cmd_run,      &mtk_cmd_eval,
                                            &mtk_cmd_bench,    &mtk_cmd_inspect,  &mtk_cmd_tokenize,
                                            &mtk_cmd_template, &mtk_cmd_verify,   &mtk_cmd_plugin,
                                            &mtk_cmd_doctor,
                                            &mtk_cmd_embed};
enum { N_COMMANDS = sizeof g_commands / sizeof g_commands[0] };

static volatile sig_atomic_t g_signal;

/* First signal: stop cleanly. Second: at once. */
static void on_signal(int sig) {
  if (g_signal) _exit(128 + sig);
  g_signal = sig;
  mtk_cancel();
}

static void install_signals(void) {
  struct sigaction sa = {.sa_handler = on_signal};
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  struct sigaction ignore = {.sa_handler = SIG_IGN};
  sigaction(SIGPIPE, &ignore, NULL);
  sigaction(SIGXFSZ, &ignore, NULL); /* a file too large fails like a full disk */
}

static void print_overview(void) {
  mtk_cmd_print("mtk %s: convert, quantize, fine-tune, evaluate and serve language models\n\n"
                "usage: mtk COMMAND [options]\n\n",
                mtk_version());
  for (int i = 0; i < N_COMMANDS; i++)
    mtk_cmd_print("  %-10s %s\n", g_commands[i]->name, g_commands[i]->summary);
  mtk_cmd_print("\n'mtk COMMAND --help' lists a command's options.\n");
}

static int exit_code(mtk_status st) {
  switch (st) {
  case MTK_OK: return 0;
  case MTK_E_INVALID: return 2;
  case MTK_E_CHECK: return 3;
  case MTK_E_CANCELLED: return 128 + (g_signal ? (int)g_signal : SIGINT);
  default: return 1;
  }
}

static const mtk_cmd *find_command(const char *name) {
  for (int i = 0; i < N_COMMANDS; i++)
    if (!strcmp(g_commands[i]->name, name)) return g_commands[i];
  return NULL;
}

static mtk_status run_command(const mtk_cmd *cmd, int argc, const char *const *argv,
                              mtk_error *err) {
  MTK_TRY(mtk_plugins_load(err));
  mtk_cmd_line line;
  bool help = false;
  mtk_status st = mtk_cmd_parse(&line, &help, cmd, argc, argv, err);
  if (st == MTK_OK && help) {
    mtk_cmd_help(cmd, argc, argv);
  } else if (st == MTK_OK) {
    mtk_cmd_report_init(line.quiet, line.verbose);
    st = cmd->run(&line, err);
  }
  mtk_cmd_line_finish(&line);
  mtk_error flush_err = {0};
  mtk_status flushed = mtk_cmd_flush(&flush_err);
  if (st == MTK_OK && flushed != MTK_OK) {
    *err = flush_err;
    st = flushed;
  }
  return st;
}

int main(int argc, char **argv) {
  install_signals();
  mtk_cmd_report_init(false, false);
  if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
      !strcmp(argv[1], "help")) {
    print_overview();
    return argc < 2 ? 2 : 0;
  }
  if (!strcmp(argv[1], "--version")) {
    mtk_cmd_print("mtk %s\n", mtk_version());
    return 0;
  }
  const mtk_cmd *cmd = find_command(argv[1]);
  mtk_error err = {0};
  if (!cmd) {
    mtk_fail(&err, MTK_E_INVALID, NULL, "unknown command; 'mtk --help' lists them");
    mtk_cmd_report_error(argv[1], &err);
    return 2;
  }
  mtk_status st = run_command(cmd, argc - 1, (const char *const *)(argv + 1), &err);
  if (st != MTK_OK) {
    if (err.code == MTK_OK)
      mtk_fail(&err, st, NULL, st == MTK_E_NOMEM ? "out of memory" : "failed");
    mtk_cmd_report_error(cmd->name, &err);
  }
  return exit_code(st);
}
