#!/bin/bash
# Quantized experts (models of tests/golden/arch): gpt-oss's MXFP4 as _blocks and _scales in folders, NVFP4 with a
# global scale per expert that gate and up share; each goes folder -> GGUF -> folder to the byte, and the folder and
# the GGUF give the same logits bit for bit.
set -euo pipefail
source "$MTK_SRC/tests/cli/_common.sh"

arch() { python3 "$MTK_SRC/tests/cli/_arch.py" "$@"; }
hash_of() { # MODEL IDS
  head -1 "$2" | "$MTK" eval "$1" --score - --json -q |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["logits_sha256"])'
}

# Expert e's w1 times 2^(e mod 3), so that experts and their gates and ups differ in size.
spread_experts() { # DIR
  python3 - "$1/model.safetensors" <<'PY'
import array, json, sys
data = bytearray(open(sys.argv[1], "rb").read())
n = 8 + int.from_bytes(data[:8], "little")
for name, t in json.loads(data[8:n]).items():
    if not name.endswith(".w1.weight"):
        continue
    a, b = (n + x for x in t["data_offsets"])
    shift = int(name.split(".experts.")[1].split(".")[0]) % 3
    values = array.array("H", data[a:b])
    data[a:b] = array.array("H", [v + (shift << 7) if v & 0x7FFF else v for v in values]).tobytes()
open(sys.argv[1], "wb").write(data)
PY
}

check_quantized() { # GOLDEN TARGET [OPTION...]
  local golden="$MTK_SRC/tests/golden/arch/$1.json" target="$2"
  shift 2
  rm -rf plain quantized back q.gguf
  arch make "$golden" plain bf16
  spread_experts plain
  arch ids "$golden" >ids
  "$MTK" quantize plain quantized --to "$target" -q "$@" >/dev/null
  "$MTK" convert quantized q.gguf -q >/dev/null
  "$MTK" convert q.gguf back -q >/dev/null
  arch same quantized back
  [ "$(hash_of quantized ids)" = "$(hash_of q.gguf ids)" ] || fail "$target: folder and GGUF differ in their logits"
}

check_quantized gpt-oss mxfp4 --keep attn_
python3 - <<'PY'
import json
header = open("quantized/model.safetensors", "rb").read()
tensors = json.loads(header[8:8 + int.from_bytes(header[:8], "little")])
at = "model.layers.0.mlp.experts."
want = {"gate_up_proj_blocks": [6, 64, 2, 16], "gate_up_proj_scales": [6, 64, 2], "gate_up_proj_bias": [6, 64],
        "down_proj_blocks": [6, 64, 1, 16], "down_proj_scales": [6, 64, 1], "down_proj_bias": [6, 64]}
for name, shape in want.items():
    assert tensors[at + name]["shape"] == shape, (name, tensors[at + name])
assert at + "gate_up_proj" not in tensors
config = json.load(open("quantized/config.json"))["quantization_config"]
assert config["quant_method"] == "mxfp4", config
PY
refuses 1 '^mtk quantize: blk\..*--keep attn_' "$MTK" quantize plain refused --to mxfp4 -q
nothing_left refused

check_quantized mixtral nvfp4
python3 - <<'PY'
import json, struct
data = open("quantized/model.safetensors", "rb").read()
n = int.from_bytes(data[:8], "little")
tensors = json.loads(data[8:8 + n])


def scale(layer, expert, part):
    t = tensors[f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight_global_scale"]
    return struct.unpack("<f", data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])[0]


for layer in range(3):
    for expert in range(6):
        part = {p: scale(layer, expert, p) for p in ("w1", "w2", "w3")}
        assert part["w1"] == part["w3"], (layer, expert, part)
        assert part["w2"] == part["w1"] * 2 ** (expert % 3), (layer, expert, part)  # stored as 2688 / amax
PY
echo "experts: MXFP4 and NVFP4 there and back"
