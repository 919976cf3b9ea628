#!/bin/bash
# mtk eval --kld against transformers (golden of tests/oracle/make_kld_golden.py), and --gate.
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
golden="$MTK_SRC/tests/golden/kld.json"
petit="$MTK_SRC/examples/petit/model"
"$MTK" quantize "$petit" "$tmp/q.gguf" --to q4_0 -q >/dev/null
"$MTK" convert "$tmp/q.gguf" "$tmp/hf" --dtype f32 -q >/dev/null
jq -j .text "$golden" >"$tmp/text"

kld() { "$MTK" eval "$@" --text "$tmp/text" --ctx 128 --activations a32 --json -q; }
kld "$tmp/hf" --kld "$petit" >"$tmp/got.json"
for key in kld kld_error kld_median kld_p99 kld_max top1 ppl base_ppl; do
  jq -e --slurpfile g "$golden" --arg k "$key" '(.[$k] / $g[0][$k] - 1) | fabs < 1e-4' "$tmp/got.json" >/dev/null ||
    fail "$key is $(jq ".$key" "$tmp/got.json"), expected $(jq ".$key" "$golden")"
done
same tokens "$(jq .tokens "$tmp/got.json")" "$(jq .tokens "$golden")"

# a model against itself
kld "$petit" --kld "$petit" | jq -e '.kld == 0 and .kld_max == 0 and .top1 == 1 and .ppl_ratio == 1' >/dev/null ||
  fail "a model differs from itself"

# gates: all are reported; one that does not hold gives exit code 3 and is named
rc=0
kld "$tmp/hf" --kld "$petit" --gate 'top1>0.1' --gate 'kld<0' >"$tmp/got.json" 2>"$tmp/err" || rc=$?
same "exit code" "$rc" 3
jq -e '.gates == {"top1>0.1": true, "kld<0": false}' "$tmp/got.json" >/dev/null || fail "gates"
grep -q 'kld<0 (is' "$tmp/err" || fail "the gate is not named"
kld "$tmp/hf" --kld "$petit" --gate 'kld < 1000' >/dev/null || fail "a gate that holds"
for bad in 'kld' 'kld=1' '<3' 'kld<' 'kld<x' 'nothing<1'; do
  rc=0
  kld "$tmp/hf" --kld "$petit" --gate "$bad" >/dev/null 2>&1 || rc=$?
  same "exit code of --gate '$bad'" "$rc" 2
done
rc=0
"$MTK" eval "$petit" --kld "$petit" >/dev/null 2>"$tmp/err" || rc=$?
same "without --text" "$rc $(grep -c -- --text "$tmp/err")" "2 1"
echo "kld: ok"
