/* train/init.c: a model with random weights from config.json and tokenizer files. */
#include <mtk/train.h>

#include <stdio.h>

#include "model/model_impl.h"

/* One tensor of the architecture's table, filled and added. */
static mtk_status add_random(mtk_model *model, const mtk_arch_slot *slot, uint64_t seed,
                             uint64_t stream, uint64_t n_block, mtk_error *err) {
  char name[160];
  snprintf(name, sizeof name, "%s.weight", slot->name);
  mtk_tensor t = {.name = name, .dtype = MTK_F32, .n_dims = slot->n_dims};
  size_t count = 1;
  for (int d = 0; d < slot->n_dims; d++) {
    t.shape[d] = slot->shape[d];
    if (!mtk_mul_ok(count, (size_t)slot->shape[d], &count))
      return mtk_fail(err, MTK_E_NOMEM, name, "too large");
  }
  float *x = mtk_arena_alloc(mtk_model_arena(model), count, sizeof *x);
  if (!x) return mtk_fail(err, MTK_E_NOMEM, name, "out of memory");
  double sigma = mtk_arch_init_sigma(slot, n_block);
  for (size_t i = 0; i < count; i++)
    x[i] = slot->n_dims == 1 ? 1.0f : (float)(sigma * mtk_normal(seed, stream, i));
  t.data = x;
  t.size_bytes = count * sizeof *x;
  return mtk_model_add_tensor(model, &t, err);
}

mtk_status mtk_model_init_random(mtk_model *model, uint64_t seed, mtk_error *err) {
  const mtk_arch_v1 *arch = mtk_arch_find(mtk_model_arch(model));
  if (!arch)
    return mtk_fail(err, MTK_E_UNSUPPORTED, NULL, "no plugin knows the architecture '%s'",
                    mtk_model_arch(model));
  uint64_t n_block, stream = 0;
  MTK_TRY(mtk_meta_uint(&n_block, mtk_model_meta(model), "block_count", 0, err));
  mtk_arch_walk walk = {0};
  mtk_arch_slot slot;
  mtk_status st = MTK_OK;
  while (mtk_arch_next(&slot, &walk, arch, mtk_model_meta(model), &st, err)) {
    if (!(slot.row->flags & MTK_TENSOR_REQUIRED)) continue;
    MTK_TRY(add_random(model, &slot, seed, stream++, n_block, err));
  }
  return st;
}

/* ---- from files --------------------------------------------------------------------------------
 */

/* dir/name as an attachment; absent files are fine. */
static mtk_status attach_file(mtk_model *model, const char *dir, const char *name, const char *as,
                              mtk_error *err) {
  char *path = mtk_path_join(dir, name);
  if (!path) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_file *file = NULL;
  mtk_status st = MTK_OK;
  if (mtk_path_exists(path)) st = mtk_file_open(&file, path, err);
  if (file) st = mtk_model_attach(model, as, (const char *)file->data, file->size, err);
  mtk_file_close(file);
  mtk_free(path);
  return st;
}

/* The folder's tokenizer, if it has one. */
static mtk_status set_vocab(mtk_model *model, const char *folder, mtk_error *err) {
  char *json_path = mtk_path_join(folder, "tokenizer.json");
  char *config_path = mtk_path_join(folder, "tokenizer_config.json");
  mtk_file *json = NULL, *config = NULL;
  mtk_vocab *vocab = NULL;
  mtk_status st =
      json_path && config_path ? MTK_OK : mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  if (st == MTK_OK && mtk_path_exists(json_path)) st = mtk_file_open(&json, json_path, err);
  if (st == MTK_OK && mtk_path_exists(config_path)) st = mtk_file_open(&config, config_path, err);
  if (st == MTK_OK && json)
    st = mtk_vocab_from_hf(&vocab, (const char *)json->data, json->size,
                           config ? (const char *)config->data : NULL, config ? config->size : 0,
                           err);
  if (vocab) mtk_model_set_vocab(model, vocab);
  mtk_file_close(json);
  mtk_file_close(config);
  mtk_free(json_path);
  mtk_free(config_path);
  return st;
}

/* Files of the folder that a model carries, and under which name. */
static const char *const g_files[][2] = {{"chat_template.jinja", "chat_template"},
                                         {"generation_config.json", "generation_config.json"},
                                         {"LICENSE", "LICENSE"}};

static mtk_status fill_model(mtk_model *model, const char *config_path, const char *folder,
                             uint64_t seed, mtk_error *err) {
  mtk_file *config = NULL;
  MTK_TRY(mtk_file_open(&config, config_path, err));
  mtk_status st =
      mtk_model_attach(model, "config.json", (const char *)config->data, config->size, err);
  mtk_file_close(config);
  for (size_t i = 0; i < sizeof g_files / sizeof g_files[0] && st == MTK_OK; i++)
    st = attach_file(model, folder, g_files[i][0], g_files[i][1], err);
  if (st == MTK_OK) {
    st = mtk_model_read_config(model, err);
    if (st != MTK_OK) return mtk_fail_in(err, st, config_path);
    st = set_vocab(model, folder, err);
  }
  if (st == MTK_OK) st = mtk_model_set_source(model, "init", folder, err);
  return st == MTK_OK ? mtk_model_init_random(model, seed, err) : st;
}

mtk_status mtk_model_init_from_config(mtk_model **out, const char *config_path, const char *folder,
                                      uint64_t seed, mtk_error *err) {
  *out = mtk_model_create();
  if (!*out) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  mtk_status st = fill_model(*out, config_path, folder, seed, err);
  if (st != MTK_OK) {
    mtk_model_destroy(*out);
    *out = NULL;
  }
  return st;
}
