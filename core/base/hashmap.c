/* hashmap.c: open addressing with linear probing over an index of entry numbers, each beside half
 * of its hash, so that only an entry which is most likely the right one is looked at; the entries
 * themselves lie in an array in order of insertion. The map owns keys and entries. */
#include "base/hashmap.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

enum { FIRST_SLOTS = 16 };

typedef struct slot {
  uint32_t entry, tag; /* entry number + 1, 0 = free; upper half of its hash */
} slot;

struct mtk_map {
  mtk_arena *keys;
  mtk_map_entry *entries;
  size_t count, cap;
  slot *slots;
  size_t n_slots; /* a power of two, at least twice count */
};

__extension__ typedef unsigned __int128 wide;

static pthread_once_t seed_once = PTHREAD_ONCE_INIT;
static uint64_t seed[2] = {0x9E3779B97F4A7C15u, 0xD1B54A32D192ED03u};

/* Without system randomness (very early boot) the fixed seed stays: only flood resistance is
 * lost. */
static void read_seed(void) {
  uint64_t random[2];
  if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random) return;
  seed[0] = random[0];
  seed[1] = random[1] | 1;
}

static uint64_t mix(uint64_t a, uint64_t b) {
  wide product = (wide)a * b;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_bytes(const char *key, size_t n) {
  uint64_t hash = seed[0] ^ n, word;
  for (; n >= 8; n -= 8, key += 8) {
    memcpy(&word, key, 8);
    hash = mix(hash ^ word, seed[1] ^ 0xA0761D6478BD642Fu);
  }
  word = 0;
  if (n) memcpy(&word, key, n);
  return mix(mix(hash ^ word, seed[1] ^ 0xE7037ED1A0B428DBu), seed[1] ^ 0x8EBC6AF09C88C6E3u);
}

mtk_map *mtk_map_create(void) {
  pthread_once(&seed_once, read_seed);
  mtk_map *map = mtk_alloc(1, sizeof *map);
  if (!map) return NULL;
  map->keys = mtk_arena_create();
  map->n_slots = FIRST_SLOTS;
  map->slots = mtk_alloc(map->n_slots, sizeof *map->slots);
  if (!map->keys || !map->slots) {
    mtk_map_destroy(map);
    return NULL;
  }
  return map;
}

void mtk_map_destroy(mtk_map *map) {
  if (!map) return;
  mtk_arena_destroy(map->keys);
  mtk_free(map->entries);
  mtk_free(map->slots);
  mtk_free(map);
}

size_t mtk_map_count(const mtk_map *map) { return map->count; }

mtk_map_entry *mtk_map_at(const mtk_map *map, size_t i) { return &map->entries[i]; }

static uint32_t tag_of(uint64_t hash) { return (uint32_t)(hash >> 32); }

/* The slot that holds the key, or the free one where it belongs. */
static slot *find_slot(const mtk_map *map, const char *key, size_t n, uint64_t hash) {
  for (size_t i = hash & (map->n_slots - 1);; i = (i + 1) & (map->n_slots - 1)) {
    slot *at = &map->slots[i];
    if (!at->entry) return at;
    if (at->tag != tag_of(hash)) continue;
    const mtk_map_entry *e = &map->entries[at->entry - 1];
    if (e->hash == hash && e->key_len == n && (n == 0 || memcmp(e->key, key, n) == 0)) return at;
  }
}

mtk_map_value *mtk_map_get(const mtk_map *map, const char *key, size_t key_len) {
  const slot *at = find_slot(map, key, key_len, hash_bytes(key, key_len));
  return at->entry ? &map->entries[at->entry - 1].value : NULL;
}

static bool grow_slots(mtk_map *map) {
  if ((map->count + 1) * 2 <= map->n_slots) return true;
  size_t n_slots;
  if (!mtk_mul_ok(map->n_slots, 2, &n_slots)) return false;
  slot *slots = mtk_alloc(n_slots, sizeof *slots);
  if (!slots) return false;
  for (size_t i = 0; i < map->count; i++) {
    uint64_t hash = map->entries[i].hash;
    size_t at = hash & (n_slots - 1);
    while (slots[at].entry) at = (at + 1) & (n_slots - 1);
    slots[at] = (slot){(uint32_t)i + 1, tag_of(hash)};
  }
  mtk_free(map->slots);
  map->slots = slots;
  map->n_slots = n_slots;
  return true;
}

static bool grow_entries(mtk_map *map) {
  if (map->count < map->cap) return true;
  size_t cap = map->cap ? map->cap * 2 : FIRST_SLOTS;
  mtk_map_entry *entries = mtk_realloc(map->entries, map->count, cap, sizeof *entries);
  if (!entries) return false;
  map->entries = entries;
  map->cap = cap;
  return true;
}

mtk_map_value *mtk_map_put(mtk_map *map, const char *key, size_t key_len, bool *found) {
  uint64_t hash = hash_bytes(key, key_len);
  const slot *at = find_slot(map, key, key_len, hash);
  if (found) *found = at->entry != 0;
  if (at->entry) return &map->entries[at->entry - 1].value;
  if (map->count >= UINT32_MAX - 1 || !grow_slots(map) || !grow_entries(map)) return NULL;
  size_t bytes;
  char *copy = mtk_add_ok(key_len, 1, &bytes) ? mtk_arena_alloc(map->keys, bytes, 1) : NULL;
  if (!copy) return NULL;
  if (key_len) memcpy(copy, key, key_len);
  map->entries[map->count] = (mtk_map_entry){.key = copy, .key_len = key_len, .hash = hash};
  *find_slot(map, key, key_len, hash) = (slot){(uint32_t)map->count + 1, tag_of(hash)};
  return &map->entries[map->count++].value;
}
