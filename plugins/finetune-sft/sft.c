/* sft.c: the recipe "sft": supervised fine-tuning on chat or text, LoRA or all weights, with
 * checkpoints that survive a kill and exact resume. One run at a time. */
#include <jansson.h>
#include <mtk/ext/recipe.h>
#include <mtk/plugin.h>

#include <string.h>

#include "checkpoints.h"

static const mtk_option_def g_options[] = {
    {"adapter", 0, MTK_OPT_ENUM, "KIND", "lora", 0, 0, "lora|none",
     "train a LoRA adapter, or all weights"},
    {"rank", 'r', MTK_OPT_INT, "R", "16", 1, 4096, NULL, "LoRA rank"},
    {"alpha", 0, MTK_OPT_FLOAT, "A", "32", 0, 1e6, NULL,
     "LoRA alpha; the update is scaled by alpha/rank"},
    {"targets", 0, MTK_OPT_STRING, "LIST", NULL, 0, 0, NULL,
     "LoRA targets, e.g. attn_q,attn_v (default: all linear layers in blocks)"},
    {"freeze-embeddings", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "full training: leave embeddings alone"},
    {"optimizer", 0, MTK_OPT_ENUM, "O", "adamw", 0, 0, "adamw|muon",
     "muon: matrices in blocks by Muon"},
    {"lr", 0, MTK_OPT_FLOAT, "LR", "2e-4", 0, 10, NULL, "peak learning rate of AdamW"},
    {"muon-lr", 0, MTK_OPT_FLOAT, "LR", "0.02", 0, 10, NULL, "peak learning rate of Muon"},
    {"schedule", 0, MTK_OPT_ENUM, "S", "cosine", 0, 0, "cosine|linear|constant", "after warm-up"},
    {"lr-min-ratio", 0, MTK_OPT_FLOAT, "X", "0", 0, 1, NULL, "final / peak learning rate"},
    {"warmup", 0, MTK_OPT_INT, "N", "10", 0, 1e9, NULL, "warm-up steps"},
    {"steps", 0, MTK_OPT_INT, "N", "0", 0, 1e9, NULL, "optimizer steps (0 = by --epochs)"},
    {"epochs", 0, MTK_OPT_FLOAT, "N", "1", 0, 1e6, NULL, "passes over the data"},
    {"batch-tokens", 0, MTK_OPT_INT, "N", "4096", 1, 1e9, NULL, "tokens per optimizer step"},
    {"micro-tokens", 0, MTK_OPT_INT, "N", "1024", 1, 1e9, NULL,
     "tokens computed at once: memory grows with them (never fewer than the longest sequence has)"},
    {"max-len", 0, MTK_OPT_INT, "N", "2048", 2, 1e7, NULL, "cut longer sequences"},
    {"beta1", 0, MTK_OPT_FLOAT, "B", "0.9", 0, 1, NULL, "AdamW"},
    {"beta2", 0, MTK_OPT_FLOAT, "B", "0.999", 0, 1, NULL, "AdamW"},
    {"eps", 0, MTK_OPT_FLOAT, "E", "1e-8", 0, 1, NULL, "AdamW"},
    {"weight-decay", 0, MTK_OPT_FLOAT, "W", "0", 0, 10, NULL, "decoupled decay of matrices"},
    {"grad-clip", 0, MTK_OPT_FLOAT, "G", "1", 0, 1e9, NULL, "global norm (0 = off)"},
    {"seed", 's', MTK_OPT_INT, "S", "0", 0, 9e15, NULL, "of data order and initial LoRA weights"},
    {"train-on-all", 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL,
     "learn every token, not only the assistant's"},
    {"dtype", 0, MTK_OPT_ENUM, "T", "keep", 0, 0, "keep|f32|f16|bf16",
     "storage of fully trained matrices"},
    {"save-every", 0, MTK_OPT_INT, "N", "100", 0, 1e9, NULL,
     "steps between checkpoints (0 = none)"},
    {"log-every", 0, MTK_OPT_INT, "N", "10", 1, 1e9, NULL, "steps between reports"},
    {"eval-data", 0, MTK_OPT_LIST, "FILE", NULL, 0, 0, NULL,
     "held-out data: loss at each checkpoint and the end"},
    {NULL, 0, MTK_OPT_FLAG, NULL, NULL, 0, 0, NULL, NULL}};

/* Everything of one run. */
typedef struct run {
  const mtk_recipe_args *args;
  const mtk_option_values *o;
  mtk_chat *chat;
  mtk_tokenizer *tok;
  mtk_dataset *data, *eval_data;
  mtk_trainer *trainer;
  mtk_train_options options;
  uint64_t seed;
  int64_t batch_tokens, total_steps, cursor;
  int64_t tokens; /* trained since start or resume */
  double start_s;
  int64_t *indices; /* of one batch */
  mtk_train_seq *seqs;
  int room;
} run;

