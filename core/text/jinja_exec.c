/* text/mtk_jinja_exec.c: executes statement nodes. State is the render's; nodes are read-only.
 *
 * break and continue are a flow flag every body checks. Scopes: for, with, macros, call, filter
 * and set blocks have their own; if has none. */
#include <string.h>

#include "text/jinja.h"

/* ---- scopes --------------------------------------------------------------------------------- */

mtk_status mtk_jinja_scope_push(jinja *j, jinja_scope *parent, jinja_scope **out) {
  jinja_scope *scope = mtk_jinja_alloc(j, 1, sizeof *scope);
  if (!scope) return jinja_failed(j);
  scope->parent = parent;
  *out = scope;
  return MTK_OK;
}

mtk_status mtk_jinja_scope_set(jinja *j, jinja_scope *scope, const char *name, jinja_value value) {
  for (size_t i = 0; i < scope->len; i++) {
    if (scope->vars[i].name != name) continue;
    scope->vars[i].value = value;
    return MTK_OK;
  }
  if (scope->len == scope->cap) {
    size_t cap = scope->cap * 2 + 4;
    jinja_variable *grown = mtk_jinja_alloc(j, cap, sizeof *grown);
    if (!grown) return jinja_failed(j);
    if (scope->len > 0) memcpy(grown, scope->vars, scope->len * sizeof *grown);
    scope->vars = grown;
    scope->cap = cap;
  }
  scope->vars[scope->len++] = (jinja_variable){name, value};
  return MTK_OK;
}

static mtk_status assign(jinja *j, const jinja_node *target, jinja_value value);

static mtk_status assign_tuple(jinja *j, const jinja_node *target, jinja_value value) {
  const jinja_list *items;
  size_t n = 0;
  MTK_TRY(mtk_jinja_items(j, value, &items));
  for (const jinja_node *i = target->a; i; i = i->next, n++) {
    if (n == items->len) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "not enough values to unpack (got %zu)", items->len);
    }
    MTK_TRY(assign(j, i, items->items[n]));
  }
  if (n < items->len) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "too many values to unpack (expected %zu)", n);
  }
  return MTK_OK;
}

static mtk_status assign(jinja *j, const jinja_node *target, jinja_value value) {
  if (target->kind == NODE_NAME) return mtk_jinja_scope_set(j, j->scope, target->name, value);
  if (target->kind == NODE_TUPLE) return assign_tuple(j, target, value);
  jinja_value object, key;
  MTK_TRY(mtk_jinja_eval(j, target->a, &object));
  if (object.kind != JINJA_NAMESPACE) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "cannot assign attribute on non-namespace object");
  }
  MTK_TRY(mtk_jinja_new_string(j, target->name, strlen(target->name), false, &key));
  return mtk_jinja_dict_set(j, object.u.d, key, value);
}

/* ---- captures ------------------------------------------------------------------------------- */

/* Runs a body in a scope of its own into a text of its own. */
static mtk_status capture(jinja *j, const jinja_node *body, jinja_value *out) {
  jinja_text text = {0}, *outer = j->out;
  jinja_scope *outer_scope = j->scope;
  MTK_TRY(mtk_jinja_scope_push(j, outer_scope, &j->scope));
  j->out = &text;
  MTK_TRY(mtk_jinja_exec(j, body));
  j->out = outer;
  j->scope = outer_scope;
  return mtk_jinja_text_value(j, &text, out);
}

/* The text of a body passed through filters (NULL = none). */
static mtk_status capture_filtered(jinja *j, const jinja_node *filters, const jinja_node *body,
                                   jinja_value *out) {
  MTK_TRY(capture(j, body, out));
  if (!filters) return MTK_OK;
  jinja_value outer = j->filter_input;
  j->filter_input = *out;
  MTK_TRY(mtk_jinja_eval(j, filters, out));
  j->filter_input = outer;
  return MTK_OK;
}

/* ---- macros --------------------------------------------------------------------------------- */

static bool takes_name(const jinja_node *parameters, const char *name) {
  for (; parameters; parameters = parameters->next) {
    if (strcmp(parameters->name, name) == 0) return true;
  }
  return false;
}

/* The interned form of a word the template itself uses. */
static const char *interned(const jinja *j, const char *word) {
  const mtk_map_value *value = mtk_map_get(j->names, word, strlen(word));
  return value ? value->p : NULL;
}

