/* engine.c: an engine: packed weights, one graph per adapter over them, a paged KV cache, and the
 * chunking of ragged batches into steps.
 *
 * Owns everything but the model and the pool. All graphs share one workspace. One thread drives. */
#include "run/engine.h"

#include <mtk/limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/internal.h"
#include "graph/exec.h"
#include "run/kv.h"
#include "run/profile.h"

typedef struct sequence {
  bool open;
  int64_t length; /* positions stored */
  mtk_kv_seq kv;
} sequence;

/* A graph with its weights and executor: index 0 is the base model, the others are adapters. */
typedef struct network {
  mtk_graph *graph;
  mtk_weights *store; /* of an adapter: its pairs */
  mtk_weight **bound;
  mtk_exec *exec;
} network;

struct mtk_engine {
  const mtk_model *model;
  mtk_build_fn *build; /* NULL = the architecture's */
  mtk_engine_options o;
  mtk_kernels kernels;
  mtk_tokenizer *tokenizer;
  network *networks;
  int n_networks;
  mtk_workspace workspace;
  mtk_kv_cache kv;
  sequence *seqs;
  int64_t id_count, vocab; /* vocab: width of the result */
  bool whole;              /* a sequence is computed in one step */
  /* The step being built; all sized at creation. */
  int32_t *ids;
  int64_t *output_rows;
  mtk_step_seq *step_seqs;
  float *logits; /* grows up to max_batch rows */
  int64_t logits_rows;
  mtk_bytes description;
  mtk_profile profile;
};

/* ---- creation ------------------------------------------------------------------------------- */

static void finish_network(network *n) {
  mtk_exec_destroy(n->exec);
  mtk_free((void *)n->bound);
  mtk_weights_destroy(n->store);
  mtk_graph_destroy(n->graph);
}

void mtk_engine_destroy(mtk_engine *e) {
  if (!e) return;
  for (int i = e->n_networks; i-- > 0;) finish_network(&e->networks[i]);
  mtk_free(e->networks);
  mtk_workspace_finish(&e->workspace);
  mtk_kv_cache_finish(&e->kv);
  for (int i = 0; e->seqs && i < e->o.max_seqs; i++) mtk_kv_seq_finish(&e->seqs[i].kv);
  mtk_free(e->seqs);
  mtk_free(e->ids);
  mtk_free(e->output_rows);
  mtk_free(e->step_seqs);
  mtk_free(e->logits);
  mtk_bytes_finish(&e->description);
  mtk_tokenizer_destroy(e->tokenizer);
  mtk_free(e);
}

/* Defaults filled in, ranges checked. */
static mtk_status read_options(mtk_engine *e, const mtk_engine_options *o, mtk_error *err) {
  size_t size = o->struct_size < sizeof e->o ? o->struct_size : sizeof e->o;
  e->o.arith = e->o.isa = -1;
  memcpy(&e->o, o, size);
  uint64_t trained = 0;
  MTK_TRY(mtk_meta_uint(&trained, mtk_model_meta(e->model), "context_length", 0, err));
  bool known = trained > 0 && trained < INT32_MAX;
  if (e->o.context <= 0) e->o.context = known ? (int64_t)trained : 2048;
  if (e->o.max_seqs <= 0) e->o.max_seqs = 1;
  if (e->o.max_batch <= 0) e->o.max_batch = 512;
  if (e->o.max_batch < e->o.max_seqs) e->o.max_batch = e->o.max_seqs;
  if (e->o.context >= INT32_MAX || e->o.arith >= MTK_ARITH_COUNT || e->o.isa >= MTK_ISA_COUNT)
    return mtk_fail(err, MTK_E_INVALID, "engine", "context, arithmetic or level is out of range");
  if (mtk_kv_page_bytes(e->o.kv_type, 1) == 0)
    return mtk_fail(err, MTK_E_INVALID, "engine", "a KV cache cannot have type %d",
                    (int)e->o.kv_type);
  if (trained > 0 && e->o.context > (int64_t)trained)
    mtk_log(MTK_LOG_WARN, "context %lld is longer than the %llu positions the model was trained on",
            (long long)e->o.context, (unsigned long long)trained);
  return MTK_OK;
}

