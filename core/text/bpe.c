/* text/bpe.c: merge table (open addressing on the id pair) and the merge loop (binary heap of
 * candidate pairs, outdated ones dropped when they surface). Same order of merges as the
 * `tokenizers` library. */
#include "text/bpe.h"

#include <string.h>

#include "text/byte_alphabet.h"

enum { NONE = -1 };

typedef struct merge_slot {
  int32_t left, right; /* left NONE = free */
  uint32_t rank;
  int32_t merged;
} merge_slot;

struct text_bpe {
  merge_slot *merges;
  size_t mask; /* slots - 1 */
  int32_t byte_ids[256], unk;
  const mtk_map *ids; /* whole pieces are looked up here if ignore_merges */
  bool ignore_merges;
  const uint8_t *types;     /* token types, owned */
  size_t n_tokens, longest; /* longest spelling in bytes */
};

typedef struct text_bpe_symbol {
  int32_t id, previous, next; /* neighbours by index; id NONE = merged away */
  uint32_t begin;
} symbol;

typedef struct text_bpe_pair {
  uint64_t key; /* rank << 32 | index of the left symbol */
  uint32_t slot;
} pair;

void mtk_text_bpe_work_finish(text_bpe_work *work) {
  mtk_free(work->symbols);
  mtk_free(work->heap);
  *work = (text_bpe_work){0};
}

static size_t pair_hash(int32_t left, int32_t right) {
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
  return (size_t)(h >> 29);
}

/* The slot of a pair, or the free slot where it would go. */
static size_t find_merge(const text_bpe *bpe, int32_t left, int32_t right) {
  size_t i = pair_hash(left, right) & bpe->mask;
  while (bpe->merges[i].left != NONE &&
         (bpe->merges[i].left != left || bpe->merges[i].right != right)) {
    i = (i + 1) & bpe->mask;
  }
  return i;
}

static int32_t find_id(const mtk_map *ids, const char *text, size_t n) {
  const mtk_map_value *value = mtk_map_get(ids, text, n);
  return value ? (int32_t)value->i : NONE;
}

static mtk_status add_merge(text_bpe *bpe, const char *text, size_t rank, mtk_bytes *joined,
                            mtk_error *err) {
  const char *space = strchr(text, ' ');
  size_t left_len = space ? (size_t)(space - text) : 0, right_len = space ? strlen(space + 1) : 0;
  if (left_len == 0 || right_len == 0) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer merges", "merge %zu is not two tokens: \"%.60s\"",
                    rank, text);
  }
  mtk_bytes_clear(joined);
  mtk_bytes_append(joined, text, left_len);
  mtk_bytes_append(joined, space + 1, right_len);
  MTK_TRY(mtk_bytes_status(joined, err));
  int32_t left = find_id(bpe->ids, text, left_len), right = find_id(bpe->ids, space + 1, right_len);
  int32_t merged = find_id(bpe->ids, joined->data, joined->len);
  if (left < 0 || right < 0 || merged < 0) {
    return mtk_fail(err, MTK_E_FORMAT, "tokenizer merges",
                    "merge %zu \"%.60s\" needs a token that the vocabulary lacks", rank, text);
  }
  if (bpe->types[merged] == MTK_TOKEN_CONTROL) return MTK_OK; /* never out of ordinary text */
  merge_slot *slot = &bpe->merges[find_merge(bpe, left, right)];
  if (slot->left == NONE) *slot = (merge_slot){left, right, (uint32_t)rank, merged};
  return MTK_OK;
}

static mtk_status build_merges(text_bpe *bpe, const mtk_vocab *vocab, mtk_error *err) {
  size_t slots = 16;
  while (slots < vocab->n_merges * 2) slots *= 2;
  bpe->merges = mtk_alloc(slots, sizeof *bpe->merges);
  if (!bpe->merges) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building merges");
  bpe->mask = slots - 1;
  for (size_t i = 0; i < slots; i++) bpe->merges[i].left = NONE;
  mtk_bytes joined = {0};
  mtk_status status = MTK_OK;
  for (size_t i = 0; i < vocab->n_merges && status == MTK_OK; i++) {
    status = add_merge(bpe, vocab->merges[i], i, &joined, err);
  }
  mtk_bytes_finish(&joined);
  return status;
}

static mtk_status build(text_bpe *bpe, const mtk_vocab *vocab, mtk_error *err) {
  for (int b = 0; b < 256; b++) {
    char raw = (char)b, spelled[4];
    bpe->byte_ids[b] = find_id(bpe->ids, spelled, mtk_text_to_alphabet(spelled, &raw, 1));
  }
  uint8_t *types = mtk_alloc(vocab->n_tokens, 1);
  if (!types) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  bpe->types = types;
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    types[i] = vocab->tokens[i].type;
    if (vocab->tokens[i].len > bpe->longest) bpe->longest = vocab->tokens[i].len;
  }
  return build_merges(bpe, vocab, err);
}