static mtk_status bind_parameters(jinja *j, const jinja_node *node, const jinja_args *args) {
  size_t positional = args->n - args->n_named, at = 0;
  for (const jinja_node *p = node->a; p; p = p->next, at++) {
    jinja_value value = {0};
    if (at < positional) value = args->items[at];
    for (size_t i = 0; i < args->n_named; i++) {
      if (strcmp(args->names[i], p->name) != 0) continue;
      if (value.kind != JINJA_ABSENT) {
        return mtk_jinja_fail(j, MTK_E_INVALID, "%s() got multiple values for argument '%.60s'",
                          node->name, p->name);
      }
      value = args->items[positional + i];
    }
    if (value.kind == JINJA_ABSENT && p->a) MTK_TRY(mtk_jinja_eval(j, p->a, &value));
    if (value.kind == JINJA_ABSENT) {
      MTK_TRY(mtk_jinja_undefined(j, NULL, p->name, strlen(p->name), &value));
    }
    MTK_TRY(mtk_jinja_scope_set(j, j->scope, p->name, value));
  }
  return MTK_OK;
}

/* Arguments beyond the parameters: varargs and kwargs if the body asks for them, caller always. */
static mtk_status bind_surplus(jinja *j, const jinja_node *node, const jinja_args *args) {
  size_t positional = args->n - args->n_named, n_parameters = 0;
  for (const jinja_node *p = node->a; p; p = p->next) n_parameters++;
  jinja_value varargs, kwargs;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_TUPLE, args->n, &varargs));
  MTK_TRY(mtk_jinja_new_dict(j, JINJA_DICT, &kwargs));
  for (size_t i = n_parameters; i < positional; i++) {
    varargs.u.l->items[varargs.u.l->len++] = args->items[i];
  }
  for (size_t i = 0; i < args->n_named; i++) {
    const char *name = args->names[i];
    jinja_value key;
    if (takes_name(node->a, name)) continue;
    if (strcmp(name, "caller") == 0 && node->uses_caller) {
      MTK_TRY(mtk_jinja_scope_set(j, j->scope, interned(j, name), args->items[positional + i]));
      continue;
    }
    if (!node->uses_kwargs) {
      return mtk_jinja_fail(j, MTK_E_INVALID, "macro '%s' takes no keyword argument '%.60s'",
                        node->name, name);
    }
    MTK_TRY(mtk_jinja_new_string(j, name, strlen(name), false, &key));
    MTK_TRY(mtk_jinja_dict_set(j, kwargs.u.d, key, args->items[positional + i]));
  }
  if (varargs.u.l->len > 0 && !node->uses_varargs) {
    return mtk_jinja_fail(j, MTK_E_INVALID, "macro '%s' takes not more than %zu argument(s)",
                      node->name, n_parameters);
  }
  if (node->uses_varargs) {
    MTK_TRY(mtk_jinja_scope_set(j, j->scope, interned(j, "varargs"), varargs));
  }
  if (node->uses_kwargs) MTK_TRY(mtk_jinja_scope_set(j, j->scope, interned(j, "kwargs"), kwargs));
  return MTK_OK;
}

mtk_status mtk_jinja_call_macro(jinja *j, const jinja_macro *macro, const jinja_args *args,
                            jinja_value *out) {
  jinja_scope *outer = j->scope;
  int line = j->line;
  MTK_TRY(mtk_jinja_scope_push(j, macro->scope, &j->scope));
  MTK_TRY(bind_parameters(j, macro->node, args));
  MTK_TRY(bind_surplus(j, macro->node, args));
  jinja_text text = {0}, *outer_text = j->out;
  j->out = &text;
  MTK_TRY(mtk_jinja_exec(j, macro->node->c));
  j->out = outer_text;
  j->scope = outer;
  j->line = line;
  return mtk_jinja_text_value(j, &text, out);
}

static mtk_status new_macro(jinja *j, const jinja_node *node, jinja_value *out) {
  jinja_macro *macro = mtk_jinja_alloc(j, 1, sizeof *macro);
  if (!macro) return jinja_failed(j);
  *macro = (jinja_macro){node, j->scope};
  *out = (jinja_value){JINJA_MACRO, {.m = macro}};
  return MTK_OK;
}

static mtk_status exec_macro(jinja *j, const jinja_node *node) {
  jinja_value macro;
  MTK_TRY(new_macro(j, node, &macro));
  return mtk_jinja_scope_set(j, j->scope, node->name, macro);
}

/* {% call %}: the call with one more argument, caller = the body. The argument is passed as a named
 * one through a node made on the spot. */
static mtk_status exec_call_block(jinja *j, const jinja_node *node) {
  jinja_value caller, result;
  MTK_TRY(new_macro(j, node, &caller));
  jinja_node constant = {.kind = NODE_CONST, .line = node->line, .value = caller};
  jinja_node keyword = {
      .kind = NODE_KEYWORD, .line = node->line, .name = node->name, .a = &constant};
  jinja_node *copies = NULL, **tail = &copies;
  for (const jinja_node *i = node->b->b; i; i = i->next) {
    *tail = mtk_jinja_alloc(j, 1, sizeof **tail);
    if (!*tail) return jinja_failed(j);
    **tail = *i;
    tail = &(*tail)->next;
  }
  *tail = &keyword;
  jinja_node call = *node->b;
  call.b = copies;
  MTK_TRY(mtk_jinja_eval(j, &call, &result));
  return mtk_jinja_write(j, j->out, result, false);
}

