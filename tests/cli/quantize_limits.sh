#!/bin/bash
# mtk quantize at its limits: the same bytes with any number of threads and at every instruction
# level, estimates of a dry run beside the run, and bad input: one clear line, nothing half-written.
set -euo pipefail
source "$MTK_SRC/tests/cli/_common.sh"
make_model

# ---- the same bytes however it is computed
for to in nvfp4 mxfp4 fp8 fp8-block q8_0 q4_k q6_k; do
  case $to in fp8*) end=safetensors ;; *) end=gguf ;; esac
  run_quiet 0 "$MTK" quantize model "one.$end" --to $to -q -f -t 1 --no-verify
  for way in "-t 2" MTK_CPU=ref MTK_CPU=avx2 MTK_CPU=avx512 MTK_CPU=amx; do
    level="" threads=()
    case "$way" in MTK_CPU=*) level="${way#MTK_CPU=}" ;; *) read -ra threads <<<"$way" ;; esac
    MTK_CPU="$level" "$MTK" quantize model two.$end --to $to -q -f --no-verify "${threads[@]}" \
      >out 2>err || { grep -q "cannot run the kernel level" err && continue; fail "$to $way: $(cat err)"; }
    cmp one.$end two.$end || fail "$to gives other bytes with $way"
  done
done
rm one.* two.*

# ---- what a dry run says
# What sanitizers keep beside the program's memory is no part of the estimate.
besides=0
if sanitized; then besides=4e9; fi
for to in nvfp4 fp8 q4_k; do
  dst=real
  [ $to != q4_k ] || dst=real.gguf
  run_quiet 0 "$MTK" quantize model "dry-$dst" --to $to --dry-run --json -q -t 2
  mv out dry.json
  nothing_left "dry-$dst"
  run_quiet 0 "$MTK" quantize model $dst --to $to --json -q -f -t 2
  jq -e --argjson besides $besides --slurpfile real out '.dry_run and .bytes_after == $real[0].bytes_after and
    .bits_per_weight == $real[0].bits_per_weight and .quantized == $real[0].quantized and
    .estimate.peak_bytes + $besides >= $real[0].peak_rss_bytes and .estimate.seconds > 0 and
    .estimate.peak_bytes < 6 * $real[0].peak_rss_bytes + 2e8 and
    (.estimate.runs_as | keys) == ["Ada", "Blackwell", "CPU", "Hopper"]' dry.json >/dev/null ||
    fail "$to: $(jq -c '[.bytes_after, .bits_per_weight, .quantized, .estimate]' dry.json) beside \
$(jq -c '[.bytes_after, .bits_per_weight, .quantized, .peak_rss_bytes]' out)"
done
run_quiet 0 "$MTK" quantize model dry --to nvfp4 --dry-run -q
grep -q 'Hopper *weight-only W4A16 (Marlin)' out || fail "what it runs as: $(cat out)"
# of a mixture each type
jq -n '{mtk_plan: 1, tensors: {"blk.0.ffn_up.weight": "fp8", "blk.0.ffn_down.weight": "nvfp4"}}' >plan.json
run_quiet 0 "$MTK" quantize model dry --plan plan.json --dry-run -q
grep -q 'Hopper *fp8: W8A8 .*; nvfp4: weight-only W4A16' out || fail "what a mixture runs as: $(cat out)"
head -n 30 "$MTK_SRC/examples/petit/demo/train.jsonl" | jq -r ".messages[].content" >text.txt
gptq=(--to nvfp4 --method gptq --calibration text.txt --calibration-tokens 512
  --sequence-length 128 --json -q -t 2)
run_quiet 0 "$MTK" quantize model dry "${gptq[@]}" --dry-run
mv out dry.json
run_quiet 0 "$MTK" quantize model real "${gptq[@]}" -f
jq -e --argjson besides $besides --slurpfile real out '
  .estimate.peak_bytes + $besides >= $real[0].peak_rss_bytes and .estimate.seconds == null' dry.json >/dev/null ||
  fail "gptq: $(jq -c .estimate dry.json) beside \
$(jq -c .peak_rss_bytes out)"
rm -r real

