/* mtk/host.h: the table of functions that the host hands to a plugin.
 *
 * One row per function: X(return type, name without mtk_, (arguments), attribute). The order is
 * part of the ABI: rows are only ever appended, below those of the last minor version. Every
 * public function of base.h, dtype.h, option.h, text.h, model.h, graph.h, chat.h, engine.h and
 * train.h, the scalar math of kernel.h, and what plugins need of registry.h has a row; what each
 * one does stands there. A row newer than the host lies beyond struct_size; the abi block refuses
 * such a plugin (host.minor >= plugin.minor). Included by plugin.h. */
#ifndef MTK_HOST_H
#define MTK_HOST_H

#include <mtk/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mtk_plugin_info;  /* registry.h */
struct mtk_format_v1;    /* ext/format.h */
struct mtk_quantizer_v1; /* ext/quantizer.h */

/* clang-format off */
#define MTK_HOST_FUNCTIONS(X)                                                                     \
  /* base.h */                                                                                    \
  X(mtk_status, fail, (mtk_error *err, mtk_status code, const char *place, const char *fmt,       \
    ...), MTK_PRINTF(4, 5))                                                                       \
  X(mtk_status, fail_at, (mtk_error *err, mtk_status code, const char *path, uint64_t offset,     \
    const char *fmt, ...), MTK_PRINTF(5, 6))                                                      \
  X(mtk_status, fail_in, (mtk_error *err, mtk_status code, const char *prefix), )                 \
  X(const char *, status_name, (mtk_status code), )                                               \
  X(void *, alloc, (size_t count, size_t size), )                                                 \
  X(void *, realloc, (void *ptr, size_t old_count, size_t new_count, size_t size), )              \
  X(void, free, (void *ptr), )                                                                    \
  X(char *, strdup, (const char *s), )                                                            \
  X(char *, strndup, (const char *s, size_t n), )                                                 \
  X(char *, asprintf, (const char *fmt, ...), MTK_PRINTF(1, 2))                                   \
  X(void, alloc_fail_after, (int64_t n), )                                                        \
  X(mtk_arena *, arena_create, (void), )                                                          \
  X(void, arena_destroy, (mtk_arena *arena), )                                                    \
  X(void *, arena_alloc, (mtk_arena *arena, size_t count, size_t size), )                         \
  X(char *, arena_strndup, (mtk_arena *arena, const char *s, size_t n), )                         \
  X(void, bytes_append, (mtk_bytes *b, const void *data, size_t n), )                             \
  X(void, bytes_puts, (mtk_bytes *b, const char *s), )                                            \
  X(void, bytes_printf, (mtk_bytes *b, const char *fmt, ...), MTK_PRINTF(2, 3))                   \
  X(void, bytes_clear, (mtk_bytes *b), )                                                          \
  X(void, bytes_finish, (mtk_bytes *b), )                                                         \
  X(mtk_status, bytes_status, (const mtk_bytes *b, mtk_error *err), )                             \
  X(mtk_status, file_open, (mtk_file **out, const char *path, mtk_error *err), )                  \
  X(void, file_close, (mtk_file *file), )                                                         \
  X(bool, path_exists, (const char *path), )                                                      \
  X(bool, path_is_dir, (const char *path), )                                                      \
  X(char *, path_join, (const char *dir, const char *name), )                                     \
  X(const char *, path_base, (const char *path), )                                                \
  X(mtk_status, output_create, (mtk_output **out, const char *path, bool force, mtk_error         \
    *err), )                                                                                      \
  X(mtk_status, output_write, (mtk_output *out, const void *data, size_t n, mtk_error *err), )    \
  X(uint64_t, output_size, (const mtk_output *out), )                                             \
  X(mtk_status, output_commit, (mtk_output *out, mtk_error *err), )                               \
  X(void, output_abort, (mtk_output *out), )                                                      \
  X(mtk_status, write_file, (const char *path, const void *data, size_t n, bool force,            \
    mtk_error *err), )                                                                            \
  X(mtk_status, outdir_create, (mtk_outdir **out, const char *path, bool force, mtk_error         \
    *err), )                                                                                      \
  X(const char *, outdir_path, (const mtk_outdir *out), )                                         \
  X(mtk_status, outdir_commit, (mtk_outdir *out, mtk_error *err), )                               \
  X(void, outdir_abort, (mtk_outdir *out), )                                                      \
  X(void, log_set, (mtk_log_fn fn, void *ctx, mtk_log_level max_level), )                         \
  X(void, log, (mtk_log_level level, const char *fmt, ...), MTK_PRINTF(2, 3))                     \
  X(void, progress_set, (mtk_progress_fn fn, void *ctx), )                                        \
  X(void, progress, (const char *what, uint64_t done, uint64_t total, const char *unit), )        \
  X(void, cancel, (void), )                                                                       \
  X(bool, cancelled, (void), )                                                                    \
  X(mtk_status, pool_create, (mtk_pool **out, int n_threads, mtk_error *err), )                   \
  X(void, pool_destroy, (mtk_pool *pool), )                                                       \
  X(int, pool_size, (const mtk_pool *pool), )                                                     \
  X(void, pool_run, (mtk_pool *pool, int64_t n_tasks, mtk_task_fn fn, void *ctx), )               \
  X(void, philox, (uint32_t out[4], const uint32_t key[2], const uint32_t counter[4]), )          \
  X(double, uniform, (uint64_t seed, uint64_t stream, uint64_t index), )                          \
  X(double, normal, (uint64_t seed, uint64_t stream, uint64_t index), )                           \
  X(void, sha256_hex, (char out[65], const void *data, size_t n), )                               \
  X(mtk_sha256 *, sha256_create, (void), )                                                        \
  X(void, sha256_update, (mtk_sha256 *h, const void *data, size_t n), )                           \
  X(void, sha256_final_hex, (mtk_sha256 *h, char out[65]), )                                      \
  X(void, sha256_destroy, (mtk_sha256 *h), )                                                      \
  X(double, now_s, (void), )                                                                      \
  X(uint64_t, peak_rss_bytes, (void), )                                                           \
  X(size_t, utf8_prefix, (const char *s, size_t n, bool *incomplete), )                           \
  X(const char *, version, (void), )                                                              \
  /* dtype.h */                                                                                   \
  X(const mtk_dtype_info *, dtype_get, (mtk_dtype type), )                                        \
  X(mtk_dtype, dtype_by_name, (const char *name), )                                               \
  X(size_t, dtype_bytes, (mtk_dtype type, uint64_t n_elems), )                                    \
  X(void, dtype_decode, (mtk_dtype type, float *dst, const void *src, size_t n), )                \
  X(int, dtype_encode, (mtk_dtype type, void *dst, const float *src, size_t n), )                 \
  X(float, f16_to_f32, (uint16_t h), )                                                            \
  X(uint16_t, f32_to_f16, (float f), )                                                            \
  X(float, bf16_to_f32, (uint16_t h), )                                                           \
  X(uint16_t, f32_to_bf16, (float f), )                                                           \
  X(float, e4m3_to_f32, (uint8_t b), )                                                            \
  X(uint8_t, f32_to_e4m3, (float f), )                                                            \
  X(float, e5m2_to_f32, (uint8_t b), )                                                            \
  X(uint8_t, f32_to_e5m2, (float f), )                                                            \
  X(float, e8m0_to_f32, (uint8_t b), )                                                            \
  X(float, e2m1_to_f32, (uint8_t code), )                                                         \
  X(uint8_t, f32_to_e2m1, (float f), )                                                            \
  /* option.h */                                                                                  \
  X(mtk_option_values *, options_create, (const mtk_option_def *defs), )                          \
  X(void, options_destroy, (mtk_option_values *values), )                                         \
  X(mtk_status, options_set, (mtk_option_values *values, const char *name, const char *value,     \
    mtk_error *err), )                                                                            \
  X(bool, options_is_set, (const mtk_option_values *values, const char *name), )                  \
  X(bool, options_flag, (const mtk_option_values *values, const char *name), )                    \
  X(int64_t, options_int, (const mtk_option_values *values, const char *name), )                  \
  X(double, options_float, (const mtk_option_values *values, const char *name), )                 \
  X(const char *, options_string, (const mtk_option_values *values, const char *name), )          \
  X(size_t, options_list, (const mtk_option_values *values, const char *name, const char          \
    *const **items), )                                                                            \
  /* text.h */                                                                                    \
  X(mtk_vocab *, vocab_create, (void), )                                                          \
  X(void, vocab_destroy, (mtk_vocab *vocab), )                                                    \
  X(mtk_status, vocab_from_hf, (mtk_vocab **out, const char *json, size_t n, const char           \
    *config_json, size_t config_n, mtk_error *err), )                                             \
  X(mtk_status, vocab_to_hf, (mtk_bytes *json, mtk_bytes *config_json, const mtk_vocab *vocab,    \
    mtk_error *err), )                                                                            \
  X(mtk_status, vocab_set_pre, (mtk_vocab *vocab, const char *pre, mtk_error *err), )             \
  X(const char *, vocab_find_pre, (const mtk_vocab *vocab), )                                     \
  X(mtk_status, tokenizer_create, (mtk_tokenizer **out, const mtk_vocab *vocab, mtk_error         \
    *err), )                                                                                      \
  X(void, tokenizer_destroy, (mtk_tokenizer *tok), )                                              \
  X(mtk_status, ids_push, (mtk_ids *ids, int32_t id, mtk_error *err), )                           \
  X(void, ids_finish, (mtk_ids *ids), )                                                           \
  X(mtk_status, tokenizer_encode, (mtk_ids *out, const mtk_tokenizer *tok, const char *text,      \
    size_t n, unsigned flags, mtk_error *err), )                                                  \
  X(const char *, tokenizer_piece, (const mtk_tokenizer *tok, int32_t id, bool special, size_t    \
    *len), )                                                                                      \
  X(mtk_status, tokenizer_decode, (mtk_bytes *out, const mtk_tokenizer *tok, const int32_t        \
    *ids, size_t n, bool special, mtk_error *err), )                                              \
  X(size_t, tokenizer_size, (const mtk_tokenizer *tok), )                                         \
  X(int32_t, tokenizer_find, (const mtk_tokenizer *tok, const char *text), )                      \
  X(int32_t, tokenizer_bos, (const mtk_tokenizer *tok), )                                         \
  X(int32_t, tokenizer_eos, (const mtk_tokenizer *tok), )                                         \
  X(bool, tokenizer_is_eog, (const mtk_tokenizer *tok, int32_t id), )                             \
  X(bool, tokenizer_is_control, (const mtk_tokenizer *tok, int32_t id), )                         \
  X(void, utf8_stream_push, (mtk_utf8_stream *s, mtk_bytes *out, const char *data, size_t n,      \
    bool finish), )                                                                               \
  X(mtk_status, template_create, (mtk_template **out, const char *source, size_t n, mtk_error     \
    *err), )                                                                                      \
  X(void, template_destroy, (mtk_template *t), )                                                  \
  X(void, rendered_finish, (mtk_rendered *r), )                                                   \
  X(mtk_status, template_render, (mtk_rendered *out, const mtk_template *t, const char            \
    *context_json, size_t n, const mtk_template_options *options, mtk_error *err), )              \
  X(mtk_status, rendered_encode, (mtk_ids *out, uint8_t **mask, const mtk_rendered *r, const      \
    mtk_tokenizer *tok, mtk_error *err), )                                                        \
  /* model.h */                                                                                   \
  X(mtk_meta *, meta_create, (void), )                                                            \
  X(void, meta_destroy, (mtk_meta *meta), )                                                       \
  X(mtk_status, meta_set, (mtk_meta *meta, const char *key, const mtk_value *value, mtk_error     \
    *err), )                                                                                      \
  X(mtk_status, meta_set_uint, (mtk_meta *meta, const char *key, uint64_t v, mtk_error *err),     \
    )                                                                                             \
  X(mtk_status, meta_set_float, (mtk_meta *meta, const char *key, double v, mtk_error *err), )    \
  X(mtk_status, meta_set_bool, (mtk_meta *meta, const char *key, bool v, mtk_error *err), )       \
  X(mtk_status, meta_set_string, (mtk_meta *meta, const char *key, const char *s, mtk_error       \
    *err), )                                                                                      \
  X(void, meta_remove, (mtk_meta *meta, const char *key), )                                       \
  X(const mtk_value *, meta_get, (const mtk_meta *meta, const char *key), )                       \
  X(size_t, meta_count, (const mtk_meta *meta), )                                                 \
  X(const char *, meta_key, (const mtk_meta *meta, size_t index), )                               \
  X(const mtk_value *, meta_at, (const mtk_meta *meta, size_t index), )                           \
  X(mtk_status, meta_uint, (uint64_t *out, const mtk_meta *meta, const char *key, uint64_t        \
    fallback, mtk_error *err), )                                                                  \
  X(mtk_status, meta_float, (double *out, const mtk_meta *meta, const char *key, double           \
    fallback, mtk_error *err), )                                                                  \
  X(const char *, meta_str, (const mtk_meta *meta, const char *key, const char *fallback), )      \
  X(int64_t, tensor_rows, (const mtk_tensor *t), )                                                \
  X(int64_t, tensor_row_elems, (const mtk_tensor *t), )                                           \
  X(size_t, tensor_row_bytes, (const mtk_tensor *t), )                                            \
  X(mtk_status, tensor_fetch, (const void **out, const mtk_tensor *t, int64_t row0, int64_t       \
    n_rows, void *buf, mtk_error *err), )                                                         \
  X(mtk_status, tensor_fetch_f32, (float *out, const mtk_tensor *t, int64_t row0, int64_t         \
    n_rows, void *tmp, mtk_error *err), )                                                         \
  X(int64_t, tensor_scale_count, (const mtk_tensor *t), )                                         \
  X(mtk_model *, model_create, (void), )                                                          \
  X(void, model_destroy, (mtk_model *model), )                                                    \
  X(mtk_arena *, model_arena, (mtk_model *model), )                                               \
  X(mtk_status, model_keep_file, (mtk_model *model, mtk_file *file, mtk_error *err), )            \
  X(const char *, model_arch, (const mtk_model *model), )                                         \
  X(mtk_status, model_set_arch, (mtk_model *model, const char *arch_id, mtk_error *err), )        \
  X(const char *, model_format, (const mtk_model *model), )                                       \
  X(const char *, model_path, (const mtk_model *model), )                                         \
  X(mtk_status, model_set_source, (mtk_model *model, const char *format_id, const char *path,     \
    mtk_error *err), )                                                                            \
  X(mtk_meta *, model_meta, (const mtk_model *model), )                                           \
  X(mtk_status, model_add_tensor, (mtk_model *model, const mtk_tensor *tensor, mtk_error          \
    *err), )                                                                                      \
  X(size_t, model_tensor_count, (const mtk_model *model), )                                       \
  X(const mtk_tensor *, model_tensor_at, (const mtk_model *model, size_t index), )                \
  X(const mtk_tensor *, model_tensor, (const mtk_model *model, const char *name), )               \
  X(uint64_t, model_param_count, (const mtk_model *model), )                                      \
  X(mtk_status, model_replace_tensor, (mtk_model *model, const mtk_tensor *tensor, mtk_error      \
    *err), )                                                                                      \
  X(void, model_set_vocab, (mtk_model *model, mtk_vocab *vocab), )                                \
  X(const mtk_vocab *, model_vocab, (const mtk_model *model), )                                   \
  X(mtk_status, model_attach, (mtk_model *model, const char *name, const char *data, size_t n,    \
    mtk_error *err), )                                                                            \
  X(const char *, model_attachment, (const mtk_model *model, const char *name, size_t *n), )      \
  X(size_t, model_attachment_count, (const mtk_model *model), )                                   \
  X(const char *, model_attachment_name, (const mtk_model *model, size_t index), )                \
  X(mtk_status, model_warn, (mtk_model *model, const char *fmt, ...), MTK_PRINTF(2, 3))           \
  X(size_t, model_warning_count, (const mtk_model *model), )                                      \
  X(const char *, model_warning, (const mtk_model *model, size_t index), )                        \
  X(const struct mtk_arch_v1 *, arch_find, (const char *id), )                                    \
  X(const struct mtk_arch_v1 *, arch_find_hf, (const char *hf_class), )                           \
  X(const struct mtk_arch_v1 *, arch_find_gguf, (const char *gguf_name), )                        \
  X(mtk_status, arch_meta_from_hf, (mtk_meta *meta, const struct mtk_arch_v1 *arch, const char    \
    *config_json, size_t n, mtk_error *err), )                                                    \
  X(mtk_status, arch_config_to_hf, (mtk_bytes *out, const struct mtk_arch_v1 *arch, const         \
    mtk_model *model, mtk_error *err), )                                                          \
  X(const char *, arch_name_from_hf, (char *buf, size_t size, const struct mtk_arch_v1 *arch,     \
    const char *hf_name), )                                                                       \
  X(const char *, arch_name_to_hf, (char *buf, size_t size, const struct mtk_arch_v1 *arch,       \
    const char *name), )                                                                          \
  X(mtk_status, arch_check, (const struct mtk_arch_v1 *arch, const mtk_model *model, mtk_error    \
    *err), )                                                                                      \
  X(mtk_status, model_set_pairing, (mtk_model *model, const char *pairing, mtk_error *err), )     \
  X(mtk_status, arch_fill_meta, (mtk_model *model, const struct mtk_arch_v1 *arch, mtk_error      \
    *err), )                                                                                      \
  X(mtk_status, model_rope, (double *inv_freq, double *factor, int n, const mtk_model *model,     \
    mtk_error *err), )                                                                            \
  X(mtk_adapter *, adapter_create, (void), )                                                      \
  X(void, adapter_destroy, (mtk_adapter *adapter), )                                              \
  X(mtk_lora_pair *, adapter_find, (const mtk_adapter *adapter, const char *target), )            \
  X(mtk_status, adapter_fit, (mtk_adapter *adapter, const mtk_model *model, mtk_error *err), )    \
  X(mtk_status, model_merge, (mtk_model *model, const mtk_adapter *adapter, mtk_error *err), )    \
  /* graph.h */                                                                                   \
  X(mtk_node_value, graph_add, (mtk_graph *g, mtk_op op, const mtk_node_value *in, int n_in,      \
    const char *weight, int64_t width, const mtk_attrs *attrs), )                                 \
  X(mtk_node_value, graph_project, (mtk_graph *g, mtk_node_value x, const char *name, int64_t     \
    n_out, bool has_bias), )                                                                      \
  X(void, graph_set_logits, (mtk_graph *g, mtk_node_value logits), )                              \
  X(mtk_status, graph_status, (const mtk_graph *g, mtk_error *err), )                             \
  X(void, graph_set_kv, (mtk_graph *g, int n_layer, int n_head_kv, int head_dim, int v_dim), )    \
  X(int32_t, graph_add_rope, (mtk_graph *g, const double *inv_freq, int n, double mscale), )      \
  /* engine.h */                                                                                  \
  X(mtk_status, engine_create, (mtk_engine **out, const mtk_model *model, const                   \
    mtk_engine_options *options, mtk_error *err), )                                               \
  X(void, engine_destroy, (mtk_engine *engine), )                                                 \
  X(const mtk_model *, engine_model, (const mtk_engine *engine), )                                \
  X(const mtk_tokenizer *, engine_tokenizer, (const mtk_engine *engine), )                        \
  X(int64_t, engine_vocab, (const mtk_engine *engine), )                                          \
  X(int64_t, engine_context, (const mtk_engine *engine), )                                        \
  X(const char *, engine_isa, (const mtk_engine *engine), )                                       \
  X(const char *, engine_description, (const mtk_engine *engine), )                               \
  X(uint64_t, engine_weight_bytes, (const mtk_engine *engine), )                                  \
  X(mtk_status, engine_add_adapter, (int *id, mtk_engine *engine, const mtk_adapter *adapter,     \
    mtk_error *err), )                                                                            \
  X(mtk_status, engine_seq_open, (int *seq, mtk_engine *engine, mtk_error *err), )                \
  X(void, engine_seq_close, (mtk_engine *engine, int seq), )                                      \
  X(int64_t, engine_seq_length, (const mtk_engine *engine, int seq), )                            \
  X(void, engine_seq_truncate, (mtk_engine *engine, int seq, int64_t length), )                   \
  X(int64_t, engine_kv_free, (const mtk_engine *engine), )                                        \
  X(mtk_status, engine_forward, (const float **logits, int64_t *n_rows, mtk_engine *engine,       \
    const mtk_batch_item *items, int n_items, mtk_error *err), )                                  \
  X(const mtk_kernels *, engine_kernels, (const mtk_engine *engine), )                            \
  X(mtk_status, model_print_graph, (mtk_bytes *out, const mtk_model *model, mtk_error *err), )    \
  X(mtk_status, scheduler_create, (mtk_scheduler **out, mtk_engine *engine, mtk_error *err), )    \
  X(void, scheduler_destroy, (mtk_scheduler *s), )                                                \
  X(mtk_status, scheduler_submit, (uint64_t *id, mtk_scheduler *s, const mtk_request *request,    \
    mtk_error *err), )                                                                            \
  X(void, scheduler_cancel, (mtk_scheduler *s, uint64_t id), )                                    \
  X(mtk_status, scheduler_step, (int *active, mtk_scheduler *s, mtk_error *err), )                \
  X(void, scheduler_wait, (mtk_scheduler *s), )                                                   \
  X(void, scheduler_wake, (mtk_scheduler *s), )                                                   \
  X(void, scheduler_get_stats, (const mtk_scheduler *s, mtk_scheduler_stats *out), )              \
  X(mtk_status, chat_create, (mtk_chat **out, const mtk_model *model, const char                  \
    *template_override, mtk_error *err), )                                                        \
  X(void, chat_destroy, (mtk_chat *chat), )                                                       \
  X(const mtk_tokenizer *, chat_tokenizer, (const mtk_chat *chat), )                              \
  X(mtk_status, chat_render, (mtk_bytes *text, mtk_ids *ids, uint8_t **mask, const mtk_chat       \
    *chat, const char *request_json, size_t n, bool generation_prompt, const char *now,           \
    mtk_error *err), )                                                                            \
  /* train.h */                                                                                   \
  X(mtk_status, trainer_create, (mtk_trainer **out, const mtk_model *model, const                 \
    mtk_train_options *options, mtk_error *err), )                                                \
  X(void, trainer_destroy, (mtk_trainer *t), )                                                    \
  X(mtk_status, trainer_step, (mtk_train_stats *stats, mtk_trainer *t, const mtk_train_seq        \
    *seqs, int n_seqs, mtk_error *err), )                                                         \
  X(mtk_status, trainer_eval, (double *nll, double *weight, float *logprobs, mtk_trainer *t,      \
    const mtk_train_seq *seqs, int n_seqs, mtk_error *err), )                                     \
  X(int64_t, trainer_step_count, (const mtk_trainer *t), )                                        \
  X(int64_t, trainer_trainable_params, (const mtk_trainer *t), )                                  \
  X(bool, trainer_tensor, (const float **value, const float **grad, int64_t *n, const             \
    mtk_trainer *t, const char *name), )                                                          \
  X(mtk_status, trainer_save, (const mtk_trainer *t, const char *dir, const char *state_json,     \
    mtk_error *err), )                                                                            \
  X(mtk_status, trainer_load, (mtk_bytes *state_json, mtk_trainer *t, const char *dir,            \
    mtk_error *err), )                                                                            \
  X(mtk_status, trainer_adapter, (mtk_adapter **out, const mtk_trainer *t, mtk_error *err), )     \
  X(mtk_status, trainer_apply, (const mtk_trainer *t, mtk_model *model, mtk_dtype dtype,          \
    mtk_error *err), )                                                                            \
  X(mtk_status, model_init_random, (mtk_model *model, uint64_t seed, mtk_error *err), )           \
  X(mtk_status, model_init_from_config, (mtk_model **out, const char *config_path, const char     \
    *folder, uint64_t seed, mtk_error *err), )                                                    \
  X(mtk_status, dataset_create, (mtk_dataset **out, const char *const *paths, int n_paths,        \
    const mtk_chat *chat, const mtk_tokenizer *tok, const mtk_dataset_options *options,           \
    mtk_error *err), )                                                                            \
  X(void, dataset_destroy, (mtk_dataset *d), )                                                    \
  X(int64_t, dataset_count, (const mtk_dataset *d), )                                             \
  X(int64_t, dataset_tokens, (const mtk_dataset *d), )                                            \
  X(int64_t, dataset_truncated, (const mtk_dataset *d), )                                         \
  X(mtk_train_seq, dataset_at, (const mtk_dataset *d, int64_t index), )                           \
  X(const char *, dataset_sha256, (const mtk_dataset *d), )                                       \
  X(int, dataset_batch, (int64_t *indices, int room, int64_t *cursor, const mtk_dataset *d,       \
    int64_t batch_tokens, uint64_t seed), )                                                       \
  /* kernel.h */                                                                                  \
  X(float, math_expf, (float x), )                                                                \
  X(float, math_logf, (float x), )                                                                \
  X(double, math_exp, (double x), )                                                               \
  X(double, math_log, (double x), )                                                               \
  X(double, math_pow, (double base, double exponent), )                                           \
  X(void, math_sincos, (double x, double *sin_out, double *cos_out), )                            \
  /* registry.h */                                                                                \
  X(const void *, feature_at, (const char *id, size_t index, const struct mtk_plugin_info         \
    **from), )                                                                                    \
  X(const void *, feature_find, (const char *id, const char *name), )                             \
  X(const struct mtk_format_v1 *, format_find, (const char *id), )                                \
  X(mtk_status, format_probe, (const struct mtk_format_v1 **out, const char *path, uint32_t       \
    need, mtk_error *err), )                                                                      \
  X(const struct mtk_format_v1 *, format_for_output, (const char *path), )                        \
  X(mtk_status, model_load, (mtk_model **out, const char *path, mtk_error *err), )                \
  X(mtk_status, adapter_load, (mtk_adapter **out, const char *path, mtk_error *err), )            \
  X(const struct mtk_quantizer_v1 *, quantizer_find, (const char *method), )                      \
  X(mtk_status, provenance_json, (mtk_bytes *out, const char *command, int n_args, const char     \
    *const *args, const char *const *sources, int n_sources, mtk_error *err), )                   \
  /* additions */                                                                                 \
  X(mtk_status, adapter_view, (mtk_adapter **out, const mtk_adapter *adapter, const char          \
    *pairing, const mtk_model *base, mtk_error *err), )                                          \
  X(mtk_status, model_rope_scale, (double *out, const mtk_model *model, mtk_error *err), )        \
  X(mtk_status, mount_create, (mtk_mount **out, const char *prefix, mtk_error *err), )            \
  X(mtk_status, mount_keep, (mtk_mount *mount, mtk_file *file, mtk_error *err), )                 \
  X(mtk_status, mount_add, (mtk_mount *mount, const char *name, const uint8_t *data, size_t       \
    size, mtk_error *err), )                                                                      \
  X(mtk_status, mount_publish, (mtk_mount *mount, mtk_error *err), )                              \
  X(void, mount_release, (mtk_mount *mount), )                                                    \
  X(mtk_status, folder_list, (const char ***names, size_t *n, mtk_arena *arena, const char        \
    *path, mtk_error *err), )                                                                     \
  X(mtk_status, zip_parse, (mtk_zip *out, mtk_arena *arena, const uint8_t *data, size_t size,     \
    const char *path, mtk_error *err), )                                                          \
  X(const mtk_zip_entry *, zip_find, (const mtk_zip *zip, const char *name), )                    \
  X(mtk_status, output_create_scratch, (mtk_output **out, mtk_error *err), )                      \
  X(mtk_status, output_map, (mtk_file **file, mtk_output *out, mtk_error *err), )                 \
  X(void, model_keep_model, (mtk_model *model, mtk_model *part), )                                \
  X(mtk_status, model_join_experts, (mtk_model *model, const struct mtk_arch_v1 *arch, bool       \
    transposed, mtk_error *err), )                                                                \
  X(mtk_status, model_split_experts, (mtk_model *model, const struct mtk_arch_v1 *arch, mtk_error \
    *err), )                                                                                      \
  X(int, dtype_encode_weighted, (mtk_dtype type, void *dst, const float *src, size_t n_rows,      \
    size_t k, const float *importance), )                                                        \
  X(mtk_status, vocab_from_spm, (mtk_vocab **out, const void *data, size_t n, mtk_error *err), ) \
  X(mtk_status, vocab_to_spm, (mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err), )        \
  X(mtk_status, vocab_from_tekken, (mtk_vocab **out, const char *json, size_t n, mtk_error       \
    *err), )                                                                                     \
  X(mtk_status, vocab_to_tekken, (mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err), ) \
  X(mtk_status, vocab_from_tiktoken, (mtk_vocab **out, const char *text, size_t n, const        \
    char *encoding, mtk_error *err), ) \
  X(mtk_status, vocab_to_tiktoken, (mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err), ) \
  X(mtk_status, vocab_set_spm, (mtk_vocab *vocab, const mtk_spm_pipeline *pipeline,             \
    mtk_error *err), ) \
  X(bool, vocab_get_spm, (mtk_spm_pipeline *out, const mtk_vocab *vocab), ) \
  X(mtk_status, vocab_merges, (const char *const **merges, size_t *n, mtk_arena *arena,         \
    const mtk_vocab *vocab, mtk_error *err), ) \
  X(mtk_status, vocab_scores, (float *scores, const mtk_vocab *vocab, mtk_error *err), )          \
  X(mtk_status, expand_check, (uint64_t size, uint64_t stored_size, const char *path,             \
    mtk_error *err), ) \
  X(mtk_status, token_stream_create, (mtk_token_stream **out, const mtk_tokenizer *tok, bool      \
    special, mtk_error *err), ) \
  X(void, token_stream_destroy, (mtk_token_stream *s), ) \
  X(mtk_status, token_stream_push, (mtk_token_stream *s, mtk_bytes *out, int32_t id, mtk_error    \
    *err), ) \
  X(mtk_status, token_stream_finish, (mtk_token_stream *s, mtk_bytes *out, mtk_error *err), ) \
  X(const char *, chat_encoding, (const mtk_chat *chat), )                                        \
  X(mtk_status, chat_parser_create, (mtk_chat_parser **out, const mtk_chat *chat, const           \
    mtk_chat_parser_options *options, mtk_error *err), )                                          \
  X(void, chat_parser_destroy, (mtk_chat_parser *parser), )                                       \
  X(bool, chat_parser_is_active, (const mtk_chat_parser *parser), )                               \
  X(mtk_status, chat_parser_push, (const mtk_chat_delta **deltas, size_t *n_deltas,               \
    mtk_chat_parser *parser, const char *text, size_t n, bool finish, mtk_error *err), )          \
  X(const char *, chat_parser_names, (void), )                                                    \
  X(mtk_status, model_shift_norms, (mtk_model *model, const struct mtk_arch_v1 *arch, bool        \
    to_hf, mtk_error *err), )                                                                     \
  X(const mtk_kernels *, kernels_default, (void), )                                              \
  X(void, graph_set_rope_temperature, (mtk_graph *g, int32_t table, double temperature, int64_t  \
    length), )                                                                                   \
  X(mtk_vocab *, model_take_vocab, (mtk_model *model), )                                          \
  X(void, graph_set_hidden, (mtk_graph *g, mtk_node_value hidden), )                              \
  X(mtk_status, engine_embedding, (mtk_embedding *out, const mtk_engine *engine, mtk_error        \
    *err), )                                                                                      \
  X(mtk_status, embedding_ids, (mtk_ids *out, const mtk_engine *engine, const char *text,         \
    size_t n, mtk_error *err), )                                                                  \
  X(float, math_tanhf, (float x), )                                                               \
  X(mtk_status, engine_embed, (float *out, mtk_engine *engine, const int32_t *ids, const int64_t  \
    *n_ids, int n_texts, mtk_pooling pooling, bool normalized, mtk_error *err), )                \
  X(mtk_status, model_open_file, (const mtk_file **out, mtk_model *model, const char *path,        \
    mtk_error *err), ) \
  X(mtk_status, output_create_in, (mtk_output **out, mtk_outputs *outputs, const char *path,       \
    bool force, mtk_error *err), )                                                                 \
  X(mtk_status, outdir_create_in, (mtk_outdir **out, mtk_outputs *outputs, const char *path,       \
    bool force, mtk_error *err), )                                                                 \
  X(bool, output_has, (mtk_output *out, const char *name, uint64_t n), )                           \
  X(mtk_status, output_mark, (mtk_output *out, mtk_error *err), )                                  \
  X(const char *, outputs_folder, (const mtk_outputs *outputs), ) \
  X(mtk_status, outputs_resume, (mtk_outputs **out, const char *path, const char *key, bool resume,\
    mtk_error *err), )                                                                             \
  X(mtk_status, outputs_compare, (mtk_outputs **out, mtk_error *err), )                            \
  X(void, outputs_close, (mtk_outputs *outputs, bool keep), )                                      \
  X(bool, outputs_hold, (const mtk_outputs *outputs), )                                            \
  X(char *, outputs_key, (const char *path), )                                                     \
  X(mtk_status, outputs_scratch, (mtk_output **out, mtk_outputs *outputs, const char *name,        \
    mtk_error *err), )                                                                             \
  X(bool, outputs_has_scratch, (const mtk_outputs *outputs, const char *name), )                   \
  X(void, model_set_outputs, (mtk_model *model, mtk_outputs *outputs), )                           \
  X(mtk_outputs *, model_outputs, (const mtk_model *model), )                                      \
  X(mtk_status, model_synthetic, (mtk_model **out, const char *config_path,                        \
    const mtk_synthetic_options *options, mtk_error *err), )                                       \
  X(void, engine_profile, (mtk_engine *engine, bool on), )                                         \
  X(const mtk_op_stats *, engine_op_stats, (size_t *n, const mtk_engine *engine), )                \
  X(int64_t, tensor_matrices, (const mtk_tensor *t), )                                             \
  X(const struct mtk_arch_tensor *, arch_row_at, (long index[2],                                   \
    const struct mtk_arch_v1 *arch, const char *name), )

/* clang-format on */

struct mtk_host {
  size_t struct_size;
  uint16_t major, minor;
#define MTK_HOST_POINTER(ret, name, args, attr) ret(*name) args attr;
  MTK_HOST_FUNCTIONS(MTK_HOST_POINTER)
#undef MTK_HOST_POINTER
};

#ifdef __cplusplus
}
#endif
#endif
