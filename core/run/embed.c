/* embed.c: embeddings: the final hidden states of a text, pooled into one vector (Reimers &
 * Gurevych 2019, section 3). The engine's driving thread. */
#include <math.h>
#include <string.h>

#include "graph/exec.h"
#include "run/engine.h"

/* ---- what the model says -------------------------------------------------------------------- */

static mtk_status check_engine(const mtk_engine *e, mtk_error *err) {
  if (mtk_engine_has_embeddings(e)) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, "engine", "it gives logits, not embeddings");
}

mtk_status mtk_engine_embedding(mtk_embedding *out, const mtk_engine *e, mtk_error *err) {
  const mtk_meta *meta = mtk_model_meta(mtk_engine_model(e));
  uint64_t pooling, most;
  MTK_TRY(check_engine(e, err));
  MTK_TRY(mtk_meta_uint(&pooling, meta, "pooling_type", 0, err));
  MTK_TRY(mtk_meta_uint(&most, meta, "hf.max_seq_length", 0, err));
  if (pooling == 0) pooling = mtk_engine_is_encoder(e) ? MTK_POOLING_MEAN : MTK_POOLING_LAST;
  if (pooling > MTK_POOLING_LAST)
    return mtk_fail(err, MTK_E_UNSUPPORTED, "pooling_type", "%llu gives no embeddings",
                    (unsigned long long)pooling);
  int64_t context = mtk_engine_context(e);
  bool shorter = most > 0 && most < (uint64_t)context;
  *out = (mtk_embedding){mtk_engine_vocab(e), shorter ? (int64_t)most : context,
                         (mtk_pooling)pooling};
  return MTK_OK;
}

mtk_status mtk_embedding_ids(mtk_ids *out, const mtk_engine *e, const char *text, size_t n,
                             mtk_error *err) {
  const mtk_tokenizer *tok = mtk_engine_tokenizer(e);
  mtk_embedding info;
  MTK_TRY(mtk_engine_embedding(&info, e, err));
  if (!tok)
    return mtk_fail(err, MTK_E_NOT_FOUND, "tokenizer", "the model has none that mtk can use");
  size_t begin = out->len, most = (size_t)info.max_tokens;
  MTK_TRY(mtk_tokenizer_encode(out, tok, text, n, MTK_ENCODE_BOS, err));
  size_t have = out->len - begin;
  if (have <= most) return MTK_OK;
  const mtk_vocab *v = mtk_model_vocab(mtk_engine_model(e));
  size_t tail = v->has_template ? v->n_template_suffix : v->add_eos > 0 ? 1 : 0;
  if (tail > most) tail = 0;
  memmove(out->data + begin + most - tail, out->data + out->len - tail, tail * sizeof *out->data);
  out->len = begin + most;
  mtk_log(MTK_LOG_WARN, "a text of %zu tokens is cut to %zu, the model's limit", have, most);
  return MTK_OK;
}

/* ---- pooling -------------------------------------------------------------------------------- */

typedef struct pooler {
  mtk_pooling pooling;
  bool normalized;
  int64_t length;
  double *sum; /* [length], of the text at hand */
} pooler;

static void normalize(float *v, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; i++) squares += (double)v[i] * (double)v[i];
  double norm = sqrt(squares);
  if (!(norm > 1e-12)) norm = 1e-12;
  for (int64_t i = 0; i < n; i++) v[i] = (float)((double)v[i] / norm);
}

/* The hidden states of tokens first .. first + n - 1 of a text of n_ids. */
static void pool(const pooler *p, float *out, const float *rows, int64_t first, int64_t n,
                 int64_t n_ids) {
  int64_t d = p->length;
  bool last = first + n == n_ids;
  if (p->pooling == MTK_POOLING_MEAN) {
    for (int64_t i = 0; i < d; i++) {
      double sum = first ? p->sum[i] : 0;
      for (int64_t t = 0; t < n; t++) sum += (double)rows[t * d + i];
      p->sum[i] = sum;
      if (last) out[i] = (float)(sum / (double)n_ids);
    }
  } else if (p->pooling == MTK_POOLING_CLS ? first == 0 : last) {
    const float *row = p->pooling == MTK_POOLING_CLS ? rows : rows + (n - 1) * d;
    memcpy(out, row, (size_t)d * sizeof *out);
  }
  if (last && p->normalized) normalize(out, d);
}

