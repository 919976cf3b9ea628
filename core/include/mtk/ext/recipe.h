/* mtk/ext/recipe.h: "mtk.recipe/1": one way to fine-tune (sft, later dpo, grpo). */
#ifndef MTK_EXT_RECIPE_H
#define MTK_EXT_RECIPE_H

#include <mtk/option.h>
#include <mtk/train.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MTK_EXT_RECIPE "mtk.recipe/1"

typedef struct mtk_recipe_args {
  size_t struct_size;
  mtk_model *model; /* loaded, or initialised at random; borrowed */
  const char *model_path;
  const char *const *data; /* files */
  int n_data;
  const char *out; /* result folder; checkpoints below "<out>.ckpt" until done */
  bool resume, force;
  mtk_pool *pool;
  const mtk_option_values *options; /* of the recipe's own table */
  const char *provenance;           /* JSON to store with the result */
  /* One JSON object per event ({"event":"step","step":1,"loss":...}); may be NULL. */
  void (*on_event)(void *ctx, const char *json);
  void *ctx;
  /* Store the result at `out`: an adapter (model NULL) or a whole model (adapter NULL). */
  mtk_status (*save)(void *ctx, mtk_model *model, const mtk_adapter *adapter, mtk_error *err);
} mtk_recipe_args;

typedef struct mtk_recipe_v1 {
  size_t struct_size;
  const char *method; /* "sft" */
  const char *title;
  const mtk_option_def *options;
  /* Runs to the end (or until mtk_cancelled(): then saves a checkpoint and returns
   * MTK_E_CANCELLED). One call at a time. */
  mtk_status (*run)(const mtk_recipe_args *args, mtk_error *err);
} mtk_recipe_v1;

#ifdef __cplusplus
}
#endif
#endif
