/* train/dataset.c: training sequences from files, all in memory as ids and loss weights.
 *
 * One pool of ids and one of weights; a sequence is a range of both. Immutable after creation. */
#include <mtk/train.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct range {
  size_t begin;
  int32_t n;
} range;

struct mtk_dataset {
  mtk_ids ids;
  float *weights;
  size_t weights_cap;
  range *seqs;
  size_t n_seqs, seqs_cap;
  int64_t truncated;
  char sha256[65];
};

/* What loading needs besides the dataset. */
typedef struct loader {
  mtk_dataset *d;
  const mtk_chat *chat;
  const mtk_tokenizer *tok;
  int64_t max_len;
  bool train_on_all;
} loader;

/* Append one sequence of ids; mask NULL = all learned. */
static mtk_status add_sequence(loader *l, const int32_t *ids, const uint8_t *mask, size_t n,
                               mtk_error *err) {
  mtk_dataset *d = l->d;
  if (n < 2) return MTK_OK;
  if ((int64_t)n > l->max_len) {
    n = (size_t)l->max_len;
    d->truncated++;
  }
  if (d->n_seqs == d->seqs_cap) {
    size_t cap = d->seqs_cap ? d->seqs_cap * 2 : 256;
    range *grown = mtk_realloc(d->seqs, d->seqs_cap, cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    d->seqs = grown;
    d->seqs_cap = cap;
  }
  size_t begin = d->ids.len;
  for (size_t i = 0; i < n; i++) MTK_TRY(mtk_ids_push(&d->ids, ids[i], err));
  if (d->weights_cap < d->ids.cap) {
    float *grown = mtk_realloc(d->weights, d->weights_cap, d->ids.cap, sizeof *grown);
    if (!grown) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
    d->weights = grown;
    d->weights_cap = d->ids.cap;
  }
  for (size_t i = 0; i < n; i++)
    d->weights[begin + i] = l->train_on_all || !mask || mask[i] ? 1.0f : 0.0f;
  d->seqs[d->n_seqs++] = (range){begin, (int32_t)n};
  return MTK_OK;
}

static mtk_status add_messages(loader *l, const char *line, size_t n, mtk_error *err) {
  if (!l->chat)
    return mtk_fail(err, MTK_E_INVALID, NULL, "chat data needs a model with a chat template");
  mtk_ids ids = {0};
  uint8_t *mask = NULL;
  mtk_status st = mtk_chat_render(NULL, &ids, &mask, l->chat, line, n, false, NULL, err);
  if (st == MTK_OK) st = add_sequence(l, ids.data, mask, ids.len, err);
  mtk_free(mask);
  mtk_ids_finish(&ids);
  return st;
}

static mtk_status add_text(loader *l, const char *prompt, const char *text, mtk_error *err) {
  mtk_ids ids = {0};
  mtk_status st = MTK_OK;
  size_t n_prompt = 0;
  if (prompt) {
    st = mtk_tokenizer_encode(&ids, l->tok, prompt, strlen(prompt), MTK_ENCODE_BOS, err);
    n_prompt = ids.len;
  }
  if (st == MTK_OK)
    st = mtk_tokenizer_encode(&ids, l->tok, text, strlen(text), prompt ? 0u : MTK_ENCODE_BOS, err);
  int32_t eos = mtk_tokenizer_eos(l->tok);
  if (st == MTK_OK && eos >= 0 && ids.len && ids.data[ids.len - 1] != eos)
    st = mtk_ids_push(&ids, eos, err);
  uint8_t *mask = st == MTK_OK ? mtk_alloc(ids.len + 1, 1) : NULL;
  if (st == MTK_OK && !mask) st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = n_prompt; st == MTK_OK && i < ids.len; i++) mask[i] = 1;
  if (st == MTK_OK) st = add_sequence(l, ids.data, mask, ids.len, err);
  mtk_free(mask);
  mtk_ids_finish(&ids);
  return st;
}

