/* chat/parse_calls.c: states inside tool calls. What stands behind a call's marker tells its form:
 * a JSON object or a list of them, XML, or a name with arguments behind it. The arguments go out
 * as they come; until its name is told, a call that turns out to be none can still become text. */
#include <string.h>

#include "chat/parser.h"

static const char g_space[] = " \n\r\t";
enum { MAX_NAME = 256 };

static bool is_space(char c) { return c && strchr(g_space, c); }

/* Markers that end a call, however broken it is. */
static int end_markers(const parser *p, const char **out) {
  out[0] = p->markup->call_close;
  out[1] = p->markup->calls_close;
  out[2] = p->markup->call_open;
  return 3;
}

/* ---- names ---------------------------------------------------------------------------------- */

static mtk_span trim(const char *s, mtk_span span) {
  while (span.begin < span.end && is_space(s[span.begin])) span.begin++;
  while (span.end > span.begin && is_space(s[span.end - 1])) span.end--;
  return span;
}

static bool is_name(const char *s, size_t n) {
  if (n < 1 || n > MAX_NAME) return false;
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)s[i] <= ' ' || strchr("{}[]()<>\"'`,;=", s[i])) return false;
  return true;
}

/* "functions.NAME:7" -> NAME */
static mtk_span unnumbered(const char *s, mtk_span name) {
  static const char prefix[] = "functions.";
  size_t skip = sizeof prefix - 1, end = name.end;
  while (end > name.begin && s[end - 1] >= '0' && s[end - 1] <= '9') end--;
  if (end > name.begin && end < name.end && s[end - 1] == ':') name.end = end - 1;
  if (name.end - name.begin > skip && !memcmp(s + name.begin, prefix, skip)) name.begin += skip;
  return name;
}

/* Tell the call's name, which is input[header], maybe with its id; false if it is no name. */
static bool tell_header(parser *p, mtk_span header) {
  size_t n;
  const char *s = mtk_parser_rest(p, &n), *mark = p->markup->id_open;
  mtk_span name = trim(s, header), id = {0, 0};
  const char *hit = mark ? memmem(s + name.begin, name.end - name.begin, mark, strlen(mark)) : NULL;
  if (hit) {
    id = trim(s, (mtk_span){(size_t)(hit - s) + strlen(mark), name.end});
    name = trim(s, (mtk_span){name.begin, (size_t)(hit - s)});
  } else if (p->markup->numbered) {
    id = name;
    name = unnumbered(s, name);
  }
  bool has_id = is_name(s + id.begin, id.end - id.begin);
  if (!is_name(s + name.begin, name.end - name.begin)) return false;
  mtk_parser_call(p, s + name.begin, name.end - name.begin, has_id ? s + id.begin : NULL,
                  id.end - id.begin);
  return true;
}

/* ---- after a call --------------------------------------------------------------------------- */

static bool parse_json(parser *p);

static bool next_json(parser *p) {
  p->body = 0;
  p->scan = (json_scan){0};
  p->state = parse_json;
  return true;
}

static bool after_call(parser *p) {
  size_t n;
  if (!mtk_parser_skip(p, p->markup->typed ? " \n\r\t`" : g_space)) return false;
  const char *rest = mtk_parser_rest(p, &n);
  bool several = p->in_list || p->markup->bare;
  if (several && *rest == '{') return next_json(p);
  if (several && *rest && strchr(p->in_list ? ",]" : ",;", *rest)) {
    if (*rest == ']') p->in_list = false;
    p->at++;
    return true;
  }
  p->in_list = false;
  int closes = mtk_parser_starts(p, 0, p->markup->call_close);
  if (closes < 0) return false;
  if (closes) p->at += strlen(p->markup->call_close);
  p->state = mtk_parse_between_calls;
  return true;
}

bool mtk_parse_between_calls(parser *p) {
  const chat_markup *m = p->markup;
  if (!mtk_parser_skip(p, g_space)) return false;
  int closes = mtk_parser_starts(p, 0, m->calls_close);
  int opens = mtk_parser_starts(p, 0, m->call_open);
  if (closes < 0 || opens < 0) return false;
  p->skip_space = true;
  if (closes) p->at += strlen(m->calls_close);
  if (opens && !closes) p->body = strlen(m->call_open);
  p->state = opens && !closes ? mtk_parse_call : mtk_parse_content;
  return true;
}

/* ---- arguments ------------------------------------------------------------------------------ */