static mtk_status alloc_buffers(mtk_engine *e, mtk_error *err) {
  int64_t whole_pages = mtk_kv_pages_for(e->o.context) * MTK_KV_PAGE;
  const mtk_kv_sizes sizes = {
      .context = e->o.context, .max_seqs = e->o.max_seqs, .max_batch = e->o.max_batch,
      .positions = e->o.kv_tokens > 0 ? e->o.kv_tokens : whole_pages * e->o.max_seqs,
      .type = e->o.kv_type};
  MTK_TRY(mtk_kv_cache_init(&e->kv, e->networks[0].graph, &sizes, err));
  e->seqs = mtk_alloc((size_t)e->o.max_seqs, sizeof *e->seqs);
  e->ids = mtk_alloc((size_t)e->o.max_batch, sizeof *e->ids);
  e->output_rows = mtk_alloc((size_t)e->o.max_batch, sizeof *e->output_rows);
  e->step_seqs = mtk_alloc((size_t)e->o.max_seqs, sizeof *e->step_seqs);
  if (!e->seqs || !e->ids || !e->output_rows || !e->step_seqs)
    return mtk_fail(err, MTK_E_NOMEM, "engine", "out of memory for an engine");
  for (int i = 0; i < e->o.max_seqs; i++) MTK_TRY(mtk_kv_seq_init(&e->seqs[i].kv, &e->kv, err));
  return MTK_OK;
}

/* An observed executor computes node by node, so there is none unless asked for. */
static void set_observer(mtk_engine *e, const network *n) {
  mtk_exec_set_observer(n->exec, e->profile.on ? mtk_profile_observe : NULL, &e->profile);
}

static mtk_status finish_building(mtk_engine *e, network *n, mtk_error *err) {
  MTK_TRY(mtk_weights_load(n->store, n->graph, e->model, err));
  MTK_TRY(mtk_weights_bind(&n->bound, n->store, n->graph, err));
  mtk_exec_options o = {.graph = n->graph, .weights = n->bound, .kernels = &e->kernels,
                        .pool = e->o.pool, .workspace = &e->workspace,
                        .max_tokens = e->o.max_batch, .max_outputs = e->o.max_batch,
                        .logits_outside = true};
  MTK_TRY(mtk_exec_create(&n->exec, &o, err));
  set_observer(e, n);
  return MTK_OK;
}

static mtk_weights_options weights_options(const mtk_engine *e) {
  return (mtk_weights_options){&e->kernels, e->o.pool, e->o.arith};
}

/* Embeddings need no head, but usually all rows. */
static mtk_status fit_graph(const mtk_engine *e, mtk_graph *g, mtk_error *err) {
  MTK_TRY(e->o.embeddings ? mtk_graph_cut_head(g, err) : mtk_graph_select_early(g, err));
  mtk_graph_group_linears(g);
  return MTK_OK;
}

static mtk_status build_base(mtk_engine *e, mtk_build_fn *build, mtk_error *err) {
  network *n = &e->networks[0];
  e->n_networks = 1;
  mtk_weights_options o = weights_options(e);
  MTK_TRY(mtk_model_build_graph(&n->graph, e->model, build, NULL, err));
  e->whole = mtk_graph_is_bidirectional(n->graph); /* encoders see a whole sequence at once */
  if (e->whole && e->o.max_batch < e->o.context) e->o.max_batch = (int)e->o.context;
  if (n->graph->logits < 0) e->o.embeddings = true;
  MTK_TRY(fit_graph(e, n->graph, err));
  MTK_TRY(mtk_weights_create(&n->store, NULL, &o, err));
  MTK_TRY(finish_building(e, n, err));
  e->vocab = n->graph->values[n->graph->logits].width;
  e->id_count = e->vocab;
  for (size_t i = 0; i < n->graph->n_nodes; i++) {
    const mtk_graph_node *node = &n->graph->nodes[i];
    if (node->op == MTK_OP_EMBED && node->attrs.lookup == MTK_LOOKUP_ID)
      e->id_count = n->bound[node->weight]->n;
  }
  return MTK_OK;
}

