#!/bin/bash
# mtk eval --refusals: rates with their intervals against a computation of their own, the change from
# a base, gates on them, what is refused.
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
petit="$MTK_SRC/examples/petit/model"
head -n 12 "$MTK_SRC/examples/petit/demo/eval.jsonl" | jq -c '{messages: [.messages[0]]}' >"$tmp/prompts.jsonl"
jq -c '{prompt: .messages[0].content}' "$tmp/prompts.jsonl" >"$tmp/plain.jsonl"
eval_() { "$MTK" eval "$petit" --max-tokens 160 --json -q "$@"; }

# petit refuses nothing that the built-in phrases name
eval_ --refusals "$tmp/prompts.jsonl" --outputs "$tmp/answers.jsonl" >"$tmp/got.json"
jq -e '.refusals == 0 and .refusals_low == 0 and .refusal_prompts == 12' "$tmp/got.json" >/dev/null ||
  fail "refusals: $(cat "$tmp/got.json")"
jq -e '.refusals_high - 0.24250 | fabs < 1e-4' "$tmp/got.json" >/dev/null || fail "interval of 0 of 12"
same "answers" "$(jq -s length "$tmp/answers.jsonl")" 12
jq -e '.answer.text | length > 0' "$tmp/answers.jsonl" >/dev/null || fail "answers are empty"
eval_ --refusals "$tmp/plain.jsonl" | jq -e --slurpfile w "$tmp/got.json" '. == $w[0]' >/dev/null ||
  fail "a prompt is not a message of the user"

# phrases of one's own; case and comments do not matter
# (what comes from reasoning alone does not count)
phrase='La Risposta è \boxed{1'
printf '# La\nriporto\n%s\r\n\n' "$phrase" >"$tmp/phrases"
want=$(jq -s --arg p "$phrase" '[.[].answer.text | split("[/THINK]") | select(length > 1) | .[1] | ascii_downcase |
  select(contains($p | ascii_downcase))] | length' "$tmp/answers.jsonl")
