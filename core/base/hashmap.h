/* base/hashmap.h: map from byte strings to a pointer or integer, in order of insertion. Keys are
 * copied and may hold NUL bytes. The hash is seeded per process, so hostile keys cannot collide on
 * purpose; nothing visible depends on it. Any number of readers, or one writer. */
#ifndef MTK_BASE_HASHMAP_H
#define MTK_BASE_HASHMAP_H

#include <mtk/base.h>

typedef struct mtk_map mtk_map;

typedef union mtk_map_value {
  int64_t i;
  void *p;
} mtk_map_value;

typedef struct mtk_map_entry {
  const char *key; /* borrowed from the map; NUL-terminated beyond key_len */
  size_t key_len;
  uint64_t hash;
  mtk_map_value value;
} mtk_map_entry;

/* NULL when out of memory. Values are not owned. */
mtk_map *mtk_map_create(void);
void mtk_map_destroy(mtk_map *map);
size_t mtk_map_count(const mtk_map *map);
/* Value of a key, or NULL; borrowed until the next put. */
mtk_map_value *mtk_map_get(const mtk_map *map, const char *key, size_t key_len);
/* Insert, or return the existing entry with *found = true (found may be NULL); a new value is
 * zero. NULL when out of memory. Borrowed until the next put. */
mtk_map_value *mtk_map_put(mtk_map *map, const char *key, size_t key_len, bool *found);
/* The i-th inserted entry, i < count. Borrowed until the next put. */
mtk_map_entry *mtk_map_at(const mtk_map *map, size_t i);

#endif
