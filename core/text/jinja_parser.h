/* text/jinja_parser.h: what the expression and the statement half of the parser share. One parser
 * belongs to one call of mtk_jinja_parse. */
#ifndef MTK_TEXT_JINJA_PARSER_H
#define MTK_TEXT_JINJA_PARSER_H

#include "text/jinja.h"

typedef struct jinja_parser {
  const jinja_token *at;
  mtk_arena *arena;
  mtk_map *names;
  mtk_error *err;
  int nesting;       /* of expressions and statements */
  int conditional;   /* inside {% if %}: unknown filters are reported only when reached */
  int loops;         /* enclosing for loops that break may leave */
  jinja_node *macro; /* innermost macro or call block, for uses_caller and the like */
} jinja_parser;

mtk_status mtk_jinja_syntax(jinja_parser *p, const char *fmt, ...) MTK_PRINTF(2, 3);
mtk_status mtk_jinja_node_new(jinja_parser *p, jinja_node_kind kind, jinja_node **out);
mtk_status mtk_jinja_intern(jinja_parser *p, const char *text, size_t n, const char **out);
bool mtk_jinja_at_op(const jinja_parser *p, const char *op);
bool mtk_jinja_at_name(const jinja_parser *p, const char *name);
/* Takes the token if it is there. */
bool mtk_jinja_skip_op(jinja_parser *p, const char *op);
bool mtk_jinja_skip_name(jinja_parser *p, const char *name);
mtk_status mtk_jinja_expect_op(jinja_parser *p, const char *op);
mtk_status mtk_jinja_expect_name(jinja_parser *p, const char **name);

/* condition: allow "a if b else c". */
mtk_status mtk_jinja_parse_expression(jinja_parser *p, bool condition, jinja_node **out);
/* One or more expressions; with commas it is a tuple. */
mtk_status mtk_jinja_parse_tuple(jinja_parser *p, bool condition, jinja_node **out);
/* What may be assigned to: name, ns.name, or a tuple of names. stop_in ends it at "in". */
mtk_status mtk_jinja_parse_target(jinja_parser *p, bool allow_attr, jinja_node **out);
/* name(args) | name ...: `input` may be NULL; inline_start: no bar before the first. */
mtk_status mtk_jinja_parse_filters(jinja_parser *p, jinja_node *input, bool inline_start,
                               jinja_node **out);

#endif
