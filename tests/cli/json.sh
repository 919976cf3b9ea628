#!/usr/bin/env bash
# --json: stdout holds one JSON document, or JSON lines where a command reports as it goes, and
# nothing else; --quiet leaves stderr empty.
. "${BASH_SOURCE[0]%/*}/_common.sh"
make_model
make_data train.jsonl 20
echo '[{"role": "user", "content": "x"}]' >chat.json
python3 "$MTK_SRC/examples/petit/generate.py" eval --per-cell 1 --out task.jsonl >/dev/null
head -n 3 task.jsonl >few.jsonl
mv few.jsonl task.jsonl
echo '{"text": "How much is 2+3?"}' >score.jsonl

one() { # COMMAND...: one document
  run_quiet 0 "$MTK" "$@" --json --quiet
  is_json out || fail "not one JSON document: mtk $*: $(head -c 500 out)"
  [ ! -s err ] || fail "mtk $* --quiet wrote to stderr: $(cat err)"
}
lines() { # COMMAND...: JSON lines
  run_quiet 0 "$MTK" "$@" --json --quiet
  [ -s out ] || fail "mtk $* printed nothing"
  is_json_lines out || fail "not JSON lines: mtk $*: $(head -c 500 out)"
  [ ! -s err ] || fail "mtk $* --quiet wrote to stderr: $(cat err)"
}

one doctor
one plugin list
one plugin info gguf
one convert --list
one quantize --list
one inspect model
one inspect model --tensors
one convert model c.gguf
one inspect c.gguf --tensors
one quantize model q.gguf --to q4_0
one quantize model dry.gguf --to nvfp4 --dry-run
one run model -p "2+3" -n 8
one run c.gguf --raw "2+3" -n 8 --temperature 1 --seed 4
one tokenize model --text "2+3 é"
one eval model --ppl train.jsonl --ctx 64 --chunks 2
one bench model -p 16 -n 4 -t 1
lines eval model --score score.jsonl
one eval model --task task.jsonl
lines finetune model --data train.jsonl --out a --steps 2 --batch-tokens 300 --rank 2
run_quiet 0 "$MTK" run model -p x -n 4 --adapter a --json -q
is_json out
python3 - out <<'PY' || fail "run --json lacks fields"
import json, sys
d = json.load(open(sys.argv[1]))
assert isinstance(d["prompt_ids"], list) and len(d["generated_ids"]) <= 4, d
assert isinstance(d["text"], str) and d["finish_reason"] in ("stop", "length"), d
assert {"prompt_s", "generation_s"} <= set(d["timings"]), d
PY
# An error is a line on stderr, and stdout stays empty.
run_quiet 1 "$MTK" inspect missing --json
[ ! -s out ] || fail "an error wrote to stdout: $(cat out)"
echo "json: every document parses"
