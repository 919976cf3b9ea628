/* tests/unit/tiny_llama.h: a random llama-shaped model in memory, and its graph without a plugin:
 * for the tests of graph, engine, scheduler and training. */
#ifndef MTK_TESTS_TINY_LLAMA_H
#define MTK_TESTS_TINY_LLAMA_H

#include <mtk/graph.h>
#include <mtk/model.h>

typedef struct tiny_config {
  int64_t vocab, dim, ff;
  int n_layer, n_head, n_head_kv, head_dim;
  mtk_dtype type; /* of the matrices; vectors are f32 */
  bool biases;    /* q, k and v have biases, as in qwen2 */
  bool tied;      /* the output matrix is the embedding */
  bool interleaved;
  uint64_t seed;
  /* What Gemma and Phi do besides: q and k normed per head, scores and logits softly capped, layer
   * 0 with a window of 5 and rotary base 100, gelu, embeddings times 3, q, k, v in one matrix, gate
   * and up in one. No biases then. */
  bool rich;
} tiny_config;
/* 67 ids, width 64, 2 layers, 4 heads over 2 KV heads of 16, f32, biases, untied. */
extern const tiny_config tiny_default;

/* NULL on failure. Also remembers the configuration for tiny_build (one model per program run at a
 * time, or models of one configuration). */
mtk_model *tiny_model(const tiny_config *config);
/* The build function of the model made last. */
mtk_status tiny_build(mtk_graph *g, const mtk_model *model, mtk_error *err);
/* A random adapter of this rank on attn_q, attn_v and ffn_down of every block. */
mtk_adapter *tiny_adapter(const tiny_config *config, int64_t rank, uint64_t seed);

#endif
