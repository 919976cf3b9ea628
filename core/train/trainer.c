/* train/trainer.c: building a trainer, and its step: micro-batches forward and backward, clipping,
 * optimizer, repacking. One thread drives; the pool works inside. */
#include "train/trainer.h"

#include <math.h>
#include <mtk/limits.h>
#include <stdio.h>
#include <string.h>

enum { MICRO_TOKENS = 4096 };

static bool ends_with(const char *s, const char *suffix) {
  size_t n = strlen(s), m = strlen(suffix);
  return n >= m && !strcmp(s + n - m, suffix);
}

bool mtk_is_lora_name(const char *name) {
  return ends_with(name, ".lora_a") || ends_with(name, ".lora_b");
}

/* ---- what is trained --------------------------------------------------------------------------
 */

/* Is the last part of "blk.N.PART.weight" in the comma-separated list? */
static bool in_list(const char *target, const char *list) {
  size_t len = strlen(target) - strlen(".weight");
  while (*list) {
    size_t n = strcspn(list, ",");
    if (n && n < len && target[len - n - 1] == '.' && !memcmp(target + len - n, list, n))
      return true;
    list += n + (list[n] == ',');
  }
  return false;
}

static bool lora_find(void *ctx, const char *target, int64_t *rank, float *scale) {
  const mtk_trainer *t = ctx;
  if (strncmp(target, "blk.", 4) != 0 || !ends_with(target, ".weight")) return false;
  if (t->lora_targets && !in_list(target, t->lora_targets)) return false;
  *rank = t->options.lora_rank;
  *scale = t->options.lora_alpha / (float)t->options.lora_rank;
  return true;
}

static bool is_trainable(void *ctx, const char *name) {
  const mtk_trainer *t = ctx;
  if (t->options.lora_rank > 0) return mtk_is_lora_name(name);
  bool embedding = !strcmp(name, "token_embd.weight") || !strcmp(name, "output.weight");
  return !(embedding && t->options.frozen_embeddings);
}

/* A ~ U(-1/sqrt(k), 1/sqrt(k)) (Kaiming uniform with a = sqrt 5, as PEFT), B = 0. */
static mtk_status add_lora(mtk_trainer *t, mtk_error *err) {
  uint64_t stream = 0;
  for (size_t i = 0; i < t->graph->n_weights; i++) {
    const mtk_graph_weight *gw = &t->graph->weights[i];
    if (!mtk_is_lora_name(gw->name)) continue;
    mtk_weight *w = NULL;
    MTK_TRY(mtk_weights_add_matrix(&w, t->weights, gw->name, gw->n, gw->k, NULL, true, err));
    if (ends_with(gw->name, ".lora_a")) {
      double bound = 1.0 / sqrt((double)gw->k);
      for (int64_t e = 0; e < gw->n * gw->k; e++)
        w->value[e] = (float)((2 * mtk_uniform(t->options.seed, stream, (uint64_t)e) - 1) * bound);
    }
    mtk_weight_repack(w, t->options.pool);
    stream++;
  }
  return MTK_OK;
}

static mtk_status add_params(mtk_trainer *t, mtk_error *err) {
  size_t n = t->graph->n_weights;
  t->params = mtk_alloc(n, sizeof *t->params);
  t->param_weights = mtk_alloc(n, sizeof *t->param_weights);
  if (!t->params || !t->param_weights) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (size_t i = 0; i < n; i++) {
    mtk_weight *w = t->bound[i];
    if (!t->graph->weights[i].trainable) continue;
    bool matrix = !(w->use & MTK_USE_VECTOR);
    mtk_param *p = &t->params[t->n_params];
    t->param_weights[t->n_params++] = w;
    *p = (mtk_param){
        .name = w->name, .n = w->n, .k = w->k, .value = w->value, .grad = w->grad, .decay = matrix};
    p->muon = t->options.optimizer == MTK_OPTIMIZER_MUON && matrix && !strncmp(w->name, "blk.", 4);
    p->m = mtk_alloc((size_t)(w->n * w->k), sizeof *p->m);
    p->v = p->muon ? NULL : mtk_alloc((size_t)(w->n * w->k), sizeof *p->v);
    if (!p->m || (!p->muon && !p->v)) return mtk_fail(err, MTK_E_NOMEM, w->name, "out of memory");
  }
  return MTK_OK;
}

