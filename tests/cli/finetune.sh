#!/usr/bin/env bash
# Training takes sequences of any length that --max-len admits, whatever the vocabulary and
# --micro-tokens: with the same result.
source "$(dirname "$0")/_common.sh"

petit="$MTK_SRC/examples/petit/model"
jq '.hidden_size = 16 | .head_dim = 8 | .num_attention_heads = 2 | .num_key_value_heads = 1 |
  .intermediate_size = 32 | .num_hidden_layers = 1 | .vocab_size = 65536 |
  .max_position_embeddings = 8192' "$petit/config.json" >config.json
python3 - <<'EOF' >long.jsonl
import json
for n in (5000, 1500, 30):
    print(json.dumps({"ids": [i * 7919 % 65536 for i in range(n)], "mask": [1] + [0] * (n - 2) + [1]}))
EOF
train() { # OUT OPTIONS...
  run_quiet 0 "$MTK" finetune "$petit" --init config.json --data long.jsonl --steps 1 \
    --adapter none --save-every 0 -q --json --out "$@"
}
train a
grep -q '"truncated":1' out || fail "5000 tokens are not cut at 2048: $(head -1 out)"
train b --micro-tokens 1
cmp a/model.safetensors b/model.safetensors || fail "--micro-tokens changes the result"
train c --max-len 8192 --eval-data long.jsonl
grep -q '"truncated":0' out || fail "5000 tokens are cut at 8192: $(head -1 out)"
