#!/usr/bin/env bash
# MTK_CPU: one line says which level runs and why, doctor reports it, levels that do not exist or that this machine
# lacks are refused.
. "${BASH_SOURCE[0]%/*}/_common.sh"
unset MTK_CPU
make_model
make_data train.jsonl 4
echo '{"ids": [3, 40, 77]}' >ids.jsonl

says() { # PATTERN: exactly one line of ./err matches it, and no other names a level
  [ "$(grep -Ec -- "$1" err)" -eq 1 ] || fail "not one line with '$1': $(cat err)"
  [ "$(grep -Ec '(ref|avx2|avx512|amx) \(' err)" -eq 1 ] || fail "levels are told twice: $(cat err)"
}

run_quiet 0 "$MTK" doctor --json -q
best="$(python3 -c 'import json; print(json.load(open("out"))["isa"])')"
run_quiet 0 "$MTK" doctor -v
says "kernels: $best \(.+\)"
for c in "run model -p x -n 1" "eval model --score ids.jsonl" "bench model -p 8 -n 1 -r 1 -t 1,2 --no-limits" \
  "quantize model out.gguf --to q8_0 -f --no-verify" \
  "finetune model --data train.jsonl --steps 1 --adapter lora --out lora -f"; do
  read -ra words <<<"$c"
  run_quiet 0 "$MTK" "${words[@]}" -v
  says "kernels: $best \(.+\)"
  [ "${words[0]}" = finetune ] && continue # slow with the reference kernels
  MTK_CPU=ref run_quiet 0 "$MTK" "${words[@]}" -v
  says "kernels: ref \(forced by MTK_CPU\)"
  run_quiet 0 "$MTK" "${words[@]}"
  ! grep -q kernels: err || fail "the level is told without -v: $(cat err)"
done

MTK_CPU=ref run_quiet 0 "$MTK" doctor --json
grep -q '"isa": "ref"' out || fail "doctor ignores MTK_CPU: $(cat out)"
grep -q '"isa_reason": "forced by MTK_CPU"' out || fail "doctor's reason: $(cat out)"
levels=(ref avx2 avx512 amx)
beyond=false
for level in "${levels[@]}"; do
  for c in "doctor" "run model -p x -n 1" "bench model -p 8 -n 1 -r 1 -t 1 --no-limits"; do
    read -ra words <<<"$c"
    if $beyond; then
      MTK_CPU=$level refuses 2 'MTK_CPU.*cannot run' "$MTK" "${words[@]}"
    else
      MTK_CPU=$level run_quiet 0 "$MTK" "${words[@]}"
    fi
    MTK_CPU=nonsense refuses 2 "MTK_CPU.*'nonsense' is none of ref, avx2, avx512, amx" "$MTK" "${words[@]}"
  done
  if [ "$level" = "$best" ]; then beyond=true; fi
done
echo "one level, told once"