/* What is left of the object around the arguments: nothing that matters. */
static bool skip_object(parser *p) {
  size_t n, i = 0;
  const char *s = mtk_parser_rest(p, &n);
  json_scan *j = &p->scan;
  for (; i < n && j->depth > 0; i++) {
    char c = s[i];
    if (j->escaped)
      j->escaped = false;
    else if (j->in_string && c == '\\')
      j->escaped = true;
    else if (c == '"')
      j->in_string = !j->in_string;
    else if (!j->in_string && (c == '{' || c == '['))
      j->depth++;
    else if (!j->in_string && (c == '}' || c == ']'))
      j->depth--;
  }
  p->at += i;
  if (j->depth > 0) return false;
  p->state = after_call;
  return true;
}

static void end_arguments(parser *p, bool enclosed) {
  p->scan = (json_scan){.depth = 1};
  p->state = enclosed ? skip_object : after_call;
}

/* 1: a marker that ends the call stands at offset i; -1: perhaps. */
static int ends_call(const parser *p, size_t i) {
  const char *markers[3];
  int n = end_markers(p, markers), perhaps = 0;
  for (int k = 0; k < n; k++) {
    int found = mtk_parser_starts(p, i, markers[k]);
    if (found > 0) return 1;
    perhaps |= found;
  }
  return perhaps ? -1 : 0;
}

/* An object goes out as it comes, until it closes or a marker ends the call outside its strings. */
static bool stream_object(parser *p, bool enclosed) {
  size_t n, i = 0;
  const char *s = mtk_parser_rest(p, &n);
  json_scan *j = &p->scan;
  bool done = false, wait = false;
  while (i < n && !done && !wait) {
    char c = s[i];
    if (j->in_string) {
      if (j->escaped)
        j->escaped = false;
      else if (c == '\\')
        j->escaped = true;
      else if (c == '"')
        j->in_string = false;
      i++;
      continue;
    }
    int end = c == '[' || c == '<' || c == '`' ? ends_call(p, i) : 0;
    done = end > 0;
    wait = end < 0;
    if (end) continue;
    j->in_string = c == '"';
    j->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    done = j->depth <= 0;
    i++;
  }
  mtk_parser_emit(p, MTK_CHAT_ARGUMENTS, s, i);
  p->at += i;
  if (!done) return false;
  end_arguments(p, enclosed && j->depth <= 0);
  return true;
}

static bool stream_alone(parser *p) { return stream_object(p, false); }
static bool stream_enclosed(parser *p) { return stream_object(p, true); }

/* Arguments that are no object: whatever there is up to the end of the call. */
static bool stream_raw(parser *p) {
  const char *markers[3];
  if (mtk_parser_text(p, MTK_CHAT_ARGUMENTS, markers, end_markers(p, markers)) < 0) return false;
  end_arguments(p, false);
  return true;
}

static bool begin_stream(parser *p, size_t offset, parser_state state) {
  p->at += offset;
  p->scan = (json_scan){0};
  p->state = state;
  return true;
}

static bool no_arguments(parser *p, size_t offset) {
  mtk_parser_emit(p, MTK_CHAT_ARGUMENTS, "{}", 2);
  p->at += offset;
  end_arguments(p, false);
  return true;
}

/* ---- {"name": ..., "arguments": {...}} ------------------------------------------------------ */

typedef enum scan_result { SCAN_MORE, SCAN_BAD, SCAN_ARGUMENTS, SCAN_DONE } scan_result;

static bool is_key(const char *s, mtk_span key, const char *const *names) {
  for (; *names; names++)
    if (strlen(*names) == key.end - key.begin && !memcmp(s + key.begin, *names, strlen(*names)))
      return true;
  return false;
}

static const char *const g_name_keys[] = {"name", "function", NULL};
static const char *const g_argument_keys[] = {"arguments", "parameters", NULL};
static const char *const g_call_keys[] = {"name", "function", "arguments", "parameters",
                                          "type", "id",       NULL};

static void end_value(json_scan *j, const char *s, size_t at) {
  if (j->phase != SCAN_VALUE) return;
  mtk_span value = trim(s, (mtk_span){j->value.begin, at});
  if (is_key(s, j->key, g_name_keys) && s[value.begin] == '"') j->name = value;
  if (is_key(s, j->key, g_argument_keys)) j->arguments = value;
}

/* A byte outside strings, at depth 1 before it. */
static scan_result scan_member(json_scan *j, const char *s, char c) {
  bool value = j->phase == SCAN_BEFORE_VALUE;
  if (c == ',' || c == '}') {
    end_value(j, s, j->pos);
    j->phase = SCAN_KEY;
  } else if (c == ':' && j->phase == SCAN_COLON) {
    j->phase = SCAN_BEFORE_VALUE;
  } else if (value && !is_space(c)) {
    j->value.begin = j->pos;
    j->phase = SCAN_VALUE;
    if (c == '{' && j->name.end && is_key(s, j->key, g_argument_keys)) return SCAN_ARGUMENTS;
  } else if ((j->phase == SCAN_KEY && c != '"' && !is_space(c)) ||
             (j->phase == SCAN_COLON && !is_space(c))) {
    return SCAN_BAD;
  }
  if (c == '"' && j->phase == SCAN_KEY) j->key.begin = j->pos + 1;
  return SCAN_MORE;
}

