/* mtk/engine.h: run a model: KV cache, ragged batches, sampling, continuous batching.
 *
 * An engine holds packed weights, graphs and a paged KV cache; one thread drives it. Results depend
 * on the model, the ids and the arithmetic alone: not on threads, chunking, batch mates or ISA
 * level. A scheduler sits on an engine: any thread may submit and cancel, one thread steps. */
#ifndef MTK_ENGINE_H
#define MTK_ENGINE_H

#include <mtk/chat.h>
#include <mtk/kernel.h>
#include <mtk/model.h>
#include <mtk/option.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtk_engine mtk_engine;

typedef struct mtk_engine_options {
  size_t struct_size;
  mtk_pool *pool;    /* borrowed; NULL = single thread */
  int64_t context;   /* positions per sequence; 0 = the model's context_length */
  int max_seqs;      /* concurrent sequences; 0 = 1 */
  int64_t kv_tokens; /* positions in the cache for all sequences; 0 = context * max_seqs */
  int max_batch;     /* tokens computed at once (larger inputs are chunked); 0 = 512 */
  /* -1 = each storage type's default, else mtk_arith for all linear layers */
  int arith;
  int isa; /* -1 = MTK_CPU or the best, else mtk_isa */
  bool embeddings; /* hidden states instead of logits; an encoder gives nothing else */
  mtk_dtype kv_type; /* storage type of the KV cache (mtk_kv_page_bytes); 0 = f32 */
} mtk_engine_options;

/* model is borrowed and must outlive the engine. Packs all weights (parallel, with progress). */
mtk_status mtk_engine_create(mtk_engine **out, const mtk_model *model,
                             const mtk_engine_options *options, mtk_error *err);
void mtk_engine_destroy(mtk_engine *engine);
const mtk_model *mtk_engine_model(const mtk_engine *engine);
/* NULL if the model has none */
const mtk_tokenizer *mtk_engine_tokenizer(const mtk_engine *engine);
int64_t mtk_engine_vocab(const mtk_engine *engine);   /* logits per row */
int64_t mtk_engine_context(const mtk_engine *engine); /* positions per sequence */
const char *mtk_engine_isa(const mtk_engine *engine);
/* One line: level, arithmetic per storage type, threads, and why. Borrowed. */
const char *mtk_engine_description(const mtk_engine *engine);
uint64_t mtk_engine_weight_bytes(const mtk_engine *engine); /* packed weights read per token */

/* Make an adapter usable; *id > 0 names it in batches (0 = base model). Must be fitted to the model
 * (mtk_adapter_fit); copied. */
mtk_status mtk_engine_add_adapter(int *id, mtk_engine *engine, const mtk_adapter *adapter,
                                  mtk_error *err);

/* Sequences own KV pages. */
mtk_status mtk_engine_seq_open(int *seq, mtk_engine *engine, mtk_error *err);
void mtk_engine_seq_close(mtk_engine *engine, int seq);
int64_t mtk_engine_seq_length(const mtk_engine *engine, int seq); /* positions stored */
/* Forget positions >= length. Layers with a sliding window may keep only what it and one step of
 * max_batch tokens need: a sequence that is cut back further is empty afterwards (its length says
 * so), and whoever wants the first positions feeds them again. */
void mtk_engine_seq_truncate(mtk_engine *engine, int seq, int64_t length);
int64_t mtk_engine_kv_free(const mtk_engine *engine); /* positions still unreserved, whole pages */

/* Which rows of an item give logits. */
typedef enum mtk_logits_mode { MTK_LOGITS_NONE, MTK_LOGITS_LAST, MTK_LOGITS_ALL } mtk_logits_mode;
typedef struct mtk_batch_item {
  int seq;
  int adapter; /* 0 = none */
  const int32_t *ids;
  int32_t n_ids;
  mtk_logits_mode logits;
} mtk_batch_item;
/* Feed ids to their sequences (each appears at most once) and compute logits. *logits: rows of
 * vocab floats in item order, valid until the next call; *n_rows their number. Logits of at most
 * max_batch rows per call are kept: with MTK_LOGITS_ALL feed at most max_batch ids per call. On
 * failure no sequence has changed length, but those that were fed more than max_batch ids may be
 * empty where layers have windows. MTK_E_LIMIT: context or cache exhausted. */
