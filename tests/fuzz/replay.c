/* replay.c: main() for fuzz targets in ordinary builds. Runs LLVMFuzzerTestOneInput on the empty
 * input and on every regular file of the folders (or files) named on the command line; a missing
 * folder counts as empty. Also runs each file cut at a few lengths, so that every parser sees its
 * truncated seeds. Single-threaded. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A fresh exact-size copy, so that sanitizers see reads past the end. */
static void run_copy(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size ? size : 1);
  if (!copy) return;
  if (size) memcpy(copy, data, size);
  (void)LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

static int run_file(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) return 1;
  struct stat st;
  uint8_t *data = NULL;
  size_t size = 0;
  if (fstat(fileno(f), &st) == 0 && st.st_size > 0) {
    size = (size_t)st.st_size;
    data = malloc(size);
    if (!data || fread(data, 1, size, f) != size) {
      free(data);
      fclose(f);
      return 1;
    }
  }
  fclose(f);
  run_copy(data, size);
  for (size_t part = 1; part < 8; part++) run_copy(data, size * part / 8);
  free(data);
  return 0;
}

static int run_path(const char *path, size_t *n) {
  struct stat st;
  if (stat(path, &st) != 0) return 0;
  if (S_ISREG(st.st_mode)) {
    (*n)++;
    return run_file(path);
  }
  DIR *dir = opendir(path);
  if (!dir) return 1;
  int bad = 0;
  for (struct dirent *e; (e = readdir(dir)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    char child[4096];
    snprintf(child, sizeof child, "%s/%s", path, e->d_name);
    bad |= run_path(child, n);
  }
  closedir(dir);
  return bad;
}

int main(int argc, char **argv) {
  size_t n = 0;
  int bad = 0;
  run_copy(NULL, 0);
  for (int i = 1; i < argc; i++) bad |= run_path(argv[i], &n);
  printf("replayed %zu corpus files\n", n);
  return bad;
}
