/* text/bpe.c: byte pair encoding by a ranked list of merges: a merge table (open addressing on the
 * id pair) and the merge loop (binary heap of candidate pairs, outdated ones dropped when they
 * surface), n log n in the length of a piece. Same order of merges as the `tokenizers` library.
 * Immutable after creation, shared by threads; the work area belongs to one call. */
#include <string.h>

#include "base/internal.h"
#include "text/model.h"
#include "text/utf8.h"

enum {
  NONE = -1,
  N_SHORT = 0x180, /* characters with a table of their own: the byte alphabet */
  BATCH = 32,      /* merges whose halves are looked up together */
};

typedef struct merge_slot {
  int32_t left, right;
  uint32_t rank; /* from 1 on; 0 = free */
  int32_t merged;
} merge_slot;

typedef struct bpe_model {
  merge_slot *merges;
  size_t n_slots; /* twice the merges, or more */
  int32_t short_ids[N_SHORT], byte_ids[256], unk;
  const mtk_map *ids;
  bool ignore_merges, byte_fallback, fuse_unk;
  char *prefix, *suffix; /* of symbols inside and at the end of a piece, or NULL */
  size_t n_prefix, n_suffix;
  uint8_t *types;           /* of tokens */
  size_t n_tokens, longest; /* longest spelling in bytes */
} bpe_model;

typedef struct symbol {
  int32_t id, previous, next; /* neighbours by index; id NONE = merged away */
  uint32_t begin;
} symbol;

typedef struct pair {
  uint64_t key; /* rank << 32 | index of the left symbol */
  int32_t merged;
} pair;

typedef struct bpe_work {
  symbol *symbols;
  pair *heap;
  size_t n_symbols, cap_symbols, cap_heap, n_heap;
  mtk_bytes spelled; /* a symbol with its affixes */
} bpe_work;

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for byte pair encoding");
}

static void bpe_work_destroy(void *work) {
  bpe_work *w = work;
  if (!w) return;
  mtk_free(w->symbols);
  mtk_free(w->heap);
  mtk_bytes_finish(&w->spelled);
  mtk_free(w);
}

/* The slot where the search for a pair begins. */
static size_t first_slot(const bpe_model *bpe, int32_t left, int32_t right) {
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
  return (size_t)((h >> 32) * bpe->n_slots >> 32);
}

/* The slot of a pair, or the free slot where it would go. */
static size_t find_merge(const bpe_model *bpe, int32_t left, int32_t right) {
  size_t i = first_slot(bpe, left, right);
  while (bpe->merges[i].rank != 0 &&
         (bpe->merges[i].left != left || bpe->merges[i].right != right)) {
    if (++i == bpe->n_slots) i = 0;
  }
  return i;
}

/* The id of an entry of the vocabulary (NULL = none) that ordinary text may become, or NONE. */
static int32_t usable_id(const bpe_model *bpe, const mtk_map_value *value) {
  bool usable = value && bpe->types[value->i] != MTK_TOKEN_CONTROL;
  return usable ? (int32_t)value->i : NONE;
}

static int32_t find_id(const bpe_model *bpe, const char *text, size_t n) {
  return usable_id(bpe, mtk_map_get(bpe->ids, text, n));
}

/* ---- creation ------------------------------------------------------------------------------- */

/* The space that parts a merge into two tokens, and these; NULL if none does. */
static const char *part(const mtk_map_value *halves[2], const mtk_map *ids, const char *text,
                        size_t n) {
  const char *end = text + n;
  for (const char *at = text; (at = memchr(at, ' ', (size_t)(end - at))) != NULL; at++) {
    if (at == text || at + 1 == end) continue;
    halves[0] = mtk_map_get(ids, text, (size_t)(at - text));
    halves[1] = halves[0] ? mtk_map_get(ids, at + 1, (size_t)(end - at - 1)) : NULL;
    if (halves[1]) return at;
  }
  return NULL;
}