static mtk_status build(mtk_trainer *t, mtk_error *err) {
  const mtk_train_options *o = &t->options;
  mtk_adapter_spec spec = {lora_find, t};
  MTK_TRY(mtk_kernels_choose(&t->kernels, NULL, o->isa, err));
  MTK_TRY(mtk_model_build_graph(&t->graph, t->model, NULL, o->lora_rank > 0 ? &spec : NULL, err));
  MTK_TRY(mtk_graph_backward(t->graph, is_trainable, t, err));
  mtk_weights_options wo = {&t->kernels, o->pool, -1};
  MTK_TRY(mtk_weights_create(&t->weights, NULL, &wo, err));
  MTK_TRY(add_lora(t, err));
  MTK_TRY(mtk_weights_load(t->weights, t->graph, t->model, err));
  MTK_TRY(mtk_weights_bind(&t->bound, t->weights, t->graph, err));
  MTK_TRY(add_params(t, err));
  t->micro_tokens = o->micro_tokens > 0 ? o->micro_tokens : MICRO_TOKENS;
  mtk_exec_options eo = {.graph = t->graph,
                         .weights = t->bound,
                         .kernels = &t->kernels,
                         .pool = o->pool,
                         .workspace = &t->workspace,
                         .max_tokens = t->micro_tokens,
                         .max_outputs = t->micro_tokens};
  MTK_TRY(mtk_exec_create(&t->exec, &eo, err));
  size_t rows = (size_t)t->micro_tokens;
  t->ids = mtk_alloc(rows, sizeof *t->ids);
  t->targets = mtk_alloc(rows, sizeof *t->targets);
  t->target_weights = mtk_alloc(rows, sizeof *t->target_weights);
  t->output_rows = mtk_alloc(rows, sizeof *t->output_rows);
  t->seqs = mtk_alloc(rows, sizeof *t->seqs);
  if (!t->ids || !t->targets || !t->target_weights || !t->output_rows || !t->seqs)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  return MTK_OK;
}

mtk_status mtk_trainer_create(mtk_trainer **out, const mtk_model *model,
                              const mtk_train_options *options, mtk_error *err) {
  *out = NULL;
  mtk_trainer *t = mtk_alloc(1, sizeof *t);
  if (!t) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  t->model = model;
  t->options = *options;
  mtk_status st = MTK_OK;
  if (options->lora_targets && !(t->lora_targets = mtk_strdup(options->lora_targets)))
    st = mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK) st = build(t, err);
  if (st != MTK_OK) {
    mtk_trainer_destroy(t);
    return st;
  }
  *out = t;
  return MTK_OK;
}

void mtk_trainer_destroy(mtk_trainer *t) {
  if (!t) return;
  for (size_t i = 0; i < t->n_params; i++) {
    mtk_free(t->params[i].m);
    mtk_free(t->params[i].v);
  }
  mtk_free(t->params);
  mtk_free(t->param_weights);
  mtk_free(t->ids);
  mtk_free(t->targets);
  mtk_free(t->target_weights);
  mtk_free(t->output_rows);
  mtk_free(t->seqs);
  mtk_exec_destroy(t->exec);
  mtk_workspace_finish(&t->workspace);
  mtk_free(t->bound);
  mtk_weights_destroy(t->weights);
  mtk_graph_destroy(t->graph);
  mtk_free(t->lora_targets);
  mtk_free(t);
}

/* ---- batches ----------------------------------------------------------------------------------
 */

