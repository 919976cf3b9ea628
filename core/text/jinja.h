/* text/jinja.h: the Jinja engine's types, shared by jinja_*.c and template.c.
 *
 * A template is lexed and parsed once into nodes that live in the template's arena and never change
 * (shared by threads). A render has its own arena for every value it makes; nothing is freed before
 * the end, so values need no reference counts and error paths no clean-up. Semantics are those of
 * Jinja 3.1 in the sandbox that transformers uses; lists and dicts are therefore immutable.
 *
 * Strings know which of their bytes came from the context ("data"): marks are sorted, disjoint
 * ranges that survive concatenation, slicing, splitting, joining and capturing; operations that
 * rewrite text mark everything they make from data as data. */
#ifndef MTK_TEXT_JINJA_H
#define MTK_TEXT_JINJA_H

#include <mtk/text.h>

#include "base/hashmap.h"

/* ---- values --------------------------------------------------------------------------------- */

typedef enum jinja_kind {
  JINJA_ABSENT = 0, /* no value: an argument that was not given */
  JINJA_UNDEFINED,
  JINJA_NONE,
  JINJA_BOOL,
  JINJA_INT,
  JINJA_FLOAT,
  JINJA_STRING,
  JINJA_LIST,
  JINJA_TUPLE,
  JINJA_VIEW,     /* dict.keys(), .values(), .items(), range(): length and iteration, no methods */
  JINJA_ITERATOR, /* what map, select, ... give: can be walked once, has no length */
  JINJA_DICT,
  JINJA_NAMESPACE,
  JINJA_MACRO,
  JINJA_FUNCTION,
  JINJA_LOOP
} jinja_kind;

typedef struct jinja_value jinja_value;
typedef struct jinja jinja; /* one render */
typedef struct jinja_node jinja_node;
typedef struct jinja_args jinja_args;

typedef struct jinja_string {
  const char *data; /* valid UTF-8, not NUL-terminated */
  size_t len;
  const mtk_span *marks; /* data ranges */
  size_t n_marks;
  size_t n_chars; /* SIZE_MAX = not counted yet */
  bool markup;    /* made by safe or escape: adding to it escapes the other side (markupsafe) */
} jinja_string;

struct jinja_value {
  jinja_kind kind;
  union {
    bool b;
    int64_t i;
    double f;
    jinja_string *s;
    struct jinja_list *l; /* LIST, TUPLE, VIEW, ITERATOR */
    struct jinja_dict *d; /* DICT, NAMESPACE */
    struct jinja_macro *m;
    struct jinja_bound *fn;
    struct jinja_loop *loop;
    struct jinja_missing *u;
  } u;
};

typedef struct jinja_list {
  jinja_value *items;
  size_t len;
  size_t next;      /* ITERATOR: items already taken */
  const char *type; /* Python's name of a VIEW or ITERATOR: "dict_items", "generator" */
} jinja_list;

typedef struct jinja_entry {
  jinja_value key, value;
  uint32_t hash;
} jinja_entry;

typedef struct jinja_dict {
  jinja_entry *entries; /* in order of insertion */
  size_t len, cap;
  uint32_t *index; /* entry number + 1, open addressing; NULL while small */
  size_t n_index;
} jinja_dict;

/* Why a value is undefined, for messages. */
typedef struct jinja_missing {
  const char *owner; /* Python type of the object, or NULL for a variable */
  bool unsafe;       /* the sandbox forbids it */
  const char *name;
  size_t name_len;
} jinja_missing;

typedef mtk_status (*jinja_fn)(jinja *j, jinja_value self, const jinja_args *args,
                               jinja_value *out);

typedef struct jinja_row { /* of the tables of filters, tests, methods and globals */
  const char *name;
  jinja_fn fn;
} jinja_row;

typedef struct jinja_bound {
  const jinja_row *row;
  jinja_value self;
} jinja_bound;

typedef struct jinja_macro {
  const jinja_node *node;
  struct jinja_scope *scope; /* where it was defined */
} jinja_macro;

typedef struct jinja_loop {
  const jinja_list *items;
  size_t index; /* 0-based */
  int depth0;
  const jinja_node *node;    /* for recursion */
  struct jinja_scope *scope; /* around the loop */
  jinja_value changed;       /* last arguments of loop.changed() */
} jinja_loop;

struct jinja_args {
  const jinja_value *items;
  size_t n;
  const char *const *names; /* keyword names of the last n_named items */
  size_t n_named;
};

/* ---- nodes ---------------------------------------------------------------------------------- */