const char *mtk_text_part_merge(const mtk_map *ids, const char *text, size_t n) {
  const mtk_map_value *halves[2];
  return part(halves, ids, text, n);
}

/* The token a merge makes, or NULL. Merges stand in the order of the tokens they make, so it is
 * most likely the entry after the last one: *next. */
static const mtk_map_value *find_made(const mtk_map *ids, const mtk_bytes *text, size_t *next) {
  const mtk_map_value *value = NULL;
  if (*next < mtk_map_count(ids)) {
    const mtk_map_entry *e = mtk_map_at(ids, *next);
    bool same = e->key_len == text->len && memcmp(e->key, text->data, text->len) == 0;
    value = same ? &e->value : NULL;
  }
  if (!value) value = mtk_map_get(ids, text->data, text->len);
  if (value) *next = (size_t)value->i + 1;
  return value;
}

typedef struct merge_reader {
  bpe_model *bpe;
  mtk_bytes joined;
  size_t next; /* of find_made */
} merge_reader;

/* out: rank 0 if it is never made of text. parts and halves: both sides of the first blank inside
 * the text, and their tokens. */
static mtk_status read_merge(merge_slot *out, merge_reader *r, const char *text, size_t rank,
                             mtk_map_key parts[2], const mtk_map_value *halves[2], mtk_error *err) {
  const bpe_model *bpe = r->bpe;
  if (parts[1].n == 0 || !halves[0] || !halves[1]) { /* there may be a better blank */
    const char *space = part(halves, bpe->ids, text, strlen(text));
    if (!space) {
      return mtk_fail(err, MTK_E_FORMAT, "tokenizer merges",
                      "merge %zu is not two tokens: \"%.60s\"", rank, text);
    }
    parts[0] = (mtk_map_key){text, (size_t)(space - text)};
    parts[1] = (mtk_map_key){space + 1, strlen(space + 1)};
  }
  size_t skip = bpe->n_prefix < parts[1].n ? bpe->n_prefix : parts[1].n;
  mtk_bytes_clear(&r->joined);
  mtk_bytes_append(&r->joined, parts[0].s, parts[0].n);
  mtk_bytes_append(&r->joined, parts[1].s + skip, parts[1].n - skip);
  MTK_TRY(mtk_bytes_status(&r->joined, err));
  const mtk_map_value *whole = find_made(bpe->ids, &r->joined, &r->next);
  if (!whole) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer merges",
                    "merge %zu \"%.60s\" needs a token that the vocabulary lacks", rank, text);
  }
  int32_t left = usable_id(bpe, halves[0]), right = usable_id(bpe, halves[1]);
  int32_t merged = usable_id(bpe, whole);
  bool control = left < 0 || right < 0 || merged < 0;
  *out = (merge_slot){left, right, control ? 0 : (uint32_t)rank + 1, merged};
  return MTK_OK;
}

/* n merges from `first` on, at most BATCH. */
static mtk_status add_merges(merge_reader *r, const char *const *texts, size_t first, size_t n,
                             mtk_error *err) {
  mtk_map_key parts[2 * BATCH];
  const mtk_map_value *halves[2 * BATCH];
  merge_slot merges[BATCH], *table = r->bpe->merges;
  for (size_t i = 0; i < n; i++) {
    const char *text = texts[i], *space = *text ? strchr(text + 1, ' ') : NULL;
    parts[2 * i] = (mtk_map_key){text, space ? (size_t)(space - text) : 0};
    parts[2 * i + 1] = space ? (mtk_map_key){space + 1, strlen(space + 1)} : (mtk_map_key){text, 0};
  }
  mtk_map_get_all(r->bpe->ids, parts, 2 * n, halves);
  for (size_t i = 0; i < n; i++) {
    MTK_TRY(read_merge(&merges[i], r, texts[i], first + i, &parts[2 * i], &halves[2 * i], err));
    __builtin_prefetch(&table[first_slot(r->bpe, merges[i].left, merges[i].right)], 1);
  }
  for (size_t i = 0; i < n; i++) {
    if (merges[i].rank != 0) table[find_merge(r->bpe, merges[i].left, merges[i].right)] = merges[i];
  }
  return MTK_OK;
}

