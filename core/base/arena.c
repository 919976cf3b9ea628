/* arena.c: bump allocation from a chain of chunks owned by the arena. One thread at a time. */
#include "base/internal.h"

#include <string.h>

enum { CHUNK_BYTES = 64 * 1024, ARENA_ALIGN = 16 };

typedef struct chunk {
  struct chunk *next;
  size_t used, size; /* of bytes */
  _Alignas(ARENA_ALIGN) unsigned char bytes[];
} chunk;

struct mtk_arena {
  chunk *head; /* the chunk being filled */
};

mtk_arena *mtk_arena_create(void) { return mtk_alloc(1, sizeof(mtk_arena)); }

void mtk_arena_destroy(mtk_arena *arena) {
  if (!arena) return;
  for (chunk *c = arena->head; c;) {
    chunk *next = c->next;
    mtk_free(c);
    c = next;
  }
  mtk_free(arena);
}

static chunk *chunk_create(size_t size) {
  size_t total;
  if (!mtk_add_ok(sizeof(chunk), size, &total)) return NULL;
  chunk *c = mtk_alloc(total, 1);
  if (c) c->size = size;
  return c;
}

void *mtk_arena_alloc(mtk_arena *arena, size_t count, size_t size) {
  size_t bytes;
  if (!mtk_mul_ok(count, size, &bytes)) return NULL;
  if (!mtk_add_ok(bytes ? bytes : 1, ARENA_ALIGN - 1, &bytes)) return NULL;
  bytes = bytes / ARENA_ALIGN * ARENA_ALIGN;
  chunk *c = arena->head;
  if (!c || c->size - c->used < bytes) {
    bool large = bytes > CHUNK_BYTES / 4;
    chunk *fresh = chunk_create(large ? bytes : CHUNK_BYTES);
    if (!fresh) return NULL;
    if (large && c) { /* a chunk of its own, behind the one being filled */
      fresh->next = c->next;
      c->next = fresh;
    } else {
      fresh->next = c;
      arena->head = fresh;
    }
    c = fresh;
  }
  void *ptr = c->bytes + c->used;
  c->used += bytes;
  return ptr;
}

char *mtk_arena_strndup(mtk_arena *arena, const char *s, size_t n) {
  size_t len = strnlen(s, n);
  char *copy = mtk_arena_alloc(arena, len + 1, 1);
  if (copy) memcpy(copy, s, len);
  return copy;
}