/* Types that an arithmetic has no kernels for are decoded when they are loaded. */
static void warn_of_size(const mtk_engine *e, const mtk_weight *w, const char *arith) {
  double stored = (double)w->n * (double)mtk_dtype_bytes(w->kernel->type, (uint64_t)w->k);
  double times = (double)w->kernel->packed_bytes(w->n, w->k) / stored;
  if (e->o.arith >= 0 && times > 1.9)
    mtk_log(MTK_LOG_WARN, "%s weights are decoded for %s and take %.1f times their size in memory",
            mtk_dtype_get(w->kernel->type)->name, arith, times);
}

/* "avx512 (AVX-512 ...); 2 threads; q8_0 weights in a8; KV cache in f32". */
static mtk_status describe(mtk_engine *e, const char *why, mtk_error *err) {
  static const char *const arith_names[MTK_ARITH_COUNT] = {"a32", "a16", "a8"};
  bool seen[MTK_DTYPE_COUNT] = {false};
  mtk_bytes_printf(&e->description, "%s (%s); ", e->kernels.isa_name, why);
  const size_t level = e->description.len; /* was logged when it was chosen */
  mtk_bytes_printf(&e->description, "%d threads", mtk_pool_size(e->o.pool));
  const mtk_weights *store = e->networks[0].store;
  for (size_t i = 0; i < mtk_weights_count(store); i++) {
    const mtk_weight *w = mtk_weights_at(store, i);
    const mtk_linear_kernel *k = w->kernel;
    if (!k || seen[k->type]) continue;
    seen[k->type] = true;
    warn_of_size(e, w, arith_names[k->arith]);
    mtk_bytes_printf(&e->description, "; %s weights in %s", mtk_dtype_get(k->type)->name,
                     arith_names[k->arith]);
  }
  mtk_bytes_printf(&e->description, "; KV cache in %s", mtk_dtype_get(e->o.kv_type)->name);
  if (e->kv.ring > 0)
    mtk_bytes_printf(&e->description, ", of %d layers with windows the last %lld positions",
                     e->kv.n_in_ring, (long long)(e->kv.ring * MTK_KV_PAGE));
  MTK_TRY(mtk_bytes_status(&e->description, err));
  mtk_log(MTK_LOG_INFO, "engine: %s", e->description.data + level);
  return MTK_OK;
}

/* The tokenizer, made by a thread of its own while the weights are packed. */
typedef struct tokenizer_job {
  mtk_engine *e;
  pthread_t thread;
  bool running;
} tokenizer_job;

static void *make_tokenizer(void *arg) {
  mtk_engine *e = ((tokenizer_job *)arg)->e;
  const mtk_vocab *vocab = mtk_model_vocab(e->model);
  mtk_error error;
  if (vocab && vocab->kind != MTK_VOCAB_NONE &&
      mtk_tokenizer_create(&e->tokenizer, vocab, &error) != MTK_OK) {
    e->tokenizer = NULL;
    mtk_log(MTK_LOG_WARN, "the model's tokenizer cannot be used: %s: %s", error.place,
            error.message);
  }
  return NULL;
}

/* At once where there is one thread, or no other to be had. */
static void begin_tokenizer(tokenizer_job *j) {
  j->running = mtk_pool_size(j->e->o.pool) > 1 &&
               mtk_thread_start(&j->thread, make_tokenizer, j) == 0;
  if (!j->running) make_tokenizer(j);
}

