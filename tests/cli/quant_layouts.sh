# Layouts of quantized folders: compressed-tensors, ModelOpt, DeepSeek, and GGUF between them; scales
# of activations and of the cache; MXFP4 as NVFP4; what must be refused. ModelOpt's own exports are
# committed (tests/golden/modelopt); compressed-tensors is asked where MTK_PYTHON has it.
. "$(dirname "$0")/_common.sh"
layouts() { python3 "$MTK_SRC/tests/cli/_layouts.py" "$@"; }

golden="$MTK_SRC/tests/golden/modelopt"
quantize() { "$MTK" quantize "$@" -q -f >/dev/null 2>err || fail "quantize $*: $(cat err)"; }
convert() { "$MTK" convert "$@" -q -f >/dev/null 2>err || fail "convert $*: $(cat err)"; }
seq -s ' ' 1 900 >text
python3 - <<'PY'
import json, pathlib, shutil, os
# the model of the goldens with a vocabulary of 32 single characters
source = pathlib.Path(os.environ["MTK_SRC"]) / "tests/golden/modelopt/base"
shutil.copytree(source, "base")
chars = [chr(97 + i) for i in range(26)] + list(" 0123")
vocab = {c: i for i, c in enumerate(chars)} | {"?": 31}
json.dump({"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
           "pre_tokenizer": {"type": "Metaspace", "replacement": " ", "prepend_scheme": "never"},
           "decoder": None, "truncation": None, "padding": None,
           "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "?",
                     "byte_fallback": False}}, open("base/tokenizer.json", "w"))
PY

# one layout after the other gives the same bytes again
for to in nvfp4 mxfp4 mxfp8 fp8-channel fp8-block; do
  quantize base "ct-$to" --to "$to"
  convert "ct-$to" "mo-$to" --layout modelopt
  convert "mo-$to" mo-again
  layouts same "mo-$to" mo-again || fail "$to: ModelOpt's layout does not stay"
  cmp "mo-$to/hf_quant_config.json" mo-again/hf_quant_config.json
  convert "mo-$to" ct-again --layout compressed-tensors
  layouts same "ct-$to" ct-again || fail "$to: compressed-tensors through ModelOpt's layout"
  convert "ct-$to" plain.safetensors --dtype f32
  convert "mo-$to" plain-mo.safetensors --dtype f32
  layouts same plain.safetensors plain-mo.safetensors || fail "$to: other values"
done
for to in nvfp4 mxfp4; do
  convert "mo-$to" x.gguf
  convert x.gguf ct-again --layout compressed-tensors
  layouts same "ct-$to" ct-again || fail "$to: compressed-tensors through GGUF"
done
convert ct-fp8-block ds --layout deepseek
convert ds ct-again --layout compressed-tensors
layouts same ct-fp8-block ct-again || fail "fp8-block through DeepSeek's layout"
convert ds ds-again
layouts same ds ds-again && cmp ds/config.json ds-again/config.json || fail "DeepSeek's layout does not stay"
for to in int4 int4-asym int8; do
  quantize "$MTK_SRC/examples/petit/model" "ct-$to" --to "$to"
  convert "ct-$to" again
  layouts same "ct-$to" again && cmp "ct-$to/config.json" again/config.json || fail "$to does not stay"
  convert "ct-$to" plain --dtype f32
  a=$("$MTK" eval "ct-$to" --ppl text --ctx 64 --json -q --activations a32 | jq .nll)
  b=$("$MTK" eval plain --ppl text --ctx 64 --json -q --activations a32 | jq .nll)
  jq -en "($a - $b) | fabs < 1e-3" >/dev/null || fail "$to computes something else: $a, $b"
done

