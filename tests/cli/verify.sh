#!/bin/bash
# mtk verify and the comparison at the end of mtk quantize: what a good artefact and damaged ones give.
set -euo pipefail
source "$MTK_SRC/tests/cli/_common.sh"
make_model

run_quiet 0 "$MTK" quantize model q.gguf --to q4_0 --json -q
jq -e '.verification | .faults == 0 and .tensors == 38 and (.types.q4_0 | .tensors == 28 and
  .relative_error > 0.01 and .relative_error < 0.2 and .saturated > 0 and .flushed_to_zero > 0)' out \
  >/dev/null || fail "verification of q4_0: $(jq -c .verification out)"
jq -e '[.tensors[] | select(.to == "q4_0") | .relative_error > 0] | all' out >/dev/null || fail "rows"
jq -e '[.tensors[] | select(.to != "q4_0") | .relative_error == 0] | all' out >/dev/null || fail "kept"
run_quiet 0 "$MTK" quantize model q.gguf --to q4_0 --json -q -f --no-verify
jq -e '.verification == null' out >/dev/null || fail "--no-verify verifies"
cp q.gguf unverified.gguf
run_quiet 0 "$MTK" quantize model q.gguf --to q4_0 -q -f
cmp q.gguf unverified.gguf || fail "--no-verify changes the bytes"
grep -q 'q4_0 .*28 tensors, relative error 0\.0' out || fail "no summary: $(cat out)"

# formats, threads, split output
run_quiet 0 "$MTK" quantize model folder --to nvfp4 -q
for t in 1 2; do
  run_quiet 0 "$MTK" verify folder --source model --json -q -t $t
  mv out "report$t"
done
cmp report1 report2 || fail "the report depends on the threads"
jq -e '[.source_files[]] | length > 2 and all' report1 >/dev/null || fail "digests of the source"
echo 'of another model' >parts-0.5b-00001-of-00003.gguf
run_quiet 0 "$MTK" quantize model parts.gguf --to q8_0 --split-max-tensors 20 -q
grep -q '28 tensors' out || fail "split output: $(cat out)"
run_quiet 0 "$MTK" verify q.gguf --source model -q
grep -q 'digests compared' out || fail "digests: $(cat out)"

# damage TENSOR-SUFFIX HEX: the first tensor of that name in folder/ begins with these bytes
damage() {
  rm -rf bad && cp -r folder bad
  python3 - "$1" "$2" <<'PY'
import glob, json, sys
for path in glob.glob("bad/*.safetensors"):
    data = bytearray(open(path, "rb").read())
    n = int.from_bytes(data[:8], "little")
    for name, t in sorted(json.loads(data[8:8 + n]).items()):
        if name.endswith(sys.argv[1]):
            at = 8 + n + t["data_offsets"][0]
            new = bytes.fromhex(sys.argv[2])
            assert data[at:at + len(new)] != new
            data[at:at + len(new)] = new
            open(path, "wb").write(data)
            sys.exit(0)
sys.exit("no such tensor")
PY
}
scale=layers.0.mlp.down_proj.weight_scale
damage $scale 7f
refuses 3 'bad: blk.0.ffn_down.weight: row 0: a scale or value is NaN' "$MTK" verify bad --source model -q
damage $scale 00
refuses 3 'blk.0.ffn_down.weight: row 0: the scale of a block is zero' "$MTK" verify bad --source model -q
damage layers.1.self_attn.k_proj.weight_global_scale 0000803f
refuses 3 'blk.1.attn_[qkv].weight: its scale is not that of its fused group' "$MTK" verify bad --source model -q

# the recorded command, run again: the same bytes, whatever the source is called, and nothing written
for a in q.gguf folder parts-00001-of-00002.gguf; do
  touch before
  run_quiet 0 "$MTK" verify $a --source model/ --json -q -t 2
  jq -e '.same_bytes and .difference == ""' out >/dev/null || fail "$a again: $(jq -c .difference out)"
  [ -z "$(find . -newer before -type f ! -name out ! -name err)" ] || fail "verify wrote something"
