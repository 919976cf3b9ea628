/* objects.c: the names that a checkpoint may ask for, and what calling them makes: dictionaries,
 * sizes, tensors. The argument lists are those of torch/_utils.py. */
#include "pickle.h"

#include <string.h>

#define UNTYPED MTK_DTYPE_COUNT

static const pk_global globals[] = {
    {"collections", "OrderedDict", PK_CALL_DICT, 0},
    {"torch._utils", "_rebuild_tensor", PK_CALL_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v2", PK_CALL_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", PK_CALL_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", PK_CALL_PARAMETER, 0},
    {"torch._utils", "_rebuild_parameter_with_state", PK_CALL_PARAMETER, 0},
    {"torch._tensor", "_rebuild_from_type_v2", PK_CALL_FROM_TYPE, 0},
    {"torch", "Tensor", PK_TENSOR_TYPE, 0},
    {"torch.nn.parameter", "Parameter", PK_TENSOR_TYPE, 0},
    {"torch", "Size", PK_CALL_SIZE, 0},
    {"torch", "device", PK_CALL_DEVICE, 0},
    {"torch", "DoubleStorage", PK_STORAGE_TYPE, MTK_F64},
    {"torch", "FloatStorage", PK_STORAGE_TYPE, MTK_F32},
    {"torch", "HalfStorage", PK_STORAGE_TYPE, MTK_F16},
    {"torch", "BFloat16Storage", PK_STORAGE_TYPE, MTK_BF16},
    {"torch", "LongStorage", PK_STORAGE_TYPE, MTK_I64},
    {"torch", "IntStorage", PK_STORAGE_TYPE, MTK_I32},
    {"torch", "ShortStorage", PK_STORAGE_TYPE, MTK_I16},
    {"torch", "CharStorage", PK_STORAGE_TYPE, MTK_I8},
    {"torch", "ByteStorage", PK_STORAGE_TYPE, MTK_U8},
    {"torch", "BoolStorage", PK_STORAGE_TYPE, MTK_BOOL},
    {"torch", "ComplexFloatStorage", PK_STORAGE_TYPE, MTK_C64},
    {"torch.storage", "UntypedStorage", PK_STORAGE_TYPE, UNTYPED},
    {"torch", "UntypedStorage", PK_STORAGE_TYPE, UNTYPED},
    {"torch", "float64", PK_DTYPE, MTK_F64},
    {"torch", "float32", PK_DTYPE, MTK_F32},
    {"torch", "float16", PK_DTYPE, MTK_F16},
    {"torch", "bfloat16", PK_DTYPE, MTK_BF16},
    {"torch", "int64", PK_DTYPE, MTK_I64},
    {"torch", "int32", PK_DTYPE, MTK_I32},
    {"torch", "int16", PK_DTYPE, MTK_I16},
    {"torch", "int8", PK_DTYPE, MTK_I8},
    {"torch", "uint64", PK_DTYPE, MTK_U64},
    {"torch", "uint32", PK_DTYPE, MTK_U32},
    {"torch", "uint16", PK_DTYPE, MTK_U16},
    {"torch", "uint8", PK_DTYPE, MTK_U8},
    {"torch", "bool", PK_DTYPE, MTK_BOOL},
    {"torch", "complex64", PK_DTYPE, MTK_C64},
    {"torch", "float8_e4m3fn", PK_DTYPE, MTK_F8_E4M3},
    {"torch", "float8_e5m2", PK_DTYPE, MTK_F8_E5M2},
    {"torch", "float8_e4m3fnuz", PK_DTYPE, MTK_F8_E4M3FNUZ},
    {"torch", "float8_e5m2fnuz", PK_DTYPE, MTK_F8_E5M2FNUZ},
    {"torch", "float8_e8m0fnu", PK_DTYPE, MTK_E8M0},
};
enum { N_GLOBALS = sizeof globals / sizeof globals[0] };

static bool same(const char *text, const char *s, size_t n) {
  return strlen(text) == n && memcmp(text, s, n) == 0;
}

/* Names come from the file: only what prints goes into a message. */
static void printable(char *out, size_t size, const char *s, size_t n) {
  size_t i = 0;
  for (; i < n && i + 1 < size; i++) out[i] = s[i] > ' ' && s[i] < 127 ? s[i] : '?';
  out[i] = 0;
}

mtk_status pk_find_global(const pk_global **out, const pk_machine *m, const char *module,
                          size_t n_module, const char *name, size_t n_name) {
  for (size_t i = 0; i < N_GLOBALS; i++) {
    if (!same(globals[i].module, module, n_module) || !same(globals[i].name, name, n_name))
      continue;
    *out = &globals[i];
    return MTK_OK;
  }
  char shown_module[80], shown_name[80];
  printable(shown_module, sizeof shown_module, module, n_module);
  printable(shown_name, sizeof shown_name, name, n_name);
  return mtk_fail_at(m->err, MTK_E_UNSUPPORTED, m->path, m->pos, "pickle asks for %s.%s: refused",
                     shown_module, shown_name);
}

/* ---- tensors ------------------------------------------------------------------------------- */

/* A tuple of numbers >= 0. */
static mtk_status take_sizes(int64_t *out, int *n_dims, const pk_machine *m, const pk_value *v) {
  if (v->kind != PK_TUPLE && v->kind != PK_LIST) return pk_bad(m, "a shape that is no tuple");
  if (v->as.list->n > MTK_MAX_DIMS) {
    return mtk_fail_at(m->err, MTK_E_UNSUPPORTED, m->path, m->pos,
                       "pickle: a tensor of %zu dimensions, at most %d are possible", v->as.list->n,
                       MTK_MAX_DIMS);
  }
  *n_dims = (int)v->as.list->n;
  for (int i = 0; i < *n_dims; i++) {
    const pk_value *item = &v->as.list->items[i];
    if (item->kind != PK_INT || item->as.i < 0) return pk_bad(m, "a shape with a strange size");
    out[i] = item->as.i;
  }
  return MTK_OK;
}

/* The last element must lie in the storage. */
static mtk_status check_reach(const pk_machine *m, const pk_tensor *t) {
  uint64_t last = t->offset, n = t->storage->n, item = mtk_dtype_get(t->dtype)->block_bytes;
  uint64_t logical = item, most = (uint64_t)1 << 30; /* bytes of a tensor that repeats elements */
  bool repeats = false;
  if (t->storage->dtype == UNTYPED) n /= item;
  for (int i = 0; i < t->n_dims; i++)
    if (t->shape[i] == 0) return MTK_OK;
  for (int i = 0; i < t->n_dims; i++) {
    uint64_t step;
    if (__builtin_mul_overflow((uint64_t)(t->shape[i] - 1), (uint64_t)t->stride[i], &step) ||
        __builtin_add_overflow(last, step, &last) ||
        __builtin_mul_overflow(logical, (uint64_t)t->shape[i], &logical))
      return pk_bad(m, "a tensor whose size overflows");
  }
  if (last >= n) return pk_bad(m, "a tensor reaches beyond its storage");
  repeats = logical / item > n;
  if (repeats && logical > most) {
    return mtk_fail_at(m->err, MTK_E_LIMIT, m->path, m->pos,
                       "pickle: a tensor repeats few elements to %llu bytes",
                       (unsigned long long)logical);
  }
  return MTK_OK;
}

/* (storage, offset, size, stride, requires_grad, backward_hooks[, dtype, metadata]) */
static mtk_status call_tensor(pk_value *out, pk_machine *m, const pk_list *args) {
  const pk_value *a = args->items;
  if (args->n < 4 || a[0].kind != PK_STORAGE || a[1].kind != PK_INT || a[1].as.i < 0)
    return pk_bad(m, "a tensor without storage and offset");
  pk_tensor *t = mtk_arena_alloc(m->arena, 1, sizeof *t);
  if (!t) return pk_no_memory(m);
  int n_strides = 0;
  t->storage = a[0].as.storage;
  t->offset = (uint64_t)a[1].as.i;
  t->dtype = t->storage->dtype;
  MTK_TRY(take_sizes(t->shape, &t->n_dims, m, &a[2]));
  MTK_TRY(take_sizes(t->stride, &n_strides, m, &a[3]));
  if (n_strides != t->n_dims) return pk_bad(m, "a tensor with more or fewer strides than sizes");
  if (args->n > 6 && a[6].kind == PK_GLOBAL && a[6].as.global->kind == PK_DTYPE)
    t->dtype = a[6].as.global->dtype;
  if (t->dtype == UNTYPED) return pk_bad(m, "a tensor without a type");
  if (!mtk_dtype_get(t->dtype)) return pk_bad(m, "a tensor of a type that mtk does not have");
  if (t->storage->dtype != UNTYPED &&
      mtk_dtype_get(t->storage->dtype)->block_bytes != mtk_dtype_get(t->dtype)->block_bytes)
    return pk_bad(m, "a tensor of another element size than its storage");
  MTK_TRY(check_reach(m, t));
  *out = (pk_value){.kind = PK_TENSOR, .as.tensor = t};
  return MTK_OK;
}

/* ---- the other calls ----------------------------------------------------------------------- */

/* () or ([(key, value), ...],) */
static mtk_status call_dict(pk_value *out, pk_machine *m, const pk_list *args) {
  MTK_TRY(pk_new_list(out, m, PK_DICT, NULL, 0));
  if (args->n == 0) return MTK_OK;
  const pk_value *pairs = &args->items[0];
  if (args->n > 1 || (pairs->kind != PK_LIST && pairs->kind != PK_TUPLE))
    return pk_bad(m, "an OrderedDict of something else than pairs");
  for (size_t i = 0; i < pairs->as.list->n; i++) {
    const pk_value *pair = &pairs->as.list->items[i];
    if ((pair->kind != PK_LIST && pair->kind != PK_TUPLE) || pair->as.list->n != 2)
      return pk_bad(m, "an OrderedDict of something else than pairs");
    MTK_TRY(pk_append(m, out->as.list, pair->as.list->items[0]));
    MTK_TRY(pk_append(m, out->as.list, pair->as.list->items[1]));
  }
  return MTK_OK;
}

static mtk_status first_of_kind(pk_value *out, pk_machine *m, const pk_list *args, pk_kind kind) {
  if (args->n == 0 || args->items[0].kind != kind) return pk_bad(m, "a call of strange arguments");
  *out = args->items[0];
  return MTK_OK;
}

/* (function, type, arguments, state): the attributes in state are not values of a tensor. */
static mtk_status call_from_type(pk_value *out, pk_machine *m, const pk_list *args) {
  const pk_value *a = args->items;
  if (args->n < 3 || a[0].kind != PK_GLOBAL || a[2].kind != PK_TUPLE ||
      (a[0].as.global->kind != PK_CALL_TENSOR && a[0].as.global->kind != PK_CALL_PARAMETER))
    return pk_bad(m, "a tensor made in an unknown way");
  return pk_call(out, m, &a[0], a[2].as.list);
}

mtk_status pk_call(pk_value *out, pk_machine *m, const pk_value *function, const pk_list *args) {
  if (function->kind != PK_GLOBAL) return pk_bad(m, "calls something that is no function");
  const pk_global *g = function->as.global;
  switch (g->kind) {
  case PK_CALL_DICT: return call_dict(out, m, args);
  case PK_CALL_TENSOR: return call_tensor(out, m, args);
  case PK_CALL_PARAMETER: return first_of_kind(out, m, args, PK_TENSOR);
  case PK_CALL_FROM_TYPE: return call_from_type(out, m, args);
  case PK_CALL_SIZE: return first_of_kind(out, m, args, PK_TUPLE);
  case PK_CALL_DEVICE: return first_of_kind(out, m, args, PK_STR);
  case PK_STORAGE_TYPE:
  case PK_DTYPE:
  case PK_TENSOR_TYPE: break;
  }
  return mtk_fail_at(m->err, MTK_E_UNSUPPORTED, m->path, m->pos, "pickle calls %s.%s: refused",
                     g->module, g->name);
}

/* State of an OrderedDict (_metadata: module versions) or of a tensor is left out. */
mtk_status pk_build(pk_machine *m, const pk_value *object) {
  if (object->kind == PK_DICT || object->kind == PK_TENSOR) return MTK_OK;
  return pk_bad(m, "sets the state of something that has none");
}
