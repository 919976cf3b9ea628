/* text/mtk_jinja_parse.c: statements. One row per tag; what Jinja has and this engine does not is
 * named in a table of its own. Nodes live in the template's arena. */
#include <stdio.h>
#include <string.h>

#include "text/jinja_parser.h"

/* ---- shared with jinja_parse_expr.c --------------------------------------------------------- */

static const char *token_text(const jinja_token *t, char buf[64]) {
  static const char *const names[] = {"the end of the template",
                                      "text",
                                      "'{%'",
                                      "'%}'",
                                      "'{{'",
                                      "'}}'",
                                      "a name",
                                      "a string",
                                      "a number",
                                      "a number",
                                      "an operator"};
  if (t->kind != TOKEN_NAME && t->kind != TOKEN_OPERATOR) return names[t->kind];
  snprintf(buf, 64, "'%.*s'", t->len < 50 ? (int)t->len : 50, t->text);
  return buf;
}

mtk_status mtk_jinja_syntax(jinja_parser *p, const char *fmt, ...) {
  char message[200], buf[64];
  va_list list;
  va_start(list, fmt);
  int n = vsnprintf(message, sizeof message, fmt, list);
  va_end(list);
  return mtk_jinja_fail_line(p->err, MTK_E_FORMAT, p->at->line, "%s, got %s", n < 0 ? "" : message,
                         token_text(p->at, buf));
}