/* Tokens as given: {"ids":[..], "mask":[0 or 1, ..]} (mask optional). */
static mtk_status add_ids(loader *l, const json_t *list, const json_t *mask_list, mtk_error *err) {
  size_t n = json_array_size(list);
  mtk_ids ids = {0};
  uint8_t *mask = json_is_array(mask_list) ? mtk_alloc(n + 1, 1) : NULL;
  mtk_status st = MTK_OK;
  if (mask_list && json_array_size(mask_list) != n)
    st = mtk_fail(err, MTK_E_FORMAT, NULL, "\"mask\" must be as long as \"ids\"");
  for (size_t i = 0; i < n && st == MTK_OK; i++) {
    const json_t *item = json_array_get(list, i);
    json_int_t id = json_is_integer(item) ? json_integer_value(item) : -1;
    if (id < 0 || id > INT32_MAX)
      st = mtk_fail(err, MTK_E_FORMAT, NULL, "item %zu of \"ids\" is no token id", i);
    else
      st = mtk_ids_push(&ids, (int32_t)id, err);
    if (mask) mask[i] = json_integer_value(json_array_get(mask_list, i)) != 0;
  }
  if (st == MTK_OK) st = add_sequence(l, ids.data, mask, n, err);
  mtk_free(mask);
  mtk_ids_finish(&ids);
  return st;
}

static mtk_status add_json_line(loader *l, const char *line, size_t n, mtk_error *err) {
  json_error_t je;
  json_t *doc = json_loadb(line, n, 0, &je);
  if (!json_is_object(doc)) {
    json_decref(doc);
    return mtk_fail(err, MTK_E_FORMAT, NULL, "not a JSON object: %s",
                    doc ? "another type" : je.text);
  }
  const char *text = json_string_value(json_object_get(doc, "text"));
  const char *prompt = json_string_value(json_object_get(doc, "prompt"));
  const char *completion = json_string_value(json_object_get(doc, "completion"));
  mtk_status st;
  if (json_is_array(json_object_get(doc, "messages"))) {
    st = add_messages(l, line, n, err);
  } else if (json_is_array(json_object_get(doc, "ids"))) {
    st = add_ids(l, json_object_get(doc, "ids"), json_object_get(doc, "mask"), err);
  } else if (!l->tok) {
    st = mtk_fail(err, MTK_E_INVALID, NULL, "the model has no tokenizer that mtk can use");
  } else if (text) {
    st = add_text(l, NULL, text, err);
  } else if (prompt && completion) {
    st = add_text(l, prompt, completion, err);
  } else {
    st = mtk_fail(err, MTK_E_FORMAT, NULL,
                  "needs \"messages\", \"text\", \"ids\", or \"prompt\" and \"completion\"");
  }
  json_decref(doc);
  return st;
}

static mtk_status add_jsonl(loader *l, const mtk_file *file, mtk_error *err) {
  const char *data = (const char *)file->data;
  size_t line_no = 0;
  for (size_t at = 0; at < file->size;) {
    const char *nl = memchr(data + at, '\n', file->size - at);
    size_t n = nl ? (size_t)(nl - (data + at)) : file->size - at;
    line_no++;
    size_t blank = 0;
    while (blank < n && (data[at + blank] == ' ' || data[at + blank] == '\r')) blank++;
    mtk_status st = blank < n ? add_json_line(l, data + at, n, err) : MTK_OK;
    if (st != MTK_OK) {
      char place[64];
      snprintf(place, sizeof place, "line %zu", line_no);
      return mtk_fail_in(err, st, place);
    }
    at += n + 1;
  }
  return MTK_OK;
}

/* Windows of max_len tokens over the whole text. */
static mtk_status add_plain(loader *l, const mtk_file *file, mtk_error *err) {
  if (!l->tok)
    return mtk_fail(err, MTK_E_INVALID, NULL, "the model has no tokenizer that mtk can use");
  mtk_ids ids = {0};
  mtk_status st = mtk_tokenizer_encode(&ids, l->tok, file->data ? (const char *)file->data : "",
                                       file->size, MTK_ENCODE_BOS, err);
  for (size_t at = 0; at + 1 < ids.len && st == MTK_OK; at += (size_t)l->max_len) {
    size_t n = ids.len - at < (size_t)l->max_len ? ids.len - at : (size_t)l->max_len;
    st = add_sequence(l, ids.data + at, NULL, n, err);
  }
  mtk_ids_finish(&ids);
  return st;
}

static bool has_suffix(const char *s, const char *suffix) {
  size_t n = strlen(s), m = strlen(suffix);
  return n >= m && !strcmp(s + n - m, suffix);
}