typedef enum jinja_node_kind {
  /* expressions */
  NODE_CONST,   /* value */
  NODE_NAME,    /* name */
  NODE_LIST,    /* a: items */
  NODE_TUPLE,   /* a: items */
  NODE_DICT,    /* a: key, value, key, value, ... */
  NODE_ATTR,    /* a.name */
  NODE_ITEM,    /* a[b] */
  NODE_SLICE,   /* [a:b:c], each may be NULL; only as b of NODE_ITEM */
  NODE_CALL,    /* a(b: arguments) */
  NODE_KEYWORD, /* name=a, in arguments */
  NODE_STAR,    /* *a, in arguments */
  NODE_DOUBLE_STAR,
  NODE_FILTER, /* a | name(b); a NULL = the block's text */
  NODE_TEST,   /* a is name(b) */
  NODE_NOT,
  NODE_NEGATE,
  NODE_PLUS,
  NODE_AND,
  NODE_OR,
  NODE_BINARY,    /* a op b */
  NODE_CONCAT,    /* a: items joined by ~ */
  NODE_COMPARE,   /* a, then b: NODE_OPERAND chain */
  NODE_OPERAND,   /* op a */
  NODE_CONDITION, /* b if a else c */
  /* statements; c is a body */
  NODE_TEXT,         /* value */
  NODE_PRINT,        /* a */
  NODE_IF,           /* if a: c, else d */
  NODE_FOR,          /* for a in b if e: c, else d; op 1 = recursive */
  NODE_SET,          /* a = b */
  NODE_SET_BLOCK,    /* a = c through filters b */
  NODE_MACRO,        /* name(a: parameters): c */
  NODE_PARAMETER,    /* name = a, a may be NULL */
  NODE_CALL_BLOCK,   /* call(a: parameters) b: c */
  NODE_FILTER_BLOCK, /* filters b over c */
  NODE_WITH,         /* a: target, value, ...; c */
  NODE_GENERATION,   /* c */
  NODE_BREAK,
  NODE_CONTINUE
} jinja_node_kind;

typedef enum jinja_op {
  OP_NONE,
  OP_ADD,
  OP_SUB,
  OP_MUL,
  OP_DIV,
  OP_FLOORDIV,
  OP_MOD,
  OP_POW,
  OP_EQ,
  OP_NE,
  OP_LT,
  OP_LE,
  OP_GT,
  OP_GE,
  OP_IN,
  OP_NOT_IN
} jinja_op;

struct jinja_node {
  jinja_node_kind kind;
  jinja_op op;
  int line;
  jinja_node *a, *b, *c, *d, *e;
  jinja_node *next;     /* in a list of items, arguments or statements */
  const char *name;     /* interned: equal names are equal pointers */
  const jinja_row *row; /* of a filter or test; NULL = there is none of that name */
  bool uses_varargs, uses_kwargs, uses_caller; /* a macro's or call block's body */
  jinja_value value;
};

enum { JINJA_MAX_DEPTH = 1000, JINJA_MAX_NESTING = 500 };

/* ---- lexer and parser ----------------------------------------------------------------------- */

typedef enum jinja_token_kind {
  TOKEN_END,
  TOKEN_TEXT,
  TOKEN_BLOCK_BEGIN,
  TOKEN_BLOCK_END,
  TOKEN_PRINT_BEGIN,
  TOKEN_PRINT_END,
  TOKEN_NAME,
  TOKEN_STRING,
  TOKEN_INT,
  TOKEN_FLOAT,
  TOKEN_OPERATOR
} jinja_token_kind;

typedef struct jinja_token {
  jinja_token_kind kind;
  int line;
  const char *text; /* TEXT, NAME, STRING (unescaped), OPERATOR: in the arena */
  size_t len;
  int64_t i;
  double f;
} jinja_token;

typedef struct jinja_tokens {
  jinja_token *items; /* ends with TOKEN_END */
  size_t len, cap;
} jinja_tokens;

/* Both fail with place "line N". */
mtk_status mtk_jinja_lex(jinja_tokens *out, mtk_arena *arena, const char *source, size_t n,
                     mtk_error *err);
mtk_status mtk_jinja_parse(jinja_node **body, mtk_arena *arena, mtk_map *names,
                       const jinja_tokens *tokens, mtk_error *err);
/* mtk_fail with place "line N". */
mtk_status mtk_jinja_fail_line(mtk_error *err, mtk_status code, int line, const char *fmt, ...)
    MTK_PRINTF(4, 5);

/* ---- a render ------------------------------------------------------------------------------- */

typedef struct jinja_variable {
  const char *name; /* interned */
  jinja_value value;
} jinja_variable;

typedef struct jinja_scope {
  struct jinja_scope *parent;
  jinja_variable *vars;
  size_t len, cap;
} jinja_scope;

/* Text being made, with its data marks; memory is the render's arena. */
typedef struct jinja_text {
  char *data;
  size_t len, cap;
  mtk_span *marks;
  size_t n_marks, cap_marks;
} jinja_text;

