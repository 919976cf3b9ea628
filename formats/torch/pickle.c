/* pickle.c: the machine around the opcodes: stack, memo, containers, limits. */
#include "pickle.h"

#include <string.h>

mtk_status pk_bad(const pk_machine *m, const char *why) {
  return mtk_fail_at(m->err, MTK_E_FORMAT, m->path, m->pos, "pickle: %s", why);
}

mtk_status pk_no_memory(const pk_machine *m) {
  return mtk_fail(m->err, MTK_E_NOMEM, m->path, "out of memory");
}

static mtk_status count_values(pk_machine *m, size_t n) {
  m->n_values += n;
  if (m->n_values <= PK_MAX_VALUES) return MTK_OK;
  return mtk_fail_at(m->err, MTK_E_LIMIT, m->path, m->pos, "pickle: more than %d values",
                     PK_MAX_VALUES);
}

mtk_status pk_push(pk_machine *m, pk_value v) {
  MTK_TRY(count_values(m, 1));
  if (m->n_stack == m->cap_stack) {
    size_t cap = m->cap_stack ? 2 * m->cap_stack : 64;
    pk_value *more = mtk_realloc(m->stack, m->cap_stack, cap, sizeof *more);
    if (!more) return pk_no_memory(m);
    m->stack = more;
    m->cap_stack = cap;
  }
  m->stack[m->n_stack++] = v;
  return MTK_OK;
}

/* Values below the topmost mark cannot be popped. */
mtk_status pk_pop(pk_value *out, pk_machine *m) {
  size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
  if (m->n_stack <= floor) return pk_bad(m, "the stack is empty");
  *out = m->stack[--m->n_stack];
  return MTK_OK;
}

mtk_status pk_append(pk_machine *m, pk_list *list, pk_value v) {
  if (list->n == list->cap) {
    size_t cap = list->cap ? 2 * list->cap : 4;
    MTK_TRY(count_values(m, cap));
    pk_value *more = mtk_arena_alloc(m->arena, cap, sizeof *more);
    if (!more) return pk_no_memory(m);
    if (list->n) memcpy(more, list->items, list->n * sizeof *more);
    list->items = more;
    list->cap = cap;
  }
  list->items[list->n++] = v;
  return MTK_OK;
}

mtk_status pk_new_list(pk_value *out, pk_machine *m, pk_kind kind, const pk_value *items,
                       size_t n) {
  pk_list *list = mtk_arena_alloc(m->arena, 1, sizeof *list);
  if (!list) return pk_no_memory(m);
  MTK_TRY(count_values(m, n + 1));
  list->items = mtk_arena_alloc(m->arena, n, sizeof *list->items);
  if (!list->items) return pk_no_memory(m);
  if (n) memcpy(list->items, items, n * sizeof *items);
  list->n = list->cap = n;
  *out = (pk_value){.kind = kind, .as.list = list};
  return MTK_OK;
}

bool pk_is(const pk_value *v, const char *text) {
  return v->kind == PK_STR && v->as.str.n == strlen(text) &&
         memcmp(v->as.str.s, text, v->as.str.n) == 0;
}

mtk_status pk_run(pk_value *out, pk_machine *m) {
  m->n_stack = m->n_marks = m->n_memo = 0;
  m->stopped = false;
  size_t begin = m->pos;
  while (!m->stopped) {
    if (m->pos >= m->end) return pk_bad(m, "ends before its STOP");
    if (m->pos - begin > PK_MAX_BYTES) {
      return mtk_fail_at(m->err, MTK_E_LIMIT, m->path, m->pos, "pickle: longer than %d bytes",
                         PK_MAX_BYTES);
    }
    MTK_TRY(pk_step(m, m->data[m->pos++]));
  }
  return pk_pop(out, m);
}

void pk_finish(pk_machine *m) {
  mtk_free(m->stack);
  mtk_free(m->memo);
  mtk_free(m->marks);
}
