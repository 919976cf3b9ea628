#!/bin/bash
# The whole chain on SmolLM2: inspect, convert, quantize, evaluate, a short LoRA fine-tune, generate with the
# adapter, merge it, serve the result and chat with it.
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
need_smollm2
need_data sft/synthetic_conversations_1k.jsonl
cd "$tmp"

step() { echo "-- $*"; }

step inspect
"$MTK" inspect "$smol" --json -q >inspect.json
same "architecture" "$(jq -r .architecture inspect.json)" llama
same "parameters" "$(jq -r .parameters inspect.json)" 134515008

step "convert GGUF -> HF bf16"
"$MTK" convert "$smol" bf16 --dtype bf16 --json -q >convert.json
jq -r '"\(.output_bytes) bytes in \(.seconds) s, peak \(.peak_rss_bytes) bytes"' convert.json
jq -e '.peak_rss_bytes < 150e6' convert.json >/dev/null || fail "memory grows with the model"

step "quantize to nvfp4"
"$MTK" quantize bf16 nvfp4.gguf --to nvfp4 --json -q >quantize.json
jq -r '"\(.output_bytes) bytes in \(.seconds) s, peak \(.peak_rss_bytes) bytes"' quantize.json

step "evaluate before and after"
text='{"text": "The quick brown fox jumps over the lazy dog. Paris is the capital of France."}'
before=$("$MTK" eval bf16 --score - --json -q <<<"$text" | jq .nll_per_token)
after=$("$MTK" eval nvfp4.gguf --score - --json -q <<<"$text" | jq .nll_per_token)
echo "nll per token $before, nvfp4 $after"
jq -ne "$before < 3.5 and $after < 1.3 * $before" >/dev/null || fail "the quantized model is broken"

step "fine-tune"
head -n 40 "$data/sft/synthetic_conversations_1k.jsonl" >train.jsonl
"$MTK" finetune bf16 --data train.jsonl --out adapter --steps 3 --rank 8 --lr 1e-3 --warmup 1 \
  --batch-tokens 400 --log-every 1 --json -q >train.json
jq -c 'select(.event == "step") | {step, loss}' train.json
losses=$(jq -c 'select(.event == "step") | .loss' train.json | jq -sc 'length == 3 and all(. > 0 and . < 10)')
same "three losses" "$losses" true

step "run with the adapter"
for options in "" "--adapter adapter"; do
  # shellcheck disable=SC2086
  "$MTK" run bf16 -p "What is the capital of France?" -n 12 --json -q $options | jq -r .text
done
# Dropped on the quantized model it works as well.
"$MTK" run nvfp4.gguf -p "What is the capital of France?" -n 12 --json -q --adapter adapter | jq -r .text
head -n 41 "$data/sft/synthetic_conversations_1k.jsonl" | tail -n 1 | jq -c '{text: .messages[1].content}' >score.jsonl
mean() { "$MTK" eval "$@" --score score.jsonl --json -q | jq .nll_per_token; }
base=$(mean bf16) tuned=$(mean bf16 --adapter adapter)

step "merge"
"$MTK" convert bf16 merged --adapter adapter -q >/dev/null
merged=$(mean merged)
echo "nll per token: base $base, with adapter $tuned, merged to bf16 $merged"
jq -ne "$base != $tuned and ($merged - $tuned | fabs) < 0.02 * $tuned" >/dev/null || fail "the merge differs"

step "serve and chat"
coproc server { exec "$MTK" serve merged --listen 127.0.0.1:0 --context 256 --json -q; }
# shellcheck disable=SC2154 # set by coproc
pid=$server_PID
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$tmp"' EXIT
read -r ready <&"${server[0]}"
port=$(jq -rn --argjson r "$ready" '$r.url // $r.address // $r.listen' | sed 's/.*://; s/[^0-9].*//')
chat='{"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0, "max_tokens": 12}'
curl -sSf "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' -d "$chat" >chat.json
answer=$(jq -r '.choices[0].message.content' chat.json)
echo "$answer"
same "the server's answer and mtk run's" "$answer" \
  "$("$MTK" run merged -p "What is the capital of France?" -n 12 --json -q --context 256 | jq -r .text)"
kill -TERM "$pid"
wait "$pid" || fail "the server ended with $?"
echo "chain: ok"