mtk_status mtk_engine_forward(const float **logits, int64_t *n_rows, mtk_engine *engine,
                              const mtk_batch_item *items, int n_items, mtk_error *err);
const mtk_kernels *mtk_engine_kernels(const mtk_engine *engine);

/* What the ops of one kind did since counting began. */
typedef struct mtk_op_stats {
  const char *op;  /* "linear", "attention", ... static */
  mtk_dtype type;  /* of the weight of a linear layer, else MTK_DTYPE_COUNT */
  mtk_arith arith; /* of a linear layer; everything else is f32 */
  int64_t n, k;    /* its weight's shape, 0 otherwise; n: rows of all experts */
  uint64_t calls;
  double seconds;
  double ops;   /* multiplications and additions */
  double bytes; /* packed weights, KV cache and values, each counted once per call */
} mtk_op_stats;
/* Count what the ops of the following steps do (on; they then run strictly one after the other), or
 * stop; earlier counts are forgotten. */
void mtk_engine_profile(mtk_engine *engine, bool on);
/* One row per op and, of linear layers, weight shape, type and arithmetic, in the order in which
 * they first ran. Borrowed until the next call. */
const mtk_op_stats *mtk_engine_op_stats(size_t *n, const mtk_engine *engine);

/* ---- embeddings ------------------------------------------------------------------------------ */

/* How the hidden states of a text become one vector; the numbers are GGUF's pooling_type. */
typedef enum mtk_pooling {
  MTK_POOLING_MEAN = 1, /* over all tokens */
  MTK_POOLING_CLS = 2,  /* the first token's */
  MTK_POOLING_LAST = 3
} mtk_pooling;

/* What the model says about embeddings. */
typedef struct mtk_embedding {
  int64_t length;     /* floats of a vector */
  int64_t max_tokens; /* of a text (sentence-transformers' max_seq_length, else the context) */
  mtk_pooling pooling; /* MEAN of encoders, LAST of decoders where the model says nothing */
} mtk_embedding;
/* MTK_E_UNSUPPORTED if the engine gives logits (options.embeddings). */
mtk_status mtk_engine_embedding(mtk_embedding *out, const mtk_engine *engine, mtk_error *err);
/* The ids of a text as the model wants them, appended; one that is longer than max_tokens is cut,
 * its closing special tokens kept, with a warning. */
mtk_status mtk_embedding_ids(mtk_ids *out, const mtk_engine *engine, const char *text, size_t n,
                             mtk_error *err);
/* out [n_texts, length]: the vectors of texts whose ids lie one after the other; normalized:
 * divided by their Euclidean norm. Sums in double over tokens ascending, so a vector depends on its
 * own ids alone. MTK_E_LIMIT: a text is longer than the context. The engine's driving thread. */
mtk_status mtk_engine_embed(float *out, mtk_engine *engine, const int32_t *ids,
                            const int64_t *n_ids, int n_texts, mtk_pooling pooling, bool normalized,
                            mtk_error *err);

/* The forward graph of a model as text: one line per op with shapes, FLOPs and bytes per token, and
 * the totals (mtk inspect --graph). Appends to out. */
mtk_status mtk_model_print_graph(mtk_bytes *out, const mtk_model *model, mtk_error *err);

/* ---- sampling -------------------------------------------------------------------------------- */

