#!/bin/bash
# mtk bench: random weights in the shape of a config.json, the fields of its report, the same logits for every thread
# count, level of instructions and number of runs, comparison with an earlier report, wrong input. Nothing is timed.
set -euo pipefail
source "$MTK_SRC/tests/cli/_common.sh"

cat >tiny.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4,
 "num_key_value_heads": 2, "num_hidden_layers": 3, "vocab_size": 320, "max_position_embeddings": 256,
 "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": false}
JSON

# check FILE EXPRESSION: the expression holds for the report r (and its first run r0)
check() {
  python3 - "$1" "$2" <<'PY' || fail "$1: not $2"
import json, math, sys
r = json.load(open(sys.argv[1]))
r0 = r["runs"][0]
hashes = [run["logits_sha256"] for run in r["runs"]]
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)
PY
}

shape() { # OUT TYPE [OPTION...]
  local out="$1" type="$2"
  shift 2
  run_quiet 0 "$MTK" bench --shape tiny.json --dtype "$type" -p 9 -n 3 -r 1 --no-limits --json "$@"
  cp out "$out"
}

# ---- fields --------------------------------------------------------------------------------------
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -p 7,20 -n 3 -s 1,3 -t 1,2 -r 1 --per-op --json -q
cp out all.json
[ ! -s err ] || fail "stderr: $(cat err)"
check all.json 'r["report"] == "mtk bench 1" and len(r["runs"]) == 8 and len(r["limits"]) == 2'
# Getting ready begins before the model is opened.
check all.json '[x["threads"] for x in r["loads"]] == [1, 2] and
 all(x["seconds"] > x["open_seconds"] > 0 for x in r["loads"])'
check all.json 'r["settings"] == {"model": "tiny.json", "arch": "llama", "activations": "default", "kv_cache": "f32",
 "dtype": "q8_0", "seed": 1, "layers": 3, "layers_of_shape": 3}'
check all.json 'all(l[k] > 0 for l in r["limits"] for k in
 ("memory_gb_per_s", "read_gb_per_s", "a32_gops", "a16_gops", "a8_gops"))'
check all.json '[(x["threads"], x["prompt_tokens"], x["sequences"]) for x in r["runs"]] ==
 [(t, p, s) for t in (1, 2) for p in (7, 20) for s in (1, 3)]'
check all.json 'all(x[k] > 0 and math.isfinite(x[k]) for x in r["runs"] for k in
 ("prompt_tokens_per_s", "generated_tokens_per_s", "weights_gb_per_s"))'
check all.json 'all(x[p][k] > 0 for x in r["runs"] for p in ("prompt", "generate") for k in
 ("seconds", "gops", "gb_per_s", "of_compute_peak", "of_read_peak"))'
# Only weights and cached keys are read from memory.
check all.json 'all((o["of_read_peak"] is not None) == (o["op"] in ("linear", "attention"))
 for o in r0["prompt"]["per_op"] + r0["generate"]["per_op"])'
# Work is counted exactly: rows of logits x head, and 3 layers of q for every prompt token.
check all.json '[(o["n"], o["k"], o["calls"]) for o in r0["prompt"]["per_op"] if o["op"] == "linear"] ==
 [(256, 256, 6), (128, 256, 6), (512, 256, 6), (256, 512, 3), (320, 256, 1)]'
check all.json 'abs(sum(o["share"] for o in r0["generate"]["per_op"]) - 1) < 1e-9'
check all.json 'all(o["type"] == "q8_0" and o["arith"] == "a8" for o in r0["prompt"]["per_op"] if o["op"] == "linear")'
check all.json 'hashes[:4] == hashes[4:] and len(set(hashes)) == 4'
# Behind 4 tokens a prompt of 5 ends like one of 9, and its attention sees 4 x 5 keys more than one of 5.
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -d 0,4 -p 9,5 -n 3 -r 1 --no-limits --per-op --json
check out '[(x["depth"], x["prompt_tokens"]) for x in r["runs"]] == [(0, 9), (0, 5), (4, 9), (4, 5)]'
check out 'hashes[0] == hashes[3] and len(set(hashes)) == 3'
check out '(lambda a: abs(a[3] / a[1] - (4 * 5 + 15) / 15) < 1e-9)([o["gops"] * o["ms"] for x in r["runs"]
 for o in x["prompt"]["per_op"] if o["op"] == "attention"])' || fail "attention: $(cat out)"
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -d 4 -p 7 -n 3 -r 1 --per-op
grep -q 'behind 4 tokens, prompt 7:' out || fail "no depth: $(cat out)"
grep -Eq '^limits of .*GB/s read' out || fail "no limits: $(cat out)"
grep -Eq 'linear 512 x 256, q8_0 in a8' out || fail "no table of ops: $(cat out)"