mtk_status mtk_text_bpe_create(text_bpe **out, const mtk_vocab *vocab, const mtk_map *ids,
                           mtk_error *err) {
  if (vocab->n_merges > UINT32_MAX / 4) {
    return mtk_fail(err, MTK_E_LIMIT, "tokenizer merges", "too many merges");
  }
  text_bpe *bpe = mtk_alloc(1, sizeof *bpe);
  if (!bpe) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory building a tokenizer");
  bpe->ids = ids;
  bpe->unk = vocab->bytes_to_unk ? vocab->unk : NONE;
  bpe->ignore_merges = vocab->ignore_merges;
  bpe->n_tokens = vocab->n_tokens;
  mtk_status status = build(bpe, vocab, err);
  if (status != MTK_OK) {
    mtk_text_bpe_destroy(bpe);
    return status;
  }
  *out = bpe;
  return MTK_OK;
}

void mtk_text_bpe_destroy(text_bpe *bpe) {
  if (!bpe) return;
  mtk_free(bpe->merges);
  mtk_free((void *)bpe->types);
  mtk_free(bpe);
}

/* ---- candidate heap ------------------------------------------------------------------------- */

static void heap_push(text_bpe_work *w, pair p) {
  size_t i = w->n_heap++;
  while (i > 0 && w->heap[(i - 1) / 2].key > p.key) {
    w->heap[i] = w->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  w->heap[i] = p;
}

static pair heap_pop(text_bpe_work *w) {
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

static void propose(const text_bpe *bpe, text_bpe_work *w, int32_t at) {
  int32_t next = at >= 0 ? w->symbols[at].next : NONE;
  if (next < 0) return;
  size_t slot = find_merge(bpe, w->symbols[at].id, w->symbols[next].id);
  if (bpe->merges[slot].left == NONE) return;
  heap_push(w, (pair){(uint64_t)bpe->merges[slot].rank << 32 | (uint32_t)at, (uint32_t)slot});
}

/* ---- encoding ------------------------------------------------------------------------------- */

static mtk_status reserve(text_bpe_work *w, size_t n, mtk_error *err) {
  if (n > w->cap_symbols) {
    size_t cap = n + w->cap_symbols;
    symbol *grown = mtk_realloc(w->symbols, w->cap_symbols, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding text");
    w->symbols = grown;
    w->cap_symbols = cap;
  }
  size_t pairs = 3 * n; /* n - 1 first ones, at most two more per merge */
  if (pairs > w->cap_heap) {
    size_t cap = pairs + w->cap_heap;
    pair *grown = mtk_realloc(w->heap, w->cap_heap, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory encoding text");
    w->heap = grown;
    w->cap_heap = cap;
  }
  return MTK_OK;
}

static int32_t load_symbols(const text_bpe *bpe, text_bpe_work *w, const char *piece, size_t n) {
  int32_t count = 0;
  for (size_t i = 0; i < n; i++) {
    int32_t id = bpe->byte_ids[(uint8_t)piece[i]];
    if (id < 0) id = bpe->unk;
    if (id < 0) continue;
    w->symbols[count] = (symbol){id, count - 1, count + 1, (uint32_t)i};
    count++;
  }
  if (count > 0) w->symbols[count - 1].next = NONE;
  return count;
}

static void merge_all(const text_bpe *bpe, text_bpe_work *w, int32_t count) {
  w->n_heap = 0;
  for (int32_t i = 0; i + 1 < count; i++) propose(bpe, w, i);
  while (w->n_heap > 0) {
    pair best = heap_pop(w);
    const merge_slot *merge = &bpe->merges[best.slot];
    int32_t at = (int32_t)(best.key & UINT32_MAX);
    symbol *left = &w->symbols[at];
    if (left->id != merge->left || left->next < 0) continue;
    symbol *right = &w->symbols[left->next];
    if (right->id != merge->right) continue;
    left->id = merge->merged;
    left->next = right->next;
    right->id = NONE;
    if (left->next >= 0) w->symbols[left->next].previous = at;
    propose(bpe, w, left->previous);
    propose(bpe, w, at);
  }
}

/* ignore_merges: a piece that is a token as a whole is that token. Never a control token. */
static int32_t whole_piece(const text_bpe *bpe, const char *piece, size_t n) {
  char spelled[512];
  if (!bpe->ignore_merges || n > bpe->longest || n > sizeof spelled / 2) return NONE;
  int32_t id = find_id(bpe->ids, spelled, mtk_text_to_alphabet(spelled, piece, n));
  return id >= 0 && bpe->types[id] == MTK_TOKEN_NORMAL ? id : NONE;
}

mtk_status mtk_text_bpe_encode(const text_bpe *bpe, text_bpe_work *w, const char *piece, size_t n,
                           size_t base, text_sink *sink, mtk_error *err) {
  int32_t whole = whole_piece(bpe, piece, n);
  if (whole >= 0) return mtk_text_sink_push(sink, whole, base, err);
  MTK_TRY(reserve(w, n, err));
  int32_t count = load_symbols(bpe, w, piece, n);
  if (count == 0) return MTK_OK;
  merge_all(bpe, w, count);
  for (int32_t i = 0; i >= 0; i = w->symbols[i].next) {
    MTK_TRY(mtk_text_sink_push(sink, w->symbols[i].id, base + w->symbols[i].begin, err));
  }
  return MTK_OK;
}