static void await_tokenizer(const tokenizer_job *j) {
  if (j->running) pthread_join(j->thread, NULL);
}

static mtk_status fill_engine(mtk_engine *e, mtk_build_fn *build,
                              const mtk_engine_options *options, mtk_error *err) {
  const char *why;
  MTK_TRY(read_options(e, options, err));
  MTK_TRY(mtk_kernels_choose(&e->kernels, &why, e->o.isa, err));
  e->networks = mtk_alloc(1, sizeof *e->networks);
  if (!e->networks) return mtk_fail(err, MTK_E_NOMEM, "engine", "out of memory for an engine");
  tokenizer_job tokenizer = {.e = e};
  begin_tokenizer(&tokenizer);
  mtk_status status = build_base(e, build, err);
  await_tokenizer(&tokenizer);
  MTK_TRY(status);
  MTK_TRY(alloc_buffers(e, err));
  return describe(e, why, err);
}

mtk_status mtk_engine_create_built(mtk_engine **out, const mtk_model *model, mtk_build_fn *build,
                                   const mtk_engine_options *options, mtk_error *err) {
  *out = NULL;
  mtk_engine *e = mtk_alloc(1, sizeof *e);
  if (!e) return mtk_fail(err, MTK_E_NOMEM, "engine", "out of memory for an engine");
  e->model = model;
  e->build = build;
  mtk_status status = fill_engine(e, build, options, err);
  if (status == MTK_OK)
    *out = e;
  else
    mtk_engine_destroy(e);
  return status;
}

mtk_status mtk_engine_create(mtk_engine **out, const mtk_model *model,
                             const mtk_engine_options *options, mtk_error *err) {
  return mtk_engine_create_built(out, model, NULL, options, err);
}

/* ---- adapters ------------------------------------------------------------------------------- */

static bool find_pair(void *ctx, const char *target, int64_t *rank, float *scale) {
  const mtk_lora_pair *pair = mtk_adapter_find(ctx, target);
  if (!pair) return false;
  *rank = pair->rank;
  *scale = pair->scale;
  return true;
}

/* Copy the pairs into the network's store, with the shapes the base weights give them. */
static mtk_status add_pairs(network *n, const mtk_weights *base, const mtk_adapter *adapter,
                            mtk_error *err) {
  for (size_t i = 0; i < adapter->n_pairs; i++) {
    const mtk_lora_pair *p = &adapter->pairs[i];
    const mtk_weight *w = mtk_weights_find(base, p->target);
    if (!w || !(w->use & MTK_USE_LINEAR))
      return mtk_fail(err, MTK_E_FORMAT, p->target,
                      "the adapter changes a tensor that is no linear layer of this model");
    char name[320];
    snprintf(name, sizeof name, "%s.lora_a", p->target);
    MTK_TRY(mtk_weights_add_matrix(NULL, n->store, name, p->rank, w->k, p->a, false, err));
    snprintf(name, sizeof name, "%s.lora_b", p->target);
    MTK_TRY(mtk_weights_add_matrix(NULL, n->store, name, w->n, p->rank, p->b, false, err));
  }
  return MTK_OK;
}

