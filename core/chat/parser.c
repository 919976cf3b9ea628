/* chat/parser.c: generated text to content, reasoning and tool calls, piece by piece: the public
 * functions, input and output of the states, and the states of plain text. See parser.h. */
#include <string.h>

#include "chat/parser.h"

static const char g_space[] = " \n\r\t";

/* ---- output --------------------------------------------------------------------------------- */

static parser_delta *add_delta(parser *p, mtk_chat_part part, int index) {
  if (p->n_deltas == p->cap_deltas) {
    size_t cap = p->cap_deltas ? 2 * p->cap_deltas : 8;
    parser_delta *grown = mtk_realloc(p->deltas, p->n_deltas, cap, sizeof *grown);
    if (grown) p->deltas = grown;
    mtk_chat_delta *result = mtk_realloc(p->result, p->n_deltas, cap, sizeof *result);
    if (result) p->result = result;
    if (!grown || !result) {
      p->failed = true;
      return NULL;
    }
    p->cap_deltas = cap;
  }
  parser_delta *d = &p->deltas[p->n_deltas++];
  *d = (parser_delta){.part = part, .index = index, .text = p->out.len};
  return d;
}

void mtk_parser_emit(parser *p, mtk_chat_part part, const char *text, size_t n) {
  if (!n) return;
  int index = part == MTK_CHAT_ARGUMENTS ? p->n_calls - 1 : 0;
  parser_delta *last = p->n_deltas ? &p->deltas[p->n_deltas - 1] : NULL;
  bool joins = last && last->part == part && last->index == index;
  if (!joins) last = add_delta(p, part, index);
  if (!last) return;
  mtk_bytes_append(&p->out, text, n);
  last->n_text += n;
  p->answered |= part != MTK_CHAT_REASONING;
}

static void make_id(const parser *p, char *id) {
  static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const uint32_t key[2] = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)};
  const uint32_t counter[4] = {(uint32_t)p->n_calls, 0, 0, 0x63616C6C};
  uint32_t draw[4];
  mtk_philox(draw, key, counter);
  uint64_t v = (uint64_t)draw[1] << 32 | draw[0];
  for (int i = 0; i < 9; i++, v /= 62) id[i] = alphabet[v % 62];
}

void mtk_parser_call(parser *p, const char *name, size_t n, const char *id, size_t n_id) {
  char made[9];
  if (!id) {
    make_id(p, made);
    id = made;
    n_id = sizeof made;
  }
  parser_delta *d = add_delta(p, MTK_CHAT_CALL, p->n_calls++);
  if (!d) return;
  d->id = p->out.len;
  mtk_bytes_append(&p->out, id, n_id);
  mtk_bytes_append(&p->out, "", 1);
  d->name = p->out.len;
  mtk_bytes_append(&p->out, name, n);
  mtk_bytes_append(&p->out, "", 1);
  p->answered = p->thought = true;
}

/* ---- input ---------------------------------------------------------------------------------- */

const char *mtk_parser_rest(const parser *p, size_t *n) {
  *n = p->in.len - p->at;
  return p->in.data ? p->in.data + p->at : "";
}

/* Bytes at the end of s[0..n) that begin marker. */
static size_t partial_suffix(const char *s, size_t n, const char *marker) {
  size_t len = strlen(marker), k = n < len - 1 ? n : len - 1;
  for (; k > 0; k--)
    if (!memcmp(s + n - k, marker, k)) return k;
  return 0;
}

size_t mtk_parser_find(const parser *p, size_t from, const char *const *markers, int n,
                       int *which) {
  size_t len, best = SIZE_MAX, held = 0;
  const char *rest = mtk_parser_rest(p, &len);
  *which = -1;
  for (int i = 0; i < n; i++) {
    if (!markers[i] || from > len) continue;
    const char *hit = memmem(rest + from, len - from, markers[i], strlen(markers[i]));
    if (hit && (size_t)(hit - rest) < best) {
      best = (size_t)(hit - rest);
      *which = i;
    }
    size_t keep = hit ? 0 : partial_suffix(rest + from, len - from, markers[i]);
    if (keep > held) held = keep;
  }
  if (*which >= 0) return best;
  return p->finish ? len : len - held;
}

int mtk_parser_text(parser *p, mtk_chat_part part, const char *const *markers, int n) {
  int which;
  size_t len, end = mtk_parser_find(p, 0, markers, n, &which);
  const char *rest = mtk_parser_rest(p, &len);
  mtk_parser_emit(p, part, rest, end);
  p->at += end;
  return which;
}

int mtk_parser_starts(const parser *p, size_t offset, const char *marker) {
  size_t n, len = marker ? strlen(marker) : 0;
  const char *rest = mtk_parser_rest(p, &n);
  size_t left = n > offset ? n - offset : 0, common = left < len ? left : len;
  if (!marker || memcmp(rest + offset, marker, common) != 0) return 0;
  return common == len ? 1 : p->finish ? 0 : -1;
}

bool mtk_parser_skip(parser *p, const char *set) {
  while (p->at < p->in.len && p->in.data[p->at] && strchr(set, p->in.data[p->at])) p->at++;
  return p->at < p->in.len;
}

bool mtk_parser_give_up(parser *p, size_t n) {
  size_t len;
  const char *rest = mtk_parser_rest(p, &len);
  mtk_parser_emit(p, MTK_CHAT_CONTENT, rest, n);
  p->at += n;
  p->in_list = false;
  p->state = mtk_parse_content;
  return true;
}

/* ---- plain text ----------------------------------------------------------------------------- */

