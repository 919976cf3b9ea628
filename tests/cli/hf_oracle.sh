# Model folders written by mtk load in transformers and give the very logits of the source: copies,
# shards, from PyTorch pickles, and through GGUF (MTK_PYTHON: an interpreter with torch,
# transformers and safetensors).
. "$(dirname "$0")/_common.sh"
python="${MTK_PYTHON:-python3}"
check="$MTK_SRC/tests/oracle/check_hf_folder.py"
"$python" -c 'import torch, transformers, safetensors' 2>/dev/null ||
  skip "the Python packages torch, transformers and safetensors are not installed"
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

"$python" "$check" make source
"$MTK" convert source/one copy -q >/dev/null
"$MTK" convert source/one shards --max-shard-size 100KB -q >/dev/null
[ "$(find shards -name 'model-*.safetensors' | wc -l)" -gt 2 ] || fail "no shards"
# The index says what transformers' own says, but for the files' sizes.
"$python" - shards/model.safetensors.index.json source/shards/model.safetensors.index.json <<'PY'
import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
assert a["metadata"]["total_size"] == b["metadata"]["total_size"], (a["metadata"], b["metadata"])
assert list(a["weight_map"]) == sorted(b["weight_map"]), "other tensors or another order"
PY
"$MTK" convert source/shards from-shards -q >/dev/null
"$MTK" convert source/bin from-bin -q >/dev/null
"$MTK" convert source/one one.gguf -q >/dev/null
"$MTK" convert one.gguf from-gguf -q >/dev/null
tar czf one.tar.gz -C source one
"$MTK" convert one.tar.gz from-archive -q >/dev/null
"$python" "$check" same source/one copy shards from-shards from-bin from-gguf from-archive ||
  fail "a folder differs in transformers"
