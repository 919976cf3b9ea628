/* quantize_calibrate.c: mtk quantize --calibration: which sequences, and what they tell the method.
 * Main thread only. */
#include <mtk/train.h>

#include "quantize.h"

struct mtk_cmd_calibration {
  mtk_model *model;
  mtk_tokenizer *tokenizer;
  mtk_chat *chat; /* NULL if the model has no template: chats are refused then */
  mtk_dataset *data;
  mtk_ids ids;
  int64_t *lengths;
  int64_t n_seqs;
  mtk_calibration *stats;
  mtk_pool *pool; /* borrowed */
  double percentile;
};

/* Whole sequences in the seeded order until there are enough tokens; the last one is cut. */
static mtk_status choose_sequences(mtk_cmd_calibration *c, int64_t want, uint64_t seed,
                                   mtk_error *err) {
  int64_t count = mtk_dataset_count(c->data), cursor = 0, index;
  c->lengths = mtk_alloc((size_t)count, sizeof *c->lengths);
  if (!c->lengths) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  while (c->n_seqs < count && (int64_t)c->ids.len < want) {
    mtk_dataset_batch(&index, 1, &cursor, c->data, 1, seed);
    mtk_train_seq s = mtk_dataset_at(c->data, index);
    int64_t left = want - (int64_t)c->ids.len, n = s.n_ids < left ? s.n_ids : left;
    for (int64_t i = 0; i < n; i++) MTK_TRY(mtk_ids_push(&c->ids, s.ids[i], err));
    c->lengths[c->n_seqs++] = n;
  }
  mtk_log(MTK_LOG_INFO, "calibration: %zu tokens in %lld of %lld sequences", c->ids.len,
          (long long)c->n_seqs, (long long)count);
  return MTK_OK;
}

static mtk_status open_parts(mtk_cmd_calibration *c, const mtk_cmd_line *line, const char *path,
                             mtk_pool *pool, const char *const *files, size_t n_files,
                             mtk_error *err) {
  mtk_dataset_options data = {.struct_size = sizeof data,
                              .max_len = mtk_options_int(line->options, "sequence-length")};
  mtk_error no_template;
  MTK_TRY(mtk_cmd_tokenizer_open(&c->model, &c->tokenizer, path, err));
  if (mtk_chat_create(&c->chat, c->model, NULL, &no_template) != MTK_OK) c->chat = NULL;
  MTK_TRY(mtk_dataset_create(&c->data, files, (int)n_files, c->chat, c->tokenizer, &data, err));
  MTK_TRY(choose_sequences(c, mtk_options_int(line->options, "calibration-tokens"),
                           (uint64_t)mtk_options_int(line->options, "seed"), err));
  c->pool = pool;
  c->percentile = mtk_options_float(line->options, "act-percentile");
  return mtk_cmd_calibration_restart(c, err);
}

mtk_status mtk_cmd_calibration_restart(mtk_cmd_calibration *c, mtk_error *err) {
  mtk_calibration_options o = {.struct_size = sizeof o,
                               .pool = c->pool,
                               .arith = -1,
                               .isa = -1,
                               .ids = c->ids.data,
                               .lengths = c->lengths,
                               .n_seqs = c->n_seqs,
                               .percentile = c->percentile};
  mtk_calibration_destroy(c->stats);
  c->stats = NULL;
  return mtk_calibration_create(&c->stats, c->model, &o, err);
}

mtk_status mtk_cmd_calibration_open(mtk_cmd_calibration **out, const mtk_cmd_line *line,
                                    const char *path, mtk_pool *pool, mtk_error *err) {
  const char *const *files = NULL;
  size_t n_files = mtk_options_list(line->options, "calibration", &files);
  *out = NULL;
  if (n_files == 0) return MTK_OK;
  mtk_cmd_calibration *c = mtk_alloc(1, sizeof *c);
  if (!c) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = open_parts(c, line, path, pool, files, n_files, err);
  if (st == MTK_OK)
    *out = c;
  else
    mtk_cmd_calibration_close(c);
  return st;
}

