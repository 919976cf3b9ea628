/* tokenizer_fuzz.c: any bytes as a tokenizer file (tiktoken ranks as r50k_base). What loads must
 * encode and decode any bytes, and survive being written in every other representation. Single-
 * threaded. */
#include <mtk/registry.h>

#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_tokenizer(const mtk_tokenizer *tok, const char *text, size_t n) {
  mtk_ids ids = {0};
  mtk_bytes out = {0};
  mtk_error err;
  unsigned flags = MTK_ENCODE_SPECIAL | MTK_ENCODE_BOS;
  if (mtk_tokenizer_encode(&ids, tok, text, n, flags, &err) == MTK_OK &&
      mtk_tokenizer_decode(&out, tok, ids.data, ids.len, true, &err) == MTK_E_INVALID) {
    __builtin_trap(); /* every id that encoding gives exists */
  }
  mtk_bytes_finish(&out);
  mtk_ids_finish(&ids);
}

static void write_all(mtk_vocab *vocab) {
  mtk_bytes out = {0}, config = {0};
  mtk_error err;
  vocab->hf_json = vocab->hf_config_json = vocab->tekken_json = vocab->spm_model = NULL;
  (void)mtk_vocab_to_hf(&out, &config, vocab, &err);
  mtk_bytes_clear(&out);
  (void)mtk_vocab_to_spm(&out, vocab, &err);
  mtk_bytes_clear(&out);
  (void)mtk_vocab_to_tekken(&out, vocab, &err);
  mtk_bytes_clear(&out);
  (void)mtk_vocab_to_tiktoken(&out, vocab, &err);
  mtk_bytes_finish(&out);
  mtk_bytes_finish(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char text[] = "Hello <s> w\xC3\xB6rld\n\n  e\xCC\x81 \xFF 42 [INST] \xE2\x96\x81";
  mtk_vocab *vocab;
  mtk_tokenizer *tok;
  mtk_error err;
  if (mtk_plugins_load(&err) != MTK_OK) return 0;
  if (tokenizer_read_bytes(&vocab, "r50k_base.tiktoken", data, size, &err) != MTK_OK) return 0;
  if (mtk_tokenizer_create(&tok, vocab, &err) == MTK_OK) {
    use_tokenizer(tok, text, sizeof text);
    use_tokenizer(tok, (const char *)data, size < 2000 ? size : 2000);
    mtk_tokenizer_destroy(tok);
  }
  write_all(vocab);
  mtk_vocab_destroy(vocab);
  return 0;
}
