#!/bin/bash
# mtk quantize --target-bits, --target-size, --plan: the budget is used and never passed, the same
# bytes however it is computed, plans go out and in, the mixture beats one type for all, one clear
# line for what cannot be.
set -euo pipefail
source "$MTK_SRC/tests/cli/_quantize.sh"
measured=("${calibrated[@]}" --sensitivity-tokens 512)

# within the budget, and next to it: no group can have its next larger type
for bits in 4.6 5 6.5 9; do
  quantize "$tmp/$bits.gguf" --target-bits $bits "${measured[@]}" --plan-out "$tmp/$bits.json"
  jq -e --argjson b $bits '.bits_per_weight <= $b and .bytes_after == .plan.bytes and
    .plan.bytes <= .plan.budget_bytes' "$tmp/out.json" >/dev/null ||
    fail "$bits bits: $(jq -c '{bits_per_weight, bytes_after, plan: .plan.bytes}' "$tmp/out.json")"
  jq -e '[.groups[] | . as $g |
    ($g.options[] | select(.types[0] == $g.chosen or .candidate == $g.chosen)) as $c |
    $g.options[] | select(.kld < $c.kld) | .bytes - $c.bytes] | min // 1e9' "$tmp/$bits.json" >"$tmp/step"
  jq -e --argjson s "$(cat "$tmp/step")" '.budget_bytes - .bytes < $s' "$tmp/$bits.json" >/dev/null ||
    fail "$bits bits: room of $(jq '.budget_bytes - .bytes' "$tmp/$bits.json") for a step of $(cat "$tmp/step")"
done
less "a larger budget" "$(jq .predicted_kld "$tmp/6.5.json")" "$(jq .predicted_kld "$tmp/5.json")"
same "types of all tensors" "$(jq -S .tensors "$tmp/5.json")" \
  "$(jq -S '[.groups[] | . as $g |
     first($g.options[] | select(.types[0] == $g.chosen or .candidate == $g.chosen)) as $o |
     [$g.tensors, $o.types] | transpose[] | {(.[0]): .[1]}] | add' "$tmp/5.json")"

# fused tensors share a type; the mixture loses less than one type of that size
jq -e '.tensors | [.["blk.0.attn_q.weight"], .["blk.0.attn_k.weight"], .["blk.0.attn_v.weight"]] |
  unique | length == 1' "$tmp/5.json" >/dev/null || fail "q, k and v have several types"
same "types of the file" "$("$MTK" inspect "$tmp/5.gguf" --tensors --json |
  jq -Sc '[.tensors[] | {(.name): (.type // .dtype)}] | add | with_entries(select(.value != "f32"))')" \
  "$(jq -Sc .tensors "$tmp/5.json")"
quantize "$tmp/q5_0.gguf" --to q5_0 --embeddings "${calibrated[@]}"
bits=$(jq .bits_per_weight "$tmp/out.json")
quantize "$tmp/same.gguf" --plan "$tmp/5.json" --target-bits "$bits" "${calibrated[@]}"
mixed=$(kld "$tmp/same.gguf") uniform=$(kld "$tmp/q5_0.gguf")
echo "$bits bits, KLD: mixed $mixed, q5_0 $uniform"
less "$bits bits, mixed, beside q5_0" "$mixed" "$uniform"

# the same bytes
for way in "--threads 1" "--threads 2" "MTK_CPU=avx2" "--plan $tmp/5.json" "--plan $tmp/5.json --target-bits 5"; do
  level="" options=() from=("${measured[@]}" --target-bits 5)
  case "$way" in
  MTK_CPU=*) level="${way#MTK_CPU=}" ;;
  *) read -ra options <<<"$way" ;;
  esac
  case "$way" in --plan*) from=("${calibrated[@]}") ;; esac
  MTK_CPU="$level" "$MTK" quantize "$petit" "$tmp/again.gguf" "${from[@]}" "${options[@]}" \
    --plan-out "$tmp/again.json" -q -f >/dev/null 2>"$tmp/err" ||
    { grep -q "cannot run the kernel level" "$tmp/err" && continue; fail "$way: $(cat "$tmp/err")"; }
  same "types with $way" "$(jq -S .tensors "$tmp/again.json")" "$(jq -S .tensors "$tmp/5.json")"
  case "$way" in
  --plan*) python3 - "$tmp/again.gguf" "$tmp/5.gguf" <<'PY' || fail "other weights with $way" ;;
import sys
a, b = (open(path, "rb").read() for path in sys.argv[1:])
tail = 300000  # of the tensors: the headers tell the options
sys.exit(a[-tail:] != b[-tail:])
PY
  *) cmp "$tmp/again.gguf" "$tmp/5.gguf" || fail "other bytes with $way" ;;
  esac
done
cp "$tmp/again.gguf" "$tmp/first.gguf"
"$MTK" quantize "$petit" "$tmp/again.gguf" "${calibrated[@]}" --plan "$tmp/5.json" --target-bits 5 -q -f >/dev/null
cmp "$tmp/again.gguf" "$tmp/first.gguf" || fail "a plan used twice gives other bytes"

