/* text/mtk_jinja_eval.c: evaluates expression nodes. State is the render's; nodes are read-only. */
#include <string.h>

#include "text/jinja.h"

/* ---- names, attributes, items --------------------------------------------------------------- */

const jinja_value *mtk_jinja_scope_get(const jinja_scope *scope, const char *name) {
  for (; scope; scope = scope->parent) {
    for (size_t i = scope->len; i > 0; i--) {
      if (scope->vars[i - 1].name == name) return &scope->vars[i - 1].value;
    }
  }
  return NULL;
}

static mtk_status new_bound(jinja *j, const jinja_row *row, jinja_value self, jinja_value *out) {
  jinja_bound *bound = mtk_jinja_alloc(j, 1, sizeof *bound);
  if (!bound) return jinja_failed(j);
  *bound = (jinja_bound){row, self};
  *out = (jinja_value){JINJA_FUNCTION, {.fn = bound}};
  return MTK_OK;
}

static mtk_status eval_name(jinja *j, const jinja_node *node, jinja_value *out) {
  const jinja_value *found = mtk_jinja_scope_get(j->scope, node->name);
  if (found) {
    *out = *found;
    return MTK_OK;
  }
  const jinja_row *global = mtk_jinja_find_global(node->name);
  if (global) return new_bound(j, global, (jinja_value){0}, out);
  return mtk_jinja_undefined(j, NULL, node->name, strlen(node->name), out);
}

static const char *owner_name(jinja_value v) {
  return v.kind == JINJA_DICT ? "dict object" : mtk_jinja_type_name(v);
}

/* Attributes that are values rather than methods. */
static mtk_status plain_attr(jinja *j, jinja_value v, const char *name, size_t len,
                             jinja_value *out) {
  if (v.kind == JINJA_NAMESPACE) {
    const jinja_value *found = mtk_jinja_dict_get_text(v.u.d, name, len);
    if (found) *out = *found;
  } else if (v.kind == JINJA_LOOP) {
    return mtk_jinja_loop_attr(j, v.u.loop, name, out);
  } else if (v.kind == JINJA_MACRO && strcmp(name, "name") == 0) {
    return mtk_jinja_new_string(j, v.u.m->node->name, strlen(v.u.m->node->name), false, out);
  }
  return MTK_OK;
}

/* *out stays ABSENT if v has no such attribute. name is NUL-terminated. */
static mtk_status attribute(jinja *j, jinja_value v, const char *name, size_t len,
                            jinja_value *out) {
  bool unsafe = false;
  MTK_TRY(plain_attr(j, v, name, len, out));
  if (out->kind != JINJA_ABSENT) return MTK_OK;
  const jinja_row *method = mtk_jinja_find_method(v, name, &unsafe);
  if (unsafe) {
    MTK_TRY(mtk_jinja_undefined(j, mtk_jinja_type_name(v), name, len, out));
    out->u.u->unsafe = true;
    return MTK_OK;
  }
  return method ? new_bound(j, method, v, out) : MTK_OK;
}

static int64_t whole(jinja_value v) { return v.kind == JINJA_BOOL ? v.u.b : v.u.i; }

/* v[index] as Python has it; *out stays ABSENT if there is no such item. */
static mtk_status item(jinja *j, jinja_value v, jinja_value index, jinja_value *out) {
  if (v.kind == JINJA_DICT) {
    const jinja_value *found = mtk_jinja_dict_get(v.u.d, index);
    if (found) *out = *found;
    return MTK_OK;
  }
  bool range = v.kind == JINJA_VIEW && strcmp(v.u.l->type, "range") == 0;
  bool sequence = v.kind == JINJA_LIST || v.kind == JINJA_TUPLE || v.kind == JINJA_STRING || range;
  if (!sequence || (index.kind != JINJA_INT && index.kind != JINJA_BOOL)) return MTK_OK;
  size_t n;
  MTK_TRY(mtk_jinja_length(j, v, &n));
  int64_t i = whole(index) < 0 ? whole(index) + (int64_t)n : whole(index);
  if (i < 0 || (uint64_t)i >= n) return MTK_OK;
  if (v.kind != JINJA_STRING) {
    *out = v.u.l->items[i];
    return MTK_OK;
  }
  if (n != v.u.s->len) MTK_TRY(mtk_jinja_step(j, (uint64_t)i / 64));
  size_t begin = mtk_jinja_char_offset(v.u.s, (size_t)i), end = begin + 1;
  while (end < v.u.s->len && ((uint8_t)v.u.s->data[end] & 0xC0) == 0x80) end++;
  return mtk_jinja_substring(j, v.u.s, begin, end, out);
}

