/* text/vocab_spm_write.c: a vocabulary as a SentencePiece model: the kept original, or a new one
 * from the fields. Reads only; any thread. */

#include "text/protobuf.h"
#include "text/vocab_spm.h"

static const char place[] = "SentencePiece model";

static void put_message(mtk_bytes *out, uint32_t number, mtk_bytes *message) {
  if (message->failed) out->failed = true;
  mtk_text_pb_put_bytes(out, number, message->data ? message->data : "", message->len);
  mtk_bytes_clear(message);
}

static void put_piece(mtk_bytes *out, mtk_bytes *message, const mtk_token *t, size_t id) {
  mtk_bytes name = {0};
  mtk_bytes_printf(&name, "[PAD%zu]", id); /* as llama.cpp names holes */
  if (name.failed) message->failed = true;
  const char *text = t->text || name.failed ? t->text : name.data;
  size_t n = t->text ? t->len : name.len;
  if (text) mtk_text_pb_put_bytes(message, TEXT_SPM_PIECE_TEXT, text, n);
  mtk_text_pb_put_float(message, TEXT_SPM_PIECE_SCORE, t->score);
  mtk_text_pb_put_varint(message, TEXT_SPM_PIECE_TYPE, t->text ? t->type : MTK_TOKEN_UNUSED);
  mtk_bytes_finish(&name);
  put_message(out, TEXT_SPM_PIECE, message);
}

/* Ids of unk, bos, eos, pad; the names that lead to them in SentencePiece's processor. */
static void put_specials(mtk_bytes *message, const mtk_vocab *vocab) {
  const int32_t ids[] = {vocab->unk, vocab->bos, vocab->eos, vocab->pad};
  for (uint32_t i = 0; i < 4; i++) {
    /* negative numbers are sign-extended to 64 bits */
    mtk_text_pb_put_varint(message, TEXT_SPM_UNK_ID + i, (uint64_t)(int64_t)ids[i]);
  }
  for (uint32_t i = 0; i < 4; i++) {
    const mtk_token *t = ids[i] >= 0 ? &vocab->tokens[ids[i]] : NULL;
    if (t && t->text) mtk_text_pb_put_bytes(message, TEXT_SPM_UNK_TEXT + i, t->text, t->len);
  }
}

static void put_specs(mtk_bytes *out, mtk_bytes *message, const mtk_vocab *vocab,
                      const mtk_spm_pipeline *p) {
  uint64_t type = vocab->kind == MTK_VOCAB_UNIGRAM ? TEXT_SPM_UNIGRAM : TEXT_SPM_BPE;
  mtk_text_pb_put_varint(message, TEXT_SPM_MODEL_TYPE, type);
  mtk_text_pb_put_varint(message, TEXT_SPM_VOCAB_SIZE, vocab->n_tokens);
  mtk_text_pb_put_varint(message, TEXT_SPM_WHITESPACE_SUFFIX, p->whitespace_suffix);
  mtk_text_pb_put_varint(message, TEXT_SPM_BYTE_FALLBACK, vocab->byte_fallback);
  put_specials(message, vocab);
  put_message(out, TEXT_SPM_TRAINER, message);
  if (p->n_charsmap > 0) {
    mtk_text_pb_put_bytes(message, TEXT_SPM_CHARSMAP, p->charsmap, p->n_charsmap);
  }
  mtk_text_pb_put_varint(message, TEXT_SPM_DUMMY_PREFIX, p->dummy_prefix);
  mtk_text_pb_put_varint(message, TEXT_SPM_REMOVE_EXTRA, p->remove_extra_whitespaces);
  mtk_text_pb_put_varint(message, TEXT_SPM_ESCAPE, p->escape_whitespaces);
  put_message(out, TEXT_SPM_NORMALIZER, message);
}

static mtk_status check_vocab(mtk_spm_pipeline *p, const mtk_vocab *vocab, mtk_error *err) {
  if (vocab->unk < 0) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, place, "it must have an unknown token");
  }
  if (!mtk_vocab_get_spm(p, vocab)) {
    return mtk_fail(err, MTK_E_UNSUPPORTED, place,
                    "it holds BPE and Unigram vocabularies with U+2581 for spaces; this one is of "
                    "another kind, or has other normalizers and pre-tokenizers");
  }
  return MTK_OK;
}

static mtk_status put_all(mtk_bytes *out, const mtk_vocab *vocab, const mtk_spm_pipeline *pipeline,
                          float *scores, mtk_error *err) {
  MTK_TRY(mtk_vocab_scores(scores, vocab, err));
  mtk_bytes message = {0};
  for (size_t i = 0; i < vocab->n_tokens; i++) {
    mtk_token t = vocab->tokens[i];
    if ((int64_t)i == vocab->unk) t.type = MTK_TOKEN_UNKNOWN;
    t.score = scores[i];
    put_piece(out, &message, &t, i);
  }
  put_specs(out, &message, vocab, pipeline);
  mtk_bytes_finish(&message);
  return mtk_bytes_status(out, err);
}

mtk_status mtk_vocab_to_spm(mtk_bytes *out, const mtk_vocab *vocab, mtk_error *err) {
  if (vocab->spm_model) {
    mtk_bytes_append(out, vocab->spm_model, vocab->spm_model_len);
    return mtk_bytes_status(out, err);
  }
  mtk_spm_pipeline pipeline;
  MTK_TRY(check_vocab(&pipeline, vocab, err));
  float *scores = mtk_alloc(vocab->n_tokens, sizeof *scores);
  if (!scores) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory writing a tokenizer");
  mtk_status status = put_all(out, vocab, &pipeline, scores, err);
  mtk_free(scores);
  return status;
}