mtk_status mtk_jinja_node_new(jinja_parser *p, jinja_node_kind kind, jinja_node **out) {
  jinja_node *node = mtk_arena_alloc(p->arena, 1, sizeof *node);
  if (!node) return mtk_fail(p->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  node->kind = kind;
  node->line = p->at->line;
  *out = node;
  return MTK_OK;
}

mtk_status mtk_jinja_intern(jinja_parser *p, const char *text, size_t n, const char **out) {
  bool found = false;
  mtk_map_value *value = mtk_map_put(p->names, text, n, &found);
  if (value && !found) value->p = mtk_arena_strndup(p->arena, text, n);
  if (!value || !value->p) {
    return mtk_fail(p->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  }
  *out = value->p;
  return MTK_OK;
}

bool mtk_jinja_at_op(const jinja_parser *p, const char *op) {
  return p->at->kind == TOKEN_OPERATOR && strcmp(p->at->text, op) == 0;
}

bool mtk_jinja_at_name(const jinja_parser *p, const char *name) {
  return p->at->kind == TOKEN_NAME && strcmp(p->at->text, name) == 0;
}

bool mtk_jinja_skip_op(jinja_parser *p, const char *op) {
  bool here = mtk_jinja_at_op(p, op);
  p->at += here;
  return here;
}

bool mtk_jinja_skip_name(jinja_parser *p, const char *name) {
  bool here = mtk_jinja_at_name(p, name);
  p->at += here;
  return here;
}

mtk_status mtk_jinja_expect_op(jinja_parser *p, const char *op) {
  if (mtk_jinja_skip_op(p, op)) return MTK_OK;
  return mtk_jinja_syntax(p, "'%s' was expected", op);
}

mtk_status mtk_jinja_expect_name(jinja_parser *p, const char **name) {
  if (p->at->kind != TOKEN_NAME) return mtk_jinja_syntax(p, "a name was expected");
  MTK_TRY(mtk_jinja_intern(p, p->at->text, p->at->len, name));
  p->at++;
  return MTK_OK;
}

/* ---- bodies --------------------------------------------------------------------------------- */

static mtk_status parse_statement(jinja_parser *p, jinja_node **out);

static mtk_status expect_block_end(jinja_parser *p) {
  if (p->at->kind != TOKEN_BLOCK_END) return mtk_jinja_syntax(p, "'%%}' was expected");
  p->at++;
  return MTK_OK;
}

static mtk_status parse_text(jinja_parser *p, jinja_node **out) {
  MTK_TRY(mtk_jinja_node_new(p, NODE_TEXT, out));
  jinja_string *s = mtk_arena_alloc(p->arena, 1, sizeof *s);
  if (!s) return mtk_fail(p->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  *s = (jinja_string){.data = p->at->text, .len = p->at->len, .n_chars = SIZE_MAX};
  (*out)->value = (jinja_value){JINJA_STRING, {.s = s}};
  p->at++;
  return MTK_OK;
}

static mtk_status parse_print(jinja_parser *p, jinja_node **out) {
  MTK_TRY(mtk_jinja_node_new(p, NODE_PRINT, out));
  p->at++;
  MTK_TRY(mtk_jinja_parse_tuple(p, true, &(*out)->a));
  if (p->at->kind != TOKEN_PRINT_END) return mtk_jinja_syntax(p, "'}}' was expected");
  p->at++;
  return MTK_OK;
}

/* Nodes up to a tag named by one of `ends` (NULL-terminated; none = end of template); stands behind
 * that name and gives it in *end. */
static mtk_status parse_body(jinja_parser *p, const char *const *ends, const char **end,
                             jinja_node **out) {
  *out = NULL;
  if (++p->nesting > JINJA_MAX_NESTING) {
    return mtk_jinja_fail_line(p->err, MTK_E_LIMIT, p->at->line, "blocks are nested too deeply");
  }
  for (;;) {
    if (p->at->kind == TOKEN_END) {
      if (ends[0]) return mtk_jinja_syntax(p, "'{%% %s %%}' was expected", ends[0]);
      break;
    }
    if (p->at->kind == TOKEN_BLOCK_BEGIN) {
      p->at++;
      size_t i = 0;
      while (ends[i] && !mtk_jinja_at_name(p, ends[i])) i++;
      if (ends[i]) {
        p->at++;
        *end = ends[i];
        break;
      }
      MTK_TRY(parse_statement(p, out));
    } else if (p->at->kind == TOKEN_TEXT) {
      MTK_TRY(parse_text(p, out));
    } else {
      MTK_TRY(parse_print(p, out));
    }
    while (*out) out = &(*out)->next;
  }
  p->nesting--;
  return MTK_OK;
}

/* A body between the end of this tag and {% end %}, which is taken. */
static mtk_status parse_until(jinja_parser *p, const char *end, jinja_node **out) {
  const char *const ends[] = {end, NULL};
  const char *found;
  MTK_TRY(expect_block_end(p));
  MTK_TRY(parse_body(p, ends, &found, out));
  return expect_block_end(p);
}

/* ---- tags ----------------------------------------------------------------------------------- */

static mtk_status parse_if(jinja_parser *p, jinja_node **out) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  static const char *const end_only[] = {"endif", NULL};
  const char *found = "elif";
  p->conditional++;
  while (strcmp(found, "elif") == 0) {
    MTK_TRY(mtk_jinja_node_new(p, NODE_IF, out));
    MTK_TRY(mtk_jinja_parse_tuple(p, false, &(*out)->a));
    MTK_TRY(expect_block_end(p));
    MTK_TRY(parse_body(p, ends, &found, &(*out)->c));
    out = &(*out)->d;
  }
  if (strcmp(found, "else") == 0) {
    MTK_TRY(expect_block_end(p));
    MTK_TRY(parse_body(p, end_only, &found, out));
  }
  p->conditional--;
  return expect_block_end(p);
}

static mtk_status parse_for(jinja_parser *p, jinja_node **out) {
  static const char *const ends[] = {"else", "endfor", NULL};
  static const char *const end_only[] = {"endfor", NULL};
  const char *found;
  jinja_node *node = NULL;
  MTK_TRY(mtk_jinja_node_new(p, NODE_FOR, &node));
  *out = node;
  MTK_TRY(mtk_jinja_parse_target(p, false, &node->a));
  if (!mtk_jinja_skip_name(p, "in")) return mtk_jinja_syntax(p, "'in' was expected");
  MTK_TRY(mtk_jinja_parse_tuple(p, false, &node->b));
  if (mtk_jinja_skip_name(p, "if")) MTK_TRY(mtk_jinja_parse_expression(p, true, &node->e));
  if (mtk_jinja_skip_name(p, "recursive")) node->op = OP_ADD;
  MTK_TRY(expect_block_end(p));
  p->loops++;
  MTK_TRY(parse_body(p, ends, &found, &node->c));
  p->loops--;
  if (strcmp(found, "else") == 0) {
    MTK_TRY(expect_block_end(p));
    MTK_TRY(parse_body(p, end_only, &found, &node->d));
  }
  return expect_block_end(p);
}

static mtk_status parse_set(jinja_parser *p, jinja_node **out) {
  jinja_node *node = NULL;
  MTK_TRY(mtk_jinja_node_new(p, NODE_SET, &node));
  *out = node;
  MTK_TRY(mtk_jinja_parse_target(p, true, &node->a));
  if (mtk_jinja_skip_op(p, "=")) {
    MTK_TRY(mtk_jinja_parse_tuple(p, true, &node->b));
    return expect_block_end(p);
  }
  node->kind = NODE_SET_BLOCK;
  MTK_TRY(mtk_jinja_parse_filters(p, NULL, false, &node->b));
  return parse_until(p, "endset", &node->c);
}

/* (a, b=1, ...); "(" was taken. */
static mtk_status parse_parameters(jinja_parser *p, jinja_node **out) {
  jinja_node **tail = out;
  bool optional = false;
  while (!mtk_jinja_skip_op(p, ")")) {
    if (*out) MTK_TRY(mtk_jinja_expect_op(p, ","));
    MTK_TRY(mtk_jinja_node_new(p, NODE_PARAMETER, tail));
    MTK_TRY(mtk_jinja_expect_name(p, &(*tail)->name));
    if (mtk_jinja_skip_op(p, "=")) {
      MTK_TRY(mtk_jinja_parse_expression(p, true, &(*tail)->a));
      optional = true;
    } else if (optional) {
      return mtk_jinja_syntax(p, "a parameter without default after one with a default");
    }
    tail = &(*tail)->next;
  }
  return MTK_OK;
}

/* The body of a macro or call block: a function of its own. */
static mtk_status parse_macro_body(jinja_parser *p, jinja_node *node, const char *end) {
  jinja_node *outer = p->macro;
  int loops = p->loops;
  p->macro = node;
  p->loops = 0;
  MTK_TRY(parse_until(p, end, &node->c));
  p->macro = outer;
  p->loops = loops;
  return MTK_OK;
}

static mtk_status parse_macro(jinja_parser *p, jinja_node **out) {
  MTK_TRY(mtk_jinja_node_new(p, NODE_MACRO, out));
  MTK_TRY(mtk_jinja_expect_name(p, &(*out)->name));
  MTK_TRY(mtk_jinja_expect_op(p, "("));
  MTK_TRY(parse_parameters(p, &(*out)->a));
  return parse_macro_body(p, *out, "endmacro");
}

static mtk_status parse_call_block(jinja_parser *p, jinja_node **out) {
  MTK_TRY(mtk_jinja_node_new(p, NODE_CALL_BLOCK, out));
  if (mtk_jinja_skip_op(p, "(")) MTK_TRY(parse_parameters(p, &(*out)->a));
  MTK_TRY(mtk_jinja_intern(p, "caller", 6, &(*out)->name));
  MTK_TRY(mtk_jinja_parse_expression(p, true, &(*out)->b));
  if ((*out)->b->kind != NODE_CALL) return mtk_jinja_syntax(p, "a call was expected");
  return parse_macro_body(p, *out, "endcall");
}

static mtk_status parse_filter_block(jinja_parser *p, jinja_node **out) {
  MTK_TRY(mtk_jinja_node_new(p, NODE_FILTER_BLOCK, out));
  MTK_TRY(mtk_jinja_parse_filters(p, NULL, true, &(*out)->b));
  return parse_until(p, "endfilter", &(*out)->c);
}

static mtk_status parse_with(jinja_parser *p, jinja_node **out) {
  MTK_TRY(mtk_jinja_node_new(p, NODE_WITH, out));
  jinja_node **tail = &(*out)->a;
  while (p->at->kind != TOKEN_BLOCK_END) {
    if ((*out)->a) MTK_TRY(mtk_jinja_expect_op(p, ","));
    MTK_TRY(mtk_jinja_node_new(p, NODE_PARAMETER, tail));
    MTK_TRY(mtk_jinja_expect_name(p, &(*tail)->name));
    MTK_TRY(mtk_jinja_expect_op(p, "="));
    MTK_TRY(mtk_jinja_parse_expression(p, true, &(*tail)->a));
    tail = &(*tail)->next;
  }
  return parse_until(p, "endwith", &(*out)->c);
}

static mtk_status parse_generation(jinja_parser *p, jinja_node **out) {
  MTK_TRY(mtk_jinja_node_new(p, NODE_GENERATION, out));
  return parse_macro_body(p, *out, "endgeneration");
}

static mtk_status parse_loop_control(jinja_parser *p, jinja_node **out) {
  bool is_break = strcmp(p->at[-1].text, "break") == 0;
  MTK_TRY(mtk_jinja_node_new(p, is_break ? NODE_BREAK : NODE_CONTINUE, out));
  if (p->loops == 0) return mtk_jinja_syntax(p, "break and continue belong in a for loop");
  return expect_block_end(p);
}

static mtk_status parse_print_tag(jinja_parser *p, jinja_node **out) {
  do {
    MTK_TRY(mtk_jinja_node_new(p, NODE_PRINT, out));
    MTK_TRY(mtk_jinja_parse_expression(p, true, &(*out)->a));
    out = &(*out)->next;
  } while (mtk_jinja_skip_op(p, ","));
  return expect_block_end(p);
}

static const struct {
  const char *name;
  mtk_status (*parse)(jinja_parser *p, jinja_node **out); /* stands behind the name */
} tags[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"generation", parse_generation},
    {"break", parse_loop_control},
    {"continue", parse_loop_control},
    {"print", parse_print_tag},
};

/* Tags of Jinja that need other files or extensions. */
static const char *const absent_tags[] = {"include", "import", "from",       "extends", "block",
                                          "do",      "trans",  "autoescape", "debug"};

static mtk_status parse_statement(jinja_parser *p, jinja_node **out) {
  if (p->at->kind != TOKEN_NAME) return mtk_jinja_syntax(p, "a tag name was expected");
  for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
    if (!mtk_jinja_at_name(p, tags[i].name)) continue;
    p->at++;
    return tags[i].parse(p, out);
  }
  for (size_t i = 0; i < sizeof absent_tags / sizeof absent_tags[0]; i++) {
    if (!mtk_jinja_at_name(p, absent_tags[i])) continue;
    return mtk_jinja_fail_line(p->err, MTK_E_UNSUPPORTED, p->at->line,
                               "the tag '%s' is not supported", absent_tags[i]);
  }
  return mtk_jinja_syntax(p, "unknown tag");
}

mtk_status mtk_jinja_parse(jinja_node **body, mtk_arena *arena, mtk_map *names,
                       const jinja_tokens *tokens, mtk_error *err) {
  static const char *const no_ends[] = {NULL};
  const char *end;
  jinja_parser p = {.at = tokens->items, .arena = arena, .names = names, .err = err};
  return parse_body(&p, no_ends, &end, body);
}