static void emit(const run *r, json_t *event) {
  char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
  json_decref(event);
  if (text && r->args->on_event) r->args->on_event(r->args->ctx, text);
  free(text);
}

/* ---- set-up --------------------------------------------------------------------------------- */

static int choice(const char *value, const char *const *names) {
  int i = 0;
  while (names[i] && strcmp(names[i], value) != 0) i++;
  return i;
}

/* A sequence is computed as a whole. */
static int64_t micro_tokens(const run *r) {
  const mtk_dataset *const sets[] = {r->data, r->eval_data};
  int64_t micro = mtk_options_int(r->o, "micro-tokens");
  for (int s = 0; s < 2 && sets[s]; s++)
    for (int64_t i = 0; i < mtk_dataset_count(sets[s]); i++) {
      int64_t len = mtk_dataset_at(sets[s], i).n_ids;
      if (len > micro) micro = len;
    }
  return micro;
}

static void read_options(run *r) {
  static const char *const schedules[] = {"cosine", "linear", "constant", NULL};
  const mtk_option_values *o = r->o;
  bool lora = !strcmp(mtk_options_string(o, "adapter"), "lora");
  r->options = (mtk_train_options){
      .struct_size = sizeof r->options,
      .pool = r->args->pool,
      .isa = -1,
      .lora_rank = lora ? mtk_options_int(o, "rank") : 0,
      .lora_alpha = (float)mtk_options_float(o, "alpha"),
      .lora_targets = mtk_options_string(o, "targets"),
      .frozen_embeddings = mtk_options_flag(o, "freeze-embeddings"),
      .optimizer = !strcmp(mtk_options_string(o, "optimizer"), "muon") ? MTK_OPTIMIZER_MUON
                                                                       : MTK_OPTIMIZER_ADAMW,
      .lr = (float)mtk_options_float(o, "lr"),
      .muon_lr = (float)mtk_options_float(o, "muon-lr"),
      .beta1 = (float)mtk_options_float(o, "beta1"),
      .beta2 = (float)mtk_options_float(o, "beta2"),
      .eps = (float)mtk_options_float(o, "eps"),
      .weight_decay = (float)mtk_options_float(o, "weight-decay"),
      .grad_clip = (float)mtk_options_float(o, "grad-clip"),
      .schedule = (mtk_lr_schedule)choice(mtk_options_string(o, "schedule"), schedules),
      .warmup_steps = mtk_options_int(o, "warmup"),
      .total_steps = r->total_steps,
      .lr_min_ratio = (float)mtk_options_float(o, "lr-min-ratio"),
      .micro_tokens = micro_tokens(r),
      .seed = r->seed};
}

static mtk_status load_data(run *r, mtk_error *err) {
  const mtk_model *model = r->args->model;
  mtk_status st = mtk_chat_create(&r->chat, model, NULL, err);
  if (st != MTK_OK && st != MTK_E_NOT_FOUND) return st;
  if (mtk_model_vocab(model)) MTK_TRY(mtk_tokenizer_create(&r->tok, mtk_model_vocab(model), err));
  uint64_t context;
  MTK_TRY(mtk_meta_uint(&context, mtk_model_meta(model), "context_length", 2048, err));
  int64_t max_len = mtk_options_int(r->o, "max-len");
  mtk_dataset_options opt = {.struct_size = sizeof opt,
                             .max_len = max_len < (int64_t)context ? max_len : (int64_t)context,
                             .train_on_all = mtk_options_flag(r->o, "train-on-all")};
  MTK_TRY(mtk_dataset_create(&r->data, r->args->data, r->args->n_data, r->chat, r->tok, &opt, err));
  const char *const *files = NULL;
  int n = (int)mtk_options_list(r->o, "eval-data", &files);
  if (n) MTK_TRY(mtk_dataset_create(&r->eval_data, files, n, r->chat, r->tok, &opt, err));
  return MTK_OK;
}

/* Steps of the whole run: --steps, or as many batches as the epochs hold. */
static void count_steps(run *r) {
  r->total_steps = mtk_options_int(r->o, "steps");
  if (r->total_steps) return;
  double samples = mtk_options_float(r->o, "epochs") * (double)mtk_dataset_count(r->data);
  for (int64_t cursor = 0; (double)cursor < samples; r->total_steps++)
    mtk_dataset_batch(r->indices, r->room, &cursor, r->data, r->batch_tokens, r->seed);
}

