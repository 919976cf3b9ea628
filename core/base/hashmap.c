/* hashmap.c: open addressing with linear probing over an index of entry numbers, each beside its
 * hash, so that only an entry which is most likely the right one is looked at, and none to grow the
 * index; the entries themselves lie in an array in order of insertion. The map owns keys and
 * entries. */
#include "base/hashmap.h"

#include "base/internal.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>

enum { FIRST_SLOTS = 16, FETCHED = 32 /* keys looked up side by side */ };

typedef struct slot {
  uint32_t entry, hash; /* entry number + 1, 0 = free */
} slot;

struct mtk_map {
  mtk_arena *keys;
  mtk_map_entry *entries;
  size_t count, cap;
  slot *slots;
  size_t n_slots; /* a power of two; at most 5/8 of them are taken */
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

static uint32_t hash_bytes(const char *key, size_t n) {
  uint64_t hash = seed[0] ^ n, word;
  for (; n >= 8; n -= 8, key += 8) {
    memcpy(&word, key, 8);
    hash = mix(hash ^ word, seed[1] ^ 0xA0761D6478BD642Fu);
  }
  word = 0;
  if (n) memcpy(&word, key, n);
  hash = mix(hash ^ word, seed[1] ^ 0xE7037ED1A0B428DBu);
  return (uint32_t)mix(hash, seed[1] ^ 0x8EBC6AF09C88C6E3u);
}

mtk_map *mtk_map_create(void) {
  pthread_once(&seed_once, read_seed);
  mtk_map *map = mtk_alloc(1, sizeof *map);
  if (!map) return NULL;
  map->keys = mtk_arena_create();
  map->n_slots = FIRST_SLOTS;
  map->slots = mtk_alloc_pages(map->n_slots * sizeof *map->slots);
  if (!map->keys || !map->slots) {
    mtk_map_destroy(map);
    return NULL;
  }
  return map;
}

void mtk_map_destroy(mtk_map *map) {
  if (!map) return;
  mtk_arena_destroy(map->keys);
  mtk_free_pages(map->entries, map->cap * sizeof *map->entries);
  mtk_free_pages(map->slots, map->n_slots * sizeof *map->slots);
  mtk_free(map);
}

size_t mtk_map_count(const mtk_map *map) { return map->count; }

mtk_map_entry *mtk_map_at(const mtk_map *map, size_t i) { return &map->entries[i]; }

/* The first slot from `i` on that is free or has this hash. */
static size_t probe(const mtk_map *map, size_t i, uint32_t hash) {
  size_t mask = map->n_slots - 1;
  for (i &= mask; map->slots[i].entry && map->slots[i].hash != hash;) i = (i + 1) & mask;
  return i;
}

/* The slot that holds the key, or the free one where it belongs; `i` as probe gives it. */
static slot *find_from(const mtk_map *map, size_t i, mtk_map_key key, uint32_t hash) {
  for (;; i = probe(map, i + 1, hash)) {
    slot *at = &map->slots[i];
    if (!at->entry) return at;
    const mtk_map_entry *e = &map->entries[at->entry - 1];
    if (e->key_len == key.n && (key.n == 0 || memcmp(e->key, key.s, key.n) == 0)) return at;
  }
}

static slot *find_slot(const mtk_map *map, mtk_map_key key, uint32_t hash) {
  return find_from(map, probe(map, hash, hash), key, hash);
}

static mtk_map_value *value_of(const mtk_map *map, const slot *at) {
  return at->entry ? &map->entries[at->entry - 1].value : NULL;
}

mtk_map_value *mtk_map_get(const mtk_map *map, const char *key, size_t key_len) {
  return value_of(map, find_slot(map, (mtk_map_key){key, key_len}, hash_bytes(key, key_len)));
}

/* Slot, entry and key of each lie in memory that is likely to be far away: each step asks for all
 * of them before the next one waits for the first. */
static void get_some(const mtk_map *map, const mtk_map_key *keys, size_t n,
                     const mtk_map_value **values) {
  uint32_t hashes[FETCHED];
  size_t at[FETCHED];
  for (size_t i = 0; i < n; i++) {
    hashes[i] = hash_bytes(keys[i].s, keys[i].n);
    __builtin_prefetch(&map->slots[hashes[i] & (map->n_slots - 1)]);
  }
  for (size_t i = 0; i < n; i++) {
    at[i] = probe(map, hashes[i], hashes[i]);
    uint32_t entry = map->slots[at[i]].entry;
    if (entry) __builtin_prefetch(&map->entries[entry - 1]);
  }
  for (size_t i = 0; i < n; i++) {
    uint32_t entry = map->slots[at[i]].entry;
    if (entry) __builtin_prefetch(map->entries[entry - 1].key);
  }
  for (size_t i = 0; i < n; i++) {
    values[i] = value_of(map, find_from(map, at[i], keys[i], hashes[i]));
  }
}

void mtk_map_get_all(const mtk_map *map, const mtk_map_key *keys, size_t n,
                     const mtk_map_value **values) {
  for (size_t i = 0; i < n; i += FETCHED) {
    get_some(map, keys + i, n - i < FETCHED ? n - i : FETCHED, values + i);
  }
}

/* ---- growing -------------------------------------------------------------------------------- */

static bool resize_slots(mtk_map *map, size_t n_slots) {
  size_t bytes;
  slot *slots = mtk_mul_ok(n_slots, sizeof *slots, &bytes) ? mtk_alloc_pages(bytes) : NULL;
  if (!slots) return false;
  for (size_t i = 0; i < map->n_slots; i++) {
    if (!map->slots[i].entry) continue;
    size_t at = map->slots[i].hash & (n_slots - 1);
    while (slots[at].entry) at = (at + 1) & (n_slots - 1);
    slots[at] = map->slots[i];
  }
  mtk_free_pages(map->slots, map->n_slots * sizeof *map->slots);
  map->slots = slots;
  map->n_slots = n_slots;
  return true;
}

static bool resize_entries(mtk_map *map, size_t cap) {
  size_t bytes;
  mtk_map_entry *entries = mtk_mul_ok(cap, sizeof *entries, &bytes) ? mtk_alloc_pages(bytes) : NULL;
  if (!entries) return false;
  if (map->count) memcpy(entries, map->entries, map->count * sizeof *entries);
  mtk_free_pages(map->entries, map->cap * sizeof *map->entries);
  map->entries = entries;
  map->cap = cap;
  return true;
}

bool mtk_map_reserve(mtk_map *map, size_t n) {
  if (n >= UINT32_MAX) return false;
  size_t n_slots = map->n_slots;
  while (n_slots / 8 * 5 < n) {
    if (!mtk_mul_ok(n_slots, 2, &n_slots)) return false;
  }
  if (n_slots > map->n_slots && !resize_slots(map, n_slots)) return false;
  return n <= map->cap || resize_entries(map, n);
}

mtk_map_value *mtk_map_put(mtk_map *map, const char *key, size_t key_len, bool *found) {
  uint32_t hash = hash_bytes(key, key_len);
  slot *at = find_slot(map, (mtk_map_key){key, key_len}, hash);
  if (found) *found = at->entry != 0;
  if (at->entry) return value_of(map, at);
  if (map->count == map->cap) {
    if (!mtk_map_reserve(map, map->cap ? map->cap * 2 : FIRST_SLOTS / 2)) return NULL;
    at = find_slot(map, (mtk_map_key){key, key_len}, hash);
  }
  size_t bytes;
  char *copy = mtk_add_ok(key_len, 1, &bytes) ? mtk_arena_alloc(map->keys, bytes, 1) : NULL;
  if (!copy) return NULL;
  if (key_len) memcpy(copy, key, key_len);
  map->entries[map->count] = (mtk_map_entry){.key = copy, .key_len = key_len};
  *at = (slot){(uint32_t)map->count + 1, hash};
  return &map->entries[map->count++].value;
}
