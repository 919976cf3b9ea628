#!/bin/bash
# mtk quantize --equalize, --rotate and --bias-correction on the bundled model: factors help, the bytes are the same on
# one and two threads and at every instruction level, what is written is compared with the changed source; rotating
# without quantizing changes nothing that counts; what goes wrong.
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
petit="$MTK_SRC/examples/petit/model"
jq -r '.messages[].content' "$MTK_SRC/examples/petit/demo/eval.jsonl" | head -c 12000 >"$tmp/text"
jq -r '.messages[].content' "$MTK_SRC/examples/petit/demo/train.jsonl" | head -c 40000 >"$tmp/calibration.txt"
calibrated=(--calibration "$tmp/calibration.txt" --calibration-tokens 1024 --sequence-length 128)

quantize() { "$MTK" quantize "$petit" "$@" -q -f >/dev/null 2>"$tmp/err" || fail "quantize $*: $(cat "$tmp/err")"; }
kld() { "$MTK" eval "$1" --kld "${2:-$petit}" --text "$tmp/text" --ctx 128 --json -q | jq .kld; }
less() { jq -en --argjson a "$2" --argjson b "$3" '$a < $b' >/dev/null || fail "$1: $2 is not below $3"; }

# factors
quantize "$tmp/sweep.gguf" --to nvfp4 --method sweep "${calibrated[@]}"
quantize "$tmp/awq.gguf" --to nvfp4 --method sweep "${calibrated[@]}" --equalize awq
quantize "$tmp/smooth.gguf" --to nvfp4 --method sweep "${calibrated[@]}" --equalize smooth --equalize-alpha 0.25
quantize "$tmp/gptq.gguf" --to nvfp4 --method gptq "${calibrated[@]}" --equalize awq
sweep=$(kld "$tmp/sweep.gguf") awq=$(kld "$tmp/awq.gguf")
echo "nvfp4, KLD: sweep $sweep, awq $awq, smooth $(kld "$tmp/smooth.gguf"), awq and gptq $(kld "$tmp/gptq.gguf")"
less "awq" "$awq" "$sweep"
cmp -s "$tmp/awq.gguf" "$tmp/smooth.gguf" && fail "smooth is awq"

# into f32, nothing is lost: factors and rotations alone
quantize "$tmp/f32.gguf" --to f32 --embeddings
same_function() { # OPTION...
  quantize "$tmp/same.gguf" --to f32 --embeddings "$@"
  cmp -s "$tmp/same.gguf" "$tmp/f32.gguf" && fail "$* changes nothing"
  less "KLD of f32 with $*" "$(kld "$tmp/same.gguf" "$tmp/f32.gguf")" 1e-7
}
same_function --rotate all --rotate-size 16
same_function --rotate residual --equalize smooth "${calibrated[@]}"
quantize "$tmp/rotated" --to nvfp4 --rotate values --rotate-size 16 # a folder
less "rotated values" "$(kld "$tmp/rotated")" 1
quantize "$tmp/bias.gguf" --to nvfp4 --bias-correction "${calibrated[@]}"

# the same bytes however it is computed
for way in "--threads 1" "--threads 2" "MTK_CPU=ref" "MTK_CPU=avx2"; do
  level="" options=()
  case "$way" in MTK_CPU=*) level="${way#MTK_CPU=}" ;; *) read -ra options <<<"$way" ;; esac
  MTK_CPU="$level" "$MTK" quantize "$petit" "$tmp/again.gguf" --to nvfp4 --method sweep --equalize awq \
    "${calibrated[@]}" "${options[@]}" -q -f >/dev/null 2>"$tmp/err" ||
    { grep -q "cannot run the kernel level" "$tmp/err" && continue; fail "$way: $(cat "$tmp/err")"; }
  cmp "$tmp/again.gguf" "$tmp/awq.gguf" || fail "other bytes with $way"
done

# what goes wrong
wrong() { # EXPECTED_CODE TEXT ARGUMENT...
  local code=0 want="$1" text="$2"
  shift 2
  "$MTK" quantize "$petit" "$tmp/wrong.gguf" "$@" -q >/dev/null 2>"$tmp/err" || code=$?
  same "exit code of $*" "$code" "$want"
  grep -q -- "$text" "$tmp/err" || fail "$*: $(cat "$tmp/err")"
  [ ! -e "$tmp/wrong.gguf" ] || fail "$* left a file"
}
wrong 2 "--equalize needs --calibration" --to nvfp4 --equalize awq
wrong 2 "--bias-correction needs --calibration" --to nvfp4 --bias-correction
wrong 2 "over its blocks of 32" --to mxfp4 --rotate residual --rotate-size 64
wrong 2 "power of two" --to nvfp4 --rotate values --rotate-size 24
wrong 1 "do not fit" --to nvfp4 --rotate values --rotate-size 4096
quantize "$tmp/plain.gguf" --to q8_0 "${calibrated[@]}" --imatrix-out "$tmp/im.gguf"
wrong 2 "change what --imatrix" --to nvfp4 --equalize awq --imatrix "$tmp/im.gguf"
echo "equalize: ok"
