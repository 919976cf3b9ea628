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
  mtk_map_value value;
} mtk_map_entry;

typedef struct mtk_map_key {
  const char *s;
  size_t n;
} mtk_map_key;

/* NULL when out of memory. Values are not owned. */
mtk_map *mtk_map_create(void);
void mtk_map_destroy(mtk_map *map);
size_t mtk_map_count(const mtk_map *map);
/* Value of a key, or NULL; borrowed until the next put. */
mtk_map_value *mtk_map_get(const mtk_map *map, const char *key, size_t key_len);
/* The values of n keys, as mtk_map_get finds them one by one; in a large map several times faster,
 * because the memory they lie in is fetched side by side. */
void mtk_map_get_all(const mtk_map *map, const mtk_map_key *keys, size_t n,
                     const mtk_map_value **values);
/* Room for n entries in all, so that putting them moves nothing; false when out of memory, and the
 * map is as before. */
bool mtk_map_reserve(mtk_map *map, size_t n);
/* Insert, or return the existing entry with *found = true (found may be NULL); a new value is
 * zero. NULL when out of memory. Borrowed until the next put. */
mtk_map_value *mtk_map_put(mtk_map *map, const char *key, size_t key_len, bool *found);
/* The i-th inserted entry, i < count. Borrowed until the next put. */
mtk_map_entry *mtk_map_at(const mtk_map *map, size_t i);

#endif
