#!/usr/bin/env bash
# train.sh: make petit's weights again, from nothing: data, training from scratch, measured accuracy.
# usage: train.sh [MTK-BINARY]
# Writes model/model.safetensors and accuracy.json beside this file.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
mtk="${1:-$here/../../build/release/bin/mtk}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

python3 "$here/generate.py" train --count 75000 --seed 1 --out "$work/train.jsonl"
python3 "$here/generate.py" eval --per-cell 40 --seed 3 --out "$work/eval.jsonl"
"$mtk" finetune "$here/model" --init "$here/model/config.json" --data "$work/train.jsonl" \
  --out "$work/petit" --adapter none --optimizer muon --muon-lr 0.02 --lr 3e-3 --beta2 0.95 \
  --weight-decay 0.1 --schedule linear --warmup 80 --steps 2900 --batch-tokens 3072 --seed 1 \
  --save-every 500 --log-every 50 --dtype bf16
"$mtk" eval "$work/petit" --task "$work/eval.jsonl" --outputs "$work/outputs.jsonl" --json -q |
  jq 'del(.model, .seconds)' >"$here/accuracy.json"
python3 "$here/generate.py" score --problems "$work/eval.jsonl" --outputs "$work/outputs.jsonl"
cp "$work/petit/model.safetensors" "$here/model/model.safetensors"