static jinja_string borrowed(const char *text, size_t n) {
  return (jinja_string){.data = text, .len = n, .n_chars = SIZE_MAX};
}

mtk_status mtk_jinja_get_attr(jinja *j, jinja_value v, const char *name, size_t len,
                              jinja_value *out) {
  MTK_TRY(mtk_jinja_require_defined(j, v));
  *out = (jinja_value){0};
  MTK_TRY(attribute(j, v, name, len, out));
  if (out->kind != JINJA_ABSENT) return MTK_OK;
  jinja_string key = borrowed(name, len);
  MTK_TRY(item(j, v, (jinja_value){JINJA_STRING, {.s = &key}}, out));
  if (out->kind != JINJA_ABSENT) return MTK_OK;
  return mtk_jinja_undefined(j, owner_name(v), name, len, out);
}

mtk_status mtk_jinja_get_item(jinja *j, jinja_value v, jinja_value index, jinja_value *out) {
  MTK_TRY(mtk_jinja_require_defined(j, v));
  *out = (jinja_value){0};
  MTK_TRY(item(j, v, index, out));
  if (out->kind != JINJA_ABSENT) return MTK_OK;
  if (index.kind != JINJA_STRING) {
    jinja_value text;
    MTK_TRY(mtk_jinja_to_string(j, index, &text));
    return mtk_jinja_undefined(j, owner_name(v), text.u.s->data, text.u.s->len, out);
  }
  char *name = mtk_jinja_alloc(j, index.u.s->len + 1, 1);
  if (!name) return jinja_failed(j);
  memcpy(name, index.u.s->data, index.u.s->len);
  MTK_TRY(attribute(j, v, name, index.u.s->len, out));
  if (out->kind != JINJA_ABSENT) return MTK_OK;
  return mtk_jinja_undefined(j, owner_name(v), name, index.u.s->len, out);
}

/* ---- slices --------------------------------------------------------------------------------- */

/* A slice bound: absent stays *value. */
static mtk_status slice_bound(jinja *j, const jinja_node *node, int64_t *value, bool *given) {
  jinja_value v = {0};
  *given = false;
  if (!node) return MTK_OK;
  MTK_TRY(mtk_jinja_eval(j, node, &v));
  if (v.kind == JINJA_NONE) return MTK_OK;
  MTK_TRY(mtk_jinja_require_defined(j, v));
  if (v.kind != JINJA_INT && v.kind != JINJA_BOOL) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "slice indices must be integers or None");
  }
  *value = whole(v);
  *given = true;
  return MTK_OK;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high) {
  return v < low ? low : v > high ? high : v;
}

typedef struct slice {
  int64_t start, step;
  size_t count;
} slice;

/* Python's slice.indices(n). */
static mtk_status resolve_slice(jinja *j, const jinja_node *node, int64_t n, slice *out) {
  int64_t start = 0, stop = 0, step = 1;
  bool has_start, has_stop, has_step;
  MTK_TRY(slice_bound(j, node->a, &start, &has_start));
  MTK_TRY(slice_bound(j, node->b, &stop, &has_stop));
  MTK_TRY(slice_bound(j, node->c, &step, &has_step));
  if (step == 0) return mtk_jinja_fail(j, MTK_E_INVALID, "slice step cannot be zero");
  step = clamp(step, -INT64_MAX, INT64_MAX);
  int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
  start = !has_start ? (step < 0 ? high : low) : clamp(start < 0 ? start + n : start, low, high);
  stop = !has_stop ? (step < 0 ? low : high) : clamp(stop < 0 ? stop + n : stop, low, high);
  int64_t span = step < 0 ? start - stop : stop - start, stride = step < 0 ? -step : step;
  *out = (slice){start, step, span > 0 ? (size_t)((span - 1) / stride + 1) : 0};
  return MTK_OK;
}

static mtk_status slice_string(jinja *j, jinja_string *s, slice cut, jinja_value *out) {
  MTK_TRY(mtk_jinja_step(j, s->len / 64));
  if (cut.step == 1) {
    size_t begin = mtk_jinja_char_offset(s, (size_t)cut.start);
    size_t end = mtk_jinja_char_offset(s, (size_t)cut.start + cut.count);
    return mtk_jinja_substring(j, s, begin, cut.count ? end : begin, out);
  }
  const jinja_list *chars;
  jinja_text t = {0};
  MTK_TRY(mtk_jinja_items(j, (jinja_value){JINJA_STRING, {.s = s}}, &chars));
  for (size_t i = 0; i < cut.count; i++) {
    MTK_TRY(mtk_jinja_text_add_string(j, &t, chars->items[cut.start + (int64_t)i * cut.step].u.s));
  }
  return mtk_jinja_text_value(j, &t, out);
}