# Windows in a ring of 64 positions: each pass comes back to a depth that the one before has overwritten.
sed 's/Llama/Mistral/; s/"hidden_size"/"sliding_window": 16, "hidden_size"/' tiny.json >window.json
for batch in 8 256; do # 256: no ring
  run_quiet 0 "$MTK" bench --shape window.json --dtype q8_0 -d 60 -p 70 -n 2 -r 2 --no-limits --json --batch $batch -v
  cp out window-$batch.json
  [ "$(grep -c 'of 3 layers with windows the last 64 positions' err)" -eq $((batch == 8)) ] ||
    fail "the ring: $(grep engine: err)"
done
check window-8.json "r0['logits_sha256'] == json.load(open('window-256.json'))['runs'][0]['logits_sha256']"

# ---- the same logits -----------------------------------------------------------------------------
levels="$(levels_of "$MTK" bench --shape tiny.json --dtype f32 -p 1 -n 1 -r 1 --no-limits -q)"
for type in nvfp4 q4_k f32; do
  shape one.json "$type" -t 1,2
  check one.json 'len(set(hashes)) == 1'
  want="$(python3 -c 'import json; print(json.load(open("one.json"))["runs"][0]["logits_sha256"])')"
  for level in $levels; do
    MTK_CPU=$level shape level.json "$type" -q
    check level.json "r0['isa'] == '$level' and r0['logits_sha256'] == '$want' and r['limits'] == []"
  done
done
# Timed runs compute layers together and prompts of 64 tokens and more gate by gate; the one that counts ops goes node
# by node. Both are hashed: bench itself fails when they differ.
for type in bf16 q8_0; do
  run_quiet 0 "$MTK" bench --shape tiny.json --dtype $type -p 100 -n 2 -s 1,3 -t 1,2 -r 2 --no-limits --json
  check out 'len(set(hashes)) == 2 and hashes[:2] == hashes[2:]'
done
shape other.json f32 --seed 2
check other.json "r0['logits_sha256'] != '$want'"
shape fewer.json f32 --layers 2
check fewer.json "r0['logits_sha256'] != '$want'"
check fewer.json 'r["settings"]["layers"] == 2 and r["settings"]["layers_of_shape"] == 3'
make_model
run_quiet 0 "$MTK" bench model -p 16 -n 4 -r 1 -t 1 --no-limits --json
check out 'r["settings"]["model"] == "model" and "dtype" not in r["settings"]'

# ---- rows that do not fit the blocks -------------------------------------------------------------
sed 's/"hidden_size": 256/"hidden_size": 96, "head_dim": 24/' tiny.json >narrow.json
run_quiet 0 "$MTK" bench --shape narrow.json --dtype q4_k -p 4 -n 1 -r 1 --no-limits --json
grep -q 'matrices are bf16' err || fail "no word about rows that are no multiple of a block: $(cat err)"

# ---- types that are decoded when they are loaded --------------------------------------------------
shape decoded.json q4_k --activations a32
grep -q 'q4_k weights are decoded for a32 and take 7.* times their size' err || fail "no word about memory: $(cat err)"
shape packed.json q4_k
! grep -q 'times their size' err || fail "a word about memory that nothing takes: $(cat err)"

# ---- comparison ----------------------------------------------------------------------------------
shape base.json q8_0
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -p 9 -n 3 -r 1 --no-limits --json --compare base.json
check out 'r["compare"]["same_settings"] and r["compare"]["runs"][0]["same_logits"] and
 r["compare"]["runs"][0]["prompt_ratio"] > 0'
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q4_0 -p 9 -n 3 -r 1 --no-limits --compare base.json
grep -q 'different, and so are the settings' out || fail "other settings: $(cat out)"
sed 's/"logits_sha256": "./"logits_sha256": "x/' base.json >changed.json
refuses 3 'logits differ' "$MTK" bench --shape tiny.json --dtype q8_0 -p 9 -n 3 -r 1 --no-limits --compare changed.json
grep -q DIFFERENT out || fail "the table does not say so: $(cat out)"
python3 - <<'PY'
import json
r = json.load(open("base.json"))
r["runs"][0]["prompt_tokens_per_s"] *= 1e9
json.dump(r, open("fast.json", "w"))
PY
refuses 3 'a rate fell' "$MTK" bench --shape tiny.json --dtype q8_0 -p 9 -n 3 -r 1 --no-limits --compare fast.json \
  --tolerance 50
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -p 9 -n 3 -r 1 --no-limits --compare fast.json
refuses 2 'no run with these settings' "$MTK" bench --shape tiny.json -p 5 -n 1 -r 1 --no-limits --compare base.json
[ ! -s out ] || fail "measured before it was clear that there is nothing to compare with: $(cat out)"

# Runs that only one of both has are named; with --tolerance the other must have all of them.
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -p 9,8 -n 3 -r 1 --no-limits --json --compare base.json
cp out two.json
check two.json '[x["prompt_tokens"] for x in r["compare"]["runs"]] == [9] and r["compare"]["only_there"] == [] and
 [x["prompt_tokens"] for x in r["compare"]["only_here"]] == [8]'
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -p 9 -n 3 -r 1 --no-limits --compare two.json --tolerance 100
grep -q 'only there' out || fail "a run of the other report is left out without a word: $(cat out)"
refuses 3 'lacks 1 of these runs' "$MTK" bench --shape tiny.json --dtype q8_0 -p 9,8 -n 3 -r 1 --no-limits \
  --compare base.json --tolerance 100
