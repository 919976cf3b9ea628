/* text/trie.c: a double array with XOR addressing (Aoe 1989; Kanda 2018): the children of a node
 * lie in one block of 256 units. Built breadth first; only the last few blocks are searched for
 * room, so that building is linear. */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, OPEN_BLOCKS = 16 };
#define NO_PARENT UINT32_MAX

/* Keys lo..hi share their first `depth` bytes, which lead to `node`. */
typedef struct range {
  uint32_t node, depth;
  size_t lo, hi;
} range;

typedef struct builder {
  text_trie *trie;
  const text_trie_key *keys;
  size_t cap_units;
  uint32_t root; /* base of the root, whose own unit anchors the ring of free ones */
  range *queue;
  size_t head, n_queue, cap_queue;
} builder;

static int by_text(const void *a, const void *b) {
  const text_trie_key *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
  if (order != 0) return order;
  if (x->len != y->len) return x->len < y->len ? -1 : 1;
  return (x->value > y->value) - (x->value < y->value);
}

/* Free units of the last blocks form a ring through base (next) and value (previous), with unit 0
 * in it as long as the trie is built. */
static void take(text_trie *t, uint32_t at, uint32_t parent) {
  text_trie_unit *u = &t->units[at];
  t->units[u->base].value = u->value;
  t->units[u->value].base = u->base;
  *u = (text_trie_unit){0, parent, -1};
}

static void put(text_trie *t, uint32_t at) {
  uint32_t last = (uint32_t)t->units[0].value;
  t->units[at] = (text_trie_unit){0, NO_PARENT, (int32_t)last};
  t->units[last].base = at;
  t->units[0].value = (int32_t)at;
}

static mtk_status add_block(builder *b, mtk_error *err) {
  text_trie *t = b->trie;
  if (t->n_units + BLOCK > b->cap_units) {
    size_t cap = b->cap_units * 2 + BLOCK;
    text_trie_unit *grown =
        cap < INT32_MAX ? mtk_realloc(t->units, b->cap_units, cap, sizeof *grown) : NULL;
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
    t->units = grown;
    b->cap_units = cap;
  }
  size_t begin = t->n_units, open = (size_t)OPEN_BLOCKS * BLOCK;
  t->n_units += BLOCK;
  if (begin == 0) t->units[0] = (text_trie_unit){0, 0, 0};
  for (size_t i = begin > 0 ? 0 : 1; i < BLOCK; i++) put(t, (uint32_t)(begin + i));
  for (size_t i = 0; begin >= open && i < BLOCK; i++) { /* one block is not searched any more */
    uint32_t at = (uint32_t)(begin - open + i);
    if (t->units[at].parent == NO_PARENT) take(t, at, NO_PARENT);
  }
  return MTK_OK;
}

static bool fits(const text_trie *t, uint32_t base, const uint8_t *labels, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (t->units[base ^ labels[i]].parent != NO_PARENT) return false;
  }
  return true;
}

/* A base under which all labels are free. */
static mtk_status find_base(builder *b, uint32_t *base, const uint8_t *labels, size_t n,
                            mtk_error *err) {
  const text_trie_unit *units = b->trie->units;
  for (uint32_t at = units[0].base; at != 0; at = units[at].base) {
    *base = at ^ labels[0];
    if (fits(b->trie, *base, labels, n)) return MTK_OK;
  }
  *base = (uint32_t)b->trie->n_units;
  return add_block(b, err);
}

static mtk_status push(builder *b, range r, mtk_error *err) {
  if (b->n_queue == b->cap_queue) {
    size_t cap = b->cap_queue * 2 + 1024;
    range *grown = mtk_realloc(b->queue, b->cap_queue, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
    b->queue = grown;
    b->cap_queue = cap;
  }
  b->queue[b->n_queue++] = r;
  return MTK_OK;
}

static mtk_status expand(builder *b, range r, mtk_error *err) {
  uint8_t labels[BLOCK];
  size_t begins[BLOCK + 1], n = 0, lo = r.lo;
  while (lo < r.hi && b->keys[lo].len == r.depth) lo++; /* strings that end here */
  if (lo > r.lo) b->trie->units[r.node].value = b->keys[r.lo].value;
  if (lo == r.hi) return MTK_OK;
  for (size_t i = lo; i < r.hi; i++) {
    uint8_t c = (uint8_t)b->keys[i].text[r.depth];
    if (n > 0 && labels[n - 1] == c) continue;
    begins[n] = i;
    labels[n++] = c;
  }
  begins[n] = r.hi;
  uint32_t base = 0;
  MTK_TRY(find_base(b, &base, labels, n, err));
  *(r.node == 0 ? &b->root : &b->trie->units[r.node].base) = base;
  for (size_t i = 0; i < n; i++) {
    uint32_t child = base ^ labels[i];
    take(b->trie, child, r.node);
    MTK_TRY(push(b, (range){child, r.depth + 1, begins[i], begins[i + 1]}, err));
  }
  return MTK_OK;
}

mtk_status mtk_text_trie_init(text_trie *out, text_trie_key *keys, size_t n, mtk_error *err) {
  builder b = {.trie = out, .keys = keys};
  qsort(keys, n, sizeof *keys, by_text);
  size_t lo = 0;
  while (lo < n && keys[lo].len == 0) lo++;
  mtk_status status = add_block(&b, err);
  if (status == MTK_OK && lo < n) status = push(&b, (range){0, 0, lo, n}, err);
  while (status == MTK_OK && b.head < b.n_queue) status = expand(&b, b.queue[b.head++], err);
  mtk_free(b.queue);
  if (status == MTK_OK) out->units[0] = (text_trie_unit){b.root, 0, -1};
  return status;
}

void mtk_text_trie_finish(text_trie *trie) {
  mtk_free(trie->units);
  *trie = (text_trie){0};
}

int32_t mtk_text_trie_longest(const text_trie *trie, uint32_t node, const char *s, size_t n,
                              size_t *length) {
  int32_t best = -1;
  *length = 0;
  for (size_t i = 0; i < n; i++) {
    node = text_trie_next(trie, node, (uint8_t)s[i]);
    if (node == 0) break;
    if (trie->units[node].value < 0) continue;
    best = trie->units[node].value;
    *length = i + 1;
  }
  return best;
}