static mtk_status eval_slice(jinja *j, const jinja_node *node, jinja_value v, jinja_value *out) {
  slice cut = {0, 1, 0};
  size_t n;
  MTK_TRY(mtk_jinja_require_defined(j, v));
  if (v.kind != JINJA_STRING && v.kind != JINJA_LIST && v.kind != JINJA_TUPLE) {
    bool range = v.kind == JINJA_VIEW && strcmp(v.u.l->type, "range") == 0;
    if (!range) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "'%s' object is not subscriptable",
                            mtk_jinja_type_name(v));
    }
  }
  MTK_TRY(mtk_jinja_length(j, v, &n));
  MTK_TRY(resolve_slice(j, node, (int64_t)n, &cut));
  if (v.kind == JINJA_STRING) return slice_string(j, v.u.s, cut, out);
  MTK_TRY(mtk_jinja_new_view(j, v.kind, v.u.l->type, cut.count, out));
  for (size_t i = 0; i < cut.count; i++) {
    out->u.l->items[i] = v.u.l->items[cut.start + (int64_t)i * cut.step];
  }
  out->u.l->len = cut.count;
  return MTK_OK;
}

static mtk_status eval_item(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value v, index;
  MTK_TRY(mtk_jinja_eval(j, node->a, &v));
  if (node->b->kind == NODE_SLICE) return eval_slice(j, node->b, v, out);
  MTK_TRY(mtk_jinja_eval(j, node->b, &index));
  return mtk_jinja_get_item(j, v, index, out);
}

/* ---- calls ---------------------------------------------------------------------------------- */

typedef struct arg_list {
  jinja_value *items;
  const char **names;
  size_t n_positional, n_named, cap;
} arg_list;

static mtk_status add_arg(jinja *j, arg_list *list, const char *name, jinja_value value) {
  size_t n = list->n_positional + list->n_named;
  if (n == list->cap) {
    size_t cap = list->cap * 2 + 8;
    jinja_value *items = mtk_jinja_alloc(j, cap, sizeof *items);
    const char **names = items ? mtk_jinja_alloc(j, cap, sizeof *names) : NULL;
    if (!names) return jinja_failed(j);
    if (n > 0) {
      memcpy(items, list->items, n * sizeof *items);
      memcpy(names, list->names, n * sizeof *names);
    }
    *list = (arg_list){items, names, list->n_positional, list->n_named, cap};
  }
  list->items[n] = value;
  list->names[n] = name;
  *(name ? &list->n_named : &list->n_positional) += 1;
  return MTK_OK;
}

/* **mapping */
static mtk_status add_mapping(jinja *j, arg_list *list, jinja_value v) {
  if (v.kind != JINJA_DICT) return mtk_jinja_fail(j, MTK_E_INVALID, "** needs a mapping");
  for (size_t i = 0; i < v.u.d->len; i++) {
    jinja_value key = v.u.d->entries[i].key;
    if (key.kind != JINJA_STRING)
      return mtk_jinja_fail(j, MTK_E_INVALID, "keywords must be strings");
    char *name = mtk_jinja_alloc(j, key.u.s->len + 1, 1);
    if (!name) return jinja_failed(j);
    memcpy(name, key.u.s->data, key.u.s->len);
    MTK_TRY(add_arg(j, list, name, v.u.d->entries[i].value));
  }
  return MTK_OK;
}

static mtk_status eval_args(jinja *j, const jinja_node *node, arg_list *list) {
  for (; node; node = node->next) {
    bool wrapped =
        node->kind == NODE_KEYWORD || node->kind == NODE_STAR || node->kind == NODE_DOUBLE_STAR;
    jinja_value v;
    MTK_TRY(mtk_jinja_eval(j, wrapped ? node->a : node, &v));
    if (node->kind == NODE_STAR) {
      const jinja_list *items;
      MTK_TRY(mtk_jinja_items(j, v, &items));
      if (list->n_named > 0) return mtk_jinja_fail(j, MTK_E_INVALID, "*arguments after named ones");
      for (size_t i = 0; i < items->len; i++) MTK_TRY(add_arg(j, list, NULL, items->items[i]));
    } else if (node->kind == NODE_DOUBLE_STAR) {
      MTK_TRY(add_mapping(j, list, v));
    } else {
      MTK_TRY(add_arg(j, list, node->kind == NODE_KEYWORD ? node->name : NULL, v));
    }
  }
  return MTK_OK;
}