grep -q 'only here' out || fail "a run without counterpart is left out without a word: $(cat out)"

# What else bears on logits or speed is among the settings.
run_quiet 0 "$MTK" bench --shape tiny.json --dtype q8_0 -p 9 -n 3 -r 1 --no-limits --json --batch 4 --compare base.json
check out 'not r["compare"]["same_settings"] and r["compare"]["runs"][0]["same_logits"]'
make_data sft.jsonl 4
run_quiet 0 "$MTK" finetune model --data sft.jsonl --steps 1 --adapter lora --out lora -q
run_quiet 0 "$MTK" bench model -p 16 -n 4 -r 1 -t 1 --no-limits --json
cp out plain.json
run_quiet 0 "$MTK" bench model --adapter my=lora -p 16 -n 4 -r 1 -t 1 --no-limits --json --compare plain.json
check out 'r["settings"]["adapters"] == ["lora"] and not r["compare"]["same_settings"]'

# Numbers that no run can have, and a name that is not UTF-8.
sed -E 's/"(threads|depth|prompt_tokens)": [0-9]+/"\1": 1e300/; s/tokens_per_s": [0-9.e+]+/tokens_per_s": 5e-324/' \
  base.json >foreign.json
python3 - <<'PY'
import json
foreign, base = json.load(open("foreign.json")), json.load(open("base.json"))
for run in base["runs"]:
    run["prompt_tokens_per_s"] = 5e-324
foreign["runs"] += base["runs"]
json.dump(foreign, open("foreign.json", "w"))
PY
name="$(printf 'sm\xe5.json')"
cp foreign.json "$name"
cp tiny.json "$(printf 'm\xe5.json')"
run_quiet 0 "$MTK" bench --shape "$(printf 'm\xe5.json')" --dtype q8_0 -p 9 -n 3 -r 1 --no-limits --json \
  --compare "$name"
check out 'r["settings"]["model"] == "m\ufffd.json" and r["compare"]["with"] == "sm\ufffd.json"'
check out 'len(r["compare"]["runs"]) == 1 and r["compare"]["only_there"][0]["depth"] == 1e300'

# ---- thread counts -------------------------------------------------------------------------------
run_quiet 0 "$MTK" bench --shape tiny.json -p 4 -n 1 -r 1 -t "0,2,$(nproc),2" --no-limits --json
check out '(lambda t: len(t) == len(set(t)) and 2 in t)([x["threads"] for x in r["runs"]])'

# ---- wrong input ---------------------------------------------------------------------------------
refuses 2 'MODEL or --shape' "$MTK" bench
refuses 2 'not both' "$MTK" bench model --shape tiny.json
refuses 2 'only goes with --shape' "$MTK" bench model --dtype q8_0
refuses 2 'only goes with --compare' "$MTK" bench model --tolerance 3
refuses 2 'no storage type' "$MTK" bench --shape tiny.json --dtype q9
refuses 2 'cannot have the type' "$MTK" bench --shape tiny.json --dtype i32
refuses 2 'numbers from' "$MTK" bench model -p 12,x
refuses 2 'numbers from' "$MTK" bench model -s 0
refuses 2 'do not fit the context' "$MTK" bench model -p 4 -n 4 -c 6 --no-limits
refuses 2 '5 . 2 tokens do not fit the context' "$MTK" bench model -d 4 -p 1 -n 2 -c 6 --no-limits
# Before anything is computed, whichever setting it is, and without room for that many tokens.
refuses 2 'do not fit the context' "$MTK" bench --shape tiny.json -p 4,300 -n 4 -t 1 -r 1
[ ! -s out ] || fail "measured before the context was compared: $(cat out)"
(
  sanitized || ulimit -v 4000000
  refuses 2 'do not fit the context' "$MTK" bench model -d 10000000 -s 4096
)
refuses 1 'missing.json' "$MTK" bench --shape missing.json
echo '{"architectures": ["NobodyForCausalLM"]}' >nobody.json
refuses 1 "nobody.json.*no plugin knows" "$MTK" bench --shape nobody.json
echo '{' >broken.json
refuses 1 'broken.json.*line' "$MTK" bench --shape broken.json
sed 's/"hidden_size": 256/"hidden_size": 999999999/' tiny.json >huge.json
refuses 1 'huge.json|too large|--layers' "$MTK" bench --shape huge.json
refuses 1 'missing.json' "$MTK" bench --shape tiny.json -p 5 -n 1 -r 1 --no-limits --compare missing.json
[ ! -s out ] || fail "measured before --compare's file was read"
echo '[1]' >list.json
refuses 1 'no report of mtk bench' \
  "$MTK" bench --shape tiny.json -p 5 -n 1 -r 1 --no-limits --compare list.json
echo "bench: ok"