static void scan_string_byte(json_scan *j, char c) {
  if (j->escaped)
    j->escaped = false;
  else if (c == '\\')
    j->escaped = true;
  else if (c == '"') {
    j->in_string = false;
    if (j->depth == 1 && j->phase == SCAN_KEY) {
      j->key.end = j->pos;
      j->phase = SCAN_COLON;
    }
  }
}

/* Go on from where the last scan stopped. `strict`: every key must be one of a call's. */
static scan_result scan_call(json_scan *j, const char *s, size_t n, bool strict) {
  for (; j->pos < n; j->pos++) {
    char c = s[j->pos];
    if (j->in_string) {
      scan_string_byte(j, c);
      if (strict && j->phase == SCAN_COLON && !is_key(s, j->key, g_call_keys)) return SCAN_BAD;
      continue;
    }
    scan_result r = j->depth == 1 ? scan_member(j, s, c) : SCAN_MORE;
    if (r != SCAN_MORE) return r;
    j->in_string = c == '"';
    j->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    if (j->depth > 0) continue;
    j->pos++;
    return SCAN_DONE;
  }
  return SCAN_MORE;
}

/* The string that input[span] writes, or NULL. */
static json_t *read_string(const char *s, mtk_span span) {
  json_t *v = json_loadb(s + span.begin, span.end - span.begin, JSON_DECODE_ANY, NULL);
  if (json_is_string(v)) return v;
  json_decref(v);
  return NULL;
}

static bool tell_name(parser *p, mtk_span span) {
  size_t n;
  const char *s = mtk_parser_rest(p, &n);
  json_t *name = span.end ? read_string(s, span) : NULL;
  bool ok = name && is_name(json_string_value(name), json_string_length(name));
  if (ok) mtk_parser_call(p, json_string_value(name), json_string_length(name), NULL, 0);
  json_decref(name);
  return ok;
}

/* The whole object is there: arguments may be JSON in a string. */
static bool tell_call(parser *p) {
  size_t n;
  const char *s = mtk_parser_rest(p, &n);
  mtk_span a = p->scan.arguments;
  size_t end = p->scan.pos;
  if (!tell_name(p, p->scan.name)) return mtk_parser_give_up(p, end);
  if (!a.end) return no_arguments(p, end);
  json_t *text = s[a.begin] == '"' ? read_string(s, a) : NULL;
  if (text)
    mtk_parser_emit(p, MTK_CHAT_ARGUMENTS, json_string_value(text), json_string_length(text));
  else
    mtk_parser_emit(p, MTK_CHAT_ARGUMENTS, s + a.begin, a.end - a.begin);
  json_decref(text);
  p->at += end;
  end_arguments(p, false);
  return true;
}

static bool parse_object(parser *p, bool strict) {
  size_t n;
  const char *s = mtk_parser_rest(p, &n);
  scan_result r = scan_call(&p->scan, s, n, strict);
  if (r == SCAN_DONE) return tell_call(p);
  if (r == SCAN_ARGUMENTS)
    return tell_name(p, p->scan.name) ? begin_stream(p, p->scan.pos, stream_enclosed)
                                      : mtk_parser_give_up(p, p->scan.pos);
  if (r == SCAN_BAD) return mtk_parser_give_up(p, p->scan.pos);
  return p->finish && n ? mtk_parser_give_up(p, n) : false;
}

static bool parse_json(parser *p) { return parse_object(p, false); }
static bool parse_bare(parser *p) { return parse_object(p, true); }

bool mtk_parse_bare(parser *p) {
  p->scan = (json_scan){.pos = p->body};
  p->state = parse_bare;
  return true;
}

/* ---- name, then arguments ------------------------------------------------------------------- */

/* "type<args_open>name", a line break, "```json", the object, "```" (DeepSeek V3, R1). */
static bool parse_typed(parser *p) {
  size_t n;
  const char *s = mtk_parser_rest(p, &n), *markers[4] = {"{"};
  int which, n_markers = 1 + end_markers(p, markers + 1);
  size_t at = mtk_parser_find(p, p->searched, markers, n_markers, &which);
  p->searched = at;
  if (which < 0 && !p->finish) return false;
  const char *eol = memchr(s + p->body, '\n', at - p->body);
  mtk_span name = {p->body, eol ? (size_t)(eol - s) : at};
  if (which != 0 || !tell_header(p, name)) return mtk_parser_give_up(p, at);
  return begin_stream(p, at, stream_alone);
}

