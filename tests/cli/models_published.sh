#!/bin/bash
# Published GGUF files (scripts/fetch-model.sh) against llama.cpp: token ids and perplexity within
# 0.5 % on the same file and text (golden of tests/oracle/make_published_golden.py); the instruct
# models answer a chat. Weights are in memory once: packed where they are read, the file's pages given back.
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
need_data text/wiki.test.raw
golden="$MTK_SRC/tests/golden/published.json"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mtk"
seen=0

# once_in_memory NAME FILE: the most memory of a process that loads the model and computes a few tokens
once_in_memory() {
  echo '{"ids": [3, 40, 77]}' >"$tmp/ids.jsonl"
  python3 - "$MTK" eval "$2" --score "$tmp/ids.jsonl" -q -c 64 <<'PY' || fail "$1: weights are in memory twice"
import os, resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
size, peak = os.path.getsize(sys.argv[3]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(f"peak {peak / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB")
sys.exit(peak > 1.3 * size + 80e6)
PY
}

# published NAME FILE QUESTION ANSWER: ids, perplexity, and (QUESTION not empty) a chat
published() {
  local name="$1" model="$cache/$2" question="$3" answer="$4"
  if [ ! -f "$model" ]; then
    echo "SKIP $name: no $model; scripts/fetch-model.sh $name fetches it"
    return
  fi
  seen=$((seen + 1))
  "$MTK" tokenize "$model" --file "$data/text/wiki.test.raw" --json >"$tmp/ids.json"
  jq -e --slurpfile g "$golden" --arg n "$name" \
    '$g[0][$n] as $g | (.ids | length) == $g.n_ids and .ids[:64] == $g.first_ids' \
    "$tmp/ids.json" >/dev/null || fail "$name: ids differ from llama.cpp's"
  once_in_memory "$name" "$model"
  "$MTK" eval "$model" --ppl "$data/text/wiki.test.raw" --ctx 512 --chunks 5 --json -q >"$tmp/ppl.json"
  jq -r --slurpfile g "$golden" --arg n "$name" \
    '"\($n): perplexity \(.ppl) (llama.cpp \($g[0][$n].ppl)), \(.seconds) s"' "$tmp/ppl.json"
  jq -e --slurpfile g "$golden" --arg n "$name" \
    '.chunks == 5 and (.ppl / $g[0][$n].ppl - 1 | fabs) < 0.005' "$tmp/ppl.json" >/dev/null ||
    fail "$name: perplexity is off by more than 0.5 %"
  [ -n "$question" ] || return 0
  "$MTK" run "$model" -p "$question" -n 24 --temperature 0 -q >"$tmp/answer"
  grep -q "$answer" "$tmp/answer" || fail "$name: answered '$(cat "$tmp/answer")'"
}

france="What is the capital of France?"
published smollm2 smollm2/SmolLM2-135M-Instruct.Q4_1.gguf "What color is the sky?" blue
published qwen qwen/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf "$france" Paris
published gemma3 gemma3/gemma-3-270m.Q4_K_M.gguf "" ""
[ "$seen" -gt 0 ] || skip "no published model in $cache"
echo "published models: $seen checked"
