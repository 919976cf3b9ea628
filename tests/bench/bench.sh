#!/usr/bin/env bash
# bench.sh: the figures of SPEED.md, as ratios where a peer is installed. ./build.sh bench calls it.
# usage: bench.sh [kernels] [models] [perplexity] [peers [OPTIONS OF compare_llama.py]]
#        (default: kernels models peers)
# Peers are used only if they are there: llama-cpp-python (set MTK_PYTHON to its interpreter),
# PyTorch (Debian's python3-torch with OpenBLAS).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=build/release
smollm2="${XDG_CACHE_HOME:-$HOME/.cache}/mtk/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
[ $# -gt 0 ] || set -- kernels models peers

machine() {
  echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) CPUs"
  "$bin/bin/mtk" doctor
}

kernels() {
  for family in linear gemm attention vector encode; do
    echo "== kernels: $family"
    "$bin/tests/test_$family" --bench
  done
}

models() {
  echo "== shapes of 8 billion parameters (two layers) and of SmolLM2, random weights"
  "$bin/bin/mtk" bench --shape tests/bench/shapes/8b.json --dtype nvfp4 --layers 2 -p 512 -n 32 -t 1,2
  "$bin/bin/mtk" bench --shape tests/bench/shapes/smollm2.json --dtype q4_0 -p 512 -n 64 -s 1,8,32 -t 1,2
  echo "== petit (bf16)"
  "$bin/bin/mtk" bench examples/petit/model -p 256 -n 128 -t 1,2
  if [ -f "$smollm2" ]; then
    echo "== SmolLM2-135M-Instruct, Q4_1"
    "$bin/bin/mtk" bench "$smollm2" -p 512 -n 64 -t 1,2
  else
    echo "SmolLM2: not in the cache; scripts/fetch-model.sh smollm2 brings it"
  fi
}

peers() {
  local python="${MTK_PYTHON:-python3}"
  if "$python" -c 'import llama_cpp' 2>/dev/null; then
    "$python" tests/bench/compare_llama.py --mtk "$bin/bin/mtk" --out build/llama "$@"
  else
    echo "llama.cpp: skipped (needs the Python package llama-cpp-python)"
  fi
  if /usr/bin/python3 -c 'import torch' 2>/dev/null; then
    /usr/bin/python3 tests/bench/compare_torch.py "$bin/bin/mtk"
  else
    echo "PyTorch: skipped (needs python3-torch)"
  fi
}

# Errors of the arithmetic of every storage type beside llama.cpp's; needs MTK_TEST_DATA.
perplexity() {
  "${MTK_PYTHON:-python3}" tests/bench/compare_perplexity.py --mtk "$bin/bin/mtk" --out build/perplexity
}

machine
while [ $# -gt 0 ]; do
  part="$1"
  shift
  if [ "$part" = peers ]; then
    peers "$@"
    break
  fi
  "$part"
done
