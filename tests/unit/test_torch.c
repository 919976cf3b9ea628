/* test_torch.c: PyTorch checkpoints against values of torch (tests/oracle/make_pickle_corpus.py),
 * hostile pickles refused by name, weights of a model folder in pickles. */
#include "format_util.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CORPUS MTK_SOURCE_DIR "/formats/torch/corpus/"

START_TEST(reads_what_torch_wrote) {
  static const char *const files[] = {"good.pt", "good_protocol4.pt", "good_old.pt"};
  for (int i = 0; i < 3; i++) {
    char path[256];
    snprintf(path, sizeof path, CORPUS "%s", files[i]);
    mtk_model *m = load("torch", path);
    check_sums(m, GOLDEN "torch_good.sha256");
    ck_assert_uint_eq(mtk_model_tensor_count(m), 13);
    ck_assert_int_eq(mtk_model_tensor(m, "model.scalar")->dtype, MTK_BF16);
    ck_assert_int_eq(mtk_model_tensor(m, "model.f8")->dtype, MTK_F8_E4M3);
    const mtk_tensor *c = mtk_model_tensor(m, "model.complex");
    const float want[] = {1, 0, 1, 1};
    uint8_t *have = tensor_bytes(c);
    ck_assert_int_eq(c->dtype, MTK_C64);
    ck_assert_mem_eq(have, want, sizeof want);
    mtk_free(have);
    ck_assert(has_warning(m, "epoch"));
    ck_assert(has_warning(m, "optimizer.param_groups.0.lr"));
    mtk_model_destroy(m);
  }
}
END_TEST

/* What of the corpus must be refused, and a part of the message. */
static const struct {
  const char *file, *message;
} refused[] = {
    {"evil_os_system.pkl", "asks for os.system: refused"},
    {"evil_builtins_eval.pkl", "asks for builtins.eval: refused"},
    {"evil_posix_system.pkl", "asks for posix.system: refused"},
    {"evil_reduce.pkl", "eval: refused"},
    {"evil_stack_global.pkl", "asks for os.system: refused"},
    {"evil_inst.pkl", "asks for os.system: refused"},
    {"evil_obj.pkl", "asks for os.system: refused"},
    {"evil_never_called.pkl", "asks for os.system: refused"},
    {"evil_hidden_in_zip.pkl", "asks for os.system: refused"},
    {"evil_dotted.pkl", "load.system: refused"},
    {"evil_newobj_ex.pkl", "NEWOBJ_EX: refused"},
    {"evil_ext.pkl", "EXT1: refused"},
    {"evil_dtype_called.pkl", "calls torch.float32: refused"},
    {"evil_memo_bomb.pkl", "memo index"},
    {"evil_huge_text.pkl", "inside an argument"},
    {"evil_huge_text8.pkl", "inside an argument"},
    {"evil_huge_long.pkl", "inside an argument"},
    {"evil_no_stop.pkl", "STOP"},
    {"evil_empty_stack.pkl", "stack is empty"},
    {"evil_pop_below_mark.pkl", "stack is empty"},
    {"evil_odd_dict.pkl", "key without a value"},
    {"evil_protocol_9.pkl", "protocol"},
    {"evil_not_a_checkpoint.pkl", "not of torch.save"},
    {"tensor_beyond.pt", "beyond its storage"},
    {"tensor_huge_shape.pt", "overflows"},
    {"tensor_huge_stride.pt", "beyond its storage"},
    {"tensor_negative.pt", "storage and offset"},
    {"tensor_expanded.pt", "repeats"},
    {"tensor_ranks.pt", "dimensions"},
    {"tensor_mismatch.pt", "strides"},
    {"tensor_more_than_file.pt", "bytes"},
    {"tensor_overflow.pt", "overflows"},
    {"zip_cut.pt", "end record"},
    {"zip_deflated.pt", "compressed"},
    {"zip_big_endian.pt", "big-endian"},
    {"zip_no_storage.pt", "missing"},
    {"zip_deep.pt", "deeper"},
    {"zip_own_member.pt", "deeper"},
    {"zip_doubling.pt", "deeper"},
};

START_TEST(refuses_by_name) {
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    char path[256];
    snprintf(path, sizeof path, CORPUS "%s", refused[i].file);
    mtk_error err = load_fails("torch", path);
    ck_assert_msg(strstr(err.message, refused[i].message) != NULL, "%s: '%s' does not say %s",
                  refused[i].file, err.message, refused[i].message);
  }
}
END_TEST

START_TEST(hostile_bytes) {
  check_cut_and_spoiled("torch", CORPUS "zip_fine.pt", ".pt");
  check_cut_and_spoiled("torch", CORPUS "good_old.pt", ".pt");
}
END_TEST

START_TEST(allocations_fail) {
  check_alloc_failures("torch", CORPUS "zip_fine.pt");
  check_alloc_failures("torch", CORPUS "good_old.pt");
}
END_TEST

static void copy_into(const char *folder, const char *name, const char *from) {
  char path[256];
  size_t n;
  uint8_t *data = read_bytes(from, &n);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  write_bytes(path, data, n);
  mtk_free(data);
}

START_TEST(folder_of_pickles) {
  static const char index[] = "{\"weight_map\":{\"w\":\"part-1.bin\"}}";
  const char *folder = scratch("folder");
  char path[256];
  mkdir(folder, 0777);
  copy_into(folder, "pytorch_model.bin", CORPUS "zip_fine.pt");
  mtk_model *m = load("hf", folder);
  ck_assert_ptr_nonnull(mtk_model_tensor(m, "w"));
  mtk_model_destroy(m);
  snprintf(path, sizeof path, "%s/pytorch_model.bin", folder);
  remove(path);
  snprintf(path, sizeof path, "%s/pytorch_model.bin.index.json", folder);
  write_bytes(path, index, sizeof index - 1);
  copy_into(folder, "part-1.bin", CORPUS "zip_fine.pt");
  m = load("hf", folder);
  save("hf", m, scratch("out.safetensors"), NULL);
  mtk_model *back = load("hf", scratch("out.safetensors"));
  check_same_tensors(m, back, true);
  mtk_model_destroy(m);
  mtk_model_destroy(back);
  copy_into(folder, "part-1.bin", CORPUS "evil_os_system.pkl");
  mtk_error err = load_fails("hf", folder);
  ck_assert(strstr(err.message, "part-1.bin") || strstr(err.place, "part-1.bin"));
}
END_TEST

START_TEST(real_checkpoint) {
  const char *data = getenv("MTK_TEST_DATA");
  if (!data) {
    fprintf(stderr, "SKIP: models/torchtune-tiny.pt: MTK_TEST_DATA is not set\n");
    return;
  }
  char path[512];
  snprintf(path, sizeof path, "%s/models/torchtune-tiny.pt", data);
  mtk_model *m = load("torch", path);
  ck_assert_uint_eq(mtk_model_tensor_count(m), 21);
  const mtk_tensor *t = mtk_model_tensor(m, "layers.1.feed_forward.w2.weight");
  ck_assert(t && t->dtype == MTK_F32 && t->shape[0] == 32 && t->shape[1] == 256);
  mtk_model_destroy(m);
}
END_TEST

int main(void) {
  const TTest *const tests[] = {
      reads_what_torch_wrote,
      refuses_by_name,
      hostile_bytes,
      allocations_fail,
      folder_of_pickles,
      real_checkpoint,
  };
  return run_format_tests("torch", tests, sizeof tests / sizeof tests[0]);
}