static jinja_args as_args(const arg_list *list) {
  return (jinja_args){list->items, list->n_positional + list->n_named,
                      list->names ? list->names + list->n_positional : NULL, list->n_named};
}

mtk_status mtk_jinja_call(jinja *j, jinja_value callee, const jinja_args *args, jinja_value *out) {
  MTK_TRY(mtk_jinja_require_defined(j, callee));
  switch (callee.kind) {
  case JINJA_FUNCTION: return callee.u.fn->row->fn(j, callee.u.fn->self, args, out);
  case JINJA_MACRO: return mtk_jinja_call_macro(j, callee.u.m, args, out);
  case JINJA_LOOP: {
    if (callee.u.loop->node->op == OP_NONE || args->n != 1) {
      return mtk_jinja_fail(j, MTK_E_INVALID,
                            "only a recursive loop can be called, with one value");
    }
    jinja_scope *scope = j->scope;
    jinja_text *outer = j->out, inner = {0};
    j->scope = callee.u.loop->scope;
    j->out = &inner;
    MTK_TRY(mtk_jinja_run_loop(j, callee.u.loop->node, args->items[0], callee.u.loop->depth0 + 1));
    j->out = outer;
    j->scope = scope;
    return mtk_jinja_text_value(j, &inner, out);
  }
  default:
    return mtk_jinja_fail(j, MTK_E_INVALID, "'%s' object is not callable",
                          mtk_jinja_type_name(callee));
  }
}

static mtk_status eval_call(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value callee;
  arg_list list = {0};
  MTK_TRY(mtk_jinja_eval(j, node->a, &callee));
  MTK_TRY(eval_args(j, node->b, &list));
  jinja_args args = as_args(&list);
  j->line = node->line;
  return mtk_jinja_call(j, callee, &args, out);
}

/* A filter or a test. */
static mtk_status eval_row(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value self = j->filter_input;
  arg_list list = {0};
  if (node->a) MTK_TRY(mtk_jinja_eval(j, node->a, &self));
  MTK_TRY(eval_args(j, node->b, &list));
  jinja_args args = as_args(&list);
  j->line = node->line;
  if (!node->row) {
    return mtk_jinja_fail(j, MTK_E_UNSUPPORTED, "there is no %s named '%.60s'",
                      node->kind == NODE_FILTER ? "filter" : "test", node->name);
  }
  return node->row->fn(j, self, &args, out);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static mtk_status eval_items(jinja *j, const jinja_node *node, jinja_value *out) {
  size_t n = 0;
  for (const jinja_node *i = node->a; i; i = i->next) n++;
  MTK_TRY(mtk_jinja_new_list(j, node->kind == NODE_LIST ? JINJA_LIST : JINJA_TUPLE, n, out));
  for (const jinja_node *i = node->a; i; i = i->next) {
    MTK_TRY(mtk_jinja_eval(j, i, &out->u.l->items[out->u.l->len]));
    out->u.l->len++;
  }
  return MTK_OK;
}

static mtk_status eval_dict(jinja *j, const jinja_node *node, jinja_value *out) {
  MTK_TRY(mtk_jinja_new_dict(j, JINJA_DICT, out));
  for (const jinja_node *i = node->a; i; i = i->next->next) {
    jinja_value key, value;
    MTK_TRY(mtk_jinja_eval(j, i, &key));
    MTK_TRY(mtk_jinja_eval(j, i->next, &value));
    MTK_TRY(mtk_jinja_dict_set(j, out->u.d, key, value));
  }
  return MTK_OK;
}

static mtk_status eval_concat(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_text t = {0};
  for (const jinja_node *i = node->a; i; i = i->next) {
    jinja_value v;
    MTK_TRY(mtk_jinja_eval(j, i, &v));
    MTK_TRY(mtk_jinja_write(j, &t, v, false));
  }
  return mtk_jinja_text_value(j, &t, out);
}

static mtk_status compare(jinja *j, jinja_op op, jinja_value a, jinja_value b, bool *out) {
  bool negate = op == OP_NE || op == OP_NOT_IN || op == OP_LE || op == OP_GE;
  if (op == OP_EQ || op == OP_NE) {
    MTK_TRY(mtk_jinja_equal(j, a, b, out));
  } else if (op == OP_IN || op == OP_NOT_IN) {
    MTK_TRY(mtk_jinja_contains(j, b, a, out));
  } else {
    bool swap = op == OP_GT || op == OP_LE; /* a > b is b < a; a <= b is not b < a */
    MTK_TRY(mtk_jinja_less(j, swap ? b : a, swap ? a : b, out));
    bool nan =
        (a.kind == JINJA_FLOAT && a.u.f != a.u.f) || (b.kind == JINJA_FLOAT && b.u.f != b.u.f);
    if (nan) negate = *out = false;
  }
  if (negate) *out = !*out;
  return MTK_OK;
}

static mtk_status eval_compare(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value left, right;
  bool holds = true;
  MTK_TRY(mtk_jinja_eval(j, node->a, &left));
  for (const jinja_node *i = node->b; i && holds; i = i->next) {
    MTK_TRY(mtk_jinja_eval(j, i->a, &right));
    j->line = i->line;
    MTK_TRY(compare(j, i->op, left, right, &holds));
    left = right;
  }
  *out = mtk_jinja_bool(holds);
  return MTK_OK;
}

static mtk_status eval_condition(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value test;
  MTK_TRY(mtk_jinja_eval(j, node->a, &test));
  if (mtk_jinja_truth(test)) return mtk_jinja_eval(j, node->b, out);
  if (node->c) return mtk_jinja_eval(j, node->c, out);
  static const char name[] = "the inline if-expression without an else section";
  return mtk_jinja_undefined(j, NULL, name, sizeof name - 1, out);
}

static mtk_status eval_sign(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value v;
  MTK_TRY(mtk_jinja_eval(j, node->a, &v));
  MTK_TRY(mtk_jinja_require_defined(j, v));
  bool minus = node->kind == NODE_NEGATE;
  if (!mtk_jinja_is_number(v)) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "bad operand type for unary %c: '%s'",
                          minus ? '-' : '+', mtk_jinja_type_name(v));
  }
  if (v.kind == JINJA_FLOAT)
    *out = mtk_jinja_float(minus ? -v.u.f : v.u.f);
  else
    *out = mtk_jinja_int(minus ? (int64_t)(0 - (uint64_t)whole(v)) : whole(v));
  return MTK_OK;
}