# the file says what it has; a size for all of it
"$MTK" quantize "$petit" "$tmp/size.gguf" "${measured[@]}" --target-size 600kB -q -f >/dev/null
[ "$(stat -c %s "$tmp/size.gguf")" -le 600000 ] || fail "--target-size: $(stat -c %s "$tmp/size.gguf") bytes"
[ "$(stat -c %s "$tmp/size.gguf")" -ge 540000 ] || fail "--target-size: only $(stat -c %s "$tmp/size.gguf") bytes"
grep -aq '"mtk_plan":1' "$tmp/size.gguf" || fail "the plan is not in the file"

# other files with weights beside those that are read are not written: they leave the budget as it is
cp -r "$petit" "$tmp/twice"
for name in consolidated.safetensors pytorch_model.bin; do cp "$petit/model.safetensors" "$tmp/twice/$name"; done
budget() { # SRC DST: bytes for the tensors
  "$MTK" quantize "$1" "$2" --plan "$tmp/5.json" --target-size 700kB --dry-run -q --json | jq .plan.budget_bytes
}
for dst in "$tmp/n.gguf" "$tmp/n"; do
  same "a budget beside second copies" "$(budget "$tmp/twice" "$dst")" "$(budget "$petit" "$dst")"
done

# a plan changed by hand
jq '{mtk_plan, tensors: (.tensors | .["blk.0.attn_q.weight"] = "q8_0")}' "$tmp/5.json" >"$tmp/hand.json"
quantize "$tmp/hand.gguf" --plan "$tmp/hand.json"
same "a type set by hand" "$("$MTK" inspect "$tmp/hand.gguf" --tensors --json |
  jq -r '.tensors[] | select(.name == "blk.0.attn_q.weight") | .type // .dtype')" q8_0

# a report with the curve
quantize "$tmp/report.gguf" --plan "$tmp/6.5.json" --target-bits 5 --report "$tmp/report"
for file in report.md report.json error.svg bits.svg scales.svg tradeoff.svg; do
  [ -s "$tmp/report/$file" ] || fail "the report has no $file"
done
python3 - "$tmp"/report/*.svg <<'PY' || fail "a plot is no XML"
import sys, xml.dom.minidom
for path in sys.argv[1:]:
    xml.dom.minidom.parse(path)
PY
grep -q '| chosen |' "$tmp/report/report.md" || fail "report.md does not tell the choice"

# factors, then types: both help
quantize "$tmp/scaled.gguf" --target-bits 5 --equalize awq "${measured[@]}"
less "5 bits with factors" "$(kld "$tmp/scaled.gguf")" "$(kld "$tmp/5.gguf")"
jq -e '.bits_per_weight <= 5' "$tmp/out.json" >/dev/null || fail "factors: $(jq .bits_per_weight "$tmp/out.json") bits"
quantize "$tmp/again.gguf" --target-bits 5 --equalize awq "${measured[@]}" --threads 1
cmp "$tmp/again.gguf" "$tmp/scaled.gguf" || fail "factors on one thread give other bytes"

# folders: the embedding stays
"$MTK" quantize "$petit" "$tmp/hf" "${measured[@]}" --target-bits 8 --layout hf -q >/dev/null 2>"$tmp/err" ||
  fail "hf: $(cat "$tmp/err")"
less "mixed folder" "$(kld "$tmp/hf")" 1

# what cannot be: one line, nothing written
wrong 1 "the smallest that the candidates allow is [0-9.]* bits per weight, [0-9]* bytes" --target-bits 2 \
  "${measured[@]}"
least=$(grep -o '[0-9.]* bits per weight' "$tmp/err" | head -n 1 | cut -d' ' -f1)
quantize "$tmp/least.gguf" --target-bits "$least" --plan "$tmp/5.json"
wrong 1 "cannot be kept" --target-bits "$(jq -n "$least - 0.001")" --plan "$tmp/5.json"
wrong 2 "needs --calibration" --target-bits 5
wrong 1 "5.json: exists" --target-bits 5 "${measured[@]}" --plan-out "$tmp/5.json"
wrong 2 "not both" --target-bits 5 --target-size 1MB "${measured[@]}"
wrong 2 "not like 14GB" --target-size 14XB "${measured[@]}"
wrong 2 "give --candidates" --to q4_0 --target-bits 5 "${measured[@]}"
wrong 2 "no type 'q9'" --target-bits 5 --candidates q4_0,q9 "${measured[@]}"
echo '{"mtk_plan": 1, "tensors": {"blk.0.attn_q.weight": "q4_k"}}' >"$tmp/bad.json"
wrong 2 "blk.0.attn_q.weight: the plan gives it q4_k.*do not fill" --plan "$tmp/bad.json"
echo '{"mtk_plan": 1, "tensors": {"blk.0.attn_norm.weight": "q8_0"}}' >"$tmp/bad.json"
wrong 2 "no linear weight" --plan "$tmp/bad.json"
echo '{"mtk_plan": 1, "tensors": {"blk.77.attn_q.weight": "q8_0"}}' >"$tmp/bad.json"
wrong 1 "no tensor blk.77.attn_q.weight" --plan "$tmp/bad.json"
echo '{"tensors": {}}' >"$tmp/bad.json"
wrong 1 "is no plan" --plan "$tmp/bad.json"
echo '[' >"$tmp/bad.json"
wrong 1 "bad.json: line" --plan "$tmp/bad.json"
wrong 1 "has no measurements" --plan "$tmp/hand.json" --target-bits 5
echo "budget: ok"