done
cp -r model renamed
run_quiet 0 "$MTK" verify q.gguf --source renamed -q
grep -q 'run again, gives the same bytes' out || fail "a renamed source: $(cat out)"
run_quiet 0 "$MTK" verify q.gguf --source model -q --no-repeat
grep -q 'bytes not compared: --no-repeat' out || fail "--no-repeat: $(cat out)"
damage layers.0.mlp.down_proj.weight_packed 123456789a
refuses 3 'bad/model.safetensors: model.layers.0.mlp.down_proj.weight_packed: byte [0-9]+ is not what' \
  "$MTK" verify bad --source model -q
rm -rf bad && cp -r folder bad && printf ' ' >>bad/config.json
refuses 3 'bad/config.json: has 1 bytes more' "$MTK" verify bad --source model -q
rm -rf bad && cp -r folder bad && rm bad/tokenizer.json
refuses 3 'bad/tokenizer.json: is missing' "$MTK" verify bad --source model -q
head -n 30 "$MTK_SRC/examples/petit/demo/train.jsonl" | jq -r ".messages[].content" >text.txt
run_quiet 0 "$MTK" quantize model c.gguf --to nvfp4 --method gptq --calibration text.txt \
  --calibration-tokens 256 --sequence-length 64 --seed 3 -q
run_quiet 0 "$MTK" inspect c.gguf --provenance --json
jq -e '(.args | contains(["--to=nvfp4", "--method=gptq", "--calibration=text.txt",
  "--calibration-tokens=256", "--sequence-length=64", "--seed=3", "--damp=0.01"])) and
  (.sources | map(.name) | contains(["text.txt", "model/model.safetensors"])) and
  (.sources | all(.sha256 | length == 64)) and (.plugins | map(.name) | contains(["quant-weights"]))
  and .mtk != ""' out >/dev/null || fail "provenance: $(cat out)"
run_quiet 0 "$MTK" verify c.gguf --source model --calibration text.txt -q
grep -q 'gives the same bytes' out || fail "calibrated, again: $(cat out)"
refuses 3 'made from another text.txt' "$MTK" verify c.gguf --source model -q
run_quiet 0 "$MTK" convert model k.gguf --dtype f16 -q
run_quiet 0 "$MTK" verify k.gguf --source model -q
grep -q 'gives the same bytes' out || fail "convert, again: $(cat out)"
cp model/tokenizer.json given.json && printf ' ' >>given.json
run_quiet 0 "$MTK" convert model given.gguf --tokenizer given.json -q
run_quiet 0 "$MTK" verify given.gguf --source model --source given.json -q
grep -q 'gives the same bytes' out || fail "another tokenizer, again: $(cat out)"
printf ' ' >>given.json
refuses 3 'made from another given.json' "$MTK" verify given.gguf --source model --source given.json -q

# digests are of what was read: no second copy of the weights, all parts of a split file, the base of an adapter
names() { "$MTK" inspect "$1" --provenance --json -q | jq -r '.sources[].name' | tr '\n' ' '; }
cp -r model twice
cp twice/model.safetensors twice/consolidated.safetensors
echo 'no weights' >twice/pytorch_model.bin
run_quiet 0 "$MTK" quantize twice t.gguf --to nvfp4 -q
[[ "$(names t.gguf)" == *twice/config.json*twice/model.safetensors*twice/tokenizer.json* ]] || fail "$(names t.gguf)"
[[ "$(names t.gguf)" != *consolidated* && "$(names t.gguf)" != *pytorch* ]] || fail "digested: $(names t.gguf)"
echo more >>twice/pytorch_model.bin
run_quiet 0 "$MTK" verify t.gguf --source twice -q
run_quiet 0 "$MTK" quantize parts-00001-of-00002.gguf p.gguf --to q4_0 --requantize -q
[ "$(names p.gguf)" = "parts-00001-of-00002.gguf parts-00002-of-00002.gguf " ] || fail "parts: $(names p.gguf)"
run_quiet 0 "$MTK" verify p.gguf --source parts-00001-of-00002.gguf -q
grep -q 'gives the same bytes' out || fail "parts, again: $(cat out)"

