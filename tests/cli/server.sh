#!/usr/bin/env bash
# mtk serve: answers, streams, sampling, errors, hostile input, many clients at once, clients that
# leave, keys, stopping. With curl here; the rest in server.py.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
make_data train.jsonl 20
"$MTK" finetune model --data train.jsonl --out adapter --steps 2 --lr 0.1 --warmup 1 --rank 2 \
  --batch-tokens 300 -q >/dev/null

if command -v curl >/dev/null; then
  coproc server { exec "$MTK" serve model --listen 127.0.0.1:0 --json -q; }
  read -r ready <&"${server[0]}"
  port="${ready##*:}"
  port="${port%%\"*}"
  curl -sSf "http://127.0.0.1:$port/v1/models" >out
  is_json out
  curl -sSfN "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "2+3"}], "stream": true, "max_tokens": 20}' >out
  grep -qx 'data: \[DONE\]' out || fail "no end of the stream: $(cat out)"
  # shellcheck disable=SC2154 # set by coproc
  kill -TERM "$server_PID"
  wait "$server_PID" || fail "the server ended with $?"
else
  echo "note: no curl, its part was left out"
fi

python3 "$MTK_SRC/tests/cli/server.py" "$MTK" model adapter
