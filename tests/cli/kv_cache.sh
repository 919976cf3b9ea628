#!/usr/bin/env bash
# --kv-cache: with every storage type of keys and values, logits do not depend on threads, chunks or
# the level of instructions; each type rounds differently; the commands that run a model take it.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
python3 - <<'EOF'
import json
ids = [3 + i * 37 % 300 for i in range(200)]
with open("ids.jsonl", "w") as f:
    for n in (200, 2, 65):
        f.write(json.dumps({"ids": ids[:n]}) + "\n")
EOF

hash_of() { # TYPE OPTION...: of the logits of each text
  run_quiet 0 "$MTK" eval model --score ids.jsonl --json -q --kv-cache "$@"
  grep -o '"logits_sha256": *"[0-9a-f]*"' out | grep -oE '[0-9a-f]{64}' | tr '\n' ' '
}
answer_of() { # TYPE OPTION...
  run_quiet 0 "$MTK" run model -p "How much is 12+34?" -n 24 --temperature 0 -q --kv-cache "$@"
  cat out
}

levels="$(levels_of "$MTK" eval model --score ids.jsonl -q)"

: >hashes
for type in f32 f16 bf16 q8_0 fp8; do
  want="$(hash_of $type -t 1)"
  for options in "-t 2" "-t 2 --batch 64" "-t 1 --batch 7" "-t 2 --batch 1"; do
    read -ra words <<<"$options"
    [ "$(hash_of $type "${words[@]}")" = "$want" ] || fail "$type: other logits with $options"
  done
  for level in $levels; do
    got="$(MTK_CPU=$level hash_of $type -t 2 --batch 64)"
    [ "$got" = "$want" ] || fail "$type: other logits with MTK_CPU=$level"
  done
  [ "$(answer_of $type -t 1)" = "$(answer_of $type -t 2 --batch 3)" ] ||
    fail "$type: another answer with two threads and chunks of 3"
  echo "$want" >>hashes
done
[ "$(sort -u hashes | wc -l)" -eq 5 ] || fail "two types give the same logits: $(cat hashes)"
run_quiet 0 "$MTK" eval model --score ids.jsonl --json -q
grep -q "$(head -c 64 hashes)" out || fail "f32 is not the default"

for c in "run model -p x" "eval model --score ids.jsonl" "bench model -p 8 -n 2" "serve model" \
  "embed model x"; do
  read -ra words <<<"$c"
  refuses 2 "kv-cache.*f32.f16.bf16.q8_0.fp8" "$MTK" "${words[@]}" --kv-cache q4_0
done
run_quiet 0 "$MTK" bench model -p 8 -n 2 -r 1 -t 1 --kv-cache q8_0
echo "every cache gives the same logits however they are computed"
