#!/bin/bash
# stories260K, a trained 260,000 parameter model: greedy text, NLL of given texts, and conversions, against
# figures computed in double precision by another program (MTK_TEST_DATA/models).
set -euo pipefail
source "$MTK_SRC/tests/cli/_models.sh"
need_data models/stories260K-hf models/stories260K.greedy.json models/stories260K.nll.json
model="$data/models/stories260K-hf"

# Greedy generation gives the same 200 ids.
"$MTK" run "$model" --ids 1 -n 200 --ignore-eos --json -q >"$tmp/run.json"
same "greedy ids" "$(jq -c '.prompt_ids + .generated_ids' "$tmp/run.json")" \
  "$(jq -c .token_ids "$data/models/stories260K.greedy.json")"

# NLL of each token. The file has five decimals: half a unit of the last one is added to the bound, and
# below 1 the bound is absolute. The mean shows that the rest is rounding.
jq -c '.cases[] | {ids: .token_ids}' "$data/models/stories260K.nll.json" >"$tmp/ids.jsonl"
"$MTK" eval "$model" --score "$tmp/ids.jsonl" --json -q >"$tmp/hf.jsonl"
python3 - "$tmp/hf.jsonl" "$data/models/stories260K.nll.json" <<'EOF'
import json, sys
got = [json.loads(line) for line in open(sys.argv[1])]
want = json.load(open(sys.argv[2]))["cases"]
assert len(got) == len(want) == 3
for g, w in zip(got, want):
    assert len(g["token_nll"]) == len(w["nll"]) == g["n_tokens"]
    worst = max((abs(a - b) - 0.5e-5) / max(b, 1) for a, b in zip(g["token_nll"], w["nll"]))
    mean = abs(g["nll_per_token"] / (sum(w["nll"]) / len(w["nll"])) - 1)
    print(f"{g['n_tokens']} tokens: largest difference {worst:.2e}, of the mean {mean:.2e}")
    assert worst <= 1e-5 and mean <= 1e-6
EOF

# HF -> GGUF: the same logits, bit for bit; -> HF: the same tensors, byte for byte.
"$MTK" convert "$model" "$tmp/a.gguf" -q --json >"$tmp/convert.json"
same "warnings" "$(jq -c .warnings "$tmp/convert.json")" "[]"
"$MTK" convert "$tmp/a.gguf" "$tmp/back" -q >/dev/null
for other in a.gguf back; do
  "$MTK" eval "$tmp/$other" --score "$tmp/ids.jsonl" --json -q >"$tmp/other.jsonl"
  cmp "$tmp/hf.jsonl" "$tmp/other.jsonl" || fail "$other gives other logits"
done
tensor_sums "$model" >"$tmp/sums.hf"
tensor_sums "$tmp/back" >"$tmp/sums.back"
diff "$tmp/sums.hf" "$tmp/sums.back" || fail "HF -> GGUF -> HF changed tensors"
same "config.json" "$(jq -Sc . "$tmp/back/config.json")" "$(jq -Sc . "$model/config.json")"

# A second time the same bytes.
"$MTK" convert "$model" "$tmp/b.gguf" -q -t 1 >/dev/null
cmp "$tmp/a.gguf" "$tmp/b.gguf" || fail "two conversions differ"
echo "stories260K: ok"
