/* names.c: tensor names of Mistral's own checkpoints and the canonical ones. Sources:
 * mistral-inference, src/mistral_inference/{transformer,transformer_layers,moe,vision_encoder}.py.
 * Static table; any thread. */
#include "mistral.h"

#include <string.h>

/* Bases without ".weight" or ".bias"; %d is the layer, a second one the expert. */
static const struct {
  const char *native, *name;
} names[] = {
    {"tok_embeddings", "token_embd"},
    {"norm", "output_norm"},
    {"output", "output"},
    {"layers.%d.attention_norm", "blk.%d.attn_norm"},
    {"layers.%d.attention.wq", "blk.%d.attn_q"},
    {"layers.%d.attention.wk", "blk.%d.attn_k"},
    {"layers.%d.attention.wv", "blk.%d.attn_v"},
    {"layers.%d.attention.wo", "blk.%d.attn_output"},
    {"layers.%d.ffn_norm", "blk.%d.ffn_norm"},
    {"layers.%d.feed_forward.w1", "blk.%d.ffn_gate"},
    {"layers.%d.feed_forward.w2", "blk.%d.ffn_down"},
    {"layers.%d.feed_forward.w3", "blk.%d.ffn_up"},
    {"layers.%d.feed_forward.gate", "blk.%d.ffn_gate_inp"},
    {"layers.%d.feed_forward.experts.%d.w1", "blk.%d.ffn_gate_exps.%d"},
    {"layers.%d.feed_forward.experts.%d.w2", "blk.%d.ffn_down_exps.%d"},
    {"layers.%d.feed_forward.experts.%d.w3", "blk.%d.ffn_up_exps.%d"},
    /* the image encoder: names of llama.cpp's mmproj files */
    {"vision_encoder.patch_conv", "v.patch_embd"},
    {"vision_encoder.ln_pre", "v.pre_ln"},
    {"vision_encoder.transformer.layers.%d.attention_norm", "v.blk.%d.ln1"},
    {"vision_encoder.transformer.layers.%d.attention.wq", "v.blk.%d.attn_q"},
    {"vision_encoder.transformer.layers.%d.attention.wk", "v.blk.%d.attn_k"},
    {"vision_encoder.transformer.layers.%d.attention.wv", "v.blk.%d.attn_v"},
    {"vision_encoder.transformer.layers.%d.attention.wo", "v.blk.%d.attn_out"},
    {"vision_encoder.transformer.layers.%d.ffn_norm", "v.blk.%d.ln2"},
    {"vision_encoder.transformer.layers.%d.feed_forward.w1", "v.blk.%d.ffn_gate"},
    {"vision_encoder.transformer.layers.%d.feed_forward.w2", "v.blk.%d.ffn_down"},
    {"vision_encoder.transformer.layers.%d.feed_forward.w3", "v.blk.%d.ffn_up"},
    {"pre_mm_projector_norm", "mm.input_norm"},
    {"patch_merger.merging_layer", "mm.patch_merger"},
    {"vision_language_adapter.w_in", "mm.1"},
    {"vision_language_adapter.w_out", "mm.2"},
};
enum { N_NAMES = sizeof names / sizeof names[0], MAX_DIGITS = 6, MAX_NUMBERS = 2 };

/* Length of a number without leading zero at the start of s; 0 if there is none. */
static size_t number_length(const char *s) {
  size_t n = strspn(s, "0123456789");
  return n > MAX_DIGITS || (n > 1 && s[0] == '0') ? 0 : n;
}

static bool is_suffix(const char *s) {
  return strcmp(s, ".weight") == 0 || strcmp(s, ".bias") == 0;
}

/* Where `name` goes on after the pattern, or NULL; numbers gets where the digits stand. */
static const char *match(const char *numbers[MAX_NUMBERS], const char *pattern, const char *name) {
  size_t found = 0;
  for (; *pattern; pattern++, name++) {
    if (*pattern == '%') {
      size_t n = number_length(name);
      if (!n || found == MAX_NUMBERS) return NULL;
      numbers[found++] = name;
      name += n - 1;
      pattern++;
    } else if (*pattern != *name) {
      return NULL;
    }
  }
  return is_suffix(name) ? name : NULL;
}

/* `name` under pattern `from`, written under pattern `to`; NULL if it does not match or fit. */
static const char *translate(char *buf, size_t size, const char *from, const char *to,
                             const char *name) {
  const char *numbers[MAX_NUMBERS] = {0};
  const char *suffix = match(numbers, from, name);
  size_t at = 0, used = 0;
  if (!suffix) return NULL;
  for (; *to && at < size; to++) {
    if (*to != '%') {
      buf[at++] = *to;
      continue;
    }
    const char *digits = numbers[used++];
    for (size_t n = number_length(digits); n > 0 && at < size; n--) buf[at++] = *digits++;
    to++;
  }
  size_t n = strlen(suffix);
  if (at + n >= size) return NULL;
  memcpy(buf + at, suffix, n + 1);
  return buf;
}

const char *mistral_name_from(char *buf, size_t size, const char *native) {
  const char *found = NULL;
  for (size_t i = 0; i < N_NAMES && !found; i++)
    found = translate(buf, size, names[i].native, names[i].name, native);
  return found;
}

const char *mistral_name_to(char *buf, size_t size, const char *name) {
  const char *found = NULL;
  for (size_t i = 0; i < N_NAMES && !found; i++)
    found = translate(buf, size, names[i].name, names[i].native, name);
  return found;
}
