/* text/vocab_spm_read.c: SentencePiece models (sentencepiece_model.proto) into a vocabulary. One
 * thread per vocabulary; borrows the bytes while it reads. */
#include <string.h>

#include "base/hashmap.h"
#include "text/protobuf.h"
#include "text/vocab_spm.h"

static const char place[] = "SentencePiece model";

/* What the two specs say. Absent fields have protobuf's defaults. */
typedef struct spec {
  uint64_t model_type;
  bool byte_fallback;
  mtk_spm_pipeline pipeline;
  const uint8_t *names[4]; /* of unk, bos, eos, pad */
  size_t name_lens[4];
} spec;

static mtk_status no_memory(mtk_error *err) {
  return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory reading a tokenizer");
}

static mtk_status check(const text_pb *pb, const char *message, mtk_error *err) {
  if (!pb->broken) return MTK_OK;
  return mtk_fail(err, MTK_E_FORMAT, place, "the protobuf message %s is broken at byte %zu",
                  message, pb->at);
}

/* ---- specs ---------------------------------------------------------------------------------- */

static mtk_status read_trainer(spec *out, const text_pb_field *message, mtk_error *err) {
  text_pb pb = {message->data, message->n, 0, false};
  text_pb_field f;
  while (mtk_text_pb_next(&pb, &f)) {
    if (f.number == TEXT_SPM_MODEL_TYPE) out->model_type = f.value;
    if (f.number == TEXT_SPM_BYTE_FALLBACK) out->byte_fallback = f.value != 0;
    if (f.number == TEXT_SPM_WHITESPACE_SUFFIX) out->pipeline.whitespace_suffix = f.value != 0;
    if (f.number >= TEXT_SPM_UNK_TEXT && f.number < TEXT_SPM_UNK_TEXT + 4 && f.data) {
      out->names[f.number - TEXT_SPM_UNK_TEXT] = f.data;
      out->name_lens[f.number - TEXT_SPM_UNK_TEXT] = f.n;
    }
  }
  return check(&pb, "trainer_spec", err);
}

static mtk_status read_normalizer(spec *out, const text_pb_field *message, mtk_error *err) {
  text_pb pb = {message->data, message->n, 0, false};
  text_pb_field f;
  while (mtk_text_pb_next(&pb, &f)) {
    if (f.number == TEXT_SPM_DUMMY_PREFIX) out->pipeline.dummy_prefix = f.value != 0;
    if (f.number == TEXT_SPM_REMOVE_EXTRA) out->pipeline.remove_extra_whitespaces = f.value != 0;
    if (f.number == TEXT_SPM_ESCAPE) out->pipeline.escape_whitespaces = f.value != 0;
    if (f.number == TEXT_SPM_CHARSMAP && f.data) {
      out->pipeline.charsmap = (const char *)f.data;
      out->pipeline.n_charsmap = f.n;
    }
  }
  return check(&pb, "normalizer_spec", err);
}

/* Texts are rewritten while decoding: nobody publishes such models. */
static mtk_status check_denormalizer(const text_pb_field *message, mtk_error *err) {
  spec rules = {0};
  MTK_TRY(read_normalizer(&rules, message, err));
  if (rules.pipeline.n_charsmap == 0) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, place, "denormalizer_spec has rules");
}

static mtk_status read_specs(spec *out, size_t *n_pieces, const void *data, size_t n,
                             mtk_error *err) {
  static const char *const names[] = {"<unk>", "<s>", "</s>", "<pad>"};
  *out = (spec){.model_type = TEXT_SPM_UNIGRAM};
  out->pipeline.dummy_prefix = out->pipeline.remove_extra_whitespaces = true;
  out->pipeline.escape_whitespaces = true;
  for (size_t i = 0; i < 4; i++) {
    out->names[i] = (const uint8_t *)names[i];
    out->name_lens[i] = strlen(names[i]);
  }
  text_pb pb = {data, n, 0, false};
  text_pb_field f;
  *n_pieces = 0;
  while (mtk_text_pb_next(&pb, &f)) {
    if (f.wire != 2) continue;
    if (f.number == TEXT_SPM_PIECE) ++*n_pieces;
    if (f.number == TEXT_SPM_TRAINER) MTK_TRY(read_trainer(out, &f, err));
    if (f.number == TEXT_SPM_NORMALIZER) MTK_TRY(read_normalizer(out, &f, err));
    if (f.number == TEXT_SPM_DENORMALIZER) MTK_TRY(check_denormalizer(&f, err));
  }
  MTK_TRY(check(&pb, "ModelProto", err));
  if (out->model_type == TEXT_SPM_UNIGRAM || out->model_type == TEXT_SPM_BPE) return MTK_OK;
  return mtk_fail(err, MTK_E_UNSUPPORTED, place, "model_type %llu (WORD or CHAR)",
                  (unsigned long long)out->model_type);
}

/* ---- pieces --------------------------------------------------------------------------------- */