void mtk_cmd_calibration_close(mtk_cmd_calibration *c) {
  if (!c) return;
  mtk_calibration_destroy(c->stats);
  mtk_free(c->lengths);
  mtk_ids_finish(&c->ids);
  mtk_dataset_destroy(c->data);
  mtk_chat_destroy(c->chat);
  mtk_tokenizer_destroy(c->tokenizer);
  mtk_model_destroy(c->model);
  mtk_free(c);
}

mtk_status mtk_cmd_calibration_run(mtk_cmd_calibration *c, mtk_error *err) {
  for (int i = 0; i < mtk_calibration_stages(c->stats); i++)
    MTK_TRY(mtk_calibration_next(c->stats, false, err));
  return MTK_OK;
}

/* Encode the quantized tensors of a stage. Those on one input (q, k and v; gate and up) share its
 * statistics and go together. names: room for twice the rows of the report. */
static mtk_status encode_stage(mtk_cmd_calibration *c, int stage, mtk_model *model,
                               const mtk_quantize_report *report, const char **names,
                               mtk_error *err) {
  size_t n = 0;
  for (size_t i = 0; i < report->n_rows; i++) {
    const mtk_quantize_row *row = &report->rows[i];
    if (row->reason == MTK_QUANTIZED && mtk_calibration_stage_of(c->stats, row->name) == stage)
      names[n++] = row->name;
  }
  for (size_t i = 0; i < n; i++) {
    if (!names[i]) continue; /* went with an earlier one */
    const mtk_input_stats *stats = mtk_calibration_find(c->stats, names[i]);
    const char **group = names + report->n_rows;
    size_t n_group = 0;
    for (size_t j = i; j < n; j++) {
      if (!names[j] || mtk_calibration_find(c->stats, names[j]) != stats) continue;
      group[n_group++] = names[j];
      names[j] = NULL;
    }
    MTK_TRY(mtk_model_quantize_now(model, group, n_group, stats, err));
  }
  return MTK_OK;
}

/* Did an interrupted run encode all tensors of a stage? */
static bool is_encoded(const mtk_cmd_calibration *c, int stage, const mtk_model *model,
                       const mtk_quantize_report *report) {
  bool all = true;
  for (size_t i = 0; i < report->n_rows && all; i++) {
    const mtk_quantize_row *row = &report->rows[i];
    if (row->reason == MTK_QUANTIZED && mtk_calibration_stage_of(c->stats, row->name) == stage)
      all = mtk_outputs_has_scratch(mtk_model_outputs(model), row->name);
  }
  return all;
}

mtk_status mtk_cmd_calibration_encode(mtk_cmd_calibration *c, mtk_model *model,
                                      const mtk_quantize_report *report, mtk_error *err) {
  const char **names = mtk_alloc(report->n_rows, 2 * sizeof *names);
  mtk_status st = names ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int stage = 0; stage < mtk_calibration_stages(c->stats) && st == MTK_OK; stage++) {
    st = mtk_calibration_next(c->stats, !is_encoded(c, stage, model, report), err);
    if (st == MTK_OK) st = encode_stage(c, stage, model, report, names, err);
  }
  mtk_free((void *)names);
  return st;
}

mtk_model *mtk_cmd_calibration_model(mtk_cmd_calibration *c) { return c->model; }

mtk_calibration *mtk_cmd_calibration_state(mtk_cmd_calibration *c) { return c->stats; }

const mtk_model *mtk_cmd_calibration_part(mtk_calibration_options *out,
                                          const mtk_cmd_calibration *c, int64_t tokens,
                                          mtk_pool *pool) {
  *out = (mtk_calibration_options){.struct_size = sizeof *out,
                                   .pool = pool,
                                   .arith = -1,
                                   .isa = -1,
                                   .ids = c->ids.data,
                                   .lengths = c->lengths};
  for (int64_t n = 0; out->n_seqs < c->n_seqs && n < tokens; out->n_seqs++)
    n += c->lengths[out->n_seqs];
  return c->model;
}

int64_t mtk_cmd_calibration_tokens(const mtk_cmd_calibration *c) { return (int64_t)c->ids.len; }

const mtk_input_stats *mtk_cmd_calibration_stats(void *ctx, const char *tensor) {
  mtk_cmd_calibration *c = ctx;
  return mtk_calibration_find(c->stats, tensor);
}
