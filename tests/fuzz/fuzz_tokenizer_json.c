/* fuzz_tokenizer_json.c: a tokenizer.json, then optionally a NUL byte and a tokenizer_config.json.
 * What loads must encode and decode any bytes, and survive being written and read again. */
#include <mtk/text.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_tokenizer(const mtk_tokenizer *tok, const char *text, size_t n) {
  mtk_ids ids = {0};
  mtk_bytes out = {0};
  mtk_error err;
  unsigned flags = MTK_ENCODE_SPECIAL | MTK_ENCODE_BOS;
  if (mtk_tokenizer_encode(&ids, tok, text, n, flags, &err) == MTK_OK &&
      mtk_tokenizer_decode(&out, tok, ids.data, ids.len, true, &err) != MTK_OK) {
    __builtin_trap(); /* every id that encoding gives has a piece */
  }
  for (size_t i = 0; i < ids.len; i++) (void)mtk_tokenizer_is_eog(tok, ids.data[i]);
  mtk_bytes_finish(&out);
  mtk_ids_finish(&ids);
}

static void write_and_read(mtk_vocab *vocab) {
  mtk_bytes json = {0}, config = {0};
  mtk_error err;
  mtk_vocab *again;
  vocab->hf_json = vocab->hf_config_json = NULL;
  if (mtk_vocab_to_hf(&json, &config, vocab, &err) == MTK_OK &&
      mtk_vocab_from_hf(&again, json.data, json.len, config.data, config.len, &err) == MTK_OK) {
    mtk_vocab_destroy(again);
  }
  mtk_bytes_finish(&json);
  mtk_bytes_finish(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *json = (const char *)data;
  const char *split = size ? memchr(json, 0, size) : NULL;
  size_t n = split ? (size_t)(split - json) : size;
  mtk_vocab *vocab;
  mtk_tokenizer *tok;
  mtk_error err;
  if (mtk_vocab_from_hf(&vocab, json, n, split ? split + 1 : NULL, split ? size - n - 1 : 0,
                        &err) != MTK_OK) {
    return 0;
  }
  if (mtk_tokenizer_create(&tok, vocab, &err) == MTK_OK) {
    static const char text[] = "Hello <s> w\xC3\xB6rld\n\n  e\xCC\x81 \xFF 42 <|im_start|>";
    use_tokenizer(tok, text, sizeof text);
    use_tokenizer(tok, json, n < 2000 ? n : 2000);
    mtk_tokenizer_destroy(tok);
  }
  write_and_read(vocab);
  mtk_vocab_destroy(vocab);
  return 0;
}