static mtk_status read_piece(mtk_vocab *vocab, mtk_token *t, const text_pb_field *message,
                             mtk_error *err) {
  text_pb pb = {message->data, message->n, 0, false};
  text_pb_field f;
  const uint8_t *text = NULL;
  size_t id = (size_t)(t - vocab->tokens), n = 0;
  t->type = MTK_TOKEN_NORMAL;
  while (mtk_text_pb_next(&pb, &f)) {
    if (f.number == TEXT_SPM_PIECE_SCORE && f.wire == 5) t->score = mtk_text_pb_float(&f);
    if (f.number == TEXT_SPM_PIECE_TYPE) {
      bool known = f.value >= MTK_TOKEN_NORMAL && f.value <= MTK_TOKEN_BYTE;
      if (!known) return mtk_fail(err, MTK_E_FORMAT, place, "piece %zu has no known type", id);
      t->type = (uint8_t)f.value;
    }
    if (f.number == TEXT_SPM_PIECE_TEXT && f.data) {
      text = f.data;
      n = f.n;
    }
  }
  MTK_TRY(check(&pb, "SentencePiece", err));
  if (n == 0 || n > UINT32_MAX || memchr(text, 0, n)) {
    return mtk_fail(err, MTK_E_FORMAT, place, "piece %zu is empty or contains a zero byte", id);
  }
  t->text = mtk_arena_strndup(vocab->arena, (const char *)text, n);
  t->len = (uint32_t)n;
  return t->text ? MTK_OK : no_memory(err);
}

static mtk_status read_pieces(mtk_vocab *vocab, mtk_map *ids, const void *data, size_t n,
                              size_t n_pieces, mtk_error *err) {
  text_pb pb = {data, n, 0, false};
  text_pb_field f;
  if (n_pieces == 0 || n_pieces > INT32_MAX) {
    return mtk_fail(err, MTK_E_FORMAT, place, "it has %zu pieces", n_pieces);
  }
  vocab->tokens = mtk_arena_alloc(vocab->arena, n_pieces, sizeof *vocab->tokens);
  if (!vocab->tokens) return no_memory(err);
  while (mtk_text_pb_next(&pb, &f)) {
    if (f.number != TEXT_SPM_PIECE || f.wire != 2) continue;
    mtk_token *t = &vocab->tokens[vocab->n_tokens];
    MTK_TRY(read_piece(vocab, t, &f, err));
    bool found = false;
    mtk_map_value *value = mtk_map_put(ids, t->text, t->len, &found);
    if (!value) return no_memory(err);
    if (!found) value->i = (int64_t)vocab->n_tokens;
    if (t->type == MTK_TOKEN_UNKNOWN) vocab->unk = (int32_t)vocab->n_tokens;
    vocab->n_tokens++;
  }
  return MTK_OK;
}

static int32_t control_id(const mtk_vocab *vocab, const mtk_map *ids, const spec *s, size_t name) {
  const mtk_map_value *v = mtk_map_get(ids, (const char *)s->names[name], s->name_lens[name]);
  return v && vocab->tokens[v->i].type == MTK_TOKEN_CONTROL ? (int32_t)v->i : -1;
}

/* Mistral's versions differ in their control pieces; version 1 has none of its own. */
static int32_t mistral_version(const mtk_map *ids) {
  static const struct {
    const char *piece;
    int32_t version;
  } marks[] = {{"[SYSTEM_PROMPT]", 7}, {"[PREFIX]", 3}, {"[TOOL_CALLS]", 2}};
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
    if (mtk_map_get(ids, marks[i].piece, strlen(marks[i].piece))) return marks[i].version;
  }
  return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static mtk_status read_all(mtk_vocab *vocab, mtk_map *ids, const void *data, size_t n,
                           mtk_error *err) {
  spec s;
  size_t n_pieces = 0;
  MTK_TRY(read_specs(&s, &n_pieces, data, n, err));
  MTK_TRY(read_pieces(vocab, ids, data, n, n_pieces, err));
  if (vocab->unk < 0) return mtk_fail(err, MTK_E_FORMAT, place, "no piece has type UNKNOWN");
  vocab->kind = s.model_type == TEXT_SPM_BPE ? MTK_VOCAB_SPM : MTK_VOCAB_UNIGRAM;
  vocab->byte_fallback = s.byte_fallback;
  vocab->fuse_unk = vocab->user_defined_in_model = true;
  vocab->bos = control_id(vocab, ids, &s, 1);
  vocab->eos = control_id(vocab, ids, &s, 2);
  vocab->pad = control_id(vocab, ids, &s, 3);
  vocab->mistral_version = mistral_version(ids);
  MTK_TRY(mtk_vocab_set_spm(vocab, &s.pipeline, err));
  char *kept = mtk_arena_alloc(vocab->arena, n, 1);
  if (!kept) return no_memory(err);
  memcpy(kept, data, n);
  vocab->spm_model = kept;
  vocab->spm_model_len = n;
  return MTK_OK;
}

mtk_status mtk_vocab_from_spm(mtk_vocab **out, const void *data, size_t n, mtk_error *err) {
  mtk_vocab *vocab = mtk_vocab_create();
  mtk_map *ids = mtk_map_create();
  mtk_status status = vocab && ids ? read_all(vocab, ids, data, n, err) : no_memory(err);
  mtk_map_destroy(ids);
  if (status != MTK_OK) {
    mtk_vocab_destroy(vocab);
    return status;
  }
  *out = vocab;
  return MTK_OK;
}
