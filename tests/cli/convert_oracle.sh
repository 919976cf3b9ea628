# Files written by mtk, read by the gguf and safetensors packages (MTK_PYTHON: an interpreter that
# has them).
. "$(dirname "$0")/_common.sh"
python="${MTK_PYTHON:-python3}"
check="$MTK_SRC/tests/oracle/check_format_files.py"
tiny="$MTK_SRC/tests/golden/formats/tiny"
"$python" -c 'import gguf, safetensors, ml_dtypes' 2>/dev/null ||
  skip "the Python packages gguf, safetensors and ml_dtypes are not installed"

"$MTK" convert "$tiny" a.gguf -q
"$python" "$check" gguf a.gguf "$tiny" || fail "gguf reads something else"
"$MTK" convert a.gguf back -q
"$python" "$check" hf back "$tiny" || fail "safetensors reads something else"
"$MTK" quantize "$tiny" q --to nvfp4 -q
"$MTK" convert q q.gguf -q
"$python" "$check" nvfp4 q.gguf q || fail "NVFP4 values differ"
