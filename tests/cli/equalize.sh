#!/bin/bash
# mtk quantize --equalize, --rotate and --bias-correction on the bundled model: factors help, the bytes are the same on
# one and two threads and at every instruction level, what is written is compared with the changed source; rotating
# without quantizing changes nothing that counts; what goes wrong.
set -euo pipefail
source "$MTK_SRC/tests/cli/_quantize.sh"

# factors
quantize "$tmp/sweep.gguf" --to nvfp4 --method sweep "${calibrated[@]}"
quantize "$tmp/awq.gguf" --to nvfp4 --method sweep "${calibrated[@]}" --equalize awq
quantize "$tmp/smooth.gguf" --to nvfp4 --method sweep "${calibrated[@]}" --equalize smooth --equalize-alpha 0.25
quantize "$tmp/gptq.gguf" --to nvfp4 --method gptq "${calibrated[@]}" --equalize awq
sweep=$(kld "$tmp/sweep.gguf") awq=$(kld "$tmp/awq.gguf")
echo "nvfp4, KLD: sweep $sweep, awq $awq, smooth $(kld "$tmp/smooth.gguf"), awq and gptq $(kld "$tmp/gptq.gguf")"
less "awq" "$awq" "$sweep"
cmp -s "$tmp/awq.gguf" "$tmp/smooth.gguf" && fail "smooth is awq"

# values of the source are no measure of them: verify says so, and looks for faults
from=(--source "$petit" --source "$tmp/calibration.txt" --no-repeat -q)
"$MTK" verify "$tmp/awq.gguf" "${from[@]}" >"$tmp/out"
grep -q 'values are not those of the source' "$tmp/out" || fail "verify after awq: $(cat "$tmp/out")"
grep -q 'relative error' "$tmp/out" && fail "verify after awq compares values: $(cat "$tmp/out")"
for name in awq sweep; do
  "$MTK" verify "$tmp/$name.gguf" "${from[@]}" --json | jq .verification.comparable
done >"$tmp/out"
same "comparable: awq, sweep" "$(xargs <"$tmp/out")" "false true"

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
same_bytes_each_way "$tmp/awq.gguf" --to nvfp4 --method sweep --equalize awq "${calibrated[@]}"

# what goes wrong
wrong 2 "--equalize needs --calibration" --to nvfp4 --equalize awq
wrong 2 "--bias-correction needs --calibration" --to nvfp4 --bias-correction
wrong 2 "over its blocks of 32" --to mxfp4 --rotate residual --rotate-size 64
wrong 2 "power of two" --to nvfp4 --rotate values --rotate-size 24
wrong 1 "do not fit" --to nvfp4 --rotate values --rotate-size 4096
quantize "$tmp/plain.gguf" --to q8_0 "${calibrated[@]}" --imatrix-out "$tmp/im.gguf"
wrong 2 "change what --imatrix" --to nvfp4 --equalize awq --imatrix "$tmp/im.gguf"
echo "equalize: ok"
