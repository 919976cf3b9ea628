/* text/jinja_parse_expr.c: expressions, by recursive descent in the precedence of jinja2/parser.py:
 * if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, postfix, filters and tests. */
#include <string.h>

#include "text/jinja_parser.h"

static mtk_status parse_or(jinja_parser *p, jinja_node **out);
static mtk_status parse_unary(jinja_parser *p, bool with_filter, jinja_node **out);
static mtk_status parse_primary(jinja_parser *p, jinja_node **out);
static mtk_status parse_postfix(jinja_parser *p, jinja_node **node);

static mtk_status enter(jinja_parser *p) {
  if (++p->nesting <= JINJA_MAX_NESTING) return MTK_OK;
  return mtk_jinja_fail_line(p->err, MTK_E_LIMIT, p->at->line, "expressions are nested too deeply");
}

typedef struct operator_row {
  const char *text;
  jinja_op op;
} operator_row;

static const operator_row additive[] = {{"+", OP_ADD}, {"-", OP_SUB}, {NULL, OP_NONE}};
static const operator_row multiplicative[] = {
    {"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOORDIV}, {"%", OP_MOD}, {NULL, OP_NONE}};
static const operator_row power[] = {{"**", OP_POW}, {NULL, OP_NONE}};
static const operator_row comparisons[] = {{"==", OP_EQ},  {"!=", OP_NE}, {"<", OP_LT},
                                           {"<=", OP_LE},  {">", OP_GT},  {">=", OP_GE},
                                           {NULL, OP_NONE}};

/* Takes the operator of `rows` that stands here, if one does. */
static jinja_op take_operator(jinja_parser *p, const operator_row *rows) {
  for (; rows->text; rows++) {
    if (mtk_jinja_skip_op(p, rows->text)) return rows->op;
  }
  return OP_NONE;
}

/* ---- lists of things ------------------------------------------------------------------------ */

/* Items up to `close`, which is taken. pairs: key: value. */
static mtk_status parse_items(jinja_parser *p, const char *close, bool pairs, jinja_node **out) {
  jinja_node **tail = out;
  *out = NULL;
  while (!mtk_jinja_skip_op(p, close)) {
    if (*out) {
      MTK_TRY(mtk_jinja_expect_op(p, ","));
      if (mtk_jinja_skip_op(p, close)) break;
    }
    MTK_TRY(mtk_jinja_parse_expression(p, true, tail));
    tail = &(*tail)->next;
    if (pairs) {
      MTK_TRY(mtk_jinja_expect_op(p, ":"));
      MTK_TRY(mtk_jinja_parse_expression(p, true, tail));
      tail = &(*tail)->next;
    }
  }
  return MTK_OK;
}

static mtk_status parse_argument(jinja_parser *p, jinja_node **out) {
  bool star = mtk_jinja_at_op(p, "*"), double_star = mtk_jinja_at_op(p, "**");
  bool keyword = p->at->kind == TOKEN_NAME && p->at[1].kind == TOKEN_OPERATOR &&
                 strcmp(p->at[1].text, "=") == 0;
  if (!star && !double_star && !keyword) return mtk_jinja_parse_expression(p, true, out);
  MTK_TRY(mtk_jinja_node_new(p,
                             star          ? NODE_STAR
                             : double_star ? NODE_DOUBLE_STAR
                                           : NODE_KEYWORD,
                             out));
  if (keyword) MTK_TRY(mtk_jinja_expect_name(p, &(*out)->name));
  p->at++;
  return mtk_jinja_parse_expression(p, true, &(*out)->a);
}

/* Arguments up to ")", which is taken; "(" was. Positional ones come first. */
static mtk_status parse_arguments(jinja_parser *p, jinja_node **out) {
  jinja_node **tail = out;
  bool named = false;
  *out = NULL;
  while (!mtk_jinja_skip_op(p, ")")) {
    if (*out) {
      MTK_TRY(mtk_jinja_expect_op(p, ","));
      if (mtk_jinja_skip_op(p, ")")) break;
    }
    MTK_TRY(parse_argument(p, tail));
    bool is_named = (*tail)->kind == NODE_KEYWORD || (*tail)->kind == NODE_DOUBLE_STAR;
    if (named && !is_named) return mtk_jinja_syntax(p, "a positional argument after a named one");
    named = is_named;
    tail = &(*tail)->next;
  }
  return MTK_OK;
}

/* ---- primary and postfix -------------------------------------------------------------------- */

static mtk_status string_value(jinja_parser *p, const char *data, size_t n, jinja_value *out) {
  jinja_string *s = mtk_arena_alloc(p->arena, 1, sizeof *s);
  if (!s) return mtk_fail(p->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  size_t chars = 0; /* counted here: templates are shared by threads and never change */
  for (size_t i = 0; i < n; i++) chars += ((uint8_t)data[i] & 0xC0) != 0x80;
  *s = (jinja_string){.data = data, .len = n, .n_chars = chars};
  *out = (jinja_value){JINJA_STRING, {.s = s}};
  return MTK_OK;
}

/* Adjacent string literals are one. */
static mtk_status parse_strings(jinja_parser *p, jinja_node *node) {
  size_t n = 0;
  const jinja_token *end = p->at;
  while (end->kind == TOKEN_STRING) n += (end++)->len;
  char *data = mtk_arena_alloc(p->arena, n, 1);
  if (!data) return mtk_fail(p->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
  size_t at = 0;
  for (; p->at < end; p->at++) {
    memcpy(data + at, p->at->text, p->at->len);
    at += p->at->len;
  }
  return string_value(p, data, n, &node->value);
}

static mtk_status parse_name(jinja_parser *p, jinja_node **out) {
  static const struct {
    const char *name;
    jinja_value value;
  } constants[] = {{"true", {JINJA_BOOL, {.b = true}}}, {"false", {JINJA_BOOL, {.b = false}}},
                   {"True", {JINJA_BOOL, {.b = true}}}, {"False", {JINJA_BOOL, {.b = false}}},
                   {"none", {JINJA_NONE, {.i = 0}}},    {"None", {JINJA_NONE, {.i = 0}}}};
  jinja_node *node;
  MTK_TRY(mtk_jinja_node_new(p, NODE_NAME, &node));
  MTK_TRY(mtk_jinja_expect_name(p, &node->name));
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
    if (strcmp(constants[i].name, node->name) != 0) continue;
    node->kind = NODE_CONST;
    node->value = constants[i].value;
  }
  if (p->macro && node->kind == NODE_NAME) {
    if (strcmp(node->name, "caller") == 0) p->macro->uses_caller = true;
    if (strcmp(node->name, "kwargs") == 0) p->macro->uses_kwargs = true;
    if (strcmp(node->name, "varargs") == 0) p->macro->uses_varargs = true;
  }
  *out = node;
  return MTK_OK;
}

static mtk_status parse_parentheses(jinja_parser *p, jinja_node **out) {
  p->at++;
  if (mtk_jinja_skip_op(p, ")")) return mtk_jinja_node_new(p, NODE_TUPLE, out);
  MTK_TRY(mtk_jinja_parse_tuple(p, true, out));
  return mtk_jinja_expect_op(p, ")");
}

static mtk_status parse_primary(jinja_parser *p, jinja_node **out) {
  const jinja_token *token = p->at;
  if (token->kind == TOKEN_NAME) return parse_name(p, out);
  if (mtk_jinja_at_op(p, "(")) return parse_parentheses(p, out);
  if (mtk_jinja_at_op(p, "[") || mtk_jinja_at_op(p, "{")) {
    bool list = token->text[0] == '[';
    MTK_TRY(mtk_jinja_node_new(p, list ? NODE_LIST : NODE_DICT, out));
    p->at++;
    return parse_items(p, list ? "]" : "}", !list, &(*out)->a);
  }
  bool literal =
      token->kind == TOKEN_STRING || token->kind == TOKEN_INT || token->kind == TOKEN_FLOAT;
  if (!literal) return mtk_jinja_syntax(p, "an expression was expected");
  MTK_TRY(mtk_jinja_node_new(p, NODE_CONST, out));
  if (token->kind == TOKEN_STRING) return parse_strings(p, *out);
  p->at++;
  (*out)->value = token->kind == TOKEN_INT ? (jinja_value){JINJA_INT, {.i = token->i}}
                                           : (jinja_value){JINJA_FLOAT, {.f = token->f}};
  return MTK_OK;
}

/* One part of a slice, unless it is empty. */
static mtk_status parse_slice_part(jinja_parser *p, jinja_node **out) {
  if (mtk_jinja_at_op(p, ":") || mtk_jinja_at_op(p, "]") || mtk_jinja_at_op(p, ",")) return MTK_OK;
  return mtk_jinja_parse_expression(p, true, out);
}

static mtk_status parse_index(jinja_parser *p, jinja_node **out) {
  jinja_node *first = NULL;
  MTK_TRY(parse_slice_part(p, &first));
  if (!mtk_jinja_at_op(p, ":")) {
    if (!first) return mtk_jinja_syntax(p, "an index was expected");
    *out = first;
    return MTK_OK;
  }
  MTK_TRY(mtk_jinja_node_new(p, NODE_SLICE, out));
  (*out)->a = first;
  p->at++;
  MTK_TRY(parse_slice_part(p, &(*out)->b));
  if (mtk_jinja_skip_op(p, ":")) MTK_TRY(parse_slice_part(p, &(*out)->c));
  return MTK_OK;
}

static mtk_status parse_subscript(jinja_parser *p, jinja_node **node) {
  jinja_node *subscript;
  bool dot = mtk_jinja_at_op(p, ".");
  MTK_TRY(mtk_jinja_node_new(p, NODE_ITEM, &subscript));
  subscript->a = *node;
  *node = subscript;
  p->at++;
  if (dot && p->at->kind == TOKEN_NAME) {
    subscript->kind = NODE_ATTR;
    return mtk_jinja_expect_name(p, &subscript->name);
  }
  if (dot && p->at->kind == TOKEN_INT) return parse_primary(p, &subscript->b);
  if (dot) return mtk_jinja_syntax(p, "a name or number was expected after '.'");
  MTK_TRY(parse_index(p, &subscript->b));
  if (mtk_jinja_at_op(p, ",")) {
    return mtk_jinja_fail_line(p->err, MTK_E_UNSUPPORTED, p->at->line, "an index of several parts");
  }
  return mtk_jinja_expect_op(p, "]");
}

static mtk_status parse_call(jinja_parser *p, jinja_node **node) {
  jinja_node *call;
  MTK_TRY(mtk_jinja_node_new(p, NODE_CALL, &call));
  p->at++;
  call->a = *node;
  *node = call;
  return parse_arguments(p, &call->b);
}

/* Links of a.b[c](d).e... are a chain as long as the template; evaluation recurses over it. */
static mtk_status count_link(jinja_parser *p, int *links) {
  if (++*links <= JINJA_MAX_NESTING) return MTK_OK;
  return mtk_jinja_fail_line(p->err, MTK_E_LIMIT, p->at->line, "an expression has too many parts");
}

static mtk_status parse_postfix(jinja_parser *p, jinja_node **node) {
  int links = 0;
  for (;;) {
    MTK_TRY(count_link(p, &links));
    if (mtk_jinja_at_op(p, ".") || mtk_jinja_at_op(p, "["))
      MTK_TRY(parse_subscript(p, node));
    else if (mtk_jinja_at_op(p, "("))
      MTK_TRY(parse_call(p, node));
    else
      return MTK_OK;
  }
}

/* ---- filters and tests ---------------------------------------------------------------------- */

/* "a.b.c" as one name. */
static mtk_status parse_dotted(jinja_parser *p, const char **name) {
  MTK_TRY(mtk_jinja_expect_name(p, name));
  while (mtk_jinja_at_op(p, ".")) {
    p->at++;
    const char *part;
    MTK_TRY(mtk_jinja_expect_name(p, &part));
    char *joined = mtk_arena_alloc(p->arena, strlen(*name) + strlen(part) + 2, 1);
    if (!joined) return mtk_fail(p->err, MTK_E_NOMEM, NULL, "out of memory reading a template");
    size_t n = strlen(*name);
    memcpy(joined, *name, n);
    joined[n] = '.';
    memcpy(joined + n + 1, part, strlen(part));
    *name = joined;
  }
  return MTK_OK;
}

static mtk_status check_row(jinja_parser *p, const jinja_node *node, const char *what) {
  if (node->row || p->conditional > 0) return MTK_OK;
  return mtk_jinja_fail_line(p->err, MTK_E_UNSUPPORTED, node->line, "there is no %s named '%.60s'",
                         what, node->name);
}

static mtk_status parse_filter(jinja_parser *p, jinja_node **node) {
  jinja_node *filter;
  MTK_TRY(mtk_jinja_node_new(p, NODE_FILTER, &filter));
  MTK_TRY(parse_dotted(p, &filter->name));
  filter->row = mtk_jinja_find_filter(filter->name);
  MTK_TRY(check_row(p, filter, "filter"));
  filter->a = *node;
  *node = filter;
  return mtk_jinja_skip_op(p, "(") ? parse_arguments(p, &filter->b) : MTK_OK;
}

mtk_status mtk_jinja_parse_filters(jinja_parser *p, jinja_node *input, bool inline_start,
                               jinja_node **out) {
  int links = 0;
  *out = input;
  while (inline_start || mtk_jinja_skip_op(p, "|")) {
    inline_start = false;
    MTK_TRY(count_link(p, &links));
    MTK_TRY(parse_filter(p, out));
  }
  return MTK_OK;
}

/* The single argument of "is divisibleby 3" may stand without parentheses. */
static bool at_bare_argument(const jinja_parser *p) {
  if (p->at->kind == TOKEN_STRING || p->at->kind == TOKEN_INT || p->at->kind == TOKEN_FLOAT) {
    return true;
  }
  if (p->at->kind == TOKEN_NAME) {
    return !mtk_jinja_at_name(p, "else") && !mtk_jinja_at_name(p, "or") &&
           !mtk_jinja_at_name(p, "and");
  }
  return mtk_jinja_at_op(p, "[") || mtk_jinja_at_op(p, "{");
}

static mtk_status parse_test(jinja_parser *p, jinja_node **node) {
  jinja_node *test, *negation;
  p->at++;
  MTK_TRY(mtk_jinja_node_new(p, NODE_TEST, &test));
  bool negated = mtk_jinja_skip_name(p, "not");
  MTK_TRY(parse_dotted(p, &test->name));
  test->row = mtk_jinja_find_test(test->name);
  MTK_TRY(check_row(p, test, "test"));
  test->a = *node;
  *node = test;
  if (mtk_jinja_skip_op(p, "(")) {
    MTK_TRY(parse_arguments(p, &test->b));
  } else if (at_bare_argument(p)) {
    if (mtk_jinja_at_name(p, "is")) return mtk_jinja_syntax(p, "tests cannot be chained with 'is'");
    MTK_TRY(parse_primary(p, &test->b));
    MTK_TRY(parse_postfix(p, &test->b));
  }
  if (!negated) return MTK_OK;
  MTK_TRY(mtk_jinja_node_new(p, NODE_NOT, &negation));
  negation->a = test;
  *node = negation;
  return MTK_OK;
}

static mtk_status parse_filters_and_tests(jinja_parser *p, jinja_node **node) {
  int links = 0;
  for (;;) {
    MTK_TRY(count_link(p, &links));
    if (mtk_jinja_skip_op(p, "|"))
      MTK_TRY(parse_filter(p, node));
    else if (mtk_jinja_at_name(p, "is"))
      MTK_TRY(parse_test(p, node));
    else if (mtk_jinja_at_op(p, "("))
      MTK_TRY(parse_call(p, node));
    else
      return MTK_OK;
  }
}

/* ---- operators ------------------------------------------------------------------------------ */

static mtk_status parse_unary(jinja_parser *p, bool with_filter, jinja_node **out) {
  bool minus = mtk_jinja_at_op(p, "-"), plus = mtk_jinja_at_op(p, "+");
  MTK_TRY(enter(p));
  if (minus || plus) {
    MTK_TRY(mtk_jinja_node_new(p, minus ? NODE_NEGATE : NODE_PLUS, out));
    p->at++;
    MTK_TRY(parse_unary(p, false, &(*out)->a));
  } else {
    MTK_TRY(parse_primary(p, out));
    MTK_TRY(parse_postfix(p, out));
  }
  p->nesting--;
  return with_filter ? parse_filters_and_tests(p, out) : MTK_OK;
}

typedef mtk_status (*parse_fn)(jinja_parser *p, jinja_node **out);

/* operand (op operand)*, grouping to the left. */
static mtk_status parse_left(jinja_parser *p, const operator_row *rows, parse_fn operand,
                             jinja_node **out) {
  int links = 0;
  MTK_TRY(operand(p, out));
  for (;;) {
    const jinja_token *at = p->at;
    jinja_op op = take_operator(p, rows);
    if (op == OP_NONE) return MTK_OK;
    MTK_TRY(count_link(p, &links));
    jinja_node *node;
    MTK_TRY(mtk_jinja_node_new(p, NODE_BINARY, &node));
    node->line = at->line;
    node->op = op;
    node->a = *out;
    MTK_TRY(operand(p, &node->b));
    *out = node;
  }
}

static mtk_status parse_filtered(jinja_parser *p, jinja_node **out) {
  return parse_unary(p, true, out);
}

static mtk_status parse_power(jinja_parser *p, jinja_node **out) {
  return parse_left(p, power, parse_filtered, out);
}

static mtk_status parse_product(jinja_parser *p, jinja_node **out) {
  return parse_left(p, multiplicative, parse_power, out);
}

static mtk_status parse_concat(jinja_parser *p, jinja_node **out) {
  MTK_TRY(parse_product(p, out));
  if (!mtk_jinja_at_op(p, "~")) return MTK_OK;
  jinja_node *node, **tail = &(*out)->next;
  MTK_TRY(mtk_jinja_node_new(p, NODE_CONCAT, &node));
  node->a = *out;
  while (mtk_jinja_skip_op(p, "~")) {
    MTK_TRY(parse_product(p, tail));
    tail = &(*tail)->next;
  }
  *out = node;
  return MTK_OK;
}

static mtk_status parse_sum(jinja_parser *p, jinja_node **out) {
  return parse_left(p, additive, parse_concat, out);
}

static jinja_op take_comparison(jinja_parser *p) {
  if (mtk_jinja_skip_name(p, "in")) return OP_IN;
  bool not_in = mtk_jinja_at_name(p, "not") && p->at[1].kind == TOKEN_NAME &&
                strcmp(p->at[1].text, "in") == 0;
  if (!not_in) return take_operator(p, comparisons);
  p->at += 2;
  return OP_NOT_IN;
}

static mtk_status parse_comparison(jinja_parser *p, jinja_node **out) {
  MTK_TRY(parse_sum(p, out));
  jinja_node *node = NULL, **tail = NULL;
  jinja_op op;
  while ((op = take_comparison(p)) != OP_NONE) {
    if (!node) {
      MTK_TRY(mtk_jinja_node_new(p, NODE_COMPARE, &node));
      node->a = *out;
      tail = &node->b;
      *out = node;
    }
    MTK_TRY(mtk_jinja_node_new(p, NODE_OPERAND, tail));
    (*tail)->op = op;
    MTK_TRY(parse_sum(p, &(*tail)->a));
    tail = &(*tail)->next;
  }
  return MTK_OK;
}

static mtk_status parse_not(jinja_parser *p, jinja_node **out) {
  if (!mtk_jinja_at_name(p, "not")) return parse_comparison(p, out);
  MTK_TRY(enter(p));
  MTK_TRY(mtk_jinja_node_new(p, NODE_NOT, out));
  p->at++;
  MTK_TRY(parse_not(p, &(*out)->a));
  p->nesting--;
  return MTK_OK;
}

/* operand (word operand)* as a left-leaning chain of `kind`. */
static mtk_status parse_logic(jinja_parser *p, const char *word, jinja_node_kind kind,
                              parse_fn operand, jinja_node **out) {
  int links = 0;
  MTK_TRY(operand(p, out));
  while (mtk_jinja_skip_name(p, word)) {
    jinja_node *node;
    MTK_TRY(count_link(p, &links));
    MTK_TRY(mtk_jinja_node_new(p, kind, &node));
    node->a = *out;
    MTK_TRY(operand(p, &node->b));
    *out = node;
  }
  return MTK_OK;
}

static mtk_status parse_and(jinja_parser *p, jinja_node **out) {
  return parse_logic(p, "and", NODE_AND, parse_not, out);
}

static mtk_status parse_or(jinja_parser *p, jinja_node **out) {
  return parse_logic(p, "or", NODE_OR, parse_and, out);
}

mtk_status mtk_jinja_parse_expression(jinja_parser *p, bool condition, jinja_node **out) {
  MTK_TRY(enter(p));
  MTK_TRY(parse_or(p, out));
  int links = 0;
  jinja_node **spot = out; /* a if b else (c if d else ...) */
  while (condition && mtk_jinja_skip_name(p, "if")) {
    jinja_node *node;
    MTK_TRY(count_link(p, &links));
    MTK_TRY(mtk_jinja_node_new(p, NODE_CONDITION, &node));
    node->b = *spot;
    MTK_TRY(parse_or(p, &node->a));
    *spot = node;
    if (!mtk_jinja_skip_name(p, "else")) continue;
    MTK_TRY(parse_or(p, &node->c));
    spot = &node->c;
  }
  p->nesting--;
  return MTK_OK;
}

static bool at_tuple_end(const jinja_parser *p) {
  return p->at->kind == TOKEN_PRINT_END || p->at->kind == TOKEN_BLOCK_END ||
         mtk_jinja_at_op(p, ")") || mtk_jinja_at_name(p, "recursive");
}

mtk_status mtk_jinja_parse_tuple(jinja_parser *p, bool condition, jinja_node **out) {
  MTK_TRY(mtk_jinja_parse_expression(p, condition, out));
  if (!mtk_jinja_at_op(p, ",")) return MTK_OK;
  jinja_node *tuple, **tail = &(*out)->next;
  MTK_TRY(mtk_jinja_node_new(p, NODE_TUPLE, &tuple));
  tuple->a = *out;
  while (mtk_jinja_skip_op(p, ",") && !at_tuple_end(p)) {
    MTK_TRY(mtk_jinja_parse_expression(p, condition, tail));
    tail = &(*tail)->next;
  }
  *out = tuple;
  return MTK_OK;
}

static mtk_status parse_target_name(jinja_parser *p, bool allow_attr, jinja_node **out) {
  jinja_node *name;
  MTK_TRY(mtk_jinja_node_new(p, NODE_NAME, &name));
  if (mtk_jinja_at_op(p, "(")) {
    p->at++;
    MTK_TRY(mtk_jinja_parse_target(p, allow_attr, out));
    return mtk_jinja_expect_op(p, ")");
  }
  MTK_TRY(mtk_jinja_expect_name(p, &name->name));
  *out = name;
  if (!allow_attr || !mtk_jinja_skip_op(p, ".")) return MTK_OK;
  MTK_TRY(mtk_jinja_node_new(p, NODE_ATTR, out));
  (*out)->a = name;
  return mtk_jinja_expect_name(p, &(*out)->name);
}

mtk_status mtk_jinja_parse_target(jinja_parser *p, bool allow_attr, jinja_node **out) {
  MTK_TRY(enter(p));
  MTK_TRY(parse_target_name(p, allow_attr, out));
  p->nesting--;
  if (!mtk_jinja_at_op(p, ",")) return MTK_OK;
  jinja_node *tuple, **tail = &(*out)->next;
  MTK_TRY(mtk_jinja_node_new(p, NODE_TUPLE, &tuple));
  tuple->a = *out;
  while (mtk_jinja_skip_op(p, ",") && !mtk_jinja_at_name(p, "in") && !mtk_jinja_at_op(p, "=") &&
         !at_tuple_end(p)) {
    MTK_TRY(parse_target_name(p, allow_attr, tail));
    tail = &(*tail)->next;
  }
  *out = tuple;
  return MTK_OK;
}