/* Behind args_open; scan.name is the header before it, `body` is here. */
static bool parse_after_name(parser *p) {
  size_t n, i = p->body;
  const char *s = mtk_parser_rest(p, &n);
  mtk_span header = p->scan.name;
  while (i < n && is_space(s[i])) i++;
  p->body = i;
  int end = i < n ? ends_call(p, i) : p->finish;
  if (end < 0 || (i == n && !p->finish)) return false;
  if (p->markup->typed && !end && s[i] != '{') {
    p->body = p->searched = i;
    p->state = parse_typed;
    return true;
  }
  if (!tell_header(p, header)) return mtk_parser_give_up(p, i);
  if (end) return no_arguments(p, i);
  return begin_stream(p, i, s[i] == '{' ? stream_alone : stream_raw);
}

static bool parse_named(parser *p) {
  const char *markers[5] = {p->markup->args_open, "{"};
  int which, n_markers = 2 + end_markers(p, markers + 2);
  size_t at = mtk_parser_find(p, p->searched, markers, n_markers, &which);
  p->searched = at;
  if (which < 0 && !p->finish) return false;
  mtk_span header = {p->body, at};
  if (which == 0) {
    p->scan.name = header;
    p->body = at + strlen(p->markup->args_open);
    p->state = parse_after_name;
    return true;
  }
  if (which != 1 || !tell_header(p, header)) return mtk_parser_give_up(p, at);
  return begin_stream(p, at, stream_alone);
}

/* ---- calls that are converted as a whole ---------------------------------------------------- */

static bool convert(parser *p, size_t end, bool xml) {
  size_t n;
  const char *body = mtk_parser_rest(p, &n) + p->body;
  mtk_bytes arguments = {0};
  mtk_span name = {0, 0};
  size_t len = end - p->body;
  bool ok = xml               ? mtk_arguments_xml(&arguments, &name, body, len, p->tools)
            : p->markup->code ? mtk_arguments_python(&arguments, &name, body, len)
                              : mtk_arguments_gemma(&arguments, &name, body, len, p->markup->quote);
  ok = ok && is_name(body + name.begin, name.end - name.begin);
  if (ok) {
    mtk_parser_call(p, body + name.begin, name.end - name.begin, NULL, 0);
    mtk_parser_emit(p, MTK_CHAT_ARGUMENTS, arguments.data, arguments.len);
    p->at += end;
    end_arguments(p, false);
  }
  p->failed |= arguments.failed;
  mtk_bytes_finish(&arguments);
  return ok ? true : mtk_parser_give_up(p, end);
}

static bool parse_whole(parser *p, const char *close, bool xml) {
  int which;
  size_t at = mtk_parser_find(p, p->searched, &close, 1, &which);
  p->searched = at;
  if (which < 0 && !p->finish) return false;
  return convert(p, at + (xml && which == 0 ? strlen(close) : 0), xml);
}

static bool parse_xml(parser *p) { return parse_whole(p, "</function>", true); }
static bool parse_converted(parser *p) { return parse_whole(p, p->markup->call_close, false); }

/* ---- the start of a call -------------------------------------------------------------------- */

/* At '[': its first object comes, or nothing. */
static bool open_list(parser *p) {
  size_t n, i = p->body + 1;
  const char *s = mtk_parser_rest(p, &n);
  while (i < n && is_space(s[i])) i++;
  p->body = i - 1;
  if (i == n) return p->finish ? mtk_parser_give_up(p, n) : false;
  if (s[i] != '{') return mtk_parser_give_up(p, i);
  p->in_list = true;
  p->scan = (json_scan){.pos = i};
  p->state = parse_json;
  return true;
}

bool mtk_parse_call(parser *p) {
  size_t n;
  const char *s = mtk_parser_rest(p, &n);
  while (p->body < n && is_space(s[p->body])) p->body++;
  if (p->body == n) return p->finish ? mtk_parser_give_up(p, n) : false;
  char c = s[p->body];
  int xml = mtk_parser_starts(p, p->body, "<function=");
  if (xml < 0) return false;
  int ends = c == '[' ? ends_call(p, p->body) : 0;
  if (ends < 0) return false;
  p->searched = p->body;
  p->scan = (json_scan){.pos = p->body};
  if (p->markup->quote || p->markup->code)
    p->state = parse_converted;
  else if (xml)
    p->state = parse_xml;
  else if (c == '{')
    p->state = parse_json;
  else if (c == '[' && !p->in_list && !ends)
    p->state = open_list;
  else
    p->state = parse_named;
  return true;
}
