/* fuzz_template.c: a template, a NUL byte, and a context in JSON (default: a small chat). Parses,
 * renders under tight limits, and checks what every rendering promises: spans are sorted, disjoint
 * and inside the text, and the text is UTF-8. */
#include <mtk/text.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char default_context[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi \\u00e9\"},{\"role\":\"assistant\","
    "\"content\":\"yo\"}],\"tools\":[{\"name\":\"f\",\"n\":1.5}],\"add_generation_prompt\":true,"
    "\"bos_token\":\"<s>\",\"l\":[3,1,2],\"d\":{\"b\":1,\"a\":null},\"s\":\"a b\",\"n\":7}";

static void check_spans(const mtk_span *spans, size_t n, size_t len) {
  size_t last = 0;
  for (size_t i = 0; i < n; i++) {
    if (spans[i].begin < last || spans[i].end <= spans[i].begin || spans[i].end > len) {
      __builtin_trap();
    }
    last = spans[i].end;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *source = (const char *)data;
  const char *split = size ? memchr(source, 0, size) : NULL;
  size_t n = split ? (size_t)(split - source) : size;
  const char *context = split ? split + 1 : default_context;
  size_t context_n = split ? size - n - 1 : sizeof default_context - 1;
  mtk_template_options options = {.struct_size = sizeof options,
                                  .now = "2025-07-10T12:00:00",
                                  .max_steps = 20000,
                                  .max_output = 1 << 16};
  mtk_template *t;
  mtk_rendered r = {0};
  mtk_error err;
  if (mtk_template_create(&t, source, n, &err) != MTK_OK) return 0;
  if (mtk_template_render(&r, t, context, context_n, &options, &err) == MTK_OK) {
    bool incomplete;
    check_spans(r.data, r.n_data, r.text.len);
    check_spans(r.generation, r.n_generation, r.text.len);
    if (r.text.len > 0 && mtk_utf8_prefix(r.text.data, r.text.len, &incomplete) != r.text.len) {
      __builtin_trap();
    }
  }
  mtk_rendered_finish(&r);
  mtk_template_destroy(t);
  return 0;
}
