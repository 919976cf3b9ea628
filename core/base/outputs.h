/* base/outputs.h: the inside of mtk_outputs, for output.c. */
#ifndef MTK_BASE_OUTPUTS_H
#define MTK_BASE_OUTPUTS_H

#include "base/internal.h"

#include <mtk/archive.h>

/* A range of an output that is complete: from the end of the entry before of that name to `end`. */
typedef struct output_mark {
  const char *name; /* in the arena */
  uint64_t end, hash;
} output_mark;

struct mtk_outputs {
  char *folder; /* NULL: compare */
  int lock;     /* the folder, locked */
  int journal;  /* appended to */
  mtk_arena *arena;
  output_mark *marks; /* what an interrupted run left; heap */
  size_t n_marks;
  size_t n_made; /* marks of this run */
};

/* Where the bytes of `path` grow: path itself if it lies in the folder, else a file there. Heap. */
char *mtk_outputs_part(const mtk_outputs *o, const char *path);
/* How many bytes at the start of an open file of that name are what the journal says. */
uint64_t mtk_outputs_verified(const mtk_outputs *o, const char *name, int fd);
/* The bytes [from, end) of the file are complete. 0 or errno. */
int mtk_outputs_mark(mtk_outputs *o, const char *name, int fd, uint64_t from, uint64_t end);

/* All n bytes, at the end of what was written. 0 or errno. */
int mtk_write_whole(int fd, const void *data, size_t n);

#endif
