/* checkpoints.c: the folder of checkpoints of one run. A checkpoint appears whole or not at all
 * (mtk_trainer_save), so the newest name is always good. */
#include "checkpoints.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Step numbers in the folder, newest first, at most `room`; the total number is returned. */
static int list_steps(long long *steps, int room, const char *dir) {
  DIR *d = opendir(dir);
  if (!d) return 0;
  int n = 0;
  for (struct dirent *e; (e = readdir(d));) {
    char *end;
    if (strncmp(e->d_name, "step-", 5) != 0) continue;
    long long step = strtoll(e->d_name + 5, &end, 10);
    if (*end || end == e->d_name + 5) continue;
    int at = n < room ? n++ : room - 1;
    while (at > 0 && steps[at - 1] < step) {
      steps[at] = steps[at - 1];
      at--;
    }
    steps[at] = step;
  }
  closedir(d);
  return n;
}

static char *folder(const char *out) { return mtk_asprintf("%s.ckpt", out); }
static char *step_path(const char *dir, long long step) {
  return mtk_asprintf("%s/step-%08lld", dir, step);
}

enum { MAX_STEPS = 64 };

static void remove_step(const char *dir, long long step) {
  char *path = step_path(dir, step);
  DIR *d = path ? opendir(path) : NULL;
  for (struct dirent *e; d && (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
  if (d) closedir(d);
  if (path) rmdir(path);
  mtk_free(path);
}

void sft_checkpoint_remove(const char *out, int keep) {
  char *dir = folder(out);
  long long steps[MAX_STEPS];
  int n = dir ? list_steps(steps, MAX_STEPS, dir) : 0;
  for (int i = keep; i < n; i++) remove_step(dir, steps[i]);
  if (dir && keep == 0) rmdir(dir);
  mtk_free(dir);
}

mtk_status sft_checkpoint_refuse(const char *out, mtk_error *err) {
  char *dir = folder(out);
  if (!dir) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  long long steps[MAX_STEPS];
  int n = list_steps(steps, MAX_STEPS, dir);
  mtk_status st = MTK_OK;
  if (n)
    st = mtk_fail(
        err, MTK_E_EXISTS, dir,
        "holds checkpoints up to step %lld: go on with --resume or start anew with --force",
        steps[0]);
  mtk_free(dir);
  return st;
}

mtk_status sft_checkpoint_save(const mtk_trainer *t, const char *out, int64_t step,
                               const char *json, mtk_error *err) {
  char *dir = folder(out), *path = dir ? step_path(dir, step) : NULL;
  mtk_status st = path ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK && mkdir(dir, 0777) != 0 && errno != EEXIST)
    st = mtk_fail(err, MTK_E_IO, dir, "cannot create the folder: %s", strerror(errno));
  if (st == MTK_OK) st = mtk_trainer_save(t, path, json, err);
  if (st == MTK_OK) sft_checkpoint_remove(out, 2);
  mtk_free(path);
  mtk_free(dir);
  return st;
}

mtk_status sft_checkpoint_load(bool *found, mtk_bytes *json, mtk_trainer *t, const char *out,
                               mtk_error *err) {
  char *dir = folder(out);
  if (!dir) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  long long steps[MAX_STEPS];
  *found = list_steps(steps, MAX_STEPS, dir) > 0;
  mtk_status st = MTK_OK;
  if (*found) {
    char *path = step_path(dir, steps[0]);
    st = path ? mtk_trainer_load(json, t, path, err)
              : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    mtk_free(path);
  }
  mtk_free(dir);
  return st;
}