typedef struct mtk_sampling {
  float temperature;        /* 0 = greedy */
  int32_t top_k;            /* 0 = off */
  float top_p, min_p;       /* 1 and 0 = off */
  float repetition_penalty; /* 1 = off; over prompt and generated ids (Keskar et al. 2019) */
  float frequency_penalty, presence_penalty; /* 0 = off; over generated ids (OpenAI) */
  uint64_t seed; /* draw for position i is Philox(seed, i): the batch does not matter */
} mtk_sampling;
#define MTK_SAMPLING_DEFAULT                                                                       \
  { 0.0f, 0, 1.0f, 0.0f, 1.0f, 0.0f, 0.0f, 0 }

typedef struct mtk_token_prob {
  int32_t id;
  float logprob; /* of the model's distribution, before temperature and truncation */
} mtk_token_prob;

/* ---- scheduler (continuous batching) -------------------------------------------------------- */

typedef enum mtk_finish {
  MTK_FINISH_NONE = 0,
  MTK_FINISH_STOP,   /* end-of-generation token or stop string */
  MTK_FINISH_LENGTH, /* max_tokens or context */
  MTK_FINISH_CANCELLED,
  MTK_FINISH_ERROR
} mtk_finish;

typedef struct mtk_token_event {
  int32_t id;       /* -1 in the last event if no token goes with it */
  const char *text; /* new complete UTF-8 (stop strings held back); may be empty */
  size_t n_text;
  float logprob;
  const mtk_token_prob *top; /* requested alternatives, most probable first */
  int n_top;
  mtk_finish finish;      /* NONE until the last event of the request */
  const mtk_error *error; /* when finish is ERROR */
  int64_t n_prompt, n_generated;
  const float *embeddings; /* [n_texts, length] of a request for them, in its last event */
} mtk_token_event;

typedef struct mtk_request {
  size_t struct_size;
  const int32_t *prompt; /* copied */
  int64_t n_prompt;
  int64_t max_tokens; /* 0 = until the context is full */
  mtk_sampling sampling;
  const char *const *stop; /* copied */
  int n_stop;
  int top_logprobs;
  bool echo_special; /* control tokens appear in text (raw completions) */
  bool ignore_eos;
  int adapter;
  /* Called by the stepping thread for each token, and once with the finish reason. */
  void (*on_token)(void *ctx, const mtk_token_event *event);
  void *ctx;
  /* Embeddings of n_texts texts (an engine that gives them); the prompt is their ids, one after the
   * other. 0 = generate. */
  const int64_t *text_lengths; /* copied */
  int n_texts;
  mtk_pooling pooling;
  bool normalized;
} mtk_request;

typedef struct mtk_scheduler mtk_scheduler;
/* engine is borrowed; the scheduler uses up to its max_seqs sequences. */
mtk_status mtk_scheduler_create(mtk_scheduler **out, mtk_engine *engine, mtk_error *err);
void mtk_scheduler_destroy(mtk_scheduler *s); /* finishes the rest with CANCELLED */
/* Any thread. Checks the prompt (ids in range, shorter than the context) before queueing. */
mtk_status mtk_scheduler_submit(uint64_t *id, mtk_scheduler *s, const mtk_request *request,
                                mtk_error *err);
void mtk_scheduler_cancel(mtk_scheduler *s, uint64_t id); /* any thread; takes effect next step */
/* One step: admit, prefill a chunk or decode one token for every active sequence. *active =
 * requests left (running and queued). Stepping thread only. */
mtk_status mtk_scheduler_step(int *active, mtk_scheduler *s, mtk_error *err);
/* Block until there is work or mtk_scheduler_wake was called. */
void mtk_scheduler_wait(mtk_scheduler *s);
void mtk_scheduler_wake(mtk_scheduler *s); /* any thread */
typedef struct mtk_scheduler_stats {
  size_t struct_size;
  int running, queued;
  uint64_t steps, prompt_tokens, generated_tokens;
  double busy_s;
} mtk_scheduler_stats;
void mtk_scheduler_get_stats(const mtk_scheduler *s, mtk_scheduler_stats *out); /* any thread */

#ifdef __cplusplus
}
#endif
#endif