mtk_status mtk_engine_add_adapter(int *id, mtk_engine *e, const mtk_adapter *adapter,
                                  mtk_error *err) {
  *id = 0;
  if (adapter->n_whole || mtk_adapter_find(adapter, "token_embd.weight"))
    return mtk_fail(err, MTK_E_UNSUPPORTED,
                    adapter->n_whole ? adapter->whole[0].target : "token_embd.weight",
                    "the adapter changes more than linear layers: merge it into the model");
  network *grown = mtk_realloc(e->networks, (size_t)e->n_networks, (size_t)e->n_networks + 1,
                               sizeof *grown);
  if (!grown) return mtk_fail(err, MTK_E_NOMEM, adapter->name, "out of memory for an adapter");
  e->networks = grown;
  network n = {0};
  mtk_adapter_spec spec = {find_pair, (void *)(uintptr_t)adapter};
  mtk_weights_options o = weights_options(e);
  mtk_status status;
  MTK_TRY_GOTO(status, fail, mtk_model_build_graph(&n.graph, e->model, e->build, &spec, err));
  MTK_TRY_GOTO(status, fail, fit_graph(e, n.graph, err));
  MTK_TRY_GOTO(status, fail, mtk_weights_create(&n.store, e->networks[0].store, &o, err));
  MTK_TRY_GOTO(status, fail, add_pairs(&n, e->networks[0].store, adapter, err));
  MTK_TRY_GOTO(status, fail, finish_building(e, &n, err));
  *id = e->n_networks;
  e->networks[e->n_networks++] = n;
  return MTK_OK;
fail:
  finish_network(&n);
  return status;
}

bool mtk_engine_has_adapter(const mtk_engine *e, int id) { return id >= 0 && id < e->n_networks; }

/* ---- questions ------------------------------------------------------------------------------ */

const mtk_model *mtk_engine_model(const mtk_engine *e) { return e->model; }
const mtk_tokenizer *mtk_engine_tokenizer(const mtk_engine *e) { return e->tokenizer; }
int64_t mtk_engine_vocab(const mtk_engine *e) { return e->vocab; }
int64_t mtk_engine_id_count(const mtk_engine *e) { return e->id_count; }
bool mtk_engine_is_encoder(const mtk_engine *e) { return e->whole; }
bool mtk_engine_has_embeddings(const mtk_engine *e) { return e->o.embeddings; }
int64_t mtk_engine_context(const mtk_engine *e) { return e->o.context; }
int mtk_engine_max_seqs(const mtk_engine *e) { return e->o.max_seqs; }
int mtk_engine_max_batch(const mtk_engine *e) { return e->o.max_batch; }
int64_t mtk_engine_kv_pages(const mtk_engine *e) { return e->kv.pool.n_pages; }
const char *mtk_engine_isa(const mtk_engine *e) { return e->kernels.isa_name; }
const char *mtk_engine_description(const mtk_engine *e) { return e->description.data; }
const mtk_kernels *mtk_engine_kernels(const mtk_engine *e) { return &e->kernels; }
mtk_pool *mtk_engine_pool(const mtk_engine *e) { return e->o.pool; }

uint64_t mtk_engine_weight_bytes(const mtk_engine *e) {
  uint64_t sum = 0;
  const mtk_weights *store = e->networks[0].store;
  for (size_t i = 0; i < mtk_weights_count(store); i++)
    sum += mtk_weights_at(store, i)->packed_bytes;
  return sum;
}

void mtk_engine_profile(mtk_engine *e, bool on) {
  mtk_profile_start(&e->profile, on);
  for (int i = 0; i < e->n_networks; i++) set_observer(e, &e->networks[i]);
}

const mtk_op_stats *mtk_engine_op_stats(size_t *n, const mtk_engine *e) {
  *n = e->profile.n_rows;
  return e->profile.rows;
}

mtk_status mtk_model_print_graph(mtk_bytes *out, const mtk_model *model, mtk_error *err) {
  mtk_graph *g;
  MTK_TRY(mtk_model_build_graph(&g, model, NULL, NULL, err));
  mtk_graph_print(out, g);
  mtk_graph_destroy(g);
  return mtk_bytes_status(out, err);
}

/* ---- sequences ------------------------------------------------------------------------------ */

mtk_status mtk_engine_seq_open(int *seq, mtk_engine *e, mtk_error *err) {
  for (int i = 0; i < e->o.max_seqs; i++) {
    if (e->seqs[i].open) continue;
    e->seqs[i].open = true;
    *seq = i;
    return MTK_OK;
  }
  return mtk_fail(err, MTK_E_LIMIT, "engine", "all %d sequences are in use", e->o.max_seqs);
}

