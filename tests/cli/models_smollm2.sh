#!/bin/bash
# SmolLM2-135M-Instruct: token ids against the `tokenizers` package, chat prompts against jinja2 (golden files
# of tests/oracle/make_smollm2_golden.py), perplexity against llama.cpp.
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
need_smollm2
golden="$MTK_SRC/tests/golden"

# ids NAME MODEL FIELD OPTION...: the ids of all golden texts
ids() {
  local name="$1" model="$2" field="$3"
  shift 3
  jq -c .text "$golden/smollm2_tokens.jsonl" |
    "$MTK" tokenize "$model" --batch --no-bos "$@" | jq -c .ids >"$tmp/got"
  diff "$tmp/got" <(jq -c ".$field" "$golden/smollm2_tokens.jsonl") || fail "$name"
}
same "golden strings" "$(grep -c . "$golden/smollm2_tokens.jsonl")" 200
ids "ids" "$smol" ids
ids "ids with control tokens" "$smol" special_ids --special
jq -c .ids "$golden/smollm2_tokens.jsonl" | "$MTK" tokenize "$smol" --batch --decode --special | jq -c .text |
  diff - <(jq -c .decoded "$golden/smollm2_tokens.jsonl") || fail "decoded text"

# The tokenizer.json that mtk writes from the GGUF says the same.
"$MTK" convert "$smol" "$tmp/hf" --dtype bf16 -q --json >"$tmp/convert.json"
ids "ids of the written tokenizer.json" "$tmp/hf/tokenizer.json" ids
ids "control tokens of the written tokenizer.json" "$tmp/hf" special_ids --special

# Chats, by the GGUF's template and by the converted folder's.
n=0
while read -r row; do
  jq -c '{messages}' <<<"$row" >"$tmp/chat.json"
  options=(--messages "$tmp/chat.json")
  [ "$(jq .add_generation_prompt <<<"$row")" = true ] || options+=(--no-generation-prompt)
  for model in "$smol" "$tmp/hf"; do
    "$MTK" template "$model" "${options[@]}" >"$tmp/got"
    jq -j .text <<<"$row" | cmp - "$tmp/got" || fail "chat $n of $model"
    same "ids of chat $n" "$("$MTK" template "$model" "${options[@]}" --ids)" \
      "$(jq -r '.ids | map(tostring) | join(" ")' <<<"$row")"
  done
  n=$((n + 1))
done <"$golden/smollm2_chats.jsonl"
same "golden chats" "$n" 20

# Perplexity: within 0.5 % of llama.cpp's on the same file and text.
if [ -f "${MTK_TEST_DATA:-}/text/wiki.test.raw" ]; then
  "$MTK" eval "$smol" --ppl "$MTK_TEST_DATA/text/wiki.test.raw" --chunks 20 --json -q >"$tmp/ppl.json"
  jq -r '"perplexity \(.ppl) over \(.tokens) tokens in \(.seconds) s (llama.cpp 28.71)"' "$tmp/ppl.json"
  jq -e '.chunks == 20 and (.ppl / 28.71 - 1 | fabs) < 0.005' "$tmp/ppl.json" >/dev/null ||
    fail "perplexity is off by more than 0.5 %"
else
  echo "SKIP perplexity: MTK_TEST_DATA has no text/wiki.test.raw"
fi
echo "SmolLM2: ok"