/* ---- loops ---------------------------------------------------------------------------------- */

static mtk_status loop_neighbour(jinja *j, const jinja_loop *loop, const char *name,
                                 jinja_value *out) {
  bool next = name[0] == 'n';
  bool there = next ? loop->index + 1 < loop->items->len : loop->index > 0;
  if (!there) return mtk_jinja_undefined(j, NULL, name, strlen(name), out);
  *out = loop->items->items[next ? loop->index + 1 : loop->index - 1];
  return MTK_OK;
}

mtk_status mtk_jinja_loop_attr(jinja *j, jinja_loop *loop, const char *name, jinja_value *out) {
  int64_t index = (int64_t)loop->index, n = (int64_t)loop->items->len;
  const struct {
    const char *name;
    jinja_value value;
  } attributes[] = {
      {"index", mtk_jinja_int(index + 1)},
      {"index0", mtk_jinja_int(index)},
      {"revindex", mtk_jinja_int(n - index)},
      {"revindex0", mtk_jinja_int(n - index - 1)},
      {"first", mtk_jinja_bool(index == 0)},
      {"last", mtk_jinja_bool(index + 1 == n)},
      {"length", mtk_jinja_int(n)},
      {"depth", mtk_jinja_int(loop->depth0 + 1)},
      {"depth0", mtk_jinja_int(loop->depth0)},
  };
  for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
    if (strcmp(attributes[i].name, name) == 0) *out = attributes[i].value;
  }
  bool neighbour = strcmp(name, "previtem") == 0 || strcmp(name, "nextitem") == 0;
  return neighbour ? loop_neighbour(j, loop, name, out) : MTK_OK;
}

/* The items for which the loop's own condition holds. */
static mtk_status filter_items(jinja *j, const jinja_node *node, const jinja_list **items) {
  jinja_value kept;
  jinja_scope *outer = j->scope;
  MTK_TRY(mtk_jinja_new_list(j, JINJA_LIST, (*items)->len, &kept));
  for (size_t i = 0; i < (*items)->len; i++) {
    jinja_value test;
    MTK_TRY(mtk_jinja_scope_push(j, outer, &j->scope));
    MTK_TRY(assign(j, node->a, (*items)->items[i]));
    MTK_TRY(mtk_jinja_eval(j, node->e, &test));
    if (mtk_jinja_truth(test)) kept.u.l->items[kept.u.l->len++] = (*items)->items[i];
  }
  j->scope = outer;
  *items = kept.u.l;
  return MTK_OK;
}

static mtk_status run_else(jinja *j, const jinja_node *node) {
  jinja_scope *outer = j->scope;
  MTK_TRY(mtk_jinja_scope_push(j, outer, &j->scope));
  MTK_TRY(mtk_jinja_exec(j, node->d));
  j->scope = outer;
  return MTK_OK;
}

mtk_status mtk_jinja_run_loop(jinja *j, const jinja_node *node, jinja_value iterable, int depth0) {
  const jinja_list *items;
  jinja_scope *outer = j->scope;
  MTK_TRY(mtk_jinja_items(j, iterable, &items));
  if (node->e) MTK_TRY(filter_items(j, node, &items));
  if (items->len == 0) return run_else(j, node);
  jinja_loop *loop = mtk_jinja_alloc(j, 1, sizeof *loop);
  if (!loop) return jinja_failed(j);
  *loop = (jinja_loop){.items = items, .depth0 = depth0, .node = node, .scope = outer};
  const char *loop_name = interned(j, "loop");
  for (; loop->index < items->len && j->flow != FLOW_BREAK; loop->index++) {
    MTK_TRY(mtk_jinja_step(j, 1));
    MTK_TRY(mtk_jinja_scope_push(j, outer, &j->scope));
    if (loop_name) {
      MTK_TRY(
          mtk_jinja_scope_set(j, j->scope, loop_name, (jinja_value){JINJA_LOOP, {.loop = loop}}));
    }
    MTK_TRY(assign(j, node->a, items->items[loop->index]));
    MTK_TRY(mtk_jinja_exec(j, node->c));
    if (j->flow == FLOW_CONTINUE) j->flow = FLOW_NORMAL;
  }
  j->flow = FLOW_NORMAL;
  j->scope = outer;
  return MTK_OK;
}