static mtk_status build_merges(bpe_model *bpe, const mtk_vocab *vocab, mtk_error *err) {
  size_t n = vocab->n_merges;
  bpe->n_slots = 2 * n + 16;
  bpe->merges = mtk_alloc_pages(bpe->n_slots * sizeof *bpe->merges);
  if (!bpe->merges) return no_memory(err);
  merge_reader r = {.bpe = bpe};
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < n && status == MTK_OK; i += BATCH) {
    status = add_merges(&r, vocab->merges + i, i, n - i < BATCH ? n - i : BATCH, err);
  }
  mtk_bytes_finish(&r.joined);
  return status;
}

static mtk_status build_ids(bpe_model *bpe, const mtk_vocab *vocab, mtk_error *err) {
  bpe->types = mtk_alloc(vocab->n_tokens, 1);
  if (!bpe->types) return no_memory(err);
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    bpe->types[i] = vocab->tokens[i].type;
    if (vocab->tokens[i].len > bpe->longest) bpe->longest = vocab->tokens[i].len;
  }
  for (uint32_t cp = 0; cp < N_SHORT; cp++) {
    char utf8[4];
    bpe->short_ids[cp] = find_id(bpe, utf8, text_utf8_encode(cp, utf8));
  }
  for (int b = 0; b < 256; b++) {
    static const char hex[] = "0123456789ABCDEF";
    char name[6] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
    bpe->byte_ids[b] = vocab->byte_fallback ? find_id(bpe, name, sizeof name) : NONE;
  }
  return MTK_OK;
}

static mtk_status copy_affix(char **copy, size_t *n, const char *affix, mtk_error *err) {
  if (!affix || !*affix) return MTK_OK;
  *n = strlen(affix);
  *copy = mtk_strdup(affix);
  return *copy ? MTK_OK : no_memory(err);
}

static void bpe_destroy(void *model) {
  bpe_model *bpe = model;
  if (!bpe) return;
  mtk_free_pages(bpe->merges, bpe->n_slots * sizeof *bpe->merges);
  mtk_free(bpe->types);
  mtk_free(bpe->prefix);
  mtk_free(bpe->suffix);
  mtk_free(bpe);
}

static mtk_status bpe_create(void **out, const mtk_vocab *vocab, const mtk_map *ids,
                             mtk_error *err) {
  if (vocab->n_merges > UINT32_MAX / 4) {
    return mtk_fail(err, MTK_E_LIMIT, "tokenizer merges", "too many merges");
  }
  bpe_model *bpe = mtk_alloc(1, sizeof *bpe);
  if (!bpe) return no_memory(err);
  bpe->ids = ids;
  bpe->unk = vocab->bytes_to_unk ? vocab->unk : NONE;
  bpe->ignore_merges = vocab->ignore_merges;
  bpe->byte_fallback = vocab->byte_fallback;
  bpe->fuse_unk = vocab->fuse_unk;
  bpe->n_tokens = vocab->n_tokens;
  mtk_status status = copy_affix(&bpe->prefix, &bpe->n_prefix, vocab->continuing_prefix, err);
  if (status == MTK_OK) {
    status = copy_affix(&bpe->suffix, &bpe->n_suffix, vocab->end_of_word_suffix, err);
  }
  if (status == MTK_OK) status = build_ids(bpe, vocab, err);
  if (status == MTK_OK) status = build_merges(bpe, vocab, err);
  if (status != MTK_OK) {
    bpe_destroy(bpe);
    return status;
  }
  *out = bpe;
  return MTK_OK;
}