# what ModelOpt itself exports: names, types, shapes, configs, and bytes
calibration=(--calibration text --calibration-tokens 256 --sequence-length 64)
modelopt() { # CONFIG ARGUMENT...
  quantize base mo --layout modelopt "${@:2}"
  layouts export "$golden/exports.json" "$1" mo || fail "ModelOpt's $1: other"
  convert mo mo-again
  layouts same mo mo-again || fail "$1 does not stay"
}
modelopt W4A16_NVFP4_CFG --to nvfp4
modelopt FP8_PER_CHANNEL_PER_TOKEN_CFG --to fp8-channel
modelopt MXFP8_DEFAULT_CFG --to mxfp8 --act mxfp8
modelopt FP8_DEFAULT_CFG --to fp8 --act fp8 "${calibration[@]}"
modelopt W4A8_NVFP4_FP8_CFG --to nvfp4 --act fp8 "${calibration[@]}"
modelopt NVFP4_DEFAULT_CFG --to nvfp4 --act nvfp4 "${calibration[@]}"
modelopt NVFP4_DEFAULT_CFG+cache --to nvfp4 --act nvfp4 --kv-cache-scales fp8 "${calibration[@]}"

# scales: shared in fused groups, larger by the headroom, smaller by the percentile
shared() { # DIR SUFFIX
  local n
  n=$(layouts scales "$1" "$2" | grep -E 'q_proj|k_proj|v_proj' | cut -d' ' -f2 | sort -u | wc -l)
  [ "$n" -eq 1 ] || fail "$1: q, k and v have $n different $2"
  n=$(layouts scales "$1" "$2" | grep -E 'gate_proj|up_proj' | cut -d' ' -f2 | sort -u | wc -l)
  [ "$n" -eq 1 ] || fail "$1: gate and up have $n different $2"
}
shared mo .weight_scale_2
shared mo .input_scale
convert mo ct --layout compressed-tensors
shared ct .weight_global_scale
shared ct .input_global_scale
grep -q k_scale <(layouts scales ct .self_attn.k_scale) || fail "no k_scale for vLLM"
[ "$(jq .quantization_config.kv_cache_scheme.num_bits ct/config.json)" = 8 ] || fail "no kv_cache_scheme"
quantize base more --to nvfp4 --act nvfp4 --act-headroom 2 --layout modelopt "${calibration[@]}"
quantize base less --to nvfp4 --act nvfp4 --act-percentile 99 --layout modelopt "${calibration[@]}"
one() { layouts scales "$1" q_proj.input_scale | cut -d' ' -f2; }
jq -en "$(one more) / $(one mo) | . > 1.999 and . < 2.001" >/dev/null || fail "--act-headroom"
jq -en "$(one less) < $(one mo)" >/dev/null || fail "--act-percentile"
quantize base t.gguf --to nvfp4 --act nvfp4 "${calibration[@]}"
convert t.gguf back --layout modelopt
[ "$(one back)" = "$(one mo)" ] || fail "GGUF loses input scales"

# fused scales that differ
cp -r ct-nvfp4 uneven
layouts scale uneven/model.safetensors model.layers.0.self_attn.k_proj.weight_global_scale 2
"$MTK" convert uneven u.gguf -f >/dev/null 2>err || fail "$(cat err)"
grep -q "2 tensors have other global scales" err || fail "no word of uneven scales: $(cat err)"
run_quiet 3 "$MTK" verify uneven --source base
grep -q "fused" err || fail "verify does not name the fused group: $(cat err)"

# MXFP4 as NVFP4: the same values, or not at all
convert ct-mxfp4 recast --recast nvfp4
convert ct-mxfp4 a.safetensors --dtype f32
convert recast b.safetensors --dtype f32
layouts same a.safetensors b.safetensors || fail "--recast changes values"
shared recast .weight_global_scale
layouts spread near -100 -83
layouts spread far -100 -82
layouts spread tiny -127 -127
for name in near tiny; do
  convert "$name" n.safetensors --recast nvfp4
  convert "$name" a.safetensors --dtype f32
  convert n.safetensors b.safetensors --dtype f32
  layouts same a.safetensors b.safetensors || fail "--recast of $name changes values"