static bool parse_reasoning(parser *p) {
  if (p->skip_space && !mtk_parser_skip(p, g_space)) return false;
  p->skip_space = false;
  if (mtk_parser_text(p, MTK_CHAT_REASONING, &p->think->close, 1) < 0) return false;
  p->at += strlen(p->think->close);
  p->thought = p->skip_space = true;
  p->state = mtk_parse_content;
  return true;
}

/* Where the answer begins with '{', possibly behind space. 1, 0, -1 as in mtk_parser_starts. */
static int starts_bare(parser *p) {
  if (!p->tools || !p->markup || !p->markup->bare || p->answered) return 0;
  size_t n, i = p->body;
  const char *rest = mtk_parser_rest(p, &n);
  while (i < n && rest[i] && strchr(g_space, rest[i])) i++;
  p->body = i; /* looked at so far */
  return i < n ? rest[i] == '{' : p->finish ? 0 : -1;
}

bool mtk_parse_content(parser *p) {
  const chat_markup *calls = p->tools ? p->markup : NULL;
  const char *const markers[3] = {p->think && !p->thought ? p->think->open : NULL,
                                  calls ? calls->calls_open : NULL,
                                  calls ? calls->call_open : NULL};
  if (p->skip_space && !mtk_parser_skip(p, g_space)) return false;
  p->skip_space = false;
  int bare = starts_bare(p);
  if (bare != 0) {
    if (bare > 0) p->state = mtk_parse_bare;
    return bare > 0;
  }
  int which = mtk_parser_text(p, MTK_CHAT_CONTENT, markers, 3);
  if (which < 0) return false;
  if (which < 2) p->at += strlen(markers[which]);
  if (which == 2) p->body = strlen(markers[2]);
  p->skip_space = which == 0;
  p->state = which == 0   ? parse_reasoning
             : which == 1 ? mtk_parse_between_calls
                          : mtk_parse_call;
  return true;
}

/* ---- public functions ----------------------------------------------------------------------- */

static bool ends_with(const char *text, size_t n, const char *marker) {
  size_t m = strlen(marker);
  while (n && text[n - 1] && strchr(g_space, text[n - 1])) n--;
  return n >= m && !memcmp(text + n - m, marker, m);
}

/* The state that the prompt leaves the answer in. */
static void start(parser *p, const mtk_chat_parser_options *o) {
  const char *prompt = o->prompt ? o->prompt : "";
  size_t n = o->prompt ? o->n_prompt : 0;
  p->state = p->markup && p->markup->channels ? mtk_parse_harmony : mtk_parse_content;
  if (!p->think || p->state == mtk_parse_harmony) return;
  if (ends_with(prompt, n, p->think->open)) {
    p->state = parse_reasoning;
    p->skip_space = true;
  }
  p->thought = ends_with(prompt, n, p->think->close);
}

mtk_status mtk_chat_parser_create(mtk_chat_parser **out, const mtk_chat *chat,
                                  const mtk_chat_parser_options *options, mtk_error *err) {
  *out = NULL;
  const chat_markup *markup = chat->markup;
  if (options->name) markup = mtk_chat_markup_named(options->name);
  if (options->name && !markup)
    return mtk_fail(err, MTK_E_INVALID, NULL, "no tool parser '%s'; there are %s", options->name,
                    mtk_chat_parser_names());
  parser *p = mtk_alloc(1, sizeof *p);
  if (!p) return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory");
  p->markup = markup;
  p->think = chat->think;
  p->seed = options->seed;
  if (options->tools_json)
    p->tools = json_loadb(options->tools_json, options->n_tools_json, JSON_ALLOW_NUL, NULL);
  if (!json_array_size(p->tools)) {
    json_decref(p->tools);
    p->tools = NULL;
  }
  start(p, options);
  *out = p;
  return MTK_OK;
}

void mtk_chat_parser_destroy(mtk_chat_parser *p) {
  if (!p) return;
  json_decref(p->tools);
  mtk_bytes_finish(&p->in);
  mtk_bytes_finish(&p->out);
  mtk_free(p->deltas);
  mtk_free(p->result);
  mtk_free(p);
}

bool mtk_chat_parser_is_active(const mtk_chat_parser *p) {
  return p->think || (p->markup && (p->tools || p->markup->channels));
}

static void hand_out(parser *p) {
  const char *out = p->out.data ? p->out.data : "";
  for (size_t i = 0; i < p->n_deltas; i++) {
    const parser_delta *d = &p->deltas[i];
    bool call = d->part == MTK_CHAT_CALL;
    p->result[i] = (mtk_chat_delta){.part = d->part,
                                    .index = d->index,
                                    .id = call ? out + d->id : NULL,
                                    .name = call ? out + d->name : NULL,
                                    .text = call ? NULL : out + d->text,
                                    .n_text = d->n_text};
  }
}

mtk_status mtk_chat_parser_push(const mtk_chat_delta **deltas, size_t *n_deltas, mtk_chat_parser *p,
                                const char *text, size_t n, bool finish, mtk_error *err) {
  *deltas = NULL;
  *n_deltas = p->n_deltas = 0;
  mtk_bytes_clear(&p->out);
  mtk_bytes_append(&p->in, text, n);
  p->finish = finish;
  while (!p->in.failed && !p->failed && p->state(p)) continue;
  if (p->at) {
    memmove(p->in.data, p->in.data + p->at, p->in.len - p->at);
    p->in.len -= p->at;
    p->at = 0;
  }
  if (p->in.failed || p->out.failed || p->failed)
    return mtk_fail(err, MTK_E_NOMEM, NULL, "out of memory for an answer");
  hand_out(p);
  *deltas = p->result;
  *n_deltas = p->n_deltas;
  return MTK_OK;
}