static mtk_status add_file(loader *l, const char *path, mtk_error *err) {
  mtk_file *file = NULL;
  MTK_TRY(mtk_file_open(&file, path, err));
  bool json = has_suffix(path, ".jsonl") || has_suffix(path, ".json");
  mtk_status st = json ? add_jsonl(l, file, err) : add_plain(l, file, err);
  if (st != MTK_OK) mtk_fail_in(err, st, path);
  mtk_file_close(file);
  return st;
}

static void hash_dataset(mtk_dataset *d) {
  mtk_sha256 *h = mtk_sha256_create();
  if (!h) return;
  for (size_t i = 0; i < d->n_seqs; i++) {
    const range *r = &d->seqs[i];
    mtk_sha256_update(h, &r->n, sizeof r->n);
    mtk_sha256_update(h, d->ids.data + r->begin, (size_t)r->n * sizeof *d->ids.data);
    mtk_sha256_update(h, d->weights + r->begin, (size_t)r->n * sizeof *d->weights);
  }
  mtk_sha256_final_hex(h, d->sha256);
  mtk_sha256_destroy(h);
}

mtk_status mtk_dataset_create(mtk_dataset **out, const char *const *paths, int n_paths,
                              const mtk_chat *chat, const mtk_tokenizer *tok,
                              const mtk_dataset_options *options, mtk_error *err) {
  *out = NULL;
  mtk_dataset *d = mtk_alloc(1, sizeof *d);
  if (!d) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  loader l = {d, chat, tok, options->max_len, options->train_on_all};
  mtk_status st = MTK_OK;
  for (int i = 0; i < n_paths && st == MTK_OK; i++) st = add_file(&l, paths[i], err);
  if (st == MTK_OK && !d->n_seqs)
    st = mtk_fail(err, MTK_E_FORMAT, paths[0], "holds no training sequence");
  if (st != MTK_OK) {
    mtk_dataset_destroy(d);
    return st;
  }
  hash_dataset(d);
  *out = d;
  return MTK_OK;
}

void mtk_dataset_destroy(mtk_dataset *d) {
  if (!d) return;
  mtk_ids_finish(&d->ids);
  mtk_free(d->weights);
  mtk_free(d->seqs);
  mtk_free(d);
}

int64_t mtk_dataset_count(const mtk_dataset *d) { return (int64_t)d->n_seqs; }
int64_t mtk_dataset_tokens(const mtk_dataset *d) { return (int64_t)d->ids.len; }
int64_t mtk_dataset_truncated(const mtk_dataset *d) { return d->truncated; }
const char *mtk_dataset_sha256(const mtk_dataset *d) { return d->sha256; }

mtk_train_seq mtk_dataset_at(const mtk_dataset *d, int64_t index) {
  const range *r = &d->seqs[index];
  return (mtk_train_seq){d->ids.data + r->begin, d->weights + r->begin, r->n};
}

/* A keyed permutation of 0..n-1 without a table: a four-round Feistel network on the next even
 * power of two, walked until it falls inside (cycle walking). */
static int64_t permute(int64_t index, int64_t n, uint64_t seed, uint64_t epoch) {
  int half = 1;
  while ((1ll << (2 * half)) < n) half++;
  uint64_t mask = (1ull << half) - 1, x = (uint64_t)index;
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  do {
    uint64_t left = x >> half, right = x & mask;
    for (uint32_t round = 0; round < 4; round++) {
      const uint32_t counter[4] = {(uint32_t)right, (uint32_t)(right >> 32), (uint32_t)epoch,
                                   round};
      uint32_t r[4];
      mtk_philox(r, key, counter);
      uint64_t next = left ^ (r[0] & mask);
      left = right;
      right = next;
    }
    x = left << half | right;
  } while (x >= (uint64_t)n);
  return (int64_t)x;
}

int mtk_dataset_batch(int64_t *indices, int room, int64_t *cursor, const mtk_dataset *d,
                      int64_t batch_tokens, uint64_t seed) {
  int64_t n = mtk_dataset_count(d), tokens = 0;
  int taken = 0;
  while (taken < room) {
    int64_t index = permute(*cursor % n, n, seed, (uint64_t)(*cursor / n));
    if (taken && tokens + d->seqs[index].n > batch_tokens) break;
    tokens += d->seqs[index].n;
    indices[taken++] = index;
    ++*cursor;
  }
  return taken;
}