[ "$want" -gt 0 ] && [ "$want" -lt 12 ] || fail "$want of 12 answers hold '$phrase'"
jq -e -s 'any(.answer.text | contains("riporto"))' "$tmp/answers.jsonl" >/dev/null || fail "no answer reasons"
eval_ --refusals "$tmp/prompts.jsonl" --refusal-phrases "$tmp/phrases" >"$tmp/got.json"
python3 - "$tmp/got.json" "$want" 12 <<'PY' || fail "rate and interval: $(cat "$tmp/got.json"), expected $want of 12"
import json, math, sys
got, k, n = json.load(open(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
p, z = k / n, 1.96
centre = (p + z * z / (2 * n)) / (1 + z * z / n)
half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
wanted = {"refusals": p, "refusals_low": max(centre - half, 0), "refusals_high": min(centre + half, 1)}
for key, want in wanted.items():
    if abs(got[key] - want) > 1e-9:
        sys.exit(1)
PY

# beside a base: a model against itself changes nothing; with --text also the divergence
jq -r '.messages[].content' "$MTK_SRC/examples/petit/demo/eval.jsonl" | head -c 4000 >"$tmp/text"
eval_ --refusals "$tmp/prompts.jsonl" --kld "$petit" --text "$tmp/text" --ctx 128 --chunks 2 \
  --refusal-phrases "$tmp/phrases" --gate 'refusal-change<0.05' --gate 'kld<0.05' --gate 'refusals<=1' >"$tmp/got.json"
jq -e '.refusals == .base_refusals and .refusal_change == 0 and .refusal_change_error == 0 and .kld == 0 and
  .gates == {"refusal-change<0.05": true, "kld<0.05": true, "refusals<=1": true}' "$tmp/got.json" >/dev/null ||
  fail "beside itself: $(cat "$tmp/got.json")"
rc=0
eval_ --refusals "$tmp/prompts.jsonl" --refusal-phrases "$tmp/phrases" --gate 'refusals<0' --gate 'refusals<2' \
  >"$tmp/got.json" 2>"$tmp/err" || rc=$?
same "exit code of a gate that does not hold" "$rc" 3
grep -q 'refusals<0 (is' "$tmp/err" || fail "the gate is not named: $(cat "$tmp/err")"
jq -e '.gates["refusals<2"]' "$tmp/got.json" >/dev/null || fail "the report is not there"

# beside a base that answers otherwise
"$MTK" quantize "$petit" "$tmp/broken.gguf" --to q2_0 -q >/dev/null
"$MTK" eval "$tmp/broken.gguf" --max-tokens 160 --json -q --refusals "$tmp/prompts.jsonl" --kld "$petit" \
  --refusal-phrases "$tmp/phrases" --outputs "$tmp/both.jsonl" >"$tmp/got.json"
python3 - "$tmp/got.json" "$tmp/both.jsonl" <<'PY' || fail "change: $(cat "$tmp/got.json")"
import json, math, sys
got = json.load(open(sys.argv[1]))
rows = [json.loads(line) for line in open(sys.argv[2])]
more = sum(r["answer"]["refuses"] and not r["base_answer"]["refuses"] for r in rows)
fewer = sum(r["base_answer"]["refuses"] and not r["answer"]["refuses"] for r in rows)
n = len(rows)
error = 1.96 * math.sqrt(more + fewer - (more - fewer) ** 2 / n) / n
ok = abs(got["refusal_change"] - abs(more - fewer) / n) < 1e-9 and abs(got["refusal_change_error"] - error) < 1e-9
sys.exit(0 if ok and fewer > 0 else 1)
PY

# an adapter is the model's: the base answers without it
python3 "$MTK_SRC/examples/petit/generate.py" train --count 20 --seed 1 --out "$tmp/train.jsonl" >/dev/null
"$MTK" finetune "$petit" --data "$tmp/train.jsonl" --out "$tmp/adapter" --steps 2 --lr 0.1 --warmup 1 --rank 2 \
  --batch-tokens 300 -q >/dev/null
head -n 4 "$tmp/prompts.jsonl" >"$tmp/few.jsonl"
eval_ --refusals "$tmp/few.jsonl" --kld "$petit" --text "$tmp/text" --ctx 128 --chunks 1 --adapter "$tmp/adapter" \
  --outputs "$tmp/tuned.jsonl" | jq -e '.kld > 0' >/dev/null || fail "the adapter changes no distribution"
same "answers of the base beside an adapter" "$(jq -c .base_answer.text "$tmp/tuned.jsonl")" \
  "$(head -n 4 "$tmp/answers.jsonl" | jq -c .answer.text)"
jq -e -s 'any(.answer.text != .base_answer.text)' "$tmp/tuned.jsonl" >/dev/null || fail "the adapter changes no answer"

# what goes wrong: one line each
wrong() { # EXPECTED_CODE TEXT ARGUMENT...
  local code=0 want="$1" text="$2"
  shift 2
  eval_ "$@" >/dev/null 2>"$tmp/err" || code=$?
  same "exit code of $*" "$code" "$want"
  grep -q -- "$text" "$tmp/err" || fail "$*: $(cat "$tmp/err")"
  same "lines on stderr of $*" "$(wc -l <"$tmp/err")" 1
}
: >"$tmp/empty"
echo '{"question": "?"}' >"$tmp/other.jsonl"
wrong 1 "no such file" --refusals "$tmp/nothing"
wrong 1 "holds no prompts" --refusals "$tmp/empty"
wrong 1 "line 1.*needs \"prompt\"" --refusals "$tmp/other.jsonl"
wrong 1 "holds no phrases" --refusals "$tmp/prompts.jsonl" --refusal-phrases "$tmp/empty"
wrong 2 "no number 'refusal_change', but: refusal_prompts, refusals" --refusals "$tmp/prompts.jsonl" \
  --gate 'refusal-change<1'
wrong 2 "is not like" --refusals "$tmp/prompts.jsonl" --gate 'refusals<nan'
wrong 2 "alone or with --kld" --refusals "$tmp/prompts.jsonl" --ppl "$tmp/text"
echo "refusals: ok"
