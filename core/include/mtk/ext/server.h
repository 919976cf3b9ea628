/* mtk/ext/server.h: "mtk.server/1": a network front end over schedulers. */
#ifndef MTK_EXT_SERVER_H
#define MTK_EXT_SERVER_H

#include <mtk/engine.h>
#include <mtk/option.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MTK_EXT_SERVER "mtk.server/1"

/* One name a client can ask for: a base model, or an adapter on it. */
typedef struct mtk_served_model {
  const char *name;
  mtk_scheduler *scheduler;
  const mtk_chat *chat; /* NULL: completions only */
  const mtk_engine *engine;
  int adapter;
  mtk_sampling sampling; /* for what a request leaves open; its seed is not used */
} mtk_served_model;

typedef struct mtk_server_args {
  size_t struct_size;
  const mtk_served_model *models; /* the first is the default */
  int n_models;
  const mtk_option_values *options; /* of the server's own table (listen, api-key, ...) */
  /* Called once when connections are accepted: the bound "host:port". */
  void (*on_ready)(void *ctx, const char *address);
  void *ctx;
} mtk_server_args;

typedef struct mtk_server_v1 {
  size_t struct_size;
  const char *id; /* "openai" */
  const char *title;
  const mtk_option_def *options;
  /* Serves until mtk_cancelled(): then refuses new requests, lets running ones finish (drain,
   * bounded by the option drain-s), returns MTK_OK. Starts one engine thread per distinct
   * scheduler. MTK_E_CANCELLED: stopped, but the drain had to cut requests off. */
  mtk_status (*run)(const mtk_server_args *args, mtk_error *err);
} mtk_server_v1;

#ifdef __cplusplus
}
#endif
#endif