# ---- bad input
make_tensors() { # FILE KIND: one matrix of two rows of 128, damaged in some way
  python3 - "$@" <<'PY'
import json, struct, sys
path, kind = sys.argv[1:]
rows, cols = (2, 100) if kind == "odd" else (2, 128)
values = [0.01 * (i % 17 - 8) for i in range(rows * cols)]
if kind == "nan": values[cols + 3] = float("nan")
if kind == "inf": values[cols + 3] = float("-inf")
data = struct.pack(f"<{len(values)}f", *values)
dtype = "F32"
if kind == "int": dtype = "I32"
if kind == "short": data = data[:-4]
entry = {"dtype": dtype, "shape": [rows, cols], "data_offsets": [0, rows * cols * 4]}
header = json.dumps({"m.weight": entry}).encode()
open(path, "wb").write(struct.pack("<Q", len(header)) + header + data)
PY
}
bad() { # CODE PATTERN SOURCE OPTION...
  local code="$1" pattern="$2" source="$3"
  shift 3
  for dst in ${dsts:-bad.gguf bad.safetensors bad}; do
    refuses "$code" "$pattern" "$MTK" quantize "$source" $dst "$@" -q
    nothing_left $dst
  done
}
kept() { # DST TYPE: nothing is written as another type
  rm -rf "$1"
  run_quiet 0 "$MTK" quantize good.safetensors "$1" --to "$2" -q
  ! grep -q 'written as' err || fail "$2 in $1: $(cat err)"
  rm -rf "$1"
}
for kind in odd nan inf int short good; do make_tensors $kind.safetensors $kind; done
bad 2 'no tensor can be quantized to nvfp4.*no row length fits' odd.safetensors --to nvfp4
bad 1 'm.weight: row 1 holds NaN or infinity' nan.safetensors --to nvfp4
dsts=bad.gguf bad 1 'm.weight: row 1 holds NaN or infinity' nan.safetensors --to q8_0
dsts=bad bad 1 'm.weight: row 1 holds NaN or infinity' inf.safetensors --to fp8
bad 2 'no tensor can be quantized' int.safetensors --to mxfp4
bad 1 'short.safetensors' short.safetensors --to mxfp4
bad 1 'none' none --to mxfp4
run_quiet 0 "$MTK" quantize good.safetensors done.safetensors --to fp8 -q
bad 2 'already quantized \(--requantize allows it\)' done.safetensors --to mxfp4
refuses 1 'done.safetensors: exists; --force' "$MTK" quantize good.safetensors done.safetensors --to fp8 -q
refuses 1 'no/q.gguf: the folder for the output does not exist' "$MTK" quantize good.safetensors no/q.gguf --to q8_0 -q
run_quiet 0 "$MTK" convert model shards --max-shard-size 100KB -q
rm "$(find shards -name 'model-00002-of-*')"
bad 1 'model-00002-of' shards --to nvfp4

# ---- types that the output does not have are refused before the source is looked at
folder='fp8 fp8-channel fp8-block mxfp8 int8 int4 int4-asym'
both='nvfp4 mxfp4 bf16 f16 f32'
targets="$("$MTK" quantize --list --json | jq -r '.[] | select(.method == "rtn") | .target')"
for to in $targets; do
  case " $folder " in *" $to "*) in_folder=1 in_gguf=0 ;; *) in_folder=0 in_gguf=1 ;; esac
  case " $both " in *" $to "*) in_folder=1 ;; esac
  for dry in "" --dry-run; do
    [ $in_folder = 1 ] ||
      dsts="bad bad.safetensors" bad 2 "a model folder cannot hold $to: name DST \*.gguf, or .* nvfp4, .*, bf16" \
        none --to "$to" $dry
    [ $in_gguf = 1 ] ||
      dsts=bad.gguf bad 2 "a .gguf file cannot hold $to: name a folder as DST, or .* nvfp4, .* q4_0" \
        none --to "$to" $dry
  done
  # what is not refused has the type that was asked for
  [ $in_folder = 0 ] || kept bad "$to"
  [ $in_gguf = 0 ] || kept bad.gguf "$to"
done
refuses 2 'a .npz file cannot hold nvfp4.*: f16, f32$' "$MTK" quantize none bad.npz --to nvfp4
refuses 2 'give --layout gguf' "$MTK" quantize none bad.gguf --layout modelopt --to q4_0
refuses 2 'give --layout hf' "$MTK" quantize none bad --layout gguf --to fp8
# a plan's types, and matrices that the format has no names for
jq -n '{mtk_plan: 1, tensors: {"blk.0.ffn_up.weight": "q4_0"}}' >plan.json
refuses 2 'plan.json: blk.0.ffn_up.weight: a model folder cannot hold q4_0' \
  "$MTK" quantize model bad --plan plan.json -q
nothing_left bad
jq -n '{mtk_plan: 1, tensors: {"blk.0.ffn_up.weight": "fp8"}}' >plan.json
refuses 2 'a .gguf file cannot hold fp8' "$MTK" quantize model bad.gguf --plan plan.json -q
nothing_left bad.gguf
# an embedding that llama.cpp does not read is said so; without it, nothing is
for embedding in --embeddings ""; do
  # shellcheck disable=SC2086
  "$MTK" quantize model warned.gguf --to nvfp4 $embedding -f --no-verify >out 2>err || fail "$(cat err)"
  count=$(grep -c "llama.cpp refuses a file whose embedding is nvfp4.*leave out --embeddings" err || true)
  [ "$count" = "$([ -n "$embedding" ] && echo 1 || echo 0)" ] || fail "$count warnings: $(cat err)"
done
refuses 2 'candidates: a model folder cannot hold q4_0' "$MTK" quantize model bad --target-bits 5 \
  --candidates nvfp4,q4_0 --calibration text.txt -q
nothing_left bad
sed s/m.weight/m.wEIGHT/ good.safetensors >named.safetensors
refuses 2 'm.wEIGHT: .*--keep it' "$MTK" quantize named.safetensors bad.safetensors --to nvfp4 -q
nothing_left bad.safetensors
if [ "$(id -u)" -ne 0 ]; then
  mkdir locked && chmod 555 locked
  refuses 1 'locked/q.gguf: cannot create the output: Permission denied' \
    "$MTK" quantize good.safetensors locked/q.gguf --to q8_0 -q
fi
echo "quantize limits: ok"