static mtk_status exec_for(jinja *j, const jinja_node *node) {
  jinja_value iterable;
  MTK_TRY(mtk_jinja_eval(j, node->b, &iterable));
  return mtk_jinja_run_loop(j, node, iterable, 0);
}

/* ---- the other statements ------------------------------------------------------------------- */

static mtk_status exec_text(jinja *j, const jinja_node *node) {
  return mtk_jinja_text_add_string(j, j->out, node->value.u.s);
}

static mtk_status exec_print(jinja *j, const jinja_node *node) {
  jinja_value v;
  MTK_TRY(mtk_jinja_eval(j, node->a, &v));
  return mtk_jinja_write(j, j->out, v, false);
}

static mtk_status exec_if(jinja *j, const jinja_node *node) {
  for (;;) {
    jinja_value test;
    MTK_TRY(mtk_jinja_eval(j, node->a, &test));
    if (mtk_jinja_truth(test)) return mtk_jinja_exec(j, node->c);
    bool elif = node->d && node->d->kind == NODE_IF && !node->d->next;
    if (!elif) return mtk_jinja_exec(j, node->d);
    node = node->d;
  }
}

static mtk_status exec_set(jinja *j, const jinja_node *node) {
  jinja_value v;
  MTK_TRY(mtk_jinja_eval(j, node->b, &v));
  return assign(j, node->a, v);
}

static mtk_status exec_set_block(jinja *j, const jinja_node *node) {
  jinja_value v;
  MTK_TRY(capture_filtered(j, node->b, node->c, &v));
  return assign(j, node->a, v);
}

static mtk_status exec_filter_block(jinja *j, const jinja_node *node) {
  jinja_value v;
  MTK_TRY(capture_filtered(j, node->b, node->c, &v));
  return mtk_jinja_write(j, j->out, v, false);
}

static mtk_status exec_with(jinja *j, const jinja_node *node) {
  jinja_scope *outer = j->scope, *inner;
  MTK_TRY(mtk_jinja_scope_push(j, outer, &inner));
  for (const jinja_node *p = node->a; p; p = p->next) {
    jinja_value v;
    MTK_TRY(mtk_jinja_eval(j, p->a, &v));
    MTK_TRY(mtk_jinja_scope_set(j, inner, p->name, v));
  }
  j->scope = inner;
  MTK_TRY(mtk_jinja_exec(j, node->c));
  j->scope = outer;
  return MTK_OK;
}

/* Text inside counts as the model's own when it goes straight to the output. */
static mtk_status exec_generation(jinja *j, const jinja_node *node) {
  size_t begin = j->out->len;
  jinja_scope *outer = j->scope;
  MTK_TRY(mtk_jinja_scope_push(j, outer, &j->scope));
  MTK_TRY(mtk_jinja_exec(j, node->c));
  j->scope = outer;
  if (j->out != &j->main || j->main.len == begin) return MTK_OK;
  if (j->n_generation == j->cap_generation) {
    size_t cap = j->cap_generation * 2 + 8;
    mtk_span *grown = mtk_jinja_alloc(j, cap, sizeof *grown);
    if (!grown) return jinja_failed(j);
    if (j->n_generation > 0) memcpy(grown, j->generation, j->n_generation * sizeof *grown);
    j->generation = grown;
    j->cap_generation = cap;
  }
  j->generation[j->n_generation++] = (mtk_span){begin, j->main.len};
  return MTK_OK;
}

static mtk_status exec_jump(jinja *j, const jinja_node *node) {
  j->flow = node->kind == NODE_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
  return MTK_OK;
}

static mtk_status (*const executors[])(jinja *, const jinja_node *) = {
    [NODE_TEXT] = exec_text,
    [NODE_PRINT] = exec_print,
    [NODE_IF] = exec_if,
    [NODE_FOR] = exec_for,
    [NODE_SET] = exec_set,
    [NODE_SET_BLOCK] = exec_set_block,
    [NODE_MACRO] = exec_macro,
    [NODE_CALL_BLOCK] = exec_call_block,
    [NODE_FILTER_BLOCK] = exec_filter_block,
    [NODE_WITH] = exec_with,
    [NODE_GENERATION] = exec_generation,
    [NODE_BREAK] = exec_jump,
    [NODE_CONTINUE] = exec_jump,
};

mtk_status mtk_jinja_exec(jinja *j, const jinja_node *body) {
  if (++j->depth > JINJA_MAX_DEPTH) {
    return mtk_jinja_fail(j, MTK_E_LIMIT, "the template recurses too deeply");
  }
  for (; body && j->flow == FLOW_NORMAL; body = body->next) {
    MTK_TRY(mtk_jinja_step(j, 1));
    j->line = body->line;
    MTK_TRY(executors[body->kind](j, body));
  }
  j->depth--;
  return MTK_OK;
}