done
run_quiet 1 "$MTK" convert far f.safetensors --recast nvfp4 -q
grep -q "spread over 18 powers of two" err || fail "$(cat err)"
refuses 2 "no mxfp4" "$MTK" convert base f.safetensors --recast nvfp4 -q

# what must be refused, in one line
layouts bad bad
for folder in bad/*; do
  refuses 1 "tensor m\.|m.weight" "$MTK" convert "$folder" out.safetensors --dtype f32 -q
  nothing_left out.safetensors
done
refuses 2 "no layout 'foo'" "$MTK" quantize base dst --to nvfp4 --layout foo -q
refuses 2 "none of compressed-tensors" "$MTK" convert base dst --layout foo -q
refuses 2 "format gguf has no --layout" "$MTK" convert base out.gguf --layout modelopt -q
refuses 1 "128 x 128" "$MTK" quantize base dst --to nvfp4 --layout deepseek -q
refuses 1 "needs the scale of its activations" "$MTK" quantize base dst --to fp8 --layout modelopt -q
refuses 1 "compressed-tensors" "$MTK" quantize "$MTK_SRC/examples/petit/model" dst --to int4 --layout modelopt -q
refuses 2 "needs --calibration" "$MTK" quantize base dst --to nvfp4 --act nvfp4 -q
refuses 2 "no layout has fp8 activations on q4_k" "$MTK" quantize base dst.gguf --to q4_k --act fp8 -q
refuses 2 "no layout has nvfp4 activations on int4" "$MTK" quantize base dst --to int4 --act nvfp4 -q
refuses 1 "no nvfp4 weights with fp8" "$MTK" quantize base dst --to nvfp4 --act fp8 "${calibration[@]}" -q
refuses 2 "needs --calibration" "$MTK" quantize base dst --to nvfp4 --kv-cache-scales fp8 -q
nothing_left dst

# both directions against the package
python="${MTK_PYTHON:-python3}"
check="$MTK_SRC/tests/oracle/check_compressed_tensors.py"
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
if ! "$python" -c 'import torch, compressed_tensors, safetensors' 2>/dev/null; then
  echo "SKIP the package compressed-tensors: not installed"
  exit 0
fi
while read -r to preset; do
  quantize "$MTK_SRC/examples/petit/model" ct --to "$to"
  convert ct plain --dtype f32
  "$python" "$check" read ct plain/model.safetensors "$preset" || fail "$to: the package reads something else"
done <<'LIST'
nvfp4 NVFP4A16
mxfp4 MXFP4A16
mxfp8 MXFP8A16
fp8 -
fp8-channel FP8_DYNAMIC
fp8-block FP8_BLOCK
int4 W4A16
int4-asym W4A16_ASYM
int8 W8A8
LIST
"$python" "$check" make made 2>/dev/null || fail "the package makes nothing"
for folder in made/*/; do
  name="$(basename "$folder")"
  convert "$folder" "back-$name.safetensors" --dtype f32
  "$python" "$check" same "made/$name.plain.safetensors" "back-$name.safetensors" ||
    fail "$name: mtk reads something else"
done

# transformers loads them: the weights and logits of what mtk dequantizes (nvfp4 is left out: the
# package divides by the global scale, which gives 0.2 % of the weights another last bit)
"$python" -c 'import transformers' 2>/dev/null || exit 0
"$python" "$check" tiny tiny >/dev/null 2>&1 || fail "transformers makes no model"
while read -r to dtype; do # the package decompresses to the type of the scales
  quantize tiny loaded --to "$to"
  convert loaded plain --dtype "$dtype"
  "$python" "$check" load loaded plain 2>/dev/null || fail "$to: transformers computes something else"
done <<'LIST'
fp8-channel f32
int4 bf16
mxfp4 bf16
LIST