static bool is_open(const mtk_engine *e, int seq) {
  return seq >= 0 && seq < e->o.max_seqs && e->seqs[seq].open;
}

void mtk_engine_seq_truncate(mtk_engine *e, int seq, int64_t length) {
  if (!is_open(e, seq)) return;
  sequence *s = &e->seqs[seq];
  if (length < 0) length = 0;
  s->length = mtk_kv_seq_cut(&s->kv, &e->kv, length < s->length ? length : s->length);
}

void mtk_engine_seq_close(mtk_engine *e, int seq) {
  mtk_engine_seq_truncate(e, seq, 0);
  if (is_open(e, seq)) e->seqs[seq].open = false;
}

int64_t mtk_engine_seq_length(const mtk_engine *e, int seq) {
  return is_open(e, seq) ? e->seqs[seq].length : 0;
}

int64_t mtk_engine_kv_free(const mtk_engine *e) {
  return (int64_t)e->kv.pool.n_unused * MTK_KV_PAGE;
}

/* ---- forward -------------------------------------------------------------------------------- */

static mtk_status check_item(const mtk_engine *e, const mtk_batch_item *items, int i,
                             mtk_error *err) {
  const mtk_batch_item *it = &items[i];
  if (!is_open(e, it->seq) || !mtk_engine_has_adapter(e, it->adapter) || it->n_ids <= 0)
    return mtk_fail(err, MTK_E_INVALID, "batch",
                    "item %d names no open sequence, no known adapter, or has no ids", i);
  for (int j = 0; j < i; j++)
    if (items[j].seq == it->seq)
      return mtk_fail(err, MTK_E_INVALID, "batch", "sequence %d appears twice", it->seq);
  for (int32_t j = 0; j < it->n_ids; j++)
    if (it->ids[j] < 0 || it->ids[j] >= e->id_count)
      return mtk_fail(err, MTK_E_INVALID, "batch", "id %d at %d is outside the vocabulary of %lld",
                      it->ids[j], j, (long long)e->id_count);
  int64_t length = e->seqs[it->seq].length;
  if (e->whole && length > 0)
    return mtk_fail(err, MTK_E_INVALID, "batch", "an encoder's sequence %d cannot grow", it->seq);
  if (length + it->n_ids > e->o.context)
    return mtk_fail(err, MTK_E_LIMIT, "context", "%lld positions are more than the context of %lld",
                    (long long)(length + it->n_ids), (long long)e->o.context);
  return MTK_OK;
}

static int64_t rows_of_item(const mtk_batch_item *it) {
  return it->logits == MTK_LOGITS_ALL ? it->n_ids : it->logits == MTK_LOGITS_LAST ? 1 : 0;
}

/* Check everything, make room for the logits, and take the pages. */
static mtk_status admit(int64_t *n_rows, mtk_engine *e, const mtk_batch_item *items, int n_items,
                        mtk_error *err) {
  int64_t pages = 0, rows = 0;
  if (n_items <= 0 || n_items > e->o.max_seqs)
    return mtk_fail(err, MTK_E_INVALID, "batch", "a batch has 1 to %d items", e->o.max_seqs);
  for (int i = 0; i < n_items; i++) {
    MTK_TRY(check_item(e, items, i, err));
    const sequence *s = &e->seqs[items[i].seq];
    pages += mtk_kv_pages_for(s->length + items[i].n_ids) - s->kv.n_pages;
    rows += rows_of_item(&items[i]);
  }
  if (rows > e->o.max_batch)
    return mtk_fail(err, MTK_E_INVALID, "batch", "%lld rows of logits are more than max_batch, %d",
                    (long long)rows, e->o.max_batch);
  if (pages > e->kv.pool.n_unused)
    return mtk_fail(err, MTK_E_LIMIT, "kv", "the KV cache is full: %lld pages wanted, %d free",
                    (long long)pages, (int)e->kv.pool.n_unused);
  if (rows > e->logits_rows) {
    mtk_free(e->logits);
    e->logits_rows = 0;
    e->logits = mtk_alloc((size_t)rows * (size_t)e->vocab, sizeof *e->logits);
    if (!e->logits) return mtk_fail(err, MTK_E_NOMEM, "engine", "out of memory for logits");
    e->logits_rows = rows;
  }
  for (int i = 0; i < n_items; i++) {
    sequence *s = &e->seqs[items[i].seq];
    MTK_TRY(mtk_kv_seq_grow(&s->kv, &e->kv, s->length + items[i].n_ids, err));
  }
  *n_rows = rows;
  return MTK_OK;
}