/* ---- batches -------------------------------------------------------------------------------- */

/* How many texts from the first on are computed together: whole ones, or one alone in parts. */
static int group_of(const mtk_engine *e, const int64_t *n_ids, int n_texts) {
  int64_t room = mtk_engine_max_batch(e), pages = mtk_engine_kv_free(e) / MTK_KV_PAGE;
  int n = 0;
  while (n < n_texts && n < mtk_engine_max_seqs(e)) {
    room -= n_ids[n];
    pages -= mtk_kv_pages_for(n_ids[n]);
    if (room < 0 || pages < 0) break;
    n++;
  }
  return n ? n : 1;
}

/* Feed each text's next part, and pool what comes out. */
static mtk_status run_part(float *out, mtk_engine *e, mtk_batch_item *items, const int64_t *n_ids,
                           int n, int64_t first, const pooler *p, mtk_error *err) {
  const float *rows;
  int64_t n_rows;
  MTK_TRY(mtk_engine_forward(&rows, &n_rows, e, items, n, err));
  for (int i = 0; i < n; i++) {
    pool(p, out + i * p->length, rows, first, items[i].n_ids, n_ids[i]);
    rows += items[i].n_ids * p->length;
  }
  return MTK_OK;
}

static mtk_status run_group(float *out, mtk_engine *e, mtk_batch_item *items, const int32_t *ids,
                            const int64_t *n_ids, int n, const pooler *p, mtk_error *err) {
  int opened = 0;
  mtk_status status = MTK_OK;
  int64_t most = mtk_engine_max_batch(e);
  for (int i = 0; i < n && status == MTK_OK; i++) {
    int64_t part = n_ids[i] < most ? n_ids[i] : most;
    items[i] = (mtk_batch_item){.ids = ids, .n_ids = (int32_t)part, .logits = MTK_LOGITS_ALL};
    status = mtk_engine_seq_open(&items[i].seq, e, err);
    if (status == MTK_OK) opened++;
    ids += n_ids[i];
  }
  if (status == MTK_OK) status = run_part(out, e, items, n_ids, n, 0, p, err);
  for (int64_t at = most; n == 1 && at < n_ids[0] && status == MTK_OK; at += most) {
    items[0].ids += items[0].n_ids;
    items[0].n_ids = (int32_t)(n_ids[0] - at < most ? n_ids[0] - at : most);
    status = run_part(out, e, items, n_ids, 1, at, p, err);
  }
  for (int i = 0; i < opened; i++) mtk_engine_seq_close(e, items[i].seq);
  return status;
}

static mtk_status check_lengths(const mtk_engine *e, const int64_t *n_ids, int n, mtk_error *err) {
  for (int i = 0; i < n; i++)
    if (n_ids[i] <= 0 || n_ids[i] > mtk_engine_context(e))
      return mtk_fail(err, n_ids[i] <= 0 ? MTK_E_INVALID : MTK_E_LIMIT, "embeddings",
                      "text %d has %lld tokens; 1 to %lld are possible", i, (long long)n_ids[i],
                      (long long)mtk_engine_context(e));
  return MTK_OK;
}

mtk_status mtk_engine_embed(float *out, mtk_engine *e, const int32_t *ids, const int64_t *n_ids,
                            int n_texts, mtk_pooling pooling, bool normalized, mtk_error *err) {
  MTK_TRY(check_engine(e, err));
  MTK_TRY(check_lengths(e, n_ids, n_texts, err));
  pooler p = {pooling, normalized, mtk_engine_vocab(e), NULL};
  p.sum = mtk_alloc((size_t)p.length, sizeof *p.sum);
  mtk_batch_item *items = mtk_alloc((size_t)mtk_engine_max_seqs(e), sizeof *items);
  mtk_status status = MTK_OK;
  if (!p.sum || !items) status = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for embeddings");
  for (int at = 0, n; at < n_texts && status == MTK_OK; at += n) {
    n = group_of(e, n_ids + at, n_texts - at);
    status = run_group(out + at * p.length, e, items, ids, n_ids + at, n, &p, err);
    for (int i = 0; i < n; i++) ids += n_ids[at + i];
  }
  mtk_free(items);
  mtk_free(p.sum);
  return status;
}