/* ---- candidate heap ------------------------------------------------------------------------- */

static void heap_push(bpe_work *w, pair p) {
  size_t i = w->n_heap++;
  while (i > 0 && w->heap[(i - 1) / 2].key > p.key) {
    w->heap[i] = w->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  w->heap[i] = p;
}

static pair heap_pop(bpe_work *w) {
  pair top = w->heap[0], last = w->heap[--w->n_heap];
  size_t i = 0, child;
  while ((child = 2 * i + 1) < w->n_heap) {
    if (child + 1 < w->n_heap && w->heap[child + 1].key < w->heap[child].key) child++;
    if (w->heap[child].key >= last.key) break;
    w->heap[i] = w->heap[child];
    i = child;
  }
  w->heap[i] = last;
  return top;
}

static void propose(const bpe_model *bpe, bpe_work *w, int32_t at) {
  int32_t next = at >= 0 ? w->symbols[at].next : NONE;
  if (next < 0) return;
  size_t slot = find_merge(bpe, w->symbols[at].id, w->symbols[next].id);
  if (bpe->merges[slot].rank == 0) return;
  heap_push(
      w, (pair){(uint64_t)bpe->merges[slot].rank << 32 | (uint32_t)at, bpe->merges[slot].merged});
}

/* ---- encoding ------------------------------------------------------------------------------- */

static mtk_status push_symbol(bpe_work *w, int32_t id, size_t begin, mtk_error *err) {
  if (w->n_symbols == w->cap_symbols) {
    size_t cap = w->cap_symbols * 2 + 64;
    symbol *grown = mtk_realloc(w->symbols, w->cap_symbols, cap, sizeof *grown);
    if (!grown) return no_memory(err);
    w->symbols = grown;
    w->cap_symbols = cap;
  }
  int32_t at = (int32_t)w->n_symbols++;
  w->symbols[at] = (symbol){id, at - 1, at + 1, (uint32_t)begin};
  return MTK_OK;
}

/* A symbol as it is spelled at its place in the piece. */
static const char *spell(const bpe_model *bpe, bpe_work *w, const char *s, size_t *n, bool first,
                         bool last) {
  bool prefixed = bpe->prefix && !first, suffixed = bpe->suffix && last;
  if (!prefixed && !suffixed) return s;
  mtk_bytes_clear(&w->spelled);
  if (prefixed) mtk_bytes_append(&w->spelled, bpe->prefix, bpe->n_prefix);
  mtk_bytes_append(&w->spelled, s, *n);
  if (suffixed) mtk_bytes_append(&w->spelled, bpe->suffix, bpe->n_suffix);
  *n = w->spelled.len;
  return w->spelled.data;
}

/* A symbol that is no token: its bytes; false if they are not all tokens. */
static mtk_status push_bytes(const bpe_model *bpe, bpe_work *w, const char *s, size_t n,
                             size_t begin, bool *done, mtk_error *err) {
  *done = false;
  for (size_t i = 0; i < n; i++) {
    if (bpe->byte_ids[(uint8_t)s[i]] < 0) return MTK_OK;
  }
  *done = true;
  for (size_t i = 0; i < n; i++) {
    MTK_TRY(push_symbol(w, bpe->byte_ids[(uint8_t)s[i]], begin, err));
  }
  return MTK_OK;
}

/* The characters of a piece. An unknown one is held back until the next known one, as in the
 * `tokenizers` library: byte tokens between them come first. */
static mtk_status load_symbols(const bpe_model *bpe, bpe_work *w, const char *piece, size_t n,
                               mtk_error *err) {
  bool unknown = false;
  size_t unknown_at = 0;
  w->n_symbols = 0;
  for (size_t i = 0, len; i < n; i += len) {
    uint32_t cp = UINT32_MAX;
    len = text_utf8_decode(piece + i, n - i, &cp);
    if (len == 0) len = 1, cp = UINT32_MAX;
    size_t spelled_len = len;
    const char *spelled = spell(bpe, w, piece + i, &spelled_len, i == 0, i + len == n);
    MTK_TRY(mtk_bytes_status(&w->spelled, err));
    bool plain = spelled == piece + i && cp < N_SHORT;
    int32_t id = plain ? bpe->short_ids[cp] : find_id(bpe, spelled, spelled_len);
    bool done = id >= 0;
    if (!done && bpe->byte_fallback) {
      MTK_TRY(push_bytes(bpe, w, spelled, spelled_len, i, &done, err));
      if (done) continue;
    }
    if (unknown && (done || !bpe->fuse_unk)) {
      MTK_TRY(push_symbol(w, bpe->unk, unknown_at, err));
      unknown = false;
    }
    if (done) {
      MTK_TRY(push_symbol(w, id, i, err));
    } else if (bpe->unk >= 0 && !unknown) {
      unknown = true;
      unknown_at = i;
    }
  }
  if (unknown) MTK_TRY(push_symbol(w, bpe->unk, unknown_at, err));
  if (w->n_symbols > 0) w->symbols[w->n_symbols - 1].next = NONE;
  return MTK_OK;
}

static mtk_status reserve_heap(bpe_work *w, mtk_error *err) {
  size_t pairs = 3 * w->n_symbols; /* n - 1 first ones, at most two more per merge */
  if (pairs <= w->cap_heap) return MTK_OK;
  size_t cap = pairs + w->cap_heap;
  pair *grown = mtk_realloc(w->heap, w->cap_heap, cap, sizeof *grown);
  if (!grown) return no_memory(err);
  w->heap = grown;
  w->cap_heap = cap;
  return MTK_OK;
}

static void merge_all(const bpe_model *bpe, bpe_work *w) {
  w->n_heap = 0;
  for (int32_t i = 0; (size_t)i + 1 < w->n_symbols; i++) propose(bpe, w, i);
  while (w->n_heap > 0) {
    pair best = heap_pop(w);
    int32_t at = (int32_t)(best.key & UINT32_MAX);
    symbol *left = &w->symbols[at];
    if (left->id == NONE || left->next < 0) continue;
    symbol *right = &w->symbols[left->next];
    const merge_slot *merge = &bpe->merges[find_merge(bpe, left->id, right->id)];
    if (merge->rank == 0 || merge->merged != best.merged) continue; /* no longer there */
    left->id = merge->merged;
    left->next = right->next;
    right->id = NONE;
    if (left->next >= 0) w->symbols[left->next].previous = at;
    propose(bpe, w, left->previous);
    propose(bpe, w, at);
  }
}

static mtk_status bpe_encode(const void *model, void **work, const char *piece, size_t n,
                             size_t base, text_sink *sink, mtk_error *err) {
  const bpe_model *bpe = model;
  if (bpe->ignore_merges && n <= bpe->longest) { /* a whole token needs no merges */
    int32_t id = find_id(bpe, piece, n);
    if (id >= 0 && bpe->types[id] != MTK_TOKEN_USER_DEFINED) {
      return mtk_text_sink_push(sink, id, base, err);
    }
  }
  if (!*work) *work = mtk_alloc(1, sizeof(bpe_work));
  bpe_work *w = *work;
  if (!w) return no_memory(err);
  MTK_TRY(load_symbols(bpe, w, piece, n, err));
  if (w->n_symbols == 0) return MTK_OK;
  MTK_TRY(reserve_heap(w, err));
  merge_all(bpe, w);
  for (int32_t i = 0; i >= 0; i = w->symbols[i].next) {
    MTK_TRY(mtk_text_sink_push(sink, w->symbols[i].id, base + w->symbols[i].begin, err));
  }
  return MTK_OK;
}

const text_model_class mtk_text_bpe_model = {bpe_create, bpe_destroy, bpe_encode, bpe_work_destroy};