# another source, and a tensor that is gone
cp -r model other
printf ' ' >>other/config.json
refuses 3 'made from another model/config.json' "$MTK" verify folder --source other -q
python3 - <<'PY'
import json
data = open("other/model.safetensors", "rb").read()
n = int.from_bytes(data[:8], "little")
header = json.loads(data[8:8 + n])
header["one.more"] = dict(dtype="U8", shape=[4], data_offsets=[len(data) - 8 - n, len(data) - 4 - n])
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open("other/model.safetensors", "wb").write(len(text).to_bytes(8, "little") + text + data[8 + n:] + b"abcd")
PY
refuses 3 'made from another' "$MTK" verify folder --source other -q
run_quiet 0 "$MTK" convert model plain.gguf -q
refuses 2 'give --source' "$MTK" verify plain.gguf -q
refuses 1 'none' "$MTK" verify plain.gguf --source none -q

# an output that is wrong does not keep its name: weights that f16 cannot hold
python3 - <<'PY'
import json, struct
data = struct.pack("<256f", *(1e9 * (i % 17 - 8) for i in range(256)))
header = json.dumps({"m.weight": {"dtype": "F32", "shape": [2, 128], "data_offsets": [0, len(data)]}}).encode()
open("huge.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + data)
PY
for n in 1 2; do
  run_quiet 1 "$MTK" quantize huge.safetensors huge.gguf --to f16 -q
  grep -q "NaN or infinite.*it is kept as huge.gguf.bad-$n" err || fail "a wrong output: $(cat err)"
  [ -e huge.gguf.bad-$n ] || fail "it is not kept"
  nothing_left huge.gguf
done
run_quiet 1 "$MTK" quantize huge.safetensors parts.gguf --to f16 -q --split-max-tensors 1
[ -z "$(find . -name 'parts-*.gguf' -newer huge.safetensors)" ] || fail "a wrong output in parts keeps its name"
[ -e parts-0.5b-00001-of-00003.gguf ] || fail "another model's part was set aside"

# a comparison that could not be made says nothing of the output
python3 - <<'PY'
import json, struct
data = struct.pack("<256f", *(i % 17 - 8 for i in range(256)))
header = json.dumps({"m.weight": {"dtype": "F32", "shape": [2, 128], "data_offsets": [0, len(data)]}}).encode()
open("small.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + data)
PY
written=0
for ((n = 0, last = 0; n - last < 60; n++)); do # some allocations can be done without
  if ! MTK_ALLOC_FAIL=$n "$MTK" quantize small.safetensors small.gguf --to q4_0 -q -t 1 >out 2>err; then
    last=$n
    grep -qi memory err || fail "allocation $n: $(cat err)"
    [ -z "$(find . -name 'small.gguf.bad-*')" ] || fail "allocation $n: set aside: $(cat err)"
    [ ! -e small.gguf ] || written=$((written + 1))
  fi
  rm -f small.gguf
done
[ $written -gt 10 ] || fail "only $written allocations failed in the comparison"

# the report that people read
run_quiet 0 "$MTK" quantize model r.gguf --to q4_0 -q --report report
python3 - <<'PY'
import json, xml.dom.minidom
doc = json.load(open("report/report.json"))
assert doc["verification"]["faults"] == 0 and len(doc["tensors"]) == 38
blocks = 1 + max(int(t["name"].split(".")[1]) for t in doc["tensors"] if t["name"].startswith("blk."))
for name in "error", "bits":
    bars = xml.dom.minidom.parse(f"report/{name}.svg").getElementsByTagName("rect")
    assert len(bars) == blocks + 2, (name, len(bars))  # the rest, and the paper
xml.dom.minidom.parse("report/scales.svg")
text = open("report/report.md").read()
assert all(f"| {t['name']} | {t['from']} | {t['to']} | {t['relative_error']:.5f} |" in text for t in doc["tensors"])
PY
refuses 2 'report needs the comparison that --no-verify' \
  "$MTK" quantize model r2.gguf --to q4_0 -q --no-verify --report r2
refuses 1 'report: exists' "$MTK" quantize model r2.gguf --to q4_0 -q --report report
nothing_left r2.gguf
run_quiet 0 "$MTK" quantize model r.gguf --to q8_0 -q -f --report report
grep -q 'quantized to q8_0' report/report.md || fail "--force does not replace the report"
echo "verify: ok"