static mtk_status set_up(run *r, mtk_error *err) {
  r->seed = (uint64_t)mtk_options_int(r->o, "seed");
  r->batch_tokens = mtk_options_int(r->o, "batch-tokens");
  MTK_TRY(load_data(r, err));
  r->room = (int)(r->batch_tokens / 2 + 1);
  r->indices = mtk_alloc((size_t)r->room, sizeof *r->indices);
  r->seqs = mtk_alloc((size_t)r->room, sizeof *r->seqs);
  if (!r->indices || !r->seqs) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  count_steps(r);
  read_options(r);
  MTK_TRY(mtk_trainer_create(&r->trainer, r->args->model, &r->options, err));
  emit(r, json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "event", "start", "sequences",
                    (json_int_t)mtk_dataset_count(r->data), "tokens",
                    (json_int_t)mtk_dataset_tokens(r->data), "truncated",
                    (json_int_t)mtk_dataset_truncated(r->data), "steps", (json_int_t)r->total_steps,
                    "trainable_parameters", (json_int_t)mtk_trainer_trainable_params(r->trainer)));
  return MTK_OK;
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

/* Options that may change between a run and its resumption. */
static bool is_free_option(const mtk_option_def *def) {
  static const char *const names[] = {"save-every", "log-every", "eval-data", "micro-tokens"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (!strcmp(def->name, names[i])) return true;
  return false;
}

/* All others, by name, as text. */
static json_t *fixed_options(const run *r) {
  json_t *doc = json_object();
  for (const mtk_option_def *def = g_options; def->name; def++) {
    const char *text = is_free_option(def) ? NULL : mtk_options_string(r->o, def->name);
    if (text) json_object_set_new(doc, def->name, json_string(text));
  }
  return doc;
}

static mtk_status check_options(const run *r, const json_t *then, mtk_error *err) {
  json_t *now = fixed_options(r);
  mtk_status st = MTK_OK;
  for (const mtk_option_def *def = g_options; def->name && st == MTK_OK; def++) {
    const json_t *a = json_object_get(then, def->name), *b = json_object_get(now, def->name);
    if ((a || b) && !json_equal(a, b))
      st = mtk_fail(
          err, MTK_E_INVALID, r->args->out,
          "the checkpoint was made with --%s %s, not %s: give the same or start anew with "
          "--force",
          def->name, a ? json_string_value(a) : "(unset)", b ? json_string_value(b) : "(unset)");
  }
  json_decref(now);
  return st;
}

static mtk_status save_checkpoint(run *r, mtk_error *err) {
  json_t *doc = json_pack("{s:I,s:s,s:o}", "cursor", (json_int_t)r->cursor, "data_sha256",
                          mtk_dataset_sha256(r->data), "options", fixed_options(r));
  char *text = doc ? json_dumps(doc, 0) : NULL;
  json_decref(doc);
  if (!text) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  int64_t step = mtk_trainer_step_count(r->trainer);
  mtk_status st = sft_checkpoint_save(r->trainer, r->args->out, step, text, err);
  free(text);
  if (st == MTK_OK)
    emit(r, json_pack("{s:s,s:I}", "event", "checkpoint", "step", (json_int_t)step));
  return st;
}

static mtk_status resume(run *r, mtk_error *err) {
  mtk_bytes text = {0};
  bool found = false;
  mtk_status st = sft_checkpoint_load(&found, &text, r->trainer, r->args->out, err);
  if (st == MTK_OK && found) {
    json_t *doc = json_loadb(text.data, text.len, 0, NULL);
    const char *digest = json_string_value(json_object_get(doc, "data_sha256"));
    r->cursor = json_integer_value(json_object_get(doc, "cursor"));
    if (!digest || strcmp(digest, mtk_dataset_sha256(r->data)) != 0)
      st = mtk_fail(err, MTK_E_INVALID, r->args->out,
                    "the checkpoint was made with other data; start anew with --force");
    if (st == MTK_OK) st = check_options(r, json_object_get(doc, "options"), err);
    json_decref(doc);
    if (st == MTK_OK)
      emit(r, json_pack("{s:s,s:I}", "event", "resume", "step",
                        (json_int_t)mtk_trainer_step_count(r->trainer)));
  }
  mtk_bytes_finish(&text);
  return st;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static mtk_status evaluate(run *r, mtk_error *err) {
  if (!r->eval_data) return MTK_OK;
  double nll = 0, weight = 0;
  for (int64_t i = 0; i < mtk_dataset_count(r->eval_data); i++) {
    mtk_train_seq seq = mtk_dataset_at(r->eval_data, i);
    double n, w;
    MTK_TRY(mtk_trainer_eval(&n, &w, NULL, r->trainer, &seq, 1, err));
    nll += n;
    weight += w;
  }
  emit(r, json_pack("{s:s,s:I,s:f}", "event", "eval", "step",
                    (json_int_t)mtk_trainer_step_count(r->trainer), "loss",
                    weight > 0 ? nll / weight : 0));
  return MTK_OK;
}

static mtk_status one_step(run *r, mtk_error *err) {
  int n = mtk_dataset_batch(r->indices, r->room, &r->cursor, r->data, r->batch_tokens, r->seed);
  for (int i = 0; i < n; i++) r->seqs[i] = mtk_dataset_at(r->data, r->indices[i]);
  mtk_train_stats s;
  MTK_TRY(mtk_trainer_step(&s, r->trainer, r->seqs, n, err));
  r->tokens += s.n_tokens;
  if (s.step % mtk_options_int(r->o, "log-every") == 0 || s.step == 1 || s.step == r->total_steps)
    emit(r, json_pack("{s:s,s:I,s:f,s:f,s:f,s:I,s:f}", "event", "step", "step", (json_int_t)s.step,
                      "loss", s.loss, "grad_norm", s.grad_norm, "lr", s.lr, "targets",
                      (json_int_t)s.n_targets, "tokens_per_s",
                      (double)r->tokens / (mtk_now_s() - r->start_s)));
  mtk_progress("train", (uint64_t)s.step, (uint64_t)r->total_steps, "steps");
  return MTK_OK;
}

static mtk_status train(run *r, mtk_error *err) {
  int64_t every = mtk_options_int(r->o, "save-every");
  r->start_s = mtk_now_s();
  while (mtk_trainer_step_count(r->trainer) < r->total_steps) {
    if (mtk_cancelled()) {
      MTK_TRY(save_checkpoint(r, err));
      return mtk_fail(err, MTK_E_CANCELLED, NULL,
                      "stopped after step %lld; --resume goes on from there",
                      (long long)mtk_trainer_step_count(r->trainer));
    }
    MTK_TRY(one_step(r, err));
    if (every && mtk_trainer_step_count(r->trainer) % every == 0) {
      MTK_TRY(save_checkpoint(r, err));
      MTK_TRY(evaluate(r, err));
    }
  }
  return evaluate(r, err);
}

static mtk_status save_result(run *r, mtk_error *err) {
  const mtk_recipe_args *a = r->args;
  if (r->options.lora_rank > 0) {
    mtk_adapter *adapter = NULL;
    MTK_TRY(mtk_trainer_adapter(&adapter, r->trainer, err));
    mtk_status st = a->save(a->ctx, NULL, adapter, err);
    mtk_adapter_destroy(adapter);
    return st;
  }
  const char *dtype = mtk_options_string(r->o, "dtype");
  mtk_dtype type = !strcmp(dtype, "keep") ? MTK_DTYPE_COUNT : mtk_dtype_by_name(dtype);
  MTK_TRY(mtk_trainer_apply(r->trainer, a->model, type, err));
  return a->save(a->ctx, a->model, NULL, err);
}

static mtk_status sft_run(const mtk_recipe_args *args, mtk_error *err) {
  run r = {.args = args, .o = args->options};
  mtk_status st = args->resume || args->force ? MTK_OK : sft_checkpoint_refuse(args->out, err);
  if (args->force && !args->resume) sft_checkpoint_remove(args->out, 0);
  if (st == MTK_OK) st = set_up(&r, err);
  if (st == MTK_OK && args->resume) st = resume(&r, err);
  if (st == MTK_OK) st = train(&r, err);
  if (st == MTK_OK) st = save_result(&r, err);
  if (st == MTK_OK) {
    sft_checkpoint_remove(args->out, 0);
    emit(&r, json_pack("{s:s,s:s,s:I,s:I,s:f,s:I}", "event", "done", "out", args->out, "steps",
                       (json_int_t)mtk_trainer_step_count(r.trainer), "tokens",
                       (json_int_t)r.tokens, "seconds", mtk_now_s() - r.start_s, "peak_rss_bytes",
                       (json_int_t)mtk_peak_rss_bytes()));
  }
  mtk_trainer_destroy(r.trainer);
  mtk_dataset_destroy(r.data);
  mtk_dataset_destroy(r.eval_data);
  mtk_tokenizer_destroy(r.tok);
  mtk_chat_destroy(r.chat);
  mtk_free(r.indices);
  mtk_free(r.seqs);
  return st;
}

static const mtk_recipe_v1 g_recipe = {sizeof g_recipe, "sft",
                                       "supervised fine-tuning: LoRA, all weights, or from scratch",
                                       g_options, sft_run};

MTK_PLUGIN_DEFINE("finetune-sft", "1.0.0", "supervised fine-tuning", "Apache-2.0",
                  {MTK_EXT_RECIPE, &g_recipe});