typedef enum jinja_flow { FLOW_NORMAL, FLOW_BREAK, FLOW_CONTINUE } jinja_flow;

struct jinja {
  mtk_arena *arena;
  const mtk_map *names; /* the template's interned names */
  mtk_error *err;       /* never NULL */
  uint64_t steps, max_steps;
  size_t memory, max_memory, max_output;
  int depth, line;
  const char *now;
  jinja_scope *scope;
  jinja_text *out;      /* where statements print */
  jinja_text main;      /* the rendered text */
  mtk_span *generation; /* in main */
  size_t n_generation, cap_generation;
  jinja_flow flow;
  jinja_value filter_input; /* text of the filter or set block being left */
};

/* Fail at the current line. */
mtk_status mtk_jinja_fail(jinja *j, mtk_status code, const char *fmt, ...) MTK_PRINTF(3, 4);
/* Count work; fails when the limit is passed. */
mtk_status mtk_jinja_step(jinja *j, uint64_t n);
/* Zeroed memory; NULL (error already set in j) when out of memory or over limit. */
void *mtk_jinja_alloc(jinja *j, size_t count, size_t size);

/* The status of the error just set. */
static inline mtk_status jinja_failed(const jinja *j) {
  return j->err->code != MTK_OK ? j->err->code : MTK_E_NOMEM;
}

/* ---- jinja_text.c: text with marks ---------------------------------------------------------- */

mtk_status mtk_jinja_text_add(jinja *j, jinja_text *t, const char *data, size_t n, bool is_data);
mtk_status mtk_jinja_text_puts(jinja *j, jinja_text *t, const char *s);
mtk_status mtk_jinja_text_printf(jinja *j, jinja_text *t, const char *fmt, ...) MTK_PRINTF(3, 4);
/* Bytes begin..end of s with their marks. */
mtk_status mtk_jinja_text_add_range(jinja *j, jinja_text *t, const jinja_string *s, size_t begin,
                                size_t end);
mtk_status mtk_jinja_text_add_string(jinja *j, jinja_text *t, const jinja_string *s);
/* Whether any of it is data. */
bool mtk_jinja_is_data(const jinja_string *s);
/* The text as a string value; t must not be used afterwards. */
mtk_status mtk_jinja_text_value(jinja *j, jinja_text *t, jinja_value *out);
mtk_status mtk_jinja_new_string(jinja *j, const char *data, size_t n, bool is_data,
                                jinja_value *out);
/* s[begin..end) in bytes, sharing the memory. */
mtk_status mtk_jinja_substring(jinja *j, const jinja_string *s, size_t begin, size_t end,
                           jinja_value *out);
/* Number of characters, and byte offset of a character. */
size_t mtk_jinja_chars(jinja_string *s);
size_t mtk_jinja_char_offset(jinja_string *s, size_t index);

/* ---- jinja_value.c: making and comparing values --------------------------------------------- */

jinja_value mtk_jinja_bool(bool b);
jinja_value mtk_jinja_int(int64_t i);
jinja_value mtk_jinja_float(double f);
jinja_value mtk_jinja_none(void);
mtk_status mtk_jinja_undefined(jinja *j, const char *owner, const char *name, size_t len,
                           jinja_value *out);
/* A list with room for n items; len is 0. */
mtk_status mtk_jinja_new_list(jinja *j, jinja_kind kind, size_t n, jinja_value *out);
/* VIEW or ITERATOR named like Python's type. */
mtk_status mtk_jinja_new_view(jinja *j, jinja_kind kind, const char *type, size_t n,
                              jinja_value *out);
mtk_status mtk_jinja_new_dict(jinja *j, jinja_kind kind, jinja_value *out);
mtk_status mtk_jinja_dict_set(jinja *j, jinja_dict *d, jinja_value key, jinja_value value);
/* The value or NULL. key must be hashable. */
const jinja_value *mtk_jinja_dict_get(const jinja_dict *d, jinja_value key);
const jinja_value *mtk_jinja_dict_get_text(const jinja_dict *d, const char *key, size_t n);
bool mtk_jinja_hashable(jinja_value v);
const char *mtk_jinja_type_name(jinja_value v);
bool mtk_jinja_truth(jinja_value v);
bool mtk_jinja_is_number(jinja_value v); /* bool too */
double mtk_jinja_number(jinja_value v);
/* Python's ==. */
mtk_status mtk_jinja_equal(jinja *j, jinja_value a, jinja_value b, bool *equal);
/* Python's <, fails for types without an order. */
mtk_status mtk_jinja_less(jinja *j, jinja_value a, jinja_value b, bool *less);
mtk_status mtk_jinja_contains(jinja *j, jinja_value container, jinja_value item, bool *found);
/* The items to walk over; consumes an ITERATOR. */
mtk_status mtk_jinja_items(jinja *j, jinja_value v, const jinja_list **out);
mtk_status mtk_jinja_length(jinja *j, jinja_value v, size_t *out);
/* order[0..n) = the stable order of the keys, ascending or (reverse) descending. */
mtk_status mtk_jinja_sort_order(jinja *j, const jinja_value *keys, size_t n, bool reverse,
                            size_t **order);