static mtk_status eval_logic(jinja *j, const jinja_node *node, jinja_value *out) {
  MTK_TRY(mtk_jinja_eval(j, node->a, out));
  if (mtk_jinja_truth(*out) != (node->kind == NODE_AND)) return MTK_OK;
  return mtk_jinja_eval(j, node->b, out);
}

static mtk_status eval_not(jinja *j, const jinja_node *node, jinja_value *out) {
  MTK_TRY(mtk_jinja_eval(j, node->a, out));
  *out = mtk_jinja_bool(!mtk_jinja_truth(*out));
  return MTK_OK;
}

static mtk_status eval_binary(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value a, b;
  MTK_TRY(mtk_jinja_eval(j, node->a, &a));
  MTK_TRY(mtk_jinja_eval(j, node->b, &b));
  j->line = node->line;
  return mtk_jinja_binary(j, node->op, a, b, out);
}

static mtk_status eval_const(jinja *j, const jinja_node *node, jinja_value *out) {
  (void)j;
  *out = node->value;
  return MTK_OK;
}

static mtk_status eval_attr(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_value v;
  MTK_TRY(mtk_jinja_eval(j, node->a, &v));
  j->line = node->line;
  return mtk_jinja_get_attr(j, v, node->name, strlen(node->name), out);
}

static mtk_status (*const evaluators[])(jinja *, const jinja_node *, jinja_value *) = {
    [NODE_CONST] = eval_const,
    [NODE_NAME] = eval_name,
    [NODE_LIST] = eval_items,
    [NODE_TUPLE] = eval_items,
    [NODE_DICT] = eval_dict,
    [NODE_ATTR] = eval_attr,
    [NODE_ITEM] = eval_item,
    [NODE_CALL] = eval_call,
    [NODE_FILTER] = eval_row,
    [NODE_TEST] = eval_row,
    [NODE_NOT] = eval_not,
    [NODE_NEGATE] = eval_sign,
    [NODE_PLUS] = eval_sign,
    [NODE_AND] = eval_logic,
    [NODE_OR] = eval_logic,
    [NODE_BINARY] = eval_binary,
    [NODE_CONCAT] = eval_concat,
    [NODE_COMPARE] = eval_compare,
    [NODE_CONDITION] = eval_condition,
};

mtk_status mtk_jinja_eval(jinja *j, const jinja_node *node, jinja_value *out) {
  MTK_TRY(mtk_jinja_step(j, 1));
  j->line = node->line;
  if (++j->depth > JINJA_MAX_DEPTH) {
    return mtk_jinja_fail(j, MTK_E_LIMIT, "the template recurses too deeply");
  }
  MTK_TRY(evaluators[node->kind](j, node, out));
  j->depth--;
  return MTK_OK;
}