/* Where the next step goes on in the items. */
typedef struct cursor {
  int item;
  int32_t offset; /* ids of the item already computed */
} cursor;

/* Fill one step with ids of items of one adapter, up to max_batch. */
static mtk_exec_step build_step(mtk_engine *e, cursor *c, const mtk_batch_item *items,
                                int n_items) {
  mtk_exec_step step = {.ids = e->ids, .seqs = e->step_seqs, .output_rows = e->output_rows,
                   .kv_layers = e->kv.layers, .kv_pages = e->kv.pool.pages,
                   .ring_pages = e->kv.ring_pool.pages, .kv_ring = e->kv.ring,
                   .kv_type = e->o.kv_type};
  int adapter = items[c->item].adapter;
  while (c->item < n_items && items[c->item].adapter == adapter &&
         step.n_tokens < e->o.max_batch) {
    const mtk_batch_item *it = &items[c->item];
    const sequence *s = &e->seqs[it->seq];
    int64_t n = it->n_ids - c->offset, room = e->o.max_batch - step.n_tokens;
    if (n > room && e->whole) break; /* fits into the next step: max_batch >= context */
    if (n > room) n = room;
    memcpy(e->ids + step.n_tokens, it->ids + c->offset, (size_t)n * sizeof *e->ids);
    e->step_seqs[step.n_seqs++] =
        (mtk_step_seq){step.n_tokens, n, s->length + c->offset, s->kv.pages, s->kv.ring};
    for (int64_t t = 0; t < n; t++) {
      bool last = c->offset + t == it->n_ids - 1;
      if (it->logits == MTK_LOGITS_ALL || (it->logits == MTK_LOGITS_LAST && last))
        e->output_rows[step.n_outputs++] = step.n_tokens + t;
    }
    step.n_tokens += n;
    c->offset += (int32_t)n;
    if (c->offset < it->n_ids) break;
    *c = (cursor){c->item + 1, 0};
  }
  return step;
}

mtk_status mtk_engine_forward(const float **logits, int64_t *n_rows, mtk_engine *e,
                              const mtk_batch_item *items, int n_items, mtk_error *err) {
  *n_rows = 0;
  mtk_status status = admit(n_rows, e, items, n_items, err);
  cursor c = {0, 0};
  int64_t row = 0;
  while (status == MTK_OK && c.item < n_items) {
    int adapter = items[c.item].adapter;
    mtk_exec_step step = build_step(e, &c, items, n_items);
    step.logits = e->logits ? e->logits + row * e->vocab : NULL;
    const network *n = &e->networks[adapter];
    mtk_profile_begin(&e->profile, &step);
    status = mtk_exec_run(n->exec, &step, true, err);
    mtk_profile_end(&e->profile);
    row += step.n_outputs;
  }
  for (int i = 0; i < n_items && i < e->o.max_seqs; i++) {
    if (!is_open(e, items[i].seq)) continue;
    sequence *s = &e->seqs[items[i].seq];
    if (status == MTK_OK)
      s->length += items[i].n_ids;
    else
      mtk_engine_seq_truncate(e, items[i].seq, s->length); /* give back the new pages */
  }
  *logits = e->logits;
  return status;
}