static mtk_status check_seqs(const mtk_trainer *t, const mtk_train_seq *seqs, int n_seqs,
                             mtk_error *err) {
  int64_t vocab = t->graph->values[t->graph->logits].width;
  for (int s = 0; s < n_seqs; s++) {
    char place[48];
    snprintf(place, sizeof place, "sequence %d", s);
    if (seqs[s].n_ids - 1 > t->micro_tokens)
      return mtk_fail(err, MTK_E_LIMIT, place,
                      "has %d tokens, more than the %lld computed at once; raise --micro-tokens or "
                      "cut it with --max-len",
                      seqs[s].n_ids, (long long)t->micro_tokens);
    for (int32_t i = 0; i < seqs[s].n_ids; i++)
      if (seqs[s].ids[i] < 0 || seqs[s].ids[i] >= vocab)
        return mtk_fail(err, MTK_E_FORMAT, place, "token %d is %d, but the vocabulary has %lld", i,
                        seqs[s].ids[i], (long long)vocab);
  }
  return MTK_OK;
}

static float weight_of(const mtk_train_seq *s, int32_t target) {
  return s->weight ? s->weight[target] : 1.0f;
}

/* Put sequences from *at on into the micro-batch until it is full. all_rows: every position gives a
 * loss row, else only those with a weight. scale: multiplied onto the weights of the loss. */
static mtk_exec_step fill_step(mtk_trainer *t, const mtk_train_seq *seqs, int n_seqs, int *at,
                          bool all_rows, double scale) {
  mtk_exec_step step = {.ids = t->ids,
                   .seqs = t->seqs,
                   .output_rows = t->output_rows,
                   .targets = t->targets,
                   .target_weights = t->target_weights};
  for (; *at < n_seqs; ++*at) {
    const mtk_train_seq *s = &seqs[*at];
    int64_t n = s->n_ids - 1;
    if (n < 1) continue;
    if (step.n_tokens + n > t->micro_tokens) break;
    t->seqs[step.n_seqs++] = (mtk_step_seq){.row0 = step.n_tokens, .n_rows = n};
    for (int32_t i = 0; i < n; i++) {
      float w = weight_of(s, i + 1);
      t->ids[step.n_tokens + i] = s->ids[i];
      if (!all_rows && w == 0.0f) continue;
      t->output_rows[step.n_outputs] = step.n_tokens + i;
      t->targets[step.n_outputs] = s->ids[i + 1];
      t->target_weights[step.n_outputs++] = (float)((double)w * scale);
    }
    step.n_tokens += n;
  }
  return step;
}

static double total_weight(const mtk_train_seq *seqs, int n_seqs, mtk_train_stats *stats) {
  double sum = 0;
  for (int s = 0; s < n_seqs; s++) {
    stats->n_tokens += seqs[s].n_ids > 0 ? seqs[s].n_ids - 1 : 0;
    for (int32_t i = 1; i < seqs[s].n_ids; i++) {
      float w = weight_of(&seqs[s], i);
      sum += (double)w;
      stats->n_targets += w != 0.0f;
    }
  }
  return sum;
}

static void zero_range(void *ctx, size_t param, int64_t i0, int64_t i1) {
  const mtk_trainer *t = ctx;
  mtk_weight_zero_grad(t->param_weights[param], i0, i1);
}

static void join_range(void *ctx, size_t param, int64_t i0, int64_t i1) {
  const mtk_trainer *t = ctx;
  mtk_weight_join_grads(t->param_weights[param], &t->kernels, i0, i1);
}

static mtk_status backward_all(double *loss, mtk_trainer *t, const mtk_train_seq *seqs, int n_seqs,
                               double sum, mtk_error *err) {
  mtk_params_run(t->params, t->n_params, t->options.pool, zero_range, t);
  *loss = 0;
  for (int at = 0; at < n_seqs;) {
    int before = at;
    mtk_exec_step step = fill_step(t, seqs, n_seqs, &at, false, 1.0 / sum);
    if (step.n_outputs > 0) {
      MTK_TRY(mtk_exec_run(t->exec, &step, false, err));
      const float *rows = mtk_exec_value(t->exec, t->graph->loss);
      for (int64_t i = 0; i < step.n_outputs; i++)
        *loss += (double)rows[i] * (double)t->target_weights[i];
    }
    if (at == before) return mtk_fail(err, MTK_E_INTERNAL, NULL, "a sequence fits no micro-batch");
  }
  mtk_params_run(t->params, t->n_params, t->options.pool, join_range, t);
  return MTK_OK;
}

