#!/usr/bin/env bash
# demo.sh: the whole chain on petit: inspect, convert, quantize, evaluate, fine-tune, serve, chat.
# usage: demo.sh [MTK-BINARY]; writes below a temporary folder and removes it.
# ./build.sh demo calls it.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
mtk="${1:-$here/../../build/release/bin/mtk}"
model="$here/model"
work="$(mktemp -d)"
server_pid=""

cleanup() {
  if [ -n "$server_pid" ]; then kill "$server_pid" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

rows=()
started=0
# begin TITLE: announce a step. done_row NAME RESULT: remember it for the table.
begin() {
  printf '\n== %s\n' "$1"
  started=$(date +%s%N)
}
done_row() {
  local ms=$((($(date +%s%N) - started) / 1000000))
  rows+=("$(printf '%-34s %7d.%03d s   %s' "$1" $((ms / 1000)) $((ms % 1000)) "$2")")
}
size() { du -sb "$1" | awk '{printf "%.2f MB", $1 / 1e6}'; }
accuracy() { jq -r '"\(.correct) of \(.total) exact (\(.accuracy * 1000 | round / 10) %)"' "$1"; }

begin "inspect: what is in the folder"
"$mtk" inspect "$model"
done_row "inspect" "$(size "$model/model.safetensors")"

begin "convert: Hugging Face folder -> GGUF"
"$mtk" convert "$model" "$work/petit.gguf"
done_row "convert HF -> GGUF" "$(size "$work/petit.gguf")"

begin "quantize: linear weights -> NVFP4"
"$mtk" quantize "$work/petit.gguf" "$work/petit-nvfp4.gguf" --to nvfp4
done_row "quantize to NVFP4" "$(size "$work/petit-nvfp4.gguf")"

for kind in petit petit-nvfp4; do
  begin "evaluate: $kind on 70 held-out questions in five languages"
  "$mtk" eval "$work/$kind.gguf" --task "$here/demo/questions.jsonl" --json -q >"$work/$kind.json"
  accuracy "$work/$kind.json"
  done_row "evaluate $kind" "$(accuracy "$work/$kind.json")"
done

begin "fine-tune: teach it additions in Portuguese (LoRA)"
"$mtk" eval "$model" --task "$here/demo/eval.jsonl" --json -q >"$work/pt-before.json"
"$mtk" finetune "$model" --data "$here/demo/train.jsonl" --out "$work/portuguese" \
  --rank 16 --alpha 32 --lr 3e-3 --epochs 6 --batch-tokens 1024 --warmup 5 --log-every 20 -q
done_row "LoRA fine-tune" "$(size "$work/portuguese") adapter"

begin "evaluate: Portuguese before and after"
"$mtk" eval "$model" --adapter "$work/portuguese" --task "$here/demo/eval.jsonl" --json -q \
  >"$work/pt-after.json"
echo "before: $(accuracy "$work/pt-before.json")"
echo "after:  $(accuracy "$work/pt-after.json")"
done_row "evaluate with the adapter" \
  "$(accuracy "$work/pt-before.json") -> $(accuracy "$work/pt-after.json")"

begin "serve: the model and the adapter on a free port"
"$mtk" serve "$model" --name petit --adapter "portuguese=$work/portuguese" \
  --listen 127.0.0.1:0 >"$work/server.out" 2>"$work/server.err" &
server_pid=$!
until grep -q listening "$work/server.out"; do
  kill -0 "$server_pid" || { cat "$work/server.err"; exit 1; }
  read -r -t 0.05 _ <> <(:) || true
done
url="$(sed -n 's/^listening on //p' "$work/server.out")"
curl -sf "$url/health" | jq -c .
done_row "start the server" "$url"

# ask MODEL QUESTION: one streamed answer; the reasoning as it comes, then the answer on its own line.
ask() {
  printf '\n%s> %s\n' "$1" "$2"
  jq -nc --arg model "$1" --arg q "$2" \
    '{model: $model, stream: true, temperature: 0, messages: [{role: "user", content: $q}]}' |
    curl -sfN "$url/v1/chat/completions" -H 'Content-Type: application/json' -d @- |
    sed -un 's/^data: {/{/p' |
    jq -nj --unbuffered '"  thinks: ", foreach (inputs | .choices[0].delta) as $d (0;
        if ($d.content // "") != "" then . + 1 else . end;
        ($d.reasoning_content // ""), (if . == 1 then "\n  answers: " else "" end),
        ($d.content // ""))'
  echo
}
begin "chat: streamed answers with visible reasoning"
ask petit "Combien font 348 plus 275 ?"
ask petit "Wie oft kommt der Buchstabe \"n\" in \"banane\" vor?"
ask portuguese "Quanto é 348 mais 275?"
done_row "three streamed answers" ""

begin "stop: SIGTERM, the server drains"
kill -TERM "$server_pid"
wait "$server_pid" || true
server_pid=""
done_row "stop" ""

printf '\n%-34s %11s   %s\n' "step" "time" "result"
printf '%s\n' "${rows[@]}"
