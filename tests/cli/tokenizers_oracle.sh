# Ids and decoded text equal those of the `tokenizers` package: every tokenizer.json of the test data
# over mixed text in many scripts, and every normalizer, pre-tokenizer and decoder by itself.
# MTK_PYTHON: an interpreter that has the package. MTK_MIXED_BYTES: how much text (5 MB if unset).
. "$(dirname "$0")/_common.sh"
python="${MTK_PYTHON:-python3}"
oracle="$MTK_SRC/tests/oracle"
"$python" -c 'import tokenizers' 2>/dev/null || skip "the Python package tokenizers is not installed"

mkdir steps
"$python" "$oracle/make_step_tokenizers.py" steps
for kind in words steps chars; do
  "$python" "$oracle/compare_tokenizers.py" "$MTK" "steps/$kind.lines" "steps/$kind"-*.json ||
    fail "steps differ"
done

if [ -z "${MTK_TEST_DATA:-}" ]; then
  echo "SKIP the published tokenizers: MTK_TEST_DATA is not set"
  exit 0
fi
python3 "$oracle/make_mixed_text.py" --lines --bytes "${MTK_MIXED_BYTES:-5000000}" >lines
"$python" "$oracle/compare_tokenizers.py" "$MTK" lines "$MTK_TEST_DATA"/tokenizers/hf-json/*tokenizer.json \
  "$MTK_TEST_DATA"/tokenizers/npm/*/tokenizer.json || fail "published tokenizers differ"

# What mtk writes: the package loads it and gives the ids that the original gives here.
head -400 lines >some
for source in mistral/tokenizer.model.v1 mistral/mistral_instruct_tokenizer_240323.model.v3 qwen.tiktoken; do
  rm -f written.json
  "$MTK" convert "$MTK_TEST_DATA/tokenizers/$source" written.json --to tokenizer -q
  "$python" "$oracle/compare_tokenizers.py" "$MTK" some written.json || fail "$source, written, differs"
  "$MTK" tokenize "$MTK_TEST_DATA/tokenizers/$source" --batch --json --special --no-bos <some >want
  "$MTK" tokenize written.json --batch --json --special --no-bos <some >got
  cmp want got || fail "$source: other ids after writing"
done