mtk_status mtk_trainer_step(mtk_train_stats *stats, mtk_trainer *t, const mtk_train_seq *seqs,
                            int n_seqs, mtk_error *err) {
  mtk_train_stats s = {0};
  MTK_TRY(check_seqs(t, seqs, n_seqs, err));
  double sum = total_weight(seqs, n_seqs, &s);
  if (sum <= 0) return mtk_fail(err, MTK_E_INVALID, NULL, "the batch has no token to learn");
  MTK_TRY(backward_all(&s.loss, t, seqs, n_seqs, sum, err));
  MTK_TRY(mtk_grad_norm(&s.grad_norm, t->params, t->n_params, t->options.pool, &t->kernels, err));
  if (!isfinite(s.loss) || !isfinite(s.grad_norm))
    return mtk_fail(
        err, MTK_E_CHECK, NULL,
        "step %lld: loss %g, gradient norm %g; lower the learning rate or set --grad-clip",
        (long long)t->step + 1, s.loss, s.grad_norm);
  double clip = (double)t->options.grad_clip / (s.grad_norm + 1e-6);
  float scale = t->options.grad_clip > 0 && clip < 1 ? (float)clip : 1.0f;
  double factor = mtk_lr_factor(&t->options, t->step);
  MTK_TRY(mtk_optimizer_step(t->params, t->n_params, &t->options, t->step + 1, factor, scale,
                             &t->kernels, err));
  for (size_t i = 0; i < t->n_params; i++) mtk_weight_repack(t->param_weights[i], t->options.pool);
  s.step = ++t->step;
  s.lr = (double)t->options.lr * factor;
  *stats = s;
  return MTK_OK;
}

mtk_status mtk_trainer_eval(double *nll, double *weight, float *logprobs, mtk_trainer *t,
                            const mtk_train_seq *seqs, int n_seqs, mtk_error *err) {
  MTK_TRY(check_seqs(t, seqs, n_seqs, err));
  *nll = *weight = 0;
  int64_t done = 0;
  for (int at = 0; at < n_seqs;) {
    int before = at;
    mtk_exec_step step = fill_step(t, seqs, n_seqs, &at, true, 1.0);
    if (step.n_outputs > 0) MTK_TRY(mtk_exec_run(t->exec, &step, true, err));
    const float *rows = mtk_exec_value(t->exec, t->graph->loss);
    for (int64_t i = 0; i < step.n_outputs; i++) {
      *nll += (double)rows[i] * (double)t->target_weights[i];
      *weight += (double)t->target_weights[i];
      if (logprobs) logprobs[done++] = 0.0f - rows[i];
    }
    if (at == before) return mtk_fail(err, MTK_E_INTERNAL, NULL, "a sequence fits no micro-batch");
  }
  return MTK_OK;
}

/* ---- looking inside ---------------------------------------------------------------------------
 */

int64_t mtk_trainer_step_count(const mtk_trainer *t) { return t->step; }

int64_t mtk_trainer_trainable_params(const mtk_trainer *t) {
  int64_t n = 0;
  for (size_t i = 0; i < t->n_params; i++) n += t->params[i].n * t->params[i].k;
  return n;
}

bool mtk_trainer_tensor(const float **value, const float **grad, int64_t *n, const mtk_trainer *t,
                        const char *name) {
  for (size_t i = 0; i < t->n_params; i++) {
    if (strcmp(t->params[i].name, name) != 0) continue;
    *value = t->params[i].value;
    *grad = t->params[i].grad;
    *n = t->params[i].n * t->params[i].k;
    return true;
  }
  return false;
}
