#!/bin/bash
# Importance matrices of llama.cpp: what --imatrix-out writes is what --imatrix reads, in both of its
# formats, and gives the very weights that --calibration gives.
set -euo pipefail
source "$MTK_SRC/tests/cli/_common.sh"
make_model
make_data data.jsonl 60
jq -r '.messages[].content' data.jsonl | head -c 20000 >text.txt
calibrated=(--calibration text.txt --calibration-tokens 777 --sequence-length 128)

# the same weights, whatever the file
same_weights() { # A B
  run_quiet 0 "$MTK" verify "$1" --source "$2" --json -q
  jq -e '.verification.types == {} and .verification.faults == 0' out >/dev/null ||
    fail "$1 and $2 differ: $(jq -c .verification out)"
}
# Bare tensors as sources have other digests, so provenance is taken off by a detour.
strip() { python3 - "$1" <<'PY'
import sys
data = open(sys.argv[1], "rb").read()
assert data.count(b"mtk.provenance") == 1
open(sys.argv[1], "wb").write(data.replace(b"mtk.provenance", b"mtk.provenancx"))
PY
}
quantize() { # DST ARGUMENT...
  run_quiet 0 "$MTK" quantize model "$@" -q
  strip "$1"
}

quantize plain.gguf --to q4_0
quantize calibrated.gguf --to q4_0 "${calibrated[@]}" --imatrix-out im.gguf
quantize read.gguf --to q4_0 --imatrix im.gguf
same_weights read.gguf calibrated.gguf
run_quiet 0 "$MTK" verify plain.gguf --source calibrated.gguf --json -q
jq -e '.verification.types != {}' out >/dev/null || fail "the importances change nothing"
quantize sweep1.gguf --to nvfp4 --method sweep "${calibrated[@]}" --imatrix-out im.gguf -f
quantize sweep2.gguf --to nvfp4 --method sweep --imatrix im.gguf
same_weights sweep2.gguf sweep1.gguf

# the file as llama.cpp defines it, and a .dat of the same
python3 - <<'PY'
import struct
data = open("im.gguf", "rb").read()
pos = 0
def take(f):
    global pos
    v = struct.unpack_from("<" + f, data, pos)
    pos += struct.calcsize("<" + f)
    return v if len(v) > 1 else v[0]
def text():
    global pos
    n = take("Q")
    pos += n
    return data[pos - n:pos].decode()
assert data[:4] == b"GGUF"
pos = 4
version, n_tensors, n_kv = take("IQQ")
kv = {}
for _ in range(n_kv):
    key, kind = text(), take("I")
    if kind == 8: kv[key] = text()
    elif kind == 4: kv[key] = take("I")
    elif kind == 9:
        item, n = take("IQ")
        assert item == 8
        kv[key] = [text() for _ in range(n)]
    else: raise SystemExit(f"type {kind} of {key}")
assert kv["general.type"] == "imatrix" and kv["imatrix.datasets"] == ["text.txt"], kv
assert kv["imatrix.chunk_size"] == 128 and kv["imatrix.chunk_count"] == 7, kv
tensors = {}
for _ in range(n_tensors):
    name, nd = text(), take("I")
    ne = [take("Q") for _ in range(nd)]
    kind, offset = take("IQ")
    assert kind == 0 and nd == 2
    tensors[name] = ne, offset
base = (pos + 31) // 32 * 32
def floats(name):
    ne, offset = tensors[name]
    return struct.unpack_from(f"<{ne[0] * ne[1]}f", data, base + offset)
names = [n[:-8] for n in tensors if n.endswith(".in_sum2")]
assert "blk.0.attn_q.weight" in names and len(tensors) == 2 * len(names)
out = struct.pack("<i", len(names))
for n in names:
    sums, count = floats(n + ".in_sum2"), floats(n + ".counts")
    assert tensors[n + ".counts"][0] == [1, 1] and count[0] == 777
    assert tensors[n + ".in_sum2"][0] == [len(sums), 1]
    # q, k and v have one input
    if n.endswith("attn_q.weight"): assert sums == floats(n.replace("attn_q", "attn_v") + ".in_sum2")
    out += struct.pack("<i", len(n)) + n.encode() + struct.pack("<ii", 777, len(sums))
    out += struct.pack(f"<{len(sums)}f", *sums)
out += struct.pack("<ii", 7, 8) + b"text.txt"
open("im.dat", "wb").write(out)
open("short.dat", "wb").write(out[:-900])
open("nan.dat", "wb").write(out.replace(struct.pack("<f", floats(names[0] + ".in_sum2")[0]),
                                        struct.pack("<f", float("nan")), 1))
short = struct.pack("<ii", 1, len(names[0])) + names[0].encode() + struct.pack("<ii", 3, 2)
open("other.dat", "wb").write(short + struct.pack("<2f", 1, 2))
PY
quantize dat.gguf --to q4_0 --imatrix im.dat
same_weights dat.gguf calibrated.gguf

# what goes wrong
q=(quantize model wrong.gguf --to q4_0 -q)
refuses 2 'not both' "$MTK" "${q[@]}" --imatrix im.dat "${calibrated[@]}"
refuses 1 'im.gguf: exists' "$MTK" "${q[@]}" "${calibrated[@]}" --imatrix-out im.gguf
refuses 2 'imatrix-out needs --calibration' "$MTK" "${q[@]}" --imatrix-out x.gguf
refuses 2 'gptq needs --calibration FILE$' "$MTK" quantize model wrong.gguf --to nvfp4 --method gptq \
  --imatrix im.gguf -q
refuses 1 'imatrix: none.dat' "$MTK" "${q[@]}" --imatrix none.dat
refuses 1 'short.dat: byte .*ends too early' "$MTK" "${q[@]}" --imatrix short.dat
refuses 1 'importance 0 is negative or not finite' "$MTK" "${q[@]}" --imatrix nan.dat
refuses 1 '2 importances for 1 matrices of .* another model' "$MTK" "${q[@]}" --imatrix other.dat
refuses 1 'no importances of tensors of this model' "$MTK" "${q[@]}" --imatrix plain.gguf
refuses 1 'text.txt' "$MTK" "${q[@]}" --imatrix text.txt
nothing_left wrong.gguf
run_quiet 0 "$MTK" quantize model from.gguf --to q4_0 --imatrix im.dat -q
run_quiet 0 "$MTK" verify from.gguf --source model --source im.dat -q
refuses 3 'made from another im.dat' "$MTK" verify from.gguf --source model -q
echo "imatrix: ok"
