/* quantize_calibrate.c: mtk quantize --calibration: which sequences, and what they tell the method.
 * Main thread only. */
#include <mtk/train.h>
#include <string.h>

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
  mtk_calibration_options o = {.struct_size = sizeof o,
                               .pool = pool,
                               .arith = -1,
                               .isa = -1,
                               .ids = c->ids.data,
                               .lengths = c->lengths,
                               .n_seqs = c->n_seqs};
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
                               const mtk_quantizer_v1 *quantizer, const mtk_quantize_report *report,
                               const char **names, mtk_error *err) {
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
    MTK_TRY(mtk_model_quantize_now(model, quantizer, group, n_group, stats, err));
  }
  return MTK_OK;
}

mtk_status mtk_cmd_calibration_encode(mtk_cmd_calibration *c, mtk_model *model,
                                      const mtk_quantizer_v1 *quantizer,
                                      const mtk_quantize_report *report, mtk_error *err) {
  const char **names = mtk_alloc(report->n_rows, 2 * sizeof *names);
  mtk_status st = names ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  for (int stage = 0; stage < mtk_calibration_stages(c->stats) && st == MTK_OK; stage++) {
    st = mtk_calibration_next(c->stats, true, err);
    if (st == MTK_OK) st = encode_stage(c, stage, model, quantizer, report, names, err);
  }
  mtk_free((void *)names);
  return st;
}

int64_t mtk_cmd_calibration_tokens(const mtk_cmd_calibration *c) { return (int64_t)c->ids.len; }

const mtk_input_stats *mtk_cmd_calibration_stats(void *ctx, const char *tensor) {
  mtk_cmd_calibration *c = ctx;
  return mtk_calibration_find(c->stats, tensor);
}