mtk_status mtk_jinja_require_defined(jinja *j, jinja_value v);

/* ---- jinja_repr.c, jinja_json.c, jinja_format.c: values as text ----------------------------- */

/* str(v), or repr(v) if `repr`. */
mtk_status mtk_jinja_write(jinja *j, jinja_text *t, jinja_value v, bool repr);
mtk_status mtk_jinja_to_string(jinja *j, jinja_value v, jinja_value *out);
/* HTML escaping (markupsafe.escape): text of a markup string is left alone, the result is one. */
mtk_status mtk_jinja_escape(jinja *j, jinja_value v, jinja_value *out);
/* Python's repr of a float; buf has room for 40 bytes. */
size_t mtk_jinja_format_float(char *buf, double f);
mtk_status mtk_jinja_tojson(jinja *j, jinja_value self, const jinja_args *args, jinja_value *out);
/* JSON text -> the variables of a context, bound in scope. */
mtk_status mtk_jinja_load_context(jinja *j, jinja_scope *scope, const char *json, size_t n);
/* "..." % value, and str.format. */
mtk_status mtk_jinja_percent_format(jinja *j, const jinja_string *format, jinja_value arguments,
                                jinja_value *out);
mtk_status mtk_jinja_str_format(jinja *j, jinja_value self, const jinja_args *args,
                                jinja_value *out);

/* ---- mtk_jinja_eval.c, mtk_jinja_exec.c ----------------------------------------------------- */

mtk_status mtk_jinja_eval(jinja *j, const jinja_node *node, jinja_value *out);
mtk_status mtk_jinja_binary(jinja *j, jinja_op op, jinja_value a, jinja_value b, jinja_value *out);
/* v.name and v[index], Jinja's way (methods first, or items first). */
mtk_status mtk_jinja_get_attr(jinja *j, jinja_value v, const char *name, size_t len,
                              jinja_value *out);
mtk_status mtk_jinja_get_item(jinja *j, jinja_value v, jinja_value index, jinja_value *out);
mtk_status mtk_jinja_call(jinja *j, jinja_value callee, const jinja_args *args, jinja_value *out);
mtk_status mtk_jinja_exec(jinja *j, const jinja_node *body);
mtk_status mtk_jinja_call_macro(jinja *j, const jinja_macro *macro, const jinja_args *args,
                            jinja_value *out);
mtk_status mtk_jinja_run_loop(jinja *j, const jinja_node *node, jinja_value iterable, int depth0);
mtk_status mtk_jinja_loop_attr(jinja *j, jinja_loop *loop, const char *name, jinja_value *out);
mtk_status mtk_jinja_scope_set(jinja *j, jinja_scope *scope, const char *name, jinja_value value);
const jinja_value *mtk_jinja_scope_get(const jinja_scope *scope, const char *name);
mtk_status mtk_jinja_scope_push(jinja *j, jinja_scope *parent, jinja_scope **out);

/* ---- tables --------------------------------------------------------------------------------- */

const jinja_row *mtk_jinja_find_filter(const char *name);
const jinja_row *mtk_jinja_find_test(const char *name);
const jinja_row *mtk_jinja_find_global(const char *name);
/* A method of v's type, or NULL; *unsafe if the sandbox forbids it (list.append). */
const jinja_row *mtk_jinja_find_method(jinja_value v, const char *name, bool *unsafe);
const jinja_row *mtk_jinja_find_row(const jinja_row *rows, size_t n, const char *name);
extern const jinja_row mtk_jinja_sequence_filters[], mtk_jinja_string_filters[];
extern const size_t mtk_jinja_sequence_filters_len, mtk_jinja_string_filters_len;

/* Matches arguments with parameter names; values[i] stays ABSENT if not given. Fails for unknown
 * names, repeated or surplus arguments. */
mtk_status mtk_jinja_bind(jinja *j, const char *what, const jinja_args *args,
                          const char *const *names, size_t n, jinja_value *values);
/* Value of an integer argument, or `otherwise` if absent. */
mtk_status mtk_jinja_int_arg(jinja *j, jinja_value v, int64_t otherwise, int64_t *out);
/* The arguments from `first` on, for functions that hand the rest to another one. */
jinja_args mtk_jinja_rest_args(const jinja_args *args, size_t first);
/* A string argument; NULL in *out if absent or None. */
mtk_status mtk_jinja_string_arg(jinja *j, const char *what, jinja_value v, jinja_string **out);

#endif
